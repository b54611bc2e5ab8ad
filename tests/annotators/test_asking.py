"""Conversations with a teacher that fails: nothing wrong is accepted, every reject says why, nobody waits for ever."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pydantic
import pytest

from reelmill.annotators.asking import Asks, Conversation, Question, judged
from reelmill.annotators.caption import CaptionAnswer
from reelmill.annotators.engines.engine import Reply, Request, answers
from reelmill.annotators.engines.gates import Sameness, degenerate, repeated_unit
from reelmill.annotators.engines.opening import Engines
from reelmill.annotators.engines.profile import EngineProfile, Patience, Price
from reelmill.annotators.engines.stand_in.answers import Asked, answer
from reelmill.annotators.engines.stand_in.faults import KINDS, Faults
from reelmill.annotators.engines.stand_in.server import MODEL, serving
from reelmill.schemas.column import KEY, Column, schema
from reelmill.schemas.errors import BadInput, EngineDown, OverBudget, Unusable

TOPIC = Column.of("topic", str)
SAID = Column.of("said", tuple[str, ...])
QUICK = Patience(tries=10, timeout_s=0.6, first_wait_s=0.01, wait_max_s=0.05)


class Told(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid")
    facts: list[str]


class Ask(Asks):
    """Two rounds: a statement is split, then each part again."""

    needs = (KEY, TOPIC)
    gives = (SAID,)
    revision = "1"
    sends_images = False

    def _talk(self, row: dict[str, Any]) -> Conversation:
        if row["topic"] == "nothing":
            raise Unusable("no_topic", "0 words")
        first = yield [Question.of(splitting(row["topic"]), Told)]
        parts = first[0].value.facts
        yield []  # a round without a question
        second = yield [Question.of(splitting(part), Told) for part in parts]
        return {"said": tuple(one for outcome in second for one in outcome.value.facts)}


def splitting(text: str) -> Request:
    return Request("q", f"Split: {json.dumps(text)}")


def topic(n: int) -> str:
    return f"Thing {n} is red. Thing {n} moves left. It is number {n}."


def table(count: int, **others: str) -> pa.Table:
    rows = [{"key": f"k{n}", "topic": topic(n)} for n in range(count)]
    rows += [{"key": key, "topic": text} for key, text in others.items()]
    return pa.Table.from_pylist(rows, schema=schema(KEY, TOPIC))


@pytest.fixture
def engines(tmp_path: Path) -> Iterator[Engines]:
    profile = EngineProfile(in_flight=24, patience=QUICK, prices={MODEL: Price(1.0, 10.0)})
    with Engines(profile, tmp_path / "replies") as made:
        yield made


def step(url: str, engines: Engines | None) -> Ask:
    made = Ask(f"openai:{MODEL}@{url}", prompt="caption", engines=engines)
    made.setup()
    return made


def test_a_teacher_that_fails_one_time_in_five_gets_nothing_wrong_accepted(engines: Engines) -> None:
    rough = Faults(rate=0.2, stall_s=1.5, slow_s=0.1, retry_after_s=0.02)
    count = 150
    with serving(rough) as teacher:
        rows = step(teacher.url, engines)(table(count, none="nothing")).to_pylist()
        calls = teacher.calls
        again = step(teacher.url, engines)(table(count, none="nothing")).to_pylist()
        assert teacher.calls == calls
    assert again == rows
    assert set(KINDS) <= set(teacher.met), "a fault that was never met shows nothing"
    assert [r["key"] for r in rows] == [*(f"k{n}" for n in range(count)), "none"]
    for n, row in enumerate(rows[:count]):
        if row["said"] is not None:
            assert row["said"] == [f"Thing {n} is red.", f"Thing {n} moves left.", f"It is number {n}."]
        else:
            assert "raw answer: '" in row["verdict"]["detail"]
    ended = Counter(r["verdict"]["reason"] if r["verdict"] else r["fault"] or "kept" for r in rows)
    assert ended["kept"] > count / 2
    assert ended.keys() <= {"kept", "bad_answer", "answer_cut", "no_topic"}


def test_rows_with_the_same_words_cost_one_question(engines: Engines) -> None:
    with serving() as teacher:
        made = step(teacher.url, engines)
        out = made(table(1, a=topic(0), b=topic(0))).to_pylist()
    assert out[0]["said"] == out[1]["said"] == out[2]["said"]
    assert teacher.calls == 4
    used = made.spent()
    assert (used.calls, used.cached) == (12, 8)
    assert used.cost == pytest.approx((used.tokens_in + 10 * used.tokens_out) / 1e6)
    assert made.spent().calls == 0


def test_a_spending_stop_ends_the_work_and_keeps_what_was_bought(tmp_path: Path) -> None:
    prices = {MODEL: Price(1e4, 0.0)}
    with serving() as teacher:
        tight = EngineProfile(in_flight=1, max_cost=2.0, prices=prices)
        with Engines(tight, tmp_path) as engines, pytest.raises(OverBudget, match="spending stop of 2"):
            step(teacher.url, engines)(table(50))
        bought = teacher.calls
        assert 0 < bought < 50
        with Engines(EngineProfile(prices=prices), tmp_path) as engines:
            made = step(teacher.url, engines)
            made(table(50))
        assert teacher.calls == 50 * 4
        assert made.spent().cached >= bought


def test_a_limit_on_costs_needs_a_price() -> None:
    with Engines(EngineProfile(max_cost=1.0)) as engines, pytest.raises(BadInput, match="needs a price"):
        engines.get("openai:m@http://127.0.0.1:9/v1")


def test_a_teacher_that_says_the_same_of_everything_ends_the_run(engines: Engines) -> None:
    with serving(Faults(rate=1.0, kinds=("misshapen",))) as teacher:
        same = [Request(f"k{n}", "Describe it." + " " * n) for n in range(200)]
        model = engines.get(f"openai:{MODEL}@{teacher.url}")
        with pytest.raises(EngineDown, match="answers are"):
            list(answers(model, same))


def test_sameness_counts_questions_and_lets_short_answers_be() -> None:
    watch = Sameness(most=3, window=10, letters=5)
    for n in range(20):
        watch.saw("e", f"q{n}", "yes")
        watch.saw("e", "the same question", "a long answer")
        watch.saw("e", f"q{n}", f"answer number {n % 5}")  # each five times, but never over three in a window of ten
    for n in range(3):
        watch.saw("e", f"new {n}", "a long answer again")
    with pytest.raises(EngineDown, match="4 of its last"):
        watch.saw("e", "new 3", "a long answer again")


def test_d7_one_text_for_many_questions_is_found_whatever_its_capitals_and_blanks() -> None:
    watch = Sameness(most=3, window=10, letters=5)
    for n, text in enumerate(("A dog runs.", "a dog runs.", "A  dog\nruns. ")):
        watch.saw("e", f"q{n}", text)
    with pytest.raises(EngineDown, match="4 of its last 4 answers are"):
        watch.saw("e", "q3", " A DOG RUNS.")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "empty"),
        ("  \n", "empty"),
        ("I'm sorry, but I can't help with that.", "refusal"),
        ("As an AI language model I have no eyes.", "refusal"),
        ("the the the the the the the the the the the the the", "repeated"),
        ("A dog runs. " + "It runs and runs. " * 9, "repeated"),
        ("A red circle enters from the left, stops, and leaves to the right after two seconds.", ""),
        ("I can see a dog. It barks.", ""),
        ("He said: I am sorry.", ""),
        ("red, green, red, blue, red, white, red, black, red, grey, red, brown", ""),
    ],
)
def test_degenerate_texts_are_told_from_plain_ones(text: str, reason: str) -> None:
    found = degenerate(text)
    assert (found[0] if found else "") == reason


def test_only_repetition_in_a_row_counts() -> None:
    assert repeated_unit(["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l", "a", "b", "c"])[1] == 0.0
    unit, share = repeated_unit(["start", "here", "now", "a", "b", "a", "b", "a", "b", "a", "b", "a", "b", "a", "b"])
    assert set(unit) == {"a", "b"}
    assert share == pytest.approx(12 / 15, abs=0.1)


def test_a_degenerate_answer_is_rejected_with_its_text() -> None:
    prose = "the " * 40
    question = Question.of(Request("a", "?"), CaptionAnswer, lambda a: a.caption)
    outcome = judged(question, Reply("a", json.dumps({"caption": prose}), "stop"))
    with pytest.raises(Unusable, match="answer_repeated") as refused:
        outcome.value  # noqa: B018 - it raises
    assert prose[:50] in str(refused.value)


def test_the_stand_in_answers_what_it_was_sent() -> None:
    body = {"messages": [{"role": "user", "content": 'Split: "One. Two."'}]}
    shape = {"type": "json_schema", "json_schema": {"schema": Told.model_json_schema()}}
    assert json.loads(answer(Asked.of(body | {"response_format": shape}))) == {"facts": ["One.", "Two."]}


def test_a_profile_is_read_as_it_was_written(tmp_path: Path) -> None:
    file = tmp_path / "profile.toml"
    file.write_text(
        'in_flight = 3\ngpus = 0.5\n[patience]\ntries = 2\n[prices."a/b"]\ninput = 1\noutput = 2.5\n'
        '[vllm]\nmax_num_seqs = 64\nenforce_eager = true\ndtype = "float32"\n'
    )
    read = EngineProfile.read(file)
    assert (read.in_flight, read.gpus, read.patience, read.batch) == (3, 0.5, Patience(tries=2), 8)
    assert read.price_of("openai:a/b") == Price(1.0, 2.5)
    assert read.price_of("openai:another") is None
    assert {k: (type(v), v) for k, v in read.vllm.items()} == {
        "max_num_seqs": (int, 64),
        "enforce_eager": (bool, True),
        "dtype": (str, "float32"),
    }
