"""Is a label file a label, and which of its values is the lesion?

A CT or a soft mask in the place of a label, or an organ in the place of its tumour, would train a
network on nonsense without a word.
"""

import json
import re
import warnings
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from jaxtyping import Integer
from scipy import ndimage

from ecc_jax.volumes import FileRemark
from tfds_builders.remarks import Remarks

# Values are counted in pieces of this many voxels: counting needs 8 bytes for each.
COUNT_VOXELS = 2**22
# Values that lie further apart are sorted instead of counted.
COUNT_RANGE = 2**20
# More values than this are no list of lesions and organs that someone would not name.
MAX_VALUES = 32
# From this many values on, a label whose neighbouring voxels differ is an image.
FEW_VALUES = 6
# Of neighbouring voxels that are both labelled at most a tenth differ between organs, a third and
# more along the slope of a soft mask, most in a CT.
MAX_DIFFERENT = 0.25
# Of the neighbours of a tumour the share that belongs to the organ, even if it bulges out of it.
ENCLOSED = 0.5
# The share of volumes in which the tumour must lie so; some hang on its outside, or lie
# apart for a few stray voxels.
ALWAYS = 0.8
MAX_PLANES = 64  # planes of a label that are looked at for it
MAX_OBJECTS = 1000  # larger values are not looked at: a list of their boxes is made
NAMES_FILE = "dataset.json"
SEVERAL = "several label values"
ORGAN_NAME = "lesion value named as an organ"
ORGANS = (
    "kidney liver pancreas lung spleen prostate organ heart brain colon bladder bone vessel uterus "
    "stomach esophagus oesophagus adrenal thyroid breast aorta duodenum bowel intestine rectum "
    "vertebra rib muscle body skin lobe gland parenchyma tissue hippocampus atrium ventricle "
    "parotid ovary femur trachea airway head neck thorax abdomen niere leber lunge milz"
).split()
LESIONS = (
    "tumor tumour lesion cancer cyst nodule mass metasta carcinoma sarcoma neoplasm malign "
    "abscess hematoma haematoma hemorrhage haemorrhage bleed infarct stroke infect covid stone "
    "node gtv ctv ptv edema oedema necro core enhanc thromb aneurysm polyp effusion fracture "
    "plaque calcif opaci consolid läsion knoten herd hcc rcc ggo ground-glass pneumon pneumothorax "
    "hemothorax haemothorax hydrothorax emphys fibros lacerat occlus foreign pirads pi-rads"
).split()
ORGAN_WORD = re.compile(rf"(?<![a-zäöü])(?:{'|'.join(ORGANS)})")
# Lesions are parts of words too (osteosarcoma, ...), as are the Greek endings of most of them.
LESION_WORD = re.compile(rf"{'|'.join(LESIONS)}|(?:omas?|omata|itis|osis)(?![a-z])")
DENIED = re.compile(r"(?<![a-z])(?:no|non|not|without)[\s_-]+[a-z]+")
Place = Literal["inside", "touching", "apart"]


class Found(NamedTuple):
    """What a label file holds.

    Attributes:
      voxels: How many, by value.
      places: Where other values lie, as seen from the lesion's: inside it, touching it, or apart;
        empty where nobody asked.
    """

    voxels: dict[int, int]
    places: dict[int, Place]


def count_values(labels: Integer[np.ndarray, "d h w"]) -> dict[int, int]:
    """Returns the number of voxels of each value, values rising."""
    low, high = int(labels.min()), int(labels.max())
    if high - low > COUNT_RANGE:
        values, numbers = np.unique(labels, return_counts=True)
        return {int(v): int(n) for v, n in zip(values, numbers, strict=True)}
    flat = labels.ravel(order="K")
    counts = np.zeros(high - low + 1, np.int64)
    for start in range(0, flat.size, COUNT_VOXELS):
        piece = flat[start : start + COUNT_VOXELS]
        shifted = piece if low == 0 else piece.astype(np.int64) - low
        counts += np.bincount(shifted, minlength=counts.size)
    return {int(i) + low: int(counts[i]) for i in np.flatnonzero(counts)}


def refuse_image(
    path: Path, labels: Integer[np.ndarray, "d h w"], voxels: Mapping[int, int]
) -> None:
    """Refuses a CT, a soft mask, or a label of so many structures that the lesion must be named.

    Args:
      path: The file.
      labels: Its voxels.
      voxels: How many there are of each value.

    Raises:
      ValueError: More than `MAX_VALUES` values, or several that change from voxel to voxel.
    """
    values = [value for value in voxels if value]
    if len(values) < FEW_VALUES:
        return
    if len(values) <= MAX_VALUES and _different(labels, voxels) <= MAX_DIFFERENT:
        return
    change = "" if len(values) > MAX_VALUES else " that change from voxel to voxel"
    raise ValueError(
        f"{path}: expected a label of a few values, got {len(voxels)} values "
        f"{min(voxels)}..{max(voxels)}{change}, as in a CT, a soft mask or a label of many "
        "structures; put the mask there (a soft one cut at one half), or name the values that mean "
        "lesion, as in --config.data.lesion_labels=(1,)"
    )


def _different(labels: Integer[np.ndarray, "d h w"], voxels: Mapping[int, int]) -> float:
    """Returns the share of neighbours with different values, of those that are both labelled.

    Neighbours within the commonest label do not count: a soft mask is flat in its middle.
    """
    common = max((value for value in voxels if value), key=lambda value: voxels[value])
    pairs = different = 0
    depth = labels.shape[2]
    for index in range(0, depth, max(1, depth // MAX_PLANES)):
        plane = labels[:, :, index]
        for one, other in ((plane[1:], plane[:-1]), (plane[:, 1:], plane[:, :-1])):
            counts = (one != 0) & (other != 0) & ((one != common) | (other != common))
            pairs += int(np.count_nonzero(counts))
            different += int(np.count_nonzero(counts & (one != other)))
    return different / pairs if pairs else 0.0


def places_of_others(
    labels: Integer[np.ndarray, "d h w"], voxels: Mapping[int, int], lesion: Sequence[int]
) -> dict[int, Place]:
    """Returns where the other values lie, as seen from the lesion's.

    Args:
      labels: The voxels.
      voxels: How many there are of each value.
      lesion: Values that mean lesion.
    """
    others = [value for value in voxels if value > 0 and value not in lesion]
    if not others or not any(value in voxels for value in lesion) or max(voxels) > MAX_OBJECTS:
        return {}
    # Nothing below 0 is an object.
    boxes = ndimage.find_objects(np.maximum(labels, 0) if min(voxels) < 0 else labels)
    outer = _union([boxes[value - 1] for value in lesion if value in voxels and value > 0])
    return {
        value: _place(labels, boxes[value - 1], value, lesion, outer)
        for value in others
        if outer is not None
    }


def _union(boxes: Sequence[tuple[slice, ...]]) -> tuple[slice, ...] | None:
    if not boxes:
        return None
    return tuple(
        slice(min(part.start for part in axis), max(part.stop for part in axis))
        for axis in zip(*boxes, strict=True)
    )


def _place(
    labels: Integer[np.ndarray, "d h w"],
    box: tuple[slice, ...],
    value: int,
    lesion: Sequence[int],
    outer: tuple[slice, ...],
) -> Place:
    """Returns where one value lies, from the neighbours of its voxels and from the two boxes."""
    around = tuple(slice(max(part.start - 1, 0), part.stop + 1) for part in box)
    crop = labels[around]
    own, wanted = crop == value, np.isin(crop, lesion)
    border = touching = 0
    for axis in range(crop.ndim):
        first = tuple(slice(None, -1) if i == axis else slice(None) for i in range(crop.ndim))
        second = tuple(slice(1, None) if i == axis else slice(None) for i in range(crop.ndim))
        for one, other in ((first, second), (second, first)):
            edge = own[one] & ~own[other]
            border += int(np.count_nonzero(edge))
            touching += int(np.count_nonzero(edge & wanted[other]))
    if not touching:
        return "apart"
    within = all(
        big.start <= small.start and small.stop <= big.stop
        for small, big in zip(box, outer, strict=True)
    )
    return "inside" if within or touching >= ENCLOSED * border else "touching"


def names_in(folder: Path) -> dict[int, str]:
    """Returns what dataset.json calls each label value; empty without one.

    Read are {"0": "background", "1": "pancreas"} (Decathlon) and {"background": 0, "pancreas": 1,
    "whole": [1, 2]} (nnU-Net, where a value may have several names). A file that is no such thing
    gives a `FileRemark`.
    """
    path = folder / NAMES_FILE
    if not path.is_file():
        return {}
    names: dict[int, list[str]] = {}
    try:
        for key, value in dict(json.loads(path.read_text(encoding="utf-8-sig"))["labels"]).items():
            for number, name in _numbered(str(key), value):
                names.setdefault(number, []).append(name)
    except (OSError, ValueError, KeyError, TypeError, OverflowError) as error:
        text = f"its label names cannot be read ({type(error).__name__}: {error}); repair the file"
        warnings.warn(FileRemark(path, "label names cannot be read", text), stacklevel=2)
        return {}
    return {number: " / ".join(several) for number, several in sorted(names.items())}


def _numbered(key: str, value: Any) -> list[tuple[int, str]]:
    """Returns value and name of one entry, whichever of the two comes first."""
    if key.strip().lstrip("-").isdigit() and not isinstance(value, (int, list)):
        return [(int(key), str(value))]
    numbers = value if isinstance(value, list) else [value]
    return [(int(number), key) for number in numbers]


def is_organ(name: str) -> bool:
    """Returns whether a label's name is that of an organ and not of a lesion in it."""
    lower = name.casefold()
    # "non-tumour liver" and "pancreas (no tumour)" are organs.
    without = DENIED.sub("", lower)
    return bool(ORGAN_WORD.search(lower)) and not LESION_WORD.search(without)


def doubt_default(
    where: str, labels: Mapping[str, Found], names: Mapping[int, str], lesion: Sequence[int]
) -> Remarks:
    """Returns remarks on a set whose labels hold more than the default lesion values.

    Args:
      where: The folder.
      labels: What each volume's label holds.
      names: What dataset.json calls the values.
      lesion: The default values that mean lesion.

    Raises:
      ValueError: The lesion's values enclose another one, or are named as an organ: they are
        probably the organ around the lesion.
    """
    present = {value for found in labels.values() for value in found.voxels}
    others = sorted({*present, *names} - {0, *lesion})
    wanted = ", ".join(map(str, lesion))
    organ = next((names[value] for value in lesion if is_organ(names.get(value, ""))), "")
    named = f"{NAMES_FILE} calls value {wanted} {organ!r}"
    if not present & set(lesion):
        return {}  # no lesion at all, which is an error of its own
    if not others:
        text = f"{named}; it is taken as the lesion"
        return {ORGAN_NAME: dict.fromkeys(sorted(labels), text)} if organ else {}
    inside = [value for value in others if _is_always_inside(value, labels.values())]
    likely = sorted(inside or others, key=lambda value: is_organ(names.get(value, "")))[0]
    told = _told(labels, names)
    if organ or inside:
        why = named
        if not organ:
            why = f"value {wanted} encloses value {likely}, as an organ does its tumour"
        raise ValueError(
            f"{where}: {why}; the labels hold {told}; name those that mean lesion: "
            f"--config.data.lesion_labels=({likely},), or ({wanted},) if it is that one after all"
        )
    text = (
        f"they hold {told}; only {wanted} is taken as the lesion; to take others name them, as in "
        f"--config.data.lesion_labels=({likely},)"
    )
    volumes = [name for name, found in labels.items() if found.voxels.keys() - {0, *lesion}]
    return {SEVERAL: dict.fromkeys(sorted(volumes), text)} if volumes else {}


def _told(labels: Mapping[str, Found], names: Mapping[int, str]) -> str:
    """Returns the values with their names, number of files and voxels."""
    files: Counter[int] = Counter()
    voxels: Counter[int] = Counter()
    for found in labels.values():
        files.update(found.voxels.keys() - {0})
        voxels.update(found.voxels)
    return ", ".join(
        f"{value}{f' ({names[value]})' if value in names else ''} in {files[value]} of "
        f"{len(labels)} files, {voxels[value]} voxels"
        for value in sorted({*files, *names} - {0})
    )


def _is_always_inside(value: int, labels: Iterable[Found]) -> bool:
    places = [found.places[value] for found in labels if value in found.places]
    inside = sum(place == "inside" for place in places)
    return bool(places) and inside >= ALWAYS * len(places)
