"""Any OpenAI-compatible chat server (vLLM, `transformers serve`, llama.cpp, a provider), by the async `openai` client.

The client's own retries are off: it waits at most 8 s of its own accord and gives up at a Retry-After of two minutes
(openai 3.52, `_constants.py`), and it cannot tell a server that is gone from one that refuses a single request. Here

    429, 408, 409, 5xx, cut connections, timeouts, broken JSON,
    no choices                                                   are tried again, after what Retry-After asks or 2^n s
    the answer to another request                                is tried again: its id says so, or came before
    no connection, 401, 403, 404, 429 to the end                 EngineDown: no request will fare better
    400, 413, 422; 5xx or no choices to the end                  an error of that request's reply
"""

from __future__ import annotations

import asyncio
import base64
import email.utils
import hashlib
import itertools
import json
import math
import os
import time
from collections import OrderedDict
from concurrent.futures import Future
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any

import pydantic

from reelmill.annotators.engines.engine import Candidate, Reply, Request
from reelmill.annotators.engines.loop import Loop
from reelmill.annotators.engines.profile import EngineProfile
from reelmill.annotators.engines.spending import Allowance, guessed_tokens
from reelmill.schemas.errors import EngineDown, EngineUnusable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from openai import APIStatusError, AsyncOpenAI

_GONE = frozenset({401, 403, 404})
_AGAIN = frozenset({408, 409, 429})
_NO_LIST = frozenset({404, 405, 500, 501})
_IDS_KEPT = 4096
_MARK = "reelmill-"
KEY = "OPENAI_API_KEY"


class OpenAIEngine:
    """Asks `model` at `url` with at most `profile.in_flight` requests at a time, from a thread of its own.

    The key is read from the environment (OPENAI_API_KEY, else "none") when the first request is sent.
    """

    def __init__(self, model: str, url: str, revision: str = "", profile: EngineProfile = EngineProfile()) -> None:
        self.model, self.url, self.revision, self.profile = model, url, revision, profile
        self._down: EngineDown | None = None
        self._ids: OrderedDict[str, tuple[str, str]] = OrderedDict()

    @property
    def name(self) -> str:
        return f"openai:{self.model}"

    @cached_property
    def loop(self) -> Loop:
        return Loop("engine")

    @cached_property
    def client(self) -> AsyncOpenAI:
        from openai import AsyncOpenAI

        key = os.environ.get(KEY) or "none"
        return AsyncOpenAI(base_url=self.url, api_key=key, timeout=self.profile.patience.timeout_s, max_retries=0)

    @cached_property
    def _turns(self) -> _Turns:
        profile = self.profile
        return _Turns(
            asyncio.Semaphore(profile.in_flight),
            Allowance(profile.requests_per_minute),
            Allowance(profile.tokens_per_minute),
            asyncio.Event(),
        )

    def submit(self, request: Request) -> Future[Reply]:
        return self.loop.start(self._answered(request))

    def close(self) -> None:
        if "loop" in self.__dict__:
            if "client" in self.__dict__:
                self.loop.start(self.client.close()).result()
            self.loop.close()

    def check(self, *, images: bool) -> None:
        """Looks whether the server is there and knows the model. Whether it takes images only a request can show."""
        del images
        self.loop.start(self._listed()).result()

    async def _listed(self) -> None:
        import openai

        try:
            known = [model.id async for model in self.client.models.list()]
        except openai.APIConnectionError as error:
            raise self.unusable(f"no connection ({error.__cause__!r})", "start the server or mend its URL") from error
        except openai.APIStatusError as error:
            if error.status_code in _NO_LIST:
                return  # a server that lists nothing: `transformers serve` without a cache of models, for example
            todo = f"set {KEY}" if error.status_code in (401, 403) else "look at the server's log"
            raise self.unusable(f"HTTP {error.status_code}: {error.message[:200]}", todo) from error
        except (pydantic.ValidationError, TypeError, AttributeError, ValueError):
            return
        if known and self.model not in known:
            raise self.unusable(f"it serves {', '.join(known[:5])}", "name one of these")

    def unusable(self, seen: str, do: str) -> EngineUnusable:
        return EngineUnusable(f"engine {self.name} at {self.url}", seen=seen, do=do)

    async def _answered(self, request: Request) -> Reply:
        async with self._turns.slots:
            for attempt in itertools.count(1):
                if self._down is not None:
                    raise self._down
                outcome = await self._allowed(request, f"{_MARK}{request.digest[:20]}-{attempt}")
                if isinstance(outcome, Reply):
                    return outcome
                seen = f"{outcome.what} (try {attempt} of {self.profile.patience.tries})"
                if await self._waited(request, outcome, attempt):
                    continue
                if outcome.down:
                    self._down = self.gone(seen)
                    self._turns.stop.set()
                    raise self._down
                return Reply(request.id, "", "", error=seen)
        raise AssertionError("the count has no end")

    async def _allowed(self, request: Request, name: str) -> Reply | Trouble:
        """An attempt, as soon as the limits a minute let it."""
        turns, guess = self._turns, guessed_tokens(request)
        await turns.requests.take(1)
        await turns.tokens.take(guess)
        outcome = await self._attempt(request, name)
        used = outcome.tokens_in + outcome.tokens_out if isinstance(outcome, Reply) else 0
        turns.tokens.give_back(guess - used)
        return outcome

    async def _waited(self, request: Request, trouble: Trouble, attempt: int) -> bool:
        """Wait before the next attempt; False where there is to be none."""
        patience, asked_s = self.profile.patience, trouble.wait_s
        if not trouble.again or attempt == patience.tries:
            return False
        if asked_s is not None and asked_s > patience.retry_after_max_s:
            return False
        jitter = hashlib.sha256(f"{request.digest}{attempt}".encode()).digest()[0] / 256
        try:
            async with asyncio.timeout(patience.wait_s(attempt - 1, jitter) if asked_s is None else asked_s):
                await self._turns.stop.wait()
        except TimeoutError:
            return True
        return False

    def gone(self, seen: str) -> EngineDown:
        do = f"start the server, check its address, model name and {KEY}, or raise the tries"
        return EngineDown(f"engine {self.name} at {self.url}", seen=seen, do=do)

    async def _attempt(self, request: Request, name: str) -> Reply | Trouble:
        import openai

        limit_s = self.profile.patience.timeout_s
        try:
            async with asyncio.timeout(limit_s):  # the client's own limit is one of silence, not of the whole answer
                form = asked(self.model, request)
                ask = self.client.chat.completions.with_raw_response.create
                raw = await ask(**form, extra_headers={"X-Request-Id": name})
            answer_id, reply = replied(request.id, raw.http_response.text)
            return self.own(request.digest, name, answer_id, reply)
        except (TimeoutError, openai.APITimeoutError) as late:
            return Trouble(f"no answer within {limit_s:g} s", again=True, down=unreachable(late))
        except openai.APIConnectionError as cut:
            return Trouble(f"connection failed: {cut.__cause__!r}", again=True, down=unreachable(cut))
        except openai.APIStatusError as status:
            return status_trouble(status)
        except Broken as broken:
            return Trouble(str(broken), again=True, down=False)

    def own(self, digest: str, name: str, answer_id: str, reply: Reply) -> Reply:
        """Raises Broken for an answer that belongs to another request than that of `digest`.

        Servers that take the id of an answer from X-Request-Id (vLLM does) tell at once. Of others an answer is known
        by its id and words once they came before; a server that gives every answer the same id is believed, and a
        double that overtakes its original is not seen.
        """
        if _MARK in answer_id and name not in answer_id:
            raise Broken(f"the answer {answer_id} belongs to another request")
        earlier = self._ids.get(answer_id)
        if earlier is not None and len(self._ids) > 1 and earlier == (earlier[0], reply.text):
            if earlier[0] != digest:
                raise Broken(f"the answer {answer_id} was sent to another request before")
        elif answer_id:
            self._ids[answer_id] = (digest, reply.text)
            if len(self._ids) > _IDS_KEPT:
                self._ids.popitem(last=False)
        return reply


@dataclass(frozen=True, slots=True)
class _Turns:
    """What requests wait for before they are sent. `stop` is set when no request can be answered any more."""

    slots: asyncio.Semaphore
    requests: Allowance
    tokens: Allowance
    stop: asyncio.Event


@dataclass(frozen=True, slots=True)
class Trouble:
    """One attempt failed. `again` says whether another may fare better, `down` whether no request can be answered."""

    what: str
    again: bool
    down: bool
    wait_s: float | None = None


class Broken(Exception):
    """A body that is no answer to this request."""


def unreachable(error: Exception) -> bool:
    """True where no connection was made at all; a connection that broke may be the fault of this one request."""
    return type(error.__cause__).__name__ in {"ConnectError", "ConnectTimeout"}


def status_trouble(error: APIStatusError) -> Trouble:
    return trouble_of(error.status_code, error.message, error.code, retry_after_s(error.response.headers))


def trouble_of(status: int, message: str, code: str | None, wait_s: float | None = None) -> Trouble:
    """What a status means for a request, sent by itself or as a line of a batch."""
    spent = code == "insufficient_quota"  # a 429 that no waiting helps
    again = (status in _AGAIN or status >= 500) and not spent
    return Trouble(f"HTTP {status}: {message[:300]}", again, status in _GONE or status == 429, wait_s)


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
        content.append({"type": "text", "text": image.said})
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
    if request.top_p < 1:
        out["top_p"] = request.top_p
    if request.stop:
        out["stop"] = list(request.stop)
    if request.top_logprobs:
        out |= {"logprobs": True, "top_logprobs": request.top_logprobs}
    if request.answer_schema:
        wanted = {"name": "answer", "schema": _parsed(request.answer_schema), "strict": True}
        out["response_format"] = {"type": "json_schema", "json_schema": wanted}
    return out


@lru_cache(64)
def _parsed(schema: str) -> dict[str, Any]:
    """A schema is the same for all requests of a step. Nobody changes what is returned."""
    parsed: dict[str, Any] = json.loads(schema)
    return parsed


class _Message(pydantic.BaseModel):
    content: str | None = None
    refusal: str | None = None


class _Token(pydantic.BaseModel):
    token: str
    logprob: float
    top_logprobs: list[_Token] = []


class _Logprobs(pydantic.BaseModel):
    content: list[_Token] | None = None


class _Choice(pydantic.BaseModel):
    message: _Message
    finish_reason: str | None = None
    logprobs: _Logprobs | None = None

    @property
    def first(self) -> tuple[Candidate, ...]:
        """Candidates for the first token, likeliest first; none where the server gives none."""
        if self.logprobs is None or not self.logprobs.content:
            return ()
        found = {t.token: t.logprob for t in self.logprobs.content[0].top_logprobs}
        return tuple(Candidate(t, p) for t, p in sorted(found.items(), key=lambda pair: (-pair[1], pair[0])))


class _Usage(pydantic.BaseModel):
    prompt_tokens: int = 0
    completion_tokens: int = 0


class _Completion(pydantic.BaseModel):
    """What is read of a chat completion. The client builds its own types without checking them, so this is checked."""

    id: str = ""
    choices: list[_Choice] = []
    usage: _Usage | None = None
    model: str | None = None


def replied(request_id: str, body: str) -> tuple[str, Reply]:
    """A server's body as the answer's own id and a reply. Raises Broken where it is no chat completion."""
    try:
        completion = _Completion.model_validate_json(body)
    except pydantic.ValidationError as error:
        raise Broken(f"not a chat completion ({error.errors()[0]['msg']}): {body[:120]!r}") from error
    usage = completion.usage or _Usage()
    counted = Reply(request_id, "", "", usage.prompt_tokens, usage.completion_tokens, model=completion.model or "")
    if not completion.choices:
        raise Broken("the server answered with no choices")
    choice = completion.choices[0]
    finish = "refusal" if choice.message.refusal else choice.finish_reason or ""
    text = choice.message.content or choice.message.refusal or ""
    return completion.id, replace(counted, text=text, finish_reason=finish, first=choice.first)
