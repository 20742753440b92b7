"""The eight orientations of a square."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ecc_jax import parallel
from ecc_jax.inference.orientations import in_all_orientations, mean_of_orientations
from ecc_jax.inference.pipelines import FULL_FRAME, make_predict
from tests.clicks.test_surroundings import clicks_of
from tests.inference.test_prior import FLAGSHIP, SIZE, shaken


def test_orientations_are_the_eight_of_numpy():
    x = np.random.default_rng(0).random((2, 5, 5, 3)).astype(np.float32)
    turned = np.asarray(in_all_orientations(jnp.asarray(x))).reshape(2, 8, 5, 5, 3)
    for row in range(2):
        turns = [np.rot90(y, k) for y in (x[row], x[row, ::-1]) for k in range(4)]
        for expected in turns:
            assert sum(np.array_equal(expected, found) for found in turned[row]) == 1


def test_mean_turns_each_back():
    x = jnp.asarray(np.random.default_rng(1).random((3, 6, 6, 2)), jnp.float32)
    np.testing.assert_allclose(mean_of_orientations(in_all_orientations(x)), x, atol=1e-6)
    # A function that sees where up is loses it in the mean.
    tilted = in_all_orientations(x) * jnp.arange(6, dtype=jnp.float32)[None, :, None, None]
    mean = mean_of_orientations(tilted)
    np.testing.assert_allclose(mean, mean_of_orientations(in_all_orientations(mean)), atol=1e-5)
    np.testing.assert_allclose(jnp.mean(mean / x), 2.5, atol=1e-5)


FIRST, SECOND = (20, 22, 7, 1), (31, 27, 4, 1)
EIGHT = FULL_FRAME._replace(orientations=8)


@pytest.fixture(scope="module")
def answers():
    """By option, a compiled network that sees where up is, on a slice without symmetry."""
    variables = shaken(FLAGSHIP, 3, scale=0.3)
    image = np.random.default_rng(2).random((SIZE, SIZE)).astype(np.float32)
    predicts = {o: jax.jit(make_predict(FLAGSHIP, variables, o)) for o in (FULL_FRAME, EIGHT)}

    def answer(options, *rows, change=lambda x: x, before=None, place=lambda x: x):
        images = np.stack([change(image)[..., None]] * len(rows))
        masks = np.zeros_like(images) if before is None else np.broadcast_to(before, images.shape)
        placed = place((images, clicks_of(*rows), masks))
        return np.asarray(predicts[options](*placed))[..., 0]

    return answer


@pytest.mark.parametrize(
    ("change", "moved"),
    [(np.flipud, (SIZE - 1 - 20, 22, 7, 1)), (np.transpose, (22, 20, 7, 1))],
)
def test_the_first_answer_turns_with_the_slice(answers, change, moved):
    (upright,), (turned,) = answers(EIGHT, [FIRST]), answers(EIGHT, [moved], change=change)
    np.testing.assert_allclose(turned, change(upright), atol=2e-4)
    (once,), (turned_once,) = (
        answers(FULL_FRAME, [FIRST]),
        answers(FULL_FRAME, [moved], change=change),
    )
    assert np.abs(turned_once - change(once)).max() > 0.05


def test_later_answers_are_those_of_one_orientation(answers):
    both = [FIRST, SECOND]
    np.testing.assert_allclose(answers(EIGHT, both), answers(FULL_FRAME, both), atol=1e-5)
    assert np.abs(answers(EIGHT, [FIRST]) - answers(FULL_FRAME, [FIRST])).max() > 0.05


def test_rows_at_other_clicks_are_answered_as_alone(answers):
    rows = [FIRST], [FIRST, SECOND], []  # one without a click fills the batch up
    for row, clicks in zip(answers(EIGHT, *rows), rows, strict=True):
        np.testing.assert_allclose(row, answers(EIGHT, clicks)[0], atol=1e-5)


def test_rows_on_several_devices_are_answered_as_on_one(answers):
    rows = [FIRST], [FIRST, SECOND], [SECOND], [SECOND, FIRST]
    mesh = parallel.make_mesh(4)
    spread = answers(EIGHT, *rows, place=lambda parts: parallel.to_global(parts, mesh))
    np.testing.assert_allclose(spread, answers(EIGHT, *rows), atol=1e-4)


def test_a_first_click_on_a_given_mask_is_answered_in_all_orientations(answers):
    given = np.zeros((SIZE, SIZE, 1), np.float32)
    given[14:30, 16:26] = 1.0
    once, mean = (answers(options, [FIRST], before=given) for options in (FULL_FRAME, EIGHT))
    assert np.abs(mean - once).max() > 0.05
    (turned,) = answers(EIGHT, [(SIZE - 1 - 20, 22, 7, 1)], change=np.flipud, before=given[::-1])
    np.testing.assert_allclose(turned, np.flipud(mean[0]), atol=2e-4)
    later = [FIRST, SECOND]
    np.testing.assert_allclose(
        answers(EIGHT, later, before=given), answers(FULL_FRAME, later, before=given), atol=1e-5
    )
