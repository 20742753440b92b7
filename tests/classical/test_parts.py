"""A search in parts: killed and continued, on one process or several."""

import numpy as np
import pytest

from ecc_jax.classical import flooding, parts, search
from tfds_builders.workers import results_in_order

COUNT, SIZE = 9, 16
CLICKS = np.tile([8.0, 7.0, 4.0], (COUNT, 1))
VALUES = np.array([20.0, 60.0, 500.0])


def read(position):
    """A noisy slice with a lesion, for any position."""
    y, x = np.indices((SIZE, SIZE))
    target = np.hypot(y - 8, x - 7) <= 3 + position % 3
    noise = np.random.default_rng(position).normal(0, 20, target.shape)
    return target * 100 + noise, target.astype(np.uint8)


def plan(folder, **changes):
    given = {"method": "flooding_hu", "positions": np.arange(COUNT), "clicks": CLICKS}
    given |= {"values": VALUES, "source": "a test", **changes}
    return parts.parts_of(read=read, folder=folder, **given)


def run(planned, jobs=1):
    with results_in_order(parts.score_part, planned, jobs=jobs) as results:
        return parts.table_of(planned, iter(results))


def test_the_table_is_that_of_the_slices_one_by_one(tmp_path):
    table = run(plan(tmp_path))
    assert table.shape == (COUNT, 3) and len(set(table[:, 1])) > 1
    for position, row in enumerate(table):
        image, target = read(position)
        case = search.Case(image, (8.0, 7.0), 4.0)
        np.testing.assert_array_equal(row, search.score(flooding.flood_each, case, target, VALUES))


def test_a_killed_search_goes_on_with_what_was_scored(tmp_path):
    planned = plan(tmp_path)
    whole = run(planned)
    assert len(planned) == 3
    planned[1].file.unlink()
    times = [planned[i].file.stat().st_mtime_ns for i in (0, 2)]
    np.testing.assert_array_equal(run(plan(tmp_path)), whole)
    assert [planned[i].file.stat().st_mtime_ns for i in (0, 2)] == times


@pytest.mark.slow
def test_several_processes_find_the_same(tmp_path):
    alone, together = run(plan(tmp_path / "one")), run(plan(tmp_path / "two"), jobs=2)
    np.testing.assert_array_equal(alone, together)


@pytest.mark.parametrize(
    "changes",
    [
        {"method": "flooding"},
        {"positions": np.arange(COUNT) + 1},
        {"clicks": CLICKS + 1},
        {"values": VALUES + 1},
        {"source": "another split"},
    ],
)
def test_a_changed_search_takes_no_scores_of_another(tmp_path, changes):
    ours, others = plan(tmp_path), plan(tmp_path, **changes)
    assert not {part.file for part in ours} & {part.file for part in others}


@pytest.mark.parametrize("text", ["", "[[1.0, 2.0]]", '{"a": 1}', "[[1, 2, 3], [1]]"])
def test_a_damaged_file_is_named(tmp_path, text):
    planned = plan(tmp_path)
    planned[0].file.write_text(text)
    with pytest.raises(ValueError, match=f"{planned[0].file.name} is damaged.*delete it"):
        run(planned)
