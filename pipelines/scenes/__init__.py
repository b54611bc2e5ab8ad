"""Rendered scenes with exact truth, in the same schema as evidence."""
