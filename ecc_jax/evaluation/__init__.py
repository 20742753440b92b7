"""Evaluation step, its rollouts, and the methods that a network is read against."""
