"""Our numbers beside the thesis's: which reports fill a cell, and with what."""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from ecc_jax import catalog
from ecc_jax.report import curves
from ecc_jax.report.classical import FORMAT, RECORDED
from ecc_jax.report.intervals import bootstrap_mean
from ecc_jax.report.methods import PAINTERS, subject_of
from ecc_jax.report.pooling import Run
from ecc_jax.thesis import rows, runs_of
from ecc_jax.thesis.plan import PREPARED, PREPARED_STAND_IN, Plan
from ecc_jax.thesis.published import (
    ERROR_CLICKS,
    SPLIT_LABELS,
    Classical,
    Count,
    Published,
    Score,
    numbers,
)
from ecc_jax.thesis.runs_of import Found

_TUNED = PAINTERS[-1]  # the painter whose radii were tuned, the bar to beat


class Ours(NamedTuple):
    """What a report says of a cell.

    Attributes:
      value: IoU, error, or a number of slices.
      low: Lower end of its 95 % interval over patients; None where there is none.
      high: Upper end.
      painter: The tuned painter of the same report, which sees no image; None where there is none.
      sources: The folders or files it comes from.
      detail: What else a reader should know, in a few words.
    """

    value: float
    low: float | None = None
    high: float | None = None
    painter: float | None = None
    sources: tuple[str, ...] = ()
    detail: str = ""


class Cell(NamedTuple):
    """A cell of a table.

    Attributes:
      table: Number of the table.
      row: What its line is called.
      column: What its column is called.
      published: The thesis's number; None where it has none.
      ours: None where no report fills it.
      command: What fills it; empty where nothing is missing.
    """

    table: int
    row: str
    column: str
    published: Published | None
    ours: Ours | None
    command: str


class Filled(NamedTuple):
    """All tables.

    Attributes:
      cells: Table by table, line by line.
      is_stand_in: Whether the phantom's organs stand for the thesis's sets.
      left_out: Reports that fill no cell, with the reason.
    """

    cells: list[Cell]
    is_stand_in: bool
    left_out: list[tuple[Path, str]]


def fill(found: Found, indices: Sequence[Mapping[str, Any]], plan: Plan) -> Filled:
    """Returns every cell of Tables 1 to 6 with what there is for it.

    Args:
      found: Reports and files of classical methods.
      indices: `index.json` of prepared datasets, each with its place under "directory".
      plan: Of the same kind as the reports; its commands fill what is missing.

    Raises:
      ValueError: Reports of one cell cannot be pooled, or a file of classical methods is damaged.
    """
    left_out = list(found.left_out)
    classical: dict[str, Any] = {}
    for path in found.classical:
        content = read_classical(path)
        if reason := _outside_table_2(content, is_stand_in=plan.is_stand_in):
            left_out.append((path, reason))
            continue
        if classical:
            raise ValueError(f"{path} and {classical['path']} both fill Table 2; leave one away")
        classical = {**content, "path": str(path)}
    whole = catalog.SUBSETS[0]
    left_out += [
        (report.folder, f"is of subset {report.cell.subset}; Tables 3 to 6 hold {whole}")
        for report in found.reports
        if report.cell.subset != whole
    ]
    counts, other_sets = _counts(indices, is_stand_in=plan.is_stand_in)
    left_out += other_sets
    runs = _Runs(found)
    cells = []
    for number in numbers():
        meaning = number.meaning
        if isinstance(meaning, Score):
            ours = runs.ours(meaning)
        elif isinstance(meaning, Classical):
            ours = _of_classical(classical, meaning)
        else:
            ours = counts.get(meaning)
        command = "" if ours else plan.command_of(meaning, _trained(found, meaning))
        place = number.table, number.row, number.column
        cells.append(Cell(*place, number, ours, command))
    return Filled(sorted([*cells, *_more(classical)], key=_table), plan.is_stand_in, left_out)


def _table(cell: Cell) -> int:
    return cell.table


def _trained(found: Found, meaning: Any) -> Path | None:
    """Returns the workdir of the network that a cell is of, where there is one."""
    if not isinstance(meaning, Score):
        return None
    whole = catalog.SUBSETS[0]
    own = runs_of.in_cell(found, row=meaning.row, trained_on=meaning.trained_on, subset=whole)
    return next((workdir for report in own if (workdir := report.workdir)), None)


class _Runs:
    """The pooled reports of every cell, each read once."""

    def __init__(self, found: Found) -> None:
        self._found = found
        self._pooled: dict[Score, Run | None] = {}

    def ours(self, meaning: Score) -> Ours | None:
        """Returns what the reports say of a cell; None where there are none, or too few clicks."""
        key = meaning._replace(click=1)
        if key not in self._pooled:
            fields = {"row", "trained_on", "tested_on"}
            wanted = {k: v for k, v in key._asdict().items() if k in fields}
            own = runs_of.in_cell(self._found, subset=catalog.SUBSETS[0], **wanted)
            # An evaluation with more clicks, made later, stands for the shorter one.
            most = max((report.config["eval"]["num_clicks"] for report in own), default=0)
            longest = [report for report in own if report.config["eval"]["num_clicks"] == most]
            self._pooled[key] = runs_of.pool(longest) if own else None
        run = self._pooled[key]
        return None if run is None else _of_run(run, meaning.click)


def _of_run(run: Run, click: int) -> Ours | None:
    """Returns the mean after a click (0: the error) of a network and the tuned painter."""
    scores = _scores(run.results[subject_of(run.results)].scores["iou"], click)
    if scores is None:
        return None
    band = bootstrap_mean(scores[:, None], [entry["patient"] for entry in run.slices])
    painted = None
    if _TUNED in run.results:
        painted = _scores(run.results[_TUNED].scores["iou"], click)
    patients = len({entry["patient"] for entry in run.slices})
    return Ours(
        value=float(scores.mean()),
        low=None if band is None else float(band.low[0]),
        high=None if band is None else float(band.high[0]),
        painter=None if painted is None else float(painted.mean()),
        sources=tuple(run.sources),
        detail=f"{len(run.slices)} slices of {patients} patients",
    )


def _scores(iou: Float[np.ndarray, "m k"], click: int) -> Float[np.ndarray, " m"] | None:
    """Returns the IoU of every slice after a click; with 0 its error; None without those clicks."""
    if iou.shape[1] < (click or ERROR_CLICKS):
        return None
    if click:
        return iou[:, click - 1].astype(np.float64)
    # The error is linear in the curve: that of the mean curve is the mean of the slices' errors.
    errors = [curves.iterative_iou_error(curve) for curve in iou[:, :ERROR_CLICKS]]
    return np.array(errors, np.float64)


def _counts(
    indices: Iterable[Mapping[str, Any]], *, is_stand_in: bool
) -> tuple[dict[Count, Ours], list[tuple[Path, str]]]:
    """Returns the slices of the sets that a plan prepares, and which sets it does not, and why.

    The thesis's own split goes before ours, and then what comes first.
    """
    expected = PREPARED_STAND_IN if is_stand_in else PREPARED
    counts: dict[Count, Ours] = {}
    left_out = []
    for index in sorted(indices, key=lambda index: index["options"]["split_rule"] != "thesis"):
        options = index["options"]
        data = {**options, "name": index["name"], "phantom_kind": options.get("kind", "")}
        try:
            dataset, is_synthetic = rows.set_of({**data, "sources": options.get("sources", ())})
        except ValueError:
            continue
        if is_synthetic is not is_stand_in:
            continue
        directory, by_slice = Path(index["directory"]), _by_slice(options)
        other = [f"{k}={options[k]}" for k, v in expected.items() if options.get(k, v) != v]
        if other:
            plan = ", ".join(f"{key}={value}" for key, value in expected.items())
            left_out.append((directory, f"has {', '.join(other)}; Table 1 holds {plan}"))
            continue
        own = {}
        for split in catalog.SPLITS:
            size = index["counts"][split]
            own[Count(dataset, options["subset"], split)] = Ours(
                value=float(size["slices"]),
                sources=(str(directory),),
                detail=", ".join(filter(None, (f"{size['volumes']} scans", by_slice))),
            )
        held = [counts[count] for count in own if count in counts]
        if held and [ours.value for ours in held] != [ours.value for ours in own.values()]:
            reason = f"has other counts than {held[0].sources[0]}, which Table 1 holds"
            left_out.append((directory, reason))
        if not held:
            counts |= own
    return counts, left_out


def _by_slice(options: Mapping[str, Any]) -> str:
    """Returns a remark where a split is the thesis's own."""
    return "by slice" if options["split_rule"] == "thesis" else ""


def read_classical(path: Path) -> dict[str, Any]:
    """Returns the figures of classical methods that scripts/classical.py wrote.

    Raises:
      ValueError: The file is damaged, or of another format.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["format"] != FORMAT:
            raise ValueError(f"format {content['format']}, expected {FORMAT}")
        for method in content["methods"].values():
            for split in catalog.SPLITS:
                float(method["splits"][split]["iou"])
        str(content["dataset"])
        # Files written before these were recorded can still be drawn from.
        if "options" in content:
            _ = [content["options"][name] for name in RECORDED]
            int(content["folds"]["folds"])
            for method in content["methods"].values():
                int(method["grid_size"]), len(method["grid"])
                for split in catalog.SPLITS:
                    int(method["splits"][split]["slices"]), int(content["split_sizes"][split])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"{path} is no file of scripts/classical.py ({error}); run it again"
        ) from error
    return content


def classical_kind(content: Mapping[str, Any]) -> bool | None:
    """Returns whether classical methods ran on the phantom, not LIDC; None on neither."""
    if content["dataset"] == rows.synthetic_name():
        return True
    return False if content["dataset"] == rows.SETS[0] else None


def _outside_table_2(content: Mapping[str, Any], *, is_stand_in: bool) -> str:
    """Returns why Table 2 does not hold the results of classical methods; empty if it does."""
    if classical_kind(content) is not is_stand_in:
        return f"is of {content['dataset']}, which Table 2 does not hold"
    if "options" not in content:
        return "does not say of which subset and folds it is; run scripts/classical.py again"
    options, folds, whole = content["options"], content["folds"], catalog.SUBSETS[0]
    organ = catalog.DATASETS[rows.SETS[0]].organ
    if options["subset"] != whole:
        return f"is of subset {options['subset']}; Table 2 holds {whole}"
    if is_stand_in and options["kind"] != organ:
        return f"is of the phantom's kind {options['kind']}; Table 2 holds {organ}"
    if folds["folds"]:
        return f"is of fold {folds['fold']} of {folds['folds']}; Table 2 holds the prepared split"
    # The miniature's searches are short on purpose; their cells say so.
    partial = "" if is_stand_in else _partial(content)
    return f"is of {partial}; Table 2 holds all" if partial else ""


def _partial(content: Mapping[str, Any]) -> str:
    """Returns what a search left out, in words; empty where it tried every value and slice."""
    for method in content["methods"].values():
        for split in catalog.SPLITS:
            if part := _part_of(content, method, split):
                return part
    return ""


def _part_of(content: Mapping[str, Any], method: Mapping[str, Any], split: str) -> str:
    """Returns how much of the slices of a split and of the grid a method saw, if not all."""
    slices, size = method["splits"][split]["slices"], content["split_sizes"][split]
    tried, grid = len(method["grid"]), method["grid_size"]
    parts = [f"{slices} of {size} slices of {split}"] if slices < size else []
    parts += [f"{tried} of {grid} values of the parameter"] if tried < grid else []
    return ", ".join(parts)


def _of_classical(content: Mapping[str, Any], meaning: Classical) -> Ours | None:
    method = content.get("methods", {}).get(meaning.method)
    if method is None:
        return None
    found = method["splits"][meaning.split]
    low, high = found.get("interval") or (None, None)
    parts = _part_of(content, method, meaning.split), _by_slice(content["options"])
    detail = ", ".join(filter(None, parts))
    return Ours(found["iou"], low, high, sources=(content["path"],), detail=detail)


def _more(content: Mapping[str, Any]) -> list[Cell]:
    """Returns the lines of Table 2 that the thesis does not have."""
    known = {n.meaning.method for n in numbers() if isinstance(n.meaning, Classical)}
    return [
        Cell(2, method["label"], SPLIT_LABELS[split], None,
             _of_classical(content, Classical(name, split)), "")
        for name, method in content.get("methods", {}).items()
        if name not in known
        for split in catalog.SPLITS
    ]  # fmt: skip
