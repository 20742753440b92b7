"""Small evaluation reports for tests."""

import numpy as np

from ecc_jax.report.montage import Example
from ecc_jax.report.results import NO_FACTS, ClickRecord, MethodFacts, MethodResult
from ecc_jax.report.write import write_report

FACTS = {
    "dataset": "ct_phantom_2d",
    "split": "test",
    "seed": 7,
    "steps": 100,
    "versions": {"jax": "0.10.2"},
    "device": "1 x cpu",
}


def slices_of(patients: str, *, first: int = 0) -> list[dict]:
    """Returns one slice per letter, which names its patient."""
    return [
        {"patient": name, "volume": f"v,{name}", "slice_index": first + i, "lesion_area": 10 + i}
        for i, name in enumerate(patients)
    ]


def write_small(
    folder,
    curves: dict,
    slices: list[dict],
    *,
    clicks=None,
    known: dict[str, MethodFacts] | None = None,
    draw=None,
    **facts,
):
    """Writes a report of IoU arrays (or dicts of measures) by method; returns summary.json's path.

    Without pictures, unless `draw` draws them: they take most of a report's time.
    """
    results = {}
    for name, scores in curves.items():
        scores = scores if isinstance(scores, dict) else {"iou": scores}
        arrays = {m: np.asarray(values, np.float32) for m, values in scores.items()}
        own = (known or {}).get(name, NO_FACTS)
        results[name] = MethodResult(arrays, clicks if name == "model" else None, own)
    people = len({entry["patient"] for entry in slices})
    summary = {**FACTS, "num_images": len(slices), "num_patients": people, **facts}
    return write_report(folder, summary, results, slices, [], draw=draw)


def record_of(m: int, k: int, *, seed: int = 0) -> ClickRecord:
    """Returns clicks as the click loop leaves them: zeros once nothing was left to click."""
    rng = np.random.default_rng(seed)
    clicked = np.arange(k) < rng.integers(0, k + 1, (m, 1))
    return ClickRecord(
        yx=(rng.uniform(0, 255, (m, k, 2)) * clicked[..., None]).astype(np.float32),
        radius=(rng.uniform(1, 30, (m, k)) * clicked).astype(np.float32),
        is_positive=(rng.random((m, k)) < 0.5) & clicked,
        clicked=clicked,
    )


def example(k: int, shape: tuple[int, int] = (96, 96)) -> Example:
    """Returns a case of the montage with k clicks, four of them made."""
    yy, xx = np.mgrid[: shape[0], : shape[1]]
    target = (yy - 40) ** 2 + (xx - 50) ** 2 <= 10**2
    masks = {c: (yy - 40) ** 2 + (xx - 50) ** 2 <= (8 + c) ** 2 for c in (1, 2, 5, 20) if c <= k}
    return Example(
        image=np.where(target, 0.7, 0.3).astype(np.float32),
        target=target,
        clicks_yx=np.tile(np.array([[40.0, 50.0]], np.float32), (k, 1)),
        clicks_radius=np.full(k, 8.0, np.float32),
        clicks_positive=np.arange(k) % 2 == 0,
        clicks_exist=np.arange(k) < 4,
        masks=masks,
        ious={c: 0.5 + c / 100 for c in masks},
        title="best: volume 1, slice 3",
    )
