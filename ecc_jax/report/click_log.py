"""per_click.csv: every slice, method and click of an evaluation, one line each.

It is the one source of comparisons, pooled reports and replays, so it can be read back exactly:
numbers are float32 with nine significant digits. An empty cell means "not taken" (a method without
clicks, a turn at which nothing was left to click, a measure that was not computed), `nan` means
"not defined" (a surface measure of a slice without a pixel size).
"""

import csv
import math
import os
from array import array
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from ecc_jax.report.measures import MEASURES
from ecc_jax.report.results import ClickRecord, MethodResult

SLICE_FIELDS = ("patient", "volume", "slice_index", "lesion_area")
_SLICE_COLUMNS = ("patient", "volume", "slice", "area")
_CLICK_COLUMNS = ("clicked", "positive", "y", "x", "radius")
_MEASURES = tuple(measure.name for measure in MEASURES)
_NUMBERS = (*_CLICK_COLUMNS, *_MEASURES)
COLUMNS = (*_SLICE_COLUMNS, "row", "click", *_NUMBERS)
# What an empty cell is while numbers are gathered; no cell may hold it.
_EMPTY = -math.inf
_REMEDY = "restore the file from the evaluation, or evaluate again"


def write_click_log(
    path: str | os.PathLike[str],
    results: Mapping[str, MethodResult],
    slices: Sequence[Mapping[str, Any]],
) -> Path:
    """Writes per_click.csv.

    Args:
      path: File to write.
      results: Scores and clicks by method; every measure of a method has as many columns as its
        IoU.
      slices: One dict per slice with patient, volume, slice_index and lesion_area (pixels).

    Returns:
      `path`.
    """
    narrow = {name: _as_float32(result) for name, result in results.items()}
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        for index, entry in enumerate(slices):
            place = (entry["patient"], entry["volume"], int(entry["slice_index"]))
            for name, result in narrow.items():
                for click, cells in enumerate(_cells(result, index), start=1):
                    writer.writerow([*place, int(entry["lesion_area"]), name, click, *cells])
    return Path(path)


def read_click_log(
    path: str | os.PathLike[str],
) -> tuple[dict[str, MethodResult], list[dict[str, Any]]]:
    """Reads per_click.csv back: the inverse of `write_click_log`.

    Returns:
      Results in float32, in the file's order, and slices (patient and volume as text). Turns
      without a click have zeros as their click.

    Raises:
      ValueError: Not such a file, or lines are missing, twice there or contradict each other.
      OSError: The file cannot be read.
    """
    slices: list[dict[str, Any]] = []
    tables: dict[str, _Table] = {}
    positions: dict[tuple[str, str, int], int] = {}
    for number, line in _lines(path):
        key = (line[0], line[1], _whole(path, number, "slice", line[2]))
        area = _whole(path, number, "area", line[3])
        entry = dict(zip(SLICE_FIELDS, (*key, area), strict=True))
        index = positions.setdefault(key, len(slices))
        if index == len(slices):
            slices.append(entry)
        elif slices[index] != entry:
            _refuse(
                path, number, "area", f"{slices[index]['lesion_area']} as before", repr(line[3])
            )
        table = tables.setdefault(line[4], _Table())
        table.place.extend((index, _whole(path, number, "click", line[5]), number))
        table.numbers.extend(_numbers(path, number, line[6:]))
    if not tables:
        raise ValueError(f"{path} has no line below its heading; {_REMEDY}")
    return {name: table.result(path, name, len(slices)) for name, table in tables.items()}, slices


class _Table:
    """The lines of one method, as they come."""

    def __init__(self) -> None:
        # Three whole numbers per line: slice, click, line number.
        self.place = array("q")
        self.numbers = array("f")

    def result(self, path: Any, name: str, num_slices: int) -> MethodResult:
        """Returns the result, [slices clicks]; see `read_click_log` for what is refused."""
        index, click, line = np.array(self.place).reshape(-1, 3).T
        values = np.array(self.numbers, np.float32).reshape(-1, len(_NUMBERS))
        if click.min() < 1:
            _refuse(path, int(line[click.argmin()]), "click", "1 or more", str(click.min()))
        # A wild click number must not allocate wild memory.
        clicks = int(min(click.max(), len(click)))
        slot = index * clicks + np.minimum(click, clicks) - 1
        _, first = np.unique(slot, return_index=True)
        if len(first) < len(slot):
            twice = np.setdiff1d(np.arange(len(slot)), first)[0]
            _refuse(
                path, int(line[twice]), "click", "each slice, row and click once", "a repetition"
            )
        if len(slot) != num_slices * clicks:
            raise ValueError(
                f"{path}: row {name!r} must have {num_slices} slices x {clicks} clicks, got "
                f"{len(slot)} lines; {_REMEDY}"
            )
        order = np.argsort(slot)
        table = values[order].reshape(num_slices, clicks, len(_NUMBERS))
        self._check_empty(path, table, line[order])
        return _result_of(table)

    @staticmethod
    def _check_empty(path: Any, table: np.ndarray, line: np.ndarray) -> None:
        """Refuses columns that are empty on some lines of a method only, and clicks in part."""
        empty = np.isneginf(table).reshape(-1, len(_NUMBERS))
        wanted = np.tile(empty[0], (len(empty), 1))
        click = slice(1, len(_CLICK_COLUMNS))
        wanted[:, click] = table.reshape(-1, len(_NUMBERS))[:, :1] != 1
        if (empty != wanted).any():
            at, column = np.argwhere(empty != wanted)[0]
            got, expected = (
                ("nothing", "a number") if empty[at, column] else ("a number", "nothing")
            )
            _refuse(path, int(line[at]), _NUMBERS[column], expected, got)
        if empty[0, _NUMBERS.index("iou")]:
            _refuse(path, int(line[0]), "iou", "a number", "nothing")


def _result_of(table: np.ndarray) -> MethodResult:
    """Returns the result of a checked table, [slices clicks numbers]."""
    column = {name: table[..., i] for i, name in enumerate(_NUMBERS)}
    scores = {m: column[m].copy() for m in _MEASURES if not np.isneginf(column[m]).any()}
    if np.isneginf(column["clicked"]).any():
        return MethodResult(scores)
    clicked = column["clicked"] == 1
    yx = np.stack([column["y"], column["x"]], axis=-1)
    record = ClickRecord(
        yx=np.where(clicked[..., None], yx, np.float32(0)),
        radius=np.where(clicked, column["radius"], np.float32(0)),
        is_positive=column["positive"] == 1,
        clicked=clicked,
    )
    return MethodResult(scores, record)


def _as_float32(result: MethodResult) -> MethodResult:
    """Returns the result in the precision of the file."""
    scores = {m: np.asarray(result.scores[m], np.float32) for m in _MEASURES if m in result.scores}
    return result._replace(scores=scores)


def _cells(result: MethodResult, index: int) -> Iterator[list[str]]:
    """Yields the cells of one slice from `clicked` on, click by click."""
    scores = result.scores
    columns = [scores[m][index].tolist() if m in scores else None for m in _MEASURES]
    for turn in range(scores["iou"].shape[1]):
        cells = ["" if values is None else format(values[turn], ".9g") for values in columns]
        yield [*_click_cells(result.clicks, index, turn), *cells]


def _click_cells(clicks: ClickRecord | None, index: int, turn: int) -> list[str]:
    if clicks is None:
        return [""] * len(_CLICK_COLUMNS)
    if not clicks.clicked[index, turn]:
        return ["0", *[""] * (len(_CLICK_COLUMNS) - 1)]
    places = (*clicks.yx[index, turn], clicks.radius[index, turn])
    return ["1", str(int(clicks.is_positive[index, turn])), *(format(x, ".9g") for x in places)]


def _lines(path: str | os.PathLike[str]) -> Iterator[tuple[int, list[str]]]:
    """Yields line number and cells below the heading."""
    with open(path, newline="", encoding="utf-8") as file:
        reader = csv.reader(file)
        heading = next(reader, [])
        if heading != list(COLUMNS):
            raise ValueError(
                f"{path}, line 1: expected the columns {','.join(COLUMNS)}, got "
                f"{','.join(heading)[:80]!r}; reports of earlier versions lack them: evaluate again"
            )
        for line in reader:
            if len(line) != len(COLUMNS):
                raise ValueError(
                    f"{path}, line {reader.line_num}: expected {len(COLUMNS)} cells, got "
                    f"{len(line)}; {_REMEDY}"
                )
            yield reader.line_num, line


def _numbers(path: Any, number: int, cells: list[str]) -> list[float]:
    """Returns the numbers of a line; flags are 0 or 1, scores may be NaN, none is infinite."""
    values = []
    for column, cell in zip(_NUMBERS, cells, strict=True):
        try:
            value = float(cell) if cell else _EMPTY
        except ValueError:
            _refuse(path, number, column, "a number", repr(cell))
        if column in ("clicked", "positive") and cell not in ("", "0", "1"):
            _refuse(path, number, column, "0 or 1", repr(cell))
        if cell and (math.isinf(value) or (math.isnan(value) and column not in _MEASURES)):
            _refuse(path, number, column, "a finite number", repr(cell))
        values.append(value)
    return values


def _whole(path: Any, number: int, column: str, cell: str) -> int:
    try:
        return int(cell)
    except ValueError:
        _refuse(path, number, column, "a whole number", repr(cell))


def _refuse(path: Any, number: int, column: str, expected: str, got: str) -> NoReturn:
    raise ValueError(
        f"{path}, line {number}, column {column}: expected {expected}, got {got}; {_REMEDY}"
    )
