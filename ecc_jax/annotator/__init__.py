"""Press, drag, release in a browser on a whole CT volume: `python -m ecc_jax.annotator`."""
