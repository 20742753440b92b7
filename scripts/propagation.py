r"""Measures what the annotator's propagation is worth on volumes whose lesions are known.

    python scripts/propagation.py DIR --out OUT
    python scripts/propagation.py DIR --out OUT --weights runs/mine --every 2 --offset 1
    python scripts/propagation.py DIR --out OUT --patient-regex '^(LIDC_\d+)_' --one-per-patient \
        --unseen --least-slices 5 --most 30

DIR holds images/ and labels/ as ct_folder_2d reads them. Of each volume the largest connected part
of its lesion is carried both ways from its largest slice, once from the true mask and once from the
network's answer to one disk, and compared with the first mask copied to every slice. The table goes
to stderr, the path of OUT/propagation.md to stdout; beside it are propagation.json and .csv.

Volumes are taken in the order of their names: those that --only, --least-slices, --unseen and
--one-per-patient admit, then every N-th from the K-th (from 0) on, then the first ones. What has
been measured is kept in OUT/measured.jsonl, so the same command goes on where it was stopped.
"""

import argparse
import contextlib
import inspect
import re
import shlex
import sys
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from absl import logging
from tqdm import tqdm

import ecc_jax
from ecc_jax import admission, console, places, runs
from ecc_jax.annotator import propagation, propagation_report, propagation_worth
from ecc_jax.annotator.answers import Answers
from ecc_jax.annotator.network import network_of
from ecc_jax.annotator.propagation_cases import (
    LEAST_SLICES,
    Files,
    Limits,
    choose,
    counted,
    open_case,
)
from ecc_jax.annotator.propagation_worth import Measured
from ecc_jax.data.seen import Seen, listed
from ecc_jax.volumes import hash_of
from ecc_jax.workdir import check_writable
from tfds_builders import raw_files
from tfds_builders.ct_folder_2d.ct_folder_2d_dataset_builder import patient_of
from tfds_builders.ct_folder_2d.files import INFO, read_folder


def main(argv: Sequence[str] | None = None) -> int:
    """Returns the exit code: 0, 1 with one line on stderr, or 130 after an interrupt."""
    given = sys.argv[1:] if argv is None else list(argv)
    arguments = _parse(given)
    logging.set_verbosity(logging.ERROR)  # Orbax reports routine matters as warnings

    def work() -> None:
        with places.writing(arguments.out, elsewhere="choose another --out"):
            console.say_path(run(arguments, command=shlex.join([Path(__file__).name, *given])))

    return console.resumable(work)


def run(arguments: argparse.Namespace, *, command: str) -> Path:
    """Chooses, measures and writes; returns the path of propagation.md.

    Args:
      arguments: Of the command line.
      command: It as a whole, for the report.
    """
    check_writable(arguments.out, elsewhere="choose another --out")
    predictor = runs.load_predictor(arguments.weights)
    history = admission.read_record(places.run_folder(arguments.weights))
    if history is None and arguments.unseen:
        raise ValueError(
            f"{arguments.weights}: there is no {admission.RECORD_FILE}, so nobody knows whom these "
            "weights have seen; leave --unseen away"
        )
    found = find(arguments.folder, arguments.patient_regex)
    bar = partial(tqdm, unit="volume", file=sys.stderr)
    choice = choose(
        found,
        Limits(**{name: getattr(arguments, name) for name in Limits._fields}),
        lesion_labels=arguments.lesion_labels,
        history=history or (),
        progress=partial(bar, desc="looking", delay=1.0),
    )
    if choice.not_axial:
        warnings.warn(f"slices are not axial: {listed(choice.not_axial)}", stacklevel=2)
    rule = (inspect.getsource(module).encode() for module in (propagation, propagation_worth))
    settings = {
        "network": network_of(arguments.weights),
        "rule": hash_of(*rule),
        "ecc_jax": ecc_jax.__version__,
        "lesion_labels": list(arguments.lesion_labels),
    }
    facts = {
        "command": command,
        **settings,
        "left out": counted(choice.left_out),
        "seen by the weights": _told(history, choice.seen),
    }
    for name in ("left out", "seen by the weights"):
        print(f"{name}: {facts[name]}", file=sys.stderr)
    rows = propagation_report.measure_all(
        bar(choice.files, desc="measuring"),
        settings,
        arguments.out,
        measure=partial(_measure, predictor=predictor, lesion_labels=arguments.lesion_labels),
    )
    path = propagation_report.write(rows, facts, arguments.out)
    print(propagation_report.results(rows), file=sys.stderr)
    return path


def find(folder: Path, patient_regex: str) -> list[Files]:
    """Returns the volumes of a folder, sorted by name.

    Raises:
      ValueError: No such folder, or it is none of ct_folder_2d; the expression finds no patient.
    """
    if not folder.is_dir():
        raise ValueError(f"{folder}: is not a folder; give one that holds images/ and labels/")
    contents = read_folder(folder)
    if contents.ignored:
        hint = "used are the NIfTI files that lie directly in images and labels"
        warnings.warn(raw_files.ignored_text(str(folder), contents.ignored, hint), stacklevel=2)
    return [
        Files(name, patient_of(name, patient_regex), pair.image, pair.label)
        for name, pair in contents.pairs.items()
    ]


def _measure(files: Files, *, predictor: Any, lesion_labels: Sequence[int]) -> list[Measured]:
    case = open_case(files.image, files.label, lesion_labels=lesion_labels)
    if case is None:
        raise ValueError(f"{files.label}: has lost its lesion since it was looked at; start again")
    # Anew for each volume, so that what is remembered of others takes no memory.
    answers = Answers(predictor)
    return propagation_worth.measure(case, answers, volume=files.volume, patient=files.patient)


def _told(history: tuple[Seen, ...] | None, known: list[str]) -> str:
    """Returns in words which patients shaped the weights."""
    if history is None:
        return admission.NOT_RECORDED
    text = "none of these patients (scans compared by content)"
    if known:
        text = f"{len(known)} of these patients, in training or selection: {listed(known)}"
    origins = [each.run for each in history if each.is_unknown]
    rest = f"; but what they started from ({listed(origins)}) has no record of whom it has seen"
    return text + (rest if origins else "")


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add, path = parser.add_argument, console.path_argument
    add("folder", type=path, metavar="DIR", help="holds images/ and labels/")
    add("--out", type=path, required=True, metavar="DIR", help="folder of the results")
    add(
        "--weights",
        default=places.SHIPPED,
        metavar="RUN",
        help="folder of a trained run; default the weights that come with the package",
    )
    add("--only", type=_expression, metavar="REGEX", help="which volumes, by a part of the name")
    add(
        "--patient-regex",
        default="",
        metavar="REGEX",
        help="finds the patient in a volume's name, as data.patient_regex; default one per file",
    )
    add("--unseen", action="store_true", help="leave out patients that shaped the weights")
    add("--one-per-patient", action="store_true", help="the first admitted volume of each patient")
    add(
        "--least-slices",
        type=_from(LEAST_SLICES),
        default=LEAST_SLICES,
        metavar="N",
        help=f"that the lesion has (default {LEAST_SLICES})",
    )
    add("--every", type=_from(1), default=1, metavar="N", help="every N-th of those (default 1)")
    add("--offset", type=_from(0), default=0, metavar="K", help="so many first ones are left out")
    add("--most", type=_from(0), default=0, metavar="N", help="at most so many (default 0: all)")
    add(
        "--lesion-labels",
        type=_from(1),
        nargs="+",
        default=INFO.lesion_labels,
        metavar="VALUE",
        help="values of the label that mean lesion (default 1)",
    )
    arguments = parser.parse_args(argv)
    if arguments.one_per_patient and not arguments.patient_regex:
        parser.error("--one-per-patient needs --patient-regex, or every file is a patient")
    return arguments


def _expression(text: str) -> re.Pattern[str]:
    with contextlib.suppress(re.error):
        return re.compile(text)
    raise argparse.ArgumentTypeError(f"expected a regular expression, got {text!r}")


def _from(least: int) -> Callable[[str], int]:
    def number(text: str) -> int:
        if not text.isdecimal() or int(text) < least:
            raise argparse.ArgumentTypeError(f"expected a whole number from {least}, got {text!r}")
        return int(text)

    return number


if __name__ == "__main__":
    sys.exit(console.run(main))
