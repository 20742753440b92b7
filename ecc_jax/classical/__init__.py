"""Methods without a network: disk painter, flooding, active contours, random walker."""
