"""What an evaluation hands to its report, and what the report makes of it.

In: the scores and clicks of each method on every slice (`MethodResult`). Out: a `Summary`, which is
summary.json in Python's types. JSON has no NaN, so a number that is not defined is null there.
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from ecc_jax.report.facts import missing_facts
from ecc_jax.report.measures import MEASURES
from ecc_jax.report.readers import ReaderSummary

# Results among the entries of summary.json that only some protocols have.
OF_PROTOCOLS = ("robustness", "cvpr25", "readers")


class ClickRecord(NamedTuple):
    """The clicks of every slice; k turns, m slices.

    Attributes:
      yx: Disk centres, pixels.
      radius: Disk radii, pixels.
      is_positive: True marks lesion, False background.
      clicked: False at the turns where nothing was left to click.
    """

    yx: Float[np.ndarray, "m k 2"]
    radius: Float[np.ndarray, "m k"]
    is_positive: Bool[np.ndarray, "m k"]
    clicked: Bool[np.ndarray, "m k"]


class MethodFacts(NamedTuple):
    """What the scores of a method do not tell; None where it has none.

    Attributes:
      label: What the tables call it, in place of its usual name.
      seconds_per_click: Device time of one click of one slice in a batch.
      latency: Of single clicks: p50_s, p95_s, num_clicks.
      tolerance_hu: Of flooding, tuned on training slices.
      tuned: The same of other classical methods, in words.
      first_weight: Radius weight of the tuned painter's first click, 0 tight to 1 enclosing.
      later_weight: The same of its later clicks.
      noc: Of pooled runs, the number of clicks by threshold ("80"): taken in every run and then
        averaged, which the averaged scores do not tell.
      nof: The same of the share of failures.
    """

    label: str | None = None
    seconds_per_click: float | None = None
    latency: dict[str, Any] | None = None
    tolerance_hu: float | None = None
    tuned: str | None = None
    first_weight: float | None = None
    later_weight: float | None = None
    noc: dict[str, float] | None = None
    nof: dict[str, float] | None = None


NO_FACTS = MethodFacts()


class MethodResult(NamedTuple):
    """A method's scores on every slice.

    Attributes:
      scores: By name of a measure (`iou` at least): one column per click, one column in all for
        methods that answer once. NaN where a measure is not defined: surface measures of slices
        whose pixel size is unknown.
      clicks: The clicks that were answered; None for methods that do not take part in the click
        loop.
      facts: What the scores do not tell.
    """

    scores: dict[str, Float[np.ndarray, "m _"]]
    clicks: ClickRecord | None = None
    facts: MethodFacts = NO_FACTS


class Interval(NamedTuple):
    """A 95 % interval per click; NaN where there is none."""

    low: list[float]
    high: list[float]


class Gain(NamedTuple):
    """The gain in mean IoU of a method over a control.

    Attributes:
      per_click: After each click that both made.
      sum: Summed over them.
      interval: Of the gain per click; None with fewer than two patients.
      sum_interval: Low and high of the sum; None with fewer than two patients.
    """

    per_click: list[float]
    sum: float
    interval: Interval | None
    sum_interval: tuple[float, float] | None

    def to_json(self) -> dict[str, Any]:
        """Returns the gain as in summary.json."""
        interval = None if self.interval is None else self.interval._asdict()
        return plain({**self._asdict(), "interval": interval})

    @classmethod
    def from_json(cls, entry: Mapping[str, Any]) -> "Gain":
        """Returns the gain of an entry of summary.json."""
        bounds = entry["sum_interval"]
        return cls(
            per_click=_numbers(entry["per_click"]),
            sum=_number(entry["sum"]),
            interval=_interval(entry["interval"]),
            sum_interval=None if bounds is None else (_number(bounds[0]), _number(bounds[1])),
        )


class MethodSummary(NamedTuple):
    """The measures of a method over all slices.

    Attributes:
      means: By measure the mean after each click, over the slices where it is defined.
      num_defined: By measure the slices where it is defined after every click; empty in a stratum.
      is_clicked: Whether the method was corrected click by click; the others have means only.
      noc: Mean number of clicks by threshold ("80"); None in a stratum.
      nof: Share of failures by threshold; None in a stratum.
      iterative_iou_error: Weighted area above the curve of the mean IoU; None in a stratum.
      areas: By measure the mean height of its curve; empty with a single click.
      iou_interval: Of the mean IoU; None with fewer than two patients.
      gain_over: By control the gain over it; None where no gain is taken.
      facts: What the scores do not tell.
    """

    means: dict[str, list[float]]
    num_defined: dict[str, int] = {}
    is_clicked: bool = False
    noc: dict[str, float] | None = None
    nof: dict[str, float] | None = None
    iterative_iou_error: float | None = None
    areas: dict[str, float] = {}
    iou_interval: Interval | None = None
    gain_over: dict[str, Gain] | None = None
    facts: MethodFacts = NO_FACTS

    def to_json(self) -> dict[str, Any]:
        """Returns the entry of summary.json: what there is, and no more."""
        entry: dict[str, Any] = dict(self.means)
        if self.num_defined:
            entry["num_defined"] = self.num_defined
        numbers = {
            "noc": self.noc,
            "nof": self.nof,
            "iterative_iou_error": self.iterative_iou_error,
        }
        entry |= {key: value for key, value in numbers.items() if value is not None}
        entry |= {f"{name}_auc": area for name, area in self.areas.items()}
        if self.is_clicked:
            interval = self.iou_interval
            entry["iou_interval"] = None if interval is None else interval._asdict()
        if self.gain_over is not None:
            entry["gain_over"] = {name: gain.to_json() for name, gain in self.gain_over.items()}
        entry |= {key: value for key, value in self.facts._asdict().items() if value is not None}
        return plain(entry)

    @classmethod
    def from_json(cls, entry: Mapping[str, Any]) -> "MethodSummary":
        """Returns the method of an entry of summary.json; keys that it does not know are lost."""
        names = [measure.name for measure in MEASURES]
        known = set(MethodFacts._fields) - set(cls._fields)
        gains = entry.get("gain_over")
        return cls(
            means={name: _numbers(entry[name]) for name in names if name in entry},
            num_defined=dict(entry.get("num_defined", {})),
            is_clicked="iou_interval" in entry,
            noc=_by_key(entry.get("noc")),
            nof=_by_key(entry.get("nof")),
            iterative_iou_error=(
                _number(entry["iterative_iou_error"]) if "iterative_iou_error" in entry else None
            ),
            areas={n: _number(entry[f"{n}_auc"]) for n in names if f"{n}_auc" in entry},
            iou_interval=_interval(entry.get("iou_interval")),
            gain_over=(
                None if gains is None else {n: Gain.from_json(gain) for n, gain in gains.items()}
            ),
            facts=MethodFacts(**{key: entry[key] for key in known if key in entry}),
        )


class Stratum(NamedTuple):
    """The results on lesions of a size.

    Attributes:
      size: What the group is called.
      lesion_area: Smallest and largest lesion, pixels.
      num_images: Its slices.
      num_patients: Their patients.
      methods: The subject and the controls: IoU and its interval, and the subject's gains.
    """

    size: str
    lesion_area: tuple[float, float]
    num_images: int
    num_patients: int
    methods: dict[str, MethodSummary]

    def to_json(self) -> dict[str, Any]:
        """Returns the group as in summary.json."""
        entry = self._asdict()
        del entry["methods"]
        return plain({**entry, "rows": {n: m.to_json() for n, m in self.methods.items()}})

    @classmethod
    def from_json(cls, entry: Mapping[str, Any]) -> "Stratum":
        """Returns the group of an entry of summary.json."""
        low, high = entry["lesion_area"]
        return cls(
            size=entry["size"],
            lesion_area=(float(low), float(high)),
            num_images=entry["num_images"],
            num_patients=entry["num_patients"],
            methods={n: MethodSummary.from_json(m) for n, m in entry["rows"].items()},
        )


class UserVariant(NamedTuple):
    """The results under another simulated user.

    Attributes:
      variant: Name of the user.
      label: What the tables call it.
      curves: By method the mean IoU after each click; the painter is "disk_painter".
    """

    variant: str
    label: str
    curves: dict[str, list[float]]

    def to_json(self) -> dict[str, Any]:
        """Returns the user as in summary.json."""
        return plain({"variant": self.variant, "label": self.label, "rows": self.curves})

    @classmethod
    def from_json(cls, entry: Mapping[str, Any]) -> "UserVariant":
        """Returns the user of an entry of summary.json."""
        curves = {name: _numbers(curve) for name, curve in entry["rows"].items()}
        return cls(entry["variant"], entry["label"], curves)


class Summary(NamedTuple):
    """All figures of a report: summary.json.

    Attributes:
      facts: What was evaluated on what, by key; see `facts.FACTS`.
      methods: The measures of every method ("rows" in summary.json), in the order of the tables.
      strata: The results by lesion size, from the smallest on; empty with few slices.
      robustness: The results under other users; empty where none was asked for.
      cvpr25: The figures of the CVPR 2025 protocol; empty where it was not asked for.
      readers: The figures of the protocol across readers; None where it was not asked for.
    """

    facts: dict[str, Any]
    methods: dict[str, MethodSummary]
    strata: list[Stratum]
    robustness: list[UserVariant] = []
    cvpr25: dict[str, float] = {}
    readers: ReaderSummary | None = None

    def to_json(self) -> dict[str, Any]:
        """Returns summary.json as plain values: no NaN, no arrays."""
        entry: dict[str, Any] = plain(self.facts)
        entry["rows"] = {name: method.to_json() for name, method in self.methods.items()}
        if self.robustness:
            entry["robustness"] = [variant.to_json() for variant in self.robustness]
        if self.cvpr25:
            entry["cvpr25"] = plain(self.cvpr25)
        if self.readers is not None:
            entry["readers"] = plain(self.readers.to_json())
        return {**entry, "strata": [stratum.to_json() for stratum in self.strata]}

    @classmethod
    def from_json(cls, entry: Mapping[str, Any]) -> "Summary":
        """Returns the summary of the content of summary.json.

        Raises:
          ValueError: It lacks what every report has.
        """
        results = ("rows", "strata", *OF_PROTOCOLS)
        missing = [key for key in results[:2] if key not in entry]
        missing += missing_facts(entry)
        if missing:
            raise ValueError(f"expected the keys {', '.join(missing)}, which are missing")
        return cls(
            facts={key: value for key, value in entry.items() if key not in results},
            methods={n: MethodSummary.from_json(m) for n, m in entry["rows"].items()},
            strata=[Stratum.from_json(stratum) for stratum in entry["strata"]],
            robustness=[UserVariant.from_json(v) for v in entry.get("robustness") or ()],
            cvpr25=_by_key(entry.get("cvpr25")) or {},
            readers=ReaderSummary.from_json(entry["readers"]) if entry.get("readers") else None,
        )


def plain(value: Any) -> Any:
    """Returns a value as JSON has it: lists, Python's numbers, null for NaN and infinity."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, Path):
        return str(value)
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _number(value: float | int | None) -> float:
    return math.nan if value is None else float(value)


def _numbers(values: list[float | int | None]) -> list[float]:
    return [_number(value) for value in values]


def _by_key(values: Mapping[str, float | int | None] | None) -> dict[str, float] | None:
    return None if values is None else {key: _number(value) for key, value in values.items()}


def _interval(entry: Mapping[str, Any] | None) -> Interval | None:
    return None if entry is None else Interval(_numbers(entry["low"]), _numbers(entry["high"]))
