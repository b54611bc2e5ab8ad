"""From a clip's events to dialogues of several turns about all of them, and to pairs of those, ranked by a metric.

After VidChain (Lee et al., AAAI 2025, arXiv 2501.06761): dense captioning as a chain of easier questions (CoTasks), how
many events, then sentences and times in either order; and pairs whose sides differ in a metric (M-DPO), in four pools:

    pool                  shared turns              compared                measure (x 100)
    segments              -                         count, then times       F1 of mean best tIoU
    captions              -                         count, then sentences   ROUGE-L, matched in order
    captions_given_times  true count, true times    sentences with times    SODA_c with ROUGE-L
    times_given_captions  true count and sentences  times                   SODA_c with ROUGE-L

There three samples of a model are compared with each other, and the better one may be half wrong. Here the chosen side
is true throughout, and the others are candidates made wrong by rule (`candidates`). A pair that teaches nothing is kept
as a refused child:

    rejected_is_true  no claim of the rejected side fails
    same_text         both sides read alike
    gap_too_small     the measure sees less than `least_margin` between them
    not_drawn         its pool has given its share of the clip's pairs

Rows are refused as `unsettled` while an event is not accepted: neither "how many" nor "each" has an answer then.
"""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, ClassVar

from reelmill.annotators.annotator import step_name
from reelmill.annotators.events import EVENTS
from reelmill.annotators.sample_accounts import ACCOUNTS, NOTHING, SENTENCES, TIMES
from reelmill.annotators.shown import FRAMES, MEDIA
from reelmill.pipelines.sources.rows import BASE, PROVENANCE
from reelmill.pipelines.views.candidates import RULES, Candidate, Item, Setting, Told, quotas
from reelmill.pipelines.views.grounding import STILL
from reelmill.pipelines.views.happenings import ClipView, flat, may_be, united
from reelmill.pipelines.views.phrasing import Label, capital, fill, joined_methods, sample, sample_key
from reelmill.pipelines.views.worded import Worded
from reelmill.schemas import arrow
from reelmill.schemas.answer import DrawnAccount
from reelmill.schemas.column import KEY, Column
from reelmill.schemas.errors import Unusable
from reelmill.schemas.event import RULE_KINDS, Event, EventKind
from reelmill.schemas.keys import seed_for
from reelmill.schemas.metrics.captions import rouge_l, tokens
from reelmill.schemas.metrics.dense import Prf, segments, soda_c, story
from reelmill.schemas.sample import Claim, Perturbation, PreferenceSample, Role, Sample, Turn, widened
from reelmill.schemas.span import Span
from reelmill.schemas.verdict import ACCEPTED, Verdict, rejected

FAMILY = "cotasks"
CAPTIONS_FIRST, SEGMENTS_FIRST = "captions_first", "segments_first"
SEGMENTS, CAPTIONS = "segments", "captions"
CAPTIONS_GIVEN, TIMES_GIVEN = "captions_given_times", "times_given_captions"
PAIRS = Column.of("samples", tuple[PreferenceSample, ...])

_PARTS = {
    CAPTIONS_FIRST: ("count", "captions", "times"),
    SEGMENTS_FIRST: ("count", "segments", "dense"),
    SEGMENTS: ("count", "segments"),
    CAPTIONS: ("count", "captions"),
    CAPTIONS_GIVEN: ("count", "segments", "dense"),
    TIMES_GIVEN: ("count", "named", "times"),
}
"""The questions of each dialogue, in order."""
_WRONG_TIOU = 0.5
"""A time is no time of an event where their tIoU is below this, the usual threshold of a hit."""
_OTHER_KINDS = (EventKind.ENTERS, EventKind.LEAVES, EventKind.STOPS)
"""Kinds that a thing may be said to do wrongly. All of them imply that it moves, so "it moves" would often be true."""


@dataclass(frozen=True, kw_only=True)
class CompileCoTasks(Worded):
    """Two dialogues of one clip from its events, all of which must be accepted.

    A clip of fewer than `least_events` has nothing to tell apart; one of more than `most_events` is refused too.
    """

    least_events: int = 2
    most_events: int = 12
    phrasings: str = FAMILY
    needs: ClassVar[tuple[Column, ...]] = (KEY, MEDIA, FRAMES, STILL, EVENTS, BASE, PROVENANCE)
    looked_at: ClassVar[str] = "events of the clip"

    def _row(self, row: dict[str, Any]) -> dict[str, Any]:
        made = [s for writer in self.writers(row) for s in writer.dialogues()]
        return {"samples": tuple(sorted(made, key=lambda s: s.key))}

    def writers(self, row: dict[str, Any]) -> list[_Writer]:
        """One for each account of the clip: what two people say of a video, told as one, would tell things twice.

        Raises Unusable where there is nothing to tell, or something is open.
        """
        if row["still"]:
            raise Unusable("still", "nothing moves in the clip, so it has no events in time")
        by_account: dict[str, list[Event]] = defaultdict(list)
        for event in arrow.typed(tuple[Event, ...], row["events"]):
            stated = event.kind is EventKind.STATED
            by_account["+".join(p.localiser for p in event.proposals) if stated else ""].append(event)
        if not by_account:
            raise Unusable("no_accepted_event", "0 proposed, 0 rejected")
        clip = self.material(row)
        found = [_Writer(self, name, ClipView(self, clip, events)) for name, events in sorted(by_account.items())]
        for writer in found:
            writer.settle()
        return found


@dataclass(frozen=True, kw_only=True)
class CompareCoTasks(CompileCoTasks):
    """Pairs of one clip. Each pool gets `candidates`, by rules and strengths drawn from its key; at most `most_pairs`
    are drawn from those that pass, evenly from the pools and then from the fullest.

    `least_margin`: the gap of the measure, 10 on a scale of 100 in VidChain's data. `order_s`: events that start nearer
    to each other than this have no order. With `even` the wrong sides are made by rules that leave their form as it
    was, so that nobody who does not look can tell them.
    """

    candidates: int = 3
    even: bool = True
    strengths: tuple[float, ...] = (1.0, 0.67, 0.34)
    least_margin: float = 10.0
    most_pairs: int = 8
    order_s: float = 0.2
    gives: ClassVar[tuple[Column, ...]] = (PAIRS,)
    revision: ClassVar[str] = "2"

    def _row(self, row: dict[str, Any]) -> dict[str, Any]:
        made = [pair for writer in self.writers(row) for pair in _Pairs(self, writer).drawn()]
        return {"samples": tuple(sorted(made, key=lambda s: s.key))}


@dataclass(frozen=True, kw_only=True)
class CompareDrawn(CompareCoTasks):
    """The same, with what a model told in place of candidates by rule; of each pool the worst ones are drawn first."""

    needs: ClassVar[tuple[Column, ...]] = (*CompareCoTasks.needs, ACCOUNTS)
    looked_at: ClassVar[str] = "events of the clip, and a model's accounts of them"

    def _row(self, row: dict[str, Any]) -> dict[str, Any]:
        accounts = arrow.typed(tuple[DrawnAccount, ...], row["accounts"])
        made = [pair for writer in self.writers(row) for pair in _DrawnPairs(self, writer, accounts).drawn()]
        return {"samples": tuple(sorted(made, key=lambda s: s.key))}


class _Writer:
    """The dialogues of one clip by one account. Wordings are drawn by the key of what is told, for both sides alike."""

    def __init__(self, step: CompileCoTasks, account: str, view: ClipView) -> None:
        self.step, self.account, self.view = step, account, view
        told = (Item(e.span, view.words(e.subject, e.kind)["clause"]) for e in view.accepted)
        self.true: Told = tuple(dict.fromkeys(told))
        self._words: dict[tuple[int, str], dict[str, str]] = {}
        self._label = Label(
            evidence=tuple(e.key for e in view.accepted),
            confidence=min((e.confidence for e in view.accepted), default=0.0),
            method=joined_methods(e.method for e in view.accepted),
            verdict=ACCEPTED,
        )

    def settle(self) -> None:
        """Raises Unusable where the account is not complete, not inside the clip, or too short or long to tell."""
        refused = Counter(e.verdict.reason for e in self.view.events if not e.verdict.accepted)
        if refused:
            why = ", ".join(f"{n} {reason}" for reason, n in sorted(refused.items()))
            raise Unusable("unsettled", f"{refused.total()} of {len(self.view.events)} events not accepted: {why}")
        duration_s = self.view.clip.duration_s
        outside = [i.span for i in self.true if i.span.end_s > duration_s]
        if outside:
            raise Unusable("span_outside_clip", f"ends at {outside[0].end_s} s in a clip of {duration_s} s")
        wordless = [i.clause for i in self.true if not tokens(i.clause)]
        if wordless:
            raise Unusable("no_words", f"an event is described by {wordless[0]!r}")
        least, most = self.step.least_events, self.step.most_events
        if not least <= len(self.true) <= most:
            seen = f"{len(self.true)} events, want {least} to {most}"
            raise Unusable("too_few_events" if len(self.true) < least else "too_many_events", seen)

    def dialogues(self) -> Iterator[Sample]:
        for task in (CAPTIONS_FIRST, SEGMENTS_FIRST):
            key = self.key(task)
            (turns,) = self.sides(task, key, self.true)
            yield self.sample(key, task, turns, "")

    def key(self, task: str, *identity: str | int) -> str:
        return sample_key(self.view.clip.key, FAMILY, task, self.account, *identity)

    def sides(self, task: str, key: str, *accounts: Told) -> list[tuple[Turn, ...]]:
        """A dialogue for each account, which differ in their answers alone: question and answer for each part."""
        parts = [(self._asked(part, key), self._answers(part, key, accounts)) for part in _PARTS[task]]
        return [
            tuple(turn for question, answers in parts for turn in (question, answers[side]))
            for side in range(len(accounts))
        ]

    def _asked(self, part: str, key: str) -> Turn:
        path = f"{part}.question"
        return Turn(Role.USER, self.step.wording.pick(path, seed_for(self.step.seed, key, path)), (), (), ())

    def _answers(self, part: str, key: str, accounts: Sequence[Told]) -> list[Turn]:
        path = {"times": "segments.line", "named": "captions.line", "count": "count.answer"}.get(part, f"{part}.line")
        options = self.step.wording.options(path)
        wording = options[seed_for(self.step.seed, key, path) % len(options)]  # one for all lines
        return [self._answer(part, path, wording, told) for told in accounts]

    def _answer(self, part: str, path: str, wording: str, told: Told) -> Turn:
        if part == "count":
            words = {"count": f"{len(told)}", "events": "event" if len(told) == 1 else "events"}
            return Turn(Role.ASSISTANT, fill(wording, path, words), (), (), ())
        lines = [fill(wording, path, self._of_line(place, item.clause)) for place, item in enumerate(told)]
        spans = () if part in ("captions", "named") else [i.span for i in told]
        return Turn(Role.ASSISTANT, "\n".join(lines), (), flat(spans), ())

    def _of_line(self, place: int, clause: str) -> dict[str, str]:
        """What a wording may say in one line. Candidates leave most lines as they are."""
        if (place, clause) not in self._words:
            ordinals = self.step.wording.options("ordinals")
            self._words[place, clause] = {
                "Ordinal": ordinals[place] if place < len(ordinals) else f"{place + 1}.",
                "number": f"{place + 1}",
                "clause": clause,
                "Clause": capital(clause),
            }
        return self._words[place, clause]

    def sample(self, key: str, task: str, turns: tuple[Turn, ...], measure: str, verdict: Verdict = ACCEPTED) -> Sample:
        method = self._label.method + (f":{measure}" if measure else "")
        label = Label(self._label.evidence, self._label.confidence, method, verdict)
        return sample(self.view.clip, key, FAMILY, task, self.view.clip.frames, turns, label)


def _segments(told: Told, true: Told) -> Prf:
    return segments([(i.span.start_s, i.span.end_s) for i in told], [(i.span.start_s, i.span.end_s) for i in true])


@lru_cache(maxsize=1 << 12)
def _likeness(said: str, other: str) -> float:
    """Of a clip's few clauses every two are compared for each of its candidates."""
    return rouge_l(said, [other])


def _rouge(said: str, references: Sequence[str]) -> float:
    return _likeness(said, *references)


def _story(told: Told, true: Told) -> Prf:
    return story([i.clause for i in told], [i.clause for i in true], _rouge)


def _soda(told: Told, true: Told) -> Prf:
    sides = [[((i.span.start_s, i.span.end_s), i.clause) for i in side] for side in (told, true)]
    found = soda_c([(sides[0], sides[1])], _rouge).macro
    assert found is not None
    return found


@dataclass(frozen=True, slots=True)
class Pool:
    """A kind of comparison: its measure, what may be done to the true account, what of that keeps its form, and whether
    the count is compared. Of times alone, nameless, no change was found that keeps their form."""

    measure: str
    score: Callable[[Told, Told], Prf]
    rules: tuple[str, ...]
    even_rules: tuple[str, ...]
    counted: bool


POOLS: Mapping[str, Pool] = {
    SEGMENTS: Pool("segments_f1", _segments, ("drop", "merge", "shift"), (), True),
    CAPTIONS: Pool("story_rouge_l", _story, ("drop", "merge", "swap", "exchange"), ("rename",), True),
    CAPTIONS_GIVEN: Pool("soda_c_rouge_l", _soda, ("swap", "exchange"), ("rename",), False),
    TIMES_GIVEN: Pool("soda_c_rouge_l", _soda, ("shift", "swap_times"), ("exchange_times",), False),
}


class _Pairs:
    """The pairs of one account. Every draw is seeded by the pair's own key, so that no pair depends on another."""

    def __init__(self, step: CompareCoTasks, writer: _Writer) -> None:
        self.step, self.writer, self.true = step, writer, writer.true
        self.duration_s = writer.view.clip.duration_s
        self.same = _Sameness(writer)
        self._evidence = tuple(e.key for e in writer.view.accepted)
        self._of_truth: dict[str, tuple[Claim, ...]] = {}
        self._spans: dict[str, tuple[tuple[Span, ...], tuple[Span, ...]]] = {}
        starts = [i.span.start_s for i in self.true]
        self._between = [
            (
                sum(s < start - step.order_s for s in starts),
                len(starts) - 1 - sum(s > start + step.order_s for s in starts),
            )
            for start in starts
        ]

    def drawn(self) -> Iterator[PreferenceSample]:
        """Every pair that was made, with a verdict."""
        made = {pool: self._once_each(pool) for pool in POOLS if self._rules(pool)}
        passed = {pool: [p for p in pairs if p.verdict.accepted] for pool, pairs in made.items()}
        want = quotas({pool: len(pairs) for pool, pairs in passed.items()}, self.step.most_pairs)
        for pool, pairs in made.items():
            yield from (p for p in pairs if not p.verdict.accepted)
            yield from passed[pool][: want[pool]]
            seen = f"{want[pool]} were drawn from {len(passed[pool])} of {pool}"
            late = rejected(step_name(self.step), "not_drawn", seen)
            yield from (replace(pair, verdict=late) for pair in passed[pool][want[pool] :])

    def _rules(self, pool: str) -> tuple[str, ...]:
        return POOLS[pool].even_rules if self.step.even else POOLS[pool].rules

    def _once_each(self, pool: str) -> list[PreferenceSample]:
        """Candidates that came out alike make one pair."""
        kept: dict[tuple[Turn, ...], PreferenceSample] = {}
        for number in range(self.step.candidates):
            pair = self._pair(pool, number)
            if pair is not None:
                kept.setdefault(pair.rejected, pair)
            elif self.step.even:
                break  # whether rules that keep the form can make anything wrong does not depend on what is drawn
        return list(kept.values())

    def _pair(self, pool: str, number: int) -> PreferenceSample | None:
        key = self.writer.key(pool, number)
        seed = seed_for(self.step.seed, key, "candidate")
        rng = random.Random(seed)
        rule, stage = rng.choice(self._rules(pool)), rng.randrange(len(self.step.strengths))
        same = self.same
        setting = Setting(rng, self.duration_s, self._wrong_of(pool), same.others, same.things, same.clause)
        made = RULES[rule](self.true, self.step.strengths[stage], setting)
        if made is None:
            return None
        how = Perturbation(
            kind="metric",
            of=f"{pool}:{rule}",
            strength=made.touched / len(self.true),
            stage=stage,
            items=len(self.true),
            order=made.order,
            seed=seed,
        )
        return self._compared(pool, key, made, how)

    def _compared(self, pool: str, key: str, made: Candidate, how: Perturbation) -> PreferenceSample:
        told = tuple(sorted(made.told, key=_in_time)) if pool == SEGMENTS else made.told
        order = self._order(pool, key)
        placed = (tuple(side[i] for i in order) if len(side) == len(order) else side for side in (self.true, told))
        chosen, turns = self.writer.sides(pool, key, *placed)
        compared = turns[1:] if POOLS[pool].counted else turns[-1:]
        margin = round(100 * (1 - POOLS[pool].score(told, self.true).f1), 6)  # every measure of the truth itself is 1
        claims = (*self._true_claims(pool), *self._claims(pool, told, rejected_side=True))
        verdict = self._verdict(margin, claims, chosen[-1] == turns[-1])
        base = self.writer.sample(key, pool, chosen, POOLS[pool].measure, verdict)
        own = {"rejected": compared, "perturbation": how, "claims": claims, "margin": margin}
        return widened(PreferenceSample, base, **own)

    def _order(self, pool: str, key: str) -> Sequence[int]:
        """The places of the events in the order in which they are told: that of time, in which true times alone would
        rise, but where sentences are given; there things take turns as they are drawn, each with all it does."""
        places = range(len(self.true))
        if pool != TIMES_GIVEN or not self.step.even:
            return places
        who = [self.same.things.get(item.clause, (item.clause, ""))[0] for item in self.true]
        names = sorted(set(who))
        drawn = random.Random(seed_for(self.step.seed, key, "order")).sample(names, len(names))
        return sorted(places, key=lambda i: drawn.index(who[i]))

    def _verdict(self, margin: float, claims: Sequence[Claim], alike: bool) -> Verdict:
        step = step_name(self.step)
        if alike:
            return rejected(step, "same_text", "both sides end alike")
        if all(c.holds for c in claims):
            return rejected(step, "rejected_is_true", f"all {len(claims)} claims hold")
        if margin < self.step.least_margin:
            return rejected(step, "gap_too_small", f"{margin:.2f}, want {self.step.least_margin}")
        return ACCEPTED

    def _true_claims(self, pool: str) -> tuple[Claim, ...]:
        """What the chosen side says, which is the same for every candidate."""
        if pool not in self._of_truth:
            self._of_truth[pool] = tuple(self._claims(pool, self.true, rejected_side=False))
        return self._of_truth[pool]

    def _claims(self, pool: str, told: Told, *, rejected_side: bool) -> Iterator[Claim]:
        if POOLS[pool].counted:
            yield Claim(f"number of events: {len(told)}", rejected_side, len(told) == len(self.true), self._evidence)
        for place, item in enumerate(told):
            text, holds = self._claim(pool, place, item)
            yield Claim(text, rejected_side, holds, self._evidence)

    def _claim(self, pool: str, place: int, item: Item) -> tuple[str, bool]:
        time = f"from {item.span.start_s:g} to {item.span.end_s:g} s"
        if pool == SEGMENTS:
            return f"event {place + 1} is {time}", any(_hits(item.span, i.span) for i in self._at(place))
        if pool == CAPTIONS:
            same = self.same.of(item.clause)
            return f"event {place + 1}: {item.clause}", any(i.clause in same for i in self._at(place))
        return f"{item.clause} {time}", not self._wrong(item)

    def _at(self, place: int) -> list[Item]:
        """The events that can be the one at a place: those that start together have no order."""
        between = zip(self.true, self._between, strict=True)
        return [item for item, (first, last) in between if first <= place <= last]

    def _wrong_of(self, pool: str) -> Callable[[Item], bool]:
        if pool == SEGMENTS:
            return lambda item: not any(_hits(item.span, i.span) for i in self.true)
        return self._wrong

    def _wrong(self, item: Item) -> bool:
        """A sentence is wrong of a time that is near to none of its own, and of which less than half is."""
        own, whole = self._own(item.clause)
        if any(_hits(item.span, s) for s in own):
            return False
        return sum(s.overlap_s(item.span) for s in whole) < 0.5 * item.span.duration_s

    def _own(self, clause: str) -> tuple[tuple[Span, ...], tuple[Span, ...]]:
        """The times of all events that a clause may speak of: each, and united."""
        if clause not in self._spans:
            same = self.same.of(clause)
            spans = tuple(i.span for i in self.true if i.clause in same)
            self._spans[clause] = spans, united(spans)
        return self._spans[clause]


class _DrawnPairs(_Pairs):
    """Pairs whose rejected side is what a model told. A time beyond the clip's end ends with it."""

    def __init__(self, step: CompareDrawn, writer: _Writer, accounts: Sequence[DrawnAccount]) -> None:
        super().__init__(step, writer)
        self.accounts = accounts
        view = writer.view
        own = {(e.subject, e.kind): e.phrase for e in view.accepted}
        subjects = {subject for subject, kind in own if kind is not EventKind.STATED}
        own |= {(who, kind): f"{who} {kind}" for who in subjects for kind in RULE_KINDS if (who, kind) not in own}
        self.clause = {phrase: view.words(*said)["clause"] for said, phrase in own.items()}

    def _rules(self, pool: str) -> tuple[str, ...]:
        return ("sampled",) if pool in POOLS else ()

    def _once_each(self, pool: str) -> list[PreferenceSample]:
        given = {CAPTIONS_GIVEN: TIMES, TIMES_GIVEN: SENTENCES}.get(pool, NOTHING)
        told = (self._sampled(pool, account) for account in self.accounts if account.given == given)
        kept: dict[tuple[Turn, ...], PreferenceSample] = {}
        for pair in sorted(filter(None, told), key=lambda p: (-p.margin, p.key)):
            kept.setdefault(pair.rejected, pair)
        return list(kept.values())

    def _sampled(self, pool: str, account: DrawnAccount) -> PreferenceSample | None:
        """None for an account of which nothing lies inside the clip, or that had too little or much given to it."""
        ends = [min(e.end_s, self.duration_s) for e in account.told]
        told = tuple(
            Item(Span(e.start_s, end_s), self.clause[e.phrase])
            for e, end_s in zip(account.told, ends, strict=True)
            if e.start_s < end_s and e.phrase in self.clause
        )
        if not told or (not POOLS[pool].counted and len(told) != len(self.true)):
            return None
        told = told if not POOLS[pool].counted else tuple(sorted(told, key=_in_time))
        most = max(len(told), len(self.true))
        how = Perturbation(
            kind="metric",
            of=f"{pool}:sampled",
            strength=max(1, most - sum(a == b for a, b in zip(told, self.true, strict=False))) / most,
            stage=0,
            items=len(self.true),
            order=(),
            seed=self.step.seed,
        )
        return self._compared(pool, self.writer.key(pool, "sampled", account.number), Candidate(told, most), how)


def _in_time(item: Item) -> tuple[float, float, str]:
    return item.span.start_s, item.span.end_s, item.clause


def _hits(one: Span, other: Span) -> bool:
    return one.tiou(other) >= _WRONG_TIOU


class _Sameness:
    """Which clauses may speak of one thing: of the same kind, with subjects that one thing could have.

    `others`: for each clause what else its subject could be said to do, of which nothing that may be it ever does.
    """

    def __init__(self, writer: _Writer) -> None:
        view, wording = writer.view, writer.step.wording
        near: dict[str, list[str]] = wording.table("near")
        vague = set(wording.options("vague.words"))
        clause = {(e.subject, e.kind): view.words(e.subject, e.kind)["clause"] for e in view.accepted}
        named = sorted({(who, kind) for who, kind in clause if who not in view.shared})
        self.things = {clause[said]: (said[0], str(said[1])) for said in named}
        self.clause = {
            (who, str(kind)): view.words(who, kind)["clause"]
            for who in {who for who, _ in named}
            for kind in {kind for _, kind in named}
        }
        subjects = {who for who, _ in clause}
        likely = {one: {o for o in subjects if may_be(one, o, near, vague)} for one in subjects}
        self._of = {
            text: frozenset(t for (who, k), t in clause.items() if k is kind and who in likely[subject])
            for (subject, kind), text in clause.items()
        }
        self.others = {
            text: [
                view.words(subject, other)["clause"]
                for other in _OTHER_KINDS
                if not any(k is other and who in likely[subject] for who, k in clause)
            ]
            for (subject, kind), text in clause.items()
            if kind is not EventKind.STATED
        }

    def of(self, clause: str) -> frozenset[str]:
        return self._of.get(clause, frozenset())
