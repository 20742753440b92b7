"""FocalClick's boxes and merge for one image, in float64 and inclusive coordinates, after its code.

With `mended=False` the defects are the original's: masks below 10 pixels have the whole image for
a box, and everything that did not change counts as one more component of the change.
"""

import numpy as np
from scipy import ndimage

EIGHT = np.ones((3, 3), int)


def ends(mask, mended=True):
    """First and last row, first and last column."""
    if not mended and mask.sum() < 10:
        return 0, mask.shape[0], 0, mask.shape[1]
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return rows[0], rows[-1], columns[0], columns[-1]


def component(change, y, x, mended=True):
    """The component of a change at a pixel; None where it is not in the change."""
    labels = ndimage.label(change, EIGHT)[0]
    if mended and not labels[y, x]:
        return None
    return labels == labels[y, x]


def focus(after, before, y, x, target, *, ratio=1.4, mended=True):
    """(y0, x0, y1, x1) of the focus crop; target likewise."""
    t0, s0, t1, s1 = target
    part = component(before ^ after, y, x, mended)
    if mended and not after.any() and part is None:
        return target
    if mended:
        y, x = min(max(y, t0), t1 - 1), min(max(x, s0), s1 - 1)
    high = wide = 0
    if after.any() or not mended:
        a, b, c, d = ends(after, mended)
        high, wide = b - a, d - c
    if not before.any():
        box = a, b, c, d
    else:
        box = None
        if part is not None:
            e, f, g, h = ends(part, mended)
            if not (f - e < high / 3 or h - g < wide / 3):
                box = e, f, g, h
        if box is None:
            reach = 0.2 * max(high, wide)
            box = y - reach, y + reach, x - reach, x + reach
    result = []
    for first, last, low, top in ((*box[:2], t0, t1), (*box[2:], s0, s1)):
        half = ratio * (last - first + 1) / 2
        half = max(half, 2) if mended else half
        middle = (first + last) / 2
        result.append((max(int(middle - half), 0, low), min(int(middle + half), top)))
    return result[0][0], result[1][0], result[0][1], result[1][1]


def merge(before, after, y, x, is_positive, mended=True):
    """The merged mask."""
    part = component(before ^ after, y, x, mended)
    if mended and (part is None or after[y, x] != is_positive):
        return before
    return before & ~part if before[y, x] else before | part


def blobs(rng, shape, count=4):
    """A mask of a few ellipses, and noise on some."""
    y, x = np.mgrid[: shape[0], : shape[1]]
    mask = np.zeros(shape, bool)
    for _ in range(rng.integers(1, count + 1)):
        cy, cx = rng.uniform(0, shape[0]), rng.uniform(0, shape[1])
        mask |= ((y - cy) / rng.uniform(0.6, 9)) ** 2 + ((x - cx) / rng.uniform(0.6, 9)) ** 2 < 1
    return mask


def cases(number, shape=(40, 48), seed=0):
    """Masks before and after, clicks and target crops, as arrays of `number` rows.

    Two thirds of the clicks lie in the change, some masks are empty, some differ in a few pixels.
    """
    rng = np.random.default_rng(seed)
    before, after = np.zeros((2, number, *shape), bool)
    yx, positive = np.zeros((number, 2), int), np.zeros(number, bool)
    target = np.zeros((number, 4), int)
    for i in range(number):
        kind = rng.integers(0, 10)
        if kind > 0:
            before[i] = blobs(rng, shape)
        after[i] = blobs(rng, shape)
        if kind > 5:  # most of it stays
            after[i] = before[i] ^ (blobs(rng, shape, 2) & (rng.random(shape) < 0.9))
        elif kind == 1:
            after[i] = False
        places = np.argwhere(before[i] ^ after[i])
        if rng.random() < 0.67 and len(places):
            yx[i] = places[rng.integers(len(places))]
        else:
            yx[i] = rng.integers(0, shape)
        positive[i] = rng.random() < 0.5
        target[i] = (0, 0, *shape)
        if before[i].any():
            # What the original's target crop must hold: both masks.
            both = before[i] | after[i]
            a, b, c, d = ends(both)
            margin = rng.integers(0, 6, 4)
            target[i, :2] = np.maximum([a - margin[0], c - margin[1]], 0)
            target[i, 2:] = np.minimum([b + 1 + margin[2], d + 1 + margin[3]], shape)
    return before, after, yx, positive, target
