"""What we make: one file per recipe; the machinery that runs them is underscored."""
