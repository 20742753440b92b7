"""The figures of the thesis that can be computed: which there are, drawn into a folder."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ecc_jax import atomic
from ecc_jax.thesis import (
    figures_classical,
    figures_clicks,
    figures_crops,
    figures_curves,
    figures_data,
    figures_style,
)
from ecc_jax.thesis.figures_runs import Inputs, Missing

INDEX = "index.md"
Draw = Callable[[Inputs], tuple[Any, str]]


class Figure(NamedTuple):
    """A figure of the thesis.

    Attributes:
      title: What it shows.
      draw: Returns it with its caption; raises `Missing` where there is nothing to draw it from.
    """

    title: str
    draw: Draw


# By the thesis's numbers. 1 is a photograph, 3 to 7 are sketches of networks.
FIGURES = {
    2: Figure("Classical methods", figures_classical.both_methods),
    8: Figure("Crops of RITM and FocalClick", figures_crops.crops_in_use),
    9: Figure("Target Crop and Focus Crop", figures_crops.focus_crops),
    10: Figure("Windows", figures_data.windows),
    11: Figure("Crops of training beside Target Crop", figures_crops.crops_in_training),
    12: Figure("Dynamic disks by radius rule", figures_data.radii),
    13: Figure("Parameter search of flooding", figures_classical.search_of_flooding),
    14: Figure("Parameter search of active contours", figures_classical.search_of_contour),
    15: Figure("One click, static and dynamic", figures_clicks.one_click),
    16: Figure("IoU after each click", figures_curves.by_method),
    17: Figure("Clicks and masks after the last click", figures_clicks.many_clicks),
    18: Figure("Augmentations of FocalClick", figures_curves.by_augmentation),
}


class Drawn(NamedTuple):
    """What became of the figures.

    Attributes:
      captions: The index with captions and what is missing.
      files: By number the files of a figure.
      missing: By number what its figure lacks, and what makes it.
    """

    captions: Path
    files: dict[int, list[Path]]
    missing: dict[int, str]


def numbers_of(text: str) -> list[int]:
    """Returns the figures that a list such as "12,16" names; all where it is empty.

    Raises:
      ValueError: One of them is no figure that can be drawn.
    """
    words = [word.strip() for word in text.split(",") if word.strip()]
    known = {str(number): number for number in FIGURES}
    unknown = [word for word in words if word not in known]
    if unknown:
        raise ValueError(
            f"figures that can be drawn are {', '.join(known)} (1 is a photograph, 3 to 7 are "
            f"sketches of networks); got {', '.join(unknown)}"
        )
    return sorted({known[word] for word in words}) or list(FIGURES)


def draw_figures(
    inputs: Inputs,
    out: Path,
    *,
    numbers: Sequence[int] = tuple(FIGURES),
    progress: Callable[[Iterable[int]], Iterable[int]] = iter,
) -> Drawn:
    """Draws figures as PDF and PNG, and an index with their captions.

    Figures that lack something are listed with what makes it, and their files of earlier calls
    are removed, so that a folder never shows what it does not tell.

    Args:
      inputs: What they are drawn from.
      out: The folder, made if missing.
      numbers: Which.
      progress: Wraps the numbers, to show how far it is.

    Raises:
      ValueError: An input is damaged.
      OSError: A file cannot be written.
    """
    files: dict[int, list[Path]] = {}
    missing: dict[int, str] = {}
    captions: dict[int, str] = {}
    for number in progress(numbers):
        stem = out / f"figure_{number:02d}"
        try:
            with figures_style.in_print():
                figure, captions[number] = FIGURES[number].draw(inputs)
                files[number] = figures_style.save(figure, stem)
        except Missing as lack:
            missing[number] = str(lack)
            for ending in ("pdf", "png"):
                stem.with_name(f"{stem.name}.{ending}").unlink(missing_ok=True)
    index = out / INDEX
    atomic.write_text(index, _index(inputs, files, captions, missing))
    return Drawn(index, files, missing)


def _index(
    inputs: Inputs,
    files: dict[int, list[Path]],
    captions: dict[int, str],
    missing: dict[int, str],
) -> str:
    """Returns captions, sources and what is missing as Markdown."""
    parts = ["# Figures of the thesis"]
    for number, paths in files.items():
        pdf, png = (path.name for path in paths)
        heading = f"## Figure {number}: {FIGURES[number].title}"
        parts += [heading, f"![Figure {number}]({png})", f"{captions[number]} ([PDF]({pdf}))"]
    if missing:
        parts.append("## Missing")
        parts.append(
            "\n".join(f"- Figure {n} ({FIGURES[n].title}): {t}" for n, t in missing.items())
        )
    sources = [f"- {m.dataset}, {m.label}: {', '.join(m.run.sources)}" for m in inputs.methods]
    if inputs.classical:
        sources.append(f"- classical methods: {inputs.classical}")
    if isinstance(inputs.data, Path):
        sources.append(f"- slices: {inputs.data}")
    if sources:
        parts += ["## Drawn from", "\n".join(sources)]
    return "\n\n".join(parts) + "\n"
