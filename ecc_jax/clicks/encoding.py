"""The click buffer, and the disk maps that a network sees of it."""

from collections.abc import Callable

import jax.numpy as jnp
from jaxtyping import Array, Float

from ecc_jax.ops.disks import disk
from ecc_jax.types import Click, Clicks


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


def disk_maps(clicks: Clicks, shape: tuple[int, int]) -> Float[Array, "b h w 2"]:
    """Returns the disks of all clicks drawn on two maps.

    Args:
      clicks: Clicks so far; empty slots are ignored, whatever they hold.
      shape: Height and width of the maps.

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
    used = jnp.arange(clicks.radius.shape[1])[None, :] < clicks.count[:, None]
    inside = disk(clicks.yx, clicks.radius, shape)
    maps = [
        jnp.any(inside & (used & sign)[:, :, None, None], axis=1)
        for sign in (clicks.is_positive, ~clicks.is_positive)
    ]
    return jnp.stack(maps, axis=-1).astype(jnp.float32)


# How clicks are drawn for a network: (clicks, shape) -> maps.
ENCODINGS: dict[str, Callable[[Clicks, tuple[int, int]], Float[Array, "b h w 2"]]] = {
    "disk": disk_maps,
}
NAMES = tuple(ENCODINGS)
