"""Accounts drawn from a model: what it is given, that it chooses from the list, what cannot be compared is counted."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pytest
from chat_server import Act, Asked, chatting, completion
from PIL import Image
from view_rows import event, shown, video
from view_rows import row as view_row

from reelmill.annotators.annotator import Annotator
from reelmill.annotators.engines.opening import Engines
from reelmill.annotators.sample_accounts import SampleAccounts, choices_of
from reelmill.schemas.column import schema
from reelmill.schemas.errors import BadInput
from reelmill.schemas.event import Event

RED, BLUE = "the red circle", "the blue square"
EVENTS = (
    event(BLUE, "leaves", 2.0, 3.0),
    event(RED, "enters", 0.5, 1.0),
    event(RED, "moves", 0.5, 2.0, accepted=False),
)


def row(key: str = "clip", events: tuple[Event, ...] = EVENTS) -> dict[str, Any]:
    out = io.BytesIO()
    Image.new("L", (32, 32), 90).save(out, "JPEG")
    return view_row(video(), shown(0), key=key, events=events) | {"jpegs": [out.getvalue()]}


def told(*events: tuple[str, float, float]) -> str:
    return json.dumps({"events": [{"event": e, "start_s": s, "end_s": t} for e, s, t in events]})


def drawn(
    behave: Callable[[Asked], str], *rows: dict[str, Any], samples: int = 1
) -> tuple[list[dict[str, Any]], list[Asked]]:
    with chatting(lambda asked, _: Act(body=completion(behave(asked)))) as chat, Engines() as engines:
        step = SampleAccounts(f"openai:toy@{chat.url}", engines=engines, samples=samples)
        assert isinstance(step, Annotator)
        step.setup()
        out = step(pa.Table.from_pylist(list(rows), schema=schema(*step.needs))).to_pylist()
        return out, list(chat.asked)


def by_what_is_given(asked: Asked) -> str:
    if "their times are" in asked.prompt:
        return told(("The red circle stops.", 9.0, 9.5), (f"{BLUE} leaves", 0.0, 1.0))
    if "in order they are" in asked.prompt:
        return told((f"{RED} moves", 0.1, 0.2), (f"{RED} moves", 3.0, 4.0))
    return told((f"{BLUE} enters", 1.0, 2.0))


def test_what_is_given_stays_and_the_rest_is_the_models() -> None:
    (out,), asked = drawn(by_what_is_given, row())
    accounts = {a["given"]: [(e["phrase"], e["start_s"], e["end_s"]) for e in a["told"]] for a in out["accounts"]}
    assert accounts == {
        "": [(f"{BLUE} enters", 1.0, 2.0)],
        "times": [(f"{RED} stops", 0.5, 1.0), (f"{BLUE} leaves", 2.0, 3.0)],
        "sentences": [(f"{RED} enters", 0.1, 0.2), (f"{BLUE} leaves", 3.0, 4.0)],
    }
    assert out["unread"] == []
    prompts = {a.prompt for a in asked}
    assert any("There are 2; their times are: 0.50 to 1.00 s, 2.00 to 3.00 s." in p for p in prompts)
    assert any(f"There are 2; in order they are: {RED} enters; {BLUE} leaves." in p for p in prompts)
    assert all(f"{RED} leaves" in p for p in prompts), "false sentences are on the list too"


def test_every_sample_has_a_seed_and_an_order_of_its_own() -> None:
    (out,), asked = drawn(by_what_is_given, row(), samples=3)
    assert {a.body["temperature"] for a in asked} == {0.8}
    assert len({a.body["seed"] for a in asked}) == len({a.prompt for a in asked}) == len(asked) == 9
    assert [(a["given"], a["number"]) for a in out["accounts"]][:4] == [("", 0), ("", 1), ("", 2), ("times", 0)]


@pytest.mark.parametrize(
    ("answer", "reasons"),
    [
        (told(("a dog runs", 0.0, 1.0)), ["other_words"] * 3),
        (told(), ["nothing_told"] * 3),
        (told((f"{RED} enters", 0.0, 1.0)), ["other_count"] * 2),
    ],
)
def test_what_cannot_be_compared_is_counted(answer: str, reasons: list[str]) -> None:
    (out,), _ = drawn(lambda asked: answer, row())
    assert out["unread"] == reasons
    assert len(out["accounts"]) == 3 - len(reasons)


def test_a_clip_of_too_few_events_is_refused_and_a_row_alone_is_the_row_beside_others() -> None:
    few = row("few", EVENTS[1:])
    beside, _ = drawn(by_what_is_given, few, row())
    assert (beside[0]["verdict"]["reason"], beside[0]["accounts"]) == ("events_to_tell", None)
    assert drawn(by_what_is_given, row())[0][0] == beside[1]


def test_the_choices_are_every_thing_with_every_kind() -> None:
    assert len(choices_of(EVENTS)) == 8
    assert f"{RED} leaves" in choices_of(EVENTS)
    with pytest.raises(BadInput, match="temperature 0"):
        SampleAccounts("openai:toy@http://127.0.0.1:9/v1", temperature=0)
