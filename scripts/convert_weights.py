"""Converts public PyTorch weights to a folder that training and evaluation start from.

    python scripts/convert_weights.py coco_lvis_h18s_itermask.pth weights/ritm_h18s
    python scripts/convert_weights.py hrnetv2_w32_imagenet.pth weights/w32 --model ritm_hrnet32
    python -m ecc_jax.main --config=configs/ritm_dynamic.py --config.model.pretrained=weights/w32

SOURCE is a .pth, .pt or .safetensors file: a checkpoint of RITM, FocalClick or the thesis, HRNet
weights, or torchvision's ResNet. No code in it is run. What it lacks starts from random values.
DEST/conversion.json lists what was placed, ignored and missing.
"""

import argparse
import sys

from absl import logging

from ecc_jax import console, conversion
from ecc_jax.models.build import NAMES


def main() -> int:
    """Returns the exit code: 0, or 1 with one line on stderr."""
    path = console.path_argument
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("source", type=path, help=".pth, .pt or .safetensors file")
    parser.add_argument("dest", type=path, help="folder to write")
    parser.add_argument("--model", choices=NAMES, help="default: the one that the weights fit")
    parser.add_argument("--force", action="store_true", help="replace the run that DEST holds")
    arguments = parser.parse_args()
    logging.set_verbosity(logging.ERROR)  # Orbax warns that a checkpoint has no score
    try:
        summary = conversion.convert(**vars(arguments))
    except (ValueError, OSError) as error:
        console.complain(error)
        return 1
    print(conversion.describe(summary))
    console.say_path(arguments.dest)
    return 0


if __name__ == "__main__":
    sys.exit(console.run(main))
