"""Liver tumours of LiTS17."""
