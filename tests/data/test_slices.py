import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage
from skimage import transform

from ecc_jax import catalog
from ecc_jax.data import slices
from ecc_jax.volumes import Orientation

SPLITS = ("train", "validation", "test")


ROWS = [
    (name, subset) for name in ("kits_2d", "lits_2d", "md_panc_2d") for subset in ("full", "small")
]


@pytest.mark.parametrize(("name", "subset"), ROWS)
def test_thesis_split_gives_table_1(name, subset):
    total = {
        ("kits_2d", "full"): 12182,
        ("kits_2d", "small"): 489,
        ("lits_2d", "full"): 7190,
        ("lits_2d", "small"): 118,
        ("md_panc_2d", "full"): 2537,
        ("md_panc_2d", "small"): 281,
    }[name, subset]
    expected = catalog.TABLE_1[name][subset]
    assert sum(expected) == total
    assert slices.thesis_split(total) == expected
    parts = slices.thesis_split_indices(total, 3)
    assert tuple(len(parts[split]) for split in SPLITS) == expected
    assert sorted(sum(parts.values(), [])) == list(range(total))
    assert all(part == sorted(part) for part in parts.values())


@pytest.mark.parametrize(
    ("subset", "expected"), [("full", (1775, 254, 508)), ("small", (82, 12, 24))]
)
def test_balanced_sample_gives_the_combined_rows_of_table_1(subset, expected):
    sources = ("lidc_2d", "kits_2d", "lits_2d", "md_panc_2d")
    for i, split in enumerate(SPLITS):
        names = {
            source: [f"{split}{n}" for n in range(catalog.TABLE_1[source][subset][i])]
            for source in sources
        }
        chosen = slices.balanced_sample(names, 0)
        assert [len(chosen[source]) for source in sources] == [expected[i]] * 4
        assert sum(map(len, chosen.values())) == catalog.TABLE_1["combined_2d"][subset][i]
        for source in sources:
            assert chosen[source] == sorted(set(chosen[source]))
            assert 0 <= chosen[source][0] and chosen[source][-1] < len(names[source])


def test_balanced_sample_follows_names_and_seed():
    names = {"a": [f"s{i}" for i in range(40)], "b": [f"s{i}" for i in range(15)]}
    first = slices.balanced_sample(names, 0)
    assert first["b"] == list(range(15)) and len(first["a"]) == 15
    assert slices.balanced_sample(names, 0) == first != slices.balanced_sample(names, 1)
    backwards = slices.balanced_sample({"b": names["b"], "a": names["a"][::-1]}, 0)
    assert {names["a"][::-1][i] for i in backwards["a"]} == {names["a"][i] for i in first["a"]}
    more = slices.balanced_sample({"a": names["a"], "b": [f"s{i}" for i in range(20)]}, 0)
    assert set(first["a"]) < set(more["a"])


def test_thesis_split_depends_on_the_seed_and_needs_four():
    assert slices.thesis_split_indices(40, 0) == slices.thesis_split_indices(40, 0)
    assert slices.thesis_split_indices(40, 0) != slices.thesis_split_indices(40, 1)
    assert [len(part) for part in slices.thesis_split_indices(4, 0).values()] == [2, 1, 1]
    with pytest.raises(ValueError, match="at least 4 slices, got 3"):
        slices.thesis_split_indices(3, 0)


SIZES = st.lists(st.integers(1, 60), min_size=3, max_size=40)


@given(SIZES, st.integers(0, 2**31), st.randoms(use_true_random=False))
def test_patient_split_partitions_whole_patients(sizes, seed, random):
    names = [f"p{i}" for i in range(len(sizes))]
    parts = slices.patient_split(names, sizes, seed)
    assert tuple(parts) == SPLITS
    assert all(part and part == sorted(part) for part in parts.values())
    assert sorted(sum(parts.values(), [])) == sorted(names)
    pairs = list(zip(names, sizes))
    random.shuffle(pairs)
    assert slices.patient_split(*map(list, zip(*pairs)), seed) == parts


@given(SIZES, st.integers(0, 1000))
def test_patient_split_cuts_its_order_at_the_best_place(sizes, seed):
    """No other pair of cuts of the same order comes nearer to 70/10/20."""
    names = [f"p{i}" for i in range(len(sizes))]
    size_of = dict(zip(names, sizes))
    parts = slices.patient_split(names, sizes, seed)

    def distance(train, validation, test):
        total = sum(sizes)
        shares = ((train, 0.7), (validation, 0.1), (test, 0.2))
        return sum(abs(sum(size_of[p] for p in part) - share * total) for part, share in shares)

    order = slices._shuffled(names, seed)
    best = min(
        distance(order[:a], order[a:b], order[b:])
        for a in range(1, len(order) - 1)
        for b in range(a + 1, len(order))
    )
    assert distance(*parts.values()) == pytest.approx(best)


def test_patient_split_shares_of_many_equal_patients():
    parts = slices.patient_split([f"p{i}" for i in range(100)], [7] * 100, 0)
    assert [len(part) for part in parts.values()] == [70, 10, 20]


def test_patient_split_depends_on_the_seed():
    names = [f"p{i}" for i in range(20)]
    assert slices.patient_split(names, [1] * 20, 0) != slices.patient_split(names, [1] * 20, 1)


def test_patient_split_is_the_same_next_year():
    """Pinned: a change would move patients between training and test."""
    parts = slices.patient_split(["a", "b", "c", "d", "e", "f", "g"], [5, 4, 3, 2, 1, 6, 7], 0)
    assert parts == {"train": ["a", "d", "f", "g"], "validation": ["c"], "test": ["b", "e"]}


def test_patient_split_errors():
    with pytest.raises(ValueError, match=r"at least 3 patients with lesions, got 2 \(a, b\)"):
        slices.patient_split(["a", "b"], [1, 2], 0)
    with pytest.raises(ValueError, match="distinct"):
        slices.patient_split(["a", "a", "b"], [1, 2, 3], 0)
    with pytest.raises(ValueError, match="at least 1 slice"):
        slices.patient_split(["a", "b", "c"], [1, 0, 3], 0)


def test_fit_of_the_right_size_changes_nothing():
    image = np.arange(64, dtype=np.int16).reshape(8, 8)
    mask = image % 3 == 0
    fitted, lesion, fit = slices.fit_to_size(image, mask, 8, air=-1000.0)
    np.testing.assert_array_equal(fitted, image)
    np.testing.assert_array_equal(lesion, mask)
    assert fit == slices.Fit((8, 8), ((0, 0), (0, 0)), 8)
    np.testing.assert_array_equal(slices.unfit_mask(lesion, fit), mask)


@pytest.mark.parametrize(
    ("shape", "padding"), [((4, 7), ((1, 2), (0, 0))), ((7, 5), ((0, 0), (1, 1)))]
)
def test_fit_pads_with_air_around_the_middle(shape, padding):
    image = np.full(shape, 40.0)
    mask = np.ones(shape, bool)
    fitted, lesion, fit = slices.fit_to_size(image, mask, 7, air=-500.0)
    np.testing.assert_array_equal(fitted, np.pad(image, padding, constant_values=-500))
    np.testing.assert_array_equal(lesion, np.pad(mask, padding))
    assert fit.original_shape == shape and fit.padding == padding
    np.testing.assert_array_equal(slices.unfit_mask(lesion, fit), mask)


@pytest.mark.parametrize("size", [5, 12, 30])
def test_image_is_resized_as_scikit_image_does(size):
    image = np.random.default_rng(0).normal(size=(12, 9)) * 300
    fitted, _, _ = slices.fit_to_size(image, np.zeros((12, 9), bool), size, air=-900.0)
    square = np.pad(image, ((0, 0), (1, 2)), constant_values=-900)
    expected = transform.resize(square, (size, size), order=1, mode="edge", anti_aliasing=size < 12)
    np.testing.assert_allclose(fitted, expected, rtol=1e-4, atol=1e-2)
    assert fitted.dtype == np.float32


def test_mask_follows_the_majority_of_area():
    mask = np.zeros((4, 4), bool)
    mask[:2, :2] = True  # the first 2 x 2 block
    mask[0, 2:] = True  # half of the second: counts
    mask[2, 2] = True  # a quarter: lost
    _, lesion, _ = slices.fit_to_size(np.zeros((4, 4)), mask, 2, air=0.0)
    np.testing.assert_array_equal(lesion, [[True, True], [False, False]])


def test_coverage_equals_brute_force():
    mask = np.random.default_rng(3).random((6, 6)) < 0.4
    fine = np.kron(mask, np.ones((4, 4)))  # 24 x 24, divisible by 8
    expected = fine.reshape(8, 3, 8, 3).mean((1, 3))
    np.testing.assert_allclose(slices._coverage(mask, 8), expected, atol=1e-12)


@pytest.mark.parametrize("size", [1, 3, 5, 7, 11, 64])
def test_the_last_lesion_pixel_is_never_lost(size):
    for position in range(64):
        mask = np.zeros((8, 8), bool)
        mask.flat[position] = True
        _, lesion, fit = slices.fit_to_size(np.zeros((8, 8)), mask, size, air=0.0)
        assert lesion.any()
        back = slices.unfit_mask(lesion, fit)
        assert back.any()
        y, x = np.argwhere(lesion)[0] * 8 / size
        assert abs(y - position // 8) <= 8 / size and abs(x - position % 8) <= 8 / size


def test_wide_slice_of_kits_comes_back():
    """512 x 796 pixels, the largest matrix of KiTS23 (case_00160), in the 512 x 512 of a record."""
    rng = np.random.default_rng(0)
    mask = ndimage.gaussian_filter(rng.normal(size=(512, 796)), 9) > 0.05
    _, lesion, fit = slices.fit_to_size(np.zeros(mask.shape), mask, 512, air=-1000.0)
    assert fit == slices.Fit((512, 796), ((142, 142), (0, 0)), 512)
    assert not lesion[:91].any() and not lesion[-91:].any()  # 142 rows of air are 91.3 now
    back = slices.unfit_mask(lesion, fit)
    square = np.ones((3, 3), bool)
    assert back[ndimage.binary_erosion(mask, square, 2)].all()
    assert not back[~ndimage.binary_dilation(mask, square, 2)].any()


def test_empty_stays_empty():
    _, lesion, fit = slices.fit_to_size(np.zeros((8, 6)), np.zeros((8, 6), bool), 5, air=0.0)
    assert not lesion.any()
    assert not slices.unfit_mask(lesion, fit).any()


def test_mask_in_the_padding_alone_comes_back_empty():
    _, lesion, fit = slices.fit_to_size(np.zeros((4, 8)), np.zeros((4, 8), bool), 16, air=0.0)
    lesion[0, 0] = True
    assert not slices.unfit_mask(lesion, fit).any()


def test_turn_by_hand():
    array = np.array([[1, 2, 3], [4, 5, 6]])
    cases = {
        (False, False, False): [[1, 2, 3], [4, 5, 6]],
        (False, True, False): [[4, 5, 6], [1, 2, 3]],
        (False, False, True): [[3, 2, 1], [6, 5, 4]],
        (True, False, False): [[1, 4], [2, 5], [3, 6]],
        (True, True, False): [[3, 6], [2, 5], [1, 4]],
        (True, False, True): [[4, 1], [5, 2], [6, 3]],
        (True, True, True): [[6, 3], [5, 2], [4, 1]],
    }
    for flags, expected in cases.items():
        turned = slices.turn(array, Orientation(*flags))
        np.testing.assert_array_equal(turned, expected)
        np.testing.assert_array_equal(slices.turn_back(turned, Orientation(*flags)), array)


def test_fit_turns_before_it_pads():
    image = np.arange(6.0).reshape(2, 3)
    fitted, lesion, fit = slices.fit_to_size(
        image, image == 2, 3, air=-1.0, orientation=Orientation(True, True, False)
    )
    np.testing.assert_array_equal(fitted, [[2, 5, -1], [1, 4, -1], [0, 3, -1]])
    assert np.argwhere(lesion).tolist() == [[0, 0]]
    assert fit == slices.Fit((3, 2), ((0, 0), (0, 1)), 3, Orientation(True, True, False))
    np.testing.assert_array_equal(slices.unfit_mask(lesion, fit), image == 2)


MASKS = st.tuples(st.integers(2, 14), st.integers(2, 14), st.integers(0, 2**31))


def random_mask(spec):
    height, width, seed = spec
    rng = np.random.default_rng(seed)
    return ndimage.binary_dilation(rng.random((height, width)) < 0.15, iterations=2)


ORIENTATIONS = st.builds(Orientation, st.booleans(), st.booleans(), st.booleans())


@given(MASKS, st.integers(1, 3), ORIENTATIONS)
def test_round_trip_is_exact_for_whole_factors(spec, factor, orientation):
    mask = random_mask(spec)
    size = factor * max(mask.shape)
    _, lesion, fit = slices.fit_to_size(
        np.zeros(mask.shape), mask, size, air=0.0, orientation=orientation
    )
    assert lesion.sum() == mask.sum() * factor**2
    np.testing.assert_array_equal(slices.unfit_mask(lesion, fit), mask)


@given(MASKS, st.integers(4, 40))
def test_round_trip_is_exact_away_from_the_border(spec, size):
    mask = random_mask(spec)
    side = max(mask.shape)
    _, lesion, fit = slices.fit_to_size(np.zeros(mask.shape), mask, size, air=0.0)
    back = slices.unfit_mask(lesion, fit)
    assert back.shape == mask.shape
    reach = 1 + int(np.ceil(side / size))
    square = np.ones((3, 3), bool)
    inside = ndimage.binary_erosion(mask, square, reach)  # outside the slice is background
    outside = ~ndimage.binary_dilation(mask, square, reach)
    assert back[inside].all()
    assert not back[outside].any()


@given(
    st.lists(st.integers(1, 40), min_size=5, max_size=15),
    st.integers(2, 5),
    st.integers(0, 5),
    st.randoms(),
)
def test_folds_test_every_patient_once_and_share_none(sizes, folds, seed, random):
    names = [f"p{i}" for i in range(len(sizes))]
    pairs = list(zip(names, sizes))
    random.shuffle(pairs)
    shuffled_names, shuffled_sizes = zip(*pairs)
    tested = []
    for fold in range(folds):
        options = {"folds": folds, "fold": fold, "seed": seed}
        parts = slices.fold_split(names, sizes, **options)
        assert slices.fold_split(shuffled_names, shuffled_sizes, **options) == parts
        assert sorted(sum(parts.values(), [])) == sorted(names)
        assert all(parts.values())
        tested += parts["test"]
    assert sorted(tested) == sorted(names)


def test_folds_of_equal_patients_are_equal_and_validate_on_two():
    names = [f"p{i}" for i in range(12)]
    for fold in range(3):
        parts = slices.fold_split(names, [10] * 12, folds=3, fold=fold, seed=0)
        assert {name: len(part) for name, part in parts.items()} == {
            "train": 6,
            "validation": 2,
            "test": 4,
        }


def test_a_fold_holds_no_more_than_its_share_of_patients():
    parts = [
        slices.fold_split(list("abcde"), [90, 1, 1, 1, 1], folds=2, fold=fold, seed=0)["test"]
        for fold in (0, 1)
    ]
    assert sorted(map(len, parts)) == [2, 3]


def test_folds_need_patients():
    with pytest.raises(ValueError, match="lower data.folds"):
        slices.fold_split(list("abc"), [1, 1, 1], folds=4, fold=0, seed=0)
    with pytest.raises(ValueError, match="raise data.folds"):
        slices.fold_split(list("abc"), [1, 1, 1], folds=2, fold=0, seed=0)
    with pytest.raises(ValueError, match="0 <= fold < folds"):
        slices.fold_split(list("abc"), [1, 1, 1], folds=3, fold=3, seed=0)
