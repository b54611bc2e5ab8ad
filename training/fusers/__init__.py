"""Several views of the same frames as one: the first is what the others add to."""
