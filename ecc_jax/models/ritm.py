"""RITM: HRNet + OCR that also reads the clicks and the previous mask."""

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float
from numpy.typing import DTypeLike

from ecc_jax.models.hrnet import HRNet
from ecc_jax.models.layers import ScaleLayer, check_inputs, conv, normalise_image
from ecc_jax.models.ocr import OCRHead
from ecc_jax.ops.resample import resize_align_corners
from ecc_jax.types import AnyArray, Prediction


class GuidanceFusion(nn.Module):
    """Encodes clicks and previous mask for the trunk: two convolutions and a learned scale."""

    features: int
    dtype: DTypeLike

    @nn.compact
    def __call__(self, guidance: Float[Array, "b h w g"]) -> Float[Array, "b h2 w2 f"]:
        """Returns the map that is added to the stem, at stride 2.

        Args:
          guidance: Previous mask, positive disks, negative disks, in this order, and perhaps more.
        """
        x = conv(16, 1, use_bias=True, name="maps_transform_0", dtype=self.dtype)(guidance)
        x = jax.nn.leaky_relu(x, negative_slope=0.2)
        x = conv(
            self.features, 3, stride=2, use_bias=True, name="maps_transform_2", dtype=self.dtype
        )(x)
        return ScaleLayer(name="maps_transform_3")(x)


class RITM(nn.Module):
    """Click-based segmentation network "ITER-M" on HRNetV2 + OCR.

    Attributes:
      width: Channels of HRNet's finest branch.
      layer1_blocks: Bottleneck blocks at stride 4.
      blocks: Basic blocks per branch and module.
      modules: Exchange modules of HRNet's stages 2, 3 and 4.
      ocr_width: Width of the OCR attention; features are twice as wide.
      stem_width: Channels of the stem.
      dropout: Share of feature channels dropped in training.
      dtype: Type of the computation; parameters and scores are float32.
      remat: Recompute HRNet's modules in the backward pass to save memory.

    Source: Sofiiuk et al., "Reviving Iterative Training with Mask Guidance", 2021
    (isegm/model/is_model.py, is_hrnet_model.py).
    """

    width: int
    layer1_blocks: int
    blocks: int
    modules: tuple[int, int, int]
    ocr_width: int
    stem_width: int = 64
    dropout: float = 0.05
    dtype: DTypeLike = jnp.float32
    remat: bool = False

    @nn.compact
    def __call__(
        self,
        image: Float[AnyArray, "b h w 3"],
        guidance: Float[AnyArray, "b h w g"],
        prev_mask: Float[AnyArray, "b h w 1"],
        *,
        train: bool = False,
    ) -> Prediction:
        """Segments a batch of images of any size.

        Args:
          image: Values in [0, 1]; the normalisation of ImageNet happens here.
          guidance: Disks of positive and of negative clicks, and perhaps more maps.
          prev_mask: Lesion probability before the newest click, zeros at the start.
          train: Use batch statistics and dropout. Then `apply` needs
            `mutable=["batch_stats"]` and `rngs={"dropout": key}`.

        Returns:
          Float32 logits at input size, and OCR features at stride 4.

        Raises:
          ValueError: Shapes disagree, or training with one row: the normalisation of the pooled
            description then sees a single value per channel.
        """
        check_inputs(image.shape, guidance.shape, prev_mask.shape, train=train)
        image, guidance, prev_mask = map(jnp.asarray, (image, guidance, prev_mask))
        maps = jnp.concatenate([prev_mask, guidance], axis=-1)
        side = GuidanceFusion(self.stem_width, self.dtype, name="fusion")(maps)
        trunk = HRNet(
            self.width,
            self.stem_width,
            self.layer1_blocks,
            self.blocks,
            self.modules,
            self.dtype,
            self.remat,
            name="trunk",
        )
        x = trunk(normalise_image(image), side, train=train)
        head = OCRHead(self.ocr_width, self.dropout, self.dtype, name="head")
        logits, aux_logits, features = head(x, train=train)
        shape = (image.shape[1], image.shape[2])
        return Prediction(
            resize_align_corners(logits, shape), resize_align_corners(aux_logits, shape), features
        )
