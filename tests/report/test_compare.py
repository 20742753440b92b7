import json
from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread

from tests.loading import load
from tests.reports import slices_of, write_small

SCRIPT = Path(__file__).parents[2] / "scripts" / "compare.py"
# Four slices of two patients, two clicks.
B = np.array([[0.5, 0.6], [0.5, 0.7], [0.6, 0.8], [0.7, 0.7]])
A = B + [[0.2, 0.1], [0.0, 0.1], [0.1, 0.1], [-0.1, 0.1]]


@pytest.fixture(scope="module")
def main():
    module = load(SCRIPT)
    return lambda *arguments: module.main([str(argument) for argument in arguments])


def _two(tmp_path, a=A, b=B, **facts):
    write_small(tmp_path / "a" / "report", {"model": a}, slices_of("ppqq"), **facts)
    write_small(tmp_path / "b", {"model": b}, slices_of("ppqq"))
    return tmp_path / "a", tmp_path / "b"


def _lines(text: str) -> dict[str, list[str]]:
    """Returns the cells of all table lines by their first cell."""
    cells = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("|")]
    return {line[0]: line[1:] for line in cells}


def _error(main, capsys, *arguments) -> str:
    assert main(*arguments) == 1
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.startswith("error: ")
    assert captured.err.count("\n") == 1
    return captured.err


def test_paired_differences_by_hand(main, tmp_path, capsys):
    assert main(*_two(tmp_path), "--json", tmp_path / "new" / "c.json") == 0
    text = capsys.readouterr().out
    lines = _lines(text)
    # Patients gain 0.1 and 0 at click 1, 0.1 each at click 2, and 0.2 and 0.1 summed.
    assert lines["click 1"] == "0.625 0.575".split() + [
        "+0.050 (+0.000 to +0.100)", "50.0%", "25.0%",
    ]  # fmt: skip
    assert lines["click 2"][2:] == ["+0.100 (+0.100 to +0.100)", "100.0%", "0.0%"]
    # The last slice loses at first what it wins later.
    assert lines["sum of clicks"] == "1.425 1.275".split() + [
        "+0.150 (+0.100 to +0.200)", "75.0%", "25.0%",
    ]  # fmt: skip
    assert "4 slices of 2 patients" in text and "Warning" not in text
    assert f"A: {tmp_path / 'a' / 'report'}, row model\n" in text
    record = json.loads((tmp_path / "new" / "c.json").read_text())
    assert [click["click"] for click in record["clicks"]] == [1, 2]
    assert record["clicks"][0]["difference"] == pytest.approx(0.05, abs=1e-6)
    np.testing.assert_allclose(record["clicks"][0]["interval"], [0, 0.1], atol=1e-6)
    np.testing.assert_allclose(record["sum"]["interval"], [0.1, 0.2], rtol=1e-5)
    assert record["clicks"][0]["share_better"] == 0.5 and record["num_patients"] == 2
    assert record["differing_facts"] == []


def test_the_other_way_round_changes_the_signs(main, tmp_path, capsys):
    a, b = _two(tmp_path)
    assert main(b, a, "--clicks", "1") == 0
    lines = _lines(capsys.readouterr().out)
    assert lines["click 1"][2].replace("−0.000", "+0.000") == "−0.050 (−0.100 to +0.000)"
    assert lines["click 1"][3:] == ["25.0%", "25.0%"]
    assert "click 2" not in lines


def test_order_of_slices_does_not_matter_but_pairing_does(main, tmp_path, capsys):
    write_small(tmp_path / "a", {"model": A}, slices_of("ppqq"))
    write_small(tmp_path / "b", {"model": B[::-1]}, slices_of("ppqq")[::-1])
    assert main(tmp_path / "a", tmp_path / "b") == 0
    assert _lines(capsys.readouterr().out)["click 2"][2] == "+0.100 (+0.100 to +0.100)"


def test_rows_and_measures_can_be_chosen(main, tmp_path, capsys):
    hd95 = {"iou": A, "hd95": 10 * (1 - A)}
    hd95["hd95"] = hd95["hd95"].copy()
    hd95["hd95"][3] = np.nan
    painter = {"iou": B, "hd95": 10 * (1 - B)}
    curves = {"model": hd95, "disk_painter_tuned": painter}
    write_small(tmp_path / "a", curves, slices_of("ppqq"))
    run = tmp_path / "a"
    assert main(run, run, "--row-b", "disk_painter_tuned", "--measure", "hd95") == 0
    text = capsys.readouterr().out
    # Of the three slices that have HD95 two are better at click 1: less is better.
    assert _lines(text)["click 1"][2:] == ["−1.000 (−1.000 to −1.000)", "66.7%", "33.3%"]
    assert "smaller is better" in text and "On 1 slices HD95 is not defined" in text
    assert main(run, run, "--row", "disk_painter_tuned") == 0
    assert _lines(capsys.readouterr().out)["click 1"][2:] == [
        "+0.000 (+0.000 to +0.000)", "0.0%", "100.0%",
    ]  # fmt: skip
    message = _error(main, capsys, run, run, "--row-b", "blank_image")
    assert "has no row 'blank_image', only model, disk_painter_tuned" in message
    assert "has no nsd, only iou, hd95" in _error(main, capsys, run, run, "--measure", "nsd")


def test_folds_are_joined_and_seeds_averaged(main, tmp_path, capsys):
    whole, slices = slices_of("ppqq"), slice
    for seed, noise in ((0, 0.1), (1, -0.1)):
        for fold, part in enumerate((slices(0, 2), slices(2, 4))):
            folder = tmp_path / f"s{seed}f{fold}"
            write_small(folder, {"model": A[part] + noise}, whole[part], seed=seed)
    write_small(tmp_path / "b", {"model": B}, whole)
    names = [str(tmp_path / f"s{seed}f{fold}") for seed in (0, 1) for fold in (0, 1)]
    assert main("+".join(names), tmp_path / "b") == 0
    text = capsys.readouterr().out
    assert _lines(text)["click 1"][:3] == ["0.625", "0.575", "+0.050 (+0.000 to +0.100)"]
    assert "(4 runs: slices averaged over 2 runs)" in text
    assert _lines(text)["seed"] == ["various", "7"]
    assert main(",".join(names[:2]), tmp_path / "b") == 0
    text = capsys.readouterr().out
    assert "(2 runs: folds side by side)" in text
    assert _lines(text)["click 1"][2] == "+0.150 (+0.100 to +0.200)"
    assert main("+".join(names[:3]), tmp_path / "b") == 0
    assert "slices averaged over 1–2 runs" in capsys.readouterr().out
    message = _error(main, capsys, f"{names[0]}+{names[0]}", tmp_path / "b")
    assert "names a run twice" in message


def test_a_path_with_a_comma_is_one_run(main, tmp_path, capsys):
    write_small(tmp_path / "x,y+z", {"model": A}, slices_of("ppqq"))
    assert main(tmp_path / "x,y+z", tmp_path / "x,y+z") == 0
    assert "0.0%" in capsys.readouterr().out


def test_different_slices_are_refused_unless_intersected(main, tmp_path, capsys):
    write_small(tmp_path / "a", {"model": np.vstack([A, A])}, slices_of("ppqqrrrr"))
    write_small(tmp_path / "b", {"model": B}, slices_of("ppqq"))
    message = _error(main, capsys, tmp_path / "a", tmp_path / "b")
    assert "4 shared: 4 only in A (r / v,r / 4, r / v,r / 5, r / v,r / 6, …)" in message
    assert "only in B" not in message and "--intersect" in message
    assert main(tmp_path / "a", tmp_path / "b", "--intersect") == 0
    text = capsys.readouterr().out
    assert "4 slices of 2 patients" in text
    assert _lines(text)["click 1"][2] == "+0.050 (+0.000 to +0.100)"
    write_small(tmp_path / "c", {"model": B}, slices_of("wxyz"))
    message = _error(main, capsys, tmp_path / "c", tmp_path / "b", "--intersect")
    assert "0 shared" in message and "same dataset and split" in message


def test_other_data_under_the_same_names_are_refused(main, tmp_path, capsys):
    write_small(tmp_path / "a", {"model": A}, slices_of("ppqq"))
    other = slices_of("ppqq")
    other[2]["lesion_area"] = 99
    write_small(tmp_path / "b", {"model": B}, other)
    message = _error(main, capsys, tmp_path / "a", tmp_path / "b")
    assert "q / v,q / 2 has a lesion of 12 px in one run and 99 px" in message


def test_differing_facts_are_listed_and_units_refused(main, tmp_path, capsys):
    run = _two(tmp_path, encoding="static | 5 px", protocol="ritm", versions={"jax": "0.9"})
    assert main(*run) == 0
    text = capsys.readouterr().out
    assert "Warning: the sides differ in more than their results" in text
    assert "| encoding | static \\| 5 px | – |" in text and "| protocol | ritm | – |" in text
    assert _lines(text)["versions.jax"] == ["0.9", "0.10.2"]
    assert "| seed |" not in text and "| num_images |" not in text
    for name, unit in (("mm", "mm"), ("px", "px")):
        curves = {"model": {"iou": A, "hd95": A}}
        surface = {"unit": unit, "tolerance": 2.0, "num_undefined": 0}
        write_small(tmp_path / name, curves, slices_of("ppqq"), surface=surface)
    sides = (tmp_path / "mm", tmp_path / "px")
    assert main(*sides) == 0
    capsys.readouterr()
    message = _error(main, capsys, *sides, "--measure", "hd95")
    assert "must share their surface unit" in message and "px: px" in message


def test_encodings_are_compared_between_runs_of_one_sampler_only(main, tmp_path, capsys):
    caution = "Not a comparison of encodings"
    own = {"encoding": "average radius", "sampler": "iterative"}
    for name, theirs in (
        ("neither", own),
        ("encoding", {**own, "encoding": "fixed radius"}),
        ("sampler", {**own, "sampler": "random"}),
        ("both", {"encoding": "fixed radius", "sampler": "random"}),
        ("untold", {"encoding": "fixed radius"}),  # of an earlier version
    ):
        sides = [tmp_path / name / side for side in "ab"]
        for side, facts in zip(sides, (own, theirs), strict=True):
            write_small(side, {"model": A}, slices_of("ppqq"), **facts)
        assert main(*sides) == 0
        assert (caution in capsys.readouterr().out) == (name == "both"), name


def test_one_patient_has_no_interval(main, tmp_path, capsys):
    for name, iou in (("a", A), ("b", B)):
        write_small(tmp_path / name, {"model": iou}, slices_of("pppp"))
    assert main(tmp_path / "a", tmp_path / "b", "--json", tmp_path / "c.json") == 0
    text = capsys.readouterr().out
    assert _lines(text)["click 1"][2] == "+0.050"
    assert "No intervals: they need at least two patients." in text
    assert json.loads((tmp_path / "c.json").read_text())["sum"]["interval"] is None


def test_clicks_are_cut_to_the_shorter_run(main, tmp_path, capsys):
    a, b = _two(tmp_path, a=A[:, :1])
    assert main(a, b) == 0
    lines = _lines(capsys.readouterr().out)
    assert "click 2" not in lines and lines["sum of clicks"][2] == "+0.050 (+0.000 to +0.100)"
    # None of the wanted ones was made: the last is shown.
    assert main(a, b, "--clicks", "5,20") == 0
    assert "click 1" in _lines(capsys.readouterr().out)
    for wrong in ("0", "1,x", ""):
        assert "--clicks must be whole numbers" in _error(main, capsys, a, b, "--clicks", wrong)


def test_what_is_no_report_is_named(main, tmp_path, capsys):
    a, b = _two(tmp_path)
    assert "nowhere holds no report" in _error(main, capsys, a, tmp_path / "nowhere")
    (b / "summary.json").unlink()
    assert "holds no report" in _error(main, capsys, a, b)
    (b / "summary.json").write_text("{")
    assert "summary.json is no JSON" in _error(main, capsys, a, b)


def test_figure(main, tmp_path):
    assert main(*_two(tmp_path), "--out", tmp_path / "figures") == 0
    picture = imread(tmp_path / "figures" / "difference.png")
    assert min(picture.shape[:2]) > 300 and np.ptp(picture[..., :3]) == 1
