"""The protocol `readers`: a disk of one reader, scored against the consensus of the others.

The disk of the simulated user is measured on the very mask that it is scored against. Here it is
measured on what one reader drew, and scored against what the other readers agree on; the network
answers by the same compiled rollout as everywhere.
"""

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from ecc_jax import metrics, parallel
from ecc_jax.classical.painter import disk_mask
from ecc_jax.clicks.user import RobotUser, first_clicks
from ecc_jax.data import pipeline
from ecc_jax.data.pipeline import SliceSet
from ecc_jax.data.readers import MIN_READERS, Reading, readings_of
from ecc_jax.evaluation.methods import Bench
from ecc_jax.evaluation.rollouts import EvalSet, Results, recorded_clicks, situation_for
from ecc_jax.evaluation.step import RolloutOptions, Situation, predict_of, scene_of
from ecc_jax.inference.segmenter import Segmenter
from ecc_jax.interaction import interact, mask_of, start
from ecc_jax.report.readers import ROWS, ReaderScores
from ecc_jax.types import Batch, Click

# Places of a lesion that are clicked, one by one, for the consistency.
PLACES = 3
# Outlines whose records and masks are on the host at the same time.
_HELD = 128
_NO_READERS = (
    "eval.protocol=readers needs what each of several readers drew; {missing}: evaluate on "
    "lidc_2d, or on a ct_folder_2d with one file per volume in DIR/readers (bit k of a voxel set "
    "where reader k drew; see tfds_builders/ct_folder_2d/README.md), or choose another "
    "eval.protocol"
)


class Outlines(NamedTuple):
    """The outlines to click in, one row per slice and reader.

    Attributes:
      slices: Records whose mask is the reader's own outline, `others` the consensus of the others.
      place: The slice of each, as its position among those of the evaluation.
      reader: Whose it is.
      left_out: How many slices and outlines are left out, by reason.
    """

    slices: SliceSet
    place: np.ndarray
    reader: np.ndarray
    left_out: dict[str, int]


class _Records(Sequence[dict[str, Any]]):
    """One record per outline; the last ones are held, for every row of the report reads them."""

    def __init__(self, data: EvalSet, place: Sequence[int], reader: Sequence[int]) -> None:
        self._data, self._place, self._reader = data, place, reader
        self._held: dict[int, dict[str, Any]] = {}

    def __len__(self) -> int:
        return len(self._place)

    def __getitem__(self, index: Any) -> Any:
        number = int(index)
        if number not in self._held:
            if len(self._held) >= _HELD:
                self._held.clear()
            self._held[number] = self._read(number)
        return self._held[number]

    def _read(self, number: int) -> dict[str, Any]:
        record = self._data.slices.records[int(self._data.positions[self._place[number]])]
        chosen = next(r for r in _readings(record) if r.reader == self._reader[number])
        return {**record, "mask": chosen.own.astype(np.uint8), "others": chosen.others}


def check_readers(data: EvalSet) -> None:
    """Refuses a dataset that does not tell what each reader drew; reads one record.

    Raises:
      ValueError: Its records have no readers; says which datasets have.
    """
    record = data.slices.records[int(data.positions[0])]
    if not {"reader_masks", "num_readers"} <= record.keys():
        raise ValueError(_NO_READERS.format(missing="this dataset has no reader_masks"))


def find_outlines(data: EvalSet) -> Outlines:
    """Returns every outline of a reader on a slice that the other readers have a consensus on.

    Left out are slices with fewer than `MIN_READERS` readers, and outlines where no pixel was
    drawn by at least half of the others.

    Args:
      data: The slices of the evaluation.

    Raises:
      ValueError: The dataset has no readers, or nothing is left.
    """
    check_readers(data)
    place, reader = [], []
    few, empty = 0, 0
    for number, position in enumerate(data.positions):
        record = data.slices.records[int(position)]
        few += int(record["num_readers"]) < MIN_READERS
        for reading in _readings(record):
            if reading.others.any():
                place.append(number)
                reader.append(reading.reader)
            else:
                empty += 1
    if not place:
        missing = (
            f"of {len(data.positions)} slices {few} have fewer than {MIN_READERS} readers, and on "
            "no other one the other readers agree"
        )
        raise ValueError(_NO_READERS.format(missing=missing))
    index = [{**data.entries[p], "reader": r} for p, r in zip(place, reader, strict=True)]
    return Outlines(
        SliceSet(_Records(data, place, reader), index),
        np.asarray(place),
        np.asarray(reader),
        {"slices_of_too_few_readers": few, "outlines_without_consensus_of_the_others": empty},
    )


def num_passes(bench: Bench, outlines: Outlines | None) -> int:
    """Returns how many slices `run_readers` clicks through."""
    if outlines is None:
        return 0
    return 4 * len(outlines.place) + 2 * len(bench.data.positions)


def run_readers(bench: Bench, outlines: Outlines, tuned: RobotUser) -> ReaderScores:
    """Scores network, disk, own outline and painters against the other readers.

    Args:
      bench: The network and the painter, compiled.
      outlines: From `find_outlines`.
      tuned: The user whose radii serve the painter best.
    """
    parts = []
    size = max(_HELD // bench.painter.batch_size, 1) * bench.painter.batch_size
    for first in range(0, len(outlines.place), size):
        rows = np.arange(first, min(first + size, len(outlines.place)))
        data = EvalSet(outlines.slices, rows, 1, bench.data.window_hu)
        parts.append(_scores(bench._replace(data=data), tuned))
    whole = jax.tree.map(lambda *pieces: np.concatenate(pieces), *parts)
    return ReaderScores(
        place=outlines.place,
        reader=outlines.reader,
        area=whole["area"],
        radius=whole["radius"],
        iou={row.name: whole[row.name] for row in ROWS},
        consistency=_consistency(bench),
        left_out=outlines.left_out,
    )


def _readings(record: Mapping[str, Any]) -> list[Reading]:
    return readings_of(np.asarray(record["reader_masks"]), int(record["num_readers"]))


def _scores(bench: Bench, tuned: RobotUser) -> dict[str, np.ndarray]:
    """Returns the IoU of every row with the others' consensus, and area and radius, by outline."""
    records = [bench.data.slices.records[int(row)] for row in bench.data.positions]
    own = np.stack([record["mask"] > 0 for record in records])
    others = np.stack([record["others"] for record in records])
    painter = bench.run_painter(bench.painter.options.user, keep=(1,))
    clicks = painter.method.clicks
    assert clicks is not None
    answers: dict[str, Any] = {
        "network": _answer(bench.run_network(keep=(1,))),
        "network_blank": _answer(bench.run_network(is_blank=True, keep=(1,))),
        "reader_disk": disk_mask(recorded_clicks(clicks), own.shape[1:]),
        "reader_outline": own,
        "painter": _answer(painter),
        "painter_tuned": _answer(bench.run_painter(tuned, keep=(1,))),
    }
    scores = {name: np.asarray(metrics.iou(mask, others)) for name, mask in answers.items()}
    return {**scores, "area": own.sum(axis=(1, 2)), "radius": clicks.radius[:, 0]}


def _answer(results: Results) -> Bool[np.ndarray, "m h w"]:
    return results.masks[1]


ConsistencyStep = Callable[[Any, Batch, Situation], Float[Array, " b"]]


def make_consistency_step(segmenter: Segmenter | None, options: RolloutOptions) -> ConsistencyStep:
    """Returns `step(variables, batch, situation) -> dice`, ready for `jax.jit`.

    A lesion is clicked at `PLACES` places, see `clicks.user.first_clicks`, each time from nothing;
    dice is the mean Dice between each two of the answers, NaN where a lesion has too few pixels.

    Args:
      segmenter: The network and its encoding; None lets the image-blind disk painter answer.
      options: Who clicks, how the network answers.
    """

    def step(variables: Any, batch: Batch, situation: Situation) -> Array:
        scene = scene_of(batch, situation, options)
        predict = predict_of(segmenter, variables, options)
        clicks = first_clicks(scene.keys, scene.target, count=PLACES, user=situation.user)

        def answer(click: Click) -> Array:
            session = interact(predict, scene.image, start(scene.image, capacity=1), click)
            return mask_of(session, situation.user.threshold)

        # One after the other: the network is compiled once.
        masks = jax.lax.map(answer, clicks)
        pairs = itertools.combinations(range(PLACES), 2)
        dice = jnp.stack([metrics.dice(masks[i], masks[j]) for i, j in pairs])
        return jnp.where(clicks.exists[0], jnp.mean(dice, axis=0), jnp.nan)

    return step


def _consistency(bench: Bench) -> dict[str, np.ndarray]:
    """Returns the consistency of network and painter on every slice of the evaluation."""
    network = bench.network
    assert network is not None
    found = {}
    for name, segmenter, variables, options in (
        ("network", network.segmenter, network.variables, network.rollout.options),
        ("painter", None, (), bench.painter.options),
    ):
        rows, everywhere = parallel.batch_sharding(bench.mesh), parallel.replicated(bench.mesh)
        step = jax.jit(
            make_consistency_step(segmenter, options), in_shardings=(everywhere, rows, everywhere)
        )
        parts = []
        for batch in pipeline.eval_batches(
            bench.data.slices,
            bench.data.positions,
            batch_size=bench.painter.batch_size,
            window_hu=bench.data.window_hu,
        ):
            situation = situation_for(options, bench.data, batch, options.user, False, bench.mesh)
            placed = parallel.to_global(batch, bench.mesh)
            dice, valid = parallel.to_host((step(variables, placed, situation), placed.valid))
            parts.append(dice[valid])
            bench.advance(int(valid.sum()))
        found[name] = np.concatenate(parts)
    return found
