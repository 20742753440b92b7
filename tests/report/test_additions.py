"""A method, a measure and a fact are added in one place each; the report stands on its own."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "ecc_jax"
MODULES = sorted(path.stem for path in (PACKAGE / "report").glob("[!_]*.py"))
METHOD = """
    Method(
        "guesser",
        "a lucky guess",
        "guesses where the lesion is.",
        Look("#123456", "-.", "h", 5.0),
        sees_image=False,
    ),
"""
MEASURE = """
    Measure(
        "gap_px",
        "Gap",
        unit="px",
        better="lower",
        form=".1f",
        definition="the gap between the outlines.",
        in_mm=True,
    ),
"""
FACT = '\n    Fact("weather", "Weather outside", "shared"),\n'
REPORT = """
import sys
import numpy as np
from matplotlib.figure import Figure
from ecc_jax.report import compare, figures, pooling, results, summary
from ecc_jax.report.click_log import COLUMNS
from ecc_jax.report.results import MethodResult
from ecc_jax.report.write import write_report

iou = np.linspace(0.5, 0.9, 12).reshape(6, 2)
scores = {
    "model": MethodResult({"iou": iou, "gap_px": 4 * (1 - iou)}),
    "guesser": MethodResult({"iou": iou - 0.1, "gap_px": 4 * (1.1 - iou)}),
}
names = ("patient", "volume", "slice_index", "lesion_area")
slices = [dict(zip(names, (f"p{i % 3}", f"v{i}", i, 10 + i))) for i in range(6)]
facts = dict(dataset="d", split="test", num_images=6, num_patients=3, seed=0, steps=1)
facts |= {"versions": {}, "device": "cpu", "surface": {"unit": "mm", "tolerance": 2.0}}
for name in ("a", "b"):
    write_report(f"{sys.argv[1]}/{name}", {**facts, "weather": name}, scores, slices, [])
methods = summary.with_intervals(summary.summarise(scores), scores, [s["patient"] for s in slices])
left, right = Figure().subplots(1, 2)
figures.plot_iou(left, methods)
figures.plot_gains(right, methods)
print("legend", [text.get_text() for text in left.get_legend().get_texts()])
print("gains", [text.get_text() for text in right.get_legend().get_texts()])
print("columns", COLUMNS[-1])
a, b = (pooling.load_run(f"{sys.argv[1]}/{name}") for name in ("a", "b"))
found = compare.compare(a, b, methods=("model", "guesser"), measure="gap_px")
print(compare.markdown(found, [1]))
try:
    pooling.pool([a, b])
except ValueError as error:
    print(error)
"""


def _run(folder: Path, script: str, *arguments: str) -> str:
    """Runs a script with the copy of the package, and nothing else of this repository."""
    environment = {**os.environ, "PYTHONPATH": str(folder), "PYTHONSAFEPATH": "1"}
    result = subprocess.run(
        [sys.executable, "-c", script, *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


@pytest.fixture
def alone(tmp_path):
    """A folder with the report package, and nothing else of the package."""
    shutil.copytree(PACKAGE / "report", tmp_path / "ecc_jax" / "report")
    shutil.copy(PACKAGE / "__init__.py", tmp_path / "ecc_jax")
    return tmp_path


def test_the_report_needs_no_other_part_and_no_jax(alone):
    lines = [f"import ecc_jax.report.{module}" for module in MODULES]
    heavy = ("jax", "flax", "ml_collections", "tensorflow_datasets", "requests")
    lines += ["import sys, ecc_jax", "print(ecc_jax.__file__)"]
    lines += [f"print([name for name in {heavy} if name in sys.modules])"]
    folder, loaded = _run(alone, "\n".join(lines)).splitlines()
    assert Path(folder).is_relative_to(alone) and "write" in MODULES
    assert loaded == "[]"


def test_one_entry_is_all_that_the_report_needs(alone):
    report = alone / "ecc_jax" / "report"
    for file, entry in (("methods", METHOD), ("measures", MEASURE), ("facts", FACT)):
        text, end = (report / f"{file}.py").read_text(), "\n)\nBY_"
        assert text.count(end) == 1
        (report / f"{file}.py").write_text(text.replace(end, entry.rstrip() + end))
    out = _run(alone, REPORT, str(alone / "out"))
    assert "legend ['model', 'a lucky guess']" in out
    assert "gains ['over a lucky guess']" in out
    assert "columns gap_px" in out and "| Gap, smaller is better | A | B |" in out
    assert "the runs must share their weather, got" in out
    text = (alone / "out" / "a" / "report.md").read_text()
    for words in (
        "| a lucky guess | 0.582 | 0.618 |",
        "| click | model | over a lucky guess |",
        "- **a lucky guess**: guesses where the lesion is.",
        "## Gap (mm, smaller is better)",
        "| model | 1.3 | 1.1 |",
        "- **Gap**: the gap between the outlines.",
        "| Weather outside | a |",
    ):
        assert words in text, words
