"""Trains and evaluates an interactive segmentation network for CT.

  python -m ecc_jax.main --config=configs/ritm_dynamic.py:quick
  python -m ecc_jax.main --config=configs/ritm_dynamic.py:ct_folder_2d --config.data.path=DIR
  python -m ecc_jax.main --mode=evaluate --workdir=runs/... --config.data.split=validation
  python -m ecc_jax.main --mode=evaluate --workdir=RUN_OF_SOMEBODY_ELSE --out=DIR
  python -m ecc_jax.main --mode=evaluate --config.eval.external=package.module:factory

Words after the colon, in any order: a dataset name, small, quick. Every key that
--config.group.key=value can set is listed with its meaning in ecc_jax/config.py. The same command
resumes an interrupted run; a finished run only prints its report. The last line on stdout is the
path of the report's summary.json. Research use only.
"""

import os
import re
import sys
from pathlib import Path
from typing import NoReturn

from absl import app, flags, logging
from jax.errors import JaxRuntimeError
from ml_collections import config_flags

from ecc_jax import catalog, console, places, runs
from ecc_jax.config_moves import hint
from ecc_jax.config_words import name_dataset
from ecc_jax.parallel import is_first_host
from tfds_builders.preparation import prepare_for

_DEFAULT_CONFIG = str(Path(__file__).with_name("config.py"))
_DATA_NAME, _CONFIG_FILE = re.compile("--?config.data.name="), re.compile("--?config=")
_SPACED = re.compile("--?config(.data.name)?")
_TRACEBACK = "Traceback (most recent call last):"
# What the flags and the configuration file raise on a bad word, key, value or file.
_BAD_FLAGS = (
    flags.Error,
    ValueError,
    KeyError,
    AttributeError,
    TypeError,
    OSError,
    SyntaxError,
)


def _fail(error: BaseException, *, code: int) -> NoReturn:
    console.complain(_one_line(error))
    sys.exit(code)


def _one_line(error: BaseException) -> str:
    """Returns a message in one line; of a traceback inside it only what the traceback ends with."""
    message = places.describe(error) if isinstance(error, OSError) else str(error)
    if isinstance(error, (KeyError, AttributeError)):
        # Either way the text is the missing key, quoted, and perhaps the one that was meant.
        key, *_ = re.findall(r"\w+", message) or ["?"]
        meant = re.search(r'Did you mean "(\w+)"', message)
        other = hint(key) or (f"; did you mean {meant[1]!r}?" if meant else "")
        message = f"unknown config key {key!r}{other}"
    before, _, trace = message.partition(_TRACEBACK)
    last = trace.strip().splitlines()[-1:]
    return " ".join([*before.split(), *" ".join(last).split()])


def _define_config() -> flags.FlagHolder:
    """Defines --config, which looks at the keys on the command line at once."""
    try:
        return config_flags.DEFINE_config_file(
            "config",
            _DEFAULT_CONFIG,
            "Configuration file and words, e.g. configs/ritm_dynamic.py:lidc_2d,small. Single "
            "keys: --config.train.batch_size=16",
        )
    except _BAD_FLAGS as error:
        _fail(error, code=2)


_CONFIG = _define_config()
_WORKDIR = flags.DEFINE_string(
    "workdir", "", "Folder of the run; default runs/<config>-<words>-<hash of the configuration>"
)
_OUT = flags.DEFINE_string(
    "out", "", "With --mode=evaluate: folder of the report; default in the workdir, under report/"
)
_MODE = flags.DEFINE_enum("mode", "train", ["train", "evaluate"], "What to do")


def main(argv: list[str]) -> None:
    """Runs what the flags ask for."""
    if len(argv) > 1:
        raise ValueError(f"unexpected argument {argv[1]!r}; flags start with --")
    has_config = flags.FLAGS["config"].present > 0
    overrides = config_flags.get_override_values(flags.FLAGS["config"])
    if _MODE.value == "train":
        if not has_config:
            raise ValueError("--config is missing, e.g. --config=configs/ritm_dynamic.py:quick")
        if _OUT.value:
            raise ValueError("--out is for --mode=evaluate; a training writes to --workdir=DIR")
        summary = runs.train(_CONFIG.value, prepare_for, _WORKDIR.value, overrides=overrides)
    else:
        is_alone = "eval.external" in overrides and not runs.is_run(_WORKDIR.value)
        config = _CONFIG.value if has_config or is_alone else None
        summary = runs.evaluate(config, overrides, prepare_for, _WORKDIR.value, _OUT.value)
    if is_first_host():
        print((summary.parent / "report.md").read_text(encoding="utf-8"))
        console.say_path(summary)


def _parse(argv: list[str]) -> list[str]:
    """Parses the flags; a bad word, key or value is one line and exit code 2."""
    try:
        return flags.FLAGS(_with_dataset([_with_home(argument) for argument in _joined(argv)]))
    except _BAD_FLAGS as error:
        _fail(error, code=2)


def _joined(argv: list[str]) -> list[str]:
    """Returns arguments with `--config X` and `--config.data.name X` as `--config=X`."""
    joined: list[str] = []
    for argument in argv:
        if joined and _SPACED.fullmatch(joined[-1]):
            joined[-1] += f"={argument}"
        else:
            joined.append(argument)
    return joined


def _with_home(argument: str) -> str:
    """Returns an argument with the `~` of a configuration file's path replaced."""
    name, _, value = argument.partition("=")
    is_file = name.lstrip("-") == "config" and value.startswith("~")
    return f"{name}={places.expanded(value)}" if is_file else argument


def _with_dataset(argv: list[str]) -> list[str]:
    """Returns arguments in which a dataset that is named by its key is a word of --config too."""
    named = [argument.partition("=")[2] for argument in argv if _DATA_NAME.match(argument)]
    if not named or named[-1] not in catalog.DATASETS:
        return argv
    return [
        f"{argument.partition('=')[0]}={name_dataset(argument.partition('=')[2], named[-1])}"
        if _CONFIG_FILE.match(argument)
        else argument
        for argument in argv
    ]


def _is_expected(error: BaseException) -> bool:
    """Whether one line says it all; other device errors keep their traceback."""
    return not isinstance(error, JaxRuntimeError) or "RESOURCE_EXHAUSTED" in str(error)


def run() -> None:
    """Entry point: reports expected errors in one line, others with their traceback."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    console.make_lenient()

    def guarded(argv: list[str]) -> None:
        # Orbax and TFDS report routine matters as information and warnings.
        logging.set_verbosity(logging.ERROR)
        try:
            main(argv)
        except (ValueError, FloatingPointError, OSError, JaxRuntimeError) as error:
            if os.environ.get("ECC_JAX_TRACEBACK") or not _is_expected(error):
                raise
            _fail(error, code=1)
        except KeyboardInterrupt:
            print("interrupted; the same command resumes", file=sys.stderr, flush=True)
            # At once: threads that compile or save would crash in an ordinary exit, or hold it up.
            os._exit(130)
        sys.exit(console.check_output())

    app.run(guarded, flags_parser=_parse)


if __name__ == "__main__":
    run()
