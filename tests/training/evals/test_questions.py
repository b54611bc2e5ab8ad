"""Which questions a dialogue has, what stands before each, and that no question holds its answer."""

from __future__ import annotations

from dataclasses import replace

import pytest
from asked import Knowing, ask, grounded, pair, sample, stream, tell, true_reply

from reelmill.schemas.errors import GuardBroken
from reelmill.schemas.sample import Tubelet
from reelmill.schemas.tube import Box
from reelmill.training.evals.named import SEVERAL, named, verb_of
from reelmill.training.evals.questions import Form, History, Reply, asked, described, form_of, items_of, objects_named

BOX = Box(0.0, 0.0, 10.0, 10.0)
TUBE = Tubelet((1.0, 2.0), (BOX, BOX), 3.0)
TALK = sample(
    ask("When does the red circle move?"),
    tell("At <time>.", (1.0, 2.0)),
    ask("And then?"),
    tell("It stops."),
    task="dialogue",
)


def test_each_answer_is_a_question_with_the_turns_before_it() -> None:
    first, second = items_of([TALK])
    assert (first.key, first.question.round, first.question.before) == ("k.0", 0, ())
    assert (second.key, second.question.round, second.question.ask.text) == ("k.1", 1, "And then?")
    assert second.question.before == TALK.turns[:2]
    assert (first.truth.form, first.truth.spans, second.truth.form) == (Form.SPANS, ((1.0, 2.0),), Form.ANSWER)
    assert (first.verb, second.verb) == ("moves", "stops")  # the second question names no verb, its answer does


@pytest.mark.parametrize(
    ("task", "turn", "tubes", "form"),
    [
        ("grounding", tell("At <time>.", (1, 2)), (), Form.SPANS),
        ("grounding", tell("At <time> and <time>.", (1, 2, 3, 4)), (), Form.SPANS),
        ("absent", tell("That does not happen."), (), Form.DENIAL),
        ("dense_caption", tell("<time>: a dog runs", (1, 2)), (), Form.DENSE),
        ("dialogue", tell("<time>: a dog runs\n<time>: it stops", (1, 2, 2, 3)), (), Form.DENSE),
        ("dialogue", tell("<time>\n<time>", (1, 2, 2, 3)), (), Form.SPANS),  # times without sentences
        ("rec", tell("<box>", (), (BOX,)), (), Form.BOXES),
        ("read", tell("STOP", (), (BOX,)), (), Form.ANSWER),  # boxes of what is spoken of are not asked for
        ("span_caption", tell("A dog runs."), (), Form.CAPTION),
        ("count", tell("Twice."), (), Form.ANSWER),
        ("stvg", tell("<time> <tube>", (1, 3)), (TUBE,), Form.TUBES),
    ],
)
def test_forms(task: str, turn: object, tubes: tuple[Tubelet, ...], form: Form) -> None:
    assert form_of("internvid_tg", task, turn, tubes) is form  # type: ignore[arg-type]


def test_a_question_holds_nothing_of_its_truth() -> None:
    """The same question with another truth is the same: also of what does not happen."""
    yes = sample(ask("When does it move?"), tell("At <time>.", (1.0, 2.0)))
    no = replace(yes, task="absent", turns=(yes.turns[0], tell("It does not.")))
    (one,), (other,) = items_of([yes]), items_of([no])
    assert one.question == other.question
    assert (other.task, other.truth.form) == ("absent", Form.DENIAL)


def test_pairs_and_streams_are_no_dialogues() -> None:
    assert items_of([pair("a", "b"), stream((0.0, ask("q")), (1.0, tell("a")))]) == []


def test_an_answer_to_nothing_is_not_asked_but_counted() -> None:
    (item,) = items_of([sample(tell("Hello."), ask("Q?"), tell("A."))])
    assert (item.key, item.question.before) == ("k.1", (tell("Hello."),))


def test_tubes_go_to_the_turns_that_name_them() -> None:
    other = replace(TUBE, end_s=9.0)
    turns = (ask("Where?"), tell("<tube>"), ask("Is it like <tube>?"), tell("It is at <tube>."))
    first, second = items_of([grounded(sample(*turns), TUBE, other, TUBE)])
    assert (first.truth.tubes, first.question.tubes) == ((TUBE,), ())
    assert (second.truth.tubes, second.question.tubes) == ((TUBE,), (TUBE, other))


def test_described_reads_lines_and_refuses_others() -> None:
    assert described("<time>: A dog runs.\nAt <time>, it stops.", [(0, 1), (1, 2)]) == [
        ((0, 1), "a dog runs"),
        ((1, 2), "at it stops"),
    ]
    for text, count in (("<time>: a dog", 2), ("a dog runs", 1), ("<time> <time> a dog", 2), ("<time>", 1)):
        assert described(text, [(0, 1)] * count) is None


# --- rounds ---


def test_teacher_and_replay_differ_in_what_came_before() -> None:
    items = items_of([TALK])
    wrong = Reply("At <time>, I think.", ((5.0, 6.0),))
    teacher, replay = Knowing({"k.0": wrong}), Knowing({"k.0": wrong})
    asked(items, teacher, History.TEACHER)
    asked(items, replay, History.REPLAY)
    assert teacher.seen[1] == items[1].question
    assert replay.seen[1].before == (TALK.turns[0], tell("At <time>, I think.", (5.0, 6.0)))
    assert replay.seen[1].ask == TALK.turns[2]
    assert replay.seen[0] == items[0].question


def test_replay_takes_the_models_tubes_too() -> None:
    turns = (ask("Where?"), tell("<tube>"), ask("Like <tube>?"), tell("Yes."))
    own = replace(TUBE, end_s=5.0)
    items = items_of([grounded(sample(*turns), TUBE, TUBE)])
    knowing = Knowing({"k.0": Reply("<tube>", tubes=(own,))})
    asked(items, knowing, History.REPLAY)
    assert knowing.seen[1].tubes == (own, TUBE)


def test_replaying_the_truth_is_teaching() -> None:
    items = items_of([TALK])
    knowing = Knowing.all(items)
    told = asked(items, knowing, History.REPLAY)
    assert [q.before for q in knowing.seen] == [i.question.before for i in items]
    assert told == {i.key: true_reply(i) for i in items}


def test_replies_are_counted() -> None:
    class Short:
        def answer(self, questions: object) -> list[Reply]:
            return []

    with pytest.raises(GuardBroken, match="0 replies to 1 questions"):
        asked(items_of([TALK]), Short())


# --- words ---


def test_verbs_and_things() -> None:
    assert verb_of("When does the red circle enter the frame?") == "enters"
    assert verb_of("Does it move before it leaves?") == SEVERAL
    assert verb_of("What colour is the removed thing?") == ""
    assert named("Find the time when the small red circle is still.") == ()
    assert named("a dog stops") == (("dog", "stops"),)


def test_objects_are_those_that_an_account_of_everything_names() -> None:
    lines = "<time>: the red circle moves\n<time>: the blue square stops\n<time>: the red circle leaves the frame"
    account = sample(ask("All?"), tell(lines, (0, 1, 1, 2, 2, 3)), task="dense_caption", clip="c1")
    other = sample(ask("When?"), tell("The green shape moves at <time>.", (0, 1)), clip="c1", key="l")
    unknown = sample(ask("When?"), tell("The red circle moves at <time>.", (0, 1)), clip="c2", key="m")
    assert objects_named([account, other, unknown]) == {"c1": 2}
    assert [i.objects for i in items_of([other, unknown, account])] == [2, None, 2]
    assert [i.objects for i in items_of([other], {"c1": 3})] == [3]
