"""Pancreas tumours of the Medical Segmentation Decathlon."""
