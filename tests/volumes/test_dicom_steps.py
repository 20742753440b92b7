"""Positions of slices: rounding alone is never refused, lost and moved slices always are."""

import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from ecc_jax import volumes
from ecc_jax.volumes import FileRemark
from ecc_jax.volumes.dicom_steps import SpacingError, check_steps
from tests.raw_layouts import lidc
from tests.raw_layouts.lidc import Scan

FOLDER = Path("series")
UNITS = (1.0, 0.5, 0.25, 0.2, 0.1, 0.05, 0.01, 0.001)


def check(z):
    z = np.asarray(z, float)
    check_steps(z, [Path(f"{k}.dcm") for k in range(len(z))], FOLDER)


def refusal(z):
    with pytest.raises(SpacingError) as caught:
        check(z)
    assert str(caught.value).startswith("series: ") and "\n" not in str(caught.value)
    return str(caught.value)


@st.composite
def rounded(draw, least=2):
    """A unit and even positions rounded to it (half up), from whole numbers: no float is rounded.

    Steps are of 3 units or more, as 0.45 mm slices have at 0.1 mm, 2.5 mm slices nearly at 1 mm.
    """
    unit = draw(st.sampled_from(UNITS))
    count = draw(st.integers(least, 90))
    start = draw(st.integers(-400_000, 400_000))
    step = draw(st.integers(max(3000, round(300 / unit)), max(20_000, round(5000 / unit))))
    return unit, np.array([(start + step * k + 500) // 1000 for k in range(count)]) * unit


@given(rounded())
@settings(max_examples=60)
def test_rounding_alone_is_never_refused(case):
    _, z = case
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FileRemark)
        check(z)


@given(rounded(least=4), st.data())
@settings(max_examples=60)
def test_a_lost_slice_is_found(case, data):
    _, z = case
    lost = data.draw(st.integers(1, len(z) - 2))
    refusal(np.delete(z, lost))


@given(rounded(least=4), st.data(), st.sampled_from([-1, 1]), st.floats(1.0, 1.4))
@settings(max_examples=60)
def test_a_moved_slice_is_found(case, data, sign, far):
    """By more than rounding of it and of both neighbours can undo."""
    unit, z = case
    step = float(np.diff(z).mean())
    moved = data.draw(st.integers(1, len(z) - 2))
    z[moved] += sign * far * max(2 * unit, 0.21, 0.11 * step)
    assume((np.diff(z) > 0.02).all())
    refusal(z)


@given(rounded(least=2), st.data())
@settings(max_examples=50)
def test_a_slice_twice_is_found(case, data):
    _, z = case
    again = data.draw(st.integers(0, len(z) - 1))
    assert "1 duplicate slices" in refusal(np.insert(z, again, z[again]))


@pytest.mark.parametrize("step", [0.3, 0.45, 0.5, 0.6, 0.625, 0.7, 0.75, 0.8, 1.25, 2.5, 3.75])
def test_tenths_of_a_millimetre_say_nothing(step):
    """Half way between two tenths, floats go either way."""
    rng = np.random.default_rng(0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for start in (-400.0, -123.45, 0.05, *rng.uniform(-400, 0, 20)):
            check(np.round(start + step * np.arange(rng.integers(5, 400)), 1))


@pytest.mark.parametrize(
    "store",
    [
        lambda z: np.float32(z).astype(float),
        lambda z: z + 0.0437,
        lambda z: np.round(np.round(z, 2), 1),
        lambda z: np.round(-z, 1)[::-1],
    ],
    ids=["single precision", "moved after rounding", "rounded twice", "head first"],
)
def test_tenths_stored_in_other_ways(store):
    for start in np.random.default_rng(1).uniform(-900, 900, 20):
        check(store(np.round(start + 0.45 * np.arange(300), 1)))


def test_steps_rounded_one_by_one_are_even():
    check(-100 + np.cumsum(np.full(200, round(0.625, 1))))


@pytest.mark.parametrize(
    ("step", "unit", "count"), [(2.5, 1, 6), (2.5, 1, 300), (0.625, 0.5, 40), (1.25, 1, 60)]
)
def test_coarse_rounding_is_remarked(step, unit, count):
    z = np.round(np.arange(count) * step / unit) * unit
    with pytest.warns(FileRemark, match=f"positions rounded to {unit} mm; taken as even") as caught:
        check(z)
    assert [(w.message.kind, w.message.path) for w in caught] == [
        ("slice positions are rounded", FOLDER)
    ]


def test_slices_thinner_than_the_rounding_are_refused():
    message = refusal(np.round(0.45 * np.arange(50)))
    assert "duplicate slices" in message and "if these are rounded to 1 mm, too coarsely" in message


def test_lost_slices_do_not_pass_as_coarse_rounding():
    """1 mm slices without the 15th could be 1.03 mm slices in whole millimetres; nobody knows."""
    z = np.arange(40.0)
    message = refusal(np.delete(z, 15))
    assert "about 1 slices missing, first between 14.dcm and 15.dcm" in message
    assert message.endswith("if these are rounded to 1 mm, too coarsely")
    assert "slices missing" in refusal(np.delete(z, [10, 25]))
    assert "slices missing" in refusal(np.delete(2 * z, [9, 10]))


@pytest.mark.parametrize(
    ("z", "says"),
    [
        ([0, 2, 4, 6.5, 8, 10], "unevenly spaced, 1.50 to 2.50 mm"),
        ([0, 2, 4, 7, 8, 10], "unevenly spaced, 1.00 to 3.00 mm"),
        ([0, 3, 6, 9, 12, 14, 18, 21], "unevenly spaced, 2.00 to 4.00 mm"),
        ([*range(0, 40, 2), *range(40, 100, 3)], "unevenly spaced, 2.00 to 3.00 mm"),
        ([0, 1.37, 2, 3.37, 4], "unevenly spaced, 0.63 to 1.37 mm"),
    ],
)
def test_uneven_slices_of_round_positions(z, says):
    assert says in refusal(z)


@pytest.mark.filterwarnings("ignore:.*positions rounded")
@pytest.mark.parametrize("angle", [0, 3, 17, 30, 45])
@pytest.mark.parametrize("places", [1, 2])
def test_oblique_slices_rounded_in_each_coordinate(tmp_path, angle, places):
    """The plane is turned about two axes; each coordinate of a position is rounded by itself."""
    c, s = np.cos(np.deg2rad(angle)), np.sin(np.deg2rad(angle))
    row, column = np.array([c, 0, -s]), np.array([s * s, c, s * c])
    scan = Scan(orientation=tuple(np.round([*row, *column], 6).tolist()), step_mm=0.45)
    folder = lidc.write_series(tmp_path / "s", np.zeros((30, 4, 5)) - 1000, scan)
    normal = np.cross(row, column)
    files = sorted(folder.glob("*.dcm"))
    for k, path in enumerate(files):
        position = np.round(normal * (0.45 * k) + [-50.3, -40.7, -100.1], places)
        lidc.edit(path, ImagePositionPatient=position.tolist())
    assert volumes.read_series(folder).spacing_mm[0] == pytest.approx(0.45, abs=0.01)
    files[11].unlink()
    with pytest.raises(ValueError, match="slices missing|unevenly spaced"):
        volumes.read_series(folder)


def test_whole_millimetres_in_files(tmp_path):
    hu = np.random.default_rng(0).integers(-1000, 1000, (8, 6, 7)).astype(np.int16)
    folder = lidc.write_series(tmp_path / "s", hu)
    for k, path in enumerate(sorted(folder.glob("*.dcm"))):
        lidc.edit(path, ImagePositionPatient=[-50, -40, round(2.5 * k)])
    with pytest.warns(FileRemark, match="rounded to 1 mm"):
        volume = volumes.read_series(folder)
    assert volume.spacing_mm[0] == pytest.approx(18 / 7)
    np.testing.assert_array_equal(volume.image_hu, hu)
