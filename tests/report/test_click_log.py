import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from ecc_jax.report.click_log import COLUMNS, read_click_log, write_click_log
from ecc_jax.report.measures import MEASURES
from ecc_jax.report.results import ClickRecord, MethodResult
from tests.reports import record_of, slices_of

_measures = [measure.name for measure in MEASURES]
_floats = st.floats(0, 1, width=32) | st.just(float("nan"))
# Names are whatever a file system allows; line breaks are not text a dataset's names have.
_names = st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs")), max_size=8)


@st.composite
def _evaluations(draw):
    m = draw(st.integers(1, 4))
    results = {}
    for name in draw(st.lists(_names, min_size=1, max_size=3, unique=True)):
        k = draw(st.integers(1, 4))
        taken = ["iou", *draw(st.sets(st.sampled_from(_measures[1:])))]
        scores = {
            t: draw(arrays.arrays(np.float32, (m, k), elements=_floats))
            for t in _measures
            if t in taken
        }
        clicks = None
        if draw(st.booleans()):
            clicks = record_of(m, k, seed=draw(st.integers(0, 99)))
            places = draw(
                arrays.arrays(np.float32, (m, k, 2), elements=st.floats(-9, 600, width=32))
            )
            clicks = clicks._replace(yx=places * clicks.clicked[..., None])
        results[name] = MethodResult(scores, clicks)
    entries = st.fixed_dictionaries(
        {
            "patient": _names,
            "volume": _names,
            "slice_index": st.integers(0, 10**6),
            "lesion_area": st.integers(0, 10**6),
        }
    )
    key = lambda e: (e["patient"], e["volume"], e["slice_index"])  # noqa: E731
    return results, draw(st.lists(entries, min_size=m, max_size=m, unique_by=key))


def _assert_same(got: MethodResult, expected: MethodResult):
    assert list(got.scores) == list(expected.scores)
    for measure, values in expected.scores.items():
        assert got.scores[measure].dtype == np.float32
        np.testing.assert_array_equal(got.scores[measure], values)
    assert (got.clicks is None) == (expected.clicks is None)
    for part, wanted in zip(got.clicks or (), expected.clicks or (), strict=True):
        assert part.dtype == wanted.dtype
        np.testing.assert_array_equal(part, wanted)


@given(_evaluations())
def test_what_is_written_is_read_back_bit_for_bit(tmp_path_factory, evaluation):
    results, slices = evaluation
    path = tmp_path_factory.mktemp("log") / "per_click.csv"
    assert write_click_log(path, results, slices) == path
    got, entries = read_click_log(path)
    assert entries == slices
    assert list(got) == list(results)
    for name, result in results.items():
        _assert_same(got[name], result)


def _small(tmp_path):
    """Two slices; the model has two clicks, the second slice needs but one; flooding has none."""
    clicks = ClickRecord(
        yx=np.array([[[1.5, 2], [3, 4]], [[5, 1 / 3], [0, 0]]], np.float32),
        radius=np.array([[2, 0.1], [7, 0]], np.float32),
        is_positive=np.array([[True, False], [True, False]]),
        clicked=np.array([[True, True], [True, False]]),
    )
    scores = {
        "iou": np.array([[0.5, 0.75], [1, 1]], np.float32),
        "nsd": np.array([[np.nan, np.nan], [0.9, 1]], np.float32),
    }
    results = {
        "model": MethodResult(scores, clicks),
        "flooding": MethodResult({"iou": np.full((2, 1), 0.2)}),
    }
    return write_click_log(tmp_path / "per_click.csv", results, slices_of("ab"))


def test_one_line_per_slice_method_and_click(tmp_path):
    lines = _small(tmp_path).read_text().splitlines()
    assert lines == [
        ",".join(COLUMNS),
        'a,"v,a",0,10,model,1,1,1,1.5,2,2,0.5,,nan,',
        'a,"v,a",0,10,model,2,1,0,3,4,0.100000001,0.75,,nan,',
        'a,"v,a",0,10,flooding,1,,,,,,0.200000003,,,',
        'b,"v,b",1,11,model,1,1,1,5,0.333333343,7,1,,0.899999976,',
        'b,"v,b",1,11,model,2,0,,,,,1,,1,',
        'b,"v,b",1,11,flooding,1,,,,,,0.200000003,,,',
    ]


def test_order_of_the_lines_does_not_matter(tmp_path):
    path = _small(tmp_path)
    results, slices = read_click_log(path)
    heading, *lines = path.read_text().splitlines()
    path.write_text("\n".join([heading, *lines[::-1]]) + "\n")
    turned, entries = read_click_log(path)
    assert entries == slices[::-1]
    for name, result in results.items():
        np.testing.assert_array_equal(turned[name].scores["iou"], result.scores["iou"][::-1])
    np.testing.assert_array_equal(turned["model"].clicks.yx, results["model"].clicks.yx[::-1])


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("patient,", "subject,", "line 1: expected the columns patient,"),
        (",nan,\n", ",nan\n", "line 2: expected 15 cells, got 14"),
        ("1.5,2,2,", "1.5,two,2,", "line 2, column x: expected a number, got 'two'"),
        ("1.5,2,2,", "1.5,nan,2,", "line 2, column x: expected a finite number, got 'nan'"),
        (",0.75,", ",inf,", "line 3, column iou: expected a finite number, got 'inf'"),
        (",0.75,", ",,", "line 3, column iou: expected a number, got nothing"),
        (",0.75,,", ",0.75,0.5,", "line 3, column dice: expected nothing, got a number"),
        ("model,2,1,0,", "model,2,1,2,", "line 3, column positive: expected 0 or 1, got '2'"),
        ("model,2,0,,", "model,2,0,1,", "line 6, column positive: expected nothing"),
        ("model,2,1,0,3,", "model,2,1,0,,", "line 3, column y: expected a number, got nothing"),
        (
            "model,2,1,0,",
            "model,1,1,0,",
            "line 3, column click: expected each slice, row and click",
        ),
        ("model,2,1,0,", "model,0,1,0,", "line 3, column click: expected 1 or more, got 0"),
        ("model,2,1,0,", "model,999999999,1,0,", "row 'model' must have 2 slices x 4 clicks"),
        ("model,2,1,0,", "model,b,1,0,", "line 3, column click: expected a whole number, got 'b'"),
        ("0,10,flooding", "0,12,flooding", "line 4, column area: expected 10 as before, got '12'"),
        ("0,10,flooding", "2,10,flooding", "must have 3 slices x 2 clicks, got 4 lines"),
    ],
)
def test_damaged_files_are_refused_with_place_and_remedy(tmp_path, old, new, message):
    path = _small(tmp_path)
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(ValueError) as error:
        read_click_log(path)
    assert message in str(error.value)
    assert str(path) in str(error.value) and "evaluat" in str(error.value)


def test_files_cut_short_and_of_earlier_versions(tmp_path):
    path = _small(tmp_path)
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[:-1]))
    with pytest.raises(ValueError, match="'flooding' must have 2 slices x 1 clicks, got 1 lines"):
        read_click_log(path)
    path.write_text(lines[0])
    with pytest.raises(ValueError, match="no line below its heading"):
        read_click_log(path)
    path.write_text("patient,volume,slice,area,row,iou_1,iou_2\n")
    with pytest.raises(ValueError, match="earlier versions lack them: evaluate again"):
        read_click_log(path)
    path.write_text("")
    with pytest.raises(ValueError, match="line 1"):
        read_click_log(path)
