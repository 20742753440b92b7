"""Which slices are kept, who is in which split, how a slice becomes upright and square.

Pure NumPy: this runs on the host while a dataset is prepared, once per slice, and is not compiled.
"""

import functools
import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Num, Shaped
from scipy import sparse
from skimage import transform

from ecc_jax.volumes import ARRAY_ORDER, Orientation

TRAIN_FRACTION, VALIDATION_FRACTION = 0.7, 0.1
# Coverage is a sum of rounded products; an exact half must count as one whatever the rounding.
HALF = 0.5 - 1e-6


class Fit(NamedTuple):
    """How a slice was made upright and square; enough to take a mask back.

    Attributes:
      original_shape: Rows and columns of the upright slice, before padding and resize.
      padding: Pixels of air (before, after) on rows and on columns of the upright slice.
      size: Side after the fit.
      orientation: How the slice in array order became upright.
    """

    original_shape: tuple[int, int]
    padding: tuple[tuple[int, int], tuple[int, int]]
    size: int
    orientation: Orientation = ARRAY_ORDER


def thesis_split(n: int) -> tuple[int, int, int]:
    """Returns the thesis's numbers of training, validation and test slices out of `n`.

    Hold-out = ceil(0.3 n), validation = ceil(hold-out / 3), test = the rest of the hold-out.

    Source: thesis Table 1; the arithmetic gives its KITS, LITS and MD PANC rows exactly.
    """
    holdout = -(-3 * n // 10)
    validation = -(-holdout // 3)
    return n - holdout, validation, holdout - validation


def thesis_split_indices(n: int, seed: int) -> dict[str, list[int]]:
    """Returns the sorted positions of each split when `n` slices are split one by one.

    Slices of one patient land in several splits: for parity of counts only.

    Raises:
      ValueError: So few slices that a split would be empty.
    """
    num_train, num_validation, num_test = thesis_split(n)
    if min(num_train, num_validation, num_test) < 1:
        raise ValueError(f"the thesis split needs at least 4 slices, got {n}; add volumes")
    order = [int(name) for name in _shuffled([str(i) for i in range(n)], seed)]
    cut = num_train + num_validation
    return {
        "train": sorted(order[:num_train]),
        "validation": sorted(order[num_train:cut]),
        "test": sorted(order[cut:]),
    }


def patient_split(patients: Sequence[str], sizes: Sequence[int], seed: int) -> dict[str, list[str]]:
    """Splits whole patients to the nearest 70/10/20 of slices.

    Patients are put in an order drawn from the seed, and the two cuts of that order are chosen
    that bring the three parts nearest to their shares (sum of absolute differences in slices;
    ties: the earlier cuts). The order is that of a hash of seed and name: it depends neither on
    the order of the arguments nor on the version of a random generator.

    Args:
      patients: Distinct names.
      sizes: Slices of each patient.
      seed: Any integer.

    Returns:
      Sorted names under "train", "validation" and "test"; none is empty.

    Raises:
      ValueError: Fewer than three patients, a name twice, or a patient without slices.
    """
    if len(set(patients)) != len(patients) or len(patients) != len(sizes):
        raise ValueError(f"patients must be distinct, one size each; got {list(patients)}")
    if len(patients) < 3:
        raise ValueError(
            f"a split by patient needs at least 3 patients with lesions, got {len(patients)} "
            f"({', '.join(patients)}); add volumes, or correct data.patient_regex"
        )
    if min(sizes) < 1:
        raise ValueError("every patient must have at least 1 slice; leave the others out")
    order = _shuffled(patients, seed)
    size_of = dict(zip(patients, sizes, strict=True))
    ends = np.cumsum([size_of[patient] for patient in order])
    first, second = np.triu_indices(len(order) - 1, k=1)
    total = ends[-1]
    off = (
        np.abs(ends[first] - TRAIN_FRACTION * total)
        + np.abs(ends[second] - ends[first] - VALIDATION_FRACTION * total)
        + np.abs(total - ends[second] - (1 - TRAIN_FRACTION - VALIDATION_FRACTION) * total)
    )
    best = int(np.argmin(np.round(off, 6)))
    a, b = int(first[best]) + 1, int(second[best]) + 1
    return {
        "train": sorted(order[:a]),
        "validation": sorted(order[a:b]),
        "test": sorted(order[b:]),
    }


def fold_split(
    patients: Sequence[str], sizes: Sequence[int], *, folds: int, fold: int, seed: int
) -> dict[str, list[str]]:
    """Splits whole patients for k-fold cross-validation: every patient is tested exactly once.

    In an order drawn from the seed each patient joins the fold that holds the fewest slices (ties:
    the lower number), as long as no fold holds more than its share of patients. One fold is
    tested; of the other patients, in the same order, the first few validate: as many as come
    nearest to an eighth of their slices (70/10/20 has that share), but at least two where six or
    more are left, for one patient is no yardstick.

    Args:
      patients: Distinct names.
      sizes: Slices of each patient.
      folds: Number of folds, at least 2.
      fold: Which one is tested, 0 to folds - 1.
      seed: Any integer.

    Returns:
      Sorted names under "train", "validation" and "test"; none is empty.

    Raises:
      ValueError: No such fold, or so few patients that a part would be empty.
    """
    if folds < 2 or not 0 <= fold < folds:
        raise ValueError(f"expected 2 or more folds and 0 <= fold < folds, got {folds}, {fold}")
    if len(patients) < max(3, folds):
        raise ValueError(
            f"{folds} folds need at least {max(3, folds)} patients with lesions, got "
            f"{len(patients)}; lower data.folds"
        )
    order = _shuffled(patients, seed)
    size_of = dict(zip(patients, sizes, strict=True))
    members: list[list[str]] = [[] for _ in range(folds)]
    for patient in order:
        open_folds = [names for names in members if len(names) < -(-len(order) // folds)]
        min(open_folds, key=lambda names: sum(size_of[name] for name in names)).append(patient)
    others = [patient for patient in order if patient not in members[fold]]
    if len(others) < 2:
        raise ValueError(
            f"fold {fold} of {folds} leaves {len(others)} patient to train and validate on; "
            "raise data.folds, or add patients"
        )
    share = VALIDATION_FRACTION / (TRAIN_FRACTION + VALIDATION_FRACTION)
    ends = np.cumsum([size_of[patient] for patient in others[:-1]])
    off = np.abs(ends - share * sum(size_of[patient] for patient in others))
    cut = max(int(np.argmin(off)) + 1, 2 if len(others) >= 6 else 1)
    return {
        "train": sorted(others[cut:]),
        "validation": sorted(others[:cut]),
        "test": sorted(members[fold]),
    }


def balanced_sample(names: Mapping[str, Sequence[str]], seed: int) -> dict[str, list[int]]:
    """Reduces every source to the size of the smallest.

    Slices are put in an order drawn from the seed and their names, and the first are kept, so the
    choice in one source depends on the others through the size of the smallest only.

    Args:
      names: For each source distinct names of its slices in one split.
      seed: Any integer.

    Returns:
      For each source the rising positions of the slices it keeps, equally many of every source.

    Source: thesis section 3.1, the COMBINED sets of Table 1.
    """
    keep = min(len(slices) for slices in names.values())
    chosen = {}
    for source, slices in names.items():
        position = {name: i for i, name in enumerate(slices)}
        kept = _shuffled([f"{source}/{name}" for name in slices], seed)[:keep]
        chosen[source] = sorted(position[name.removeprefix(f"{source}/")] for name in kept)
    return chosen


def _shuffled(names: Sequence[str], seed: int) -> list[str]:
    return sorted(names, key=lambda name: hashlib.sha256(f"{seed}:{name}".encode()).digest())


def turn(array: Shaped[np.ndarray, "h w"], orientation: Orientation) -> Shaped[np.ndarray, "r c"]:
    """Returns a view of a slice in array order turned to display order (r c is h w or w h)."""
    rows, columns = (-1 if flip else 1 for flip in orientation[1:])
    return (array.T if orientation.transpose else array)[::rows, ::columns]


def turn_back(
    array: Shaped[np.ndarray, "r c"], orientation: Orientation
) -> Shaped[np.ndarray, "h w"]:
    """Returns a view of a slice in display order turned to array order, the inverse of `turn`."""
    rows, columns = (-1 if flip else 1 for flip in orientation[1:])
    flipped = array[::rows, ::columns]
    return flipped.T if orientation.transpose else flipped


def stored_pixel_mm(record: Mapping[str, Any]) -> float:
    """Returns the side of a stored pixel, mm, along rows and columns alike.

    Args:
      record: A prepared record with image, spacing_mm [3] and fit_original_shape [2].

    Returns:
      NaN where it is unknown: the record does not say, or pixels are oblong (sides that differ by
      more than a per cent), so that no one number is a distance.
    """
    if "spacing_mm" not in record or "fit_original_shape" not in record:
        return float("nan")
    _, rows, columns = (float(value) for value in record["spacing_mm"])
    if not (0 < rows < np.inf and abs(rows - columns) <= 0.01 * rows):
        return float("nan")
    # Slices are padded to a square and then resized.
    return rows * max(int(n) for n in record["fit_original_shape"]) / len(record["image"])


def fit_to_size(
    image: Num[np.ndarray, "h w"],
    mask: Shaped[np.ndarray, "h w"],
    size: int,
    *,
    air: float,
    orientation: Orientation = ARRAY_ORDER,
) -> tuple[Float[np.ndarray, "s s"], Bool[np.ndarray, "s s"], Fit]:
    """Returns image and mask upright and as size x size pixels, and how to go back.

    The slice is turned to display order. If not square it is padded with air to a square, the
    slice in its middle (the odd pixel goes after it), then resized: the image linearly with
    anti-aliasing, the mask by majority of area (a half counts as lesion). If the lesion would
    vanish, the pixel it covers most stays. Nothing is resized that has the right size.

    Args:
      image: Hounsfield units.
      mask: True or nonzero on the lesion.
      size: Side of the result, pixels.
      air: Hounsfield units of the padding.
      orientation: From array order to display order; the default leaves the slice as it is.
    """
    image, mask = turn(image, orientation), turn(mask, orientation)
    height, width = image.shape
    side = max(height, width)
    rows, columns = (side - height) // 2, (side - width) // 2
    padding = ((rows, side - height - rows), (columns, side - width - columns))
    fit = Fit((height, width), padding, size, orientation)
    square = np.pad(image.astype(np.float32), padding, constant_values=air)
    lesion = np.pad(mask.astype(bool), padding)
    if side == size:
        return square, lesion, fit
    resized = transform.resize(
        square, (size, size), order=1, mode="edge", anti_aliasing=size < side, preserve_range=True
    )
    return resized.astype(np.float32), _majority(_coverage(lesion, size)), fit


def unfit_mask(mask: Shaped[np.ndarray, "s s"], fit: Fit) -> Bool[np.ndarray, "h w"]:
    """Returns a mask of fitted pixels on the slice in array order, the inverse of `fit_to_size`.

    Resized by majority of area, cropped, then turned back. Exact where nothing was resized; else
    exact except within a pixel (of the coarser of the two grids) of the border of the mask. A mask
    that lies in the padding alone comes back empty.
    """
    height, width = fit.original_shape
    (top, _), (left, _) = fit.padding
    coverage = _coverage(mask.astype(bool), max(height, width))
    upright = _majority(coverage[top : top + height, left : left + width])
    return turn_back(upright, fit.orientation)


def stored_fit(record: Mapping[str, Any]) -> Fit:
    """Returns the `Fit` of a prepared record (keys mask and fit_*)."""
    height, width = (int(n) for n in record["fit_original_shape"])
    (top, bottom), (left, right) = ((int(a), int(b)) for a, b in record["fit_padding"])
    size = int(record["mask"].shape[0])
    orientation = Orientation(*(bool(flag) for flag in record["fit_orientation"]))
    return Fit((height, width), ((top, bottom), (left, right)), size, orientation)


def _coverage(mask: Bool[np.ndarray, "n n"], size: int) -> Float[np.ndarray, "s s"]:
    """Returns the fraction of each new pixel's area that the mask covers."""
    n = mask.shape[0]
    if n == size:
        return mask.astype(np.float64)
    weights = _overlap(n, size)
    return (weights @ (weights @ mask.astype(np.float64)).T).T


@functools.lru_cache(maxsize=16)
def _overlap(n: int, size: int) -> sparse.csr_array:
    """Returns what fraction of each of `size` new cells comes from each of `n` old ones.

    Sparse, for nearly all are 0: the threads of a dense product cost more than the product.
    """
    edges = np.arange(size + 1) * (n / size)
    low = np.maximum(edges[:-1, None], np.arange(n)[None, :])
    high = np.minimum(edges[1:, None], np.arange(1, n + 1)[None, :])
    return sparse.csr_array(np.clip(high - low, 0, None) * (size / n))


def _majority(coverage: Float[np.ndarray, "h w"]) -> Bool[np.ndarray, "h w"]:
    mask = coverage >= HALF
    if not mask.any() and coverage.max(initial=0.0) > 0:
        mask.flat[int(np.argmax(coverage))] = True
    return mask
