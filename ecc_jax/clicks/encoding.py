"""The click buffer, and the maps that a network sees of it.

An encoding belongs to the network that was trained with it. What it draws with a radius of its own
is in pixels of the network's input, so it never grows with a crop; dragged radii do.
"""

from collections.abc import Callable

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from ecc_jax.ops.disks import disk, squared_distance_to
from ecc_jax.types import Click, Clicks

# Radius of what is drawn without a drag, network-input pixels; the originals' static radius.
CLICK_RADIUS = 5.0


def empty_clicks(batch: int, capacity: int) -> Clicks:
    """Returns a buffer without clicks.

    Args:
      batch: Rows.
      capacity: Slots for clicks in every row.

    >>> clicks = empty_clicks(batch=2, capacity=24)
    >>> clicks.yx.shape, clicks.count.tolist()
    ((2, 24, 2), [0, 0])
    """
    return Clicks(
        yx=jnp.zeros((batch, capacity, 2), jnp.float32),
        radius=jnp.zeros((batch, capacity), jnp.float32),
        is_positive=jnp.zeros((batch, capacity), bool),
        count=jnp.zeros((batch,), jnp.int32),
    )


def append_click(clicks: Clicks, click: Click) -> Clicks:
    """Returns the buffer with `click` added in the next free slot of each row.

    Args:
      clicks: The clicks so far.
      click: The newest click of each row.

    Returns:
      The longer buffer. Rows where `click.exists` is False do not change, nor do rows whose
      buffer is full: callers choose a capacity that holds all clicks they mean to place.

    >>> yes = jnp.array([True])
    >>> click = Click(jnp.array([[1.0, 2.0]]), jnp.array([3.0]), is_positive=yes, exists=yes)
    >>> clicks = append_click(empty_clicks(1, 2), click)
    >>> clicks.yx.tolist(), clicks.count.tolist()
    ([[[1.0, 2.0], [0.0, 0.0]]], [1])
    """
    capacity = clicks.radius.shape[1]
    slot = jnp.arange(capacity, dtype=jnp.int32)[None, :]
    here = (slot == clicks.count[:, None]) & click.exists[:, None]
    fits = click.exists & (clicks.count < capacity)
    return Clicks(
        yx=jnp.where(here[:, :, None], click.yx[:, None, :], clicks.yx),
        radius=jnp.where(here, click.radius[:, None], clicks.radius),
        is_positive=jnp.where(here, click.is_positive[:, None], clicks.is_positive),
        count=clicks.count + fits.astype(clicks.count.dtype),
    )


def disk_maps(
    clicks: Clicks, shape: tuple[int, int], *, radius: float = CLICK_RADIUS
) -> Float[Array, "b h w 2"]:
    """Returns the disks of all clicks drawn on two maps.

    Args:
      clicks: Clicks so far; empty slots are ignored, whatever they hold.
      shape: Height and width of the maps.
      radius: Not read: every click is drawn with its own.

    Returns:
      Channels (positive, negative): 1 where the squared distance to the centre of any click of
      that sign is at most its squared radius, else 0. Signs do not see each other, so the
      channels may overlap. Centres may lie between pixels or outside the image.

    Source: thesis 3.3.2; the same maps as `DistMaps` in mode "disk" of the thesis code.

    >>> yes = jnp.array([True])
    >>> click = Click(jnp.array([[0.0, 1.0]]), jnp.array([1.0]), is_positive=yes, exists=yes)
    >>> maps = disk_maps(append_click(empty_clicks(1, 2), click), (2, 4))
    >>> maps[0, :, :, 0].tolist()
    [[1.0, 1.0, 1.0, 0.0], [0.0, 1.0, 0.0, 0.0]]
    """
    return _united(disk(clicks.yx, clicks.radius, shape), clicks)


def hybrid_maps(
    clicks: Clicks, shape: tuple[int, int], *, radius: float = CLICK_RADIUS
) -> Float[Array, "b h w 2"]:
    """Returns the first click as the disk that was dragged, all later ones as static disks.

    Args:
      clicks: Clicks so far, the first of a row in its first slot; empty slots are ignored.
      shape: Height and width of the maps.
      radius: Of the later clicks, pixels of the maps, whatever was dragged.

    Returns:
      Channels (positive, negative) as in `disk_maps`.

    >>> yes, place = jnp.array([True]), jnp.array([[0.0, 2.0]])
    >>> clicks = append_click(empty_clicks(1, 2), Click(place, jnp.array([1.0]), yes, yes))
    >>> clicks = append_click(clicks, Click(place + 3.0, jnp.array([9.0]), yes, yes))
    >>> hybrid_maps(clicks, (1, 6), radius=0.0)[0, 0, :, 0].tolist()
    [0.0, 1.0, 1.0, 1.0, 0.0, 0.0]
    """
    drawn = jnp.where(_is_first(clicks), clicks.radius, radius)
    return _united(disk(clicks.yx, drawn, shape), clicks)


def box_maps(
    clicks: Clicks, shape: tuple[int, int], *, radius: float = CLICK_RADIUS
) -> Float[Array, "b h w 2"]:
    """Returns the first click as the box around its disk, all later ones as static disks.

    Args:
      clicks: Clicks so far, the first of a row in its first slot; empty slots are ignored.
      shape: Height and width of the maps.
      radius: Of the later clicks, pixels of the maps, whatever was dragged.

    Returns:
      Channels (positive, negative): the box is 1 where neither row nor column is farther from the
      centre than the dragged radius.

    >>> yes = jnp.array([True])
    >>> click = Click(jnp.array([[0.0, 1.0]]), jnp.array([1.0]), is_positive=yes, exists=yes)
    >>> maps = box_maps(append_click(empty_clicks(1, 2), click), (3, 4))
    >>> maps[0, :, :, 0].tolist()
    [[1.0, 1.0, 1.0, 0.0], [1.0, 1.0, 1.0, 0.0], [0.0, 0.0, 0.0, 0.0]]
    """
    height, width = shape
    y, x = clicks.yx[..., 0, None], clicks.yx[..., 1, None]
    near_y = jnp.abs(jnp.arange(height)[None, None, :] - y) <= clicks.radius[..., None]
    near_x = jnp.abs(jnp.arange(width)[None, None, :] - x) <= clicks.radius[..., None]
    box = near_y[..., :, None] & near_x[..., None, :]
    disks = disk(clicks.yx, jnp.full_like(clicks.radius, radius), shape)
    return _united(jnp.where(_is_first(clicks)[..., None, None], box, disks), clicks)


def gaussian_maps(
    clicks: Clicks, shape: tuple[int, int], *, radius: float = CLICK_RADIUS
) -> Float[Array, "b h w 2"]:
    """Returns maps that are 1 at each click and fall evenly to 0 at a fixed distance.

    Args:
      clicks: Clicks so far; empty slots are ignored. What was dragged is not shown.
      shape: Height and width of the maps.
      radius: Where 0 is reached, pixels of the maps.

    Returns:
      Channels (positive, negative): max(0, 1 - distance / radius) of the nearest click.

    Source: thesis 3.3.2, the clicks of U-Net++: strongest at the centre, decaying to zero at 5
    pixels. The shape of the decay is not given; its code draws `wide_gaussian_maps`.

    >>> yes = jnp.array([True])
    >>> click = Click(jnp.array([[0.0, 0.0]]), jnp.array([9.0]), is_positive=yes, exists=yes)
    >>> maps = gaussian_maps(append_click(empty_clicks(1, 2), click), (1, 4), radius=2.0)
    >>> maps[0, 0, :, 0].tolist()
    [1.0, 0.5, 0.0, 0.0]
    """
    return jnp.maximum(0.0, 1.0 - jnp.sqrt(_nearest(clicks, shape)) / radius)


def wide_gaussian_maps(
    clicks: Clicks, shape: tuple[int, int], *, radius: float = CLICK_RADIUS
) -> Float[Array, "b h w 2"]:
    """Returns a Gaussian around each click, which reaches far beyond its standard deviation.

    Args:
      clicks: Clicks so far; empty slots are ignored. What was dragged is not shown.
      shape: Height and width of the maps.
      radius: Standard deviation, pixels of the maps.

    Returns:
      Channels (positive, negative): exp(-distance ** 2 / (2 radius ** 2)) of the nearest click, so
      1 at a click and 0.607 at one standard deviation.

    Source: `DistMaps` in mode "gaussian" of the thesis code for U-Net++ (isegm/model/ops.py:117).

    >>> yes = jnp.array([True])
    >>> click = Click(jnp.array([[0.0, 0.0]]), jnp.array([9.0]), is_positive=yes, exists=yes)
    >>> maps = wide_gaussian_maps(append_click(empty_clicks(1, 2), click), (1, 6))
    >>> [round(float(maps[0, 0, x, 0]), 3) for x in (0, 5)]
    [1.0, 0.607]
    """
    return jnp.exp(-_nearest(clicks, shape) / (2.0 * radius * radius))


def distance_maps(
    clicks: Clicks, shape: tuple[int, int], *, radius: float = CLICK_RADIUS
) -> Float[Array, "b h w 2"]:
    """Returns how far every pixel is from the nearest click of each sign, saturating at 1.

    Args:
      clicks: Clicks so far; empty slots are ignored. What was dragged is not shown.
      shape: Height and width of the maps.
      radius: The distance, pixels of the maps, at which the map is tanh(2) = 0.964.

    Returns:
      Channels (positive, negative): tanh(2 distance / radius), 0 at a click; 1 everywhere in a
      channel without clicks.

    Source: `DistMaps` of RITM without disks (isegm/model/ops.py:37-91, norm_radius 5).

    >>> yes = jnp.array([True])
    >>> click = Click(jnp.array([[0.0, 0.0]]), jnp.array([9.0]), is_positive=yes, exists=yes)
    >>> maps = distance_maps(append_click(empty_clicks(1, 2), click), (1, 6))
    >>> [round(float(maps[0, 0, x, 0]), 3) for x in (0, 5)], float(maps[0, 0, 0, 1])
    ([0.0, 0.964], 1.0)
    """
    return jnp.tanh(2.0 * jnp.sqrt(_nearest(clicks, shape)) / radius)


# How clicks are drawn for a network: (clicks, shape, radius=…) -> maps.
ENCODINGS: dict[str, Callable[..., Float[Array, "b h w 2"]]] = {
    "disk": disk_maps,
    "hybrid": hybrid_maps,
    "box": box_maps,
    "gaussian": gaussian_maps,
    "wide_gaussian": wide_gaussian_maps,
    "distance": distance_maps,
}
NAMES = tuple(ENCODINGS)
# Those that draw the first click as it was dragged and no other, and those that show no radius.
FIRST_DRAGGED = ("hybrid", "box")
WITHOUT_RADIUS = ("gaussian", "wide_gaussian", "distance")


def _signs(clicks: Clicks) -> tuple[Bool[Array, "b n"], Bool[Array, "b n"]]:
    """Returns which slots hold a positive, and which a negative click."""
    used = jnp.arange(clicks.radius.shape[1])[None, :] < clicks.count[:, None]
    return clicks.is_positive & used, ~clicks.is_positive & used


def _is_first(clicks: Clicks) -> Bool[Array, "b n"]:
    """Returns which slots hold the first click of their row."""
    first = jnp.arange(clicks.radius.shape[1])[None, :] == 0
    return jnp.broadcast_to(first, clicks.radius.shape)


def _united(shapes: Bool[Array, "b n h w"], clicks: Clicks) -> Float[Array, "b h w 2"]:
    """Returns the union of what the clicks of each sign draw."""
    maps = [jnp.any(shapes & sign[:, :, None, None], axis=1) for sign in _signs(clicks)]
    return jnp.stack(maps, axis=-1).astype(jnp.float32)


def _nearest(clicks: Clicks, shape: tuple[int, int]) -> Float[Array, "b h w 2"]:
    """Returns the squared distance to the nearest click of each sign; infinite without any."""
    squared = squared_distance_to(clicks.yx, shape)
    maps = [
        jnp.min(jnp.where(sign[:, :, None, None], squared, jnp.inf), axis=1)
        for sign in _signs(clicks)
    ]
    return jnp.stack(maps, axis=-1)
