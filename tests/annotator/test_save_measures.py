import csv
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ecc_jax.annotator import measure, save_measures
from ecc_jax.annotator.save_lesions import Lesion
from ecc_jax.volumes import Volume

SHAPE = (4, 9, 9)


def measured(*names, spacing=(2.5, 0.5, 0.8), empty=()):
    image = np.random.default_rng(0).integers(-1000, 1000, SHAPE).astype(np.int16)
    affine = np.diag([*np.nan_to_num(spacing, nan=1.0), 1.0])
    volume = Volume(image, spacing, affine, Path("ct.nii"))
    rng = np.random.default_rng(1)
    lesions = [Lesion(name, dict(enumerate(rng.random(SHAPE) < 0.3))) for name in names]
    lesions += [Lesion(name, {}) for name in empty]
    return [measure.measure_lesion(lesion, volume) for lesion in lesions]


def test_table_and_json_hold_every_number_in_full(tmp_path):
    found = measured("a", 'b, "c"')
    table, full = save_measures.write_measures(tmp_path / "m.csv", found, Path("ct.nii"))
    with table.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    plain = json.loads(full.read_text("utf-8"))
    assert (plain["format"], plain["version"]) == ("ecc_jax.measures", 1)
    for row, lesion, each in zip(rows, plain["lesions"], found, strict=True):
        widest = each.longest
        expected = {
            "voxels": each.voxels,
            "volume_mm3": each.volume_mm3,
            "volume_ml": each.volume_ml,
            "mean_hu": each.mean_hu,
            "sd_hu": each.sd_hu,
            "min_hu": each.min_hu,
            "max_hu": each.max_hu,
            "num_slices": 4,
            "slice_index": widest.slice_index,
            "long_axis_mm": widest.long_axis.length_mm,
            "short_axis_mm": widest.short_axis.length_mm,
            "area_mm2": widest.area_mm2,
        }
        assert {key: float(row[key]) for key in expected} == expected
        assert {key: lesion[key] for key in expected} == expected
        assert row["lesion"] == lesion["lesion"] == each.name
        assert set(row) == {*expected, "lesion", "software"}
        for one, values in zip(lesion["slices"], each.slices, strict=True):
            assert one["area_mm2"] == values.area_mm2
            ends = one["long_axis"]["ends_yx_pixels"]
            assert tuple(map(tuple, ends)) == values.long_axis.ends_yx
            assert tuple(map(tuple, one["short_axis"]["ends_ras_mm"])) == values.short_axis.ends_mm


def test_what_is_not_known_is_empty(tmp_path):
    unknown = measured("a", spacing=(np.nan,) * 3, empty=("b",))
    table, full = save_measures.write_measures(tmp_path / "m.csv", unknown, Path("ct.nii"))
    with table.open(encoding="utf-8", newline="") as file:
        first, second = csv.DictReader(file)
    lengths = ("volume_mm3", "volume_ml", "long_axis_mm", "short_axis_mm", "area_mm2")
    assert {first[key] for key in lengths} == {""} and float(first["mean_hu"]) == unknown[0].mean_hu
    assert second["voxels"] == "0" and second["mean_hu"] == "" == second["slice_index"]
    first, _ = json.loads(full.read_text("utf-8"))["lesions"]
    assert first["volume_mm3"] is None and first["slices"][0]["long_axis"] is None


@settings(max_examples=25, deadline=None)
@given(
    name=st.text(max_size=20) | st.sampled_from(["=1+1", "@SUM(A1)", "-2", "+x", 'a",b', "a\rb"])
)
def test_no_name_is_a_formula_or_breaks_the_table(tmp_path_factory, name):
    found = [measured("a")[0]._replace(name=name)]
    folder = tmp_path_factory.mktemp("m")
    if not name or name != name.strip() or not name.isprintable() or "\\" in name:
        with pytest.raises(ValueError, match="name"):
            save_measures.write_measures(folder / "m.csv", found, Path("ct.nii"))
        assert not list(folder.iterdir())
        return
    table, full = save_measures.write_measures(folder / "m.csv", found, Path("ct.nii"))
    with table.open(encoding="utf-8", newline="") as file:
        (row,) = csv.DictReader(file)
    assert row["lesion"] == (f"'{name}" if name[0] in "=+-@" else name)
    assert json.loads(full.read_text("utf-8"))["lesions"][0]["lesion"] == name


def test_targets(tmp_path):
    found = measured("a")
    source = tmp_path / "ct.nii"
    source.write_bytes(b"ecc_jax, but the source")
    with pytest.raises(ValueError, match="ends in .csv"):
        save_measures.write_measures(tmp_path / "m.txt", found, source)
    save_measures.write_measures(tmp_path / "m.csv", found, source)
    with pytest.raises(ValueError, match="is there already"):
        save_measures.write_measures(tmp_path / "m.csv", found, source)
    save_measures.write_measures(tmp_path / "m.csv", measured("b"), source, replace=True)
    assert "\nb," in (tmp_path / "m.csv").read_text()
    (tmp_path / "m.csv").write_text("my own,table\n")
    with pytest.raises(ValueError, match="not written by ecc_jax"):
        save_measures.write_measures(tmp_path / "m.csv", found, source, replace=True)
    assert (tmp_path / "m.csv").read_text() == "my own,table\n"
