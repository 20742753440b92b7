"""Every command of the reproduction, and of its miniature on the phantom, in the order of use."""

import os
import shlex
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from ecc_jax import catalog, commands, config_words
from ecc_jax.thesis import published, rows
from ecc_jax.thesis.published import Classical, Meaning, Score
from ecc_jax.thesis.rows import SETS, Row

Kind = Literal["prepare", "classical", "train", "evaluate"]
TRAINED_SLICES = 0  # position of the training split in `catalog.TABLE_1`
TESTED_SLICES = 2
# What a step costs beside a forward pass of the whole slice: forward and backward of a crop, and
# on average 2.3 clicks that are answered before; so a click of evaluation is about a third.
CLICK_SHARE = 0.32
_PASSES = 2  # of an evaluation: the network, and the same with its image blanked
# Rows of Table 6, and those that every set has first.
_TRANSFERRED = (rows.RITM, rows.RITM_D)
# The miniature: what is smaller than under the word quick.
_QUICK_SLICES, _QUICK_BATCH, QUICK_STEPS = 48, 8, 120
_QUICK_EPOCHS, _QUICK_PATIENTS, _QUICK_SIZE = 4, 48, 160
_QUICK_KEYS = (
    f"data.size={_QUICK_SIZE}",
    f"data.phantom_patients={_QUICK_PATIENTS}",
    f"train.epochs={_QUICK_EPOCHS}",
    "validation.slices=16",
    f"eval.max_slices={_QUICK_SLICES}",
    "eval.tuning_slices=32",
)
# Options, beside name, kind and subset, of the sets that the plans prepare: these decide how many
# slices there are.
PREPARED = {"split_seed": 0, "balanced": True, "labels_by_default": True}
PREPARED_STAND_IN = {**PREPARED, "size": _QUICK_SIZE, "num_patients": _QUICK_PATIENTS}
_BRIEF = ("eval.latency_clicks=0", "eval.baselines=()")
# Rows per second of training, and seconds that a process takes beside, on two CPU cores.
_QUICK_PACE, _QUICK_OVERHEAD = 3.0 * _QUICK_BATCH, 25.0
# Seconds that it takes to prepare a stand-in, and to search the parameters of classical methods.
_QUICK_PREPARATION, _QUICK_CLASSICAL = 8.0, 100.0


class Job(NamedTuple):
    """A command of the plan.

    Attributes:
      name: Unique in its plan; also the folder of its run.
      kind: What it does.
      command: The program and its arguments.
      done: The file that is there when it is finished; None where only the command itself knows.
      seconds: What it will take, estimated.
      meaning: What the report tells of at its first click; None of the other kinds.
    """

    name: str
    kind: Kind
    command: list[str]
    done: Path | None
    seconds: float
    meaning: Score | None = None


class Plan(NamedTuple):
    """A reproduction.

    Attributes:
      out: Folder of its runs and tables.
      jobs: In the order in which they are done.
      is_stand_in: Whether the phantom's organs stand for the thesis's sets.
    """

    out: Path
    jobs: list[Job]
    is_stand_in: bool

    def command_of(self, meaning: Meaning, workdir: Path | None = None) -> str:
        """Returns the command whose result holds a number, as typed in a shell.

        Args:
          meaning: What was measured.
          workdir: Of a finished training to evaluate, in place of the plan's own.
        """
        for job in self.jobs:
            if _answers(job, meaning):
                if workdir is not None and job.kind == "train":
                    # It is trained already: too few clicks were asked of it.
                    clicks = f"eval.num_clicks={published.ERROR_CLICKS}"
                    where = "--mode=evaluate", f"--workdir={workdir}"
                    return shown(commands.main_command(*where, keys=(clicks,)))
                if workdir is None or job.kind != "evaluate":
                    return shown(job.command)
                own = [part for part in job.command if not part.startswith("--out=")]
                return shown(
                    [f"--workdir={workdir}" if p.startswith("--workdir=") else p for p in own]
                )
        raise ValueError(f"no command of the plan measures {meaning}")


def _answers(job: Job, meaning: Meaning) -> bool:
    if isinstance(meaning, Score):
        return job.meaning == meaning._replace(click=1)
    if isinstance(meaning, Classical):
        return job.kind == "classical"
    return job.name == f"prepare-{meaning.dataset}-{meaning.subset}"


def shown(command: Sequence[str]) -> str:
    """Returns a command as it is typed in the root of the repository."""
    words = ["python" if word == sys.executable else word for word in command]
    return shlex.join(words)


def full(
    out: Path, *, data: str = "DIR", images_per_second: float = 80.0, epochs: int = 100
) -> Plan:
    """Returns the reproduction on the thesis's sets.

    Args:
      out: Folder of the runs.
      data: Folder with the raw data of every set under its name; "DIR" to be filled in.
      images_per_second: Rows per second of training, of every network.
      epochs: How long a training lasts until the plateau rule ends it.
    """
    jobs = [
        _prepare(name, name, subset, [f"--source={_place(data, name)}"])
        for subset in catalog.SUBSETS
        for name in SETS
    ]
    jobs.append(_classical(out, SETS[0]))
    for row in _by_use():
        for name in SETS:
            slices = catalog.TABLE_1[name][catalog.SUBSETS[0]]
            seconds = epochs * slices[TRAINED_SLICES] / images_per_second
            clicked = published.ERROR_CLICKS * _PASSES * slices[TESTED_SLICES]
            seconds += CLICK_SHARE * clicked / images_per_second
            keys = _raw(data, name)
            jobs.append(_train(out, row, name, words=name, keys=keys, seconds=seconds))
    for row in _TRANSFERRED:
        for trained, tested in _pairs():
            slices = catalog.TABLE_1[tested][catalog.SUBSETS[0]]
            seconds = CLICK_SHARE * slices[TESTED_SLICES] / images_per_second
            keys = (f"data.name={tested}", *_raw(data, tested))
            jobs.append(_evaluate(out, Score(row, trained, tested), keys=keys, seconds=seconds))
    return Plan(out, jobs, False)


def quick(out: Path, *, steps: int = QUICK_STEPS) -> Plan:
    """Returns the miniature: the phantom's organs in place of the sets, small networks, few steps.

    First what Tables 3 to 6 need of the two RITM rows, then Tables 1 and 2, then the other rows,
    from LIDC's stand-in on, so that it may be ended at any time.

    Args:
      out: Folder of the runs.
      steps: Training steps of each network.

    Raises:
      ValueError: No steps, or a number that its epochs do not divide.
    """
    if steps < 1 or steps % _QUICK_EPOCHS:
        raise ValueError(f"--steps must be a multiple of {_QUICK_EPOCHS} epochs, got {steps}")
    jobs: list[Job] = []
    training = _QUICK_OVERHEAD + steps * _QUICK_BATCH / _QUICK_PACE
    for row in _by_use():
        for name in SETS:
            clicks = published.ERROR_CLICKS if name == SETS[0] else 1
            keys = (
                *rows.synthetic_keys(name),
                *_QUICK_KEYS,
                *_BRIEF,
                *(("augment.name=optimal_crop",) if _crops_optimally(row, name) else ()),
                f"train.steps_per_epoch={steps // _QUICK_EPOCHS}",
                f"eval.num_clicks={clicks}",
            )
            seconds = training + CLICK_SHARE * clicks * _QUICK_SLICES / _QUICK_PACE
            jobs.append(_train(out, row, name, words="quick", keys=keys, seconds=seconds))
        if row == _TRANSFERRED[-1]:
            jobs += [
                _evaluate(
                    out,
                    Score(other, trained, tested),
                    keys=rows.synthetic_keys(tested),
                    seconds=_QUICK_OVERHEAD,
                )
                for other in _TRANSFERRED
                for trained, tested in _pairs()
            ]
            jobs += [_prepare_stand_in(name, subset) for subset in catalog.SUBSETS for name in SETS]
            kind = f"--kind={catalog.DATASETS[SETS[0]].organ}"
            flags = (kind, "--quick")
            jobs.append(_classical(out, rows.synthetic_name(), *flags, seconds=_QUICK_CLASSICAL))
    return Plan(out, jobs, True)


def _by_use() -> tuple[Row, ...]:
    return (*_TRANSFERRED, *(row for row in rows.ROWS if row not in _TRANSFERRED))


def _pairs() -> list[tuple[str, str]]:
    return [(trained, tested) for trained in SETS for tested in SETS if trained != tested]


def _crops_optimally(row: Row, name: str) -> bool:
    """Whether the thesis trained a row with Optimal Crop on a set, which its stand-in must name."""
    is_focal = row.family == rows.FOCALCLICK.family
    return is_focal and name in config_words.OPTIMALLY_CROPPED


def _raw(data: str, name: str) -> tuple[str, ...]:
    """Returns the key that names the raw data of a set."""
    return (f"data.path={_place(data, name)}",)


def _place(data: str, name: str) -> str:
    """Returns the folder of a set's raw data; the combined one is made of all others."""
    return data if name == rows.COMBINED else os.path.join(data, name)


def _workdir(out: Path, row: Row, name: str) -> str:
    return os.path.join(out, "runs", f"{row.name}-{name}")


def _train(
    out: Path, row: Row, name: str, *, words: str, keys: Iterable[str], seconds: float
) -> Job:
    folder = _workdir(out, row, name)
    command = commands.main_command(
        f"--config=configs/{row.leaf}:{words}", f"--workdir={folder}", keys=keys
    )
    done = Path(folder) / "report" / "summary.json"
    score = Score(row, name, name)
    return Job(f"{row.name}-{name}", "train", command, done, seconds, score)


def _evaluate(out: Path, score: Score, *, keys: Iterable[str], seconds: float) -> Job:
    workdir = _workdir(out, score.row, score.trained_on)
    report = Path(workdir) / "report" / f"on-{score.tested_on}"
    command = commands.main_command(
        *("--mode=evaluate", f"--workdir={workdir}", f"--out={report}"),
        keys=(*keys, "eval.num_clicks=1", *_BRIEF),
    )
    name = f"{score.row.name}-{score.trained_on}-on-{score.tested_on}"
    return Job(name, "evaluate", command, report / "summary.json", seconds, score)


def _prepare(
    name: str, dataset: str, subset: str, flags: Iterable[str], seconds: float = 0.0
) -> Job:
    """Returns how a set, or what stands for it, is prepared; trainings do it themselves too."""
    command = [sys.executable, "scripts/build_dataset.py", dataset, f"--config={subset}", *flags]
    return Job(f"prepare-{name}-{subset}", "prepare", command, None, seconds)


def _prepare_stand_in(name: str, subset: str) -> Job:
    flags = [f"--size={_QUICK_SIZE}", f"--num-patients={_QUICK_PATIENTS}"]
    if name == rows.COMBINED:
        flags += ["--sources", *rows.synthetic_sources()]
        return _prepare(name, name, subset, flags, _QUICK_PREPARATION)
    flags.append(f"--kind={catalog.DATASETS[name].organ}")
    return _prepare(name, rows.synthetic_name(), subset, flags, _QUICK_PREPARATION)


def _classical(out: Path, name: str, *flags: str, seconds: float = 0.0) -> Job:
    folder = Path(out) / "runs" / "classical"
    # Every set is prepared whole and small, and the phantom with every kind.
    flags = (f"--config={catalog.SUBSETS[0]}", f"--out={folder}", *flags)
    command = [sys.executable, "scripts/classical.py", name, *flags]
    return Job("classical", "classical", command, folder / "classical.json", seconds)


def text(plan: Plan, images_per_second: float, epochs: int) -> str:
    """Returns the commands of a plan with what they take, to read and to run as a shell script.

    Args:
      plan: The full reproduction.
      images_per_second: What its estimates are made of.
      epochs: The same.
    """
    lines = [
        "# Estimates for one GPU, in hours. They assume, not measure, "
        f"{images_per_second:g} rows per second of",
        f"# training for every network and {epochs} epochs until the plateau rule ends it (the "
        "limit is 300).",
        "# Measure: python scripts/benchmark.py recipes --recipes configs/ritm_dynamic.py",
    ]
    headings = {
        "prepare": "Datasets (no GPU; Table 1)",
        "classical": "Classical methods (no GPU; Table 2)",
        "train": "Trainings, each with its evaluation (Tables 3 to 5, diagonals of 6)",
        "evaluate": "The same networks on the other sets (Table 6)",
    }
    for kind, heading in headings.items():
        jobs = [job for job in plan.jobs if job.kind == kind]
        hours = sum(job.seconds for job in jobs) / 3600
        total = f", {hours:.1f} GPU hours" if hours else ""
        lines += ["", f"# {heading}: {len(jobs)} commands{total}"]
        for job in jobs:
            spent = f"    # {job.seconds / 3600:.2f} h" if job.seconds else ""
            lines.append(shown(job.command) + spent)
    total_hours = sum(job.seconds for job in plan.jobs) / 3600
    tables = shlex.join(
        ["python", "scripts/thesis_tables.py", str(plan.out / "runs"), f"--out={plan.out}"]
    )
    return "\n".join([*lines, "", f"# The tables; in all {total_hours:.0f} GPU hours", tables])
