"""How tubes and events are found: background, blobs, association, phases, and the second look at change."""
