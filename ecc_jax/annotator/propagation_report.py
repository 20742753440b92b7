"""What propagation is worth, as files: a table to read, its numbers, and those of every lesion.

Also the file that keeps what has been measured, so that the same command goes on after a stop.
"""

import csv
import io
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ecc_jax import atomic
from ecc_jax.annotator.propagation_cases import Files
from ecc_jax.annotator.propagation_worth import REACHES, WAYS, Mean, Measured, from_json, means
from ecc_jax.report.intervals import RESAMPLES, Band
from ecc_jax.report.tables import interval, signed, table
from ecc_jax.training.writer import read_records
from ecc_jax.volumes import files_of, hash_of

FORMAT = 1
MARKDOWN_FILE, JSON_FILE, CSV_FILE = "propagation.md", "propagation.json", "propagation.csv"
MEASURED_FILE = "measured.jsonl"
FROM = {"truth": "the true mask", "network": "the network's answer"}
HOW = {"copy": "copied", "propagated": "propagated"}

_GUIDE = f"""\
Mean IoU of the lesion's slices within {" and within ".join(map(str, REACHES))} of its largest one,
where it begins, that one left out; a slice that is not reached counts 0. Copied: the first mask on
every slice, which never ends. Missed: slices of the lesion that are not reached. Surplus: slices
without it that are. The network's answer is that to one disk, which is fitted to the true mask. In
brackets: 95 % intervals of {RESAMPLES} bootstrap resamples of patients; lesions weigh the same.
"""


def write(rows: Sequence[Measured], facts: Mapping[str, Any], out: Path) -> Path:
    """Writes propagation.json, .csv and .md.

    Args:
      rows: Of all lesions; one at least.
      facts: What was measured, in plain types, for all but the CSV.
      out: The folder.

    Returns:
      The path of propagation.md, which is written last.
    """
    atomic.write_text(out / CSV_FILE, per_lesion(rows))
    content = json.dumps(summary(rows, facts), indent=1, allow_nan=False)
    atomic.write_text(out / JSON_FILE, content + "\n")
    atomic.write_text(out / MARKDOWN_FILE, markdown(rows, facts))
    return out / MARKDOWN_FILE


def summary(rows: Sequence[Measured], facts: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the content of propagation.json.

    Layout: {"format", "facts", "lesions", "patients", "reaches": slices, "rows": [{"start", "way",
    "iou", "interval": [low, high], "minus_copy", "minus_copy_interval", "missed", "of_lesion",
    "surplus", "of_beyond"}]}. Scores and ends of intervals are lists in the order of the reaches;
    intervals are null with fewer than two patients.

    Args:
      rows: Of all lesions.
      facts: What was measured.
    """
    return {
        "format": FORMAT,
        "facts": dict(facts),
        "lesions": len({row.volume for row in rows}),
        "patients": len({row.patient for row in rows}),
        "reaches": list(REACHES),
        "rows": [
            {
                "start": mean.start,
                "way": mean.way,
                "iou": mean.within.tolist(),
                "interval": _plain(mean.band),
                "minus_copy": mean.gain.tolist(),
                "minus_copy_interval": _plain(mean.gain_band),
                "missed": mean.missed,
                "of_lesion": mean.others,
                "surplus": mean.surplus,
                "of_beyond": mean.beyond,
            }
            for mean in means(rows)
        ],
    }


def per_lesion(rows: Sequence[Measured]) -> str:
    """Returns the content of propagation.csv: a row for each lesion and start."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    scores = [*(f"iou_within_{reach}" for reach in REACHES), "missed", "surplus"]
    heading = [f"{way}_{score}" for way in WAYS for score in scores]
    writer.writerow(["volume", "patient", "start", "lesion_slices", "slices_beyond", *heading])
    for row in rows:
        numbers = [
            text
            for each in (row.copy, row.propagated)
            for text in (*(f"{iou:.6g}" for iou in each.within), each.missed, each.surplus)
        ]
        writer.writerow([row.volume, row.patient, row.start, row.others + 1, row.beyond, *numbers])
    return text.getvalue()


def markdown(rows: Sequence[Measured], facts: Mapping[str, Any]) -> str:
    """Returns the content of propagation.md."""
    told = "\n".join(f"- {name}: {value}" for name, value in facts.items())
    return f"# What propagation is worth\n\n{results(rows)}\n\n{_GUIDE}\n{told}\n"


def results(rows: Sequence[Measured]) -> str:
    """Returns the table: a line for each way from each start."""
    scores = [text for reach in REACHES for text in (f"within {reach}", "minus copy")]
    lesions, patients = (len({getattr(r, key) for r in rows}) for key in ("volume", "patient"))
    heading = f"{lesions} {_of(lesions, 'lesion')} of {patients} {_of(patients, 'patient')}"
    return table([heading, *scores, "missed", "surplus"], [_line(mean) for mean in means(rows)])


def measure_all(
    chosen: Iterable[Files],
    settings: Mapping[str, Any],
    out: Path,
    *,
    measure: Callable[[Files], list[Measured]],
) -> list[Measured]:
    """Measures volumes, and keeps what has been measured in measured.jsonl; returns all of it.

    Args:
      chosen: The volumes.
      settings: On what results depend beside the bytes of the files, in plain types.
      out: Folder that keeps them.
      measure: Measures one volume.

    Raises:
      ValueError: The folder keeps results of other settings, or its file is damaged.
    """
    path = out / MEASURED_FILE
    kept = _read_measured(path, dict(settings))
    # Anew, for the last line may be cut off.
    lines = [dict(settings), *({"files": files, "rows": rows} for files, rows in kept.items())]
    atomic.write_text(path, "".join(json.dumps(line) + "\n" for line in lines))
    found: list[Measured] = []
    with path.open("a", encoding="utf-8") as file:
        for files in chosen:
            state = _state_of(files)
            if state not in kept:
                kept[state] = measure(files)
                file.write(json.dumps({"files": state, "rows": kept[state]}) + "\n")
                file.flush()
            # The same files may have had other names.
            found += [
                row._replace(volume=files.volume, patient=files.patient) for row in kept[state]
            ]
    return found


def _read_measured(path: Path, settings: dict[str, Any]) -> dict[str, list[Measured]]:
    """Returns what has been measured, by the state of the files; nothing if there is no file."""
    first, *lines = read_records(path) or [settings]
    if first != settings:
        differ = [name for name in settings if first.get(name) != settings[name]]
        raise ValueError(
            f"{path}: was measured with another {' and '.join(differ)}; choose another --out, or "
            "remove the file"
        )
    try:
        return {line["files"]: [from_json(row) for row in line["rows"]] for line in lines}
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path}: is damaged ({error!r}); remove it") from error


def _state_of(files: Files) -> str:
    """Returns a hash of the bytes of a volume's files."""
    paths = [path for each in (files.image, files.label) for path in files_of(each)]
    return hash_of(*(path.read_bytes() for path in paths))


def _line(mean: Mean) -> list[str]:
    cells = [f"{FROM[mean.start]}, {HOW[mean.way]}"]
    for k in range(len(REACHES)):
        cells.append(_bracketed(f"{mean.within[k]:.3f}", mean.band, k, ".3f"))
        is_copy = mean.way == "copy"
        gain = _bracketed(signed(float(mean.gain[k])), mean.gain_band, k, "+.3f")
        cells.append("" if is_copy else gain)
    missed, surplus = f"{mean.missed} of {mean.others}", f"{mean.surplus} of {mean.beyond}"
    return [*cells, missed, surplus]


def _bracketed(text: str, band: Band | None, k: int, form: str) -> str:
    """Returns a number with its interval in brackets, if there is one."""
    extent = "" if band is None else interval(float(band.low[k]), float(band.high[k]), form)
    return f"{text} ({extent})" if extent else text


def _plain(band: Band | None) -> list[list[float]] | None:
    return None if band is None else [np.asarray(end).tolist() for end in band]


def _of(number: int, word: str) -> str:
    return word if number == 1 else f"{word}s"
