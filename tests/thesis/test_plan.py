"""Commands of the plan: each is a valid run of the cell that it is said to fill."""

import collections
import json
import shlex
import subprocess
import sys
import types

import pytest

from ecc_jax import checks
from ecc_jax import config as schema
from ecc_jax.config_words import name_dataset
from ecc_jax.thesis import campaign, plan, published, rows
from ecc_jax.thesis.plan import Job, Path, Plan
from tests.loading import load
from tests.thesis.runs import tree_of
from tfds_builders import prepared_index

PLANS = {"full": plan.full(Path("out")), "quick": plan.quick(Path("out"))}


def keys_of(command):
    return [flag.removeprefix("--config.") for flag in command if flag.startswith("--config.")]


def resolved(command):
    """The configuration that a training's command means, its dataset a word as in main."""
    spec = next(f.removeprefix("--config=") for f in command if f.startswith("--config="))
    keys = keys_of(command)
    for key in keys:
        if key.startswith("data.name="):
            spec = name_dataset(spec, key.removeprefix("data.name="))
    file, _, words = spec.partition(".py:")
    return tree_of(f"{file.removeprefix('configs/')}:{words}", *keys)


@pytest.mark.parametrize("name", PLANS)
def test_trainings_are_valid_and_of_the_cell_that_they_fill(name):
    chosen, seen = PLANS[name], set()
    for job in chosen.jobs:
        if job.kind == "train":
            tree = resolved(job.command)
            checks.validate(tree)
            values = schema.to_dict(tree)
            rows.check_protocol(values)
            assert rows.row_of(values) == job.meaning.row
            assert rows.set_of(values["data"]) == (job.meaning.trained_on, chosen.is_stand_in)
            is_focal = job.meaning.row.family == "focalclick"
            crops = tree.augment.name == "optimal_crop"
            assert crops == (is_focal and job.meaning.trained_on in ("lidc_2d", "combined_2d"))
            seen.add((job.meaning.row, job.meaning.trained_on))
    assert len(seen) == 25


@pytest.mark.parametrize("name", PLANS)
def test_evaluations_follow_their_training_and_are_of_their_cell(name):
    chosen, trained = PLANS[name], {}
    for job in chosen.jobs:
        workdir = next((f for f in job.command if f.startswith("--workdir=")), "")
        if job.kind == "train":
            trained[workdir] = job
        if job.kind == "evaluate":
            training = trained[workdir]
            assert training.meaning.row == job.meaning.row
            assert training.meaning.trained_on == job.meaning.trained_on
            tree = resolved(training.command)
            for entry in keys_of(job.command):
                schema.set_from_text(tree, entry)
            checks.validate(tree)
            data = schema.to_dict(tree)["data"]
            assert rows.set_of(data) == (job.meaning.tested_on, chosen.is_stand_in)
            assert f"--out={job.done.parent}" in job.command
            assert job.done.is_relative_to(workdir.removeprefix("--workdir="))
    kinds = collections.Counter(job.kind for job in chosen.jobs)
    assert kinds == {"prepare": 10, "classical": 1, "train": 25, "evaluate": 40}
    assert len({job.name for job in chosen.jobs}) == 76


@pytest.mark.parametrize("name", PLANS)
def test_every_published_number_has_a_command(name):
    for number in published.numbers():
        assert PLANS[name].command_of(number.meaning).startswith("python ")


def script_of(command):
    """The script of a command, to be called in this process."""
    path = Path(__file__).parents[2] / command[1]
    return load(path)


def set_searched_by(job, folder, monkeypatch):
    """The prepared set that a command of classical methods would search."""
    script, searched = script_of(job.command), []

    def search(arguments, directory, out):
        searched.append(directory)
        return out / "classical.json"

    monkeypatch.setattr(script, "search", search)
    assert script.main([*job.command[2:], f"--out={folder / 'out'}"]) == 0
    return searched[0]


@pytest.mark.slow
def test_classical_methods_find_the_set_among_those_that_the_miniature_prepares(
    tmp_path, monkeypatch
):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    tiny = ["--size=32", "--num-patients=6", "--no-progress"]
    for job in PLANS["quick"].jobs:
        if job.kind == "prepare" and job.command[2] == rows.synthetic_name():
            monkeypatch.setattr(sys, "argv", [*job.command[1:], *tiny])
            assert script_of(job.command).main() == 0
        if job.kind == "classical":
            directory = set_searched_by(job, tmp_path, monkeypatch)
    options = prepared_index.read_index(directory)["options"]
    assert (options["subset"], options["kind"]) == ("full", "lung")


@pytest.mark.parametrize(("name", "kind"), [("full", "mixed"), ("quick", "lung")])
def test_classical_methods_find_the_set_by_its_index(name, kind, tmp_path, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    for job in PLANS[name].jobs:
        flags = dict(flag.split("=", 1) for flag in job.command if "=" in flag)
        if job.kind == "prepare":
            options = {"subset": flags["--config"], "kind": flags.get("--kind", "mixed")}
            folder = tmp_path / job.command[2] / job.name / "1.0.0"
            folder.mkdir(parents=True)
            index = {"split_rule": "patient", "variant": "windowed", **options}
            (folder / "index.json").write_text(json.dumps({"files": {}, "options": index}))
        if job.kind == "classical":
            directory = set_searched_by(job, tmp_path, monkeypatch)
    assert directory.parent.name == "prepare-lidc_2d-full"
    assert prepared_index.read_index(directory)["options"]["kind"] == kind


def test_quick_begins_with_ritm_and_fits_an_hour():
    jobs = PLANS["quick"].jobs
    assert all(job.meaning.row.family == "ritm" for job in jobs[:50])
    # Then all that Tables 1 and 2 need, before the rows that may be cut off.
    assert [job.kind for job in jobs[50:61]] == ["prepare"] * 10 + ["classical"]
    assert {job.kind for job in jobs[61:]} == {"train"}
    assert sum(job.seconds for job in jobs) / 60 < 75
    assert sum(job.seconds for job in jobs[:61]) / 60 < 45
    for steps in (0, 3, 201):
        with pytest.raises(ValueError, match="--steps must be a multiple of 4"):
            plan.quick(Path("out"), steps=steps)


def test_the_text_is_a_shell_script_whose_hours_add_up():
    text = plan.text(
        plan.full(Path("out"), data="raw", images_per_second=40.0, epochs=50), 40.0, 50
    )
    lines = text.splitlines()
    commands = [shlex.split(line, comments=True) for line in lines]
    assert sum(bool(command) for command in commands) == 77
    assert "--config.data.path=raw/kits_2d" in text and "40 rows per second" in text
    # A training of KITS: 50 epochs of 8527 slices; 2 x 20 clicks of 2436 at 0.32 of a row each.
    hours = (50 * 8527 + 0.32 * 40 * 2436) / 40 / 3600
    (line,) = [line for line in lines if "ritm_static.py:kits_2d" in line]
    assert line.endswith(f"# {hours:.2f} h")


def job_of(name, kind, folder, seconds=10.0):
    return Job(name, kind, [sys.executable, name], folder / name / "summary.json", seconds)


@pytest.fixture
def ran(monkeypatch, tmp_path):
    """Commands that were started, in place of being run; the clock, and what each leaves behind."""
    state = types.SimpleNamespace(commands=[], now=0.0, takes=20.0, code=0, leaves=tmp_path)

    def run(command, **options):
        state.commands.append(command[1])
        state.now += state.takes
        options["stdout"].write("first\nerror: no room\n")
        if state.leaves and not state.code:
            (state.leaves / command[1]).mkdir(exist_ok=True)
            (state.leaves / command[1] / "summary.json").touch()
        return types.SimpleNamespace(returncode=state.code)

    monkeypatch.setattr(subprocess, "run", run)
    return state


def test_finished_jobs_are_skipped(ran, tmp_path):
    jobs = [job_of(name, kind, tmp_path) for name, kind in
            [("p", "prepare"), ("a", "train"), ("b", "evaluate"), ("c", "train")]]  # fmt: skip
    # Of a set that is prepared only the command itself knows whether it is there.
    jobs[0] = jobs[0]._replace(done=None)
    said = []
    campaign.run(Plan(tmp_path, jobs[:2], True), minutes=0.0, say=said.append)
    assert ran.commands == ["p", "a"] and said[0].startswith("0 of 2 runs")
    ran.commands.clear()
    said.clear()
    outcome = campaign.run(Plan(tmp_path, jobs, True), minutes=0.0, say=said.append,
                           clock=lambda: ran.now)  # fmt: skip
    assert ran.commands == ["b", "c"] and outcome == (4, [])
    assert said[0] == "2 of 4 runs are finished; 2 to go, about 0 min"
    assert said[1].startswith("[3/4] b: 20 s; 1 to go")
    assert (tmp_path / "logs" / "b.log").read_text().startswith("first")


def test_a_finished_job_whose_report_is_gone_runs_again(ran, tmp_path):
    jobs = [job_of(name, "train", tmp_path) for name in ("a", "b")]
    for _ in range(2):
        campaign.run(Plan(tmp_path, jobs, True), minutes=0.0, say=print)
        assert ran.commands == ["a", "b"]
    jobs[1].done.unlink()
    campaign.run(Plan(tmp_path, jobs, True), minutes=0.0, say=print)
    assert ran.commands == ["a", "b", "b"]


def test_no_job_begins_that_would_end_too_late(ran, tmp_path):
    jobs = [job_of(str(n), "train", tmp_path) for n in range(6)]
    said = []
    # The first shows that 10 s are 20 s: 20 + 20 + 20 fit into a minute, a fourth does not.
    outcome = campaign.run(Plan(tmp_path, jobs, True), minutes=1.0, say=said.append,
                           clock=lambda: ran.now)  # fmt: skip
    assert ran.commands == ["0", "1", "2"] and [job.name for job in outcome.left] == ["3", "4", "5"]
    assert said[1].endswith("5 to go, about 2 min")


def test_runs_of_other_settings_do_not_come_into_one_table(ran, tmp_path):
    job = job_of("a", "train", tmp_path)
    job = job._replace(command=[*job.command, "--config.train.epochs=4"])
    campaign.run(Plan(tmp_path, [job], True), minutes=0.0, say=print)
    other = job._replace(command=[*job.command[:-1], "--config.train.epochs=5"])
    message = r"begun with other settings \(a: --config.train.epochs=4 --config.train.epochs=5\)"
    with pytest.raises(ValueError, match=message):
        campaign.run(Plan(tmp_path, [other], True), minutes=0.0, say=print)
    assert ran.commands == ["a"]


def test_a_failure_names_its_log(ran, tmp_path):
    ran.code = 1
    with pytest.raises(ValueError, match=r"^a failed: no room \(log: .*a.log\); the same command"):
        campaign.run(Plan(tmp_path, [job_of("a", "train", tmp_path)], True), minutes=0.0, say=print)


def test_a_job_that_leaves_no_report_is_no_success(ran, tmp_path):
    ran.leaves = None
    with pytest.raises(ValueError, match=r"^a ended well, but .*summary.json is not there"):
        campaign.run(Plan(tmp_path, [job_of("a", "train", tmp_path)], True), minutes=0.0, say=print)
