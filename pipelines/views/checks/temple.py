"""Is the chosen account of a film right and the rejected one wrong? From its words and times, and the true shots.

The view is not used. Each sentence is read for what it says happens, and placed on a shot, or on neighbouring shots
where no shot has all of it; an account is right where all its sentences can be placed one after the other.

>>> sentences("First, the red circle enters the frame. Then a blue star stops and stays where it is. That is all.")
[[('red circle', <EventKind.ENTERS: 'enters'>)], [('blue star', <EventKind.STOPS: 'stops'>)]]
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from reelmill.pipelines.views.checks.preference import Said, perturbation_faults, spoken_of
from reelmill.schemas.event import Event, EventKind
from reelmill.schemas.sample import PreferenceSample, Role, Turn
from reelmill.schemas.span import Span

_SLACK_S = 1e-3
_COMPLETE = re.compile(r"nothing else enters or leaves|that is all that enters or leaves", re.IGNORECASE)
_VAGUE = {"object", "thing"}
_CROSSINGS = (EventKind.ENTERS, EventKind.LEAVES)


def check_temple(
    sample: PreferenceSample, events: Sequence[Event], shots: Sequence[Span], slack_s: float = _SLACK_S
) -> list[str]:
    """What is wrong with a pair, given every true event and shot of its film; empty where chosen is right and rejected
    wrong. `slack_s` is how far found cuts may be off the true ones."""
    faults = [*_form_faults(sample), *perturbation_faults(sample.perturbation), *_claim_faults(sample)]
    if faults:
        return faults
    asked = sample.turns[0].src_s
    window = Span(*asked) if asked else Span(0.0, sample.media.duration_s)
    inside = [s for s in shots if s.start_s >= window.start_s - slack_s and s.end_s <= window.end_s + slack_s]
    true = [{_plain(e) for e in events if s.start_s - 1e-6 <= e.span.start_s < s.end_s} for s in inside]
    if not _right(sample.turns[-1], true, complete=bool(asked)):
        faults.append(f"chosen is not right: {sample.turns[-1].text!r}")
    if _right(sample.rejected[-1], true, complete=bool(asked)):
        faults.append(f"rejected is not wrong: {sample.rejected[-1].text!r}")
    return faults


def sentences(text: str) -> list[list[Said]]:
    """What each sentence says happens; those that say nothing of the kind are left out."""
    return [said for part in re.split(r"(?<=\.)\s+", text) if (said := spoken_of(part))]


def _plain(event: Event) -> Said:
    return event.subject.lower().removeprefix("the "), event.kind


def _form_faults(sample: PreferenceSample) -> list[str]:
    roles = [t.role for t in (*sample.turns, *sample.rejected)]
    if roles != [Role.USER, Role.ASSISTANT, Role.ASSISTANT]:
        return [f"roles are {[str(r) for r in roles]}, want a question and an answer of each side"]
    faults = ["both sides are the same"] if sample.turns[-1] == sample.rejected[-1] else []
    question = sample.turns[0]
    if len(question.src_s) != 2 * question.text.count("<time>") or len(question.src_s) != 2 * (sample.task == "window"):
        faults.append(f"{len(question.src_s)} times in {question.text!r}")
    times_s = [f.at_s for f in sample.frames]
    if not times_s or times_s != sorted(set(times_s)) or not 0 <= times_s[0] <= times_s[-1] < sample.media.duration_s:
        faults.append(f"frames at {times_s} in a film of {sample.media.duration_s} s")
    return faults


def _claim_faults(sample: PreferenceSample) -> list[str]:
    theirs = [c.holds for c in sample.claims if c.rejected]
    faults = [f"a claim of the chosen side fails: {c.text}" for c in sample.claims if not c.rejected and not c.holds]
    if not theirs or all(theirs) or all(c.rejected for c in sample.claims):
        return [*faults, "no claim of the rejected side fails, or a side has none"]
    if abs(sample.margin - theirs.count(False) / len(theirs)) > 1e-9:
        faults.append(f"margin {sample.margin}, of {len(theirs)} claims {theirs.count(False)} fail")
    return faults


def _right(answer: Turn, true: Sequence[set[Said]], *, complete: bool) -> bool:
    told = [set(said) for said in sentences(answer.text)]
    if not told or not _placed(told, true):
        return False
    if not complete:
        return True
    crossed = {said for own in true for said in own if said[1] in _CROSSINGS}
    every = set.union(*told)
    return bool(_COMPLETE.search(answer.text)) and all(any(_fits(s, said) for s in every) for said in crossed)


def _placed(told: Sequence[set[Said]], true: Sequence[set[Said]]) -> bool:
    """Whether each sentence can have shots of its own, after those of the sentence before."""
    if not told:
        return True
    n = len(true)
    alone = [i + 1 for i in range(n) if _within(told[0], true[i])]
    ends = alone or [j for i in range(n) for j in range(i + 2, n + 1) if _within(told[0], set.union(*true[i:j]))]
    return any(_placed(told[1:], true[end:]) for end in sorted(set(ends)))


def _within(told: set[Said], true: set[Said]) -> bool:
    return all(any(_fits(said, own) for own in true) for said in told)


def _fits(said: Said, true: Said) -> bool:
    """A thing of unsure shape ("the yellow object") is named rightly by what is sure of it."""
    return said[1] == true[1] and set(said[0].split()) - _VAGUE <= set(true[0].split())
