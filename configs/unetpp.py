"""U-Net++ with small decaying clicks and no previous mask, the thesis's baseline (Tables 3 and 5).

python -m ecc_jax.main --config=configs/unetpp.py:quick     on ResNet-18; else ResNet-50
--config.model.prev_mask=yes shows it the previous mask; --config.model.encoding=disk with
--config.train.radius=normal --config.clicks.radius=average gives it dynamic disks.
Thesis, IoU after one click: LIDC 0.638 (error 0.316), KITS 0.799, LITS 0.734, PANC 0.647,
COMBINED 0.688. It was probably evaluated with other clicks than it was trained with; here both
are the same.
"""

import ml_collections

from ecc_jax import config as base


def get_config(arg: str = "") -> ml_collections.ConfigDict:
    """Returns the values of U-Net++ with the words of `arg`."""
    return base.unetpp(arg)
