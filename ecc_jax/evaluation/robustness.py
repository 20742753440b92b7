"""Other users than the configured one: unsteady hands, other radii, other habits."""

import dataclasses
from collections.abc import Sequence
from typing import Any, NamedTuple

from ecc_jax.clicks.user import HABITS, RobotUser
from ecc_jax.evaluation.methods import Bench

_LABELS = {
    "tight": "tight radii",
    "average": "average radii",
    "enclosing": "enclosing radii",
    "average_then_tight": "average radius first, then tight",
}


class Variant(NamedTuple):
    """A user of the robustness protocol."""

    name: str
    label: str
    user: RobotUser


def variants_of(
    user: RobotUser, *, habit: str, jitters: Sequence[float], scales: Sequence[float]
) -> list[Variant]:
    """Returns the users of the robustness protocol, the configured one first.

    Args:
      user: The configured user; with fixed radii only the hand can err.
      habit: The name of its radius rule.
      jitters: Standard deviations of the hand's error along each axis, pixels.
      scales: Factors of the radius.
    """
    nominal = _LABELS.get(habit, f"{habit} radius")
    variants = [Variant("nominal", f"as configured: {nominal}", user)]
    variants += [
        Variant(
            f"jitter_{sd:g}", f"unsteady hand, sd {sd:g} px", dataclasses.replace(user, jitter=sd)
        )
        for sd in jitters
    ]
    if user.radius == "fixed":
        return variants
    variants += [
        Variant(
            f"radius_x{scale:g}",
            f"radius × {scale:g}",
            dataclasses.replace(user, radius_scale=scale),
        )
        for scale in scales
    ]
    return variants + [
        Variant(name, _LABELS[name], user.with_habit(name)) for name in HABITS if name != habit
    ]


def num_passes(bench: Bench, variants: Sequence[Variant]) -> int:
    """Returns how many slices `run_variants` clicks through."""
    per_variant = 1 if bench.options.user.radius == "fixed" else 2
    return per_variant * len(variants) * len(bench.data.positions)


def run_variants(bench: Bench, variants: Sequence[Variant]) -> list[dict[str, Any]]:
    """Returns the IoU per click of network and painter under every user, ready for JSON."""
    entries = []
    for variant in variants:
        results = {"model": bench.run_network(user=variant.user)}
        if bench.options.user.radius != "fixed":  # the painter needs a radius
            results["disk_painter"] = bench.run_painter(variant.user)
        curves = {
            name: found.method.scores["iou"].mean(axis=0).tolist()
            for name, found in results.items()
        }
        entries.append({"variant": variant.name, "label": variant.label, "rows": curves})
    return entries
