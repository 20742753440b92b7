"""Which volumes of a folder are propagated, and that they open as the annotator shows them."""

import re

import nibabel as nib
import numpy as np
import pytest

from ecc_jax.annotator import documents
from ecc_jax.annotator.propagation_cases import Files, Limits, choose, open_case
from ecc_jax.data.seen import Source, seen_by
from ecc_jax.volumes import identity_of, read_volume
from tests.folders import AFFINE, save, scan

# Volume: slices of its lesion.
LESIONS = {"p1_a": 3, "p1_b": 6, "p2_a": 6, "p3_a": 0, "p4_a": 1, "p5_a": 6, "p6_a": 6}


def write(folder, name, *, slices, seed):
    image, labels = scan(seed, (32, 32, 8))
    labels[:] = 0
    labels[10:18, 12:20, 1 : 1 + slices] = 1
    paths = [
        save(folder / part / f"{name}.nii.gz", array)
        for part, array in (("images", image), ("labels", labels))
    ]
    return Files(name, name.split("_")[0], *paths)


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    folder = tmp_path_factory.mktemp("lesions")
    return [
        write(folder, name, slices=slices, seed=seed)
        for seed, (name, slices) in enumerate(LESIONS.items())
    ]


def chosen(found, history=(), **limits):
    return choose(found, Limits(**limits), lesion_labels=(1,), history=history)


def names(choice):
    return [files.volume for files in choice.files]


@pytest.mark.parametrize(
    ("limits", "wanted"),
    [
        ({}, "p1_a p1_b p2_a p5_a p6_a"),
        ({"least_slices": 5}, "p1_b p2_a p5_a p6_a"),
        ({"one_per_patient": True}, "p1_a p2_a p5_a p6_a"),
        # The first that is admitted, not the first of all.
        ({"one_per_patient": True, "least_slices": 5}, "p1_b p2_a p5_a p6_a"),
        ({"only": re.compile("p[12]")}, "p1_a p1_b p2_a"),
        ({"every": 2}, "p1_a p2_a p6_a"),
        ({"every": 2, "offset": 1}, "p1_b p5_a"),
        ({"offset": 1, "most": 2}, "p1_b p2_a"),
        ({"every": 2, "most": 1}, "p1_a"),
    ],
)
def test_limits(found, limits, wanted):
    choice = chosen(found, **limits)
    assert names(choice) == wanted.split()
    assert len(choice.files) + sum(choice.left_out.values()) == len(found)
    assert (choice.seen, choice.not_axial) == ([], [])


def test_reasons_are_counted(found):
    assert chosen(found, every=2).left_out == {
        "without a lesion (label 1)": 1,
        "with a lesion of fewer than 2 slices": 1,
        "by --every, --offset or --most": 2,
    }


def test_a_patient_is_seen_by_the_content_of_any_volume(found):
    other = read_volume(found[0].image)  # p1_a, under another name
    row = {"patient": "x", "volume": "x", "volume_id": identity_of(other.image_hu), "slice_id": "y"}
    slice_of_p5 = identity_of(read_volume(found[5].image).image_hu[:, :, 3])
    selected = {"patient": "z", "volume": "z", "volume_id": "-", "slice_id": slice_of_p5}
    history = (seen_by("run", Source("d", "", False), {"train": [row], "validation": [selected]}),)
    assert chosen(found, history).seen == ["p1", "p5"]
    unseen = chosen(found, history, unseen=True)
    # Of p1 another volume was seen than p1_b.
    assert names(unseen) == ["p2_a", "p6_a"] and unseen.seen == []
    assert unseen.left_out["of patients that shaped the weights"] == 3
    with pytest.raises(ValueError, match=r"none of 7 volumes is left to measure \(6 not named"):
        chosen(found, history, unseen=True, only=re.compile("p5"))


def test_no_more_volumes_are_looked_at_than_needed(found, tmp_path):
    missing = Files("q", "q", tmp_path / "q.nii", tmp_path / "q.nii")
    assert names(chosen([*found, missing], most=2)) == ["p1_a", "p1_b"]
    with pytest.raises(ValueError, match=r"q\.nii"):
        chosen([*found, missing])


@pytest.mark.parametrize("codes", ["LPS", "RAS", "RSA", "SPL", "AIR"])
def test_truth_lies_on_the_slices_as_they_are_shown(tmp_path, codes):
    rng = np.random.default_rng(0)
    labels = np.zeros((9, 30, 24), np.uint8)
    labels[2:7, 5:20, 7:11] = 1
    labels[3:5, 20:24, 9:14] = 1
    image = np.where(labels, 100, rng.integers(-200, 0, labels.shape)).astype(np.int16)
    # Thick slices along the first axis before the array is turned.
    affine = np.zeros((4, 4))
    affine[[2, 1, 0], [0, 1, 2]], affine[3, 3] = (5.0, 0.8, 0.8), 1
    target = nib.orientations.axcodes2ornt(tuple(codes))
    paths = []
    for name, array in (("image", image), ("label", labels)):
        plain = nib.Nifti1Image(array, affine)
        turn = nib.orientations.ornt_transform(nib.io_orientation(affine), target)
        paths.append(tmp_path / f"{name}.nii.gz")
        nib.save(plain.as_reoriented(turn), paths[-1])
    case = open_case(*paths, lesion_labels=(1,))
    assert case.document.num_slices == 9 and case.truth.sum() == labels.sum()
    for index, truth in enumerate(case.truth):
        np.testing.assert_array_equal(truth, documents.slice_of(case.document, index) == 100)


def test_sagittal_slices_are_named(tmp_path):
    files = write(tmp_path, "a", slices=4, seed=0)
    for path in files[2:]:
        image = nib.load(path)
        nib.save(nib.Nifti1Image(np.asarray(image.dataobj), AFFINE[[2, 0, 1, 3]]), path)
    assert chosen([files]).not_axial == ["a"]


def test_what_is_no_ct_is_refused(tmp_path):
    files = write(tmp_path, "a", slices=4, seed=0)
    image = np.asarray(nib.load(files.image).dataobj)
    save(files.image, np.clip(image / 400 + 0.5, 0, 1).astype(np.float32))
    with pytest.raises(ValueError, match=r"a\.nii\.gz: expected a CT: .*scaled to 0\.\.1"):
        chosen([files])


def test_a_label_on_another_grid_is_refused(tmp_path):
    files = write(tmp_path, "a", slices=4, seed=0)
    save(files.label, np.ones((32, 30, 8), np.uint8))
    with pytest.raises(ValueError, match="labels/a"):
        chosen([files])
