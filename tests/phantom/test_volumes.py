"""The synthetic CT: reproducible, plausible values, lesions where lesions may be."""

import numpy as np
import pytest
from scipy import ndimage

from ecc_jax import catalog
from ecc_jax.phantom import volumes as phantom

SIZE = 96


@pytest.fixture(scope="module")
def volumes():
    """Three patients of each organ, as [(kind, patient, volume)]."""
    return [
        (kind, patient, phantom.generate_volume(5, patient, kind=kind, size=SIZE))
        for kind in phantom.ORGANS
        for patient in range(3)
    ]


def assert_equal(a, b):
    np.testing.assert_array_equal(a.image_hu, b.image_hu)
    np.testing.assert_array_equal(a.mask, b.mask)
    assert a[2:] == b[2:]


def test_same_arguments_same_volume_in_any_order(volumes):
    for kind, patient, volume in (volumes[10], volumes[1]):
        assert_equal(phantom.generate_volume(5, patient, kind=kind, size=SIZE), volume)


def test_global_random_state_is_neither_used_nor_changed(volumes):
    np.random.seed(0)  # noqa: NPY002
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    kind, patient, volume = volumes[4]
    assert_equal(phantom.generate_volume(5, patient, kind=kind, size=SIZE), volume)
    np.testing.assert_array_equal(before, np.random.get_state()[1])  # noqa: NPY002


def test_a_patient_has_one_identity_whatever_kind_it_came_up_under():
    for patient in (0, 1):
        kinds = {}
        for kind in phantom.KINDS:
            organ = phantom.generate_volume(5, patient, kind=kind, size=32, num_slices=4).kind
            identity = phantom.identity_of_patient(5, patient, kind=kind)
            assert kinds.setdefault(organ, identity) == identity
        assert set(kinds) == {*phantom.ORGANS, "limb"} and len(set(kinds.values())) == len(kinds)
    with pytest.raises(ValueError, match="kind must be one of lung"):
        phantom.identity_of_patient(5, 0, kind="brain")


def test_patients_and_seeds_have_other_identities():
    places = [(seed, patient) for seed in range(12) for patient in range(12)]
    assert len({phantom.identity_of_patient(*place, kind="lung") for place in places}) == 144


def test_patients_and_seeds_differ(volumes):
    kind, _, volume = volumes[3]
    for seed, patient in ((5, 1), (6, 0)):
        other = phantom.generate_volume(seed, patient, kind=kind, size=SIZE)
        assert (other.image_hu != volume.image_hu).mean() > 0.3
        assert (other.mask != volume.mask).any()


def test_shapes_types_and_windows(volumes):
    for kind, _, volume in volumes:
        assert volume.image_hu.shape == volume.mask.shape == (20, SIZE, SIZE)
        assert volume.image_hu.dtype == np.int16 and volume.mask.dtype == np.uint8
        assert volume.kind == kind
        assert volume.window_hu == {"lung": catalog.LUNG_HU, "liver": catalog.LIVER_HU}.get(
            kind, catalog.SOFT_TISSUE_HU
        )


def test_hounsfield_units_are_those_of_ct(volumes):
    for kind, _, volume in volumes:
        image = ndimage.gaussian_filter(volume.image_hu.astype(float), (0, 1, 1))
        assert volume.image_hu.min() >= -1024 and volume.image_hu.max() <= 3071
        soft = ((image > 0) & (image < 150)).mean()
        if kind == "lung":
            assert ((image < -700) & (image > -960)).mean() > 0.15
            continue
        assert soft > 0.2
        assert image.max() > 200  # bone or contrast agent
        assert ((image > -130) & (image < -70)).mean() > 0.01  # fat


def test_every_volume_has_a_lesion_inside_the_body(volumes):
    for kind, _, volume in volumes:
        assert set(np.unique(volume.mask)) == {0, 1}
        # Air that touches the rim of the slice is outside the body; lung and bowel do not.
        for image, mask in zip(volume.image_hu, volume.mask, strict=True):
            if kind == "lung" or not mask.any():
                continue
            smooth = ndimage.gaussian_filter(image.astype(float), 1)
            assert smooth[mask == 1].min() > -300


def test_lesion_and_surroundings_differ_but_less_than_organs(volumes):
    for kind, patient, volume in volumes:
        if kind == "lung":
            continue
        index = int(volume.mask.sum(axis=(1, 2)).argmax())
        lesion = volume.mask[index] == 1
        ring = ndimage.binary_dilation(lesion, iterations=4) & ~ndimage.binary_dilation(lesion)
        image = volume.image_hu[index].astype(float)
        contrast = abs(np.median(image[lesion]) - np.median(image[ring]))
        assert contrast < 160, (kind, patient, contrast)


def test_grain_is_correlated_and_of_the_stated_strength():
    volume = phantom.generate_volume(1, 2, kind="liver", size=160)
    tissue = ndimage.binary_erosion((volume.image_hu > 30) & (volume.image_hu < 130), iterations=1)
    values = volume.image_hu.astype(float)
    detail = values - ndimage.gaussian_filter(values, (0, 3, 3))
    pair = tissue[:, :, 1:] & tissue[:, :, :-1]
    correlation = np.corrcoef(detail[:, :, 1:][pair], detail[:, :, :-1][pair])[0, 1]
    assert 0.2 < correlation < 0.9
    assert 4 < detail[tissue].std() < 30


def test_mixed_takes_each_organ_and_equals_its_own_kind():
    drawn = [phantom.generate_volume(0, patient, size=32, num_slices=4) for patient in range(16)]
    assert {volume.kind for volume in drawn} == set(phantom.ORGANS)
    own = phantom.generate_volume(0, 0, kind=drawn[0].kind, size=32, num_slices=4)
    assert_equal(own, drawn[0])


@pytest.mark.parametrize("kind", phantom.ORGANS)
def test_a_larger_matrix_shows_the_same_lesion(kind):
    """The lesion keeps its volume in mm3 whatever the matrix (within sampling error)."""
    sizes = []
    for size in (96, 192):
        volume = phantom.generate_volume(9, 1, kind=kind, size=size, num_slices=6)
        sizes.append(float(volume.mask.sum() * np.prod(volume.spacing_mm)))
    assert sizes[0] > 0
    assert sizes[0] == pytest.approx(sizes[1], rel=0.2)


@pytest.mark.parametrize("kind", phantom.ORGANS)
def test_small_matrices_show_less_body_rather_than_fewer_pixels_per_lesion(kind):
    large, small = (
        phantom.generate_volume(0, 0, kind=kind, size=size, num_slices=4).spacing_mm
        for size in (512, 160)
    )
    assert large[0] == small[0]
    assert large[1] == large[2] and 0.6 < large[1] < 0.9
    assert small[1] == small[2] and 0.6 * large[1] < small[1] < 1.3 * large[1]


def test_numbers_of_slices_and_small_sizes():
    volume = phantom.generate_volume(0, 3, kind="pancreas", size=33, num_slices=5)
    assert volume.image_hu.shape == (5, 33, 33)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "brain"}, "lung, kidney, liver, pancreas, mixed"),
        ({"size": 31}, "at least 32"),
        ({"num_slices": 3}, "at least 4"),
    ],
)
def test_refuses_bad_arguments(options, message):
    with pytest.raises(ValueError, match=message):
        phantom.generate_volume(0, 0, **options)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "low", "high"),
    [("lung", 45, 130), ("kidney", 700, 2400), ("liver", 150, 900), ("pancreas", 250, 1000)],
)
def test_areas_at_512_are_those_of_the_public_sets(kind, low, high):
    """Median lesion area per slice: LIDC 77 pixels, KiTS 1588, the others between."""
    areas = []
    for patient in range(14):
        volume = phantom.generate_volume(0, patient, kind=kind, size=512)
        per_slice = volume.mask.sum(axis=(1, 2))
        assert per_slice.any()
        areas.extend(per_slice[per_slice > 0])
    assert low <= np.median(areas) <= high


@pytest.mark.slow
def test_every_patient_of_a_large_set_has_a_lesion():
    for patient in range(150):
        volume = phantom.generate_volume(0, patient, size=96)
        assert np.count_nonzero(volume.mask.any(axis=(1, 2))) >= 3, (patient, volume.kind)
