"""Measures as a page shows them: against brute force, on the mask as it is displayed."""

import json
import math
import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ecc_jax.annotator import documents, measuring, worker
from ecc_jax.annotator.answers import Place
from ecc_jax.annotator.packing import pack
from ecc_jax.annotator.sources import Source
from ecc_jax.volumes import Volume
from tests.annotator.serving import PRESS, ball, open_with_lesion, serving

SOURCE = Source("id", "name", "nifti", None)


def geometry(seed):
    """Returns an affine with any axes, signs and voxel sizes, turned a little, so oblique."""
    rng = np.random.default_rng(seed)
    affine = np.eye(4)
    turned = np.zeros((3, 3))
    turned[rng.permutation(3), range(3)] = rng.choice([-1, 1], 3)
    angle = rng.uniform(0, 0.3)
    tilt = np.array(
        [[1, 0, 0], [0, math.cos(angle), -math.sin(angle)], [0, math.sin(angle), math.cos(angle)]]
    )
    affine[:3, :3] = tilt @ turned @ np.diag(rng.uniform(0.5, 3, 3))
    affine[:3, 3] = rng.uniform(-50, 50, 3)
    return affine


def document(image, affine):
    spacing = tuple(float(n) for n in np.linalg.norm(affine[:3, :3], axis=0))
    return documents.document_of(SOURCE, Volume(image, spacing, affine, Path("x")))


def measures_of(shown, name, masks, *, index):
    parts = {k: measuring.part_of(shown, mask, k) for k, mask in masks.items()}
    return measuring.measures_of(shown, name, parts, index=index)


def outline(mask):
    """Returns the points midway between a pixel inside and a neighbour outside."""
    padded = np.pad(mask, 1)
    points = []
    for y, x in np.argwhere(mask):
        for dy, dx in ((0, 1), (0, -1), (1, 0), (-1, 0)):
            if not padded[y + 1 + dy, x + 1 + dx]:
                points.append((y + dy / 2, x + dx / 2))
    return np.array(points)


@pytest.mark.parametrize("seed", range(12))
def test_axes_lie_on_the_mask_as_displayed(seed):
    rng = np.random.default_rng(seed)
    affine = geometry(seed)
    image = rng.integers(-1000, 1000, (13, 14, 15)).astype(np.int16)
    shown = document(image, affine)
    height, width = shown.shape
    yy, xx = np.indices(shown.shape)
    masks = {}
    for index in (2, 5, 6):
        y, x = rng.uniform(4, height - 5), rng.uniform(4, width - 5)
        masks[index] = np.hypot((yy - y) / rng.uniform(1, 4), (xx - x) / rng.uniform(1, 4)) <= 1
    told = measures_of(shown, "a", masks, index=5)
    one, upright = told["slice"], documents.affine_of(shown)
    mask = masks[5]
    steps = upright[:3, 1:3]
    points = outline(mask)
    distance = np.linalg.norm((points[:, None] - points[None]) @ steps.T, axis=-1)
    assert one["long_axis_mm"] == pytest.approx(distance.max())
    ends = np.array(one["long_axis"])
    assert np.linalg.norm(steps @ (ends[1] - ends[0])) == pytest.approx(one["long_axis_mm"])
    for end in ends:  # both are points of the displayed mask's outline
        assert np.abs(points - end).sum(1).min() < 1e-9
    # The short axis: at right angles in the patient, its ends in the mask's outline, the longest.
    short = np.array(one["short_axis"])
    along, across = steps @ (ends[1] - ends[0]), steps @ (short[1] - short[0])
    assert np.linalg.norm(across) == pytest.approx(one["short_axis_mm"])
    assert abs(along @ across) <= 1e-6 * np.linalg.norm(along) * np.linalg.norm(across)
    padded = np.pad(mask, 1)
    for y, x in short:  # among the pixels around an end, one is marked and one is not
        rows, columns = ((math.floor(v) + 1, math.ceil(v) + 1) for v in (y, x))
        near = padded[np.ix_(rows, columns)]
        assert near.any() and not near.all()
    direction = along / np.linalg.norm(along)
    # No line between outline points that is nearly at right angles is longer.
    lines = (points[:, None] - points[None]) @ steps.T
    length = np.linalg.norm(lines, axis=-1)
    is_across = np.abs(lines @ direction) <= 0.02 * length
    assert length[is_across].max(initial=0) <= one["short_axis_mm"] + 0.1 * np.abs(steps).max()
    values = np.concatenate([documents.slice_of(shown, k)[m] for k, m in masks.items()]).astype(
        float
    )
    own = documents.slice_of(shown, 5)[mask].astype(float)
    pixel = np.linalg.norm(np.cross(*steps.T))
    assert one["slice"] == 5 and one["pixels"] == mask.sum()
    assert one["area_mm2"] == pytest.approx(mask.sum() * pixel)
    assert (one["mean_hu"], one["sd_hu"]) == pytest.approx((own.mean(), own.std()))
    lesion = told["lesion"]
    voxel = abs(np.linalg.det(affine[:3, :3]))
    assert lesion["voxels"] == len(values) and lesion["slices"] == 3
    assert lesion["volume_mm3"] == pytest.approx(len(values) * voxel)
    assert lesion["volume_ml"] == pytest.approx(len(values) * voxel / 1000)
    assert (lesion["mean_hu"], lesion["sd_hu"]) == pytest.approx((values.mean(), values.std()))
    longest = {}
    for index, each in masks.items():
        rim = outline(each) @ steps.T
        longest[index] = np.linalg.norm(rim[:, None] - rim[None], axis=-1).max()
    assert lesion["long_axis_mm"] == pytest.approx(max(longest.values()))
    assert longest[lesion["long_axis_slice"]] == pytest.approx(max(longest.values()))
    json.dumps(told, allow_nan=False)


def test_every_way_of_turning_is_among_them():
    found = {document(np.zeros((13, 14, 15), np.int16), geometry(n)).orientation for n in range(12)}
    assert {orientation.transpose for orientation in found} == {False, True}
    assert {orientation.flip_rows for orientation in found} == {False, True}
    assert {orientation.flip_columns for orientation in found} == {False, True}


def test_without_voxel_size_axes_are_in_voxels_and_no_millimetres_are_told():
    volume = Volume(np.zeros((9, 8, 3), np.int16), (math.nan,) * 3, np.eye(4), Path("x"), False)
    mask = np.zeros((9, 8), bool)
    mask[2:4, 1:7] = True  # 2 x 6 pixels
    shown = documents.document_of(SOURCE, volume)
    told = measures_of(shown, "a", {1: mask, 2: np.zeros((9, 8), bool)}, index=1)
    one = told["slice"]
    assert one["pixels"] == 12 and told["lesion"]["voxels"] == 12
    for key in ("area_mm2", "long_axis_mm", "short_axis_mm"):
        assert one[key] is None
    for key in ("volume_mm3", "volume_ml", "long_axis_mm", "short_axis_mm", "long_axis_slice"):
        assert told["lesion"][key] is None
    (y0, x0), (y1, x1) = one["long_axis"]
    assert math.hypot(y1 - y0, x1 - x0) == pytest.approx(math.hypot(6, 1))
    assert one["mean_hu"] == 0
    empty = measures_of(shown, "a", {2: np.zeros((9, 8), bool)}, index=2)
    assert empty["slice"]["pixels"] == 0 and empty["slice"]["long_axis"] is None
    assert empty["slice"]["mean_hu"] is None and empty["lesion"]["voxels"] == 0


def measures(client, volume, lesion, query=""):
    code, _, raw = client.request("GET", f"/api/documents/{volume}/measures/{lesion}{query}")
    return code, json.loads(raw)


def test_measures_are_asked_for(running, scan):
    client, volume, desk = running
    assert measures(client, volume, 1)[1]["lesion"]["voxels"] == 0
    for index in (2, 3):  # nobody waits for these masks before they are measured
        client.event(volume, "press", **{**PRESS, "slice": index}, mask=False)
    code, told = measures(client, volume, 1, "?slice=3")
    mask = client.mask(volume, 1, 3)
    voxels = int(mask.sum() + client.mask(volume, 1, 2).sum())
    assert code == 200 and told["version"] == 3 and told["slice"]["pixels"] == mask.sum()
    assert told["lesion"]["voxels"] == voxels and told["lesion"]["slices"] == 2
    assert told["lesion"]["volume_mm3"] == pytest.approx(voxels * 0.7 * 0.7 * 3)
    assert told["slice"]["mean_hu"] == 200 and told["slice"]["sd_hu"] == 0
    assert measures(client, volume, 1)[1]["slice"] is None
    assert measures(client, volume, 1, "?slice=0")[1]["slice"] is None
    for lesion, query in (("2", ""), ("x", ""), ("1", "?slice=6"), ("1", "?slice=-1")):
        assert measures(client, volume, lesion, query)[0] == 404


def test_measures_of_a_session_that_has_gone_on_are_refused(running):
    client, volume, desk = running
    client.event(volume, "add")
    for lesion in (1, 2):
        client.event(volume, "press", **{**PRESS, "lesion": lesion}, mask=False)
    gate = threading.Event()
    desk.worker.submit("busy", lambda: gate.wait(60))
    work = desk.work(volume)
    older, newer, other = (desk.measures(work, n, 3) for n in (1, 1, 2))
    assert "newer" in str(older.exception(10))  # while the worker is busy
    gate.set()
    assert newer.result(20)["slice"]["pixels"] > 0 and other.result(20)["slice"]["pixels"] > 0
    gate.clear()
    desk.worker.submit("busy", lambda: gate.wait(60))
    late = desk.measures(work, 1, 3)
    client.event(volume, "press", **PRESS, mask=False)
    gate.set()
    assert "changed meanwhile" in str(late.exception(20))


def test_a_mask_goes_before_measures_and_they_are_answered_after_it(running):
    client, volume, desk = running
    for index in (2, 3, 4):
        client.event(volume, "press", **{**PRESS, "slice": index}, mask=False)
    work, order = desk.work(volume), []
    gate, begun = threading.Event(), threading.Event()
    desk.worker.submit("busy", lambda: (begun.set(), gate.wait(60)))
    assert begun.wait(30)
    measured = desk.measures(work, 1, 3)
    measured.add_done_callback(lambda _: order.append("measures"))
    masks = [desk.mask(work, 1, index) for index in (3, 4)]
    for index, mask in zip((3, 4), masks, strict=True):
        mask.add_done_callback(lambda _, index=index: order.append(index))
    gate.set()
    pixels = int(masks[0].result(20).mask.sum())
    assert measured.result(20)["slice"]["pixels"] == pixels
    assert order == [3, 4, "measures"]


def test_measures_give_way_to_a_mask_after_every_slice(running, monkeypatch):
    client, volume, desk = running
    for index in (1, 2, 3, 4):
        client.event(volume, "press", **{**PRESS, "slice": index})
    work, order, real = desk.work(volume), [], measuring.part_of
    begun, gate = threading.Event(), threading.Event()

    def slow(document, mask, index):
        order.append(index)
        if index == 2:
            begun.set()
            assert gate.wait(30)
        return real(document, mask, index)

    monkeypatch.setattr(measuring, "part_of", slow)
    measured = desk.measures(work, 1, 3)
    assert begun.wait(30)
    desk.worker.submit("mask", lambda: order.append("mask"), rank=worker.FIRST)
    gate.set()
    told = measured.result(30)
    # Of the slices that had been measured none is measured again.
    assert order == [1, 2, "mask", 3, 4]
    again = desk.measures(work, 1, 3)
    assert again.result(30) == told and order == [1, 2, "mask", 3, 4]
    client.event(volume, "press", **{**PRESS, "slice": 4, "radius": 2, "positive": False})
    assert desk.measures(work, 1, 4).result(30)["lesion"]["voxels"] < told["lesion"]["voxels"]
    assert order == [1, 2, "mask", 3, 4, 4]


def test_an_event_ends_measures_that_run(running, monkeypatch):
    client, volume, desk = running
    for index in (2, 3):
        client.event(volume, "press", **{**PRESS, "slice": index})
    begun, gate, answers = threading.Event(), threading.Event(), []
    real = measuring.part_of

    def slow(*args):
        begun.set()
        assert gate.wait(30)
        return real(*args)

    monkeypatch.setattr(measuring, "part_of", slow)
    thread = threading.Thread(target=lambda: answers.append(measures(client, volume, 1)))
    thread.start()
    assert begun.wait(30)
    client.event(volume, "rename", lesion=1, name="b")
    gate.set()
    thread.join()
    ((code, told),) = answers
    assert code == 409 and told["reason"] == "superseded"


def test_no_more_than_so_many_measures_are_remembered(monkeypatch):
    monkeypatch.setattr(measuring, "MAX_PARTS", 2)
    shown = document(np.zeros((9, 8, 7), np.int16), np.diag([1.0, 1.0, 2.0, 1.0]))
    asked, real = [], measuring.part_of
    monkeypatch.setattr(measuring, "part_of", lambda *args: asked.append(args[2]) or real(*args))
    measurer, mask = measuring.Measurer(), np.ones(shown.shape, bool)
    for number in (0, 1, 0, 2, 0, 1):  # 1 is the one that was used longest ago
        part = measurer.part(shown, Place("a", number), pack(mask))
        assert part.part.measures.pixels == mask.sum()
    assert asked == [0, 1, 2, 1]
    measurer.part(shown, Place("another", 1), pack(mask))
    measurer.part(shown, Place("another", 1), pack(~mask))
    assert asked == [0, 1, 2, 1, 1, 1]


def test_a_picture_has_pixels_but_neither_millimetres_nor_hounsfield_units(tmp_path):
    image, _ = ball()
    Image.fromarray((image[3] + 100).astype(np.uint16)).save(tmp_path / "a.png")
    with serving(tmp_path / "a.png", tmp_path / "work") as (client, _):
        volume = open_with_lesion(client)
        client.event(volume, "press", **{**PRESS, "slice": 0})
        told = measures(client, volume, 1, "?slice=0")[1]
    assert told["slice"]["pixels"] > 0 and told["slice"]["long_axis"] is not None
    assert told["slice"]["mean_hu"] is None and told["slice"]["long_axis_mm"] is None
