"""The rows and columns of the thesis's tables: which networks, trained and tested on which sets.

A run is recognised by what its configuration records, never by the name of a folder.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from ecc_jax import catalog
from ecc_jax import config as schema

# The columns, in the thesis's order.
SETS = tuple(catalog.TABLE_1)
COMBINED = SETS[-1]
_DRAGGED = ("normal", "uniform")  # radii in training: the thesis's text, its code
# What no row of the thesis has: the flagship's parts.
_PLAIN = {"view": "slice", "prior": "none", "intensity": "window", "edits": "everywhere"}
_PROTOCOL = "thesis"


class Row(NamedTuple):
    """A network with its clicks, as the thesis trained it.

    Attributes:
      leaf: The file in configs/ that trains it.
      label: What the thesis calls it.
      is_dynamic: Whether its disks have the radius of a drag.
      shows_disks: Whether its clicks are disks; the others decay and show no radius.
    """

    leaf: str
    label: str
    is_dynamic: bool = False
    shows_disks: bool = True

    @property
    def name(self) -> str:
        """The leaf without its ending: how files and messages call the row."""
        return self.leaf.removesuffix(".py")

    @property
    def family(self) -> str:
        """What the names of its networks begin with."""
        return self.name.partition("_")[0]


UNETPP = Row("unetpp.py", "U-Net++", shows_disks=False)
FOCALCLICK = Row("focalclick_static.py", "FocalClick")
RITM = Row("ritm_static.py", "RITM")
RITM_D = Row("ritm_dynamic.py", "RITM_D", is_dynamic=True)
FOCALCLICK_D = Row("focalclick_dynamic.py", "FocalClick_D", is_dynamic=True)
ROWS = (UNETPP, FOCALCLICK, RITM, RITM_D, FOCALCLICK_D)


def label_of(dataset: str) -> str:
    """Returns what the thesis calls a set: "MD PANC 2D"."""
    return dataset.upper().replace("_", " ")


def row_of(config: Mapping[str, Any]) -> Row:
    """Returns the row that a run belongs to.

    Args:
      config: Its recorded configuration, complete, as `config.to_dict` gives it.

    Raises:
      ValueError: It is none of the thesis's; says by which key.
    """
    model, clicks = config["model"], config["clicks"]
    family = model["name"].partition("_")[0]
    rows = [row for row in ROWS if row.family == family]
    if not rows:
        raise ValueError(f"model.name={model['name']} is no network of the thesis")
    for key, value in _PLAIN.items():
        if model[key] != value:
            raise ValueError(f"model.{key}={model[key]}, the thesis's rows have {value}")
    radius, trained = clicks["radius"], config["train"]["radius"]
    is_disk = model["encoding"] == "disk"
    for row in rows:
        has_radius = (
            (radius == "average" and trained in _DRAGGED)
            if row.is_dynamic
            else (radius, trained) == ("fixed", "fixed")
        )
        decays = model["encoding"].endswith("gaussian")
        if has_radius and (is_disk if row.shows_disks else decays):
            return row
    raise ValueError(
        f"model.encoding={model['encoding']}, train.radius={trained}, clicks.radius={radius} is "
        f"no row of the thesis; {rows[0].label} has: {', '.join(f'configs/{r.leaf}' for r in rows)}"
    )


def check_protocol(config: Mapping[str, Any]) -> None:
    """Refuses an evaluation that the thesis's tables do not hold.

    Args:
      config: The configuration of the report.

    Raises:
      ValueError: Another protocol, split or start; says by which key.
    """
    wanted = {
        "eval.protocol": _PROTOCOL,
        "eval.initial_mask": "",
        "eval.external": "",
        "data.split": "test",
    }
    for name, value in wanted.items():
        group, key = name.split(".")
        if config[group][key] != value:
            raise ValueError(f"{name}={config[group][key]!r}, the tables hold {value!r}")


def check_whole(config: Mapping[str, Any]) -> None:
    """Refuses what is less, or another thing, than a row of the thesis on a real set.

    Args:
      config: The configuration of the report.

    Raises:
      ValueError: A smaller network, a part of the slices, flips, or a split by slice; says by
        which key.
    """
    wanted = {
        "model.name": schema.of_family(config["model"]["name"]).model.name,
        "data.split_rule": "patient",
        "inference.flip": False,
        "eval.max_slices": 0,
    }
    for name, value in wanted.items():
        group, key = name.split(".")
        if config[group][key] != value:
            raise ValueError(f"{name}={config[group][key]!r}, the thesis's rows have {value!r}")


def set_of(data: Mapping[str, Any]) -> tuple[str, bool]:
    """Returns the column of a dataset, and whether the phantom's organ only stands for it.

    Args:
      data: The group `data` of a configuration.

    Raises:
      ValueError: It is no set of the thesis, and stands for none.
    """
    name, kind = data["name"], data["phantom_kind"]
    sources = tuple(data["sources"]) if name == COMBINED else ()
    if name in SETS and not sources:
        return name, False
    if sources and sorted(sources) == sorted(synthetic_sources()):
        return name, True
    found = f"data.sources={','.join(sources)}" if sources else f"data.name={name}"
    if _is_synthetic(name):
        for column in SETS[:-1]:
            if catalog.DATASETS[column].organ == kind:
                return column, True
        found = f"data.phantom_kind={kind}"
    raise ValueError(f"{found} is no set of the thesis, and stands for none")


def synthetic_keys(column: str) -> tuple[str, ...]:
    """Returns the keys of the configuration that put the phantom in the place of a set."""
    if column == COMBINED:
        return f"data.name={column}", f"data.sources={synthetic_sources()!r}"
    return f"data.name={synthetic_name()}", f"data.phantom_kind={catalog.DATASETS[column].organ}"


def synthetic_sources() -> tuple[str, ...]:
    """Returns the sources that stand for those of the combined set."""
    return tuple(f"{synthetic_name()}:{catalog.DATASETS[column].organ}" for column in SETS[:-1])


def _is_synthetic(name: str) -> bool:
    return name in catalog.DATASETS and catalog.DATASETS[name].organ == "synthetic"


def synthetic_name() -> str:
    """Returns the dataset whose kinds of patients stand for the thesis's sets."""
    return next(name for name in catalog.DATASETS if _is_synthetic(name))
