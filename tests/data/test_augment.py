import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecc_jax.data.augment import Augmentation, augment, augment_slices
from ecc_jax.ops.affine import resample_affine

SIZE, CROP = 24, (20, 16)


def _compiled(**options):
    return jax.jit(functools.partial(augment, **options))


_augment = _compiled(crop=CROP)
_unscaled = _compiled(crop=CROP, scale=(1.0, 1.0))


def _keys(seed: int, rows: int) -> jax.Array:
    return jax.random.split(jax.random.key(seed), rows)


def _blobs(seed: int, rows: int = 4) -> tuple[jax.Array, jax.Array]:
    rng = np.random.default_rng(seed)
    yy, xx = np.mgrid[:SIZE, :SIZE]
    cy, cx, r = rng.uniform(0, SIZE, rows), rng.uniform(0, SIZE, rows), rng.uniform(1, 6, rows)
    mask = (yy - cy[:, None, None]) ** 2 + (xx - cx[:, None, None]) ** 2 <= r[:, None, None] ** 2
    return jnp.asarray(rng.random((rows, SIZE, SIZE), np.float32)), jnp.asarray(mask)


@given(st.integers(0, 100_000))
def test_a_lesion_never_disappears(seed):
    image, target = _blobs(seed)
    new_image, new_target = _augment(_keys(seed, 4), image, target)
    assert new_image.shape == new_target.shape == (4, *CROP)
    assert np.all((new_image >= 0) & (new_image <= 1))
    np.testing.assert_array_equal(np.any(new_target, (1, 2)), np.any(target, (1, 2)))


@pytest.mark.parametrize("crop", [(20, 16), (1, 1), (40, 40)])
def test_one_pixel_in_any_corner_survives_shrinking(crop):
    target = np.zeros((4, 8, SIZE, SIZE), bool)
    for rows, (y, x) in zip(target, [(0, 0), (0, -1), (-1, 0), (-1, -1)], strict=True):
        rows[:, y, x] = True
    target = target.reshape(32, SIZE, SIZE)
    image = jnp.zeros(target.shape)
    shrink = _compiled(crop=crop, scale=(0.75, 0.75))
    _, new_target = shrink(_keys(7, 32), image, jnp.asarray(target))
    # Shrunk below one half everywhere, so the fallback keeps exactly one pixel.
    np.testing.assert_array_equal(np.sum(new_target, (1, 2)), 1)


def test_rows_and_columns_may_differ():
    target = np.zeros((64, 13, 29), bool)
    target[:, -1, -1] = True
    odd = _compiled(crop=(7, 9))
    _, new_target = odd(_keys(3, 64), jnp.zeros(target.shape), jnp.asarray(target))
    assert np.all(np.any(new_target, (1, 2)))


@given(st.integers(0, 100_000))
def test_mask_painted_into_the_image_stays_aligned(seed):
    _, target = _blobs(seed)
    painted, new_target = _augment(_keys(seed, 4), target.astype(jnp.float32), target)
    # The image carries the mask as grey values: above one half exactly where the new mask is,
    # but for the single pixel that stands for a lesion too small to keep.
    above = np.asarray(painted) > 0.5
    lost = np.asarray(target).any((1, 2)) & ~above.any((1, 2))
    np.testing.assert_array_equal(above[~lost], np.asarray(new_target)[~lost])
    for row in np.flatnonzero(lost):
        peak = np.asarray(painted)[row]
        assert peak[np.asarray(new_target)[row]] == peak.max() > 0


def test_without_scaling_the_result_is_a_window_of_the_image_or_its_mirror():
    image, target = _blobs(5, rows=8)
    new_image, new_target = _unscaled(_keys(5, 8), image, target)
    flips = set()
    for row in range(8):
        found = []
        for flip in (False, True):
            whole = np.asarray(image[row])[:, ::-1] if flip else np.asarray(image[row])
            truth = np.asarray(target[row])[:, ::-1] if flip else np.asarray(target[row])
            for y, x in np.ndindex(SIZE - CROP[0] + 1, SIZE - CROP[1] + 1):
                window = np.s_[y : y + CROP[0], x : x + CROP[1]]
                if np.array_equal(whole[window], new_image[row]):
                    np.testing.assert_array_equal(truth[window], new_target[row])
                    found.append(flip)
        assert len(found) == 1
        flips.add(found[0])
    assert flips == {False, True}


def test_flip_probability():
    # Never and always: `test_flipping_commutes_with_scaling`.
    image, target = _blobs(6, rows=1)
    many = [jnp.repeat(x, 64, axis=0) for x in (image, jnp.zeros_like(target))]
    got, _ = _compiled(crop=(SIZE, SIZE), scale=(1.0, 1.0))(_keys(1, 64), *many)
    flipped = int(np.sum(np.all(np.asarray(got) == np.asarray(image)[:, :, ::-1], axis=(1, 2))))
    straight = int(np.sum(np.all(np.asarray(got) == np.asarray(image), axis=(1, 2))))
    assert 20 <= flipped <= 44
    assert flipped + straight == 64


def test_flipping_commutes_with_scaling():
    image, target = _blobs(8)
    shrink = {"crop": (18, 18), "scale": (0.75, 0.75)}
    straight, mask = _compiled(**shrink, flip_prob=0.0)(_keys(2, 4), image, target)
    flipped, flipped_mask = _compiled(**shrink, flip_prob=1.0)(_keys(2, 4), image, target)
    np.testing.assert_allclose(flipped[:, :, ::-1], straight, atol=1e-5)
    np.testing.assert_array_equal(flipped_mask[:, :, ::-1], mask)


def test_small_images_are_centred_in_zeros():
    image = jnp.ones((1, SIZE, SIZE))
    target = jnp.zeros((1, SIZE, SIZE), bool).at[0, 4:8, 4:8].set(True)
    got, _ = _compiled(crop=(33, 28), scale=(1.0, 1.0))(_keys(0, 1), image, target)
    expected = np.zeros((33, 28))
    expected[4:28, 2:26] = 1
    np.testing.assert_array_equal(got[0], expected)


def test_scale_is_rounded_to_whole_rows_and_covers_its_range():
    image = jnp.ones((64, SIZE, SIZE))
    target = jnp.zeros((64, SIZE, SIZE), bool)
    got, _ = _compiled(crop=(40, 40))(_keys(4, 64), image, target)
    rows = np.asarray(got).sum(1).max(1)
    np.testing.assert_allclose(rows, np.round(rows), atol=1e-3)
    sizes = np.round(rows)
    assert sizes.min() >= 18 and sizes.max() <= 34
    assert sizes.min() <= 19 and sizes.max() >= 32
    assert abs(sizes.mean() / SIZE - 1.075) < 0.07
    np.testing.assert_allclose(np.asarray(got).sum((1, 2)), sizes**2, rtol=1e-4)


def test_offsets_are_uniform_and_the_lesion_pixel_too():
    # One lesion pixel in the middle of a row of 24, crops of 16: it may come to lie anywhere the
    # nine offsets 0..8 allow.
    target = jnp.zeros((450, 1, SIZE), bool).at[:, 0, 12].set(True)
    image = jnp.zeros(target.shape)
    cut = _compiled(crop=(1, 16), scale=(1.0, 1.0), flip_prob=0.0)
    _, new_target = cut(_keys(11, 450), image, target)
    place = np.argmax(np.asarray(new_target)[:, 0], axis=1)
    counts = np.bincount(12 - place, minlength=9)
    assert counts.size == 9 and counts.min() > 25 and counts.max() < 80
    # A one-pixel crop shows which of three lesion pixels was drawn.
    ramp = jnp.broadcast_to(jnp.arange(SIZE, dtype=jnp.float32) / SIZE, (450, 1, SIZE))
    spread = jnp.zeros((450, 1, SIZE), bool).at[:, 0, jnp.array([0, 7, 23])].set(True)
    seen, kept = _compiled(crop=(1, 1), scale=(1.0, 1.0), flip_prob=0.0)(
        _keys(12, 450), ramp, spread
    )
    assert np.all(kept)
    values, times = np.unique(np.round(np.asarray(seen).ravel() * SIZE), return_counts=True)
    assert values.tolist() == [0, 7, 23] and times.min() > 110


def test_empty_targets_are_cropped_uniformly():
    ramp = jnp.broadcast_to(jnp.arange(SIZE, dtype=jnp.float32) / SIZE, (450, 1, SIZE))
    cut = _compiled(crop=(1, 16), scale=(1.0, 1.0), flip_prob=0.0)
    seen, kept = cut(_keys(13, 450), ramp, jnp.zeros((450, 1, SIZE), bool))
    assert not np.any(kept)
    counts = np.bincount(np.round(np.asarray(seen)[:, 0, 0] * SIZE).astype(int), minlength=9)
    assert counts.size == 9 and counts.min() > 25


def test_row_alone_equals_row_in_batch_and_order_does_not_matter():
    image, target = _blobs(9)
    keys = _keys(9, 4)
    together = _augment(keys, image, target)
    backwards = _augment(keys[::-1], image[::-1], target[::-1])
    alone = _compiled(crop=CROP)
    for row in range(4):
        one = alone(keys[row : row + 1], image[row : row + 1], target[row : row + 1])
        for got, same, flipped in zip(one, together, backwards, strict=True):
            np.testing.assert_allclose(got[0], same[row], atol=1e-6)
            np.testing.assert_allclose(flipped[3 - row], same[row], atol=1e-6)


def test_keys_matter():
    image, target = _blobs(10)
    one, other = (_augment(_keys(seed, 4), image, target)[0] for seed in (1, 2))
    assert not np.allclose(one, other)


@pytest.mark.slow
def test_jit_equals_eager():
    image, target = _blobs(10)
    jitted = _augment(_keys(1, 4), image, target)
    eager = augment(_keys(1, 4), image, target, crop=CROP)
    np.testing.assert_allclose(jitted[0], eager[0], atol=1e-6)
    np.testing.assert_array_equal(jitted[1], eager[1])


def test_one_compilation_serves_all_draws():
    step = _compiled(crop=CROP)
    for seed in range(4):
        image, target = _blobs(seed)
        step(_keys(seed, 4), image, target)
    assert step._cache_size() == 1


def test_shrinking_is_antialiased_even_when_flipped():
    board = jnp.asarray(np.indices((1, SIZE, SIZE)).sum(0) % 2, jnp.float32)
    target = jnp.zeros((1, SIZE, SIZE), bool)
    half = _compiled(crop=(12, 12), scale=(0.5, 0.5), flip_prob=1.0)
    got, _ = half(_keys(0, 1), board, target)
    np.testing.assert_allclose(got[0, 1:-1, 1:-1], 0.5, atol=1e-3)
    mirrored = resample_affine(
        board[:, :, ::-1], shape=(12, 12), scale=jnp.full(1, 0.5), translation=jnp.zeros((1, 2))
    )
    np.testing.assert_allclose(got, mirrored, atol=1e-6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"crop": (0, 4)}, "crop"),
        ({"scale": (1.4, 0.75)}, "low <= high"),
        ({"scale": (0.0, 1.0)}, "low <= high"),
        ({"flip_prob": 1.5}, "flip_prob"),
        ({"vertical_flip_prob": -0.1}, "vertical_flip_prob"),
        ({"transpose_prob": 2.0}, "transpose_prob"),
    ],
)
def test_bad_options_are_refused(options, message):
    image, target = _blobs(0)
    with pytest.raises(ValueError, match=message):
        augment(_keys(0, 4), image, target, **options)


def test_all_eight_orientations_are_drawn_and_the_mask_follows():
    image, target = _blobs(3, rows=1)
    whole = _compiled(
        crop=(SIZE, SIZE), scale=(1.0, 1.0), vertical_flip_prob=0.5, transpose_prob=0.5
    )
    rows = 128
    got, mask = whole(_keys(5, rows), *(jnp.repeat(x, rows, axis=0) for x in (image, target)))
    turned = [
        np.rot90(x, k) for x in (np.asarray(image[0]), np.asarray(image[0]).T) for k in range(4)
    ]
    masks = [
        np.rot90(x, k) for x in (np.asarray(target[0]), np.asarray(target[0]).T) for k in range(4)
    ]
    counts = np.zeros(8, int)
    for row in range(rows):
        which = [i for i, x in enumerate(turned) if np.array_equal(x, got[row])]
        assert len(which) == 1
        np.testing.assert_array_equal(mask[row], masks[which[0]])
        counts[which[0]] += 1
    assert counts.min() >= 5 and counts.max() <= 32


def test_swapping_axes_needs_square_images():
    image, target = jnp.zeros((2, 8, 9)), jnp.zeros((2, 8, 9), bool)
    with pytest.raises(ValueError, match="square"):
        augment(_keys(0, 2), image, target, crop=(8, 8), transpose_prob=0.5)


def test_switched_off_options_change_nothing_and_grey_values_leave_the_place_alone():
    image, target = _blobs(12)
    same = augment_slices(_keys(2, 4), image, target, Augmentation(crop=CROP))
    plain, mask = augment(jax.vmap(jax.random.split)(_keys(2, 4))[:, 0], image, target, crop=CROP)
    np.testing.assert_array_equal(same[0][..., 0], plain)
    np.testing.assert_array_equal(same[1], mask)
    varied = augment_slices(_keys(2, 4), image, target, Augmentation(crop=CROP, noise=0.3))
    np.testing.assert_array_equal(varied[1], mask)
    assert 0.001 < float(jnp.abs(varied[0][..., 0] - plain).mean()) < 0.3
