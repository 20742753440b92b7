"""Output that cannot be printed as it is: characters, closed pipes, full disks."""

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecc_jax import console

ROOT = Path(__file__).parents[1]
SCRIPT = """
import sys
from pathlib import Path
from ecc_jax import console
def main():
    print(sys.argv[1])
    sys.stderr.write(sys.argv[1] + "\\n")
    console.say_path(Path(sys.argv[2]))
    return 0
sys.exit(console.run(main))
"""


def _run(text, path, *, encoding, **options):
    return subprocess.run(
        [sys.executable, "-c", SCRIPT, text, path],
        cwd=ROOT,
        env={**os.environ, "PYTHONIOENCODING": encoding},
        stderr=subprocess.PIPE,
        timeout=60,
        **options,
    )


def _stream(encoding):
    raw = io.BytesIO()
    return raw, console.Lenient(io.TextIOWrapper(raw, encoding=encoding))


ANY_TEXT = st.text(st.characters(), max_size=30)  # lone surrogates too


@given(ANY_TEXT, st.sampled_from(["utf-8", "latin-1", "ascii", "cp1252", "koi8-r"]))
def test_every_text_can_be_printed_and_keeps_what_the_stream_has(text, encoding):
    raw, stream = _stream(encoding)
    assert stream.write(text) == len(text)
    stream.flush()
    assert stream.lost is None
    place, printed = 0, raw.getvalue()
    for character in text:
        known = character.encode(encoding, "ignore")
        if 0xDC80 <= ord(character) <= 0xDCFF:
            known = bytes([ord(character) - 0xDC00])
        assert printed.startswith(known, place)
        place += len(known) or _length_of_imitation(character)
    assert place == len(printed)


def _length_of_imitation(character):
    return {"≥": 2, "≤": 2, "±": 2, "→": 2, "…": 3}.get(character, 1)


@pytest.mark.parametrize(
    ("encoding", "expected"),
    [
        ("utf-8", "−0.031 ± 0.01 ≥ 3 × ü".encode()),
        ("latin-1", "-0.031 ± 0.01 >= 3 × ü".encode("latin-1")),
        ("ascii", b"-0.031 +- 0.01 >= 3 x ?"),
    ],
)
def test_signs_are_replaced_by_similar_ones(encoding, expected):
    raw, stream = _stream(encoding)
    stream.write("−0.031 ± 0.01 ≥ 3 × ü")
    stream.flush()
    assert raw.getvalue() == expected


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1", "ascii"])
@pytest.mark.parametrize(
    "path", [b"/runs/x", "/runs/Lösung−2".encode(), b"/runs/L\xf6sung", "/runs/肝".encode()]
)
def test_paths_are_the_last_line_whatever_the_encoding(encoding, path):
    done = _run("gain −0.031", path, encoding=encoding, stdout=subprocess.PIPE)
    assert done.returncode == 0, done.stderr
    text = os.fsdecode(path)
    try:
        expected = text.encode(encoding)
    except UnicodeEncodeError:
        expected = path  # its very bytes
    assert done.stdout.splitlines()[-1] == expected
    assert b"Traceback" not in done.stderr


@pytest.mark.parametrize("size", [1, 1000, 1_000_000])
def test_a_closed_pipe_is_no_error(size):
    read, write = os.pipe()
    os.close(read)
    try:
        done = _run("x" * min(size, 100_000), "/runs/x", encoding="utf-8", stdout=write)
    finally:
        os.close(write)
    assert done.returncode == 0
    assert done.stderr.strip() == b"x" * min(size, 100_000)


def test_closed_and_missing_streams_are_no_error():
    for closed in (">&-", "2>&-", ">&- 2>&-"):
        command = [sys.executable, "-c", SCRIPT, "text", "/runs/x"]
        shell = ["bash", "-c", f'"$@" {closed}', "bash", *command]
        done = subprocess.run(shell, cwd=ROOT, capture_output=True, timeout=60)
        assert done.returncode == 0, done.stderr
        assert b"Traceback" not in done.stderr


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_a_full_disk_behind_stdout_is_said():
    with open("/dev/full", "w") as full:
        done = _run("text", "/runs/x", encoding="utf-8", stdout=full)
    assert done.returncode == 1
    last = done.stderr.decode().splitlines()[-1]
    assert last == "error: cannot write to standard output: No space left on device"


def test_work_goes_on_when_nobody_reads_stderr(tmp_path):
    script = """
import sys, warnings
from ecc_jax import console
console.make_lenient()
from tqdm import tqdm
for i in tqdm(range(3), file=sys.stderr, mininterval=0):
    tqdm.write(f"step {i}", file=sys.stderr)
    warnings.warn(f"odd {i}")
open(sys.argv[1], "w").write("done")
"""
    read, write = os.pipe()
    os.close(read)
    try:
        command = [sys.executable, "-c", script, tmp_path / "result"]
        done = subprocess.run(command, cwd=ROOT, stderr=write, timeout=60)
    finally:
        os.close(write)
    assert done.returncode == 0
    assert (tmp_path / "result").read_text() == "done"


def test_warnings_and_errors_are_one_line_each():
    script = """
import sys, warnings
from ecc_jax import console
def main():
    warnings.warn("first\\nline")
    console.complain(ValueError("second\\n  line"))
    return 3
sys.exit(console.run(main))
"""
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 3
    assert done.stderr == "warning: first line\nerror: second line\n"


@pytest.mark.parametrize(
    ("raised", "line"),
    [
        ("ValueError('bad\\n value')", "error: bad value"),
        (
            "FileNotFoundError(2, 'No such file or directory', '/x')",
            "error: [Errno 2] No such file ",
        ),
        (
            "OSError(28, 'No space left on device', '/d/x')",
            "error: no space left in /d: free space",
        ),
        (
            "PermissionError(13, 'Permission denied', '/d/x')",
            "error: /d/x: Permission denied; correct",
        ),
    ],
)
def test_what_a_program_raises_of_files_and_values_is_one_line(raised, line):
    script = (
        f"from ecc_jax import console\ndef main():\n    raise {raised}\nexit(console.run(main))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 1
    assert done.stderr.startswith(line) and done.stderr.count("\n") == 1
