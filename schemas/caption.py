"""A caption of a stretch of a clip, with the instants of the very frames that it was made from."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class PartCaption:
    """`scale` is 10 or 30 (seconds), or 0 for the whole clip; times are clip time, half-open `[start_s, end_s)`.

    `after` says that it tells what is different from the part before it.
    """

    scale_s: float
    start_s: float
    end_s: float
    text: str
    frames_s: tuple[float, ...]
    after: bool
