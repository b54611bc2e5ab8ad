"""Each measure against a figure by hand, and the laws of all: the truth scores 1, what cannot be read scores 0."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import pytest
from asked import ask, grounded, sample, tell, true_reply
from hypothesis import given, settings
from hypothesis import strategies as st

from reelmill.schemas.metrics.grounding import tiou
from reelmill.schemas.sample import Tubelet
from reelmill.schemas.tube import Box
from reelmill.training.evals.questions import Form, Item, Reply, items_of
from reelmill.training.evals.scores import MEASURES, contains, normal, scored, set_tiou, starts

BOX, HALF, FAR = Box(0, 0, 10, 10), Box(0, 0, 10, 5), Box(50, 0, 60, 10)
NAN = math.nan


def one(*turns: object, task: str = "grounding", key: str = "k") -> Item:
    (item,) = items_of([sample(*turns, task=task, key=key)])  # type: ignore[arg-type]
    return item


SPAN = one(ask("When?"), tell("At <time>.", (2.0, 6.0)))
TWO_SPANS = one(ask("When?"), tell("At <time> and <time>.", (0.0, 2.0, 4.0, 6.0)))
BOXES = one(ask("Where?"), tell("<box> and <box>", (), (BOX, FAR)), task="rec")
DENSE = one(ask("All?"), tell("<time>: a dog runs\n<time>: a cat sleeps", (0, 4, 4, 8)), task="dvc")
COUNT = one(ask("How often?"), tell("Three times."), task="count")
POLAR = one(ask("Does it?"), tell("Yes, it does."), task="during")
ABSENT = one(ask("When?"), tell("That does not happen."), task="absent")
TUBE = Tubelet((1.0, 2.0, 3.0), (BOX, BOX, BOX), 4.0)
(STVG,) = items_of([grounded(sample(ask("When, where?"), tell("<time>: <tube>", (1.0, 4.0)), task="stvg"), TUBE)])
(SVG,) = items_of([grounded(sample(ask("Where?"), tell("<tube>"), task="svg"), TUBE)])
CAPTIONS = [
    one(ask("What?"), tell(text), task="span_caption", key=key)
    for key, text in (("a", "a dog runs fast"), ("b", "a cat sleeps now"))
]
ALL = [SPAN, TWO_SPANS, BOXES, DENSE, COUNT, POLAR, ABSENT, STVG, SVG]


def values(item: Item, reply: Reply) -> dict[str, float]:
    return {row.measure: row.value for row in scored([item], {item.key: reply})}


def spans(*told: tuple[float, float]) -> Reply:
    return Reply("x", told)


def test_spans_by_hand() -> None:
    # [4, 8) shares 2 of 6 s with [2, 6); [2, 5) shares 3 of 4.
    assert values(SPAN, spans((4, 8))) == {"tiou": pytest.approx(1 / 3), "r@0.3": 1, "r@0.5": 0, "r@0.7": 0}
    assert values(SPAN, spans((2, 5))) == {"tiou": 0.75, "r@0.3": 1, "r@0.5": 1, "r@0.7": 1}


def test_several_spans_by_hand() -> None:
    # [0, 2) and [4, 6) against [1, 5): shared 1 + 1, either 4 + 4 - 2; two that overlap count their seconds once.
    assert values(TWO_SPANS, spans((1, 5)))["tiou"] == pytest.approx(2 / 6)
    assert values(TWO_SPANS, spans((4, 6), (0, 1), (0, 2)))["tiou"] == 1


def test_boxes_by_hand() -> None:
    # The first half right (IoU 0.5 is a hit), the second elsewhere; order counts; a third box costs a third.
    assert values(BOXES, Reply("", boxes=(HALF, BOX))) == {"iou": 0.25, "acc@0.5": 0.5}
    assert values(BOXES, Reply("", boxes=(FAR, BOX))) == {"iou": 0, "acc@0.5": 0}
    assert values(BOXES, Reply("", boxes=(BOX, FAR, FAR)))["acc@0.5"] == pytest.approx(2 / 3)


def test_tubes_by_hand() -> None:
    # Told at 2 and 3 s (half right), and at 4 s; true at 1, 2, 3. vIoU (0.5 + 0.5) / 4, sIoU over 2, coverage 2 of 3.
    told = Tubelet((2.2, 3.0, 3.9), (HALF, HALF, BOX), 5.0)
    found = values(STVG, Reply("", ((1.0, 2.5),), tubes=(told,)))
    assert found == {
        "tiou": 0.5,
        "r@0.3": 1,
        "r@0.5": 1,
        "r@0.7": 0,
        "viou": 0.25,
        "siou": 0.5,
        "coverage": pytest.approx(2 / 3),
        "viou@0.5": 0,
    }
    assert set(values(SVG, Reply("", tubes=(told,)))) == set(MEASURES[Form.TUBES])


def test_of_two_boxes_at_one_frame_the_nearer_stays() -> None:
    told = Tubelet((0.8, 1.0, 2.0, 3.0), (FAR, BOX, BOX, BOX), 4.0)
    assert values(SVG, Reply("", tubes=(told,)))["viou"] == 1


def test_dense_by_hand() -> None:
    # As in tests/schemas/metrics/test_dense.py: tIoU 1/2 and 1, ROUGE-L 1 and 2/3: SODA_c 7/12.
    reply = Reply("<time>: a dog runs\n<time>: a dog sleeps", ((0, 2), (4, 8)))
    assert values(DENSE, reply)["soda_c"] == pytest.approx(7 / 12)
    assert values(DENSE, reply)["segments_f1"] == pytest.approx(3 / 4)
    assert values(DENSE, reply)["story_f1"] == pytest.approx(5 / 6)


def test_captions_by_hand() -> None:
    # Both texts are told as "a dog runs fast". Of the second "a" alone is right: ROUGE-L 1/4. "a" stands in both
    # documents, so its idf is 0, and CIDEr-D has nothing in common; of the first every order is the same: 10.
    rows = scored(CAPTIONS, {i.key: Reply("A dog runs fast.") for i in CAPTIONS})
    found = {(r.key, r.measure): r.value for r in rows}
    assert [found["a.0", m] for m in ("rouge_l", "bleu4", "cider_d")] == pytest.approx([1, 1, 10])
    assert [found["b.0", m] for m in ("rouge_l", "cider_d")] == pytest.approx([1 / 4, 0])


def test_one_caption_is_no_corpus() -> None:
    assert {r.measure for r in scored(CAPTIONS[:1], {})} == {"rouge_l", "bleu4"}


def test_answers_by_hand() -> None:
    assert values(COUNT, Reply("It is three times, I think.")) == {"contains": 1, "exact": 0}
    assert values(COUNT, Reply("the three times!")) == {"contains": 1, "exact": 1}
    assert values(COUNT, Reply("Thirty-three times")) == {"contains": 0, "exact": 0}
    assert values(POLAR, Reply("Yes.")) == {"contains": 0, "exact": 0, "yes_no": 1}
    assert values(POLAR, Reply("No, it does not.")) == {"contains": 0, "exact": 0, "yes_no": 0}


def test_saying_yes_and_no_is_neither() -> None:
    assert not contains("yes, it does; no, it does not", "Yes, it does.")
    assert contains("I say yes it does", "Yes, it does.")


def test_a_letter_of_a_choice_is_not_an_article() -> None:
    assert (normal("A"), normal("The dog")) == (("a",), ("dog",))
    assert values(replace(COUNT, truth=replace(COUNT.truth, text="A")), Reply("a."))["exact"] == 1


def test_denials_by_hand() -> None:
    assert values(ABSENT, Reply("It never does.")) == {"denied": 1}
    assert values(ABSENT, Reply("At <time>.", ((1, 2),))) == {"denied": 0}
    assert values(ABSENT, Reply("At <time>.")) == {"denied": 0}  # it said a time, though none could be read


UNREAD = [
    Reply(""),
    Reply("", ((NAN, 1),), (Box(0, 0, NAN, 1),), (Tubelet((1.0,), (Box(0, 0, NAN, 1),), 2.0),)),
    Reply("", ((3, 1),), (Box(5, 0, 1, 1),), (Tubelet((1.0, 2.0), (BOX,), 3.0),)),
    Reply("", ((0, math.inf),), (), (Tubelet((NAN,), (BOX,), 3.0),)),
]


@pytest.mark.parametrize("item", [*ALL, CAPTIONS[0]], ids=lambda i: str(i.truth.form))
@pytest.mark.parametrize("reply", UNREAD, ids=["nothing", "nan", "swapped", "endless"])
def test_what_cannot_be_read_is_wrong_and_counted(item: Item, reply: Reply) -> None:
    rows = scored([item], {item.key: reply})
    assert rows
    assert {(r.value, r.read) for r in rows} == {(0.0, False)}
    assert len(rows) == len(scored([item], {item.key: true_reply(item)}))  # none is left out


def test_a_question_without_a_reply_is_unread() -> None:
    assert {(r.value, r.read) for r in scored([SPAN], {})} == {(0.0, False)}


@pytest.mark.parametrize("item", ALL, ids=lambda i: str(i.truth.form))
def test_the_truth_scores_one(item: Item) -> None:
    rows = scored([item], {item.key: true_reply(item)})
    assert {r.measure: r.value for r in rows} == {r.measure: pytest.approx(1.0) for r in rows}
    assert all(r.read for r in rows)


def test_rows_name_what_they_are_of() -> None:
    (row, *_) = scored([replace(SPAN, verb="moves", objects=3)], {})
    assert (row.key, row.source, row.family, row.task, row.verb, row.objects, row.kind, row.weight) == (
        ("k.0", "s", "internvid_tg", "grounding", "moves", 3, "", 1.0)
    )


def test_starts_are_the_first_of_each_side() -> None:
    told = {TWO_SPANS.key: spans((7, 8), (3, 4))}
    (found,) = starts([TWO_SPANS, COUNT], told)
    assert (found.true_s, found.told_s, found.duration_s) == (0.0, 3.0, 10.0)
    assert starts([SPAN], {})[0].told_s is None


Spans = Sequence[tuple[float, float]]
edges = st.tuples(st.integers(0, 20), st.integers(0, 20)).map(lambda e: (min(e) / 2, max(e) / 2))
sets = st.lists(edges, min_size=1, max_size=4)


@settings(max_examples=50)
@given(sets, sets)
def test_set_tiou_is_symmetric_and_in_range(
    one: Sequence[tuple[float, float]], other: list[tuple[float, float]]
) -> None:
    found = set_tiou(one, other)
    assert 0 <= found <= 1
    assert found == pytest.approx(set_tiou(other, one))
    assert set_tiou(one, one) == float(any(a < b for a, b in one))
    # Half-second cells covered by either side, counted one by one.
    cells = [{i for a, b in side for i in range(int(a * 2), int(b * 2))} for side in (one, other)]
    either = len(cells[0] | cells[1])
    assert found == pytest.approx(len(cells[0] & cells[1]) / either if either else 0)


@settings(max_examples=50)
@given(edges, edges)
def test_of_single_intervals_it_is_tiou(one: tuple[float, float], other: tuple[float, float]) -> None:
    assert set_tiou([one], [other]) == pytest.approx(tiou(one, other))


corners = st.tuples(*[st.integers(0, 30)] * 4).map(
    lambda c: Box(min(c[0], c[2]), min(c[1], c[3]), max(c[0], c[2]), max(c[1], c[3]))
)
replies = st.builds(
    Reply,
    st.sampled_from(["", "yes", "no", "three times", "<time>: a dog runs", "at <time> <box>"]),
    st.lists(edges, max_size=3).map(tuple),
    st.lists(corners, max_size=3).map(tuple),
    st.lists(corners, min_size=1, max_size=3).map(
        lambda b: (Tubelet(tuple(map(float, range(len(b)))), tuple(b), 9.0),)
    ),
)


@settings(max_examples=40)
@given(replies)
def test_every_score_is_in_range(reply: Reply) -> None:
    for row in scored([*ALL, *CAPTIONS], {i.key: reply for i in (*ALL, *CAPTIONS)}):
        assert 0 <= row.value <= (10 if row.measure == "cider_d" else 1) + 1e-9
