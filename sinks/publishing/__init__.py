"""How a pack is made and checked: the published sample, frames, cuts, and the swap that shows it all at once."""
