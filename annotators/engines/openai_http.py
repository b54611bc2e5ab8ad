"""Any OpenAI-compatible chat server (vLLM, `transformers serve`, llama.cpp, a provider), through the `openai` client.

The client's own retries are off: it waits at most 8 s of its own accord and gives up at a Retry-After of two minutes
(openai 3.52, `_constants.py`), and it cannot tell a server that is gone from one that refuses a single request. Here

    429, 408, 409, 5xx, cut connections, timeouts, broken JSON   are tried again, after what Retry-After asks or 2^n s
    no connection, 401, 403, 404, 429 to the end                 EngineDown: no request will fare better
    400, 413, 422, 5xx to the end, no choices                    an error of that request's reply

    parse_engine("openai:HuggingFaceTB/SmolVLM2-2.2B-Instruct@http://10.0.0.5:8000/v1")
"""

from __future__ import annotations

import base64
import email.utils
import hashlib
import json
import math
import os
import threading
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pydantic

from reelmill.annotators.engines.engine import Engine, EngineSpec, Reply, Request
from reelmill.annotators.engines.replies import Replay
from reelmill.schemas.errors import EngineDown

if TYPE_CHECKING:
    from collections.abc import Mapping

    from openai import APIStatusError, OpenAI

_GONE = frozenset({401, 403, 404})
_AGAIN = frozenset({408, 409, 429})


def parse_engine(spec: str, *, revision: str = "", in_flight: int = 8) -> Engine:
    """The engine that a spec names. Raises BadInput; opens no connection."""
    parsed = EngineSpec.parse(spec)
    if parsed.kind == "replay":
        return Replay(Path(parsed.model))
    return OpenAIEngine(parsed.model, parsed.where, revision=revision, in_flight=in_flight)


@dataclass(frozen=True, slots=True)
class Patience:
    """How long to try. Seconds; a server that asks to wait longer than `retry_after_max_s` is not waited for."""

    tries: int = 6
    timeout_s: float = 120.0
    first_wait_s: float = 1.0
    wait_max_s: float = 60.0
    retry_after_max_s: float = 300.0

    def wait_s(self, attempt: int, jitter: float) -> float:
        """1, 2, 4 .. seconds, less up to a quarter: `jitter` in [0, 1) keeps many requests from returning at once."""
        return min(self.first_wait_s * 2.0**attempt, self.wait_max_s) * (1 - 0.25 * jitter)


@dataclass(frozen=True, slots=True)
class OpenAIEngine:
    """Asks `model` at `url` with at most `in_flight` requests at a time. Plain values: it may travel to a worker.

    The key is read from the environment (OPENAI_API_KEY, else "none") when the first request is sent.
    """

    model: str
    url: str
    revision: str = ""
    in_flight: int = 8
    patience: Patience = field(default_factory=Patience)

    @property
    def name(self) -> str:
        return f"openai:{self.model}"

    def answer(self, requests: Iterable[Request]) -> Iterator[Reply]:
        """Replies as they come. Raises EngineDown; what is still waiting to be tried again then gives up."""
        from openai import OpenAI

        key = os.environ.get("OPENAI_API_KEY") or "none"
        stop = threading.Event()
        client = OpenAI(base_url=self.url, api_key=key, timeout=self.patience.timeout_s, max_retries=0)
        with client, ThreadPoolExecutor(self.in_flight, thread_name_prefix="engine") as pool:
            running: set[Future[Reply]] = set()
            try:
                for request in requests:
                    running.add(pool.submit(_Call(self, client, request, stop).run))
                    if len(running) >= self.in_flight:
                        finished, running = wait(running, return_when=FIRST_COMPLETED)
                        yield from (call.result() for call in finished)
                while running:
                    finished, running = wait(running, return_when=FIRST_COMPLETED)
                    yield from (call.result() for call in finished)
            finally:
                stop.set()


@dataclass(eq=False)
class _Trouble(Exception):
    """One attempt failed. `again` says whether another may fare better, `down` whether no request can be answered."""

    what: str
    again: bool
    down: bool
    wait_s: float | None = None


@dataclass(frozen=True, slots=True)
class _Call:
    """One request and its attempts."""

    engine: OpenAIEngine
    client: OpenAI
    request: Request
    stop: threading.Event

    def run(self) -> Reply:
        patience, seen = self.engine.patience, "not tried"
        for attempt in range(patience.tries):
            try:
                return self._attempt()
            except _Trouble as trouble:
                seen = f"{trouble.what} (try {attempt + 1} of {patience.tries})"
                last = not trouble.again or attempt + 1 == patience.tries
                if not self._waited(trouble, attempt, last):
                    if trouble.down:
                        raise self._down(seen) from trouble
                    break
        return Reply(self.request.id, "", "", error=seen)

    def _waited(self, trouble: _Trouble, attempt: int, last: bool) -> bool:
        """Wait before the next attempt; False where there is to be none."""
        patience = self.engine.patience
        asked_s = trouble.wait_s
        if last or (asked_s is not None and asked_s > patience.retry_after_max_s):
            return False
        jitter = hashlib.sha256(f"{self.request.digest}{attempt}".encode()).digest()[0] / 256
        return not self.stop.wait(patience.wait_s(attempt, jitter) if asked_s is None else asked_s)

    def _down(self, seen: str) -> EngineDown:
        do = "start the server, check its address, model name and OPENAI_API_KEY, or raise the tries"
        return EngineDown(f"engine {self.engine.name} at {self.engine.url}", seen=seen, do=do)

    def _attempt(self) -> Reply:
        import openai

        try:
            raw = self.client.chat.completions.with_raw_response.create(**asked(self.engine.model, self.request))
        except openai.APITimeoutError as late:
            raise _Trouble(f"no answer within {self.engine.patience.timeout_s:g} s", True, _unreachable(late)) from late
        except openai.APIConnectionError as cut:
            raise _Trouble(f"connection failed: {cut.__cause__!r}", True, _unreachable(cut)) from cut
        except openai.APIStatusError as status:
            raise _status_trouble(status) from status
        return replied(self.request.id, raw.http_response.text)


def _unreachable(error: Exception) -> bool:
    """True where no connection was made at all; a connection that broke may be the fault of this one request."""
    return type(error.__cause__).__name__ in {"ConnectError", "ConnectTimeout"}


def _status_trouble(error: APIStatusError) -> _Trouble:
    status = error.status_code
    spent = error.code == "insufficient_quota"  # a 429 that no waiting helps
    again = (status in _AGAIN or status >= 500) and not spent
    what = f"HTTP {status}: {error.message[:300]}"
    return _Trouble(what, again, status in _GONE or status == 429, retry_after_s(error.response.headers))


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Seconds that a server asks to wait (RFC 9110, section 10.2.3: a number or a date), None where it does not say."""
    value = headers.get("retry-after", "").strip()
    try:
        seconds = float(value)
    except ValueError:
        when = email.utils.parsedate_tz(value)
        if when is None:
            return None
        seconds = email.utils.mktime_tz(when) - time.time()
    return None if math.isnan(seconds) else max(0.0, seconds)


def asked(model: str, request: Request) -> dict[str, Any]:
    """A request in the form of the chat completions API: each image after a line that gives its time."""
    content: list[dict[str, Any]] = []
    for image in request.images:
        url = "data:image/jpeg;base64," + base64.b64encode(image.jpeg).decode("ascii")
        content.append({"type": "text", "text": f"Frame at {image.at_s:.3f} s:"})
        content.append({"type": "image_url", "image_url": {"url": url}})
    content.append({"type": "text", "text": request.prompt})
    out: dict[str, Any] = {
        "model": model,
        "messages": [{"role": "user", "content": content}],
        "max_tokens": request.max_tokens,
        "temperature": request.temperature,
    }
    if request.seed is not None:
        out["seed"] = request.seed
    if request.answer_schema:
        wanted = {"name": "answer", "schema": json.loads(request.answer_schema), "strict": True}
        out["response_format"] = {"type": "json_schema", "json_schema": wanted}
    return out


class _Message(pydantic.BaseModel):
    content: str | None = None
    refusal: str | None = None


class _Choice(pydantic.BaseModel):
    message: _Message
    finish_reason: str | None = None


class _Usage(pydantic.BaseModel):
    prompt_tokens: int = 0
    completion_tokens: int = 0


class _Completion(pydantic.BaseModel):
    """What is read of a chat completion. The client builds its own types without checking them, so this is checked."""

    choices: list[_Choice] = []
    usage: _Usage | None = None
    model: str | None = None


def replied(request_id: str, body: str) -> Reply:
    """A server's body as a reply. Raises _Trouble where it is no chat completion."""
    try:
        completion = _Completion.model_validate_json(body)
    except pydantic.ValidationError as error:
        problem = error.errors()[0]["msg"]
        raise _Trouble(f"not a chat completion ({problem}): {body[:120]!r}", again=True, down=False) from error
    usage, model = completion.usage or _Usage(), completion.model or ""
    counts = {"tokens_in": usage.prompt_tokens, "tokens_out": usage.completion_tokens, "model": model}
    if not completion.choices:
        return Reply(request_id, "", "", error="the server answered with no choices", **counts)  # type: ignore[arg-type]
    choice = completion.choices[0]
    finish = "refusal" if choice.message.refusal else choice.finish_reason or ""
    text = choice.message.content or choice.message.refusal or ""
    return Reply(request_id, text, finish, **counts)  # type: ignore[arg-type]
