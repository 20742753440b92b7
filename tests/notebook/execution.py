"""Running scripts/colab_evaluation.ipynb as a reader does, with other values in its forms."""

import json
import re
from pathlib import Path

import nbclient
import nbformat

ROOT = Path(__file__).parents[2]
PATH = ROOT / "scripts" / "colab_evaluation.ipynb"
# Small enough for a test.
TINY = {"PATIENTS": 8, "SLICES": 4, "CLICKS": 2}


def load():
    """Returns the notebook as it is in the repository."""
    return nbformat.read(PATH, as_version=4)


def filled(notebook, values):
    """Enters values into the forms of a notebook, in place; each must be there once."""
    for name, value in values.items():
        pattern = re.compile(rf"^{name} = .*(?=  # @param)", re.MULTILINE)
        cells = [cell for cell in notebook.cells if pattern.search(cell.source)]
        (cell,) = cells
        cell.source, count = pattern.subn(lambda _: f"{name} = {value!r}", cell.source)  # noqa: B023
        assert count == 1, name
    return notebook


def only(notebook, *ids):
    """Leaves the code cells of these ids, in the notebook's order."""
    notebook.cells = [cell for cell in notebook.cells if cell.id in ids]
    assert len(notebook.cells) == len(ids)
    return notebook


def run(notebook, folder, *, allow_errors=False):
    """Executes a notebook in a folder; returns the outputs of its code cells by id."""
    client = nbclient.NotebookClient(
        notebook,
        timeout=1800,  # a cell, on a busy machine
        kernel_name="python3",
        allow_errors=allow_errors,
        resources={"metadata": {"path": str(folder)}},
    )
    client.execute()
    return {cell.id: cell.outputs for cell in notebook.cells if cell.cell_type == "code"}


def printed(outputs):
    """Returns what a cell wrote to stdout."""
    return "".join(o.text for o in outputs if o.output_type == "stream" and o.name == "stdout")


def error(outputs):
    """Returns the error of a cell as it is shown, without colours."""
    (found,) = [output for output in outputs if output.output_type == "error"]
    return re.sub(r"\x1b\[[0-9;]*m", "", "\n".join(found.traceback)).strip()


def pictures(outputs):
    """Returns the PNG pictures that a cell shows, base64."""
    return [output.data["image/png"] for output in outputs if "image/png" in output.get("data", {})]


def raw():
    """Returns the file as JSON, as git holds it."""
    return json.loads(PATH.read_text(encoding="utf-8"))
