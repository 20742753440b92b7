"""Figures 8, 9 and 11: what the networks are shown, in use and in training."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ecc_jax.data import augment, pipeline
from ecc_jax.data.crop_bounds import measure_bounds
from ecc_jax.inference.crops import Zoom, crop, grid_shape, move_clicks
from ecc_jax.inference.focal import Focal
from ecc_jax.inference.focus import focus_box
from ecc_jax.report import montage
from ecc_jax.report.dataset import spread_over_areas
from ecc_jax.report.montage import Example
from ecc_jax.thesis import crops, rows
from ecc_jax.thesis import figures_style as style
from ecc_jax.thesis.figures_data import prepared, read_slices
from ecc_jax.thesis.figures_runs import Inputs, Missing, examples_of, has_examples
from ecc_jax.types import Clicks

_RITM, _TARGET, _FOCUS = "RITM's crop", "Target Crop", "Focus Crop"
_SLICES = 3
_focus_box = jax.jit(focus_box, static_argnames="expansion")
_CLICK = 2  # of the clicks after which masks are kept, the one whose predecessor is kept too


def crops_in_use(inputs: Inputs) -> tuple[Any, str]:
    """Returns Figure 8: RITM's crop and Target Crop of some slices, with what it shows.

    Raises:
      Missing: No dataset.
    """
    found = read_slices(prepared(inputs), count=_SLICES + 2)
    part = found._replace(**{name: values[1:-1] for name, values in found._asdict().items()})
    image, target = jnp.asarray(part.image), jnp.asarray(part.target)
    size = image.shape[1]
    zoom = Zoom(min_crop=round(Zoom().min_crop * size / crops.FULL_SIZE), rule="longest")
    boxes = {
        _RITM: np.asarray(crops.lesion_box(target, zoom)),
        _TARGET: np.asarray(crops.lesion_box(target, crops.TARGET_CROP)),
    }
    figure, axes = style.panels(len(part.names), 3)
    for row, panels in enumerate(axes):
        style.show(panels[0], part.image[row], title=f"slice\n{size} x {size} pixels")
        for panel, (name, box), look in zip(panels[1:], boxes.items(), _LOOKS, strict=True):
            style.frame(panels[0], box[row], **look)
            sides = (int(box[row, 2] - box[row, 0]), int(box[row, 3] - box[row, 1]))
            shape = crops.TARGET_SHAPE if name == _TARGET else grid_shape(sides, zoom)
            one = slice(row, row + 1)
            seen, mask = crops.cropped(image[one], target[one], jnp.asarray(box[one]), shape)
            title = f"{name}\n{sides[0]} x {sides[1]} shown as {shape[0]} x {shape[1]}"
            style.show(panel, np.asarray(seen[0]), title=title)
            style.outline_target(panel, np.asarray(mask[0]))
            _edge(panel, **look)
        style.outline_target(panels[0], part.target[row])
    style.key(figure, [style.TARGET_KEY])
    return figure, (
        f"What RITM and FocalClick are shown of {len(part.names)} slices "
        f"({'; '.join(part.names)}) once the mask is right. RITM's crop (blue frame) keeps its "
        f"proportions; it has {zoom.min_crop} pixels a side at least, the original's 200 on slices "
        f"of 512 in proportion to {size}. FocalClick's Target Crop (orange, dashed) is tighter, 10 "
        "pixels at least, and is stretched to a square."
    )


_LOOKS = ({"colour": style.BOX_A}, {"colour": style.BOX_B, "line": "--"})


def _edge(panel: Any, *, colour: str, line: str = "-") -> None:
    """Gives a panel the look of its frame on the slice."""
    panel.spines[:].set(visible=True, color=colour, ls=line, lw=1.6)


def focus_crops(inputs: Inputs) -> tuple[Any, str]:
    """Returns Figure 9: Target and Focus Crop at the second click, with what it shows.

    Raises:
      Missing: No FocalClick run, or its report keeps no examples with a second click.
    """
    family = rows.FOCALCLICK.family
    runs = [
        method
        for method in inputs.methods
        if method.family == family and method.config["inference"]["pipeline"] == family
    ]
    if not runs:
        raise Missing(
            "no FocalClick run was given that is used on its crops; train with python -m "
            f"ecc_jax.main --config=configs/{rows.FOCALCLICK_D.leaf} and pass its workdir"
        )
    chosen = max(
        runs, key=lambda run: (has_examples(run), run.num_clicks >= _CLICK, run.clicks == "dynamic")
    )
    kept = [
        example
        for example in examples_of(chosen)
        if {_CLICK - 1, _CLICK} <= set(example.masks) and example.clicks_exist[_CLICK - 1]
    ][-_SLICES:]
    if not kept:
        raise Missing(
            f"{chosen.folder}: no example has a second click; evaluate with eval.num_clicks=2 or "
            "more"
        )
    used = chosen.config["inference"]
    focal = Focal(
        size=used["focal_size"],
        min_crop=used["focal_min_crop"],
        expansion=used["focal_expansion"],
        scales_radius=chosen.clicks != "static",
    )
    figure, axes = style.panels(len(kept), 3)
    for panels, example in zip(axes, kept, strict=True):
        _draw_crops(panels, example, focal)
    style.key(figure, [style.TARGET_KEY, style.MASK_KEY, *_CLICK_KEYS])
    return figure, (
        f"{chosen.label} on {chosen.dataset} ({'; '.join(e.title for e in kept)}): the second "
        "click, the Target Crop (blue frame) around the previous mask and all lesion clicks, and "
        "the Focus Crop (orange, dashed) around what the newest click changed. Both are stretched "
        f"to squares of {focal.size} pixels. The Focus Crop is drawn around the change of the "
        "final mask; in use it is around that of the coarse one, which no report keeps."
    )


_CLICK_KEYS = (style.POSITIVE_KEY, style.NEGATIVE_KEY)


def _draw_crops(panels: Any, example: Example, focal: Focal) -> None:
    """Draws the slice with both frames, and both crops as the network sees them."""
    shape = (focal.size, focal.size)
    image = jnp.asarray(example.image)[None, ..., None]
    clicks = Clicks(
        jnp.asarray(example.clicks_yx[None, :_CLICK]),
        jnp.asarray(example.clicks_radius[None, :_CLICK]),
        jnp.asarray(example.clicks_positive[None, :_CLICK]),
        jnp.full(1, _CLICK, jnp.int32),
    )
    before, after = (jnp.asarray(example.masks[click])[None] for click in (_CLICK - 1, _CLICK))
    previous = before[..., None].astype(jnp.float32)
    target = crops.find_region(previous, clicks, focal.target, keeps_aspect=False).box
    focus = _focus_box(after, before, clicks, target, expansion=focal.expansion)
    size = example.image.shape
    style.show(panels[0], example.image, title=f"slice\n{size[0]} x {size[1]} pixels")
    for panel, name, box, look in zip(
        panels[1:], (_TARGET, _FOCUS), (target, focus), _LOOKS, strict=True
    ):
        style.frame(panels[0], np.asarray(box[0]), **look)
        moved = move_clicks(clicks, box, shape, scales_radius=focal.scales_radius)
        layers = [example.target, example.masks[_CLICK]]
        stack = jnp.concatenate([image, *(jnp.asarray(x)[None, ..., None] for x in layers)], -1)
        patch = np.asarray(crop(stack, box, shape)[0])
        sides = np.asarray(box[0, 2:] - box[0, :2])
        style.show(panel, patch[..., 0], title=f"{name}\n{sides[0]} x {sides[1]} pixels")
        seen = example._replace(
            clicks_yx=np.asarray(moved.yx[0]), clicks_radius=np.asarray(moved.radius[0])
        )
        _draw_layers(panel, seen, patch[..., 1] > 0.5, patch[..., 2] > 0.5)
        panel.set(xlim=(-0.5, patch.shape[1] - 0.5), ylim=(patch.shape[0] - 0.5, -0.5))
        _edge(panel, **look)
    style.outline_target(panels[0], example.target)


def _draw_layers(panel: Any, example: Example, target: np.ndarray, mask: np.ndarray) -> None:
    for slot in range(_CLICK):
        montage.draw_click(panel, example, slot, is_newest=slot == _CLICK - 1)
    style.outline_mask(panel, mask)
    style.outline_target(panel, target)


def crops_in_training(inputs: Inputs) -> tuple[Any, str]:
    """Returns Figure 11: one draw of each augmentation beside Target Crop, with what it shows.

    Raises:
      Missing: No dataset.
    """
    directory = prepared(inputs)
    validation = pipeline.open_split(directory, "validation")
    measured = measure_bounds(validation)
    options = {
        name: own
        for name, own in crops.strategies(measured.bounds).items()
        if name not in augment.UNCROPPED
    }
    chosen = spread_over_areas(validation.index, count=_SLICES + 2)[1:-1]
    found = crops.panels_of_strategies(validation, chosen, options, seed=0)
    columns = len(found) // len(chosen)
    ratios = [one.image.shape[1] / one.image.shape[0] for one in found[:columns]]
    figure, axes = style.panels(len(chosen), columns, ratios=ratios)
    for panel, one in zip(axes.flat, found, strict=True):
        title, size = one.caption.replace("_", " ").split("\n")
        style.show(panel, one.image, title=f"{title}\n{size.partition(',')[0]}")
        style.outline_target(panel, one.mask)
    style.key(figure, [style.TARGET_KEY])
    return figure, (
        f"{len(chosen)} slices of the validation split, from a small to a large lesion; "
        "FocalClick's Target Crop of them; and one draw of each augmentation strategy (seed 0). "
        f"Optimal Crop: {measured.describe()}. scripts/show_augmentation.py draws more of them."
    )
