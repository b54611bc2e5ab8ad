"""What every dialogue has to be, whatever it is about."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from reelmill.schemas.sample import Role, Sample


def form_faults(sample: Sample) -> list[str]:
    """Question and answer by turns, none of them empty, over frames in order of time."""
    roles = [t.role for t in sample.turns]
    if roles != [Role.USER, Role.ASSISTANT] * (len(roles) // 2) or not roles:
        return [f"turns are {[str(r) for r in roles]}, want a question and an answer by turns"]
    faults = [f"frame times of {sample.key} do not rise"] if _falls([f.at_s for f in sample.frames]) else []
    empty = [t.text for t in sample.turns if not t.text.strip()]
    return faults + (["an empty turn"] if empty else [])


def _falls(times_s: Sequence[float]) -> bool:
    return any(b <= a for a, b in pairwise(times_s))
