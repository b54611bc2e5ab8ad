"""How units become clips: shot changes, the frames that are shown, and cheap facts of frames."""
