"""CoTasks: exact truth in, exactly right dialogues and pairs out, by a checker of its own; what is open is refused."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from view_rows import event, row, shown, video

from reelmill.annotators.annotator import Annotator
from reelmill.pipelines._recipe import step_identity
from reelmill.pipelines.scenes.compose import compose
from reelmill.pipelines.scenes.presets import EASY, MEDIUM, Preset
from reelmill.pipelines.scenes.truth import truth
from reelmill.pipelines.views.candidates import Item, quotas
from reelmill.pipelines.views.checks.cotasks import check_cotasks
from reelmill.pipelines.views.cotasks import POOLS, CompareCoTasks, CompareDrawn, CompileCoTasks
from reelmill.schemas import arrow
from reelmill.schemas.answer import DrawnAccount, DrawnEvent
from reelmill.schemas.column import schema
from reelmill.schemas.event import RULE_KINDS, Event, Proposal
from reelmill.schemas.media import MediaRef
from reelmill.schemas.sample import PreferenceSample, Role, Sample, Turn
from reelmill.schemas.span import Span
from reelmill.sinks.publishing.blind import pair_of

RED, BLUE = "the red circle", "the blue square"
PLAIN = (
    event(RED, "enters", 0.4, 0.9, confidence=0.8),
    event(RED, "moves", 0.4, 2.0),
    event(RED, "stops", 2.0, 4.0),
    event(BLUE, "leaves", 5.5, 6.0, confidence=0.7),
)


def row_of(events: Sequence[Event], key: str = "clip", media: MediaRef | None = None, still: bool = False) -> Any:
    return row(media or video(), shown(0, 50, 100), key=key, still=still, events=tuple(events))


def outcomes(step: CompileCoTasks, *rows: dict[str, Any]) -> list[dict[str, Any]]:
    out: list[dict[str, Any]] = step(pa.Table.from_pylist(list(rows), schema=schema(*step.needs))).to_pylist()
    for one in out:
        assert one["fault"] is None, one["fault"]
        if one["samples"] is not None:
            one["samples"] = arrow.typed(step.gives[0].hint, one["samples"])
    return out


def dialogues(events: Sequence[Event], **own: Any) -> tuple[Sample, ...]:
    found: tuple[Sample, ...] = outcomes(CompileCoTasks(), row_of(events, **own))[0]["samples"]
    return found


def pairs(events: Sequence[Event], step: CompareCoTasks | None = None, **own: Any) -> tuple[PreferenceSample, ...]:
    (out,) = outcomes(step or CompareCoTasks(even=False), row_of(events, **own))
    assert out["verdict"] is None, out["verdict"]
    found: tuple[PreferenceSample, ...] = out["samples"]
    return found


def accepted(found: Sequence[PreferenceSample]) -> list[PreferenceSample]:
    return [p for p in found if p.verdict.accepted]


def reason_of(events: Sequence[Event], **own: Any) -> tuple[str, str]:
    verdict = outcomes(CompileCoTasks(), row_of(events, **own))[0]["verdict"]
    return verdict["reason"], verdict["detail"]


def test_they_are_annotators() -> None:
    assert isinstance(CompileCoTasks(), Annotator)
    assert isinstance(CompareCoTasks(), Annotator)


def test_both_orders_of_questions() -> None:
    found = {s.task: s for s in dialogues(PLAIN)}
    spans_s = (0.4, 0.9, 0.4, 2.0, 2.0, 4.0, 5.5, 6.0)
    captions, segments = found["captions_first"], found["segments_first"]
    assert [t.tgt_s for t in captions.turns] == [(), (), (), (), (), spans_s]
    assert [t.tgt_s for t in segments.turns] == [(), (), (), spans_s, (), spans_s]
    assert all("4" in s.turns[1].text for s in found.values())
    assert captions.turns[3].text.split("\n")[3].rstrip(".").lower().endswith("the blue square leaves the frame")
    assert (captions.label_confidence, captions.method) == (0.7, "rules")
    assert captions.evidence == tuple(e.key for e in PLAIN)
    for one in found.values():
        assert check_cotasks(one, PLAIN) == []


def test_a_pair_differs_in_what_it_compares_and_in_nothing_else() -> None:
    found = [p for n in range(6) for p in accepted(pairs(PLAIN, key=f"clip{n}"))]
    assert {p.task for p in found} == set(POOLS)
    for pair in found:
        counted = pair.task in ("segments", "captions")
        assert (len(pair.turns), len(pair.rejected)) == ((4, 3) if counted else (6, 1))
        own = pair.turns[-len(pair.rejected) :]
        assert [t.text for t in own if t.role is Role.USER] == [t.text for t in pair.rejected if t.role is Role.USER]
        assert own[-1] != pair.rejected[-1]
        assert 10 <= pair.margin <= 100
        assert (pair.perturbation.kind, pair.perturbation.of.partition(":")[0]) == ("metric", pair.task)
        assert pair.method == f"rules:{POOLS[pair.task].measure}"


def test_margin_by_hand() -> None:
    # Two of the same length, apart: dropping one leaves precision 1, recall 1/2, F1 2/3: a gap of 100/3.
    events = (event(RED, "moves", 0.0, 1.0), event(BLUE, "moves", 3.0, 4.0))
    found = [p for n in range(8) for p in pairs(events, key=f"clip{n}") if p.perturbation.of == "segments:drop"]
    assert found
    for pair in found:
        assert pair.margin == pytest.approx(100 / 3, abs=1e-5)
        assert [c.holds for c in pair.claims if c.rejected and "number" in c.text] == [False]


def test_rows_with_something_open_are_refused() -> None:
    doubt = event(BLUE, "moves", 1.0, 2.0, accepted=False)
    assert reason_of([*PLAIN, doubt]) == ("unsettled", "1 of 5 events not accepted: 1 localisers_disagree")
    assert reason_of(PLAIN, still=True)[0] == "still"
    assert reason_of([])[0] == "no_accepted_event"
    assert reason_of(PLAIN[:1]) == ("too_few_events", "1 events, want 2 to 12")
    many = [event(RED, "moves", n / 4, n / 4 + 0.1) for n in range(13)]
    assert reason_of(many)[0] == "too_many_events"
    assert reason_of([*PLAIN, event(RED, "moves", 5.0, 7.0)]) == (
        "span_outside_clip",
        "ends at 7.0 s in a clip of 6.0 s",
    )
    assert reason_of([stated("...", float(n), n + 1.0, "a") for n in range(2)])[0] == "no_words"


def stated(phrase: str, start_s: float, end_s: float, who: str) -> Event:
    one = event("", "stated", start_s, end_s, who=phrase, method="human")
    return replace(one, phrase=phrase, subject_id="", proposals=(Proposal(who, Span(start_s, end_s), 1.0),))


def test_two_peoples_accounts_are_told_apart() -> None:
    theirs = [stated("A dog runs.", 0.0, 2.0, "a"), stated("It sleeps at 3.5 km.", 2.0, 5.0, "a")]
    other = [stated("A dog plays.", 0.0, 3.0, "b"), stated("Anna waves.", 3.0, 6.0, "b")]
    found = dialogues([*theirs, *other])
    assert len(found) == 4
    texts = ["\n".join(t.text for t in s.turns) for s in found if s.task == "captions_first"]
    assert sorted("dog runs" in t for t in texts) == sorted("Anna waves" in t for t in texts) == [False, True]
    assert any("It sleeps at 3.5 km." in line for t in texts for line in t.split("\n"))


def test_what_nothing_is_wrong_with_or_too_little_is_a_refused_child() -> None:
    twice = (event(RED, "moves", 0.0, 1.0), event(RED, "moves", 3.0, 4.0))
    found = [p for n in range(12) for p in pairs(twice, key=f"clip{n}")]
    reasons = {(p.perturbation.of, p.verdict.reason) for p in found}
    assert ("captions_given_times:swap", "same_text") in reasons
    for pool in POOLS.values():
        true = (Item(Span(0.1, 0.7), "a dog runs"), Item(Span(0.1, 2.3), "it sleeps"))
        assert pool.score(true, true).f1 == 1.0
    strict = CompareCoTasks(least_margin=60.0, even=False)
    few = [p for n in range(6) for p in pairs(PLAIN, strict, key=f"clip{n}")]
    assert {p.verdict.reason for p in few} >= {"gap_too_small"}
    assert all(p.margin >= 60 for p in accepted(few))


def test_a_margin_at_its_least_is_right_to_the_last_digit_that_counts() -> None:
    """The checker adds up in another order than the view: 9.999999999999998 was told as less than 10."""
    pair = next(p for n in range(12) for p in accepted(pairs(PLAIN, key=f"clip{n}")))
    assert check_cotasks(pair, PLAIN, least_margin=pair.margin) == []
    assert check_cotasks(pair, PLAIN, least_margin=pair.margin + 1e-10) == []
    assert check_cotasks(pair, PLAIN, least_margin=pair.margin + 1e-3) != []


def test_the_pools_give_evenly_and_the_fullest_fills_up() -> None:
    assert quotas({"a": 3, "b": 3, "c": 3, "d": 3}, 8) == {"a": 2, "b": 2, "c": 2, "d": 2}
    assert quotas({"a": 1, "b": 3, "c": 3, "d": 0}, 6) == {"a": 1, "b": 3, "c": 2, "d": 0}
    assert quotas({"a": 1, "b": 0}, 8) == {"a": 1, "b": 0}
    found = pairs(PLAIN, CompareCoTasks(candidates=6, most_pairs=4, even=False))
    assert Counter(p.task for p in accepted(found)) == dict.fromkeys(POOLS, 1)
    late = [p.verdict.detail for p in found if p.verdict.reason == "not_drawn"]
    assert late
    assert all(d.startswith("1 were drawn from ") for d in late)


def test_what_may_be_the_same_thing_is_not_held_against_it() -> None:
    """The object may be the red circle, and an orange circle may be called red: neither is said falsely to leave."""
    events = (
        event("the object", "leaves", 4.0, 5.0),
        event(RED, "moves", 0.0, 2.0),
        event("the orange circle", "stops", 2.0, 4.0),
    )
    found = [p for n in range(14) for p in pairs(events, key=f"clip{n}")]
    false = {c.text for p in found if "exchange" in p.perturbation.of for c in p.claims if c.rejected and not c.holds}
    assert false
    assert not any("leaves" in text or "red circle stops" in text for text in false)


def true_clips(seed: int, preset: Preset) -> Iterator[tuple[str, MediaRef, list[Event]]]:
    exact = truth(compose(seed, preset))
    for number, shot in enumerate(exact.shots):
        own = [e for e in exact.events if e.subject_id.startswith(f"s{number}m")]
        events = [replace(e, key=f"e{i}", span=e.span.shifted(-shot.start_s)) for i, e in enumerate(own)]
        yield f"{seed}.{number}", video(shot.duration_s, shot), events


@pytest.mark.parametrize("preset", [EASY, MEDIUM], ids=["easy", "medium"])
def test_from_true_events_every_dialogue_and_every_pair_is_exactly_right(preset: Preset) -> None:
    made: Counter[str] = Counter()
    for seed in range(5):
        for key, media, events in true_clips(seed, preset):
            line = row_of(events, key, media)
            for step in (CompileCoTasks(), CompareCoTasks(even=False), CompareCoTasks()):
                (out,) = outcomes(step, line)
                if out["verdict"] is not None:
                    assert out["verdict"]["reason"] in ("too_few_events", "too_many_events")
                    continue
                for one in out["samples"]:
                    if one.verdict.accepted:
                        assert check_cotasks(one, events) == [], one
                        made[one.task] += 1
    assert set(made) == {*POOLS, "captions_first", "segments_first"}
    assert min(made.values()) >= 8


def lies(sample: PreferenceSample) -> Iterator[tuple[str, PreferenceSample]]:
    """Seeded defects of a good pair, each of which the checker must see."""
    prompt, own = sample.turns[: -len(sample.rejected)], sample.turns[-len(sample.rejected) :]
    yield "sides exchanged", replace(sample, turns=(*prompt, *sample.rejected), rejected=own)
    yield "rejected is chosen", replace(sample, rejected=own)
    yield "margin", replace(sample, margin=sample.margin + 0.01)
    yield "role", replace(sample, rejected=(*sample.rejected[:-1], replace(sample.rejected[-1], role=Role.USER)))
    yield "question", replace(sample, turns=(replace(sample.turns[0], text="What?"), *sample.turns[1:-1]))
    yield "count", _edited(sample, 1, text=sample.turns[1].text.replace("4", "5"))
    last = sample.turns[-1]
    if last.tgt_s:
        yield "time", _edited(sample, -1, tgt_s=(last.tgt_s[0] + 0.01, *last.tgt_s[1:]))
        yield "beyond the end", _edited(sample, -1, tgt_s=(*last.tgt_s[:-1], 6.1))
        yield "a time missing", _edited(sample, -1, tgt_s=last.tgt_s[2:])
    elif "enters" in last.text:
        yield "verb", _edited(sample, -1, text=last.text.replace("enters", "leaves"))
    yield "a line missing", _edited(sample, -1, text=last.text.rpartition("\n")[0], tgt_s=last.tgt_s[:-2])
    yield "claim", replace(sample, claims=tuple(replace(c, holds=True) for c in sample.claims))
    yield "chosen claim", replace(sample, claims=tuple(replace(c, holds=False) for c in sample.claims))


def _edited(sample: PreferenceSample, place: int, **changes: Any) -> PreferenceSample:
    turns: list[Turn] = list(sample.turns)
    turns[place] = replace(turns[place], **changes)
    return replace(sample, turns=tuple(turns))


def test_the_check_finds_every_seeded_defect() -> None:
    seen: Counter[str] = Counter()
    for number in range(2):
        for pair in accepted(pairs(PLAIN, key=f"clip{number}")):
            assert check_cotasks(pair, PLAIN) == []
            for name, lie in lies(pair):
                assert check_cotasks(lie, PLAIN), (name, lie)
                seen[name] += 1
    assert len(seen) == 13


def test_the_check_finds_a_wrong_dialogue() -> None:
    for sample in dialogues(PLAIN):
        told = sample.turns[3]
        for place, changed in (
            (1, replace(sample.turns[1], text="3 events.")),
            (3, replace(told, text="\n".join(told.text.split("\n")[::-1]), tgt_s=told.tgt_s[::-1])),
            (5, replace(sample.turns[5], tgt_s=sample.turns[5].tgt_s[2:] + sample.turns[5].tgt_s[:2])),
        ):
            turns = (*sample.turns[:place], changed, *sample.turns[place + 1 :])
            assert check_cotasks(replace(sample, turns=turns), PLAIN), (place, changed)


a_time = st.integers(0, 55).map(lambda n: n / 10)
an_event = st.builds(
    lambda who, kind, start, length: event(who, kind, start, min(start + length, 6.0), method="truth"),
    st.sampled_from([RED, BLUE, "the orange circle", "the object"]),
    st.sampled_from([str(k) for k in RULE_KINDS]),
    a_time,
    st.integers(1, 30).map(lambda n: n / 10),
)


@settings(max_examples=12, deadline=None)
@given(st.lists(an_event, min_size=2, max_size=7), st.randoms(use_true_random=False))
def test_random_events_give_right_pairs_whatever_their_order_and_neighbours(
    events: list[Event], rng: random.Random
) -> None:
    step = CompareCoTasks(candidates=2, even=rng.random() < 0.5)
    one, two = row_of(events, "one"), row_of(PLAIN, "two")
    (alone,) = outcomes(step, one)
    assert outcomes(replace(step, phrasings_hash=""), two, one)[1] == alone == outcomes(step, one, two)[0]
    again = outcomes(step, row_of(rng.sample(events, len(events)), "one"))[0]
    for first, second in zip(alone["samples"] or (), again["samples"] or (), strict=True):
        assert (first.turns, first.rejected, first.margin) == (second.turns, second.rejected, second.margin)
    for pair in accepted(alone["samples"] or ()):
        assert check_cotasks(pair, events) == [], pair


def test_the_seed_and_every_limit_are_identity() -> None:
    plain = step_identity(CompareCoTasks())
    for other in (CompareCoTasks(seed=1), CompareCoTasks(least_margin=5.0), CompareCoTasks(even=False)):
        assert step_identity(other) != plain
    assert pairs(PLAIN) == pairs(PLAIN)
    assert [p.rejected for p in pairs(PLAIN)] != [p.rejected for p in pairs(PLAIN, CompareCoTasks(seed=1, even=False))]


TWINS = (
    event(RED, "enters", 0.4, 0.9),
    event(BLUE, "enters", 1.5, 2.5),
    event(RED, "stops", 2.0, 3.0),
    event(BLUE, "stops", 3.5, 5.0),
)
"""Two things that do the same, each at its own time."""


def test_even_pairs_keep_their_form() -> None:
    """Names aside both sides read alike; times are the same set; captions before times are in no order of time."""
    found = [p for n in range(8) for p in accepted(pairs(TWINS, CompareCoTasks(), key=f"clip{n}"))]
    assert {p.task for p in found} == set(POOLS) - {"segments"}
    falls = Counter[tuple[bool, bool]]()
    for pair in found:
        assert check_cotasks(pair, TWINS) == []
        sides = [pair_of(pair).chosen, pair_of(pair).rejected]
        if pair.task == "times_given_captions":
            starts = [side.times[0::2] for side in sides]
            assert sorted(starts[0]) == sorted(starts[1])
            falls.update([tuple(list(s) != sorted(s) for s in starts)])  # type: ignore[list-item]
        else:
            names = [[("A" if who == sides[0].steps[0][0] else "B", k) for who, k in side.steps] for side in sides]
            assert [k for _, k in names[0]] == [k for _, k in names[1]]
            assert sides[0].times == sides[1].times
            assert names[0] == [("B" if who == "A" else "A", k) for who, k in names[1]]
    assert set(falls) == {(True, True)}


DRAWN = [
    DrawnAccount("", 0, (DrawnEvent(f"{RED} enters", 0.5, 1.0), DrawnEvent(f"{BLUE} leaves", 4.0, 7.0))),
    DrawnAccount("", 1, tuple(DrawnEvent(e.phrase, e.span.start_s, e.span.end_s) for e in TWINS)),
    DrawnAccount("times", 0, tuple(DrawnEvent(f"{RED} stops", e.span.start_s, e.span.end_s) for e in TWINS)),
    DrawnAccount("sentences", 0, tuple(DrawnEvent(e.phrase, 5.0 - n, 6.0 - n) for n, e in enumerate(TWINS))),
    DrawnAccount("sentences", 1, (DrawnEvent(TWINS[0].phrase, 0.0, 1.0),)),
]


def test_what_a_model_told_is_ranked_in_all_four_pools() -> None:
    row = row_of(TWINS) | {"accounts": arrow.plain(DRAWN)}
    (out,) = outcomes(CompareDrawn(), row)
    found = accepted(out["samples"])
    assert Counter(p.task for p in found) == dict.fromkeys(POOLS, 1)
    for pair in found:
        assert check_cotasks(pair, TWINS) == []
        assert pair.perturbation.of == f"{pair.task}:sampled"
        assert pair.margin >= 10
    assert sorted(p.verdict.reason for p in out["samples"] if not p.verdict.accepted) == ["same_text", "same_text"]
    told = next(p for p in found if p.task == "segments")
    assert told.rejected[-1].tgt_s == (0.5, 1.0, 4.0, 6.0), "what lies beyond the clip ends with it"
    assert "2" in told.rejected[0].text
    assert step_identity(CompareDrawn())["step"] == "compare_drawn"
