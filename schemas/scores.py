"""Scores of a clip or picture, to filter and mix by. None is "not looked at", never a good or a bad mark."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ClipScores:
    """`motion` in [0, 1], `sharpness`, `luma` and `contrast` (its standard deviation) are those of `clip.ClipStats`.

    `text_share` is the part of the frame under lines of text, in [0, 1], weighed by how long each read frame stands;
    `text_share_most` that of the fullest frame. `aesthetic` is the mean over shown frames, on its head's own scale.
    """

    motion: float | None
    sharpness: float | None
    luma: float | None
    contrast: float | None
    text_share: float | None
    text_share_most: float | None
    aesthetic: float | None


@dataclass(frozen=True, slots=True)
class FrameMark:
    """What a check of the user's said of one shown frame: a label, and a score on its own scale."""

    frame: int
    at_s: float
    label: str
    score: float
