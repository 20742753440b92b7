"""Runs the commands of a plan one after the other, as far as time allows."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from ecc_jax import commands
from ecc_jax.thesis.plan import Job, Plan

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
    """Runs the jobs of a plan that are not finished; each writes a log of its own.

    A training that was interrupted resumes, a finished job is skipped, compiled programs are
    shared.

    Args:
      plan: What to run.
      minutes: No job begins that would probably end later; 0 means no limit.
      say: Told of every job what it took, and what is left.
      clock: Seconds, from any beginning.

    Raises:
      ValueError: A job failed (names its log and the last line of it), or one was run with other
        settings before, which would stand beside these in one table.
    """
    jobs = plan.jobs
    _check_same(plan.out, jobs)
    waiting = [
        job
        for job in jobs
        if not commands.is_done(job.command, mark=_mark(plan.out, job), product=job.done)
    ]
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
            code = commands.run_once(
                job.command,
                variables,
                mark=_mark(plan.out, job),
                product=job.done,
                output=file,
            )
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


def _mark(out: Path, job: Job) -> Path:
    """Returns the file that says that a job has succeeded."""
    return out / "done" / f"{job.name}.json"


def _check_same(out: Path, jobs: Sequence[Job]) -> None:
    """Refuses a folder in which some of these jobs were run with other settings.

    Raises:
      ValueError: Names the first job that differs.
    """
    for job in jobs:
        before, now = commands.settings_in(_mark(out, job)), commands.settings_of(job.command)
        if before is not None and before != now:
            changed = " ".join(sorted(set(before) ^ set(now)))
            raise ValueError(
                f"{out} was begun with other settings ({job.name}: {changed}); "
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
