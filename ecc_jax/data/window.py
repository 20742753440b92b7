"""Hounsfield units to the network's [0, 1]."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Num


def apply_window(
    image_hu: Num[Array, "b h w"], window_hu: Float[Array, "b 2"]
) -> Float[Array, "b h w"]:
    """Returns the image with its HU window mapped to [0, 1] and clipped there.

    The map is fixed per dataset, so one tissue has one grey value in every slice. A min-max over
    the slice would make it depend on whatever else is in the picture.

    Args:
      image_hu: Hounsfield units, any numeric dtype.
      window_hu: Lower and upper end of the window of each row.

    Returns:
      float32 in [0, 1]. NaN pixels become 0. A window of no width (all-zero padding rows) becomes
      a step: 0 up to its end, 1 above.
    """
    low = window_hu[:, 0].astype(jnp.float32)[:, None, None]
    high = window_hu[:, 1].astype(jnp.float32)[:, None, None]
    width = jnp.maximum(high - low, jnp.float32(1e-6))
    scaled = jnp.clip((image_hu.astype(jnp.float32) - low) / width, 0.0, 1.0)
    return jnp.where(jnp.isnan(scaled), jnp.zeros_like(scaled), scaled)


def clip_to_window(
    image_hu: Num[np.ndarray, "h w"], window_hu: Float[np.ndarray, "2"]
) -> Float[np.ndarray, "h w"]:
    """Returns a slice in Hounsfield units with what lies outside its window clipped, on the host.

    Args:
      image_hu: Hounsfield units, any numeric dtype.
      window_hu: Lower and upper end of the window.
    """
    low, high = window_hu
    return np.clip(image_hu.astype(np.float32), low, high)
