"""Labels that are images, organs, or mirrored: refused or turned, never taken for the lesion."""

import json
import re
import warnings

import nibabel
import numpy as np
import pytest
import tensorflow_datasets as tfds
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from ecc_jax.catalog import SPLITS
from ecc_jax.data import slices
from tests.folders import save, scan, write_scans
from tests.nifti_sets import SETS
from tests.preparing import prepare, refusal
from tfds_builders import label_checks, preparation
from tfds_builders.options import DataOptions


@pytest.fixture
def folder(tmp_path):
    return write_scans(tmp_path / "ct")


@pytest.fixture
def options(tmp_path, folder):
    return DataOptions("ct_folder_2d", root=str(tmp_path / "root"), path=str(folder), size=32)


def relabel(folder, draw):
    for seed in range(4):
        save(folder / "labels" / f"case{seed}.nii.gz", draw(seed))


def remark(options, kind):
    """Returns the volumes and the text of a kind of remark, and checks that it is said."""
    with pytest.warns(UserWarning, match=kind):
        texts = preparation.read_index(prepare(options))["remarks"][kind]
    return sorted(texts), next(iter(texts.values()))


def soft(sigma, scale):
    return lambda seed: np.rint(ndimage.gaussian_filter(scan(seed)[1] * 1.0, sigma) * scale)


def structures(seed):
    """Returns boxes of 117 values beside each other."""
    labels = np.zeros((32, 32, 6), np.uint8)
    for value in range(117):
        row, column = divmod(value, 13)
        labels[3 * row : 3 * row + 2, 2 * column : 2 * column + 2] = value + 1
    return labels


IMAGES = {
    "CT": lambda seed: scan(seed)[0],
    "CT without negative values": lambda seed: np.uint16(scan(seed)[0] + 1024),
    "grey values": lambda seed: np.uint8(np.clip(scan(seed)[0] // 2 + 75, 0, 255)),
    "coarse grey values": lambda seed: np.uint8(np.clip(scan(seed)[0] // 40 + 4, 0, 9)),
    "soft mask 0..255": lambda seed: soft(1.5, 255)(seed).astype(np.uint8),
    "soft mask in per cent": lambda seed: soft(0.7, 100)(seed).astype(np.int16),
    "soft mask 0..10": lambda seed: soft(1.0, 10)(seed).astype(np.uint8),
    "soft mask as floats": lambda seed: soft(1.0, 20)(seed).astype(np.float32),
    "117 structures": structures,
}


@pytest.mark.parametrize("kind", IMAGES)
def test_an_image_in_the_place_of_labels_is_refused_unless_its_values_are_named(
    folder, options, kind
):
    relabel(folder, IMAGES[kind])
    message = refusal(options)
    assert "labels/case0.nii.gz: expected a label of a few values, got " in message
    assert "--config.data.lesion_labels=(1,)" in message
    found, counts = np.unique(IMAGES[kind](0), return_counts=True)
    value = int(found[found != 0][counts[found != 0].argmax()])
    named = options._replace(lesion_labels=(value,), allow_empty=True)
    areas = preparation.read_index(prepare(named))["splits"]
    expected = sum(int((IMAGES[kind](seed) == value).any((0, 1)).sum()) for seed in range(4))
    assert sum(len(table["volume"]) for table in areas.values()) == expected


def blobs(seed, count, radius):
    rng = np.random.default_rng(seed)
    grid = np.stack(np.mgrid[:48, :48, :12])
    labels = np.zeros((48, 48, 12), np.uint8)
    for value in range(1, count + 1):
        centre = rng.uniform(0, 1, 3) * labels.shape
        distance = np.linalg.norm(grid - centre[:, None, None, None], axis=0)
        labels[distance < radius] = value
    return labels


@given(
    seed=st.integers(0, 99), count=st.integers(1, 32), radius=st.sampled_from([0.6, 1.5, 3.0, 9.0])
)
def test_lists_of_lesions_and_organs_are_labels(tmp_path_factory, seed, count, radius):
    labels = blobs(seed, count, radius)
    voxels = label_checks.count_values(labels)
    assert voxels == {int(v): int((labels == v).sum()) for v in np.unique(labels)}
    label_checks.refuse_image(tmp_path_factory.getbasetemp(), labels, voxels)


@given(
    sigma=st.floats(0.5, 2.5), scale=st.integers(10, 255), radius=st.sampled_from([4.0, 7.0, 10.0])
)
def test_soft_masks_are_no_labels(tmp_path_factory, sigma, scale, radius):
    grid = np.stack(np.mgrid[-20:21, -20:21, -8:9])
    mask = np.linalg.norm(grid, axis=0) < radius
    labels = np.rint(ndimage.gaussian_filter(mask * 1.0, sigma) * scale).astype(np.int32)
    with pytest.raises(ValueError, match="as in a CT, a soft mask"):
        label_checks.refuse_image(
            tmp_path_factory.getbasetemp(), labels, label_checks.count_values(labels)
        )


@given(st.lists(st.integers(-(2**31), 2**31 - 1), min_size=8, max_size=8))
def test_values_are_counted_however_far_apart(values):
    labels = np.asarray(values, np.int32).reshape(2, 2, 2)
    expected = {value: values.count(value) for value in sorted(set(values))}
    assert label_checks.count_values(labels) == expected


def organ_and_tumour(seed, *, tumour=2, organ=1, rows=(10, 16)):
    labels = np.zeros((32, 32, 6), np.uint8)
    labels[6:24, 8:26] = organ
    labels[slice(*rows), 12 + seed : 17 + seed, 1:4] = tumour
    return labels


ORGANS = {
    "inside": lambda seed: organ_and_tumour(seed),
    "another value": lambda seed: organ_and_tumour(seed, tumour=4),
    "all bulge": lambda seed: organ_and_tumour(seed, rows=(19, 26)),
    "one without tumour": lambda seed: organ_and_tumour(seed, tumour=2 if seed else 1),
    "a cyst beside": lambda seed: np.where(
        np.indices((32, 32, 6))[0] == 20, 3, organ_and_tumour(seed)
    ).astype(np.uint8),
    "at the edge of the volume": lambda seed: np.pad(
        organ_and_tumour(seed)[13:, 10:], ((0, 13), (0, 10), (0, 0))
    ),
}


@pytest.mark.parametrize(
    "name",
    [
        *("liver", "Left_Kidney", "pancreas_head", "Leber", "stomach", "body", "rib 4"),
        *("non-tumour liver", "healthy pancreas (no tumor)", "liver without lesions"),
    ],
)
def test_names_of_organs(name):
    assert label_checks.is_organ(name)


@pytest.mark.parametrize(
    "name",
    [
        *("liver tumour", "kidney RCC", "liver HCC", "adrenal adenoma", "brain glioma", "cyst"),
        *("liver hemangioma", "pneumothorax", "lung fibrosis", "lung GGO", "spleen laceration"),
        *("colon diverticulitis", "vessel occlusion", "distribution", "cribriform", "background"),
    ],
)
def test_names_of_lesions_in_organs_and_of_neither(name):
    assert not label_checks.is_organ(name)


@pytest.mark.parametrize("kind", sorted(ORGANS))
def test_an_organ_around_its_tumour_is_not_taken_for_the_lesion(folder, options, kind):
    relabel(folder, ORGANS[kind])
    tumour = 4 if kind == "another value" else 2
    message = refusal(options)
    assert f"value 1 encloses value {tumour}, as an organ does its tumour" in message
    assert f"--config.data.lesion_labels=({tumour},), or (1,)" in message
    count = sum(int((ORGANS[kind](seed) == tumour).sum()) for seed in range(4))
    assert f"{tumour} in {3 if 'without' in kind else 4} of 4 files, {count} voxels" in message
    chosen = options._replace(lesion_labels=(tumour,), allow_empty=True)
    with warnings.catch_warnings():
        # One volume has no tumour, and is skipped.
        warnings.filterwarnings("ignore", f".* label value {tumour} is missing in 1 label files")
        index = preparation.read_index(prepare(chosen))
    assert index["remarks"].keys() <= {"several label values"}
    prepare(options._replace(lesion_labels=(1,)))
    assert "encloses" in refusal(options)  # naming it once does not settle it for others


@pytest.mark.parametrize("rows", [(23, 31), (26, 31)])
def test_one_tumour_in_five_may_hang_on_its_organ_or_lie_apart(tmp_path, options, rows):
    for hanging in (1, 3):
        folder = write_scans(tmp_path / f"hanging{hanging}", count=6)
        for seed in range(6):
            labels = organ_and_tumour(seed, rows=rows if seed < hanging else (10, 16))
            save(folder / "labels" / f"case{seed}.nii.gz", labels)
        chosen = options._replace(path=str(folder))
        if hanging == 1:
            assert "value 1 encloses value 2" in refusal(chosen)
        else:
            assert len(remark(chosen, "several label values")[0]) == 6


def beside(seed):
    labels = scan(seed)[1]
    labels[22:26, 3:7] = 2
    return labels


def around(seed):
    """Returns a lesion (1) inside an organ (2)."""
    return organ_and_tumour(seed, organ=2, tumour=1)


def rim(seed):
    """Returns two halves of a lesion."""
    labels = scan(seed)[1]
    labels[14:24, 12:20, 1:4] = 2
    return labels


@pytest.mark.parametrize("draw", [beside, around, rim])
def test_several_values_that_may_all_be_lesions_are_told(folder, options, draw):
    relabel(folder, draw)
    volumes, text = remark(options, "several label values")
    assert volumes == ["case0", "case1", "case2", "case3"]
    numbers = [sum(int((draw(seed) == value).sum()) for seed in range(4)) for value in (1, 2)]
    assert f"1 in 4 of 4 files, {numbers[0]} voxels, 2 in 4 of 4 files, {numbers[1]} v" in text
    assert "only 1 is taken as the lesion" in text and "lesion_labels=(2,)" in text
    with warnings.catch_warnings():
        warnings.filterwarnings("error", "several label values")
        for named in ((1,), (1, 2)):
            prepare(options._replace(lesion_labels=named))


@pytest.mark.parametrize(
    ("labels", "says"),
    [
        ({"0": "background", "1": "pancreas", "2": "cancer"}, "1 (pancreas) in 4 of 4 files"),
        ({"background": 0, "Left_Kidney": 1, "cyst": 2}, "calls value 1 'Left_Kidney'"),
        ({"background": 0, "spleen": "1", "cyst": "2"}, "calls value 1 'spleen'"),
        ({"background": 0, "liver": [1, 2], "tumour": 2}, "2 (liver / tumour) in 4 of 4 files"),
    ],
)
def test_names_in_dataset_json_tell_an_organ(folder, options, labels, says):
    relabel(folder, beside)  # which would pass without the names
    (folder / "dataset.json").write_text(json.dumps({"labels": labels}))
    message = refusal(options)
    assert says in message and "--config.data.lesion_labels=(2,), or (1,)" in message
    prepare(options._replace(lesion_labels=(2,)))


@pytest.mark.parametrize(
    "labels",
    [
        {"0": "background", "1": "liver tumour", "2": "liver"},
        {"background": 0, "lung nodule": 1, "lung": 2},
        {"background": 0, "ROI": 1, "other": 2},
        {"background": 0, "kidney cyst": [1], "kidney tumor": [2]},
    ],
)
def test_names_of_lesions_are_told(folder, options, labels):
    relabel(folder, beside)
    (folder / "dataset.json").write_text(json.dumps({"labels": labels}))
    _, text = remark(options, "several label values")
    names = {value if isinstance(value, str) else key for key, value in labels.items()}
    assert all(f"({name})" in text for name in names - {"background"})


def test_a_set_of_one_organ_is_a_remark(folder, options):
    (folder / "dataset.json").write_text('{"labels": {"0": "background", "1": "spleen"}}')
    volumes, text = remark(options, "lesion value named as an organ")
    assert len(volumes) == 4 and "dataset.json calls value 1 'spleen'" in text


def test_an_organ_whose_tumours_are_missing_is_refused(folder, options):
    (folder / "dataset.json").write_text('{"labels": {"1": "liver", "2": "tumour"}}')
    assert "2 (tumour) in 0 of 4 files, 0 voxels" in refusal(options)


@pytest.mark.parametrize("text", ["{", '{"labels": 3}', '{"names": {}}', '{"labels": {"a": "b"}}'])
def test_a_broken_dataset_json_is_told(folder, options, text):
    (folder / "dataset.json").write_text(text)
    volumes, said = remark(options, "label names cannot be read")
    assert volumes == ["dataset.json"] and "repair the file" in said


NAMES = st.text(st.characters(categories=["L", "Nd", "Zs"]), min_size=1, max_size=9)


@given(st.dictionaries(st.integers(1, 300), NAMES.filter(lambda n: not n.isdigit()), max_size=5))
def test_both_forms_of_dataset_json_say_the_same(tmp_path_factory, names):
    if len(set(names.values())) < len(names):
        return
    folder = tmp_path_factory.mktemp("json")
    for labels in (names, {name: value for value, name in names.items()}):
        (folder / "dataset.json").write_text(json.dumps({"labels": labels}))
        assert label_checks.names_in(folder) == names


def flipped(affine, axis, length):
    other = np.array(affine)
    other[:3, 3] += other[:3, axis] * (length - 1)
    other[:3, axis] *= -1
    return other


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("name", [*sorted(SETS), "ct_folder_2d"])
def test_mirrored_segmentations_are_turned_to_their_image(name, axis, tmp_path):
    raw, affine = tmp_path / "raw", np.diag([-0.8, -0.7, 5.0, 1.0])
    names = {
        "kits_2d": ("case_0000{}/imaging.nii.gz", "case_0000{}/segmentation.nii.gz"),
        "lits_2d": ("volume-{}.nii", "segmentation-{}.nii"),
        "md_panc_2d": ("imagesTr/pancreas_{}.nii.gz", "labelsTr/pancreas_{}.nii.gz"),
        "ct_folder_2d": ("images/case{}.nii", "labels/case{}.nii"),
    }[name]
    value, labels = (1 if name == "ct_folder_2d" else 2), np.zeros((32, 32, 6), np.uint8)
    labels[2:8, 12:20, 1:3] = value
    slice_axis = 0 if name == "kits_2d" else 2
    for seed in range(4):
        save(raw / names[0].format(seed), scan(seed)[0], affine)
        other = np.flip(labels, axis) if seed % 2 else labels
        header = flipped(affine, axis, labels.shape[axis]) if seed % 2 else affine
        save(raw / names[1].format(seed), other, header)
    options = DataOptions(name, root=str(tmp_path / "root"), path=str(raw), size=32)
    with pytest.warns(UserWarning, match="label turned to the image's axes in 2 of 4 volumes"):
        directory = prepare(options)
    rows = [
        row
        for split in SPLITS
        for row in tfds.builder_from_directory(directory).as_data_source(split)
    ]
    assert len(rows) == 4 * int(labels.any(tuple({0, 1, 2} - {slice_axis})).sum())
    for row in rows:
        mask = slices.unfit_mask(row["mask"], slices.stored_fit(row))
        expected = labels.take(int(row["slice_index"]), slice_axis) == value
        np.testing.assert_array_equal(mask, expected)


def test_the_defaults_of_known_datasets_need_no_naming(tmp_path):
    for name, (write, _, _) in SETS.items():  # organ 1 around tumour 2 in all of them
        write(tmp_path / name)
        options = DataOptions(name, root=str(tmp_path / "root"), path=str(tmp_path / name), size=48)
        remarks = preparation.read_index(prepare(options))["remarks"]
        assert not remarks.keys() & {"several label values", "lesion value named as an organ"}


def test_many_unknown_values_are_not_all_listed(tmp_path):
    raw = SETS["kits_2d"][0](tmp_path / "raw")["case_00000"]
    save(raw.label_path, raw.image, nibabel.load(raw.image_path).affine)
    path = str(tmp_path / "raw")
    options = DataOptions("kits_2d", root=str(tmp_path / "root"), path=path, size=48, strict=True)
    message = refusal(options)
    assert re.search(r"unknown label values (-\d+, ){9}-\d+ and \d+ more; this dataset", message)
