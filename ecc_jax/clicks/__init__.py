"""Click encoding, disk radii and the simulated user."""
