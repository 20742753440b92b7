"""Interactive tumour segmentation in CT with dynamic radius disks."""

__version__ = "0.1.0"
