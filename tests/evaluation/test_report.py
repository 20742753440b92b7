import csv
import json
import math

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.image import imread

from ecc_jax.evaluation import figures
from ecc_jax.evaluation.montage import Example, draw_montage, zoom_box
from ecc_jax.evaluation.report import write_report

NUM_IMAGES = 6


def _per_click(k: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    spread = rng.uniform(-0.05, 0.05, (NUM_IMAGES, 1))
    rise = np.linspace(0, 0.125, k)[None]
    return {
        "model": np.clip(0.8 + spread + rise, 0, 1),
        "disk_as_mask": 0.65 + spread,
        "disk_painter_average": 0.7 + spread + rise,
        "disk_painter_tight": 0.6 + spread + 2 * rise,
        "flooding": 0.4 + spread,
    }


def _summary(per_click: dict[str, np.ndarray]) -> dict:
    rows = {name: {"iou": iou.mean(axis=0).tolist()} for name, iou in per_click.items()}
    rows["model"] |= {
        "noc": {"80": 1.5, "85": 2.25, "90": 2.75},
        "nof": {"80": 0.0, "85": 0.125, "90": 0.5},
        "iterative_iou_error": 0.1234,
        "seconds_per_click": 0.05,
    }
    rows["flooding"]["tolerance_hu"] = 42.5
    return {
        "dataset": "ct_phantom_2d",
        "split": "test",
        "num_images": NUM_IMAGES,
        "num_patients": 3,
        "seed": 7,
        "steps": 100,
        "versions": {"jax": "0.10.2"},
        "device": "1 x cpu",
        "rows": rows,
    }


def _slices() -> list[dict]:
    return [
        {"patient": f"p{i // 2}", "volume": f"v,{i // 2}", "slice_index": i, "lesion_area": 10 + i}
        for i in range(NUM_IMAGES)
    ]


def _example(k: int, shape: tuple[int, int] = (96, 96)) -> Example:
    yy, xx = np.mgrid[: shape[0], : shape[1]]
    target = (yy - 40) ** 2 + (xx - 50) ** 2 <= 10**2
    masks = {c: (yy - 40) ** 2 + (xx - 50) ** 2 <= (8 + c) ** 2 for c in (1, 2, 5, 20) if c <= k}
    return Example(
        image=np.where(target, 0.7, 0.3).astype(np.float32),
        target=target,
        clicks_yx=np.tile(np.array([[40.0, 50.0]], np.float32), (k, 1)),
        clicks_radius=np.full(k, 8.0, np.float32),
        clicks_positive=np.arange(k) % 2 == 0,
        clicks_exist=np.arange(k) < 4,
        masks=masks,
        ious={c: 0.5 + c / 100 for c in masks},
        title="best: volume 1, slice 3",
    )


def _write(tmp_path, k: int, **changes):
    per_click = _per_click(k)
    summary = {**_summary(per_click), **changes}
    examples = [_example(k), _example(k)]
    return write_report(tmp_path / "report", summary, per_click, _slices(), examples)


@pytest.mark.parametrize("k", [1, 3, 20])
def test_all_files_are_there_whatever_the_number_of_clicks(tmp_path, k):
    path = _write(tmp_path, k)
    assert path == tmp_path / "report" / "summary.json"
    names = {file.name for file in path.parent.iterdir()}
    assert names == {"summary.json", "report.md", "per_click.csv", "curves.png", "montage.png"}
    for name in ("curves.png", "montage.png"):
        picture = imread(path.with_name(name))
        assert min(picture.shape[:2]) > 300
        assert np.ptp(picture[..., :3]) == 1


def test_summary_comes_back_unchanged(tmp_path):
    path = _write(tmp_path, 3)
    assert json.loads(path.read_text()) == _summary(_per_click(3))


def test_summary_is_strict_json_even_with_arrays_and_nan(tmp_path):
    per_click = _per_click(3)
    summary = _summary(per_click)
    summary["rows"]["model"]["iou"] = np.asarray(summary["rows"]["model"]["iou"], np.float32)
    summary["rows"]["model"]["iterative_iou_error"] = math.nan
    summary["steps"] = np.int64(5)
    path = write_report(tmp_path, summary, per_click, _slices(), [])

    def refuse(text):
        raise AssertionError(f"{text} is not JSON")

    read = json.loads(path.read_text(), parse_constant=refuse)
    assert read["rows"]["model"]["iterative_iou_error"] is None
    assert read["steps"] == 5
    np.testing.assert_allclose(read["rows"]["model"]["iou"], per_click["model"].mean(0), rtol=1e-6)


def test_csv_holds_every_image_and_row(tmp_path):
    path = _write(tmp_path, 3)
    with path.with_name("per_click.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    per_click = _per_click(3)
    assert len(lines) == NUM_IMAGES * len(per_click)
    assert list(lines[0]) == "patient volume slice area row iou_1 iou_2 iou_3".split()
    for line in lines:
        image = int(line["slice"])
        entry = _slices()[image]
        assert (line["patient"], line["volume"]) == (entry["patient"], entry["volume"])
        assert int(line["area"]) == entry["lesion_area"]
        expected = per_click[line["row"]][image]
        cells = [line[f"iou_{c}"] for c in (1, 2, 3)]
        np.testing.assert_allclose([float(c) for c in cells if c], expected, atol=1e-6)
        assert sum(cell == "" for cell in cells) == 3 - expected.size


def _table_with(text: str, heading: str) -> list[list[str]]:
    """Returns the cells of the table whose heading line starts so."""
    lines = text.split(heading, 1)[1].split("\n\n", 1)[0].splitlines()[2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_gains_are_model_minus_painter_per_click(tmp_path):
    text = _write(tmp_path, 3).with_name("report.md").read_text()
    rows = _table_with(text, "| click | model |")
    assert [row[0] for row in rows] == ["1", "2", "3"]
    # The average painter runs 0.1 below the model; the tight one catches up from 0.2 below.
    assert all(row[3].startswith("**+0.100**") for row in rows)
    assert [row[5][:10] for row in rows] == ["**+0.200**", "**+0.138**", "**+0.075**"]
    assert "at click 1: **+0.150**" in text


def test_interval_of_a_constant_gain_has_no_width_and_needs_two_patients(tmp_path):
    per_click = _per_click(3)
    # One slice of the first patient, five of the other.
    uneven = [{**entry, "patient": min(i, 1)} for i, entry in enumerate(_slices())]
    path = write_report(tmp_path / "two", _summary(per_click), per_click, uneven, [])
    text = path.with_name("report.md").read_text()
    assert _table_with(text, "| click | model |")[0][3] == "**+0.100** (+0.100 to +0.100)"
    one = [{**entry, "patient": "only"} for entry in _slices()]
    path = write_report(tmp_path / "one", _summary(per_click), per_click, one, [])
    text = path.with_name("report.md").read_text()
    assert _table_with(text, "| click | model |")[0][3] == "**+0.100**"
    assert "95 %" not in text.split("## Pictures")[0]


def test_interval_treats_slices_of_a_patient_as_one(tmp_path):
    per_click = _per_click(1)
    # Two patients, gains 0 and 0.2 throughout: resampled means are 0, 0.1 or 0.2, never between.
    gain = np.repeat([[0.0], [0.2]], 3, axis=0)
    per_click["disk_painter_average"] = per_click["model"] - gain
    slices = [{**entry, "patient": i // 3} for i, entry in enumerate(_slices())]
    path = write_report(tmp_path, _summary(per_click), per_click, slices, [])
    row = _table_with(path.with_name("report.md").read_text(), "| click | model |")[0]
    assert row[3] == "**+0.100** (+0.000 to +0.200)"


def test_tables_show_iou_noc_nof_error_and_speed(tmp_path):
    text = _write(tmp_path, 3).with_name("report.md").read_text()
    iou = {row[0]: row[1:] for row in _table_with(text, "|  | click 1 | click 2 | click 3 |")}
    model = _per_click(3)["model"].mean(0)
    assert iou["model"] == [f"{v:.3f}" for v in model]
    assert iou["flood fill, tuned tolerance (42.5 HU)"][1:] == ["–", "–"]
    measures = {row[0]: row[1:] for row in _table_with(text, "|  | NoC@80 |")}
    assert measures["model"] == "1.50 2.25 2.75 0.0% 12.5% 50.0% 0.1234 0.0500".split()
    # The painters' own values follow from their rows, image by image.
    painter = _per_click(3)["disk_painter_average"]
    failures = [np.mean([row.max() < limit for row in painter]) for limit in (0.8, 0.85, 0.9)]
    got = measures["disk painter, average radius"]
    assert 0 < failures[0] < 1
    assert got[3:6] == [f"{share:.1%}" for share in failures]
    first = [next((i + 1 for i, v in enumerate(row) if v >= 0.8), 3) for row in painter]
    assert got[0] == f"{np.mean(first):.2f}"
    assert got[7] == "–"
    assert "click 5" not in text and "click 20" not in text


def test_report_says_what_it_is(tmp_path):
    text = (
        _write(tmp_path, 20, model="ritm_tiny", encoding="average radius", config_name="a|b")
        .with_name("report.md")
        .read_text()
    )
    assert "Research use only" in text
    assert "![" in text and "(curves.png)" in text and "(montage.png)" in text
    assert "6 slices of 3 patients" in text
    assert "| Model | ritm_tiny |" in text
    assert "a\\|b" in text
    assert "click 20 |" in text
    assert "static disks receives" in text


def test_lesion_size_groups(tmp_path):
    text = _write(tmp_path, 3).with_name("report.md").read_text()
    groups = _table_with(text, "| lesion area |")
    assert [row[0] for row in groups] == [
        "small: 10 to 11 px",
        "medium: 12 to 13 px",
        "large: 14 to 15 px",
    ]
    model = _per_click(3)["model"]
    assert groups[0][1:3] == ["2", f"{model[:2, 0].mean():.3f}"]
    assert groups[2][4] == f"{model[4:, 2].mean():.3f}"


def test_rows_that_were_not_run_and_missing_examples_are_left_out(tmp_path):
    per_click = {"model": _per_click(3)["model"]}
    summary = {**_summary(_per_click(3)), "rows": {"model": {"iou": [0.8, 0.85, 0.9]}}}
    _write(tmp_path, 3)
    path = write_report(tmp_path / "report", summary, per_click, _slices(), [])
    text = path.with_name("report.md").read_text()
    assert "painter, per click" not in text
    assert "montage.png" not in text
    assert not path.with_name("montage.png").exists()


def test_summary_vouches_for_the_rest(tmp_path, monkeypatch):
    def fail(*args, **kwargs):
        raise OSError("disk full")

    _write(tmp_path, 3)
    monkeypatch.setattr("ecc_jax.evaluation.report.draw_montage", fail)
    with pytest.raises(OSError, match="disk full"):
        _write(tmp_path, 3)
    assert not (tmp_path / "report" / "summary.json").exists()


def test_bad_input_is_refused(tmp_path):
    per_click = _per_click(3)
    summary = _summary(per_click)
    with pytest.raises(ValueError, match="'seed'"):
        bad = {key: value for key, value in summary.items() if key != "seed"}
        write_report(tmp_path, bad, per_click, _slices(), [])
    with pytest.raises(ValueError, match="'model'"):
        write_report(tmp_path, {**summary, "rows": {}}, per_click, _slices(), [])
    with pytest.raises(ValueError, match="padding rows"):
        write_report(tmp_path, summary, per_click, _slices()[:-1], [])
    with pytest.raises(ValueError, match="lesion_area"):
        write_report(tmp_path, summary, per_click, [{"patient": "p"}] * NUM_IMAGES, [])
    with pytest.raises(ValueError, match="at least one example"):
        draw_montage(tmp_path / "m.png", [])


def test_zoom_holds_lesion_and_disks_with_room():
    example = _example(3)
    y0, x0, y1, x1 = zoom_box(example)
    assert y1 - y0 == x1 - x0 >= 2 * 21
    assert y0 <= 30 and y1 >= 51 and x0 <= 40 and x1 >= 61
    assert 0 <= y0 and y1 <= 96 and 0 <= x0 and x1 <= 96


def test_zoom_of_tiny_border_empty_and_large_lesions():
    base = _example(3)._replace(clicks_exist=np.zeros(3, bool))
    corner = np.zeros((96, 96), bool)
    corner[-1, -1] = True
    assert zoom_box(base._replace(target=corner)) == (64, 64, 96, 96)
    assert zoom_box(base._replace(target=np.zeros((96, 96), bool))) == (0, 0, 96, 96)
    assert zoom_box(base._replace(target=np.ones((96, 96), bool))) == (0, 0, 96, 96)
    wide = np.ones((40, 100), bool)
    y0, x0, y1, x1 = zoom_box(base._replace(target=wide))
    assert (x0, x1) == (0, 100) and y1 - y0 == 100 and y0 <= 0 and y1 >= 40


def test_montage_draws_contours_and_disks_where_they_belong(tmp_path):
    with_clicks = imread(draw_montage(tmp_path / "a.png", [_example(2)]))
    without = _example(2)._replace(clicks_exist=np.zeros(2, bool))
    blank = imread(draw_montage(tmp_path / "b.png", [without]))

    def pixels(picture, colour):
        return int(np.sum(np.abs(picture[..., :3] - np.array(colour)).sum(-1) < 0.15))

    green, red, cyan = (0x2B / 255, 0xE8 / 255, 0x6B / 255), (1, 0.294, 0.294), (0, 0.847, 1)
    for colour in (green, red):
        assert pixels(with_clicks, colour) > pixels(blank, colour) + 100
    assert pixels(blank, cyan) > 500
    missing = draw_montage(tmp_path / "c.png", [_example(2), _example(2)._replace(masks={})])
    assert imread(missing).shape[0] > with_clicks.shape[0]


def test_curves_show_every_row_and_shade_each_interval_in_its_own_panel():
    rows = _summary(_per_click(3))["rows"]
    names = ("model", "disk_painter_average", "disk_painter_tight")
    bands = {name: figures.Band(np.full(3, 0.1), np.full(3, 0.2)) for name in names}
    left, right = Figure().subplots(1, 2)
    figures._draw_iou(left, rows, bands)
    figures._draw_gain(right, rows, bands)
    assert len(left.lines) == 5 and len(left.collections) == 1
    assert len(left.get_legend().get_texts()) == 5
    styles = {(line.get_linestyle(), line.get_marker()) for line in left.lines}
    assert len(styles) == 5
    assert len(right.collections) == 2
    np.testing.assert_allclose(right.lines[1].get_ydata(), [0.1, 0.1, 0.1])
    np.testing.assert_allclose(right.lines[2].get_ydata(), [0.2, 0.1375, 0.075])


@pytest.mark.parametrize(("clicks", "ticks"), [(1, [1]), (3, [1, 2, 3]), (20, [1, 5, 10, 15, 20])])
def test_ticks_are_whole_clicks(clicks, ticks):
    assert figures._ticks(clicks) == ticks
