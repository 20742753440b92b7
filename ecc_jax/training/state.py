"""What a training run carries from step to step on the device."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from ecc_jax.models.build import parameter_groups


class TrainState(NamedTuple):
    """Arrays that the train step reads and replaces.

    Attributes:
      step: Number of finished updates, int32 scalar.
      params: Network parameters, float32.
      batch_stats: Running batch statistics, float32.
      opt_state: State of Adam.
      average: Running average of `variables`, the weights that are evaluated; None where it is
        switched off.
      pool: What the click source keeps from step to step; None where it keeps nothing.
    """

    step: Any
    params: Any
    batch_stats: Any
    opt_state: Any
    average: Any = None
    pool: Any = None

    @property
    def variables(self) -> dict[str, Any]:
        """The variables being trained, as `model.apply` takes them."""
        return {"params": self.params, "batch_stats": self.batch_stats}

    @property
    def evaluated(self) -> dict[str, Any]:
        """The variables to validate and to keep: the running average where there is one."""
        return self.variables if self.average is None else self.average


def make_optimizer(
    *, b1: float, b2: float, weight_decay: float = 0.0, clip_norm: float = 0.0
) -> optax.GradientTransformation:
    """Returns Adam without a learning rate, which the step applies itself.

    The rate changes at run time (plateaus, warm-up) and differs between parameter groups.

    Args:
      b1: Decay of the first moment.
      b2: Decay of the second moment.
      weight_decay: Share of every weight that is taken off per unit of learning rate (AdamW); 0
        takes nothing.
      clip_norm: Longer gradients are shortened to this norm; 0 shortens none.
    """
    parts = [optax.scale_by_adam(b1=b1, b2=b2)]
    if clip_norm > 0:
        parts.insert(0, optax.clip_by_global_norm(clip_norm))
    if weight_decay > 0:
        parts.append(optax.add_decayed_weights(weight_decay))
    return parts[0] if len(parts) == 1 else optax.chain(*parts)


def create(
    variables: dict[str, Any],
    optimizer: optax.GradientTransformation,
    *,
    with_average: bool = False,
    pool: Any = None,
) -> TrainState:
    """Returns the state before the first step.

    Args:
      variables: "params" and "batch_stats" of a network.
      optimizer: From `make_optimizer`.
      with_average: Whether the step keeps a running average of the variables.
      pool: What the click source keeps before the first step.
    """
    params = jax.tree.map(jnp.asarray, variables["params"])
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        params=params,
        batch_stats=jax.tree.map(jnp.asarray, variables["batch_stats"]),
        opt_state=optimizer.init(params),
        # Copies: the step donates its state, and a buffer cannot be given away twice.
        average=jax.tree.map(jnp.array, variables) if with_average else None,
        pool=pool,
    )


def moved_average(state: TrainState, decay: float) -> Any:
    """Returns the average one step further towards the state's variables; None without one.

    The decay rises from 0.1 as (1 + step) / (10 + step) until it reaches `decay`, so the first
    weights, which are random, do not linger.

    Source: Polyak averaging; the rise as in TensorFlow's ExponentialMovingAverage.
    """
    if state.average is None:
        return None
    rising = jnp.minimum(decay, (1 + state.step) / (10 + state.step))
    return jax.tree.map(lambda old, new: new + rising * (old - new), state.average, state.variables)


def rate_multipliers(params: Any, *, trunk: float) -> Any:
    """Returns the learning-rate factor of every parameter: `trunk` in the trunk, else 1."""
    return jax.tree.map(lambda group: trunk if group == "trunk" else 1.0, parameter_groups(params))


def num_parameters(params: Any) -> int:
    """Returns the number of trainable values."""
    return sum(int(np.prod(np.shape(leaf))) for leaf in jax.tree.leaves(params))
