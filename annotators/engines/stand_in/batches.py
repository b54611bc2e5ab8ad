"""The batch API of the stand-in teacher: files and batches, in memory, with faults to order.

What goes wrong with a line, each to be had on purpose and drawn from the request and how often it came before:

    busy         an error line with 429            broken     one with 500
    filtered     one with 400, a content filter    expired    one with the code batch_expired
    missing      no line, though it was billed     doubled    its line twice
    contradicted two lines with different texts    foreign    one more line, for a request that nobody made
    empty, malformed, misshapen, shortened, twin   as of an answer by itself (faults.py)

What goes wrong with a batch: `ends` orders how the next ones end; `torn` so many downloads stop half-way; `lost`: so
many creations are done and answered with 500. Lines come in another order than they were sent.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import random
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from reelmill.annotators.engines.stand_in.faults import Faults

ERRORS = {
    "busy": (429, {"message": "too many requests", "code": "rate_limit_exceeded"}),
    "broken": (500, {"message": "the model fell over", "code": "server_error"}),
    "filtered": (400, {"message": "the content filter was triggered", "code": "content_filter"}),
}
EXPIRED = {"code": "batch_expired", "message": "This request could not be executed before the completion window."}
SPOILT = ("empty", "malformed", "misshapen", "shortened", "twin")
LINE_KINDS = (*ERRORS, "expired", "missing", "doubled", "contradicted", "foreign", *SPOILT)
Answer = Callable[[dict[str, Any], str, str], dict[str, Any]]


def _unheard(moment: str) -> None:
    """Moments that nobody waits for."""


@dataclass
class Desk:
    """Takes files and batches. `billed` counts answers that were worked out, by custom_id: a batch is worked off when
    it is created, and told when `takes_s` seconds are over. `heard` is told each moment before the client is:
    "uploaded", "creating" (nothing is done yet), "created", "polled", "fetched"."""

    answer: Answer
    faults: Faults = field(default_factory=Faults)
    takes_s: float = 0.0
    ends: list[str] = field(default_factory=list)
    torn: int = 0
    lost: int = 0
    open: bool = True
    heard: Callable[[str], None] = _unheard
    billed: Counter[str] = field(default_factory=Counter)
    met: Counter[str] = field(default_factory=Counter)
    files: dict[str, bytes] = field(default_factory=dict)
    batches: dict[str, dict[str, Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._numbers, self._attempts = itertools.count(1), Counter[str]()
        self._twin: dict[str, Any] | None = None

    def routes(self, app: Any) -> None:
        """Add the endpoints to an aiohttp application."""
        app.router.add_post("/v1/files", self._upload)
        app.router.add_get("/v1/files/{id}/content", self._content)
        app.router.add_post("/v1/batches", self._create)
        app.router.add_get("/v1/batches", self._list)
        app.router.add_get("/v1/batches/{id}", self._retrieve)

    async def _upload(self, request: Any) -> Any:
        from aiohttp import web

        form = await request.post()
        made = self._kept(form["file"].file.read())
        self.heard("uploaded")
        size, name = len(self.files[made]), form["file"].filename
        about = {"object": "file", "bytes": size, "created_at": int(time.time()), "filename": name}
        return web.json_response({"id": made, "purpose": form["purpose"], "status": "processed"} | about)

    def _kept(self, data: bytes) -> str:
        name = f"file-{next(self._numbers)}"
        self.files[name] = data
        return name

    async def _content(self, request: Any) -> Any:
        from aiohttp import web

        data = self.files.get(request.match_info["id"])
        if data is None:
            return web.json_response({"error": {"message": "no such file"}}, status=404)
        self.heard("fetched")
        if self.torn:
            self.torn -= 1
            data = data[: len(data) // 2]
        return web.Response(body=data, content_type="application/jsonl")

    async def _create(self, request: Any) -> Any:
        from aiohttp import web

        if not self.open:
            return web.json_response({"error": {"message": "no batches here"}}, status=404)
        asked = await request.json()
        self.heard("creating")
        lines = [json.loads(line) for line in self.files[asked["input_file_id"]].splitlines()]
        made = self._worked_off(asked, lines, self.ends.pop(0) if self.ends else "completed")
        self.batches[made["id"]] = made
        self.heard("created")
        if self.lost:
            self.lost -= 1
            return web.json_response({"error": {"message": "the gateway fell asleep"}}, status=500)
        return web.json_response(self._shown(made))

    async def _list(self, request: Any) -> Any:
        from aiohttp import web

        if not self.open:
            return web.json_response({"error": {"message": "no batches here"}}, status=404)
        found = [self._shown(made) for made in reversed(self.batches.values())]
        after, most = request.query.get("after"), int(request.query.get("limit", 20))
        start = next((i + 1 for i, one in enumerate(found) if one["id"] == after), 0)
        page = found[start : start + most]
        return web.json_response({"object": "list", "data": page, "has_more": start + most < len(found)})

    async def _retrieve(self, request: Any) -> Any:
        from aiohttp import web

        made = self.batches.get(request.match_info["id"])
        if made is None:
            return web.json_response({"error": {"message": "no such batch"}}, status=404)
        self.heard("polled")
        return web.json_response(self._shown(made))

    def _shown(self, made: dict[str, Any]) -> dict[str, Any]:
        """A batch as it is told now: its files and end only when its time is over."""
        passed = time.time() - made["created_at"]
        if passed >= self.takes_s or made["status"] == "failed":  # a file is refused at once
            return made
        total = made["request_counts"]["total"]
        counts = {"total": total, "completed": int(total * passed / self.takes_s), "failed": 0}
        return made | {"status": "in_progress", "output_file_id": None, "error_file_id": None, "request_counts": counts}

    def _worked_off(self, asked: dict[str, Any], lines: list[dict[str, Any]], end: str) -> dict[str, Any]:
        """All that will be told of a batch. Of one that ends early the second half of its requests has no answer."""
        self._twin = None  # a double comes in the file of its original
        made = {"object": "batch", "endpoint": asked["endpoint"], "input_file_id": asked["input_file_id"]}
        made |= {"completion_window": asked["completion_window"], "metadata": asked.get("metadata")}
        made |= {"id": f"batch-{next(self._numbers)}", "created_at": time.time(), "status": end.partition(":")[0]}
        counts = {"total": len(lines), "completed": 0, "failed": 0}
        if made["status"] == "failed":
            error = {"code": end.partition(":")[2] or "invalid_json_line", "message": "as ordered", "line": None}
            return made | {"errors": {"object": "list", "data": [error]}, "request_counts": counts}
        reached = len(lines) if end == "completed" else len(lines) // 2
        told = [self._told(line) for line in lines[:reached]]
        late = lines[reached:] if end == "expired" else []
        output = [one for group in told for one in group if one["error"] is None and _status(one) == 200]
        errors = [one for group in told for one in group if one not in output]
        errors += [_line(line["custom_id"], None, EXPIRED) for line in late]
        counts |= {"completed": len(output), "failed": len(errors)}
        files = {"output_file_id": self._file(output), "error_file_id": self._file(errors)}
        return made | files | {"request_counts": counts}

    def _file(self, lines: list[dict[str, Any]]) -> str | None:
        random.Random(len(lines)).shuffle(lines)
        return self._kept(b"".join(json.dumps(one).encode() + b"\n" for one in lines)) if lines else None

    def _told(self, line: dict[str, Any]) -> list[dict[str, Any]]:
        """The lines that come back for one request."""
        name, body = line["custom_id"], line["body"]
        digest = hashlib.sha256(json.dumps(body).encode()).hexdigest()
        attempt, self._attempts[digest] = self._attempts[digest], self._attempts[digest] + 1
        fault = self.faults.of(digest, attempt)
        fault = "" if fault == "twin" and self._twin is None else fault
        self.met[fault] += 1
        if fault in ERRORS:
            return [_line(name, *ERRORS[fault])]
        if fault == "expired":
            return [_line(name, None, EXPIRED)]
        self.billed[name] += 1
        completion = self.answer(body, f"chatcmpl-{name[:24]}-{attempt}", fault)
        if fault == "twin" and self._twin is not None:
            completion = self._twin
        self._twin = completion if not fault else self._twin
        return self._copies(_line(name, 200, completion), fault)

    def _copies(self, line: dict[str, Any], fault: str) -> list[dict[str, Any]]:
        another = json.loads(json.dumps(line))
        if fault == "contradicted":
            another["response"]["body"]["choices"][0]["message"]["content"] = '{"caption": "Something else."}'
        if fault == "foreign":
            another["custom_id"] = "request-of-somebody-else"
        return {
            "missing": [],
            "doubled": [line, another],
            "contradicted": [line, another],
            "foreign": [line, another],
        }.get(fault, [line])


def _status(line: dict[str, Any]) -> int:
    return int(line["response"]["status_code"])


def _line(name: str, status: int | None, said: dict[str, Any]) -> dict[str, Any]:
    """A line of an output or error file."""
    if status is None:
        return {"id": f"batch_req_{name[:12]}", "custom_id": name, "response": None, "error": said}
    body = said if status == 200 else {"error": said}
    response = {"status_code": status, "request_id": f"req-{name[:12]}", "body": body}
    return {"id": f"batch_req_{name[:12]}", "custom_id": name, "response": response, "error": None}
