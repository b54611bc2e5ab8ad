"""How a model is reached: an engine knows no task."""
