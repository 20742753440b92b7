"""What the server saves with: its session, as the library of formats takes it."""

import functools
from collections.abc import Mapping
from pathlib import Path

from ecc_jax.annotator import save, save_prompts
from ecc_jax.annotator.save_lesions import Lesion
from ecc_jax.annotator.saving import Saver, ToSave
from ecc_jax.data.slices import turn_back


def savers(model: str) -> Mapping[str, Saver]:
    """Returns what writes a session in each format of `save.FORMATS`.

    Args:
      model: What answers disks by name, for the log of prompts.
    """
    return {name: functools.partial(_save, name, model) for name in save.FORMATS}


def _save(name: str, model: str, job: ToSave) -> list[Path]:
    drawn = drawn_of(job, model=model)
    return save.save(job.folder / "lesions", [name], drawn, replace=True)


def drawn_of(job: ToSave, *, model: str) -> save.Drawn:
    """Returns lesions and prompts of a session in the geometry of the source.

    Lesions and slices without a disk are left out. A lesion whose disks have left no pixel is in
    the log of prompts alone: no other format can hold it.
    """
    document = job.document
    lesions, logged = [], []
    for lesion, upright in job.lesions:
        masks = {k: turn_back(mask, document.orientation) for k, mask in upright.items()}
        if not masks:
            continue
        if any(mask.any() for mask in masks.values()):
            lesions.append(Lesion(lesion.name, masks, document.axis))
        slices = tuple(
            save_prompts.SlicePrompts(
                k,
                tuple(
                    save_prompts.Prompt(ring.y, ring.x, ring.radius, ring.positive)
                    for ring in annotation.rings
                ),
                annotation.window_hu,
                annotation.prior,
                save_prompts.mask_hash(masks[k]),
            )
            for k, annotation in sorted(lesion.slices.items())
        )
        logged.append(save_prompts.LesionPrompts(lesion.name, slices))
    view = save_prompts.view_of(document.volume, slice_axis=document.axis)
    log = save_prompts.PromptLog(view, tuple(logged), model, job.network)
    return save.Drawn(document.volume, lesions, log, is_hu=document.is_hu)
