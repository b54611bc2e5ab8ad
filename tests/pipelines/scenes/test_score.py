"""The scorer itself: perfect, shifted, empty and doubled predictions against numbers worked out by hand."""

import dataclasses
import itertools
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from reelmill.pipelines.scenes.compose import compose
from reelmill.pipelines.scenes.confidence import Rate, ratio
from reelmill.pipelines.scenes.pictures import compose_picture, picture_truth
from reelmill.pipelines.scenes.presets import MEDIUM
from reelmill.pipelines.scenes.reading import edits
from reelmill.pipelines.scenes.score import Figure, Predicted, Rule, Score, assign, score
from reelmill.pipelines.scenes.truth import SceneTruth, truth
from reelmill.schemas.errors import BadInput
from reelmill.schemas.event import RULE_KINDS, Event, EventKind
from reelmill.schemas.span import Span
from reelmill.schemas.text import TextLine
from reelmill.schemas.tube import Box, Tube
from reelmill.schemas.verdict import ACCEPTED

TIMES = tuple(i * 0.04 for i in range(100))
NOTHING = Predicted((), (), (), ())
SCENES = {f"v{seed}": truth(compose(seed, MEDIUM)) for seed in range(8)}


def tube(tube_id: str = "t", first: int = 10, end: int = 60, dx: float = 0.0) -> Tube:
    boxes = (Box(100 + dx, 100, 120 + dx, 120),) * (end - first)
    return Tube(tube_id, "the red square", TIMES[first:end], boxes, 320, 240, end * 0.04, 1.0, "test")


def event(start_s: float, end_s: float, kind: EventKind = EventKind.MOVES, who: str = "t") -> Event:
    return Event("", "", kind, who, "the red square", "", Span(start_s, end_s), 1.0, (), "test", ACCEPTED)


def line(text: str, at_s: float = 0.0, x: float = 50, y: float = 50, width: float = 60) -> TextLine:
    quad = (x, y, x + width, y, x + width, y + 20, x, y + 20)
    return TextLine(text, quad, 1.0, 0, 0, at_s, "test")


def known(**parts: object) -> SceneTruth:
    base = SceneTruth(320, 240, (Span(0.0, 2.0), Span(2.0, 4.0)), (2.0,), (), (), (), 4.0, TIMES)
    return dataclasses.replace(base, **parts)  # type: ignore[arg-type]


def said(exact: SceneTruth, **parts: object) -> Predicted:
    """What the truth says, but for some parts."""
    return dataclasses.replace(Predicted(exact.shots, exact.tubes, exact.events, exact.texts), **parts)  # type: ignore[arg-type]


def values(result: Score) -> dict[str, float | None]:
    return {row.name: row.value for row in result.rows()}


def one(exact: SceneTruth, prediction: Predicted, rule: Rule | None = None) -> Score:
    return score({"v": exact}, {"v": prediction}, rule)


def test_a_perfect_prediction_is_exactly_perfect() -> None:
    result = score(SCENES, {name: said(exact) for name, exact in SCENES.items()})
    for name, value in values(result).items():
        if any(word in name for word in ("error", "false", "doubt", "invented", "without")):
            assert value == 0.0, name
        elif name != "videos":
            assert value == 1.0, name


def test_an_empty_prediction_finds_nothing_and_claims_nothing() -> None:
    for predicted in ({}, dict.fromkeys(SCENES, NOTHING)):
        result = score(SCENES, predicted)
        assert result.unanswered == (8 if not predicted else 0)
        pooled = result.events[0].found
        assert (pooled.recall.value, pooled.precision.value, pooled.f1.value) == (0.0, None, 0.0)
        assert result.tubes.viou.value == 0.0
        assert result.tubes.false_per_video.value == 0.0
        assert result.events[0].start.median_s is None
        assert result.texts.words.value == 0.0
        assert result.texts.character_error.value == 1.0
        assert result.cuts_frame.f1.value == 0.0


def test_no_videos_at_all() -> None:
    assert all(row.value in (None, 0.0) for row in score({}, {}).rows())


def test_a_video_without_an_answer_is_missed_and_not_dropped() -> None:
    exact = known(tubes=(tube(),), events=(event(0.4, 0.8),))
    half = score({"a": exact, "b": exact}, {"a": said(exact)})
    assert half.tubes.viou.value == 0.5
    assert half.events[0].found.recall.value == 0.5
    assert half.events[0].found.precision.value == 1.0
    assert half.unanswered == 1


@pytest.mark.parametrize(
    ("shifted", "want"),
    [
        (tube(dx=1.0), 380 / 420),  # 20 px box, one pixel aside: 19 * 20 / (2 * 400 - 380) in every frame
        (tube(first=11, end=61), 49 / 51),  # 50 frames, one frame late: 49 shared of 51
        (tube(first=10, end=35), 25 / 50),  # half of it
        (tube(dx=20.0), 0.0),
    ],
)
def test_shifted_tubes_have_the_viou_worked_out_by_hand(shifted: Tube, want: float) -> None:
    exact = known(tubes=(tube(),))
    result = one(exact, said(exact, tubes=(shifted,)))
    assert result.tubes.viou.value == pytest.approx(want, abs=1e-12)
    assert result.tubes.false_per_video.value == (0.0 if want > 0.2 else 1.0)


def test_events_one_frame_late_have_that_error() -> None:
    exact = known(tubes=(tube(),), events=(event(0.4, 0.8), event(1.2, 1.6, EventKind.STOPS)))
    late = tuple(dataclasses.replace(e, span=e.span.shifted(0.04)) for e in exact.events)
    figures = one(exact, said(exact, events=late)).events
    for figure in figures[:1] + figures[3:5]:
        assert figure.found.f1.value == 1.0
        assert figure.start.median_s == pytest.approx(0.04)
        assert figure.end.p90_s == pytest.approx(0.04)
    assert figures[1].found.recall.value is None  # no entrances: undefined, not zero


def test_each_video_tube_counts_once_in_the_mean() -> None:
    exact = known(tubes=(tube("a"), dataclasses.replace(tube("b"), boxes=(Box(0, 0, 10, 10),) * 50)))
    result = one(exact, said(exact, tubes=(tube("x", dx=1.0), tube("y", dx=2.0))))
    assert result.tubes.viou.value == pytest.approx(380 / 420 / 2)  # b is missed; the worse copy of a is false
    assert result.tubes.false_per_video.value == 1.0
    assert (result.tubes.good.hits, result.tubes.good.count) == (1, 2)


@pytest.mark.parametrize(("confidence", "doubts", "good"), [(0.5, 0.0, 1), (0.4, 1.0, 0)])
def test_a_tube_in_doubt_is_neither_found_nor_false(confidence: float, doubts: float, good: int) -> None:
    seen = dataclasses.replace(tube(), confidence=confidence)
    stray = dataclasses.replace(tube("stray", dx=100.0), confidence=confidence)
    found = one(known(tubes=(tube(),)), Predicted((), (seen,), (), ())).tubes
    assert (found.good.hits, found.false_per_video.value, found.in_doubt_per_video.value) == (good, 0.0, doubts)
    lone = one(known(tubes=(tube(),)), Predicted((), (stray,), (), ())).tubes
    assert (lone.false_per_video.value, lone.in_doubt_per_video.value) == (1.0 - doubts, doubts)


def test_duplicates_lower_precision_and_not_recall() -> None:
    exact = known(tubes=(tube(),), events=(event(0.4, 0.8),))
    result = one(exact, said(exact, events=exact.events * 3, tubes=(tube(), tube("u")))).events[0].found
    assert result.precision.value == pytest.approx(1 / 3)
    assert result.recall.value == 1.0
    assert result.f1.value == pytest.approx(2 / 4)


def test_the_rule_decides_what_matches() -> None:
    exact = known(tubes=(tube(),), events=(event(0.4, 0.8),))
    elsewhere = said(exact, tubes=(tube(dx=20.0),))

    def recall(prediction: Predicted, rule: Rule | None = None) -> float | None:
        return one(exact, prediction, rule).events[0].found.recall.value

    assert recall(elsewhere) == 0.0
    assert recall(elsewhere, Rule(min_viou=None)) == 1.0
    assert recall(said(exact, tubes=())) == 0.0  # an event without its tube
    assert recall(said(exact, events=(event(0.4, 0.8, EventKind.STOPS),))) == 0.0
    assert recall(said(exact, events=(event(1.4, 1.8),))) == 1.0  # one second late, just inside
    assert recall(said(exact, events=(event(1.41, 1.8),))) == 0.0
    wide = said(exact, events=(event(0.4, 1.2),))  # tIoU exactly one half
    assert recall(wide, Rule(min_tiou=0.5)) == 1.0
    assert recall(wide, Rule(min_tiou=0.51)) == 0.0


def test_matching_is_optimal_and_not_greedy() -> None:
    # The prediction at 1.0 is nearest to the truth at 1.2, but only it can serve the one at 0.4.
    exact = known(tubes=(tube(),), events=(event(0.4, 0.6), event(1.2, 1.3)))
    result = one(exact, said(exact, events=(event(1.0, 1.1), event(2.0, 2.1))))
    assert result.events[0].found.recall.value == 1.0
    assert sorted((result.events[0].start.median_s or 0, result.events[0].start.count)) == pytest.approx([0.7, 2])


def shots(*cuts_s: float) -> tuple[Span, ...]:
    return tuple(Span(a, b) for a, b in itertools.pairwise((0.0, *cuts_s, 4.0)))


@pytest.mark.parametrize(
    ("cuts_s", "by_frame", "half_s"),
    [
        ((2.0,), 1.0, 1.0),
        ((2.04,), 1.0, 1.0),
        ((2.08,), 0.0, 1.0),
        ((2.5,), 0.0, 1.0),
        ((2.6,), 0.0, 0.0),
        ((1.96, 2.04), 2 / 3, 2 / 3),
        ((), 0.0, 0.0),
        ((1.0, 2.0, 3.0), 0.5, 0.5),
    ],
)
def test_cuts_within_a_frame_and_within_half_a_second(
    cuts_s: tuple[float, ...], by_frame: float, half_s: float
) -> None:
    exact = known()
    result = one(exact, said(exact, shots=shots(*cuts_s)))
    assert result.cuts_frame.f1.value == pytest.approx(by_frame)
    assert result.cuts_half_s.f1.value == pytest.approx(half_s)


def test_a_frame_is_a_frame_at_irregular_times() -> None:
    times = (0.0, 0.5, 0.6, 1.6, 1.7)
    exact = known(shots=(Span(0.0, 0.6), Span(0.6, 2.0)), cuts_s=(0.6,), duration_s=2.0, frame_times_s=times)
    for cut_s, want in ((1.6, 1.0), (1.7, 0.0), (0.5, 1.0), (1.5, 1.0)):
        found = said(exact, shots=(Span(0.0, cut_s), Span(cut_s, 2.0)))
        assert one(exact, found).cuts_frame.f1.value == want


def text_score(truth_lines: tuple[TextLine, ...], read_lines: tuple[TextLine, ...]) -> tuple[float | None, ...]:
    exact = known(texts=truth_lines)
    texts = one(exact, said(exact, texts=read_lines)).texts
    return texts.words.value, texts.character_error.value, texts.invented_per_video.value


@pytest.mark.parametrize(
    ("read_lines", "want"),
    [
        ((line("GATE 24"),), (1.0, 0.0, 0.0)),
        ((line("gate 24"),), (1.0, 0.0, 0.0)),
        ((line("GATE Z4"),), (0.5, 1 / 7, 0.0)),
        ((line("GATE", width=25), line("24", x=85, width=20)), (1.0, 0.0, 0.0)),  # in two pieces
        ((line("GATE Z4"), line("GATE 24", at_s=1.0)), (1.0, 0.0, 0.0)),  # read in a later frame of the shot
        ((line("GATE 24", at_s=3.0),), (0.0, 1.0, 1.0)),  # in another shot: missed there, invented here
        ((line("GATE 24", y=150),), (1.0, 1.0, 1.0)),  # the words, but not where they are
        ((line("GATE 24"), line("SPAM", y=150), line("SPAM", at_s=1.0, y=150)), (1.0, 0.0, 1.0)),
        ((), (0.0, 1.0, 0.0)),
    ],
)
def test_text_figures(read_lines: tuple[TextLine, ...], want: tuple[float, ...]) -> None:
    assert text_score((line("GATE 24"),), read_lines) == pytest.approx(want)


def test_repeated_words_are_counted_as_often_as_shown() -> None:
    shown = (line("EXIT"), line("EXIT", y=150))
    assert text_score(shown, (line("EXIT"), line("EXIT", at_s=1.0)))[0] == 0.5
    assert text_score(shown, shown)[0] == 1.0


def test_pictures_are_scored_like_videos() -> None:
    exact = picture_truth(compose_picture(1))
    result = one(exact, said(exact))
    assert result.texts.words.value == 1.0
    assert result.texts.character_error.value == 0.0
    assert result.cuts_frame.f1.value is None


def test_wrong_input_is_named() -> None:
    exact = known(tubes=(tube(),))
    with pytest.raises(BadInput, match="prediction without truth; seen: w"):
        score({"v": exact}, {"w": NOTHING})
    with pytest.raises(BadInput, match="tube ids of v are not unique; seen: t"):
        one(exact, said(exact, tubes=(tube(), tube())))


def test_rows_are_a_table() -> None:
    rows = score(SCENES, {}).rows()
    assert len({r.name for r in rows}) == len(rows)
    assert all(isinstance(r, Figure) for r in rows)
    assert {f"{k}, {what}" for k in RULE_KINDS for what in ("precision", "recall")} <= {r.name for r in rows}


def test_wilson_bounds() -> None:
    assert (Rate(9, 10).low, Rate(9, 10).high) == pytest.approx((0.5958, 0.9821), abs=1e-4)  # Wilson 1927, by hand
    assert Rate(0, 10).low == 0.0
    assert Rate(10, 10).high == 1.0
    assert Rate(0, 0) == Rate(0, 0)
    assert (Rate(0, 0).value, Rate(0, 0).low) == (None, None)


def test_bootstrap_covers_the_mean_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(1)
    hits = 0
    for _ in range(100):
        sample = rng.normal(0.5, 0.1, 40)
        found = ratio(sample.tolist(), [1] * 40)
        hits += (found.low or 0) <= 0.5 <= (found.high or 0)
    assert 86 <= hits <= 100


def best_by_trying(closeness: np.ndarray) -> tuple[int, float]:
    """Most pairs, then the largest sum, over all one-to-one choices."""
    tall = closeness if closeness.shape[0] <= closeness.shape[1] else closeness.T
    found = (0, 0.0)
    for columns in itertools.permutations(range(tall.shape[1]), tall.shape[0]):
        chosen = [tall[i, j] for i, j in enumerate(columns) if not np.isnan(tall[i, j])]
        found = max(found, (len(chosen), float(sum(chosen))))
    return found


@given(
    st.tuples(st.integers(1, 4), st.integers(1, 4)).flatmap(
        lambda shape: arrays(np.float64, shape, elements=st.sampled_from([0.0, 0.25, 0.5, 0.9, 1.0, float("nan")]))
    )
)
@settings(max_examples=150, deadline=None)
def test_assignment_is_the_best_there_is(closeness: np.ndarray) -> None:
    pairs = assign(closeness)
    assert len({i for i, _ in pairs}) == len({j for _, j in pairs}) == len(pairs)
    total = float(sum(closeness[i, j] for i, j in pairs))
    count, most = best_by_trying(closeness)
    assert len(pairs) == count
    assert total == pytest.approx(most)


spans = st.builds(lambda a, d: Span(a / 25, (a + d) / 25), st.integers(0, 60), st.integers(1, 30))
events = st.lists(st.builds(lambda s, k: event(s.start_s, s.end_s, k), spans, st.sampled_from(RULE_KINDS)), max_size=6)


@given(events, events, st.integers(0, 10))
@settings(max_examples=60, deadline=None)
def test_scores_are_rates_and_do_not_depend_on_order(want: list[Event], seen: list[Event], seed: int) -> None:
    exact = known(tubes=(tube(),), events=tuple(want))
    shuffled = random.Random(seed).sample(seen, len(seen))
    result = one(exact, said(exact, events=tuple(seen)))
    other = one(exact, said(exact, events=tuple(shuffled)))
    for figure, again in zip(result.events, other.events, strict=True):
        assert figure.found == again.found
        assert figure.found.precision.hits == figure.found.recall.hits <= min(len(want), len(seen))
    assert sum(f.found.recall.hits for f in result.events[1:]) == result.events[0].found.recall.hits


@given(events, events)
@settings(max_examples=40, deadline=None)
def test_swapping_truth_and_prediction_swaps_precision_and_recall(want: list[Event], seen: list[Event]) -> None:
    there = one(known(tubes=(tube(),), events=tuple(want)), Predicted((), (tube(),), tuple(seen), ()))
    back = one(known(tubes=(tube(),), events=tuple(seen)), Predicted((), (tube(),), tuple(want), ()))
    assert there.events[0].found.precision == back.events[0].found.recall
    assert there.events[0].start.count == back.events[0].start.count  # ties may pair other events: no more is promised


@given(st.text("ABC ", max_size=7), st.text("ABC ", max_size=7), st.text("ABC ", max_size=7))
@settings(max_examples=150, deadline=None)
def test_edit_distance_is_a_distance(a: str, b: str, c: str) -> None:
    assert (edits(a, b) == 0) == (a == b)
    assert edits(a, b) == edits(b, a)
    assert edits(a, c) <= edits(a, b) + edits(b, c)
    assert abs(len(a) - len(b)) <= edits(a, b) <= max(len(a), len(b))
