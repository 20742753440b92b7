"""Slices of a prepared dataset, to draw crops, windows and disks on."""

from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float

from ecc_jax.catalog import LUNG_HU, SOFT_TISSUE_HU
from ecc_jax.clicks.encoding import empty_clicks
from ecc_jax.clicks.user import RobotUser, next_click
from ecc_jax.data import pipeline
from ecc_jax.data.window import apply_window
from ecc_jax.report import montage
from ecc_jax.report.dataset import spread_over_areas
from ecc_jax.report.montage import Example
from ecc_jax.thesis import figures_style as style
from ecc_jax.thesis.figures_runs import Inputs, Missing
from ecc_jax.types import Click

SPLIT = "test"
# The usual range in which bones are read: width 1800, level 400 HU.
BONE_HU = (-500.0, 1300.0)
STATIC_RADIUS = 5.0  # pixels, thesis 3.3
_RULES = {"fixed": "static", "tight": "tight", "average": "average", "enclosing": "enclosing"}
_CANDIDATES = 24
_DRAWS = 6
_clicked = jax.jit(next_click)


class Slices(NamedTuple):
    """Some slices of a prepared dataset.

    Attributes:
      image: Windowed, in [0, 1].
      image_hu: In Hounsfield units.
      target: The lesion.
      names: Volume and slice.
    """

    image: Float[np.ndarray, "n h w"]
    image_hu: Float[np.ndarray, "n h w"]
    target: Bool[np.ndarray, "n h w"]
    names: list[str]

    def first_click(self, rule: str, *, seed: int = 0) -> Click:
        """Returns the first click of the simulated user on each slice, its radius by a rule."""
        rows = len(self.names)
        target = jnp.asarray(self.target)
        keys = jax.random.split(jax.random.key(seed), rows)
        nothing, user = jnp.zeros_like(target), RobotUser(radius=rule, fixed_radius=STATIC_RADIUS)
        return _clicked(keys, nothing, target, empty_clicks(rows, 1), user=user)


def prepared(inputs: Inputs) -> Path:
    """Returns the folder of the prepared dataset.

    Raises:
      Missing: There is none.
    """
    if isinstance(inputs.data, Missing):
        raise inputs.data
    return inputs.data


def read_slices(directory: Path, *, count: int) -> Slices:
    """Returns slices of the test split, from the smallest to the largest lesion.

    Args:
      directory: The prepared dataset.
      count: At most so many.
    """
    slices = pipeline.open_split(directory, SPLIT)
    chosen = spread_over_areas(slices.index, count=count)
    rows = pipeline.stack([pipeline.read_row(slices, position) for position in chosen])
    window = jnp.asarray(rows.window_hu)
    entries = [slices.index[position] for position in chosen]
    return Slices(
        image=np.asarray(apply_window(jnp.asarray(rows.image_hu), window)),
        image_hu=np.asarray(rows.image_hu, np.float32),
        target=np.asarray(rows.target) > 0,
        names=[f"{entry['volume']}, slice {entry['slice_index']}" for entry in entries],
    )


def windows(inputs: Inputs) -> tuple[Any, str]:
    """Returns Figure 10: one slice through several windows, with what it shows.

    Raises:
      Missing: No dataset, or one whose Hounsfield units are clipped to its window.
    """
    directory = prepared(inputs)
    name, variant = directory.parts[-3], directory.parts[-2]
    if "_raw_" not in variant:
        raise Missing(
            f"{directory} keeps the HU of its window only; prepare all of them with "
            f"scripts/build_dataset.py {name} --config raw, and pass --data that folder"
        )
    one = read_slices(directory, count=_CANDIDATES)
    widest = int(np.argmax(np.ptp(one.image_hu, axis=(1, 2))))
    image = one.image_hu[widest]
    shown = {
        "no window": (float(image.min()), float(image.max())),
        "lung": LUNG_HU,
        "soft tissue": SOFT_TISSUE_HU,
        "bone": BONE_HU,
    }
    figure, axes = style.panels(1, len(shown))
    for panel, (title, (low, high)) in zip(axes[0], shown.items(), strict=True):
        grey = np.clip((image - low) / max(high - low, 1.0), 0, 1)
        style.show(panel, grey, title=f"{title}\n{low:.0f} to {high:.0f} HU")
    style.label_panels(axes[0])
    return figure, (
        f"One slice ({one.names[widest]}) through several windows: black is the lower end and "
        "below, white the upper end and above. Without a window, air and metal leave few grey "
        "values to soft tissue."
    )


def radii(inputs: Inputs) -> tuple[Any, str]:
    """Returns Figure 12: the disk of each radius rule on one lesion, with what it shows.

    Raises:
      Missing: No dataset.
    """
    one = read_slices(prepared(inputs), count=_CANDIDATES)
    found = {rule: np.asarray(one.first_click(rule).radius) for rule in _RULES}
    drawn = np.array([one.first_click("normal", seed=i).radius for i in range(_DRAWS)])
    areas = one.target.sum(axis=(1, 2))
    # Where the rules differ most, among lesions that are large enough to be seen.
    spread = found["enclosing"] / found["tight"]
    chosen = int(np.argmax(np.where(areas >= np.median(areas), spread, 0)))
    disks = {_RULES[rule]: radius[chosen : chosen + 1] for rule, radius in found.items()}
    disks["in training"] = np.sort(drawn[:, chosen])
    centre = np.asarray(one.first_click("tight").yx[chosen])
    widest = float(max(radius.max() for radius in disks.values()))
    figure, axes = style.panels(1, len(disks))
    for panel, (rule, radius) in zip(axes[0], disks.items(), strict=True):
        _draw_disks(panel, one, chosen, centre, radius, widest)
        size = f"{radius[0]:.1f}" if len(radius) == 1 else f"{radius[0]:.1f} to {radius[-1]:.1f}"
        panel.set_title(f"{rule}\nr = {size} px", fontsize=style.SMALL)
    style.label_panels(axes[0])
    style.key(figure, [style.TARGET_KEY, style.POSITIVE_KEY])
    return figure, (
        f"The first disk of the simulated user on one lesion ({one.names[chosen]}, {areas[chosen]} "
        f"pixels): the static radius, and dynamic radii by rule. Training draws a radius anew for "
        f"every click; {_DRAWS} draws are shown. Of {len(areas)} slices from the smallest to the "
        "largest lesion, the one is taken, among the larger half, on which the enclosing radius is "
        "the largest multiple of the tight one."
    )


def _draw_disks(
    panel: Any, one: Slices, place: int, centre: np.ndarray, radius: np.ndarray, widest: float
) -> None:
    """Draws the disks of one rule on the lesion; every rule's panel shows the same square."""
    count = len(radius)
    example = Example(
        image=one.image[place],
        target=one.target[place],
        clicks_yx=np.tile(centre, (count, 1)),
        clicks_radius=radius,
        clicks_positive=np.ones(count, bool),
        clicks_exist=np.ones(count, bool),
        masks={},
        ious={},
        title="",
    )
    square = example._replace(clicks_radius=np.full(count, widest))
    montage.draw_slice(panel, example, montage.zoom_box(square))
    for slot in range(count):
        montage.draw_click(panel, example, slot, is_newest=count == 1)
    style.outline_target(panel, one.target[place])
