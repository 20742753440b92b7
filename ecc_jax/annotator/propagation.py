"""From slice to slice: a mask carried to its neighbours until the lesion ends."""

from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import Bool
from scipy import ndimage

from ecc_jax.annotator import documents
from ecc_jax.annotator.documents import Document
from ecc_jax.annotator.packing import pack
from ecc_jax.annotator.state import Annotation, Lesion, Ring

# A lesion ends where the answer has fewer pixels, keeps less of the mask before, or stands out from
# its surroundings by less than this share of what it did on the slice that a person drew on. The
# network alone never says so: it trusts a disk, and would go on to the end of the volume.
LEAST_PIXELS, LEAST_OVERLAP, LEAST_CONTRAST = 4, 0.25, 0.5
# A lesion that stands out by less, HU, is not recognised by it.
FAINT_HU = 5.0

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

    On each slice the mask of the slice before is the mask to correct, and a disk fitted to it the
    press. It ends where the answer vanishes, no longer overlaps the slice before, or no longer
    stands out from its surroundings; at a slice that a person has drawn on; at the volume's end.

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
    mask = answer(start, annotation)
    first = contrast(document, start, mask, annotation.window_hu)
    found: list[dict[str, Any]] = []
    for index in range(start + step, start + step * (most + 1), step):
        is_drawn = index in lesion.slices and not lesion.slices[index].is_propagated
        if not 0 <= index < document.num_slices or is_drawn or not mask.any():
            break
        if on_slice:
            on_slice(index)
        y, x, radius = fitted_disk(document, mask)
        prior = pack(mask)
        ring = Ring(0, y, x, radius, True)
        after = answer(index, Annotation((ring,), annotation.window_hu, prior))
        stands_out = contrast(document, index, after, annotation.window_hu)
        if has_vanished(mask, after) or (
            abs(first) >= FAINT_HU and stands_out / first < LEAST_CONTRAST
        ):
            break
        entry = {"slice": index, "y": y, "x": x, "radius": radius, "prior": prior}
        found.append({**entry, "window_hu": list(annotation.window_hu)})
        mask = after
    return found


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


def contrast(
    document: Document,
    index: int,
    mask: Bool[np.ndarray, "h w"],
    window_hu: tuple[float, float],
) -> float:
    """Returns by how many HU a mask stands out: its median less that of a ring around it.

    Args:
      document: The volume.
      index: Slice.
      mask: On it; 0 is returned for an empty one.
      window_hu: Values beyond its ends count as the ends.
    """
    width = max(3, round(0.5 * np.sqrt(np.count_nonzero(mask) / np.pi)))
    near = ndimage.binary_dilation(mask)  # the border's voxels are mixed
    ring = ndimage.binary_dilation(near, iterations=width) & ~near
    if not mask.any() or not ring.any():
        return 0.0
    values = np.clip(documents.slice_of(document, index), *window_hu)
    return float(np.median(values[mask]) - np.median(values[ring]))


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
