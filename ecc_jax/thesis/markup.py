"""The tables as Markdown for people, CSV for programs and LaTeX for papers."""

import csv
import io
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from ecc_jax.report import tables as markdown_tables
from ecc_jax.thesis import published
from ecc_jax.thesis.published import NOTES, TITLES
from ecc_jax.thesis.tables import Cell, Filled

CSV_COLUMNS = (
    *("table", "row", "column", "ours", "low", "high", "thesis", "painter", "run", "command"),
)
MISSING = "missing"
_DASH = "–"
_LEGEND = (
    "Ours in the first line, with 95 % intervals over patients; below it the thesis's number, and "
    "the painter with tuned radii, which sees the disks of the same slices but no image. A network "
    "that does not beat it has not shown that it uses the image."
)
_STAND_IN = (
    "Stand-ins: small networks, few steps, and the phantom's lung, kidney, liver and pancreas in "
    "place of LIDC, KITS, LITS and MD PANC. Nothing here can be compared with the thesis's numbers "
    "but the way to them."
)
_LONGEST = 40  # characters of a cell that LaTeX sets in one line
_ESCAPES = {
    **{character: f"\\{character}" for character in "&%$#_{}"},
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "−": "$-$",
    "–": "--",
    "×": r"$\times$",
    '"': "''",
    "|": "$|$",
    "<": "$<$",
    ">": "$>$",
}


class Grid(NamedTuple):
    """A table as text.

    Attributes:
      number: Of the table.
      heading: First the corner, which is empty.
      lines: Their cells; a line of the thesis's or the painter's numbers begins with spaces.
      notes: Positions in `published.NOTES` of those that numbers refer to.
    """

    number: int
    heading: list[str]
    lines: list[list[str]]
    notes: list[int]


def markdown(filled: Filled) -> str:
    """Returns all tables, their footnotes, and what fills the cells that are missing."""
    grids = grids_of(filled.cells, mark=lambda letters: f" [{letters}]")
    parts = ["# Tables of the thesis", _LEGEND]
    if filled.is_stand_in:
        parts.append(f"**{_STAND_IN}**")
    for grid in grids:
        parts.append(f"## Table {grid.number}. {TITLES[grid.number]}")
        lines = [[cell.replace("  ", "&emsp;") for cell in line] for line in grid.lines]
        parts.append(markdown_tables.table(grid.heading, lines))
    used = sorted({note for grid in grids for note in grid.notes})
    parts.append("## Notes")
    parts.append("\n".join(f"- [{_letter(note)}] {NOTES[note].text}" for note in used))
    parts += _missing(filled.cells)
    if filled.left_out:
        parts.append("## Left out")
        parts.append("\n".join(f"- `{folder}`: {reason}" for folder, reason in filled.left_out))
    return "\n\n".join(parts) + "\n"


def _missing(cells: Sequence[Cell]) -> list[str]:
    """Returns the commands that fill missing cells, each once with the tables that want it."""
    wanted: dict[str, list[int]] = {}
    for cell in cells:
        if cell.command:
            tables = wanted.setdefault(cell.command, [])
            if cell.table not in tables:
                tables.append(cell.table)
    if not wanted:
        return []
    number = sum(bool(cell.command) for cell in cells)
    lines = [
        f"{command}    # Table{'s' * (len(tables) > 1)} {', '.join(map(str, tables))}"
        for command, tables in wanted.items()
    ]
    head = f"{number} of {len(cells)} cells are missing. These commands fill them, then this one:"
    return ["## What is missing", head, "```\n" + "\n".join(lines) + "\n```"]


def csv_text(filled: Filled) -> str:
    """Returns one line per cell with the columns `CSV_COLUMNS`; empty is what there is not."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(CSV_COLUMNS)
    for cell in filled.cells:
        ours, number = cell.ours, cell.published
        values = [None] * 4 if ours is None else [ours.value, ours.low, ours.high, ours.painter]
        numbers = ["" if value is None else f"{value:.6g}" for value in values]
        *own, painter = numbers
        thesis = "" if number is None else f"{number.value:g}"
        run = "" if ours is None else "+".join(ours.sources)
        place = (cell.table, cell.row, cell.column)
        writer.writerow([*place, *own, thesis, painter, run, cell.command])
    return file.getvalue()


def latex(filled: Filled) -> str:
    """Returns a document with one table environment per table, to compile or to copy from."""
    grids = grids_of(filled.cells, mark=lambda letters: f"\\textsuperscript{{{letters}}}")
    parts = [
        "\\documentclass{article}",
        "\\usepackage{booktabs}",
        "\\usepackage[margin=1cm,landscape]{geometry}",
        "\\begin{document}",
        "\\noindent " + _escaped(_LEGEND),
    ]
    if filled.is_stand_in:
        parts.append("\n\\noindent " + _escaped(_STAND_IN))
    for grid in grids:
        notes = [
            f"\\textsuperscript{{{_letter(note)}}}~{_escaped(NOTES[note].text)}"
            for note in grid.notes
        ]
        parts += [
            "",
            "\\begin{table}[!htbp]",
            f"\\caption{{{_escaped(TITLES[grid.number])} (thesis, Table {grid.number})}}",
            "\\centering\\footnotesize",
            # Ours and the thesis's number, which has no interval, begin below each other.
            f"\\begin{{tabular}}{{{'l' * len(grid.heading)}}}",
            "\\toprule",
            _latex_line(grid.heading),
            "\\midrule",
            *_latex_body(grid.lines),
            "\\bottomrule",
            "\\end{tabular}",
            "\\par\\raggedright",
            *(f"\n\\smallskip {note}" for note in notes),
            "\\end{table}",
        ]
    return "\n".join([*parts, "\\end{document}", ""])


def _latex_body(lines: Sequence[Sequence[str]]) -> Iterator[str]:
    """Yields the lines of a table, with a little space between what belongs together."""
    for number, line in enumerate(lines):
        if number and not line[0].startswith("  "):
            yield "\\addlinespace"
        yield _latex_line(line)


def _latex_line(line: Sequence[str]) -> str:
    marked = "\\textsuperscript{"
    cells = []
    for cell in line:
        text, found, letters = cell.partition(marked)
        indent = "\\quad " if text.startswith("  ") else ""
        shown = indent + _escaped(text.strip()) + found + letters
        is_long = len(text) > _LONGEST
        cells.append(f"\\parbox[t]{{5.5cm}}{{\\raggedright {shown}\\strut}}" if is_long else shown)
    return " & ".join(cells) + " \\\\"


def _escaped(text: str) -> str:
    # Two hyphens of an option are no dash.
    parts = text.split("--")
    return "-{}-".join("".join(_ESCAPES.get(c, c) for c in part) for part in parts)


def grids_of(cells: Sequence[Cell], *, mark: Callable[[str], str]) -> list[Grid]:
    """Returns the tables as text.

    Args:
      cells: Those of all tables.
      mark: Returns how letters of footnotes stand behind a number.
    """
    return [_grid(number, [c for c in cells if c.table == number], mark) for number in TITLES]


def _grid(table: int, cells: Sequence[Cell], mark: Callable[[str], str]) -> Grid:
    columns = list(dict.fromkeys(cell.column for cell in cells))
    lines: list[list[str]] = []
    used: set[int] = set()
    for row in dict.fromkeys(cell.row for cell in cells):
        own = {cell.column: cell for cell in cells if cell.row == row}
        line = [own[column] for column in columns]
        lines += _lines(row, line, mark)
        used |= {note for cell in line for note in _notes(cell)}
    heading = ["", *(_heading(column) for column in columns)]
    return Grid(table, heading, lines, sorted(used))


def _lines(row: str, cells: Sequence[Cell], mark: Callable[[str], str]) -> Iterator[list[str]]:
    """Yields ours, the thesis's and the painter's numbers of a line, as far as there are any."""
    label = row.replace("_D", ", dynamic disks")
    yield [label, *(_own(cell) for cell in cells)]
    if any(cell.published for cell in cells):
        yield ["  thesis", *(_thesis(cell, mark) for cell in cells)]
    # Of classical methods only what differs from the thesis: a part of the slices, another split.
    if any(cell.table == 2 and cell.ours and cell.ours.detail for cell in cells):
        yield ["  searched", *(cell.ours.detail if cell.ours else _DASH for cell in cells)]
    painters = [None if cell.ours is None else cell.ours.painter for cell in cells]
    if any(painter is not None for painter in painters):
        texts = (markdown_tables.number(painter, ".3f") for painter in painters)
        yield ["  tuned painter", *texts]


def _own(cell: Cell) -> str:
    if cell.ours is None:
        return MISSING
    if cell.table == 1:
        return f"{cell.ours.value:g} ({cell.ours.detail})"
    extent = markdown_tables.interval(cell.ours.low, cell.ours.high, ".3f")
    return f"{cell.ours.value:.3f}" + (f" ({extent})" if extent else "")


def _thesis(cell: Cell, mark: Callable[[str], str]) -> str:
    if cell.published is None:
        return _DASH
    text = format(cell.published.value, "g" if cell.table == 1 else ".3f")
    letters = ",".join(_letter(note) for note in _notes(cell))
    return text + (mark(letters) if letters else "")


def _notes(cell: Cell) -> tuple[int, ...]:
    return () if cell.published is None else published.notes_of(cell.published)


def _heading(column: str) -> str:
    clicks = column.partition(f"{published.ERROR}@")[2]
    return f"Iterative IoU Error@{clicks}" if clicks else column


def _letter(note: int) -> str:
    return "abcdefghijklmnopqrstuvwxyz"[note]
