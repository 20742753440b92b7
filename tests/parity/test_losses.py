"""The losses give the numbers of the PyTorch originals, on mildly wrong and very wrong scores."""

import jax.numpy as jnp
import numpy as np
import pytest

from ecc_jax import losses


@pytest.fixture(scope="module")
def arrays(golden_dir):
    with np.load(golden_dir / "losses.npz") as file:
        return {name: jnp.asarray(file[name]) for name in file.files}


@pytest.fixture
def check(record_property):
    def compare(name, got, expected):
        assert got.shape == expected.shape, name
        difference = np.abs(got / expected - 1).max()
        record_property(name, f"{difference:.1e} relative")
        assert difference <= 1e-5, (name, difference)

    return compare


@pytest.mark.parametrize(
    ("name", "loss"),
    [
        ("bce", losses.bce_loss),
        ("nfl", losses.normalised_focal_loss),
        ("bce_dice", losses.bce_dice_batch),
    ],
)
def test_loss(arrays, check, name, loss):
    got = loss(arrays["logits"], arrays["target"][..., 0])
    check(name, got, arrays[name])


def test_boundary_loss(arrays, check):
    target, boundary = arrays["target"][..., 0], arrays["boundary"][..., 0]
    check("wfnl", losses.boundary_focal_loss(arrays["logits"], target, boundary), arrays["wfnl"])
