"""From a clip's events to preference pairs: one writer tells the true list and a perturbed one, and both are checked.

After TEMPLE (arXiv 2503.16929): events stand for its clip captions. Unlike there, a pair is kept only where every claim
of the chosen side holds and one of the rejected side fails against the same evidence, and both sides have one wording,
so that they differ in what they claim and in nothing else. What does not pass is kept with its reason:

    unsettled          the evidence leaves a claim of the chosen side open
    identity           the perturbation changed no order
    same_text          both sides read alike
    rejected_is_true   no claim of the rejected side is false
    telltale           names aside the sides say different things: one is likelier to anybody who does not look

    tasks         perturbations
    account       shuffle, reverse, swap, frames (order); entity (exchanged, foreign), attribute (another colour)
    occurrence    drop, insert, replace: which of these happen
    crossings     drop, insert (neither is even), replace: everything that enters or leaves, "nothing else" being said
    order         swap: which comes first, last, after a third
    grounding     shift (moved in time), borrowed (another thing's time)

Events in somebody's words (a person's, a model's) give the account's orders, order and grounding alone: what a clause
speaks of is not known, nor what it leaves out.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import combinations, pairwise
from typing import Any, ClassVar

from reelmill.annotators.agree import LISTED_EVENTS
from reelmill.annotators.annotator import step_name
from reelmill.annotators.events import EVENTS
from reelmill.annotators.shown import FRAMES, MEDIA
from reelmill.pipelines.sources.rows import BASE, PROVENANCE
from reelmill.pipelines.views import perturb
from reelmill.pipelines.views.curated import NUM_FRAMES
from reelmill.pipelines.views.evidenced import CROSSINGS, EVERYTHING, Chain, Evidence, Said, alike, clause_told
from reelmill.pipelines.views.grounding import STILL
from reelmill.pipelines.views.happenings import by_clause, clipped, flat, recoloured, united
from reelmill.pipelines.views.occurrence import toggles
from reelmill.pipelines.views.phrasing import (
    TIME,
    Label,
    Material,
    Phrasings,
    capital,
    defused,
    fill,
    joined_methods,
    listed,
    sample,
    sample_key,
)
from reelmill.pipelines.views.worded import Worded
from reelmill.schemas import arrow
from reelmill.schemas.column import KEY, Column
from reelmill.schemas.errors import Unusable
from reelmill.schemas.event import Event, EventKind
from reelmill.schemas.keys import seed_for
from reelmill.schemas.sample import Claim, Perturbation, PreferenceSample, Role, Turn, widened
from reelmill.schemas.span import Span
from reelmill.schemas.verdict import ACCEPTED, Verdict, rejected

FAMILY = "dpo_perturb"
ACCOUNT, CROSSED, ORDER, GROUNDING = "account", "crossings", "order", "grounding"
OCCURRENCE = "occurrence"
PAIRS = Column.of("samples", tuple[PreferenceSample, ...])

STATED_ORDER_S = 1.0
"""How far apart events in somebody's words must start to have an order. A choice: how far such starts are off is not
known here, and two frames of a teacher that sees one a second are as far apart."""

_WRONG_TIOU = 0.5
"""A span is a wrong answer where its tIoU with every true one is below this (the usual threshold of a hit)."""
_TOLD_APART_S = 0.5
"""And one of its ends is farther from the true one than this: who audits a time takes one within half a second as right
(decision 0030)."""
_TRIES = 16
_SHIFTS = ((1.0, 2.0), (0.4, 0.9))
"""Local shifts, in lengths of the span: beside it (tIoU 0), then over it (tIoU at most 0.43)."""


@dataclass(frozen=True, kw_only=True)
class ComparePerturbed(Worded):
    """Pairs of one clip. `order_s`: starts nearer than this have no order; `most_items`: the longest account. `even`
    refuses pairs of accounts that differ in more than names (see `telltale`)."""

    order_s: float = 0.2
    most_items: int = 8
    even: bool = True
    phrasings: str = FAMILY
    needs: ClassVar[tuple[Column, ...]] = (KEY, MEDIA, FRAMES, NUM_FRAMES, STILL, EVENTS, BASE, PROVENANCE)
    gives: ClassVar[tuple[Column, ...]] = (PAIRS,)
    looked_at: ClassVar[str] = "events of the clip"
    read: ClassVar[Column] = EVENTS
    revision: ClassVar[str] = "4"

    def _row(self, row: dict[str, Any]) -> dict[str, Any]:
        if row["still"]:
            raise Unusable("still", "nothing moves in the clip, so it has no events in time")
        events = [by_clause(e) for e in arrow.typed(tuple[Event, ...], row[self.read.name])]
        clip = self.material(row)
        evidence = Evidence(
            [self._inside(clipped(e, clip.duration_s), clip.duration_s) for e in events],
            self.wording.table("near"),
            self.wording.options("vague.words"),
            self.order_s,
            self.wording.options("shades.words"),
        )
        if not evidence.accepted:
            raise Unusable("no_accepted_event", f"{len(events)} proposed, {len(events)} rejected")
        frame_s = clip.duration_s / max(1, row["num_frames"])
        made = _once_each(_Writer(self, self.wording, clip, evidence, frame_s).pairs())
        if not made:
            raise Unusable("too_few_events", f"{len(evidence.accepted)} accepted events give nothing to confuse")
        return {"samples": tuple(sorted(made, key=lambda s: s.key))}

    def _inside(self, event: Event, duration_s: float) -> Event:
        """An event beyond the decoded end is evidence of nothing (defect D3 of the recipes' register)."""
        if event.span.end_s <= duration_s:
            return event
        seen = f"[{event.span.start_s}, {event.span.end_s}) in a clip of {duration_s} s"
        return replace(event, verdict=rejected(step_name(self), "span_outside_clip", seen))


@dataclass(frozen=True, kw_only=True)
class CompareListed(ComparePerturbed):
    """The same from events in a model's words."""

    order_s: float = STATED_ORDER_S
    needs: ClassVar[tuple[Column, ...]] = (KEY, MEDIA, FRAMES, NUM_FRAMES, STILL, LISTED_EVENTS, BASE, PROVENANCE)
    read: ClassVar[Column] = LISTED_EVENTS


def _once_each(pairs: Iterator[PreferenceSample]) -> list[PreferenceSample]:
    """One of the pairs whose sides make the same claims: small lists have one permutation under several names. Keys are
    hashes, so the least of them is a draw, and no name is always the one that goes."""
    kept: dict[tuple[Any, ...], PreferenceSample] = {}
    for pair in sorted(pairs, key=lambda p: p.key):
        kept.setdefault((pair.task, *((c.text, c.rejected, c.evidence) for c in pair.claims)), pair)
    return list(kept.values())


@dataclass(frozen=True, slots=True)
class _Sides:
    """What a pair says on either side, and what it rests on."""

    question: Turn
    chosen: Turn
    rejected: Turn
    claims: tuple[Claim, ...]
    named: tuple[Event, ...]
    told: tuple[Sequence[Said], Sequence[Said]] = ((), ())


class _Writer:
    """The pairs of one clip. Every draw is seeded by the pair's own key, so that no pair depends on another."""

    def __init__(
        self, step: ComparePerturbed, wording: Phrasings, clip: Material, evidence: Evidence, frame_s: float
    ) -> None:
        self.step, self.wording, self.clip, self.evidence, self.frame_s = step, wording, clip, evidence, frame_s
        self._words: dict[Said, dict[str, str]] = {}
        self._true: dict[tuple[Said, ...], tuple[Claim, ...]] = {}

    def pairs(self) -> Iterator[PreferenceSample]:
        chains = self.evidence.chains(self.step.most_items)
        for name, chain in chains.items():
            if len({e.subject for e in chain}) > 1:  # what one thing does has one order, and everybody knows it
                yield from self.orders(name, chain)
        if all(e.kind is not EventKind.STATED for e in self.evidence.events):  # in a clause nobody knows the thing
            yield from self.things(chains[EVERYTHING])
            yield from self.occurrences()
            yield from self.crossings()
        yield from self.questions()
        yield from self.times()

    # --- accounts whose order is wrong ---

    def orders(self, name: str, chain: Chain) -> Iterator[PreferenceSample]:
        n, owners = len(chain), [e.subject for e in chain]
        for stage, size in enumerate(perturb.block_sizes(n)):

            def shuffle(rng: random.Random, size: int = size) -> perturb.Order:
                return perturb.woven(owners, perturb.shuffled_blocks(n, size, rng))

            yield self.reordered(name, chain, "shuffle", stage, shuffle, perturb.shuffles(n, size))
            back = perturb.woven(owners, perturb.reversed_blocks(n, size))
            yield self.reordered(name, chain, "reverse", stage, partial(_always, back), 1)
        places = [i for i in range(n - 1) if owners[i] != owners[i + 1]]
        yield self.reordered(name, chain, "swap", 0, lambda rng: perturb.swapped(n, rng.choice(places)), len(places))
        yield from self.reframed(name, chain)

    def reordered(
        self, name: str, chain: Chain, kind: str, stage: int, draw: Callable[[random.Random], perturb.Order], ways: int
    ) -> PreferenceSample:
        """The pair whose order has the fewest faults; there are at most so many `ways` to draw one."""
        n, key = len(chain), self.key(ACCOUNT, kind, name, stage)
        drawn = (draw(self.rng(key, f"draw {i}")) for i in range(_TRIES))
        order = _least(drawn, ways, lambda o: self._faults(chain, o))
        how = self.how(kind, "captions", stage, n, order, perturb.moved_share(order, n), key)
        return self.pair(key, ACCOUNT, how, self.accounts(key, chain, [_said(chain[i]) for i in order]))

    def _faults(self, chain: Chain, order: perturb.Order) -> int:
        """What speaks against an order: a thing does later what it does first, names aside it differs, it is true."""
        told, said = [_said(chain[i]) for i in order], [_said(e) for e in chain]
        true = not any(self.evidence.before(a, b) is False for a, b in pairwise(told))
        return 4 * (not perturb.keeps_turns([who for who, _ in said], order)) + 2 * true + (not alike(told, said))

    def reframed(self, name: str, chain: Chain) -> Iterator[PreferenceSample]:
        """The account that the shown frames would give in another order of theirs."""
        at_s = [f.at_s for f in self.clip.frames]
        slots = [max((i for i, t in enumerate(at_s) if t <= e.span.start_s), default=0) for e in chain]
        for stage, size in enumerate(perturb.block_sizes(len(at_s))):
            key = self.key(ACCOUNT, "frames", name, stage)
            rngs = (self.rng(key, f"draw {i}") for i in range(_TRIES))
            drawn = (perturb.shuffled_blocks(len(at_s), size, rng) for rng in rngs)
            ways = perturb.shuffles(len(at_s), size)
            frames = _least(drawn, ways, lambda f: self._faults(chain, perturb.framed(slots, f)))
            order = perturb.framed(slots, frames)
            how = self.how("frames", "frames", stage, len(at_s), frames, perturb.moved_share(frames, len(at_s)), key)
            yield self.pair(key, ACCOUNT, how, self.accounts(key, chain, [_said(chain[i]) for i in order]))

    # --- accounts of the wrong thing ---

    def things(self, chain: Chain) -> Iterator[PreferenceSample]:
        """Two things exchanged; a thing of another sort; a thing of another colour. One of each, drawn by the key."""
        names = list(dict.fromkeys(e.subject for e in chain))
        if not names:
            return
        if len(names) > 1:
            key = self.key(ACCOUNT, "entity", "exchanged")
            one, other = self.rng(key, "draw").sample(names, 2)
            yield self.renamed(key, chain, "entity", 1, {one: other, other: one})
        for kind, table in (("entity", "kin"), ("attribute", "near")):
            key = self.key(ACCOUNT, kind, "foreign")
            rng = self.rng(key, "draw")
            subject = rng.choice(names)
            rest, near = [s for s in self.evidence.subjects if s != subject], self.wording.table(table)
            false = self.others(subject, rest, near)
            if false and self._put_in_as_often(other := rng.choice(false), rest, near, len(false), rng):
                yield self.renamed(key, chain, kind, 0, {subject: other})

    def _put_in_as_often(
        self, other: str, rest: Sequence[str], near: dict[str, list[str]], ways: int, rng: random.Random
    ) -> bool:
        """Whether a name that was drawn from so many is kept. Each name is put in for another as often as that for it
        (Hastings, Biometrika 57, 1970): a word that is near to many fits fewer clips, is put in more seldom than it is
        taken out, and so would be known for a true one."""
        back = len(self.others(other, rest, near))
        return rng.random() * back < ways

    def others(self, subject: str, rest: Sequence[str], near: dict[str, list[str]]) -> list[str]:
        """The subject with one word exchanged for another of its table, so that the new words fit nothing in the clip,
        whose other things are `rest`.

        Neither the old word nor the new one is near to that of another thing. Both ways round the rule is the same:
        else a text with two reds in it would be known for a true one."""
        own = {word for word in subject.split() if word in near}
        present = {w for s in rest for w in s.split() if w in near}
        known = [w for w in self.wording.options("exchanged.words") if w in near]
        if len(own) != 1 or not own <= set(known) or _near(own, present, near):
            return []
        words = [w for w in known if not _near({w}, own | present, near)]
        renamed = [recoloured(subject, own, word) for word in words]
        return [s for s in renamed if not any(self.evidence.could_be(s, o) for o in (subject, *rest))]

    def renamed(self, key: str, chain: Chain, kind: str, stage: int, names: dict[str, str]) -> PreferenceSample:
        told = [(names.get(e.subject, e.subject), e.kind) for e in chain]
        touched = sum(e.subject in names for e in chain) / len(told)
        how = self.how(kind, "captions", stage, len(told), (), touched, key)
        return self.pair(key, ACCOUNT, how, self.accounts(key, chain, told))

    def accounts(self, key: str, chain: Chain, told: Sequence[Said]) -> _Sides:
        """The true account and the perturbed one, by the same writer."""
        said = tuple(_said(e) for e in chain)
        if said not in self._true:
            self._true[said] = self.evidence.told(said, rejected=False)
        claims = (*self._true[said], *self.evidence.told(told, rejected=True))
        return _Sides(
            self.ask(ACCOUNT, key), self.account(key, said), self.account(key, told), claims, chain, (said, told)
        )

    def account(self, key: str, said: Sequence[Said]) -> Turn:
        forms: list[dict[str, str]] = self.wording.table("account.forms")
        form = forms[seed_for(self.step.seed, key, "form") % len(forms)]
        places = ["first", *["next"] * (len(said) - 2), *(["last"] if len(said) > 1 else [])]
        sentences = [
            fill(form[place], f"account.forms {place}", self.words(s)) for place, s in zip(places, said, strict=True)
        ]
        return Turn(Role.ASSISTANT, " ".join(sentences), (), (), ())

    # --- which of these happen ---

    def occurrences(self) -> Iterator[PreferenceSample]:
        every = self.key(OCCURRENCE, "drawn")
        for toggle in toggles(self.evidence, lambda name: self.rng(every, name)):
            drawn = self.key(OCCURRENCE, toggle.kind, toggle.stage)  # of a drop and its mirror, which are worded alike
            key = self.key(OCCURRENCE, toggle.how, toggle.kind, toggle.stage)
            asked = self.rng(drawn, "order").sample(toggle.asked, len(toggle.asked))
            claims = (
                *self.evidence.answered(asked, toggle.true, rejected=False),
                *self.evidence.answered(asked, toggle.told, rejected=True),
            )
            chosen, wrong = (self.occurring(drawn, asked, said) for said in (toggle.true, toggle.told))
            named = tuple(e for s in asked for e in self.evidence.possible(s)) or self.evidence.accepted
            how = self.how(toggle.how, "claims", toggle.stage, len(asked), (), toggle.strength, key)
            yield self.pair(key, OCCURRENCE, how, _Sides(self.which(drawn, asked), chosen, wrong, claims, named))

    def which(self, key: str, asked: Sequence[Said]) -> Turn:
        words = {"clauses": "; ".join(self.words(s)["clause"] for s in asked)}
        path = "occurrence.several" if len(asked) > 1 else "occurrence.one"
        return Turn(Role.USER, self.wording.pick(path, seed_for(self.step.seed, key, "question"), **words), (), (), ())

    def occurring(self, key: str, asked: Sequence[Said], said: Sequence[Said]) -> Turn:
        """Those of `asked` that are said to happen, in the order in which they were asked about."""
        seed = seed_for(self.step.seed, key, "answer")
        if len(asked) == 1:
            text = self.wording.pick("occurrence.yes" if said else "occurrence.no", seed, **self.words(asked[0]))
        elif said:
            lines = [self.words(s)["Clause"] + "." for s in asked if s in said]
            text = " ".join([*lines, self.wording.pick("occurrence.end", seed)])
        else:
            text = self.wording.pick("occurrence.none", seed)
        return Turn(Role.ASSISTANT, text, (), (), ())

    # --- everything that enters or leaves ---

    def crossings(self) -> Iterator[PreferenceSample]:
        true = self.evidence.crossings()
        if true and not self.evidence.settled(CROSSINGS):
            yield self.counted(self.key(CROSSED, "drop", 0), "drop", 0, true, true[1:], tuple(range(1, len(true))))
            return  # refused as unsettled: nobody knows whether that is all
        absent = [(s, k) for s in self.evidence.named for k in CROSSINGS if self.evidence.happens((s, k)) is False]
        for stage, count in enumerate(perturb.drop_counts(len(true))):
            if len(absent) < count:
                continue  # a drop without its inverse would make the shorter side the wrong one
            key = self.key(CROSSED, "drop", stage)
            stay = perturb.dropped(len(true), count, self.rng(key, "draw"))
            yield self.counted(key, "drop", stage, true, [true[i] for i in stay], stay)
            key = self.key(CROSSED, "insert", stage)
            rng = self.rng(key, "draw")
            yield self.counted(key, "insert", stage, true, [*true, *rng.sample(absent, count)], ())
        yield from self.replaced(true, absent)

    def replaced(self, true: Sequence[Said], absent: Sequence[Said]) -> Iterator[PreferenceSample]:
        """One entrance or exit given to another thing in view that has none: as many on either side."""
        pairs = [(i, (who, k)) for i, (_, kind) in enumerate(true) for who, k in absent if k is kind]
        if pairs:
            key = self.key(CROSSED, "replace")
            place, other = self.rng(key, "draw").choice(pairs)
            told = [*true[:place], other, *true[place + 1 :]]
            yield self.counted(key, "replace", 0, true, told, ())

    def counted(
        self, key: str, kind: str, stage: int, true: Sequence[Said], told: Sequence[Said], order: perturb.Order
    ) -> PreferenceSample:
        claims = (*self.evidence.listed(true, rejected=False), *self.evidence.listed(told, rejected=True))
        sides = _Sides(
            self.ask(CROSSED, key),
            self.roll(key, true),
            self.roll(key, told),
            claims,
            self.evidence.accepted,
            (true, told),
        )
        share = len(set(told) ^ set(true)) / len({*told, *true})
        return self.pair(key, CROSSED, self.how(kind, "captions", stage, len(true), order, share, key), sides)

    def roll(self, key: str, said: Sequence[Said]) -> Turn:
        """The list, in an order that says nothing: one of time would betray what was put in or left out."""
        seed = seed_for(self.step.seed, key, "form")
        said = sorted(said, key=lambda s: seed_for(self.step.seed, key, f"{s[0]} {s[1]}"))
        lines = [self.wording.pick("crossings.line", seed, **self.words(s)) for s in said]
        text = " ".join([*lines, self.wording.pick("crossings.end", seed)])
        return Turn(Role.ASSISTANT, text, (), (), ())

    # --- which comes first, last, after a third ---

    def questions(self) -> Iterator[PreferenceSample]:
        """Of two things that do the same, so that nothing but the video tells which of them is earlier."""
        once = [e for e in self.evidence.accepted if e.subject in self.evidence.named]
        once = [e for e in once if len(self.evidence.possible(_said(e))) == 1 and not self.evidence.unseen(_said(e))]
        for one, other in combinations(once, 2):
            if one.kind is other.kind and self.evidence.before(_said(one), _said(other)):
                yield self.compared("first", one, other)
                yield self.compared("last", other, one)
                third = [e for e in once if e.subject not in (one.subject, other.subject)]
                for pivot in third:
                    between = (
                        self.evidence.before(_said(one), _said(pivot)),
                        self.evidence.before(_said(pivot), _said(other)),
                    )
                    if all(between):
                        yield self.compared("after", other, one, pivot)
                        yield self.compared("before", one, other, pivot)

    def compared(self, which: str, right: Event, wrong: Event, pivot: Event | None = None) -> PreferenceSample:
        about = [f"{e.subject} {e.kind}" for e in (right, wrong, pivot) if e is not None]
        key = self.key(ORDER, which, *about)
        named = (right, wrong, *((pivot,) if pivot else ()))
        both = sorted((right, wrong), key=lambda e: seed_for(self.step.seed, key, e.subject))
        words = {f"{n}_{k}": v for n, e in zip(("a", "b"), both, strict=True) for k, v in self.words(_said(e)).items()}
        words |= {f"x_{k}": v for k, v in self.words(_said(pivot)).items()} if pivot else {}
        path = f"order.{which}_stated" if pivot and pivot.kind is EventKind.STATED else f"order.{which}"
        question = self.wording.pick(path, seed_for(self.step.seed, key, "question"), **words)
        claims = tuple(self.ordered(which, e, o, pivot, e is wrong) for e, o in ((right, wrong), (wrong, right)))
        chosen, rejected_side = (self.tell("order.answer", key, self.words(_said(e))) for e in (right, wrong))
        sides = _Sides(Turn(Role.USER, question, (), (), ()), chosen, rejected_side, claims, named)
        return self.pair(key, ORDER, self.how("swap", "claims", 0, 2, (1, 0), 1.0, key), sides)

    def ordered(self, which: str, one: Event, other: Event, pivot: Event | None, wrong: bool) -> Claim:
        """What an answer claims: its event against the other one, or against the third."""
        against = pivot or other
        early = which in ("first", "before")
        first, second = (one, against) if early else (against, one)
        text = f"{clause_told(_said(first))} before {clause_told(_said(second))}"
        return self.evidence.claim(text, self.evidence.before(_said(first), _said(second)), (_said(one),), wrong)

    # --- when ---

    def times(self) -> Iterator[PreferenceSample]:
        asked = dict.fromkeys((e.subject, e.kind) for e in self.evidence.accepted if e.subject in self.evidence.named)
        for said in asked:
            events = self.evidence.possible(said)
            if not self.evidence.unseen(said) and all(e.verdict.accepted and e.subject == said[0] for e in events):
                yield from self.shifts(said, events)
                yield from self.borrowed(said, events)

    def shifts(self, said: Said, events: Sequence[Event]) -> Iterator[PreferenceSample]:
        """One span moved by whole frames. One that touches an end of the clip, or would then, is left alone: where
        it touched would tell which is which."""
        true = united(e.span for e in events)
        for stage, (least, most) in enumerate(_SHIFTS):
            key = self.key(GROUNDING, "shift", *said, stage)
            rng = self.rng(key, "draw")
            at = rng.randrange(len(true))
            far_s = max(rng.uniform(least, most) * true[at].duration_s, _TOLD_APART_S + 2 * self.frame_s)
            by_s = rng.choice((-1, 1)) * far_s
            moved = perturb.shifted(true[at], round(by_s / self.frame_s) * self.frame_s, self.clip.duration_s)
            if moved is not None and self._free(true[at]) and self._free(moved):
                told = (*true[:at], moved, *true[at + 1 :])
                if united(told) == tuple(sorted(told, key=lambda s: s.start_s)) and _wrong_span(moved, true):
                    yield self.placed(key, "shift", stage, said, events, united(told))

    def _free(self, span: Span) -> bool:
        return span.start_s > self.step.order_s and span.end_s < self.clip.duration_s - self.step.order_s

    def borrowed(self, said: Said, events: Sequence[Event]) -> Iterator[PreferenceSample]:
        """The time at which another thing does the same: as likely as the true one to anybody who does not look."""
        true = united(e.span for e in events)
        for other in self.evidence.named:
            theirs = united(e.span for e in self.evidence.possible((other, said[1])))
            if other != said[0] and len(true) == len(theirs) == 1 and _wrong_span(theirs[0], true):
                key = self.key(GROUNDING, "borrowed", *said, other)
                yield self.placed(key, "borrowed", 0, said, events, theirs)

    def placed(
        self, key: str, kind: str, stage: int, said: Said, events: Sequence[Event], told: tuple[Span, ...]
    ) -> PreferenceSample:
        true = united(e.span for e in events)
        words = self.words(said) | {"times": listed([TIME] * len(true))}
        chosen, wrong = (
            replace(self.tell("grounding.answer", key, words), tgt_s=flat(spans)) for spans in (true, told)
        )
        claims = tuple(
            self.evidence.claim(
                f"{clause_told(said)} at [{s.start_s:.3f}, {s.end_s:.3f})", _held(s, true), (said,), side
            )
            for side, spans in ((False, true), (True, told))
            for s in spans
        )
        question = self.ask("stated" if said[1] is EventKind.STATED else GROUNDING, key, words)
        sides = _Sides(question, chosen, wrong, claims, tuple(events))
        strength = sum(s not in true for s in told) / len(told)
        return self.pair(key, GROUNDING, self.how(kind, "claims", stage, len(true), (), strength, key), sides)

    # --- what all pairs share ---

    def key(self, task: str, *identity: str | int) -> str:
        return sample_key(self.clip.key, FAMILY, task, *identity)

    def rng(self, key: str, what: str) -> random.Random:
        return random.Random(seed_for(self.step.seed, key, what))

    def words(self, said: Said) -> dict[str, str]:
        """What a wording may say of a happening, which many pairs tell of."""
        if said not in self._words:
            self._words[said] = self._worded(said)
        return self._words[said]

    def _worded(self, said: Said) -> dict[str, str]:
        who = defused(said[0])
        if said[1] is EventKind.STATED:
            return {"clause": who, "Clause": capital(who)}
        verb: dict[str, str] = self.wording.table(f"kinds.{said[1]}")
        clause = f"{who} {verb['third']}"
        return {"subject": who, "clause": clause, "Clause": capital(clause)} | verb

    def ask(self, task: str, key: str, words: dict[str, str] | None = None) -> Turn:
        seed = seed_for(self.step.seed, key, "question")
        return Turn(Role.USER, self.wording.pick(f"{task}.question", seed, **(words or {})), (), (), ())

    def tell(self, path: str, key: str, words: dict[str, str]) -> Turn:
        text = self.wording.pick(path, seed_for(self.step.seed, key, "answer"), **words)
        return Turn(Role.ASSISTANT, text, (), (), ())

    def how(
        self, kind: str, of: str, stage: int, items: int, order: perturb.Order, strength: float, key: str
    ) -> Perturbation:
        return Perturbation(kind, of, strength, stage, items, order, seed_for(self.step.seed, key, "draw"))

    def pair(self, key: str, task: str, how: Perturbation, sides: _Sides) -> PreferenceSample:
        label = Label(
            evidence=tuple(dict.fromkeys(e.key for e in sides.named)),
            confidence=min(e.confidence for e in sides.named),
            method=joined_methods(e.method for e in sides.named),
            verdict=self._judged(how, sides),
        )
        plain = sample(self.clip, key, FAMILY, task, self.clip.frames, (sides.question, sides.chosen), label)
        theirs = [c.holds for c in sides.claims if c.rejected]
        return widened(
            PreferenceSample,
            plain,
            rejected=(sides.rejected,),
            perturbation=how,
            claims=sides.claims,
            margin=theirs.count(False) / len(theirs),
        )

    def _judged(self, how: Perturbation, sides: _Sides) -> Verdict:
        """Every claim of the chosen side holds, and one of the rejected side fails."""
        step = step_name(self.step)
        doubtful = [c.text for c in sides.claims if not c.rejected and not c.holds]
        if doubtful:
            return rejected(step, "unsettled", f"the evidence leaves open: {doubtful[0]}")
        if how.order and perturb.is_identity(how.order, how.items):
            return rejected(step, "identity", f"{how.kind} of {how.items} {how.of} leaves all in place")
        if sides.chosen == sides.rejected:
            return rejected(step, "same_text", f"{how.kind} of {how.items} {how.of} reads the same")
        if all(c.holds for c in sides.claims if c.rejected):
            return rejected(step, "rejected_is_true", f"{how.kind}: the evidence contradicts none of its claims")
        if self.step.even and not alike(*sides.told):
            return rejected(step, "telltale", f"{how.kind}: names aside, the sides say different things")
        return ACCEPTED


def _always(order: perturb.Order, rng: random.Random) -> perturb.Order:
    """A perturbation that leaves nothing to chance."""
    del rng
    return order


def _least(orders: Iterable[perturb.Order], ways: int, faults: Callable[[perturb.Order], int]) -> perturb.Order:
    """The first of those with the fewest faults; none is drawn after one without any, nor when all `ways` are known."""
    known: dict[perturb.Order, int] = {}
    for order in orders:
        if order not in known:
            known[order] = faults(order)
            if not known[order]:
                return order
        if len(known) == ways:
            break
    return min(known, key=lambda o: known[o])


def _said(event: Event) -> Said:
    return event.subject, event.kind


def _near(words: Collection[str], others: Collection[str], near: Mapping[str, Sequence[str]]) -> bool:
    """Whether some word is one of the others or near to it, by either one's list."""
    return any(w == o or w in near[o] or o in near[w] for w in words for o in others)


def _wrong_span(span: Span, true: Sequence[Span]) -> bool:
    return all(span.tiou(t) < _WRONG_TIOU and _apart_s(span, t) > _TOLD_APART_S for t in true)


def _apart_s(one: Span, other: Span) -> float:
    return max(abs(one.start_s - other.start_s), abs(one.end_s - other.end_s))


def _held(span: Span, true: Sequence[Span]) -> bool:
    return not _wrong_span(span, true)
