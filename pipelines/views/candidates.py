"""Candidate accounts of a clip that stand in for a model's samples: a true one, made wrong by stated rules.

    drop      events are left out
    merge     an event and the next are told as one: from the earlier start to the later end, both sentences joined
    shift     a time is moved by 0.4 to 1.5 of its length (more where that is not wrong), inside the clip
    swap      sentences change places, times stay (or the other way round)
    exchange  a sentence says that the thing does something which it never does

Those tell by their form: of two accounts the shorter one, or the one whose times do not rise, is wrong. These do not:

    rename          two things change names throughout, so that names aside nothing is changed
    exchange_times  two things that do the same change times; captions are told in an order that says nothing

Each touches a share of the events and says how many. A rule gives None where it cannot make anything wrong.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from reelmill.schemas.span import Span

_SHIFTS = ((0.4, 1.5), (1.5, 6.0))
"""In lengths of the span: near it first, then farther off."""
_TRIES = 12
_STEP_S = 1e-3
"""Moved times are whole milliseconds: finer ones would claim more than anybody saw."""


@dataclass(frozen=True, slots=True)
class Item:
    """An event as one side tells it: when, and a clause without full stop."""

    span: Span
    clause: str


Told = tuple[Item, ...]
Doing = tuple[str, str]
"""A thing's name and what it does."""

Wrong = Callable[[Item], bool]
"""Whether a sentence is wrong of its time."""


@dataclass(frozen=True, slots=True)
class Setting:
    """What a rule may draw on. `wrong` judges a moved item; `others` are false clauses by the clause they replace;
    `things` say of whom a clause speaks and what that does, for things that are named like no other, and `clause` is
    the way back for every such thing and whatever any does."""

    rng: random.Random
    duration_s: float
    wrong: Wrong
    others: Mapping[str, Sequence[str]]
    things: Mapping[str, Doing]
    clause: Mapping[Doing, str]


@dataclass(frozen=True, slots=True)
class Candidate:
    """An account made wrong: `touched` of the true events were; `order` are the places of those that it still has, in
    its order, and empty where it has them all in theirs."""

    told: Told
    touched: int
    order: tuple[int, ...] = ()


def drop(true: Told, share: float, setting: Setting) -> Candidate | None:
    """At least one event is left, and at least one is dropped."""
    count = min(_count(true, share), len(true) - 1)
    if count < 1:
        return None
    gone = set(setting.rng.sample(range(len(true)), count))
    order = tuple(i for i in range(len(true)) if i not in gone)
    return Candidate(tuple(true[i] for i in order), count, order)


def merge(true: Told, share: float, setting: Setting) -> Candidate | None:
    """As many neighbours as make up the share become one event."""
    count = min(max(2, _count(true, share)), len(true))
    if len(true) < 2:
        return None
    first = setting.rng.randrange(len(true) - count + 1)
    own = true[first : first + count]
    span = Span(min(i.span.start_s for i in own), max(i.span.end_s for i in own))
    joined = Item(span, ", and ".join(dict.fromkeys(i.clause for i in own)))
    order = tuple(i for i in range(len(true)) if not first < i < first + count)
    return Candidate((*true[:first], joined, *true[first + count :]), count, order)


def shift(true: Told, share: float, setting: Setting) -> Candidate | None:
    """Those of the drawn events that can be moved to where they are wrong are moved."""
    told, touched = list(true), 0
    for place in sorted(setting.rng.sample(range(len(true)), _count(true, share))):
        moved = _moved(true[place], setting)
        if moved is not None:
            told[place], touched = moved, touched + 1
    return Candidate(tuple(told), touched) if touched else None


def _moved(item: Item, setting: Setting) -> Item | None:
    rng, span = setting.rng, item.span
    for least, most in _SHIFTS:
        for _ in range(_TRIES):
            by_s = rng.choice((-1, 1)) * rng.uniform(least, most) * span.duration_s
            start_s, end_s = _rounded(span.start_s + by_s), _rounded(span.end_s + by_s)
            if not 0 <= start_s < end_s <= setting.duration_s:
                continue
            moved = replace(item, span=Span(start_s, end_s))
            if setting.wrong(moved):
                return moved
    return None


def _rounded(time_s: float) -> float:
    return round(round(time_s / _STEP_S) * _STEP_S, 6)


def swap(true: Told, share: float, setting: Setting) -> Candidate | None:
    """Sentences of at least two events move on by one place among themselves; times stay."""
    if len(true) < 2:
        return None
    order = _rotated(true, share, setting)
    told = tuple(replace(item, clause=true[i].clause) for item, i in zip(true, order, strict=True))
    return Candidate(told, _touched(order), order)


def swap_times(true: Told, share: float, setting: Setting) -> Candidate | None:
    """As `swap`, with sentences that stay and times that move."""
    if len(true) < 2:
        return None
    order = _rotated(true, share, setting)
    told = tuple(replace(item, span=true[i].span) for item, i in zip(true, order, strict=True))
    return Candidate(told, _touched(order), order)


def _rotated(true: Told, share: float, setting: Setting) -> tuple[int, ...]:
    places = sorted(setting.rng.sample(range(len(true)), max(2, _count(true, share))))
    order = list(range(len(true)))
    for place, other in zip(places, (*places[1:], places[0]), strict=True):
        order[place] = other
    return tuple(order)


def _touched(order: tuple[int, ...]) -> int:
    return sum(place != i for place, i in enumerate(order))


def exchange(true: Told, share: float, setting: Setting) -> Candidate | None:
    """Of the drawn events those whose sentence has a false neighbour say that instead; nothing is said twice, which no
    account of a clip would."""
    told, touched = list(true), 0
    for place in sorted(setting.rng.sample(range(len(true)), _count(true, share))):
        others = [o for o in setting.others.get(true[place].clause, ()) if all(o != i.clause for i in told)]
        if others:
            told[place], touched = replace(true[place], clause=setting.rng.choice(others)), touched + 1
    return Candidate(tuple(told), touched) if touched else None


def rename(true: Told, share: float, setting: Setting) -> Candidate | None:
    """Two things, whatever the share. No habit of the world says which of them a name belongs to."""
    del share
    names = sorted({setting.things[i.clause][0] for i in true if i.clause in setting.things})
    if len(names) < 2:
        return None
    one, other = setting.rng.sample(names, 2)
    told = tuple(Item(i.span, _renamed(i.clause, {one: other, other: one}, setting)) for i in true)
    return Candidate(told, sum(a != b for a, b in zip(true, told, strict=True)))


def _renamed(clause: str, names: Mapping[str, str], setting: Setting) -> str:
    who, does = setting.things.get(clause, ("", ""))
    return setting.clause[names[who], does] if who in names else clause


def exchange_times(true: Told, share: float, setting: Setting) -> Candidate | None:
    """Two things that do the same in the same order, whatever the share."""
    del share
    places: dict[str, list[int]] = {}
    for place, item in enumerate(true):
        if item.clause in setting.things:
            places.setdefault(setting.things[item.clause][0], []).append(place)
    doing = {who: [setting.things[true[i].clause][1] for i in own] for who, own in places.items()}
    alike = [(a, b) for a in sorted(doing) for b in sorted(doing) if a < b and doing[a] == doing[b]]
    if not alike:
        return None
    one, other = setting.rng.choice(alike)
    told = list(true)
    for i, j in zip(places[one], places[other], strict=True):
        told[i], told[j] = replace(true[i], span=true[j].span), replace(true[j], span=true[i].span)
    return Candidate(tuple(told), 2 * len(places[one]))


def _count(true: Told, share: float) -> int:
    return min(len(true), max(1, round(share * len(true))))


RULES: dict[str, Callable[[Told, float, Setting], Candidate | None]] = {
    "drop": drop,
    "merge": merge,
    "shift": shift,
    "swap": swap,
    "swap_times": swap_times,
    "exchange": exchange,
    "rename": rename,
    "exchange_times": exchange_times,
}


def quotas(sizes: Mapping[str, int], total: int) -> dict[str, int]:
    """How many to draw from each pool: an even share of `total`, and what some lack from whichever has most left.

    After VidChain's M-DPO data (5,000 of each of four pools, deficits filled from the largest). Ties by name.

    >>> quotas({"captions": 1, "segments": 9, "times": 4}, 9)
    {'captions': 1, 'segments': 5, 'times': 3}
    """
    even = total // len(sizes) if sizes else 0
    drawn = {pool: min(size, even) for pool, size in sorted(sizes.items())}
    while sum(drawn.values()) < min(total, sum(sizes.values())):
        fullest = max(drawn, key=lambda pool: sizes[pool] - drawn[pool])
        drawn[fullest] += 1
    return drawn
