"""Dialogues about time, judged against every true event of the clip: subjects and verbs are found again in the text."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from itertools import pairwise

from reelmill.pipelines.views.checks.forms import form_faults
from reelmill.schemas.event import Event, EventKind
from reelmill.schemas.sample import Role, Sample, Turn
from reelmill.schemas.span import Span

_VERBS = {
    EventKind.ENTERS: r"enter(?:s|ing)?",
    EventKind.LEAVES: r"leav(?:e|es|ing)",
    EventKind.MOVES: r"mov(?:e|es|ing)",
    EventKind.STOPS: r"stop(?:s|ping)?",
}
_VERB = re.compile("|".join(rf"\b(?P<{kind}>{form})\b" for kind, form in _VERBS.items()))
_DENIAL = re.compile(r"\b(?:not|never|no)\b", re.IGNORECASE)
_FOREIGN = re.compile(r"\b(?:the|an?) (?P<noun>[\w -]+?) (?:" + "|".join(_VERBS.values()) + r")\b", re.IGNORECASE)

_EVERYTHING = re.compile(r"\b(?:everything|events|(?:each|every) event|timeline|what (?:happens|takes place))\b", re.I)
_SHORT = re.compile(r"\b(?:summar|sum up|overview)", re.IGNORECASE)
_HOW_OFTEN = re.compile(r"\bhow (?:many|often)\b|\bcount\b|\bnumber of times\b", re.IGNORECASE)
_NEXT = re.compile(r"\bnext\b", re.IGNORECASE)
_AFTER = re.compile(r"\bafter\b|\bonce\b|\bfollow", re.IGNORECASE)
_BEFORE = re.compile(r"\bbefore\b|\bprecede", re.IGNORECASE)
_OFTEN = {"once": 1, "twice": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8}

Said = tuple[str, EventKind]


def check_grounding(sample: Sample, events: Sequence[Event], slack_s: float = 1e-6) -> list[str]:
    """What is wrong with a sample of the temporal view, given every true event of its clip; empty where all is right.

    Each question of a dialogue is judged by its own answer. `slack_s` is how far an edge may be off. It is the only
    thing to widen for labels that a localiser made.
    """
    broken = [*form_faults(sample), *(fault for turn in sample.turns for fault in _time_faults(turn, sample))]
    if broken:
        return broken
    pairs = zip(sample.turns[0::2], sample.turns[1::2], strict=True)
    return [fault for question, answer in pairs for fault in _answer_faults(question, answer, events, slack_s)]


def _answer_faults(question: Turn, answer: Turn, events: Sequence[Event], slack_s: float) -> list[str]:
    """What is wrong with one answer. Which form a question has is read off its words, the clauses in it left out."""
    asked = said_of(question.text, events)
    if question.src_s and asked:
        return _then_faults(asked[0], _spans(question.src_s), answer, events, slack_s)
    if question.src_s:
        return _caption_faults(_spans(question.src_s), said_of(answer.text, events), events, slack_s)
    if asked:
        return _asked_faults(asked[0], _without(question.text, events), answer, events, slack_s)
    if _denies(answer) and (_FOREIGN.search(question.text) or not _EVERYTHING.search(question.text)):
        return []
    if _FOREIGN.search(question.text):
        return [f"{question.text!r} is about a thing that no event has: {answer.text!r}"]
    if _SHORT.search(question.text):
        return _summary_faults(answer, events, slack_s)
    return _list_faults(answer, events, slack_s)


def _asked_faults(said: Said, form: str, answer: Turn, events: Sequence[Event], slack_s: float) -> list[str]:
    """A question about one thing that happens, by the form of its words: how often, what next, what after, or when."""
    if _HOW_OFTEN.search(form):
        return _count_faults(said, answer, events, slack_s)
    if _NEXT.search(form):
        return _next_faults(said, answer, events, slack_s)
    if _AFTER.search(form) or _BEFORE.search(form):
        return _order_faults(said, bool(_AFTER.search(form)), answer, events, slack_s)
    return _when_faults(said, answer, events, slack_s)


def _time_faults(turn: Turn, sample: Sample) -> list[str]:
    """Defects D3 and D4 of the recipes' register: one pair per placeholder, and 0 <= s < e <= duration."""
    own, other = (turn.src_s, turn.tgt_s) if turn.role is Role.USER else (turn.tgt_s, turn.src_s)
    places = turn.text.count("<time>")
    if other or len(own) != 2 * places:
        return [
            f"{places} placeholders, {len(own)} numbers of its own and {len(other)} of the other side: {turn.text!r}"
        ]
    span = sample.media.span
    duration_s = min(sample.media.duration_s, span.duration_s if span else sample.media.duration_s)
    pairs = list(zip(own[0::2], own[1::2], strict=True))
    return [f"[{s}, {e}) in a clip of {duration_s} s" for s, e in pairs if not 0.0 <= s < e <= duration_s]


def _spans(flat_s: Sequence[float]) -> list[Span]:
    return [Span(s, e) for s, e in zip(flat_s[0::2], flat_s[1::2], strict=True)]


def said_of(text: str, events: Iterable[Event]) -> list[Said]:
    """The (noun, kind) pairs that a text speaks of, in order. Nouns are those of `events`, without their article; of an
    event in somebody's words it is its whole clause."""
    return [said for _, _, said in _mentions(text, tuple(events))]


def _mentions(text: str, events: Sequence[Event]) -> list[tuple[int, int, Said]]:
    """What a text speaks of, with the places in it where that begins and ends."""
    clauses = sorted({_noun(e.phrase) for e in events if e.kind is EventKind.STATED}, key=lambda c: (-len(c), c))
    found: list[tuple[int, int, Said]] = []
    for clause in clauses:
        for match in re.finditer(rf"(?<!\w){re.escape(clause)}(?!\w)", text, re.IGNORECASE):
            if all(match.end() <= first or match.start() >= end for first, end, _ in found):
                found.append((match.start(), match.end(), (clause, EventKind.STATED)))
    nouns = sorted({_noun(e.subject) for e in events if e.kind is not EventKind.STATED}, key=lambda n: (-len(n), n))
    if nouns:
        named = re.compile(r"\b(?:the|an?) (" + "|".join(map(re.escape, nouns)) + r")\b", re.IGNORECASE)
        for match in named.finditer(text):
            verb = _VERB.search(text, match.end())
            if verb is not None:
                found.append((match.start(), verb.end(), (match.group(1).lower(), EventKind(str(verb.lastgroup)))))
    return sorted(found)


def _without(text: str, events: Sequence[Event]) -> str:
    """A text without what it speaks of."""
    for first, end, _ in reversed(_mentions(text, events)):
        text = text[:first] + text[end:]
    return text


def _told(answer: Turn, events: Sequence[Event]) -> list[tuple[Said, list[Span]]]:
    """What an answer speaks of with the intervals that go with each: those after it, or where the answer begins with an
    interval those before it."""
    mentions = _mentions(answer.text, events)
    places = [m.start() for m in re.finditer("<time>", answer.text)]
    leads = bool(places and mentions) and places[0] < mentions[0][0]
    told: list[tuple[Said, list[Span]]] = [(said, []) for _, _, said in mentions]
    for place, span in zip(places, _spans(answer.tgt_s), strict=True):
        past = sum(first < place for first, _, _ in mentions)
        at = past if leads else past - 1
        if 0 <= at < len(told):
            told[at][1].append(span)
    return told


def _noun(subject: str) -> str:
    return subject.lower().strip().rstrip(".!;,").removeprefix("the ")


def _of(said: Said, events: Iterable[Event]) -> list[Event]:
    return [e for e in events if _name(e) == said]


def _name(event: Event) -> Said:
    return _noun(event.phrase if event.kind is EventKind.STATED else event.subject), event.kind


def _denies(answer: Turn) -> bool:
    return not answer.tgt_s and _DENIAL.search(answer.text) is not None


def _when_faults(said: Said, answer: Turn, events: Sequence[Event], slack_s: float) -> list[str]:
    """The answer's intervals are the times that true events cover; a denial is right where there are none."""
    true = _covered([e.span for e in _of(said, events)])
    if not true:
        return [] if _denies(answer) else [f"{said} does not happen, answered {answer.text!r} {answer.tgt_s}"]
    told = _spans(answer.tgt_s)
    if len(told) != len(true) or not all(_same(a, b, slack_s) for a, b in zip(told, true, strict=True)):
        return [f"{said} happens at {true}, answered {told}"]
    return []


def _covered(spans: Sequence[Span]) -> list[Span]:
    """Union of half-open spans, by a sweep over their edges."""
    edges = sorted([(s.start_s, 0) for s in spans] + [(s.end_s, 1) for s in spans])
    out, depth, start_s = [], 0, 0.0
    for at_s, ends in edges:
        if depth == 0:
            start_s = at_s
        depth += -1 if ends else 1
        if depth == 0:
            out.append(Span(start_s, at_s))
    return out


def _same(one: Span, other: Span, slack_s: float) -> bool:
    return abs(one.start_s - other.start_s) <= slack_s and abs(one.end_s - other.end_s) <= slack_s


def _caption_faults(asked: list[Span], said: list[Said], events: Sequence[Event], slack_s: float) -> list[str]:
    """The named event has the interval asked about, and no other event could be meant by it (tIoU below 0.5)."""
    if len(asked) != 1 or len(said) != 1:
        return [f"{len(asked)} intervals and {len(said)} events named, want one of each"]
    if not any(_same(asked[0], e.span, slack_s) for e in _of(said[0], events)):
        return [f"{said[0]} does not happen at {asked[0]}"]
    rivals = [e for e in events if _name(e) != said[0] and e.span.tiou(asked[0]) >= 0.5]
    return [f"{asked[0]} is also when {rivals[0].phrase}"] if rivals else []


def _then_faults(said: Said, asked: list[Span], answer: Turn, events: Sequence[Event], slack_s: float) -> list[str]:
    """Yes where a true event fills the interval, no where none touches it; and the true times either way."""
    true = [e.span for e in _of(said, events)]
    yes = answer.text.lower().startswith("yes")
    if len(asked) != 1 or not (yes or answer.text.lower().startswith("no")):
        return [f"{len(asked)} intervals asked about, answered {answer.text!r}"]
    if yes and not any(_same(asked[0], t, slack_s) for t in true):
        return [f"{said} does not fill {asked[0]}, answered {answer.text!r}"]
    if not yes and any(asked[0].overlap_s(t) > slack_s for t in true):
        return [f"{said} happens in {asked[0]}, answered {answer.text!r}"]
    return _when_faults(said, answer, events, slack_s)


def _count_faults(said: Said, answer: Turn, events: Sequence[Event], slack_s: float) -> list[str]:
    """As many times as there are true events, each of them given."""
    count = len(_of(said, events))
    words = [w for w in re.findall(r"[a-z]+|\d+", answer.text.lower()) if w in _OFTEN or w.isdigit()]
    told = [_OFTEN.get(w, 0) or int(w) for w in words[:1]]
    faults = [] if told == [count] else [f"{said} happens {count} times, answered {answer.text!r}"]
    return faults + _when_faults(said, answer, events, slack_s)


def _next_faults(said: Said, answer: Turn, events: Sequence[Event], slack_s: float) -> list[str]:
    """The one event that begins first of those that begin when the one asked about is over."""
    told = _told(answer, events)
    asked = _of(said, events)
    if len(asked) != 1 or len(told) != 1 or len(told[0][1]) != 1:
        return [f"{len(asked)} events asked about, answered {answer.text!r} {answer.tgt_s}"]
    (name, (span,)) = told[0]
    after = asked[0].span
    right = [
        e
        for e in events
        if _name(e) == name and _same(span, e.span, slack_s) and _beyond(after, e.span, True, -slack_s)
    ]
    later = [e for e in events if _beyond(after, e.span, True, _sure_s(slack_s))]
    sooner = [e for e in later if e.span.start_s < span.start_s - 2 * slack_s]
    if not right or sooner:
        return [f"{name} at {span} is not what comes next after {said}"]
    return []


def _order_faults(said: Said, after: bool, answer: Turn, events: Sequence[Event], slack_s: float) -> list[str]:
    """All that begins when the one asked about is over, or is over when it begins; in order of start, none twice."""
    asked = _of(said, events)
    if len(asked) != 1:
        return [f"{said} happens {len(asked)} times, and what is before or after it was asked"]
    at, names = asked[0].span, said_of(answer.text, events)
    left = {name: _meant(name, names.count(name), at, after, events, slack_s) for name in names}
    faults = [
        f"{name} is told {names.count(name)} times" for name, starts in left.items() if len(starts) != names.count(name)
    ]
    sure = {_name(e) for e in events if _beyond(at, e.span, after, _sure_s(slack_s))}
    faults += [f"{name} is left out" for name in sorted(sure - set(names))]
    if faults:
        return faults
    starts = [left[name].pop(0) for name in names]
    way = "after" if after else "before"
    return [f"what is {way} {said} is not in order"] if any(b < a - 2 * slack_s for a, b in pairwise(starts)) else []


def _meant(name: Said, count: int, at: Span, after: bool, events: Sequence[Event], slack_s: float) -> list[float]:
    """Starts of the events that a thing told `count` times can mean: all that surely belong, and of those that may, the
    likeliest; as many as were told where that is possible."""
    own = sorted({e.span for e in _of(name, events)}, key=lambda s: (s.start_s, s.end_s))
    sure = [s for s in own if _beyond(at, s, after, _sure_s(slack_s))]
    perhaps = [s for s in own if s not in sure and _beyond(at, s, after, -slack_s)]
    more = sorted(perhaps, key=lambda s: abs(s.start_s - at.end_s if after else s.end_s - at.start_s))
    return sorted(s.start_s for s in (*sure, *more[: max(0, count - len(sure))]))


def _sure_s(slack_s: float) -> float:
    """How far beyond an edge is surely beyond it; what touches it is, where nothing may be off."""
    return slack_s - 2e-6


def _beyond(at: Span, other: Span, after: bool, by_s: float) -> bool:
    """Is the other wholly after, or before, by so much?"""
    return other.start_s >= at.end_s + by_s if after else other.end_s <= at.start_s - by_s


def _summary_faults(answer: Turn, events: Sequence[Event], slack_s: float) -> list[str]:
    """Each thing that happens once, with all its times, in order of the first."""
    told = _told(answer, events)
    faults = [] if len({name for name, _ in told}) == len(told) else ["something is summarised twice"]
    starts = [spans[0].start_s for _, spans in told if spans]
    faults += ["the sentences are not in order"] if starts != sorted(starts) else []
    for name, spans in told:
        true = _covered([e.span for e in _of(name, events)])
        if len(spans) != len(true) or not all(_same(a, b, slack_s) for a, b in zip(spans, true, strict=True)):
            faults.append(f"{name} happens at {true}, summarised as {spans}")
    missing = {_name(e) for e in events} - {name for name, _ in told}
    return faults + [f"{name} is not in the summary" for name in sorted(missing)]


def _list_faults(answer: Turn, events: Sequence[Event], slack_s: float) -> list[str]:
    """Every true event is listed once with its interval, in order of start."""
    said, told = said_of(answer.text, events), _spans(answer.tgt_s)
    if len(said) != len(told):
        return [f"{len(said)} events named, {len(told)} intervals given"]
    starts = [s.start_s for s in told]
    faults = ["the events are not in order"] if starts != sorted(starts) else []
    left = list(dict.fromkeys((*_name(e), e.span) for e in events))
    for (noun, kind), span in zip(said, told, strict=True):
        match = next((t for t in left if t[:2] == (noun, kind) and _same(span, t[2], slack_s)), None)
        if match is None:
            faults.append(f"{noun} {kind} at {span}: no such event, or listed twice")
        else:
            left.remove(match)
    return faults + [f"{noun} {kind} at {span} is not listed" for noun, kind, span in left]
