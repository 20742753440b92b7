"""A small plain U-Net that reads image, clicks and previous mask together: quick on a CPU."""

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float
from numpy.typing import DTypeLike

from ecc_jax.models.layers import batch_norm, check_inputs, conv
from ecc_jax.ops.resample import resize_half_pixel
from ecc_jax.types import AnyArray, Prediction


class ConvPair(nn.Module):
    """Two 3x3 convolutions, each with batch normalisation and ReLU."""

    features: int
    dtype: DTypeLike

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], *, train: bool) -> Float[Array, "b h w f"]:
        """Returns a map of the same size."""
        for index in (1, 2):
            x = conv(self.features, 3, name=f"conv{index}", dtype=self.dtype)(x)
            x = jax.nn.relu(batch_norm(name=f"bn{index}", dtype=self.dtype, train=train)(x))
        return x


class DiskUNet(nn.Module):
    """U-Net of a few levels, made for the small grid around a disk.

    Attributes:
      widths: Channels of every level, finest first; each level halves the size of the one before.
      bottom: Channels of the coarsest map, below the last level.
      dtype: Type of the computation; parameters and scores are float32.

    Source: Ronneberger et al., "U-Net", 2015, with padded convolutions, batch normalisation and
    bilinear enlargement.
    """

    widths: tuple[int, ...]
    bottom: int
    dtype: DTypeLike = jnp.float32

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

        The levels need multiples of a power of two. Other images are continued below and to the
        right by their last row and column, and the scores are cut back.

        Args:
          image: Values in [0, 1]; here they are moved to [-1, 1].
          guidance: Maps of positive and of negative clicks, and perhaps more.
          prev_mask: Lesion probability before the newest click.
          train: Use batch statistics. Then `apply` needs `mutable=["batch_stats"]`.

        Returns:
          Float32 logits at input size, no auxiliary logits, and the finest map.

        Raises:
          ValueError: Shapes disagree, or training with one row.
        """
        check_inputs(image.shape, guidance.shape, prev_mask.shape, train=train)
        height, width = image.shape[1:3]
        channels = [2.0 * jnp.asarray(image) - 1.0, guidance, prev_mask]
        x = jnp.concatenate([jnp.asarray(part, jnp.float32) for part in channels], axis=-1)
        step = 2 ** len(self.widths)
        x = jnp.pad(x, ((0, 0), (0, -height % step), (0, -width % step), (0, 0)), mode="edge")
        skips = []
        for level, features in enumerate(self.widths):
            x = ConvPair(features, self.dtype, name=f"down_{level}")(x, train=train)
            skips.append(x)
            x = nn.max_pool(x, (2, 2), strides=(2, 2))
        x = ConvPair(self.bottom, self.dtype, name="bottom")(x, train=train)
        for level, skip in reversed(list(enumerate(skips))):
            x = resize_half_pixel(x, (skip.shape[1], skip.shape[2]))
            x = jnp.concatenate([x, skip], axis=-1)
            x = ConvPair(self.widths[level], self.dtype, name=f"up_{level}")(x, train=train)
        # Scores are decided in float32: bfloat16 would round them to three digits.
        logits = conv(1, 1, use_bias=True, name="score_head", dtype=jnp.float32)(x)
        return Prediction(logits[:, :height, :width], None, x[:, :height, :width])
