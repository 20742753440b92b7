"""Object-contextual representations (OCR) head for one object class."""

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import lax
from jaxtyping import Array, Float
from numpy.typing import DTypeLike

from ecc_jax.models.layers import batch_norm, conv


class ObjectContextBlock(nn.Module):
    """Attention from pixels to object regions, of which there is one.

    A softmax over one region is 1, so the query (`f_pixel`) and the key (`f_object`) of the
    original never reach the output and get no gradient. Their parameters are declared, so that
    published weights can be loaded and written back, but nothing is computed with them.
    """

    key_width: int
    dtype: DTypeLike

    @nn.compact
    def __call__(
        self, features: Float[Array, "b h w c"], context: Float[Array, "b 1 1 c"], *, train: bool
    ) -> Float[Array, "b 1 1 c"]:
        """Returns the object's description, transformed: the same at every pixel."""
        if self.is_initializing():
            for name, x in (("f_pixel", features), ("f_object", context)):
                self._transform(
                    self._transform(x, self.key_width, f"{name}_0", f"{name}_1_0", train),
                    self.key_width,
                    f"{name}_2",
                    f"{name}_3_0",
                    train,
                )
        width = context.shape[-1]
        value = self._transform(context, self.key_width, "f_down_0", "f_down_1_0", train)
        return self._transform(value, width, "f_up_0", "f_up_1_0", train)

    def _transform(
        self, x: Array, features: int, conv_name: str, bn_name: str, train: bool
    ) -> Array:
        x = conv(features, 1, name=conv_name, dtype=self.dtype)(x)
        # Few values per channel (one per image): the two-pass variance cannot cancel.
        norm = batch_norm(name=bn_name, dtype=self.dtype, train=train, use_fast_variance=False)
        return jax.nn.relu(norm(x))


class SpatialOCR(nn.Module):
    """Joins every pixel's features with the object's description."""

    width: int
    dropout: float
    dtype: DTypeLike

    @nn.compact
    def __call__(
        self, features: Float[Array, "b h w c"], context: Float[Array, "b 1 1 c"], *, train: bool
    ) -> Float[Array, "b h w c"]:
        """Returns features of the same width, with channel dropout in training."""
        block = ObjectContextBlock(self.width, self.dtype, name="object_context_block")
        context = jnp.broadcast_to(block(features, context, train=train), features.shape)
        x = jnp.concatenate([context, features], axis=-1)
        x = conv(features.shape[-1], 1, name="conv_bn_dropout_0", dtype=self.dtype)(x)
        x = batch_norm(name="conv_bn_dropout_1_0", dtype=self.dtype, train=train)(x)
        drop = nn.Dropout(self.dropout, broadcast_dims=(1, 2), deterministic=not train)
        return drop(jax.nn.relu(x))


class OCRHead(nn.Module):
    """Coarse scores, an object description pooled with them, and final scores.

    Attributes:
      ocr_width: Width of the attention; the features are twice as wide.
      dropout: Share of channels dropped in training.
      dtype: Type of the computation; both scores are float32.

    Source: isegm/model/modeling/ocr.py; Yuan et al., "Object-Contextual Representations", 2020.
    """

    ocr_width: int
    dropout: float
    dtype: DTypeLike

    @nn.compact
    def __call__(
        self, x: Float[Array, "b h w d"], *, train: bool
    ) -> tuple[Float[Array, "b h w 1"], Float[Array, "b h w 1"], Float[Array, "b h w f"]]:
        """Returns (logits, aux_logits, features), all at the size of `x`."""
        aux = conv(x.shape[-1], 1, use_bias=True, name="aux_head_0", dtype=self.dtype)(x)
        aux = jax.nn.relu(batch_norm(name="aux_head_1", dtype=self.dtype, train=train)(aux))
        # Scores are decided in float32: bfloat16 would round them to three digits.
        aux = conv(1, 1, use_bias=True, name="aux_head_3", dtype=jnp.float32)(aux)
        width = 2 * self.ocr_width
        y = conv(width, 3, use_bias=True, name="conv3x3_ocr_0", dtype=self.dtype)(x)
        y = jax.nn.relu(batch_norm(name="conv3x3_ocr_1", dtype=self.dtype, train=train)(y))
        ocr = SpatialOCR(self.ocr_width, self.dropout, self.dtype, name="ocr_distri_head")
        features = ocr(y, _pool(y, aux), train=train)
        logits = conv(1, 1, use_bias=True, name="cls_head", dtype=jnp.float32)(features)
        return logits, aux, features


def _pool(
    features: Float[Array, "b h w c"], scores: Float[Array, "b h w 1"]
) -> Float[Array, "b 1 1 c"]:
    """Returns the mean of the features, weighted by the softmax of the scores over all pixels."""
    weights = jax.nn.softmax(scores.astype(jnp.float32), axis=(1, 2))
    pooled = jnp.einsum(
        "bhwc,bhwk->bkc", features.astype(jnp.float32), weights, precision=lax.Precision.HIGHEST
    )
    return pooled[:, None].astype(features.dtype)
