"""What Reelmill is measured against: scripts that do the same light work without any of the house."""
