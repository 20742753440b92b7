"""The flagship: a small U-Net that is shown the disk's surroundings and begins as the painter.

python -m ecc_jax.main --config=configs/ecc.py:quick               minutes on two CPU cores
python -m ecc_jax.main --config=configs/ecc.py:ct_folder_2d,quick --config.data.path=DIR
Not of the thesis; what each part gives is in the README.
"""

import ml_collections

from ecc_jax import config as base


def get_config(arg: str = "") -> ml_collections.ConfigDict:
    """Returns the defaults with every part of the flagship, then the words of `arg`."""
    return base.flagship(arg)
