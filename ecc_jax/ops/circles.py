"""Minimum enclosing circles of regions."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

# How much farther than the radius, squared, a pixel must be to count as outside: above the
# rounding of float32, below what anybody sees (0.0005 px at a radius of 500).
_SLACK = 1.0 + 2e-6
# Every step brings in the farthest pixel; disks, noise and slivers of 512 px take fewer than 10.
_MAX_STEPS = 100

# Step, support, centre, squared radius, the farthest point, and whether it lies outside.
_Carry = tuple[Array, Array, Array, Array, Array, Array]


def min_enclosing_circle(
    region: Bool[Array, "b h w"],
) -> tuple[Float[Array, "b 2"], Float[Array, " b"]]:
    """Returns the smallest circle around the pixel centres of a region.

    Args:
      region: One region per row of the batch, of any shape, connected or not.

    Returns:
      Centre yx and radius, pixels. The radius is measured from the returned centre to the farthest
      pixel, so the circle always covers the region; it exceeds the true minimum by rounding only
      (about 1e-6 of it, plus that of the coordinates). Zeros for an empty region; for one pixel
      its centre and radius 0. Exact up to extents of 2896 px, where float32 ends to hold squares.

    Source: Welzl 1991 for the problem; Gärtner 1999, "Fast and robust smallest enclosing balls",
    for the pivot: the farthest point outside joins the at most 3 points that hold the circle, and
    the circle of these few is found by trying all pairs and triples. The radius grows with every
    step, so no set of points returns.

    >>> centre, radius = min_enclosing_circle(jnp.array([[[1, 1, 1, 1, 1], [0, 0, 0, 0, 0]]], bool))
    >>> centre.tolist(), radius.tolist()
    ([[0.0, 2.0]], [2.0])
    """
    points, exists = _row_ends(region)
    low = jnp.min(jnp.where(exists[..., None], points, jnp.inf), axis=1)
    high = jnp.max(jnp.where(exists[..., None], points, -jnp.inf), axis=1)
    # Whole coordinates around 0 keep the most digits.
    origin = jnp.where(jnp.any(exists, axis=1)[:, None], jnp.floor((low + high) / 2), 0.0)
    local = points - origin[:, None]
    first = jnp.take_along_axis(local, jnp.argmax(exists, axis=1)[:, None, None], axis=1)
    centre = origin + _pivot(local, exists, first)
    squared = jnp.sum(jnp.square(points - centre[:, None]), axis=2)
    radius = jnp.sqrt(jnp.max(jnp.where(exists, squared, 0.0), axis=1, initial=0.0))
    return centre, radius


def _row_ends(region: Bool[Array, "b h w"]) -> tuple[Float[Array, "b p 2"], Bool[Array, "b p"]]:
    """Returns the first and last pixel of every image row, among them all corners of the hull."""
    height, width = region.shape[1:]
    left = jnp.argmax(region, axis=2)
    right = width - 1 - jnp.argmax(region[:, :, ::-1], axis=2)
    x = jnp.concatenate([left, right], axis=1).astype(jnp.float32)
    y = jnp.broadcast_to(jnp.tile(jnp.arange(height, dtype=jnp.float32), 2)[None], x.shape)
    return jnp.stack([y, x], axis=2), jnp.tile(jnp.any(region, axis=2), (1, 2))


def _pivot(
    points: Float[Array, "b p 2"], exists: Bool[Array, "b p"], first: Float[Array, "b 1 2"]
) -> Float[Array, "b 2"]:
    """Returns the centre of the smallest circle around the points, starting from one of them."""

    def outside(centre: Array, squared_radius: Array) -> tuple[Array, Array]:
        squared = jnp.sum(jnp.square(points - centre[:, None]), axis=2)
        squared = jnp.where(exists, squared, -1.0)
        farthest = jnp.argmax(squared, axis=1)[:, None]
        is_outside = jnp.max(squared, axis=1) > squared_radius * _SLACK
        return jnp.take_along_axis(points, farthest[..., None], axis=1)[:, 0], is_outside

    def unfinished(carry: _Carry) -> Array:
        step, *_, active = carry
        return jnp.logical_and(step < _MAX_STEPS, jnp.any(active))

    def grow(carry: _Carry) -> _Carry:
        step, support, centre, squared_radius, point, active = carry
        grown = _circle_through(point, support)
        keep = active[:, None]
        support = jnp.where(keep[..., None], grown[0], support)
        centre = jnp.where(keep, grown[1], centre)
        squared_radius = jnp.where(active, grown[2], squared_radius)
        return step + 1, support, centre, squared_radius, *outside(centre, squared_radius)

    support, centre = jnp.repeat(first, 3, axis=1), first[:, 0]
    squared_radius = jnp.zeros_like(centre[:, 0])
    start = (jnp.int32(0), support, centre, squared_radius, *outside(centre, squared_radius))
    _, _, centre, *_ = jax.lax.while_loop(unfinished, grow, start)
    return centre


def _circle_through(
    point: Float[Array, "b 2"], support: Float[Array, "b 3 2"]
) -> tuple[Float[Array, "b 3 2"], Float[Array, "b 2"], Float[Array, " b"]]:
    """Returns the smallest circle around a support and a point outside its circle.

    The point lies on it, so it is the circle over the point and one of the support, or through the
    point and two of the support: of those six the one that reaches the least far to cover all four.

    Args:
      point: The point outside.
      support: Three points, repeated where fewer hold the circle.

    Returns:
      The new support, centre and squared radius.
    """
    points = jnp.concatenate([support, point[:, None]], axis=1)
    new = jnp.broadcast_to(point[:, None], support.shape)
    one, other = support, jnp.roll(support, 1, axis=1)
    pairs = (new + one) / 2
    triples, in_line = _circumcentre(new, one, other)
    centres = jnp.concatenate([pairs, triples], axis=1)
    supports = jnp.concatenate(
        [jnp.stack([new, one, one], axis=2), jnp.stack([new, one, other], axis=2)], axis=1
    )
    reach = jnp.max(jnp.sum(jnp.square(points[:, None] - centres[:, :, None]), axis=3), axis=2)
    no_circle = jnp.concatenate([jnp.zeros_like(in_line), in_line], axis=1)
    reach = jnp.where(no_circle, jnp.inf, reach)
    best = jnp.argmin(reach, axis=1)[:, None]
    return (
        jnp.take_along_axis(supports, best[..., None, None], axis=1)[:, 0],
        jnp.take_along_axis(centres, best[..., None], axis=1)[:, 0],
        jnp.take_along_axis(reach, best, axis=1)[:, 0],
    )


def _circumcentre(
    a: Float[Array, "*b 2"], b: Float[Array, "*b 2"], c: Float[Array, "*b 2"]
) -> tuple[Float[Array, "*b 2"], Bool[Array, "*b"]]:
    """Returns the centre of the circle through three points, and where they are in line.

    It lies on the perpendicular through the middle of a and b, half the cotangent of the angle at
    c along. For points at whole coordinates both products are exact and only the quotient is
    rounded, so flat triangles lose no digits. Points in line have no such centre, but a finite
    number: the maximum over an array with NaN depends on its size on a CPU.
    """
    side, to_a, to_b = b - a, a - c, b - c
    dot = jnp.sum(to_a * to_b, axis=-1)
    cross = to_a[..., 0] * to_b[..., 1] - to_a[..., 1] * to_b[..., 0]
    in_line = cross == 0
    along = dot / jnp.where(in_line, 1.0, 2.0 * cross)
    across = jnp.stack([-side[..., 1], side[..., 0]], axis=-1)
    return (a + b) / 2 + across * along[..., None], in_line
