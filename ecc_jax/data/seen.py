"""Who a run has seen in training, and which patients of other data it may therefore be tested on.

A patient is recognised by what the scans hold (`volumes.identity_of`), whatever files, folders or
patients are called and however the slices were prepared; and within one source by name too, so
that scans that were resampled under their old names are recognised. A synthetic patient is
recognised by what it was drawn from (`phantom.volumes.identity_of_patient`) in every size; its
slices hold other values in another size, and are recognised in their own only.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

Rows = Sequence[Mapping[str, Any]]  # of an index: patient, volume, volume_id, slice_id
# Splits whose patients shape a run: gradients come from one, its checkpoint is chosen by the other.
SHAPING = ("train", "validation")
MAX_NAMES = 8


class Source(NamedTuple):
    """Where patients come from; names mean the same patients within one source only.

    Attributes:
      dataset: Name of the dataset.
      place: The folder of a dataset that is anybody's own, the kind of a synthetic one; empty for
        a public one, whose names are the same everywhere.
      by_slice: Whether the dataset was split by slice, so that train and test share patients on
        purpose; slices are then compared instead of patients.
      drawn_px: Side of slices that were drawn, not cut from scans: those of another side cannot be
        compared. 0 where none were, and in records of earlier versions.
    """

    dataset: str
    place: str
    by_slice: bool
    drawn_px: int = 0

    def compares_slices(self, other: "Source") -> bool:
        """Returns whether slices tell who was seen, here and in another source, not patients."""
        is_alike = self.drawn_px == other.drawn_px or not (self.drawn_px and other.drawn_px)
        return self.by_slice and other.by_slice and is_alike


class Scans(NamedTuple):
    """What was seen of one patient.

    Attributes:
      volumes: Identity of each volume, by name.
      slices: Identities of the slices.
    """

    volumes: dict[str, str]
    slices: list[str]


class Seen(NamedTuple):
    """The patients that shaped one run.

    Attributes:
      run: Its folder, for messages.
      source: Where they come from.
      patients: For each of `SHAPING` the patients by name.
    """

    run: str
    source: Source
    patients: dict[str, dict[str, Scans]]

    @property
    def is_unknown(self) -> bool:
        """Whether nobody wrote down who shaped these weights."""
        return not any(self.patients.values())


def unknown(run: str) -> Seen:
    """Returns the record of weights of which nobody knows whom they have seen."""
    return Seen(run, Source("", "", by_slice=False), {split: {} for split in SHAPING})


class Match(NamedTuple):
    """Why a patient counts as seen.

    Attributes:
      patient: The name under which the run knew the patient.
      run: The run's folder.
    """

    patient: str
    run: str


class Admission(NamedTuple):
    """Who may be tested.

    Attributes:
      left_out: Patients of the split that are not tested, because the run has seen them.
      note: What the report says of it; empty where there is nothing to ask.
    """

    left_out: tuple[str, ...]
    note: str

    def facts(self) -> dict[str, Any]:
        """Returns what a report's summary holds of it."""
        if not self.note:
            return {}
        return {"seen_in_training": self.note, "left_out_patients": list(self.left_out)}


EVERYBODY = Admission((), "")


def seen_by(run: str, source: Source, rows: Mapping[str, Rows]) -> Seen:
    """Returns the record of a run that trains on some rows and is selected by others.

    Args:
      run: Its folder.
      source: Where the patients come from.
      rows: For each of `SHAPING` the rows of the index.
    """
    patients: dict[str, dict[str, Scans]] = {}
    for split in SHAPING:
        scans: dict[str, Scans] = {}
        for row in rows[split]:
            one = scans.setdefault(row["patient"], Scans({}, []))
            one.volumes[row["volume"]] = row["volume_id"]
            one.slices.append(row["slice_id"])
        patients[split] = scans
    return Seen(run, source, patients)


def find_seen(
    history: Iterable[Seen], rows: Rows, source: Source | None
) -> dict[str, dict[str, Match]]:
    """Returns the patients among `rows` that a history of runs has seen, by split of `SHAPING`.

    A patient that was trained on is not listed again under validation.

    Args:
      history: A run, and those whose weights it started from.
      rows: Rows of an index.
      source: Where they come from; None compares what the scans hold and no names.
    """
    found: dict[str, dict[str, Match]] = {split: {} for split in SHAPING}
    for seen in history:
        slices_only = source is not None and seen.source.compares_slices(source)
        same_names = not slices_only and _share_names(seen.source, source)
        for split in SHAPING:
            known = _known(seen.patients[split], slices_only=slices_only)
            for row in rows:
                name = row["patient"]
                match = known.get(row["slice_id"])
                if match is None and not slices_only:
                    match = known.get(row["volume_id"])
                if match is None and same_names and name in seen.patients[split]:
                    match = name
                if match is not None:
                    found[split].setdefault(name, Match(match, seen.run))
    for name in found["train"]:
        found["validation"].pop(name, None)
    return found


def check_apart(rows: Mapping[str, Rows], source: Source) -> None:
    """Checks that no scan is in two splits of one dataset under two names.

    Args:
      rows: For each split the rows of the index.
      source: Where they come from.

    Raises:
      ValueError: Names the patients that are one, and the remedy.
    """
    doubles = []
    for one, other in (("train", "validation"), ("train", "test"), ("validation", "test")):
        pair = {"train": rows[one], "validation": ()}
        same = find_seen([seen_by("", source._replace(place="?"), pair)], rows[other], source)
        doubles += [
            f"{match.patient} ({one}) is {name} ({other})" for name, match in same["train"].items()
        ]
    if doubles:
        raise ValueError(
            f"{source.dataset} holds the same scan under two names, in parts that must not share a "
            f"patient: {listed(doubles)}; remove one of each, or make them one patient with "
            "data.patient_regex"
        )


def admit(history: Sequence[Seen], rows: Rows, source: Source, *, split: str) -> Admission:
    """Returns which patients of a split are tested and what the report says of it.

    Of `test` none may have been seen; of `all` those who have are left out. `train` and
    `validation` are for a look at what was seen on purpose, so of the first all patients must have
    been trained on or none, and of the second none.

    Args:
      history: The run, and those whose weights it started from.
      rows: Rows of the split that is evaluated.
      source: Where they come from.
      split: Its name.

    Raises:
      ValueError: Patients would be tested that shaped the run; names them and the remedy.
    """
    admitted = _admit_known(history, rows, source, split)
    origins = [seen.run for seen in history if seen.is_unknown]
    if not origins:
        return admitted
    note = (
        f"{admitted.note}; but the weights that it started from ({listed(origins)}) have no record "
        "of whom they have seen, so nobody can tell of them"
    )
    return admitted._replace(note=note)


def _admit_known(history: Sequence[Seen], rows: Rows, source: Source, split: str) -> Admission:
    found = find_seen(history, rows, source)
    trained, selected = found["train"], found["validation"]
    both = {**trained, **selected}
    patients = {row["patient"] for row in rows}
    if split == "all":
        return _admit_others(both, patients)
    if split == "train" and trained and len(both) == len(patients):
        return Admission((), f"all {len(patients)} patients: the run was trained on this split")
    refused = trained if split == "validation" else both
    if refused:
        raise ValueError(
            f"{_runs(refused)} has seen {len(refused)} of the {len(patients)} patients of split "
            f"{split!r} in training or validation: {_named(refused)}; scores on them say nothing. "
            "--config.data.split=all tests the others; or give the data that the run was started "
            "with, or data that it has not seen"
        )
    if selected:
        return Admission((), f"{len(selected)} patients: the checkpoint was selected on them")
    if source.by_slice:
        return Admission((), "split by slice: patients are shared, slices are not")
    return Admission((), "none of these patients (scans compared by content)")


def with_identities(history: Sequence[Seen], rows: Rows) -> tuple[Seen, ...]:
    """Returns records with the identities that their scans have now.

    For records of an earlier version, which gave other ones to the same scans. A patient counts as
    the same where all its slices are; patients of several volumes stay as they are.

    Args:
      history: A run, and those whose weights it started from.
      rows: Rows of an index of this version.
    """
    volumes: dict[str, set[str]] = {}
    for row in rows:
        volumes.setdefault(row["slice_id"], set()).add(row["volume_id"])
    return tuple(
        seen._replace(
            patients={
                split: {name: _known_as(scans, volumes) for name, scans in patients.items()}
                for split, patients in seen.patients.items()
            }
        )
        for seen in history
    )


def changes(before: Seen, now: Seen) -> list[str]:
    """Returns what differs between the patients of a run and those it would resume with.

    Names and order do not count where the scans are the same; nor do other identities of a
    patient's scans, which another version may give, where the slices are the same.
    """
    found = []
    for split in SHAPING:
        lost, gained = _missing(before, now, split), _missing(now, before, split)
        if lost:
            found.append(f"{split} lost {listed(lost)}")
        if gained:
            found.append(f"{split} gained {listed(gained)}")
    return found


def to_json(history: Sequence[Seen]) -> list[dict[str, Any]]:
    """Returns records as values that JSON holds."""
    return [
        {
            "run": seen.run,
            "source": seen.source._asdict(),
            "patients": {
                split: {name: scans._asdict() for name, scans in patients.items()}
                for split, patients in seen.patients.items()
            },
        }
        for seen in history
    ]


def from_json(values: Any) -> tuple[Seen, ...]:
    """Returns the records that `to_json` wrote.

    Raises:
      ValueError: The values are none, or say that the run itself was trained on nobody.
    """
    try:
        history = tuple(
            Seen(
                entry["run"],
                Source(**entry["source"]),
                {
                    split: {
                        name: Scans(**scans) for name, scans in entry["patients"][split].items()
                    }
                    for split in SHAPING
                },
            )
            for entry in values
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"expected records of patients, got something else ({error!r})") from error
    if not history or not history[0].patients["train"]:
        raise ValueError("expected records of patients, got none that was trained on")
    return history


def listed(names: Sequence[str]) -> str:
    """Returns the first few of some names, and how many more there are."""
    rest = len(names) - MAX_NAMES
    return ", ".join(names[:MAX_NAMES]) + (f" and {rest} more" if rest > 0 else "")


def _admit_others(seen: Mapping[str, Match], patients: set[str]) -> Admission:
    if len(seen) == len(patients):
        raise ValueError(
            f"{_runs(seen)} has seen all {len(patients)} patients of these data in training or "
            "validation; none is left to test: give other data"
        )
    if not seen:
        return Admission((), "none of these patients (scans compared by content)")
    names = tuple(sorted(seen))
    return Admission(names, f"{len(names)} of {len(patients)} patients, left out: {_named(seen)}")


def _runs(found: Mapping[str, Match]) -> str:
    return " and ".join(sorted({match.run for match in found.values()}))


def _named(found: Mapping[str, Match]) -> str:
    """Returns patients, with the run's name of each where it is another."""
    return listed(
        [
            name if match.patient == name else f"{name} (there {match.patient})"
            for name, match in sorted(found.items())
        ]
    )


def _share_names(one: Source, other: Source | None) -> bool:
    return other is not None and one[:2] == other[:2]


def _known(patients: Mapping[str, Scans], *, slices_only: bool) -> dict[str, str]:
    """Returns the patient of every identity."""
    known: dict[str, str] = {}
    for name, scans in patients.items():
        ids = scans.slices if slices_only else (*scans.slices, *scans.volumes.values())
        for identity in ids:
            known.setdefault(identity, name)
    return known


def _known_as(scans: Scans, volumes: Mapping[str, set[str]]) -> Scans:
    """Returns a patient's scans with the one volume that holds all slices, given those of each."""
    holding = [volumes.get(identity, set()) for identity in scans.slices]
    common = set.intersection(*holding) if holding else set()
    if len(scans.volumes) != 1 or len(common) != 1:
        return scans
    return scans._replace(volumes=dict.fromkeys(scans.volumes, common.pop()))


def _missing(one: Seen, other: Seen, split: str) -> list[str]:
    """Returns the names of what makes up a split of one record and is not in that of another."""
    volumes = {i for scans in other.patients[split].values() for i in scans.volumes.values()}
    slices = {i for scans in other.patients[split].values() for i in scans.slices}
    missing = set()
    for patient, scans in one.patients[split].items():
        if scans.slices and slices.issuperset(scans.slices):
            continue
        if one.source.by_slice:
            missing.add(patient)
        missing |= {name for name, identity in scans.volumes.items() if identity not in volumes}
    return sorted(missing)
