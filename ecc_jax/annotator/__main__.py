"""Opens the annotator: press on a lesion, drag, let go, and see its mask.

  python -m ecc_jax.annotator                     a built-in synthetic volume
  python -m ecc_jax.annotator scan.nii.gz         NIfTI, NRRD, PNG, or a folder with a DICOM series
  python -m ecc_jax.annotator FOLDER --read-only

The address that it prints holds a secret of this start; it is for this machine alone. Every press
is saved at once and found again at the next start. Research use only.
"""

import argparse
import os
import sys
from collections.abc import Mapping
from pathlib import Path

from absl import logging

from ecc_jax import console, places

TOKEN_VARIABLE = "ECC_ANNOTATOR_TOKEN"
MISSING = (
    "the annotator needs packages that are not installed ({name}); pip install 'ecc_jax[annotator]'"
)


def parser() -> argparse.ArgumentParser:
    """Returns the parser of the command line."""
    made = argparse.ArgumentParser(
        prog="python -m ecc_jax.annotator",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    path = console.path_argument
    made.add_argument("volume", nargs="?", type=path, help="file or folder; default synthetic")
    made.add_argument(
        "--checkpoint",
        default=places.SHIPPED,
        metavar="DIR",
        help="folder of a trained run; default the weights that come with the package",
    )
    made.add_argument(
        "--workdir",
        type=path,
        default=Path("annotations"),
        metavar="DIR",
        help="folder of the sessions; default annotations/",
    )
    made.add_argument("--port", type=int, default=0, help="default a free one")
    made.add_argument(
        "--host", default="127.0.0.1", help="another address lets others in; needs a token"
    )
    token = made.add_mutually_exclusive_group()
    token.add_argument(
        "--token",
        default="",
        help="secret of the address; default a new one. Others on this machine see it in the list "
        f"of processes: better --token-file, or the environment variable {TOKEN_VARIABLE}",
    )
    token.add_argument(
        "--token-file", type=path, metavar="FILE", help="file that holds the secret and no more"
    )
    made.add_argument(
        "--allow-host",
        action="append",
        default=[],
        metavar="NAME[:PORT]",
        help="further name under which a proxy asks; may be repeated",
    )
    made.add_argument("--read-only", action="store_true", help="look, change and write nothing")
    return made


def token_of(given: str, file: Path | None, environment: Mapping[str, str]) -> str:
    """Returns the secret that was chosen; empty if none was.

    Args:
      given: On the command line.
      file: Holds it, without anything else but blanks around it.
      environment: In which `TOKEN_VARIABLE` may hold it; what the command line says goes first.

    Raises:
      ValueError: The file cannot be read, or is empty.
    """
    if file is None:
        return given or environment.get(TOKEN_VARIABLE, "")
    try:
        token = file.read_text("utf-8").strip()
    except (OSError, UnicodeError) as error:
        why = getattr(error, "strerror", None) or "no UTF-8"
        raise ValueError(f"--token-file {file}: cannot be read ({why}); check the path") from error
    if not token:
        raise ValueError(f"--token-file {file}: is empty; write a secret into it")
    return token


def main(argv: list[str] | None = None) -> int:
    """Parses the arguments and serves until interrupted."""
    args = parser().parse_args(argv)
    try:
        from ecc_jax.annotator import savers, server
    except ModuleNotFoundError as error:
        raise ValueError(MISSING.format(name=error.name)) from error
    # Orbax reports routine matters as warnings.
    logging.set_verbosity(logging.ERROR)
    options = server.Options(
        volume=args.volume,
        checkpoint=args.checkpoint,
        workdir=args.workdir,
        host=args.host,
        port=args.port,
        token=token_of(args.token, args.token_file, os.environ),
        allow_hosts=tuple(args.allow_host),
        read_only=args.read_only,
    )
    return server.serve(options, savers=savers.savers(Path(args.checkpoint).name))


if __name__ == "__main__":
    sys.exit(console.run(main))
