"""How samples leave the house: each published layout of other projects is a module of pure conversions."""
