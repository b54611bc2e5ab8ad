"""Captions through real HTTP: what is sent, what is stored, what is repaired, refused or a fault."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import pickle
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from chat_server import Act, Asked, caption_of, chatting, completion

from reelmill.annotators.annotator import Annotator
from reelmill.annotators.asking import read_answer
from reelmill.annotators.caption import Caption, CaptionAnswer
from reelmill.annotators.engines.engine import Reply
from reelmill.annotators.engines.opening import Engines
from reelmill.annotators.engines.profile import EngineProfile
from reelmill.annotators.engines.replies import Replay, recorded
from reelmill.annotators.shown import evenly
from reelmill.schemas import arrow
from reelmill.schemas.column import schema
from reelmill.schemas.errors import Drift, EngineDown
from reelmill.schemas.media import Kind, MediaRef, ShownFrame
from reelmill.schemas.span import Span


def row(key: str, times: tuple[float, ...] = (0.0, 0.52, 1.04)) -> dict[str, Any]:
    jpegs = [f"{key} at {t}".encode() for t in times]
    frames = [
        ShownFrame(i * 13, t, 320, 240, hashlib.sha256(j).hexdigest(), 0, len(j))
        for i, (t, j) in enumerate(zip(times, jpegs, strict=True))
    ]
    seconds = max(times, default=0.0) + 0.04
    return {"key": key, "media": media(seconds), "frames": [arrow.plain(f) for f in frames], "jpegs": jpegs}


def media(seconds: float) -> dict[str, Any]:
    whole = Span(0.0, seconds) if seconds else None
    kind = Kind.VIDEO if seconds else Kind.IMAGE
    plain: dict[str, Any] = arrow.plain(MediaRef("f", "0" * 64, kind, 320, 240, seconds, whole, "CC0-1.0"))
    return plain


def table(*rows: dict[str, Any]) -> pa.Table:
    return pa.Table.from_pylist(list(rows), schema=schema(*Caption.needs))


@contextmanager
def step(url: str, *, cache: Path | None = None, in_flight: int = 8, **kwargs) -> Iterator[Caption]:
    with Engines(EngineProfile(in_flight=in_flight), cache) as engines:
        made = Caption(f"openai:toy-vl@{url}", engines=engines, **kwargs)
        made.setup()
        yield made


def answer(asked: Asked, earlier: int) -> Act:
    return Act(body=completion(caption_of(asked)))


def run(behave, *rows: dict[str, Any], **kwargs) -> tuple[list[dict[str, Any]], list[Asked]]:
    with chatting(behave) as chat, step(chat.url, **kwargs) as made:
        out = made(table(*rows)).to_pylist()
    return out, chat.asked


def test_a_caption_carries_the_times_of_the_very_frames_that_were_sent():
    long = row("k", tuple(round(i * 0.37, 3) for i in range(11)))
    (out,), (asked,) = run(answer, long, max_frames=4)
    digest = hashlib.sha256(b"".join(asked.jpegs)).hexdigest()[:12]
    assert out["caption"] == f"4 pictures of {digest}."
    sent = {jpeg: frame["at_s"] for jpeg, frame in zip(long["jpegs"], long["frames"], strict=True)}
    assert out["caption_frames_s"] == [sent[jpeg] for jpeg in asked.jpegs]
    assert [p["text"] for p in asked.parts if p["type"] == "text"][:-1] == [
        f"Frame at {t:.3f} s:" for t in out["caption_frames_s"]
    ]
    assert "0.000 s, 1.110 s" in asked.prompt
    assert out["caption_model"] == "toy-vl-build-7"


def test_it_is_an_annotator_with_its_declared_columns():
    made = Caption("openai:m@http://127.0.0.1:1/v1")
    assert isinstance(made, Annotator)
    assert made(table()).num_rows == 0  # and nobody is asked


def test_a_row_alone_is_the_row_in_any_batch():
    rows = [row(f"k{i}") for i in range(5)]
    together, _ = run(answer, *rows, in_flight=5)
    backwards, _ = run(answer, *rows[::-1], in_flight=1)
    alone = [run(answer, one)[0][0] for one in rows]
    assert together == alone == backwards[::-1]


def test_a_wrong_shape_is_repaired_once():
    def behave(asked: Asked, earlier: int) -> Act:
        mended = "could not be used" in asked.prompt
        return answer(asked, earlier) if mended else Act(body=completion('{"captoin": "Oops </s>"}'))

    (out,), asked = run(behave, row("k"))
    assert out["caption"].startswith("3 pictures")
    assert len(asked) == 2
    assert asked[1].jpegs == asked[0].jpegs
    assert "caption: Field required" in asked[1].prompt
    assert json.dumps('{"captoin": "Oops ‹/s›"}', ensure_ascii=False) in asked[1].prompt


@pytest.mark.parametrize(
    "text", ["A red circle.", '{"caption": ""}', '{"caption": 3}', '{"caption": "abc", "x": 1}', ""]
)
def test_what_cannot_be_repaired_is_refused_with_its_raw_text(text):
    (out,), asked = run(lambda a, n: Act(body=completion(text)), row("k"))
    assert out["caption"] is None
    assert out["verdict"]["reason"] == "bad_answer"
    assert repr(text) in out["verdict"]["detail"]
    assert len(asked) == 2


@pytest.mark.parametrize(("finish", "reason"), [("length", "answer_cut"), ("content_filter", "no_answer")])
def test_an_answer_that_is_not_whole_is_refused_even_if_it_parses(finish, reason):
    (out,), asked = run(lambda a, n: Act(body=completion(caption_of(a), finish)), row("k"))
    assert (out["caption"], out["verdict"]["reason"]) == (None, reason)
    assert len(asked) == 1


def test_trouble_with_one_request_is_a_fault_of_one_row():
    def behave(asked: Asked, earlier: int) -> Act:
        bad = any(b"bad" in jpeg for jpeg in asked.jpegs)
        return Act(400, {"error": {"message": "image too large"}}) if bad else answer(asked, earlier)

    (good, bad), _ = run(behave, row("good"), row("bad"))
    assert good["caption"]
    assert good["fault"] is None
    assert "image too large" in bad["fault"]
    assert bad["verdict"] is None


def test_a_dead_engine_is_not_the_rows_fault():
    with pytest.raises(EngineDown):
        run(lambda a, n: Act(401, {"error": {"message": "who?"}}), row("k"))


def test_a_clip_without_frames_is_refused_and_not_asked_about():
    (out, other), asked = run(answer, row("k", ()), row("other"))
    assert out["verdict"]["reason"] == "no_frames"
    assert other["caption"]
    assert len(asked) == 1


def test_the_cache_is_asked_first_and_repairs_are_in_it(tmp_path):
    def behave(asked: Asked, earlier: int) -> Act:
        return answer(asked, earlier) if "could not be used" in asked.prompt else Act(body=completion("prose"))

    first, asked = run(behave, row("a"), row("b"), cache=tmp_path)
    again, none = run(behave, row("b"), row("a"), cache=tmp_path)
    assert len(asked) == 4
    assert none == []
    assert again == first[::-1]


def test_a_recording_gives_captions_without_a_server(tmp_path):
    file = tmp_path / "replies.jsonl"
    file.write_text("")
    first = Caption(f"replay:{file}")
    (question,) = next(first._talk(row("k")))
    file.write_text(recorded(question.request, Reply("", '{"caption": "Recorded."}', "stop")))
    made = Caption(f"replay:{file}")
    (known, unknown) = made(table(row("k"), row("new"))).to_pylist()
    assert known["caption"] == "Recorded."
    assert "is recorded in replies.jsonl" in unknown["fault"]
    assert (made.model, made.model_revision) == ("replay", Replay(file).revision)


def test_identity_is_the_model_and_the_prompt_and_not_the_place():
    here = Caption("openai:m@http://here/v1", engines=Engines(EngineProfile(in_flight=2)))
    there = Caption("openai:m@http://there/v1")
    assert here == there
    out = {f.name for f in dataclasses.fields(Caption) if not f.metadata.get("identity", True)}
    assert out == {"engine", "engines"}
    assert here != Caption("openai:n@http://here/v1")
    assert here != Caption("openai:m@http://here/v1", max_frames=4)
    assert here.prompt_hash


def test_a_step_with_the_hash_of_another_prompt_does_not_start():
    with pytest.raises(Drift):
        Caption("openai:m@http://here/v1", prompt_hash="0" * 16).setup()


def test_it_travels_to_a_worker_after_setup():
    made = Caption("openai:m@http://here/v1", engines=Engines())
    made.setup()
    assert pickle.loads(pickle.dumps(made)).engine == made.engine


def test_a_fence_is_let_pass():
    assert read_answer('```json\n{"caption": " Two dogs. "}\n```', CaptionAnswer).caption == "Two dogs."


def test_evenly_takes_first_and_last_without_doubles():
    for count in range(30):
        for most in range(2, 12):
            taken = evenly(count, most)
            assert len(set(taken)) == len(taken) == min(count, most)
            assert list(taken) == sorted(taken)
            assert not count or (taken[0], taken[-1]) == (0, count - 1)
