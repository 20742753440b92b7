"""What FocalClick's refiner is trained on, against plain NumPy and SciPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage

from ecc_jax.training import refiner
from ecc_jax.types import Clicks

SHAPE = (96, 128)
NUMBER = 300


def square(y0, x0, y1, x1, shape=SHAPE):
    mask = np.zeros(shape, bool)
    mask[y0:y1, x0:x1] = True
    return mask


def boxes(rule, target, number=NUMBER, seed=0):
    """Boxes of one target, drawn many times."""
    keys = jax.random.split(jax.random.key(seed), number)
    rows = jnp.asarray(np.broadcast_to(target, (number, *target.shape)))
    return np.asarray(jax.jit(rule)(keys, rows))


def sides_of(first, last):
    """The sides that an axis from `first` to `last` may get, by how far it may be moved."""
    found = {}
    for scale in (1.1, 1.2, 1.3, 1.4, 1.5, 1.6):
        side = max(scale * (last - first + 1), 32)
        middle = (first + last) / 2
        low, high = int(middle - side / 2), int(middle + side / 2)
        found[high - low] = max(found.get(high - low, 0), int(0.3 * side))
    return found


def test_boxes_of_a_lesion_are_its_own_expanded_and_moved():
    target = square(40, 50, 64, 80)
    got = boxes(refiner.lesion_boxes, target)
    # Far enough from the border for none to be cut.
    for first, last, low, high in ((40, 63, got[:, 0], got[:, 2]), (50, 79, got[:, 1], got[:, 3])):
        allowed = sides_of(first, last)
        assert set(high - low) == set(allowed)
        shift = (low + high - (first + last)) / 2
        most = np.array([allowed[side] for side in high - low])
        assert (np.abs(shift) <= most + 1).all()
        assert shift.min() < -0.7 * most.min() and shift.max() > 0.7 * most.min()
    # One scale for both axes, a move for each.
    assert np.corrcoef(got[:, 2] - got[:, 0], got[:, 3] - got[:, 1])[0, 1] > 0.7
    assert abs(np.corrcoef(got[:, 0], got[:, 1])[0, 1]) < 0.3


@pytest.mark.parametrize(
    ("target", "held"),
    [
        (square(50, 60, 51, 61), (50, 60, 51, 61)),  # one pixel: 32 around it
        (square(20, 20, 30, 30) | square(60, 60, 69, 69), (20, 20, 30, 30)),  # the larger one
        (square(20, 20, 30, 30) | square(60, 60, 70, 70), (20, 20, 30, 30)),  # a tie: the first
        (square(0, 118, 10, 128), (0, 118, 10, 128)),  # at the border
    ],
)
def test_small_lesions_have_boxes_of_32_pixels_on_them(target, held):
    got = boxes(refiner.lesion_boxes, target, 60)
    assert (got[:, :2] >= 0).all() and (got[:, 2:] <= SHAPE).all()
    assert (got[:, 2:] - got[:, :2] <= 33).all() and (got[:, 2:] > got[:, :2]).all()
    # The middle of the lesion is in the box, whatever its move.
    middle = np.array([held[0] + held[2], held[1] + held[3]]) / 2 - 0.5
    assert ((got[:, :2] <= middle) & (middle < got[:, 2:])).all()


def test_a_slice_without_lesion_has_the_whole_image():
    nothing = square(0, 0, 0, 0)
    for rule in (refiner.lesion_boxes, refiner.training_boxes):
        np.testing.assert_array_equal(boxes(rule, nothing, 3), [[0, 0, *SHAPE]] * 3)


def test_boxes_on_an_outline_have_their_centre_there():
    target = square(30, 40, 66, 90)
    got = boxes(refiner.outline_boxes, target)
    size = got[:, 2:] - got[:, :2]
    for axis, length in enumerate(SHAPE):
        allowed = {int(length / (1.5 + 0.1 * k) + 1e-6) for k in range(25)}
        # Quotients that are whole numbers may round down.
        allowed |= {n - 1 for n in allowed}
        assert set(size[:, axis]) <= allowed and len(set(size[:, axis])) > 12
    assert (got[:, :2] >= 0).all() and (got[:, 2:] <= SHAPE).all()
    ring = ndimage.binary_dilation(target, np.ones((5, 5))) & ~target
    centre = got[:, :2] + size // 2
    on_ring = ring[tuple(np.minimum(centre, np.array(SHAPE) - 1).T)]
    # But for the largest, which lie inside the image around no pixel of the ring.
    rows, columns = np.nonzero(ring)
    low, high = size // 2, np.array(SHAPE) - size // 2
    fits = (rows >= low[:, :1]) & (rows < high[:, :1])
    fits &= (columns >= low[:, 1:]) & (columns < high[:, 1:])
    np.testing.assert_array_equal(on_ring[fits.any(axis=1)], True)
    assert 0.9 < fits.any(axis=1).mean() < 1
    # All sides of the ring are visited.
    for axis, low, high in ((0, 30, 65), (1, 40, 89)):
        assert (centre[:, axis] < low).any() and (centre[:, axis] > high).any()


def test_boxes_on_an_outline_that_fit_nowhere_are_moved_inside():
    got = boxes(refiner.outline_boxes, square(0, 0, 3, 3), 100)
    assert (got[:, :2] >= 0).all() and (got[:, 2:] <= SHAPE).all()
    # Half of the least box is larger than the distance to the border: no box is centred there.
    np.testing.assert_array_equal(got[:, :2], 0)
    everything = boxes(refiner.outline_boxes, square(0, 0, *SHAPE), 4)
    assert (everything[:, :2] >= 0).all() and (everything[:, 2:] <= SHAPE).all()


@pytest.mark.parametrize(
    ("target", "share"), [(square(20, 20, 80, 79), 0.0), (square(20, 20, 80, 80), 0.4)]
)
def test_only_large_lesions_are_shown_by_their_outline(target, share):
    """From 3600 pixels on four boxes in ten lie on the outline."""
    keys = jax.random.split(jax.random.key(3), 500)
    rows = jnp.asarray(np.broadcast_to(target, (500, *SHAPE)))
    got = np.asarray(jax.jit(refiner.training_boxes)(keys, rows))
    # Boxes of this lesion reach at least 66 rows before they are cut and moved by up to 0.3.
    lesion_like = np.asarray(jax.jit(refiner.lesion_boxes)(keys, rows))
    least = (lesion_like[:, 2:] - lesion_like[:, :2]).min(axis=0)
    small = ((got[:, 2:] - got[:, :2]) < least).any(axis=1).mean()
    assert small == pytest.approx(share, abs=0.12) and (small > 0) == (share > 0)


def half_pixel(image, shape):
    """Bilinear with the outer edges aligned, as OpenCV's default."""
    for axis in (0, 1):
        size, wanted = image.shape[axis], shape[axis]
        place = np.clip((np.arange(wanted) + 0.5) * size / wanted - 0.5, 0, size - 1)
        columns = np.moveaxis(image, axis, 0).reshape(size, -1)
        values = [np.interp(place, np.arange(size), c) for c in columns.T]
        image = np.moveaxis(np.reshape(values, (image.shape[1 - axis], wanted)).T, 0, axis)
    return image


def boundary_by_hand(mask):
    small = half_pixel(mask.astype(float), (mask.shape[0] // 8, mask.shape[1] // 8)) > 0.5
    back = half_pixel(small.astype(float), mask.shape) > 0.5
    return ndimage.binary_dilation(back ^ mask, np.ones((3, 3)), iterations=2)


def test_boundary_is_what_an_eighth_of_the_resolution_loses():
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    rng = np.random.default_rng(0)
    noise = ndimage.gaussian_filter(rng.normal(size=(4, *SHAPE)), (0, 5, 5))
    masks = np.stack(
        [np.hypot(y - 41.3, x - 60.7) < 27.2, square(44, 60, 47, 63), *(noise > noise.std())]
    )
    got = np.asarray(jax.jit(refiner.boundary_map)(jnp.asarray(masks)))
    for mask, boundary in zip(masks, got, strict=True):
        # Pixels exactly at one half may fall either way.
        assert (boundary != boundary_by_hand(mask)).mean() < 2e-3
        assert 0 < boundary.mean() < 0.6
    # A lesion too small to survive is boundary, with two pixels around it.
    np.testing.assert_array_equal(got[1], square(42, 58, 49, 65))
    deep = np.hypot(y - 41.3, x - 60.7) < 15
    assert not got[0][deep].any()
    plain = jnp.asarray(np.stack([masks[0] & False, masks[0] | True]))
    assert not np.asarray(refiner.boundary_map(plain)).any()


def clicks(batch, count=2):
    yx = np.tile(np.float32([[50.0, 62.0], [44.0, 70.0], [0.0, 0.0]]), (batch, 1, 1))
    radius = np.tile(np.float32([6.0, 3.0, 0.0]), (batch, 1))
    sign = np.tile([True, False, True], (batch, 1))
    return jax.tree.map(jnp.asarray, Clicks(yx, radius, sign, np.full(batch, count, np.int32)))


def drawn(scales_radius, batch=6, seed=1):
    rng = np.random.default_rng(0)
    image = jnp.asarray(ndimage.gaussian_filter(rng.random((batch, *SHAPE, 1)), (0, 2, 2, 0)))
    target = jnp.asarray(np.broadcast_to(square(40, 50, 64, 80), (batch, *SHAPE)))
    keys = jax.random.split(jax.random.key(seed), batch)
    arguments = keys, image.astype(jnp.float32), target, clicks(batch)
    draw = jax.jit(refiner.draw_focus, static_argnames="scales_radius")
    return arguments, draw(*arguments, scales_radius=scales_radius)


@pytest.mark.parametrize("scales_radius", [True, False])
def test_what_lies_in_a_box_is_image_truth_and_clicks_alike(scales_radius):
    """Dynamic disks keep their place; the original's code left their radii as they were."""
    (_, image, target, before), focus = drawn(scales_radius)
    for row, (y0, x0, y1, x1) in enumerate(np.asarray(focus.box).tolist()):
        axes = np.linspace(0, y1 - y0 - 1, SHAPE[0]), np.linspace(0, x1 - x0 - 1, SHAPE[1])
        grid = np.meshgrid(*axes, indexing="ij")

        def read(values, grid=grid, box=(y0, y1, x0, x1), row=row):
            part = np.asarray(values[row], np.float64)[box[0] : box[1], box[2] : box[3]]
            return ndimage.map_coordinates(part, grid, order=1)

        np.testing.assert_allclose(focus.image[row, ..., 0], read(image[..., 0]), atol=1e-4)
        truth = read(target)
        sure = np.abs(truth - 0.5) > 1e-3
        np.testing.assert_array_equal(np.asarray(focus.target[row])[sure], (truth > 0.5)[sure])
        boundary = read(boundary_by_hand(np.asarray(target[row]))[None], row=0)
        sure = np.abs(boundary - 0.5) > 1e-3
        assert (np.asarray(focus.boundary[row])[sure] == (boundary > 0.5)[sure]).mean() > 0.99
        scale = np.array(SHAPE) / [y1 - y0, x1 - x0]
        yx = (np.asarray(before.yx[row]) - [y0, x0]) * scale
        np.testing.assert_allclose(focus.clicks.yx[row], yx, rtol=1e-4)
        factor = scale.mean() if scales_radius else 1.0
        np.testing.assert_allclose(focus.clicks.radius[row], before.radius[row] * factor, rtol=1e-5)
        assert scale.mean() > 1.5  # so that it matters
    np.testing.assert_array_equal(focus.clicks.count, before.count)


def test_rows_do_not_see_each_other_and_jit_changes_nothing():
    arguments, together = drawn(True)
    eager = refiner.draw_focus(*arguments, scales_radius=True)
    np.testing.assert_array_equal(eager.box, together.box)
    for row in range(2):
        part = jax.tree.map(lambda a, row=row: a[row : row + 1], arguments)
        alone = refiner.draw_focus(*part, scales_radius=True)
        for one, all_rows in zip(alone[:2], together[:2], strict=True):
            np.testing.assert_allclose(one[0], all_rows[row], atol=1e-5)
    _, again = drawn(True, seed=2)
    assert not np.array_equal(again.box, together.box)
