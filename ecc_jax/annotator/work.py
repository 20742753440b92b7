"""One open volume with its session and the log that keeps it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ecc_jax.annotator import autosave, documents
from ecc_jax.annotator.documents import Document
from ecc_jax.annotator.replies import Refusal
from ecc_jax.annotator.session import Session, apply
from ecc_jax.annotator.state import Annotation, Frame, Missing, changed, lesion_of

MAX_EVENTS = 100_000


class Work:
    """One open volume with its session."""

    def __init__(
        self,
        document: Document,
        image: str,
        folder: Path,
        restored: autosave.Restored,
        log: autosave.Log | None,
    ) -> None:
        """Plays the events of a log.

        Args:
          document: The volume.
          image: Its fingerprint.
          folder: Of the session.
          restored: What its log holds.
          log: Open for more; None where nothing may be changed.

        Raises:
          ValueError: The log holds an event that does not fit.
        """
        self.document, self.image, self.folder = document, image, folder
        self.remarks: tuple[str, ...] = (restored.remark,) if restored.remark else ()
        self._is_open = True
        self._log = log
        self._unkept: dict[str, str] = {}
        frame = Frame(document.num_slices, document.shape, documents.display_shape(document))
        self.session = Session(frame)
        for entry in restored.entries:
            if "event" in entry:
                try:
                    self.session = apply(self.session, entry["event"], is_logged=True)
                except (ValueError, AttributeError, TypeError) as error:
                    raise ValueError(
                        f"{folder.name}: the log's event {self.session.version + 1} does not fit "
                        f"({error}); move its folder away to begin anew"
                    ) from error

    def do(self, event: Mapping[str, Any]) -> list[tuple[int, int]]:
        """Applies an event once it is on the disk; returns lesion and slice of what has changed.

        Raises:
          Refused: It does not fit; nothing has changed.
          OSError: It cannot be written; nothing has changed.
        """
        if not self._is_open:
            raise Missing("this volume was closed for another one; open it again")
        if self._log is None:
            raise Refusal(403, "the annotator was started with --read-only")
        if self.session.version >= MAX_EVENTS:
            raise Refusal(422, f"expected at most {MAX_EVENTS} events in a session; begin another")
        after = apply(self.session, event)
        self._log.append({"event": dict(event)})
        pairs = changed(self.session.state, after.state)
        self.session = after
        return pairs

    def keep(self, key: str, packed: str) -> str:
        """Writes an answer beside the events, so that a restart shows the very same mask.

        Its disks are in the log already. An answer that the disk does not take is held back and
        tried again with the next one.

        Args:
          key: Of `answers.key_of`.
          packed: Of `packing.pack`.

        Returns:
          What a person has to know if it could not be written; empty if it was.
        """
        if self._log is None or not self._is_open:
            return ""
        self._unkept[key] = packed
        try:
            for each, mask in list(self._unkept.items()):
                self._log.append({"answer": each, "mask": mask})
                del self._unkept[each]
        except OSError as error:
            count, why = len(self._unkept), error.strerror or type(error).__name__
            return (
                f"the disks are kept; masks that could not be written: {count} ({why}). "
                "Free space: they go with the next one, else a restart answers them anew"
            )
        return ""

    def annotation(self, lesion: int, index: int) -> Annotation:
        """Returns what a lesion has on a slice.

        Raises:
          Missing: No such lesion, or nothing of it there.
        """
        found = lesion_of(self.session.state, lesion).slices.get(index)
        if found is None:
            raise Missing(f"lesion {lesion} has nothing on slice index {index} (from 0)")
        return found

    def close(self) -> None:
        """Lets another process open the session."""
        self._is_open = False
        if self._log is not None:
            self._log.close()
