"""Layers shared by the networks.

Submodules carry the names of the PyTorch originals, with list positions joined by underscores:
`fuse_layers.1.0.0` is `fuse_layers_1_0_0`. `pretrained.py` relies on it.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax import lax
from jaxtyping import Array, Float
from numpy.typing import DTypeLike

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
SCALE_INIT = 0.05
BATCH_NORM_MOMENTUM = 0.9

# Gaussian of variance 2 / ((fan_in + fan_out) / 2), "XavierGluon" with magnitude 2
# (isegm/model/initializer.py:65).
XAVIER_GLUON = nn.initializers.variance_scaling(2.0, "fan_avg", "normal")


def check_inputs(
    image: tuple[int, ...], guidance: tuple[int, ...], prev_mask: tuple[int, ...], *, train: bool
) -> None:
    """Checks the shapes of a network's inputs.

    Raises:
      ValueError: The shapes disagree, or a training batch has one row.
    """
    expected = ((*image[:3], 3), (*image[:3], max(2, guidance[-1])), (*image[:3], 1))
    if len(image) != 4 or (image, guidance, prev_mask) != expected:
        raise ValueError(
            "expected image [b h w 3], guidance [b h w 2 or more], prev_mask [b h w 1], got "
            f"{list(image)}, {list(guidance)}, {list(prev_mask)}; repeat a grey image to 3 channels"
        )
    if train and image[0] < 2:
        raise ValueError("training needs at least 2 rows per batch, got 1; raise the batch size")


def normalise_image(image: Float[Array, "b h w 3"]) -> Float[Array, "b h w 3"]:
    """Returns (image - mean) / std with the channel statistics of ImageNet, for images in [0, 1].

    Source: RITM, isegm/model/is_model.py (the networks it starts from were trained this way).
    """
    mean = np.asarray(IMAGENET_MEAN, np.float32).reshape(1, 1, 1, 3)
    std = np.asarray(IMAGENET_STD, np.float32).reshape(1, 1, 1, 3)
    return (image.astype(jnp.float32) - mean) / std


def conv(
    features: int,
    kernel: int,
    *,
    name: str,
    dtype: DTypeLike,
    stride: int = 1,
    use_bias: bool = False,
    groups: int = 1,
) -> nn.Conv:
    """Returns a square convolution with symmetric padding: stride s gives ceil(size / s).

    "SAME" would pad even sizes on one side only when the stride is 2, unlike PyTorch.
    """
    pad = kernel // 2
    pointwise = kernel == 1 and stride == 1 and groups == 1
    return nn.Conv(
        features,
        (kernel, kernel),
        strides=(stride, stride),
        padding=((pad, pad), (pad, pad)),
        feature_group_count=groups,
        use_bias=use_bias,
        dtype=dtype,
        kernel_init=XAVIER_GLUON,
        conv_general_dilated=_pointwise_conv if pointwise else lax.conv_general_dilated,
        name=name,
    )


def _pointwise_conv(x: Array, kernel: Array, *_: Any, **options: Any) -> Array:
    """Convolves with a 1x1 kernel as a matrix product.

    Same numbers, but the kernel's gradient becomes a matrix product too. As a convolution it is
    one with a window of the size of the image, which XLA runs two to three times slower on CPU.
    """
    return lax.dot_general(
        x, kernel[0, 0], (((3,), (0,)), ((), ())), precision=options.get("precision")
    )


def batch_norm(
    *, name: str, dtype: DTypeLike, train: bool, use_fast_variance: bool = True
) -> nn.BatchNorm:
    """Returns batch normalisation with the constants of the originals.

    Flax momentum 0.9 is PyTorch momentum 0.1. Flax keeps the biased variance, PyTorch the
    unbiased one; both normalise with the biased one, so only the running value differs, by
    n / (n - 1) over n pixels.
    """
    return nn.BatchNorm(
        use_running_average=not train,
        momentum=BATCH_NORM_MOMENTUM,
        epsilon=1e-5,
        dtype=dtype,
        use_fast_variance=use_fast_variance,
        name=name,
    )


class ScaleLayer(nn.Module):
    """Multiplies by the absolute value of one learned number, 0.05 at the start."""

    @nn.compact
    def __call__(self, x: Float[Array, "*shape c"]) -> Float[Array, "*shape c"]:
        """Returns x * |multiplier|."""
        multiplier = self.param("multiplier", nn.initializers.constant(SCALE_INIT), (1,))
        return x * jnp.abs(multiplier)[0].astype(x.dtype)


class BasicBlock(nn.Module):
    """Two 3x3 convolutions with a shortcut.

    Attributes:
      dtype: Type of the computation.
      planes: Channels of the output; 0 keeps those of the input.
      stride: Of the first convolution.
    """

    dtype: DTypeLike
    planes: int = 0
    stride: int = 1

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], *, train: bool) -> Float[Array, "b h2 w2 d"]:
        """Returns relu(shortcut(x) + f(x)); the shortcut is a convolution where shapes differ."""
        y = x
        features = self.planes or x.shape[-1]
        for index, stride in ((1, self.stride), (2, 1)):
            y = conv(features, 3, stride=stride, name=f"conv{index}", dtype=self.dtype)(y)
            y = batch_norm(name=f"bn{index}", dtype=self.dtype, train=train)(y)
            if index == 1:
                y = jax.nn.relu(y)
        return jax.nn.relu(_shortcut(x, features, self.stride, self.dtype, train=train) + y)


class Bottleneck(nn.Module):
    """1x1, 3x3, 1x1 convolutions with a shortcut; the output is four times `planes` wide.

    The 3x3 convolution carries the stride, as in torchvision.
    """

    planes: int
    dtype: DTypeLike
    stride: int = 1

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], *, train: bool) -> Float[Array, "b h2 w2 d"]:
        """Returns relu(shortcut(x) + f(x)); the shortcut is a convolution where shapes differ."""
        y = x
        widths = (self.planes, self.planes, 4 * self.planes)
        for index, (features, kernel) in enumerate(zip(widths, (1, 3, 1), strict=True), start=1):
            stride = self.stride if kernel == 3 else 1
            y = conv(features, kernel, stride=stride, name=f"conv{index}", dtype=self.dtype)(y)
            y = batch_norm(name=f"bn{index}", dtype=self.dtype, train=train)(y)
            if index < 3:
                y = jax.nn.relu(y)
        return jax.nn.relu(_shortcut(x, widths[-1], self.stride, self.dtype, train=train) + y)


def _shortcut(
    x: Float[Array, "b h w c"], features: int, stride: int, dtype: DTypeLike, *, train: bool
) -> Float[Array, "b h2 w2 d"]:
    """Returns what a block adds to: its input, in the shape of its output."""
    if x.shape[-1] == features and stride == 1:
        return x
    x = conv(features, 1, stride=stride, name="downsample_0", dtype=dtype)(x)
    return batch_norm(name="downsample_1", dtype=dtype, train=train)(x)
