"""From slice to slice: a mask carried to its neighbours until the lesion ends."""

from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Num
from scipy import ndimage
from skimage import registration, transform

from ecc_jax.annotator import documents
from ecc_jax.annotator.documents import Document
from ecc_jax.annotator.packing import pack
from ecc_jax.annotator.state import Annotation, Lesion, Ring

# A lesion ends where its mask has fewer pixels, keeps less of the mask before or of its largest
# area so far, or where a smaller share of it looks like the lesion that a person drew on rather
# than like the surroundings of that.
LEAST_PIXELS, LEAST_OVERLAP, LEAST_AREA, LEAST_ALIKE = 4, 0.25, 0.2, 0.15
# A lesion that stands out by less, HU, is not recognised by it: muscle beside it varies as much.
FAINT_HU = 20.0
# Around a mask the image's motion is found in a margin of so many voxels, or of this share of its
# radius, in grey values between two percentiles of the mask and of so many voxels around it.
LEAST_MARGIN, MARGIN_SHARE, PERCENTILES, RIM = 12, 1.0, (1, 99), 3
# Large crops are shrunk to this many voxels first: a slice then takes a few hundredths of a second.
MOST_SIDE = 96

Answer = Callable[[int, Annotation], Bool[np.ndarray, "h w"]]


def propagate(
    answer: Answer,
    document: Document,
    lesion: Lesion,
    *,
    start: int,
    step: int,
    most: int,
    on_slice: Callable[[int], None] | None = None,
) -> list[dict[str, Any]]:
    """Returns what a lesion looks like on the slices next to one that has a mask.

    The mask moves from slice to slice as the image does. On each slice it is the mask to correct,
    and a disk fitted to it the press; what the network answers is shown, but not carried on: small
    changes would add up. It ends where the mask vanishes, shrinks to a small part, or no longer
    looks like the lesion; at a slice that a person has drawn on; at the volume's end.

    Args:
      answer: Returns the mask of an annotation on a slice.
      document: The volume.
      lesion: Whose slice `start` has rings.
      start: Slice to begin at.
      step: 1 or -1.
      most: At most so many slices.
      on_slice: Called with each slice before it is answered; may raise to end it.

    Returns:
      The slices of an event of kind propagate, in the order in which they were answered.
    """
    annotation = lesion.slices[start]
    window_hu = annotation.window_hu
    mask = answer(start, annotation)
    inside, around = greys(documents.slice_of(document, start), mask, window_hu=window_hu)
    largest = np.count_nonzero(mask)
    found: list[dict[str, Any]] = []
    for index in range(start + step, start + step * (most + 1), step):
        is_drawn = index in lesion.slices and not lesion.slices[index].is_propagated
        if not 0 <= index < document.num_slices or is_drawn or not mask.any():
            break
        if on_slice:
            on_slice(index)
        before, after = (documents.slice_of(document, each) for each in (index - step, index))
        moved = followed(before, mask, after, window_hu=window_hu)
        alike = np.abs(after[moved] - inside) <= np.abs(after[moved] - around)
        is_lost = abs(inside - around) >= FAINT_HU and alike.sum() < LEAST_ALIKE * alike.size
        is_small = alike.size < LEAST_AREA * largest
        if has_vanished(mask, moved) or is_lost or is_small:
            break
        y, x, radius = fitted_disk(document, moved)
        prior = pack(moved)
        ring = Ring(0, y, x, radius, True)
        if has_vanished(moved, answer(index, Annotation((ring,), window_hu, prior))):
            break
        entry = {"slice": index, "y": y, "x": x, "radius": radius, "prior": prior}
        found.append({**entry, "window_hu": list(window_hu)})
        mask, largest = moved, max(largest, np.count_nonzero(moved))
    return found


def followed(
    before: Num[np.ndarray, "h w"],
    mask: Bool[np.ndarray, "h w"],
    after: Num[np.ndarray, "h w"],
    *,
    window_hu: tuple[float, float],
) -> Bool[np.ndarray, "h w"]:
    """Returns a mask of one slice, moved and bent as the image is on the next slice.

    Args:
      before: The slice of the mask, HU.
      mask: On it, not empty.
      after: The next slice, HU.
      window_hu: Values beyond its ends count as the ends.

    Source: the TV-L1 optical flow of Zach, Pock and Bischof 2007, by
    `skimage.registration.optical_flow_tvl1`, in a crop around the mask.
    """
    margin = max(LEAST_MARGIN, round(MARGIN_SHARE * _radius(mask)))
    box = _box(mask, margin)
    # A lesion that the border cuts off goes on beyond it, as if the slice did.
    before, after, padded = (np.pad(each, margin, mode="edge") for each in (before, after, mask))
    inside = padded[box]
    old, new = (np.clip(values[box].astype(np.float32), *window_hu) for values in (before, after))
    rim = ndimage.binary_dilation(inside, iterations=RIM)
    low, high = np.percentile(old[rim], PERCENTILES)
    high = max(high, low + FAINT_HU)  # noise alone is not stretched to the full range
    old, new = (np.clip((values - low) / (high - low), 0, 1) for values in (old, new))
    # From a place on the next slice to where the same tissue lies on this one.
    places = np.indices(inside.shape) + _flow(new, old)
    carried = np.zeros_like(padded)
    carried[box] = ndimage.map_coordinates(_depth(inside), places, order=1, mode="nearest") > 0
    return carried[margin:-margin, margin:-margin]


def stale(
    lesion: Lesion, found: list[dict[str, Any]], *, start: int, step: int, most: int
) -> list[int]:
    """Returns the slices of an earlier propagation that a new one no longer reaches.

    Those that nobody has changed and that follow each other from the new end on, as far as `most`
    slices from the start. Left in the lesion they would be counted and saved.

    Args:
      lesion: As `propagate` was given it.
      found: What it returned.
      start: Slice to begin at.
      step: 1 or -1.
      most: At most so many slices.
    """
    gone: list[int] = []
    for index in range(start + step * (len(found) + 1), start + step * (most + 1), step):
        if index not in lesion.slices or not lesion.slices[index].is_propagated:
            break
        gone.append(index)
    return gone


def greys(
    values: Num[np.ndarray, "h w"],
    mask: Bool[np.ndarray, "h w"],
    *,
    window_hu: tuple[float, float],
) -> tuple[float, float]:
    """Returns what a lesion looks like: the medians of a mask and of a ring around it, HU.

    Args:
      values: A slice, HU.
      mask: On it; where it is empty, or nothing is around it, both medians are 0.
      window_hu: Values beyond its ends count as the ends.
    """
    near = ndimage.binary_dilation(mask)  # the border's voxels are mixed
    width = max(3, round(0.5 * _radius(mask)))
    ring = ndimage.binary_dilation(near, iterations=width) & ~near
    if not mask.any() or not ring.any():
        return 0.0, 0.0
    shown = np.clip(values, *window_hu)
    return float(np.median(shown[mask])), float(np.median(shown[ring]))


def has_vanished(before: Bool[np.ndarray, "h w"], after: Bool[np.ndarray, "h w"]) -> bool:
    """Returns whether a lesion ends between two neighbouring slices, by their masks."""
    overlap = np.count_nonzero(before & after)
    is_small = np.count_nonzero(after) < LEAST_PIXELS
    return bool(is_small or overlap < LEAST_OVERLAP * np.count_nonzero(before))


def fitted_disk(document: Document, mask: Bool[np.ndarray, "h w"]) -> tuple[float, float, float]:
    """Returns the disk that a person would drag on a mask: y, x, radius.

    The disk of `clicks.user.next_click` with average radii, which networks are trained with: at the
    deepest pixel of the largest component, half way between the tight and the enclosing radius. On
    the host, for compiling it for every size of slice takes longer than a person waits.

    Args:
      document: The volume.
      mask: Of an upright slice, not empty.

    Returns:
      Centre in voxels, radius in display pixels.
    """
    shown = documents.display_mask(document, mask)
    labels, _ = ndimage.label(shown, np.ones((3, 3)))
    component = labels == 1 + np.argmax(np.bincount(labels.flat)[1:])
    # The border of the slice counts as background.
    depth = ndimage.distance_transform_edt(np.pad(component, 1))[1:-1, 1:-1]
    y, x = np.unravel_index(int(np.argmax(depth)), depth.shape)
    rows, columns = np.nonzero(component)
    tight, enclosing = float(depth[y, x]), float(np.hypot(rows - y, columns - x).max())
    return (
        *documents.voxel_point(document, float(y), float(x)),
        0.5 * (tight + max(tight, enclosing)),
    )


def _flow(
    new: Float[np.ndarray, "h w"], old: Float[np.ndarray, "h w"]
) -> Float[np.ndarray, "2 h w"]:
    """Returns by how much to go from each voxel of one crop to its tissue in another, voxels."""
    size = new.shape
    share = min(1.0, MOST_SIDE / max(size))
    shape = tuple(max(2, round(share * side)) for side in size)
    if shape != size:
        new, old = (transform.resize(values, shape, anti_aliasing=True) for values in (new, old))
    flow = registration.optical_flow_tvl1(new, old)
    if shape == size:
        return flow
    scales = [whole / part for whole, part in zip(size, shape, strict=True)]
    return np.stack([transform.resize(n * s, size) for n, s in zip(flow, scales, strict=True)])


def _depth(mask: Bool[np.ndarray, "h w"]) -> Float[np.ndarray, "h w"]:
    """Returns the distance to the outside, and below 0 that to the inside."""
    padded = np.pad(mask, 1)
    inner, outer = (ndimage.distance_transform_edt(each) for each in (padded, ~padded))
    return (inner - outer)[1:-1, 1:-1]


def _radius(mask: Bool[np.ndarray, "h w"]) -> float:
    """Returns the radius of a disk as large as a mask."""
    return float(np.sqrt(np.count_nonzero(mask) / np.pi))


def _box(mask: Bool[np.ndarray, "h w"], margin: int) -> tuple[slice, slice]:
    """Returns where a mask, not empty, and a margin around it lie on a slice with that margin."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return (
        slice(rows[0], rows[-1] + 2 * margin + 1),
        slice(columns[0], columns[-1] + 2 * margin + 1),
    )
