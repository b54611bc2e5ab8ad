"""Several answers to one question: each with a seed of its own, and those that are none counted, not passed over."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pytest
from chat_server import Act, Asked, chatting, completion
from PIL import Image

from reelmill.annotators.annotator import Annotator
from reelmill.annotators.engines.opening import Engines
from reelmill.annotators.sample_answers import SampleAnswers
from reelmill.schemas import arrow
from reelmill.schemas.column import schema
from reelmill.schemas.errors import BadInput
from reelmill.schemas.media import Kind, MediaRef, ShownFrame


def picture(key: str, shade: int) -> dict[str, Any]:
    out = io.BytesIO()
    Image.new("L", (32, 32), shade).save(out, "JPEG")
    jpeg = out.getvalue()
    frame = ShownFrame(0, 0.0, 32, 32, hashlib.sha256(jpeg).hexdigest(), 0, len(jpeg))
    media = MediaRef("f", "0" * 64, Kind.IMAGE, 32, 32, 0.0, None, "CC0-1.0")
    return {"key": key, "media": arrow.plain(media), "frames": [arrow.plain(frame)], "jpegs": [jpeg]}


def sampled(
    behave: Callable[[Asked, int], Act], *rows: dict[str, Any], **fields: Any
) -> tuple[list[dict[str, Any]], list[Asked]]:
    with chatting(behave) as chat, Engines() as engines:
        step = SampleAnswers(f"openai:toy@{chat.url}", engines=engines, **fields)
        assert isinstance(step, Annotator)
        step.setup()
        batch = pa.Table.from_pylist(list(rows), schema=schema(*step.needs))
        return step(batch).to_pylist(), list(chat.asked)


def by_seed(asked: Asked, earlier: int) -> Act:
    return Act(body=completion(json.dumps({"caption": f"A scene of seed {asked.body['seed']}."})))


def test_every_sample_has_a_seed_of_its_own_and_the_temperature_is_sent() -> None:
    (out,), asked = sampled(by_seed, picture("one", 90), samples=4)
    assert {a.body["temperature"] for a in asked} == {0.7}
    assert len({a.body["seed"] for a in asked}) == len(set(out["answers"])) == 4
    assert (out["question"], out["unread"]) == ("Describe what is shown.", [])


def test_a_row_alone_is_the_row_beside_others() -> None:
    one, two = picture("one", 90), picture("two", 200)
    alone, _ = sampled(by_seed, one, samples=3)
    beside, _ = sampled(by_seed, two, one, samples=3)
    assert beside[1] == alone[0]
    assert beside[0]["answers"] != alone[0]["answers"]


def test_what_cannot_be_read_is_counted_with_its_reason() -> None:
    def some_fail(asked: Asked, earlier: int) -> Act:
        if asked.body["seed"] % 2:
            return Act(body=completion("A circle, I", finish_reason="length"))
        return by_seed(asked, earlier)

    (out,), asked = sampled(some_fail, picture("one", 90), samples=8)
    even = {a.body["seed"] for a in asked if a.body["seed"] % 2 == 0}
    assert len(out["answers"]) == len(even) >= 2
    assert out["unread"] == ["answer_cut"] * (8 - len(even))
    assert out["unread"]


def test_with_fewer_than_two_answers_the_row_is_refused() -> None:
    cut = Act(body=completion("A circle, I", finish_reason="length"))
    (out,), _ = sampled(lambda asked, earlier: cut, picture("one", 90), samples=2)
    assert out["verdict"]["reason"] == "too_few_answers"
    assert out["verdict"]["detail"] == "0 of 2 can be read: answer_cut, answer_cut"


@pytest.mark.parametrize("fields", [{"samples": 1}, {"temperature": 0.0}])
def test_samples_that_could_not_differ_are_refused_at_once(fields: dict[str, Any]) -> None:
    with pytest.raises(BadInput, match="answers to compare"):
        SampleAnswers("embedded", **fields)
