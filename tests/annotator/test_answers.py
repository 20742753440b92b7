"""Masks follow from disks alone, however they were reached; the worker."""

import threading
import time
from pathlib import Path

import numpy as np
import pytest

from ecc_jax import runs
from ecc_jax.annotator import documents
from ecc_jax.annotator.answers import Answers, Place, key_of
from ecc_jax.annotator.packing import bits_of, pack, unpack
from ecc_jax.annotator.sources import PHANTOM, Source, synthetic
from ecc_jax.annotator.state import Annotation, Ring
from ecc_jax.annotator.worker import Busy, Superseded, Worker
from ecc_jax.phantom.volumes import generate_volume
from ecc_jax.predictor import InteractivePredictor
from ecc_jax.volumes import Volume
from tests.annotator.serving import Painter, ball

WINDOW = (-150.0, 250.0)


def shown(image, affine=np.diag([3.0, 0.7, 0.7, 1])):
    sizes = tuple(float(abs(s)) for s in np.diag(affine)[:3])
    volume = Volume(image, sizes, affine, Path("x"), has_affine=False)
    return documents.document_of(Source("id", "x", "dicom", None), volume)


def rings(*disks):
    return tuple(Ring(n, *map(float, disk[:3]), disk[3]) for n, disk in enumerate(disks, 1))


DISKS = rings((11, 9, 4, True), (11, 12, 3, True), (9, 9, 2, False), (13, 7, 3, True))


def answered_directly(image, annotation, painter):
    """Returns the mask of a predictor that is asked by hand."""
    painter.set_image(image, window_hu=annotation.window_hu)
    for ring in annotation.rings:
        mask = painter.add_click(ring.y, ring.x, ring.radius, ring.positive)
    return mask


def test_any_way_to_some_disks_gives_the_mask_of_those_disks():
    image, _ = ball()
    document, rng = shown(image), np.random.default_rng(0)
    answers = Answers(Painter())
    for _ in range(60):
        chosen = rng.permutation(4)[: rng.integers(1, 5)]
        annotation = Annotation(tuple(DISKS[n] for n in sorted(chosen)), WINDOW)
        index = int(rng.integers(2, 5))
        mask = answers.answer(document, Place("v", index), annotation)
        wanted = answered_directly(image[index], annotation, Painter())
        np.testing.assert_array_equal(mask, wanted)


def test_a_further_disk_costs_one_answer_and_an_old_one_none():
    image, _ = ball()
    document, painter = shown(image), Painter()
    answers = Answers(painter)
    for count in (1, 2, 3, 2, 1, 3):
        answers.answer(document, Place("v", 3), Annotation(DISKS[:count], WINDOW))
    assert painter.calls == 3
    # Disks with other numbers are the same disks.
    again = tuple(ring._replace(id=ring.id + 7) for ring in DISKS[:3])
    answers.answer(document, Place("v", 3), Annotation(again, WINDOW))
    assert painter.calls == 3
    answers.answer(document, Place("v", 4), Annotation(DISKS[:1], WINDOW))
    assert painter.calls == 4


def test_an_answer_keeps_the_time_that_it_took():
    image, _ = ball()
    document, place, one = shown(image), Place("v", 3), Annotation(DISKS[:1], WINDOW)
    answers, painter = Answers(Painter()), Painter()
    assert answers.remembered(place, one) is None
    answers.answer(document, place, one)
    took = answers.remembered(place, one).ms
    assert took > 0.0
    # Whoever asks again, such as a page after the measures, is told of the making.
    answers.answer(document, place, one)
    assert answers.remembered(place, one).ms == took
    restarted = Answers(painter)
    restarted.remember(key_of(place, one), answers.remembered(place, one).packed)
    restarted.answer(document, place, one)
    assert painter.calls == 0 and restarted.remembered(place, one).ms == 0.0


def test_a_predictor_that_fails_is_begun_anew():
    image, _ = ball()
    document, painter = shown(image), Painter()
    answers = Answers(painter)
    answers.answer(document, Place("v", 3), Annotation(DISKS[:1], WINDOW))
    fine, painter.add_click = painter.add_click, lambda *_: 1 / 0
    with pytest.raises(ZeroDivisionError):
        answers.answer(document, Place("v", 3), Annotation(DISKS[:2], WINDOW))
    painter.add_click = fine
    annotation = Annotation(DISKS[:2], WINDOW)
    mask = answers.answer(document, Place("v", 3), annotation)
    np.testing.assert_array_equal(mask, answered_directly(image[3], annotation, Painter()))


def test_packed_masks_come_back():
    rng = np.random.default_rng(0)
    for shape in ((1, 1), (3, 5), (64, 48)):
        mask = rng.random(shape) < 0.5
        np.testing.assert_array_equal(unpack(pack(mask), shape), mask)
        with pytest.raises(ValueError, match="packed mask"):
            unpack(pack(mask), (shape[0] + 8, shape[1]))
    assert bits_of(np.array([[True, False, False], [False, False, True]])) == "hA=="  # 100001
    for text in ("?", "AAAA", ""):
        with pytest.raises(ValueError, match="packed mask"):
            unpack(text, (3, 5))


def test_the_newest_request_wins_and_the_queue_is_short():
    worker, gate, ran = Worker(max_waiting=2), threading.Event(), []
    first = worker.submit("a", gate.wait)
    while not first.running():
        time.sleep(0.001)
    old = worker.submit("a", lambda: ran.append("old"))
    new = worker.submit("a", lambda: ran.append("new"))
    worker.submit("b", lambda: ran.append("b"))
    with pytest.raises(Busy, match="2 requests wait"):
        worker.submit("c", lambda: ran.append("c"))
    with pytest.raises(Superseded):
        old.result(5)
    gate.set()
    new.result(5)
    bad = worker.submit("d", lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        bad.result(5)
    worker.submit("e", lambda: ran.append("e")).result(5)  # it goes on
    worker.close()
    assert ran == ["new", "b", "e"]


def test_a_first_mask_is_corrected_and_a_bad_one_refused():
    """The predictor begins with the mask that it is given."""
    predictor = InteractivePredictor(Echo(), {})
    image = np.zeros((4, 5), np.float32)
    first = np.zeros((4, 5), bool)
    first[1, 2] = True
    predictor.set_image(image, first_mask=first)
    np.testing.assert_array_equal(predictor.mask, first)
    predictor.reset()
    np.testing.assert_array_equal(predictor.mask, first)
    for bad in (first[:3], first.astype(int)):
        with pytest.raises(ValueError, match="first_mask of bools"):
            predictor.set_image(image, first_mask=bad)
    predictor.set_image(image)
    assert not predictor.mask.any()


class Echo:
    """A network that is never asked."""

    def apply(self, *_, **__):
        raise NotImplementedError


def test_the_shipped_network_finds_a_lesion_from_one_drag():
    truth = generate_volume(**PHANTOM).mask > 0
    document = documents.open_source(synthetic())
    # Upright: the spine is low in the picture.
    assert np.nonzero(documents.slice_of(document, 10)[:, 230:280] > 250)[0].mean() > 270
    index = int(truth.sum((1, 2)).argmax())
    yx = np.argwhere(truth[index])
    y, x = yx.mean(0)
    # A drag from the middle to a little beyond the border.
    radius = 1.1 * float(np.sqrt(len(yx) / np.pi))
    window = documents.automatic_window(document, index, y=float(y), x=float(x), radius=radius)
    answers = Answers(runs.load_predictor("shipped"))
    ring = Ring(1, float(y), float(x), radius, True)
    mask = answers.answer(document, Place("v", index), Annotation((ring,), window))
    iou = (mask & truth[index]).sum() / (mask | truth[index]).sum()
    assert iou >= 0.7
