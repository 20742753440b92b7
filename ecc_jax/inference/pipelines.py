"""From clicks to a probability map: what surrounds the network at one click."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ecc_jax.clicks.encoding import disk_maps
from ecc_jax.types import Clicks, InteractiveModel, Predict


def network_inputs(
    image: Float[Array, "b h w 1"], clicks: Clicks
) -> tuple[Float[Array, "b h w 3"], Float[Array, "b h w 2"]]:
    """Returns the image as three equal channels and the (positive, negative) disk maps."""
    height, width = image.shape[1:3]
    return jnp.repeat(image, 3, axis=-1), disk_maps(clicks, (height, width))


def full_frame(model: InteractiveModel, variables: Any) -> Predict:
    """Returns a `Predict` that shows the network the whole slice, without crop or flips.

    The network runs in evaluation mode: running batch statistics, no dropout.
    """

    def predict(
        image: Float[Array, "b h w 1"],
        clicks: Clicks,
        prev_mask: Float[Array, "b h w 1"],
    ) -> Float[Array, "b h w 1"]:
        channels, guidance = network_inputs(image, clicks)
        prediction = model.apply(variables, channels, guidance, prev_mask, train=False)
        return jax.nn.sigmoid(prediction.logits)

    return predict
