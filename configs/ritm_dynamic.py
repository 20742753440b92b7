"""RITM with dynamic radius disks, the thesis's main model (Tables 4 and 5).

python -m ecc_jax.main --config=configs/ritm_dynamic.py:quick     minutes on two CPU cores
python -m ecc_jax.main --config=configs/ritm_dynamic.py:lidc_2d   thesis: IoU@1 0.736, error 0.166
Thesis, IoU after one click: LIDC 0.736, KITS 0.847, LITS 0.751, PANC 0.788, COMBINED 0.750.
"""

import ml_collections

from ecc_jax import config as base


def get_config(arg: str = "") -> ml_collections.ConfigDict:
    """Returns the defaults, which are this model, with the words of `arg`."""
    return base.get_config(arg)
