"""RITM with static disks of radius 5, trained with the same iterative loop as `ritm_dynamic`.

python -m ecc_jax.main --config=configs/ritm_static.py:quick
The thesis trained its static rows by random clicks plus up to three iterations
(--config.train.source=random_then_iterative); here both encodings share one training loop, so that
only the encoding differs.
Thesis, IoU after one click: LIDC 0.701, KITS 0.816, LITS 0.696, PANC 0.686, COMBINED 0.707.
"""

import ml_collections

from ecc_jax import config as base


def get_config(arg: str = "") -> ml_collections.ConfigDict:
    """Returns the defaults with a fixed radius in training and evaluation."""
    config = base.get_config(arg)
    config.name = "ritm_static"
    config.train.radius = "fixed"
    config.clicks.radius = "fixed"
    return config
