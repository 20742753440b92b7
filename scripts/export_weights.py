"""Makes a folder of a run's best weights, to share.

    python scripts/export_weights.py runs/mine weights/mine

DEST holds the weights with their sha256, the configuration without paths, and who was trained on
(names and identities of the scans, no images), so that nobody is tested who was trained on. A run
of an earlier version knows synthetic patients in one size only; with its data prepared anew
(scripts/build_dataset.py prints the directory) the record in DEST knows them in every size:

    python scripts/export_weights.py runs/mine weights/mine --identities DIRECTORY

DEST stands wherever a run is only read: --mode=evaluate --workdir=DEST --out=DIR,
--config.model.pretrained=DEST, runs.load_predictor. Write down beside it what it may be used for.
"""

import argparse
import sys

from absl import logging

from ecc_jax import console, export


def main() -> int:
    """Returns the exit code: 0, or 1 with one line on stderr."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=console.path_argument, help="workdir of a trained run")
    parser.add_argument("dest", type=console.path_argument, help="folder to make")
    parser.add_argument(
        "--identities",
        type=console.path_argument,
        nargs="+",
        default=(),
        metavar="DIR",
        help="prepared data of the run, by this version, whose identities of patients are recorded",
    )
    arguments = parser.parse_args()
    logging.set_verbosity(logging.ERROR)  # Orbax warns that a checkpoint has no score
    try:
        step, size = export.export(arguments.run, arguments.dest, prepared=arguments.identities)
    except (ValueError, OSError) as error:
        console.complain(error)
        return 1
    print(f"weights of step {step}, {size / 1e6:.1f} MB")
    console.say_path(arguments.dest)
    return 0


if __name__ == "__main__":
    sys.exit(console.run(main))
