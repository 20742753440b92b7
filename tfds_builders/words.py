"""Lists of names in messages."""

import difflib
from collections.abc import Iterable, Sequence
from typing import Any

MAX_NAMES = 10
# Of two names, the share of letters in common from which one may be a slip of the pen.
LIKENESS = 0.6


def short(items: Sequence[Any], most: int = MAX_NAMES) -> str:
    """Returns the first few of a list, and how many more there are."""
    rest = len(items) - most
    shown = ", ".join(str(item) for item in items[:most])
    return (shown + (f" and {rest} more" if rest > 0 else "")) or "none"


def nearest(name: str, others: Iterable[str]) -> str:
    """Returns the name most like another one, nothing if none is.

    Names that differ only in upper and lower case, or by zeros that a spreadsheet took away, come
    first.
    """
    others = list(others)
    alike = [other for other in others if _core(other) == _core(name)]
    return next(iter(alike or difflib.get_close_matches(name, others, 1, LIKENESS)), "")


def _core(name: str) -> str:
    return name.casefold().lstrip("0")
