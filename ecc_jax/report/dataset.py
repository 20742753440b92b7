"""What a prepared dataset holds: counts, lesion areas, HU, spacing, overlap, reader agreement."""

import itertools
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float, Int, Int16, UInt8

# Original interactive segmentation code drops objects below this area; here it is only reported.
SMALL_AREA = 900
AREA_EDGES = np.unique(np.round(np.geomspace(1, 512**2, 46)).astype(int))
HU_BINS = 80
INT16_VALUES = 2**16


@runtime_checkable
class Slices(Protocol):
    """The slices of a split, as `data.pipeline.SliceSet` has them."""

    @property
    def records(self) -> Any:
        """`records[i]` is a dict of arrays."""
        ...

    @property
    def index(self) -> Any:
        """For each record a dict: patient, volume, slice_index, lesion_area."""
        ...

    def __len__(self) -> int: ...


def summarize(
    splits: Mapping[str, Slices], *, progress: Any = iter
) -> tuple[dict[str, Any], dict[str, Int[np.ndarray, " v"]]]:
    """Reads every record once.

    Args:
      splits: The slices of each split.
      progress: Wraps the iterable of records, e.g. in a progress bar.

    Returns:
      A JSON-able summary (keys counts, lesion_area, clipped_share, spacing_mm, original_shapes,
      patient_overlap, readers), and the pixel counts per HU, from -32768, of "all" pixels and of
      "lesion" pixels; pixels that the window clips are not in them.
    """
    hu = {key: np.zeros(INT16_VALUES, np.int64) for key in ("all", "lesion")}
    clipped = {"low": 0, "high": 0}
    num_pixels = 0
    spacings, shapes, agreements = [], Counter[str](), []
    for record in progress(_records(splits)):
        image, mask = np.asarray(record["image"]), np.asarray(record["mask"], bool)
        low, high = np.asarray(record["window_hu"])
        inside = (image > low) & (image < high)
        clipped["low"] += int(np.count_nonzero(image <= low))
        clipped["high"] += int(np.count_nonzero(image >= high))
        num_pixels += image.size
        hu["all"] += _hu_counts(image[inside])
        hu["lesion"] += _hu_counts(image[inside & mask])
        spacings.append(np.asarray(record["spacing_mm"], np.float64))
        shapes["{} x {}".format(*np.asarray(record["fit_original_shape"]).tolist())] += 1
        if "reader_masks" in record:
            agreements.append(pairwise_iou(np.asarray(record["reader_masks"])))
    summary = {
        "counts": {split: _counts(part.index) for split, part in splits.items()},
        "lesion_area": {split: area_summary(_areas(part)) for split, part in splits.items()},
        "clipped_share": {end: count / num_pixels for end, count in clipped.items()},
        "spacing_mm": _spacing_summary(np.stack(spacings)),
        "original_shapes": dict(shapes.most_common()),
        "patient_overlap": patient_overlap({split: part.index for split, part in splits.items()}),
        "readers": _reader_summary(agreements),
    }
    return summary, hu


def area_summary(areas: Int[np.ndarray, " s"]) -> dict[str, Any]:
    """Returns median, 5th and 95th percentile, extremes, share below 900 px and the histogram.

    The histogram counts areas in [edge, next edge) for the edges `AREA_EDGES`; the last bin holds
    everything above.
    """
    edges = [*AREA_EDGES.tolist(), max(int(areas.max()) + 1, int(AREA_EDGES[-1]) + 1)]
    return {
        "median": float(np.median(areas)),
        "p5": float(np.percentile(areas, 5)),
        "p95": float(np.percentile(areas, 95)),
        "min": int(areas.min()),
        "max": int(areas.max()),
        "share_below_900": float(np.mean(areas < SMALL_AREA)),
        "histogram": np.histogram(areas, edges)[0].tolist(),
    }


def patient_overlap(splits: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[str, int]:
    """Returns for each pair of splits how many patients are in both."""
    patients = {split: {entry["patient"] for entry in index} for split, index in splits.items()}
    return {
        f"{a} and {b}": len(patients[a] & patients[b])
        for a, b in itertools.combinations(patients, 2)
    }


def pairwise_iou(reader_masks: UInt8[np.ndarray, "h w"]) -> list[float]:
    """Returns the IoU of each two readers who both drew something on a slice.

    Args:
      reader_masks: Bit r is set where reader r drew.
    """
    return [
        float(np.count_nonzero(a & b) / np.count_nonzero(a | b))
        for a, b in itertools.combinations(drawn_masks(reader_masks), 2)
    ]


def drawn_masks(reader_masks: UInt8[np.ndarray, "h w"]) -> list[Bool[np.ndarray, "h w"]]:
    """Returns the mask of each reader who drew something on a slice.

    Args:
      reader_masks: Bit r is set where reader r drew.
    """
    masks = [(reader_masks >> reader & 1) > 0 for reader in range(8)]
    return [mask for mask in masks if mask.any()]


def spread_over_areas(slices: Sequence[Mapping[str, Any]], *, count: int) -> list[int]:
    """Returns positions of slices from the smallest to the largest lesion.

    Evenly spread over the ranks of the areas; a patient comes twice only when every one has been.

    Args:
      slices: Keys patient and lesion_area.
      count: At most so many.
    """
    order = sorted(range(len(slices)), key=lambda i: (slices[i]["lesion_area"], i))
    wanted = np.linspace(0, len(order) - 1, min(count, len(order))).round().astype(int)
    chosen: list[int] = []
    seen: Counter[str] = Counter()
    taken: set[int] = set()
    for rank in wanted.tolist():
        free = [i for i in range(len(order)) if i not in taken]
        best = min(free, key=lambda i: (seen[slices[order[i]]["patient"]], abs(i - rank)))
        taken.add(best)
        seen[slices[order[best]]["patient"]] += 1
        chosen.append(order[best])
    return sorted(chosen, key=lambda i: (slices[i]["lesion_area"], i))


def hu_histogram(
    counts: Int[np.ndarray, " v"], low: int, high: int
) -> tuple[Float[np.ndarray, " e"], Float[np.ndarray, " b"]]:
    """Returns edges (HU) and shares of pixels in up to 80 bins from `low` to `high`."""
    width = max(1, -(-(high - low + 1) // HU_BINS))
    edges = np.arange(low, high + width + 1, width)
    values = np.arange(INT16_VALUES) - INT16_VALUES // 2
    binned = np.histogram(values, edges, weights=counts)[0]
    return edges.astype(np.float64), binned / max(binned.sum(), 1)


def _records(splits: Mapping[str, Slices]) -> Iterator[dict[str, Any]]:
    for part in splits.values():
        for i in range(len(part)):
            yield part.records[i]


def _areas(part: Slices) -> Int[np.ndarray, " s"]:
    return np.array([entry["lesion_area"] for entry in part.index])


def _counts(index: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    return {
        "slices": len(index),
        "volumes": len({entry["volume"] for entry in index}),
        "patients": len({entry["patient"] for entry in index}),
    }


def _hu_counts(values: Int16[np.ndarray, " n"]) -> Int[np.ndarray, " v"]:
    return np.bincount(values.astype(np.int64) + INT16_VALUES // 2, minlength=INT16_VALUES)


def _spacing_summary(spacings: Float[np.ndarray, "s 3"]) -> dict[str, dict[str, float]]:
    names = ("between slices", "between rows", "between columns")
    return {
        name: {
            "min": float(values.min()),
            "median": float(np.median(values)),
            "max": float(values.max()),
        }
        for name, values in zip(names, spacings.T, strict=True)
    }


def _reader_summary(agreements: Sequence[Sequence[float]]) -> dict[str, Any] | None:
    pairs = [iou for slice_pairs in agreements for iou in slice_pairs]
    if not pairs:
        return None
    return {
        "mean_pairwise_iou": float(np.mean(pairs)),
        "pairs": len(pairs),
        "slices": sum(bool(slice_pairs) for slice_pairs in agreements),
    }
