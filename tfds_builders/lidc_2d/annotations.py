"""What the four readers of a LIDC-IDRI scan outlined, from its XML file alone.

A reader outlines a nodule of 3 mm or more slice by slice. The outline is the first pixel outside
the nodule, in whole pixels. Outlines of one nodule by several readers are not linked in the file:
they are grouped by distance. No DICOM is needed: the rule that defines the dataset can be counted
on the XML files.

Source: the LIDC-IDRI reading protocol (Armato et al. 2011, Med. Phys. 38, 915-931); the grouping
and the counts that it gives are those of the README beside this file.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple
from xml.etree.ElementTree import Element, ParseError

import defusedxml
import numpy as np
from defusedxml import ElementTree
from jaxtyping import Bool, Float, Int
from scipy import sparse, spatial

from tfds_builders.lidc_2d.outlines import Mask, fill, stack, trim

PIXEL_SPACING_MM = 0.7  # The XML holds none; any value in 0.6..0.85 gives the same counts.
SLICE_SPACING_MM = 2.5  # Where no two contours of a scan lie on different slices.
MAX_READERS = 4
MIN_ANNOTATIONS = 3  # of a nodule that counts
SHRINK = 0.9
# Below this annotations are still together only through outlines that share a pixel.
MIN_TOLERANCE_MM = 0.1
# Readers' files round one slice's position differently (-125.72, -125.720001); slices of a CT are
# more than ten times as far apart.
SAME_Z_MM = 0.01
# Steps of rounded positions differ in their last digit.
ROUNDING_MM = 1e-3
MAX_COORDINATE = 4096  # Far beyond any CT; a mask of a broken outline must not fill the memory.


class NotCtError(ValueError):
    """The file is the reading of a chest X-ray."""


class Contour(NamedTuple):
    """One closed outline on one slice.

    Attributes:
      z_mm: Position of the slice; the same float for every contour of a file on that slice.
      points_yx: Pixels of the outline in order, [n 2]; the last joins the first.
      is_inclusion: False if the outline bounds a hole.
      sop_uid: SOPInstanceUID of the slice; empty if the file has none.
    """

    z_mm: float
    points_yx: Int[np.ndarray, "n 2"]
    is_inclusion: bool
    sop_uid: str


class Annotation(NamedTuple):
    """One nodule as one reader outlined it.

    Attributes:
      reader: Number of the reading session in the file, from 0.
      nodule_id: The reader's name for it, meaningless to other readers.
      contours: Outlines, rising in z.
      characteristics: Ratings by name (subtlety, malignancy, ...), all of them positive.
      series_uid: SeriesInstanceUID of the scan; empty if the file has none.
    """

    reader: int
    nodule_id: str
    contours: tuple[Contour, ...]
    characteristics: dict[str, int]
    series_uid: str


class Reading(NamedTuple):
    """What one XML file holds.

    Attributes:
      series_uid: SeriesInstanceUID of the scan; empty if the file has none.
      num_readers: Reading sessions, those without a nodule included.
      annotations: Nodules of 3 mm or more, in the order of the file.
    """

    series_uid: str
    num_readers: int
    annotations: list[Annotation]


def read_annotations(path: str | Path) -> list[Annotation]:
    """Returns the nodules of 3 mm or more that the readers of one scan outlined.

    Left out: nodules without characteristics (under 3 mm), with an empty or zero characteristic,
    or without any outline of two points or more; non-nodules; outlines of one point.

    Raises:
      ValueError: As `read_reading`.
    """
    return read_reading(path).annotations


def read_reading(path: str | Path) -> Reading:
    """Returns annotations, number of readers and series of one XML file.

    Raises:
      NotCtError: The reading of a chest X-ray, which the collection holds too.
      ValueError: Missing file, not well-formed XML, XML with entities, not a LIDC-IDRI annotation,
        or a field that makes no sense.
    """
    path = Path(path)
    root = _root(path)
    header = [field for part in _children(root, "ResponseHeader") for field in part.iter()]
    # The files write both SeriesInstanceUid and SeriesInstanceUID.
    series = [(e.text or "").strip() for e in header if _name(e).lower() == "seriesinstanceuid"]
    series_uid = series[0] if series else ""
    sessions = _children(root, "readingSession")
    found = []
    for reader, session in enumerate(sessions):
        for nodule in _children(session, "unblindedReadNodule"):
            nodule_id = _text(nodule, "noduleID")
            try:
                ratings = _characteristics(nodule)
                contours = _contours(nodule) if ratings else ()
            except ValueError as error:
                raise ValueError(
                    f"{path}: reading session {reader + 1}, nodule {nodule_id!r}: {error}; "
                    "download the file again"
                ) from error
            if contours:
                found.append(Annotation(reader, nodule_id, contours, ratings, series_uid))
    return Reading(series_uid, len(sessions), _with_common_z(found))


def slice_step_mm(annotations: Sequence[Annotation]) -> float:
    """Returns the smallest step between slices with a contour; 2.5 if there is one slice only."""
    z = sorted({contour.z_mm for annotation in annotations for contour in annotation.contours})
    return float(np.diff(z).min()) if len(z) > 1 else SLICE_SPACING_MM


def group_nodules(
    annotations: Sequence[Annotation],
    *,
    pixel_spacing_mm: float = PIXEL_SPACING_MM,
    slice_spacing_mm: float | None = None,
) -> list[list[Annotation]]:
    """Returns the annotations of one scan grouped into nodules.

    Two annotations are connected if the smallest distance between points of their outlines is at
    most the slice spacing; a group is what is connected, directly or through others. While a
    group has more than four, the whole scan is grouped again with 0.9 times the tolerance, down
    to 0.1 mm. Annotations that share a pixel cannot be parted: such a group stays larger.

    Args:
      annotations: Of one scan.
      pixel_spacing_mm: Size of a pixel.
      slice_spacing_mm: Distance of slices; None means `slice_step_mm`.

    Returns:
      Groups in the order of their first annotation, each in the order given.

    Source: pylidc, `Scan.cluster_annotations` (min_tol 0.1), whose nodules the thesis used.
    """
    if not annotations:
        return []
    tolerance = slice_step_mm(annotations) if slice_spacing_mm is None else slice_spacing_mm
    tolerance += ROUNDING_MM
    distances = _distances(annotations, pixel_spacing_mm, limit_mm=tolerance)
    groups = _connected(distances <= tolerance)
    while max(map(len, groups)) > MAX_READERS and SHRINK * tolerance >= MIN_TOLERANCE_MM:
        tolerance *= SHRINK
        groups = _connected(distances <= tolerance)
    return [[annotations[i] for i in group] for group in groups]


def consensus(
    group: Sequence[Annotation], *, level: float = 0.5, min_annotations: int = MIN_ANNOTATIONS
) -> dict[float, Mask]:
    """Returns the pixels that at least `level` of a nodule's annotations hold.

    An annotation without a contour on a slice holds no pixel of it.

    Args:
      group: Annotations of one nodule.
      level: Share of annotations, in (0, 1]; 0.5 counts a tie as lesion.
      min_annotations: Smaller groups have no consensus.

    Returns:
      By z, rising, for each slice where the consensus is not empty: the mask in its bounding box,
      and row and column of the box's first pixel.
    """
    if len(group) < max(min_annotations, 1):
        return {}
    masks = [annotation_masks(annotation) for annotation in group]
    agreed = {}
    for z in sorted(set().union(*masks)):
        votes, origin = stack([mask[z] for mask in masks if z in mask])
        # The product may be a hair above a whole number of votes.
        held = np.asarray(votes.sum(axis=0) >= level * len(group) - 1e-9)
        if held.any():
            agreed[z] = trim(held, origin)
    return agreed


def annotation_masks(annotation: Annotation) -> dict[float, Mask]:
    """Returns the pixels that one reader counts to one nodule.

    The inside of every outline without the outline itself; the holes, with their outline, cut out
    of it.

    Returns:
      By z, rising, for each slice where the mask is not empty: the mask in its bounding box, and
      row and column of the box's first pixel.
    """
    masks = {}
    for z in sorted({contour.z_mm for contour in annotation.contours}):
        contours = [contour for contour in annotation.contours if contour.z_mm == z]
        inside = [fill(c.points_yx, outline=False) for c in contours if c.is_inclusion]
        holes = [fill(c.points_yx, outline=True) for c in contours if not c.is_inclusion]
        if not inside:
            continue
        layers, origin = stack([*inside, *holes])
        kept, cut = layers[: len(inside)], layers[len(inside) :]
        mask = np.asarray(kept.any(axis=0) & ~cut.any(axis=0))
        if mask.any():
            masks[z] = trim(mask, origin)
    return masks


def _root(path: Path) -> Element:
    if not path.is_file():
        raise ValueError(f"{path}: no such file; check the path")
    try:
        root = ElementTree.parse(path).getroot()
    except defusedxml.DefusedXmlException as error:
        raise ValueError(
            f"{path}: XML with entities or external references is not read; a LIDC-IDRI file has "
            "none, download it again"
        ) from error
    except OSError as error:
        raise ValueError(f"{path}: cannot be read ({error.strerror}); check its rights") from error
    # Beside its own errors the parser raises these on an encoding that it does not know.
    except (ParseError, LookupError, ValueError) as error:
        raise ValueError(
            f"{path}: not well-formed XML ({error}); download the file again"
        ) from error
    name = _name(root)
    if name == "IdriReadMessage" or _children(root, "CXRreadingSession"):
        raise NotCtError(
            f"{path}: the reading of a chest X-ray ({name}), expected one of a CT "
            "(LidcReadMessage); leave it out"
        )
    if name != "LidcReadMessage":
        raise ValueError(
            f"{path}: expected the reading of a CT (LidcReadMessage), got {name}; not a LIDC-IDRI "
            "annotation, leave it out"
        )
    return root


def _name(element: Element) -> str:
    """Returns the tag without namespace: the files use several, or none."""
    return str(element.tag).rpartition("}")[2]


def _children(element: Element, name: str) -> list[Element]:
    return [child for child in element if _name(child) == name]


def _text(element: Element, name: str) -> str:
    """Returns the text of the first child of that name; empty if there is none."""
    return next(((child.text or "").strip() for child in _children(element, name)), "")


def _number(element: Element, name: str) -> float:
    text = _text(element, name)
    try:
        value = float(text)
    except ValueError:
        value = np.nan
    if not np.isfinite(value):
        raise ValueError(f"{name} must be a number, got {text!r}")
    return value


def _characteristics(nodule: Element) -> dict[str, int]:
    """Returns the ratings; none if there are none, or if one of them is empty or zero."""
    ratings = {}
    for element in _children(nodule, "characteristics"):
        for rating in element:
            text = (rating.text or "").strip()
            if not re.fullmatch(r"(\d+(\.0*)?)?", text):
                raise ValueError(f"{_name(rating)} must be a whole number, got {text!r}")
            ratings[_name(rating)] = int(float(text or 0))
    return ratings if all(ratings.values()) else {}


def _contours(nodule: Element) -> tuple[Contour, ...]:
    contours = []
    for roi in _children(nodule, "roi"):
        edges = _children(roi, "edgeMap")
        points = [(_number(edge, "yCoord"), _number(edge, "xCoord")) for edge in edges]
        if len(set(points)) < 2:
            continue
        if any(value != round(value) or abs(value) > MAX_COORDINATE for p in points for value in p):
            raise ValueError(f"xCoord and yCoord must be whole pixels up to {MAX_COORDINATE}")
        inclusion = _text(roi, "inclusion").upper()
        if inclusion not in ("TRUE", "FALSE"):
            raise ValueError(f"inclusion must be TRUE or FALSE, got {inclusion!r}")
        z_mm = _number(roi, "imageZposition")
        uid = _text(roi, "imageSOP_UID")
        points_yx = np.asarray(points, np.int64)
        contours.append(Contour(z_mm, points_yx, inclusion == "TRUE", uid))
    return tuple(contours)


def _with_common_z(annotations: list[Annotation]) -> list[Annotation]:
    """Returns the annotations with one float for each slice, contours sorted by it."""
    values = sorted({contour.z_mm for annotation in annotations for contour in annotation.contours})
    common: dict[float, float] = {}
    for before, z in zip([-np.inf, *values], values, strict=False):
        # Zero turns -0.0 into 0.0, which print differently.
        common[z] = common[before] if z - before <= SAME_Z_MM else z + 0.0
    return [
        annotation._replace(contours=_at(annotation.contours, common)) for annotation in annotations
    ]


def _at(contours: tuple[Contour, ...], common: dict[float, float]) -> tuple[Contour, ...]:
    moved = [contour._replace(z_mm=common[contour.z_mm]) for contour in contours]
    return tuple(sorted(moved, key=lambda contour: contour.z_mm))


def _distances(
    annotations: Sequence[Annotation], pixel_spacing_mm: float, *, limit_mm: float
) -> Float[np.ndarray, "n n"]:
    """Returns the smallest distance of each two annotations' points; inf where over the limit."""
    clouds = [
        np.concatenate(
            [
                np.column_stack([c.points_yx * pixel_spacing_mm, np.full(len(c.points_yx), c.z_mm)])
                for c in annotation.contours
            ]
        )
        for annotation in annotations
    ]
    low = np.stack([cloud.min(axis=0) for cloud in clouds])
    high = np.stack([cloud.max(axis=0) for cloud in clouds])
    trees = [spatial.KDTree(cloud) for cloud in clouds]
    distances = np.full((len(clouds), len(clouds)), np.inf)
    for i, tree in enumerate(trees):
        near = ((low <= high[i] + limit_mm) & (high >= low[i] - limit_mm)).all(axis=1)
        for j in np.flatnonzero(near[:i]):
            # The bound of a query is exclusive.
            found, _ = tree.query(clouds[j], distance_upper_bound=np.nextafter(limit_mm, np.inf))
            distances[i, j] = distances[j, i] = found.min()
    return distances


def _connected(close: Bool[np.ndarray, "n n"]) -> list[list[int]]:
    """Returns the groups of indices that are connected, each rising, by their first index."""
    number, labels = sparse.csgraph.connected_components(close, directed=False)
    groups = [np.flatnonzero(labels == label).tolist() for label in range(number)]
    return sorted(groups)
