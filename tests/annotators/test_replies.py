"""The reply cache under concurrent writers and kill -9, and recorded replies."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from reelmill.annotators.engines.engine import Reply, Request, TimedImage
from reelmill.annotators.engines.replies import Remembered, Replay, Replies, recorded
from reelmill.schemas.errors import BadInput, NotFound

REQUEST = Request("a", "what?", (TimedImage(b"jpeg", 0.5),), 99, 0.0, 3, '{"type":"object"}')
REPLY = Reply("a", "an <ö> answer", "stop", 3, 4, "", "m-1")


@dataclass
class Counted:
    """An engine in this process that answers with a running number, so that a second answer is seen to differ."""

    name: str = "counted"
    revision: str = "1"
    error: str = ""
    asked: list[str] = field(default_factory=list)

    def answer(self, requests: Iterable[Request]) -> Iterator[Reply]:
        for request in requests:
            self.asked.append(request.id)
            yield Reply(request.id, f"{request.prompt} {len(self.asked)}", "stop", error=self.error)


def files(folder: Path) -> list[Path]:
    return [p for p in folder.rglob("*") if p.is_file()]


def test_a_reply_comes_back_under_the_id_of_whoever_asks(tmp_path):
    cache = Replies(tmp_path)
    assert cache.find("e", "1", REQUEST) is None
    assert cache.keep("e", "1", REQUEST, REPLY) == REPLY
    assert cache.find("e", "1", replace(REQUEST, id="z")) == replace(REPLY, id="z")


@pytest.mark.parametrize(
    "other",
    [
        {"prompt": "what"},
        {"images": ()},
        {"images": (TimedImage(b"jpeg", 0.6),)},
        {"images": (TimedImage(b"jpeg2", 0.5),)},
        {"max_tokens": 98},
        {"temperature": 0.1},
        {"seed": None},
        {"answer_schema": ""},
    ],
    ids=lambda change: next(iter(change)),
)
def test_another_question_is_another_entry(tmp_path, other):
    cache = Replies(tmp_path)
    cache.keep("e", "1", REQUEST, REPLY)
    assert cache.find("e", "1", replace(REQUEST, **other)) is None


def test_another_model_or_revision_is_another_entry(tmp_path):
    cache = Replies(tmp_path)
    cache.keep("e", "1", REQUEST, REPLY)
    assert cache.find("e", "2", REQUEST) is None
    assert cache.find("f", "1", REQUEST) is None


def test_the_first_of_two_writers_wins(tmp_path):
    cache = Replies(tmp_path)
    cache.keep("e", "1", REQUEST, REPLY)
    assert cache.keep("e", "1", REQUEST, replace(REPLY, text="later")) == REPLY
    assert len(files(tmp_path)) == 1


def test_many_writers_at_once_all_return_the_same_reply(tmp_path):
    start, got = threading.Barrier(8), []

    def write(number: int) -> None:
        start.wait()
        got.append(Replies(tmp_path).keep("e", "1", REQUEST, replace(REPLY, text=f"from {number}")))

    threads = [threading.Thread(target=write, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(got)) == 1
    assert Replies(tmp_path).find("e", "1", REQUEST) == got[0]
    assert len(files(tmp_path)) == 1


@pytest.mark.parametrize(
    "spoil", [lambda d: d[: len(d) // 2], lambda d: d.replace(b"answer", b"lie"), lambda d: b"[]", lambda d: b""]
)
def test_a_spoilt_file_is_no_answer_and_is_replaced(tmp_path, spoil, caplog):
    cache = Replies(tmp_path)
    cache.keep("e", "1", REQUEST, REPLY)
    (path,) = files(tmp_path)
    path.write_bytes(spoil(path.read_bytes()))
    assert cache.find("e", "1", REQUEST) is None
    assert "is corrupt" in caplog.text
    newer = replace(REPLY, text="asked anew")
    assert cache.keep("e", "1", REQUEST, newer) == newer
    assert cache.find("e", "1", REQUEST) == newer


WRITER = """
import sys
from pathlib import Path
from reelmill.annotators.engines.engine import Reply, Request
from reelmill.annotators.engines.replies import Replies
cache = Replies(Path(sys.argv[1]))
for n in range(10**6):
    text = f"{n} " * 2000
    cache.keep("e", "1", Request("a", f"q{n}"), Reply("a", text, "stop"))
    print(n, flush=True)
"""


def test_kill_9_leaves_every_announced_reply_whole(tmp_path):
    for last in (3, 11):
        child = subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path)], stdout=subprocess.PIPE, text=True)
        assert child.stdout is not None
        told = [int(next(child.stdout)) for _ in range(last)]
        os.kill(child.pid, signal.SIGKILL)
        child.wait()
        child.stdout.close()
        for n in told:
            reply = Replies(tmp_path).find("e", "1", Request("b", f"q{n}"))
            assert reply is not None
            assert reply.text == f"{n} " * 2000
    for path in tmp_path.rglob("*.json"):
        assert json.loads(path.read_bytes())["reply"]["text"]


def test_a_remembered_engine_is_asked_once(tmp_path):
    engine = Counted()
    cached = Remembered(engine, Replies(tmp_path))
    requests = [Request(f"k{i}", f"q{i}") for i in range(3)]
    first = {r.id: r for r in cached.answer(requests)}
    again = {r.id: r for r in Remembered(engine, Replies(tmp_path)).answer([*requests, Request("k9", "q9")])}
    assert engine.asked == ["k0", "k1", "k2", "k9"]
    assert {k: again[k] for k in first} == first


def test_it_is_stored_before_it_is_given_out(tmp_path):
    replies = Remembered(Counted(), Replies(tmp_path)).answer([Request("a", "one"), Request("b", "two")])
    next(replies)
    assert Replies(tmp_path).find("counted", "1", Request("z", "one")) is not None


def test_an_error_is_not_remembered(tmp_path):
    engine = Counted(error="HTTP 500")
    list(Remembered(engine, Replies(tmp_path)).answer([REQUEST]))
    engine.error = ""
    (reply,) = Remembered(engine, Replies(tmp_path)).answer([REQUEST])
    assert reply.whole
    assert engine.asked == ["a", "a"]


def test_a_recording_answers_what_was_recorded(tmp_path):
    file = tmp_path / "replies.jsonl"
    file.write_text(recorded(REQUEST, REPLY) + "\n", encoding="utf-8")
    known, unknown = Replay(file).answer([replace(REQUEST, id="z"), Request("b", "else?")])
    assert known == replace(REPLY, id="z")
    assert not unknown.whole
    assert "is recorded in replies.jsonl" in unknown.error


def test_another_recording_is_another_model(tmp_path):
    file = tmp_path / "replies.jsonl"
    file.write_text(recorded(REQUEST, REPLY))
    before = Replay(file).revision
    file.write_text(recorded(REQUEST, replace(REPLY, text="other")))
    assert Replay(file).revision != before


def test_a_recording_that_is_missing_or_malformed_is_the_users_error(tmp_path):
    with pytest.raises(NotFound):
        list(Replay(tmp_path / "none.jsonl").answer([REQUEST]))
    file = tmp_path / "bad.jsonl"
    file.write_text(recorded(REQUEST, REPLY) + '\n{"text": "no request"}\n')
    with pytest.raises(BadInput, match=r"bad\.jsonl line 2"):
        list(Replay(file).answer([REQUEST]))
