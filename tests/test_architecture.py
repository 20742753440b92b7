"""The rules of the code base that a reviewer would otherwise have to watch."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "ecc_jax"
SOURCES = sorted([*PACKAGE.rglob("*.py"), *(ROOT / "tfds_builders").rglob("*.py")])
SCRIPTS = sorted([*(ROOT / "scripts").glob("*.py"), *(ROOT / "configs").glob("*.py")])
TESTS = sorted((ROOT / "tests").rglob("*.py"))

# From the bottom up; imports go strictly downwards, so parts of one layer are blind to each other.
LAYERS = (
    ("types", "catalog", "places", "atomic", "config_moves"),
    ("config_words", "console", "checking"),
    ("config",),
    ("ops", "parallel", "volumes", "protocols"),
    ("clicks", "models", "classical", "data", "phantom", "metrics", "losses"),
    ("inference", "interaction", "weights"),
    ("predictor", "report", "combinations"),
    ("settings", "checks"),
    ("evaluation",),
    ("training",),
    ("workdir", "admission"),
    ("runs", "conversion", "export"),
    ("main", "annotator"),
)
LAYER_OF = {part: number for number, layer in enumerate(LAYERS) for part in layer}
MAY_SEE_CONFIG_DICT = {
    "config.py",
    "config_words.py",
    "protocols.py",
    "checking.py",
    "combinations.py",
    "checks.py",
    "settings.py",
    "workdir.py",
    "admission.py",
    "runs.py",
    "main.py",
    "evaluation/loop.py",
    "training/loop.py",
    "training/options.py",
}


def _module(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _part(module: str) -> str:
    """Returns the module or package of ecc_jax that a module belongs to; empty outside."""
    top, _, rest = module.partition(".")
    return rest.split(".")[0] if top == "ecc_jax" else ""


def _imports(path: Path) -> list[str]:
    """Returns the dotted names that a file imports, with `from x import y` as x.y."""
    names = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names += [f"{node.module}.{alias.name}" for alias in node.names]
    return names


def _graph(files: dict[str, list[str]]) -> dict[str, set[str]]:
    """Returns for each module the modules that it imports, from the names that it imports."""
    graph = {}
    for module, names in files.items():
        found = set()
        for name in names:
            while name and name not in files:
                name = name.rpartition(".")[0]
            # Importing a part of a package runs the package; that is no dependence.
            if name and name not in (module, "ecc_jax", "tfds_builders"):
                found.add(name)
        graph[module] = found
    return graph


def upward_imports(graph: dict[str, set[str]]) -> list[str]:
    """Returns the imports of ecc_jax that do not go downwards, as `importer -> imported`."""
    found = []
    for module, imported in graph.items():
        part = _part(module)
        for other in map(_part, imported) if part else ():
            if other and other != part and LAYER_OF[other] >= LAYER_OF[part]:
                found.append(f"{part} -> {other}")
    return sorted(set(found))


def circle(graph: dict[str, set[str]]) -> list[str]:
    """Returns the modules of an import circle; none where there is none."""
    done: set[str] = set()

    def visit(module: str, path: list[str]) -> list[str]:
        if module in path:
            return path[path.index(module) :]
        if module in done:
            return []
        found = next(
            (c for other in sorted(graph[module]) if (c := visit(other, [*path, module]))), []
        )
        done.add(module)
        return found

    return next((found for module in graph if (found := visit(module, []))), [])


def _id(path: Path) -> str:
    return str(path.relative_to(ROOT))


PACKAGE_FILES = [path for path in SOURCES if path.is_relative_to(PACKAGE)]
GRAPH = _graph({_module(path): _imports(path) for path in [*SOURCES, *SCRIPTS]})


def test_imports_go_downwards_and_in_no_circle():
    assert upward_imports(GRAPH) == []
    assert circle(GRAPH) == []


def test_an_upward_import_and_a_circle_are_found():
    files = {"ecc_jax.ops.a": [], "ecc_jax.clicks.b": ["ecc_jax.ops.a.name"]}
    assert upward_imports(_graph(files)) == [] and circle(_graph(files)) == []
    upward = {**files, "ecc_jax.ops.a": ["ecc_jax.clicks.b"]}
    assert upward_imports(_graph(upward)) == ["ops -> clicks"]
    assert set(circle(_graph(upward))) == set(files)
    siblings = {**files, "ecc_jax.models.c": ["ecc_jax.clicks.b"]}
    assert upward_imports(_graph(siblings)) == ["models -> clicks"]
    outside = {"tfds_builders.x": ["tfds_builders.y.f"], "tfds_builders.y": ["tfds_builders.x"]}
    assert set(circle(_graph(outside))) == set(outside)
    inside = {"ecc_jax.ops.a": ["ecc_jax.ops.d"], "ecc_jax.ops.d": ["ecc_jax.ops.a"]}
    assert upward_imports(_graph(inside)) == [] and set(circle(_graph(inside))) == set(inside)


def test_nobody_imports_scripts_and_only_main_the_builders():
    for module, imported in GRAPH.items():
        assert not any(name.startswith("scripts") for name in imported), module
        if module.startswith("ecc_jax") and module != "ecc_jax.main":
            assert not any(name.startswith("tfds_builders") for name in imported), module


@pytest.mark.parametrize("path", PACKAGE_FILES, ids=_id)
def test_only_main_knows_flags(path):
    if path.name != "main.py":
        assert not any(name.startswith("absl.flags") for name in _imports(path))


@pytest.mark.parametrize("path", PACKAGE_FILES, ids=_id)
def test_config_dict_stays_in_the_shell(path):
    if str(path.relative_to(PACKAGE)) not in MAY_SEE_CONFIG_DICT:
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
    assert {_part(module) for module in GRAPH} - {""} == set(LAYER_OF)


def test_evaluation_stays_small():
    files = list((PACKAGE / "evaluation").glob("*.py"))
    assert len(files) <= 13
    assert sum(path.read_text(encoding="utf-8").count("\n") for path in files) <= 2400
