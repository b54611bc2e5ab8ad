"""Which crops of a picture the tower sees: pure functions of its width and height."""
