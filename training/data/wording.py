"""Turns in words: `<time>`, `<box>` and `<tube>` are written by codecs, from the numbers that a turn brings along.

Times become shares of the clip's duration and boxes shares of the medium's size, clipped to [0, 1]. A codec writes them
as words ("12.5"), or as slots with their numbers, for each of which one token stands in the text.

    "It is there during <time>."  (2.0, 4.0) of 8 s   ->  codec.spell((0.25, 0.5), (8.0, 8.0))
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from reelmill.schemas.errors import BadInput, Corrupt
from reelmill.schemas.sample import Role, Tubelet, Turn
from reelmill.schemas.tube import Box
from reelmill.sinks.publishing.packed import PackedGrounded, PackedSample
from reelmill.training.data.form import slot_mark
from reelmill.training.seams import Spelled

TIME, BOX = "time", "box"
"""Names of the codecs that write times and boxes."""
_Item = TypeVar("_Item")
_PLACE = re.compile("(<time>|<box>|<tube>)")


class Spells(Protocol):
    """The half of a codec that the data side needs."""

    @property
    def names(self) -> Sequence[str]:
        """Its slots."""
        ...

    def spell(self, values: Sequence[float], scale: Sequence[float]) -> Sequence[Spelled]: ...


@dataclass(frozen=True, slots=True)
class Written:
    """A text in which the mark of its name stands for each of `slots`, in order."""

    text: str
    slots: tuple[tuple[str, tuple[float, ...]], ...]


class Wording:
    """Writes the turns of one sample, in order; tubes are counted through all of them.

    `harmless` is applied to everything that the sample says, so that none of it reads as a token of the tokenizer.
    Raises BadInput where a place has no codec, Corrupt where numbers and places do not match.
    """

    def __init__(self, sample: PackedSample, codecs: Mapping[str, Spells], harmless: Callable[[str], str]) -> None:
        self.sample, self.codecs, self.harmless = sample, codecs, harmless
        self.tubes = iter(sample.tubes if isinstance(sample, PackedGrounded) else ())

    def written(self, turn: Turn) -> Written:
        """A turn with its numbers in their places."""
        times_s = turn.src_s if turn.role == Role.USER else turn.tgt_s
        spans = zip(times_s[::2], times_s[1::2], strict=True)
        boxes = iter(turn.boxes)
        spelled: list[Spelled] = []
        for part in _PLACE.split(turn.text):
            if part == "<time>":
                spelled += self._times(self._next(spans, part))
            elif part == "<box>":
                spelled += self._box(self._next(boxes, part))
            elif part == "<tube>":
                spelled += self._tube(self._next(self.tubes, part))
            elif part:
                spelled.append(self.harmless(part))
        if left := len(list(spans)):
            raise self._corrupt(f"{left} spans more than `<time>` in {turn.text[:60]!r}")
        return _joined(spelled)

    def _next(self, items: Iterator[_Item], place: str) -> _Item:
        for item in items:
            return item
        raise self._corrupt(f"more places {place} than numbers for them")

    def _corrupt(self, seen: str) -> Corrupt:
        return Corrupt(f"sample {self.sample.key}", seen=seen, do="run `reelmill verify`, then the view again")

    def _codec(self, name: str) -> Spells:
        if name not in self.codecs:
            seen = f"codecs for {', '.join(sorted(self.codecs)) or 'nothing'}"
            raise BadInput(f"sample {self.sample.key} has a place <{name}>", seen=seen, do=f"give a codec {name!r}")
        return self.codecs[name]

    def _times(self, times_s: Sequence[float]) -> list[Spelled]:
        duration_s = self.sample.media.duration_s
        if duration_s <= 0:
            raise self._corrupt("a time in a medium without duration")
        codec = self._codec(TIME)
        shares = [_clipped(t / duration_s) for t in times_s]
        return list(codec.spell(shares, [duration_s] * len(shares)))

    def _box(self, box: Box) -> list[Spelled]:
        width, height = float(self.sample.media.width_px), float(self.sample.media.height_px)
        scale = (width, height, width, height)
        corners = (box.x0_px, box.y0_px, box.x1_px, box.y1_px)
        shares = [_clipped(c / s) for c, s in zip(corners, scale, strict=True)]
        return list(self._codec(BOX).spell(shares, scale))

    def _tube(self, tube: Tubelet) -> list[Spelled]:
        """Each of its boxes after the time from which it holds, and the time until which the last one does."""
        parts: list[Spelled] = []
        for at_s, box in zip(tube.at_s, tube.boxes, strict=True):
            parts += [*self._times((at_s,)), " ", *self._box(box), "; "]
        return [*parts, *self._times((tube.end_s,))]


def _clipped(share: float) -> float:
    return min(max(share, 0.0), 1.0)


def _joined(spelled: Sequence[Spelled]) -> Written:
    text = "".join(s if isinstance(s, str) else slot_mark(s[0]) for s in spelled)
    return Written(text, tuple(s for s in spelled if not isinstance(s, str)))


def harmless(text: str, marks: Sequence[str]) -> str:
    """Foreign text in which no token of the tokenizer is spelled out: a space breaks it.

    >>> harmless("the sign says </s>", ["</s>"])
    'the sign says < /s>'
    """
    for mark in marks:
        if mark in text:
            text = text.replace(mark, f"{mark[0]} {mark[1:]}")
    return text
