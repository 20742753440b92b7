"""Whether a label lies on the grid of its image, perhaps with its axes in another order."""

import warnings
from typing import Literal, NamedTuple

import nibabel
import numpy as np
from jaxtyping import Float, Shaped

from ecc_jax.volumes.geometry import Geometry, direction_of
from ecc_jax.volumes.remarks import FileRemark

# Rounding of stored affines stays far below this; a label on another grid is far above.
MAX_OFFSET_VOXELS = 0.5
Match = Literal["geometry", "index"]


class Turn(NamedTuple):
    """How a label in its own array order becomes one in the image's.

    Attributes:
      axes: Axis of the label that becomes each axis.
      flips: Whether each axis (after that) is reversed.
    """

    axes: tuple[int, int, int] = (0, 1, 2)
    flips: tuple[bool, bool, bool] = (False, False, False)

    def apply(self, array: Shaped[np.ndarray, "a b c"]) -> Shaped[np.ndarray, "d h w"]:
        """Returns a view of an array, turned."""
        steps = (slice(None, None, -1 if flip else 1) for flip in self.flips)
        return array.transpose(self.axes)[tuple(steps)]


AS_STORED = Turn()


def match_grid(label: Geometry, image: Geometry, *, match: Match, stacklevel: int) -> Turn:
    """Returns how a label is turned to lie on its image voxel by voxel.

    Args:
      label: Grid of the label.
      image: Grid of the image.
      match: "geometry": both grids must be one, up to half a voxel. "index": voxels correspond
        whatever the origin and the voxel size of the headers, but not against their directions.
      stacklevel: Whom warnings blame, as in `warnings.warn`.

    Raises:
      ValueError: Another shape; both have an orientation and the grids differ ("geometry") or
        their directions do ("index").
    """
    is_same = label.shape == image.shape
    moved = _moved_mm(label.affine, image) if is_same else np.inf
    tolerance = MAX_OFFSET_VOXELS * nibabel.affines.voxel_sizes(image.affine).min()
    if moved <= tolerance:
        return AS_STORED
    complete = label.has_affine and image.has_affine
    turn = _turn_between(label, image, tolerance) if complete else None
    if turn is not None:
        _remark_turn(label, image, turn, stacklevel + 1)
        return turn
    if not is_same:
        raise ValueError(
            f"{label.path}: label shape {label.shape} differs from image shape {image.shape} of "
            f"{image.path}; resample the label onto the image's grid"
        )
    if not complete:
        bare = label if not label.has_affine else image
        text = "its header holds no orientation; voxels of image and label are matched by index"
        warnings.warn(FileRemark(bare.path, "orientation missing", text), stacklevel=stacklevel)
    elif match != "index":
        raise ValueError(
            f"{label.path}: its affine places corners {moved:.1f} mm from those of {image.path}; "
            "resample the label onto the image's grid (or copy the image's header if the voxels "
            "do correspond)"
        )
    elif not np.array_equal(direction_of(label.affine), direction_of(image.affine)):
        raise ValueError(
            f"{label.path}: its axes run {_letters(label)}, those of {image.path} "
            f"{_letters(image)}, and turned so the two grids still differ; copy the image's header "
            "if the voxels do correspond, else resample the label onto the image's grid"
        )
    return AS_STORED


def _moved_mm(affine: Float[np.ndarray, "4 4"], image: Geometry) -> float:
    """Returns how far the corners of an image lie from where another affine puts them."""
    corners = np.indices((2, 2, 2)).reshape(3, 8) * (np.asarray(image.shape)[:, None] - 1)
    corners = np.concatenate([corners, np.ones((1, 8))])
    return float(np.linalg.norm(((affine - image.affine) @ corners)[:3], axis=0).max())


def _turn_between(label: Geometry, image: Geometry, tolerance_mm: float) -> Turn | None:
    """Returns the turn after which both grids are one; None if there is none."""
    # Directions alone decide: of two grids that are one, only their signs and order differ.
    units = [
        geometry.affine[:3, :3] / nibabel.affines.voxel_sizes(geometry.affine)
        for geometry in (image, label)
    ]
    shares = np.rint(np.linalg.solve(*units))
    if not (np.abs(shares).sum(0) == 1).all() or not (np.abs(shares).sum(1) == 1).all():
        return None
    first, second, third = (int(axis) for axis in np.abs(shares).argmax(axis=1))
    flips = [bool(flip) for flip in shares.sum(axis=1) < 0]
    turn = Turn((first, second, third), (flips[0], flips[1], flips[2]))
    if tuple(label.shape[axis] for axis in turn.axes) != image.shape:
        return None
    moved = _moved_mm(label.affine @ _index_map(turn, label.shape), image)
    return turn if moved <= tolerance_mm else None


def _index_map(turn: Turn, shape: tuple[int, int, int]) -> Float[np.ndarray, "4 4"]:
    """Returns the map from a voxel of the turned label to the one it was before."""
    back = np.zeros((4, 4))
    back[3, 3] = 1
    for axis, (source, flip) in enumerate(zip(turn.axes, turn.flips, strict=True)):
        back[source, axis] = -1 if flip else 1
        back[source, 3] = shape[source] - 1 if flip else 0
    return back


def _letters(geometry: Geometry) -> str:
    """Returns the direction of each axis, such as LPS."""
    return "".join(nibabel.aff2axcodes(geometry.affine))


def _remark_turn(label: Geometry, image: Geometry, turn: Turn, stacklevel: int) -> None:
    how = []
    if turn.axes != AS_STORED.axes:
        how.append(f"axes taken in the order {', '.join(map(str, turn.axes))}")
    flipped = [str(axis) for axis, flip in enumerate(turn.flips) if flip]
    if flipped:
        how.append(f"axis {', '.join(flipped)} reversed")
    text = (
        f"its axes run {_letters(label)}, those of {image.path.name} {_letters(image)}, on the "
        f"same grid; the label is turned to the image's axes ({', '.join(how)}); check one mask, "
        "and save the label on the image's axes"
    )
    kind = "label turned to the image's axes"
    warnings.warn(FileRemark(label.path, kind, text), stacklevel=stacklevel)
