"""Array primitives that know nothing of clicks."""
