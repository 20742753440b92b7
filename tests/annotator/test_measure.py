"""Measures against oracles that look at every pair of points and at every cell of the outline."""

import itertools
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ecc_jax.annotator import measure
from ecc_jax.annotator.save_lesions import Lesion
from ecc_jax.volumes import Geometry, Volume


def grid(shape=(5, 40, 40), spacing=(3.0, 0.7, 0.7), affine=None, *, known=True):
    if affine is None:
        affine = np.diag([*spacing, 1.0])
    spacing = tuple(np.linalg.norm(affine[:3, :3], axis=0)) if known else (np.nan,) * 3
    return Geometry(shape, spacing, affine, True, Path("a.nii"))


def sizes(mask, geometry=None, **kwargs):
    mask = np.asarray(mask, bool)
    geometry = geometry or grid((5, *mask.shape))
    return measure.measure_slice(mask, geometry, slice_axis=0, slice_index=0, **kwargs)


def midpoints(mask):
    """Half way between each pixel and each of its four neighbours outside, by looking at all."""
    found = set()
    for y, x in np.argwhere(mask).tolist():
        for dy, dx in ((0, 1), (1, 0), (0, -1), (-1, 0)):
            inside = 0 <= y + dy < mask.shape[0] and 0 <= x + dx < mask.shape[1]
            if not (inside and mask[y + dy, x + dx]):
                found.add((y + dy / 2, x + dx / 2))
    return np.array(sorted(found))


def cells(mask):
    """The part of the lesion between each four pixel centres, as the corners of a convex shape."""
    padded = np.pad(mask, 1)
    for y, x in itertools.product(range(mask.shape[0] + 1), range(mask.shape[1] + 1)):
        corners = [(0, 0), (0, 1), (1, 1), (1, 0)]
        values = [padded[y + dy, x + dx] for dy, dx in corners]
        shape = []
        for k in range(4):
            here, there = np.array(corners[k]), np.array(corners[(k + 1) % 4])
            if values[k]:
                shape.append(here)
            if values[k] != values[(k + 1) % 4]:
                shape.append((here + there) / 2)
        if shape:
            yield np.array(shape) + [y - 1, x - 1]


def extent(shape, t, u, at):
    """Lowest and highest u of a convex shape on the line t = at."""
    values = [float(u(p)) for p in shape if abs(t(p) - at) < 1e-9]
    for p, q in itertools.combinations(shape, 2):
        if (t(p) - at) * (t(q) - at) < 0:
            share = (at - t(p)) / (t(q) - t(p))
            values.append(float(u(p) + share * (u(q) - u(p))))
    return values


def widest(mask, steps, ends):
    """The longest line at right angles to an axis; tries each corner's place along it."""
    along = steps @ np.subtract(*ends[::-1])
    along = along / np.linalg.norm(along)
    normal = np.cross(steps[:, 0], steps[:, 1])
    up = np.cross(normal, along) / np.linalg.norm(normal)

    def t(point):
        return along @ steps @ point

    def u(point):
        return up @ steps @ point

    best = 0.0
    shapes = list(cells(mask))
    for at in {t(p) for p in midpoints(mask)}:
        values = [value for shape in shapes for value in extent(shape, t, u, at)]
        best = max(best, max(values) - min(values))
    return best


def random_affine(rng):
    """Any grid a header may hold: turned, oblong, sheared."""
    turn = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    affine = np.eye(4)
    affine[:3, :3] = (
        turn @ (np.eye(3) + rng.uniform(-0.2, 0.2, (3, 3))) @ np.diag(rng.uniform(0.3, 5, 3))
    )
    affine[:3, 3] = rng.uniform(-300, 300, 3)
    return affine


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), slice_axis=st.integers(0, 2))
def test_equal_to_brute_force_on_any_grid(seed, slice_axis):
    rng = np.random.default_rng(seed)
    shape = tuple(int(n) for n in rng.integers(1, 10, 3))
    affine = random_affine(rng)
    mask = rng.random(np.delete(shape, slice_axis)) < rng.choice([0.2, 0.5, 0.9])
    mask.flat[int(rng.integers(mask.size))] = True
    index = int(rng.integers(shape[slice_axis]))
    found = measure.measure_slice(
        mask,
        grid(shape, affine=affine),
        slice_axis=slice_axis,
        slice_index=index,
        all_components=True,
    )
    steps = np.delete(affine[:3, :3], slice_axis, axis=1)
    points = midpoints(mask)
    in_mm = points @ steps.T
    lengths = np.linalg.norm(in_mm[:, None] - in_mm[None], axis=-1)
    assert found.long_axis.length_mm == pytest.approx(lengths.max(), abs=1e-6)
    ends = found.long_axis.ends_yx
    assert {tuple(end) for end in ends} <= {tuple(p) for p in points}
    assert found.short_axis.length_mm == pytest.approx(widest(mask, steps, ends), abs=1e-6)
    for axis in (found.long_axis, found.short_axis):
        ends_mm = np.array(axis.ends_mm)
        assert np.linalg.norm(ends_mm[1] - ends_mm[0]) == pytest.approx(axis.length_mm, abs=1e-6)
        for end, mm in zip(axis.ends_yx, ends_mm, strict=True):
            voxel = np.insert(np.array(end), slice_axis, index)
            np.testing.assert_allclose((affine @ [*voxel, 1])[:3], mm, atol=1e-9)
            # Both ends lie in the outline: half way between pixels, or between two such points.
            assert on_outline(np.array(end), mask)
    long, short = (np.subtract(*axis.ends_mm) for axis in (found.long_axis, found.short_axis))
    assert abs(long @ short) <= 1e-6 * np.linalg.norm(long) * np.linalg.norm(short) + 1e-9
    sides = np.linalg.norm(np.cross(*steps.T))
    assert found.area_mm2 == pytest.approx(np.count_nonzero(mask) * sides, rel=1e-12)


def on_outline(point, mask):
    """Whether a point lies on a border of one of the cells' shapes and not inside the lesion."""
    shapes = [shape for shape in cells(mask) if touches(point, shape)]
    return bool(shapes)


def touches(point, shape):
    hull = [*shape, shape[0]]
    for p, q in itertools.pairwise(hull):
        length = np.linalg.norm(q - p)
        if length == 0:
            continue
        share = np.clip((point - p) @ (q - p) / length**2, 0, 1)
        if np.linalg.norm(p + share * (q - p) - point) < 1e-6:
            return True
    return False


def test_one_pixel_is_one_pixel_long():
    found = sizes(np.eye(1), grid((5, 1, 1), (3.0, 0.5, 2.0)))
    assert found.long_axis.ends_yx == ((0, -0.5), (0, 0.5))
    assert found.long_axis.length_mm == 2.0 and found.short_axis.length_mm == 0.5
    assert found.area_mm2 == 1.0 and found.pixels == found.components == 1


@pytest.mark.parametrize("turned", [False, True])
def test_a_line_of_pixels_is_as_long_as_its_pixels(turned):
    mask = np.zeros((7, 9), bool)
    mask[3, 1:8] = True
    found = sizes(mask.T if turned else mask, grid((5, 9, 7) if turned else (5, 7, 9)))
    assert found.long_axis.length_mm == pytest.approx(7 * 0.7)
    assert found.short_axis.length_mm == pytest.approx(0.7)


def test_a_diagonal_line_is_one_component():
    found = sizes(np.eye(6))
    # From above the first pixel to below the last; the mirror image is as long and comes later.
    assert found.components == 1
    assert found.long_axis.ends_yx == ((-0.5, 0), (5.5, 5))
    assert found.long_axis.length_mm == pytest.approx(0.7 * np.hypot(6, 5))


def test_a_rectangle():
    mask = np.zeros((12, 12), bool)
    mask[2:6, 1:11] = True
    found = sizes(mask, grid((5, 12, 12), (1.0, 1.0, 1.0)))
    # Its corners are cut off by half a pixel: from one pixel's side to the other's.
    assert found.long_axis.length_mm == pytest.approx(np.hypot(10, 3))
    assert found.area_mm2 == 40


@pytest.mark.parametrize("radius", [5, 12.5, 18])
def test_a_disk_is_as_wide_as_its_diameter(radius):
    y, x = np.mgrid[:40, :40]
    found = sizes((y - 20) ** 2 + (x - 19.5) ** 2 <= radius**2)
    for axis in (found.long_axis, found.short_axis):
        assert axis.length_mm == pytest.approx(2 * radius * 0.7, abs=0.7)


def test_an_axis_may_leave_a_concave_lesion():
    """A U: both axes go from arm to arm, across the gap."""
    mask = np.zeros((12, 12), bool)
    mask[1:11, 1:11] = True
    mask[1:8, 3:9] = False
    found = sizes(mask, grid((5, 12, 12), (1.0, 1.0, 1.0)))
    assert found.long_axis.length_mm == pytest.approx(np.hypot(9, 10))
    assert found.short_axis.length_mm > 9


def test_no_pixels_is_a_clear_answer():
    found = sizes(np.zeros((4, 4)))
    assert found == measure.SliceMeasures(0, 0, 0, 0.0, None, None)


def test_the_largest_component_or_all():
    mask = np.zeros((12, 20), bool)
    mask[2, 1:4] = mask[7:9, 12:19] = True
    largest, whole = sizes(mask), sizes(mask, all_components=True)
    assert largest.components == whole.components == 2 and largest.pixels == whole.pixels == 17
    assert largest.long_axis.length_mm == pytest.approx(0.7 * np.hypot(1, 7))
    assert whole.long_axis.length_mm == pytest.approx(0.7 * np.hypot(6, 18))


def test_of_equal_components_the_first_in_reading_order():
    mask = np.zeros((9, 9), bool)
    mask[1, 6] = mask[4, 1] = True
    assert sizes(mask).long_axis.ends_yx == ((0.5, 6), (1.5, 6))


def test_without_voxel_size_there_are_no_lengths():
    found = sizes(np.eye(3), grid((5, 3, 3), known=False))
    assert (found.pixels, found.area_mm2, found.long_axis, found.short_axis) == (
        3,
        None,
        None,
        None,
    )


@pytest.mark.parametrize(
    ("shape", "axis", "index", "word"),
    [((3, 4), 0, 0, "shape"), ((40, 40), 3, 0, "axis"), ((40, 40), 0, 5, "slice index 5")],
)
def test_bad_input_is_named(shape, axis, index, word):
    with pytest.raises(ValueError, match=word):
        measure.measure_slice(np.zeros(shape, bool), grid(), slice_axis=axis, slice_index=index)


def volume(affine, shape=(4, 6, 7)):
    image = np.random.default_rng(0).integers(-1000, 1000, shape).astype(np.int16)
    spacing = tuple(np.linalg.norm(affine[:3, :3], axis=0))
    return Volume(image, spacing, affine, Path("a.nii"))


def test_a_lesion_in_several_slices():
    affine = np.diag([2.5, 0.5, 0.8, 1.0])
    # A tilted gantry: slices move along the rows, and a voxel is no larger for it.
    affine[1, 0] = 0.9
    scan = volume(affine)
    whole = np.random.default_rng(1).random(scan.image_hu.shape) < 0.4
    whole[2] = False
    lesion = Lesion("a", dict(enumerate(whole)))
    found = measure.measure_lesion(lesion, scan)
    values = scan.image_hu[whole].astype(float)
    assert found.voxels == len(values) and len(found.slices) == 3
    assert found.volume_mm3 == pytest.approx(len(values) * 2.5 * 0.5 * 0.8)
    assert found.volume_ml == pytest.approx(found.volume_mm3 / 1000)
    assert (found.mean_hu, found.sd_hu) == pytest.approx((np.mean(values), np.std(values)))
    assert (found.min_hu, found.max_hu) == (values.min(), values.max())
    longest = max(found.slices, key=lambda each: each.long_axis.length_mm)
    assert found.longest == longest and [each.slice_index for each in found.slices] == [0, 1, 3]


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_volume_and_values_do_not_depend_on_the_plane(axis):
    scan = volume(np.diag([2.5, 0.5, 0.8, 1.0]))
    whole = np.random.default_rng(2).random(scan.image_hu.shape) < 0.3
    lesion = Lesion("a", dict(enumerate(np.moveaxis(whole, axis, 0))), axis)
    found = measure.measure_lesion(lesion, scan)
    assert found.volume_mm3 == pytest.approx(np.count_nonzero(whole))
    assert found.mean_hu == pytest.approx(scan.image_hu[whole].mean())


def test_an_empty_lesion_and_a_mask_of_another_grid():
    scan = volume(np.eye(4))
    found = measure.measure_lesion(Lesion("a", {0: np.zeros((6, 7), bool)}), scan)
    assert found.voxels == 0 and found.longest is None and found.mean_hu is None
    assert found.volume_mm3 == 0
    for slices in ({4: np.ones((6, 7), bool)}, {0: np.ones((7, 6), bool)}):
        with pytest.raises(ValueError, match=r"expected slice indices 0 to 3 \(from 0\)"):
            measure.measure_lesion(Lesion("a", slices), scan)
    with pytest.raises(ValueError, match="True and False, got uint8"):
        measure.measure_lesion(Lesion("a", {0: np.ones((6, 7), np.uint8)}), scan)
