"""examples.npz: slices that runs on the same data share, with the clicks and masks of one run."""

import os
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ecc_jax import atomic
from ecc_jax.report.montage import Example

EXAMPLES_FILE = "examples.npz"
_CLICKS = ("clicks_yx", "clicks_radius", "clicks_positive", "clicks_exist")
_NAMES = ("image", "target", *_CLICKS, "mask_clicks", "masks", "ious", "title")


def write_examples(path: Path, examples: Sequence[Example]) -> Path:
    """Writes examples of one evaluation; returns `path`.

    Args:
      path: File to write. Arrays, n examples, k clicks, c of them with masks: `image` [n h w] in
        256 grey values, `target` [n h w], the clicks as in `Example`, `mask_clicks` [c], `masks`
        [n c h w], `ious` [n c] and `title` [n].
      examples: With slices of one size and masks after the same clicks.

    Raises:
      OSError: It cannot be written; what was there before stays.
    """
    clicks = sorted(examples[0].masks) if examples else []
    arrays: dict[str, Any] = {
        "image": [np.round(255 * np.clip(e.image, 0, 1)).astype(np.uint8) for e in examples],
        "target": [e.target for e in examples],
        **{name: [getattr(e, name) for e in examples] for name in _CLICKS},
        "mask_clicks": clicks,
        "masks": [[e.masks[click] for click in clicks] for e in examples],
        "ious": [[e.ious[click] for click in clicks] for e in examples],
        "title": [e.title for e in examples],
    }
    atomic.write_arrays(path, {name: np.array(arrays[name]) for name in _NAMES})
    return path


def read_examples(path: str | os.PathLike[str]) -> list[Example]:
    """Reads examples back, images to within half a grey value: the inverse of `write_examples`.

    Raises:
      ValueError: No such file, or another one.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in _NAMES}
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(
            f"{path} holds no examples of an evaluation ({error}); evaluate again"
        ) from error
    numbers = arrays["mask_clicks"].tolist()
    return [
        Example(
            image=arrays["image"][i].astype(np.float32) / 255,
            target=arrays["target"][i],
            **{name: arrays[name][i] for name in _CLICKS},
            masks=dict(zip(numbers, arrays["masks"][i], strict=True)),
            ious=dict(zip(numbers, arrays["ious"][i].tolist(), strict=True)),
            title=str(title),
        )
        for i, title in enumerate(arrays["title"])
    ]
