"""Synthetic CT: organs, lesions and what is between them."""
