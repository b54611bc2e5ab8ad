"""How text is found and read: two engines behind one seam, reading order, which frames are read, tracks over time."""
