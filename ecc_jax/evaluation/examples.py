"""The cases that are shown: which slices, with their clicks and masks."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from ecc_jax.data.window import clip_to_window
from ecc_jax.evaluation.rollouts import EvalSet, Results
from ecc_jax.report.dataset import spread_over_areas
from ecc_jax.report.montage import Example

NUM_EXAMPLES = 5
NUM_SHARED = 4
_NAMES = {0.0: "best, ", 0.5: "median, ", 1.0: "worst, "}


def choose_examples(
    iou: Float[np.ndarray, "m k"], *, count: int = NUM_EXAMPLES
) -> list[tuple[int, str]]:
    """Returns places and names of slices from the best to the worst by mean IoU over the clicks.

    Args:
      iou: IoU of every slice after every click.
      count: At most so many, evenly spread over the ranks; 5 are best, quartiles, median, worst.
    """
    order = np.argsort(-iou.mean(axis=1), kind="stable")
    shares = np.linspace(0, 1, min(count, len(order)))
    ranks = (shares * (len(order) - 1)).round().astype(int)
    names = (_NAMES.get(share, "") for share in shares.tolist())
    return [
        (int(order[rank]), f"{name}rank {rank + 1} of {len(order)}")
        for rank, name in zip(ranks.tolist(), names, strict=True)
    ]


def choose_shared(entries: Sequence[Mapping[str, Any]]) -> list[tuple[int, str]]:
    """Returns places and names of slices of small to large lesions, whatever the scores.

    Runs that were evaluated on the same slices thus show the same ones. The extremes are left out.
    """
    spread = spread_over_areas(entries, count=NUM_SHARED + 2)
    inner = spread[1:-1] if len(spread) > NUM_SHARED else spread
    return [(place, f"lesion of {entries[place]['lesion_area']} pixels") for place in inner]


def make_examples(
    run: Callable[[EvalSet], Results], data: EvalSet, chosen: Sequence[tuple[int, str]]
) -> list[Example]:
    """Clicks once more through some slices and keeps the masks.

    Args:
      run: Clicks through slices as in the evaluation, and returns the masks to show.
      data: The slices.
      chosen: Places of slices in `data`, and their names.
    """
    part = data.only(np.asarray([place for place, _ in chosen]))
    results = run(part)
    clicks = results.method.clicks
    if clicks is None:
        raise ValueError("examples are of methods that answer clicks; this one records none")
    examples = []
    for place, ((_, name), entry) in enumerate(zip(chosen, part.entries, strict=True)):
        row = part.read(place)
        scores = results.method.scores["iou"][place]
        examples.append(
            Example(
                image=_windowed(row.image_hu, row.window_hu),
                target=row.target > 0,
                clicks_yx=clicks.yx[place],
                clicks_radius=clicks.radius[place],
                clicks_positive=clicks.is_positive[place],
                clicks_exist=clicks.clicked[place],
                masks={click: masks[place] for click, masks in results.masks.items()},
                ious={click: float(scores[click - 1]) for click in results.masks},
                title=f"{name}: {entry['volume']}, slice {entry['slice_index']}",
            )
        )
    return examples


def _windowed(image_hu: Int[np.ndarray, "h w"], window_hu: Float[np.ndarray, "2"]) -> np.ndarray:
    low, high = window_hu
    return (clip_to_window(image_hu, window_hu) - low) / (high - low)
