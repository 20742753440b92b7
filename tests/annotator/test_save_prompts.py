"""Logs of prompts: round trips, replay by a predictor that can be checked, damage."""

import copy
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ecc_jax.annotator import save_prompts, save_replay
from ecc_jax.annotator.packing import pack
from ecc_jax.annotator.save_prompts import LesionPrompts, Prompt, PromptLog, SlicePrompts
from ecc_jax.data.slices import turn, turn_back
from ecc_jax.volumes import Volume, display_orientation

SHAPE = (5, 12, 9)


class Disks:
    """Adds and takes away disks where the image is bright; sees 32-bit numbers like a network."""

    def set_image(self, image, *, window_hu=None, first_mask=None):
        self.bright = np.asarray(image) > sum(window_hu) / 2
        self.mask = np.zeros(image.shape, bool) if first_mask is None else first_mask.copy()

    def add_click(self, y, x, radius, is_positive=True):
        y, x, radius = np.float32([y, x, radius])
        rows, columns = np.mgrid[: self.mask.shape[0], : self.mask.shape[1]].astype(np.float32)
        inside = (rows - y) ** 2 + (columns - x) ** 2 <= radius**2
        self.mask = self.mask | (inside & self.bright) if is_positive else self.mask & ~inside
        return self.mask


def volume(affine=None, shape=SHAPE):
    affine = AFFINES[0] if affine is None else affine
    image = np.random.default_rng(0).integers(-1000, 1000, shape).astype(np.int16)
    spacing = tuple(float(n) for n in np.linalg.norm(affine[:3, :3], axis=0))
    return Volume(image, spacing, affine, Path("ct.nii"))


# Slices along each array axis, running towards and away from the patient's axes.
AFFINES = [
    np.array([[0, 0, -0.7, 9.0], [0, -0.7, 0, -4], [2.5, 0, 0, 100], [0, 0, 0, 1]]),
    np.array([[0, 0.7, 0, 9.0], [0, 0, 0.7, -4], [-2.5, 0, 0, 100], [0, 0, 0, 1]]),
    np.array([[0.7, 0.02, 0, 9.0], [-0.02, 0.7, 0, -4], [0, 0, 2.5, 100], [0, 0, 0, 1]]),
]


def log_of(scan, axis, *, seed=0, num=3):
    """Draws at random on some upright slices; returns the log and the masks that were drawn."""
    rng = np.random.default_rng(seed)
    view = save_prompts.view_of(scan, slice_axis=axis)
    rows, columns = save_prompts.upright_shape(view)
    predictor, drawn = Disks(), {}
    slices = []
    for index in sorted(rng.choice(scan.image_hu.shape[axis], 2, replace=False).tolist()):
        prompts = tuple(
            Prompt(
                float(rng.uniform(0, rows - 1)),
                float(rng.uniform(0, columns - 1)),
                float(rng.uniform(0.5, 5)),
                bool(n == 0 or rng.random() < 0.6),
            )
            for n in range(num)
        )
        prior = rng.random((rows, columns)) < 0.2
        orientation = display_orientation(scan.geometry, slice_axis=axis)
        upright = turn(np.take(scan.image_hu, index, axis), orientation)
        predictor.set_image(upright, window_hu=(-500.0, 100.0), first_mask=prior)
        for prompt in prompts:
            mask = predictor.add_click(*prompt)
        drawn[index] = turn_back(mask, orientation)
        digest = save_prompts.mask_hash(drawn[index])
        slices.append(SlicePrompts(index, prompts, (-500.0, 100.0), pack(prior), digest))
    lesion = LesionPrompts("Läsion 1", tuple(slices), "2.25.1", "neoplasm")
    return PromptLog(view, (lesion,), "disks 1"), drawn


def same(ours, theirs):
    return (
        ours.lesions == theirs.lesions
        and ours.model == theirs.model
        and np.array_equal(ours.view.affine, theirs.view.affine)
        and ours.view._replace(affine=None) == theirs.view._replace(affine=None)
    )


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), number=st.integers(0, 2))
def test_a_log_replays_to_the_same_masks(tmp_path_factory, seed, number):
    folder = tmp_path_factory.mktemp("log")
    axis = (0, 0, 2)[number]
    scan = volume(AFFINES[number])
    log, drawn = log_of(scan, axis, seed=seed)
    path = save_prompts.write_prompts(folder / "a.json", log, scan.path)
    read = save_prompts.read_prompts(path)
    assert same(read, log)
    answer = save_replay.by_predictor(Disks(), scan, slice_axis=axis)
    (lesion,) = save_replay.replay(read, scan, answer)
    assert (lesion.name, lesion.slice_axis, lesion.tracking_uid, lesion.finding) == (
        "Läsion 1", axis, "2.25.1", "neoplasm",
    )  # fmt: skip
    assert list(lesion.slices) == list(drawn)
    for index, mask in drawn.items():
        np.testing.assert_array_equal(lesion.slices[index], mask)


@pytest.mark.parametrize("number", [0, 1, 2])
def test_places_in_source_and_patient(tmp_path, number):
    """A marked voxel, found on the upright slice, comes back as the voxel it is."""
    axis = (0, 0, 2)[number]
    scan = volume(AFFINES[number])
    voxel = (3, 8, 2) if axis == 0 else (3, 8, 4)
    marked = np.zeros(scan.image_hu.shape, bool)
    marked[voxel] = True
    orientation = display_orientation(scan.geometry, slice_axis=axis)
    upright = turn(np.take(marked, voxel[axis], axis), orientation)
    ((y, x),) = np.argwhere(upright)
    prompt = Prompt(float(y), float(x), 3.0, True)
    each = SlicePrompts(voxel[axis], (prompt,), (0.0, 1.0))
    log = PromptLog(save_prompts.view_of(scan, slice_axis=axis), (LesionPrompts("a", (each,)),))
    path = save_prompts.write_prompts(tmp_path / "a.json", log, scan.path)
    (said,) = json.loads(path.read_text("utf-8"))["lesions"][0]["slices"][0]["prompts"]
    assert said["voxel"] == list(voxel)
    np.testing.assert_allclose(said["centre_ras_mm"], (scan.affine @ [*voxel, 1])[:3])
    in_plane = np.delete(scan.spacing_mm, axis)
    assert said["radius_mm"] == pytest.approx(3 * min(in_plane))


def test_without_voxel_size_there_are_no_millimetres(tmp_path):
    scan = volume()._replace(spacing_mm=(np.nan,) * 3)
    log, _ = log_of(scan, 0)
    path = save_prompts.write_prompts(tmp_path / "a.json", log, scan.path)
    (said, *_) = json.loads(path.read_text("utf-8"))["lesions"][0]["slices"][0]["prompts"]
    assert "radius_mm" not in said and len(said["voxel"]) == 3
    assert same(save_prompts.read_prompts(path), log)


def test_another_network_is_noticed():
    scan = volume()
    log, drawn = log_of(scan, 0)

    def answer(upright):
        mask = save_replay.by_predictor(Disks(), scan, slice_axis=0)(upright).copy()
        mask[0, 0] ^= True
        return mask

    with pytest.raises(ValueError, match="2 masks differ .* 'Läsion 1'.* disks 1") as caught:
        save_replay.replay(log, scan, answer)
    assert "\n" not in str(caught.value)
    (lesion,) = save_replay.replay(log, scan, answer, check=False)
    assert all((lesion.slices[n] != mask).sum() == 1 for n, mask in drawn.items())


def test_another_volume_is_refused():
    scan = volume()
    log, _ = log_of(scan, 0)
    changed = scan.image_hu.copy()
    changed[2, 3, 4] += 5
    turned = scan.affine.copy()
    turned[:, 2] *= -1
    for other, word in (
        (scan._replace(image_hu=changed), "identity"),
        (scan._replace(image_hu=scan.image_hu[:4]), "shape"),
        (scan._replace(affine=turned), "orientation"),
    ):
        answer = save_replay.by_predictor(Disks(), other, slice_axis=0)
        with pytest.raises(ValueError, match=f"another volume: .*{word}"):
            save_replay.replay(log, other, answer)


def test_logs_without_a_network_are_read(tmp_path):
    scan = volume()
    log, _ = log_of(scan, 0)
    path = save_prompts.write_prompts(tmp_path / "a.json", log._replace(network="n"), scan.path)
    assert save_prompts.read_prompts(path).network == "n"
    content = json.loads(path.read_text("utf-8"))
    del content["network"]
    path.write_text(json.dumps(content), "utf-8")
    assert save_prompts.read_prompts(path).network == ""


def damaged():
    """Name and change of a plain log, and what the refusal says."""

    def put(*keys):
        def change(content):
            *path, last, value = keys
            for key in path:
                content = content[key]
            content[last] = value

        return change

    first = ("lesions", 0, "slices", 0)
    prompt = (*first, "prompts", 0)
    return {
        "format": (put("format", "other"), "no log of prompts"),
        "version": (put("version", 2), "expected version 1"),
        "no source": (lambda c: c.pop("source"), "source"),
        "no sign": (
            lambda c: c["lesions"][0]["slices"][0]["prompts"][0].pop("is_positive"),
            "is_po",
        ),
        "sign as number": (put(*prompt, "is_positive", 1), "true or false"),
        "outside": (put(*prompt, "y", 99.0), "inside the slice"),
        "radius 0": (put(*prompt, "radius", 0), "inside the slice"),
        "radius huge": (put(*prompt, "radius", 1e300), "inside the slice"),
        "moved in one place": (put(*prompt, "y", 1.25), "contradicts"),
        "another voxel": (put(*prompt, "voxel", [1, 2, 3]), "contradicts"),
        "text for a number": (put(*prompt, "x", "1"), "expected a number"),
        "slice": (put(*first, "slice_index", 7), "rising slices"),
        "window": (put(*first, "window_hu", [1, 1]), "window low < high"),
        "prior": (put(*first, "prior", "AAAA"), "packed mask"),
        "finding": (put("lesions", 0, "finding", "x"), "lesion or neoplasm"),
        "name": (put("lesions", 0, "name", "a\nb"), "name"),
        "affine": (put("source", "affine", [[1, 2], [3, 4]]), "affine"),
        "axis": (put("source", "slice_axis", 3), "axis"),
        "lesions": (put("lesions", None), "NoneType"),
        "number too long": (put(*prompt, "y", 10**400), "damaged"),
    }


@pytest.mark.parametrize("kind", damaged())
def test_damage_is_one_line(tmp_path, kind):
    scan = volume()
    log, _ = log_of(scan, 0)
    path = save_prompts.write_prompts(tmp_path / "a.json", log, scan.path)
    content = copy.deepcopy(json.loads(path.read_text("utf-8")))
    change, word = damaged()[kind]
    change(content)
    path.write_text(json.dumps(content), "utf-8")
    with pytest.raises(ValueError, match=word) as caught:
        save_prompts.read_prompts(path)
    assert "\n" not in str(caught.value) and "a.json" in str(caught.value)


@pytest.mark.parametrize(
    "raw", [b"", b"{", b"\xff\xfe", b"[1]", b'{"a": NaN}', b"[" * 5000, b"null"]
)
def test_what_is_no_log_at_all(tmp_path, raw):
    path = tmp_path / "a.json"
    path.write_bytes(raw)
    with pytest.raises(ValueError, match="a.json"):
        save_prompts.read_prompts(path)
    with pytest.raises(ValueError, match="none.json"):
        save_prompts.read_prompts(tmp_path / "none.json")


def test_a_prompt_outside_is_not_written(tmp_path):
    scan = volume()
    log, _ = log_of(scan, 0)
    (lesion,) = log.lesions
    each = lesion.slices[0]
    for prompt in (Prompt(-1.0, 0.0, 1.0, True), Prompt(float("nan"), 0.0, 1.0, True)):
        bad = lesion._replace(slices=(each._replace(prompts=(prompt,)),))
        with pytest.raises(ValueError, match="inside the slice"):
            save_prompts.write_prompts(tmp_path / "a.json", log._replace(lesions=(bad,)), scan.path)
    assert not list(tmp_path.iterdir())
