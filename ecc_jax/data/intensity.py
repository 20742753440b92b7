"""Random changes of grey values in training, on the device, for windowed images."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key


def vary_intensity(
    keys: Key[Array, " b"],
    image: Float[Array, "b h w"],
    *,
    contrast: float = 0.0,
    brightness: float = 0.0,
    gamma: float = 0.0,
    noise: float = 0.0,
    invert_prob: float = 0.0,
) -> Float[Array, "b h w"]:
    """Returns images with random inversion, gamma, contrast, brightness, noise, in this order.

    A handful of patients differ so clearly in their grey values that a network learns to tell
    them apart and to remember where each one's lesion is. These changes take that away.

    Every strength is drawn per image; 0 switches its change off. With all of them 0 the image
    comes back as it is.

    Args:
      keys: One PRNG key per row.
      image: Windowed images in [0, 1].
      contrast: Distances from mid-grey are multiplied by exp(u), u uniform in ±contrast.
      brightness: A uniform number in ±brightness is added.
      gamma: Values are raised to exp(u), u uniform in ±gamma.
      noise: Independent Gaussian noise, its standard deviation uniform in [0, noise].
      invert_prob: Probability that black and white change places.

    Returns:
      Images in [0, 1].

    Raises:
      ValueError: If a strength is negative, or the probability is none.

    Source: the thesis changes geometry only; this is the usual intensity augmentation of medical
      segmentation (nnU-Net, supplement section 2), on the fixed window instead of z-scores.
    """
    strengths = (contrast, brightness, gamma, noise)
    if min(strengths) < 0:
        raise ValueError(f"intensity strengths must be at least 0, got {strengths}")
    if not 0 <= invert_prob <= 1:
        raise ValueError(f"invert_prob must be a probability in [0, 1], got {invert_prob}")
    if not any((*strengths, invert_prob)):
        return image

    def vary(key: Array, x: Float[Array, "h w"]) -> Float[Array, "h w"]:
        draws = jax.random.split(key, 6)
        uniform = [jax.random.uniform(k, minval=-1.0) for k in draws[:3]]
        x = jnp.where(jax.random.bernoulli(draws[5], invert_prob), 1.0 - x, x)
        x = jnp.power(x, jnp.exp(gamma * uniform[0]))
        x = 0.5 + (x - 0.5) * jnp.exp(contrast * uniform[1]) + brightness * uniform[2]
        spread = noise * jax.random.uniform(draws[3])
        return jnp.clip(x + spread * jax.random.normal(draws[4], x.shape), 0.0, 1.0)

    return jax.vmap(vary)(keys, image)


def vary_colour(
    keys: Key[Array, " b"], image: Float[Array, "b h w"], *, colour_prob: float
) -> Float[Array, "b h w 3"]:
    """Returns images in three channels with RITM's changes of brightness, contrast and colour.

    With the given probability each: values are multiplied by 0.85 to 1.4 and shifted by up to a
    quarter of the window; then each channel is shifted by up to 10/255 of its own.

    Args:
      keys: One PRNG key per row.
      image: Windowed images in [0, 1].
      colour_prob: Probability of each of the two.

    Returns:
      Images in [0, 1].

    Raises:
      ValueError: If the probability is none.

    Source: the thesis (section 3.1) removes RandomBrightnessContrast and RGBShift of RITM and
      FocalClick, which had a probability of 0.75 each; this is what it removed. Values here are
      not rounded to 255ths.
    """
    if not 0 <= colour_prob <= 1:
        raise ValueError(f"colour_prob must be a probability in [0, 1], got {colour_prob}")

    def vary(key: Array, x: Float[Array, "h w"]) -> Float[Array, "h w 3"]:
        draws = jax.random.split(key, 5)
        is_changed = jax.random.bernoulli(draws[0], colour_prob)
        factor = jax.random.uniform(draws[1], minval=0.85, maxval=1.4)
        offset = jax.random.uniform(draws[2], minval=-0.25, maxval=0.25)
        x = jnp.where(is_changed, jnp.clip(x * factor + offset, 0.0, 1.0), x)[..., None]
        is_shifted = jax.random.bernoulli(draws[3], colour_prob)
        shift = jax.random.uniform(draws[4], (1, 1, 3), minval=-10 / 255, maxval=10 / 255)
        return jnp.where(is_shifted, jnp.clip(x + shift, 0.0, 1.0), x)

    return jax.vmap(vary)(keys, image)
