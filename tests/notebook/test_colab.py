"""The notebook for Colab: clean in git, and running from top to bottom on every kind of slice."""

import base64
import io
import os
import re

import nbformat
import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from ecc_jax.notebook.images import write_example
from tests.notebook.execution import (
    ROOT,
    TINY,
    error,
    filled,
    load,
    only,
    pictures,
    printed,
    raw,
    run,
)
from tests.raw_layouts import lidc


def test_what_git_holds_has_no_outputs_and_nothing_of_the_machine_that_wrote_it():
    notebook = raw()
    nbformat.validate(notebook)
    assert set(notebook["metadata"]) == {"kernelspec", "language_info"}
    assert notebook["metadata"]["kernelspec"]["name"] == "python3"
    assert notebook["metadata"]["language_info"] == {"name": "python"}
    for cell in notebook["cells"]:
        assert cell["metadata"] == {}
        if cell["cell_type"] == "code":
            assert cell["outputs"] == [] and cell["execution_count"] is None
    text = "\n".join("".join(cell["source"]) for cell in notebook["cells"])
    assert not re.search(r"(?<![\w/.])/(home|tmp|work|root|content|Users|usr)\b", text)
    assert "Research use only" in text


def test_forms_are_plain_values():
    """Colab draws a field for `NAME = value  # @param`; anything else it takes for code."""
    fields = [
        line for cell in load().cells for line in cell.source.splitlines() if "@param" in line
    ]
    assert len(fields) >= 12
    for line in fields:
        assert re.fullmatch(r'[A-Z_]+ = \S.*  # @param \{"type":"\w+"\}', line), line


@pytest.fixture
def kernel(tmp_path, monkeypatch):
    """What a kernel inherits: the sources, one device, quick compilation."""
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    monkeypatch.setenv("PYTHONPATH", path)
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    monkeypatch.setenv("XLA_FLAGS", "--xla_backend_optimization_level=0")
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "prepared"))
    return tmp_path


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of Jupyter and ZeroMQ, which are not ours
def test_from_top_to_bottom_with_the_example(kernel):
    shown = run(filled(load(), TINY), kernel)
    assert "all packages lie in the ranges" in printed(shown["versions"])
    texts = [
        o.data["text/markdown"] for o in shown["evaluate"] if "text/markdown" in o.get("data", {})
    ]
    assert "painter" in texts[0] and "image blanked" in texts[1]
    assert len(pictures(shown["evaluate"])) == 2
    for cell in ("slice", "clicks", "undo"):
        (picture,) = pictures(shown[cell])
        assert Image.open(io.BytesIO(base64.b64decode(picture))).width > 500
    (view,) = shown["sliders"]
    assert "application/vnd.jupyter.widget-view+json" in view.data
    assert "2 clicks" in printed(shown["save"])
    mask = np.asarray(nib.load(kernel / "mask.nii.gz").dataobj)
    assert mask.shape == (192, 192, 8) and mask[..., 4].any() and mask.max() == 1


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_trained_from_scratch(kernel):
    values = {**TINY, "TRAIN": True, "STEPS": 4}
    shown = run(filled(load(), values), kernel)
    assert "ready: runs" in printed(shown["network"])
    assert len(pictures(shown["evaluate"])) == 2
    assert (kernel / "mask.nii.gz").is_file()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_own_slices_and_the_usual_mistakes(kernel):
    """One kernel: its cells are filled again and again, as a reader would."""
    example = write_example(kernel)
    lidc.write_series(kernel / "series", np.full((5, 48, 40), 40, np.int16))
    ramp = np.arange(64 * 48, dtype=np.uint16).reshape(64, 48).astype(np.uint8)
    Image.fromarray(ramp).save(kernel / "grey.png")
    Image.fromarray(np.stack([ramp, ramp // 2, ramp], -1)).save(kernel / "colour.png")
    (kernel / "photo.jpg").write_bytes(b"\xff\xd8" + bytes(64))
    on_slice = [(20, 20, 6, True)]
    steps = [
        ("slice", {"PATH": str(kernel / "grey.png"), "PIXEL_MM": 0.5}, "64 x 48"),
        ("clicks", {"POINTS": on_slice}, "mm²"),
        ("save", {"MASK": "own.png"}, "own.png: 1 click"),
        ("slice", {"PATH": str(kernel / "series"), "SLICE": 2}, ""),
        ("clicks", {"POINTS": on_slice}, ""),
        ("save", {"MASK": "own.nii"}, "own.nii: 1 click"),
        ("slice", {"PATH": str(example)}, "ValueError: .*example.nii: holds 8 slices; choose one"),
        ("slice", {"PATH": str(kernel / "colour.png")}, "ValueError: .*is a colour picture"),
        ("slice", {"PATH": str(kernel / "photo.jpg")}, "ValueError: .*expected .png, NIfTI"),
        ("slice", {"PATH": "nowhere.png"}, "ValueError: nowhere.png: no such file"),
        ("slice", {"UPLOAD": True}, "ValueError: UPLOAD works in Colab"),
        ("clicks", {"POINTS": [(500, 20, 5)]}, "ValueError: click 1 of 1: expected a click inside"),
        ("clicks", {"POINTS": [(20, 20, 0)]}, "ValueError: click 1 of 1: expected a positive"),
        ("undo", {}, "ValueError: there is no click to undo"),
        ("save", {"MASK": "mask.jpg"}, "ValueError: mask.jpg: expected a name ending in"),
    ]
    notebook = only(load(), "install", "setup", "network")
    for number, (cell, values, _) in enumerate(steps):
        (step,) = only(filled(load(), values), cell).cells
        step.id = f"step-{number}"
        notebook.cells.append(step)
    shown = run(notebook, kernel, allow_errors=True)
    for number, (cell, _, says) in enumerate(steps):
        outputs = shown[f"step-{number}"]
        if says.startswith("ValueError"):
            text = error(outputs)
            assert "\n" not in text and re.match(says, text), text
        elif cell == "save":
            assert says in printed(outputs)
        else:
            assert len(pictures(outputs)) == 1
    assert np.asarray(Image.open(kernel / "own.png")).shape == (64, 48)
    volume = np.asarray(nib.load(kernel / "own.nii").dataobj)
    assert volume.shape == (5, 48, 40) and not volume[[0, 1, 3, 4]].any() and volume[2].any()
