import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from ecc_jax.clicks.sampling import sample_num_clicks


def counts(**options):
    keys = jax.random.split(jax.random.key(0), 20_000)
    draws = jax.vmap(lambda key: sample_num_clicks(key, **options))(keys)
    assert draws.dtype == jnp.int32
    return np.asarray(draws)


@pytest.mark.parametrize(("max_clicks", "gamma"), [(24, 0.7), (5, 0.5), (3, 1.0)])
def test_counts_decay_by_gamma(max_clicks, gamma):
    draws = counts(max_clicks=max_clicks, gamma=gamma)
    assert draws.min() == 1 and draws.max() <= max_clicks
    weights = gamma ** np.arange(max_clicks)
    expected = 20_000 * weights / weights.sum()
    seen = np.bincount(draws, minlength=max_clicks + 1)[1:]
    common = expected >= 20
    chi_square = ((seen - expected) ** 2 / expected)[common].sum()
    assert stats.chi2.sf(chi_square, common.sum()) > 0.01


def test_defaults_are_the_training_distribution():
    draws = counts()
    np.testing.assert_allclose(draws.mean(), 3.33, atol=0.08)
    np.testing.assert_allclose((draws == 1).mean(), 0.300, atol=0.015)


def test_one_click_at_most_is_one_click():
    assert (counts(max_clicks=1) == 1).all()


@pytest.mark.parametrize("options", [{"max_clicks": 0}, {"gamma": 0.0}, {"gamma": 1.5}])
def test_impossible_options_are_refused(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        sample_num_clicks(jax.random.key(0), **options)
