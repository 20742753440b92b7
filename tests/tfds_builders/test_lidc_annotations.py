import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.raw_layouts import lidc, lidc_oracle
from tests.raw_layouts.lidc import Ball
from tfds_builders.lidc_2d import annotations, outlines

SHAPE = (12, 48, 60)
# Two nodules that reach one slice together, one of two readers, one of one.
BALLS = (
    Ball((4, 20, 16), (5, 6, 4, 7)),
    Ball((7, 30, 40), (4, 0, 5, 4.5)),
    Ball((9, 12, 44), (3, 3, 0, 0)),
    Ball((2, 40, 10), (0, 0, 0, 4)),
)
SQUARE = [(0, 0), (0, 1), (0, 2), (0, 3), (1, 3), (2, 3), (3, 3), (3, 2), (3, 1), (3, 0), (2, 0)]


def count_slices(path, *, level=0.5, min_annotations=3, **spacing):
    """On how many slices of a scan the consensus of any nodule is not empty."""
    groups = annotations.group_nodules(annotations.read_annotations(path), **spacing)
    agreed = [
        annotations.consensus(group, level=level, min_annotations=min_annotations)
        for group in groups
    ]
    return len(set().union(*agreed))


def position(k):
    return f"{-120.5 + 2.5 * k:.6f}"


def write(tmp_path, text, name="069.xml"):
    path = tmp_path / name
    path.write_text(text)
    return path


def read(tmp_path, *readers, **kwargs):
    return annotations.read_annotations(write(tmp_path, lidc.message(readers, **kwargs)))


def placed(masks, shape, z_of=position):
    """Returns masks by z as one array."""
    full = np.zeros(shape, bool)
    index = {float(z_of(k)): k for k in range(shape[0])}
    for z, (mask, (y, x)) in masks.items():
        full[index[z], y : y + mask.shape[0], x : x + mask.shape[1]] = mask
    return full


def test_readers_masks_come_back_from_their_outlines(tmp_path):
    path = write(tmp_path, lidc.scan_xml(BALLS, SHAPE, position, series_uid="1.2.9"))
    found = annotations.read_annotations(path)
    assert len(found) == 10 and {a.series_uid for a in found} == {"1.2.9"}
    for annotation in found:
        reader, number = (int(part) for part in annotation.nodule_id.split("-"))
        assert annotation.reader == reader and annotation.characteristics == lidc.RATINGS
        np.testing.assert_array_equal(
            placed(annotations.annotation_masks(annotation), SHAPE),
            BALLS[number].masks(SHAPE)[reader],
        )
    groups = annotations.group_nodules(found)
    assert [len(group) for group in groups] == [4, 3, 2, 1]
    union = np.zeros(SHAPE, bool)
    for group in groups:
        union |= placed(annotations.consensus(group), SHAPE)
    expected = lidc.agreed(BALLS, SHAPE)
    np.testing.assert_array_equal(union, expected)
    assert count_slices(path) == expected.any(axis=(1, 2)).sum() > 6
    assert count_slices(path) == lidc_oracle.count_slices(path)


@pytest.mark.parametrize("least", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("level", [0.25, 1 / 3, 0.5, 2 / 3, 1.0])
def test_level_and_smallest_group(tmp_path, level, least):
    path = write(tmp_path, lidc.scan_xml(BALLS, SHAPE, position))
    expected = lidc.agreed(BALLS, SHAPE, level=level - 1e-12, least=least).any(axis=(1, 2)).sum()
    assert count_slices(path, level=level, min_annotations=least) == expected


@given(st.integers(0, 10**6))
def test_counts_of_random_scans_equal_brute_force(tmp_path_factory, seed):
    """Crowded scans: groups chain, exceed four and are regrouped; outlines touch and overlap."""
    rng = np.random.default_rng(seed)
    balls = [
        Ball(
            tuple(rng.uniform((1, 12, 12), (5, 40, 40))),
            tuple(rng.choice([0, 1.2, 2, 3, 4.5], 4)),
            flat=rng.uniform(1, 4),
        )
        for _ in range(rng.integers(1, 7))
    ]
    path = tmp_path_factory.mktemp("scan") / "a.xml"
    path.write_text(lidc.scan_xml(balls, (6, 64, 64), position))
    for least in (1, 3):
        expected = lidc_oracle.count_slices(path, least=least)
        assert count_slices(path, min_annotations=least) == expected


coordinate = st.tuples(st.integers(0, 12), st.integers(0, 12))


@given(st.lists(coordinate, min_size=1, max_size=9))
def test_fill_of_any_polygon(points):
    """Self-crossing, degenerate, repeated corners: against exact arithmetic pixel by pixel."""
    origin = np.min(points, axis=0)
    edges = list(zip(points, points[1:] + points[:1], strict=True))
    for outline in (False, True):
        mask, start = outlines.fill(np.asarray(points), outline=outline)
        assert start == tuple(origin)
        for y, x in np.ndindex(mask.shape):
            py, px = y + origin[0], x + origin[1]
            on_edge = inside = False
            for (ay, ax), (by, bx) in edges:
                cross = (by - ay) * (px - ax) - (bx - ax) * (py - ay)
                between = min(ay, by) <= py <= max(ay, by) and min(ax, bx) <= px <= max(ax, bx)
                on_edge |= cross == 0 and between
                if (ay <= py) != (by <= py):
                    inside ^= (cross > 0) == (by > ay)
            assert mask[y, x] == (outline if on_edge else inside)


def test_open_outline_is_closed_and_sparse_corners_are_joined(tmp_path):
    chain = SQUARE[:8]  # ends three pixels from where it began
    for points in (SQUARE, chain, SQUARE + SQUARE[:1], [(0, 0), (0, 3), (3, 3), (3, 0)]):
        (found,) = read(tmp_path, lidc.nodule([lidc.roi("1.0", points)]))
        ((mask, origin),) = annotations.annotation_masks(found).values()
        if points is chain:
            assert mask.sum() == 3 and origin == (1, 1)  # the closing line cuts the corner off
        else:
            assert mask.all() and mask.shape == (2, 2) and origin == (1, 1)


def test_repeated_points_change_nothing(tmp_path):
    doubled = [point for point in SQUARE for _ in range(2)]
    (found,) = read(tmp_path, lidc.nodule([lidc.roi("1.0", doubled)]))
    ((mask, _),) = annotations.annotation_masks(found).values()
    assert mask.all() and mask.shape == (2, 2)


def test_negative_and_border_pixels_stay_where_they_are(tmp_path):
    points = [(y - 1, x - 1) for y, x in SQUARE]
    (found,) = read(tmp_path, lidc.nodule([lidc.roi("1.0", points)]))
    ((mask, origin),) = annotations.annotation_masks(found).values()
    assert mask.shape == (2, 2) and origin == (0, 0)


def test_hole_is_cut_out_with_its_outline(tmp_path):
    disc = np.hypot(*(np.indices((40, 40)) - 20)) < 12
    hole = np.hypot(*(np.indices((40, 40)) - 20)) < 4
    rois = [
        lidc.roi("1.0", lidc.outline(hole), inclusion="FALSE"),
        lidc.roi("1.0", lidc.outline(disc)),
    ]
    (found,) = read(tmp_path, lidc.nodule(rois))
    ((mask, (y, x)),) = annotations.annotation_masks(found).values()
    expected = disc.copy()
    expected[hole] = False
    for y0, x0 in lidc.outline(hole):
        expected[y0, x0] = False
    np.testing.assert_array_equal(np.pad(mask, ((y, 17 - y), (x, 17 - x)))[:40, :40], expected)


def test_several_outlines_of_one_nodule_on_one_slice(tmp_path):
    left, right = ([(y, x + dx) for y, x in SQUARE] for dx in (0, 3))  # they share a column
    (found,) = read(tmp_path, lidc.nodule([lidc.roi("1.0", left), lidc.roi("1.00", right)]))
    ((mask, origin),) = annotations.annotation_masks(found).values()
    assert origin == (1, 1) and mask.tolist() == [[True, True, False, True, True]] * 2


def test_hole_alone_and_line_hold_nothing(tmp_path):
    rois = [lidc.roi("1.0", SQUARE, inclusion="FALSE"), lidc.roi("2.0", [(0, 0), (5, 0)])]
    (found,) = read(tmp_path, lidc.nodule(rois))
    assert annotations.annotation_masks(found) == {} and len(found.contours) == 2


@pytest.mark.parametrize(
    "ratings",
    [None, {}, lidc.RATINGS | {"margin": 0}, lidc.RATINGS | {"texture": ""}, {"subtlety": " "}],
)
def test_nodules_without_full_characteristics_are_left_out(tmp_path, ratings):
    assert read(tmp_path, lidc.nodule([lidc.roi("1.0", SQUARE)], ratings=ratings)) == []


def test_points_are_no_contours(tmp_path):
    dot = lidc.roi("1.0", [(3, 3)])
    assert read(tmp_path, lidc.nodule([dot])) == []
    assert read(tmp_path, lidc.nodule([lidc.roi("1.0", [(3, 3), (3, 3)])])) == []
    (found,) = read(tmp_path, lidc.nodule([dot, lidc.roi("2.0", SQUARE)]))
    assert [contour.z_mm for contour in found.contours] == [2.0]


def test_readers_positions_of_one_slice_are_one_float(tmp_path):
    texts = ("-125.720001", "-125.72", "-1.2572e2", " -125.7200 ")
    found = read(tmp_path, *(lidc.nodule([lidc.roi(z, SQUARE)]) for z in texts))
    assert {c.z_mm for a in found for c in a.contours} == {-125.720001}
    assert annotations.slice_step_mm(found) == 2.5
    ((mask, _),) = annotations.consensus(found, level=1.0).values()
    assert mask.all()


def test_minus_zero_is_zero(tmp_path):
    found = read(tmp_path, *(lidc.nodule([lidc.roi(z, SQUARE)]) for z in ("-0.0", "0", "0.000")))
    (group,) = annotations.group_nodules(found)
    assert [str(z) for z in annotations.consensus(group)] == ["0.0"]


def test_step_is_the_smallest_between_contours(tmp_path):
    rois = [lidc.roi(z, SQUARE) for z in ("-10.0", "-7.0", "-5.75", "20")]
    found = read(tmp_path, lidc.nodule(rois))
    assert annotations.slice_step_mm(found) == 1.25
    assert annotations.slice_step_mm([]) == 2.5


@pytest.mark.parametrize(("gap", "together"), [(3, True), (4, False)])
def test_grouping_by_distance_in_the_slice(tmp_path, gap, together):
    """Three pixels are 2.1 mm, four 2.8 mm; a scan of one slice counts as 2.5 mm."""
    far = [(y, x + 3 + gap) for y, x in SQUARE]
    found = read(tmp_path, *(lidc.nodule([lidc.roi("1", points)]) for points in (SQUARE, far)))
    assert len(annotations.group_nodules(found)) == (1 if together else 2)
    assert len(annotations.group_nodules(found, pixel_spacing_mm=0.1)) == 1
    assert len(annotations.group_nodules(found, slice_spacing_mm=2.0)) == 2


def test_grouping_across_slices_survives_rounding(tmp_path):
    """Steps of 1.25 mm are 1.2499999999999858 and 1.25 in floating point."""
    zs = ("-122.55", "-121.3", "-120.05", "-118.8")
    found = read(tmp_path, *(lidc.nodule([lidc.roi(z, SQUARE)]) for z in zs))
    assert len(annotations.group_nodules(found)) == 1


def test_group_of_more_than_four_shrinks_the_tolerance_of_the_scan(tmp_path):
    """Two nodules of three readers, 1.4 mm apart; two whose readers are 2.1 and 0.7 mm apart."""
    near = [(y, x + 5) for y, x in SQUARE]
    far = [[(y + 30, x + 6 * i) for y, x in SQUARE] for i in range(3)]
    close = [[(y + 60, x + 4 * i) for y, x in SQUARE] for i in range(3)]

    def readers(*nodules):
        return [
            "".join(lidc.nodule([lidc.roi("1", points[i])]) for points in nodules) for i in range(3)
        ]

    one = [SQUARE] * 3
    alone = annotations.group_nodules(read(tmp_path, *readers(one, far, close)))
    assert [[a.reader for a in group] for group in alone] == [[0, 1, 2]] * 3
    # 2.5 mm shrinks six times, to 1.33 mm: less than 1.4 and 2.1, more than 0.7.
    crowded = annotations.group_nodules(read(tmp_path, *readers(one, [near] * 3, far, close)))
    sizes = sorted(len(group) for group in crowded)
    assert sizes == [1, 1, 1, 3, 3, 3]


def test_group_that_nothing_can_part(tmp_path):
    found = read(tmp_path, *(lidc.nodule([lidc.roi("1", SQUARE)]) for _ in range(6)))
    groups = annotations.group_nodules(found)
    assert [len(group) for group in groups] == [6]
    assert annotations.group_nodules([]) == []


@pytest.mark.parametrize("xmlns", ["", ' xmlns="http://www.nih.gov/idri"'])
@pytest.mark.parametrize("tag", ["SeriesInstanceUid", "SeriesInstanceUID"])
def test_dialects(tmp_path, xmlns, tag):
    square = lidc.nodule([lidc.roi("1", SQUARE)])
    (found,) = read(tmp_path, square, "", xmlns=xmlns, tag=tag, series_uid=" 1.2.7\n")
    assert found.series_uid == "1.2.7"
    assert annotations.read_reading(tmp_path / "069.xml").num_readers == 2


def error(tmp_path, text):
    path = tmp_path / "069.xml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ValueError) as caught:
        annotations.read_annotations(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)
    return str(caught.value)


def test_chest_x_ray_is_refused(tmp_path):
    text = lidc.message([""], root="IdriReadMessage", session="CXRreadingSession")
    assert "the reading of a chest X-ray (IdriReadMessage)" in error(tmp_path, text)
    assert "chest X-ray" in error(tmp_path, lidc.message([""], session="CXRreadingSession"))


BOMB = '<!DOCTYPE r [<!ENTITY a "aa"><!ENTITY b "&a;&a;">]><LidcReadMessage>&b;</LidcReadMessage>'
LEAK = '<!DOCTYPE r [<!ENTITY a SYSTEM "file:///etc/hosts">]><LidcReadMessage>&a;</LidcReadMessage>'


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "not well-formed XML"),
        (lidc.message([""])[:-9], "not well-formed XML"),
        ("hello", "not well-formed XML"),
        (b"\xff\xfe\x00", "not well-formed XML"),
        ('<?xml version="1.0" encoding="klingon"?><a/>', "not well-formed XML"),
        ("<html/>", "expected the reading of a CT (LidcReadMessage), got html"),
        (BOMB, "entities"),
        (LEAK, "entities"),
    ],
)
def test_files_that_are_no_reading(tmp_path, text, says):
    assert says in error(tmp_path, text)


@pytest.mark.parametrize(
    ("part", "says"),
    [
        (lidc.roi("here", SQUARE), "imageZposition must be a number, got 'here'"),
        (lidc.roi("nan", SQUARE), "imageZposition must be a number, got 'nan'"),
        (lidc.roi("1", [("", 2), (3, 4)]), "yCoord must be a number, got ''"),
        (lidc.roi("1", [(1.5, 2), (3, 4)]), "whole pixels"),
        (lidc.roi("1", [(1, 2), (3, 1e9)]), "whole pixels up to 4096"),
        (lidc.roi("1", SQUARE, inclusion="MAYBE"), "must be TRUE or FALSE, got 'MAYBE'"),
    ],
)
def test_fields_that_make_no_sense(tmp_path, part, says):
    message = error(tmp_path, lidc.message(["", lidc.nodule([part], name="N7")]))
    assert says in message and "reading session 2, nodule 'N7'" in message


def test_rating_that_is_no_number(tmp_path):
    for text in ("soft", "-1", "2.5"):
        part = lidc.nodule([lidc.roi("1", SQUARE)], ratings={"margin": text})
        message = error(tmp_path, lidc.message([part]))
        assert f"margin must be a whole number, got '{text}'" in message


def test_missing_file(tmp_path):
    with pytest.raises(ValueError, match="no such file"):
        count_slices(tmp_path / "none.xml")


def test_large_scan_takes_less_than_a_second(tmp_path):
    """Twice as large as the largest real files: 4 MB, eight nodules of 31 slices."""
    readers = ["".join(tube(radius, 50 * i) for i in range(8)) for radius in (14, 15, 16, 17)]
    path = write(tmp_path, lidc.message(readers))
    assert path.stat().st_size > 4e6
    start = time.process_time()
    assert count_slices(path) == 31
    assert time.process_time() - start < 2.0  # 0.7 s alone; the machine may be busy


def tube(radius, column):
    """Returns a ball of one reader, its discs drawn in windows of their own."""
    rois = []
    for k in range(40):
        if radius**2 > (k - 20) ** 2:
            disc = np.hypot(*(np.indices((40, 40)) - 20)) < np.sqrt(radius**2 - (k - 20) ** 2)
            points = [(y, x + column) for y, x in lidc.outline(disc)]
            rois.append(lidc.roi(position(k), points))
    return lidc.nodule(rois)


@given(st.integers(0, 10**9))
def test_damaged_files_raise_nothing_but_one_line(tmp_path_factory, seed):
    rng = np.random.default_rng(seed)
    path = tmp_path_factory.mktemp("damaged") / "069.xml"
    raw = bytearray(lidc.scan_xml(BALLS[:1], (6, 32, 32), position).encode())
    for _ in range(rng.integers(1, 4)):
        start = int(rng.integers(len(raw)))
        # Digits and markup, so that some files stay well-formed.
        new = rng.choice(list(b"0123456789-.e<>/ \n"), rng.integers(0, 4))
        raw[start : start + int(rng.integers(0, 4))] = bytes(new.tolist())
    path.write_bytes(raw)
    try:
        count_slices(path)
    except ValueError as caught:
        assert "\n" not in str(caught) and str(path) in str(caught)
