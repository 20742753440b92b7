"""U-Net++ on a residual network: nested skip connections between encoder and decoder."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float
from numpy.typing import DTypeLike

from ecc_jax.models.layers import (
    BasicBlock,
    Bottleneck,
    batch_norm,
    check_inputs,
    conv,
    normalise_image,
)
from ecc_jax.ops.resample import resize_half_pixel, resize_nearest
from ecc_jax.types import AnyArray, Prediction

# The encoder halves five times.
STRIDE = 32


class ResNet(nn.Module):
    """Residual network for images with any number of channels.

    Attributes:
      width: Channels of the stem; stage i has width * 2**i, four times as many with bottlenecks.
      layers: Blocks of the four stages.
      dtype: Type of the computation; parameters stay float32.
      bottleneck: Blocks of three convolutions instead of two.

    Source: torchvision `resnet18` and `resnet50` (He et al., 2016, with the stride in the 3x3
    convolutions).
    """

    width: int
    layers: tuple[int, int, int, int]
    dtype: DTypeLike
    bottleneck: bool = True

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], *, train: bool) -> list[Float[Array, "b _ _ _"]]:
        """Returns the maps of stride 2, 4, 8, 16 and 32."""
        x = conv(self.width, 7, stride=2, name="conv1", dtype=self.dtype)(x)
        x = jax.nn.relu(batch_norm(name="bn1", dtype=self.dtype, train=train)(x))
        maps = [x]
        x = nn.max_pool(x, (3, 3), strides=(2, 2), padding=((1, 1), (1, 1)))
        for stage, blocks in enumerate(self.layers):
            for k in range(blocks):
                stride = 2 if stage > 0 and k == 0 else 1
                block = (Bottleneck if self.bottleneck else BasicBlock)(
                    planes=self.width * 2**stage,
                    dtype=self.dtype,
                    stride=stride,
                    name=f"layer{stage + 1}_{k}",
                )
                x = block(x, train=train)
            maps.append(x)
        return maps


class DecoderBlock(nn.Module):
    """Doubles the resolution by copying pixels, joins the skip connection, convolves twice."""

    features: int
    dtype: DTypeLike

    @nn.compact
    def __call__(
        self, x: Float[Array, "b h w c"], skips: Sequence[Float[Array, "b h2 w2 _"]], *, train: bool
    ) -> Float[Array, "b h2 w2 f"]:
        """Returns a map of twice the size of `x`, which is the size of every skip."""
        x = resize_nearest(x, (2 * x.shape[1], 2 * x.shape[2]))
        x = jnp.concatenate([x, *skips], axis=-1)
        for index in (1, 2):
            x = conv(self.features, 3, name=f"conv{index}_0", dtype=self.dtype)(x)
            x = jax.nn.relu(batch_norm(name=f"conv{index}_1", dtype=self.dtype, train=train)(x))
        return x


class Decoder(nn.Module):
    """The nested decoder.

    Row l of nodes x_0_l … x_l_l shares one resolution, that of encoder map l + 1 counted from the
    deepest. Node x_d_l enlarges x_d_(l-1), or the encoder where d = l, and joins the nodes of its
    own row with a larger d and the encoder map.

    Attributes:
      widths: Channels of x_0_0 … x_0_4; the other nodes have those of their encoder map.
      dtype: Type of the computation.

    Source: segmentation_models_pytorch 0.6.0, `UnetPlusPlusDecoder`.
    """

    widths: tuple[int, int, int, int, int]
    dtype: DTypeLike

    @nn.compact
    def __call__(
        self, maps: Sequence[Float[Array, "b _ _ _"]], *, train: bool
    ) -> tuple[Float[Array, "b h w f"], list[list[Float[Array, "b _ _ _"]]]]:
        """Returns the full-size map x_0_4, and the four rows of nodes.

        Args:
          maps: The encoder's maps, finest first.
          train: Normalise with the statistics of the batch.
        """
        deepest, *skips = reversed(maps)
        ends = [deepest]  # ends[d]: the newest node of chain d, or the encoder map it starts from
        rows = []
        for level, skip in enumerate(skips):
            row: list[Array] = []
            for d in reversed(range(level + 1)):
                width = self.widths[level] if d == 0 else skip.shape[-1]
                block = DecoderBlock(width, self.dtype, name=f"x_{d}_{level}")
                row.insert(0, block(ends[d], [*row, skip], train=train))
            rows.append(row)
            ends = [*row, skip]
        last = DecoderBlock(self.widths[-1], self.dtype, name="x_0_4")
        return last(ends[0], [], train=train), rows


class UNetPP(nn.Module):
    """U-Net++ that reads image and clicks in one tensor.

    The original is not told the previous mask. To tell it, give it as one more map of guidance.

    Attributes:
      width: Channels of the encoder's stem.
      layers: Blocks of the encoder's four stages.
      bottleneck: Blocks of three convolutions (ResNet-50) instead of two (ResNet-18).
      decoder_widths: Channels of the decoder's main chain, coarsest first.
      deep_supervision: Also score the three other decoder nodes of stride 2, as in the thesis's
        figure of U-Net++. The code trained without.
      dtype: Type of the computation; parameters and scores are float32.

    Source: thesis section 2 (U-Net++); Zhou et al., "UNet++", 2018;
    segmentation_models_pytorch 0.6.0 (isegm/model/is_unetplusplus_model.py).
    """

    width: int
    layers: tuple[int, int, int, int]
    bottleneck: bool = True
    decoder_widths: tuple[int, int, int, int, int] = (256, 128, 64, 32, 16)
    deep_supervision: bool = False
    dtype: DTypeLike = jnp.float32

    def setup(self) -> None:
        """Makes the parts that `__call__` and `segment` share."""
        self.encoder = ResNet(self.width, self.layers, self.dtype, self.bottleneck)
        self.decoder = Decoder(self.decoder_widths, self.dtype)
        # Scores are decided in float32: bfloat16 would round them to three digits.
        self.segmentation_head_0 = conv(
            1, 3, use_bias=True, name="segmentation_head_0", dtype=jnp.float32
        )
        if self.deep_supervision:
            self.supervision = [
                conv(1, 1, use_bias=True, name=f"supervision_{d}", dtype=jnp.float32)
                for d in (1, 2, 3)
            ]

    def __call__(
        self,
        image: Float[AnyArray, "b h w 3"],
        guidance: Float[AnyArray, "b h w g"],
        prev_mask: Float[AnyArray, "b h w 1"],
        *,
        train: bool = False,
    ) -> Prediction:
        """Segments a batch of images of any size.

        The encoder needs multiples of 32 pixels. Other images are continued below and to the
        right by their last row and column, without clicks, and the scores are cut back.

        Args:
          image: Values in [0, 1]; the normalisation of ImageNet happens here.
          guidance: Maps of positive and of negative clicks, and perhaps more.
          prev_mask: Only its shape is checked: the original network has no such input.
          train: Use batch statistics. Then `apply` needs `mutable=["batch_stats"]`.

        Returns:
          See `segment`; scores at input size, features of ceil(size / 4).

        Raises:
          ValueError: Shapes disagree, or training with one row.
        """
        check_inputs(image.shape, guidance.shape, prev_mask.shape, train=train)
        height, width = image.shape[1:3]
        pad = ((0, 0), (0, -height % STRIDE), (0, -width % STRIDE), (0, 0))
        channels = jnp.concatenate(
            [
                jnp.pad(normalise_image(jnp.asarray(image)), pad, mode="edge"),
                jnp.pad(jnp.asarray(guidance, jnp.float32), pad),
            ],
            axis=-1,
        )
        logits, aux_logits, features = self.segment(channels, train=train)
        rows, columns = -(-height // 4), -(-width // 4)
        return Prediction(
            logits[:, :height, :width],
            None if aux_logits is None else aux_logits[:, :height, :width],
            features[:, :rows, :columns],
        )

    def segment(self, channels: Float[AnyArray, "b h w c"], *, train: bool = False) -> Prediction:
        """Segments the tensor that the encoder sees.

        Args:
          channels: Normalised image (3), positive clicks, negative clicks, perhaps more.
          train: Use batch statistics.

        Returns:
          Float32 logits. Auxiliary logits are the mean of the deep supervision's scores; without
          it there is no auxiliary head, and they are None. Features are the decoder node x_0_2, of
          stride 4.

        Raises:
          ValueError: Height or width is no multiple of 32.
        """
        height, width = channels.shape[1:3]
        if height % STRIDE or width % STRIDE:
            raise ValueError(
                f"expected height and width in multiples of {STRIDE}, got {height} x {width}; "
                "pad the image"
            )
        full, rows = self.decoder(self.encoder(jnp.asarray(channels), train=train), train=train)
        logits = self.segmentation_head_0(full)
        if not self.deep_supervision:
            return Prediction(logits, None, rows[2][0])
        scores = [head(x) for head, x in zip(self.supervision, rows[3][1:], strict=True)]
        aux_logits = resize_half_pixel(sum(scores[1:], scores[0]) / 3, (height, width))
        return Prediction(logits, aux_logits, rows[2][0])
