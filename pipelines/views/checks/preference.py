"""Is the chosen side of a finished pair right and the rejected one wrong? Judged from its words and times alone.

The view is not used: what a text speaks of is found again in it, and held against every true event of the clip.

>>> spoken_of("First, the red circle enters the frame. Finally, a blue star stops and stays where it is.")
[('red circle', <EventKind.ENTERS: 'enters'>), ('blue star', <EventKind.STOPS: 'stops'>)]
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from itertools import pairwise

from reelmill.schemas.event import Event, EventKind
from reelmill.schemas.sample import Perturbation, PreferenceSample, Role, Turn
from reelmill.schemas.span import Span

ORDER_S = 0.2
"""Starts of true events that are nearer than this have no order."""
_WRONG_TIOU = 0.5
_FORMS = {
    EventKind.ENTERS: "enters|enter|entering",
    EventKind.LEAVES: "leaves|leave|leaving",
    EventKind.MOVES: "moves|move|moving",
    EventKind.STOPS: "stops|stop|stopping",
}
_KIND = {form: kind for kind, forms in _FORMS.items() for form in forms.split("|")}
_SPOKEN = re.compile(rf"\b(?:the|an?) ((?:(?!the\b|an?\b)[\w-]+ )+?)(?:is seen )?({'|'.join(_KIND)})\b", re.IGNORECASE)
_EARLY = re.compile(r"\b(?:first|earlier|before)\b")
_DENIED = re.compile(r"^no,|none of|no other of", re.IGNORECASE)
_ALL = re.compile(r"nothing else|that is all", re.IGNORECASE)

Said = tuple[str, EventKind]


def spoken_of(text: str) -> list[Said]:
    """The (noun, kind) pairs that a text names, in order, whether or not there is such an event."""
    return [(m[1].strip().lower(), _KIND[m[2].lower()]) for m in _SPOKEN.finditer(text)]


def check_preference(
    sample: PreferenceSample, events: Sequence[Event], order_s: float = ORDER_S, slack_s: float = 1e-6
) -> list[str]:
    """What is wrong with a pair, given every true event of its clip; empty where chosen is right and rejected wrong.

    `slack_s` is how far an edge of a chosen interval may be off, for labels that a localiser made.
    """
    faults = [*_form_faults(sample), *perturbation_faults(sample.perturbation), *_claim_faults(sample, events)]
    if faults:
        return faults
    question, chosen, wrong = sample.turns[0].text, sample.turns[-1], sample.rejected[-1]
    right_if = {
        "account": _account,
        "occurrence": _occurrence,
        "crossings": _crossings,
        "order": _order,
        "grounding": _grounding,
    }[sample.task]
    limit_s = slack_s if sample.task == "grounding" else order_s
    if right_if(question, chosen, events, limit_s) is not True:
        faults.append(f"chosen is not right: {chosen.text!r} {chosen.tgt_s}")
    if right_if(question, wrong, events, limit_s) is not False:
        faults.append(f"rejected is not wrong: {wrong.text!r} {wrong.tgt_s}")
    return faults


def check_ladder(samples: Iterable[PreferenceSample]) -> list[str]:
    """What is wrong with the accepted pairs of one clip taken together: two that say the same; a drop of a later stage
    that drops no less than the one before."""
    accepted = [s for s in samples if s.verdict.accepted]
    said = Counter(
        (s.task, _sayings(s.turns[-1]), _sayings(s.rejected[-1]), _question(s), s.rejected[-1].tgt_s) for s in accepted
    )
    faults = [f"{n} pairs say {what}" for what, n in said.items() if n > 1]
    ladders: dict[tuple[str, ...], list[tuple[int, float]]] = defaultdict(list)
    for one in accepted:
        if one.perturbation.kind in ("drop", "insert"):
            ladders[one.task, one.perturbation.kind, _toggled(one)].append(
                (one.perturbation.stage, one.perturbation.strength)
            )
    for kind, found in ladders.items():
        steps = sorted(found)
        if any(b[0] == a[0] or b[1] >= a[1] for a, b in pairwise(steps)):
            faults.append(f"stages of {kind} do not grow harder: {steps}")
    return faults


def _toggled(sample: PreferenceSample) -> str:
    """The kind of event that one answer has and the other has not; "" where lists of everything are compared."""
    if sample.task != "occurrence":
        return ""
    return "".join(sorted(k for _, k in {*_sayings(sample.turns[-1])} ^ {*_sayings(sample.rejected[-1])}))


def _sayings(turn: Turn) -> tuple[Said, ...]:
    return tuple(spoken_of(turn.text))


def _question(sample: PreferenceSample) -> tuple[bool, tuple[Said, ...]]:
    text = sample.turns[0].text
    return _EARLY.search(text) is not None, tuple(sorted(spoken_of(text)))


def _form_faults(sample: PreferenceSample) -> list[str]:
    roles = [t.role for t in (*sample.turns, *sample.rejected)]
    if roles != [Role.USER, Role.ASSISTANT, Role.ASSISTANT]:
        return [f"roles are {[str(r) for r in roles]}, want a question and an answer of each side"]
    answers = (sample.turns[-1], sample.rejected[-1])
    faults = ["both sides are the same"] if answers[0] == answers[1] else []
    for turn in answers:
        spans = list(zip(turn.tgt_s[0::2], turn.tgt_s[1::2], strict=False))
        if len(turn.tgt_s) != 2 * turn.text.count("<time>") or not turn.text.strip():
            faults.append(f"{len(turn.tgt_s)} times for {turn.text!r}")
        faults += [
            f"[{s}, {e}) in {sample.media.duration_s} s" for s, e in spans if not 0 <= s < e <= sample.media.duration_s
        ]
    return faults


def perturbation_faults(how: Perturbation) -> list[str]:
    """An order that is the identity, or names places that are not there; a strength or stage out of range."""
    faults = [] if 0 < how.strength <= 1 and how.stage >= 0 and how.items > 0 else [f"no such perturbation: {how}"]
    if how.order == tuple(range(how.items)):
        faults.append("the perturbation is the identity")
    if len(set(how.order)) < len(how.order) or not set(how.order) <= set(range(how.items)):
        faults.append(f"{how.order} are no places of {how.items}")
    return faults


def _claim_faults(sample: PreferenceSample, events: Sequence[Event]) -> list[str]:
    theirs = [c.holds for c in sample.claims if c.rejected]
    faults = [f"a claim of the chosen side fails: {c.text}" for c in sample.claims if not c.rejected and not c.holds]
    if not theirs or all(theirs) or all(c.rejected for c in sample.claims):
        return [*faults, "no claim of the rejected side fails, or a side has none"]
    if abs(sample.margin - theirs.count(False) / len(theirs)) > 1e-9:
        faults.append(f"margin {sample.margin}, of {len(theirs)} claims {theirs.count(False)} fail")
    true = {_plain(e) for e in events}
    for claim in sample.claims:
        said = spoken_of(claim.text)
        if len(said) == 1 and claim.text.endswith(said[0][1]) and (said[0] in true) != claim.holds:
            faults.append(f"{claim.text!r} is said to be {claim.holds}")
    return faults


def _plain(event: Event) -> Said:
    return event.subject.lower().removeprefix("the "), event.kind


def _of(said: Said, events: Iterable[Event]) -> list[Event]:
    return [e for e in events if _plain(e) == said]


def _account(question: str, answer: Turn, events: Sequence[Event], order_s: float) -> bool | None:
    """True where events can be found that certainly begin in the order told, False where none possibly do."""
    del question
    said = spoken_of(answer.text)
    if said and _found(said, events, (), order_s - 1e-9):
        return True
    return None if said and _found(said, events, (), -order_s + 1e-9) else False


def _found(said: Sequence[Said], events: Sequence[Event], taken: tuple[Event, ...], gap_s: float) -> bool:
    """Whether every saying has an event of its own that starts at least `gap_s` after all those before."""
    if not said:
        return True
    latest_s = max((e.span.start_s for e in taken), default=None)
    fitting = [e for e in _of(said[0], events) if e not in taken]
    return any(
        _found(said[1:], events, (*taken, e), gap_s)
        for e in fitting
        if latest_s is None or e.span.start_s - latest_s >= gap_s
    )


def _crossings(question: str, answer: Turn, events: Sequence[Event], order_s: float) -> bool | None:
    """A list that says that it is all: right where it is."""
    del question, order_s
    true = sorted(_plain(e) for e in events if e.kind in (EventKind.ENTERS, EventKind.LEAVES))
    return sorted(spoken_of(answer.text)) == true if _ALL.search(answer.text) else None


def _occurrence(question: str, answer: Turn, events: Sequence[Event], order_s: float) -> bool | None:
    """Of the named happenings those that are true; what is not named must be denied in words."""
    del order_s
    asked, said = spoken_of(question), spoken_of(answer.text)
    if not asked or not set(said) <= set(asked) or len(set(said)) < len(said):
        return None
    if _DENIED.search(answer.text) is None and len(said) < len(asked):
        return None
    return {a for a in asked if _of(a, events)} == set(said)


def _order(question: str, answer: Turn, events: Sequence[Event], order_s: float) -> bool | None:
    """Of two named happenings the one that is first or last; with a third before them, the one on that side of it."""
    asked, said = spoken_of(question), spoken_of(answer.text)
    if len(said) != 1 or said[0] not in asked or len(asked) not in (2, 3):
        return None
    against = asked[0] if len(asked) == 3 else next(a for a in asked if a != said[0])
    own, other = _of(said[0], events), _of(against, events)
    if len(own) != 1 or len(other) != 1:
        return None
    ahead_s = other[0].span.start_s - own[0].span.start_s
    if abs(ahead_s) < order_s - 1e-9:
        return None
    return (ahead_s > 0) == (_EARLY.search(question) is not None)


def _grounding(question: str, answer: Turn, events: Sequence[Event], slack_s: float) -> bool | None:
    """Right where every interval is a time of the event and all are given; wrong where one is near to none."""
    asked = spoken_of(question)
    true = _covered([e.span for e in _of(asked[0], events)]) if len(asked) == 1 else []
    told = [Span(s, e) for s, e in zip(answer.tgt_s[0::2], answer.tgt_s[1::2], strict=True)]
    if not true or not told:
        return None
    if len(told) == len(true) and all(_near(t, s, slack_s) for t, s in zip(told, true, strict=True)):
        return True
    return False if any(all(t.tiou(s) < _WRONG_TIOU for s in true) for t in told) else None


def _near(one: Span, other: Span, slack_s: float) -> bool:
    return max(abs(one.start_s - other.start_s), abs(one.end_s - other.end_s)) <= slack_s


def _covered(spans: Iterable[Span]) -> list[Span]:
    """Times that any span covers, those that touch made one."""
    out: list[Span] = []
    for span in sorted(spans, key=lambda s: s.start_s):
        touched = out.pop() if out and span.start_s <= out[-1].end_s else span
        out.append(Span(touched.start_s, max(touched.end_s, span.end_s)))
    return out
