"""What every kind of `Objects` must do, asked of a folder and of a bucket: the ledger rests on this and on no more."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import random
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from stormy import CREDENTIALS, Door, OwnS3

from reelmill.schemas.errors import StoreUnusable
from reelmill.sinks.state.objects import LocalObjects, Objects
from reelmill.sinks.state.s3 import S3Folder, S3Objects, S3Options

FORKS = multiprocessing.get_context("fork")
POINTS = ("object.write", "object.synced", "object.renamed")
ODD = ("plain", "with space", "a+b", "100%", "a&b=c", "ключ", "q?x#y", "~tilde", "(1)", "quote'\"", "a..b", "x" * 200)


@pytest.fixture(scope="module")
def door() -> Iterator[Door]:
    pytest.importorskip("moto", reason="moto is not installed: no bucket of our own to try this on")
    with pytest.MonkeyPatch.context() as patch, OwnS3() as s3, Door(s3) as calm:
        for name, value in CREDENTIALS.items():
            patch.setenv(name, value)
        yield calm


@pytest.fixture(params=["folder", "bucket"])
def objects(request: pytest.FixtureRequest, tmp_path: Path) -> Objects:
    if request.param == "folder":
        return LocalObjects(tmp_path / "store")
    door: Door = request.getfixturevalue("door")
    return S3Objects(S3Folder(door.s3.bucket(), "store", S3Options(endpoint=door.url)))


def forked(work: Callable[..., Any], *given: Any) -> Any:
    child = FORKS.Process(target=work, args=given)
    child.start()
    return child


# ---- one writer ------------------------------------------------------------------------------------------------------


def test_what_is_put_is_got(objects: Objects) -> None:
    objects.put("parts/a.rows", b"first")
    objects.put("parts/a.rows", b"second")
    assert objects.get("parts/a.rows") == b"second"
    assert (objects.delete("parts/a.rows"), objects.delete("parts/a.rows")) == (6, 0)
    objects.put("parts/a.rows", b"")
    assert (objects.get("parts/a.rows"), objects.delete("parts/a.rows")) == (b"", 0)
    assert objects.list("parts") == []


def test_what_is_there_is_not_put_again(objects: Objects) -> None:
    assert objects.put_if_absent("a", b"mine")
    assert not objects.put_if_absent("a", b"theirs")
    assert not objects.put_if_absent("a", b"mine"), "the same bytes, and still not written by this call"
    assert objects.get("a") == b"mine"
    objects.put("b", b"put without a condition")
    assert not objects.put_if_absent("b", b"put without a condition")
    objects.delete("a")
    assert objects.put_if_absent("a", b"again")
    assert objects.get("a") == b"again"


@pytest.mark.parametrize(
    ("offset", "size", "got"),
    [(0, 6, b"second"), (2, 3, b"con"), (4, 99, b"nd"), (5, 1, b"d"), (6, 1, b""), (99, 5, b""), (3, 0, b"")],
)
def test_a_range_is_what_lies_there(objects: Objects, offset: int, size: int, got: bytes) -> None:
    objects.put("a", b"second")
    assert objects.read("a", offset, size) == got


def test_a_range_of_an_empty_object_is_empty(objects: Objects) -> None:
    objects.put("a", b"")
    assert (objects.read("a", 0, 5), objects.read("a", 3, 1), objects.read("a", 0, 0)) == (b"", b"", b"")


@pytest.mark.parametrize("ask", [lambda o: o.get("a/b"), lambda o: o.read("a/b", 0, 1), lambda o: o.read("a/b", 0, 0)])
def test_a_missing_object_is_said_to_be_missing(objects: Objects, ask: Callable[[Objects], Any]) -> None:
    with pytest.raises(FileNotFoundError):
        ask(objects)


def test_a_listing_knows_objects_of_one_folder_alone(objects: Objects) -> None:
    for name in (
        "parts/b",
        "parts/B",
        "parts/a/deeper",
        "parts/a10",
        "parts/a9",
        "parts-too/c",
        "parts.d/e",
        "parts/.f",
    ):
        objects.put(name, b"")
    assert objects.list("parts") == ["B", "a10", "a9", "b"]
    assert objects.folders("parts") == ("a",)
    assert set(objects.folders("")) == {"parts", "parts-too", "parts.d"}
    assert (objects.list("nowhere"), objects.folders("nowhere"), objects.list("part")) == ([], (), [])
    assert objects.list("") == []
    assert objects.leftovers() == ()


def test_names_are_taken_as_they_are(objects: Objects) -> None:
    for name in ODD:
        assert objects.put_if_absent(f"odd/{name}", name.encode())
    assert objects.list("odd") == sorted(ODD)
    assert [objects.get(f"odd/{n}").decode() for n in ODD] == list(ODD)
    assert [objects.read(f"odd/{n}", 0, 3) for n in ODD] == [n.encode()[:3] for n in ODD]
    assert [objects.delete(f"odd/{n}") for n in ODD] == [len(n.encode()) for n in ODD]
    assert objects.list("odd") == []


@pytest.mark.parametrize("seed", range(3))
def test_a_folder_and_a_bucket_answer_alike(tmp_path: Path, door: Door, seed: int) -> None:
    """Any sequence of acts comes to the same answers on both."""
    both = LocalObjects(tmp_path), S3Objects(S3Folder(door.s3.bucket(), "", S3Options(endpoint=door.url)))
    said = [[_act(objects, random.Random(f"{seed} {n}")) for n in range(50)] for objects in both]
    assert said[0] == said[1]
    kinds = Counter(type(answer) for answer in said[0])
    assert kinds.keys() == {bytes, bool, int, list, str, type(None)}, "every act was answered in every way"


def _act(objects: Objects, dice: random.Random) -> Any:
    name, data = f"{dice.choice('ab')}/{dice.choice('xyz')}", dice.randbytes(dice.randrange(9))
    act: Callable[[], Any] = dice.choice(
        [
            lambda: objects.put(name, data),
            lambda: objects.put_if_absent(name, data),
            lambda: objects.get(name),
            lambda: objects.read(name, dice.randrange(9), dice.randrange(9)),
            lambda: objects.list(dice.choice(["a", "b", ""])),
            lambda: objects.delete(name),
        ]
    )
    try:
        return act()
    except FileNotFoundError:
        return "missing"


# ---- many writers ----------------------------------------------------------------------------------------------------


def _claim(objects: Objects, me: bytes, names: int, gate: Any) -> None:
    gate.wait()
    for i in range(names):
        if objects.put_if_absent(f"claims/{i}", me * 3000):
            objects.put(f"wins/{me.decode()}-{i}", b"")


def test_of_many_that_put_at_once_exactly_one_wins(objects: Objects) -> None:
    gate, names = FORKS.Barrier(3), 12
    racers = [forked(_claim, objects, me, names, gate) for me in (b"a", b"b", b"c")]
    for racer in racers:
        racer.join(60)
    wins = [w.split("-") for w in objects.list("wins")]
    assert sorted(int(i) for _, i in wins) == list(range(names))
    assert all(objects.get(f"claims/{i}") == winner.encode() * 3000 for winner, i in wins)


def _overwrite(objects: Objects, letter: bytes) -> None:
    for _ in range(12):
        objects.put("record.json", letter * 200_000)


def test_readers_see_no_half_of_what_is_replaced(objects: Objects) -> None:
    objects.put("record.json", b"x" * 200_000)
    writers = [forked(_overwrite, objects, letter) for letter in (b"a", b"b")]
    seen = set()
    while any(w.is_alive() for w in writers):
        data = objects.get("record.json")
        assert len(data) == 200_000
        assert data == data[:1] * 200_000
        seen.add(data[:1])
    assert seen <= {b"a", b"b", b"x"}
    assert objects.get("record.json")[:1] in (b"a", b"b")


# ---- named points ----------------------------------------------------------------------------------------------------


def _put_with_fault(objects: Objects, fault: str, absent: bool) -> None:
    os.environ["REELMILL_FAULT"] = fault
    put = objects.put_if_absent if absent else objects.put
    put("folder/object", b"new" * 1000)


@pytest.mark.parametrize("absent", [True, False], ids=["put_if_absent", "put"])
@pytest.mark.parametrize(("point", "appears"), [(POINTS[0], 0), (POINTS[1], 0), (POINTS[2], 1)])
def test_a_killed_writer_leaves_nothing_or_all(objects: Objects, point: str, appears: int, absent: bool) -> None:
    child = forked(_put_with_fault, objects, f"{point}:kill", absent)
    child.join(30)
    assert child.exitcode == -signal.SIGKILL
    assert objects.list("folder") == ["object"] * appears
    assert not appears or objects.get("folder/object") == b"new" * 1000
    for name in objects.leftovers():
        assert objects.delete(name) == 3000
    assert objects.put_if_absent("folder/object", b"again") is not bool(appears)


def test_a_writer_killed_while_it_replaces_leaves_the_old_whole(objects: Objects) -> None:
    objects.put("folder/object", b"old")
    forked(_put_with_fault, objects, "object.synced:kill", False).join(30)
    assert objects.get("folder/object") == b"old"


@contextlib.contextmanager
def asked_for(monkeypatch: pytest.MonkeyPatch, fault: str) -> Iterator[Counter[str]]:
    reached = Counter[str]()
    with monkeypatch.context() as patch:
        patch.setattr("reelmill.schemas.points._seen", reached)
        patch.setenv("REELMILL_FAULT", fault)
        yield reached


def test_each_write_passes_the_same_points(objects: Objects, monkeypatch: pytest.MonkeyPatch) -> None:
    with asked_for(monkeypatch, "none:count") as reached:
        objects.put_if_absent("a", b"")
        objects.put("b", b"")
        del reached["folder.made"]  # a bucket has none
        assert reached == dict.fromkeys(POINTS, 2)
        objects.put_if_absent("a", b"")
        assert reached == {POINTS[0]: 3, POINTS[1]: 3, POINTS[2]: 2}, "what was not written is not seen to appear"


@pytest.mark.parametrize(("action", "told"), [("full", "No space left"), ("denied", "Permission denied")])
@pytest.mark.parametrize("point", POINTS[:2])
@pytest.mark.parametrize("absent", [True, False])
def test_a_refusal_at_a_point(
    objects: Objects, monkeypatch: pytest.MonkeyPatch, action: str, told: str, point: str, absent: bool
) -> None:
    with asked_for(monkeypatch, f"{point}:{action}"), pytest.raises(StoreUnusable, match=told):
        (objects.put_if_absent if absent else objects.put)("folder/object", b"data")
    assert (objects.list("folder"), objects.leftovers()) == ([], ())
