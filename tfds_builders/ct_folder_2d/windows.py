"""windows.csv: the HU window of some volumes, as people and spreadsheets write it.

Read is what can mean one thing only: any of comma, semicolon, tab or spaces between the columns, a
decimal comma where it cannot be anything else, any minus sign, the name of the image file.
"""

import csv
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from ecc_jax.volumes import stem
from tfds_builders.ct_folder_2d.files import composed, without_channel
from tfds_builders.options import check_window
from tfds_builders.words import nearest, short

FILE = "windows.csv"
COLUMNS = ("volume", "low", "high")
# Between columns, the commonest first; None is any number of spaces.
DELIMITERS = (",", ";", "\t", "|", None)
# First bytes of .xlsx and .xls.
WORKBOOKS = (b"PK\x03\x04", b"\xd0\xcf\x11\xe0")
# Hyphens and dashes that word processors and typographers put for a minus sign.
MINUS = dict.fromkeys(map(ord, "\u2010\u2011\u2012\u2013\u2014\u2212\ufe63\uff0d"), "-")
NUMBER = re.compile(r"[+-]?(\d+[.,]?\d*|[.,]\d+)(e[+-]?\d+)?", re.I)
# Three digits after one point or comma: thousands in one country, decimals in another.
DOUBTFUL = re.compile(r"[+-]?[1-9]\d{0,2}[.,]\d{3}")


class _Row(NamedTuple):
    """One line of a table.

    Attributes:
      line: Its number in the file, from 1.
      fields: Its text between the delimiters.
    """

    line: int
    fields: list[str]


def find_file(folder: Path) -> Path:
    """Returns the path of windows.csv, however its letters' case; it need not be there."""
    alike = [path for path in sorted(folder.iterdir()) if path.name.casefold() == FILE]
    return next((path for path in alike if path.name == FILE), alike[0] if alike else folder / FILE)


def unread(folder: Path) -> dict[str, str]:
    """Returns files that are probably meant to be windows.csv, with what to do, by name."""
    alike = (path.name for path in sorted(folder.iterdir()) if path.is_file())
    return {
        name: f"not read: save it as {FILE}"
        for name in alike
        if name.casefold().split(".")[0] == "windows" and name.casefold() != FILE
    }


def read_windows(path: Path, names: Sequence[str]) -> dict[str, tuple[float, float]]:
    """Returns the windows of windows.csv (columns volume, low, high) by volume; {} without file.

    Args:
      path: The file.
      names: The volumes of the folder. Named may be a volume or its image file.

    Raises:
      ValueError: Columns missing, a volume that is not in the folder or twice, not two numbers, or
        commas that may separate columns as well as decimals.
    """
    if not path.is_file():
        return {}
    text = _decoded(path)
    delimiter, header, rows = _table(path, text)
    windows: dict[str, tuple[float, float]] = {}
    for row in rows:
        where = f"{path}, line {row.line}"
        if len(row.fields) > len(header) and any(row.fields[len(header) :]):
            raise ValueError(
                f"{where}: has {len(row.fields)} fields under {len(header)} columns; write "
                "decimals with a point, or put semicolons between the columns"
            )
        cells = dict(zip(header, row.fields, strict=False))
        name = _volume(cells["volume"], names)
        if name not in names or name in windows:
            problem = "is listed twice" if name in windows else "is not in the folder"
            likely = nearest(name, names) if name not in names else ""
            hint = f", perhaps {likely!r} is meant" if likely else ""
            raise ValueError(
                f"{where}: volume {name!r} {problem}{hint}; correct or remove the line"
            )
        ends = (cells.get("low"), cells.get("high"))
        numbers = [_number(end, where, is_comma=delimiter == ",") for end in ends]
        if None in numbers:
            raise ValueError(
                f"{where}: low and high must be numbers, got {ends[0]!r}, {ends[1]!r}; correct the "
                "line"
            )
        windows[name] = check_window([end for end in numbers if end is not None], where=where)
    return windows


def _decoded(path: Path) -> str:
    """Returns the text of a file in the encodings that spreadsheets write."""
    raw = path.read_bytes()
    if raw.startswith(WORKBOOKS):
        raise ValueError(f"{path}: is an Excel workbook; save it as CSV in UTF-8")
    if raw[:2] in (b"\xff\xfe", b"\xfe\xff"):
        encodings = ["utf-16"]
    elif b"\0" in raw[:64]:
        encodings = ["utf-16-le" if raw[1:2] == b"\0" else "utf-16-be"]
    else:
        encodings = ["utf-8-sig", "cp1252"]
    for encoding in encodings:
        try:
            return raw.decode(encoding)
        except UnicodeDecodeError:
            continue
    raise ValueError(f"{path}: is not UTF-8 text; save it as CSV in UTF-8")


def _table(path: Path, text: str) -> tuple[str | None, list[str], list[_Row]]:
    """Returns the delimiter, the names of the columns in lower case, and the other rows.

    Raises:
      ValueError: No delimiter gives the columns wanted, or one is there twice.
    """
    lines = text.splitlines()
    if lines and re.fullmatch(r"sep=.", lines[0].strip(), re.I):
        lines[0] = ""  # a line for Excel
    if lines and all(re.fullmatch(r'"[^"]*"', line.strip()) for line in lines if line.strip()):
        lines = [line.strip().strip('"') for line in lines]  # a table saved as one column
    tables = {}
    for delimiter in DELIMITERS:
        rows = list(_rows(lines, delimiter))
        header = [field.casefold() for field in rows[0].fields] if rows else []
        if set(COLUMNS) <= set(header):
            twice = [name for name in COLUMNS if header.count(name) > 1]
            if twice:
                raise ValueError(f"{path}: has two columns {twice[0]}; keep one")
            return delimiter, header, rows[1:]
        tables[delimiter] = rows[0].fields if rows else []
    got = max(tables.values(), key=len)
    raise ValueError(
        f"{path}: expected columns {', '.join(COLUMNS)}, got {short(got)}; add a header line"
    )


def _rows(lines: list[str], delimiter: str | None) -> Iterator[_Row]:
    """Yields the rows that hold anything."""
    if delimiter is None:
        for number, line in enumerate(lines, start=1):
            if line.split():
                yield _Row(number, line.split())
        return
    reader = csv.reader(lines, delimiter=delimiter, skipinitialspace=True)
    for fields in reader:
        fields = [field.strip().strip("\u00a0\u202f") for field in fields]
        if any(fields):
            yield _Row(reader.line_num, fields)


def _volume(text: str, names: Sequence[str]) -> str:
    """Returns the volume that a name or the path of an image file stands for, if there is one."""
    name = composed(text.strip())
    if name in names:
        return name
    name = stem(re.split(r"[/\\]", name)[-1])
    bare = without_channel(name)
    return bare if name not in names and bare in names else name


def _number(text: str | None, where: str, *, is_comma: bool) -> float | None:
    """Returns a number, None where it is none.

    Raises:
      ValueError: It may be thousands or decimals.
    """
    plain = (text or "").translate(MINUS).replace("\u00a0", "").replace("\u202f", "").strip(" '")
    plain = re.sub(r"\s*hu$", "", plain, flags=re.I)
    plain = re.sub(r"^([+-])\s+", r"\1", plain)
    if not NUMBER.fullmatch(plain):
        return None
    # A point in a file with commas between its columns is a decimal point.
    if DOUBTFUL.fullmatch(plain) and not (is_comma and "." in plain):
        digits = re.sub(r"[.,]", "", plain)
        raise ValueError(
            f"{where}: {text} may mean {digits} or {plain.replace(',', '.')}; write the number "
            "without separator of thousands and with a decimal point"
        )
    return float(plain.replace(",", "."))
