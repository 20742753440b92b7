"""FocalClick with dynamic radius disks (thesis, Tables 4 and 5).

python -m ecc_jax.main --config=configs/focalclick_dynamic.py:quick
python -m ecc_jax.main --config=configs/focalclick_dynamic.py:lidc_2d   IoU@1 0.708, error 0.150
Thesis, IoU after one click: LIDC 0.708, KITS 0.871, LITS 0.708, PANC 0.815, COMBINED 0.753.
"""

import ml_collections

from ecc_jax import config as base


def get_config(arg: str = "") -> ml_collections.ConfigDict:
    """Returns FocalClick's values with the words of `arg`."""
    return base.focalclick(arg)
