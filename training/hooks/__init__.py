"""What changes the row between layers of the language model."""
