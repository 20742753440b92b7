"""Slices in memory, as `pipeline.open_split` would give them."""

import numpy as np
from scipy import ndimage

from ecc_jax.data.pipeline import SliceSet


def blobs(count, size, seed=3):
    """Smooth random masks; the last is empty."""
    rng = np.random.default_rng(seed)
    noise = ndimage.gaussian_filter(rng.standard_normal((count, size, size)), (0, 2, 2))
    masks = noise > np.quantile(noise, 0.8, axis=(1, 2), keepdims=True)
    masks[-1] = False
    return masks


def slice_set(masks, images=None, **extra):
    """One patient per slice; `extra` holds further features, one entry per slice."""
    size = masks.shape[-1]
    images = np.zeros(masks.shape, np.int16) if images is None else images
    records = [
        {
            "image": image,
            "mask": mask.astype(np.uint8),
            "window_hu": np.array([-150, 250], np.float32),
            "spacing_mm": np.array([3.0, 0.5, 0.5], np.float32),
            "fit_original_shape": np.array([2 * size, size], np.int32),
            **{name: values[i] for name, values in extra.items()},
        }
        for i, (image, mask) in enumerate(zip(images, masks))
    ]
    rows = [
        {"patient": f"p{i}", "volume": f"v{i}", "slice_index": i, "lesion_area": int(mask.sum())}
        for i, mask in enumerate(masks)
    ]
    return SliceSet(records, rows)
