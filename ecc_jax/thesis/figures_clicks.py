"""Figures 15 and 17: what users of static and dynamic disks place, and what they are answered."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from ecc_jax.report import montage
from ecc_jax.report.montage import Example
from ecc_jax.thesis import figures_style as style
from ecc_jax.thesis.figures_runs import Inputs, Method, Missing, examples_of

_MOST = 5


def one_click(inputs: Inputs) -> tuple[Any, str]:
    """Returns Figure 15: the first click and its answer, static beside dynamic.

    Raises:
      Missing: No static and dynamic run of one network on one dataset, or no examples.
    """
    pair = _pair(inputs)
    shown = [examples_of(method) for method in pair]
    places = _shared(pair, shown)[-2:]
    columns = [(m, shown[i][at[i]]) for at in places for i, m in enumerate(pair)]
    figure = _draw(columns, click=1)
    return figure, (
        f"One click on {len(places)} slices of {pair[0].dataset} "
        f"({'; '.join(shown[0][at[0]].title for at in places)}), by {pair[0].label} with static "
        f"and {pair[1].label} with dynamic disks. Above: the disk and the ground truth. Below: the "
        "answer with its IoU."
    )


def many_clicks(inputs: Inputs) -> tuple[Any, str]:
    """Returns Figure 17: all clicks and the last answer of every method on one slice.

    Raises:
      Missing: No run with examples, or none of them after the same click.
    """
    of_sets = inputs.of_sets()
    # The dataset of most methods, of equally many the first; one click has no course to show.
    known = max(of_sets.values(), key=lambda methods: (methods[0].num_clicks > 1, len(methods)))
    known = [method for method in known if method.num_clicks > 1] or known
    methods = known[:_MOST]
    others = ", ".join(method.label for method in known[_MOST:])
    shown = [examples_of(method) for method in methods]
    places = _shared(methods, shown)[-1]
    columns = [(m, e[at]) for m, e, at in zip(methods, shown, places, strict=True)]
    # Runs of unlike length keep masks after unlike clicks.
    common = set.intersection(*(set(example.masks) for _, example in columns))
    if not common:
        raise Missing(
            f"{', '.join(m.label for m in methods)} keep no answers after the same number of "
            "clicks; evaluate all runs with one eval.num_clicks"
        )
    clicks = max(common)
    made = ", ".join(f"{m.label} {_made(example, clicks)}" for m, example in columns)
    return _draw(columns, click=clicks), (
        f"Clicks and answers after {clicks} clicks on one slice of {methods[0].dataset} "
        f"({columns[0][1].title}). Above: disks of lesion (dots) and background clicks (crosses), "
        f"the newest bold. Below: the answer with its IoU. Lesion and background clicks: {made}."
        f"{f' No room for {others}.' if others else ''}"
    )


def _made(example: Example, clicks: int) -> str:
    """Returns how many lesion and background clicks were made, as 3 + 17."""
    exists, positive = example.clicks_exist[:clicks], example.clicks_positive[:clicks]
    return f"{int((exists & positive).sum())} + {int((exists & ~positive).sum())}"


def _pair(inputs: Inputs) -> tuple[Method, Method]:
    """Returns a static and a dynamic run of one network, the first on whose dataset both are."""
    for methods in inputs.of_sets().values():
        for static in methods:
            for dynamic in methods:
                is_pair = (static.clicks, dynamic.clicks) == ("static", "dynamic")
                if is_pair and _network(static) == _network(dynamic):
                    return static, dynamic
    raise Missing(
        "no static and dynamic run of one network on one dataset were given; train both with "
        "python -m ecc_jax.main --config=configs/ritm_static.py and configs/ritm_dynamic.py"
    )


def _network(method: Method) -> tuple[str, str]:
    return method.family, method.trained_on


def _shared(methods: Sequence[Method], shown: Sequence[Sequence[Example]]) -> list[tuple[int, ...]]:
    """Returns by slice, from the smallest lesion on, where each method's examples have it."""
    where = [{example.title: i for i, example in enumerate(examples)} for examples in shown]
    found = [
        tuple(places[title] for places in where)
        for title in where[0]
        if all(title in places for places in where)
    ]
    if not found:
        raise Missing(
            f"{' and '.join(str(method.folder) for method in methods)} show no slice in common; "
            "evaluate all runs with the same data, fold and eval.max_slices"
        )
    for at in found:
        first, *others = (examples[i].target for examples, i in zip(shown, at, strict=True))
        if any(not np.array_equal(first, other) for other in others):
            raise ValueError(
                f"{shown[0][at[0]].title} is another lesion in another report; the runs were "
                "evaluated on different data"
            )
    return found


def _draw(columns: Sequence[tuple[Method, Example]], *, click: int) -> Any:
    """Draws clicks above and answers below, a column for each method and slice."""
    figure, axes = style.panels(2, len(columns), above=0.2)
    for (method, example), (above, below) in zip(columns, axes.T, strict=True):
        same = [other for _, other in columns if other.title == example.title]
        zoom = _zoom_of(same, click)
        for panel in (above, below):
            montage.draw_slice(panel, example, zoom)
        placed = np.flatnonzero(_until(example.clicks_exist, click))
        for slot in placed:
            montage.draw_click(above, example, int(slot), is_newest=bool(slot == placed[-1]))
        style.outline_mask(below, example.masks[click])
        for panel in (above, below):
            style.outline_target(panel, example.target)
        montage.corner_text(below, f"IoU {example.ious[click]:.2f}", size=style.SMALL)
        above.set_title(method.label, fontsize=style.SMALL)
    keys = [style.TARGET_KEY, style.MASK_KEY, style.POSITIVE_KEY]
    style.key(figure, [*keys, *([style.NEGATIVE_KEY] if click > 1 else [])])
    return figure


def _zoom_of(examples: Sequence[Example], click: int) -> tuple[int, int, int, int]:
    """Returns one square for the panels of a slice, which holds the clicks of all of them."""
    together = examples[0]._replace(
        clicks_yx=np.concatenate([e.clicks_yx[:click] for e in examples]),
        clicks_radius=np.concatenate([e.clicks_radius[:click] for e in examples]),
        clicks_exist=np.concatenate([e.clicks_exist[:click] for e in examples]),
    )
    return montage.zoom_box(together)


def _until(exists: np.ndarray, click: int) -> np.ndarray:
    """Returns which clicks were made up to a click."""
    return exists & (np.arange(exists.size) < click)
