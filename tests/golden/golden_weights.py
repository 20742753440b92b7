"""Parameters and inputs behind the golden numbers, as functions of names, shapes and seeds.

The numbers in the .npz files were computed with exactly these arrays, so the order of the draws
below is part of the data: a changed draw makes every parity test fail.
"""

import json
import zlib
from pathlib import Path

import numpy as np


def parameter(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Returns the tensor of that PyTorch name; the generator is keyed by the name alone."""
    rng = np.random.Generator(np.random.PCG64(zlib.crc32(name.encode())))
    kind = name.rsplit(".", 1)[-1]
    if kind == "num_batches_tracked":
        return np.zeros(shape, np.int64)
    if kind == "running_var":
        return rng.uniform(0.5, 1.5, shape).astype(np.float32)
    if kind == "scale":
        return np.full(shape, 0.05, np.float32)
    if kind in ("running_mean", "bias"):
        return (0.1 * rng.standard_normal(shape)).astype(np.float32)
    if len(shape) == 1:
        # Normalisation gains; small ones keep deep sums of residuals of order one.
        closes_residual = name.endswith(("bn2.weight", "bn3.weight")) or "fuse_layers" in name
        gain = 0.3 if closes_residual else 1.0
        return (gain * rng.uniform(0.8, 1.2, shape)).astype(np.float32)
    fan_in = int(np.prod(shape[1:]))
    return (rng.standard_normal(shape) * np.sqrt(1.0 / fan_in)).astype(np.float32)


def load_state_dict(file: str) -> dict[str, np.ndarray]:
    """Returns the parameters of the model whose names and shapes are in `file`.keys.json."""
    shapes = json.loads(Path(__file__).with_name(f"{file}.keys.json").read_text(encoding="utf-8"))
    return {name: parameter(name, tuple(shape)) for name, shape in shapes.items()}


def inputs(seed: int, b: int, h: int, w: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns the inputs of a golden case.

    Returns:
      image [b h w 3] in [0, 1] (sums of sines); prev_mask [b h w 1] in [0, 1], noise inside a
      disk; clicks [b 4 4] with rows (y, x, radius, sign), sign +1 or -1.
    """
    rng = np.random.Generator(np.random.PCG64(seed))
    y, x = np.mgrid[0:h, 0:w]
    image = np.empty((b, h, w, 3), np.float32)
    for row in range(b):
        for channel in range(3):
            slow, fast, shift = rng.uniform(3, 9), rng.uniform(3, 9), rng.uniform(0, 6)
            image[row, :, :, channel] = 0.5 + 0.5 * np.sin(y / slow + x / fast + shift)
    inside = np.hypot(y - h / 2, x - w / 2) < h / 4
    prev_mask = (rng.uniform(0, 1, (b, h, w, 1)) * inside[None, :, :, None]).astype(np.float32)
    clicks = np.empty((b, 4, 4), np.float32)
    for row in range(b):
        for column, (low, high) in enumerate(((0, h), (0, w), (2, 12))):
            clicks[row, :, column] = rng.integers(low, high, 4)
        clicks[row, :, 3] = (1, 1, -1, 1)
    return image, prev_mask, clicks


def disks(clicks: np.ndarray, shape: tuple[int, int], radius: float) -> np.ndarray:
    """Returns [b h w 2], 1 within `radius` (inclusive) of a positive or a negative click."""
    y, x = np.mgrid[0 : shape[0], 0 : shape[1]]
    maps = np.zeros((len(clicks), *shape, 2), np.float32)
    for row, row_clicks in enumerate(clicks):
        for click_y, click_x, _, sign in row_clicks:
            inside = (y - click_y) ** 2 + (x - click_x) ** 2 <= radius**2
            maps[row, inside, 0 if sign > 0 else 1] = 1.0
    return maps
