"""What the protocol `readers` reports: a disk of one reader, scored against the other readers."""

import csv
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from ecc_jax.report.intervals import bootstrap_mean, mean_defined


class Row(NamedTuple):
    """A mask that is held against the consensus of the other readers.

    Attributes:
      name: In files.
      label: In tables.
    """

    name: str
    label: str


# In the order of the tables; the first is the one that the others are compared with.
ROWS = (
    Row("network", "network"),
    Row("network_blank", "the same network, image blanked"),
    Row("reader_disk", "the reader's disk as mask"),
    Row("reader_outline", "the reader's own outline (human level)"),
    Row("painter", "disk painter, the same disk"),
    Row("painter_tuned", "disk painter, radius tuned on train"),
)
LABELS = {row.name: row.label for row in ROWS}
CSV_FILE = "readers.csv"


class Estimate(NamedTuple):
    """A mean over slices with its 95 % interval over patients.

    Attributes:
      mean: NaN without any slice.
      low: Lower end; None with fewer than two patients.
      high: Upper end; None with fewer than two patients.
    """

    mean: float
    low: float | None = None
    high: float | None = None

    @classmethod
    def from_json(cls, entry: Mapping[str, Any]) -> "Estimate":
        """Returns the estimate of an entry of summary.json."""
        mean = entry["mean"]
        return cls(float("nan") if mean is None else mean, entry["low"], entry["high"])


class ReaderScores(NamedTuple):
    """What the protocol measured: p outlines of readers on s slices.

    Attributes:
      place: The slice of each outline, as its position in `slices`.
      reader: Whose outline each is.
      area: Its pixels.
      radius: Of the disk that was measured on it, pixels.
      iou: By name of a row, IoU against the consensus of the other readers.
      consistency: By name of a row, mean Dice between the answers to a click at several places of
        a lesion, one number per slice; NaN where the lesion has too few pixels.
      left_out: How many slices and outlines are left out, by reason.
    """

    place: Int[np.ndarray, " p"]
    reader: Int[np.ndarray, " p"]
    area: Int[np.ndarray, " p"]
    radius: Float[np.ndarray, " p"]
    iou: dict[str, Float[np.ndarray, " p"]]
    consistency: dict[str, Float[np.ndarray, " s"]]
    left_out: dict[str, int]


class ReaderSummary(NamedTuple):
    """The figures of the protocol.

    Attributes:
      counts: outlines, slices and patients that were scored; slices of the consistency; and what is
        left out, by reason.
      iou: By name of a row the IoU against the consensus of the other readers.
      gain: By name of a row the network's IoU minus the row's, paired.
      consistency: By name of a row the Dice between answers to clicks at several places.
    """

    counts: dict[str, int]
    iou: dict[str, Estimate]
    gain: dict[str, Estimate]
    consistency: dict[str, Estimate]

    def to_json(self) -> dict[str, Any]:
        """Returns the figures as in summary.json."""
        groups = {name: getattr(self, name) for name in ("iou", "gain", "consistency")}
        tables = {
            group: {name: estimate._asdict() for name, estimate in estimates.items()}
            for group, estimates in groups.items()
        }
        return {"counts": self.counts, **tables}

    @classmethod
    def from_json(cls, entry: Mapping[str, Any]) -> "ReaderSummary":
        """Returns the figures of an entry of summary.json."""
        tables = {
            group: {name: Estimate.from_json(value) for name, value in entry[group].items()}
            for group in ("iou", "gain", "consistency")
        }
        return cls(counts=dict(entry["counts"]), **tables)


def summarise(scores: ReaderScores, slices: Sequence[Mapping[str, Any]]) -> ReaderSummary:
    """Returns the figures of the protocol.

    The outlines of a slice are averaged first, so that every slice weighs the same; intervals are
    bootstrapped over patients, see `intervals`.

    Args:
      scores: What was measured.
      slices: One dict per slice with patient.
    """
    used = np.unique(scores.place)
    patients = [slices[int(place)]["patient"] for place in used]
    by_slice = {name: _per_slice(values, scores.place) for name, values in scores.iou.items()}
    subject = by_slice[ROWS[0].name]
    everybody = [entry["patient"] for entry in slices]
    defined = [~np.isnan(values) for values in scores.consistency.values()]
    return ReaderSummary(
        counts={
            "outlines": len(scores.place),
            "slices": len(used),
            "patients": len(set(patients)),
            "slices_of_consistency": int(np.all(defined, axis=0).sum()),
            **scores.left_out,
        },
        iou={name: estimate(values, patients) for name, values in by_slice.items()},
        gain={
            name: estimate(subject - values, patients)
            for name, values in by_slice.items()
            if name != ROWS[0].name
        },
        consistency={
            name: estimate(values, everybody) for name, values in scores.consistency.items()
        },
    )


def estimate(values: Float[np.ndarray, " m"], patients: Sequence[Any]) -> Estimate:
    """Returns the mean of one number per slice, NaN left out, with its interval over patients."""
    column = values[:, None]
    band = bootstrap_mean(column, patients)
    mean = float(mean_defined(column)[0])
    if band is None or np.isnan(band.low[0]):
        return Estimate(mean)
    return Estimate(mean, float(band.low[0]), float(band.high[0]))


def write_outlines(
    path: str | os.PathLike[str], scores: ReaderScores, slices: Sequence[Mapping[str, Any]]
) -> Path:
    """Writes readers.csv: one line per outline with its disk's radius and every row's IoU.

    Args:
      path: File to write.
      scores: What was measured.
      slices: One dict per slice with patient, volume and slice_index.

    Returns:
      `path`.
    """
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["patient", "volume", "slice", "reader", "area", "radius", *scores.iou])
        for i, place in enumerate(scores.place.tolist()):
            entry = slices[place]
            where = [entry["patient"], entry["volume"], entry["slice_index"]]
            iou = [f"{values[i]:.9g}" for values in scores.iou.values()]
            drawn = [int(scores.reader[i]), int(scores.area[i]), f"{scores.radius[i]:.9g}"]
            writer.writerow([*where, *drawn, *iou])
    return Path(path)


def _per_slice(values: Float[np.ndarray, " p"], place: Int[np.ndarray, " p"]) -> np.ndarray:
    """Returns the mean of each slice that has a value, slices rising."""
    _, owner = np.unique(place, return_inverse=True)
    totals = np.bincount(owner, weights=values.astype(np.float64))
    return totals / np.bincount(owner)
