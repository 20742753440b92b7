"""Broken raw files are named and left out, or refused under `strict`; a killed build continues."""

import os
import shutil
import signal
import subprocess
import sys
import time
import types
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from tests.nifti_sets import SIDE, WITHOUT_LESION, write_kits, write_lits
from tests.preparing import prepare
from tfds_builders import nifti_volumes, preparation, prepared_index, slice_builder
from tfds_builders.nifti_builder import NiftiBuilder
from tfds_builders.options import DataOptions
from tfds_builders.prepared_index import is_complete
from tfds_builders.workers import results_in_order

SCRIPT = Path(__file__).parents[2] / "scripts" / "build_dataset.py"


@pytest.fixture
def volumes(tmp_path):
    return write_kits(tmp_path / "raw")


@pytest.fixture
def options(tmp_path, volumes):
    path, root = tmp_path / "raw", tmp_path / "root"
    return DataOptions("kits_2d", root=str(root), path=str(path), size=SIDE)


def truncated_image(raw):
    raw.image_path.write_bytes(raw.image_path.read_bytes()[:-40])


def truncated_label(raw):
    raw.label_path.write_bytes(raw.label_path.read_bytes()[:-12])


def wrong_shape(raw):
    nib.save(nib.Nifti1Image(raw.labels[1:], nib.load(raw.label_path).affine), raw.label_path)


def empty_label(raw):
    nib.save(
        nib.Nifti1Image(np.zeros_like(raw.labels), nib.load(raw.label_path).affine), raw.label_path
    )


def unknown_value(raw):
    labels = raw.labels.copy()
    labels[0, 0, 0] = 9
    nib.save(nib.Nifti1Image(labels, nib.load(raw.label_path).affine), raw.label_path)


def missing_segmentation(raw):
    raw.label_path.unlink()


def missing_image(raw):
    raw.image_path.unlink()


def duplicate(raw):
    case = raw.image_path.parent
    shutil.copytree(case, case.parent / "again" / case.name)


BREAKAGES = [
    (truncated_image, "imaging.nii.gz: the compressed data are truncated or corrupt"),
    (truncated_label, "segmentation.nii.gz: the compressed data are truncated or corrupt"),
    (wrong_shape, r"segmentation.nii.gz: label shape \(8, 30, 48\) differs from image shape"),
    (empty_label, "segmentation.nii.gz: the label is empty, not even the organ is marked"),
    (unknown_value, "unknown label values 9; this dataset has 0, 1, 2, 3"),
    (missing_segmentation, "imaging.nii.gz: its label is missing; download it again"),
    (missing_image, "segmentation.nii.gz: its image is missing; download it again"),
    (duplicate, "patient case_00003 is there twice, as images again/case_00003/imaging.nii.gz, "),
]


@pytest.mark.parametrize(("damage", "says"), BREAKAGES, ids=[d.__name__ for d, _ in BREAKAGES])
def test_broken_volume_is_left_out_or_refused(volumes, options, damage, says):
    damage(volumes["case_00003"])
    with pytest.raises(ValueError, match=says) as caught:
        prepare(options._replace(strict=True))
    assert "\n" not in str(caught.value) and "case_00003" in str(caught.value)
    with pytest.warns(UserWarning, match=f"kits_2d: 1 of 7 volumes left out: .*{says}"):
        directory = prepare(options)
    index = preparation.read_index(directory)
    assert list(index["skipped"]) == ["case_00003"]
    assert index["without_lesion"] == [f"case_{WITHOUT_LESION:05d}"]
    names = {name for table in index["splits"].values() for name in table["volume"]}
    assert names == set(volumes) - {"case_00003", f"case_{WITHOUT_LESION:05d}"}
    text = prepared_index.summary(index)
    assert "1 volumes skipped:\n  case_00003: " in text and index["skipped"]["case_00003"] in text
    with pytest.raises(ValueError, match="strict: .* lacks 1 broken volumes, the first is case_"):
        prepare(options._replace(strict=True))


def test_all_broken(volumes, options):
    for raw in volumes.values():
        truncated_image(raw)
    with pytest.raises(ValueError, match="no volume can be read; .*truncated.* and 3 more"):
        prepare(options)
    for raw in volumes.values():
        raw.label_path.unlink()
    with pytest.raises(ValueError, match="no volume with a lesion can be read; .*label is missing"):
        prepare(options)


def test_repaired_volume_comes_back(volumes, options):
    raw = volumes["case_00003"]
    good = raw.image_path.read_bytes()
    truncated_image(raw)
    with pytest.warns(UserWarning, match="left out"):
        broken = prepare(options)
    raw.image_path.write_bytes(good)
    repaired = prepare(options)
    assert repaired != broken
    assert preparation.read_index(repaired)["skipped"] == {}


def test_headers_of_lits_need_not_agree_but_shapes_must(tmp_path):
    volumes = write_lits(tmp_path / "raw")
    path, root = str(tmp_path / "raw"), str(tmp_path / "root")
    options = DataOptions("lits_2d", root=root, path=path, size=SIDE, strict=True)
    assert preparation.read_index(prepare(options))["skipped"] == {}  # volume-1 disagrees
    raw = volumes["volume-3"]
    nib.save(nib.Nifti1Image(raw.labels[:, :, 1:], np.eye(4)), raw.label_path)
    with pytest.raises(ValueError, match=r"label shape \(30, 48, 8\) differs from image shape"):
        prepare(options)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("kits_2d", "holds no case_xxxxx/imaging.nii.gz and .*; get KiTS23"),
        ("lits_2d", "holds no volume-N.nii and segmentation-N.nii; get both training batches"),
        ("md_panc_2d", "holds no imagesTr/pancreas_xxx.nii.gz and .*; get and unpack Task07"),
    ],
)
def test_folder_of_something_else(tmp_path, name, says):
    with pytest.raises(ValueError, match=says):
        prepare(DataOptions(name, root=str(tmp_path / "root"), path=str(tmp_path)))
    with pytest.raises(ValueError, match="gone is not a folder; get"):
        prepare(DataOptions(name, root=str(tmp_path / "root"), path=str(tmp_path / "gone")))


def test_full_disk_is_refused_before_a_volume_is_read(options, monkeypatch):
    usage = types.SimpleNamespace(free=5000)
    monkeypatch.setattr(slice_builder.shutil, "disk_usage", lambda folder: usage)
    monkeypatch.setattr(nifti_volumes, "read_slices", None)
    with pytest.raises(ValueError, match=r"slices of 48 x 48 pixels need up to 0.0 GB in"):
        prepare(options)


def test_what_is_in_the_cache_counts_as_written(volumes, options, monkeypatch):
    usage = types.SimpleNamespace(free=10**12)
    monkeypatch.setattr(slice_builder.shutil, "disk_usage", lambda folder: usage)
    with monkeypatch.context() as patch:
        patch.setattr(slice_builder.SliceBuilder, "_generate_examples", None)
        with pytest.raises(TypeError):
            prepare(options)
    num_slices = int(sum((raw.labels == 2).any((1, 2)).sum() for raw in volumes.values()))
    usage.free = int(1.6 * num_slices * SIDE * SIDE * 3)  # of 2.5 at the peak
    with pytest.raises(ValueError, match="free space"):
        prepare(options._replace(root=options.root + "2"))
    prepare(options)


DRIVER = """
import os, signal, sys
from tfds_builders import nifti_volumes, preparation
from tfds_builders.options import DataOptions

target, count, root, path = sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4]
real = getattr(nifti_volumes, target)
calls = []

def killed(*args):
    calls.append(1)
    if len(calls) == count:
        if target == "_write":  # in the middle of the file
            file = open(f"{args[0]}.{os.getpid()}.tmp", "wb")
            file.write(b"half")
            file.flush()
        os.kill(os.getpid(), signal.SIGKILL)
    return real(*args)

setattr(nifti_volumes, target, killed)
options = DataOptions("kits_2d", root=root, path=path, size=48)
preparation.prepare(options, progress=False)
"""


@pytest.mark.parametrize(
    ("target", "count", "kept"),
    [
        ("_write", 3, 2),  # the third label
        pytest.param("_write", 9, 8, marks=pytest.mark.slow),  # the third volume
        pytest.param("load_records", 3, 12, marks=pytest.mark.slow),  # while records are written
    ],
)
def test_killed_build_continues_to_the_same_records(options, tmp_path, target, count, kept):
    root = tmp_path / "killed"
    command = [sys.executable, "-c", DRIVER, target, str(count), str(root), options.path]
    done = subprocess.run(command, cwd=SCRIPT.parents[1], capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    cache = next(root.glob("kits_2d/.*.volumes"))
    assert len([path for path in cache.iterdir() if path.suffix != ".tmp"]) == kept
    written = {path: path.stat().st_mtime_ns for path in cache.iterdir()}
    continued = prepare_and_list(options._replace(root=str(root)), cache, written)
    undisturbed = prepare(options)
    names = [n for n in preparation.read_index(undisturbed)["files"] if "array_record" in n]
    assert len(names) == 3
    for name in names:
        assert (continued / name).read_bytes() == (undisturbed / name).read_bytes()
    assert not cache.exists()
    assert len([path for path in root.glob("kits_2d/*") if path.is_dir()]) == 1


def prepare_and_list(options, cache, written):
    """Prepares, checking that what was in the cache is used and not written again."""
    seen = {}
    discard = NiftiBuilder.discard_cache

    def look(builder):
        seen.update({path: path.stat().st_mtime_ns for path in cache.iterdir()})
        discard(builder)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(NiftiBuilder, "discard_cache", look)
        directory = prepare(options)
    assert all(seen[path] == time_ns for path, time_ns in written.items())
    return directory


def test_damaged_cache_is_read_again(options, monkeypatch):
    undisturbed = preparation.read_index(prepare(options._replace(root=options.root + "2")))
    with monkeypatch.context() as patch:
        patch.setattr(slice_builder.SliceBuilder, "_generate_examples", None)
        with pytest.raises(TypeError):
            prepare(options)
    cache = next(Path(options.root).glob("kits_2d/.*.volumes"))
    for i, path in enumerate(sorted(cache.iterdir())):
        os.truncate(path, (0, 3, path.stat().st_size // 2)[i % 3])
    assert preparation.read_index(prepare(options))["splits"] == undisturbed["splits"]


@pytest.mark.slow
def test_killed_reader_is_an_error_and_a_failing_one_ends_the_rest():
    with pytest.raises(ValueError, match="one of 2 reading processes was killed, perhaps for want"):
        with results_in_order(os._exit, [1, 1, 1], jobs=2) as results:
            list(results)
    started = time.time()
    with pytest.raises(ValueError, match="must be non-negative"):
        with results_in_order(time.sleep, [-1.0] + [0.2] * 200, jobs=2) as results:
            list(results)
    assert time.time() - started < 20


@pytest.mark.slow
def test_readers_end_with_a_killed_parent(options):
    """The children of a killed build must not wait for work forever."""
    code = (
        "import time\nfrom tfds_builders.workers import results_in_order\n"
        "if __name__ == '__main__':\n"
        "    with results_in_order(time.sleep, [0.1] * 3000, jobs=2) as results:\n"
        "        next(results)\n        print('ready', flush=True)\n        list(results)\n"
    )
    script = Path(options.path) / "driver.py"
    script.write_text(code)
    environment = {**os.environ, "PYTHONPATH": str(SCRIPT.parents[1])}
    process = subprocess.Popen(
        [sys.executable, str(script)], stdout=subprocess.PIPE, env=environment, text=True
    )
    assert process.stdout.readline() == "ready\n"
    children = [
        int(pid)
        for task in Path(f"/proc/{process.pid}/task").iterdir()
        for pid in (task / "children").read_text().split()
    ]
    assert len(children) >= 2
    process.kill()
    process.wait()
    deadline = time.time() + 10
    while any(_runs(pid) for pid in children) and time.time() < deadline:
        time.sleep(0.1)
    assert not any(_runs(pid) for pid in children)


def _runs(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.slow
def test_script(volumes, options):
    truncated_image(volumes["case_00003"])
    command = [sys.executable, str(SCRIPT), "kits_2d", f"--source={options.path}"]
    command += ["--root", options.root, "--size", str(SIDE), "--config=small_thesis", "--jobs=2"]
    environment = {**os.environ, "PYTHONPATH": str(SCRIPT.parents[1])}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    assert is_complete(Path(done.stdout.strip()))
    for words in ("read labels: 100%", "read volumes: 100%", "small, windowed", "342", "skipped"):
        assert words in done.stderr
    command.append("--strict")
    failed = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert failed.returncode == 1 and failed.stdout == ""
    assert failed.stderr.startswith("error: strict: ") and failed.stderr.count("\n") == 1
