"""Disks to masks: the network, run for one annotation at a time.

A mask follows from the slice and the `Annotation` alone, so undo, a moved disk and a restart give
the same bytes: what is asked for again is remembered, else all disks are answered anew, in order.
"""

import hashlib
import json
import time
from collections import OrderedDict
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool

from ecc_jax.annotator import documents
from ecc_jax.annotator.documents import Document
from ecc_jax.annotator.packing import pack, unpack
from ecc_jax.annotator.state import Annotation, Ring

# Masks that are remembered; packed, one takes about a kilobyte.
MAX_MASKS = 20_000


@runtime_checkable
class Predictor(Protocol):
    """What answers clicks; `predictor.InteractivePredictor` does."""

    def set_image(self, image: Any, *, window_hu: Any = None, first_mask: Any = None) -> None:
        """Starts on a new slice."""

    def add_click(
        self, y: Any, x: Any, radius: Any, is_positive: Any = True
    ) -> Bool[np.ndarray, "h w"]:
        """Answers one more click."""

    def undo(self) -> Bool[np.ndarray, "h w"]:
        """Takes the newest click back."""


class Place(NamedTuple):
    """A slice of a volume, as a key.

    Attributes:
      image: Identity of the volume.
      number: Index of the slice.
    """

    image: str
    number: int


class Remembered(NamedTuple):
    """An answer.

    Attributes:
      packed: The mask.
      ms: Milliseconds that it took when it was made; 0 if it was read from a log.
    """

    packed: str
    ms: float = 0.0


class Answers:
    """Masks of annotations, by one predictor; for one thread, what is remembered for any."""

    def __init__(self, predictor: Predictor) -> None:
        """Begins without masks."""
        self._predictor = predictor
        self._masks: OrderedDict[str, Remembered] = OrderedDict()
        # The slice that the predictor has, and what it has answered of it.
        self._place: tuple[Place, tuple[float, float], str] | None = None
        self._answered: list[Ring] = []

    def remembered(self, place: Place, annotation: Annotation) -> Remembered | None:
        """Returns the answer to an annotation; None if it has not been answered yet."""
        return self._masks.get(key_of(place, annotation))

    def remember(self, key: str, packed: str, ms: float = 0.0) -> None:
        """Keeps an answer, such as one of a log; the oldest ones are forgotten."""
        self._masks[key] = Remembered(packed, ms)
        while len(self._masks) > MAX_MASKS:
            self._masks.popitem(last=False)

    def answer(
        self, document: Document, place: Place, annotation: Annotation
    ) -> Bool[np.ndarray, "h w"]:
        """Returns the mask of an annotation in voxels of the upright slice.

        Args:
          document: The volume.
          place: Which slice of it.
          annotation: Its disks.
        """
        return unpack(self.made(document, place, annotation).packed, document.shape)

    def made(self, document: Document, place: Place, annotation: Annotation) -> Remembered:
        """Returns what `answer` unpacks: what is remembered, or is now."""
        key = key_of(place, annotation)
        if (known := self._masks.get(key)) is not None:
            return known
        start = time.perf_counter()
        mask = documents.voxel_mask(document, self._replay(document, place, annotation))
        self.remember(key, pack(mask), 1000 * (time.perf_counter() - start))
        return self._masks[key]

    def _replay(
        self, document: Document, place: Place, annotation: Annotation
    ) -> Bool[np.ndarray, "r c"]:
        """Returns the mask in display pixels; only disks that the predictor lacks are answered."""
        rings = annotation.rings
        wanted = (place, annotation.window_hu, annotation.prior)
        shared = _shared(self._answered, rings) if self._place == wanted else 0
        # A predictor that fails half way holds nothing that could be relied on.
        answered, self._place, self._answered = self._answered, None, []
        if not shared:
            self._begin(document, place, annotation)
            answered = []
        for _ in answered[shared:]:
            mask = self._predictor.undo()
        # Asked for what it has: the newest disk is answered anew, to the same bytes.
        if shared == len(rings) == len(answered):
            self._predictor.undo()
            shared -= 1
        for ring in rings[shared:]:
            y, x = documents.display_point(document, ring.y, ring.x)
            mask = self._predictor.add_click(y, x, ring.radius, ring.positive)
        self._place, self._answered = wanted, list(rings)
        return mask

    def _begin(self, document: Document, place: Place, annotation: Annotation) -> None:
        prior = None
        if annotation.prior:
            mask = unpack(annotation.prior, document.shape)
            prior = documents.display_mask(document, mask)
        image = documents.display_image(document, place.number)
        self._predictor.set_image(image, window_hu=annotation.window_hu, first_mask=prior)


def key_of(place: Place, annotation: Annotation) -> str:
    """Returns what an answer is remembered by; the numbers of disks do not matter."""
    rings = [[ring.y, ring.x, ring.radius, ring.positive] for ring in annotation.rings]
    text = json.dumps([*place, rings, list(annotation.window_hu), annotation.prior])
    return hashlib.sha256(text.encode("ascii")).hexdigest()[:32]


def warm_up(answers: Answers, document: Document) -> None:
    """Answers a disk in the middle of the first slice, so that the first press need not compile."""
    height, width = document.shape
    ring = Ring(0, float(height // 2), float(width // 2), 5.0, True)
    window = documents.automatic_window(document, 0, y=ring.y, x=ring.x, radius=ring.radius)
    # An answer that is remembered compiles nothing, and has the shape of the volume it is of.
    image = f"warm-up {document.shape} {document.factors}"
    answers.answer(document, Place(image, 0), Annotation((ring,), window))


def _shared(answered: list[Ring], rings: tuple[Ring, ...]) -> int:
    """Returns how many disks from the first on two orders have in common."""
    pairs = zip(answered, rings, strict=False)
    same = [a[1:] == b[1:] for a, b in pairs]
    return same.index(False) if False in same else len(same)
