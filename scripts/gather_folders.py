r"""Puts several folders of NIfTI volumes together as one that ct_folder_2d reads.

    python scripts/gather_folders.py --out DIR \
        --from lung/ --window -1000 400 \
        --from soft_tissue/ --only '^STS_' --window -150 250

--only and --window hold for the folder named before them. Images, labels and, where there are any,
the masks of single readers (readers/) are linked, or copied with --copy; every volume's window goes
into DIR/windows.csv. Two volumes of one name are refused. What came from where goes to stderr, DIR
to stdout.
"""

import argparse
import sys
from collections.abc import Sequence
from typing import Any

from ecc_jax import console
from tfds_builders.ct_folder_2d.gather import Source, gather


class _OfLast(argparse.Action):
    """Sets a field of the source that was named last."""

    def __call__(self, parser: Any, namespace: Any, values: Any, option: Any = None) -> None:
        if not namespace.sources:
            parser.error(f"{option} holds for the folder before it; name one with --from DIR")
        value = tuple(values) if isinstance(values, list) else values
        namespace.sources[-1] = namespace.sources[-1]._replace(**{self.dest: value})


def main(argv: Sequence[str] | None = None) -> int:
    """Returns the exit code: 0, or 1 with one line on stderr."""
    arguments = _parser().parse_args(argv)
    try:
        found = gather(arguments.sources, arguments.out, copy=arguments.copy)
    except (ValueError, OSError) as error:
        console.complain(error)
        return 1
    for source in found:
        seen = ", ".join(f"{low:g}..{high:g}" for low, high in source.windows_hu)
        rest = f"; left out: {', '.join(source.left_out)}" if source.left_out else ""
        print(
            f"{source.folder}: {len(source.volumes)} volumes, {source.num_readers} with readers, "
            f"window {seen} HU{rest}",
            file=sys.stderr,
        )
    console.say_path(arguments.out)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add, path = parser.add_argument, console.path_argument
    add("--out", required=True, type=path, metavar="DIR", help="folder to make")
    add(
        "--from",
        dest="sources",
        action="append",
        required=True,
        type=lambda text: Source(path(text)),
        metavar="DIR",
        help="holds images/ and labels/; may be given several times",
    )
    add("--only", action=_OfLast, default=argparse.SUPPRESS, metavar="REGEX", help="which volumes")
    add(
        "--window",
        dest="window_hu",
        action=_OfLast,
        default=argparse.SUPPRESS,
        nargs=2,
        type=float,
        metavar=("LOW", "HIGH"),
        help="HU window of its volumes (default: its windows.csv, else -150 250)",
    )
    add("--copy", action="store_true", help="copy the files instead of linking to them")
    return parser


if __name__ == "__main__":
    sys.exit(console.run(main))
