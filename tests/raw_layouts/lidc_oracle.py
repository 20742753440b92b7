"""Counts slices from LIDC-IDRI XML by brute force: pixel grids, all pairs of points, loops."""

import itertools
from xml.etree import ElementTree

import numpy as np
from matplotlib.path import Path as Polygon
from scipy.spatial.distance import cdist


def count_slices(path, *, pixel_mm=0.7, level=0.5, least=3):
    """Returns on how many slices a nodule's consensus is not empty."""
    ns = "{http://www.nih.gov}"
    found = []
    for node in ElementTree.parse(path).getroot().iter(ns + "unblindedReadNodule"):
        ratings = node.find(ns + "characteristics")
        if ratings is None or not len(ratings) or not all(int(r.text or 0) for r in ratings):
            continue
        contours = []
        for part in node.iter(ns + "roi"):
            points = [
                (int(e.find(ns + "yCoord").text), int(e.find(ns + "xCoord").text))
                for e in part.iter(ns + "edgeMap")
            ]
            if len(points) > 1:
                z = round(float(part.find(ns + "imageZposition").text), 2)
                contours.append((z, points, part.find(ns + "inclusion").text == "TRUE"))
        if contours:
            found.append(contours)
    zs = sorted({z for contours in found for z, _, _ in contours})
    step = min((b - a for a, b in itertools.pairwise(zs)), default=2.5) + 1e-3
    clouds = [
        np.array([(y * pixel_mm, x * pixel_mm, z) for z, points, _ in c for y, x in points])
        for c in found
    ]
    gap = np.array([[cdist(a, b).min() for b in clouds] for a in clouds]).reshape(len(clouds), -1)
    agreed = set()
    for group in _components(list(range(len(found))), gap, step):
        votes = [_filled(found[i]) for i in group]
        for z in zs if len(group) >= least else ():
            total = sum(v.get(z, np.zeros((64, 64))) for v in votes)
            agreed |= {z} if (total / len(group) >= level).any() else set()
    return len(agreed)


def _components(members, gap, tolerance):
    groups = []
    for i in members:
        near = [g for g in groups if any(gap[i, j] <= tolerance for j in g)]
        groups = [g for g in groups if g not in near] + [sum(near, [i])]
    if any(len(group) > 4 for group in groups) and tolerance * 0.9 >= 0.1:
        return _components(members, gap, tolerance * 0.9)
    return groups


def _filled(contours):
    grid = np.stack(np.mgrid[:64, :64], -1).reshape(-1, 2)
    masks = {}
    for z, points, included in sorted(contours, key=lambda c: not c[2]):
        inside = Polygon([*points, points[0]]).contains_points(grid).reshape(64, 64)
        inside[tuple(np.transpose(points))] = not included
        mask = masks.setdefault(z, np.zeros((64, 64), bool))
        masks[z] = mask | inside if included else mask & ~inside
    return masks
