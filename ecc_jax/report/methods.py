"""The methods that a report knows: what each is called, how it is read and drawn.

One entry of `METHODS` is all that the report needs of a method; `evaluation.methods` runs it.
"""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from ecc_jax.report.results import MethodResult

# Okabe-Ito colours; every method also has a line style and a marker of its own, so the figures read
# in grey and to the colour-blind.
BLUE, RED, GREEN, PURPLE, BLACK = "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#000000"
ORANGE, SKY, GREY = "#E69F00", "#56B4E9", "#999999"


class Look(NamedTuple):
    """How a method is drawn.

    Attributes:
      color: Of its line, its markers and, without `bar`, its bars.
      line: Line style; "none" for a method that answers once.
      marker: Its marker.
      size: Of the marker, points.
      width: Of the line, points.
      bar: Colour of its bars, where the line's would be too dark.
      is_hollow: Whether the marker is an outline only.
      first_click: The click at which its first value stands: 0 for what is there before any.
      is_dispensable: Whether a crowded figure may leave it out.
    """

    color: str
    line: Any
    marker: str
    size: float
    width: float = 1.6
    bar: str = ""
    is_hollow: bool = False
    first_click: int = 1
    is_dispensable: bool = False


class Method(NamedTuple):
    """A method that a report has a line for.

    Attributes:
      name: In files and on command lines.
      label: In tables and figures.
      reading: What it is and how it is read against the others, for the text of a report.
      look: How it is drawn.
      sees_image: Whether it looks at the image. Those that do not, but answer every click, are the
        controls: what a method must beat to have used the image.
      answers_once: Whether it answers the first click only, or none.
      has_network: Whether a network, or a predictor from outside, answers.
      is_optional: Whether an evaluation may do without it.
      habit: Of a painter with given radii: their name in `clicks.user.HABITS`.
    """

    name: str
    label: str
    reading: str
    look: Look
    sees_image: bool = True
    answers_once: bool = False
    has_network: bool = False
    is_optional: bool = False
    habit: str = ""


# In the order of the tables.
METHODS = (
    Method(
        "model",
        "model",
        "the network, corrected click by click.",
        Look(BLUE, "-", "o", 4.5, 2.0),
        has_network=True,
    ),
    Method(
        "same_disks",
        "model, clicked with the tuned painter's disks",
        "the network clicked by the user whose radii serve the painter best. Disks of another size "
        "tell another thing. Here both drag by the same rule: its distance to the tuned painter is "
        "what the network adds to such disks, by the image and by what it learnt of shapes.",
        Look(SKY, "--", "o", 4.0, 1.4, is_dispensable=True),
        has_network=True,
        is_optional=True,
    ),
    Method(
        "external",
        "external predictor",
        "a predictor from outside this package, corrected by the same simulated user.",
        Look(SKY, "-", "D", 3.8, 1.8),
        has_network=True,
    ),
    Method(
        "disk_as_mask",
        "first disk as mask",
        "the disk of the first click taken as the segmentation. No image, no network.",
        Look(BLACK, "none", "D", 9.0, is_hollow=True, is_dispensable=True),
        sees_image=False,
        answers_once=True,
    ),
    Method(
        "disk_painter_average",
        "disk painter, average radius",
        "paints every lesion disk and erases every background disk of the simulated user, and "
        "never looks at the image. Its radius is the mean of tight and enclosing.",
        Look(RED, "--", "s", 3.8),
        sees_image=False,
        habit="average",
    ),
    Method(
        "disk_painter_tight",
        "disk painter, tight radius",
        "the same with the tight radius: the largest disk around the click that stays in the "
        "region.",
        Look(GREEN, ":", "^", 4.2, 1.8, is_dispensable=True),
        sees_image=False,
        habit="tight",
    ),
    Method(
        "disk_painter_tuned",
        "disk painter, radius tuned on train",
        "the same with the radii between tight (weight 0) and enclosing (weight 1) that scored "
        "best on the training split, one weight for the first click, one for the later ones: what "
        "a painter can reach that knows this kind of lesion but not this image.",
        Look(ORANGE, "-.", "v", 4.2),
        sees_image=False,
    ),
    Method(
        "blank_image",
        "the same network, image blanked",
        "the same network, clicked by the same user, with a blank image. Its distance to the model "
        "is what the network reads from the image; its distance to the painters is what it learnt "
        "about shapes and clicks.",
        Look(BLACK, (0, (5, 1.5)), "x", 4.5, 1.3, bar=GREY),
        sees_image=False,
        has_network=True,
        is_optional=True,
    ),
    Method(
        "start_mask",
        "the initial mask, untouched",
        "the mask that the user begins with, before any click. A method below it does harm.",
        Look(BLACK, "none", "<", 7.0, is_hollow=True, first_click=0),
        sees_image=False,
        answers_once=True,
    ),
    Method(
        "flooding",
        "flood fill, tuned tolerance",
        "grows from the first click over pixels of similar HU; its tolerance was tuned on the "
        "training split. It sees the image, but learns one number.",
        Look(PURPLE, "none", "P", 9.0),
        answers_once=True,
        is_optional=True,
    ),
    Method(
        "flooding_disk",
        "flood fill from the disk",
        "grows from the middle of the first dynamic disk over values like those there, inside the "
        "disk; its tolerance is a tuned multiple of how much the disk's values differ. Its "
        "distance to the disk as mask is what the image gives without learning.",
        Look(PURPLE, "none", "X", 8.0),
        answers_once=True,
        is_optional=True,
    ),
    Method(
        "active_contour",
        "active contour",
        "the thesis's snake: a circle around the first click that edges pull, its radius tuned on "
        "a few training slices.",
        Look(RED, "none", "h", 8.0),
        answers_once=True,
        is_optional=True,
    ),
    Method(
        "active_contour_disk",
        "active contour from the disk",
        "a snake that begins as the circle of the first dynamic disk; how strongly edges pull was "
        "tuned on a few training slices.",
        Look(RED, "none", "H", 8.0, is_hollow=True),
        answers_once=True,
        is_optional=True,
    ),
    Method(
        "random_walker",
        "random walker",
        "the classical graph segmentation of the same image, seeded by the middle of the user's "
        "dynamic disks, click by click; it learns nothing.",
        Look(PURPLE, (0, (1, 1)), "p", 4.5),
        is_optional=True,
    ),
    Method(
        "best_reader",
        "best single reader",
        "of the human readers of a slice the one that agrees best with the ground truth. The truth "
        "is made from those readers, so it favours them: a ceiling, no competitor.",
        Look(GREEN, "none", "*", 11.0),
        answers_once=True,
    ),
)
BY_NAME = {method.name: method for method in METHODS}
# The first of these that was run is what the report is about.
SUBJECTS = tuple(m.name for m in METHODS if m.has_network and m.sees_image and not m.is_optional)
CONTROLS = tuple(m.name for m in METHODS if not m.sees_image and not m.answers_once)
PAINTERS = tuple(name for name in CONTROLS if not BY_NAME[name].has_network)
OPTIONAL = tuple(m.name for m in METHODS if m.is_optional)
# What a method is held against at the first click, for it costs no network: disk or initial mask.
GIVEN = tuple(m.name for m in METHODS if not m.sees_image and m.answers_once)


def ordered(names: Iterable[str]) -> list[str]:
    """Returns the known methods in the order of the tables, then any others."""
    present = list(names)
    return [name for name in BY_NAME if name in present] + [
        name for name in present if name not in BY_NAME
    ]


def subject_of(names: Iterable[str]) -> str:
    """Returns the method that the report is about: the model, else the external predictor.

    Raises:
      ValueError: Neither is there.
    """
    present = list(names)
    for name in SUBJECTS:
        if name in present:
            return name
    raise ValueError(f"the methods must have one of {SUBJECTS}, got {sorted(present)}; add it")


def clicked_methods(results: Mapping[str, MethodResult]) -> list[str]:
    """Returns the methods that were corrected click by click, in the order of the tables."""
    subject = results[subject_of(results)]
    shortest = min(2, subject.scores["iou"].shape[1])
    return [
        name
        for name in ordered(results)
        if not (name in BY_NAME and BY_NAME[name].answers_once)
        and results[name].scores["iou"].shape[1] >= shortest
    ]
