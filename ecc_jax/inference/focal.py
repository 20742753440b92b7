"""The pipeline of FocalClick: a coarse answer on the target crop, refined on the focus crop.

Source: Chen et al., "FocalClick" (2022); thesis section 2; the original's
isegm/inference/predictors/focalclick.py.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ecc_jax.inference.crops import Zoom, crop, find_region, move_clicks, paste, uncrop
from ecc_jax.inference.focus import box_on_grid, focus_box
from ecc_jax.inference.merge import progressive_merge
from ecc_jax.inference.segmenter import Segmenter
from ecc_jax.types import Clicks, Predict


class Focal(NamedTuple):
    """How FocalClick is run; static for a compilation.

    Attributes:
      size: Pixels per side of both crops as the network sees them; they are squares, whatever the
        shape of the boxes.
      min_crop: Smallest side of the target crop, image pixels.
      expansion: Sides of both crops relative to what they are drawn around.
      settled_clicks: After so many clicks only the focus crop changes.
      threshold: A pixel is lesion where its probability is above.
      scales_radius: Whether disks grow with the crops: dynamic ones do, a static radius counts
        network-input pixels.
      merges: Whether only the change that holds the newest click counts, see `merge`.
    """

    size: int = 256
    min_crop: int = 10
    expansion: float = 1.4
    settled_clicks: int = 10
    threshold: float = 0.5
    scales_radius: bool = True
    merges: bool = False

    def in_words(self) -> list[str]:
        """Returns what the network is shown, in words; usual lengths go without saying."""
        usual = Focal()
        lengths = (
            ("expanded by", self.expansion, usual.expansion),
            ("smallest side", self.min_crop, usual.min_crop),
            ("settled after click", self.settled_clicks, usual.settled_clicks),
        )
        words = [f"target crop and focus crop, {self.size} pixels wide"]
        words += [f"{text} {value:g}" for text, value, standard in lengths if value != standard]
        return [*words, "progressive merge"] if self.merges else words

    @property
    def target(self) -> Zoom:
        """How the target crop is chosen: anew at every click, for there is no former one."""
        return Zoom(
            target=self.size,
            min_crop=self.min_crop,
            expansion=self.expansion,
            skip_clicks=0,
            threshold=self.threshold,
            scales_radius=self.scales_radius,
            keeps_former=False,
        )


def focalclick(segmenter: Segmenter, variables: Any, *, focal: Focal) -> Predict:
    """Returns a `Predict` that answers coarsely around the lesion and refines what changed.

    Target crop: the box of the previous mask and all positive clicks, expanded; the whole image
    while the mask is empty. Coarse stage on that crop, resampled to a square. Focus crop, see
    `focus.focus_box`; refiner on that crop of the image itself. Inside it the refined scores
    count, outside the coarse ones, or from click `settled_clicks` + 1 on the previous mask. Boxes
    are traced and grids fixed: one compilation serves every click.

    Args:
      segmenter: A network with a refiner, run in evaluation mode, and its encoding.
      variables: Its variables.
      focal: See `Focal`.

    Raises:
      ValueError: The network has no refiner.

    Source: `FocalPredictor.get_prediction`. Deviations: those of `focus.focus_box`, and radii: the
    thesis code scales static ones with the focus crop too.
    """
    if not segmenter.has_refiner:
        raise ValueError(
            "the pipeline focalclick needs a network with a refiner, such as focalclick_hrnet32; "
            f"got {type(segmenter.model).__name__}"
        )
    grid = (focal.size, focal.size)

    def predict(
        image: Float[Array, "b h w 1"],
        clicks: Clicks,
        prev_mask: Float[Array, "b h w 1"],
    ) -> Float[Array, "b h w 1"]:
        shape = (image.shape[1], image.shape[2])
        target = find_region(prev_mask, clicks, focal.target, keeps_aspect=False).box

        def moved(box: Array) -> Clicks:
            return move_clicks(clicks, box, grid, scales_radius=focal.scales_radius)

        answer = segmenter.coarse(
            variables, crop(image, target, grid), moved(target), crop(prev_mask, target, grid)
        )
        coarse = paste(jax.nn.sigmoid(answer.logits), target, shape)
        after, before = (x[..., 0] > focal.threshold for x in (coarse, prev_mask))
        focus = focus_box(after, before, clicks, target, expansion=focal.expansion)
        refined = segmenter.refined(
            variables,
            crop(image, focus, grid),
            moved(focus),
            answer,
            box_on_grid(focus, target, grid),
        )
        logits, inside = uncrop(refined, focus, shape)
        is_settled = (clicks.count > focal.settled_clicks)[:, None, None, None]
        around = jnp.where(is_settled, prev_mask, coarse)
        prob = jnp.where(inside, jax.nn.sigmoid(logits), around)
        if focal.merges:
            prob = progressive_merge(prev_mask, prob, clicks, threshold=focal.threshold)
        return prob

    return predict
