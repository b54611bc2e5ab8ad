"""Does a finished dialogue of the spatio-temporal view say what is so? Its words, times, boxes and tubes are read here
against the true tubes and events of its clip, and nothing of the view is used: subjects, qualities, verbs and numbers
are found again in the text.

    Q "When does the larger red circle move?"  A "At <time>." (0.4, 2.0)
    of the red circles the larger one is t1; t1 moves once, [0.4, 2.0)   ->   []
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from statistics import median

from reelmill.schemas.event import Event, EventKind
from reelmill.schemas.sample import GroundedSample, Role, Tubelet, Turn
from reelmill.schemas.span import Span
from reelmill.schemas.tube import Box, Tube

_ONE_FRAME_S = 1e-3  # nearer than two frames of any video lie to each other
_VERBS = {
    EventKind.ENTERS: r"enter(?:s|ing)? the frame",
    EventKind.LEAVES: r"leav(?:e|es|ing) the frame",
    EventKind.STOPS: r"stop(?:s|ping)? and stay(?:s|ing)? where it is",
    EventKind.MOVES: r"mov(?:e|es|ing)\b",
}
_VERB = re.compile("|".join(f"(?P<{kind}>{form})" for kind, form in _VERBS.items()))
_ORDINALS = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth")
_NUMBERS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
_AGAIN = re.compile(rf"for the ({'|'.join(_ORDINALS)}) time")
_BEFORE = "larger|largest|smaller|smallest|leftmost|rightmost|uppermost|lowest"
_COLOURS = "red|orange|yellow|green|blue|purple|pink|white|black|grey|brown"
_DENIAL = re.compile(r"\b(?:not|never|no)\b", re.IGNORECASE)
_EMPTY = frozenset(
    ("the", "a", "an", "object", "thing", "shape", "large", "small", "dark", "light", "at", "in", "on")
) | {"left", "right", "top", "bottom", "middle"}
_VAGUE = rf"(?:(?:large|small) )?(?:(?:dark|light) )?(?:(?:{_COLOURS}) )?(?:object|thing)"


@dataclass(frozen=True)
class Truth:
    """What is so in one clip, in clip time and pixels of the medium, and how far a time or a box may be off."""

    tubes: Sequence[Tube]
    events: Sequence[Event]
    slack_s: float = 1e-6
    least_iou: float = 0.999

    def box(self, tube: Tube, at_s: float) -> Box | None:
        found = [b for t, b in zip(tube.at_s, tube.boxes, strict=True) if abs(t - at_s) < _ONE_FRAME_S]
        return found[0] if found and found[0].area_px > 0 else None

    def times(self, tube: Tube, kind: EventKind) -> list[Span]:
        spans = [e.span for e in self.events if e.subject_id == tube.tube_id and e.kind is kind]
        return sorted(spans, key=lambda s: (s.start_s, s.end_s))

    def same(self, one: Span, other: Span) -> bool:
        return max(abs(one.start_s - other.start_s), abs(one.end_s - other.end_s)) <= self.slack_s


@dataclass(frozen=True)
class Said:
    """A thing that a text names, and where the words for it stand."""

    noun: str
    quality: str
    begin: int
    end: int


@dataclass
class Reader:
    """One sample against the truth. `faults` gathers what is wrong; a method returns None where it found a fault."""

    sample: GroundedSample
    truth: Truth
    faults: list[str] = field(default_factory=list)

    def wrong(self, why: str) -> None:
        self.faults.append(why)

    # ---- words ----

    def named(self, text: str) -> list[Said]:
        """Things that a text names, in order: a noun that any true phrase has, or less than that ("the red object"),
        and at most one quality."""
        nouns = sorted({_noun(t.phrase) for t in self.truth.tubes}, key=lambda n: (-len(n), n))
        noun = "|".join([*map(re.escape, nouns), _VAGUE])
        form = rf"\b(?:the|an?) (?:({_BEFORE}) )?({noun})\b(?: that appears (first|last)\b)?"
        return [
            Said(m[2].lower(), (m[1] or m[3] or "").lower(), m.start(), m.end())
            for m in re.finditer(form, text, re.IGNORECASE)
        ]

    def fitting(self, said: Said, at_s: Sequence[float], among: Sequence[Tube]) -> list[Tube]:
        """Tubes of `among` that words fit, in the shown frames at `at_s`."""
        found = [t for t in among if _may_be(said.noun, _noun(t.phrase))]
        return [t for t in found if self._has(said.quality, t, found, at_s)] if said.quality else found

    def meant(self, said: Said, at_s: Sequence[float], among: Sequence[Tube]) -> Tube | None:
        """The one tube that words fit."""
        found = self.fitting(said, at_s, among)
        if len(found) != 1:
            self.wrong(f"{said.quality} {said.noun!r} fits {len(found)} things")
            return None
        return found[0]

    def _has(self, quality: str, tube: Tube, fitting: Sequence[Tube], at_s: Sequence[float]) -> bool:
        others = [t for t in fitting if t is not tube]
        if quality in ("first", "last"):
            sign = 1 if quality == "first" else -1
            return all(sign * (o.at_s[0] - tube.at_s[0]) > 0 for o in others)
        measure, sign = _MEASURES[quality]
        return bool(others) and all(self._exceeds(tube, o, at_s, measure, sign) for o in others)

    def _exceeds(
        self, tube: Tube, other: Tube, at_s: Sequence[float], measure: Callable[[Box], float], sign: int
    ) -> bool:
        pairs = [(a, b) for t in at_s if (a := self.truth.box(tube, t)) and (b := self.truth.box(other, t))]
        if measure is _area:
            return bool(pairs) and sign * (median(_area(a) for a, _ in pairs) - median(_area(b) for _, b in pairs)) > 0
        return bool(pairs) and all(sign * (measure(a) - measure(b)) > 0 for a, b in pairs)

    def shown_s(self, span: Span) -> list[float]:
        return [f.at_s for f in self.sample.frames if span.start_s - 1e-4 < f.at_s < span.end_s - 1e-4]

    def during(self, span: Span) -> tuple[list[float], list[Tube]]:
        return self.shown_s(span), [t for t in self.truth.tubes if t.span.overlap_s(span) > 0]

    @property
    def whole(self) -> Span:
        media = self.sample.media
        return Span(0.0, min(media.duration_s, media.span.duration_s if media.span else media.duration_s))

    def act(self, text: str, span: Span) -> Span | None:
        """When that happens which a text names: one thing, one verb, and which time if it does so often."""
        said, verb = self.named(text), _VERB.search(text)
        if len(said) != 1 or verb is None:
            self.wrong(f"{len(said)} things and {'a' if verb else 'no'} verb in {text!r}")
            return None
        tube = self.meant(said[0], *self.during(span))
        if tube is None:
            return None
        times = self.truth.times(tube, EventKind(str(verb.lastgroup)))
        again = _AGAIN.search(text)
        number = _ORDINALS.index(again[1]) if again else 0
        if number >= len(times) or (again is None and len(times) != 1):
            self.wrong(f"{text!r}: it does so {len(times)} times")
            return None
        return times[number]

    # ---- places ----

    def check_tube(self, tubelet: Tubelet, tube: Tube, span: Span) -> None:
        """A box of this thing at every shown frame of the span that has one, and at no other time."""
        want = [(t, b) for t in self.shown_s(span) if (b := self.truth.box(tube, t)) is not None]
        if [t for t, _ in want] != list(tubelet.at_s) or abs(tubelet.end_s - span.end_s) > self.truth.slack_s:
            self.wrong(f"the tube has boxes at {tubelet.at_s} until {tubelet.end_s}, want {[t for t, _ in want]}")
            return
        for (at_s, box), told in zip(want, tubelet.boxes, strict=True):
            if box.iou(told) < self.truth.least_iou:
                self.wrong(f"at {at_s} s it is at {box}, told {told}")

    def check_box(self, box: Box, tube: Tube, at_s: float) -> None:
        true = self.truth.box(tube, at_s)
        if true is None or true.iou(box) < self.truth.least_iou:
            self.wrong(f"at {at_s} s it is at {true}, told {box}")

    def at_box(self, box: Box, at_s: float) -> Tube | None:
        here = [t for t in self.truth.tubes if (b := self.truth.box(t, at_s)) and b.iou(box) >= self.truth.least_iou]
        if len(here) != 1:
            self.wrong(f"{len(here)} things lie at {box} at {at_s} s")
            return None
        return here[0]


def _area(box: Box) -> float:
    return box.area_px


def _x(box: Box) -> float:
    return box.centre_px[0]


def _y(box: Box) -> float:
    return box.centre_px[1]


_MEASURES: dict[str, tuple[Callable[[Box], float], int]] = {
    "larger": (_area, 1),
    "largest": (_area, 1),
    "smaller": (_area, -1),
    "smallest": (_area, -1),
    "leftmost": (_x, -1),
    "rightmost": (_x, 1),
    "uppermost": (_y, -1),
    "lowest": (_y, 1),
}


def _noun(phrase: str) -> str:
    return phrase.lower().removeprefix("the ")


def _may_be(one: str, other: str) -> bool:
    first, second = set(one.split()) - _EMPTY, set(other.split()) - _EMPTY
    return not first - second or not second - first


def check_st_align(
    sample: GroundedSample,
    tubes: Sequence[Tube],
    events: Sequence[Event],
    slack_s: float = 1e-6,
    least_iou: float = 0.999,
) -> list[str]:
    """What is wrong with a sample, given every true tube and event of its clip; empty where all is right.

    `slack_s` is how far a time may be off and `least_iou` how well a box must fit: the two things to loosen for labels
    that a tracker made.
    """
    reader = Reader(sample, Truth(tubes, events, slack_s, least_iou))
    for fault in _form_faults(sample):
        reader.wrong(fault)
    if not reader.faults:
        rounds = list(zip(sample.turns[0::2], sample.turns[1::2], strict=True))
        if sample.task != "tgc" and len(rounds) != 1:
            reader.wrong(f"{len(rounds)} rounds, want 1")
        for question, answer in rounds:
            _CHECKS[sample.task](reader, question, answer)
    return reader.faults


def _form_faults(sample: GroundedSample) -> Iterable[str]:
    """D3, D4: a pair, box or tube for each placeholder, times inside the clip, boxes inside the frame."""
    roles = [t.role for t in sample.turns]
    if not roles or roles != [Role.USER, Role.ASSISTANT] * (len(roles) // 2):
        yield f"turns are {[str(r) for r in roles]}"
    if sum(t.text.count("<tube>") for t in sample.turns) != len(sample.tubes):
        yield f"{len(sample.tubes)} tubes for the <tube> of the text"
    for turn in sample.turns:
        yield from _turn_faults(turn, sample)
    for tubelet in sample.tubes:
        edges = [*tubelet.at_s, tubelet.end_s]
        if len(tubelet.at_s) != len(tubelet.boxes) or not tubelet.boxes or any(b <= a for a, b in pairwise(edges)):
            yield f"a tube with {len(tubelet.boxes)} boxes at {tubelet.at_s} until {tubelet.end_s}"


def _turn_faults(turn: Turn, sample: GroundedSample) -> Iterable[str]:
    own, other = (turn.src_s, turn.tgt_s) if turn.role is Role.USER else (turn.tgt_s, turn.src_s)
    if not turn.text.strip():
        yield "an empty turn"
    if other or len(own) != 2 * turn.text.count("<time>"):
        yield f"{len(own)} numbers for {turn.text.count('<time>')} times in {turn.text!r}"
    if turn.text.count("<box>") != len(turn.boxes):
        yield f"{len(turn.boxes)} boxes for {turn.text!r}"
    yield from (
        f"[{s}, {e}) is no time of the clip" for s, e in _pairs(own) if not 0 <= s < e <= sample.media.duration_s
    )
    size = sample.media.width_px, sample.media.height_px
    yield from (f"{b} in a frame of {size}" for b in turn.boxes if b.area_px <= 0 or b.clipped(*size) != b)


def _pairs(flat_s: Sequence[float]) -> list[tuple[float, float]]:
    return list(zip(flat_s[0::2], flat_s[1::2], strict=False))


def _span(flat_s: Sequence[float]) -> Span:
    return Span(flat_s[0], flat_s[1])


# ---- one check per task ----------------------------------------------------------------------------------------------


def _when(reader: Reader, question: Turn, answer: Turn) -> None:
    """TVG, STVG and what is absent: a time and perhaps a tube, or a denial of what is nowhere."""
    if not answer.tgt_s:
        _denied(reader, question, answer)
        return
    span, told = reader.act(question.text, reader.whole), _span(answer.tgt_s)
    if span is not None and not reader.truth.same(span, told):
        reader.wrong(f"{question.text!r} is at {span}, answered {told}")
    elif span is not None and reader.sample.tubes:
        _follow(reader, question.text, reader.whole, told)


def _follow(reader: Reader, text: str, during: Span, span: Span) -> None:
    tube = reader.meant(reader.named(text)[0], *reader.during(during))
    if tube is not None:
        reader.check_tube(reader.sample.tubes[0], tube, span)


def _denied(reader: Reader, question: Turn, answer: Turn) -> None:
    if not _DENIAL.search(answer.text):
        reader.wrong(f"no time and no denial: {answer.text!r}")
    elif _happens(reader, question.text):
        reader.wrong(f"{question.text!r} does happen, answered {answer.text!r}")


def _happens(reader: Reader, text: str) -> bool:
    """Whether anything that the words fit does what they say. A noun that no thing has does nothing."""
    said, verb = reader.named(text), _VERB.search(text)
    if verb is None:
        reader.wrong(f"no verb in {text!r}")
        return False
    if not said or not reader.fitting(said[0], *reader.during(reader.whole)):
        return False
    tube = reader.meant(said[0], *reader.during(reader.whole))
    return tube is not None and bool(reader.truth.times(tube, EventKind(str(verb.lastgroup))))


def _what(reader: Reader, question: Turn, answer: Turn) -> None:
    """TR: the named event has the interval, and no other comes near it."""
    asked = _span(question.src_s)
    span = reader.act(answer.text, asked)
    if span is not None and not reader.truth.same(span, asked):
        reader.wrong(f"{answer.text!r} is at {span}, asked about {asked}")
    near = [e for e in reader.truth.events if e.span.tiou(asked) >= 0.5]
    if len(near) != 1:
        reader.wrong(f"{len(near)} events fill {asked}")


def _where(reader: Reader, question: Turn, answer: Turn) -> None:
    """SVG."""
    del answer
    asked = _span(question.src_s)
    span = reader.act(question.text, asked)
    if span is not None and not reader.truth.same(span, asked):
        reader.wrong(f"{question.text!r} is at {span}")
    elif span is not None:
        _follow(reader, question.text, asked, asked)


def _until(reader: Reader, question: Turn, answer: Turn) -> None:
    """ELC: the start and the box belong to one event of one thing, and the answer to the same."""
    told = _span(answer.tgt_s)
    span = reader.act(answer.text, told)
    if span is None:
        return
    if not reader.truth.same(span, told) or abs(question.src_s[0] - span.start_s) > reader.truth.slack_s:
        reader.wrong(f"{answer.text!r} is at {span}, told from {question.src_s[0]} to {told.end_s}")
    tubelet = reader.sample.tubes[0]
    if question.src_s[1] != (tubelet.at_s[1] if len(tubelet.at_s) > 1 else told.end_s):
        reader.wrong(f"the question's interval ends at {question.src_s[1]}")
    _follow(reader, answer.text, told, told)
    tube = reader.at_box(question.boxes[0], tubelet.at_s[0])
    starts = [e for e in reader.truth.events if tube and e.subject_id == tube.tube_id]
    if sum(abs(e.span.start_s - question.src_s[0]) < 0.25 for e in starts) != 1:
        reader.wrong(f"the start {question.src_s[0]} does not tell which event is meant")


def _everything(reader: Reader, question: Turn, answer: Turn) -> None:
    """DVC: every event once with its interval, in order."""
    del question
    lines, told = answer.text.split("\n"), [Span(*p) for p in _pairs(answer.tgt_s)]
    if len(lines) != len(told) or len(lines) != len(reader.truth.events):
        reader.wrong(f"{len(lines)} lines, {len(told)} times, {len(reader.truth.events)} events")
        return
    for line, time in zip(lines, told, strict=True):
        span = reader.act(line, reader.whole)
        if span is not None and not reader.truth.same(span, time):
            reader.wrong(f"{line!r} is at {span}, told {time}")
    if len(set(lines)) != len(lines):
        reader.wrong("an event is told twice")
    if [t.start_s for t in told] != sorted(t.start_s for t in told):
        reader.wrong("the events are not in order")


def _caption(reader: Reader, question: Turn, answer: Turn) -> None:
    """VC: a sentence for each thing with events, with all that it does."""
    del question
    sentences = [s for s in re.split(r"(?<=\.)\s+", answer.text) if s]
    told = [_deeds(reader, sentence) for sentence in sentences]
    want = {e.subject_id for e in reader.truth.events}
    if {t.tube_id for t in told if t} != want or len(told) != len(want):
        reader.wrong(f"{len(told)} sentences about {len(want)} things")


def _deeds(reader: Reader, sentence: str) -> Tube | None:
    """The thing of a sentence that says all that this thing does, in order."""
    said = reader.named(sentence)
    tube = reader.meant(said[0], *reader.during(reader.whole)) if said else None
    if tube is not None:
        _same_deeds(reader, tube, sentence)
    return tube


def _same_deeds(reader: Reader, tube: Tube, text: str) -> None:
    told = [EventKind(str(m.lastgroup)) for m in _VERB.finditer(text)]
    events = [e for e in reader.truth.events if e.subject_id == tube.tube_id]
    true = [e.kind for e in sorted(events, key=lambda e: (e.span.start_s, e.span.end_s, e.kind))]
    if told != true:
        reader.wrong(f"{text!r} tells {told}, true is {true}")


def _does(reader: Reader, question: Turn, answer: Turn) -> None:
    """Open question: all that the thing does."""
    said = reader.named(question.text)
    tube = reader.meant(said[0], *reader.during(reader.whole)) if said else None
    if tube is None:
        reader.wrong(f"nothing named in {question.text!r}")
    else:
        _same_deeds(reader, tube, answer.text)


def _attribute(reader: Reader, question: Turn, answer: Turn) -> None:
    """A number of things that do something, or the colour of one."""
    if "colour" in question.text.lower():
        bare = re.search(r"\bthe ([a-z ]+?)(?: have| is)?(?: in this video)?[.?]", question.text.split("olour ")[1])
        words = set(bare[1].split()) - _EMPTY - {"of"} if bare else set()
        fitting = [t for t in reader.truth.tubes if words - _EMPTY <= set(t.phrase.split())]
        told = re.findall(_COLOURS, answer.text.lower())
        if len(fitting) != 1 or told != [w for w in fitting[0].phrase.split() if re.fullmatch(_COLOURS, w)]:
            reader.wrong(f"{len(fitting)} things are {words}, told {told}")
        return
    verb = re.search(r"enter|leave|move", question.text)
    stem = {"enter": EventKind.ENTERS, "leave": EventKind.LEAVES, "move": EventKind.MOVES}
    who = {e.subject_id for e in reader.truth.events if verb and e.kind is stem[verb[0]]}
    if verb is None or answer.text.split()[0].strip(".").lower() != _NUMBERS[len(who)]:
        reader.wrong(f"{question.text!r}: {len(who)}, told {answer.text!r}")


def _yes_no(reader: Reader, question: Turn, answer: Turn) -> None:
    said = re.match(r"(yes|no)\b", answer.text.lower())
    happens = _happens(reader, question.text)
    if said is None or (said[1] == "yes") is not happens:
        reader.wrong(f"{question.text!r} is {happens}, told {answer.text!r}")


def _refer(reader: Reader, question: Turn, answer: Turn) -> None:
    """REC and REG: words on one side and a box on the other."""
    worded, boxed = (answer, question) if question.boxes else (question, answer)
    at_s = reader.sample.frames[0].at_s
    said = reader.named(worded.text)
    if not said or any(s.quality in ("first", "last") for s in said):
        reader.wrong(f"{worded.text!r} names no thing of a picture")
        return
    tube = reader.meant(said[0], [at_s], [t for t in reader.truth.tubes if reader.truth.box(t, at_s)])
    if tube is not None and len(boxed.boxes) == 1:
        reader.check_box(boxed.boxes[0], tube, at_s)
    elif tube is not None:
        reader.wrong(f"{len(boxed.boxes)} boxes, want 1")


def _picture(reader: Reader, question: Turn, answer: Turn) -> None:
    """IC and DGC: every thing in the frame once, where it is, with its own box where boxes are asked for."""
    del question
    at_s, text = reader.sample.frames[0].at_s, answer.text
    left = [t for t in reader.truth.tubes if reader.truth.box(t, at_s)]
    said = reader.named(text)
    if len(said) != len(left) or (reader.sample.task == "dgc" and len(answer.boxes) != len(said)):
        reader.wrong(f"{len(said)} things and {len(answer.boxes)} boxes told, {len(left)} are there")
        return
    options = []
    for i, one in enumerate(said):
        place = text[one.end : said[i + 1].begin if i + 1 < len(said) else len(text)]
        box = answer.boxes[i] if answer.boxes else None
        fit = [t.tube_id for t in left if _may_be(one.noun, _noun(t.phrase)) and _fits(reader, t, at_s, place, box)]
        options.append(fit)
    if not _assigned(options, frozenset()):
        reader.wrong(f"{text!r} does not tell where each thing is")


def _assigned(options: Sequence[Sequence[str]], taken: frozenset[str]) -> bool:
    """Whether each place can be given an option of its own."""
    if not options:
        return True
    return any(_assigned(options[1:], taken | {o}) for o in options[0] if o not in taken)


def _fits(reader: Reader, tube: Tube, at_s: float, place: str, told: Box | None) -> bool:
    """Left is the left half, top the upper one, and the middle is within three tenths of the edges."""
    box, media = reader.truth.box(tube, at_s), reader.sample.media
    assert box is not None, "only things in the frame are asked about"
    x, y = box.centre_px[0] / media.width_px, box.centre_px[1] / media.height_px
    words = set(re.findall(r"left|right|top|bottom|middle", place))
    sides = {"left": x < 0.5, "right": x > 0.5, "top": y < 0.5, "bottom": y > 0.5}
    holds = all(sides[w] for w in words & sides.keys()) and bool(words)
    central = "middle" not in words or (0.3 < x < 0.7 and 0.3 < y < 0.7)
    return holds and central and (told is None or box.iou(told) >= reader.truth.least_iou)


def _round(reader: Reader, question: Turn, answer: Turn) -> None:
    """TGC: each round is a question of its own."""
    (_what if question.src_s else _when)(reader, question, answer)


_CHECKS: dict[str, Callable[[Reader, Turn, Turn], None]] = {
    "vc": _caption,
    "ic": _picture,
    "vqa_open": _does,
    "vqa_attribute": _attribute,
    "vqa_yes_no": _yes_no,
    "rec": _refer,
    "reg": _refer,
    "tvg": _when,
    "tr": _what,
    "dvc": _everything,
    "dgc": _picture,
    "tgc": _round,
    "stvg": _when,
    "svg": _where,
    "elc": _until,
    "absent": _denied,
}
