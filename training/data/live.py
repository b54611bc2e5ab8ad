r"""A dialogue while the clip plays, written down: a mark for each frame, and behind it what is said when it is seen.

After LIVE (VideoLLM-online, arXiv 2406.11816, section 3.1): replies are learned with what they begin with, so that it
is learned when to speak; behind every other frame, and behind a question that wants no reply at once, silence is due.

    PLAIN   <visual><visual><user>Tell me when it stops.<visual><visual><assistant>It stops.<eos><visual><user>
    silence         ^       ^                           ^       ^                                       ^
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import groupby

from reelmill.schemas.sample import Role, Turn
from reelmill.sinks.publishing.packed import PackedFrame, PackedStream
from reelmill.training.data.form import Form
from reelmill.training.data.wording import Written

_SLACK_S = 1e-6


@dataclass(slots=True)
class Script:
    """Text as it grows. `learned` are stretches of it; `silent` are places where silence should be said in place of the
    token that begins there; `slots` the numbers of its slot marks in order."""

    text: str
    learned: list[tuple[int, int]] = field(default_factory=list)
    silent: list[int] = field(default_factory=list)
    slots: list[tuple[str, tuple[float, ...]]] = field(default_factory=list)
    waits: bool = False
    """Whether whoever reads so far has to choose between a reply and silence."""

    def show(self, mark: str) -> None:
        """A frame, or the end of the stream: nothing was said before it where a reply might have been."""
        if self.waits:
            self.silent.append(len(self.text))
        self.text += mark
        self.waits = True

    def ask(self, before: str, written: Written, after: str) -> None:
        """A question: nobody is to reply to the frame before it."""
        self.show(before)
        self._write(written)
        self.text += after

    def reply(self, before: str, parts: Sequence[Written], end: str) -> None:
        """All that is said behind a frame, as one reply, with what it begins with."""
        start = len(self.text)
        self.text += before
        for number, written in enumerate(parts):
            self.text += " " if number else ""
            self._write(written)
        self.text += end
        self.learned.append((start, len(self.text)))
        self.waits = False

    def _write(self, written: Written) -> None:
        self.text += written.text
        self.slots += written.slots


def script(sample: PackedStream, shown: Sequence[PackedFrame], form: Form, write: Callable[[Turn], Written]) -> Script:
    """A stream over the frames that are shown; turns that no frame shows any more are left out."""
    made = Script(form.begin)
    for turns in behind([f.at_s for f in shown], sample):
        made.show(form.visual)
        for role, said in groupby(turns, key=lambda turn: turn.role):
            if role is Role.ASSISTANT:
                made.reply(form.reply, [write(turn) for turn in said], form.end)
                continue
            for turn in said:
                made.ask(form.user, write(turn), form.asked)
    if made.waits:
        made.show(form.marks[0])
    return made


def watched(sample: PackedStream, frame: PackedFrame) -> bool:
    """Whether a frame lies in the time in which the model watches."""
    return sample.watch_from_s - _SLACK_S <= frame.at_s < sample.watch_until_s


def behind(at_s: Sequence[float], sample: PackedStream) -> list[list[Turn]]:
    """What is said behind each frame: a turn waits for the first frame at or after its time, so that nothing is said of
    what no frame has shown. Turns after the last one are nowhere."""
    found: list[list[Turn]] = [[] for _ in at_s]
    for time_s, turn in zip(sample.turns_at_s, sample.turns, strict=True):
        place = bisect_left(at_s, time_s - _SLACK_S)
        if place < len(found):
            found[place].append(turn)
    return found
