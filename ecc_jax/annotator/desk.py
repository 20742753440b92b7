"""The shell around the pure session: what is open, on the disk, and being answered.

States are changed in one thread, that of the server; everything heavy (reading, answering, saving)
runs in the worker, which is handed values and no state.
"""

import hashlib
import re
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool

from ecc_jax.annotator import autosave, documents, measuring, propagation
from ecc_jax.annotator.answers import Answers, Place, key_of, warm_up
from ecc_jax.annotator.documents import Document
from ecc_jax.annotator.packing import pack, unpack
from ecc_jax.annotator.saving import Saved, Saver, ToSave, left_out
from ecc_jax.annotator.sources import Source
from ecc_jax.annotator.state import Annotation, Missing, lesion_of
from ecc_jax.annotator.work import Work
from ecc_jax.annotator.worker import (
    ENDS,
    FIRST,
    INTERRUPTED,
    LAST,
    SUPERSEDED,
    Closing,
    Later,
    Superseded,
    Worker,
)

MAX_OPEN = 2
OTHER_NETWORK = (
    "this session was begun with other weights; its masks are shown as they were answered then"
)
_ODD = re.compile(r"[^A-Za-z0-9._-]+")


class Answered(NamedTuple):
    """A mask that was asked for.

    Attributes:
      mask: On the upright slice, voxels.
      ms: Milliseconds that it took when it was made; 0 if it was read from a log.
      warning: What went wrong although the mask is right; empty if nothing did.
    """

    mask: Bool[np.ndarray, "h w"]
    ms: float
    warning: str = ""


class Desk:
    """All volumes that can be opened, those that are, and the network."""

    def __init__(
        self,
        sources: tuple[Source, ...],
        answers: Answers,
        *,
        workdir: Path,
        read_only: bool = False,
        savers: Mapping[str, Saver] | None = None,
        network: str = "",
    ) -> None:
        """Opens nothing yet.

        Args:
          sources: What can be opened.
          answers: The network.
          workdir: Folder of the sessions.
          read_only: Whether nothing may be changed or written.
          savers: By name of the format.
          network: What the answers depend on besides disks; logs say it.
        """
        self.sources = {source.id: source for source in sources}
        self.worker = Worker()
        self.read_only = read_only
        self.savers = dict(savers or {})
        self._network = network
        self._answers = answers
        self._measurer = measuring.Measurer()
        self.workdir = workdir
        self._is_stopping = threading.Event()
        # Used last, last; changed by the thread of the server and by the worker.
        self._open: OrderedDict[str, Work] = OrderedDict()
        self._changing = threading.Lock()
        self._warm: set[tuple[int, int]] = set()

    def source(self, document: str) -> Source:
        """Returns a source by its id.

        Raises:
          Missing: There is none.
        """
        if document not in self.sources:
            raise Missing("there is no such volume; list them with GET /api/documents")
        return self.sources[document]

    def work(self, document: str) -> Work:
        """Returns an open volume.

        Raises:
          Missing: There is none, or it is not open.
        """
        source = self.source(document)
        with self._changing:
            if source.id not in self._open:
                raise Missing("this volume is not open; POST /api/documents/{id}/open first")
            # What is in use is never the one that is closed for another.
            self._open.move_to_end(source.id)
            return self._open[source.id]

    def open(self, document: str) -> "Future[Work]":
        """Reads a volume and its log in the worker, and compiles the network for its shape."""
        source = self.source(document)
        return self.worker.submit(("open", source.id), lambda: self.open_now(source))

    def open_now(self, source: Source) -> Work:
        """Does what `open` puts in the queue.

        Raises:
          ValueError: It cannot be read, or its log not be restored.
        """
        if source.id in self._open:
            return self.work(source.id)
        document = documents.open_source(source)
        image = fingerprint(document)
        self._close_copies(image)
        stem = _ODD.sub("_", source.name).strip("._")[:40] or "volume"
        folder = self.workdir / f"{stem}-{image[:12]}"
        shape = [document.num_slices, *document.shape]
        header = {"image": image, "shape": shape, "network": self._network}
        if self.read_only:
            log, restored = None, autosave.read(folder, header)
        else:
            log = autosave.Log(folder, header)
            restored = log.restored
        try:
            for entry in restored.entries:
                if isinstance(entry.get("answer"), str) and isinstance(entry.get("mask"), str):
                    self._answers.remember(entry["answer"], entry["mask"])
            work = Work(document, image, folder, restored, log)
            if restored.header.get("network", "") != self._network:
                work.remarks = (*work.remarks, OTHER_NETWORK)
            self._warm_up(document)
        except BaseException:
            if log is not None:
                log.close()
            raise
        # Only now: what could not be read has closed nothing.
        with self._changing:
            while len(self._open) >= MAX_OPEN:
                self._open.popitem(last=False)[1].close()
            self._open[source.id] = work
        return work

    def mask(self, work: Work, lesion: int, index: int) -> "Future[Answered]":
        """Answers the disks of a lesion on a slice, as they are now.

        What has been answered before waits for nothing. Of requests for one lesion on one slice
        that wait, all but the newest fail with `Superseded`; those for others are left alone.

        Raises:
          Missing: There are none.
          Busy: Too much waits.
        """
        annotation = work.annotation(lesion, index)
        place = Place(work.image, index)
        known = self._answers.remembered(place, annotation)
        key = ("mask", work.image, lesion, index)
        if known is not None:
            self.worker.drop(key)
            done: Future[Answered] = Future()
            done.set_result(Answered(unpack(known.packed, work.document.shape), known.ms))
            return done
        return self.worker.submit(key, lambda: self._answer(work, index, annotation), rank=FIRST)

    def measures(self, work: Work, lesion: int, index: int | None) -> "Future[dict[str, Any]]":
        """Measures a lesion, see `measuring.measures_of`; a newer event of the session ends it.

        Masks and all else that is asked for meanwhile go first, after the slice that is measured.

        Args:
          work: The volume.
          lesion: Number of the lesion; masks of it that have not been answered yet are.
          index: The slice that is told of; None for none.

        Raises:
          Missing: No such lesion.
          Busy: Too much waits.
        """
        found = lesion_of(work.session.state, lesion)
        check = self._unless_changed(work, SUPERSEDED)

        def job() -> dict[str, Any]:
            parts = {}
            for number, annotation in sorted(found.slices.items()):
                check()
                if self.worker.is_wanted(LAST):
                    raise Later
                place = Place(work.image, number)
                known = self._answers.remembered(place, annotation)
                if known is None:
                    packed = pack(self._answer(work, number, annotation).mask)
                else:
                    packed = known.packed
                parts[number] = self._measurer.part(work.document, place, packed)
            check()
            return measuring.measures_of(work.document, found.name, parts, index=index)

        return self.worker.submit(("measures", work.image, lesion), job, rank=LAST)

    def propagate(
        self, work: Work, lesion: int, index: int, *, steps: tuple[int, ...], most: int
    ) -> "Future[dict[str, list[Any]]]":
        """Carries a mask to neighbouring slices; a newer event of the session ends it.

        Its result is `slices` and `gone` of an event of kind propagate; both may be empty.

        Args:
          work: The volume.
          lesion: Number of the lesion.
          index: Slice to begin at.
          steps: 1, -1 or both.
          most: Slices at most in each direction.

        Raises:
          Missing: There is no mask to begin with.
          Busy: Too much waits.
        """
        work.annotation(lesion, index)
        found = lesion_of(work.session.state, lesion)
        check = self._unless_changed(work, INTERRUPTED)

        def job() -> dict[str, list[Any]]:
            slices, gone = [], []
            for step in steps:
                carried = propagation.propagate(
                    # Kept as well, so that a restart shows the same with other weights.
                    lambda number, annotation: self._answer(work, number, annotation).mask,
                    work.document,
                    found,
                    start=index,
                    step=step,
                    most=most,
                    on_slice=lambda _: check(),
                )
                slices += carried
                gone += propagation.stale(found, carried, start=index, step=step, most=most)
            return {"slices": slices, "gone": gone}

        return self.worker.submit(("propagate", work.image), job)

    def save(self, work: Work, form: str) -> "Future[Saved]":
        """Writes all masks of a session in a format.

        Raises:
          Missing: No such format.
          Busy: Too much waits.
        """
        if form not in self.savers:
            names = ", ".join(self.savers) or "none is installed"
            raise Missing(f"format must be one of those that save: {names}")
        state = work.session.state

        def job() -> Saved:
            lesions = tuple(
                (
                    lesion,
                    {
                        index: self._answer(work, index, annotation).mask
                        for index, annotation in sorted(lesion.slices.items())
                    },
                )
                for lesion in state.lesions.values()
            )
            network = "" if OTHER_NETWORK in work.remarks else self._network
            files = self.savers[form](ToSave(work.document, lesions, work.folder, network))
            names = [each.name for each, masks in lesions if masks and not each.finished]
            return Saved(files, left_out(lesions, has_disks=form == "prompts"), names)

        return self.worker.submit(("save", work.image, form), job)

    def stop(self) -> None:
        """Ends a propagation that runs at its next slice; to be called before `close`."""
        self._is_stopping.set()

    def close(self) -> None:
        """Ends the worker and closes all sessions."""
        self.stop()
        self.worker.close()
        for work in self._open.values():
            work.close()

    def _close_copies(self, image: str) -> None:
        """Closes volumes of the same voxels: they share a session, which is open only once."""
        with self._changing:
            for name, work in list(self._open.items()):
                if work.image == image:
                    self._open.pop(name).close()

    def _unless_changed(self, work: Work, reason: str) -> Callable[[], None]:
        """Returns what ends a long job once the session has gone on or the annotator closes.

        Args:
          work: Whose session.
          reason: Of `Superseded`, where it has gone on.
        """
        version = work.session.version

        def check() -> None:
            if self._is_stopping.is_set():
                raise Closing(ENDS)
            if work.session.version != version:
                raise Superseded("the session has changed meanwhile; ask again", reason)

        return check

    def _warm_up(self, document: Document) -> None:
        shape = documents.display_shape(document)
        if shape not in self._warm:
            warm_up(self._answers, document)
            self._warm.add(shape)

    def _answer(self, work: Work, index: int, annotation: Annotation) -> Answered:
        """Returns a mask, and keeps it in the log if it is new."""
        place = Place(work.image, index)
        is_new = self._answers.remembered(place, annotation) is None
        made = self._answers.made(work.document, place, annotation)
        warning = work.keep(key_of(place, annotation), made.packed) if is_new else ""
        # The time of the making: the measures may have asked before the page wants the mask.
        return Answered(unpack(made.packed, work.document.shape), made.ms, warning)


def fingerprint(document: Document) -> str:
    """Returns 32 hexadecimal digits of the upright slices: what disks are placed on."""
    digest = hashlib.blake2b(digest_size=16)
    digest.update(repr((document.num_slices, document.shape, document.factors)).encode("ascii"))
    for index in range(document.num_slices):
        digest.update(np.ascontiguousarray(documents.slice_of(document, index)).data)
    return digest.hexdigest()
