"""Learning rate and early stopping from the validation score.

Source: thesis section 4 (patience 10, stop after 30; 25 and 75 for the small sets). The score is
the Iterative IoU Error of a fixed, deterministic rollout, so a gain is never luck of the clicks.
"""

import math
from typing import NamedTuple


class Plateau(NamedTuple):
    """State of the learning-rate schedule and of early stopping; stored with each checkpoint.

    Attributes:
      best: Lowest validation score so far.
      since_best: Epochs since then.
      since_drop: Epochs since then or since the last drop of the rate, whichever is later.
      rate_factor: Current factor of the base learning rate.
    """

    best: float = float("inf")
    since_best: int = 0
    since_drop: int = 0
    rate_factor: float = 1.0


def update(plateau: Plateau, score: float, *, epochs: int, factor: float, patience: int) -> Plateau:
    """Returns the state after a validation; lower scores are better.

    Args:
      plateau: State before.
      score: Iterative IoU Error just measured.
      epochs: Epochs since the last validation.
      factor: The rate is multiplied by this after `patience` epochs without gain.
      patience: See `factor`.
    """
    if score < plateau.best:
        return Plateau(best=score, rate_factor=plateau.rate_factor)
    since_drop = plateau.since_drop + epochs
    rate_factor = plateau.rate_factor
    if since_drop >= patience:
        since_drop, rate_factor = 0, rate_factor * factor
    return Plateau(plateau.best, plateau.since_best + epochs, since_drop, rate_factor)


def should_stop(plateau: Plateau, *, stop_after: int) -> bool:
    """Whether `stop_after` epochs passed without gain."""
    return plateau.since_best >= stop_after


def learning_rate(
    base: float,
    plateau: Plateau,
    step: int,
    *,
    warmup_steps: int,
    decay: str = "none",
    total_steps: int = 0,
) -> float:
    """Returns the rate of one update.

    Args:
      base: Rate before any reduction.
      plateau: The schedule's state, with its reduction.
      step: Number of the update, from 0.
      warmup_steps: Steps of the linear rise; 0 for none.
      decay: "none", or "cosine" from `base` down to 0 over `total_steps`.
      total_steps: Length of the run; only for "cosine".
    """
    warmup = min(1.0, (step + 1) / warmup_steps) if warmup_steps else 1.0
    share = 0.5 * (1 + math.cos(math.pi * step / total_steps)) if decay == "cosine" else 1.0
    return base * plateau.rate_factor * warmup * share
