"""Spans of most gain against every possible span; when there is none; and the step on vectors whose cosines are known.

The encoders have random weights where they run at all: that proves mechanics. What a real one's spans are worth was not
measured: no weights could be had.
"""

from __future__ import annotations

from itertools import combinations, pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from random_weights import siglip
from stepped import run

from reelmill.annotators.annotator import Annotator
from reelmill.annotators.localise import (
    SIMILAR,
    Localise,
    SpanRules,
    best_stretch,
    best_stretches,
    edges_s,
    level,
    localise,
)
from reelmill.schemas import arrow
from reelmill.schemas.errors import BadInput
from reelmill.schemas.event import Proposal
from reelmill.schemas.media import Kind, MediaRef
from reelmill.schemas.span import Span

GAINS = st.lists(st.integers(-8, 8).map(lambda n: n / 2), max_size=9)  # halves add up exactly
PENALTY = st.integers(0, 12).map(lambda n: n / 2)


def worth(gains, stretches, penalty):
    return sum(sum(gains[a:b]) - penalty for a, b in stretches)


def every_choice(count):
    """All sets of disjoint stretches with at least a frame between them, as runs of all subsets of frames."""
    for size in range(count + 1):
        for chosen in combinations(range(count), size):
            runs: list[tuple[int, int]] = []
            for i in chosen:
                if runs and runs[-1][1] == i:
                    runs[-1] = (runs[-1][0], i + 1)
                else:
                    runs.append((i, i + 1))
            yield runs


@given(GAINS, PENALTY)
@settings(max_examples=300, deadline=None)
def test_one_stretch_is_the_best_of_all(gains, penalty):
    found = best_stretch(np.array(gains, np.float64), penalty)
    best = max((sum(gains[a:b]) for a, b in combinations(range(len(gains) + 1), 2)), default=0.0)
    assert (found is None) == (best <= penalty)
    if found is not None:
        assert sum(gains[found[0] : found[1]]) == best


@given(GAINS, PENALTY)
@settings(max_examples=150, deadline=None)
def test_several_stretches_are_the_best_of_all(gains, penalty):
    found = best_stretches(np.array(gains, np.float64), penalty)
    assert all(a < b for a, b in found)
    assert all(first[1] < second[0] for first, second in pairwise(found))
    assert worth(gains, found, penalty) == max(worth(gains, runs, penalty) for runs in every_choice(len(gains)))


@given(st.lists(st.floats(-1, 1), min_size=2, max_size=12))
@settings(deadline=None)
def test_the_level_parts_the_values_best(values):
    """Otsu's: no other threshold between values leaves less spread within the two classes."""
    ordered = np.sort(np.array(values))

    def spread(parts):
        return sum(((p - p.mean()) ** 2).sum() for p in parts if len(p))

    found = level(np.array(values))
    assert ordered[0] - 1e-9 <= found <= ordered[-1] + 1e-9
    if ordered[-1] - ordered[0] > 1e-6:
        least = min(spread((ordered[:k], ordered[k:])) for k in range(1, len(ordered)))
        assert spread((ordered[ordered <= found], ordered[ordered > found])) == pytest.approx(least, abs=1e-6)


def test_the_level_of_little():
    assert level(np.array([])) == 0.0
    assert level(np.array([0.2, 0.2, 0.2])) == pytest.approx(0.2)
    assert level(np.array([0.1, 0.1, 0.3])) == pytest.approx(0.2)


# ---- from similarities to spans --------------------------------------------------------------------------------------

RULES = SpanRules()
AT_S = [0.5 * i for i in range(8)]


def test_the_example_of_the_module():
    found = localise([0.11, 0.12, 0.10, 0.24, 0.25, 0.23, 0.11, 0.12], AT_S, 4.0, RULES)
    assert found.proposal == Proposal("similarity", Span(1.25, 2.75), 1.0)
    assert found.spans == (Span(1.25, 2.75),)


def test_spans_reach_the_clips_own_ends():
    early = localise([0.3, 0.3, 0.3, 0.1, 0.1, 0.1, 0.1, 0.1], AT_S, 4.0, RULES)
    late = localise([0.1, 0.1, 0.1, 0.1, 0.1, 0.3, 0.3, 0.3], AT_S, 4.2, RULES)
    assert early.proposal.span == Span(0.0, 1.25)
    assert late.proposal.span == Span(2.25, 4.2)


def test_a_frame_stands_for_the_time_nearest_to_it():
    assert edges_s([0.0, 1.0, 3.0], 4.0).tolist() == [0.0, 0.5, 2.0, 4.0]


def test_what_happens_twice_has_two_spans_and_the_longer_is_proposed():
    twice = [0.1, 0.3, 0.3, 0.3, 0.1, 0.1, 0.1, 0.1, 0.3, 0.3, 0.3, 0.3]
    found = localise(twice, [float(i) for i in range(12)], 12.0, RULES)
    assert found.spans == (Span(0.5, 3.5), Span(7.5, 12.0))
    assert found.proposal.span == Span(7.5, 12.0)
    assert found.proposal.score == 0.75  # three frames outside are above the level


def test_a_dip_of_one_frame_does_not_part_a_span():
    found = localise([0.1, 0.1, 0.3, 0.3, 0.19, 0.3, 0.3, 0.1, 0.1, 0.1], [float(i) for i in range(10)], 10.0, RULES)
    assert found.spans == (Span(1.5, 6.5),)


@pytest.mark.parametrize(
    "values",
    [
        [],
        [0.3],
        [0.2] * 8,  # true throughout, or never: the clip alone cannot tell
        [0.2, 0.2001, 0.2, 0.2001, 0.2, 0.2, 0.2001, 0.2],  # nothing but the last bits
        [0.1, 0.3] * 4,  # flickers
    ],
)
def test_not_present_is_an_answer(values):
    at_s = [float(i) for i in range(len(values))]
    assert localise(values, at_s, max(1.0, len(values)), RULES).proposal == Proposal("similarity", None, 0.0)


def test_a_margin_can_be_asked_for():
    values = [0.11, 0.12, 0.10, 0.24, 0.25, 0.23, 0.11, 0.12]
    assert localise(values, AT_S, 4.0, SpanRules(least_margin=0.1)).proposal.span is not None
    assert localise(values, AT_S, 4.0, SpanRules(least_margin=0.2)).proposal.span is None


def test_with_a_known_background_true_throughout_is_an_answer_too():
    known = SpanRules(background=0.1)
    assert localise([0.3] * 8, AT_S, 4.0, known).proposal.span == Span(0.0, 4.0)
    assert localise([0.05] * 8, AT_S, 4.0, known).proposal.span is None


def noisy(rng, count, first=0, end=0, over=0.0, alike=0.0):
    """Noise whose neighbours are correlated by `alike`, with a stretch raised by so many of its deviations."""
    values = rng.normal(size=count)
    for i in range(1, count):
        values[i] = alike * values[i - 1] + values[i] * (1 - alike**2) ** 0.5
    values[first:end] += over
    at_s = [0.5 * i for i in range(count)]
    return localise((0.1 + 0.01 * values).tolist(), at_s, count * 0.5, RULES).proposal.span


@pytest.mark.parametrize(("alike", "most"), [(0.0, 0.05), (0.7, 0.35)])
def test_noise_alone_is_seldom_taken_for_an_event(alike, most):
    """Clips of 4 to 60 s; the figures stand in decision 0023."""
    rng = np.random.default_rng(30213)
    for count in (8, 20, 60, 120):
        alarms = sum(noisy(rng, count, alike=alike) is not None for _ in range(200))
        assert alarms <= most * 200, (count, alarms)


def test_a_clear_event_is_found_where_it_is():
    rng = np.random.default_rng(30214)
    found = [noisy(rng, 20, 6, 12, 5.0) for _ in range(100)]
    assert sum(span is not None and span.tiou(Span(2.75, 5.75)) > 0.5 for span in found) >= 95


# ---- the step --------------------------------------------------------------------------------------------------------


class Known:
    """Texts along axes of the space of frames: cosines are then a frame's own numbers."""

    def texts(self, texts):
        return np.eye(4, dtype=np.float32)[[int(t[-1]) for t in texts]]


def row(vectors, phrases, key="k" * 26, duration_s=None):
    kind = Kind.IMAGE if duration_s == 0 else Kind.VIDEO
    media = MediaRef("u", "d", kind, 64, 48, len(vectors) * 0.5 if duration_s is None else duration_s, None, "")
    frames = [{"frame": i, "at_s": 0.5 * i, "vector": v} for i, v in enumerate(np.asarray(vectors, np.float32))]
    return {"key": key, "media": arrow.plain(media), "phrases": phrases, "frame_embeddings": frames}


def turned(*seen):
    """Unit vectors with these cosines with axis 0; the rest of their length lies along the last axis."""
    return [[c, 0.0, 0.0, (1 - c * c) ** 0.5] for c in seen]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return siglip(tmp_path_factory.mktemp("siglip"))


@pytest.fixture(scope="module")
def step(folder):
    ready = Localise(f"transformers:{folder}")
    object.__setattr__(ready, "_encoder", Known())
    return ready


SEEN = (0.1, 0.1, 0.8, 0.8, 0.8, 0.1, 0.1, 0.1)


def test_it_is_an_annotator(step):
    assert isinstance(step, Annotator)


def test_each_phrase_has_its_proposal_and_its_similarities(step):
    (answer,) = run(step, row(turned(*SEEN), ["axis 0", "axis 1"]))
    here, absent = arrow.typed(SIMILAR.hint, answer["similar"])
    assert (here.span, here.score) == (Span(0.75, 2.25), 1.0)
    assert absent.span is None
    assert answer["similar_spans"] == [[{"start_s": 0.75, "end_s": 2.25}], []]
    assert answer["similarities"][0] == pytest.approx(SEEN)
    assert answer["similar_frames_s"] == [0.5 * i for i in range(8)]


def test_no_phrases_is_an_answer(step):
    (answer,) = run(step, row(turned(*SEEN), []))
    assert (answer["similar"], answer["similarities"], answer["fault"]) == ([], [], None)


def test_a_picture_has_no_spans(step):
    (answer,) = run(step, row(turned(0.8), ["axis 0"], duration_s=0))
    assert answer["verdict"]["reason"] == "no_time"


def test_vectors_of_two_models_are_refused_in_one_line(step):
    (answer,) = run(step, row(np.eye(3), ["axis 0"]))
    assert "embedded by two models; seen: frames of 3 numbers, texts of 4" in answer["fault"]


def test_a_row_alone_is_the_row_in_any_batch(step):
    rows = [row(turned(*SEEN), ["axis 0"], "a" * 26), row(turned(*SEEN[::-1]), ["axis 0", "axis 3"], "b" * 26)]
    together = run(step, *rows)
    assert run(step, *rows[::-1]) == together[::-1]
    assert [run(step, one)[0] for one in rows] == together


def test_the_descriptor_is_refused_before_any_work():
    with pytest.raises(BadInput, match=r"embeds pictures only.*do: give --engine embed=transformers:MODEL"):
        Localise("embedded")


def test_a_checkpoint_localises_by_wire(folder):
    """Random weights: cosines of real towers arrive, and mean nothing."""
    ready = Localise(f"transformers:{folder}")
    ready.setup()
    vectors = np.linalg.qr(np.random.default_rng(0).normal(size=(16, 16)))[0][:6]
    (answer,) = run(ready, row(vectors, ["a red circle", "a blue square"]))
    assert answer["fault"] is None
    assert np.shape(answer["similarities"]) == (2, 6)
    assert np.abs(answer["similarities"]).max() <= 1 + 1e-6
    assert answer["similarities"][0] != answer["similarities"][1]
