"""Test-wide settings: eight CPU devices, no silent rank promotion, quick compilation."""

import os

# Before jax is imported: tests of sharding need several devices, and compile time dominates.
os.environ.setdefault("JAX_PLATFORMS", "cpu")
_FLAGS = "--xla_force_host_platform_device_count=8 --xla_backend_optimization_level=0"
os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {_FLAGS}".strip()

import hypothesis  # noqa: E402
import jax  # noqa: E402
import pytest  # noqa: E402
from absl import flags  # noqa: E402

from tests.folders import write_folder  # noqa: E402

jax.config.update("jax_numpy_rank_promotion", "raise")
hypothesis.settings.register_profile(
    "suite", deadline=None, max_examples=25, derandomize=True, print_blob=False
)
hypothesis.settings.load_profile("suite")
# grain reads absl flags, which nobody parses under pytest.
flags.FLAGS.mark_as_parsed()


@pytest.fixture
def key() -> jax.Array:
    """A PRNG key; tests that need several split it."""
    return jax.random.key(0)


@pytest.fixture(scope="session")
def small_folder(tmp_path_factory):
    """A folder of six tiny NIfTI volumes with one lesion each."""
    return write_folder(tmp_path_factory.mktemp("small_folder"))
