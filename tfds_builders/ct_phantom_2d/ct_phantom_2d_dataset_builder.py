"""ct_phantom_2d: synthetic CT, generated on first use."""

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import tensorflow_datasets as tfds

from ecc_jax.phantom import volumes as phantom
from tfds_builders import slice_builder
from tfds_builders.options import DataOptions

# Patients are drawn from this seed; the seed of the split is another matter.
PATIENT_SEED = 0
# Volumes of the survey that are kept for the writing pass; more are generated a second time.
CACHE_BYTES = 2**28


class Builder(slice_builder.SliceBuilder):
    """Lesion slices of synthetic CT volumes of lung, kidney, liver, pancreas and limbs."""

    VERSION = tfds.core.Version("2.3.0")
    RELEASE_NOTES: ClassVar[dict[str, str]] = {
        **slice_builder.SliceBuilder.RELEASE_NOTES,
        "2.3.0": "A synthetic patient has one identity, whatever the size and kind.",
    }
    USED_OPTIONS = ("kind", "num_patients")
    BUILDER_CONFIGS = [
        slice_builder.SliceConfig(
            name=kind,
            description=f"{kind} at 512 x 512",
            options=DataOptions("ct_phantom_2d", kind=kind),
        )
        for kind in phantom.KINDS
    ]

    @classmethod
    def source_facts(cls, options: DataOptions) -> dict[str, Any]:
        """Returns the generation of the phantom, so that a changed one is built anew.

        Raises:
          ValueError: The kind is unknown, or fewer than 3 patients (one per split) are asked for.
        """
        if options.kind not in phantom.KINDS:
            raise ValueError(
                f"data.phantom_kind must be one of {', '.join(phantom.KINDS)}; got {options.kind!r}"
            )
        if options.num_patients < 3:
            raise ValueError(
                "data.phantom_patients must be at least 3, one per split; got "
                f"{options.num_patients}"
            )
        return {"generation": phantom.GENERATION, "seed": PATIENT_SEED}

    def survey(self) -> Sequence[slice_builder.VolumeEntry]:
        """Generates every patient once; see the base class."""
        self._cache: dict[str, slice_builder.SliceVolume] = {}
        room = CACHE_BYTES
        entries = []
        for patient in self.bar(range(self.options.num_patients), "generate"):
            name = f"phantom_{patient:05d}"
            volume = self._generate(patient)
            areas = np.count_nonzero(volume.mask, axis=(1, 2))
            slice_areas = {int(i): int(areas[i]) for i in np.flatnonzero(areas)}
            window = self.options.window_hu or volume.window_hu
            entries.append(slice_builder.VolumeEntry(name, name, slice_areas, window))
            room -= volume.image_hu.nbytes + volume.mask.nbytes
            if room >= 0:
                self._cache[name] = self._sliced(volume, patient)
        return entries

    def read(self, entry: slice_builder.VolumeEntry) -> slice_builder.SliceVolume:
        """Returns a surveyed volume, generating it again if it was not kept."""
        if entry.volume in self._cache:
            return self._cache.pop(entry.volume)
        patient = int(entry.volume.removeprefix("phantom_"))
        return self._sliced(self._generate(patient), patient)

    def _generate(self, patient: int) -> phantom.Volume:
        options = self.options
        return phantom.generate_volume(PATIENT_SEED, patient, kind=options.kind, size=options.size)

    def _sliced(self, volume: phantom.Volume, patient: int) -> slice_builder.SliceVolume:
        return slice_builder.SliceVolume(
            volume.image_hu,
            volume.mask,
            volume.spacing_mm,
            identity=phantom.identity_of_patient(PATIENT_SEED, patient, kind=self.options.kind),
        )
