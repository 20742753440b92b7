"""Kidney tumours of KiTS23."""
