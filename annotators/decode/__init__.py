"""Reading frames by presentation time: one seam, several decoders, one isolated process."""
