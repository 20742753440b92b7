"""Conventions of signatures, and in how many files a name of each kind stands."""

import ast
import collections
from pathlib import Path

import pytest

from ecc_jax import catalog, losses
from ecc_jax.clicks import encoding
from ecc_jax.data import augment
from ecc_jax.inference import pipelines
from ecc_jax.models import build
from ecc_jax.report.measures import MEASURES
from ecc_jax.report.methods import METHODS

ROOT = Path(__file__).parents[1]
PACKAGE = sorted((ROOT / "ecc_jax").rglob("*.py"))
CODE = sorted(
    path for part in ("ecc_jax", "tfds_builders", "configs", "scripts")
    for path in (ROOT / part).rglob("*.py")
)  # fmt: skip
TREES = {path.relative_to(ROOT).as_posix(): ast.parse(path.read_text("utf-8")) for path in CODE}
NAMES = [name for name in TREES if name.startswith("ecc_jax/")]

# Public functions with two arguments that may be left away and need no name.
TWO_OPTIONS = {
    "ecc_jax/runs.py evaluate": "the folder that is read, then the one that is written",
}


def _functions(file):
    """Yields the public functions and methods of a file: name, positional arguments, function."""
    for scope in ast.walk(TREES[file]):
        if not isinstance(scope, (ast.Module, ast.ClassDef)):
            continue
        for node in scope.body:
            if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
                arguments = [*node.args.posonlyargs, *node.args.args]
                is_method = isinstance(scope, ast.ClassDef) and not any(
                    ast.unparse(decorator) == "staticmethod" for decorator in node.decorator_list
                )
                yield f"{file} {node.name}", arguments[is_method:], node


@pytest.mark.parametrize("file", NAMES)
def test_functions_are_annotated(file):
    for name, arguments, node in _functions(file):
        rest = [*node.args.kwonlyargs, node.args.vararg, node.args.kwarg]
        bare = [a.arg for a in [*arguments, *filter(None, rest)] if a.annotation is None]
        assert not bare and node.returns, f"{name}: annotate {bare or 'the result'}"


@pytest.mark.parametrize("file", NAMES)
def test_options_have_names(file):
    """At most the last positional argument may be left away; other options are keyword-only."""
    for name, _, node in _functions(file):
        limit = 2 if name in TWO_OPTIONS else 1
        assert len(node.args.defaults) <= limit, f"{name}: put a * before the options"


@pytest.mark.parametrize("file", NAMES)
def test_random_keys_come_first_and_one_per_row_is_called_keys(file):
    for name, arguments, node in _functions(file):
        for position, argument in enumerate([*arguments, *node.args.kwonlyargs]):
            kind = ast.unparse(argument.annotation) if argument.annotation else ""
            if kind.startswith("Key["):
                assert position == 0, f"{name}: {argument.arg} comes first"
                wanted = "key" if kind.endswith("'']") else "keys"
                assert argument.arg == wanted, f"{name}: {argument.arg} is called {wanted}"


def test_exceptions_are_needed():
    found = {name for file in NAMES for name, _, node in _functions(file) if node.args.defaults[1:]}
    assert found == set(TWO_OPTIONS)


# What the whole configuration is made of chooses among names and needs no entry for a new one.
CHOOSE = {"ecc_jax/config.py", "ecc_jax/config_words.py", "ecc_jax/protocols.py"}
KINDS = {
    "method": [method.name for method in METHODS],
    "measure": [measure.name for measure in MEASURES],
    "network family": list(build.SPECS),
    "network": list(build.NAMES),
    "dataset": list(catalog.DATASETS),
    "inference pipeline": list(pipelines.NAMES),
    "encoding": list(encoding.NAMES),
    "loss": list(losses.MAIN_LOSSES),
    "augmentation": list(augment.Augmentation._fields),
}
LIMIT = 2
_COMBINED = "the thesis's combined_2d joins these four sets"
# Names that stand in more files, with the number and the reason.
MORE = {
    "disk_painter_tuned": (3, "the bar that scripts/ablation.py shows"),
    "blank_image": (3, "the control that scripts/ablation.py shows"),
    "dice": (4, "the CVPR 2025 challenge's score is computed from it, classical.json tells it"),
    "nsd": (3, "the score of the CVPR 2025 challenge is computed from it"),
    "ritm": (4, "also a convention of failures and an augmentation strategy"),
    "focalclick": (4, "a pipeline, a strategy, and a family of networks, which have state dicts"),
    "lidc_2d": (3, _COMBINED),
    "kits_2d": (3, _COMBINED),
    "lits_2d": (3, _COMBINED),
    "md_panc_2d": (3, _COMBINED),
    "ct_phantom_2d": (4, "benchmark.py and show_augmentation.py use it"),
    "ct_folder_2d": (3, "its two modules ask the catalog for its window and instructions"),
    "scale": (4, "also a parameter of networks"),
}
# Words that mean more than the entry, so that counting them says nothing.
WORDS = {
    "disk": "an encoding, a family of networks, a view, a result and a figure",
    "model": "the row of the network that is evaluated; also a group of the configuration",
    "iou": "the score that selects checkpoints, ranks examples and stands in every figure",
}


def _mentions():
    """Returns the files in which each string, and each field of a class, stands."""
    files = collections.defaultdict(set)
    for file, tree in TREES.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                files[node.value].add(file)
    for field in augment.Augmentation._fields:
        files[field].add("ecc_jax/data/augment.py")
    return files


def _counts():
    """Returns kind, name and the number of files for every entry of every kind."""
    mentions = _mentions()
    for kind, names in KINDS.items():
        for name in names:
            # An augmentation is a number, and its value in the configuration one of its places.
            left_out = set() if kind == "augmentation" else CHOOSE
            yield kind, name, sorted(mentions[name] - left_out)


def test_a_name_stands_in_two_files():
    for kind, name, files in _counts():
        if name not in WORDS:
            limit = MORE[name][0] if name in MORE else LIMIT
            assert len(files) <= limit, f"{kind} {name} stands in {', '.join(files)}"


def test_counted_exceptions_are_needed():
    most = collections.Counter()
    for _, name, files in _counts():
        most[name] = max(most[name], len(files))
    for name, (number, _) in MORE.items():
        assert LIMIT < most[name] == number, f"{name} stands in {most[name]} files"
    for name in WORDS:
        assert most[name] > LIMIT


def test_most_entries_of_every_kind_obey_the_limit():
    """Exceptions stay exceptions: of each kind a plain entry exists."""
    plain = collections.Counter(
        kind for kind, name, _ in _counts() if name not in MORE and name not in WORDS
    )
    assert set(plain) >= set(KINDS) - {"encoding", "dataset"}, plain
