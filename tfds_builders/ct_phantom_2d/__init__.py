"""2-D slices of synthetic CT volumes with lesions."""
