"""What a disk says of the pixels around it: distances in radii, and grey values like its own."""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from ecc_jax.ops.disks import squared_distance_to
from ecc_jax.types import Clicks

# Of the first disk, in radii: the core is taken for lesion, the ring for its surroundings.
CORE = 0.7
RING = (1.5, 2.4)
# Added to standard deviations, share of the window: less is noise.
_LEAST_SPREAD = 0.03
_Z_RANGE, _RATIO_RANGE = 4.0, 6.0
# A disk of one pixel may have radius 0.
_LEAST_RADIUS = 0.5


class Disks(NamedTuple):
    """One disk per row.

    Attributes:
      yx: Centre, pixels.
      radius: Pixels, above 0.
      sign: 1 of a lesion click, -1 of a background click, 0 where a row has none.
    """

    yx: Float[Array, "b 2"]
    radius: Float[Array, " b"]
    sign: Float[Array, " b"]


def newest_disk(clicks: Clicks) -> Disks:
    """Returns the disk of the newest click of each row.

    >>> clicks = Clicks(jnp.ones((1, 2, 2)), jnp.array([[3.0, 4.0]]),
    ...                 jnp.array([[True, False]]), jnp.array([2]))
    >>> disks = newest_disk(clicks)
    >>> disks.radius.tolist(), disks.sign.tolist()
    ([4.0], [-1.0])
    """
    return _disk_at(clicks, jnp.maximum(clicks.count - 1, 0))


def first_disk(clicks: Clicks) -> Disks:
    """Returns the disk of the first lesion click of each row, of its first click if it has none.

    >>> clicks = Clicks(jnp.ones((1, 2, 2)), jnp.array([[3.0, 4.0]]),
    ...                 jnp.array([[False, True]]), jnp.array([2]))
    >>> first_disk(clicks).radius.tolist()
    [4.0]
    """
    slot = jnp.arange(clicks.radius.shape[1])[None, :]
    is_lesion = clicks.is_positive & (slot < clicks.count[:, None])
    return _disk_at(clicks, jnp.argmax(is_lesion, axis=1))


def _disk_at(clicks: Clicks, slot: Array) -> Disks:
    """Returns the disk in one slot of each row."""
    yx = jnp.take_along_axis(clicks.yx, slot[:, None, None], axis=1)[:, 0]
    radius, is_lesion = (
        jnp.take_along_axis(values, slot[:, None], axis=1)[:, 0]
        for values in (clicks.radius, clicks.is_positive)
    )
    sign = jnp.where(clicks.count > 0, jnp.where(is_lesion, 1.0, -1.0), 0.0)
    return Disks(yx, jnp.maximum(radius, _LEAST_RADIUS), sign)


def distance_in_radii(disks: Disks, shape: tuple[int, int]) -> Float[Array, "b h w 1"]:
    """Returns the distance of every pixel to each row's disk centre, in radii of that disk.

    >>> disks = Disks(jnp.array([[0.0, 1.0]]), jnp.array([2.0]), jnp.ones(1))
    >>> distance_in_radii(disks, (1, 4))[0, 0, :, 0].tolist()
    [0.5, 0.0, 0.5, 1.0]
    """
    distance = jnp.sqrt(squared_distance_to(disks.yx, shape))
    return (distance / disks.radius[:, None, None])[..., None]


def signed_distance(disks: Disks, shape: tuple[int, int]) -> Float[Array, "b h w 1"]:
    """Returns a cone over each disk: +-1 in its centre, 0 on its edge, the other sign outside.

    Args:
      disks: One per row.
      shape: Height and width of the maps.

    Returns:
      sign * (1 - distance / radius), cut to -1..1; 0 in rows without a click.

    >>> disks = Disks(jnp.array([[0.0, 1.0]]), jnp.array([2.0]), jnp.ones(1))
    >>> signed_distance(disks, (1, 4))[0, 0, :, 0].tolist()
    [0.5, 1.0, 0.5, 0.0]
    """
    cone = 1.0 - distance_in_radii(disks, shape)
    return disks.sign[:, None, None, None] * jnp.clip(cone, -1.0, 1.0)


def relative_grey(
    image: Float[Array, "b h w 1"], clicks: Clicks
) -> tuple[Float[Array, "b h w 1"], Float[Array, "b h w 1"]]:
    """Returns how like the first disk's core every pixel is, on two scales of 0..1.

    Args:
      image: Windowed image in [0, 1].
      clicks: The clicks so far.

    Returns:
      The distance from the core's mean in standard deviations of the core, from -4 (0) to 4 (1);
      and the logarithm of the likelihood ratio of the core against the ring around it, both taken
      for Gaussian, from -6 (0) to 6 (1). Both 0.5 in rows without a click.

    >>> from ecc_jax.ops.disks import disk
    >>> bright = disk(jnp.array([[8.0, 8.0]]), jnp.array([4.0]), (17, 17)).astype(jnp.float32)
    >>> clicks = Clicks(jnp.full((1, 1, 2), 8.0), jnp.full((1, 1), 4.0),
    ...                 jnp.ones((1, 1), bool), jnp.ones(1, int))
    >>> z, ratio = relative_grey(bright[..., None], clicks)
    >>> [round(float(m[0, y, 8, 0]), 2) for m in (z, ratio) for y in (8, 0)]
    [0.5, 0.0, 1.0, 0.0]
    """
    disks = first_disk(clicks)
    distance = distance_in_radii(disks, (image.shape[1], image.shape[2]))
    core = _moments(image, distance <= CORE)
    ring = _moments(image, (distance >= RING[0]) & (distance <= RING[1]))
    z, outer = (image - core[0]) / core[1], (image - ring[0]) / ring[1]
    ratio = 0.5 * (jnp.square(outer) - jnp.square(z)) + jnp.log(ring[1] / core[1])
    has_click = (clicks.count > 0)[:, None, None, None]
    return (
        jnp.where(has_click, _to_unit(z, _Z_RANGE), 0.5),
        jnp.where(has_click, _to_unit(ratio, _RATIO_RANGE), 0.5),
    )


def _moments(
    image: Float[Array, "b h w 1"], region: Bool[Array, "b h w 1"]
) -> tuple[Float[Array, "b 1 1 1"], Float[Array, "b 1 1 1"]]:
    """Returns mean and spread of the grey values in a region; 0 and the least without pixels."""
    weight = region.astype(jnp.float32)
    count = jnp.maximum(jnp.sum(weight, axis=(1, 2), keepdims=True), 1.0)
    mean = jnp.sum(weight * image, axis=(1, 2), keepdims=True) / count
    variance = jnp.sum(weight * jnp.square(image - mean), axis=(1, 2), keepdims=True) / count
    return mean, jnp.sqrt(variance) + _LEAST_SPREAD


def _to_unit(values: Array, limit: float) -> Array:
    """Maps -limit..limit to 0..1 and cuts what lies outside."""
    return jnp.clip(values, -limit, limit) / (2 * limit) + 0.5
