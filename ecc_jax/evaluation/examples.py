"""Which slices the montage shows, and their masks click by click."""

from typing import Any

import numpy as np
from jax.sharding import Mesh
from jaxtyping import Float, Int

from ecc_jax.clicks.user import Style
from ecc_jax.data.pipeline import read_row
from ecc_jax.evaluation.host import External, run_external
from ecc_jax.report.montage import Example
from ecc_jax.evaluation.rollouts import CompiledRollout, Work, outcome_of
from ecc_jax.evaluation.step import RolloutOptions

NUM_EXAMPLES = 5
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


def network_examples(
    compiled: CompiledRollout,
    variables: Any,
    work: Work,
    iou: Float[np.ndarray, "m k"],
    *,
    style: Style,
    mesh: Mesh,
) -> list[Example]:
    """Clicks once more through some slices, the best to the worst, and keeps the masks.

    Args:
      compiled: The rollout that gave `iou`.
      variables: The network's variables.
      work: The slices.
      iou: IoU of every slice after every click.
      style: How the user handled the disk.
      mesh: The devices.
    """
    chosen = choose_examples(iou, count=min(NUM_EXAMPLES, compiled.batch_size))
    places = np.asarray([place for place, _ in chosen])
    part = work._replace(positions=work.positions[places])
    batch, outcome = outcome_of(compiled, variables, part, mesh=mesh, style=style)
    clicks = outcome.clicks
    return [
        Example(
            image=_windowed(batch.image_hu[i], batch.window_hu[i]),
            target=batch.target[i] > 0,
            clicks_yx=clicks.yx[i],
            clicks_radius=clicks.radius[i],
            clicks_positive=clicks.is_positive[i],
            clicks_exist=outcome.clicked[i],
            masks={k: outcome.masks[i, j] for j, k in enumerate(compiled.options.keep)},
            ious={k: float(outcome.scores["iou"][i, k - 1]) for k in compiled.options.keep},
            title=_title(work, place, name),
        )
        for i, (place, name) in enumerate(chosen)
    ]


def external_examples(
    external: External,
    work: Work,
    options: RolloutOptions,
    iou: Float[np.ndarray, "m k"],
    *,
    style: Style,
) -> list[Example]:
    """Does the same for a predictor from outside.

    Args:
      external: The predictor.
      work: The slices.
      options: What gave `iou`; its `keep` are the clicks shown.
      iou: IoU of every slice after every click.
      style: How the user handled the disk.
    """
    chosen = choose_examples(iou)
    places = np.asarray([place for place, _ in chosen])
    part = work._replace(positions=work.positions[places])
    found = run_external(external, part, options, style=style, keep=tuple(range(len(chosen))))
    clicks = found.row.clicks
    assert clicks is not None
    examples = []
    for i, (place, name) in enumerate(chosen):
        row: Any = read_row(work.slices, int(work.positions[place]), window_hu=work.window_hu)
        examples.append(
            Example(
                image=_windowed(row.image_hu, row.window_hu),
                target=row.target > 0,
                clicks_yx=clicks.yx[i],
                clicks_radius=clicks.radius[i],
                clicks_positive=clicks.is_positive[i],
                clicks_exist=clicks.clicked[i],
                masks={k: found.masks[i][k - 1] for k in options.keep},
                ious={k: float(found.row.scores["iou"][i, k - 1]) for k in options.keep},
                title=_title(work, place, name),
            )
        )
    return examples


def _title(work: Work, place: int, name: str) -> str:
    row = work.slices.rows[int(work.positions[place])]
    return f"{name}: {row['volume']}, slice {row['slice_index']}"


def _windowed(image_hu: Int[np.ndarray, "h w"], window_hu: Float[np.ndarray, "2"]) -> np.ndarray:
    low, high = window_hu
    return np.clip((image_hu - low) / (high - low), 0, 1)
