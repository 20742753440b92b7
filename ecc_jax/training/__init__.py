"""Train step, state, schedule, checkpoints and loop."""
