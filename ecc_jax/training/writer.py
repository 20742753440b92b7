"""Metrics of a run: `metrics.jsonl` is the record, TensorBoard files are a view of it.

No step appears twice: a resumed run first cuts the record back to the step it resumes from and
writes the TensorBoard files anew from what is left.
"""

import json
import shutil
import time
from pathlib import Path
from typing import Any

from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import Event
from tensorboardX.summary import scalar

from ecc_jax import atomic

METRICS_FILE = "metrics.jsonl"
_FLUSH_SECONDS = 30


class MetricsWriter:
    """Appends records to `metrics.jsonl` and mirrors their numbers to TensorBoard.

    Only the first host of several writes; on the others every call does nothing.
    """

    def __init__(
        self, workdir: str | Path, *, resume_step: int = 0, is_active: bool = True
    ) -> None:
        self._is_active = is_active
        if not is_active:
            return
        workdir = Path(workdir)
        path = workdir / METRICS_FILE
        kept = [record for record in read_records(path) if record["step"] <= resume_step]
        atomic.write_text(path, "".join(json.dumps(r) + "\n" for r in kept))
        shutil.rmtree(workdir / "tensorboard", ignore_errors=True)
        (workdir / "tensorboard").mkdir()
        # Not `SummaryWriter`, whose thread has nobody to tell that the disk is full.
        self._board = EventsWriter(str(workdir / "tensorboard" / "events"))
        self._flushed = time.monotonic()
        for record in kept:
            self._mirror(record)
        self._file = path.open("a", encoding="utf-8")

    def write(self, step: int, kind: str, values: dict[str, Any]) -> None:
        """Appends one record.

        Args:
          step: Number of finished updates.
          kind: "train" or "validation".
          values: JSON values; numbers go to TensorBoard as `kind/name`.

        Raises:
          OSError: The disk is full.
        """
        if not self._is_active:
            return
        record = {"step": step, "kind": kind, **values}
        self._file.write(json.dumps(record) + "\n")
        self._file.flush()
        self._mirror(record)
        if time.monotonic() - self._flushed > _FLUSH_SECONDS:
            self._board.flush()
            self._flushed = time.monotonic()

    def close(self) -> None:
        """Flushes and closes both outputs."""
        if not self._is_active:
            return
        self._file.close()
        self._board.close()

    def _mirror(self, record: dict[str, Any]) -> None:
        for name, value in record.items():
            if name != "step" and isinstance(value, (int, float)):
                summary = scalar(f"{record['kind']}/{name}", value)
                event = Event(summary=summary, step=record["step"], wall_time=time.time())
                self._board.write_event(event)


def read_records(path: str | Path) -> list[dict[str, Any]]:
    """Returns the records of a `metrics.jsonl`; a half-written last line is left out."""
    path = Path(path)
    if not path.is_file():
        return []
    records = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            records.append(json.loads(line))
        except json.JSONDecodeError:
            break  # the process was killed while writing this line
    return records
