"""FocalClick with static disks of radius 5 (thesis, Tables 3 and 5), clicked as `ritm_static` is.

python -m ecc_jax.main --config=configs/focalclick_static.py:quick
python -m ecc_jax.main --config=configs/focalclick_static.py:lidc_2d   IoU@1 0.668, error 0.129
Thesis, IoU after one click: LIDC 0.668, KITS 0.827, LITS 0.634, PANC 0.680, COMBINED 0.679.
"""

import ml_collections

from ecc_jax import config as base


def get_config(arg: str = "") -> ml_collections.ConfigDict:
    """Returns FocalClick's values with a fixed radius in training and evaluation."""
    config = base.focalclick(arg)
    config.name = "focalclick_static"
    config.train.radius = "fixed"
    config.clicks.radius = "fixed"
    return config
