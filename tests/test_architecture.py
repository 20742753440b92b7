"""The rules of the code base that a reviewer would otherwise have to watch."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "ecc_jax"
SOURCES = sorted([*PACKAGE.rglob("*.py"), *(ROOT / "tfds_builders").rglob("*.py")])
SCRIPTS = sorted([*(ROOT / "scripts").glob("*.py"), *(ROOT / "configs").glob("*.py")])
TESTS = sorted((ROOT / "tests").rglob("*.py"))

# Layer of each module or package of ecc_jax; imports go downwards only.
LAYERS = {
    "types": 0,
    "atomic": 0,
    "console": 0,
    "places": 0,
    "catalog": 0,
    "config": 0,
    "config_checks": 0,
    "config_words": 0,
    "ops": 1,
    "parallel": 1,
    "volumes": 1,
    "clicks": 2,
    "models": 2,
    "losses": 2,
    "metrics": 2,
    "data": 2,
    "classical": 2,
    "inference": 3,
    "interaction": 3,
    "training": 4,
    "evaluation": 4,
    "predictor": 4,
    "admission": 5,
    "workdir": 5,
    "runs": 6,
    "main": 7,
}
# Layer 2 parts are blind to each other.
SIBLINGS = {name for name, layer in LAYERS.items() if layer == 2}
MAY_SEE_CONFIG_DICT = {
    "config.py",
    "config_checks.py",
    "config_words.py",
    "main.py",
    "runs.py",
    "admission.py",
    "workdir.py",
    "loop.py",
    "options.py",
}


def _part(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def _imports(path: Path) -> list[str]:
    """Returns the dotted names that a file imports, with `from x import y` as x.y."""
    names = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names += [f"{node.module}.{alias.name}" for alias in node.names]
    return names


def _id(path: Path) -> str:
    return str(path.relative_to(ROOT))


PACKAGE_FILES = [path for path in SOURCES if path.is_relative_to(PACKAGE)]


@pytest.mark.parametrize("path", PACKAGE_FILES, ids=_id)
def test_imports_go_downwards(path):
    part = _part(path)
    if part == "__init__":
        return
    for name in _imports(path):
        if not name.startswith("ecc_jax."):
            continue
        other = name.split(".")[1]
        if other == part:
            continue
        assert other in LAYERS, f"{path} imports {name}, which has no layer"
        assert LAYERS[other] <= LAYERS[part], f"{path} imports upwards: {name}"
        if part in SIBLINGS:
            assert other not in SIBLINGS, f"{path} imports its sibling {name}"


@pytest.mark.parametrize("path", PACKAGE_FILES, ids=_id)
def test_only_main_knows_flags_and_builders(path):
    if path.name == "main.py":
        return
    for name in _imports(path):
        assert not name.startswith(("absl.flags", "tfds_builders")), f"{path} imports {name}"


@pytest.mark.parametrize("path", PACKAGE_FILES, ids=_id)
def test_config_dict_stays_in_the_shell(path):
    if path.name in MAY_SEE_CONFIG_DICT:
        return
    assert not any(name.startswith("ml_collections") for name in _imports(path))


@pytest.mark.parametrize("path", [*SOURCES, *SCRIPTS, *TESTS], ids=_id)
def test_budgets(path):
    text = path.read_text(encoding="utf-8")
    assert text.count("\n") <= 400, f"{path} has more than 400 lines"
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            length = node.end_lineno - node.lineno + 1
            assert length <= 60, f"{path}:{node.lineno} {node.name} has {length} lines"


@pytest.mark.parametrize("path", [*SOURCES, *SCRIPTS], ids=_id)
def test_no_hidden_defaults_and_no_future_annotations(path):
    text = path.read_text(encoding="utf-8")
    assert "config.get(" not in text
    # jaxtyping checks need real annotations.
    assert "from __future__ import annotations" not in text


@pytest.mark.parametrize("path", SOURCES, ids=_id)
def test_public_functions_are_documented(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in tree.body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and not node.name.startswith("_"):
            assert ast.get_docstring(node), f"{path}:{node.lineno} {node.name} has no docstring"


def test_every_part_of_the_package_has_a_layer():
    parts = {_part(path) for path in PACKAGE_FILES} - {"__init__"}
    assert parts == set(LAYERS)
