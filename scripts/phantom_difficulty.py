"""Checks that the synthetic CT is neither trivial nor hopeless; prints a table.

    python scripts/phantom_difficulty.py --kinds lung kidney --sizes 160 --patients 30

Each figure is the mean over lesion slices of what a method without learning reaches: a disk of
the right size at the first click, flooding from the first click with the one best tolerance
(on the image and after a light blur), and the one best global threshold. The exit code is 1 if
any figure is outside its range.
"""

import argparse
import sys
from typing import NamedTuple

import numpy as np
from scipy import ndimage

from ecc_jax import console
from ecc_jax.classical import flooding, search
from ecc_jax.phantom import volumes as phantom

# Lowest and highest acceptable mean IoU. Real sets: the disk reaches 0.66 (LIDC) and 0.79 (KiTS),
# flooding about 0.34 to 0.39 (LIDC).
RANGES = {
    "disk": (0.60, 0.80),
    "flood": (0.20, 0.50),
    "flood_blurred": (0.0, 0.60),
    "threshold": (0.0, 0.40),
}
# Of the real sarcomas, cut out with little around them, flooding reaches 0.21; where more of the
# body is shown it leaks further.
OWN_RANGES = {"limb": {"flood": (0.14, 0.50)}}
SLICES_PER_PATIENT = 8


class Sample(NamedTuple):
    """A lesion slice with its first click: pixel and radius (mean of tight and enclosing)."""

    image_hu: np.ndarray
    target: np.ndarray
    seed: tuple[int, int]
    radius: float
    window_hu: tuple[float, float]


def first_click(target: np.ndarray) -> tuple[tuple[int, int], float]:
    """Returns pixel and average radius of the click on the largest 8-connected component."""
    labels, _ = ndimage.label(target, np.ones((3, 3)))
    region = labels == 1 + np.argmax(np.bincount(labels.ravel())[1:])
    depth = ndimage.distance_transform_edt(np.pad(region, 1))[1:-1, 1:-1]
    y, x = np.unravel_index(np.argmax(depth), depth.shape)
    rows, columns = np.nonzero(region)
    enclosing = np.hypot(rows - y, columns - x).max()
    return (int(y), int(x)), float((depth[y, x] + max(enclosing, depth[y, x])) / 2)


def collect(kind: str, size: int, patients: int, seed: int) -> list[Sample]:
    """Returns lesion slices of the first patients, evenly taken from each."""
    samples = []
    for patient in range(patients):
        volume = phantom.generate_volume(seed, patient, kind=kind, size=size)
        chosen = np.flatnonzero(volume.mask.any(axis=(1, 2)))
        if chosen.size > SLICES_PER_PATIENT:
            chosen = chosen[np.linspace(0, chosen.size - 1, SLICES_PER_PATIENT).round().astype(int)]
        for index in chosen:
            target = volume.mask[index] != 0
            click, radius = first_click(target)
            samples.append(Sample(volume.image_hu[index], target, click, radius, volume.window_hu))
    return samples


def iou(mask: np.ndarray, target: np.ndarray) -> float:
    """Returns the intersection over union of two masks, of which `target` is not empty."""
    return float(np.count_nonzero(mask & target) / np.count_nonzero(mask | target))


def disk_iou(samples: list[Sample]) -> float:
    """Returns the mean IoU of the first click's disk taken as the mask."""
    values = []
    for sample in samples:
        y, x = np.indices(sample.target.shape)
        disk = np.hypot(y - sample.seed[0], x - sample.seed[1]) <= sample.radius
        values.append(iou(disk, sample.target))
    return float(np.mean(values))


def flood_iou(samples: list[Sample], *, blur: float = 0.0) -> float:
    """Returns the mean IoU of flooding with the best tolerance, after a blur of `blur` pixels."""
    images = [np.asarray(s.image_hu, np.float64) for s in samples]
    if blur:
        images = [ndimage.gaussian_filter(image, blur) for image in images]
    grid = flooding.default_tolerances(samples[0].window_hu)
    scores = [
        search.score(flooding.flood_each, search.Case(image, s.seed, s.radius), s.target, grid)
        for image, s in zip(images, samples, strict=True)
    ]
    return float(np.mean(scores, axis=0).max())


def threshold_iou(samples: list[Sample]) -> float:
    """Returns the mean IoU of the best band low <= HU < high, one-sided thresholds included."""
    low, high = samples[0].window_hu
    edges = np.concatenate([[-np.inf], np.linspace(low, high, 41), [np.inf]])
    total = np.zeros((edges.size, edges.size))
    for sample in samples:
        inner = edges[1:-1]
        lesion = np.searchsorted(np.sort(sample.image_hu[sample.target]), inner)
        whole = np.searchsorted(np.sort(sample.image_hu, axis=None), inner)
        area, pixels = int(sample.target.sum()), sample.target.size
        inside = np.concatenate([[0], lesion, [area]])
        every = np.concatenate([[0], whole, [pixels]])
        overlap = inside[None, :] - inside[:, None]
        predicted = every[None, :] - every[:, None]
        total += np.where(predicted > 0, overlap / np.maximum(area + predicted - overlap, 1), 0)
    return float(total.max() / len(samples))


def measure(kind: str, size: int, patients: int, seed: int) -> dict[str, float]:
    """Returns the figures of one kind and size, and areas (pixels) for orientation."""
    samples = collect(kind, size, patients, seed)
    by_window: dict[tuple[float, float], list[Sample]] = {}
    for sample in samples:
        by_window.setdefault(sample.window_hu, []).append(sample)
    areas = [int(s.target.sum()) for s in samples]
    result = {"slices": len(samples), "area_p5": float(np.percentile(areas, 5))}
    result |= {"area_p50": float(np.median(areas)), "area_p95": float(np.percentile(areas, 95))}
    parts = {
        "disk": disk_iou,
        "flood": flood_iou,
        "flood_blurred": lambda group: flood_iou(group, blur=1.0),
        "threshold": threshold_iou,
    }
    # `mixed`: tolerances and thresholds are chosen per window, which favours these methods.
    for name, method in parts.items():
        shares = [len(group) * method(group) for group in by_window.values()]
        result[name] = sum(shares) / len(samples)
    return result


def outside(figures: dict[str, float], kind: str = "") -> list[str]:
    """Returns the names of the figures that are not in their range, or that of the kind."""
    ranges = RANGES | OWN_RANGES.get(kind, {})
    return [name for name, (low, high) in ranges.items() if not low <= figures[name] <= high]


def main() -> int:
    """Prints the table; returns 1 if a figure is outside its range."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kinds", nargs="+", choices=phantom.KINDS, default=phantom.KINDS)
    parser.add_argument("--sizes", nargs="+", type=int, default=[160, 512])
    parser.add_argument("--patients", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    failed = False
    columns = ("slices", "area_p5", "area_p50", "area_p95", *RANGES)
    print(f"{'kind':9}{'size':>5}" + "".join(f"{c:>14}" for c in columns))
    for size in options.sizes:
        for kind in options.kinds:
            figures = measure(kind, size, options.patients, options.seed)
            wrong = outside(figures, kind)
            failed = failed or bool(wrong)
            cells = [
                f"{figures[c]:13.3f}{'!' if c in wrong else ' '}"
                if c in RANGES
                else f"{figures[c]:14.0f}"
                for c in columns
            ]
            print(f"{kind:9}{size:5}" + "".join(cells), flush=True)
    print("! outside its range: " + ", ".join(f"{k} {v}" for k, v in RANGES.items()))
    print("ranges of their own: " + ", ".join(f"{k} {v}" for k, v in OWN_RANGES.items()))
    return int(failed)


if __name__ == "__main__":
    sys.exit(console.run(main))
