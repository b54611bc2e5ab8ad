"""Asking by a provider's batch API: nothing is bought twice, nothing wrong is taken, whatever the server does.

The server is the stand-in: its batches are real HTTP and its faults are ordered, but it is no provider.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import batch_asker
import pyarrow as pa
import pytest
from batch_asker import QUICK, profile, questions
from nursery import Forked, Nursery

from reelmill.annotators import asking
from reelmill.annotators.asking import Asks, Conversation, Question
from reelmill.annotators.caption import CaptionAnswer
from reelmill.annotators.engines.batch_lines import line_of, read_lines
from reelmill.annotators.engines.batch_notes import Note, beside, forget_answered
from reelmill.annotators.engines.engine import Reply, Request, TimedImage, answers
from reelmill.annotators.engines.openai_http import Trouble, asked
from reelmill.annotators.engines.opening import Engines
from reelmill.annotators.engines.profile import BatchApi, EngineProfile, Price
from reelmill.annotators.engines.replies import Remembered
from reelmill.annotators.engines.stand_in.answers import Asked, answer
from reelmill.annotators.engines.stand_in.batches import Desk
from reelmill.annotators.engines.stand_in.faults import Faults
from reelmill.annotators.engines.stand_in.server import MODEL, Teacher, serving
from reelmill.annotators.pulse import Pulse, told_to
from reelmill.schemas.column import KEY, Column, schema
from reelmill.schemas.errors import BadInput, Corrupt, EngineDown, EngineUnusable, OverBudget

CAPTION = Column.of("caption", str)
SURE = ("missing", "doubled", "contradicted", "foreign", "empty", "twin", "busy", "broken", "expired")
"""Faults of lines that the engine itself must see."""


@pytest.fixture
def teacher() -> Iterator[Teacher]:
    with serving() as made:
        yield made


@pytest.fixture
def desk(teacher: Teacher) -> Desk:
    return teacher.desk


@pytest.fixture
def model(teacher: Teacher, tmp_path: Path) -> Iterator[Callable[..., Remembered]]:
    """The engine, opened anew each time as another run would."""
    opened: list[Engines] = []

    def make(used: EngineProfile = profile()) -> Remembered:
        while opened:
            opened.pop().close()
        opened.append(Engines(used, tmp_path))
        return opened[-1].get(f"openai:{MODEL}@{teacher.url}")

    yield make
    for one in opened:
        one.close()


def said(model: Remembered, requests: list[Request]) -> dict[str, Reply]:
    return {r.id: r for r in answers(model, requests, ahead=10_000)}


def right(request: Request) -> str:
    return answer(Asked.of(asked(MODEL, request)))


def require_right(found: dict[str, Reply], requests: list[Request]) -> None:
    assert {k: r.text for k, r in found.items()} == {r.id: right(r) for r in requests}
    assert all(r.whole for r in found.values())


# --- what is sent, and what comes back ---


def test_requests_travel_in_batches_and_the_replies_are_those_of_a_live_engine(model, teacher, desk) -> None:
    found = said(model(profile(wait_s=30.0)), questions(24))
    require_right(found, questions(24))
    assert [one["request_counts"]["total"] for one in desk.batches.values()] == [8, 8, 8]
    assert teacher.calls == 0
    assert all(r.batched and not r.cached for r in found.values())
    live = said(model(replace(profile(), batch_api=None)), questions(26))
    assert teacher.calls == 2, "what came by batch was asked again live"
    again = said(model(), questions(26))
    assert desk.billed.total() == 24, "what came live was asked again by batch"
    assert {k: r.text for k, r in again.items()} == {k: r.text for k, r in live.items()}
    assert {k for k, r in again.items() if not r.batched} == {"k24", "k25"}


def test_a_line_is_the_request_as_a_live_engine_sends_it_under_its_digest(model, desk) -> None:
    images = (TimedImage(b"\xff\xd8one", 0.0), TimedImage(b"\xff\xd8two", 1.25))
    request = Request("a", "what?", images, 33, 0.5, 7, '{"type":"object"}')
    model().submit(request).result(30)
    line = json.loads(desk.files["file-1"])
    assert line.pop("body") == asked(MODEL, request)
    assert line == {"custom_id": request.digest, "method": "POST", "url": "/v1/chat/completions"}
    assert len(request.digest) == 64, "the most that a custom_id may have"


def test_a_batch_is_full_by_bytes_too(model, desk) -> None:
    requests = questions(6)
    size = max(len(line_of(MODEL, r)) for r in requests)
    api = BatchApi(batch_max=100, batch_wait_s=0.1, poll_s=0.02, file_mb=2.5 * size / 1e6)
    require_right(said(model(replace(profile(), batch_api=api)), requests), requests)
    sent = [lines for name, lines in desk.files.items() if b'"method"' in lines]
    assert len(sent) >= 3
    assert all(len(lines) <= 2.5 * size for lines in sent)


def test_equal_questions_share_a_line_below_the_cache_too(model, desk) -> None:
    engine = model().engine
    first, second = (engine.submit(Request(name, "the same")) for name in "ab")
    assert (first.result(30).id, second.result(30).id) == ("a", "b")
    assert desk.billed.total() == 1


# --- lines that went wrong ---


def test_no_fault_of_a_line_brings_in_a_wrong_answer_or_costs_a_right_one(model, desk) -> None:
    desk.faults = Faults(rate=0.35, kinds=SURE, seed=3)
    requests = questions(120)
    require_right(said(model(profile(60, patience=replace(QUICK, tries=12))), requests), requests)
    assert set(SURE) <= set(desk.met), "a fault that was never met shows nothing"


def test_a_filter_is_the_error_of_its_request_alone_and_is_not_asked_again(model, desk) -> None:
    requests = questions(40)
    desk.faults = Faults(rate=0.2, kinds=("filtered",))
    found = said(model(profile(40)), requests)
    bad = {k for k, r in found.items() if r.error}
    assert 0 < len(bad) < 20
    assert all("HTTP 400: the content filter" in found[k].error for k in bad)
    require_right({k: r for k, r in found.items() if k not in bad}, [r for r in requests if r.id not in bad])
    assert len(desk.batches) == 1


def test_what_fails_to_the_end_is_told_as_by_a_live_engine(model, desk) -> None:
    desk.faults = Faults(rate=1.0, kinds=("broken",))
    (reply,) = said(model(), questions(1)).values()
    assert "HTTP 500: the model fell over (batch 4 of 4)" in reply.error
    desk.faults = Faults(rate=1.0, kinds=("busy",))
    with pytest.raises(EngineDown, match="HTTP 429"):
        said(model(), questions(2))


def test_lines_that_cannot_be_trusted_are_no_answers() -> None:
    body = {"id": "c1", "choices": [{"message": {"content": "yes"}, "finish_reason": "stop"}]}

    def line(name: str, **said: object) -> bytes:
        return json.dumps({"custom_id": name, "response": {"status_code": 200, "body": body}} | said).encode() + b"\n"

    other = {"status_code": 200, "body": body | {"choices": [{"message": {"content": "no"}, "finish_reason": "stop"}]}}
    whole = [line("a"), line("b"), line("b"), line("c"), line("c", response=other), line("x"), line("d")[:-9]]
    errors = [line("e", response=None, error={"code": "batch_cancelled", "message": "stop"})]
    errors += [line("f", error={"code": "odd", "message": "both"}), line("g", response=None), b"[]\n"]
    read = read_lines([b"".join(whole), b"\n", b"".join(errors)], "abcdefg", lambda d, n, i, reply: reply)
    assert {k for k, v in read.outcomes.items() if isinstance(v, Reply)} == {"a", "b"}
    trouble = {k: v for k, v in read.outcomes.items() if isinstance(v, Trouble)}
    assert {k: v.again for k, v in trouble.items()} == {"c": True, "e": False, "f": False, "g": True}
    assert (len(read.odd), read.torn) == (5, 2)  # two doubles, one foreign, two that cannot be read


def test_an_answer_under_two_requests_is_neithers() -> None:
    def line(name: str, answer_id: str, text: str) -> bytes:
        body = {"id": answer_id, "choices": [{"message": {"content": text}, "finish_reason": "stop"}]}
        return json.dumps({"custom_id": name, "response": {"status_code": 200, "body": body}}).encode() + b"\n"

    owners: list[tuple[str, str]] = []

    def own(digest: str, name: str, answer_id: str, reply: Reply) -> Reply:
        owners.append((digest, answer_id))
        return reply

    def taken(*lines: bytes) -> set[str]:
        read = read_lines([b"".join(lines)], "abcd", own)
        return {k for k, v in read.outcomes.items() if isinstance(v, Reply)}

    a, b, c, d = line("a", "1", "yes"), line("b", "1", "yes"), line("c", "2", "yes"), line("d", "2", "no")
    assert taken(a, b, c, d) == taken(d, c, b, a) == {"c", "d"}
    assert set(owners) == {("", "1"), ("c", "2"), ("d", "2")}
    assert taken(a, b) == set()
    assert taken(a, b, line("c", "1", "yes")) == {"a", "b", "c"}, "a server that names all answers alike is believed"


def test_a_download_that_stops_half_way_is_fetched_again(model, desk) -> None:
    desk.torn = 2
    require_right(said(model(), questions(8)), questions(8))
    assert desk.billed.total() == 8


# --- batches that went wrong ---


def test_a_batch_that_failed_is_one_clear_error(model, desk, tmp_path: Path) -> None:
    desk.ends = ["failed:invalid_json_line"]
    with pytest.raises(EngineDown, match=r"batch batch-2 failed: invalid_json_line: as ordered; do: mend"):
        said(model(), questions(3))
    require_right(said(model(), questions(3)), questions(3))
    assert desk.billed.total() == 3


def test_a_full_queue_is_waited_for_while_another_batch_holds_it(model, desk) -> None:
    desk.ends, desk.takes_s, polls = ["completed", "failed:token_limit_exceeded"], 1000.0, []

    def go_on(moment: str) -> None:
        polls.extend([moment] * (moment == "polled" and len(desk.batches) == 2))
        if len(polls) == 8:  # by then the second is known to have failed
            desk.takes_s = 0.0

    desk.heard = go_on
    require_right(said(model(profile(8, wait_s=10.0)), questions(16)), questions(16))
    assert (len(desk.batches), desk.billed.total()) == (3, 16)
    desk.ends = ["failed:token_limit_exceeded"]
    with pytest.raises(EngineDown, match="lower batch_max"):
        said(model(), questions(17))


def test_what_expired_goes_into_the_next_batch(model, desk) -> None:
    desk.ends = ["expired"]
    require_right(said(model(), questions(8)), questions(8))
    assert [one["request_counts"]["total"] for one in desk.batches.values()] == [8, 4]
    assert desk.billed.total() == 8


def test_what_a_cancelled_batch_answered_is_kept(model, desk) -> None:
    desk.ends = ["cancelled"]
    with pytest.raises(EngineDown, match="cancelled with 4 of 8 answered"):
        said(model(), questions(8))
    require_right(said(model(), questions(8)), questions(8))
    assert desk.billed.total() == 8


def test_a_creation_that_was_done_and_denied_is_not_done_again(model, desk) -> None:
    desk.lost = 1
    require_right(said(model(), questions(8)), questions(8))
    assert (desk.billed.total(), len(desk.batches)) == (8, 1)


def test_a_server_that_goes_away_ends_the_run_and_not_the_batch(tmp_path: Path) -> None:
    known = threading.Event()
    with serving() as teacher:
        teacher.desk.takes_s, teacher.desk.heard = 60.0, lambda moment: known.set() if moment == "polled" else None
        with Engines(profile(), tmp_path) as engines:
            future = engines.get(f"openai:{MODEL}@{teacher.url}").submit(questions(1)[0])
            assert known.wait(30)
            teacher.desk.batches.clear()  # as with another key
            with pytest.raises(EngineDown, match="HTTP 404"):
                future.result(30)
    assert [note.state for note in beside(tmp_path).all()] == ["waiting"]


# --- kills ---


@pytest.fixture(scope="module")
def nursery() -> Iterator[Nursery]:
    made = Nursery([sys.executable, batch_asker.__file__])
    yield made
    made.close()


@pytest.mark.parametrize("moment", ["uploaded", "creating", "created", "polled", "fetched"])
def test_kill_9_at_each_moment_buys_nothing_twice(moment: str, nursery: Nursery, tmp_path: Path) -> None:
    pid, known = [0], threading.Event()

    def strike(reached: str) -> None:
        if reached == moment and pid:
            known.wait(30)
            os.kill(pid.pop(), signal.SIGKILL)
            if moment == "creating":
                raise ConnectionError("it never came")

    with serving() as teacher:
        teacher.desk.heard = strike
        with Forked(nursery, [teacher.url, str(tmp_path), "20"]) as program:
            pid[0] = program.pid
            known.set()
            assert program.end()[0] == -signal.SIGKILL
        assert batch_asker.ask(teacher.url, tmp_path, 20) == 20
        assert teacher.desk.billed == {r.digest: 1 for r in questions(20)}


@pytest.mark.parametrize("point", ["reply.write", "reply.linked"])
def test_kill_9_while_replies_are_kept_buys_nothing_twice(point: str, nursery: Nursery, tmp_path: Path) -> None:
    with serving() as teacher:
        with Forked(nursery, [teacher.url, str(tmp_path), "20"], fault=f"{point}:kill:5") as program:
            assert program.end()[0] == -signal.SIGKILL
        assert batch_asker.ask(teacher.url, tmp_path, 20) == 20
        assert teacher.desk.billed == {r.digest: 1 for r in questions(20)}
    assert list(beside(tmp_path).all()) == [], "all replies are kept: nothing is left to note"


def test_what_is_let_go_is_found_again(model, desk, tmp_path: Path) -> None:
    known = threading.Event()
    desk.takes_s, desk.heard = 1000.0, lambda moment: known.set() if moment == "polled" else None
    first = model()
    futures = [first.submit(r) for r in questions(3)]
    assert known.wait(30)
    assert [p.suffix for p in (tmp_path / "batches").iterdir()] == [".json"], "what was uploaded takes no room here"
    first.let_go()
    for one in futures:
        with pytest.raises(EngineDown, match="let go"):
            one.result(30)
    desk.takes_s = 0.0
    require_right(said(model(), questions(5)), questions(5))
    assert desk.billed.total() == 5


# --- notes ---


def test_notes_of_another_model_or_server_are_not_attached_to(model, desk, tmp_path: Path) -> None:
    digest = questions(1)[0].digest
    for name, url in (("openai:another", "http://here/v1"), (f"openai:{MODEL}", "http://elsewhere/v1")):
        beside(tmp_path).write(Note(name[-5:], name, "", url, "f", "b", "waiting", time.time(), (digest,)))
    require_right(said(model(), questions(1)), questions(1))
    model()  # another run begins: the first has ended
    assert {note.batch for note in beside(tmp_path).all()} == {"b"}


def test_what_another_process_bought_since_we_were_asked_is_not_asked_for(model, desk, teacher, tmp_path: Path) -> None:
    """Its note is gone as soon as its replies are kept; whoever looked for the reply before that must look again."""
    (request,) = questions(1)
    said(model(), [request])
    reply = model().engine.submit(request).result(30)
    assert (reply.text, reply.cached, desk.billed.total()) == (right(request), True, 1)


def test_a_note_that_cannot_be_read_is_told_with_its_place(model, tmp_path: Path) -> None:
    (tmp_path / "batches").mkdir()
    (tmp_path / "batches" / "t.json").write_text("{}")
    with pytest.raises(Corrupt, match=r"batches/t\.json"):
        said(model(), questions(1))


def test_notes_of_answered_batches_can_be_forgotten(tmp_path: Path) -> None:
    note = Note("t", f"openai:{MODEL}", "", "u", "f", "b", "answered", 0.0, ("never kept",))
    beside(tmp_path).write(note)
    beside(tmp_path).write(replace(note, token="w", state="waiting"))
    assert forget_answered(tmp_path, "openai:another") == 0
    assert forget_answered(tmp_path, f"openai:{MODEL}") == 1
    assert [n.token for n in beside(tmp_path).all()] == ["w"]


def test_without_a_folder_nothing_is_asked_by_batch(teacher: Teacher) -> None:
    with Engines(profile()) as engines, pytest.raises(BadInput, match="no folder for replies"):
        engines.get(f"openai:{MODEL}@{teacher.url}").submit(Request("a", "hi"))


# --- before, beside and after ---


def test_the_check_asks_live_and_sees_whether_there_is_a_batch_api(model, teacher, desk) -> None:
    model().check(images=True)
    assert (teacher.calls, len(desk.batches)) == (1, 0)
    desk.open = False
    with pytest.raises(EngineUnusable, match=r"no batch API \(HTTP 404 for GET /batches\); do: take \[batch_api\]"):
        model().check(images=False)


class Describe(Asks):
    """A caption from words alone."""

    needs, gives, revision, sends_images = (KEY,), (CAPTION,), "1", False

    def _talk(self, row: dict[str, Any]) -> Conversation:
        key = row["key"]
        (found,) = yield [Question.of(Request(key, f"Describe {key}."), CaptionAnswer)]
        return {"caption": found.value.caption}


def described(teacher: Teacher, engines: Engines, count: int) -> Describe:
    step = Describe(f"openai:{MODEL}@{teacher.url}", prompt="caption", engines=engines)
    step(pa.Table.from_pylist([{"key": f"k{n}"} for n in range(count)], schema=schema(KEY)))
    return step


def test_a_batch_costs_what_its_discount_leaves(teacher: Teacher, tmp_path: Path) -> None:
    prices = {MODEL: Price(10.0, 100.0, batch_discount=0.5)}
    costs = {}
    for how, used in {"live": replace(profile(), batch_api=None), "batch": profile()}.items():
        with Engines(replace(used, prices=prices), tmp_path / how) as engines:
            first = described(teacher, engines, 5).spent()
            again = described(teacher, engines, 5).spent()
        assert (again.cost, again.cached, again.batched) == (first.cost, 5, first.batched)
        costs[how] = first.cost
        assert first.batched == (5 if how == "batch" else 0)
    assert costs["batch"] == pytest.approx(costs["live"] / 2)
    assert costs["live"] > 0


def test_a_spending_stop_reckons_with_the_price_by_batch(teacher: Teacher, tmp_path: Path) -> None:
    """Before the first batch answers all is a guess, here of three tokens a question: 0.03, or half."""
    bought = {}
    for discount in (0.0, 0.5):
        prices = {MODEL: Price(1e4, 0.0, batch_discount=discount)}
        used = replace(profile(100), prices=prices, max_cost=0.301)
        before = teacher.desk.billed.total()
        with Engines(used, tmp_path / str(discount)) as engines, pytest.raises(OverBudget):
            described(teacher, engines, 39)
        bought[discount] = teacher.desk.billed.total() - before
    assert bought == {0.0: 10, 0.5: 20}


def test_a_server_that_works_on_a_batch_counts_as_life(teacher: Teacher, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(asking, "_LOOK_S", 0.02)
    beats = {}
    for takes_s in (0.0, 0.6):
        teacher.desk.takes_s = takes_s
        with Engines(profile(), tmp_path / str(takes_s)) as engines, told_to(Pulse()) as pulse:
            described(teacher, engines, 1)
        beats[takes_s] = pulse.beats
    assert beats[0.6] >= beats[0.0] + 3


def test_progress_is_said_as_it_changes(model, desk, caplog) -> None:
    caplog.set_level("INFO", "reelmill.annotators.engines.openai_batch")
    desk.takes_s = 0.4
    said(model(), questions(8))
    lines = [r.getMessage() for r in caplog.records if r.name.startswith("reelmill")]
    assert "batch batch-2: 8 of 8 done (completed)" in lines
    assert any("(in_progress)" in line for line in lines)
    assert len(lines) == len(set(lines))


# --- the profile ---


def test_the_profile_says_how_batches_are_used(tmp_path: Path) -> None:
    file = tmp_path / "profile.toml"
    file.write_text("batch = 4\n[batch_api]\nbatch_max = 300\npoll_s = 5\n")
    assert EngineProfile.read(file).batch_api == BatchApi(300, 30.0, 5.0, 2, 190.0)
    wrong = ["batch = true", "[batch_api]\nbatch_max = 0", "[batch_api]\nbatch_max = 50001", "[batch_api]\npoll_s = 0"]
    wrong += ["[batch_api]\nfile_mb = 201", '[batch_api]\nother = "x"']
    for text in wrong:
        file.write_text(text)
        with pytest.raises(BadInput, match="batch"):
            EngineProfile.read(file)
