"""Answers in coordinate tokens, read strictly: what does not parse is no answer, and is to be counted as wrong.

The grammar is that of LLaVA-ST (Li et al. 2025; its llava/constants.py and inference/src/utils.py): 100 tokens for each
axis, an interval in braces, a box in brackets as x0, y0, x1, y1, a tube as a list of `time: box`. Token i says i / 99.

>>> interval("It happens at {<TEMP-010><TEMP-099>}.")
(10, 99)
>>> interval("It happens at {<TEMP-010>}.") is None
True
"""

from __future__ import annotations

import re
from dataclasses import dataclass

TOKENS = 100
"""Tokens of each axis."""

_BOX = r"\[\s*<WIDTH-0(\d\d)>\s*<HEIGHT-0(\d\d)>\s*<WIDTH-0(\d\d)>\s*<HEIGHT-0(\d\d)>\s*\]"
_TIME = r"<TEMP-0(\d\d)>"
_INTERVAL = re.compile(rf"\{{\s*{_TIME}\s*{_TIME}\s*\}}")
_PLACE = re.compile(_BOX)
_STEP = re.compile(rf"{_TIME}\s*:\s*{_BOX}")
_ANY = re.compile(r"<(?:TEMP|WIDTH|HEIGHT)-")
_ELC = re.compile(rf"\s*Ends in {_TIME}, (?P<caption>.+?)\.? Object bounding box: (?P<tube>.+)", re.DOTALL)

Tokens = tuple[int, ...]
TokenTube = dict[int, Tokens]
"""x0, y0, x1, y1 by time, all in tokens."""


def token_of(share: float) -> int:
    """The token nearest to a place in [0, 1]; what lies outside is put at the nearer end.

    An error of at most 1 / 198 of the axis: half the distance of two tokens (defect D5 of the recipes' register).
    """
    return min(TOKENS - 1, max(0, round(share * (TOKENS - 1))))


def share_of(token: int) -> float:
    """The place in [0, 1] that a token says."""
    return token / (TOKENS - 1)


@dataclass(frozen=True, slots=True)
class EventAnswer:
    """An answer to ELC: the end, the whole caption with its commas, and the tube."""

    end: int
    caption: str
    tube: TokenTube


def interval(text: str) -> tuple[int, int] | None:
    """The one interval of an answer. None where there is none or more than one, or it ends before it begins."""
    found = _INTERVAL.findall(text)
    if len(found) != 1:
        return None
    start, end = (int(t) for t in found[0])
    return (start, end) if start <= end else None


def box(text: str) -> Tokens | None:
    """The one box of an answer. None where there is none or more than one, or its corners are swapped."""
    found = _PLACE.findall(text)
    return _upright(found[0]) if len(found) == 1 else None


def tube(text: str) -> TokenTube | None:
    """The tube of an answer. None where there is none, a time stands twice or does not rise, or a coordinate stands
    outside of it (an interval in braces excepted)."""
    steps = [(int(t), _upright(corners)) for t, *corners in _STEP.findall(text)]
    times = [t for t, _ in steps]
    if not steps or times != sorted(set(times)) or any(corners is None for _, corners in steps):
        return None
    if _ANY.search(_INTERVAL.sub("", _STEP.sub("", text))):
        return None
    return {t: corners for t, corners in steps if corners is not None}


def event(text: str) -> EventAnswer | None:
    """An answer to ELC in the published form: `Ends in TIME, CAPTION. Object bounding box: TUBE`. None for others."""
    match = _ELC.fullmatch(text)
    found = tube(match["tube"]) if match else None
    if match is None or found is None or _ANY.search(match["caption"]):
        return None
    return EventAnswer(int(match[1]), match["caption"].strip(), found)


def _upright(corners: list[str]) -> Tokens | None:
    x0, y0, x1, y1 = (int(c) for c in corners)
    return (x0, y0, x1, y1) if x0 <= x1 and y0 <= y1 else None
