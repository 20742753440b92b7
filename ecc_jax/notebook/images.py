"""One slice from a file of any readable kind, upright, with its place in the file's volume."""

import tempfile
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import nibabel
import numpy as np
from jaxtyping import Bool, Num, UInt8

from ecc_jax import atomic, places, volumes
from ecc_jax.phantom.volumes import generate_volume
from ecc_jax.volumes import ARRAY_ORDER, Geometry, Orientation, Volume, files_of
from ecc_jax.volumes.dicom_files import is_dicom

READABLE = (
    ".png, NIfTI (.nii, .nii.gz, .hdr beside .img), or DICOM (a file, a folder or a .zip of one "
    "series)"
)
EXAMPLE_SLICE = 4  # of the volume that `write_example` writes, through the middle of its lesion


class Slice(NamedTuple):
    """A slice to click on.

    Attributes:
      image: In display order: Hounsfield units, or values in [0, 1] if there is no window.
      window_hu: Lower and upper end of the window; None for pictures, which were windowed before.
      pixel_mm: Height and width of a pixel; NaN if nobody knows them.
      geometry: The grid of its volume.
      axis: Array axis of the volume that slices are counted along.
      number: Which slice, from 0.
      orientation: How it was turned to stand upright.
      remarks: What is odd about the file, one line each.
    """

    image: Num[np.ndarray, "h w"]
    window_hu: tuple[float, float] | None
    pixel_mm: tuple[float, float]
    geometry: Geometry
    axis: int = 2
    number: int = 0
    orientation: Orientation = ARRAY_ORDER
    remarks: tuple[str, ...] = ()

    def describe(self) -> str:
        """Returns in one line what was read and how its grey values are taken."""
        height, width = self.image.shape
        name, count = self.geometry.path.name, self.geometry.shape[self.axis]
        if count > 1:
            name += f", slice {self.number} of 0..{count - 1}"
        size = "pixel size unknown"
        if np.isfinite(self.pixel_mm).all():
            size = f"pixels of {self.pixel_mm[0]:.3g} x {self.pixel_mm[1]:.3g} mm"
        grey = "grey values as the picture has them"
        if self.window_hu is not None:
            grey = "window {:g} to {:g} HU".format(*self.window_hu)
        return f"{name}: {height} x {width}, {size}, {grey}"

    def in_volume(self, mask: Bool[np.ndarray, "h w"]) -> UInt8[np.ndarray, "a b c"]:
        """Returns a mask of this slice as a volume on the file's grid, 0 in all other slices."""
        volume = np.zeros(self.geometry.shape, np.uint8)
        np.moveaxis(volume, self.axis, 0)[self.number] = self.orientation.turn_back(mask)
        return volume


def read_slice(
    path: str | Path,
    *,
    number: Any = None,
    window_hu: tuple[float, float] = (-150.0, 250.0),
    pixel_mm: float | None = None,
) -> Slice:
    """Reads one slice of a file and turns it as a radiologist expects it.

    Slices are counted along the array axis of the largest spacing, as in training (those of DICOM
    from the feet upwards).

    Args:
      path: A grey .png of 8 or 16 bits, NIfTI, or DICOM: a file, a folder or a .zip of one series.
      number: Which slice, from 0; None where there is only one.
      window_hu: HU window of volumes. Pictures were windowed before, and this is not used.
      pixel_mm: Side of a picture's pixel. Volumes have their own, and this is not used.

    Raises:
      ValueError: No such file, one of another kind or damaged, no number where there are several
        slices, or a number outside.
    """
    path = places.expanded(path)
    if not path.exists():
        raise ValueError(f"{path}: no such file; check the path")
    if path.suffix.lower() == volumes.PICTURE_SUFFIX:
        return _of_picture(path, number, pixel_mm)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        volume, axis = _read_volume(path)
    count = volume.image_hu.shape[axis]
    number = _checked_number(number, count, path)
    geometry = volume.geometry._replace(path=path)
    orientation = volumes.display_orientation(geometry, slice_axis=axis)
    return Slice(
        orientation.turn(np.moveaxis(volume.image_hu, axis, 0)[number]),
        window_hu,
        volumes.in_plane_mm(volume.spacing_mm, slice_axis=axis, orientation=orientation),
        geometry,
        axis,
        number,
        orientation,
        tuple(" ".join(str(warning.message).split()) for warning in caught),
    )


def store(files: Mapping[str, bytes], folder: str | Path) -> Path:
    """Writes uploaded files into an empty folder of their own; returns what `read_slice` reads.

    Args:
      files: Content by name, as `google.colab.files.upload` returns them.
      folder: Where the new folder is made.

    Returns:
      The file; of a pair its header; the folder of several files, which are then one series.

    Raises:
      ValueError: No file.
    """
    if not files:
        raise ValueError(f"nothing was uploaded; choose {READABLE}")
    Path(folder).mkdir(parents=True, exist_ok=True)
    own = Path(tempfile.mkdtemp(prefix="upload-", dir=folder))
    paths = [own / Path(name).name for name in files]
    for path, content in zip(paths, files.values(), strict=True):
        atomic.write_bytes(path, content)
    is_one = len({files_of(path) for path in paths}) == 1
    return files_of(paths[0])[0] if is_one else own


def write_example(folder: str | Path) -> Path:
    """Writes a synthetic CT with a lesion as NIfTI, to be clicked on; returns its path."""
    volume = generate_volume(2, 0, kind="kidney", size=192, num_slices=8)
    depth, height, width = volume.spacing_mm
    # Array axes columns, rows, slices, running to the left, the back and the head of the patient.
    image = nibabel.Nifti1Image(
        volume.image_hu.transpose(2, 1, 0), np.diag([-width, -height, depth, 1.0])
    )
    image.header.set_xyzt_units("mm")
    path = Path(folder) / "example.nii"
    atomic.write_bytes(path, image.to_bytes())
    return path


def _read_volume(path: Path) -> tuple[Volume, int]:
    """Returns a volume and the axis of its slices."""
    if volumes.is_nifti_name(path.name):
        volume = volumes.read_volume(path)
        return volume, volumes.slice_axis(volume.spacing_mm)
    if path.suffix.lower() == ".zip":
        return _of_zip(path), 0
    if path.is_dir() or is_dicom(path):
        return volumes.read_series(path), 0
    raise ValueError(f"{path}: expected {READABLE}; convert it")


def _of_zip(path: Path) -> Volume:
    with tempfile.TemporaryDirectory() as folder:
        try:
            with zipfile.ZipFile(path) as file:
                file.extractall(folder)
        except (zipfile.BadZipFile, RuntimeError, NotImplementedError) as error:
            # Damaged, locked by a password, or packed in a way that Python does not know.
            raise ValueError(f"{path}: cannot be unpacked ({error}); pack it again") from error
        try:
            return volumes.read_series(folder)
        except ValueError as error:
            # Nobody has seen the folder that it was unpacked into.
            raise ValueError(str(error).replace(folder, str(path))) from None


def _of_picture(path: Path, number: Any, pixel_mm: float | None) -> Slice:
    picture = volumes.read_picture(path)
    if pixel_mm is not None and not (np.isfinite(pixel_mm) and pixel_mm > 0):
        raise ValueError(f"the side of a pixel must be positive, in mm; got {pixel_mm:g}")
    mm = np.nan if pixel_mm is None else float(pixel_mm)
    affine = np.eye(4)
    if pixel_mm is not None:
        # Rows run to the back, columns to the left of the patient.
        affine[:3, :3] = [[0, -mm, 0], [-mm, 0, 0], [0, 0, mm]]
    shape = (*picture.shape, 1)
    geometry = Geometry(shape, (mm, mm, mm), affine, pixel_mm is not None, path)
    white = np.float32(np.iinfo(picture.dtype).max)
    number = _checked_number(number, 1, path)
    return Slice(picture / white, None, (mm, mm), geometry, number=number)


def _checked_number(number: Any, count: int, path: Path) -> int:
    if number is None and count > 1:
        raise ValueError(
            f"{path}: holds {count} slices; choose one by its number, 0 to {count - 1} (the middle "
            f"is {count // 2})"
        )
    chosen = 0 if number is None else number
    if not isinstance(chosen, int | np.integer) or not 0 <= chosen < count:
        raise ValueError(f"{path}: expected a slice number from 0 to {count - 1}, got {number!r}")
    return int(chosen)
