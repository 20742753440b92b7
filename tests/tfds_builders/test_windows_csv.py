"""windows.csv as people and spreadsheets write it: read where it can mean one thing only."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfds_builders.ct_folder_2d.windows import find_file, read_windows, unread

NAMES = ["case_1", "case_2", "Müller", "007"]
WINDOW = (-150.0, 250.0)


def read(folder, content, encoding="utf-8"):
    path = folder / "windows.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode(encoding))
    return read_windows(path, NAMES)


@pytest.mark.parametrize(
    "text",
    [
        "volume,low,high\ncase_1,-150,250\n",
        "volume;low;high\ncase_1;-150;250\n",
        "volume\tlow\thigh\ncase_1\t-150\t250\n",
        "volume|low|high\ncase_1|-150|250\n",
        "volume  low high\ncase_1   -150  250\n",
        "sep=;\nvolume;low;high\ncase_1;-150;250\n",
        "Volume,LOW, High \ncase_1,-150,250\n",
        '"volume","low","high"\n"case_1","-150","250"\n',
        '"volume,low,high"\n"case_1,-150,250"\n',
        "volume;low;high\ncase_1;-150,0;250,0\n",
        "volume;low;high\ncase_1;-150,00;+250,\n",
        'volume,low,high\ncase_1,"-150,0","250,0"\n',
        "volume\tlow\thigh\ncase_1\t-1,5e2\t250\n",
        "volume,low,high\ncase_1,\u2212150,250\n",
        "volume,low,high\ncase_1,\u2013150,250\n",
        "volume,low,high\ncase_1,- 150 HU,250 hu\n",
        "volume,low,high\ncase_1,\u00a0-150,250\u202f\n",
        "volume,low,high\n\ncase_1,-150,250\n,,\n , ,\n",
        "volume;low;high;;\ncase_1;-150;250;;\n;;;;\n",
        "volume,low,high\r\ncase_1,-150,250\r\n",
        "volume,low,high\rcase_1,-150,250\r",
        "high,comment,low,volume\n250,lung,-150,case_1\n",
        "volume,low,high\ncase_1.nii.gz,-150,250\n",
        "volume,low,high\ncase_1_0000.nii.gz,-150,250\n",
        "volume,low,high\nimagesTr\\case_1_0000.nii,-150,250\n",
        "volume,low,high\nimages/case_1.hdr,-150,250\n",
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le"])
def test_one_meaning_is_read(tmp_path, text, encoding):
    assert read(tmp_path, text, encoding) == {"case_1": WINDOW}


@pytest.mark.parametrize("encoding", ["utf-8", "cp1252", "utf-16"])
@pytest.mark.parametrize("name", ["Müller", "Mu\u0308ller"])
def test_names_with_accents(tmp_path, name, encoding):
    if encoding == "cp1252":
        name = "Müller"  # it has no separate accents
    text = f"volume;low;high\n{name};-150;250\n"
    assert read(tmp_path, text, encoding) == {"Müller": WINDOW}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("volume,low,high\ncase_1,-150,0,250,0\n", "line 2: has 5 fields under 3 columns; write"),
        ("volume,low,high\n\ncase_1,-150,0,250\n", "line 3: has 4 fields under 3 columns"),
        ("volume;low;high\ncase_1;-1.000;250\n", "-1.000 may mean -1000 or -1.000; write the"),
        ("volume;low;high\ncase_1;-1,000;250\n", "-1,000 may mean -1000 or -1.000"),
        ('volume,low,high\ncase_1,"-1,000",250\n', "-1,000 may mean -1000 or -1.000"),
        ("volume;low;high\ncase_1;-150;1.024,5\n", "numbers, got '-150', '1.024,5'"),
        ("volume;low;high\ncase_1;(150);250\n", "must be numbers, got '(150)', '250'"),
        ("volume,low,high\ncase_1,nan,250\n", "must be numbers, got 'nan', '250'"),
        ("volume;low;high\ncase_1;250;-150\n", "low < high"),
        ("volume;low;high\ncase1;0;1\n", "'case1' is not in the folder, perhaps 'case_1' is meant"),
        ("volume;low;high\nCASE_2;0;1\n", "not in the folder, perhaps 'case_2' is meant"),
        ("volume;low;high\n7;0;1\n", "'7' is not in the folder, perhaps '007' is meant"),
        ("volume;low;high\nxyz;0;1\n", "'xyz' is not in the folder; correct or remove"),
        (
            "volume;low;high\ncase_1;0;1\ncase_1.nii;0;1\n",
            "line 3: volume 'case_1' is listed twice",
        ),
        ("case_1;-150;250\n", "expected columns volume, low, high, got case_1, -150, 250; add a"),
        ("volume;lower;upper\ncase_1;0;1\n", "got volume, lower, upper; add a header line"),
        ("volume;low;high;low\ncase_1;0;1;2\n", "has two columns low; keep one"),
        ("\n\n", "got none"),
    ],
)
def test_another_meaning_is_possible_or_none(tmp_path, text, says):
    with pytest.raises(ValueError, match=re.escape(says)) as caught:
        read(tmp_path, text)
    assert "windows.csv" in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("head", [b"PK\x03\x04\x14\x00", b"\xd0\xcf\x11\xe0\xa1\xb1"])
def test_a_workbook_is_no_table(tmp_path, head):
    with pytest.raises(ValueError, match="is an Excel workbook; save it as CSV"):
        read(tmp_path, head + bytes(100))


def test_text_of_no_known_encoding(tmp_path):
    with pytest.raises(ValueError, match="is not UTF-8 text; save it as CSV in UTF-8"):
        read(tmp_path, b"volume;low;high\nM\x81ller;0;1\n")


NUMBERS = st.integers(-9999, 9999).map(lambda tenths: tenths / 10)


@given(
    low=NUMBERS,
    high=NUMBERS,
    delimiter=st.sampled_from(";\t|"),
    comma=st.booleans(),
    minus=st.sampled_from("-\u2212\u2013"),
    order=st.permutations(["volume", "low", "high"]),
)
def test_every_spelling_of_a_window(tmp_path_factory, low, high, delimiter, comma, minus, order):
    folder = tmp_path_factory.mktemp("csv")

    def spelled(number):
        text = f"{number:.1f}".replace("-", minus)
        return text.replace(".", ",") if comma else text

    cells = {"volume": "case_2", "low": spelled(low), "high": spelled(high)}
    rows = (order, [cells[key] for key in order])
    text = "".join(delimiter.join(row) + "\n" for row in rows)
    if low < high:
        assert read(folder, text) == {"case_2": (low, high)}
    else:
        with pytest.raises(ValueError, match="low < high"):
            read(folder, text)


def test_the_file_is_found_in_any_case_and_its_kin_are_told(tmp_path):
    assert find_file(tmp_path) == tmp_path / "windows.csv"
    (tmp_path / "Windows.CSV").touch()
    assert find_file(tmp_path) == tmp_path / "Windows.CSV"
    (tmp_path / "windows.csv").touch()
    assert find_file(tmp_path) == tmp_path / "windows.csv"
    for name in ("windows.xlsx", "windows.csv.txt", "Windows.tsv", "other.csv", "windowsill.csv"):
        (tmp_path / name).touch()
    assert set(unread(tmp_path)) == {"windows.xlsx", "windows.csv.txt", "Windows.tsv"}
