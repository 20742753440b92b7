"""The objective of a network with a refiner: which losses of which scores, against plain NumPy."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ecc_jax import losses
from ecc_jax.inference.segmenter import Segmenter
from ecc_jax.training.objective import LossOptions, make_objective
from ecc_jax.training.refiner import draw_focus
from ecc_jax.types import Prediction, Refinement
from tests.training.test_objective import BATCH, SIZE, _bce, _dice, _inputs, _logits

KEY = jax.random.key(4)


class TwoStages(NamedTuple):
    """A network that answers with given scores, and notes what its refiner is shown."""

    coarse: Any
    refined: Any
    boundary: Any
    shown: list

    def apply(self, variables, *inputs, method="segment", train, mutable, rngs=None):
        assert train and mutable == ["batch_stats"]
        scale = variables["params"]["scale"]
        seen = variables["batch_stats"]["seen"]
        if method == "segment":
            stats = {"batch_stats": {"seen": seen + 1}}
            return Prediction(scale * self.coarse, None, inputs[0]), stats
        self.shown.append(inputs)
        scores = self.refined, self.boundary, self.refined, self.refined
        # The statistics of the first stage arrive here, and both leave.
        return Refinement(*(scale * s for s in scores)), {"batch_stats": {"seen": 10 * seen}}

    def refine(self):
        """Says that there is one."""


def network():
    return TwoStages(_logits(1), _logits(2), _logits(3), [])


def value(model, options, inputs, **static):
    params, stats = {"scale": jnp.float32(1.0)}, {"seen": jnp.float32(0.0)}
    objective = make_objective(Segmenter(model), options, **static)
    return objective(params, stats, inputs, KEY)


def focus_of(model, inputs, *, scales_radius):
    """What the refiner must have learned on: found by the box that it was shown."""
    _, _, _, _, box = model.shown[0]
    for fold in range(4):
        keys = jax.random.split(jax.random.fold_in(KEY, fold), BATCH)
        focus = draw_focus(
            keys, inputs.image, inputs.target, inputs.clicks, scales_radius=scales_radius
        )
        if np.array_equal(focus.box, box):
            return focus
    raise AssertionError("the boxes do not come from the step's key")


@pytest.mark.parametrize("refine", losses.REFINED_LOSSES)
def test_refined_and_boundary_scores_have_losses_of_their_own(refine):
    inputs, model = _inputs(), network()
    options = LossOptions(refine=refine, refine_weight=0.7, boundary_weight=0.3)
    loss, (stats, logits) = value(model, options, inputs)
    focus = focus_of(model, inputs, scales_radius=True)
    if refine == "bce_dice":
        axes = (1, 2)
        refined = 0.5 * _bce(model.refined, focus.target).mean()
        refined += 0.5 * _dice(model.refined, focus.target, axes).mean()
    else:
        x, truth = np.asarray(model.refined, np.float64)[..., 0], np.asarray(focus.target)
        true = 1 / (1 + np.exp(-np.where(truth, x, -x)))
        terms = -0.5 * (1 - true) ** 2 * np.log(true)
        terms /= ((1 - true) ** 2).mean(axis=(1, 2), keepdims=True)
        weight = 0.5 + 0.5 * np.asarray(focus.boundary)
        refined = (terms * weight).sum() / weight.sum()
    coarse = 0.5 * _bce(model.coarse, inputs.target).mean()
    coarse += 0.5 * _dice(model.coarse, inputs.target, (1, 2)).mean()
    boundary = _bce(model.boundary, focus.boundary).mean()
    assert float(loss) == pytest.approx(coarse + 0.7 * refined + 0.3 * boundary, rel=1e-4)
    np.testing.assert_array_equal(logits, model.coarse)
    assert float(stats["seen"]) == 10  # both stages ran, one after the other


@pytest.mark.parametrize("scales_radius", [True, False])
def test_the_refiner_is_shown_its_box_and_the_coarse_answer(scales_radius):
    inputs, model = _inputs(), network()
    value(model, LossOptions(), inputs, scales_radius=scales_radius)
    focus = focus_of(model, inputs, scales_radius=scales_radius)
    image, maps, features, coarse, _ = model.shown[0]
    np.testing.assert_allclose(image, np.repeat(focus.image, 3, axis=-1), atol=1e-6)
    assert maps.shape == (BATCH, SIZE, SIZE, 2)
    np.testing.assert_array_equal(maps, Segmenter(model).maps(focus.clicks, (SIZE, SIZE)))
    np.testing.assert_array_equal(coarse, model.coarse)
    assert features.shape[:3] == (BATCH, SIZE, SIZE)


def test_without_weight_the_refiner_does_not_run():
    inputs, model = _inputs(), network()
    options = LossOptions(refine_weight=0.0, boundary_weight=0.0)
    loss, (stats, _) = value(model, options, inputs)
    assert not model.shown and float(stats["seen"]) == 1
    main = 0.5 * _bce(model.coarse, inputs.target).mean()
    main += 0.5 * _dice(model.coarse, inputs.target, (1, 2)).mean()
    assert float(loss) == pytest.approx(main, rel=1e-5)


def test_rows_without_weight_teach_the_refiner_nothing():
    inputs, model = _inputs(), network()
    inputs = inputs._replace(weight=jnp.array([1.0, 0.0, 1.0]))
    changed = model._replace(
        refined=model.refined.at[1].add(5.0), boundary=model.boundary.at[1].add(5.0)
    )
    assert float(value(model, LossOptions(), inputs)[0]) == pytest.approx(
        float(value(changed, LossOptions(), inputs)[0]), rel=1e-6
    )
