"""All formats in one call, on a NIfTI file and on a DICOM series."""

import json

import nibabel as nib
import numpy as np
import pydicom
import pytest

from ecc_jax import volumes
from ecc_jax.annotator import save, save_prompts
from ecc_jax.annotator.save_lesions import Lesion
from tests import folders
from tests.raw_layouts import lidc

SHAPE = (5, 12, 12)


def series(tmp_path):
    hu = np.random.default_rng(0).integers(-1000, 1000, SHAPE).astype(np.int16)
    scan = lidc.Scan(tags={"FrameOfReferenceUID": "1.2.3"})
    return volumes.read_series(lidc.write_series(tmp_path / "ct.nii", hu, scan))


def nifti(tmp_path):
    hu = np.random.default_rng(0).integers(-1000, 1000, SHAPE).astype(np.int16)
    return volumes.read_volume(folders.save(tmp_path / "ct.nii.gz", hu))


def drawn(volume):
    mask = np.zeros(SHAPE, bool)
    mask[1:3, 3:8, 2:6] = True
    prompts = save_prompts.SlicePrompts(
        1, (save_prompts.Prompt(5.0, 4.0, 3.0, True),), (-160.0, 240.0)
    )
    log = save_prompts.PromptLog(
        save_prompts.view_of(volume, slice_axis=0),
        (save_prompts.LesionPrompts("a", (prompts,)),),
    )
    return save.Drawn(volume, [Lesion("a", dict(enumerate(mask)))], log), mask


def test_every_format_of_a_series(tmp_path):
    what, mask = drawn(series(tmp_path))
    before = {path: path.read_bytes() for path in (tmp_path / "ct.nii").iterdir()}
    files = save.save(tmp_path / "out" / "scan.1", list(save.FORMATS), what)
    assert sorted(path.name for path in files) == [
        "scan.1.json", "scan.1.measures.csv", "scan.1.measures.json", "scan.1.nii.gz",
        "scan.1.prompts.json", "scan.1.seg.dcm", "scan.1.seg.nrrd", "scan.1.sr.dcm",
    ]  # fmt: skip
    assert sorted((tmp_path / "out").iterdir()) == sorted(files)
    label = nib.load(tmp_path / "out" / "scan.1.nii.gz")
    np.testing.assert_array_equal(np.asarray(label.dataobj), mask)
    np.testing.assert_allclose(label.affine, what.volume.affine, rtol=1e-6)
    np.testing.assert_array_equal(
        volumes.read_label(tmp_path / "out" / "scan.1.nii.gz", like=what.volume), mask
    )
    assert pydicom.dcmread(tmp_path / "out" / "scan.1.seg.dcm").NumberOfFrames == 2
    assert {path: path.read_bytes() for path in (tmp_path / "ct.nii").iterdir()} == before
    # Nothing of where the files lie.
    for file in files:
        assert str(tmp_path).encode() not in file.read_bytes()


def test_replacing_is_asked_for(tmp_path):
    what, _ = drawn(nifti(tmp_path))
    formats = ["nifti", "nrrd", "measures", "prompts"]
    files = save.save(tmp_path / "a", formats, what)
    before = {path: path.read_bytes() for path in files}
    with pytest.raises(ValueError, match="is there already"):
        save.save(tmp_path / "a", formats, what)
    assert save.save(tmp_path / "a", formats, what, replace=True) == files
    assert {path: path.read_bytes() for path in files} == before


def test_nothing_is_written_where_one_target_is_refused(tmp_path):
    what, _ = drawn(nifti(tmp_path))
    (tmp_path / "a.prompts.json").write_text(json.dumps({"of": "somebody else"}))
    with pytest.raises(ValueError, match="not written by"):
        save.save(tmp_path / "a", ["nifti", "measures", "prompts"], what, replace=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.prompts.json", "ct.nii.gz"]


def test_a_volume_may_not_be_saved_over(tmp_path):
    what, _ = drawn(nifti(tmp_path))
    with pytest.raises(ValueError, match="is the source itself"):
        save.save(tmp_path / "ct", ["nifti"], what, replace=True)


@pytest.mark.parametrize(
    ("formats", "word"),
    [([], "got none"), (["nifti", "mha"], "got mha"), (["dicom"], "no DICOM series")],
)
def test_formats_that_do_not_fit(tmp_path, formats, word):
    what, _ = drawn(nifti(tmp_path))
    with pytest.raises(ValueError, match=word) as caught:
        save.save(tmp_path / "a", formats, what)
    assert "\n" not in str(caught.value)


def test_a_log_that_is_not_there(tmp_path):
    what, _ = drawn(nifti(tmp_path))
    with pytest.raises(ValueError, match="no log of prompts"):
        save.save(tmp_path / "a", ["prompts"], what._replace(log=None))
    with pytest.raises(ValueError, match="no lesion"):
        save.save(tmp_path / "a", ["measures"], what._replace(lesions=[]))
