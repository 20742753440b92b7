"""FocalClick: RITM for the coarse scores, and a refiner for a box around the newest click."""

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float, Num
from numpy.typing import DTypeLike

from ecc_jax.models.layers import batch_norm, conv
from ecc_jax.models.ritm import RITM
from ecc_jax.ops.resample import resize_align_corners
from ecc_jax.ops.roi_align import roi_align
from ecc_jax.types import AnyArray, Prediction, Refinement


class ConvNormReLU(nn.Module):
    """Convolution with bias, batch normalisation, ReLU."""

    features: int
    kernel: int
    stride: int
    dtype: DTypeLike

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], *, train: bool) -> Float[Array, "b h2 w2 f"]:
        """Returns the activated map; stride s gives ceil(size / s)."""
        x = conv(
            self.features,
            self.kernel,
            stride=self.stride,
            use_bias=True,
            name="conv",
            dtype=self.dtype,
        )(x)
        return jax.nn.relu(batch_norm(name="norm", dtype=self.dtype, train=train)(x))


class SeparableConv(nn.Module):
    """Xception convolution: 3x3 per channel, then 1x1, batch normalisation, ReLU."""

    dtype: DTypeLike

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], *, train: bool) -> Float[Array, "b h w c"]:
        """Returns a map of the same shape."""
        width = x.shape[-1]
        x = conv(width, 3, groups=width, use_bias=True, name="conv3x3", dtype=self.dtype)(x)
        x = conv(width, 1, use_bias=True, name="conv1x1", dtype=self.dtype)(x)
        return jax.nn.relu(batch_norm(name="norm", dtype=self.dtype, train=train)(x))


class Refiner(nn.Module):
    """Decides details and outline from the focus image and the coarse features under it.

    Attributes:
      width: Channels inside.
      dtype: Type of the computation; both scores are float32.

    Source: isegm/model/is_hrnet_model.py:110-206 (RefineLayer).
    """

    width: int
    dtype: DTypeLike

    @nn.compact
    def __call__(
        self,
        image: Float[Array, "b s t 3"],
        guidance: Float[Array, "b s t 2"],
        coarse_logits: Float[Array, "b s t 1"],
        features: Float[Array, "b p q f"],
        *,
        train: bool,
    ) -> tuple[Float[Array, "b s t 1"], Float[Array, "b s t 1"]]:
        """Returns (detail_logits, boundary_logits) at the size of the image.

        Args:
          image: Focus image in [0, 1], not normalised.
          guidance: Disks of positive and of negative clicks, and perhaps more maps.
          coarse_logits: Coarse scores of the same region.
          features: Coarse features of the same region, at any resolution.
          train: Normalise with the statistics of the batch.
        """
        shape = (image.shape[1], image.shape[2])
        x = jnp.concatenate([image, guidance, jax.nn.sigmoid(coarse_logits)], axis=-1)
        x = ConvNormReLU(self.width, 3, 2, self.dtype, name="image_conv1")(x, train=train)
        for index in (2, 3):
            x = SeparableConv(self.dtype, name=f"image_conv{index}")(x, train=train)
        y = ConvNormReLU(self.width, 1, 1, self.dtype, name="refine_fusion")(features, train=train)
        x += resize_align_corners(y, (x.shape[1], x.shape[2]))
        for index in (2, 3):
            x = SeparableConv(self.dtype, name=f"refine_fusion{index}")(x, train=train)
        # Scores are decided in float32: bfloat16 would round them to three digits.
        detail = conv(1, 3, use_bias=True, name="refine_pred", dtype=jnp.float32)(x)
        boundary = conv(1, 3, use_bias=True, name="refine_trimap", dtype=jnp.float32)(x)
        return resize_align_corners(detail, shape), resize_align_corners(boundary, shape)


class FocalClick(RITM):
    """Click-based segmentation network in two stages, form "S2" on HRNetV2 + OCR.

    Calling the network runs the coarse stage, which is RITM with the same parameters; the
    refiner then takes no part: its gradient is zero and its batch statistics stay. `refine` is the
    second stage. The form "S1", which halves its inputs first, is not built.

    Attributes:
      refiner_width: Channels of the refiner.

    Source: thesis section 2 (FocalClick, equation 2); Chen et al., "FocalClick", 2022
    (isegm/model/is_hrnet_model.py).
    """

    refiner_width: int = 32

    def setup(self) -> None:
        """Makes the second stage; the first belongs to RITM's call."""
        self.refiner = Refiner(self.refiner_width, self.dtype)

    def __call__(
        self,
        image: Float[AnyArray, "b h w 3"],
        guidance: Float[AnyArray, "b h w g"],
        prev_mask: Float[AnyArray, "b h w 1"],
        *,
        train: bool = False,
    ) -> Prediction:
        """Segments a batch of images of any size, coarsely; see `RITM`."""
        prediction = super().__call__(image, guidance, prev_mask, train=train)
        if self.is_initializing():
            box = jnp.tile(jnp.asarray([[0.0, 0.0, *image.shape[1:3]]]), (image.shape[0], 1))
            disks = guidance[..., :2]
            self.refine(image, disks, prediction.features, prediction.logits, box, train=train)
        return prediction

    def refine(
        self,
        focus_image: Float[AnyArray, "b s t 3"],
        focus_guidance: Float[AnyArray, "b s t 2"],
        features: Float[AnyArray, "b h4 w4 f"],
        coarse_logits: Float[AnyArray, "b h w 1"],
        boxes: Num[AnyArray, "b 4"],
        *,
        train: bool = False,
    ) -> Refinement:
        """Refines the coarse scores inside one box per image.

        Refined scores are detail * p + coarse * (1 - p) with p = sigmoid(boundary). The gradient
        passes to the coarse stage through `features` and `coarse_logits`.

        Args:
          focus_image: The box cut out of the image and resized, values in [0, 1]. It is used as
            it is: the original does not normalise it either.
          focus_guidance: Disks of positive and of negative clicks in the same cut-out.
          features: `Prediction.features` of the coarse stage.
          coarse_logits: `Prediction.logits` of the coarse stage.
          boxes: Half-open (y0, x0, y1, x1) inside the coarse stage's image, its pixels.
          train: Use batch statistics. Then `apply` needs `mutable=["batch_stats"]`.

        Returns:
          Scores at the size of the focus image.

        Raises:
          ValueError: Shapes disagree.
        """
        check_focus(
            focus_image.shape,
            focus_guidance.shape,
            features.shape,
            coarse_logits.shape,
            boxes.shape,
        )
        image, guidance, features, coarse = map(
            jnp.asarray, (focus_image, focus_guidance, features, coarse_logits)
        )
        # The stride, 4, rounds up; the original takes the ratio of the widths for both axes, which
        # is the same for the multiples of 4 it was used with.
        (height, width), (rows, columns) = coarse.shape[1:3], features.shape[1:3]
        box = jnp.asarray(boxes, jnp.float32)
        scale = jnp.asarray([[rows / height, columns / width] * 2], jnp.float32)
        cropped_features = roi_align(features, box * scale, (rows, columns))
        cropped_coarse = roi_align(coarse, box, (image.shape[1], image.shape[2]))
        detail, boundary = self.refiner(
            image, guidance, cropped_coarse, cropped_features, train=train
        )
        weight = jax.nn.sigmoid(boundary)
        refined = detail * weight + cropped_coarse * (1 - weight)
        return Refinement(refined, boundary, detail, cropped_coarse)


def check_focus(
    image: tuple[int, ...],
    guidance: tuple[int, ...],
    features: tuple[int, ...],
    coarse: tuple[int, ...],
    boxes: tuple[int, ...],
) -> None:
    """Checks the shapes of the refiner's inputs.

    Raises:
      ValueError: The shapes disagree.
    """
    ranks = [len(shape) for shape in (image, guidance, features, coarse, boxes)]
    rows = {shape[:1] for shape in (image, guidance, features, coarse, boxes)}
    channels = [shape[-1:] for shape in (image, guidance, coarse, boxes)]
    is_valid = ranks == [4, 4, 4, 4, 2] and len(rows) == 1
    is_valid = is_valid and image[1:3] == guidance[1:3] and channels == [(3,), (2,), (1,), (4,)]
    if not is_valid:
        raise ValueError(
            "expected focus image [b s t 3], focus guidance [b s t 2], features [b h4 w4 f], "
            f"coarse logits [b h w 1], boxes [b 4], got {list(image)}, {list(guidance)}, "
            f"{list(features)}, {list(coarse)}, {list(boxes)}; give one box per image"
        )
