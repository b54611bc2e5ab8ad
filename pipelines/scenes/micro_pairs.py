"""Preference pairs about micro clips: what happens in its order, against the same with one thing wrong.

    reverse   of two things: the order farthest from the true one
    shuffle   of two things: a drawn order, neither the true one nor that
    drop      of two things one is missing
    insert    one thing more than the one that is there

Who cannot see must not know which side is which. A thing enters before it leaves on both sides; and a form, which is
who does what in which turn without the names, stands against another as often on the better side as on the worse one:
of the more frequent way round as many pairs are left out as it takes (`_kept`). What is rare in truth, as two things
that are there at the same time, is then rare in the wrong sides too; longer appearances make more of it.
"""

from __future__ import annotations

import itertools
import random
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from functools import lru_cache

from reelmill.pipelines.scenes import colours
from reelmill.pipelines.scenes.micro import MicroClip, MicroPreset, micro
from reelmill.pipelines.scenes.micro_samples import TOLD, MicroFrames, samples, sentence
from reelmill.pipelines.scenes.shapes import SHAPES
from reelmill.schemas.event import Event, EventKind
from reelmill.schemas.keys import child_key, seed_for
from reelmill.schemas.sample import Claim, Perturbation, PreferenceSample, Role, Sample, Turn

_APART_FRAMES = 2
"""Events that begin nearer to one another have no order that a clip of so few frames shows."""
_CLIP_SIGNS = 20
_WEIGHED_CLIPS = 2_000
"""Clips that say how often each form stands against another; drawn in a second or two."""
REVISION = 2
"""Of the rule that makes pairs of a clip."""

Form = tuple[tuple[int, str], ...]
Rates = Mapping[tuple[str, Form, Form], int]


def pairs(
    clip: MicroClip, frames: MicroFrames, digest: str, seed: int, dataset: str, preset: MicroPreset
) -> list[PreferenceSample]:
    """Pairs of a clip of `preset` by rising key; none where more than two things do something, or two at about the same
    time."""
    told = _told(clip)
    if not told:
        return []
    draw, rates = random.Random(seed_for(seed, digest, "pairs")), _rates(preset)
    account = next(s for s in samples(clip, frames, digest, seed, dataset) if s.task == "caption")
    made = (
        _pair(account, told, kind, lines, order, seed)
        for kind, lines, order in _wrong(clip, told, draw)
        if _kept(kind, [sentence(e) for e in told], lines, rates, draw)
    )
    return sorted(made, key=lambda s: s.key)


def _told(clip: MicroClip) -> list[Event]:
    """What a clip's account tells; nothing where no pair is made of it."""
    told = [e for e in clip.events if e.kind in TOLD]
    apart_s = _APART_FRAMES * clip.at_s[1]
    near = any(
        a.subject_id != b.subject_id and abs(a.span.start_s - b.span.start_s) < apart_s
        for a, b in itertools.combinations(told, 2)
    )
    return [] if near or not 1 <= len({e.subject_id for e in told}) <= 2 else told


def _kept(kind: str, true: Sequence[str], wrong: Sequence[str], rates: Rates, draw: random.Random) -> bool:
    """Whether a pair stands: all of the rarer way round of two forms, of the other as many."""
    a, b = form(true), form(wrong)
    here, back = rates[_class(kind), a, b], rates[_class(kind), b, a]
    return draw.random() * here < min(here, back)


def _class(kind: str) -> str:
    """What is left out on one side is put in on the other: these two are each other's way round."""
    return "number" if kind in ("drop", "insert") else kind


def form(lines: Sequence[str]) -> Form:
    """Who does what in which turn, things by their first turn.

    >>> form(["The red ball enters.", "The blue cup moves.", "The red ball leaves."])
    ((0, 'enters'), (1, 'moves'), (0, 'leaves'))
    """
    told = [line.removesuffix(".").rsplit(" ", 1) for line in lines]
    who = list(dict.fromkeys(name for name, _ in told))
    return tuple((who.index(name), verb) for name, verb in told)


@lru_cache(maxsize=8)
def _rates(preset: MicroPreset) -> Rates:
    """How often each form would stand against each other one in clips of a preset, were all pairs kept."""
    found: Counter[tuple[str, Form, Form]] = Counter()
    for clip in micro(0, _WEIGHED_CLIPS, preset):
        told, draw = _told(clip), random.Random(seed_for(0, str(clip.index), "rates"))
        true = form([sentence(e) for e in told])
        found.update((_class(kind), true, form(lines)) for kind, lines, _ in _wrong(clip, told, draw))
    return found


def _wrong(
    clip: MicroClip, told: Sequence[Event], draw: random.Random
) -> Iterator[tuple[str, list[str], tuple[int, ...]]]:
    """Kind, sentences and order (places in the true account) of each rejected side."""
    true, who = [sentence(e) for e in told], [e.subject_id for e in told]
    if not told:
        return
    if len(set(who)) == 1:
        yield "insert", _woven(true, _of_another(clip, draw), draw), ()
        return
    back, *others = sorted(_orders(who), key=lambda order: -_inversions(order))
    yield "reverse", [true[i] for i in back], back
    if others:
        order = draw.choice(others)
        yield "shuffle", [true[i] for i in order], order
    gone = draw.choice(sorted(set(who)))
    stay = tuple(i for i, subject in enumerate(who) if subject != gone)
    yield "drop", [true[i] for i in stay], stay


def _orders(who: Sequence[str]) -> list[tuple[int, ...]]:
    """All orders but the true one in which each thing does its own in turn."""
    places = tuple(range(len(who)))
    return [
        order
        for order in itertools.permutations(places)
        if order != places
        and all([i for i in order if who[i] == one] == [i for i in places if who[i] == one] for one in set(who))
    ]


def _inversions(order: Sequence[int]) -> int:
    return sum(a > b for a, b in itertools.combinations(order, 2))


def _of_another(clip: MicroClip, draw: random.Random) -> list[str]:
    """What a thing might have done whose colour nothing in the clip has."""
    there = {tube.phrase.split()[1] for tube in clip.tubes}
    name = f"{draw.choice([c for c in colours.THINGS if c not in there])} {draw.choice(SHAPES)}"
    acts = draw.choice(((EventKind.ENTERS, EventKind.LEAVES), (EventKind.ENTERS, EventKind.LEAVES), (EventKind.MOVES,)))
    return [f"The {name} {kind}." for kind in acts]


def _woven(one: Sequence[str], other: Sequence[str], draw: random.Random) -> list[str]:
    """Both in one list, each in its own order."""
    turns = [0] * len(one) + [1] * len(other)
    draw.shuffle(turns)
    left = iter(one), iter(other)
    return [next(left[turn]) for turn in turns]


def _pair(
    account: Sample, told: Sequence[Event], kind: str, lines: Sequence[str], order: tuple[int, ...], seed: int
) -> PreferenceSample:
    question, answer = account.turns[0], " ".join(sentence(e) for e in told)
    wrong = " ".join(lines)
    touched = sum(i != j for i, j in enumerate(order)) if kind in ("reverse", "shuffle") else 1
    strength = min(1.0, touched / len(told))
    own = {f.name: getattr(account, f.name) for f in fields(Sample)}
    key = account.key[:_CLIP_SIGNS] + child_key(account.parent_key, "pair", kind)[: len(account.key) - _CLIP_SIGNS]
    return PreferenceSample(
        **own | {"key": key, "task": "account", "turns": (question, _said(answer))},
        rejected=(_said(wrong),),
        perturbation=Perturbation(kind, "captions", strength, 0, len(told), order, seed),
        claims=(
            Claim(answer, False, True, account.evidence),
            Claim(wrong, True, False, account.evidence),
        ),
        margin=strength,
    )


def _said(text: str) -> Turn:
    return Turn(Role.ASSISTANT, text, (), (), ())
