"""A network with all that surrounds it: what training, inference and the predictor share.

How clicks are drawn, which part of the slice is shown, what is known before the network looks,
which grey values it sees and how far an answer reaches belong to a network as its weights do: it
cannot be run in another way than it was trained.
"""

from typing import Any, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from ecc_jax.clicks.encoding import ENCODINGS
from ecc_jax.clicks.surroundings import relative_grey
from ecc_jax.inference import prior
from ecc_jax.inference.view import DiskView
from ecc_jax.models.build import init_variables
from ecc_jax.types import Clicks, InteractiveModel, Prediction

INTENSITIES = ("window", "core")


class Segmenter(NamedTuple):
    """A network and how it is told of clicks, so that no two callers can disagree about it.

    Attributes:
      model: The network.
      encoding: A name of `clicks.encoding.ENCODINGS`.
      view: The square that it is shown; None shows the whole slice.
      prior: A name of `prior.PRIORS`: "painter" adds its scores to those of a painter that sees
        disks only.
      intensity: "window" shows the windowed slice in three equal channels; "core" shows it beside
        two maps of how like the first disk's core each pixel is.
      edits: A name of `prior.EDITS`: "local" keeps the previous mask far from the newest disk, and
        every click holds at its own pixel.
    """

    model: InteractiveModel
    encoding: str = "disk"
    view: DiskView | None = None
    prior: str = "none"
    intensity: str = "window"
    edits: str = "everywhere"

    @property
    def num_guidance(self) -> int:
        """Maps that tell the network of clicks."""
        return 4 if self.prior == "painter" else 2

    def init_variables(
        self, seed: int, *, fusion_scale: float = 0.05, lesion_prior: float = 0.5
    ) -> dict[str, Any]:
        """Returns fresh variables, those of the network and of its prior; see `build`.

        Args:
          seed: At least 0.
          fusion_scale: See `build.init_variables`.
          lesion_prior: See there; a network with a painter's prior begins with scores of 0.
        """
        has_prior = self.prior == "painter"
        variables = init_variables(
            self.model,  # type: ignore[arg-type]  # networks of `build` are modules
            seed,
            fusion_scale=fusion_scale,
            lesion_prior=lesion_prior,
            guidance=self.num_guidance,
            is_residual=has_prior,
        )
        if has_prior:
            variables["params"][prior.PARAMS] = prior.initial_params()
        return variables

    def inputs(
        self,
        image: Float[Array, "b h w c"],
        clicks: Clicks,
        prev_mask: Float[Array, "b h w 1"],
    ) -> tuple[Float[Array, "b h w 3"], Float[Array, "b h w g"], Float[Array, "b h w 1"]]:
        """Returns what the network sees: three image channels, click maps, previous mask.

        Args:
          image: A grey image, or one of three channels where `intensity` is "window".
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
        if self.intensity == "core":
            channels = jnp.concatenate([image, *relative_grey(image, clicks)], axis=-1)
        maps = ENCODINGS[self.encoding](clicks, (height, width))
        if self.prior == "painter":
            maps = jnp.concatenate([maps, prior.maps_of(prev_mask, clicks)], axis=-1)
        return channels, maps, prev_mask

    def logits(self, variables: Any, *inputs: Array) -> Float[Array, "b h w 1"]:
        """Returns the network's scores in evaluation mode: running statistics, no dropout.

        Args:
          variables: Of the network.
          *inputs: From `inputs`.
        """
        return self.model.apply(self._own(variables), *inputs, train=False).logits

    def answered(
        self,
        variables: Any,
        scores: Float[Array, "b h w 1"],
        clicks: Clicks,
        prev_mask: Float[Array, "b h w 1"],
        *,
        pixels: Float[Array, " b"] | float = 1.0,
    ) -> Float[Array, "b h w 1"]:
        """Returns the logits of the answer: the network's scores with prior and edits.

        Args:
          variables: Of the network.
          scores: Its scores, on the grid of `prev_mask`.
          clicks: The clicks so far.
          prev_mask: Lesion probability before the newest click.
          pixels: Side of a pixel of the network's grid, in pixels of `prev_mask`.
        """
        if self.prior == "painter":
            params = variables["params"][prior.PARAMS]
            scores = prior.with_prior(params, scores, prev_mask, clicks, pixels=pixels)
        return prior.edited(scores, prev_mask, clicks) if self.edits == "local" else scores

    def train_apply(
        self,
        variables: Any,
        image: Float[Array, "b h w c"],
        clicks: Clicks,
        prev_mask: Float[Array, "b h w 1"],
        *,
        rngs: dict[str, Any],
    ) -> tuple[Prediction, Any]:
        """Returns the answer in training mode, and the updated batch statistics.

        Args:
          variables: {"params": …, "batch_stats": …}.
          image: What the network is shown: a slice, or the square of its view.
          clicks: The clicks so far, on the same grid.
          prev_mask: Lesion probability before the newest click.
          rngs: Keys of what is random in the network.
        """
        prediction, updated = self.model.apply(
            self._own(variables),
            *self.inputs(image, clicks, prev_mask),
            train=True,
            mutable=["batch_stats"],
            rngs=rngs,
        )
        logits = self.answered(variables, prediction.logits, clicks, prev_mask)
        return prediction._replace(logits=logits), updated["batch_stats"]

    def _own(self, variables: Any) -> Any:
        """Returns the variables without those of the prior, which the network does not know."""
        if self.prior != "painter":
            return variables
        params = {k: v for k, v in variables["params"].items() if k != prior.PARAMS}
        return {**variables, "params": params}
