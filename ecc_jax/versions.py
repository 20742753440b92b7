"""Whether the installed packages lie in the ranges that this package was tested with."""

import importlib.metadata
import platform
import sys
from collections.abc import Sequence

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

_NAME = "ecc_jax"
_SHOWN = ("jax", "flax", "numpy")


def drift() -> list[str]:
    """Returns what does not fit, one line each; nothing where all fits.

    The ranges are those of the installed package's own metadata. A module that was imported before
    another version of it was installed is named too: only a new session sees the new one.
    """
    try:
        requirements = importlib.metadata.requires(_NAME) or []
        python = importlib.metadata.metadata(_NAME)["Requires-Python"] or ""
    except importlib.metadata.PackageNotFoundError:
        return [f"{_NAME} is importable but not installed, so its ranges are unknown; pip install"]
    found = outside(requirements, {name: _installed(name) for name in _names(requirements)})
    if not SpecifierSet(python).contains(platform.python_version(), prereleases=True):
        found.append(f"Python {platform.python_version()}: {_NAME} needs {python}; use another")
    return found + _stale(_names(requirements))


def outside(requirements: Sequence[str], installed: dict[str, str | None]) -> list[str]:
    """Returns the requirements that installed versions do not meet, one line each.

    Args:
      requirements: As metadata has them; those of extras are left out.
      installed: Version by name; None if it is missing.
    """
    found = []
    for requirement in map(Requirement, requirements):
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
            continue
        version, wanted = installed.get(requirement.name), requirement.specifier
        if version is None:
            found.append(f"{requirement.name} is missing; pip install '{requirement}'")
        elif not wanted.contains(version, prereleases=True):
            found.append(
                f"{requirement.name} {version}: tested with {wanted}; "
                f"pip install '{requirement.name}{wanted}'"
            )
    return found


def in_words() -> str:
    """Returns the versions that matter most, in one line."""
    versions = [f"{name} {_installed(name) or 'missing'}" for name in (_NAME, *_SHOWN)]
    return ", ".join([f"Python {platform.python_version()}", *versions])


def _names(requirements: Sequence[str]) -> list[str]:
    return [Requirement(requirement).name for requirement in requirements]


def _installed(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _stale(names: Sequence[str]) -> list[str]:
    """Returns the modules in memory that are of another version than the one installed."""
    found = []
    for name in sorted(set(names)):
        loaded = getattr(sys.modules.get(name), "__version__", None)
        installed = _installed(name)
        if loaded is not None and installed is not None and loaded != installed:
            found.append(
                f"{name} {loaded} is in memory, {installed} is installed; restart the session and "
                "run the cells again"
            )
    return found
