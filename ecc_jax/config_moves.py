"""Keys that earlier versions knew under another name, so that their runs can still be read."""

from typing import Any

# Old key -> the keys that hold its value now.
MOVED: dict[str, tuple[str, ...]] = {
    "clicks.radius_train": ("train.radius",),
    "clicks.max_train": ("train.max_clicks",),
    "clicks.gamma": ("train.click_gamma",),
    "clicks.radius_eval": ("clicks.radius",),
    "eval.validation_slices": ("validation.slices",),
    "eval.validation_clicks": ("validation.clicks",),
    "eval.validate_every": ("validation.every",),
    "eval.select_after": ("validation.select_after",),
    "eval.start_from": ("eval.initial_mask",),
    "eval.start_mask": ("eval.initial_mask",),
    "eval.start_amount": ("eval.damage",),
}
# Keys of evaluation that served training too -> training's own.
_SHARED = {
    "inference.threshold": "train.threshold",
    "clicks.next_click": "train.next_click",
    "clicks.fixed_radius": "train.fixed_radius",
}


def moved(values: dict[str, Any]) -> dict[str, Any]:
    """Returns the values of a configuration under the keys of this version.

    Args:
      values: By dotted key, of this version or an earlier one.
    """
    has_untrained_refiner = "loss.refine_weight" not in values and values.get("name") != "converted"
    if has_untrained_refiner and str(values.get("model.name")).startswith("focalclick_"):
        # Earlier versions trained the coarse stage alone.
        values = {**values, "loss.refine_weight": 0.0, "loss.boundary_weight": 0.0}
    if not any(key in MOVED for key in values):
        return values
    found = {key: value for key, value in values.items() if key not in MOVED}
    for old, keys in MOVED.items():
        if old in values:
            found |= dict.fromkeys(keys, values[old])
    for old, new in _SHARED.items():
        if old in values:
            found.setdefault(new, values[old])
    # Two keys became one: a mask was named even where nothing was to be refined.
    is_refined = values.get("eval.start_from", "empty") != "empty"
    found["eval.initial_mask"] = values.get("eval.start_mask", "eroded") if is_refined else ""
    return found


def hint(key: str) -> str:
    """Returns where a key of an earlier version went, for messages; empty if it was none.

    Args:
      key: Dotted, or its last part.
    """
    for old, new in MOVED.items():
        if key in (old, old.partition(".")[2]):
            return f"; it is {' and '.join(new)} now"
    return ""
