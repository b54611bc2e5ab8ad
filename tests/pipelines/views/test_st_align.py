"""The spatio-temporal view: exact truth in, exactly right dialogues out; what is open is refused with its reason."""

from __future__ import annotations

import pickle
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

import pytest
from aligned_rows import SIZE, Exact, compiled, samples_of, shots, tube
from hypothesis import given, settings
from hypothesis import strategies as st
from view_rows import LINK, event, picture, row, shown, video

from reelmill.annotators.annotator import Annotator
from reelmill.pipelines import st_align
from reelmill.pipelines.scenes.presets import EASY, MEDIUM, Preset
from reelmill.pipelines.views.aligned.story import Rules
from reelmill.pipelines.views.aligned.subjects import alike
from reelmill.pipelines.views.checks.st_align import check_st_align
from reelmill.pipelines.views.st_align import FORMS, CompileDetected, CompileStAlign
from reelmill.schemas.detection import Detection
from reelmill.schemas.errors import BadInput
from reelmill.schemas.event import Event
from reelmill.schemas.sample import GroundedSample, Turn
from reelmill.schemas.tube import Box, Tube
from reelmill.sinks.exports.st_align import OF_A_PICTURE, STAGES
from reelmill.sinks.verify import sample_findings

ALL = CompileStAlign(per_form=99)
FRAMES = shown(*range(0, 150, 12))  # every 0.48 s of 6 s at 25 frames a second
RED, BLUE = "the red circle", "the blue square"
Corners = tuple[float, float, float, float]


def still(x: float, y: float, side: float = 40.0, count: int = 150) -> list[Corners]:
    return [(x, y, x + side, y + side)] * count


def made(tubes: list[Tube], events: list[Event], frames: Any = FRAMES, duration_s: float = 6.0) -> Exact:
    return Exact("clip", video(duration_s), frames, tuple(tubes), tuple(events), ())


@lru_cache
def told(preset: Preset, seed: int, nameless: bool = False) -> list[tuple[Exact, tuple[GroundedSample, ...]]]:
    """The shots of a scene with their samples; `nameless` calls everything in it "the thing"."""
    found = list(shots(seed, preset))
    if nameless:
        found = [
            replace(
                exact,
                tubes=tuple(replace(t, phrase="the thing") for t in exact.tubes),
                events=tuple(replace(e, subject="the thing") for e in exact.events),
            )
            for exact in found
        ]
    return [(exact, samples_of(exact)) for exact in found]


def of(task: str, samples: tuple[GroundedSample, ...]) -> list[GroundedSample]:
    return [s for s in samples if s.task == task]


def text(sample: GroundedSample) -> str:
    return " | ".join(t.text for t in sample.turns)


def reasons(task: str, samples: tuple[GroundedSample, ...]) -> set[str]:
    return {s.verdict.reason for s in of(task, samples)}


ALONE = made([tube("t1", RED, still(20, 20))], [event(RED, "moves", 0.96, 2.4, who="t1", confidence=0.8)])
TWINS = made(
    [tube("t1", RED, still(20, 20)), tube("t2", RED, still(200, 20))],
    [event(RED, "moves", 0.96, 2.4, who="t1"), event(RED, "stops", 2.4, 4.0, who="t2")],
)


def test_it_is_an_annotator_and_every_form_has_a_stage():
    assert isinstance(CompileStAlign(), Annotator)
    assert FORMS.keys() == STAGES.keys()
    assert len(FORMS) == 15 + 1
    assert Counter(STAGES.values()) == {1: 5, 2: 7, 3: 4}


# ---- the law ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("nameless", [False, True], ids=["as_named", "all_named_alike"])
@pytest.mark.parametrize("preset", [EASY, MEDIUM], ids=["easy", "medium"])
def test_from_truth_every_sample_is_exactly_right(preset, nameless):
    counted: Counter[str] = Counter()
    for exact, samples in (clip for seed in range(6) for clip in told(preset, seed, nameless)):
        for sample in (s for s in samples if s.verdict.accepted):
            assert check_st_align(sample, exact.tubes, exact.events) == [], text(sample)
            assert list(sample_findings(sample)) == []
            assert sample.method == "truth"
            counted[sample.task] += 1
    assert set(counted) == set(FORMS)
    assert min(counted.values()) >= 5, counted


QUALITIES = ("larger", "smaller", "leftmost", "rightmost", "uppermost", "lowest", "first", "last")
a_side = st.sampled_from([20.0, 26.0, 40.0])


@st.composite
def crowds(draw: st.DrawFn) -> Exact:
    """Up to four things that stand anywhere, many of them alike, each there for a part of the clip."""
    tubes, events = [], []
    for i in range(draw(st.integers(1, 4))):
        first = draw(st.sampled_from([0, 0, 12, 40]))
        count = draw(st.integers(20, 150 - first))
        place = draw(st.integers(0, 270)), draw(st.integers(0, 190)), draw(a_side)
        phrase = draw(st.sampled_from([RED, "the circle", BLUE, "the object"]))
        tubes.append(tube(f"t{i}", phrase, still(*place, count), first))
        edges = draw(st.lists(st.integers(first, first + count), min_size=2, max_size=4, unique=True).map(sorted))
        kinds = st.sampled_from(["moves", "stops", "leaves"])
        spans = list(zip(edges[0::2], edges[1::2], strict=False))
        events += [event(phrase, draw(kinds), a / 25, b / 25, who=f"t{i}") for a, b in spans]
    return made(tubes, events)


@settings(max_examples=15, deadline=None)
@given(crowds())
def test_in_a_crowd_words_fit_exactly_one_thing_or_the_sample_is_refused(exact):
    samples = samples_of(exact, CompileStAlign(per_form=6))
    assert len({s.key for s in samples}) == len(samples)
    for sample in samples:
        if sample.verdict.accepted:
            assert check_st_align(sample, exact.tubes, exact.events) == [], text(sample)


# ---- who is meant ----------------------------------------------------------------------------------------------------


def test_a_thing_alone_needs_no_quality():
    (stvg,) = of("stvg", samples_of(ALONE, ALL))
    assert "red circle" in text(stvg)
    assert not any(f"{q} red circle" in text(stvg) for q in QUALITIES)
    (tubelet,) = stvg.tubes
    assert tubelet.at_s == (0.96, 1.44, 1.92)
    assert tubelet.end_s == 2.4


@pytest.mark.parametrize(
    ("first", "second", "words"),
    [
        (still(20, 20, 60), still(200, 20, 30), "the larger red circle"),
        (still(20, 20, 30), still(200, 20, 60), "the smaller red circle"),
        (still(20, 20), still(200, 20), "the leftmost red circle"),
        (still(200, 20), still(20, 20), "the rightmost red circle"),
        (still(20, 20), still(20, 150), "the uppermost red circle"),
        (still(20, 150), still(20, 20), "the lowest red circle"),
    ],
)
def test_of_two_alike_the_clear_difference_names_one(first, second, words):
    exact = made([tube("t1", RED, first), tube("t2", RED, second)], [event(RED, "moves", 0.96, 2.4, who="t1")])
    (tvg,) = of("tvg", samples_of(exact, ALL))
    assert words in text(tvg).lower()


def test_a_phrase_that_has_a_size_gets_no_other():
    small = "the small red object"
    exact = made(
        [tube("t1", small, still(20, 20, 60)), tube("t2", small, still(200, 20, 30))],
        [event(small, "moves", 0.96, 2.4, who="t1")],
    )
    (tvg,) = of("tvg", samples_of(exact, ALL))
    assert "the leftmost small red object" in text(tvg)


def test_of_two_at_one_place_the_first_is_named_in_time_and_none_in_a_picture():
    exact = made(
        [tube("t1", RED, still(20, 20)), tube("t2", RED, still(24, 20, count=100), 50)],
        [event(RED, "moves", 0.96, 2.4, who="t1")],
    )
    samples = samples_of(exact, ALL)
    assert "the red circle that appears first" in text(of("tvg", samples)[0])
    assert "ambiguous_subject" in reasons("rec", samples)


def test_where_nothing_sets_two_apart_the_sample_is_refused_with_its_reason():
    exact = made(
        [tube("t1", RED, still(20, 20)), tube("t2", RED, still(24, 20))], [event(RED, "moves", 0.96, 2.4, who="t1")]
    )
    samples = samples_of(exact, ALL)
    for task in ("tvg", "stvg", "svg", "tr", "elc", "vc", "dvc", "rec", "reg", "vqa_open"):
        assert reasons(task, samples) <= {"ambiguous_subject", "ambiguous_box"}, task
    (tvg,) = of("tvg", samples)
    assert "'the red circle' fits 1 other" in tvg.verdict.detail


def test_two_tubes_that_are_never_seen_together_may_be_one_thing():
    broken = made(
        [tube("t1", RED, still(20, 20, count=50)), tube("t2", RED, still(200, 20, count=80), 60)],
        [event(RED, "moves", 0.48, 1.44, who="t1"), event(RED, "moves", 2.88, 4.8, who="t2")],
    )
    samples = samples_of(broken, ALL)
    assert reasons("stvg", samples) == {"ambiguous_subject"}
    assert reasons("svg", samples) == {""}, "within its own interval each is alone"
    counts = [s for s in of("vqa_attribute", samples) if "how many" in text(s).lower() or "number" in text(s).lower()]
    assert {s.verdict.reason for s in of("vqa_attribute", samples)} >= {"unsettled"}
    assert not any(s.verdict.accepted for s in counts)


def test_a_vaguer_name_could_be_the_other_thing():
    assert alike("the object", RED)
    assert alike("the large dark object", RED)
    vague = made([tube("t1", RED, still(20, 20)), tube("t2", "the red object", still(200, 150))], [])
    colours = [s for s in of("vqa_attribute", samples_of(vague, ALL)) if "colour" in text(s)]
    assert colours == [], "the red object may be a circle too"
    assert alike("the circle", RED)
    assert not alike(RED, BLUE)


def test_what_is_done_twice_is_told_by_its_time():
    exact = made(
        [tube("t1", RED, still(20, 20))],
        [event(RED, "moves", 0.48, 1.44, who="t1"), event(RED, "moves", 2.88, 4.8, who="t1")],
    )
    times = {s.turns[1].tgt_s: text(s) for s in of("tvg", samples_of(exact, ALL))}
    assert "for the first time" in times[0.48, 1.44]
    assert "for the second time" in times[2.88, 4.8]
    eleven = [event(RED, "moves", 0.4 * i + 0.1, 0.4 * i + 0.3, who="t1") for i in range(11)]
    assert reasons("tvg", samples_of(made(list(exact.tubes), eleven), ALL)) == {"too_often"}


# ---- what is open ----------------------------------------------------------------------------------------------------


def test_what_was_refused_leaves_the_answer_open():
    doubt = event(RED, "moves", 4.0, 5.0, who="t1", accepted=False)
    samples = samples_of(replace(ALONE, events=(*ALONE.events, doubt)), ALL)
    for task in ("tvg", "stvg", "svg", "elc", "vc", "dvc", "vqa_open"):
        assert reasons(task, samples) == {"unsettled"}, task
    assert of("tgc", samples) == []


def test_an_interval_or_start_that_two_events_share_is_not_asked_about():
    exact = replace(ALONE, events=(*ALONE.events, event(RED, "enters", 0.96, 2.3, who="t1")))
    samples = samples_of(exact, ALL)
    assert reasons("tr", samples) == {"ambiguous_span"}
    assert reasons("elc", samples) == {"ambiguous_start"}
    assert reasons("stvg", samples) == {""}


def test_a_box_that_two_things_share_is_not_asked_about():
    exact = made(
        [tube("t1", RED, still(20, 20)), tube("t2", BLUE, still(30, 20))], [event(RED, "moves", 0.96, 2.4, who="t1")]
    )
    samples = samples_of(exact, ALL)
    assert reasons("reg", samples) == {"ambiguous_box"}
    assert reasons("elc", samples) == {"ambiguous_box"}
    assert reasons("rec", samples) == {""}


def test_a_span_without_a_shown_frame_has_no_tube():
    samples = samples_of(replace(ALONE, events=(event(RED, "moves", 1.0, 1.4, who="t1"),)), ALL)
    assert reasons("stvg", samples) == reasons("svg", samples) == {"no_shown_frame"}
    assert reasons("tvg", samples) == {""}
    assert of("elc", samples) == []


def test_d3_an_event_beyond_the_end_is_refused_and_a_rounding_error_is_clipped():
    beyond = samples_of(replace(ALONE, events=(event(RED, "moves", 4.0, 6.5, who="t1"),)), ALL)
    assert reasons("tvg", beyond) == {"span_outside_clip"}
    (tvg,) = of("tvg", samples_of(replace(ALONE, events=(event(RED, "moves", 4.0, 6.0 + 1e-9, who="t1"),)), ALL))
    assert tvg.turns[1].tgt_s == (4.0, 6.0)
    short = Exact("s", video(0.5), shown(0), (tube("t1", RED, still(20, 20, count=12)),), (), ())
    (rec,) = of("rec", samples_of(short, ALL))
    assert rec.verdict.accepted


def test_a_thing_half_out_of_view_is_not_asked_about_as_a_picture():
    entering = [(0.0, 20.0, 4.0, 60.0)] * 30 + still(20, 20, count=120)
    samples = samples_of(made([tube("t1", RED, entering)], []), ALL)
    asked = {s.frames[0].at_s for s in of("rec", samples)}
    assert min(asked) >= 30 / 25
    assert {s.frames[0].at_s for s in of("dgc", samples)} == asked


def test_a_caption_says_one_place_and_that_of_its_frame():
    samples = samples_of(made([tube("t1", "the red circle on the left", still(20, 20))], []), ALL)
    assert not any("on the left" in text(s) for s in samples)
    assert all("a red circle at the top left" in text(s) for s in of("ic", samples))
    assert all("a red circle <box> at the top left" in text(s) for s in of("dgc", samples))


def test_a_doubtful_tube_is_not_named():
    exact = made([tube("t1", RED, still(20, 20), confidence=0.3)], list(ALONE.events))
    assert reasons("tvg", samples_of(exact, ALL)) == {"low_confidence"}
    assert reasons("tvg", samples_of(exact, CompileStAlign(rules=Rules(least_confidence=0.2)))) == {""}


def test_beside_a_thing_in_doubt_that_the_words_fit_nothing_is_named_by_a_quality():
    large, small = tube("t1", RED, still(20, 20, 80)), tube("t2", "the circle", still(200, 20), confidence=0.4)
    exact = made([large, small], [event(RED, "moves", 0.96, 2.4, who="t1")])
    samples = samples_of(exact, ALL)
    for task in ("tvg", "stvg", "svg", "rec", "reg"):
        assert "ambiguous_subject" in reasons(task, samples), task
        assert not [s for s in of(task, samples) if s.verdict.accepted], task
    sure = samples_of(replace(exact, tubes=(large, replace(small, confidence=0.9))), ALL)
    assert any("larger red circle" in text(s) for s in of("tvg", sure) if s.verdict.accepted)


def test_what_a_thing_in_doubt_may_do_is_not_denied():
    other = tube("t2", "the dark circle", still(200, 20), confidence=0.4)
    moves = event(RED, "moves", 0.96, 2.4, who="t1")
    samples = samples_of(made([*ALONE.tubes, other], [moves]), ALL)
    denied = [s for task in ("absent", "vqa_yes_no") for s in of(task, samples) if "No" in text(s) or task == "absent"]
    assert not [s for s in denied if "red circle" in text(s)]
    assert [s for s in of("absent", samples_of(ALONE, ALL)) if "red circle" in text(s)]


def test_captions_from_things_that_move_ask_about_what_moves_alone():
    found = samples_of(ALONE, ALL)
    assert all(" mov" in s.turns[0].text for s in of("ic", found) + of("dgc", found))
    true = [replace(t, method="truth") for t in ALONE.tubes]
    exact = samples_of(made(true, list(ALONE.events)), ALL)
    assert not any(" mov" in s.turns[0].text for s in of("ic", exact) + of("dgc", exact))


def test_counts_are_open_where_tubes_were_dropped_or_do_nothing():
    note = "dropped brief: 2"
    (out,) = compiled(ALL, ALONE.row(note))
    numbers = [s for s in of("vqa_attribute", out["samples"]) if "colour" not in text(s).lower()]
    assert {s.verdict.reason for s in numbers} == {"unsettled"}
    assert note in numbers[0].verdict.detail
    idle = replace(ALONE, tubes=(*ALONE.tubes, tube("t2", BLUE, still(200, 150))))
    assert "unsettled" in reasons("vqa_attribute", samples_of(idle, ALL))


def test_a_clip_without_a_tube_says_why():
    (out,) = compiled(ALL, replace(ALONE, tubes=(), events=()).row("camera_moves: 3 of 9 steps"))
    assert (out["verdict"]["reason"], out["verdict"]["detail"]) == ("no_tube", "camera_moves: 3 of 9 steps")


# ---- what is not so --------------------------------------------------------------------------------------------------


def test_yes_and_no_are_balanced_and_their_questions_look_alike():
    said: Counter[str] = Counter()
    openings: dict[str, set[str]] = {"yes": set(), "no": set()}
    for _, samples in (clip for seed in range(10) for clip in told(EASY, seed)):
        for sample in of("vqa_yes_no", samples):
            answer = sample.turns[1].text.split()[0].strip(".,").lower()
            said[answer] += 1
            openings[answer].add(sample.turns[0].text.split()[0])
    assert said["yes"] == said["no"] >= 30
    assert openings["yes"] == openings["no"], "no opening gives the answer away"


def test_absence_is_never_claimed_of_what_was_proposed_or_of_a_near_colour():
    doubt = event(RED, "leaves", 5.0, 5.5, who="t1", accepted=False)
    samples = samples_of(replace(ALONE, events=(*ALONE.events, doubt)), ALL)
    denied = " ".join(text(s).lower() for s in of("absent", samples))
    assert "red circle leave" not in denied
    assert "red circle stop" in denied
    assert not any(f"{near} circle" in denied for near in ("orange", "pink", "purple", "brown"))
    assert "green circle" in denied


def test_denials_stand_anywhere_in_a_conversation():
    places: Counter[int] = Counter()
    for _, samples in (clip for seed in range(10) for clip in told(EASY, seed)):
        for sample in of("tgc", samples):
            answers = sample.turns[1::2]
            places.update(i for i, t in enumerate(answers) if not t.tgt_s and not sample.turns[2 * i].src_s)
    assert set(places) == {0, 1, 2}


# ---- what a sample says of itself ------------------------------------------------------------------------------------


def test_a_sample_says_what_it_rests_on():
    (stvg,) = of("stvg", samples_of(ALONE, ALL))
    assert stvg.evidence == ("t1", ALONE.events[0].key)
    assert (stvg.label_confidence, stvg.method, stvg.family, stvg.parent_key) == (0.8, "rules", "st_align", "clip")
    assert stvg.provenance[0] == LINK
    own = stvg.provenance[1]
    assert (own.step, own.prompt_hash) == ("compile_st_align", CompileStAlign().phrasings_hash)
    assert len(stvg.frames) == len(FRAMES)
    (rec, *_) = of("rec", samples_of(ALONE, ALL))
    assert len(rec.frames) == 1


def test_boxes_are_in_pixels_of_the_medium_though_tubes_were_followed_in_another_size():
    halved = replace(ALONE, media=video(size=(640, 480)))
    (rec, *_) = of("rec", samples_of(halved, ALL))
    assert rec.turns[1].boxes == (Box(40, 40, 120, 120),)


def test_no_more_than_wanted_and_the_rest_is_the_same_draw():
    (exact, *_) = shots(5, EASY)
    few, many = samples_of(exact, CompileStAlign(per_form=1)), samples_of(exact, ALL)
    good = Counter(s.task for s in few if s.verdict.accepted)
    assert {t: n for t, n in good.items() if t != "vqa_yes_no"} == dict.fromkeys(set(good) - {"vqa_yes_no"}, 1)
    assert {s.key: s for s in few}.items() <= {s.key: s for s in many}.items()


@settings(max_examples=6, deadline=None)
@given(crowds(), crowds(), st.randoms(use_true_random=False))
def test_a_row_alone_is_the_row_in_any_batch_and_any_order_of_evidence(one, two, rng):
    shuffled = replace(one, tubes=tuple(rng.sample(one.tubes, len(one.tubes))))
    alone = compiled(CompileStAlign(), one.row())[0]
    assert compiled(CompileStAlign(), two.row(), one.row())[1] == alone
    assert compiled(pickle.loads(pickle.dumps(CompileStAlign())), shuffled.row())[0] == alone


def test_an_unknown_evidence_or_number_is_refused():
    with pytest.raises(BadInput, match="use rules, truth or detections"):
        st_align.recipe(evidence="guess")
    with pytest.raises(BadInput, match="at least 1"):
        st_align.recipe(per_form=0)
    with pytest.raises(BadInput, match="no engine"):
        st_align.recipe(evidence="detections")


def test_each_evidence_is_a_dataset_of_its_own():
    made_ = {
        "rules": st_align.recipe(),
        "truth": st_align.recipe("truth"),
        "detections": st_align.recipe("detections", detect_engine="transformers:folder", phrases="a dog"),
    }
    assert {e: r.name for e, r in made_.items()} == {
        "rules": "st_align",
        "truth": "st_align_truth",
        "detections": "st_align_detected",
    }
    assert {e: [u.name for u in r.source.upstreams] for e, r in made_.items()} == {
        "rules": ["clips", "tubes", "events"],
        "truth": ["clips_truth", "tubes_truth", "events_truth"],
        "detections": ["clips", "detections"],
    }
    assert len({r.fingerprint_hash() for r in (*made_.values(), st_align.recipe(per_form=3))}) == 4


def test_the_recount_of_a_dataset_reads_tubes_too():
    (stvg,) = of("stvg", samples_of(ALONE, ALL))
    (tubelet,) = stvg.tubes
    assert list(sample_findings(stvg)) == []
    broken = {
        "placeholders": (),
        "tube": (replace(tubelet, boxes=tubelet.boxes[1:]),),
        "time_range": (replace(tubelet, end_s=6.5),),
        "box_range": (replace(tubelet, boxes=(Box(-9, 0, 40, 40), *tubelet.boxes[1:])),),
    }
    for kind, tubes in broken.items():
        assert [f.kind for f in sample_findings(replace(stvg, tubes=tubes))] == [kind]


# ---- pictures ----


def detection(phrase: str, box: Corners, score: float = 0.8, frame: int = 0) -> Detection:
    return Detection(phrase, Box(*box), score, frame, frame / 25, *SIZE, "model")


def pictured(*found: Detection, media: Any = None, frames: Any = None) -> dict[str, Any]:
    """Outcome of the step that has detections for its evidence."""
    one = row(media or picture(), frames or shown(0), detections=found) | {"detect_model": "detector"}
    (out,) = compiled(CompileDetected(per_form=9), one)
    return out


def truth_of(found: Sequence[Detection]) -> list[Tube]:
    """Detections as the checker wants them: a tube of one frame each."""
    return [
        Tube(f"d{i}", "the " + d.phrase.removeprefix("a "), (d.at_s,), (d.box,), *SIZE, d.at_s + 0.04, d.score, "model")
        for i, d in enumerate(found)
    ]


def test_a_picture_gives_the_forms_about_one_frame():
    found = (detection("a dog", (10, 10, 60, 60)), detection("a red car", (200, 150, 300, 220)))
    samples = pictured(*found)["samples"]
    assert {s.task for s in samples} == set(OF_A_PICTURE)
    for sample in samples:
        assert sample.verdict.accepted
        assert (sample.label_confidence, sample.method, sample.media.kind) == (0.8, "model", "image")
        assert sample.provenance[-1].model == "detector"
        assert check_st_align(sample, truth_of(found), ()) == [], text(sample)


def test_of_two_dogs_the_picture_tells_which():
    found = (detection("a dog", (10, 10, 60, 60)), detection("dog", (200, 10, 250, 60)))
    samples = pictured(*found)["samples"]
    assert {("leftmost" in text(s), "rightmost" in text(s)) for s in of("rec", samples)} == {
        (True, False),
        (False, True),
    }
    assert all(check_st_align(s, truth_of(found), ()) == [] for s in samples)
    near = pictured(detection("dog", (10, 10, 60, 60)), detection("dog", (20, 20, 70, 70)))["samples"]
    assert reasons("rec", near) == {"ambiguous_subject"}


def test_an_unsure_detection_is_a_rival_and_never_an_answer():
    samples = pictured(detection("dog", (10, 10, 60, 60)), detection("dog", (20, 10, 70, 60), score=0.35))["samples"]
    assert {(s.task, s.verdict.reason) for s in samples} == {
        ("rec", "ambiguous_subject"),
        ("rec", "low_confidence"),
        ("reg", "ambiguous_subject"),
        ("reg", "low_confidence"),
        ("ic", "low_confidence"),
        ("dgc", "low_confidence"),
    }


def test_detections_of_two_frames_are_told_apart_and_scaled_to_the_medium():
    found = (detection("dog", (10, 10, 60, 60)), detection("dog", (20, 10, 70, 60), frame=12))
    samples = pictured(*found, media=video(size=(640, 480)), frames=shown(0, 12))["samples"]
    recs = of("rec", samples)
    assert {s.frames[0].at_s: s.turns[1].boxes[0] for s in recs} == {
        0.0: Box(20, 20, 120, 120),
        0.48: Box(40, 20, 140, 120),
    }
    assert all(s.verdict.accepted for s in recs)
    assert pictured()["verdict"]["reason"] == "nothing_detected"
    assert pictured(detection("dog", (400, 10, 450, 60)))["verdict"]["reason"] == "nothing_detected"


# ---- the checker -----------------------------------------------------------------------------------------------------


def lies(sample: GroundedSample) -> list[GroundedSample]:
    """The sample with one defect each: a time, a box, a tube, a word, a turn."""
    question, answer = sample.turns[0], sample.turns[1]

    def answered(turn: Turn) -> GroundedSample:
        return replace(sample, turns=(question, turn, *sample.turns[2:]))

    out = [replace(sample, turns=(answer, question, *sample.turns[2:])), answered(replace(answer, text=" "))]
    if answer.tgt_s:
        out += [answered(replace(answer, tgt_s=tuple(t / 2 + 0.01 for t in answer.tgt_s)))]
        out += [answered(replace(answer, tgt_s=(*answer.tgt_s, 1.0, 2.0)))]
        out += [answered(replace(answer, tgt_s=(*answer.tgt_s[:-1], 99.0)))]
    for turn, other in ((question, answer), (answer, question)):
        if turn.boxes:
            moved = tuple(Box(b.x0_px / 2, b.y0_px / 2, b.x1_px / 2, b.y1_px / 2) for b in turn.boxes)
            pair = (replace(turn, boxes=moved), other) if turn is question else (other, replace(turn, boxes=moved))
            out.append(replace(sample, turns=pair))
    for tubelet in sample.tubes:
        out += [replace(sample, tubes=(replace(tubelet, at_s=tubelet.at_s[1:], boxes=tubelet.boxes[1:]),))]
        out += [
            replace(
                sample, tubes=(replace(tubelet, boxes=tuple(replace(b, x0_px=0.0, y0_px=0.0) for b in tubelet.boxes)),)
            )
        ]
        out += [
            replace(sample, tubes=(replace(tubelet, at_s=tuple(t + 0.04 for t in tubelet.at_s), end_s=99.0),)),
            replace(sample, tubes=()),
        ]
    swapped = {
        "moves": "leaves the frame",
        "stops and stays where it is": "moves",
        "Yes": "No",
        "No": "Yes",
        "left": "right",
    }
    swapped |= {"One": "Two", "Two": "One"} if sample.task == "vqa_attribute" else {}
    swapped |= {"Red": "Blue", "red": "blue", "does not": "does", "circle": "star"}
    for word, lie in swapped.items():
        if word in answer.text and sample.task not in ("rec", "stvg", "svg", "tvg", "absent"):
            out.append(answered(replace(answer, text=answer.text.replace(word, lie, 1))))
    if sample.task == "absent":
        out += [
            answered(replace(answer, text="It does.")),
            answered(replace(answer, text="At <time>.", tgt_s=(1.0, 2.0))),
        ]
    if sample.task == "dvc":
        lines = answer.text.split("\n")
        out += [answered(replace(answer, text="\n".join(lines[1:]), tgt_s=answer.tgt_s[2:]))]
    return out


def test_the_check_finds_every_kind_of_lie():
    moving = [(20.0 + min(i, 60), 20.0, 60.0 + min(i, 60), 60.0) for i in range(150)]
    exact = made(
        [tube("t1", RED, moving), tube("t2", BLUE, still(200, 150))],
        [
            event(RED, "moves", 0.04, 2.4, who="t1"),
            event(RED, "stops", 2.4, 6.0, who="t1"),
            event(BLUE, "leaves", 4.0, 5.0, who="t2"),
        ],
    )
    seen: Counter[str] = Counter()
    for sample in samples_of(exact, ALL):
        if sample.verdict.accepted:
            assert check_st_align(sample, exact.tubes, exact.events) == [], text(sample)
            for lie in lies(sample):
                assert check_st_align(lie, exact.tubes, exact.events), (sample.task, text(lie), lie.tubes)
                seen[sample.task] += 1
    assert set(seen) == set(FORMS)
    assert min(seen.values()) >= 2


def test_the_check_finds_a_name_that_fits_two():
    (tvg,) = [s for s in of("tvg", samples_of(TWINS, ALL)) if s.turns[1].tgt_s == (0.96, 2.4)]
    question = replace(tvg.turns[0], text=tvg.turns[0].text.replace("leftmost ", ""))
    assert question != tvg.turns[0]
    (fault, *_) = check_st_align(replace(tvg, turns=(question, tvg.turns[1])), TWINS.tubes, TWINS.events)
    assert "fits 2 things" in fault
