"""The temporal view: exact truth in, exactly right dialogues out; what is open is refused with its reason."""

from __future__ import annotations

import dataclasses
import pickle
import random
import sys
from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from view_rows import LINK, compiled, event, row, shown, true_event, video

from reelmill.annotators.annotator import Annotator
from reelmill.annotators.events import DOUBTED
from reelmill.pipelines._recipe import step_identity
from reelmill.pipelines.scenes.compose import compose
from reelmill.pipelines.scenes.presets import EASY, MEDIUM
from reelmill.pipelines.scenes.truth import truth
from reelmill.pipelines.views.checks.grounding import check_grounding
from reelmill.pipelines.views.grounding import CompileGrounding
from reelmill.pipelines.views.happenings import united
from reelmill.schemas.errors import Drift
from reelmill.schemas.event import Event
from reelmill.schemas.keys import child_key
from reelmill.schemas.sample import Sample
from reelmill.schemas.span import Span
from reelmill.schemas.verdict import State, rejected

UNDRAWN = ("grounding", "span_caption", "dense_caption", "summary")
"""Forms that ask of all there is; of the others a clip gets a few, drawn by the seed."""
SINGLE = (*UNDRAWN, "absent", "order", "next_event", "count", "during")
RED, BLUE = "the red circle", "the blue square"
PLAIN = (
    event(RED, "enters", 0.4, 0.9, confidence=0.8),
    event(RED, "moves", 0.4, 2.0),
    event(RED, "stops", 2.0, 4.0),
    event(RED, "moves", 4.0, 5.0, confidence=0.7),
    event(BLUE, "moves", 0.0, 6.0),
)


def samples(events, step: CompileGrounding | None = None, key: str = "clip", media=None) -> tuple[Sample, ...]:
    (out,) = compiled(
        step or CompileGrounding(), row(media or video(), shown(0, 50, 100), key=key, still=False, events=tuple(events))
    )
    assert out["verdict"] is None, out["verdict"]
    found: tuple[Sample, ...] = out["samples"]
    return found


def of(task: str, all_samples, about: str = "") -> list[Sample]:
    return [s for s in all_samples if s.task == task and about in s.turns[0].text + s.turns[1].text]


def test_it_is_an_annotator():
    assert isinstance(CompileGrounding(), Annotator)


def test_when_with_one_several_and_united_times():
    found = samples(PLAIN)
    (enters,) = of("grounding", found, "enter")
    assert enters.turns[1].tgt_s == (0.4, 0.9)
    (moves,) = list(of("grounding", found, "red circle mov") + of("grounding", found, "red circle move"))[:1]
    assert moves.turns[1].tgt_s == (0.4, 2.0, 4.0, 5.0)
    assert "<time> and <time>" in moves.turns[1].text


def test_a_sample_says_what_it_rests_on():
    (moves,) = [s for s in of("grounding", samples(PLAIN)) if len(s.turns[1].tgt_s) == 4]
    assert moves.evidence == (PLAIN[1].key, PLAIN[3].key)
    assert (moves.label_confidence, moves.method) == (0.7, "rules")
    assert [(f.dataset, f.key, f.frame, f.at_s) for f in moves.frames] == [
        ("clips-x@1", "clip", 0, 0.0),
        ("clips-x@1", "clip", 50, 2.0),
        ("clips-x@1", "clip", 100, 4.0),
    ]
    assert moves.media.licence == "CC-BY-4.0"
    assert moves.provenance[0] == LINK
    own = moves.provenance[1]
    assert (own.step, own.prompt_hash, own.seed) == ("compile_grounding", CompileGrounding().phrasings_hash, 0)
    assert moves.key == child_key("clip", "internvid_tg", "grounding", RED, "moves")
    assert moves.parent_key == "clip"


def test_dense_caption_is_everything_in_order():
    (dense,) = of("dense_caption", samples(reversed(PLAIN)))
    assert dense.turns[1].tgt_s == (0.0, 6.0, 0.4, 0.9, 0.4, 2.0, 2.0, 4.0, 4.0, 5.0)
    assert dense.turns[1].text.count("\n") == 4
    assert check_grounding(dense, PLAIN) == []


def test_a_span_that_two_events_share_is_not_asked_about():
    events = (event(RED, "moves", 1.0, 3.0), event(BLUE, "moves", 1.2, 3.0), event(BLUE, "leaves", 2.7, 3.0))
    found = {s.turns[0].src_s: s for s in of("span_caption", samples(events))}
    assert found[1.0, 3.0].verdict.reason == "ambiguous_span"
    assert "tIoU 0.90" in found[1.0, 3.0].verdict.detail
    assert found[2.7, 3.0].verdict.accepted


def test_a_refused_events_proposal_makes_a_span_doubtful_too():
    doubt = event(BLUE, "stops", 4.0, 4.2, accepted=False, proposed=[(1.0, 3.1)])
    (only,) = of("span_caption", samples((event(RED, "moves", 1.0, 3.0), doubt)))
    assert only.verdict.reason == "ambiguous_span"


def test_an_answer_that_would_leave_out_an_open_happening_is_refused():
    doubt = event(RED, "moves", 4.0, 5.0, accepted=False)
    found = samples((event(RED, "moves", 1.0, 3.0), event(RED, "enters", 1.0, 1.3), doubt))
    verdicts = {(s.task, s.evidence): s.verdict for s in found if s.task == "grounding"}
    assert verdicts["grounding", ("event of the red circle moves 1.0",)].reason == "unsettled"
    assert "1 of 2 times" in verdicts["grounding", ("event of the red circle moves 1.0",)].detail
    assert verdicts["grounding", ("event of the red circle enters 1.0",)].accepted
    (dense,) = of("dense_caption", found)
    assert (dense.verdict.reason, dense.verdict.detail) == ("unsettled", "2 of 3 events accepted, want 100%")
    (lenient,) = of(
        "dense_caption", samples((event(RED, "moves", 1.0, 3.0), doubt), CompileGrounding(dense_min_share=0.5))
    )
    assert lenient.verdict.accepted


def test_two_things_of_one_name_are_one_of_them_and_all_their_times():
    events = (
        event(RED, "moves", 1.0, 3.0, who="t1"),
        event(RED, "moves", 2.0, 4.0, who="t2"),
        event(RED, "enters", 1.0, 1.5, who="t1"),
    )
    found = samples(events)
    (moves,) = [s for s in of("grounding", found) if len(s.evidence) == 2]
    assert moves.turns[1].tgt_s == (1.0, 4.0)
    assert not [s for s in found if "the red circle" in s.turns[0].text + s.turns[1].text and s.task != "absent"]
    assert of("grounding", found, "a red circle")
    assert [check_grounding(s, events) for s in found if s.verdict.accepted] == [[]] * sum(
        s.verdict.accepted for s in found
    )


def test_words_that_fit_another_thing_too_cannot_be_asked_about():
    events = (
        event("the object", "moves", 1.0, 2.0),
        event(RED, "moves", 3.0, 5.0),
        event("the object", "stops", 2.0, 3.0),
    )
    verdicts = {(s.evidence[0]): s.verdict.reason for s in of("grounding", samples(events))}
    assert verdicts == {
        "event of the object moves 1.0": "ambiguous_subject",
        "event of the object stops 2.0": "",
        "event of the red circle moves 3.0": "",
    }


def test_what_does_not_happen():
    found = of("absent", samples(PLAIN))
    assert len(found) == 2
    for sample in found:
        assert sample.turns[1].tgt_s == ()
        assert check_grounding(sample, PLAIN) == []
    assert any(" red circle" in s.turns[0].text or " blue square" in s.turns[0].text for s in found)
    assert any(" red circle" not in s.turns[0].text and " blue square" not in s.turns[0].text for s in found)
    assert of("absent", samples(PLAIN, CompileGrounding(absent_max=0))) == []


def doubted(subject: str, start_s: float, end_s: float) -> Event:
    """What is read off a tube that may be no one thing."""
    verdict = rejected("read_events", DOUBTED, "tube 0.40, want 0.5")
    return replace(event(subject, "moves", start_s, end_s, who=f"doubted {subject}", accepted=False), verdict=verdict)


@pytest.mark.parametrize("other", [RED, "the circle", "the light object", "the orange circle"])
def test_a_thing_in_doubt_that_the_words_fit_too_may_do_the_same(other):
    enters = event(RED, "enters", 0.4, 0.9)
    found = samples((enters, doubted(other, 4.0, 5.0)))
    for task in ("grounding", "count", "during"):
        assert {s.verdict.reason for s in of(task, found)} <= {"ambiguous_subject"}, task
    assert {s.verdict.reason for s in of("dense_caption", found) + of("summary", found)} == {"unsettled"}
    assert [s.verdict.accepted for s in of("span_caption", found)] == [True]
    assert not [s for s in of("absent", found) if "red circle" in s.turns[0].text]


def test_a_thing_in_doubt_that_the_words_do_not_fit_leaves_them_clear():
    found = samples((event(RED, "enters", 0.4, 0.9), doubted("the blue square", 4.0, 5.0)))
    assert [s.verdict.accepted for s in of("grounding", found)] == [True]
    assert "red circle stop" in absent_questions((PLAIN[0], doubted("the blue square", 4.0, 5.0)))


def test_no_is_not_said_of_a_time_when_a_thing_in_doubt_may_do_it():
    """Outside of its own time and the doubt's, the clip of 6 s leaves room for nothing of two seconds."""
    events = (event(RED, "enters", 0.0, 2.0), doubted("the circle", 2.5, 5.5))
    for n in range(8):
        assert of("during", samples(events, key=f"clip{n}")) == []


def test_a_pale_blue_thing_may_be_called_white_and_a_hand_brown_or_pink():
    asked = absent_questions((event("the white object", "moves", 1.0, 2.0),))
    assert "green object" in asked
    assert "blue object" not in asked
    assert "pink object" not in absent_questions((event("the brown object", "moves", 1.0, 2.0),))


def absent_questions(events, clips: int = 12) -> str:
    step = CompileGrounding(absent_max=9)
    return "\n".join(s.turns[0].text for n in range(clips) for s in of("absent", samples(events, step, key=f"clip{n}")))


def test_nothing_that_was_ever_proposed_is_denied():
    asked = absent_questions((event(RED, "moves", 1.0, 2.0), event(RED, "leaves", 1.5, 2.0, accepted=False)))
    assert "red circle leav" not in asked
    assert "red circle stop" in asked
    assert "red circle enter" in asked


def test_a_thing_with_events_is_never_said_not_to_move():
    asked = absent_questions((event(RED, "enters", 1.0, 2.0), event(RED, "leaves", 2.0, 3.0)))
    assert "red circle mov" not in asked


def test_neighbouring_colours_and_vaguer_names_are_not_denied():
    orange = (event(RED, "moves", 1.0, 2.0), event("the orange circle", "stops", 2.0, 3.0))
    assert "red circle stop" not in absent_questions(orange)
    vague = (event(RED, "moves", 1.0, 2.0), event("the large dark object", "stops", 2.0, 3.0))
    assert "red circle stop" not in absent_questions(vague)
    asked = absent_questions((PLAIN[0],))
    assert not any(f" {near} circle" in asked for near in ("orange", "pink", "purple", "brown"))
    assert "green circle" in asked


def test_a_denial_cannot_be_told_from_the_wording_of_its_question():
    found = [s for n in range(60) for s in samples(PLAIN, key=f"clip{n}")]
    start = {task: {s.turns[0].text.split()[0] for s in of(task, found)} for task in ("grounding", "absent")}
    assert start["absent"] == start["grounding"]
    assert len(start["absent"]) == 12


def test_rows_without_anything_to_say_are_refused():
    step = CompileGrounding()
    none = row(video(), shown(0), key="none", still=False, events=())
    refused = tuple(event(RED, k, 1.0, 2.0, accepted=False) for k in ("enters", "moves", "leaves"))
    doubt = row(video(), shown(0), key="doubt", still=False, events=refused)
    still = row(video(), shown(0), key="still", still=True, events=PLAIN)
    verdicts = [out["verdict"] for out in compiled(step, none, doubt, still)]
    assert [(v["reason"], v["detail"]) for v in verdicts[:2]] == [
        ("no_accepted_event", "0 proposed, 0 rejected"),
        ("no_accepted_event", "3 proposed, 3 rejected: 3 localisers_disagree"),
    ]
    assert verdicts[2]["reason"] == "still"


def test_d3_events_that_touch_the_end_and_short_clips():
    short = (event(RED, "moves", 0.0, 0.5),)
    for sample in samples(short, media=video(0.5)):
        assert sample.verdict.accepted
        assert check_grounding(sample, short) == []
    rounded = (event(RED, "moves", 0.1, 0.5 + 1e-9),)
    (when,) = of("grounding", samples(rounded, media=video(0.5)))
    assert when.turns[1].tgt_s == (0.1, 0.5)


def test_d3_an_event_beyond_the_end_is_refused_with_what_it_names():
    found = samples((event(RED, "moves", 1.0, 7.0), event(RED, "enters", 1.0, 1.2)))
    reasons = {s.task: s.verdict.reason for s in found if len(s.evidence) == 1 and "moves" in s.evidence[0]}
    assert reasons == {"grounding": "span_outside_clip", "span_caption": "span_outside_clip"}
    assert of("dense_caption", found)[0].verdict.reason == "span_outside_clip"


def test_times_are_of_the_clip_and_not_of_its_source():
    clip = video(2.0, Span(30.0, 32.0))
    (when,) = of("grounding", samples((event(RED, "moves", 0.5, 2.0),), media=clip))
    assert when.turns[1].tgt_s == (0.5, 2.0)
    assert check_grounding(when, (event(RED, "moves", 0.5, 2.0),)) == []


@pytest.mark.parametrize("preset", [EASY, MEDIUM], ids=["easy", "medium"])
def test_from_true_events_every_sample_is_exactly_right(preset):
    made: Counter[str] = Counter()
    for seed in range(12):
        exact = truth(compose(seed, preset))
        for number, shot in enumerate(exact.shots):
            own = [e for e in exact.events if e.subject_id.startswith(f"s{number}m")]
            events = [replace(e, key=f"e{i}", span=e.span.shifted(-shot.start_s)) for i, e in enumerate(own)]
            for sample in samples(events, key=f"{seed}.{number}", media=video(shot.duration_s, shot)):
                if sample.verdict.accepted:
                    assert check_grounding(sample, events) == [], sample.turns
                    assert sample.method == "truth"
                    made[sample.task] += 1
    assert set(made) == {*SINGLE, "dialogue"}
    assert min(made.values()) >= 7


def test_the_check_finds_every_kind_of_lie():
    found = samples(PLAIN)
    for sample in found:
        if not sample.verdict.accepted or sample.task not in ("absent", "span_caption", "grounding", "dense_caption"):
            continue
        question, answer = sample.turns
        lies = [replace(answer, tgt_s=tuple(t / 2 for t in answer.tgt_s))] if answer.tgt_s else []
        lies += [replace(answer, tgt_s=(*answer.tgt_s, 1.0, 2.0))]
        lies += [replace(answer, tgt_s=(*answer.tgt_s[:-1], 6.1))] if answer.tgt_s else []
        if sample.task == "absent":
            lies += [replace(answer, text="At <time>.", tgt_s=(1.0, 2.0)), replace(answer, text="It does.")]
        if sample.task == "span_caption":
            lies = [replace(answer, text=answer.text.replace("circle", "star").replace("square", "star"))]
            lies += [replace(answer, text="The red circle leaves the frame.")]
        if sample.task == "grounding":
            lies += [replace(answer, text="That does not happen.", tgt_s=())]
        if sample.task == "dense_caption":
            lines = answer.text.split("\n")
            lies += [replace(answer, text="\n".join(lines[1:]), tgt_s=answer.tgt_s[2:])]
            lies += [replace(answer, text="\n".join([lines[1], lines[0], *lines[2:]]))]
        for lie in lies:
            assert check_grounding(replace(sample, turns=(question, lie)), PLAIN), (sample.task, lie)
        assert check_grounding(replace(sample, turns=(answer, question)), PLAIN)


SUBJECTS = (
    "the red circle",
    "the blue square",
    "the orange circle",
    "the object",
    "the large dark object",
    "the <time> box",
)
an_event = true_event(SUBJECTS)


def settled(events: list[Event]) -> list[Event]:
    return [e for e in events if e.verdict.accepted]


@settings(max_examples=60, deadline=None)
@given(st.lists(an_event, max_size=9))
def test_random_events_give_well_formed_samples_that_are_right_about_what_was_accepted(events):
    (out,) = compiled(CompileGrounding(), row(video(), shown(0), still=False, events=tuple(events)))
    if not settled(events):
        assert out["verdict"]["reason"] == "no_accepted_event"
        return
    found = out["samples"]
    assert len({s.key for s in found}) == len(found)
    for sample in found:
        for turn in sample.turns:
            own = turn.src_s if turn.role == "user" else turn.tgt_s
            assert 2 * turn.text.count("<time>") == len(own) == len(turn.src_s) + len(turn.tgt_s)
            assert all(0 <= s < e <= 6.0 for s, e in zip(own[0::2], own[1::2], strict=True))
        plain = "<" not in "".join(e.subject for e in events)
        if sample.verdict.state is State.ACCEPTED and plain:
            assert check_grounding(sample, settled(events)) == [], sample.turns


@settings(max_examples=25, deadline=None)
@given(st.lists(an_event, max_size=7), st.randoms(use_true_random=False))
def test_a_row_alone_is_the_row_in_any_batch_and_any_order_of_events(events: list[Event], rng: random.Random):
    step = CompileGrounding()
    shuffled = rng.sample(events, len(events))
    one = row(video(), shown(0, 25), key="one", still=False, events=tuple(events))
    two = row(video(), shown(0), key="two", still=False, events=PLAIN)
    mixed = row(video(), shown(0, 25), key="one", still=False, events=tuple(shuffled))
    alone = compiled(step, one)[0]
    assert compiled(CompileGrounding(), two, one)[1] == alone == compiled(step, one, two)[0]
    again = compiled(step, mixed)[0]
    assert (again["samples"], again["verdict"]) == (alone["samples"], alone["verdict"])


def test_a_sample_does_not_depend_on_what_else_its_clip_has():
    few = {s.key: s for s in samples(PLAIN[:3])}
    more = {s.key: s for s in samples(PLAIN)}
    assert few[child_key("clip", "internvid_tg", "grounding", RED, "enters")] in more.values()


def test_the_seed_changes_wordings_and_nothing_else():
    one, other = samples(PLAIN), samples(PLAIN, CompileGrounding(seed=1))
    same = {s.key for s in one if s.task in UNDRAWN}
    assert same == {s.key for s in other if s.task in UNDRAWN}
    assert [s.turns for s in one] != [s.turns for s in other]
    assert samples(PLAIN) == one


def test_all_twelve_wordings_are_used():
    texts = {s.turns[0].text for n in range(100) for s in of("grounding", samples(PLAIN[:1], key=f"clip{n}"))}
    assert len(texts) == 12


def test_one_changed_wording_is_another_identity(tmp_path, monkeypatch):
    package = tmp_path / "other_wordings"
    package.mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "other_wordings", raising=False)
    (package / "__init__.py").write_text("")
    (package / "tg.toml").write_text("[a]\nq = ['x']\n")
    before = CompileGrounding(phrasings="other_wordings:tg")
    (package / "tg.toml").write_text("[a]\nq = ['y']\n")
    after = CompileGrounding(phrasings="other_wordings:tg")
    assert step_identity(before) != step_identity(after)
    with pytest.raises(Drift):
        before.setup()
    after.setup()


def test_identity_is_plain_and_it_travels():
    step = CompileGrounding()
    step.setup()
    assert set(step_identity(step)["fields"]) == {f.name for f in dataclasses.fields(step)}
    assert pickle.loads(pickle.dumps(step)) == step


def test_united_spans():
    spans = [Span(3.0, 4.0), Span(0.0, 1.0), Span(0.5, 2.0), Span(2.0, 2.5)]
    assert united(spans) == (Span(0.0, 2.5), Span(3.0, 4.0))
