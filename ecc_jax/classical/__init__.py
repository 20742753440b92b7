"""Methods without a network: disk painter, flooding, random walker."""
