"""The stand-in teacher as a server on a loopback port: `POST /v1/chat/completions`, `GET /v1/models`, the batch API.

with serving(Faults(rate=0.2)) as teacher:
print(teacher.url, teacher.calls)
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from reelmill.annotators.engines.loop import Loop
from reelmill.annotators.engines.stand_in.answers import Asked, answer, candidates
from reelmill.annotators.engines.stand_in.batches import Desk
from reelmill.annotators.engines.stand_in.faults import Faults

MODEL = "stand-in"
_BODY_BYTES = 256 * 1024**2
_NO_KEY = {"error": {"message": "no such key"}}
Heard = Callable[[int], None]


def _unheard(calls: int) -> None:
    """Calls that nobody counts."""


class Teacher:
    """Counts what it is asked: `calls` in all, `met` by fault ('' for none), `most_at_once`. `latency_s` is that of
    every answer, as a model's would be; `heard` is told the number of calls when one comes; without `sees` a request
    with pictures is refused, with a `key` one that has another. `desk` is where batches are left."""

    def __init__(self, faults: Faults = Faults(), latency_s: float = 0.0, heard: Heard = _unheard) -> None:
        self.faults, self.latency_s, self.heard, self.url = faults, latency_s, heard, ""
        self.sees, self.key, self.desk = True, "", Desk(completed)
        self.calls, self.most_at_once, self._now = 0, 0, 0
        self.met: Counter[str] = Counter()
        self._attempts: Counter[str] = Counter()
        self._last: dict[str, Any] | None = None

    def application(self) -> Any:
        """The aiohttp application."""
        from aiohttp import web

        app = web.Application(client_max_size=_BODY_BYTES)
        app.router.add_get("/v1/models", self._models)
        app.router.add_post("/v1/chat/completions", self._chat)
        self.desk.routes(app)
        return app

    async def _models(self, request: Any) -> Any:
        from aiohttp import web

        if not self._known(request):
            return web.json_response(_NO_KEY, status=401)
        return web.json_response({"object": "list", "data": [{"id": MODEL, "object": "model", "created": 0}]})

    async def _chat(self, request: Any) -> Any:
        self._now += 1
        self.calls += 1
        self.heard(self.calls)
        self.most_at_once = max(self.most_at_once, self._now)
        try:
            return await self._acted(request)
        finally:
            self._now -= 1

    async def _acted(self, request: Any) -> Any:
        from aiohttp import web

        body = await request.read()
        digest = hashlib.sha256(body).hexdigest()
        attempt, self._attempts[digest] = self._attempts[digest], self._attempts[digest] + 1
        fault = self.faults.of(digest, attempt)
        if not self._known(request):
            return web.json_response(_NO_KEY, status=401)
        if not self.sees and b'"image_url"' in body:
            return web.json_response({"error": {"message": "this model takes no images"}}, status=400)
        try:
            name = request.headers.get("x-request-id", f"{digest[:24]}-{attempt}")  # as vLLM names its answers
            completion = completed(json.loads(body), f"chatcmpl-{name}", fault)
        except (ValueError, KeyError, TypeError, OSError) as error:
            return web.json_response({"error": {"message": f"no chat request: {error!r}"}}, status=400)
        if fault == "twin" and self._last is None:
            fault = ""
        self.met[fault] += 1
        sent = self._last if fault == "twin" else completion
        self._last = completion if not fault else self._last
        await asyncio.sleep(self._delay_s(fault))
        return await self._sent(request, fault, json.dumps(sent).encode())

    def _known(self, request: Any) -> bool:
        return not self.key or request.headers.get("authorization") == f"Bearer {self.key}"

    def _delay_s(self, fault: str) -> float:
        return self.latency_s + {"stall": self.faults.stall_s, "slow": self.faults.slow_s}.get(fault, 0.0)

    async def _sent(self, request: Any, fault: str, body: bytes) -> Any:
        from aiohttp import web

        if fault == "busy":
            asks = {"retry-after": f"{self.faults.retry_after_s:g}"}
            return web.json_response({"error": {"message": "too many requests"}}, status=429, headers=asks)
        if fault == "broken":
            return web.Response(text="<html>Internal Server Error</html>", content_type="text/html", status=500)
        if fault == "truncated":
            return web.Response(body=body[: len(body) // 2], content_type="application/json")
        if fault == "cut":
            response = web.StreamResponse(
                headers={"content-type": "application/json", "content-length": str(len(body))}
            )
            await response.prepare(request)
            await response.write(body[: len(body) // 2])
            request.transport.abort()
            return response
        return web.Response(body=body, content_type="application/json")


def completed(body: dict[str, Any], name: str, fault: str = "") -> dict[str, Any]:
    """A chat completion for a request's body, spoilt as a fault says. Raises what `Asked.of` raises."""
    asked = Asked.of(body)
    text = answer(asked)
    choice: dict[str, Any] = {"index": 0, "finish_reason": "length" if fault == "shortened" else "stop"}
    choice["message"] = {"role": "assistant", "content": _spoilt(text, fault)}
    if body.get("logprobs"):
        first = candidates(text)
        choice["logprobs"] = {"content": [first[0] | {"top_logprobs": first}]}
    tokens_in = len(asked.prompt.split()) + 100 * len(asked.jpegs)
    usage = {"prompt_tokens": tokens_in, "completion_tokens": max(1, len(text.split()))}
    whole = {"id": name, "object": "chat.completion", "created": 0, "model": body.get("model", MODEL), "usage": usage}
    return whole | {"choices": [] if fault == "empty" else [choice]}


def _spoilt(text: str, fault: str) -> str:
    if fault in ("malformed", "shortened"):
        return text[: max(1, 2 * len(text) // 3)]
    if fault == "misshapen":
        return json.dumps({"answer": text, "note": "another shape"})
    return text


@contextmanager
def serving(
    faults: Faults = Faults(), latency_s: float = 0.0, port: int = 0, heard: Heard = _unheard
) -> Iterator[Teacher]:
    """A running teacher, in a thread of its own; port 0: whichever is free."""
    from aiohttp import web

    teacher, loop = Teacher(faults, latency_s, heard), Loop("teacher")

    async def begin() -> Any:
        runner = web.AppRunner(teacher.application(), shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", port)
        await site.start()
        teacher.url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
        return runner

    try:
        runner = loop.start(begin()).result()
        yield teacher
        loop.start(runner.cleanup()).result()
    finally:
        loop.close()
