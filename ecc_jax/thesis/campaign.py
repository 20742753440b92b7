"""Runs the commands of a plan one after the other, as far as time allows."""

import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from ecc_jax import atomic, commands
from ecc_jax.thesis.plan import Job, Plan

_RUN = ("train", "evaluate")
COMMANDS_FILE = "commands.json"
Clock = Callable[[], float]


class Outcome(NamedTuple):
    """What became of a plan.

    Attributes:
      num_done: Jobs that are finished, those of earlier calls among them.
      left: Jobs for which no time was left.
    """

    num_done: int
    left: list[Job]


def run(
    plan: Plan, *, minutes: float, say: Callable[[str], None], clock: Clock = time.monotonic
) -> Outcome:
    """Runs trainings and evaluations that are not finished; each writes a log of its own.

    A training that was interrupted resumes, a finished job is skipped, compiled programs are
    shared. Other jobs of the plan are left to their users.

    Args:
      plan: What to run.
      minutes: No job begins that would probably end later; 0 means no limit.
      say: Told of every job what it took, and what is left.
      clock: Seconds, from any beginning.

    Raises:
      ValueError: A job failed (names its log and the last line of it), or the folder was begun
        with other settings, which would stand beside these in one table.
    """
    jobs = [job for job in plan.jobs if job.kind in _RUN]
    _check_same(plan.out / COMMANDS_FILE, jobs)
    waiting = [job for job in jobs if not (job.done and job.done.is_file())]
    begin, pace = clock(), Pace()
    variables = commands.environment(plan.out / "cache")
    say(f"{len(jobs) - len(waiting)} of {len(jobs)} runs are finished; {pace.about(waiting)}")
    while waiting:
        job, *rest = waiting
        elapsed = clock() - begin
        if minutes and elapsed + pace.seconds([job]) > 60 * minutes:
            break
        log = plan.out / "logs" / f"{job.name}.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        with open(log, "w", encoding="utf-8") as file:
            code = commands.run(job.command, variables, output=file)
        if code:
            raise ValueError(_failure(job, code, log))
        if job.done and not job.done.is_file():
            raise ValueError(f"{job.name} ended well, but {job.done} is not there (log: {log})")
        taken = clock() - begin - elapsed
        pace.learn(job, taken)
        waiting = rest
        number = len(jobs) - len(waiting)
        say(f"[{number}/{len(jobs)}] {job.name}: {taken:.0f} s; {pace.about(waiting)}")
    return Outcome(len(jobs) - len(waiting), waiting)


def _check_same(path: Path, jobs: Sequence[Job]) -> None:
    """Refuses a folder whose runs have other keys than these jobs; notes those of a new one.

    Raises:
      ValueError: Names the first job that differs.
    """
    keys = {job.name: [flag for flag in job.command if "--config" in flag] for job in jobs}
    if not path.is_file():
        atomic.write_text(path, json.dumps(keys, indent=1))
        return
    for name, before in json.loads(path.read_text(encoding="utf-8")).items():
        if name in keys and keys[name] != before:
            changed = sorted(set(before) ^ set(keys[name]))
            raise ValueError(
                f"{path.parent} was begun with other settings ({name}: {' '.join(changed)}); "
                "repeat the command as it was, or choose another --out"
            )


class Pace:
    """How long jobs take: what was estimated, corrected by those of their kind that were run."""

    def __init__(self) -> None:
        """Begins with the estimates as they are."""
        self._spent: dict[str, tuple[float, float]] = {}

    def learn(self, job: Job, taken: float) -> None:
        """Notes what a job took, seconds."""
        measured, estimated = self._spent.get(job.kind, (0.0, 0.0))
        self._spent[job.kind] = measured + taken, estimated + job.seconds

    def seconds(self, jobs: Sequence[Job]) -> float:
        """Returns what jobs will take."""
        total = 0.0
        for job in jobs:
            measured, estimated = self._spent.get(job.kind, (1.0, 1.0))
            total += job.seconds * (measured / estimated if estimated else 1.0)
        return total

    def about(self, jobs: Sequence[Job]) -> str:
        """Returns what is left to do, in words."""
        return f"{len(jobs)} to go, about {self.seconds(jobs) / 60:.0f} min"


def _failure(job: Job, code: int, log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    last = lines[-1].removeprefix("error: ") if lines else f"exit code {code}"
    return f"{job.name} failed: {last} (log: {log}); the same command goes on from there"
