"""Floors: best constants against a search by hand, what words alone can tell, and that no test label is ever seen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from asked import ask, grounded, pair, sample, stream, tell

from reelmill.schemas.errors import BadInput
from reelmill.schemas.sample import Role, Tubelet
from reelmill.schemas.tube import Box
from reelmill.sinks.publishing.packed import PackedStream
from reelmill.training.evals.constants import EDGES, best_constant, best_span
from reelmill.training.evals.floors import (
    Prior,
    QuestionOnly,
    require_apart,
    with_floors,
    with_pair_floors,
    with_stream_floors,
)
from reelmill.training.evals.likelihood import Followed, LogProbs, Told, followed, preferred
from reelmill.training.evals.questions import Form, Item, Reply, items_of
from reelmill.training.evals.scores import scored, set_tiou


def spoken(answers: list[str], task: str = "count", source: str = "train", question: str = "How often?") -> list[Item]:
    made = [sample(ask(question), tell(a), key=f"{source}{i}", task=task, source=source) for i, a in enumerate(answers)]
    return items_of(made)


def timed(n: int, name: str, question: str, start: float, end: float) -> list[Item]:
    """`n` questions of as many sources with one answer."""
    turns = (ask(question), tell("At <time>.", (start, end)))
    return items_of([sample(*turns, key=f"{name}{i}", source=f"{name}{i}") for i in range(n)])


# --- constants ---


def test_the_most_frequent_answer_after_normalising() -> None:
    found = best_constant(spoken(["Twice.", "twice", "Once.", "The twice!"]))
    assert (found.form, found.text) == (Form.ANSWER, "The twice!")  # the first wording in the alphabet


def test_the_best_span_by_hand() -> None:
    # Two thirds say [0.2, 0.4): nothing else of the grid has a greater mean tIoU, 2/3.
    true = [[(0.2, 0.4)], [(0.2, 0.4)], [(0.8, 0.9)]]
    assert best_span(true, None) == (0.2, 0.4)
    # For a recall at 0.3 it pays to cover two different answers by halves: [0, 1) has tIoU 0.5 and 0.5.
    assert best_span([[(0.0, 0.5)], [(0.5, 1.0)], [(0.0, 0.5)]], None) == (0.0, 0.5)
    low, high = best_span([[(0.0, 0.5)], [(0.5, 1.0)]], 0.3)
    assert all(set_tiou([(low, high)], [edge]) >= 0.3 for edge in ((0.0, 0.5), (0.5, 1.0)))


def test_the_best_span_is_the_best_of_a_search() -> None:
    rng = np.random.default_rng(0)
    edges = np.sort(rng.uniform(0, 1, (12, 2, 2)), axis=2)
    true = [sorted(map(tuple, one.tolist())) for one in edges]
    found = best_span([[max(s)] for s in true], None)

    def mean(span: tuple[float, float]) -> float:
        return sum(set_tiou([span], [max(s)]) for s in true) / len(true)

    assert mean(found) == pytest.approx(max(mean((a, b)) for a, b in EDGES.tolist()))


def test_constants_are_in_shares_of_the_medium() -> None:
    train = timed(3, "t", "When?", 2.0, 4.0)
    other = replace(train[0].question, media=replace(train[0].question.media, duration_s=40.0))
    assert best_constant(train).reply(other).spans == ((8.0, 16.0),)


def test_the_best_box_is_the_one_most_like_the_others() -> None:
    boxes = [Box(0, 0, 10, 10), Box(1, 0, 11, 10), Box(2, 0, 12, 10), Box(60, 0, 70, 10)]
    made = [sample(ask("Where?"), tell("<box>", (), (b,)), key=f"b{i}", task="rec") for i, b in enumerate(boxes)]
    items = items_of(made)
    (found,) = best_constant(items).reply(items[0].question).boxes
    assert (found.x0_px, found.x1_px) == pytest.approx((1.0, 11.0))


def test_a_constant_tube_lies_in_the_time_that_the_question_gives() -> None:
    box = Box(0, 0, 10, 10)
    tube = Tubelet((2.0, 3.0), (box, box), 4.0)
    asked_at = sample(ask("Over <time> it moves. Where is it?", (2.0, 4.0)), tell("<tube>"), task="svg")
    (item,) = items_of([grounded(asked_at, tube)])
    later = replace(item.question, ask=ask("Over <time> it moves. Where is it?", (6.0, 9.0)))
    reply = best_constant([item]).reply(later)
    assert reply.spans == ()
    assert reply.tubes[0].at_s == (6.0, 7.0, 8.0)
    (timed_too,) = items_of([grounded(sample(ask("When?"), tell("<time>: <tube>", (2.0, 4.0)), task="stvg"), tube)])
    reply = best_constant([timed_too]).reply(timed_too.question)
    assert (reply.spans, reply.tubes[0].at_s) == (((2.0, 4.0),), (2.0, 3.0))


def test_the_middle_caption_shares_most_words() -> None:
    items = spoken(["a dog runs fast", "a dog runs", "a dog sits", "cats sleep"], task="span_caption")
    assert best_constant(items).text == "a dog runs"


def test_the_best_account_is_most_like_the_others_in_words_and_times() -> None:
    def account(key: str, *times: float) -> Item:
        lines = "<time>: a dog runs\n<time>: it stops"
        (item,) = items_of([sample(ask("All?"), tell(lines, times), key=key, task="dvc")])
        return item

    items = [account("a", 0, 1, 9, 10), account("b", 0, 4, 4, 8), account("c", 0, 4, 4, 9), account("d", 0, 5, 5, 8)]
    assert best_constant(items).reply(items[0].question).spans == ((0.0, 4.0), (4.0, 8.0))


def test_a_constant_is_of_one_form() -> None:
    mixed = [*spoken(["Twice."]), *timed(1, "t", "When?", 1, 2)]
    for items in ([], mixed):
        with pytest.raises(ValueError, match="best_constant"):
            best_constant(items)


# --- words of the question ---

LATE, EARLY = ("When does the red circle leave the frame?", 8.0, 10.0), ("When does a dog enter the frame?", 0.0, 2.0)


def two_kinds(name: str, n: int = 12) -> list[Item]:
    return [*timed(n, f"{name}l", *LATE), *timed(n, f"{name}e", *EARLY)]


def test_words_tell_what_a_constant_cannot() -> None:
    train, test = two_kinds("t"), two_kinds("v", 3)
    rows = with_floors(scored(test, {}), test, train)
    tiou = [r for r in rows if r.measure == "tiou"]
    assert {r.question_only for r in tiou} == {1.0}
    assert sum(r.prior or 0 for r in tiou) == pytest.approx(3.0)  # one kind of two is answered


def test_where_words_tell_nothing_all_train_questions_are_taken() -> None:
    """Answers that do not hang on the words: a few neighbours would follow noise, so held-out sources choose all."""
    rng = np.random.default_rng(0)
    train = [
        replace(item, truth=replace(item.truth, spans=((float(s), float(s) + 3.0),)))
        for item, s in zip(timed(40, "t", "When does it move?", 0, 1), rng.uniform(0, 6, 40), strict=True)
    ]
    learned = QuestionOnly.learned(train)
    assert set(learned.near.values()) == {0}
    assert learned.answer([train[0].question]) == Prior.learned(train).answer([train[0].question])


def test_an_unknown_kind_of_question_has_no_floor() -> None:
    train, test = timed(3, "t", "When?", 1, 2), spoken(["Twice."], source="v")
    rows = with_floors(scored(test, {}), test, train)
    assert {(r.prior, r.question_only) for r in rows} == {(None, None)}
    assert Prior.learned(train).answer([test[0].question]) == [Reply("")]
    assert QuestionOnly.learned(train).answer([test[0].question]) == [Reply("")]


def test_forms_of_one_kind_have_floors_of_their_own() -> None:
    """What does not happen is asked in the same words: who always denies is a floor, who always says a time another."""
    turns = (ask("When does it move?"), tell("It never does."))
    denied = [sample(*turns, key=f"n{i}", source=f"n{i}", task="absent") for i in range(8)]
    train, test = [*timed(4, "t", "When does it move?", 1, 2), *items_of(denied[:6])], items_of(denied[6:])
    both = [*test, *timed(1, "v", "When does it move?", 1, 2)]
    floors = {r.measure: r.prior for r in with_floors(scored(both, {}), both, train)}
    assert (floors["denied"], floors["tiou"]) == (1.0, 1.0)


def test_each_recall_has_the_best_constant_for_it() -> None:
    train = [*timed(5, "a", "When?", 0, 5), *timed(4, "b", "When?", 5, 10)]
    test = [*timed(1, "c", "When?", 0, 5), *timed(1, "d", "When?", 5, 10)]
    rows = with_floors(scored(test, {}), test, train)
    floors = {(r.key, r.measure): r.prior for r in rows}
    assert [floors["c0.0", m] for m in ("tiou", "r@0.3", "r@0.7")] == [1.0, 1.0, 1.0]
    assert [floors["d0.0", m] for m in ("tiou", "r@0.3", "r@0.7")] == [0.0, 1.0, 0.0]  # [0, 1) reaches 0.3 in both


# --- leaks ---


def test_no_floor_sees_a_test_label() -> None:
    """Other true answers of the test questions, the same replies."""
    train, test = two_kinds("t"), two_kinds("v", 2)
    other = [replace(i, truth=replace(i.truth, spans=((3.0, 3.5),), text="?"), verb="stops") for i in test]
    for learner in (Prior, QuestionOnly):
        answerer: Prior | QuestionOnly = learner.learned(train)
        assert answerer.answer([i.question for i in test]) == answerer.answer([i.question for i in other])


def test_a_source_that_is_learned_from_is_not_asked_about() -> None:
    train = two_kinds("t")
    with pytest.raises(BadInput, match="1 sources in both, such as te0"):
        require_apart([i.source for i in train], ["te0", "v"])
    with pytest.raises(BadInput, match="split by source"):
        with_floors([], train, train)


# --- pairs and streams ---


class Even:
    def log_probs(self, pairs: object) -> list[LogProbs]:
        return [LogProbs(-1.0, 1, -2.0, 1)] * len(list(pairs))  # type: ignore[call-overload]


def test_a_mark_in_words_is_found_and_length_alone_tells_nothing() -> None:
    train = [pair(f"It truly is {i}.", f"It never is {i}.", key=f"t{i}", source=f"t{i}") for i in range(8)]
    test = [pair("It truly is so.", "It never is so.", key="v", source="v")]
    rows = with_pair_floors(preferred(test, Even()), test, train)
    floors = {r.measure: (r.prior, r.question_only) for r in rows}
    assert floors["prefers"] == floors["prefers_per_token"] == (0.5, 1.0)
    assert floors["margin"] == (None, None)
    with pytest.raises(BadInput, match="train and test"):
        with_pair_floors(rows, test, test)
    assert with_pair_floors(rows, test, []) == rows


class Silent:
    """Four places of silence before each answer, of two tokens."""

    def follow(self, streams: Sequence[PackedStream]) -> list[Followed]:
        told = Told(4, 1, 0.5, (-1.0, -1.0), (True, True))
        return [Followed((told,) * sum(t.role is Role.ASSISTANT for t in s.turns), 5, 5) for s in streams]


def test_the_usual_silence_is_a_floor_of_time() -> None:
    train = [stream((s, tell("It moves.")), key=f"t{s}", source=f"t{s}") for s in (1.0, 2.0, 9.0)]
    test = [stream((5.0, tell("It moves.")), source="v")]
    rows = with_stream_floors(followed(test, Silent()), test, train)
    floors = {"nll": None, "time_diff_s": 3.0, "fluency": 0.5, "lm_right": None, "quiet": 1.0}
    assert {r.measure: r.prior for r in rows} == floors
    assert with_stream_floors(rows, test, []) == rows


def test_never_to_speak_is_a_floor_where_turns_follow_soon() -> None:
    """Every answer has another turn half a second later, so silence costs that; the median of 0.75 s costs 9.5 s."""
    move, stop = tell("It moves."), tell("It stops.")

    def soon(at_s: float, key: str) -> PackedStream:
        return stream((at_s, move), (at_s + 0.5, stop), (at_s + 1.0, ask("When?")), key=key, source=key)

    train = [soon(s, f"t{s}") for s in (1.0, 2.0, 8.0)]
    rows = with_stream_floors(followed([soon(5.0, "v")], Silent()), [soon(5.0, "v")], train)
    assert [r.prior for r in rows if r.measure == "time_diff_s"] == [0.5, 0.5]
