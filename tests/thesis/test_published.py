"""The published numbers: complete, and in agreement with each other where tables repeat them."""

import collections
import re
from pathlib import Path

import pytest

from ecc_jax.thesis import published, rows
from ecc_jax.thesis.published import NOTES, Score, notes_of, numbers

ROOT = Path(__file__).parents[2]


def test_tables_are_complete():
    sizes = collections.Counter(number.table for number in numbers())
    # 10 sets x 3, 2 methods x 3, 3 rows x 5, 2 rows x 5 x 2, 5 rows x 6, 2 x 5 x 5.
    assert sizes == {1: 30, 2: 6, 3: 15, 4: 20, 5: 30, 6: 50}
    places = [(number.table, number.row, number.column) for number in numbers()]
    assert len(set(places)) == len(places)
    assert set(published.TITLES) == set(sizes)


def test_a_number_that_stands_in_several_tables_is_the_same():
    found = collections.defaultdict(set)
    for number in numbers():
        if isinstance(number.meaning, Score):
            found[number.meaning].add(number.value)
    assert all(len(values) == 1 for values in found.values())
    # Tables 3 and 4 share ten, 3 or 4 and 5 five, 4 and 6 ten.
    assert len(found) == 15 + 20 + 30 + 50 - 10 - 5 - 10


@pytest.mark.parametrize(
    ("table", "row", "column", "value"),
    [
        (1, "LIDC 2D", "Train", 5097),
        (1, "COMBINED 2D S", "Test", 96),
        (2, "Active Contours", "Validation", 0.252),
        (3, "U-Net++", "LITS 2D", 0.734),
        (4, "FocalClick, dynamic", "MD PANC 2D", 0.815),
        (5, "RITM_D", "IoU@5", 0.834),
        (5, "FocalClick", "error@20", 0.129),
        (6, "LIDC 2D, static", "LITS 2D", 0.187),
        (6, "COMBINED 2D, dynamic", "KITS 2D", 0.851),
    ],
)
def test_numbers_as_printed(table, row, column, value):
    (found,) = [n for n in numbers() if (n.table, n.row, n.column) == (table, row, column)]
    assert found.value == value


def test_leaves_quote_the_same_numbers():
    """The docstring of every leaf names its IoU after one click on the five sets."""
    for row in rows.ROWS:
        text = (ROOT / "configs" / row.leaf).read_text(encoding="utf-8")
        after = text[text.index("IoU after one click") :]
        quoted = re.findall(r"(LIDC|KITS|LITS|PANC|COMBINED) (0\.\d{3})", after)
        wanted = {
            name.split("_2d")[0].split("_")[-1].upper(): f"{n.value:.3f}"
            for n in numbers()
            if isinstance(n.meaning, Score) and n.meaning.row == row and n.meaning.click == 1
            for name in [n.meaning.tested_on]
            if n.meaning.trained_on == name
        }
        assert dict(quoted) == wanted, row.leaf


def test_every_note_is_used_and_numbers_have_those_that_concern_them():
    used = {note for number in numbers() for note in notes_of(number)}
    assert used == set(range(len(NOTES)))
    texts = {
        (n.table, n.row, n.column): " ".join(NOTES[i].text for i in notes_of(n)) for n in numbers()
    }
    assert "by slice" not in texts[6, "LIDC 2D, dynamic", "KITS 2D"]
    assert "by slice" not in texts[6, "COMBINED 2D, dynamic", "LIDC 2D"]
    assert "by slice" in texts[6, "COMBINED 2D, dynamic", "KITS 2D"]
    assert "by slice" in texts[6, "KITS 2D, static", "COMBINED 2D"]
    assert "by slice" in texts[3, "U-Net++", "COMBINED 2D"]
    assert "by slice" not in texts[5, "RITM", "IoU@5"]
    assert "416, 57 and 127" in texts[1, "LIDC 2D", "Train"]
    assert texts[1, "KITS 2D S", "Train"] == ""
    assert "mean Dice of 0.563" in texts[2, "Flooding", "Test"]
    assert "random clicks" in texts[3, "RITM", "LIDC 2D"]
    assert "random clicks" not in texts[4, "RITM, dynamic", "LIDC 2D"]
    # Jensen: mean Dice <= 2 IoU / (1 + IoU) of the mean IoU.
    told = [float(text) for text in re.findall(r"0\.\d{3}", texts[2, "Flooding", "Test"])]
    assert len(told) == 4
    for dice, least in zip(told[:2], told[2:], strict=True):
        assert dice / (2 - dice) == pytest.approx(least, abs=1e-3)
