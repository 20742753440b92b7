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
    """

    step: Any
    params: Any
    batch_stats: Any
    opt_state: Any

    @property
    def variables(self) -> dict[str, Any]:
        """The variables as `model.apply` takes them."""
        return {"params": self.params, "batch_stats": self.batch_stats}


def make_optimizer(*, b1: float, b2: float) -> optax.GradientTransformation:
    """Returns Adam without a learning rate, which the step applies itself.

    The rate changes at run time (plateaus, warm-up) and differs between parameter groups.
    """
    return optax.scale_by_adam(b1=b1, b2=b2)


def create(variables: dict[str, Any], optimizer: optax.GradientTransformation) -> TrainState:
    """Returns the state before the first step."""
    params = jax.tree.map(jnp.asarray, variables["params"])
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        params=params,
        batch_stats=jax.tree.map(jnp.asarray, variables["batch_stats"]),
        opt_state=optimizer.init(params),
    )


def rate_multipliers(params: Any, *, trunk: float) -> Any:
    """Returns the learning-rate factor of every parameter: `trunk` in the trunk, else 1."""
    return jax.tree.map(lambda group: trunk if group == "trunk" else 1.0, parameter_groups(params))


def num_parameters(params: Any) -> int:
    """Returns the number of trainable values."""
    return sum(int(np.prod(np.shape(leaf))) for leaf in jax.tree.leaves(params))
