"""Classical one-click baselines."""
