"""The facts of a report: what was evaluated, on what, by whom.

One entry of `FACTS` says all that the report does with a fact: whether a reader sees it, whether
runs that are pooled must agree on it, whether a comparison lists it.
"""

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

# What becomes of a fact in a pooled report: runs must agree on it; it says "various" where they do
# not; or it holds for one run only, and is left out or counted anew.
Scope = Literal["shared", "varying", "one run"]
VARIOUS = "various"
_SETTINGS = "evaluate all runs with the same eval settings"


class Fact(NamedTuple):
    """An entry of summary.json beside the results.

    Attributes:
      key: In summary.json.
      label: In the table of report.md; empty where it is not shown on its own.
      scope: What becomes of it in a pooled report.
      is_required: Whether every report has it.
      is_compared: Whether a comparison lists it where two reports differ.
      parts: Of a nested fact that is shared, the entries that runs must agree on; all without.
      remedy: What to do about runs that do not agree.
    """

    key: str
    label: str
    scope: Scope
    is_required: bool = False
    is_compared: bool = True
    parts: tuple[str, ...] = ()
    remedy: str = _SETTINGS


# In the order of the table. A key that is not here is a fact as well: varying, and not shown.
FACTS = (
    Fact(
        "dataset",
        "Dataset",
        "shared",
        is_required=True,
        remedy="slices of different datasets have no common names; pool each dataset alone",
    ),
    Fact("split", "", "varying", is_required=True),
    Fact("num_images", "", "one run", is_required=True),
    Fact("num_patients", "", "one run", is_required=True),
    Fact("nof_convention", "", "shared"),
    Fact("protocol", "Protocol", "shared"),
    Fact("model", "Model", "shared"),
    Fact("encoding", "Click encoding", "shared"),
    Fact("sampler", "Clicks in training", "varying"),
    Fact("start_from", "Starts from", "shared"),
    Fact("next_click", "Next click", "shared"),
    Fact("enclosing", "Enclosing radius by", "shared"),
    Fact("threshold", "Probability threshold", "shared"),
    Fact("inference", "The network sees", "shared"),
    Fact("batch_size", "Slices per call", "varying"),
    Fact("fold", "Cross-validation", "varying"),
    Fact(
        "split_seed",
        "",
        "shared",
        remedy="folds of different divisions overlap; train all folds with one split_seed",
    ),
    Fact("seen_in_training", "Seen in training", "varying"),
    Fact("left_out_patients", "", "one run"),
    Fact("config_name", "Configuration", "varying"),
    Fact("steps", "Training steps", "varying", is_required=True),
    Fact("seed", "Seed", "varying", is_required=True),
    Fact("seeds", "Seeds", "one run"),
    Fact("pooling", "Pooling", "varying"),
    Fact("sources", "Pooled from", "one run", is_compared=False),
    Fact("surface", "Surface measures", "shared", parts=("unit", "tolerance")),
    Fact("device", "Device", "varying", is_required=True),
    Fact("versions", "Versions", "one run", is_required=True),
)
BY_KEY = {fact.key: fact for fact in FACTS}


def missing_facts(facts: Mapping[str, Any]) -> list[str]:
    """Returns the keys that every report has and these facts lack."""
    return [fact.key for fact in FACTS if fact.is_required and fact.key not in facts]


def nof_convention(facts: Mapping[str, Any]) -> str:
    """Returns what a success at the very last click is: "success", or a failure as in "ritm"."""
    return str(facts.get("nof_convention", "success"))


def extent(facts: Mapping[str, Any]) -> str:
    """Returns how much was evaluated, in words."""
    images, patients = facts["num_images"], facts["num_patients"]
    return (
        f"{images} slice{'' if images == 1 else 's'} of "
        f"{patients} patient{'' if patients == 1 else 's'}"
    )


def title(facts: Mapping[str, Any]) -> str:
    """Returns what was evaluated, in one line."""
    return f"{facts['dataset']}, {facts['split']} split: {extent(facts)}"


def common(values: list[Any]) -> Any:
    """Returns the value that all runs share, or that there are various."""
    return values[0] if all(value == values[0] for value in values) else VARIOUS


def pooled_facts(runs: list[Mapping[str, Any]]) -> dict[str, Any]:
    """Returns the facts of several runs as one.

    Left out is what holds for one run only, and what has parts: it is counted anew.
    """
    kept = [
        key
        for key in dict.fromkeys(key for facts in runs for key in facts)
        if key not in BY_KEY or (BY_KEY[key].scope != "one run" and not BY_KEY[key].parts)
    ]
    return {key: common([facts.get(key) for facts in runs]) for key in kept}


def differing_facts(
    first: Mapping[str, Any], second: Mapping[str, Any]
) -> list[tuple[str, str, str]]:
    """Returns name and both values of the facts in which two reports differ."""
    left, right = _flat(first), _flat(second)
    names = [*left, *(name for name in right if name not in left)]
    return [
        (name, left.get(name, "–"), right.get(name, "–"))
        for name in names
        if left.get(name, "–") != right.get(name, "–")
    ]


def _flat(facts: Mapping[str, Any]) -> dict[str, str]:
    """Returns the facts that are compared as text, one level of nesting as `outer.inner`."""
    flat: dict[str, str] = {}
    for key, value in facts.items():
        if key not in BY_KEY or BY_KEY[key].is_compared:
            entries = value.items() if isinstance(value, dict) else [("", value)]
            flat |= {f"{key}.{part}" if part else key: str(item) for part, item in entries}
    return flat
