"""The door of the audit page: one page, its pictures and one place to post a mark, on 127.0.0.1 alone.

Whoever asks must name the loopback host (so that no other site's name can be made to lead here) and know the token in
the address. Everything that can be asked for is in memory under a fixed name; no path of a request is ever opened.

    GET  /TOKEN/                     the page
    GET  /TOKEN/frames/NAME.jpg      a picture of it
    POST /TOKEN/marks                one mark; answered once it is on disk
"""

from __future__ import annotations

import hmac
import secrets
import sys
import threading
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import cached_property
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pydantic

from reelmill.schemas.errors import ReelmillError
from reelmill.sinks.audit.marks import Judgement, Key, Mark, Note, Sha256
from reelmill.sinks.audit.page import Asked, Question

HOST = "127.0.0.1"
POST_BYTES = 16 * 1024
_SLOW_S = 20.0
"""A connection that says nothing for so long is closed; the page opens a new one."""
_HEADERS = {
    "Cache-Control": "no-store",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


class Posted(pydantic.BaseModel):
    """What the page sends: rater, time and frames are known here."""

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)

    key: Key
    text_sha256: Sha256
    judgement: Judgement
    note: Note


class AuditServer(ThreadingHTTPServer):
    """Serves one page to one person. `keep` stores a mark and returns when it is on disk; calls do not overlap."""

    daemon_threads = True

    def __init__(
        self, asked: Asked, page: bytes, jpegs: Mapping[str, bytes], keep: Callable[[Mark], None], port: int = 0
    ) -> None:
        self.rater, self._keep = asked.rater, keep
        self.questions: dict[str, Question] = {q.sample.key: q for q in asked.questions}
        self.token = secrets.token_urlsafe(24)
        self.known = {"": (page, "text/html; charset=utf-8")} | {n: (b, "image/jpeg") for n, b in jpegs.items()}
        self.stored = 0
        self._one_at_a_time = threading.Lock()
        super().__init__((HOST, port), _Door)

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.server_port}/{self.token}/"

    @cached_property
    def hosts(self) -> frozenset[str]:
        """What a Host header may say."""
        return frozenset(f"{name}:{self.server_port}" for name in (HOST, "localhost"))

    def mark(self, said: Posted) -> bool:
        """Store a mark; False where nobody was asked about that sample, or about other words of it."""
        question = self.questions.get(said.key)
        if question is None or question.text_sha256 != said.text_sha256:
            return False
        made = Mark(
            key=said.key,
            text_sha256=said.text_sha256,
            frames=question.frames,
            judgement=said.judgement,
            note=said.note,
            rater=self.rater,
            at=datetime.now(UTC),
        )
        with self._one_at_a_time:
            self._keep(made)
            self.stored += 1
        return True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A browser that goes away in the middle of an answer is no news; anything else is."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class _Door(BaseHTTPRequestHandler):
    server: AuditServer
    server_version, sys_version = "reelmill", ""
    protocol_version = "HTTP/1.1"
    timeout = _SLOW_S

    def do_GET(self) -> None:
        name = self._asked_for()
        found = self.server.known.get(name) if name is not None else None
        if found is None:
            self._answer(HTTPStatus.NOT_FOUND)
        else:
            self._answer(HTTPStatus.OK, *found)

    def do_POST(self) -> None:
        refused = self._refused()
        if refused is not None:
            self.close_connection = True  # what was sent with it is not read
            self._answer(refused)
            return
        try:
            said = Posted.model_validate_json(self.rfile.read(int(self.headers["Content-Length"])))
            stored = self.server.mark(said)
        except pydantic.ValidationError:
            self._answer(HTTPStatus.BAD_REQUEST)
        except ReelmillError as error:
            self._answer(HTTPStatus.INSUFFICIENT_STORAGE, str(error).encode())
        else:
            self._answer(HTTPStatus.NO_CONTENT if stored else HTTPStatus.CONFLICT)

    def _asked_for(self) -> str | None:
        """What is asked for below the token; None where host or token are not ours."""
        if self.headers.get("Host") not in self.server.hosts:
            return None
        token, slash, name = self.path.removeprefix("/").partition("/")
        ours = hmac.compare_digest(token.encode(), self.server.token.encode())
        return name if ours and slash else None

    def _refused(self) -> HTTPStatus | None:
        """Why a post is not read."""
        length = self.headers.get("Content-Length", "")
        origin = self.headers.get("Origin")
        if self._asked_for() != "marks":
            return HTTPStatus.NOT_FOUND
        if origin is not None and origin.removeprefix("http://") not in self.server.hosts:
            return HTTPStatus.FORBIDDEN
        if self.headers.get_content_type() != "application/json":
            return HTTPStatus.UNSUPPORTED_MEDIA_TYPE
        if not (length.isascii() and length.isdecimal()):
            return HTTPStatus.LENGTH_REQUIRED
        return HTTPStatus.REQUEST_ENTITY_TOO_LARGE if int(length) > POST_BYTES else None

    def _answer(self, status: HTTPStatus, body: bytes = b"", kind: str = "text/plain; charset=utf-8") -> None:
        self.send_response(status)
        for name, value in _HEADERS.items():
            self.send_header(name, value)
        if status is not HTTPStatus.NO_CONTENT:
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Addresses hold the token, and are not written anywhere."""
