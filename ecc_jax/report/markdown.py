"""Tables and numbers in Markdown."""

import math
from collections.abc import Sequence


def table(heading: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """Returns a Markdown table, numbers to the right; no text in it can break it."""
    rule = [":--", *["--:"] * (len(heading) - 1)]
    if not any(heading):
        rule = [":--"] * len(heading)
    escaped = [[_cell(text) for text in cells] for cells in [heading, *lines]]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in [escaped[0], rule, *escaped[1:]])


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def number(value: float | int | None, form: str) -> str:
    """Returns a formatted number; a dash where there is none."""
    return "–" if value is None or math.isnan(value) else format(value, form)


def signed(value: float | int | None, form: str = "+.3f") -> str:
    """Returns a number with its sign, minus as a real minus."""
    return number(value, form).replace("-", "−")


def interval(low: float | None, high: float | None, form: str = "+.3f") -> str:
    """Returns `low to high`; empty where there is no interval."""
    if low is None or high is None or math.isnan(low) or math.isnan(high):
        return ""
    return f"{signed(low, form)} to {signed(high, form)}"


def with_interval(value: float | int | None, low: float | None, high: float | None) -> str:
    """Returns a signed number with its interval in brackets, if there is one."""
    extent = interval(low, high)
    return f"{signed(value)} ({extent})" if extent else signed(value)
