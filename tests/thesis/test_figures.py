"""What the figures show is what the runs wrote; what is missing is said."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread

from ecc_jax.report.example_file import EXAMPLES_FILE, read_examples, write_examples
from ecc_jax.thesis import (
    figures,
    figures_classical,
    figures_clicks,
    figures_crops,
    figures_curves,
    figures_data,
)
from ecc_jax.thesis.figures_runs import Inputs, Missing, open_inputs
from tests.loading import load
from tests.preparing import prepare
from tests.reports import example
from tests.thesis.figure_inputs import SLICES, K, classical, curve, run, texts_of
from tests.thesis.runs import evaluation
from tfds_builders.options import DataOptions

SCRIPT = Path(__file__).parents[2] / "scripts" / "thesis_figures.py"
CLICKS = np.arange(1, K + 1)


@pytest.fixture(scope="module")
def script():
    return load(SCRIPT)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Runs of three methods on LIDC and of two on the phantom, and classical methods."""
    top = tmp_path_factory.mktemp("runs")
    run(top / "static", "ritm_static:lidc_2d", first=0.5)
    run(top / "dynamic", "ritm_dynamic:lidc_2d", first=0.6)
    run(top / "hybrid", "ritm_hybrid:lidc_2d", first=0.55)
    for name, first in (("ritm", 0.52), ("optimal_crop", 0.45)):
        run(top / name, "focalclick_static", f"augment.name={name}", first=first)
    classical(top / "classical")
    return top


def _lines(axes):
    return {line.get_label(): line for line in axes.lines}


def test_curves_are_the_means_of_the_runs(folder):
    figure, caption = figures_curves.by_method(open_inputs([str(folder)]))
    lung, phantom = figure.axes
    assert (lung.get_title(), phantom.get_title()) == ("LIDC 2D", "ct_phantom_2d")
    shown = _lines(lung)
    for label, first, is_dashed in (("RITM", 0.5, True), ("RITM_D", 0.6, False)):
        np.testing.assert_array_equal(shown[label].get_xdata(), CLICKS)
        mean = curve(first, 0.9).mean(axis=0)
        np.testing.assert_allclose(shown[label].get_ydata(), mean, atol=1e-6)
        assert (shown[label].get_linestyle() == "--") is is_dashed
    np.testing.assert_allclose(shown["RITM, hybrid"].get_ydata()[0], 0.55, atol=1e-6)
    painter = next(line for label, line in shown.items() if "painter" in label)
    np.testing.assert_allclose(painter.get_ydata(), curve(0.4, 0.8).mean(axis=0), atol=1e-6)
    assert "RITM_D 0.600 [" in caption and "Not comparable" not in caption


def test_published_values_stand_beside_the_same_set_only(folder, tmp_path):
    figure, _ = figures_curves.by_method(open_inputs([str(folder)]))
    lung, phantom = map(_lines, figure.axes)
    # Thesis, Table 5.
    assert list(lung["thesis: RITM"].get_xdata()) == [1, 2, 3, 4, 5]
    assert list(lung["thesis: RITM_D"].get_ydata()) == [0.736, 0.801, 0.816, 0.828, 0.834]
    assert not any(label.startswith("thesis") for label in phantom)
    small = run(tmp_path / "small", "ritm_static:lidc_2d,small")
    figure, caption = figures_curves.by_method(open_inputs([str(small)]))
    assert figure.axes[0].get_title() == "LIDC 2D_S"
    assert not any(label.startswith("thesis") for label in _lines(figure.axes[0]))
    assert "Crosses" not in caption


def test_seeds_are_pooled_and_other_settings_are_told_apart(tmp_path):
    for seed, first in ((0, 0.5), (1, 0.7)):
        run(tmp_path / f"seed{seed}", "ritm_static", f"seed={seed}", first=first)
    run(tmp_path / "slow", "ritm_static", "optimizer.learning_rate=1e-5", first=0.4)
    figure, _ = figures_curves.by_method(open_inputs([str(tmp_path)]))
    shown = _lines(figure.axes[0])
    np.testing.assert_allclose(shown["RITM (seed0)"].get_ydata()[0], 0.6, atol=1e-6)
    np.testing.assert_allclose(shown["RITM (slow)"].get_ydata()[0], 0.4, atol=1e-6)


def _evaluated(run, name, first, *, at=None, **keys):
    report = {"curves": {"model": curve(first, 0.9)}, "slices": SLICES}
    return str(evaluation(run, name, at=at, report=report, **keys))


def test_networks_trained_on_other_sets_are_other_methods(tmp_path):
    """Two reports on KITS whose configurations agree in all but the words."""
    lung = run(tmp_path / "lung", "ritm_static:lidc_2d")
    kidney = run(tmp_path / "kidney", "ritm_static:kits_2d", first=0.7)
    moved = _evaluated(lung, "kits", 0.3, **{"data.name": "kits_2d"})
    figure, caption = figures_curves.by_method(open_inputs([moved, str(kidney)]))
    (panel,) = figure.axes
    shown = _lines(panel)
    np.testing.assert_allclose(shown["RITM"].get_ydata()[0], 0.7, atol=1e-6)
    other = shown["RITM, trained on LIDC 2D"]
    np.testing.assert_allclose(other.get_ydata()[0], 0.3, atol=1e-6)
    assert panel.get_title() == "KITS 2D" and "RITM, trained on LIDC 2D 0.300 [" in caption
    # The small set, and reports that tell of no training: these are not averaged.
    phantom = run(tmp_path / "phantom", "ritm_static", "data.phantom_kind=lung")
    small = run(tmp_path / "small", "ritm_static:lidc_2d,small")
    paths = [
        _evaluated(small, "whole", 0.4, **{"data.subset": "full"}),
        *(_evaluated(phantom, "", 0.4, at=tmp_path / name) for name in ("away", "lost")),
        _evaluated(phantom, "liver", 0.4, **{"data.phantom_kind": "liver"}),
    ]
    assert [(m.dataset, m.label) for m in open_inputs(paths).methods] == [
        ("LIDC 2D", "RITM, trained on LIDC 2D_S"),
        ("LIDC 2D (phantom)", "RITM, training set unknown (away)"),
        ("LIDC 2D (phantom)", "RITM, training set unknown (lost)"),
        ("LITS 2D (phantom)", "RITM, trained on LIDC 2D (phantom)"),
    ]


def test_folders_of_ct_are_told_apart_by_their_paths(tmp_path):
    for name in "ab":
        run(tmp_path / name, "ritm_static:ct_folder_2d", f"data.path=/data/{name}")
    transfer = _evaluated(tmp_path / "a", "b", 0.4, **{"data.path": "/data/b"})
    found = [m.label for m in open_inputs([str(tmp_path), transfer]).methods]
    assert found == ["RITM (a)", "RITM (b)", "RITM, trained on ct_folder_2d (a)"]


def test_only_the_main_report_of_a_run_is_drawn(tmp_path):
    own = run(tmp_path / "own", "ritm_static")
    _evaluated(own, "kits", 0.3, **{"data.name": "kits_2d"})
    _evaluated(own, "", 0.3, at=own / "evaluations" / "kits")
    for path in (tmp_path, own, own / "report"):
        assert [m.folder for m in open_inputs([str(path)]).methods] == [own / "report"]


def test_published_values_are_of_the_protocol_and_the_training(tmp_path):
    own = run(tmp_path / "own", "ritm_static:lidc_2d")
    others = {
        "transfer": {"data.name": "kits_2d"},
        "protocol": {"eval.protocol": "ritm"},
        "split": {"data.split": "validation"},
        "start": {"eval.initial_mask": "eroded"},
        "zoomed": {"inference.pipeline": "zoom_in"},
    }
    for name, keys in others.items():
        (method,) = open_inputs([_evaluated(own, name, 0.5, **keys)]).methods
        assert figures_curves.published_of(method) == {}, name
    (method,) = open_inputs([str(own)]).methods
    assert set(figures_curves.published_of(method)) == {1, 2, 3, 4, 5}


def test_runs_of_different_slices_are_said_to_be(tmp_path):
    for name, spec in (("a", "ritm_static"), ("b", "ritm_dynamic")):
        run(tmp_path / name, spec)
    log = tmp_path / "b" / "report" / "per_click.csv"
    kept = [line for line in log.read_text().splitlines() if ',"v,q",3,' not in line]
    assert len(kept) < len(log.read_text().splitlines())
    log.write_text("\n".join(kept) + "\n")
    _, caption = figures_curves.by_method(open_inputs([str(tmp_path)]))
    assert "Not comparable: RITM and RITM_D were evaluated on different slices (4 and 3)" in caption


def test_augmentations_are_compared_within_one_dataset(folder):
    figure, caption = figures_curves.by_augmentation(open_inputs([str(folder)]))
    shown = _lines(figure.axes[0])
    assert len(figure.axes) == 1 and set(shown) == {"RITM's crops", "Optimal Crop"}
    np.testing.assert_allclose(shown["Optimal Crop"].get_ydata()[0], 0.45, atol=1e-6)
    assert "Not shown" not in caption
    alone = open_inputs([str(folder / "ritm"), str(folder / "static")])
    with pytest.raises(Missing, match=r"focalclick_static.py and --config.augment.name=ritm"):
        figures_curves.by_augmentation(alone)


def test_augmentations_that_are_not_shown_are_named(tmp_path):
    for name in ("ritm", "optimal_crop"):
        run(tmp_path / name, "focalclick_static:lidc_2d", f"augment.name={name}")
    rate = "optimizer.learning_rate=1e-5"
    run(tmp_path / "slow", "focalclick_static:lidc_2d", "augment.name=ritm", rate)
    figure, caption = figures_curves.by_augmentation(open_inputs([str(tmp_path)]))
    assert set(_lines(figure.axes[0])) == {"RITM's crops", "Optimal Crop"}
    assert caption.endswith("of the same crops is: FocalClick (slow) (LIDC 2D).")
    # What was trained elsewhere is compared on its own.
    moved = [
        _evaluated(tmp_path / name, "kits", 0.4, **{"data.name": "kits_2d"})
        for name in ("ritm", "optimal_crop")
    ]
    own = run(tmp_path / "own", "focalclick_static:kits_2d", "augment.name=ritm")
    figure, caption = figures_curves.by_augmentation(open_inputs([str(own), *moved]))
    (panel,) = figure.axes
    assert panel.get_title() == "KITS 2D, trained on LIDC 2D" and "Not shown" not in caption


def test_clicks_and_answers_are_those_of_the_reports(folder):
    inputs = open_inputs([str(folder)])
    figure, caption = figures_clicks.one_click(inputs)
    # Two slices, static and dynamic; the fabricated IoU after click 1.
    assert texts_of(figure) == ["IoU 0.51"] * 4
    assert "by RITM with static and RITM_D with dynamic disks" in caption
    disks = [patch.radius for axes in figure.axes for patch in axes.patches]
    assert disks == [8.0] * 4
    figure, caption = figures_clicks.many_clicks(inputs)
    assert texts_of(figure) == ["IoU 0.70"] * 3 and "RITM_D 2 + 2" in caption
    assert len(figure.axes[0].patches) == 4


def test_runs_of_unlike_length_are_shown_after_the_last_click_of_all(tmp_path):
    run(tmp_path / "long", "ritm_static")
    short = run(tmp_path / "short", "ritm_dynamic")
    file = short / "report" / EXAMPLES_FILE
    case = example(K)
    masks = {1: case.masks[1], 5: case.masks[5], 8: case.masks[5]}
    kept = [e._replace(masks=masks, ious={c: 0.3 for c in masks}) for e in read_examples(file)]
    write_examples(file, kept)
    figure, caption = figures_clicks.many_clicks(open_inputs([str(tmp_path)]))
    # The long run keeps 1, 2, 5 and 20.
    assert "answers after 5 clicks" in caption and texts_of(figure) == ["IoU 0.55", "IoU 0.30"]
    masks = {8: case.masks[5]}
    write_examples(file, [e._replace(masks=masks, ious={8: 0.3}) for e in kept])
    with pytest.raises(Missing, match=r"RITM, RITM_D keep no answers after the same number"):
        figures_clicks.many_clicks(open_inputs([str(tmp_path)]))


def test_reports_without_shared_slices_say_so(tmp_path):
    static = run(tmp_path / "a", "ritm_static")
    dynamic = run(tmp_path / "b", "ritm_dynamic", title="another")
    inputs = open_inputs([str(static), str(dynamic)])
    with pytest.raises(Missing, match="no slice in common; evaluate all runs with the same"):
        figures_clicks.one_click(inputs)
    file = dynamic / "report" / EXAMPLES_FILE
    moved = [e._replace(target=~e.target) for e in read_examples(static / "report" / EXAMPLES_FILE)]
    write_examples(file, moved)
    with pytest.raises(ValueError, match="another lesion in another report"):
        figures_clicks.one_click(inputs)
    file.unlink()
    with pytest.raises(Missing, match=rf"--workdir={dynamic} --out={dynamic}/report/again, and"):
        figures_clicks.one_click(inputs)
    with pytest.raises(Missing, match="no static and dynamic run of one network"):
        figures_clicks.one_click(open_inputs([str(static)]))


@pytest.mark.slow
def test_focus_crop_lies_in_the_target_crop(folder):
    figure, caption = figures_crops.focus_crops(open_inputs([str(folder)]))
    slice_panel = figure.axes[0]
    target, focus = slice_panel.patches
    # The mask after click 1 is a disk of radius 9 about (40, 50): 19 pixels, times 1.4.
    assert (target.get_y() + target.get_height() / 2, target.get_height()) == (40.0, 27)
    assert target.get_x() <= focus.get_x() and focus.get_width() <= target.get_width()
    assert "FocalClick" in caption
    with pytest.raises(Missing, match="no FocalClick run was given that is used on its crops; tr"):
        figures_crops.focus_crops(open_inputs([str(folder / "static")]))


def test_crops_of_focalclick_are_those_of_its_run(tmp_path):
    own = run(tmp_path / "a", "focalclick_static", "inference.focal_size=112")
    whole = run(tmp_path / "b", "focalclick_dynamic", "inference.pipeline='full_frame'")
    older = run(tmp_path / "c", "focalclick_dynamic", "inference.focal_size=64")
    (older / "report" / EXAMPLES_FILE).unlink()
    figure, caption = figures_crops.focus_crops(open_inputs([str(own), str(whole), str(older)]))
    for panel in figure.axes[1:3]:
        assert panel.images[0].get_array().shape == (112, 112)
        circles = [patch for patch in panel.patches if hasattr(patch, "radius")]
        assert {circle.radius for circle in circles} == {8.0}  # pixels of the crop, not stretched
    assert "squares of 112 pixels" in caption


@pytest.mark.slow
def test_figures_of_a_dataset(script, small_folder, tmp_path, capsys):
    """Crops, windows and disks of a folder of CT, through the command."""
    windowed, raw = (
        prepare(
            DataOptions(
                "ct_folder_2d",
                root=str(tmp_path),
                path=str(small_folder),
                size=40,
                variant=variant,
            )
        )
        for variant in ("windowed", "raw")
    )
    out = tmp_path / "out"
    common = ["--out", str(out), "--only"]
    assert script.main([*common, "8,10,11,12", "--data", str(windowed)]) == 0
    assert "keeps the HU of its window only" in capsys.readouterr().err
    names = sorted(path.name for path in out.glob("*.pdf"))
    assert names == ["figure_08.pdf", "figure_11.pdf", "figure_12.pdf"]
    assert script.main([*common, "10", "--data", str(raw)]) == 0
    assert (out / "figure_10.pdf").is_file()
    index = (out / "index.md").read_text()
    assert "Missing" not in index and str(raw) in index
    figure, _ = figures_data.radii(Inputs([], None, windowed))
    titles = [axes.get_title().split() for axes in figure.axes[:4]]
    radius = {rule: float(size) for _, rule, _, _, size, _ in titles}
    assert radius["static"] == 5.0
    assert radius["average"] == pytest.approx((radius["tight"] + radius["enclosing"]) / 2, abs=0.11)


def test_searches_are_those_of_the_file(folder):
    inputs = open_inputs([str(folder)])
    figure, caption = figures_classical.search_of_flooding(inputs)
    shown = _lines(figure.axes[0])
    assert list(shown["IoU"].get_xdata()) == [0.5, 1.0, 1.5, 2.0]
    assert list(shown["IoU"].get_ydata()) == [0.1, 0.31, 0.2, 0.15]
    assert list(shown["Dice"].get_ydata()) == [0.2, 0.4, 0.3, 0.25]
    assert "best mean IoU is 0.310 at 1" in caption and "0.300 [0.200, 0.400]" in caption
    assert texts_of(figure)[-1] == "IoU 1.00"
    figure, caption = figures_classical.search_of_contour(inputs)
    assert [patch.radius for axes in figure.axes[1:] for patch in axes.patches] == [1.0, 1.5]
    assert "(px)" in figure.axes[0].get_xlabel()


def test_examples_are_read_as_written(tmp_path):
    cases = [example(5), example(5)._replace(title="other", clicks_radius=np.arange(5.0))]
    found = read_examples(write_examples(tmp_path / "new" / "e.npz", cases))
    for case, read in zip(cases, found, strict=True):
        assert read.title == case.title and set(read.masks) == {1, 2, 5}
        np.testing.assert_allclose(read.image, case.image, atol=0.5 / 255)
        for name in ("target", "clicks_yx", "clicks_radius", "clicks_positive", "clicks_exist"):
            np.testing.assert_array_equal(getattr(read, name), getattr(case, name))
        for click, mask in case.masks.items():
            np.testing.assert_array_equal(read.masks[click], mask)
            assert read.ious[click] == pytest.approx(case.ious[click])
    (tmp_path / "bad.npz").write_bytes(b"no")
    with pytest.raises(ValueError, match="holds no examples of an evaluation"):
        read_examples(tmp_path / "bad.npz")


def test_command_draws_what_it_can_and_lists_the_rest(script, folder, tmp_path, capsys):
    out = tmp_path / "figures"
    out.mkdir()
    (out / "figure_10.png").write_bytes(b"of an earlier call")
    arguments = [str(folder / "static"), "--out", str(out), "--only", "16,2,10"]
    assert script.main([*arguments, "--root", str(tmp_path / "empty")]) == 0
    said = capsys.readouterr()
    written = ["figure_16.pdf", "figure_16.png", "index.md"]
    assert said.out.split() == [str(out / name) for name in written]
    assert "figure 2 is missing: no classical.json was given; run scripts/classical.py" in said.err
    assert "figure 10 is missing" in said.err and "build_dataset.py" in said.err
    assert sorted(path.name for path in out.iterdir()) == written
    index = (out / "index.md").read_text()
    assert "![Figure 16](figure_16.png)" in index and str(folder / "static") in index
    assert "- Figure 2 (Classical methods): no classical.json" in index
    assert imread(out / "figure_16.png").shape[1] == round(6.3 * 220)


def test_one_of_several_prepared_sets_is_named(script, folder, tmp_path, capsys):
    for subset in ("full", "small"):
        place = tmp_path / "lidc_2d" / subset / "1.0.0"
        place.mkdir(parents=True)
        options = {"subset": subset, "split_rule": "patient", "variant": "windowed"}
        (place / "index.json").write_text(json.dumps({"files": {}, "options": options}))
    arguments = [str(folder / "static"), "--only", "16", "--out", str(tmp_path / "out")]
    arguments += ["--root", str(tmp_path), "--data", "lidc_2d"]
    assert script.main(arguments) == 1
    assert "lidc_2d is prepared 2 times" in capsys.readouterr().err
    assert script.main([*arguments, "--config", "full"]) == 0


def test_pdf_is_vector_with_letters_and_the_same_again(folder, tmp_path):
    inputs = open_inputs([str(folder)])
    drawn = [figures.draw_figures(inputs, tmp_path / name, numbers=(16,)) for name in "ab"]
    first, second = (d.files[16][0].read_bytes() for d in drawn)
    assert first == second
    assert b"/FontFile2" in first and b"/Type3" not in first and b"/Subtype /Image" not in first


def test_mistakes_are_one_line(script, folder, tmp_path, capsys):
    for arguments, message in (
        ([str(tmp_path)], f"error: {tmp_path} holds no report (summary.json) and no"),
        ([str(folder), "--only", "7"], "error: figures that can be drawn are 2, 8, 9"),
        (["--data", str(tmp_path / "none"), "--only", "12"], "error: no prepared dataset in"),
    ):
        assert script.main([*arguments, "--out", str(tmp_path / "out")]) == 1
        said = capsys.readouterr().err
        assert said.startswith(message) and said.count("\n") == 1
    with pytest.raises(SystemExit) as ended:
        script.main([])
    assert ended.value.code == 2 and "nothing to draw from" in capsys.readouterr().err
    shutil.copytree(folder / "classical", tmp_path / "more")
    with pytest.raises(ValueError, match=r"expected one classical.json"):
        open_inputs([str(folder), str(tmp_path / "more")])


def test_nothing_drawn_is_a_failure(script, folder, tmp_path, capsys):
    arguments = [str(folder / "static"), "--only", "2", "--out", str(tmp_path)]
    assert script.main(arguments) == 1
    assert "scripts/classical.py" in capsys.readouterr().err
