"""Readers of existing annotated sets: one module per set or format, each with a function `read`."""
