"""The objective: which losses of which heads, against plain NumPy."""

import itertools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ecc_jax import losses
from ecc_jax.clicks.encoding import append_click, disk_maps, empty_clicks
from ecc_jax.inference.segmenter import Segmenter
from ecc_jax.models.build import build, init_variables
from ecc_jax.training.objective import Inputs, LossOptions, make_objective
from ecc_jax.types import Click, Prediction

BATCH, SIZE = 3, 32


class Heads(NamedTuple):
    """A network that answers with given scores, whatever it sees."""

    logits: Any
    aux_logits: Any = None

    def apply(self, variables, image, guidance, prev_mask, *, train, mutable, rngs):
        assert train and mutable == ["batch_stats"] and "dropout" in rngs
        scale = variables["params"]["scale"]
        aux = None if self.aux_logits is None else scale * self.aux_logits
        stats = {"batch_stats": {"seen": variables["batch_stats"]["seen"] + 1}}
        return Prediction(scale * self.logits, aux, image), stats


def _inputs(seed=0):
    rng = np.random.default_rng(seed)
    target = rng.random((BATCH, SIZE, SIZE)) < np.array([0.02, 0.4, 0.0])[:, None, None]
    click = Click(
        jnp.full((BATCH, 2), 9.0),
        jnp.full(BATCH, 4.0),
        jnp.ones(BATCH, bool),
        jnp.ones(BATCH, bool),
    )
    return Inputs(
        image=jnp.asarray(rng.random((BATCH, SIZE, SIZE, 1), np.float32)),
        target=jnp.asarray(target),
        clicks=append_click(empty_clicks(BATCH, 4), click),
        prev_mask=jnp.asarray(rng.random((BATCH, SIZE, SIZE, 1), np.float32)),
    )


def _logits(seed):
    return jnp.asarray(
        np.random.default_rng(seed).normal(0, 3, (BATCH, SIZE, SIZE, 1)), jnp.float32
    )


def _value(network, options, inputs):
    params, stats = {"scale": jnp.float32(1.0)}, {"seen": jnp.float32(0.0)}
    objective = make_objective(Segmenter(network), options)
    return objective(params, stats, inputs, jax.random.key(0))


def _bce(logits, target):
    """Cross-entropy of every pixel, float64."""
    x, t = np.asarray(logits, np.float64)[..., 0], np.asarray(target, np.float64)
    return np.logaddexp(0, x) - t * x


def _dice(logits, target, axes):
    prob, t = 1 / (1 + np.exp(-np.asarray(logits, np.float64)[..., 0])), np.asarray(target)
    overlap, total = (prob * t).sum(axis=axes), prob.sum(axis=axes) + t.sum(axis=axes)
    return 1 - (2 * overlap + 1) / (total + 1)


def _focal(logits, target):
    x, t = np.asarray(logits, np.float64)[..., 0], np.asarray(target)
    true = 1 / (1 + np.exp(-np.where(t, x, -x)))
    weight = (1 - true) ** 2
    mean = weight.mean(axis=(1, 2), keepdims=True)
    return -0.5 * weight / mean * np.log(true)


def _oracle(main, dice, logits, target):
    if main == "bce":
        return _bce(logits, target).mean()
    if main == "nfl":
        return _focal(logits, target).mean()
    axes = (1, 2) if dice == "sample" else (0, 1, 2)
    return 0.5 * _bce(logits, target).mean() + 0.5 * _dice(logits, target, axes).mean()


@pytest.mark.parametrize(
    ("main", "dice"),
    [
        *itertools.product(losses.MAIN_LOSSES, ["sample"]),
        *itertools.product(losses.BATCH_DICE_LOSSES, ["batch"]),
    ],
)
def test_every_main_loss_and_scope_with_and_without_an_auxiliary_head(main, dice):
    inputs, logits, aux = _inputs(), _logits(1), _logits(2)
    options = LossOptions(main=main, dice=dice, main_weight=0.7, aux_weight=0.3)
    expected = 0.7 * _oracle(main, dice, logits, inputs.target)
    loss, _ = _value(Heads(logits), options, inputs)
    assert float(loss) == pytest.approx(expected, rel=1e-5)
    both, (stats, returned) = _value(Heads(logits, aux), options, inputs)
    assert float(both) == pytest.approx(expected + 0.3 * _bce(aux, inputs.target).mean(), rel=1e-5)
    assert both.shape == () and float(stats["seen"]) == 1
    np.testing.assert_array_equal(returned, logits)


def test_one_dice_per_sample_is_not_one_over_the_batch():
    inputs, logits = _inputs(), _logits(1)
    values = {
        (main, dice): float(_value(Heads(logits), LossOptions(main, dice), inputs)[0])
        for main, dice in [
            *itertools.product(losses.MAIN_LOSSES, ["sample"]),
            ("bce_dice", "batch"),
        ]
    }
    assert abs(values["bce_dice", "sample"] - values["bce_dice", "batch"]) > 0.01
    assert len({round(value, 3) for value in values.values()}) == 4


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (LossOptions(main="focal"), "bce_dice, nfl, bce, got 'focal'"),
        (LossOptions(dice="row"), "sample, batch, got 'row'"),
        (LossOptions(main="bce", dice="row"), "sample, batch, got 'row'"),
        (LossOptions(main="nfl", dice="batch"), "is for bce_dice; nfl has no Dice part"),
    ],
)
def test_unknown_losses_are_refused_before_anything_is_compiled(options, message):
    with pytest.raises(ValueError, match=message):
        make_objective(Segmenter(Heads(_logits(1))), options)


@pytest.mark.parametrize(("name", "has_auxiliary"), [("unetpp_tiny", False), ("ritm_tiny", True)])
def test_the_default_is_half_bce_half_dice_and_what_auxiliary_head_there_is(name, has_auxiliary):
    """A network without one has the main loss alone, whatever the auxiliary weight."""
    model, inputs, key = build(name), _inputs(), jax.random.key(3)
    variables = init_variables(model, 0, lesion_prior=0.1)
    weights = (0.4, 7.0, 0.0)

    @jax.jit
    def run(variables):
        maps = disk_maps(inputs.clicks, (SIZE, SIZE))
        image = jnp.repeat(inputs.image, 3, axis=-1)
        prediction, _ = model.apply(
            variables,
            image,
            maps,
            inputs.prev_mask,
            train=True,
            mutable=["batch_stats"],
            rngs={"dropout": key},
        )
        values = [
            make_objective(Segmenter(model), LossOptions(aux_weight=weight))(
                variables["params"], variables["batch_stats"], inputs, key
            )[0]
            for weight in weights
        ]
        return prediction, values

    prediction, values = run(variables)
    assert (prediction.aux_logits is not None) == has_auxiliary
    main = _oracle("bce_dice", "sample", prediction.logits, inputs.target)
    aux = _bce(prediction.aux_logits, inputs.target).mean() if has_auxiliary else 0.0
    expected = [main + weight * aux for weight in weights]
    np.testing.assert_allclose(values, expected, rtol=1e-5)
    if not has_auxiliary:
        assert float(values[0]) == float(values[1]) == float(values[2])
