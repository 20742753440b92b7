"""Ways of running a network under the click loop."""
