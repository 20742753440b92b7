"""HRNetV2 trunk: four resolutions side by side, exchanged after every module."""

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float
from numpy.typing import DTypeLike

from ecc_jax.models.layers import BasicBlock, Bottleneck, batch_norm, conv
from ecc_jax.ops.resample import resize_align_corners

Maps = tuple[Float[Array, "b _ _ _"], ...]


class HRModule(nn.Module):
    """Residual blocks on every branch, then an exchange between all branches.

    Attributes:
      blocks: Basic blocks per branch.
      dtype: Type of the computation.
    """

    blocks: int
    dtype: DTypeLike

    @nn.compact
    def __call__(self, maps: Maps, train: bool) -> Maps:
        """Returns one map per branch, each of the shape it came with."""
        branches = []
        for b, x in enumerate(maps):
            for k in range(self.blocks):
                x = BasicBlock(self.dtype, name=f"branches_{b}_{k}")(x, train=train)
            branches.append(x)
        return tuple(self._fuse(branches, i, train) for i in range(len(branches)))

    def _fuse(self, branches: Sequence[Array], i: int, train: bool) -> Array:
        """Returns relu of the sum of all branches, each brought to the shape of branch i."""
        parts = []
        for j, x in enumerate(branches):
            if j > i:
                x = self._enlarge(x, branches[i], f"fuse_layers_{i}_{j}", train)
            elif j < i:
                x = self._shrink(x, branches[i].shape[-1], i - j, f"fuse_layers_{i}_{j}", train)
            parts.append(x)
        return jax.nn.relu(functools.reduce(jnp.add, parts))

    def _enlarge(self, x: Array, like: Array, name: str, train: bool) -> Array:
        x = conv(like.shape[-1], 1, name=f"{name}_0", dtype=self.dtype)(x)
        x = batch_norm(name=f"{name}_1", dtype=self.dtype, train=train)(x)
        return resize_align_corners(x, (like.shape[1], like.shape[2]))

    def _shrink(self, x: Array, features: int, steps: int, name: str, train: bool) -> Array:
        for k in range(steps):
            last = k == steps - 1
            width = features if last else x.shape[-1]
            x = conv(width, 3, stride=2, name=f"{name}_{k}_0", dtype=self.dtype)(x)
            x = batch_norm(name=f"{name}_{k}_1", dtype=self.dtype, train=train)(x)
            if not last:
                x = jax.nn.relu(x)
        return x


class HRNet(nn.Module):
    """HRNetV2 with a side input after the first convolution.

    Attributes:
      width: Channels of the finest branch; branch i has width * 2**i.
      stem_width: Channels of the stem and of the bottleneck planes of `layer1`.
      layer1_blocks: Bottleneck blocks at stride 4.
      blocks: Basic blocks per branch and module.
      modules: Exchange modules of stages 2, 3 and 4.
      dtype: Type of the computation; parameters stay float32.
      remat: Recompute every module in the backward pass instead of storing its activations.

    Source: isegm/model/modeling/hrnet_ocr.py:221-284 (layers), 491-550 (forward pass).
    """

    width: int
    stem_width: int
    layer1_blocks: int
    blocks: int
    modules: tuple[int, int, int]
    dtype: DTypeLike
    remat: bool

    @nn.compact
    def __call__(
        self,
        image: Float[Array, "b h w 3"],
        side: Float[Array, "b h2 w2 stem"],
        *,
        train: bool,
    ) -> Float[Array, "b h4 w4 d"]:
        """Returns all branches at stride 4, concatenated: 15 * width channels.

        Args:
          image: Normalised image of any size; a stride of s gives ceil(size / s).
          side: Added to the stem at stride 2, after its activation.
          train: Normalise with the statistics of the batch.
        """
        x = self._conv_bn_relu(image, self.stem_width, 2, "conv1", "bn1", train) + side
        x = self._conv_bn_relu(x, self.stem_width, 2, "conv2", "bn2", train)
        for k in range(self.layer1_blocks):
            x = Bottleneck(self.stem_width, self.dtype, name=f"layer1_{k}")(x, train=train)
        module = nn.remat(HRModule, static_argnums=(2,)) if self.remat else HRModule
        maps: Maps = (
            self._conv_bn_relu(x, self.width, 1, "transition1_0_0", "transition1_0_1", train),
        )
        for stage, count in enumerate(self.modules, start=2):
            # Stage s adds branch s - 1, fed by layer1 (stage 2) or by the coarsest branch so far.
            source = x if stage == 2 else maps[-1]
            name = f"transition{stage - 1}_{stage - 1}_0"
            features = self.width * 2 ** (stage - 1)
            new = self._conv_bn_relu(source, features, 2, f"{name}_0", f"{name}_1", train)
            maps = (*maps, new)
            for m in range(count):
                maps = module(self.blocks, self.dtype, name=f"stage{stage}_{m}")(maps, train)
        shape = (maps[0].shape[1], maps[0].shape[2])
        return jnp.concatenate([resize_align_corners(y, shape) for y in maps], axis=-1)

    def _conv_bn_relu(
        self, x: Array, features: int, stride: int, conv_name: str, bn_name: str, train: bool
    ) -> Array:
        x = conv(features, 3, stride=stride, name=conv_name, dtype=self.dtype)(x)
        return jax.nn.relu(batch_norm(name=bn_name, dtype=self.dtype, train=train)(x))
