"""Figures 16 and 18: IoU after each click, by method and by augmentation."""

from collections.abc import Iterable, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ecc_jax import catalog
from ecc_jax.report.figures import bare, click_ticks
from ecc_jax.report.intervals import bootstrap_mean
from ecc_jax.report.methods import BLUE, GREEN, PAINTERS, PURPLE, RED, Look
from ecc_jax.report.methods import BY_NAME as METHOD_LOOKS
from ecc_jax.report.pooling import slice_key
from ecc_jax.thesis import figures_style as style
from ecc_jax.thesis import published, rows, runs_of
from ecc_jax.thesis.figures_runs import Inputs, Method, Missing

_COLOURS = {rows.RITM.family: BLUE, rows.FOCALCLICK.family: RED, rows.UNETPP.family: GREEN}
_LINES = {"static": (0, (5, 2)), "dynamic": "-", "mixed": (0, (5, 1.5, 1, 1.5))}
_DOTS = (0, (1, 1.2))
_MARKERS = "os^Dv<>Pp*"
# The painter tuned on training slices: the control to beat.
_PAINTER = PAINTERS[-1]
_STATED = (1, 5, 20)
_THESIS = "thesis"


def by_method(inputs: Inputs) -> tuple[Figure, str]:
    """Returns Figure 16: IoU after each click of every method, a panel for each dataset.

    Raises:
      Missing: No run was given.
    """
    of_sets, points = _curves_and_points(inputs.of_sets())
    counts = [
        len(methods) + sum(map(bool, map(published_of, methods))) for methods in of_sets.values()
    ]
    figure, axes = _panels([count + 1 for count in counts])
    stated = []
    for panel, (dataset, methods) in zip(axes, of_sets.items(), strict=True):
        for place, method in enumerate(methods):
            look = _look(method, place)
            _draw_curve(panel, method.iou, method.label, look)
            _draw_published(panel, method, look)
        curves = [(m.label, m) for m in methods]
        painted = methods[0].run.results.get(_PAINTER)
        if painted is not None:
            known = METHOD_LOOKS[_PAINTER]
            _draw_curve(panel, painted.scores["iou"], known.label, known.look._replace(line=_DOTS))
        _finish(panel, dataset, columns=2 if len(axes) == 1 else 1)
        stated.append(f"{dataset}: {_in_words(curves)}")
    return figure, (
        "Mean IoU after each click; static disks dashed, dynamic ones solid, the first dynamic and "
        "later ones static dash-dotted. The painter (dotted) draws and erases the user's disks and "
        "sees no image: what a dynamic method has above it is what the image gave. With 95 % "
        f"intervals over patients: {'; '.join(stated)}.{_crosses(axes)}{_warning(of_sets.values())}"
        f"{f' Not drawn, evaluated after one click only: {points}.' if points else ''}"
    )


def _curves_and_points(
    of_sets: dict[str, list[Method]],
) -> tuple[dict[str, list[Method]], str]:
    """Returns the sets that have a curve to draw, and what the others are called.

    Where no set has one, all are drawn, as points.
    """
    curves = {
        dataset: methods
        for dataset, methods in of_sets.items()
        if any(method.num_clicks > 1 for method in methods)
    }
    if not curves:
        return of_sets, ""
    return curves, ", ".join(dataset for dataset in of_sets if dataset not in curves)


def by_augmentation(inputs: Inputs) -> tuple[Figure, str]:
    """Returns Figure 18: FocalClick with static disks by augmentation, a panel for each dataset.

    Raises:
      Missing: No two static FocalClick runs on one dataset that differ in augmentation.
    """
    compared: dict[str, dict[str, Method]] = {}
    hidden = []
    for dataset, methods in inputs.of_sets().items():
        for origin, alike in _static_focalclick(methods).items():
            chosen = {m.augmentation: m for m in reversed(alike)}
            if len(chosen) > 1:
                compared[f"{dataset}{origin}"] = dict(sorted(chosen.items()))
                hidden += [
                    f"{m.label} ({dataset})" for m in alike if chosen[m.augmentation] is not m
                ]
    if not compared:
        raise Missing(
            "no two static FocalClick runs on one dataset that differ in augmentation were given; "
            f"train with --config=configs/{rows.FOCALCLICK.leaf} and --config.augment.name=ritm, "
            "focalclick and optimal_crop (or scripts/ablation.py --study methods --only "
            "focalclick_static,own_crops,optimal_crop)"
        )
    left_out = f" Not shown, as another run of the same crops is: {', '.join(hidden)}."
    figure, axes = _panels([len(by_name) for by_name in compared.values()])
    stated = []
    for panel, (dataset, by_name) in zip(axes, compared.items(), strict=True):
        for place, (name, method) in enumerate(by_name.items()):
            look = Look((BLUE, RED, GREEN, PURPLE)[place % 4], _STYLES[place % 4], "", 3.6)
            _draw_curve(panel, method.iou, _crops(name), look._replace(marker=_MARKERS[place]))
        _finish(panel, dataset, columns=3 if len(axes) == 1 else 1)
        curves = [(_crops(name), method) for name, method in by_name.items()]
        stated.append(f"{dataset}: {_in_words(curves)}")
    return figure, (
        "FocalClick with static disks, trained with the crops of several augmentation strategies: "
        "the first mask (click 1) and its refinement. With 95 % intervals over patients: "
        f"{'; '.join(stated)}.{_warning(list(part.values()) for part in compared.values())}"
        f"{left_out if hidden else ''}"
    )


def _crops(name: str) -> str:
    """Returns what the crops of an augmentation strategy are called."""
    of_networks = {row.family: f"{row.label}'s crops" for row in (rows.RITM, rows.FOCALCLICK)}
    return of_networks.get(name, name.replace("_", " ").title())


def _static_focalclick(methods: Sequence[Method]) -> dict[str, list[Method]]:
    """Returns the runs that Figure 18 compares, by what a label adds about their training."""
    found: dict[str, list[Method]] = {}
    for method in methods:
        is_static = (method.family, method.clicks) == (rows.FOCALCLICK.family, "static")
        if is_static and not method.config["inference"]["progressive_merge"]:
            found.setdefault(method.origin, []).append(method)
    return found


_STYLES = ("-", (0, (5, 2)), _DOTS, (0, (5, 1.5, 1, 1.5)))


def _look(method: Method, place: int) -> Look:
    colour = _COLOURS.get(method.family, PURPLE)
    return Look(colour, _LINES[method.clicks], _MARKERS[place % len(_MARKERS)], 3.6, 1.4)


def _panels(curves: Sequence[int]) -> tuple[Figure, Sequence[Axes]]:
    """Returns a figure with a panel for each dataset, two to a row, given its number of curves."""
    columns = min(2, len(curves))
    lines = -(-len(curves) // columns)
    height = 2.9 + 0.16 * max(curves) * columns / 2
    figure = Figure(figsize=(style.WIDTH, height * lines), layout="constrained")
    axes = list(figure.subplots(lines, columns, squeeze=False).flat)
    for unused in axes[len(curves) :]:
        unused.set_axis_off()
    return figure, axes[: len(curves)]


def published_of(method: Method) -> dict[int, float]:
    """Returns the thesis's IoU by click where it published a method, trained and tested alike."""
    try:
        report = runs_of.read(method.folder)
    except ValueError:
        return {}
    cell = report.cell
    is_whole = cell.subset == catalog.SUBSETS[0] and method.trained_on == method.dataset
    if report.is_stand_in or not is_whole:
        return {}
    meanings = {n.meaning: n.value for n in published.numbers()}
    return {
        meaning.click: value
        for meaning, value in meanings.items()
        if isinstance(meaning, published.Score) and meaning.click
        if (meaning.row, meaning.trained_on, meaning.tested_on)
        == (cell.row, cell.trained_on, cell.tested_on)
    }


def _draw_published(axes: Axes, method: Method, look: Look) -> None:
    stated = published_of(method)
    if stated:
        clicks = sorted(stated)
        values = [stated[click] for click in clicks]
        marker = "x" if method.clicks == "static" else "+"
        label = f"{_THESIS}: {method.label}"
        axes.plot(clicks, values, marker, color=look.color, ms=4, label=label)


def _draw_curve(axes: Axes, iou: np.ndarray, label: str, look: Look) -> None:
    curve = iou.mean(axis=0, dtype=np.float64)
    axes.plot(
        np.arange(1, curve.size + 1),
        curve,
        color=look.color,
        ls=look.line,
        marker=look.marker,
        markevery=[click - 1 for click in click_ticks(curve.size)],
        ms=min(look.size, 3.6),
        mfc="white",
        lw=min(look.width, 1.5),
        label=label,
    )


def _finish(axes: Axes, dataset: str, *, columns: int) -> None:
    clicks = max(np.size(line.get_xdata()) for line in axes.lines)
    lowest = min(float(np.nanmin(np.asarray(line.get_ydata(), float))) for line in axes.lines)
    axes.set_xticks(click_ticks(clicks))
    axes.set_xlabel("clicks")
    axes.set_ylabel("mean IoU")
    axes.set_ylim(max(0.0, np.floor(10 * lowest) / 10), 1.0)
    axes.set_title(dataset)
    bare(axes)
    axes.legend(
        loc="upper center",
        bbox_to_anchor=(0.5, -0.16),
        ncols=columns,
        frameon=False,
        handlelength=3.4,
    )


def _crosses(panels: Sequence[Axes]) -> str:
    """Returns what crosses are, where there are any."""
    labels = [str(line.get_label()) for panel in panels for line in panel.lines]
    has = any(label.startswith(_THESIS) for label in labels)
    return " Crosses: what the thesis published in Tables 3 to 5." if has else ""


def _warning(panels: Iterable[Sequence[Method]]) -> str:
    """Returns what a reader must know where curves of one panel are of different slices."""
    for methods in panels:
        slices = [sorted(map(slice_key, method.run.slices)) for method in methods]
        for method, found in zip(methods, slices, strict=True):
            if found != slices[0]:
                return (
                    f" Not comparable: {methods[0].label} and {method.label} were evaluated on "
                    f"different slices ({len(slices[0])} and {len(found)}); evaluate all runs "
                    "with one fold and one eval.max_slices."
                )
    return ""


def _in_words(curves: Sequence[tuple[str, Method]]) -> str:
    """Returns the IoU of methods at some clicks with intervals."""
    found = []
    for label, method in curves:
        iou = method.iou
        band = bootstrap_mean(iou, [entry["patient"] for entry in method.run.slices])
        parts = []
        for click in _STATED:
            if click <= iou.shape[1]:
                text = f"{iou[:, click - 1].mean(dtype=np.float64):.3f}"
                if band is not None:
                    text += f" [{band.low[click - 1]:.3f}, {band.high[click - 1]:.3f}]"
                parts.append(f"{text} at click {click}")
        found.append(f"{label} {', '.join(parts)}")
    return "; ".join(found)
