"""Is a finished stream right, and does it keep its mouth shut? Only its words and times are read, against the truth.

The compiler is not used: what was asked, of whom, and what was answered are found again in the text, and from the true
events follows when an answer is due and what it may say. An answer that is late, early, missing or about the future is
a fault, and so is one that nobody waits for: silence is a label too.

>>> clock_words("It moves 12s after the start."), clock_words("The second circle is at rest.")
(['12s'], [])
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from reelmill.schemas.event import Event, EventKind
from reelmill.schemas.sample import Role, StreamSample, Turn
from reelmill.schemas.span import Span

_ENTERS, _LEAVES, _MOVES, _STOPS = EventKind.ENTERS, EventKind.LEAVES, EventKind.MOVES, EventKind.STOPS
_FORMS: tuple[tuple[str, EventKind, str], ...] = (
    (r"(?:begins|starts|begun|started) to enter", _ENTERS, "start"),
    (r"(?:begins|starts|begun|started) to leave", _LEAVES, "start"),
    (r"(?:begins|starts|begun|started) to move", _MOVES, "start"),
    (r"comes? to (?:rest|a stop)", _STOPS, "start"),
    (r"is entering", _ENTERS, "on"),
    (r"is leaving", _LEAVES, "on"),
    (r"is moving", _MOVES, "on"),
    (r"is at rest", _STOPS, "on"),
    (r"has finished entering", _ENTERS, "end"),
    (r"has left", _LEAVES, "end"),
    (r"is no longer moving", _MOVES, "end"),
    (r"is no longer at rest", _STOPS, "end"),
    (r"has entered", _ENTERS, "past"),
    (r"has moved", _MOVES, "past"),
    (r"has been at rest", _STOPS, "past"),
)
_SAYS = re.compile("|".join(rf"\b(?P<f{i}>{form})\b" for i, (form, _, _) in enumerate(_FORMS)))
_CLOCK = re.compile(r"\d[\w.:]*|\b(?:seconds|minutes|hours|timestamps?|o'clock)\b", re.IGNORECASE)
_FUTURE = re.compile(
    r"\b(?:will|shall|would|going to|about to|soon|later|next|until|eventually|finally|upcoming|afterwards?|"
    r"in a (?:moment|while|second|minute))\b|'ll\b",
    re.IGNORECASE,
)
_UNDONE = re.compile(r"\b(?:correct(?:ion)?|no longer (?:holds|true))\b", re.IGNORECASE)
_NOTHING = re.compile(r"\bnothing\b", re.IGNORECASE)
_TIMES = (
    *("not once", "once", "twice", "three times", "four times", "five times", "six times", "seven times"),
    *("eight times", "nine times", "ten times"),
)
_LEAST_FRAME_S = 1e-3
"""An edge nearer than this to the clip's end is that end: no frame would be left to show it."""
_AT_ONCE = ("now", "so_far", "count")

Left = Sequence[tuple[str, float]]
"""Answers to no question for an answer at once, with their times."""


@dataclass(frozen=True, slots=True)
class _Said:
    """A noun, what it is said to do, and whether that starts, goes on, ends or is past."""

    noun: str
    kind: EventKind
    form: str


@dataclass(frozen=True, slots=True)
class _Fact:
    """A noun's thing does something throughout a span that touches no other of the same."""

    noun: str
    kind: EventKind
    span: Span


class _Truth:
    """True events as facts about nouns. `slack_s` is how far an edge may be off."""

    def __init__(self, events: Sequence[Event], duration_s: float, slack_s: float) -> None:
        self.slack_s, self.duration_s = slack_s, duration_s
        self.nouns = sorted({_noun(e.subject) for e in events}, key=lambda n: (-len(n), n))
        groups: dict[tuple[str, str, EventKind], list[Span]] = defaultdict(list)
        for event in events:
            groups[event.subject_id, _noun(event.subject), event.kind].append(event.span)
        self.facts = [_Fact(g[1], g[2], span) for g, spans in groups.items() for span in _covered(spans)]

    def said(self, text: str) -> list[_Said]:
        """What a text says of nouns that the truth knows, in order."""
        if not self.nouns:
            return []
        named = re.compile(r"\b(?:the|an?) (" + "|".join(map(re.escape, self.nouns)) + r")\b", re.IGNORECASE)
        found = [(m.group(1).lower(), _SAYS.search(text, m.end())) for m in named.finditer(text)]
        return [_Said(noun, *_form(match)) for noun, match in found if match is not None]

    def edges(self, starts: bool) -> list[tuple[float, _Fact]]:
        """Starts or ends that can be seen, not the clip's own."""
        both = [(f.span.start_s if starts else f.span.end_s, f) for f in self.facts]
        return [(t, f) for t, f in both if 0.0 < t < self.duration_s - _LEAST_FRAME_S]

    def near(self, one_s: float, other_s: float) -> bool:
        return abs(one_s - other_s) <= self.slack_s

    def on(self, fact: _Fact, at_s: float, slack_s: float) -> bool:
        """Whether a fact goes on at an instant; with a negative slack, surely so."""
        return fact.span.start_s - slack_s <= at_s < fact.span.end_s + slack_s


def check_live(sample: StreamSample, events: Sequence[Event], slack_s: float = 1e-6) -> list[str]:
    """What is wrong with a stream, given every true event of its clip; empty where all is right.

    `slack_s` is how far the times of changes may be off. It is the only thing to widen for evidence that is not truth.
    """
    broken = _form_faults(sample)
    if broken:
        return broken
    truth = _Truth(events, _duration_s(sample), slack_s)
    lines = list(zip(sample.turns, sample.turns_at_s, strict=True))
    return [*leaks(lines, events, slack_s), *_exchange_faults(lines, truth)]


def _duration_s(sample: StreamSample) -> float:
    span = sample.media.span
    return min(sample.media.duration_s, span.duration_s if span else sample.media.duration_s)


def _form_faults(sample: StreamSample) -> list[str]:
    """Times of all turns, never falling and inside what is watched; times in no text and no list of its own."""
    at_s = sample.turns_at_s
    if not sample.turns or len(at_s) != len(sample.turns) or sample.turns[0].role is not Role.USER:
        return [f"{len(sample.turns)} turns with {len(at_s)} times; want a question first and a time for each"]
    faults = [f"times fall: {a} s, then {b} s" for a, b in pairwise(at_s) if b < a]
    from_s, until_s = sample.watch_from_s, sample.watch_until_s
    faults += [f"a turn at {t} s, watched is [{from_s}, {until_s})" for t in at_s if not from_s <= t < until_s]
    if not 0.0 <= from_s < until_s <= _duration_s(sample):
        faults.append(f"watched is [{from_s}, {until_s}) of a clip of {_duration_s(sample)} s")
    faults += [f"a turn with times or boxes: {t.text!r}" for t in sample.turns if t.src_s or t.tgt_s or t.boxes]
    faults += ["an empty turn" for t in sample.turns if not t.text.strip() or "<time>" in t.text]
    shown = [f.at_s for f in sample.frames]
    return faults + (["frame times do not rise"] if any(b <= a for a, b in pairwise(shown)) else [])


# ---- leaks -----------------------------------------------------------------------------------------------------------


def leaks(lines: Iterable[tuple[Turn, float]], events: Sequence[Event], slack_s: float = 1e-6) -> list[str]:
    """Answers that tell a time, speak of the future, or name what has not begun: read to their last word.

    The released filter of LIVE matches from the start of an answer, so that "... 12s" inside a sentence stays (D14).
    """
    truth = _Truth(events, float("inf"), slack_s)
    faults = []
    for turn, at_s in lines:
        if turn.role is Role.ASSISTANT:
            words = [*clock_words(turn.text), *(m.group() for m in _FUTURE.finditer(turn.text))]
            faults += [f"at {at_s} s: {word!r} in {turn.text!r}" for word in words]
            faults += [f"at {at_s} s: {what} has not begun: {turn.text!r}" for what in _ahead(turn.text, at_s, truth)]
    return faults


def clock_words(text: str) -> list[str]:
    """Words by which a text tells a time, anywhere in it."""
    return [m.group() for m in _CLOCK.finditer(text)]


def _ahead(text: str, at_s: float, truth: _Truth) -> Iterator[str]:
    """Nouns and doings of a text that no true event has begun by then."""
    begun = [f for f in truth.facts if f.span.start_s <= at_s + truth.slack_s]
    for noun in truth.nouns:
        if re.search(rf"\b{re.escape(noun)}\b", text.lower()) and not any(noun in f.noun for f in begun):
            yield noun
    for said in truth.said(text):
        if not any((f.noun, f.kind) == (said.noun, said.kind) for f in begun):
            yield f"{said.noun} {said.kind}"


# ---- who waits for what ----------------------------------------------------------------------------------------------


def _exchange_faults(lines: Sequence[tuple[Turn, float]], truth: _Truth) -> list[str]:
    """Answers at once follow their question; what is left belongs to the one question that stands."""
    faults: list[str] = []
    standing: list[tuple[str, Turn, float]] = []
    left: list[tuple[str, float]] = []
    waiting = iter(range(len(lines)))
    for i in waiting:
        turn, at_s = lines[i]
        if turn.role is Role.ASSISTANT:
            left.append((turn.text, at_s))
            continue
        task = _task(turn.text)
        if task not in _AT_ONCE:
            standing.append((task, turn, at_s))
        elif i + 1 == len(lines) or lines[i + 1][0].role is Role.USER or lines[i + 1][1] != at_s:
            faults.append(f"{turn.text!r} at {at_s} s has no answer at once")
        else:
            next(waiting)
            faults += _once_faults(task, turn.text, lines[i + 1][0].text, at_s, truth)
    if len(standing) > 1:
        return [*faults, f"{len(standing)} standing questions in one stream"]
    if not standing:
        return faults + [f"nobody asked, at {t} s: {text!r}" for text, t in left]
    task, turn, asked_s = standing[0]
    early = [f"{text!r} at {t} s, before it was asked" for text, t in left if t < asked_s]
    return faults + early + _standing_faults(task, turn.text, asked_s, left, truth)


def _once_faults(task: str, question: str, answer: str, at_s: float, truth: _Truth) -> list[str]:
    if task == "count":
        return _count_faults(answer, at_s, truth, question)
    return (_now_faults if task == "now" else _so_far_faults)(answer, at_s, truth)


def _standing_faults(task: str, question: str, asked_s: float, left: Left, truth: _Truth) -> list[str]:
    if task == "narration":
        return _narration_faults(asked_s, left, truth)
    return (_alert_faults if task == "alert" else _correction_faults)(asked_s, left, truth, question)


def _task(question: str) -> str:
    """What a question wants, by its words."""
    text = question.lower()
    if re.search(r"\bhow (?:many times|often)\b", text):
        return "count"
    if "correct" in text:
        return "correction"
    if _SAYS.search(text):
        return "alert"
    if re.search(r"\b(?:so far|up to now)\b", text):
        return "so_far"
    if re.search(r"\b(?:right now|at (?:this|the) moment|currently)\b", text):
        return "now"
    return "narration"


def _now_faults(answer: str, at_s: float, truth: _Truth) -> list[str]:
    said = set(truth.said(answer))
    may = {_Said(f.noun, f.kind, "on") for f in truth.facts if truth.on(f, at_s, truth.slack_s)}
    must = {_Said(f.noun, f.kind, "on") for f in truth.facts if truth.on(f, at_s, -truth.slack_s)}
    return _set_faults(said, may, must, answer, at_s)


def _so_far_faults(answer: str, at_s: float, truth: _Truth) -> list[str]:
    said = {_past_of(s) for s in truth.said(answer)}
    may: set[_Said] = set()
    must: set[_Said] = set()
    for fact in truth.facts:
        on, over = _Said(fact.noun, fact.kind, "on"), _Said(fact.noun, fact.kind, "past")
        for slack_s, into in ((truth.slack_s, may), (-truth.slack_s, must)):
            into |= {on} if truth.on(fact, at_s, slack_s) else set()
            into |= {over} if fact.span.end_s <= at_s + slack_s else set()
    return _set_faults(said, may, must, answer, at_s)


def _past_of(said: _Said) -> _Said:
    """`has left` is how leaving ends, and how it is told of afterwards."""
    return _Said(said.noun, said.kind, "past") if said.kind is _LEAVES and said.form == "end" else said


def _set_faults(said: set[_Said], may: set[_Said], must: set[_Said], answer: str, at_s: float) -> list[str]:
    faults = [f"at {at_s} s {s.noun} {s.kind} ({s.form}) is not so: {answer!r}" for s in said - may]
    faults += [f"at {at_s} s {s.noun} {s.kind} ({s.form}) is left out: {answer!r}" for s in must - said]
    denies = _NOTHING.search(answer) is not None
    if denies == bool(said):
        faults.append(f"at {at_s} s something and nothing, or neither: {answer!r}")
    return sorted(faults)


def _count_faults(answer: str, at_s: float, truth: _Truth, question: str) -> list[str]:
    asked = _asked(question, truth)
    found = [i for i, words in enumerate(_TIMES) if re.search(rf"\b{words}\b", answer.lower())]
    if asked is None or not found:
        return [f"no number, or of nothing known: {question!r} {answer!r}"]
    number = min(found)  # "not once" has "once" in it
    starts = [t for t, f in truth.edges(starts=True) if (f.noun, f.kind) == asked]
    least, most = (sum(t <= at_s + slack_s for t in starts) for slack_s in (-truth.slack_s, truth.slack_s))
    return [] if least <= number <= most else [f"{asked} began {most} times by {at_s} s, answered {answer!r}"]


def _asked(question: str, truth: _Truth) -> tuple[str, EventKind] | None:
    """The thing and doing that a question is about; None where the truth knows no such thing."""
    said = truth.said(question)
    return (said[0].noun, said[0].kind) if said else None


def _alert_faults(asked_s: float, left: Left, truth: _Truth, question: str) -> list[str]:
    """An answer at every start after the question, of what was asked and nothing else; none for what is unknown."""
    asked = _asked(question, truth)
    starts = [t for t, f in truth.edges(starts=True) if (f.noun, f.kind) == asked and t > asked_s]
    faults = [f"no alert at {t} s: {question!r}" for t in starts if not any(truth.near(t, s) for _, s in left)]
    for text, at_s in left:
        said = {(s.noun, s.kind, s.form) for s in truth.said(text)}
        if not any(truth.near(t, at_s) for t in starts):
            faults.append(f"an alert at {at_s} s, where nothing of that begins: {text!r}")
        elif asked is None or said != {(*asked, "start")}:
            faults.append(f"asked about {asked}, said {text!r}")
    return faults + _doubled(left)


def _narration_faults(asked_s: float, left: Left, truth: _Truth) -> list[str]:
    """Every change after the question is told at its time, and everything told is a change of that time."""
    told = [(s, t) for text, t in left for s in truth.said(text)]
    faults = [f"at {t} s nothing is said of a change: {text!r}" for text, t in left if not truth.said(text)]
    edges = [(t, _Said(f.noun, f.kind, form)) for form in ("start", "end") for t, f in truth.edges(form == "start")]
    for said, at_s in told:
        if not any(truth.near(t, at_s) and edge == said for t, edge in edges):
            faults.append(f"at {at_s} s {said.noun} {said.kind} has no {said.form}")
    for at_s, edge in edges:
        here = [s for s, t in told if truth.near(t, at_s)]
        known = edge in here or (edge.form == "end" and any(s.noun == edge.noun for s in here))
        if at_s > asked_s and not known:
            faults.append(f"the {edge.form} of {edge.noun} {edge.kind} at {at_s} s is not told")
    return faults + _doubled(left)


def _correction_faults(asked_s: float, left: Left, truth: _Truth, question: str) -> list[str]:
    """The state at once, and again, as a correction, at each of its changes."""
    nouns = [n for n in truth.nouns if re.search(rf"\b(?:the|an?) {re.escape(n)}\b", question.lower())]
    own = [f for f in truth.facts if nouns and f.noun == nouns[0] and f.kind in (_MOVES, _STOPS)]
    turns = [t for starts in (True, False) for t, f in truth.edges(starts) if f in own and t > asked_s]
    faults = [f"no correction at {t} s" for t in turns if not any(truth.near(t, s) for _, s in left)]
    if not left or left[0][1] != asked_s or not turns:
        faults.append(f"no answer at once at {asked_s} s, or nothing to correct")
    for text, at_s in left:
        if at_s > asked_s and not (any(truth.near(t, at_s) for t in turns) and _UNDONE.search(text)):
            faults.append(f"at {at_s} s nothing changed, or what was said is not withdrawn: {text!r}")
        faults += _state_faults(text, at_s, own, truth)
    return faults + _doubled(left)


def _state_faults(text: str, at_s: float, own: Sequence[_Fact], truth: _Truth) -> list[str]:
    """A thing is said to do what it does, or to have ceased what has just ended and nothing took the place of."""
    said = truth.said(text)
    doing = [f for f in own if truth.on(f, at_s, truth.slack_s)]
    ended = [f for f in own if truth.near(f.span.end_s, at_s)]
    sure = any(truth.on(f, at_s, -truth.slack_s) for f in own)
    right = {_Said(f.noun, f.kind, "on") for f in doing}
    right |= set() if sure else {_Said(f.noun, f.kind, "end") for f in ended}
    return [] if len(said) == 1 and said[0] in right else [f"at {at_s} s it is not so: {text!r}"]


def _doubled(left: Left) -> list[str]:
    return [f"two answers at {a} s" for (_, a), (_, b) in pairwise(left) if a == b]


# ---- reading ---------------------------------------------------------------------------------------------------------


def _noun(subject: str) -> str:
    return subject.lower().removeprefix("the ")


def _form(match: re.Match[str]) -> tuple[EventKind, str]:
    _, kind, form = _FORMS[int(str(match.lastgroup)[1:])]
    return kind, form


def _covered(spans: Sequence[Span]) -> list[Span]:
    """Union of half-open spans, by a sweep over their edges; touching ones are one."""
    edges = sorted([(s.start_s, 0) for s in spans] + [(s.end_s, 1) for s in spans])
    out, depth, start_s = [], 0, 0.0
    for at_s, ends in edges:
        start_s = at_s if depth == 0 else start_s
        depth += -1 if ends else 1
        if depth == 0:
            out.append(Span(start_s, at_s))
    return out
