r"""Makes NIfTI volumes of grey PNG slices and their masks, for ct_folder_2d.

    python scripts/pictures_to_nifti.py SOURCE OUT --window -150 250 --lesion 2 --spacing 0.8
    python -m ecc_jax.main --config=configs/ecc.py:ct_folder_2d,quick --config.data.path=OUT

SOURCE holds images/NAME.png and labels/NAME.png. Black and white of the pictures are the ends of
the window they were made with; HU beyond it are lost. Every picture becomes a volume of one slice;
OUT goes to stdout, how many there are to stderr.
"""

import argparse
import sys

from ecc_jax import console
from tfds_builders.ct_folder_2d.pictures import convert


def main() -> int:
    """Returns the exit code: 0, or 1 with one line on stderr."""
    arguments = _parser().parse_args()
    try:
        names = convert(
            arguments.source,
            arguments.out,
            window_hu=tuple(arguments.window),
            lesion=arguments.lesion,
            spacing_mm=arguments.spacing,
        )
    except (ValueError, OSError) as error:
        console.complain(error)
        return 1
    size = "unknown" if arguments.spacing is None else f"{arguments.spacing:g} mm"
    print(f"{len(names)} slices; pixel size {size}", file=sys.stderr)
    console.say_path(arguments.out)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add, path = parser.add_argument, console.path_argument
    add("source", type=path, help="folder with images/ and labels/")
    add("out", type=path, help="folder to make")
    add(
        "--window",
        required=True,
        nargs=2,
        type=float,
        metavar=("LOW", "HIGH"),
        help="HU of black and of white",
    )
    add(
        "--lesion",
        nargs="+",
        type=int,
        default=[],
        metavar="VALUE",
        help="values of the label pictures that are lesion (default: the only one besides 0)",
    )
    add("--spacing", type=float, metavar="MM", help="side of a pixel (default: unknown)")
    return parser


if __name__ == "__main__":
    sys.exit(console.run(main))
