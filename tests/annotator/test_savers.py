"""savers.py: what is drawn on upright slices is saved voxel for voxel on the source."""

import json
import shutil

import nibabel
import nrrd
import numpy as np
import pytest
from PIL import Image

from ecc_jax import volumes
from ecc_jax.annotator import save, save_prompts, save_replay, savers
from ecc_jax.annotator.client import ApiError
from ecc_jax.data.slices import turn
from tests.annotator.serving import Painter, ball, serving
from tests.raw_layouts import lidc

AFFINE = np.diag([0.7, -1.1, 3.0, 1])  # right to left and back to front: turned to be shown


@pytest.fixture
def scan(tmp_path):
    image, _ = ball()
    path = tmp_path / "data" / "ct.nii.gz"
    path.parent.mkdir()
    nibabel.save(nibabel.Nifti1Image(image.transpose(2, 1, 0), AFFINE), path)
    return path


@pytest.fixture
def running(scan, tmp_path):
    with serving(scan, tmp_path / "work") as (client, desk):
        desk.savers |= savers.savers("painter")
        volume = client.documents()[0]["id"]
        client.open(volume)
        client.event(volume, "add", name="liver ✓")
        yield client, volume, desk


def _press(client, volume, index):
    # In the middle of the ball, wherever turning has put it.
    image = client.slice(volume, index)
    y, x = np.argwhere(image == image.max()).mean(0)
    client.event(volume, "press", lesion=1, slice=index, y=y, x=x, radius=6, positive=True)


def test_label_map_lies_on_the_source(running, scan):
    client, volume, _ = running
    for index in (2, 3):
        _press(client, volume, index)
    answer = client.event(volume, "save", format="nifti")
    assert answer["files"] == ["lesions.nii.gz", "lesions.json"]
    folder = next((scan.parents[1] / "work").rglob("lesions.nii.gz")).parent
    source, saved = nibabel.load(scan), nibabel.load(folder / "lesions.nii.gz")
    np.testing.assert_array_equal(saved.affine, source.affine)
    labels = np.asarray(saved.dataobj)
    bright = np.asarray(source.dataobj) > 0
    assert labels.shape == bright.shape
    for index in (2, 3):
        assert labels[..., index].sum() == client.mask(volume, 1, index).sum() > 0
        # The painter keeps what is bright, so a mask that was turned wrongly would leave the ball.
        assert not (labels[..., index] > 0)[~bright[..., index]].any()
    assert not labels[..., [0, 1, 4, 5]].any()
    assert "liver ✓" in (folder / "lesions.json").read_text(encoding="utf-8")


def test_every_format_that_fits_is_written_and_again_after_more_disks(running, scan):
    client, volume, _ = running
    _press(client, volume, 3)
    forms = [form for form in save.FORMATS if form != "dicom"]
    before = {form: client.event(volume, "save", format=form)["files"] for form in forms}
    _press(client, volume, 2)
    assert before == {form: client.event(volume, "save", format=form)["files"] for form in forms}
    folder = next((scan.parents[1] / "work").rglob("lesions.measures.json")).parent
    measured = json.loads((folder / "lesions.measures.json").read_text(encoding="utf-8"))
    assert "liver ✓" in json.dumps(measured, ensure_ascii=False)
    with pytest.raises(ApiError, match="DICOM"):
        client.event(volume, "save", format="dicom")


def test_disks_that_left_no_pixel_are_kept_in_the_log(running, scan):
    client, volume, _ = running
    # Where it is dark the painter marks nothing.
    client.event(volume, "press", lesion=1, slice=0, y=1.0, x=1.0, radius=2, positive=True)
    with pytest.raises(ApiError, match="no lesion to save"):
        client.event(volume, "save", format="nifti")

    def saved():
        client.event(volume, "save", format="prompts")
        path = next((scan.parents[1] / "work").rglob("lesions.prompts.json"))
        return save_prompts.read_prompts(path).lesions

    (lesion,) = saved()
    assert lesion.name == "liver ✓" and lesion.slices[0].prompts[0].radius == 2
    client.event(volume, "add", name="seen")
    image = client.slice(volume, 3)
    y, x = np.argwhere(image == image.max()).mean(0)
    client.event(volume, "press", lesion=2, slice=3, y=y, x=x, radius=6, positive=True)
    assert [lesion.name for lesion in saved()] == ["liver ✓", "seen"]
    client.event(volume, "save", format="nifti")
    names = next((scan.parents[1] / "work").rglob("lesions.json")).read_text(encoding="utf-8")
    assert "seen" in names and "liver" not in names


def test_what_is_left_out_is_told_by_name(running):
    client, volume, _ = running
    for name in ("air", "nothing", "ball"):
        client.event(volume, "add", name=name)
    dark = {"slice": 0, "y": 1.0, "x": 1.0, "radius": 2, "positive": True}
    client.event(volume, "press", **dark, lesion=2)
    image = client.slice(volume, 3)
    y, x = np.argwhere(image == image.max()).mean(0)
    for lesion in (1, 4):
        place = {"lesion": lesion, "slice": 3, "y": y, "x": x}
        client.event(volume, "press", **place, radius=6, positive=True)
    client.event(volume, "press", **dark, lesion=4)
    client.event(volume, "finish", lesion=4, finished=True)
    answer = client.event(volume, "save", format="nifti")
    assert answer["left_out"] == [
        {"lesion": "air", "slices": [], "why": "no pixel"},
        {"lesion": "nothing", "slices": [], "why": "nothing is drawn"},
        {"lesion": "ball", "slices": [0], "why": "no pixel"},
    ]
    assert answer["unfinished"] == ["liver ✓", "air"]
    answer = client.event(volume, "save", format="prompts")  # every disk is in it
    nothing = {"lesion": "nothing", "slices": [], "why": "nothing is drawn"}
    assert answer["left_out"] == [nothing]


@pytest.mark.parametrize("sides", [(0.7, 0.7), (0.7, 1.75), (1.3, 0.6)])
def test_prompts_replay_to_the_bytes_of_the_session(tmp_path, sides):
    image, _ = ball()
    path = tmp_path / "ct.nii.gz"
    affine = np.diag([sides[0], -sides[1], 3.0, 1])
    nibabel.save(nibabel.Nifti1Image(image.transpose(2, 1, 0), affine), path)
    with serving(path, tmp_path / "work", network="of the session") as (client, desk):
        desk.savers |= savers.savers("painter")
        volume = client.documents()[0]["id"]
        client.open(volume)
        client.event(volume, "add", name="a")
        _press(client, volume, 3)
        hole = {"lesion": 1, "slice": 3, "y": 9.3, "x": 8.6, "radius": 2.4, "positive": False}
        client.event(volume, "press", **hole)
        client.event(volume, "propagate", lesion=1, slice=3)
        session = client.event(volume, "press", **{**hole, "slice": 2})
        client.event(volume, "save", format="prompts")
        document = desk.work(volume).document
        drawn = [each["slice"] for each in session["lesions"][0]["slices"]]
        masks = {k: client.mask(volume, 1, k) for k in drawn}
    log = save_prompts.read_prompts(next((tmp_path / "work").rglob("*.prompts.json")))
    assert log.network == "of the session"
    scan = volumes.read_volume(path)
    answer = save_replay.by_predictor(Painter(), scan, slice_axis=log.view.slice_axis)
    (lesion,) = save_replay.replay(log, scan, answer, network="of the session")
    assert list(lesion.slices) == drawn and len(drawn) >= 3
    for index, mask in masks.items():
        assert 0 < mask.sum() < mask.size
        np.testing.assert_array_equal(turn(lesion.slices[index], document.orientation), mask)
    with pytest.raises(ValueError, match="answered by the network of the session .painter., this"):
        save_replay.replay(log, scan, answer, network="another")
    save_replay.replay(log, scan, answer, network="another", check=False)
    save_replay.replay(log._replace(network=""), scan, answer, network="another")


def test_of_a_session_of_two_networks_none_is_named(running, scan, tmp_path):
    client, volume, _ = running
    _press(client, volume, 3)
    shutil.copytree(tmp_path / "work", tmp_path / "again")
    with serving(scan, tmp_path / "again", network="other") as (client, desk):
        desk.savers |= savers.savers("painter")
        client.open(volume)
        client.event(volume, "save", format="prompts")
    log = save_prompts.read_prompts(next((tmp_path / "again").rglob("*.prompts.json")))
    assert log.network == ""


def test_the_list_of_formats_says_which_sources_each_can_save(tmp_path):
    image, _ = ball()
    data = tmp_path / "data"
    tags = {"FrameOfReferenceUID": f"{lidc.UID_ROOT}8", "StudyID": "1"}
    lidc.write_series(data / "series", image, lidc.Scan(tags=tags))
    nibabel.save(nibabel.Nifti1Image(image.transpose(2, 1, 0), AFFINE), data / "a.nii.gz")
    nrrd.write(str(data / "b.nrrd"), image.transpose(2, 1, 0), {"spacings": [1.0, 1.0, 3.0]})
    Image.fromarray((image[3] + 100).astype(np.uint16)).save(data / "c.png")
    refused = []
    with serving(data, tmp_path / "work") as (client, desk):
        desk.savers |= savers.savers("painter")
        listed = json.loads(client.request("GET", "/api/documents")[2])
        assert [each["name"] for each in listed["formats"]] == list(save.FORMATS)
        assert all(len(each["meaning"]) > 10 for each in listed["formats"])
        kinds = {each["name"]: each["kinds"] for each in listed["formats"]}
        assert kinds == {**dict.fromkeys(save.FORMATS), "dicom": ["dicom"]}
        assert {source["kind"] for source in listed["documents"]} == {
            "dicom",
            "nifti",
            "nrrd",
            "png",
        }
        for source in listed["documents"]:
            client.open(source["id"])
            client.event(source["id"], "add")
            _press(client, source["id"], 0 if source["kind"] == "png" else 3)
            for form in save.FORMATS:
                try:
                    assert client.event(source["id"], "save", format=form)["files"]
                except ApiError:
                    refused.append((form, source["kind"]))
    assert sorted(refused) == [("dicom", "nifti"), ("dicom", "nrrd"), ("dicom", "png")]


def test_grey_values_of_a_picture_are_not_saved_as_hounsfield_units(tmp_path):
    image, _ = ball()
    Image.fromarray((image[3] + 100).astype(np.uint16)).save(tmp_path / "a.png")
    with serving(tmp_path / "a.png", tmp_path / "work") as (client, desk):
        desk.savers |= savers.savers("painter")
        volume = client.documents()[0]["id"]
        client.open(volume)
        client.event(volume, "add", name="a")
        _press(client, volume, 0)
        client.event(volume, "save", format="measures")
    saved = next((tmp_path / "work").rglob("*.measures.json")).read_text(encoding="utf-8")
    (lesion,) = json.loads(saved)["lesions"]
    assert lesion["voxels"] > 0
    assert {lesion[key] for key in ("mean_hu", "sd_hu", "min_hu", "max_hu")} == {None}


def test_names_that_no_file_could_hold_are_refused_at_once(running):
    client, volume, _ = running
    for name in ("", "a" * 65, "back\\slash", "two\nlines"):
        with pytest.raises(ApiError, match="name") as error:
            client.event(volume, "rename", lesion=1, name=name)
        assert 400 <= error.value.status < 500
