"""The `>>>` examples in the docstrings of ops and clicks run, and every public function has one."""

import doctest
import importlib
import inspect
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "ecc_jax"
MODULES = [
    f"ecc_jax.{path.parent.name}.{path.stem}"
    for part in ("ops", "clicks")
    for path in sorted((PACKAGE / part).glob("*.py"))
    if path.stem != "__init__"
]


@pytest.mark.parametrize("name", MODULES)
def test_examples_run(name):
    module = importlib.import_module(name)
    public = [
        function
        for function in vars(module).values()
        if inspect.isroutine(inspect.unwrap(function))
        and function.__module__ == name
        and not function.__name__.startswith("_")
    ]
    without = [function.__name__ for function in public if ">>>" not in function.__doc__]
    assert public and not without
    results = doctest.testmod(module)
    assert results.attempted >= len(public) and not results.failed
