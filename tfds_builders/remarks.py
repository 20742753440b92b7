"""What is odd about volumes: collected while they are read, counted, told once for each kind.

A build reads hundreds of volumes, some of them in other processes; a warning for each would bury
what matters.
"""

import contextlib
import warnings
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from ecc_jax.volumes import FileRemark
from tfds_builders.words import short

MAX_VOLUMES = 3
# Files are told of whenever a raw folder is looked at, so not once more when it is prepared.
IGNORED = "file ignored"
# Texts by kind and volume.
Remarks = dict[str, dict[str, str]]
_SEEN: dict[Any, Any] = {}  # other warnings that were passed on


class Remark(NamedTuple):
    """What is odd about one volume.

    Attributes:
      kind: The same words for every volume.
      text: One line: the file, what was found, what to do.
    """

    kind: str
    text: str


@contextlib.contextmanager
def collected() -> Iterator[list[Remark]]:
    """Yields a list that holds, at the end, the `FileRemark`s given inside; no one sees them.

    Other warnings are given again afterwards.
    """
    found: list[Remark] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield found
    for item in caught:
        if isinstance(item.message, FileRemark):
            found.append(Remark(item.message.kind, str(item.message)))
        else:
            warnings.warn_explicit(
                item.message, item.category, item.filename, item.lineno, registry=_SEEN
            )


def add(remarks: Remarks, volume: str, found: Iterable[Remark]) -> None:
    """Adds what is odd about a volume; of one kind the first is kept."""
    for remark in found:
        remarks.setdefault(remark.kind, {}).setdefault(volume, remark.text)


def lines(remarks: Remarks, name: str, *, total: int) -> Iterator[str]:
    """Yields one line for each kind of remark.

    Args:
      remarks: Of all volumes.
      name: Of the dataset.
      total: Its volumes.
    """
    for kind, texts in remarks.items():
        if kind == IGNORED:
            continue
        names = sorted(texts)
        yield (
            f"{name}: {kind} in {len(names)} of {max(total, len(names))} volumes: "
            f"{short(names, MAX_VOLUMES)}; {texts[names[0]]}"
        )
