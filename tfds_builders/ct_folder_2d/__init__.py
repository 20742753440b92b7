"""2-D slices from a folder of NIfTI volumes and masks."""
