"""Which ways of placing, drawing and answering clicks go together."""

from collections.abc import Mapping

from ecc_jax.clicks.encoding import FIRST_DRAGGED, WITHOUT_RADIUS

# What surrounds a network and is measured on dragged disks, with the value that needs none.
SURROUNDINGS = {"view": "slice", "prior": "none", "edits": "everywhere", "intensity": "window"}
# Random clicks have a first disk too, which is all that this one reads.
_OF_FIRST_DISK = "intensity"


def check_encoding(
    encoding: str, *, radii: Mapping[str, str], surroundings: Mapping[str, str]
) -> None:
    """Refuses what an encoding of clicks cannot be told, or would not show.

    Args:
      encoding: A name of `clicks.encoding.ENCODINGS`.
      radii: By configuration key, the radius rules of training and evaluation.
      surroundings: What surrounds the network, by the names of `SURROUNDINGS`; see `Segmenter`.

    Raises:
      ValueError: In one line: the keys, why not, and what to set.
    """
    for key, rule in radii.items():
        if encoding in FIRST_DRAGGED and rule == "fixed":
            raise ValueError(
                f"model.encoding={encoding} draws the first click as it was dragged, and {key}="
                "fixed drags nothing; choose another rule there (configs/ritm_hybrid.py), or "
                "model.encoding=disk"
            )
        if encoding in WITHOUT_RADIUS and rule != "fixed":
            raise ValueError(
                f"model.encoding={encoding} shows no radius, and {key}={rule} drags one, which "
                "painters would know and the network would not; set train.radius=fixed and "
                "clicks.radius=fixed (configs/ritm_static.py), or model.encoding=disk"
            )
    for key, value in surroundings.items():
        if encoding != "disk" and value != SURROUNDINGS[key]:
            raise ValueError(
                f"model.{key}={value} is measured on dragged disks, model.encoding={encoding} does "
                f"not show them; leave model.encoding=disk, or set model.{key}={SURROUNDINGS[key]}"
            )


def check_random_clicks(source: str, *, counts: str, surroundings: Mapping[str, str]) -> None:
    """Refuses what needs clicks that come one by one, where they are placed all at once.

    Args:
      source: The name of the click source, for messages.
      counts: `train.click_counts`.
      surroundings: As for `check_encoding`.

    Raises:
      ValueError: In one line: the keys, why not, and what to set.
    """
    if counts == "rows":
        raise ValueError(
            f"train.click_counts=rows is for train.source=iterative; of train.source={source} "
            "every row has its own count already: leave it away"
        )
    for key, value in surroundings.items():
        if key != _OF_FIRST_DISK and value != SURROUNDINGS[key]:
            raise ValueError(
                f"model.{key}={value} goes by single clicks, train.source={source} places many at "
                f"once; set train.source=sessions or iterative, or model.{key}={SURROUNDINGS[key]}"
            )
