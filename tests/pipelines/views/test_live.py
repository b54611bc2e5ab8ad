"""The streaming view: answers stand at state changes, say nothing of the future, and silence is kept in between."""

from __future__ import annotations

import dataclasses
import pickle
import random
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from view_rows import LINK, compiled, event, row, shown, true_event, video

from reelmill.annotators.annotator import Annotator
from reelmill.pipelines import live_stream
from reelmill.pipelines._recipe import step_identity
from reelmill.pipelines.scenes.compose import compose
from reelmill.pipelines.scenes.presets import EASY, MEDIUM
from reelmill.pipelines.scenes.truth import SceneTruth, truth
from reelmill.pipelines.views.changes import apart_s, changes, stretches
from reelmill.pipelines.views.checks.live import check_live, leaks
from reelmill.pipelines.views.live import CompileLive
from reelmill.pipelines.views.phrasing import load
from reelmill.schemas.errors import BadInput
from reelmill.schemas.event import Event
from reelmill.schemas.media import MediaRef, ShownFrame
from reelmill.schemas.sample import Role, StreamSample, Turn
from reelmill.schemas.span import Span

RED, BLUE = "the red circle", "the blue square"
PLAIN = (
    event(RED, "enters", 1.2, 1.7, confidence=0.8),
    event(RED, "moves", 1.2, 2.7),
    event(RED, "stops", 2.7, 4.2),
    event(RED, "moves", 4.2, 6.0, confidence=0.7),
    event(BLUE, "moves", 2.2, 3.2),
)
HALVES = tuple(range(0, 150, 12))  # about two frames a second
TASKS = {"alert", "narration", "now", "so_far", "count", "correction", "never", "dialogue"}


def streams(
    events: Iterable[Event],
    step: CompileLive | None = None,
    key: str = "clip",
    media: MediaRef | None = None,
    frames: Sequence[ShownFrame] | None = None,
) -> tuple[StreamSample, ...]:
    return _streams(tuple(events), step or CompileLive(), key, media or video(), tuple(frames or shown(*HALVES)))


@cache
def _streams(
    events: tuple[Event, ...], step: CompileLive, key: str, media: MediaRef, frames: tuple[ShownFrame, ...]
) -> tuple[StreamSample, ...]:
    (out,) = compiled(step, row(media, frames, key=key, still=False, events=events))
    assert out["verdict"] is None, out["verdict"]
    found: tuple[StreamSample, ...] = out["samples"]
    return found


def of(task: str, found: Iterable[StreamSample], about: str = "") -> list[StreamSample]:
    return [s for s in found if s.task == task and about in s.turns[0].text]


def many(task: str, events: Iterable[Event], about: str = "", clips: int = 24) -> list[StreamSample]:
    """Streams of one task over several clips with the same events: times and words are drawn anew in each."""
    return [s for n in range(clips) for s in of(task, streams(events, key=f"clip{n}"), about)]


def replies(sample: StreamSample) -> list[tuple[float, str]]:
    lines = zip(sample.turns, sample.turns_at_s, strict=True)
    return [(at_s, turn.text) for turn, at_s in lines if turn.role is Role.ASSISTANT]


def test_it_is_an_annotator():
    assert isinstance(CompileLive(), Annotator)


def test_every_kind_of_stream_is_there_and_right():
    found = streams(PLAIN)
    assert {s.task for s in found} == TASKS
    assert all(s.verdict.accepted for s in found)
    assert [check_live(s, PLAIN) for s in found] == [[]] * len(found)
    assert all((s.watch_from_s, s.watch_until_s) == (0.0, 6.0) for s in found)


def test_an_alert_speaks_at_every_start_after_it_was_asked_and_at_no_other_time():
    seen = {}
    for sample in many("alert", PLAIN, "red circle begins to move"):
        asked_s = sample.turns_at_s[0]
        assert [t for t, _ in replies(sample)] == [t for t in (1.2, 4.2) if t > asked_s]
        assert all("red circle begins to move" in text for _, text in replies(sample))
        seen[len(replies(sample))] = sample
    assert set(seen) == {0, 1, 2}, "asked before, between and after"


def test_narration_tells_every_change_once_and_what_one_change_says_of_another_is_left_out():
    whole = next(s for s in many("narration", PLAIN) if s.turns_at_s[0] < 1.2)
    assert [t for t, _ in replies(whole)] == [1.2, 1.7, 2.2, 2.7, 3.2, 4.2]
    said = dict(replies(whole))
    assert "begins to enter the frame and the red circle begins to move" in said[1.2].lower()
    assert "no longer" not in said[2.7], "coming to rest says that the move is over"
    assert "blue square is no longer moving" in said[3.2]


def test_now_and_so_far_are_answered_at_once_by_what_has_begun():
    for sample in [*many("now", PLAIN), *many("so_far", PLAIN)]:
        assert list(sample.turns_at_s[0::2]) == list(sample.turns_at_s[1::2])
        for at_s, text in replies(sample):
            assert ("nothing" in text.lower()) is (at_s < 1.2)
            assert ("blue square" in text) <= (at_s >= 2.2)
    late = [text for s in many("so_far", PLAIN) for t, text in replies(s) if t > 5]
    assert late
    assert all("blue square has moved" in t and "red circle is moving" in t for t in late)


def test_a_count_runs_on():
    counts = [[text.lower().replace(" so far", "") for _, text in replies(s)] for s in many("count", PLAIN, "move")]
    assert {"not once.", "once.", "twice."} <= {text.removeprefix("so far, ") for said in counts for text in said}
    assert max(map(len, counts)) == 3


def test_a_correction_withdraws_what_was_said():
    for sample in many("correction", PLAIN, "red circle"):
        first, *later = replies(sample)
        assert first[0] == sample.turns_at_s[0]
        assert [t for t, _ in later] == [t for t in (2.7, 4.2) if t > first[0]]
        assert later
        for _, text in later:
            assert "orrect" in text or "no longer holds" in text
    (gone, *_) = of("correction", streams((event(BLUE, "moves", 2.2, 3.6),)))
    assert "blue square is no longer moving" in replies(gone)[-1][1], "nothing took the place of the move"


def test_never_is_silence_in_the_words_of_what_happens():
    found = many("never", PLAIN, clips=60)
    assert all([t.role for t in s.turns] == [Role.USER] and len(s.turns_at_s) == 1 for s in found)
    wordings = load("live_stream").options("alert.question")
    stem = {w.split("{")[0] for w in wordings}
    assert {next(x for x in stem if s.turns[0].text.startswith(x)) for s in found if stem} == stem
    assert {s.turns[0].text.split()[0] for s in found} == {
        s.turns[0].text.split()[0] for s in many("alert", PLAIN, clips=60)
    }
    assert not any("red circle begins to move" in s.turns[0].text for s in found)
    assert any(" red circle begins to leave" in s.turns[0].text for s in found)


def test_a_dialogue_has_one_standing_question_and_others_in_between():
    for sample in many("dialogue", PLAIN):
        asked = [t for t, turn in zip(sample.turns_at_s, sample.turns, strict=True) if turn.role is Role.USER]
        assert len(asked) >= 2
        assert [t for t, _ in replies(sample) if t not in asked] == [1.2, 1.7, 2.2, 2.7, 3.2, 4.2]
        assert list(sample.turns_at_s) == sorted(sample.turns_at_s)


def test_a_stream_says_what_it_rests_on_and_how_sure_its_times_are():
    found = streams(PLAIN)
    (moves,) = [s for s in of("alert", found) if s.evidence == (PLAIN[1].key, PLAIN[3].key)]
    assert (moves.label_confidence, moves.method, moves.parent_key) == (0.7, "rules", "clip")
    assert moves.provenance[0] == LINK
    assert moves.provenance[1].prompt_hash == CompileLive().phrasings_hash
    assert moves.provenance[1].observed.endswith("one localiser, uncertainty unknown")
    assert [f.at_s for f in moves.frames] == [n / 25 for n in HALVES], "the frames to be silent at"
    two = event(RED, "moves", 1.0, 3.0, proposed=[(1.0, 3.0), (1.04, 2.88)])
    (seen, *_) = of("alert", streams([two]))
    assert seen.provenance[-1].observed.endswith("localisers at most 0.120 s apart")
    exact = event(RED, "moves", 1.0, 3.0, method="truth")
    assert of("alert", streams([exact]))[0].provenance[-1].observed.endswith("exact times")


def test_questions_keep_away_from_changes_in_anybodys_eyes():
    doubted = (*PLAIN, event(BLUE, "leaves", 5.0, 5.3, accepted=False, proposed=[(4.9, 5.4), (3.6, 3.9)]))
    edges = {1.2, 1.7, 2.2, 2.7, 3.2, 3.6, 3.9, 4.2, 4.9, 5.0, 5.3, 5.4, 6.0}
    asked = {s.turns_at_s[0] for n in range(20) for s in streams(doubted, key=f"c{n}")}
    assert min(abs(q - t) for q in asked for t in edges) >= 0.2
    assert asked <= {n / 25 for n in HALVES}


# ---- what is open --------------------------------------------------------------------------------------------------


def reasons(found: Iterable[StreamSample]) -> dict[str, set[str]]:
    out: dict[str, set[str]] = {}
    for sample in found:
        out.setdefault(sample.task, set()).add(sample.verdict.reason)
    return out


def test_a_clip_with_something_unsettled_gives_no_never_no_count_and_nothing_in_full():
    doubt = event(BLUE, "leaves", 5.2, 5.6, accepted=False)
    why = reasons(s for n in range(8) for s in streams((*PLAIN, doubt), key=f"clip{n}"))
    assert "never" not in why
    assert why["count"] == why["narration"] == why["dialogue"] == {"unsettled"}
    assert why["alert"] == why["correction"] == {""}, "they speak of other things"
    (refused, *_) = of("narration", streams((*PLAIN, doubt)))
    assert "'the blue square' leaves: localisers_disagree" in refused.verdict.detail


def test_an_alert_is_refused_where_silence_would_deny_what_was_proposed():
    doubt = event("the circle", "moves", 5.2, 5.6, accepted=False)
    found = [s for n in range(8) for s in streams((*PLAIN, doubt), key=f"clip{n}")]
    about = {s.turns[0].text: s.verdict.reason for s in of("alert", found)}
    for text, reason in about.items():
        red_moves = "red circle begins to move" in text
        assert reason == ("unsettled" if red_moves else ""), text
    assert {s.verdict.reason for s in of("correction", found, "red circle")} == {"unsettled"}


def test_now_and_so_far_are_refused_only_where_the_open_event_could_matter():
    doubt = event(BLUE, "leaves", 5.2, 5.6, accepted=False)
    for n in range(30):
        for sample in streams((*PLAIN, doubt), key=f"clip{n}"):
            if sample.task == "so_far":
                assert sample.verdict.accepted == (max(sample.turns_at_s) < 5.0)
            if sample.task == "now":
                assert sample.verdict.accepted == all(not 5.0 <= t < 5.8 for t in sample.turns_at_s)


def test_two_things_of_one_name_are_told_of_but_neither_counted_nor_followed():
    twins = (event(RED, "moves", 1.2, 2.7, who="t1"), event(RED, "moves", 2.2, 4.2, who="t2"))
    found = [s for n in range(8) for s in streams(twins, key=f"clip{n}")]
    why = reasons(found)
    assert why["alert"] == why["count"] == {"ambiguous_subject"}
    assert "correction" not in why
    told = next(s for s in of("narration", found) if s.turns_at_s[0] < 1.2)
    assert all("a red circle" in text.lower() and "the red" not in text for _, text in replies(told))
    assert [t for t, _ in replies(told)] == [1.2, 2.2, 2.7, 4.2]
    accepted = [s for s in found if s.verdict.accepted]
    assert [check_live(s, twins) for s in accepted] == [[]] * len(accepted)


def test_words_that_fit_another_thing_are_no_alert():
    events = (event("the object", "moves", 1.2, 2.2), event(RED, "moves", 3.2, 5.0))
    found = [s for n in range(4) for s in streams(events, key=f"clip{n}")]
    assert {s.verdict.reason for s in of("alert", found, "the object")} == {"ambiguous_subject"}
    assert {s.verdict.reason for s in of("alert", found, RED)} == {""}
    assert {s.verdict.reason for s in of("correction", found, "the object")} == {"ambiguous_subject"}


def test_neither_near_colours_nor_vaguer_names_are_denied():
    events = (event(RED, "moves", 1.2, 2.2), event("the orange circle", "stops", 2.2, 3.2))
    asked = "\n".join(s.turns[0].text for s in many("never", events, clips=40))
    assert asked
    assert "red circle comes to rest" not in asked
    assert not any(f"{near} circle" in asked for near in ("pink", "purple", "brown", "yellow"))


def test_a_thing_that_moves_and_rests_at_once_is_not_followed():
    torn = (event(RED, "moves", 1.2, 3.2), event(RED, "stops", 2.2, 4.2))
    assert of("correction", streams(torn)) == []


def test_d3_what_lies_beyond_the_end_is_refused():
    found = streams((event(RED, "moves", 1.2, 7.0),))
    assert {s.verdict.reason for s in found} == {"span_outside_clip"}


def test_rows_without_anything_to_say_are_refused():
    step = CompileLive()
    frames = shown(*HALVES)
    none = row(video(), frames, key="none", still=False, events=())
    doubt = row(video(), frames, key="doubt", still=False, events=(event(RED, "moves", 1.0, 2.0, accepted=False),))
    still = row(video(), frames, key="still", still=True, events=PLAIN)
    busy = row(video(), shown(30), key="busy", still=False, events=PLAIN)
    verdicts = [out["verdict"] for out in compiled(step, none, doubt, still, busy)]
    assert [v["reason"] for v in verdicts] == ["no_accepted_event", "no_accepted_event", "still", "no_time_to_ask"]
    assert verdicts[1]["detail"] == "1 proposed, 1 rejected"


def test_the_recipe_knows_its_evidence():
    assert live_stream.recipe().name == "live_stream"
    assert live_stream.recipe("truth").name == "live_stream_truth"
    assert live_stream.recipe(agreement=True).fingerprint_hash() != live_stream.recipe().fingerprint_hash()
    with pytest.raises(BadInput, match="use rules or truth"):
        live_stream.recipe("guesses")


# ---- changes -------------------------------------------------------------------------------------------------------


def test_stretches_unite_what_touches_and_changes_leave_out_the_clips_own_ends():
    parts = stretches([event(RED, "moves", 0.0, 1.0), event(RED, "moves", 1.0, 2.0), event(BLUE, "moves", 1.5, 6.0)])
    assert [(s.subject, s.span) for s in parts] == [(RED, Span(0.0, 2.0)), (BLUE, Span(1.5, 6.0))]
    assert [(c.at_s, c.starts) for c in changes(parts, 6.0)] == [(1.5, True), (2.0, False)]
    assert [len(s.events) for s in parts] == [2, 1]


def test_an_end_that_was_rounded_down_from_the_clips_end_is_no_change():
    events = (event(RED, "moves", 1.2, 5.999999),)
    told = next(s for s in many("narration", events) if s.turns_at_s[0] < 1.2)
    assert [t for t, _ in replies(told)] == [1.2]
    assert check_live(told, events) == []
    assert check_live(with_reply(told, 5.999999, "The red circle is no longer moving."), events)


def test_how_far_localisers_are_apart():
    assert apart_s([event(RED, "moves", 1.0, 2.0)]) is None
    assert apart_s([event(RED, "moves", 1.0, 2.0, proposed=[(1.0, 2.0)])]) is None
    assert apart_s([event(RED, "moves", 1.0, 2.0, proposed=[(1.0, 2.0), (1.0, 2.0)])]) == 0.0
    far = event(RED, "moves", 1.0, 2.0, proposed=[(1.0, 2.0), (0.9, 2.3)])
    assert apart_s([far]) == pytest.approx(0.3)


# ---- truth ---------------------------------------------------------------------------------------------------------


def clips_of(exact: SceneTruth) -> Iterable[tuple[Span, list[Event], list[ShownFrame]]]:
    """Each shot of a scene as a clip: its events in its own time, and two of its frames a second by their own times."""
    for number, shot in enumerate(exact.shots):
        own = [e for e in exact.events if e.subject_id.startswith(f"s{number}m")]
        events = [replace(e, key=f"e{i}", span=e.span.shifted(-shot.start_s)) for i, e in enumerate(own)]
        times = [t - shot.start_s for t in exact.frame_times_s if shot.start_s <= t < shot.end_s]
        picked = [min(range(len(times)), key=lambda i: abs(times[i] - k / 2)) for k in range(int(times[-1] * 2) + 1)]
        yield shot, events, [replace(shown(i)[0], at_s=times[i]) for i in picked]


@pytest.mark.parametrize("preset", [EASY, MEDIUM], ids=["easy", "medium"])
def test_from_true_events_every_stream_is_exactly_right(preset):
    made: Counter[str] = Counter()
    for seed in range(8):
        for number, (shot, events, frames) in enumerate(clips_of(truth(compose(seed, preset)))):
            found = streams(events, key=f"{seed}.{number}", media=video(shot.duration_s, shot), frames=frames)
            for sample in found:
                assert sample.verdict.accepted, sample.verdict
                assert check_live(sample, events) == [], (sample.turns, sample.turns_at_s)
                made[sample.task] += 1
            silent = [s for s in found if not replies(s)]
            assert silent, "a silence-only stream in every clip whose events are all settled"
            assert all(s.watch_until_s == pytest.approx(shot.duration_s) for s in silent)
    assert set(made) == TASKS
    assert min(made.values()) >= 8


# ---- lies ----------------------------------------------------------------------------------------------------------


def told(sample: StreamSample, turn: int, text: str) -> StreamSample:
    turns = list(sample.turns)
    turns[turn] = replace(turns[turn], text=text)
    return replace(sample, turns=tuple(turns))


def moved(sample: StreamSample, turn: int, by_s: float) -> StreamSample:
    times = list(sample.turns_at_s)
    times[turn] += by_s
    return replace(sample, turns_at_s=tuple(times))


def without(sample: StreamSample, turn: int) -> StreamSample:
    turns, times = list(sample.turns), list(sample.turns_at_s)
    del turns[turn], times[turn]
    return replace(sample, turns=tuple(turns), turns_at_s=tuple(times))


def with_reply(sample: StreamSample, at_s: float, text: str) -> StreamSample:
    place = sum(t <= at_s for t in sample.turns_at_s)
    turn = Turn(Role.ASSISTANT, text, (), (), ())
    turns = (*sample.turns[:place], turn, *sample.turns[place:])
    return replace(sample, turns=turns, turns_at_s=(*sample.turns_at_s[:place], at_s, *sample.turns_at_s[place:]))


def first_reply(sample: StreamSample) -> int:
    return next(i for i, t in enumerate(sample.turns) if t.role is Role.ASSISTANT)


def lies(sample: StreamSample) -> Iterable[tuple[str, StreamSample]]:
    """A stream broken in every way that its task can be."""
    yield "silence broken", with_reply(sample, 5.77, "The red circle is moving.")
    yield "silence broken by an empty word", with_reply(sample, 5.77, "Hm.")
    yield "falling times", replace(sample, turns_at_s=tuple(reversed(sample.turns_at_s)))
    yield "a time too few", replace(sample, turns_at_s=sample.turns_at_s[:-1])
    yield "an answer first", replace(sample, turns=(Turn(Role.ASSISTANT, "Hello.", (), (), ()), *sample.turns[1:]))
    yield "watched beyond the end", replace(sample, watch_until_s=6.5)
    yield "asked before it was watched", replace(sample, watch_from_s=5.95)
    if not replies(sample):
        return
    reply = first_reply(sample)
    text = sample.turns[reply].text
    yield "wrong time", moved(sample, reply, 0.04)
    yield "early", moved(sample, reply, -0.04)
    yield "missing answer", without(sample, reply)
    yield "another thing", told(sample, reply, "The blue square begins to leave the frame.")
    yield "a time told", told(sample, reply, f"{text.rstrip('.')} after 12s.")
    yield "a number told", told(sample, reply, f"{text} That was 1.2 into it.")
    yield "the future told", told(sample, reply, f"{text} It will stop.")
    yield "times of its own", replace(sample, turns=tuple(replace(t, tgt_s=(1.0, 2.0)) for t in sample.turns))


@pytest.mark.parametrize("task", sorted(TASKS))
def test_the_check_finds_every_kind_of_lie(task):
    found = many(task, PLAIN, clips=6)
    assert found
    for sample in found:
        assert check_live(sample, PLAIN) == []
        for what, lie in lies(sample):
            if lie != sample:
                assert check_live(lie, PLAIN), (what, lie.turns, lie.turns_at_s)


def test_the_check_knows_what_each_question_wants():
    (count, *_) = [s for s in many("count", PLAIN, "move") if s.turns_at_s[-1] > 4.4]
    assert check_live(told(count, len(count.turns) - 1, "Three times."), PLAIN)
    assert check_live(told(count, len(count.turns) - 1, "Often."), PLAIN)
    (now, *_) = [s for s in many("now", PLAIN) if s.turns_at_s[-1] > 4.4]
    for lie in ("Nothing is happening right now.", "The red circle is at rest.", "Yes."):
        assert check_live(told(now, len(now.turns) - 1, lie), PLAIN)
    (early, *_) = [s for s in many("so_far", PLAIN) if s.turns_at_s[0] < 1.0]
    assert "blue square moves has not begun" in str(check_live(told(early, 1, "The blue square has moved."), PLAIN))
    (withdrawn, *_) = many("correction", PLAIN, "red circle")
    last = len(withdrawn.turns) - 1
    plain = withdrawn.turns[last].text.split("the red")[-1]
    assert "not withdrawn" in str(check_live(told(withdrawn, last, f"The red{plain}"), PLAIN))
    two = with_reply(count, 5.9, "?")
    assert check_live(replace(two, turns=(*two.turns[:-1], replace(PLAIN_QUESTION, role=Role.USER))), PLAIN) == []
    standing = replace(two, turns=(replace(PLAIN_QUESTION, text="Narrate live."), *two.turns[1:-1], PLAIN_QUESTION))
    assert "2 standing questions" in str(check_live(standing, PLAIN))


PLAIN_QUESTION = Turn(Role.USER, "Tell me each time the red circle begins to leave the frame.", (), (), ())


def line(text: str, at_s: float, role: Role = Role.ASSISTANT) -> tuple[Turn, float]:
    return Turn(role, text, (), (), ()), at_s


@pytest.mark.parametrize(
    ("text", "leak"),
    [
        ("The red circle is moving.", False),
        ("The red circle has been moving since 12s, I think.", True),  # a match anchored at the start lets it pass
        ("12s: the red circle is moving.", True),
        ("The red circle moves; that was some seconds ago.", True),
        ("The red circle is moving and will come to rest.", True),
        ("The red circle is moving, it'll come to rest.", True),
        ("Right now the red circle is moving, about to stop.", True),
        ("The red circle is moving and the blue square is moving.", True),
        ("The red circle is moving towards a blue square.", True),
        ("The red circle is at rest.", True),
    ],
)
def test_d14_a_leak_is_found_wherever_it_stands_in_an_answer(text, leak):
    assert bool(leaks([line(text, 2.0)], PLAIN)) is leak
    assert leaks([line(text, 2.0, Role.USER)], PLAIN) == [], "a question may name what is to come"


def test_d14_no_wording_of_an_answer_tells_a_time_or_the_future():
    tables = load("live_stream").tables
    forms = [f for kind in tables["kinds"].values() for f in kind.values()]
    said = [
        w for t in tables.values() for name, ws in t.items() if name in ("answer", "nothing", "withdrawn") for w in ws
    ]
    assert len(said) > 20
    assert leaks([line(w, 0.0) for w in [*said, *forms, *tables["count"]["times"]]], ()) == []


# ---- laws ----------------------------------------------------------------------------------------------------------

SUBJECTS = ("the red circle", "the blue square", "the orange circle", "the object", "the large dark object")
an_event = true_event(SUBJECTS, earliest=1)


@settings(max_examples=40, deadline=None)
@given(st.lists(an_event, min_size=1, max_size=7))
def test_random_events_give_streams_that_are_right_about_what_was_accepted(events):
    (out,) = compiled(CompileLive(), row(video(), shown(*range(0, 150, 5)), still=False, events=tuple(events)))
    settled = [e for e in events if e.verdict.accepted]
    if not out["samples"]:
        assert out["verdict"]["reason"] in ("no_accepted_event", "no_time_to_ask")
        return
    assert len({s.key for s in out["samples"]}) == len(out["samples"])
    for sample in out["samples"]:
        assert list(sample.turns_at_s) == sorted(sample.turns_at_s)
        assert leaks(zip(sample.turns, sample.turns_at_s, strict=True), settled) == []
        if sample.verdict.accepted:
            assert check_live(sample, settled) == [], (sample.turns, sample.turns_at_s)


@settings(max_examples=12, deadline=None)
@given(st.lists(an_event, max_size=6), st.randoms(use_true_random=False))
def test_a_row_alone_is_the_row_in_any_batch_and_any_order_of_events(events: list[Event], rng: random.Random):
    step = CompileLive()
    one = row(video(), shown(*HALVES), key="one", still=False, events=tuple(events))
    two = row(video(), shown(*HALVES), key="two", still=False, events=PLAIN)
    mixed = row(video(), shown(*HALVES), key="one", still=False, events=tuple(rng.sample(events, len(events))))
    alone = compiled(step, one)[0]
    assert compiled(CompileLive(), two, one)[1] == alone == compiled(step, one, two)[0]
    again = compiled(step, mixed)[0]
    assert (again["samples"], again["verdict"]) == (alone["samples"], alone["verdict"])


def test_the_seed_changes_words_and_times_and_nothing_else():
    one, other = streams(PLAIN), streams(PLAIN, CompileLive(seed=1))
    assert {s.key for s in one if s.task != "never"} == {s.key for s in other if s.task != "never"}
    assert [s.turns_at_s for s in one] != [s.turns_at_s for s in other]
    assert streams(PLAIN) == one


def test_identity_is_plain_and_it_travels():
    step = CompileLive()
    step.setup()
    assert set(step_identity(step)["fields"]) == {f.name for f in dataclasses.fields(step)}
    assert pickle.loads(pickle.dumps(step)) == step
