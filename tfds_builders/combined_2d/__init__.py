"""Equal parts of lung, kidney, liver and pancreas."""
