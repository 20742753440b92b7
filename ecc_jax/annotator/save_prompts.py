"""The log of prompts: every disk that made the masks, in a JSON that can be replayed.

  {"format": "ecc_jax.prompts", "version": 1, "software": "ecc_jax 0.1.0", "model": "...",
   "network": "...",
   "source": {"identity": "...", "shape": [...], "affine": [[...]], "slice_axis": 0,
              "orientation": [false, true, true]},
   "lesions": [{"name": "...", "tracking_uid": "...", "finding": "lesion",
     "slices": [{"slice_index": 12, "window_hu": [-160, 240], "prior": "", "mask_sha256": "...",
       "prompts": [{"y": 120.5, "x": 88.0, "radius": 9.5, "is_positive": true,
                    "voxel": [12, 391, 423], "centre_ras_mm": [...], "radius_mm": 7.4}]}]}]}

`y`, `x` and `radius` are what the network was told, to the last bit: a voxel of the upright slice,
and square pixels as wide as the shorter side of a voxel. `voxel` is the same place in the source's
array, `centre_ras_mm` in the patient; both follow from the first two and are checked when a log is
read. Names of patients and paths are not in it.
"""

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from ecc_jax.annotator.packing import unpack
from ecc_jax.annotator.save_lesions import Finding, check_name
from ecc_jax.annotator.save_target import SOFTWARE, VERSION, write
from ecc_jax.volumes import Orientation, Volume, display_orientation, identity_of

FORMAT = f"{SOFTWARE}.prompts"
FORMAT_VERSION = 1
# No drag is longer, and 32 bits hold it.
MAX_RADIUS = 1e6
TOLERANCE = 1e-6  # Of places that follow from others, in voxels and mm.


class Prompt(NamedTuple):
    """One disk.

    Attributes:
      y: Row of its centre, voxels of the upright slice, centres at integers.
      x: Column of its centre.
      radius: In square pixels as wide as the shorter side of a voxel.
      is_positive: True marks lesion, False background.
    """

    y: float
    x: float
    radius: float
    is_positive: bool


class SlicePrompts(NamedTuple):
    """What one mask follows from, besides the voxels.

    Attributes:
      slice_index: Position of the slice on the slice axis.
      prompts: In the order in which they were answered.
      window_hu: In which the network saw the slice.
      prior: Mask of the upright slice to begin with, of `packing.pack`; empty for none.
      mask_sha256: Of the answer, see `mask_hash`; empty if it is not known.
    """

    slice_index: int
    prompts: tuple[Prompt, ...]
    window_hu: tuple[float, float]
    prior: str = ""
    mask_sha256: str = ""


class LesionPrompts(NamedTuple):
    """The prompts of a lesion.

    Attributes:
      name: What the user calls it.
      slices: The slices drawn on, rising.
      tracking_uid: As in `Lesion`.
      finding: As in `Lesion`.
    """

    name: str
    slices: tuple[SlicePrompts, ...]
    tracking_uid: str = ""
    finding: Finding = "lesion"


class View(NamedTuple):
    """How slices of a volume were shown.

    Attributes:
      identity: Of the volume's voxels, see `volumes.identity_of`.
      shape: Voxels along each array axis.
      affine: Voxel to patient coordinates (RAS+, mm).
      has_size: Whether voxel sizes are known; else millimetres mean nothing and are left out.
      slice_axis: Array axis along which slices were taken.
      orientation: From array order to upright.
    """

    identity: str
    shape: tuple[int, int, int]
    affine: Float[np.ndarray, "4 4"]
    has_size: bool
    slice_axis: int
    orientation: Orientation


class PromptLog(NamedTuple):
    """All prompts on a volume.

    Attributes:
      view: The volume and how it was shown.
      lesions: In order.
      model: What answered: its name.
      network: Hash of what answered, see `network.network_of`; empty if it is not known, or if
        several did.
    """

    view: View
    lesions: tuple[LesionPrompts, ...]
    model: str = ""
    network: str = ""


def view_of(volume: Volume, *, slice_axis: int) -> View:
    """Returns how the slices of a volume are shown."""
    geometry = volume.geometry
    return View(
        identity_of(volume.image_hu),
        geometry.shape,
        geometry.affine,
        bool(np.isfinite(geometry.spacing_mm).all()),
        slice_axis,
        display_orientation(geometry, slice_axis=slice_axis),
    )


def mask_hash(mask: Bool[np.ndarray, "h w"]) -> str:
    """Returns the SHA-256 of a mask: one byte 0 or 1 per pixel, row by row in array order."""
    return hashlib.sha256(np.ascontiguousarray(mask, np.uint8).tobytes()).hexdigest()


def upright_shape(view: View) -> tuple[int, int]:
    """Returns rows and columns of an upright slice."""
    rows, columns = (int(n) for n in np.delete(view.shape, view.slice_axis))
    return (columns, rows) if view.orientation.transpose else (rows, columns)


def voxel_of(view: View, index: int, y: float, x: float) -> tuple[float, float, float]:
    """Returns where a place of an upright slice lies in the array of the source, voxels."""
    rows, columns = upright_shape(view)
    y = rows - 1 - y if view.orientation.flip_rows else y
    x = columns - 1 - x if view.orientation.flip_columns else x
    place = [x, y] if view.orientation.transpose else [y, x]
    place.insert(view.slice_axis, index)
    first, second, third = (float(value) for value in place)
    return first, second, third


def write_prompts(target: Path, log: PromptLog, source: Path, *, replace: bool = False) -> Path:
    """Writes a log of prompts; returns its path.

    Args:
      target: The file, .json.
      log: What to write.
      source: The volume: a file, or the folder of a series.
      replace: Whether a log that this package wrote may be replaced.

    Raises:
      ValueError: A prompt that makes no sense, or a target that may not be written.
      OSError: The file cannot be written.
    """
    _check(log, str(target))
    content = {
        "format": FORMAT,
        "version": FORMAT_VERSION,
        "software": f"{SOFTWARE} {VERSION}",
        "model": log.model,
        "network": log.network,
        "source": {
            "identity": log.view.identity,
            "shape": log.view.shape,
            "affine": log.view.affine.tolist(),
            "has_size": log.view.has_size,
            "slice_axis": log.view.slice_axis,
            "orientation": list(log.view.orientation),
        },
        "lesions": [_plain_lesion(log.view, lesion) for lesion in log.lesions],
    }
    text = json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False)
    return write(target, text.encode(), source, replace=replace)


def read_prompts(path: Path) -> PromptLog:
    """Reads a log of prompts.

    Raises:
      ValueError: Missing, no log of prompts, one of another version, damaged, or with places that
        contradict each other.
    """
    try:
        content = json.loads(path.read_bytes().decode("utf-8"), parse_constant=_refuse_constant)
    except (OSError, ValueError, RecursionError) as error:
        raise ValueError(f"{path}: cannot be read as JSON ({error}); check the path") from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise ValueError(f"{path}: is no log of prompts; expected format {FORMAT!r} in it")
    if content.get("version") != FORMAT_VERSION:
        raise ValueError(
            f"{path}: expected version {FORMAT_VERSION} of the log, got "
            f"{content.get('version')!r:.40}; read it with what wrote it, "
            f"{content.get('software')!r:.40}"
        )
    try:
        log = PromptLog(
            _read_view(content["source"]),
            tuple(_read_lesion(lesion) for lesion in content["lesions"]),
            _text(content["model"]),
            _text(content.get("network", "")),  # of logs that were written before it was
        )
        _check(log, str(path))
        _check_places(log, content["lesions"])
    except (KeyError, TypeError, ValueError, IndexError, OverflowError) as error:
        said = f"{type(error).__name__}: {error}" if isinstance(error, KeyError) else str(error)
        raise ValueError(f"{path}: a damaged log of prompts ({said}); use a copy") from error
    return log


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is no number")


def _plain_lesion(view: View, lesion: LesionPrompts) -> dict[str, Any]:
    return {
        "name": lesion.name,
        "tracking_uid": lesion.tracking_uid,
        "finding": lesion.finding,
        "slices": [
            {
                "slice_index": each.slice_index,
                "window_hu": list(each.window_hu),
                "prior": each.prior,
                "mask_sha256": each.mask_sha256,
                "prompts": [
                    prompt._asdict() | _places(view, each.slice_index, prompt)
                    for prompt in each.prompts
                ],
            }
            for each in lesion.slices
        ],
    }


def _places(view: View, index: int, prompt: Prompt) -> dict[str, Any]:
    """Returns what follows from a prompt: its place in the source and in the patient."""
    voxel = voxel_of(view, index, prompt.y, prompt.x)
    if not view.has_size:
        return {"voxel": list(voxel)}
    sides = np.delete(np.linalg.norm(view.affine[:3, :3], axis=0), view.slice_axis)
    return {
        "voxel": list(voxel),
        "centre_ras_mm": (view.affine[:3, :3] @ voxel + view.affine[:3, 3]).tolist(),
        "radius_mm": prompt.radius * float(sides.min()),
    }


def _check(log: PromptLog, name: str) -> None:
    """Checks that prompts lie on their slices.

    Raises:
      ValueError: One does not, or is no finite number; a slice twice; a prior of another shape.
    """
    shape = upright_shape(log.view)
    for lesion in log.lesions:
        check_name(lesion.name)
        indices = [each.slice_index for each in lesion.slices]
        count = log.view.shape[log.view.slice_axis]
        if indices != sorted(set(indices)) or not all(0 <= index < count for index in indices):
            raise ValueError(
                f"{name}: expected rising slices of 0 to {count - 1}, got {indices} of lesion "
                f"{lesion.name!r}"
            )
        for each in lesion.slices:
            low, high = each.window_hu
            if not -math.inf < low < high < math.inf:
                raise ValueError(f"{name}: expected a window low < high, got {low:g}, {high:g} HU")
            for prompt in each.prompts:
                inside = 0 <= prompt.y <= shape[0] - 1 and 0 <= prompt.x <= shape[1] - 1
                if not inside or not 0 < prompt.radius <= MAX_RADIUS:
                    raise ValueError(
                        f"{name}: expected a disk inside the slice of {shape[0]} x {shape[1]}, got "
                        f"{prompt}"
                    )
            if each.prior:
                unpack(each.prior, shape)


def _check_places(log: PromptLog, written: Sequence[Mapping[str, Any]]) -> None:
    """Checks that places in source and patient are those of the prompts.

    Raises:
      ValueError: A log edited in one place only would otherwise say two things.
    """
    for lesion, plain in zip(log.lesions, written, strict=True):
        for each, one in zip(lesion.slices, plain["slices"], strict=True):
            for prompt, said in zip(each.prompts, one["prompts"], strict=True):
                for key, value in _places(log.view, each.slice_index, prompt).items():
                    off = np.abs(np.subtract(value, said[key])).max()
                    if not off <= TOLERANCE * (1 + np.abs(value).max()):
                        raise ValueError(
                            f"{key} {said[key]} contradicts y {prompt.y:g}, x {prompt.x:g} and "
                            f"radius {prompt.radius:g} on slice index "
                            f"{each.slice_index} (from 0)"
                        )


def _read_view(plain: Mapping[str, Any]) -> View:
    affine = np.asarray(plain["affine"], np.float64)
    first, second, third = (_whole(n) for n in plain["shape"])
    transpose, rows, columns = (_flag(flag) for flag in plain["orientation"])
    axis = _whole(plain["slice_axis"])
    if affine.shape != (4, 4) or not np.isfinite(affine).all() or axis not in (0, 1, 2):
        raise ValueError("expected an affine of 4 x 4 numbers and a slice axis of 0, 1 or 2")
    if min(first, second, third) < 1:
        raise ValueError(f"expected a shape of positive numbers, got {plain['shape']}")
    return View(
        _text(plain["identity"]),
        (first, second, third),
        affine,
        _flag(plain["has_size"]),
        axis,
        Orientation(transpose, rows, columns),
    )


def _read_lesion(plain: Mapping[str, Any]) -> LesionPrompts:
    finding = plain["finding"]
    if finding not in ("lesion", "neoplasm"):
        raise ValueError(f"expected the finding lesion or neoplasm, got {finding!r:.40}")
    slices = []
    for each in plain["slices"]:
        low, high = (_number(end) for end in each["window_hu"])
        prompts = tuple(
            Prompt(
                _number(one["y"]),
                _number(one["x"]),
                _number(one["radius"]),
                _flag(one["is_positive"]),
            )
            for one in each["prompts"]
        )
        prior, digest = _text(each["prior"]), _text(each["mask_sha256"])
        slices.append(
            SlicePrompts(_whole(each["slice_index"]), prompts, (low, high), prior, digest)
        )
    return LesionPrompts(_text(plain["name"]), tuple(slices), _text(plain["tracking_uid"]), finding)


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"expected a number, got {value!r:.40}")
    return float(value)


def _whole(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError(f"expected a whole number, got {value!r:.40}")
    return value


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"expected true or false, got {value!r:.40}")
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"expected a text, got {value!r:.40}")
    return value
