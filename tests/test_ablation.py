"""scripts/ablation.py: commands that are valid runs, rows that are shared, tables that add up."""

import subprocess
import types
from pathlib import Path

import numpy as np
import pytest

from ecc_jax import checks, config
from tests.loading import load
from tests.reports import slices_of, write_small

ROOT = Path(__file__).parents[1]


@pytest.fixture
def ablation(monkeypatch):
    """The script, with runs that are noted in `ran` in place of being made."""
    script = load(ROOT / "scripts/ablation.py")
    script.ran = []

    def run(command, **options):
        script.ran.append((command[3:], options["env"]))
        return types.SimpleNamespace(returncode=0)

    monkeypatch.setattr(subprocess, "run", run)
    monkeypatch.setattr(script, "results_table", lambda study, names, reports: "\n".join(reports))
    return script


def resolved(flags):
    """The configuration that a command means."""
    spec, *values = (flag.removeprefix("--config") for flag in flags if "--config" in flag)
    file, words = spec.removeprefix("=").split(":")
    tree = load(ROOT / file).get_config(words)
    for value in values:
        config.set_from_text(tree, value.removeprefix("."))
    return tree


@pytest.mark.parametrize(
    ("study", "more"), [("parts", "--data ct"), ("methods", ""), ("methods", "--data ct --folds 2")]
)
def test_every_row_is_a_valid_run_of_its_own(ablation, tmp_path, study, more):
    out = tmp_path / "out"
    assert ablation.main(f"--study {study} --out {out} {more}".split()) == 0
    trained = [command for command, _ in ablation.ran if "--mode=evaluate" not in command]
    trees = [resolved(command) for command in trained]
    for tree in trees:
        checks.validate(tree)
        assert tree.train.steps_per_epoch * tree.train.epochs == 1200
    places = [flag for command in trained for flag in command if flag.startswith("--workdir=")]
    assert len(set(places)) == len(trained)
    of_fold = [tree for tree in trees if tree.data.fold == 0]
    assert len({config.resolved_hash(tree) for tree in of_fold}) == len(of_fold)
    if study == "methods":
        # An encoding is credited between runs of one sampler.
        assert {(t.train.source, t.train.click_gamma, t.train.max_clicks) for t in trees} == {
            ("iterative", 0.4, 24)
        }
        assert len(trees) == 12 * (2 if "folds" in more else 1)
    assert len({environment["JAX_COMPILATION_CACHE_DIR"] for _, environment in ablation.ran}) == 1


def test_rows_that_share_weights_are_evaluated_once(ablation, tmp_path):
    out = tmp_path / "out"
    arguments = f"--study methods --only merge_static --out {out}".split()
    assert ablation.main(arguments) == 0
    (train, _), (evaluate, _) = ablation.ran
    assert f"--workdir={out / 'focalclick_static'}" in train
    assert f"--workdir={out / 'focalclick_static'}" in evaluate
    assert "--config.inference.progressive_merge=True" in evaluate
    assert "--config.inference.progressive_merge=True" not in train
    assert (
        out / "ablation.md"
    ).read_text() == f"{out / 'focalclick_static'}\n{out / 'merge_static'}\n"


def test_what_has_succeeded_is_not_run_again(ablation, tmp_path, monkeypatch):
    arguments = f"--study methods --only ritm_static,ritm_dynamic --out {tmp_path}".split()
    codes = [0, 3, 0]  # the second run fails

    def run(command, **options):
        ablation.ran.append(next(flag for flag in command if "--workdir" in flag)[-7:])
        return types.SimpleNamespace(returncode=codes.pop(0))

    monkeypatch.setattr(subprocess, "run", run)
    assert ablation.main(arguments) == 3
    for _ in range(2):
        assert ablation.main(arguments) == 0
        assert ablation.ran == ["_static", "dynamic", "dynamic"]
    codes[:] = [0, 0]
    assert ablation.main([*arguments, "--steps", "600"]) == 0  # the same rows of another length
    assert len(ablation.ran) == 5


def test_keys_for_all_reach_every_training(ablation, tmp_path):
    command = f"--study methods --only unetpp_mask,ritm_static --out {tmp_path} --set data.size=96"
    assert ablation.main(command.split()) == 0
    assert [resolved(command).data.size for command, _ in ablation.ran] == [96, 96]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--only no_such", "unknown variant no_such; parts has: full, iterative"),
        ("--study methods --only full", "unknown variant full; methods has: ritm_static"),
        ("", "--data=DIR is missing"),
        ("--data x --folds 2", "--folds is for methods"),
    ],
)
def test_what_makes_no_sense_is_one_line(ablation, arguments, message, capsys):
    assert ablation.main(arguments.split()) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line and not ablation.ran


def test_tables_hold_means_and_paired_differences(tmp_path):
    script = load(ROOT / "scripts/ablation.py")
    slices = slices_of("ppqq")
    rising = np.linspace(0.5, 0.88, 20)[None] + np.zeros((4, 1))
    rows = {"model": rising, "blank_image": rising - 0.1, "disk_painter_tuned": rising - 0.2}
    write_small(tmp_path / "a", rows, slices)
    write_small(tmp_path / "b", {**rows, "model": rising + 0.05}, slices)
    variants = {"a": script.Variant("first"), "b": script.Variant("second")}
    study = script.Study(variants, (("b", "a"), ("a", "c")), ())
    text = script.results_table(study, ["a", "b"], [str(tmp_path / "a"), str(tmp_path / "b")])
    lines = {line.split(" | ")[0]: line for line in text.splitlines()}
    assert lines["| tuned painter, blind to the image"].count("| 0.300 | 0.320 |") == 1
    assert "| 0.500 | 0.520 |" in lines["| first"] and "| 0.550 | 0.570 |" in lines["| second"]
    under = text.splitlines()[text.splitlines().index(lines["| second"]) + 1]
    assert under.count("+0.150 (+0.150 to +0.150)") == 6
    assert lines["| b − a"].count("+0.050 (+0.050 to +0.050)") == 6 and "| a − c" not in lines
