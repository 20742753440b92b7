"""What a reader must know to repeat an evaluation."""

import importlib.metadata
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jax.sharding import Mesh
from jaxtyping import Float

import ecc_jax
from ecc_jax import parallel
from ecc_jax.evaluation.rollouts import EvalSet
from ecc_jax.evaluation.step import RolloutOptions
from ecc_jax.inference.pipelines import TWO_STAGES, InferenceOptions
from ecc_jax.inference.segmenter import Segmenter

_PACKAGES = ("jax", "flax", "optax", "numpy", "scikit-image")


def facts_of_rollouts(data: EvalSet, options: RolloutOptions, mesh: Mesh) -> dict[str, Any]:
    """Returns the facts that the slices and the rollout's options tell."""
    user = options.user
    return {
        "num_images": len(data.positions),
        "num_patients": len({entry["patient"] for entry in data.entries}),
        "seed": options.seed,
        "next_click": user.rule,
        "enclosing": user.enclosing,
        "threshold": float(user.threshold),
        "versions": {
            "python": platform.python_version(),
            "ecc_jax": ecc_jax.__version__,
            **{name: importlib.metadata.version(name) for name in _PACKAGES},
        },
        "device": parallel.describe_devices(mesh),
    }


def surface_facts(pixel_mm: Float[np.ndarray, " m"], options: RolloutOptions) -> dict[str, Any]:
    """Returns unit and tolerance of the surface measures, and for how many slices they lack."""
    is_known = np.isfinite(pixel_mm)
    if not is_known.any():
        return {"unit": "px", "tolerance": options.tolerance_px, "num_undefined": 0}
    undefined = int(np.count_nonzero(~is_known))
    return {"unit": "mm", "tolerance": options.tolerance_mm, "num_undefined": undefined}


def describe_initial_mask(name: str, damage: float) -> str:
    """Returns what an evaluation starts from, in words.

    Args:
      name: Empty, a kind of `ops.damage.KINDS`, or the path of a file of masks.
      damage: Size of the defect, relative to the lesion's depth.
    """
    if not name:
        return "nothing"
    if name.endswith(".npz"):
        return f"masks of {Path(name).name}"
    return f"ground truth, {name} by {damage:g} of the lesion's depth"


def describe_inference(options: InferenceOptions, segmenter: Segmenter) -> str:
    """Returns what the network is shown and how it is run, in words."""
    zoom, view = options.zoom, segmenter.view
    words = ["whole slice"]
    if view is not None:
        words = [f"square of {view.factor:g} radii around the first disk, {view.grid} pixels wide"]
    if segmenter.intensity == "core":
        words.append("grey values relative to the disk's")
    if segmenter.prev_mask != "input":
        shown = "hidden" if segmenter.prev_mask == "hidden" else "drawn beside the clicks"
        words.append(f"previous mask {shown}")
    if segmenter.prior == "painter":
        words.append("scores added to the painter's")
    if segmenter.edits == "local":
        words.append("later clicks change their surroundings")
    if options.pipeline == "zoom_in":
        words[0] = f"zoom-in after click {zoom.skip_clicks} ({zoom.rule} side {zoom.target} pixels)"
    if options.pipeline in TWO_STAGES:
        words[:1] = options.focal.in_words()
    if options.orientations > 1:
        words.append(f"{options.orientations} orientations averaged at the first click")
    return ", ".join([*words, "mirror image averaged"] if options.flip else words)


def describe_fold(folds: int, fold: int) -> str | None:
    """Returns which fold of a cross-validation is tested; None without one."""
    return f"fold {fold} of {folds}" if folds else None


def describe_config(name: str, words: Sequence[str]) -> str:
    """Returns the configuration as it stands on the command line."""
    return f"{name}:{','.join(words)}" if words else name
