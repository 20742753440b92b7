"""Which network answers, by more than its name."""

from ecc_jax import places
from ecc_jax.volumes import hash_of


def network_of(checkpoint: str) -> str:
    """Returns a hash of the configuration and the manifests of a run's checkpoints.

    The manifests hold a hash of every file of the weights.

    Args:
      checkpoint: Folder of a run; "shipped" for the one that comes with the package.
    """
    folder = places.run_folder(checkpoint)
    files = [folder / "config.json", *sorted(folder.glob("checkpoints/*/manifest.json"))]
    return hash_of(*(file.read_bytes() for file in files if file.is_file()))
