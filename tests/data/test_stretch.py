"""Crops stretched to one shape: the strategies of FocalClick and Optimal Crop."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage, stats

from ecc_jax.data import augment
from ecc_jax.data.augment import Augmentation, augment_slices, crop_and_stretch

SHAPE, CROP = (24, 20), (60, 50)
STRAIGHT = {"flip_prob": 0.0, "vertical_flip_prob": 0.0}


def _compiled(**options):
    return jax.jit(functools.partial(crop_and_stretch, **{"crop": CROP, **options}))


_stretch = _compiled(bounds=(0.2, 1.4), crop_prob=0.8)
_straight = _compiled(bounds=(0.2, 1.4), crop_prob=0.8, **STRAIGHT)


def _keys(seed: int, rows: int) -> jax.Array:
    return jax.random.split(jax.random.key(seed), rows)


def _blobs(seed: int, rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Noise, and disks that may touch or cross the border."""
    rng = np.random.default_rng(seed)
    yy, xx = np.mgrid[: SHAPE[0], : SHAPE[1]]
    centre = rng.uniform(0, 1, (2, rows, 1, 1)) * np.array(SHAPE).reshape(2, 1, 1, 1)
    radius = rng.uniform(1, 6, (rows, 1, 1))
    mask = np.hypot(yy - np.floor(centre[0]), xx - np.floor(centre[1])) < radius
    return rng.random((rows, *SHAPE), np.float32), mask


def _ramps(shape: tuple[int, int], rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Images that carry the row, and the column, of every pixel as share of the side."""
    y, x = (np.indices(shape, np.float32)[axis] / shape[axis] for axis in (0, 1))
    return tuple(np.broadcast_to(ramp, (rows, *shape)) for ramp in (y, x))


def _drawn(stretch, keys, target, crop=CROP):
    """Returns origin and lengths of each row's crop, read from where two ramps come to lie."""
    shape, rows = target.shape[1:], len(target)
    found = np.zeros((rows, 2, 2))
    for axis, ramp in enumerate(_ramps(shape, rows)):
        seen = np.asarray(stretch(keys, ramp, target)[0], np.float64).max(axis=2 - axis)
        for row, line in enumerate(seen * shape[axis]):
            inner = np.flatnonzero((line > 0.01) & (line < shape[axis] - 1.01))
            first, last = inner[0], inner[-1]
            step = (line[last] - line[first]) / (last - first)
            found[row, :, axis] = line[first] + 0.5 - (first + 0.5) * step, step * crop[axis]
    return found[:, 0], found[:, 1]


def _oracle(image: np.ndarray, origin: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """SciPy's bilinear reading of the crop; 0 outside the image."""
    places = [
        origin[axis] - 0.5 + (np.arange(CROP[axis]) + 0.5) * lengths[axis] / CROP[axis]
        for axis in (0, 1)
    ]
    grid = np.meshgrid(*places, indexing="ij")
    outside = [(p < -0.5) | (p > n - 0.5) for p, n in zip(grid, SHAPE, strict=True)]
    values = ndimage.map_coordinates(image.astype(float), grid, order=1, mode="nearest")
    return np.where(outside[0] | outside[1], 0.0, values)


def test_crops_are_whole_pixels_between_the_bounds_and_read_as_scipy_reads_them():
    rows = 64
    keys, (image, target) = _keys(0, rows), _blobs(0, rows)
    origin, lengths = _drawn(_straight, keys, target)
    np.testing.assert_allclose(origin, np.round(origin), atol=2e-3)
    np.testing.assert_allclose(lengths, np.round(lengths), atol=2e-3)
    origin, lengths = np.round(origin), np.round(lengths)
    low, high = np.round(0.2 * np.array(SHAPE)), np.round(1.4 * np.array(SHAPE))
    assert np.all((lengths >= low) & (lengths <= high))
    # Within the slice where it fits, around the slice where it does not.
    spare = np.array(SHAPE) - lengths
    assert np.all((origin >= np.minimum(spare, 0)) & (origin <= np.maximum(spare, 0)))
    assert np.any(lengths[:, 0] > SHAPE[0]) and np.any(lengths[:, 1] < SHAPE[1] / 2)
    seen, mask = map(np.asarray, _straight(keys, image, target))
    for row in range(rows):
        expected = _oracle(image[row], origin[row], lengths[row])
        # A centre on the rim of the slice may fall on either side of it.
        assert np.mean(np.abs(seen[row] - expected) > 1e-3) < 0.06
        coverage = _oracle(target[row], origin[row], lengths[row])
        if np.any(coverage > 0.501):
            differ = mask[row] != (coverage > 0.5)
            assert np.all(np.abs(coverage[differ] - 0.5) < 1e-3)
        cut = [slice(max(int(o), 0), int(o + n)) for o, n in zip(origin[row], lengths[row])]
        assert target[row][tuple(cut)].any()


def test_height_and_width_are_drawn_apart_and_uniformly_or_about_one():
    side, rows, low, high = 40, 400, 0.5, 1.4
    target = np.zeros((rows, side, side), bool)
    for rule, law in (
        ("uniform", stats.uniform(low, high - low)),
        ("normal", stats.truncnorm((low - 1) / 0.4, (high - 1) / 0.4, 1, 0.4)),
    ):
        stretch = _compiled(crop=(64, 64), bounds=(low, high), crop_sizes=rule, **STRAIGHT)
        _, lengths = _drawn(stretch, _keys(1, rows), target, (64, 64))
        for axis in (0, 1):
            assert stats.kstest(lengths[:, axis] / side, law.cdf).pvalue > 1e-3
        assert abs(np.corrcoef(lengths.T)[0, 1]) < 0.15


def test_the_density_of_small_crops_rises_to_their_upper_bound():
    # Thesis's bounds on small lesions of lung: the quantiles of the code's draws are known.
    side, rows, low, high = 500, 300, 0.064, 0.196
    shown = np.zeros((rows, side, 1), bool)
    stretch = _compiled(crop=(128, 1), bounds=(low, high), crop_sizes="normal", **STRAIGHT)
    ramp = np.broadcast_to((np.arange(side, dtype=np.float32) / side)[:, None], shown.shape)
    seen = np.asarray(stretch(_keys(2, rows), ramp, shown)[0])[:, :, 0]
    shares = (seen[:, -20] - seen[:, 20]) / (128 - 40) * 128
    np.testing.assert_allclose(
        np.quantile(shares, [0.05, 0.5, 0.95]), [0.073, 0.142, 0.191], atol=0.01
    )


def test_so_many_crops_as_asked_and_the_others_show_the_whole_slice():
    rows = 300
    _, lengths = _drawn(
        _compiled(bounds=(0.3, 0.6), crop_prob=0.8, **STRAIGHT),
        _keys(3, rows),
        np.zeros((rows, *SHAPE), bool),
    )
    is_whole = np.all(np.round(lengths) == SHAPE, axis=1)
    assert np.all(is_whole | np.all(np.round(lengths) <= 0.6 * np.array(SHAPE) + 0.5, axis=1))
    assert 30 < is_whole.sum() < 95
    image, target = _blobs(3, 4)
    seen, _ = _compiled(bounds=(0.3, 0.6), crop_prob=0.0, **STRAIGHT)(_keys(4, 4), image, target)
    expected = jax.image.resize(jnp.asarray(image), (4, *CROP), "linear")
    np.testing.assert_allclose(seen, expected, atol=1e-5)


def test_a_quarter_of_a_four_by_four_slice_by_hand():
    # Half of each side, on two pixels: nothing is resampled, so each crop is one of nine windows.
    image = (np.arange(16, dtype=np.float32) / 16).reshape(1, 4, 4).repeat(90, axis=0)
    halves = _compiled(crop=(2, 2), bounds=(0.5, 0.5), **STRAIGHT)
    seen, mask = halves(_keys(5, 90), image, np.ones(image.shape, bool))
    corners = np.round(np.asarray(seen)[:, 0, 0] * 16).astype(int)
    np.testing.assert_allclose(
        np.asarray(seen) * 16, corners[:, None, None] + np.array([[0, 1], [4, 5]]), atol=1e-4
    )
    assert set(corners) == {0, 1, 2, 4, 5, 6, 8, 9, 10}
    assert np.all(mask)  # the whole slice is lesion
    # A lesion in the last corner is seen from one window only.
    one = np.zeros(image.shape, bool)
    one[:, 3, 3] = True
    seen, mask = halves(_keys(6, 90), image, one)
    np.testing.assert_allclose(seen[:, 0, 0] * 16, 10, atol=1e-4)
    np.testing.assert_array_equal(
        mask, np.broadcast_to([[False, False], [False, True]], mask.shape)
    )


@given(st.integers(0, 100_000))
def test_a_lesion_never_disappears_and_none_is_made_up(seed):
    image, target = _blobs(seed, 4)
    target[3] = False
    seen, mask = _stretch(_keys(seed, 4), image, target)
    assert seen.shape == mask.shape == (4, *CROP)
    assert np.all((seen >= 0) & (seen <= 1))
    np.testing.assert_array_equal(np.any(mask, (1, 2)), np.any(target, (1, 2)))


@pytest.mark.parametrize(("crop", "bounds"), [((32, 32), (5.0, 6.0)), ((200, 40), (0.01, 0.02))])
def test_one_pixel_at_any_border_survives_the_largest_and_the_smallest_crop(crop, bounds):
    target = np.zeros((4, 8, *SHAPE), bool)
    for rows, (y, x) in zip(target, [(0, 0), (0, -1), (-1, 0), (11, -1)], strict=True):
        rows[:, y, x] = True
    target = target.reshape(32, *SHAPE)
    seen, mask = _compiled(crop=crop, bounds=bounds)(
        _keys(7, 32), target.astype(np.float32), target
    )
    assert np.all(np.any(mask, (1, 2)))
    if bounds[1] < 1:  # the crop is that pixel, at whose edges its neighbours lend their weight
        np.testing.assert_array_equal(mask, seen > 0.5)
        assert np.all(seen[:, 98:102, 18:22] > 0.95)
    else:  # shrunk to less than half of a pixel: one stands for it, where most of it is
        np.testing.assert_array_equal(np.sum(mask, (1, 2)), 1)
        peaks = np.asarray(seen).reshape(32, -1).argmax(axis=1)
        np.testing.assert_array_equal(peaks, np.asarray(mask).reshape(32, -1).argmax(axis=1))


def test_a_crop_larger_than_the_slice_holds_it_anywhere_in_zeros():
    rows = 200
    wide = _compiled(crop=(36, 30), bounds=(1.5, 1.5), **STRAIGHT)
    seen, _ = wide(
        _keys(8, rows), np.ones((rows, *SHAPE), np.float32), np.ones((rows, *SHAPE), bool)
    )
    places = np.argwhere(np.asarray(seen) == 1).reshape(rows, -1, 3)[:, 0, 1:]
    for row, (y, x) in enumerate(places):
        expected = np.zeros((36, 30))
        expected[y : y + 24, x : x + 20] = 1
        np.testing.assert_array_equal(seen[row], expected)
    assert set(places[:, 0]) == set(range(13)) and set(places[:, 1]) == set(range(11))


def test_both_flips_are_drawn_apart_and_image_and_mask_follow():
    image, target = _blobs(9, 1)
    rows = 300
    whole = _compiled(crop=SHAPE, bounds=(1.0, 1.0), flip_prob=0.3, vertical_flip_prob=0.3)
    got, mask = whole(_keys(9, rows), *(np.repeat(x, rows, axis=0) for x in (image, target)))
    turns = [(up, left) for up in (1, -1) for left in (1, -1)]
    counts = dict.fromkeys(turns, 0)
    for row in range(rows):
        for up, left in turns:
            if np.allclose(got[row], image[0, ::up, ::left], atol=1e-5):
                np.testing.assert_array_equal(mask[row], target[0, ::up, ::left])
                counts[up, left] += 1
    expected = {(1, 1): 0.49, (1, -1): 0.21, (-1, 1): 0.21, (-1, -1): 0.09}
    for turn, share in expected.items():
        assert abs(counts[turn] / rows - share) < 0.09, counts


def test_row_alone_equals_row_in_batch_and_one_compilation_serves_all_draws():
    image, target = _blobs(10, 4)
    keys = _keys(10, 4)
    together = _stretch(keys, image, target)
    alone = _compiled(bounds=(0.2, 1.4), crop_prob=0.8)
    for row in range(4):
        one = alone(*(x[row : row + 1] for x in (keys, image, target)))
        np.testing.assert_allclose(one[0][0], together[0][row], atol=1e-6)
        np.testing.assert_array_equal(one[1][0], together[1][row])
    assert alone._cache_size() == 1


def test_jit_equals_eager():
    image, target = _blobs(11, 2)
    eager = crop_and_stretch(
        _keys(11, 2),
        jnp.asarray(image),
        jnp.asarray(target),
        crop=CROP,
        bounds=(0.2, 1.4),
        crop_prob=0.8,
    )
    jitted = _stretch(_keys(11, 2), image, target)
    np.testing.assert_allclose(jitted[0], eager[0], atol=1e-5)
    np.testing.assert_array_equal(jitted[1], eager[1])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"crop": (0, 4)}, "crop must"),
        ({"bounds": (0.5, 0.4)}, "low <= high"),
        ({"bounds": ()}, "two shares"),
        ({"crop_prob": 1.5}, "crop_prob"),
        ({"crop_sizes": "gamma"}, "uniform, normal; got 'gamma'"),
        ({"flip_prob": -0.1}, "flip_prob"),
    ],
)
def test_bad_options_are_refused(options, message):
    image, target = _blobs(0, 2)
    with pytest.raises(ValueError, match=message):
        crop_and_stretch(_keys(0, 2), jnp.asarray(image), jnp.asarray(target), **options)


def test_strategies_have_the_values_of_the_thesis():
    ritm, focal, optimal = (
        augment.STRATEGIES[name] for name in ("ritm", "focalclick", "optimal_crop")
    )
    assert (ritm.crop, ritm.scale, ritm.flip_prob) == ((320, 480), (0.75, 1.4), 0.5)
    assert (focal.crop, focal.bounds, focal.crop_prob) == ((256, 256), (0.5, 1.4), 1.0)
    assert (optimal.crop, optimal.crop_prob) == ((256, 256), 0.8)
    for own in (focal, optimal):
        assert own.flip_prob == own.vertical_flip_prob == 0.3
    for own in (ritm, focal, optimal):
        assert not any((own.contrast, own.brightness, own.gamma, own.noise, own.colour_prob))


def test_slices_take_the_way_of_their_options():
    image, target = map(jnp.asarray, _blobs(12, 4))
    options = Augmentation(
        CROP, bounds=(0.2, 1.4), crop_prob=0.8, flip_prob=0.3, vertical_flip_prob=0.3
    )
    seen, mask = jax.jit(augment_slices, static_argnums=3)(_keys(12, 4), image, target, options)
    own = jax.vmap(jax.random.split)(_keys(12, 4))[:, 0]
    plain, same = _stretch(own, image, target)
    np.testing.assert_allclose(seen[..., 0], plain, atol=1e-6)
    np.testing.assert_array_equal(mask, same)
    coloured, same = jax.jit(augment_slices, static_argnums=3)(
        _keys(12, 4), image, target, options._replace(colour_prob=1.0)
    )
    assert coloured.shape == (4, *CROP, 3)
    np.testing.assert_array_equal(mask, same)
