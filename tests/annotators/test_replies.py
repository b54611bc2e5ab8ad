"""The reply cache under concurrent writers and kill -9, and recorded replies."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from reelmill.annotators.engines.engine import Candidate, Engine, Reply, Request, TimedImage, answers
from reelmill.annotators.engines.profile import Price
from reelmill.annotators.engines.replies import Remembered, Replay, Replies, recorded
from reelmill.annotators.engines.spending import Purse
from reelmill.schemas.errors import BadInput, NotFound, OverBudget

REQUEST = Request("a", "what?", (TimedImage(b"jpeg", 0.5),), 99, 0.0, 3, '{"type":"object"}')
REPLY = Reply("a", "an <ö> answer", "stop", 3, 4, "", "m-1", (Candidate("an", -0.25),))


@dataclass
class Counted:
    """An engine in this process that answers with a running number, so that a second answer is seen to differ."""

    name: str = "counted"
    revision: str = "1"
    error: str = ""
    asked: list[str] = field(default_factory=list)

    def submit(self, request: Request) -> Future[Reply]:
        self.asked.append(request.id)
        reply: Future[Reply] = Future()
        reply.set_result(Reply(request.id, f"{request.prompt} {len(self.asked)}", "stop", 10, 5, error=self.error))
        return reply

    def check(self, *, images: bool) -> None: ...

    def close(self) -> None: ...


def remembered(engine: Engine, folder: Path, purse: Purse = Purse(0.0, None, "counted"), **kwargs) -> Remembered:
    return Remembered(engine, Replies(folder), purse, **kwargs)


def files(folder: Path) -> list[Path]:
    return [p for p in folder.rglob("*") if p.is_file()]


def test_a_reply_comes_back_under_the_id_of_whoever_asks(tmp_path):
    cache = Replies(tmp_path)
    assert cache.find("e", "1", REQUEST) is None
    assert cache.keep("e", "1", REQUEST, REPLY) == REPLY
    assert cache.find("e", "1", replace(REQUEST, id="z")) == replace(REPLY, id="z", cached=True)


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


def test_a_kept_reply_names_the_row_that_it_was_asked_for(tmp_path):
    cache = Replies(tmp_path)
    for number, name in enumerate(("k1", "k1/2", "k2/0/1")):
        cache.keep("e", "1", replace(REQUEST, id=name, prompt=str(number)), REPLY)
    assert sorted(kept.row for kept in cache.all()) == ["k1", "k1", "k2"]


def test_the_first_of_two_writers_wins(tmp_path):
    cache = Replies(tmp_path)
    cache.keep("e", "1", REQUEST, REPLY)
    assert cache.keep("e", "1", REQUEST, replace(REPLY, text="later")) == replace(REPLY, cached=True)
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
    assert len({r.text for r in got}) == 1
    assert sum(not r.cached for r in got) == 1
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
    assert cache.find("e", "1", REQUEST) == replace(newer, cached=True)


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
    requests = [Request(f"k{i}", f"q{i}") for i in range(3)]
    first = {r.id: r for r in answers(remembered(engine, tmp_path), requests)}
    again = {r.id: r for r in answers(remembered(engine, tmp_path), [*requests, Request("k9", "q9")])}
    assert engine.asked == ["k0", "k1", "k2", "k9"]
    assert {k: again[k] for k in first} == {k: replace(r, cached=True) for k, r in first.items()}
    assert not again["k9"].cached


def test_it_is_stored_before_it_is_given_out(tmp_path):
    remembered(Counted(), tmp_path).submit(Request("a", "one")).result(5)
    assert Replies(tmp_path).find("counted", "1", Request("z", "one")) is not None


def test_an_error_is_not_remembered(tmp_path):
    engine = Counted(error="HTTP 500")
    remembered(engine, tmp_path).submit(REQUEST).result(5)
    engine.error = ""
    assert remembered(engine, tmp_path).submit(REQUEST).result(5).whole
    assert engine.asked == ["a", "a"]


def test_equal_questions_in_flight_are_asked_once(tmp_path):
    engine, late = Counted(), Future[Reply]()

    def slow(request: Request) -> Future[Reply]:
        engine.asked.append(request.id)
        return late

    engine.submit = slow  # type: ignore[method-assign]
    cached = remembered(engine, tmp_path)
    first, second = cached.submit(REQUEST), cached.submit(replace(REQUEST, id="b"))
    assert not second.done()
    late.set_result(REPLY)
    assert (first.result(5), second.result(5)) == (REPLY, replace(REPLY, id="b", cached=True))
    assert engine.asked == ["a"]


def test_offline_asks_nobody(tmp_path):
    engine = Counted()
    bought = remembered(engine, tmp_path).submit(REQUEST).result(5)
    cached = remembered(engine, tmp_path, offline=True)
    assert cached.submit(REQUEST).result(5).text == bought.text
    assert "not in the cache" in cached.submit(Request("b", "new?")).result(5).error
    cached.check(images=True)
    assert engine.asked == ["a"]


def test_a_purse_pays_once_for_an_answer_and_stops_before_its_limit(tmp_path):
    engine, purse = Counted(), Purse(0.000045, Price(1.0, 1.0), "counted")  # an answer of Counted costs 0.000015
    cached = remembered(engine, tmp_path, purse)
    asked = [Request(f"k{n}", f"q{n}", max_tokens=5) for n in range(9)]
    for request in asked[:3]:
        cached.submit(request).result(5)
    with pytest.raises(OverBudget, match="spending stop"):
        cached.submit(asked[3])
    assert engine.asked == ["k0", "k1", "k2"]
    assert purse.spent == pytest.approx(0.000045)
    assert cached.submit(replace(asked[0], id="again")).result(5).cached  # what was bought is still to be had


def test_a_recording_answers_what_was_recorded(tmp_path):
    file = tmp_path / "replies.jsonl"
    file.write_text(recorded(REQUEST, REPLY) + "\n", encoding="utf-8")
    found = {reply.id: reply for reply in answers(Replay(file), [replace(REQUEST, id="z"), Request("b", "else?")])}
    assert found["z"] == replace(REPLY, id="z")
    assert not found["b"].whole
    assert "is recorded in replies.jsonl" in found["b"].error


def test_another_recording_is_another_model(tmp_path):
    file = tmp_path / "replies.jsonl"
    file.write_text(recorded(REQUEST, REPLY))
    before = Replay(file).revision
    file.write_text(recorded(REQUEST, replace(REPLY, text="other")))
    assert Replay(file).revision != before


def test_a_recording_that_is_missing_or_malformed_is_the_users_error(tmp_path):
    with pytest.raises(NotFound):
        Replay(tmp_path / "none.jsonl").submit(REQUEST)
    file = tmp_path / "bad.jsonl"
    file.write_text(recorded(REQUEST, REPLY) + '\n{"text": "no request"}\n')
    with pytest.raises(BadInput, match=r"bad\.jsonl line 2"):
        Replay(file).submit(REQUEST)
