"""PNG slices as NIfTI volumes: HU, orientation, lesion values, refusals."""

import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow_datasets as tfds
from skimage import io

from ecc_jax import volumes
from ecc_jax.catalog import SPLITS
from tests.loading import load
from tests.preparing import prepare
from tfds_builders.ct_folder_2d.pictures import convert
from tfds_builders.options import DataOptions

ROOT = Path(__file__).parents[2]
WINDOW = (-155.0, 100.0)  # 255 HU wide: a grey value is one HU
SIZE, COUNT = 40, 8


def write(path, picture):
    path.parent.mkdir(parents=True, exist_ok=True)
    io.imsave(path, picture, check_contrast=False)


@pytest.fixture
def source(tmp_path):
    """Eight pictures with a lesion 2, which is no mirror image of itself, in an organ 1."""
    rng = np.random.default_rng(0)
    for i in range(COUNT):
        label = np.zeros((SIZE, SIZE), np.uint8)
        label[5:20, 8:30] = 1
        label[8:14, 10 : 20 + i] = 2
        label[14:18, 10:14] = 2
        write(tmp_path / f"png/images/case_{i}.png", rng.integers(0, 256, label.shape, np.uint8))
        write(tmp_path / f"png/labels/case_{i}.png", label)
    return tmp_path / "png"


@pytest.mark.parametrize("spacing", [None, 0.7])
def test_prepared_slices_are_the_pictures(source, tmp_path, spacing):
    names = convert(source, tmp_path / "made", window_hu=WINDOW, lesion=[2], spacing_mm=spacing)
    assert names == [f"case_{i}" for i in range(COUNT)]
    options = DataOptions(
        "ct_folder_2d",
        root=str(tmp_path / "root"),
        path=str(tmp_path / "made"),
        size=SIZE,
        window_hu=WINDOW,
    )
    data = tfds.builder_from_directory(prepare(options))
    rows = {row["volume"].decode(): row for split in SPLITS for row in data.as_data_source(split)}
    assert sorted(rows) == names
    for name, row in rows.items():
        picture = io.imread(source / "images" / f"{name}.png").astype(int)
        np.testing.assert_array_equal(np.squeeze(row["image"]), picture - 155)
        label = io.imread(source / "labels" / f"{name}.png")
        np.testing.assert_array_equal(np.squeeze(row["mask"]), label == 2)


def test_grey_values_of_8_and_16_bits_are_hu_of_the_window(tmp_path):
    picture = np.arange(256, dtype=np.uint8).reshape(8, 32)
    colours = np.stack([picture] * 3, -1)
    for name, values in (
        ("a", picture),
        ("b", picture.astype(np.uint16) * 257),
        ("c", colours),
    ):
        write(tmp_path / f"png/images/{name}.png", values)
        write(tmp_path / f"png/labels/{name}.png", (picture > 9).astype(np.uint8) * 255)
    convert(tmp_path / "png", tmp_path / "made", window_hu=(-150.0, 250.0), spacing_mm=0.5)
    for name in "abc":
        image = volumes.read_volume(tmp_path / "made/images" / f"{name}.nii.gz")
        assert image.spacing_mm == (0.5, 0.5, 0.5)
        hu = image.image_hu[..., 0].T
        assert (hu.min(), hu.max()) == (-150, 250)
        np.testing.assert_allclose(hu, picture / 255 * 400 - 150, atol=0.5)
        mask = volumes.read_label(tmp_path / "made/labels" / f"{name}.nii.gz")
        np.testing.assert_array_equal(mask[..., 0].T, picture > 9)


def replace(part, picture):
    return lambda source: write(source / part / "case_3.png", picture)


GREY = np.full((SIZE, SIZE), 7, np.uint8)


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        (None, {"lesion": []}, r"name the values .* --lesion; .* are 1, 2$"),
        (None, {"lesion": [3]}, "lesion value 3 is in no label picture; .* are 1, 2$"),
        (None, {"window_hu": (5.0, 5.0)}, "must be two HU, low < high"),
        (None, {"spacing_mm": 0.0}, "must be positive, in mm; got 0"),
        (lambda s: (s / "labels/case_3.png").unlink(), {}, "case_3 has no picture .* in labels/"),
        (lambda s: (s / "images/case_3.png").unlink(), {}, "case_3 has no picture .* in images/"),
        (lambda s: (s / "labels").rename(s / "mask"), {}, "labels: is not a folder"),
        (lambda s: [f.unlink() for f in s.glob("images/*")], {}, r"images: holds no \*.png"),
        (lambda s: (s / "images/case_3.png").write_bytes(b"x"), {}, "case_3.png: cannot be read"),
        (replace("images", GREY[:9]), {}, r"case_3.png: its shape is \(40, 40\), .* \(9, 40\)"),
        (
            replace("images", np.stack([GREY, GREY, GREY * 2], -1)),
            {},
            "case_3.png: is a colour picture",
        ),
    ],
)
def test_what_cannot_be_right_is_refused_and_leaves_nothing(
    source, tmp_path, change, options, message
):
    if change:
        change(source)
    everything = {"window_hu": WINDOW, "lesion": [2]} | options
    with pytest.raises(ValueError, match=message):
        convert(source, tmp_path / "out", **everything)
    assert [path.name for path in tmp_path.iterdir()] == ["png"]


def test_the_script_says_where_and_how_many(source, tmp_path, monkeypatch, capsys):
    path = ROOT / "scripts/pictures_to_nifti.py"
    script = load(path)
    command = f"x {source} {tmp_path / 'out'} --window -150 250 --lesion 1 2 --spacing .8"
    monkeypatch.setattr(sys, "argv", command.split())
    assert script.main() == 0
    printed = capsys.readouterr()
    assert printed.out == f"{tmp_path / 'out'}\n"
    assert printed.err == "8 slices; pixel size 0.8 mm\n"
    assert script.main() == 1
    assert capsys.readouterr().err.startswith(f"error: {tmp_path / 'out'}: is there already")
