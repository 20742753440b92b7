"""Evaluation step, loop and report."""
