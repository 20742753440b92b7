"""A network with all that surrounds it: what training, inference and the predictor share.

How clicks are drawn, which part of the slice is shown, what is known before the network looks,
which grey values it sees and how far an answer reaches belong to a network as its weights do: it
cannot be run in another way than it was trained.
"""

from typing import Any, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from ecc_jax.clicks.encoding import CLICK_RADIUS, ENCODINGS
from ecc_jax.clicks.surroundings import relative_grey
from ecc_jax.inference import prior
from ecc_jax.inference.view import DiskView
from ecc_jax.models.build import init_variables
from ecc_jax.types import Clicks, InteractiveModel, Prediction, Refinement

INTENSITIES = ("window", "core")
# What a network is told of the previous mask: "network" is what the published one is told.
PREV_MASKS = ("network", "yes", "no")


class Segmenter(NamedTuple):
    """A network and how it is told of clicks, so that no two callers can disagree about it.

    Attributes:
      model: The network.
      encoding: A name of `clicks.encoding.ENCODINGS`.
      view: The square that it is shown; None shows the whole slice.
      prior: A name of `prior.PRIORS`: "painter" adds its scores to those of a painter that sees
        disks only.
      intensity: "window" shows the windowed slice in three equal channels; "core" shows it beside
        two maps of how like the first disk's core each pixel is.
      prev_mask: "input" hands the previous mask to the network's input of that name, "map" draws it
        beside the clicks for one that has none, "hidden" hands over an empty mask.
      edits: A name of `prior.EDITS`: "local" keeps the previous mask far from the newest disk, and
        every click holds at its own pixel.
      click_radius: Of what `encoding` draws without a drag, network-input pixels.
    """

    model: InteractiveModel
    encoding: str = "disk"
    view: DiskView | None = None
    prior: str = "none"
    intensity: str = "window"
    edits: str = "everywhere"
    click_radius: float = CLICK_RADIUS
    prev_mask: str = "input"

    @property
    def num_guidance(self) -> int:
        """Maps that tell the network of clicks."""
        return 2 + 2 * (self.prior == "painter") + (self.prev_mask == "map")

    @property
    def has_refiner(self) -> bool:
        """Whether the network has a second stage that refines a part of its answer."""
        return hasattr(self.model, "refine")

    def init_variables(
        self, seed: int, *, fusion_scale: float = 0.05, lesion_prior: float = 0.5
    ) -> dict[str, Any]:
        """Returns fresh variables, those of the network and of its prior; see `build`.

        Args:
          seed: At least 0.
          fusion_scale: See `build.init_variables`.
          lesion_prior: See there; a network with a painter's prior begins with scores of 0.
        """
        has_prior = self.prior == "painter"
        variables = init_variables(
            self.model,  # type: ignore[arg-type]  # networks of `build` are modules
            seed,
            fusion_scale=fusion_scale,
            lesion_prior=lesion_prior,
            guidance=self.num_guidance,
            is_residual=has_prior,
        )
        if has_prior:
            variables["params"][prior.PARAMS] = prior.initial_params()
        return variables

    def inputs(
        self,
        image: Float[Array, "b h w c"],
        clicks: Clicks,
        prev_mask: Float[Array, "b h w 1"],
    ) -> tuple[Float[Array, "b h w 3"], Float[Array, "b h w g"], Float[Array, "b h w 1"]]:
        """Returns what the network sees: three image channels, click maps, previous mask.

        Args:
          image: A grey image, or one of three channels where `intensity` is "window".
          clicks: The clicks so far.
          prev_mask: Lesion probability before the newest click.

        Raises:
          ValueError: Unknown encoding; the message lists the valid ones.
        """
        height, width = image.shape[1:3]
        channels = jnp.broadcast_to(image, (*image.shape[:3], 3))
        if self.intensity == "core":
            channels = jnp.concatenate([image, *relative_grey(image, clicks)], axis=-1)
        maps = self.maps(clicks, (height, width))
        if self.prior == "painter":
            maps = jnp.concatenate([maps, prior.maps_of(prev_mask, clicks)], axis=-1)
        if self.prev_mask == "map":
            maps = jnp.concatenate([maps, prev_mask], axis=-1)
        if self.prev_mask == "hidden":
            prev_mask = jnp.zeros_like(prev_mask)
        return channels, maps, prev_mask

    def maps(self, clicks: Clicks, shape: tuple[int, int]) -> Float[Array, "b h w 2"]:
        """Returns the clicks as the network is told of them.

        Args:
          clicks: The clicks so far, pixels of the maps.
          shape: Height and width of the maps.

        Raises:
          ValueError: Unknown encoding; the message lists the valid ones.
        """
        if self.encoding not in ENCODINGS:
            names = ", ".join(ENCODINGS)
            raise ValueError(f"encoding must be one of {names}, got {self.encoding!r}")
        return ENCODINGS[self.encoding](clicks, shape, radius=self.click_radius)

    def logits(self, variables: Any, *inputs: Array) -> Float[Array, "b h w 1"]:
        """Returns the network's scores in evaluation mode: running statistics, no dropout.

        Args:
          variables: Of the network.
          *inputs: From `inputs`.
        """
        return self.model.apply(self._own(variables), *inputs, train=False).logits

    def coarse(
        self,
        variables: Any,
        image: Float[Array, "b h w 1"],
        clicks: Clicks,
        prev_mask: Float[Array, "b h w 1"],
    ) -> Prediction:
        """Returns all that a network with a refiner answers at first, in evaluation mode.

        Args:
          variables: Of the network.
          image: What it is shown.
          clicks: The clicks so far, on the same grid.
          prev_mask: Lesion probability before the newest click.
        """
        inputs = self.inputs(image, clicks, prev_mask)
        prediction = self.model.apply(self._own(variables), *inputs, train=False)
        logits = self.answered(variables, prediction.logits, clicks, prev_mask)
        return prediction._replace(logits=logits)

    def refined(
        self,
        variables: Any,
        image: Float[Array, "b s t 1"],
        clicks: Clicks,
        answer: Prediction,
        box: Float[Array, "b 4"],
    ) -> Float[Array, "b s t 1"]:
        """Returns the refined scores of one box of each row, in evaluation mode.

        Args:
          variables: Of the network.
          image: What lies in the box, on the refiner's grid.
          clicks: The clicks so far, on the same grid.
          answer: From `coarse`.
          box: Half-open, in pixels of the coarse answer.
        """
        inputs = self._focus_inputs(image, clicks, answer, box)
        return self.model.apply(self._own(variables), *inputs, method="refine", train=False).logits

    def answered(
        self,
        variables: Any,
        scores: Float[Array, "b h w 1"],
        clicks: Clicks,
        prev_mask: Float[Array, "b h w 1"],
        *,
        pixels: Float[Array, " b"] | float = 1.0,
    ) -> Float[Array, "b h w 1"]:
        """Returns the logits of the answer: the network's scores with prior and edits.

        Args:
          variables: Of the network.
          scores: Its scores, on the grid of `prev_mask`.
          clicks: The clicks so far.
          prev_mask: Lesion probability before the newest click.
          pixels: Side of a pixel of the network's grid, in pixels of `prev_mask`.
        """
        if self.prior == "painter":
            params = variables["params"][prior.PARAMS]
            scores = prior.with_prior(params, scores, prev_mask, clicks, pixels=pixels)
        return prior.edited(scores, prev_mask, clicks) if self.edits == "local" else scores

    def train_apply(
        self,
        variables: Any,
        image: Float[Array, "b h w c"],
        clicks: Clicks,
        prev_mask: Float[Array, "b h w 1"],
        *,
        rngs: dict[str, Any],
    ) -> tuple[Prediction, Any]:
        """Returns the answer in training mode, and the updated batch statistics.

        Args:
          variables: {"params": …, "batch_stats": …}.
          image: What the network is shown: a slice, or the square of its view.
          clicks: The clicks so far, on the same grid.
          prev_mask: Lesion probability before the newest click.
          rngs: Keys of what is random in the network.
        """
        prediction, updated = self.model.apply(
            self._own(variables),
            *self.inputs(image, clicks, prev_mask),
            train=True,
            mutable=["batch_stats"],
            rngs=rngs,
        )
        logits = self.answered(variables, prediction.logits, clicks, prev_mask)
        return prediction._replace(logits=logits), updated["batch_stats"]

    def train_refine(
        self,
        variables: Any,
        image: Float[Array, "b s t 1"],
        clicks: Clicks,
        answer: Prediction,
        box: Float[Array, "b 4"],
    ) -> tuple[Refinement, Any]:
        """Returns the refined scores in training mode, and the updated batch statistics.

        Args:
          variables: {"params": …, "batch_stats": …}.
          image: What lies in the box, on the refiner's grid.
          clicks: The clicks so far, on the same grid.
          answer: From `train_apply`; the gradient passes to it.
          box: Half-open, in pixels of the coarse answer.
        """
        refinement, updated = self.model.apply(
            self._own(variables),
            *self._focus_inputs(image, clicks, answer, box),
            method="refine",
            train=True,
            mutable=["batch_stats"],
        )
        return refinement, updated["batch_stats"]

    def _focus_inputs(
        self, image: Array, clicks: Clicks, answer: Prediction, box: Array
    ) -> tuple[Array, ...]:
        """Returns what the refiner sees: the window alone, and the disks."""
        channels = jnp.broadcast_to(image, (*image.shape[:3], 3))
        maps = self.maps(clicks, (image.shape[1], image.shape[2]))
        return channels, maps, answer.features, answer.logits, box

    def _own(self, variables: Any) -> Any:
        """Returns the variables without those of the prior, which the network does not know."""
        if self.prior != "painter":
            return variables
        params = {k: v for k, v in variables["params"].items() if k != prior.PARAMS}
        return {**variables, "params": params}
