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

from ecc_jax import console
from ecc_jax.catalog import SPLITS
from ecc_jax.data import pipeline, placement
from ecc_jax.data.crop_bounds import measure_bounds
from ecc_jax.report.dataset import spread_over_areas
from ecc_jax.report.dataset_figures import draw_sheet
from ecc_jax.thesis import crops
from tfds_builders import prepared_index
from tfds_builders.preparation import DataOptions, prepare


def main(argv: Sequence[str] | None = None) -> int:
    """Returns the exit code: 0, or 1 with one line on stderr."""
    arguments = parse(argv)
    try:
        if arguments.name:
            directory = prepared_index.find(arguments.name, arguments.root)
        else:
            phantom = DataOptions("ct_phantom_2d", root=arguments.root, size=256, num_patients=20)
            directory = prepare(phantom)
        slices = pipeline.open_split(directory, arguments.split)
        bounds = arguments.bounds
        if not bounds:
            measured = measure_bounds(pipeline.open_split(directory, "validation"))
            print(measured.describe(), file=sys.stderr)
            bounds = measured.bounds
        chosen = spread_over_areas(slices.index, count=arguments.slices)
        options = crops.strategies(bounds, crop_sizes=arguments.crop_sizes)
        panels = crops.panels_of_strategies(slices, chosen, options, seed=arguments.seed)
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


if __name__ == "__main__":
    sys.exit(console.run(main))
