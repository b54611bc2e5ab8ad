"""Numbers in [0, 1] to tokens and back: as text, as bins with their own rows, or as a distribution over anchors."""
