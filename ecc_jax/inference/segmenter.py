"""A network with the encoding of its clicks: what training, inference and the predictor share."""

from typing import Any, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from ecc_jax.clicks.encoding import ENCODINGS
from ecc_jax.types import Clicks, InteractiveModel


class Segmenter(NamedTuple):
    """A network and how it is told of clicks, so that no two callers can disagree about it.

    Attributes:
      model: The network.
      encoding: A name of `clicks.encoding.ENCODINGS`.
    """

    model: InteractiveModel
    encoding: str = "disk"

    def inputs(
        self,
        image: Float[Array, "b h w c"],
        clicks: Clicks,
        prev_mask: Float[Array, "b h w 1"],
    ) -> tuple[Float[Array, "b h w 3"], Float[Array, "b h w 2"], Float[Array, "b h w 1"]]:
        """Returns what the network sees: three image channels, click maps, previous mask.

        Args:
          image: A grey image, which becomes three equal channels, or one of three channels.
          clicks: The clicks so far.
          prev_mask: Lesion probability before the newest click.

        Raises:
          ValueError: Unknown encoding; the message lists the valid ones.
        """
        if self.encoding not in ENCODINGS:
            names = ", ".join(ENCODINGS)
            raise ValueError(f"encoding must be one of {names}, got {self.encoding!r}")
        height, width = image.shape[1:3]
        channels = jnp.broadcast_to(image, (*image.shape[:3], 3))
        return channels, ENCODINGS[self.encoding](clicks, (height, width)), prev_mask

    def logits(self, variables: Any, *inputs: Array) -> Float[Array, "b h w 1"]:
        """Returns the network's scores in evaluation mode: running statistics, no dropout.

        Args:
          variables: Of the network.
          *inputs: From `inputs`.
        """
        return self.model.apply(variables, *inputs, train=False).logits
