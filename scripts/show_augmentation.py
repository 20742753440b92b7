"""Draws the crops of every augmentation strategy beside the Target Crop that they prepare for.

    python scripts/show_augmentation.py --out augmentation.png                # synthetic CT
    python scripts/show_augmentation.py lidc_2d --split train --slices 6
    python scripts/show_augmentation.py PREPARED_DIRECTORY --bounds 0.06 0.18

One row per slice, from the smallest to the largest lesion: the slice, FocalClick's Target Crop
(the box of the lesion times 1.4, stretched to 256 x 256), then one draw of each strategy, with the
lesion outlined. The bounds of optimal_crop are measured on the validation split unless they are
given. The crop of ritm is 320 x 480 pixels on slices of 512, and in proportion on others. The last
line on stdout is the path of the PNG. Source: thesis section 3.1, Figure 11.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ecc_jax import console
from ecc_jax.catalog import SPLITS
from ecc_jax.data import augment, pipeline, placement
from ecc_jax.data.crop_bounds import measure_bounds
from ecc_jax.data.window import apply_window
from ecc_jax.inference import crops
from ecc_jax.report.dataset import spread_over_areas
from ecc_jax.report.dataset_figures import Panel, draw_sheet
from ecc_jax.types import Clicks
from tfds_builders import prepared_index
from tfds_builders.preparation import DataOptions, prepare

TARGET_SHAPE = (256, 256)
# FocalClick's, thesis section 3.1.
TARGET_CROP = crops.Zoom(min_crop=10, expansion=1.4)
FULL_SIZE = 512


def main(argv: Sequence[str] | None = None) -> int:
    """Returns the exit code: 0, or 1 with one line on stderr."""
    arguments = parse(argv)
    try:
        if arguments.name:
            directory = prepared_index.find(arguments.name, arguments.root)
        else:
            options = DataOptions("ct_phantom_2d", root=arguments.root, size=256, num_patients=20)
            directory = prepare(options)
        slices = pipeline.open_split(directory, arguments.split)
        bounds = arguments.bounds
        if not bounds:
            measured = measure_bounds(pipeline.open_split(directory, "validation"))
            print(measured.describe(), file=sys.stderr)
            bounds = measured.bounds
        chosen = spread_over_areas(slices.index, count=arguments.slices)
        panels = draw_panels(slices, chosen, strategies(bounds, arguments), seed=arguments.seed)
        title = f"{directory.parts[-3]}, {arguments.split}: crops of training beside Target Crop"
        out = arguments.out or Path("runs/augmentation") / f"{'-'.join(directory.parts[-3:-1])}.png"
        out.parent.mkdir(parents=True, exist_ok=True)
        console.say_path(draw_sheet(out, panels, title=title))
    except (ValueError, OSError) as error:
        console.complain(error)
        return 1
    return 0


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Returns the arguments."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("name", nargs="?", help="a dataset, or a prepared directory; default: synthetic CT")
    add("--root", default="", help="folder of prepared data ($TFDS_DATA_DIR)")
    add("--split", choices=SPLITS, default="validation", help="default validation")
    add("--slices", type=int, default=5, help="rows of the sheet, default 5")
    add("--seed", type=int, default=0, help="of the draws, default 0")
    add("--bounds", type=float, nargs=2, metavar=("LOW", "HIGH"), help="of optimal_crop")
    add("--crop-sizes", choices=placement.RULES, default="uniform", help="default uniform")
    add("--out", type=console.path_argument, help="default runs/augmentation/<name>-<config>.png")
    arguments = parser.parse_args(argv)
    if arguments.slices < 1:
        parser.error(f"--slices must be at least 1, got {arguments.slices}")
    return arguments


def strategies(
    bounds: tuple[float, float], arguments: argparse.Namespace
) -> dict[str, augment.Augmentation]:
    """Returns every strategy that changes a slice, the bounds of the measured one filled in."""
    found = {}
    for name in augment.NAMES:
        own = augment.STRATEGIES[name]
        if name == augment.MEASURED:
            own = own._replace(bounds=tuple(bounds))
        if name in augment.STRETCHED:
            own = own._replace(crop_sizes=arguments.crop_sizes)
        if name != "none":
            found[name] = own._replace(crop=None) if name in augment.UNCROPPED else own
    return found


def draw_panels(
    slices: pipeline.SliceSet,
    chosen: Sequence[int],
    options: dict[str, augment.Augmentation],
    *,
    seed: int,
) -> list[Panel]:
    """Returns the panels of the sheet, row by row."""
    rows = pipeline.stack([pipeline.read_row(slices, position) for position in chosen])
    image = apply_window(jnp.asarray(rows.image_hu), jnp.asarray(rows.window_hu))
    target = jnp.asarray(rows.target) > 0
    columns = [columns_of("slice", image, target), target_crops(image, target)]
    keys = jax.random.split(jax.random.key(seed), len(chosen))
    for name, own in options.items():
        if own.crop and not own.bounds:
            height, width = (max(side * image.shape[1] // FULL_SIZE, 1) for side in own.crop)
            own = own._replace(crop=(height, width))
        seen, mask = augment.augment_slices(keys, image, target, own)
        columns.append(columns_of(name, seen[..., 0], mask))
    return [column[i] for i in range(len(chosen)) for column in columns]


def columns_of(name: str, image: Any, mask: Any) -> list[Panel]:
    """Returns a column of panels, with the lesion's area below each."""
    return [
        Panel(one, lesion, f"{name}\n{one.shape[0]} x {one.shape[1]}, lesion {lesion.sum()} px")
        for one, lesion in zip(np.asarray(image), np.asarray(mask), strict=True)
    ]


def target_crops(image: Any, target: Any) -> list[Panel]:
    """Returns FocalClick's Target Crop of each slice, around the true mask."""
    rows, height, width = target.shape
    place = jnp.argmax(target.reshape(rows, -1), axis=1)
    yx = jnp.stack([place // width, place % width], axis=-1).astype(jnp.float32)
    clicks = Clicks(  # two on a lesion pixel: the first is answered on the whole slice
        jnp.repeat(yx[:, None], 2, axis=1),
        jnp.ones((rows, 2)),
        jnp.ones((rows, 2), bool),
        jnp.full(rows, 2, jnp.int32),
    )
    region = crops.find_region(
        target[..., None].astype(jnp.float32), clicks, TARGET_CROP, keeps_aspect=False
    )
    both = jnp.stack([image, target.astype(jnp.float32)], axis=-1)
    patch = crops.crop(both, region.box, TARGET_SHAPE)
    return columns_of("Target Crop", patch[..., 0], patch[..., 1] > 0.5)


if __name__ == "__main__":
    sys.exit(console.run(main))
