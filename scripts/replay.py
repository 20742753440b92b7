"""Answers the clicks of a report again and compares: python scripts/replay.py REPORT.

REPORT is the folder with per_click.csv (or a run's workdir, or the file). The logged clicks are
given to the run's best weights once more, in batches of the same shape. Checked are the scores
after every click, and that the simulated user would have placed each click there: same pixel and
sign, same radius. On the same machine and versions the scores are the same bit for bit; elsewhere
pixels at the threshold may turn over, which --tolerance allows for.

Exit code: 0 the report holds, 1 it does not, 2 it cannot be replayed.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from absl import logging
from tqdm import tqdm

from ecc_jax import console, parallel, runs
from ecc_jax.clicks.simulation import Style
from ecc_jax.evaluation import audit, click_log, options, protocols
from ecc_jax.evaluation.rollouts import Work
from ecc_jax.evaluation.rows import Row
from tfds_builders.preparation import prepare_for

LOG_FILE = "per_click.csv"
NETWORK_ROWS = ("model", "blank_image")
REPLAYABLE = (*NETWORK_ROWS, *protocols.PAINTERS, "disk_painter_tuned")


class Log(NamedTuple):
    """A report to replay."""

    folder: Path
    workdir: Path
    rows: dict[str, Row]
    slices: list[dict[str, Any]]
    summary: dict[str, Any]


def main(argv: list[str] | None = None) -> int:
    """Runs the script; returns the exit code."""
    path = console.path_argument
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("report", type=path, help="folder with per_click.csv, or a run's workdir")
    parser.add_argument("--workdir", type=path, help="the run, where it is not above the report")
    parser.add_argument("--row", default="model", help="which row of the table (default: model)")
    parser.add_argument(
        "--tolerance", type=float, default=1e-6, help="largest difference of a score (1e-6)"
    )
    args = parser.parse_args(argv)
    logging.set_verbosity(logging.ERROR)  # Orbax reports routine matters as warnings
    try:
        found = replay(args)
    except (ValueError, OSError) as error:
        console.complain(error)
        return 2
    return report(found, args.tolerance)


def replay(args: argparse.Namespace) -> audit.Audit:
    """Loads log, data and network, and answers the clicks.

    Raises:
      ValueError: Whatever is missing or does not belong together.
    """
    log = read_log(args.report, args.workdir)
    row = log.rows.get(args.row)
    if row is None or args.row not in REPLAYABLE:
        valid = [name for name in REPLAYABLE if name in log.rows]
        raise ValueError(f"--row must be one of {', '.join(valid)}, got {args.row!r}")
    _check_summary(log, args.row)
    config_path = log.folder / runs.CONFIG_FILE
    config = runs.load_config(config_path.parent if config_path.is_file() else log.workdir)
    mesh = parallel.make_mesh()
    rollout = options.rollout_options(
        config, radius=None if args.row in NETWORK_ROWS else "weighted"
    )
    model, variables = None, ()
    if args.row in NETWORK_ROWS:
        if not (log.workdir / "checkpoints").is_dir():
            raise ValueError(f"{log.folder} is in no run; pass the run as --workdir=RUN")
        model, variables, step = runs.load_network(log.workdir, config)
        if step != log.summary["steps"]:
            raise ValueError(
                f"the report is of step {log.summary['steps']}, the best checkpoint of "
                f"{log.workdir} is of step {step}; evaluate again"
            )
    work = _work(config, log)
    with tqdm(total=len(work.positions), desc="replay", unit="image", file=sys.stderr) as bar:
        return audit.audit_row(
            model,
            parallel.replicate(variables, mesh),
            work,
            row,
            rollout,
            style=_style(config, log, args.row),
            is_blank=args.row == "blank_image",
            batch_size=int(log.summary["batch_size"]),
            mesh=mesh,
            on_batch=bar.update,
        )


def read_log(report: Path, workdir: Path | None) -> Log:
    """Finds and reads the files of a report.

    Raises:
      ValueError: One of them is missing or damaged.
    """
    folder = report.parent if report.is_file() else report
    if not (folder / LOG_FILE).is_file():
        folder = folder / "report"
    path = folder / LOG_FILE
    if not path.is_file():
        raise ValueError(f"{report} holds no {LOG_FILE}; give the folder of a report")
    rows, slices = click_log.read_click_log(path)
    summary_path = folder / "summary.json"
    if not summary_path.is_file():
        raise ValueError(f"{summary_path} is missing; the report is not finished")
    summary = json.loads(summary_path.read_text(encoding="utf-8"))
    run = workdir or next(
        (parent for parent in folder.resolve().parents if (parent / "checkpoints").is_dir()),
        folder.resolve().parent,
    )
    return Log(folder, run, rows, slices, summary)


def _check_summary(log: Log, row: str) -> None:
    """Refuses a log that is not the one that summary.json was made from.

    Raises:
      ValueError: The row's mean IoU differs.
    """
    mean = log.rows[row].scores["iou"].mean(axis=0, dtype=np.float64)
    stated = np.asarray(log.summary["rows"].get(row, {}).get("iou", []))
    if stated.shape != mean.shape or np.abs(stated - mean).max() > 1e-5:
        raise ValueError(
            f"{log.folder}: summary.json states other IoUs for {row} than {LOG_FILE} gives; one of "
            "them was changed"
        )


def _work(config: Any, log: Log) -> Work:
    """Returns the slices of the log, in its order.

    Raises:
      ValueError: The dataset no longer has one of them, or another lesion there.
    """
    found = options.open_split(config, prepare_for(config), config.data.split, max_slices=0)
    place = {
        (row["volume"], row["slice_index"]): (i, row["lesion_area"])
        for i, row in enumerate(found.slices.rows)
    }
    positions = []
    for entry in log.slices:
        key = (entry["volume"], entry["slice_index"])
        position, area = place.get(key, (-1, -1))
        if area != entry["lesion_area"]:
            raise ValueError(
                f"volume {key[0]!r}, slice {key[1]}: the log knows a lesion of "
                f"{entry['lesion_area']} pixels, the dataset {'none' if area < 0 else area}; "
                "the report was made on other data"
            )
        positions.append(position)
    return found._replace(positions=np.asarray(positions), first_masks=options.first_masks(config))


def _style(config: Any, log: Log, row: str) -> Style:
    """Returns how the user of a row handled the disk."""
    if row in NETWORK_ROWS:
        return options.style_of(config)
    if row in protocols.PAINTERS:
        return protocols.PAINTERS[row]
    tuned = log.summary["rows"][row]
    return Style(tuned["first_weight"], tuned["later_weight"])


def report(found: audit.Audit, tolerance: float) -> int:
    """Prints what was found; returns the exit code."""
    agreed, total = int(found.agrees.sum()), found.agrees.size
    print(f"clicks as the simulated user places them: {agreed} of {total}")
    for name, value in found.difference.items():
        print(f"largest difference of {name}: {value:.3g}")
    worst = np.nanmax(list(found.difference.values()))
    holds = agreed == total and worst <= tolerance
    if worst == 0 and holds:
        print("The report holds: every click and every score is the same.")
    elif holds:
        print(f"The report holds within {tolerance:g}.")
    else:
        first = np.argwhere(~found.agrees)
        if first.size:
            print(f"First click that differs: slice {first[0, 0] + 1}, click {first[0, 1] + 1}.")
        print(f"The report does NOT hold (tolerance {tolerance:g}).")
    return 0 if holds else 1


if __name__ == "__main__":
    sys.exit(console.run(main))
