"""The engine against a real HTTP server that misbehaves in every way that servers do."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Generator, Iterator
from email.utils import formatdate
from typing import Any

import pytest
from chat_server import Act, Asked, chatting, completion

from reelmill.annotators.engines.engine import EngineSpec, Reply, Request, TimedImage, answers
from reelmill.annotators.engines.openai_http import OpenAIEngine, replied, retry_after_s
from reelmill.annotators.engines.profile import EngineProfile, Patience
from reelmill.schemas.errors import BadInput, EngineDown

QUICK = Patience(tries=3, timeout_s=5.0, first_wait_s=0.01, wait_max_s=0.02, retry_after_max_s=2.0)


@pytest.fixture
def engine() -> Iterator[Callable[..., OpenAIEngine]]:
    made: list[OpenAIEngine] = []

    def make(url: str, patience: Patience = QUICK, in_flight: int = 4, **profile: Any) -> OpenAIEngine:
        made.append(OpenAIEngine("toy-vl", url, "", EngineProfile(in_flight, patience=patience, **profile)))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture
def one(engine) -> Callable[..., Reply]:
    """The reply to one request."""
    return lambda url, **kwargs: engine(url, **kwargs).submit(Request("a", "hi")).result(30)


def echo(asked: Asked, earlier: int) -> Act:
    return Act(body=completion(asked.prompt.upper()))


def always(act: Act) -> Callable[[Asked, int], Act]:
    return lambda asked, earlier: act


def after(failures: int, act: Act) -> Callable[[Asked, int], Act]:
    return lambda asked, earlier: act if earlier < failures else echo(asked, earlier)


def test_every_request_gets_its_own_reply_and_in_flight_is_bounded(engine):
    gate = threading.Barrier(3, timeout=5)

    def behave(asked: Asked, earlier: int) -> Act:
        gate.wait()  # passes only where three requests are at the server at the same time
        return echo(asked, earlier)

    with chatting(behave) as chat:
        requests = [Request(f"k{i}", f"word {i}") for i in range(12)]
        replies = {r.id: r for r in answers(engine(chat.url, in_flight=3), iter(requests))}
    assert {k: r.text for k, r in replies.items()} == {f"k{i}": f"WORD {i}" for i in range(12)}
    assert chat.most_at_once == 3
    assert replies["k0"] == Reply("k0", "WORD 0", "stop", 11, 7, "", "toy-vl-build-7")


def test_requests_are_drawn_only_as_fast_as_they_are_answered(engine):
    drawn = 0

    def endless():
        nonlocal drawn
        while True:
            drawn += 1
            yield Request(str(drawn), f"n {drawn}")

    with chatting(echo) as chat:
        replies = answers(engine(chat.url, in_flight=2), endless(), ahead=4)
        for _ in range(5):
            next(replies)
        assert isinstance(replies, Generator)
        replies.close()
    assert drawn <= 5 + 2 * 4


def test_pictures_times_and_options_arrive_as_they_were_given(monkeypatch, engine):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test")
    images = (TimedImage(b"\xff\xd8one", 0.0), TimedImage(b"\xff\xd8two", 1.25))
    request = Request("a", "what?", images, 33, 0.5, 7, '{"type":"object"}')
    with chatting(echo) as chat:
        engine(chat.url).submit(request).result(30)
    (asked,) = chat.asked
    assert asked.jpegs == [b"\xff\xd8one", b"\xff\xd8two"]
    assert [p.get("text") for p in asked.parts] == ["Frame at 0.000 s:", None, "Frame at 1.250 s:", None, "what?"]
    assert asked.key == "sk-test"
    sent = {k: asked.body[k] for k in ("model", "max_tokens", "temperature", "seed")}
    assert sent == {"model": "toy-vl", "max_tokens": 33, "temperature": 0.5, "seed": 7}
    assert asked.body["response_format"]["json_schema"]["schema"] == {"type": "object"}


def test_without_a_key_the_word_none_is_sent(monkeypatch, one):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with chatting(echo) as chat:
        one(chat.url)
    assert chat.asked[0].key == "none"


def test_a_429_is_waited_out_for_as_long_as_it_asks(one):
    busy = Act(429, {"error": {"message": "slow down"}}, {"retry-after": "0.3"})
    with chatting(after(1, busy)) as chat:
        assert one(chat.url).text == "HI"
    assert chat.asked[1].at_s - chat.asked[0].at_s >= 0.3


@pytest.mark.parametrize(
    "act",
    [
        Act(500, {"error": {"message": "oops"}}),
        Act(503, b"<html>down</html>", {"content-type": "text/html"}),
        Act(200, completion("half"), cut=True),
        Act(200, b'{"choices": [{"mess'),
        Act(200, b"<html>proxy</html>", {"content-type": "text/html"}),
        Act(200, {"choices": "none of them"}),
    ],
    ids=["500", "503 html", "cut", "broken json", "html", "wrong shape"],
)
def test_a_passing_trouble_is_tried_again(act, one):
    with chatting(after(2, act)) as chat:
        assert one(chat.url) == Reply("a", "HI", "stop", 11, 7, "", "toy-vl-build-7")
    assert len(chat.asked) == 3


@pytest.mark.parametrize(
    ("act", "seen", "tries"),
    [
        (Act(500, {"error": {"message": "oops"}}), "HTTP 500", 3),
        (Act(200, completion("half"), cut=True), "connection failed", 3),
        (Act(200, b'{"choices": [{"mess'), "not a chat completion", 3),
        (Act(400, {"error": {"message": "image too large"}}), "image too large", 1),
        (Act(200, completion("x", choices=[])), "no choices", 3),
    ],
    ids=["500", "cut", "broken json", "400", "no choices"],
)
def test_a_lasting_trouble_is_the_error_of_that_request_alone(act, seen, tries, engine):
    def behave(asked: Asked, earlier: int) -> Act:
        return act if asked.prompt == "bad" else echo(asked, earlier)

    with chatting(behave) as chat:
        requests = [Request("a", "bad"), Request("b", "good")]
        replies = {r.id: r for r in answers(engine(chat.url), requests)}
    assert seen in replies["a"].error
    assert not replies["a"].whole
    assert replies["b"].text == "GOOD"
    assert sum(a.prompt == "bad" for a in chat.asked) == tries


@pytest.mark.parametrize("status", [401, 403, 404, 429])
def test_what_no_request_survives_is_a_dead_engine(status, one):
    with chatting(lambda a, n: Act(status, {"error": {"message": "no"}})) as chat, pytest.raises(EngineDown) as down:
        one(chat.url)
    assert f"HTTP {status}" in str(down.value)
    assert chat.url in str(down.value)


def test_a_server_that_is_not_there_is_a_dead_engine(one):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/v1"
        with pytest.raises(EngineDown, match="try 3 of 3"):
            one(url)


def test_spent_credit_and_a_wait_beyond_all_patience_end_it_at_once(one):
    spent = Act(429, {"error": {"message": "pay", "code": "insufficient_quota"}})
    tomorrow = Act(429, {"error": {"message": "later"}}, {"retry-after": "86400"})
    for act in (spent, tomorrow):
        with chatting(always(act)) as chat, pytest.raises(EngineDown):
            one(chat.url)
        assert len(chat.asked) == 1


def test_a_hanging_request_times_out_and_is_only_its_own_error(one):
    never = threading.Event()
    with chatting(lambda a, n: Act(body=completion("late"), wait_for=never)) as chat:
        reply = one(chat.url, patience=Patience(tries=2, timeout_s=0.8, first_wait_s=0.01))
        never.set()
    assert "no answer within 0.8 s" in reply.error
    assert len(chat.asked) == 2


def test_a_dead_engine_does_not_wait_for_what_others_would_still_try(engine):
    def behave(asked: Asked, earlier: int) -> Act:
        if asked.prompt == "fatal":
            return Act(401, {"error": {"message": "who?"}})
        return Act(500, {"error": {"message": "oops"}})

    slow = Patience(tries=9, timeout_s=5.0, first_wait_s=30.0)
    with chatting(behave) as chat, pytest.raises(EngineDown):  # 30 s waits would break the test's time limit
        list(answers(engine(chat.url, patience=slow), [Request("a", "x"), Request("b", "y"), Request("c", "fatal")]))


def test_length_and_refusal_are_not_whole_answers():
    _, cut = replied("a", '{"choices":[{"message":{"content":"so"},"finish_reason":"length"}]}')
    assert not cut.whole
    _, refused = replied("a", '{"choices":[{"message":{"content":null,"refusal":"no"},"finish_reason":"stop"}]}')
    assert (refused.finish_reason, refused.text, refused.whole) == ("refusal", "no", False)
    assert replied("a", '{"id":"i","choices":[{"message":{"content":null}}]}') == ("i", Reply("a", "", ""))


def test_retry_after_is_seconds_or_a_date():
    assert retry_after_s({"retry-after": "1.5"}) == 1.5
    assert retry_after_s({"retry-after": "-3"}) == 0.0
    assert retry_after_s({"retry-after": "nan"}) is None
    assert retry_after_s({"retry-after": "soon"}) is None
    assert retry_after_s({}) is None
    assert retry_after_s({"retry-after": formatdate(0, usegmt=True)}) == 0.0
    far = retry_after_s({"retry-after": formatdate(4_000_000_000, usegmt=True)})
    assert far is not None
    assert far > 1e6


def test_waits_double_and_are_capped():
    patience = Patience(first_wait_s=1.0, wait_max_s=5.0)
    assert [patience.wait_s(n, 0.0) for n in range(4)] == [1.0, 2.0, 4.0, 5.0]
    assert patience.wait_s(2, 0.99) >= 3.0


def test_specs():
    assert EngineSpec.parse("openai:a/b:c@d@https://x/v1") == EngineSpec("openai", "a/b:c@d", "https://x/v1")
    assert EngineSpec.parse("replay:dir/f.jsonl") == EngineSpec("replay", "dir/f.jsonl", "")
    assert EngineSpec.parse("transformers:a/b").name == "transformers:a/b"
    assert EngineSpec.parse("embedded").name == "embedded"
    for wrong in (
        "",
        "openai:",
        "openai:m",
        "openai:@http://x",
        "openai:m@ftp://x",
        "replay:",
        "vllm:",
        "transformers:",
        "embedded:x",
        "x",
    ):
        with pytest.raises(BadInput):
            EngineSpec.parse(wrong)
