"""The forms of the spatio-temporal view: what is known of a clip, and how each stage asks about it."""
