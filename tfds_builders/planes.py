"""The anatomical plane of a volume's slices; one set should hold one."""

from collections import Counter
from collections.abc import Mapping

import nibabel

from ecc_jax.volumes import Geometry
from tfds_builders.remarks import Remarks
from tfds_builders.words import short

# By the patient axis (right, anterior, superior) nearest to the one that slices are stacked along.
PLANES = ("sagittal", "coronal", "axial")
NO_PLANE = "without orientation"
MIXED = "slices of another plane than most"
UNKNOWN = "no orientation in the header"
REMEDY = (
    "reorient these files, set --config.data.slice_axis, or pass --config.data.mixed_planes=True "
    "to accept them"
)


def plane_of(geometry: Geometry, axis: int) -> str:
    """Returns the name of the plane that slices along an array axis lie in.

    An oblique volume counts as the plane nearest to it.
    """
    if not geometry.has_affine:
        return NO_PLANE
    nearest = nibabel.orientations.io_orientation(geometry.affine)
    return PLANES[int(nearest[axis, 0])]


def check_planes(name: str, planes: Mapping[str, str], *, mixed: bool) -> Remarks:
    """Returns remarks on volumes whose slices lie, or may lie, otherwise than those of most.

    Args:
      name: Of the dataset, or its folder.
      planes: Plane of each volume.
      mixed: Whether a set of several planes is accepted.

    Raises:
      ValueError: Several planes, which was not asked for; names the volumes of the rarer ones.
    """
    counts = Counter(planes.values())
    if set(counts) == {NO_PLANE}:
        text = (
            "its slices keep the array order and may lie on their side; as no volume says "
            "otherwise, all are taken to lie alike"
        )
        return {UNKNOWN: dict.fromkeys(sorted(planes), text)}
    if len(counts) < 2:
        return {}
    main = max(counts, key=lambda plane: (counts[plane], plane != NO_PLANE, plane))
    rare = {volume: plane for volume, plane in sorted(planes.items()) if plane != main}
    if not mixed:
        listed = [f"{volume} ({plane})" for volume, plane in rare.items()]
        raise ValueError(
            f"{name}: {len(rare)} of {len(planes)} volumes are cut along another plane than the "
            f"{counts[main]} {_as_set(main)}: {short(listed)}; {REMEDY}"
        )
    return {
        MIXED: {
            volume: f"{plane}, {counts[main]} others {_as_set(main)}; accepted by data.mixed_planes"
            for volume, plane in rare.items()
        }
    }


def refuse_mixed(name: str, remarks: Remarks) -> None:
    """Refuses a prepared set of several planes where that was not asked for.

    Args:
      name: Of the dataset.
      remarks: Of its index.

    Raises:
      ValueError: It was prepared with `mixed_planes`.
    """
    if MIXED in remarks:
        listed = short(sorted(remarks[MIXED]))
        raise ValueError(f"{name}: {len(remarks[MIXED])} volumes have {MIXED}: {listed}; {REMEDY}")


def _as_set(plane: str) -> str:
    return plane if plane == NO_PLANE else f"that are {plane}"
