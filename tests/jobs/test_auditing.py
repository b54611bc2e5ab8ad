"""`audit`: keys pressed in a real browser become marks on disk, the door lets nobody else in, a kill loses nothing."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import published
import pytest
from browsing import CHROMIUM, Browser
from marked import accepted, mark
from PIL import Image

from reelmill.jobs import auditing
from reelmill.jobs.audit_server import POST_BYTES, AuditServer
from reelmill.schemas.errors import BadInput, StoreUnusable
from reelmill.sinks.audit.marks import Mark, keep, kept
from reelmill.sinks.audit.page import Embedded, Held, page
from reelmill.sinks.dataset import Dataset, Store
from reelmill.sinks.gallery import write_gallery
from reelmill.sinks.pack import pack
from reelmill.sinks.publishing.frames import StoredFrames

Told = tuple[int, str, str]
browser = pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("model")
    published.stocked(root, sources=3)
    return root


@pytest.fixture
def stocked(model: Path, tmp_path: Path) -> tuple[Store, Dataset]:
    """A store of the test's own, as the model is."""
    store = Store(Path(shutil.copytree(model, tmp_path / "store")))
    return store, store.find("grounding-t")


@pytest.fixture(scope="module")
def window(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with Browser(tmp_path_factory.mktemp("profile")) as one:
        yield one


@pytest.fixture
def seen(window: Browser) -> Iterator[Browser]:
    """The one browser, with an empty page before and after."""
    yield window
    window.open("about:blank")
    window.said.clear()
    window.dialogs.clear()


@contextlib.contextmanager
def serving(store: Store, view: Dataset, rater: str = "Ada", store_mark: Any = None) -> Iterator[AuditServer]:
    asked, held = auditing.ask(store.root, view.label, rater, 60, 0, ()), Held(StoredFrames(store))
    html = page(store, view, asked, held, served=True).encode()
    with AuditServer(asked, html, held.jpegs, store_mark or (lambda one: keep(view, [one]))) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def said(one: Mark, **changes: Any) -> bytes:
    fields = {n: getattr(one, n) for n in ("key", "text_sha256", "judgement", "note")}
    return json.dumps(fields | changes).encode()


def ask(server: AuditServer, way: str, path: str, body: bytes | None = None, **headers: str) -> tuple[int, bytes]:
    """Status and body of one request, with the headers that the page would send unless others are given."""
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=10)
    own = {"Content-Type": "application/json"} if body is not None else {}
    connection.request(way, path, body, own | {n.replace("_", "-"): v for n, v in headers.items()})
    answer = connection.getresponse()
    found = answer.status, answer.read()
    connection.close()
    return found


def test_the_door_gives_the_page_and_its_pictures_and_nothing_else(stocked: tuple[Store, Dataset]) -> None:
    with serving(*stocked) as server:
        top = f"/{server.token}/"
        assert (server.server_address[0], len(server.token) >= 32) == ("127.0.0.1", True)
        status, text = ask(server, "GET", top)
        assert status == 200
        pictures = set(re.findall(r'src="(frames/\w+\.jpg)"', text.decode()))
        assert len(pictures) == 18
        assert {ask(server, "GET", top + p)[1][:3] for p in pictures} == {b"\xff\xd8\xff"}
        wrong = ("/", "//", f"/{server.token}", f"/{server.token[:-1]}/", f"{top}frames/", f"{top}frames/../../x.jpg")
        for path in (*wrong, f"{top}../{top}", f"{top}dataset.json", f"{top}%2e%2e/x", f"{top}?x", "/etc/passwd"):
            assert ask(server, "GET", path) == (404, b""), path
        for host in ("evil.example", f"evil.example:{server.server_port}", "127.0.0.1", "127.0.0.1:1", ""):
            assert ask(server, "GET", top, Host=host) == (404, b""), host
        assert ask(server, "GET", top, Host=f"localhost:{server.server_port}")[0] == 200


def test_its_answers_tell_browsers_to_keep_them_to_themselves(stocked: tuple[Store, Dataset]) -> None:
    with serving(*stocked) as server, urllib.request.urlopen(server.url, timeout=10) as answer:
        headers = dict(answer.headers)
    assert (headers["Referrer-Policy"], headers["Cache-Control"]) == ("no-referrer", "no-store")
    assert (headers["X-Frame-Options"], headers["X-Content-Type-Options"]) == ("DENY", "nosniff")
    assert "Python" not in headers["Server"]


def test_what_is_posted_is_stored_with_what_the_server_knows(stocked: tuple[Store, Dataset]) -> None:
    store, view = stocked
    one = mark(accepted(view)[0], "wrong", note="late")
    with serving(store, view) as server:
        assert ask(server, "POST", f"/{server.token}/marks", said(one)) == (204, b"")
        (stored,) = kept(view)
    assert stored.model_copy(update={"at": one.at}) == one
    assert stored.at > one.at or stored.at.year >= 2025


def test_posts_that_are_not_the_pages_are_refused_and_nothing_is_stored(stocked: tuple[Store, Dataset]) -> None:
    store, view = stocked
    one = mark(accepted(view)[0])
    with serving(store, view) as server:
        place, good = f"/{server.token}/marks", said(one)
        assert ask(server, "POST", "/marks", good)[0] == 404
        assert ask(server, "POST", place, good, Host="evil.example")[0] == 404
        assert ask(server, "POST", place, good, Origin="http://evil.example")[0] == 403
        assert ask(server, "POST", place, good, Origin="null")[0] == 403
        assert ask(server, "POST", place, good, Content_Type="text/plain")[0] == 415
        assert ask(server, "POST", place, b" " * (POST_BYTES + 1))[0] == 413
        assert ask(server, "POST", place, good, Content_Length="-5")[0] == 411
        for bad in (b"", b"[]", b"\xff", said(one, rater="Bo"), said(one, judgement="yes"), said(one, key="../x")):
            assert ask(server, "POST", place, bad)[0] == 400, bad
        assert ask(server, "POST", place, said(one, note="x" * 2001))[0] == 400
        assert ask(server, "POST", place, said(one, text_sha256="0" * 64))[0] == 409
        assert ask(server, "POST", place, said(one, key="a" * 26))[0] == 409
        assert ask(server, "PUT", place, good)[0] == 501
        assert kept(view) == []
        assert ask(server, "POST", place, good, Origin=f"http://127.0.0.1:{server.server_port}")[0] == 204


def test_a_mark_that_cannot_be_stored_is_not_said_to_be(stocked: tuple[Store, Dataset]) -> None:
    def full(one: Mark) -> None:
        raise StoreUnusable("store", seen="No space left on device", do="free some space")

    with serving(*stocked, store_mark=full) as server:
        status, why = ask(server, "POST", f"/{server.token}/marks", said(mark(accepted(stocked[1])[0])))
    assert (status, b"No space left on device" in why) == (507, True)
    assert server.stored == 0


def test_half_a_request_holds_up_nobody(stocked: tuple[Store, Dataset]) -> None:
    with serving(*stocked) as server, socket.create_connection(("127.0.0.1", server.server_port)) as slow:
        slow.sendall(b"POST /x HTTP/1.1\r\nHost: 127")
        assert ask(server, "GET", f"/{server.token}/")[0] == 200


# ---- the command line ------------------------------------------------------------------------------------------------


def command(view: Dataset, rater: str) -> subprocess.Popen[str]:
    words = ["audit", view.name, "--store", str(view.folder.parent.parent), "--rater", rater]
    program = [sys.executable, "-m", "reelmill.jobs.cli", *words]
    env = os.environ | {"COLUMNS": "200", "PYTHONUNBUFFERED": "1"}
    return subprocess.Popen(program, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def post_to(run: subprocess.Popen[str], one: Mark) -> None:
    assert run.stdout is not None
    line = next(line for line in run.stdout if "open http" in line)
    (url,) = re.findall(r"http://127\.0\.0\.1:\d+/[\w-]+/", line)
    posted = urllib.request.Request(f"{url}marks", said(one), {"Content-Type": "application/json"})
    with urllib.request.urlopen(posted, timeout=10) as answer:
        assert answer.status == 204


def test_a_kill_loses_no_mark_and_ctrl_c_writes_the_card(stocked: tuple[Store, Dataset]) -> None:
    store, view = stocked
    pack(store, view)
    write_gallery(store, view, view.folder / "gallery")
    found = accepted(view)
    with command(view, "Ada") as run:
        post_to(run, mark(found[0]))
        run.kill()
    assert [(m.key, m.rater) for m in kept(view)] == [(found[0].key, "Ada")]
    with command(view, "Bo") as run:
        post_to(run, mark(found[1], "wrong"))
        run.send_signal(signal.SIGINT)
        out, err = run.communicate(timeout=60)
    assert (run.returncode, err) == (0, "")
    assert "1 marks stored" in out
    sentence = "1 of 2 right (95 % 0.09 to 0.91), by Ada and Bo"
    assert sentence in out
    assert sentence in (view.folder / "README.md").read_text()
    assert sentence in (view.folder / "gallery" / "index.html").read_text()


def test_a_page_as_a_file_and_its_marks_read_back(stocked: tuple[Store, Dataset], told: Callable[..., Told]) -> None:
    _, view = stocked
    assert told("audit", view.name, "--page", "a.html", "--rater", "Ada", "--n", "4")[0] == 0
    assert len(re.findall('<section class="one"', Path("a.html").read_text())) == 4
    found = accepted(view)
    given = [mark(found[0]), mark(found[1], "wrong", "Bo", note="\x1b[31mlate"), mark(found[0], "wrong", "Bo")]
    download = {"format": 1, "dataset": view.label, "marks": [json.loads(m.model_dump_json()) for m in given]}
    Path("m.json").write_text(json.dumps(download))

    code, out, _ = told("audit", view.name, "--marks", "m.json")
    assert (code, "3 marks, 3 of them new" in out) == (0, True)
    assert "0 of 2 right (95 % 0.00 to 0.66), by Ada and Bo, 2026-11-21" in out
    assert f"disputed: {found[0].key} {found[0].task}: Ada right, Bo wrong" in out
    assert "3 marks, 0 of them new" in told("audit", view.name, "--marks", "m.json")[1]
    assert len(kept(view)) == 3
    for verb in (("audit", view.name, "--report"), ("status", view.name), ("look", view.name)):
        code, out, _ = told(*verb)
        assert (code, "0 of 2 right (95 % 0.00 to 0.66)" in out) == (0, True), verb
        assert "\x1b[31m" not in out


def test_without_marks_it_says_so(stocked: tuple[Store, Dataset], told: Callable[..., Told]) -> None:
    assert "grounding-t@1: UNAUDITED; nobody marked a sample" in told("audit", "grounding-t", "--report")[1]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("nothing-t",), "run `reelmill status`"),
        (("clips-t",), "holds no samples"),
        (("grounding-t", "--stratum", "colour=red"), "use family=, task= or method="),
        (("grounding-t", "--stratum", "task=dance"), "task=when"),
        (("grounding-t", "--rater", "a\x07"), "printable signs"),
        (("grounding-t", "--marks", "nowhere.json"), "no such file"),
        (("grounding-t", "--marks", "."), "Is a directory"),
        (("grounding-t", "--page", "file/x.html"), "name a file that can be written"),
    ],
)
def test_bad_input_is_one_clear_line(
    stocked: tuple[Store, Dataset], told: Callable[..., Told], words: tuple[str, ...], expected: str
) -> None:
    Path("file").write_text("")
    code, _, err = told("audit", *words)
    assert (code, len(err.strip().splitlines())) == (2, 1)
    assert err.startswith("error: ")
    assert expected in err


def test_a_port_that_is_taken_is_named(stocked: tuple[Store, Dataset]) -> None:
    store, view = stocked
    asked = auditing.ask(store.root, view.label, "Ada", 1, 0, ())
    with socket.create_server(("127.0.0.1", 0)) as other, pytest.raises(BadInput, match="give another, or 0"):
        auditing.serve(store.root, view.label, asked, other.getsockname()[1])


# ---- in a browser ----------------------------------------------------------------------------------------------------


@browser
def test_keys_that_a_person_presses_are_marks_on_disk(
    stocked: tuple[Store, Dataset], seen: Browser, tmp_path: Path
) -> None:
    store, view = stocked
    with serving(store, view) as server:
        order = list(server.questions)
        seen.open(server.url)
        assert seen.wait_for("0 marked").startswith("Sample 1 of 6.")
        for key in ("r", "W", "u"):
            seen.press(key)
        seen.wait_for("3 marked: 1 right, 1 wrong, 1 unsure; all stored")
        seen.press("ArrowLeft")
        seen.press("n")
        for key in "rw late":
            seen.press(key)
        assert [str(m.judgement) for m in kept(view)] == ["right", "wrong", "unsure"]  # letters of a note mark nothing
        seen.press("Escape")
        seen.press("r")
        seen.wait_for("3 marked: 2 right, 1 wrong, 0 unsure; all stored")
        assert seen.run("document.activeElement.className") == "one"
        assert seen.run("document.querySelectorAll('.one:not([hidden])').length") == 1
        assert seen.said == []
    last = {m.key: (str(m.judgement), m.note) for m in kept(view)}
    assert last == {order[0]: ("right", ""), order[1]: ("wrong", ""), order[2]: ("right", "rw late")}
    with serving(store, view) as server:
        seen.open(server.url)
        assert seen.wait_for("3 marked: 2 right, 1 wrong").startswith("Sample 4 of 6.")  # goes on where she stopped


@browser
def test_a_mark_is_not_called_stored_before_it_is(
    stocked: tuple[Store, Dataset], seen: Browser, tmp_path: Path
) -> None:
    store, view = stocked
    broken = threading.Event()
    broken.set()

    def sometimes(one: Mark) -> None:
        if broken.is_set():
            raise StoreUnusable("store", seen="full", do="free some space")
        keep(view, [one])

    with serving(store, view, store_mark=sometimes) as server:
        seen.open(server.url)
        seen.press("r")
        seen.wait_for("1 not stored (the program answered 507)", "#trouble")
        assert "storing 1" in seen.wait_for("1 marked")
        assert seen.run("document.querySelector('#download').hidden") is False
        broken.clear()
        seen.wait_for("all stored")
    assert len(kept(view)) == 1


@browser
def test_a_page_as_a_file_keeps_marks_until_they_are_downloaded(
    stocked: tuple[Store, Dataset], seen: Browser, tmp_path: Path
) -> None:
    store, view = stocked
    asked = auditing.ask(store.root, view.label, "Ada", 60, 0, ())
    file = tmp_path / "audit.html"
    file.write_text(page(store, view, asked, Embedded(StoredFrames(store)), served=False))
    seen.open(file.as_uri())
    for key in "rwuu":
        seen.press(key)
    seen.wait_for("4 marked: 1 right, 1 wrong, 2 unsure; 4 not downloaded")
    seen.open(file.as_uri())
    assert seen.dialogs == ["beforeunload"]
    assert seen.wait_for("4 not downloaded").startswith("Sample 5 of 6.")
    seen.run("URL.createObjectURL = (blob) => { window.given = blob; return 'blob:null/0'; }")
    seen.run("HTMLAnchorElement.prototype.click = () => {}")
    seen.run("document.querySelector('#download').click()")
    seen.wait_for("all downloaded")
    (tmp_path / "m.json").write_text(seen.run("window.given.text()"))
    seen.open("about:blank")
    assert (seen.said, seen.dialogs) == ([], ["beforeunload"])
    auditing.read_marks(store.root, view.label, tmp_path / "m.json")
    assert [str(m.judgement) for m in kept(view)] == ["right", "wrong", "unsure", "unsure"]
    assert {m.rater for m in kept(view)} == {"Ada"}
    assert {m.frames for m in kept(view)} <= {q.frames for q in asked.questions}


@browser
def test_it_fits_a_phone_and_names_what_it_shows(stocked: tuple[Store, Dataset], seen: Browser, tmp_path: Path) -> None:
    with serving(*stocked) as server:
        seen.open(server.url)
        seen.picture(tmp_path / "shot.png", (360, 800))
        assert seen.run("document.documentElement.scrollWidth <= 360")
        bare = "[...document.querySelectorAll('button')].filter(b => !(b.ariaLabel || b.textContent.trim())).length"
        assert seen.run(bare) == 0
        small = "[...document.querySelectorAll('.keys button')].filter(b => !b.hidden && b.offsetHeight < 44).length"
        assert seen.run(small) == 0
        assert seen.run("document.querySelector('#status').ariaLive") == "polite"
    pixels = np.asarray(Image.open(tmp_path / "shot.png").convert("RGB")).astype(int)
    red = (pixels[..., 0] > 200) & (pixels[..., 1] < 90) & (pixels[..., 2] < 90)
    assert red.sum() > 100  # the ball of a frame: the pictures were loaded
