"""Slices, input pipeline, windowing and augmentation."""
