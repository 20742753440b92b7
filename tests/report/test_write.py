import json
import math

import numpy as np
import pytest
from matplotlib.image import imread

from ecc_jax.report.click_log import read_click_log
from ecc_jax.report.methods import METHODS
from ecc_jax.report.results import NO_FACTS, MethodFacts, MethodResult
from ecc_jax.report.write import draw_pictures, write_report
from tests.reports import FACTS, example, record_of

NUM_IMAGES = 6
PAINTER = "disk_painter_average"


KNOWN = {"model": MethodFacts(seconds_per_click=0.05), "flooding": MethodFacts(tolerance_hu=42.5)}


def _iou(k: int) -> dict[str, np.ndarray]:
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


def _rows(k: int, *, only=None, known=KNOWN, **more) -> dict[str, MethodResult]:
    curves = {**_iou(k), **more}
    return {
        name: MethodResult({"iou": curves[name]}, facts=known.get(name, NO_FACTS))
        for name in only or curves
    }


def _summary(**changes) -> dict:
    return {**FACTS, "num_images": NUM_IMAGES, "num_patients": 3, **changes}


def _slices() -> list[dict]:
    return [
        {"patient": f"p{i // 2}", "volume": f"v,{i // 2}", "slice_index": i, "lesion_area": 10 + i}
        for i in range(NUM_IMAGES)
    ]


def _write(tmp_path, k: int, *, scores=None, slices=None, examples=(), draw=None, **changes):
    """Writes a report, without pictures: they take most of its time."""
    folder, scores = tmp_path / "report", scores or _rows(k)
    summary = _summary(**changes)
    return write_report(folder, summary, scores, slices or _slices(), examples, draw=draw)


def _text(path) -> str:
    return path.with_name("report.md").read_text()


def _headline(path) -> str:
    return _text(path).split("\n\n")[2]


def _table_with(text: str, heading: str) -> list[list[str]]:
    """Returns the cells of the table whose heading line starts so."""
    lines = text.split(heading, 1)[1].split("\n\n", 1)[0].splitlines()[2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


@pytest.mark.parametrize("k", [1, 3, 20])
def test_all_files_are_there_whatever_the_number_of_clicks(tmp_path, k):
    path = _write(tmp_path, k, examples=[example(k), example(k)], draw=draw_pictures)
    assert path == tmp_path / "report" / "summary.json"
    pictures = {"curves.png", "strata.png", "noc.png", "montage.png"}
    names = {file.name for file in path.parent.iterdir()}
    assert names == {"summary.json", "report.md", "per_click.csv", *pictures}
    for name in pictures:
        picture = imread(path.with_name(name))
        assert min(picture.shape[:2]) > 300
        assert np.ptp(picture[..., :3]) == 1
        assert f"({name})" in _text(path)


def test_summary_keeps_its_facts_and_form(tmp_path):
    given = _summary(protocol="thesis")
    summary = json.loads(_write(tmp_path, 3, protocol="thesis").read_text())
    assert {key: summary[key] for key in given} == given
    rows, iou = summary["rows"], _iou(3)
    assert list(rows) == list(iou)
    for name, values in iou.items():
        np.testing.assert_allclose(rows[name]["iou"], values.mean(axis=0), rtol=1e-6)
    assert set(rows["model"]["noc"]) == set(rows["model"]["nof"]) == {"80", "85", "90"}
    assert rows["model"]["seconds_per_click"] == 0.05
    assert rows["flooding"]["tolerance_hu"] == 42.5 and "noc" not in rows["flooding"]
    assert rows["disk_painter_tight"]["noc"]["90"] == 3
    gain = rows["model"]["gain_over"]["disk_painter_average"]
    np.testing.assert_allclose(gain["per_click"], [0.1] * 3)
    np.testing.assert_allclose([gain["sum"], *gain["sum_interval"]], 0.3)
    assert [group["lesion_area"] for group in summary["strata"]] == [[10, 11], [12, 13], [14, 15]]


def test_facts_given_for_a_method_win_over_measured_ones(tmp_path):
    # A pooled report takes NoC run by run, which the averaged curves do not tell.
    known = {"model": MethodFacts(noc={"80": 1.25, "85": 2.0, "90": 3.0})}
    path = _write(tmp_path, 3, scores=_rows(3, known=known))
    assert json.loads(path.read_text())["rows"]["model"]["noc"]["80"] == 1.25
    assert _table_with(_text(path), "|  | NoC@80 |")[0][1] == "1.25"


def test_summary_is_strict_json_even_with_arrays_and_nan(tmp_path):
    rows = _rows(3)
    rows["model"].scores["nsd"] = np.full((NUM_IMAGES, 3), np.nan)
    path = _write(tmp_path, 3, scores=rows, steps=np.int64(5), threshold=math.nan)

    def refuse(text):
        raise AssertionError(f"{text} is not JSON")

    read = json.loads(path.read_text(), parse_constant=refuse)
    assert read["rows"]["model"]["nsd"] == [None] * 3
    assert read["steps"] == 5 and read["threshold"] is None
    assert "## NSD" in _text(path) and "the 0 of 6 slices" in _text(path)


def test_csv_gives_rows_and_slices_back(tmp_path):
    rows = _rows(3)
    rows["model"] = rows["model"]._replace(clicks=record_of(NUM_IMAGES, 3))
    got, slices = read_click_log(_write(tmp_path, 3, scores=rows).with_name("per_click.csv"))
    assert slices == _slices() and list(got) == list(rows)
    np.testing.assert_array_equal(got["model"].clicks.radius, rows["model"].clicks.radius)
    for name, row in rows.items():
        np.testing.assert_array_equal(got[name].scores["iou"], row.scores["iou"].astype(np.float32))


def test_gains_are_model_minus_control_per_click_and_summed(tmp_path):
    text = _text(_write(tmp_path, 3, scores=_rows(3, blank_image=_iou(3)["model"] - 0.025)))
    table = _table_with(text, "| click | model |")
    assert [row[0] for row in table] == ["1", "2", "3", "sum"]
    # The average painter runs 0.1 below the model; the tight one catches up from 0.2 below.
    assert [row[2] for row in table[:3]] == ["+0.100 (+0.100 to +0.100)"] * 3
    assert [row[3][:6] for row in table] == ["+0.200", "+0.138", "+0.075", "+0.413"]
    assert table[3][2] == "+0.300 (+0.300 to +0.300)"
    assert [row[4][:6] for row in table] == ["+0.025"] * 3 + ["+0.075"]
    assert "Model minus first disk as mask, at click 1: **+0.150**" in text


def test_headline_names_the_strongest_painter_of_click_and_sum(tmp_path):
    # From the second click on the tight painter is far better than the average one.
    rise = np.array([[0.0, 0.2, 0.25]])
    tight = _iou(3)["disk_painter_tight"][:, :1] + rise
    headline = _headline(_write(tmp_path, 3, scores=_rows(3, disk_painter_tight=tight)))
    assert headline.startswith("**Mean IoU 0.795 after the first click and 0.920 after 3.**")
    assert "painter at click 1 (disk painter, average radius): **+0.100** (95 % inter" in headline
    # 0.2 + 0.0625 + 0.075 is more than the average painter's 0.3.
    assert "over the 3 clicks over the strongest there (disk painter, average radius)" in headline
    stronger = _rows(3, disk_painter_tight=tight + 0.05)
    headline = _headline(_write(tmp_path, 3, scores=stronger))
    assert "strongest there (disk painter, tight radius): **+0.188**" in headline


def test_headline_says_that_static_disks_tell_no_size(tmp_path):
    text = "Static disks tell nothing of the lesion's size"
    assert text in _headline(_write(tmp_path, 3, encoding="fixed radius"))
    assert text not in _headline(_write(tmp_path, 3, encoding="average radius"))


def test_headline_does_not_sell_what_is_no_gain(tmp_path):
    model, names = _iou(3)["model"], ["model", "disk_painter_average"]
    # By patient +0.1, 0 and -0.05: positive on average, but not sure.
    unsure = np.repeat([[0.1], [0.0], [-0.05]], 2, axis=0)
    rows = _rows(3, only=names, disk_painter_average=model - unsure)
    assert _headline(_write(tmp_path, 3, scores=rows)).count("includes 0: no gain is shown") == 2
    rows = _rows(3, only=names, disk_painter_average=model + 0.01)
    text = _headline(_write(tmp_path, 3, scores=rows))
    assert text.count("the painter does as well or better without the image") == 2
    assert "**−0.010** (95 % interval −0.010 to −0.010)" in text
    text = _headline(_write(tmp_path, 3, scores=_rows(3, only=["model"])))
    assert "No image-blind painter was run" in text


def test_intervals_need_two_patients_and_the_report_says_so(tmp_path):
    one = [{**entry, "patient": "only"} for entry in _slices()]
    path = _write(tmp_path, 3, slices=one)
    text = _text(path)
    assert _table_with(text, "| click | model |")[0][2] == "+0.100"
    assert "No intervals: they need at least two patients." in text
    assert "95 % interval" not in text.split("## How to read")[0]
    assert (
        json.loads(path.read_text())["rows"]["model"]["gain_over"]["disk_painter_tight"]["interval"]
        is None
    )


def test_interval_treats_slices_of_a_patient_as_one(tmp_path):
    # Two patients, gains 0 and 0.2 throughout: resampled means are 0, 0.1 or 0.2, never between.
    gain = np.repeat([[0.0], [0.2]], 3, axis=0)
    rows = _rows(1, disk_painter_average=_iou(1)["model"] - gain)
    slices = [{**entry, "patient": i // 3} for i, entry in enumerate(_slices())]
    text = _text(_write(tmp_path, 1, scores=rows, slices=slices))
    assert _table_with(text, "| click | model |")[0][2] == "+0.100 (+0.000 to +0.200)"


def test_tables_show_iou_noc_nof_error_and_speed(tmp_path):
    text = _text(_write(tmp_path, 3))
    iou = {row[0]: row[1:] for row in _table_with(text, "|  | click 1 | click 2 | click 3 |")}
    curves = _iou(3)
    assert iou["model"] == [f"{v:.3f}" for v in curves["model"].mean(0)]
    assert iou["flood fill, tuned tolerance (42.5 HU)"][1:] == ["–", "–"]
    measures = {row[0]: row[1:] for row in _table_with(text, "|  | NoC@80 |")}
    assert list(measures) == ["model", *(f"disk painter, {r} radius" for r in ("average", "tight"))]
    for label, name in (("model", "model"), ("disk painter, average radius", PAINTER)):
        limits = (0.8, 0.85, 0.9)
        failures = [np.mean([row.max() < limit for row in curves[name]]) for limit in limits]
        assert measures[label][3:6] == [f"{share:.1%}" for share in failures]
        first = [next((i + 1 for i, v in enumerate(row) if v >= 0.8), 3) for row in curves[name]]
        assert measures[label][0] == f"{np.mean(first):.2f}"
        area = (curves[name][:, 1:] + curves[name][:, :-1]).mean() / 2
        assert measures[label][6] == f"{area:.3f}"
    assert 0 < float(measures["disk painter, average radius"][3].rstrip("%")) < 100
    assert measures["model"][8] == "0.0500"
    assert measures["disk painter, average radius"][8] == "–"
    assert "click 5" not in text and "click 20" not in text
    assert "success at the last click counts as success" in text


def test_latency_and_failures_of_ritm(tmp_path):
    latency = {"p50_s": 0.031, "p95_s": 0.05, "num_clicks": 60}
    scores = _rows(3, known={"model": MethodFacts(latency=latency)})
    path = _write(tmp_path, 3, nof_convention="ritm", scores=scores)
    text = _text(path)
    assert _table_with(text, "|  | NoC@80 |")[0][-2:] == ["0.0310", "0.0500"]
    assert "over 60 clicks" in text and "as in RITM" in text
    late = np.mean([(row[:-1] < 0.9).all() for row in _iou(3)["model"]])
    never = np.mean([(row < 0.9).all() for row in _iou(3)["model"]])
    nof = json.loads(path.read_text())["rows"]["model"]["nof"]["90"]
    assert nof == pytest.approx(late) and late > never


def test_other_measures_stand_with_unit_and_what_is_missing(tmp_path):
    rows = _rows(3)
    nsd = np.tile([[0.5, 0.6, 0.7]], (NUM_IMAGES, 1))
    nsd[:2] = np.nan
    rows["model"] = MethodResult({"iou": rows["model"].scores["iou"], "nsd": nsd, "hd95": 10 * nsd})
    surface = {"unit": "mm", "tolerance": 2.0, "num_undefined": 2}
    text = _text(_write(tmp_path, 3, scores=rows, surface=surface))
    nsd_part = text.split("## NSD at 2 mm")[1].split("## ")[0]
    assert _table_with(nsd_part, "|  | click 1 |") == [["model", "0.500", "0.600", "0.700"]]
    assert "Means over the 4 of 6 slices" in nsd_part
    hd95_part = text.split("## HD95 (mm, smaller is better)")[1].split("## ")[0]
    assert _table_with(hd95_part, "|  | click 1 |") == [["model", "5.00", "6.00", "7.00"]]
    assert "| in mm; NSD tolerance 2 mm; 2 of 6 slices lack a pixel size" in text
    assert "**HD95**: 95th percentile" in text and "## Dice" not in text


def test_sections_stand_only_where_there_are_data(tmp_path):
    plain = _text(_write(tmp_path, 3))
    for words in (
        "## Other users",
        "## CVPR 2025",
        "## NSD",
        "## HD95",
        "blanked",
        "random walker",
    ):
        assert words not in plain
    for words in ("**Dice**", "**HD95**", "Protocol |", "montage.png", "Starts from"):
        assert words not in plain
    users = [
        {"variant": "nominal", "label": "nominal", "rows": {"model": [0.8, 0.85, 0.9]}},
        {
            "variant": "jitter",
            "label": "clicks 3 px off",
            "rows": {"model": [0.7, 0.8, 0.9], "disk_painter": [0.6, 0.65, 0.95]},
        },
    ]
    scores = {"dsc_auc": 3.5, "nsd_auc": 3.25, "dsc_final": 0.93, "nsd_final": 0.91}
    more = _rows(3, blank_image=_iou(3)["model"] - 0.1, random_walker=_iou(3)["model"] - 0.2)
    text = _text(_write(tmp_path, 3, scores=more, robustness=users, cvpr25=scores))
    table = _table_with(text, "| user |")
    assert table[0][1:] == ["0.800", "0.900", "+0.000", "+0.000", "–", "–"]
    assert table[1] == ["clicks 3 px off", "0.700", "0.900", "−0.100", "+0.000", "+0.100", "−0.050"]
    assert _table_with(text, "| DSC_AUC |") == [["3.5000", "3.2500", "0.9300", "0.9100"]]
    assert "at most 4.0" in text
    assert "- **the same network, image blanked**:" in text and "- **random walker**:" in text


def test_an_external_predictor_can_be_what_the_report_is_about(tmp_path):
    curves = _iou(3)
    own = MethodFacts(label="MedSAM | 2")
    rows = {
        "external": MethodResult({"iou": curves["model"]}, facts=own),
        PAINTER: MethodResult({"iou": curves[PAINTER]}),
    }
    path = _write(tmp_path, 3, scores=rows)
    text = _text(path)
    assert _headline(path).startswith("MedSAM | 2: **Mean IoU 0.795")
    assert "| click | MedSAM \\| 2 | over painter, average radius |" in text


def test_every_known_method_is_explained(tmp_path):
    one = {method.name for method in METHODS if method.answers_once}
    curve, labels = _iou(3)["model"], {method.name: method.label for method in METHODS}
    rows = {name: MethodResult({"iou": curve[:, :1] if name in one else curve}) for name in labels}
    text = _text(_write(tmp_path, 3, scores=rows)).split("## How to read the rows")[1]
    listed = [line.split("**")[1] for line in text.splitlines() if line.startswith("- **")]
    assert listed[: len(labels)] == list(labels.values())


def test_report_says_what_it_is(tmp_path):
    facts = {"model": "ritm_tiny", "config_name": "a|b", "seeds": [1, 2], "protocol": "thesis"}
    text = _text(_write(tmp_path, 20, **facts))
    assert "Research use only" in text
    assert "6 slices of 3 patients" in text
    for line in ("Model | ritm_tiny", "Seeds | 1, 2", "Protocol | thesis"):
        assert f"| {line} |" in text
    assert "a\\|b" in text and "click 20 |" in text
    assert "static disks receives" in text
    pooled = _text(_write(tmp_path, 3, steps="various"))
    assert "| Training steps | various |" in pooled


def test_lesion_size_groups_have_gains_with_intervals(tmp_path):
    groups = _table_with(_text(_write(tmp_path, 3)), "| lesion area |")
    sizes = ["small: 10 to 11 px", "medium: 12 to 13 px", "large: 14 to 15 px"]
    assert [row[0] for row in groups] == np.repeat(sizes, 2).tolist()
    assert [row[2] for row in groups] == ["1", "3"] * 3
    model = _iou(3)["model"]
    # One patient each: no interval.
    assert groups[0][1:5] == ["2 (1)", "1", f"{model[:2, 0].mean():.3f}", "+0.100"]
    assert groups[5][3] == f"{model[4:, 2].mean():.3f}"
    mixed = [{**entry, "patient": i % 2} for i, entry in enumerate(_slices())]
    groups = _table_with(_text(_write(tmp_path, 3, slices=mixed)), "| lesion area |")
    assert groups[0][1] == "2 (2)" and groups[0][4] == "+0.100 (+0.100 to +0.100)"


def test_too_few_slices_and_missing_examples_leave_no_old_picture(tmp_path):
    _write(tmp_path, 3, examples=[example(3)], draw=draw_pictures)
    few = {name: MethodResult({"iou": row.scores["iou"][:2]}) for name, row in _rows(3).items()}
    path = _write(tmp_path, 3, scores=few, slices=_slices()[:2], draw=draw_pictures)
    assert "Too few slices to group." in _text(path)
    for name in ("strata.png", "montage.png"):
        assert not path.with_name(name).exists() and name not in _text(path)


def test_summary_vouches_for_the_rest(tmp_path):
    def fail(*args, **kwargs):
        raise OSError("disk full")

    _write(tmp_path, 3)
    with pytest.raises(OSError, match="disk full"):
        _write(tmp_path, 3, draw=fail)
    assert not (tmp_path / "report" / "summary.json").exists()


def test_bad_input_is_refused(tmp_path):
    rows = _rows(3)
    summary = _summary()
    with pytest.raises(ValueError, match="'seed'"):
        bad = {key: value for key, value in summary.items() if key != "seed"}
        write_report(tmp_path, bad, rows, _slices(), [])
    with pytest.raises(ValueError, match="'model', 'external'"):
        write_report(tmp_path, summary, {PAINTER: rows[PAINTER]}, _slices(), [])
    with pytest.raises(ValueError, match="padding rows"):
        write_report(tmp_path, summary, rows, _slices()[:-1], [])
    with pytest.raises(ValueError, match="lesion_area"):
        write_report(tmp_path, summary, rows, [{"patient": "p"}] * NUM_IMAGES, [])
    rows["model"].scores["nsd"] = np.ones((NUM_IMAGES, 2))
    with pytest.raises(ValueError, match="nsd of 'model' must have .* 3 columns"):
        write_report(tmp_path, summary, rows, _slices(), [])
    assert not (tmp_path / "summary.json").exists()
