"""Objects appear whole or not at all: raced, killed, on a full disk, without rights: real processes, a real disk."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from reelmill.schemas.errors import StoreUnusable
from reelmill.sinks.state.objects import ASIDE, LocalObjects, store_trouble

FORKS = multiprocessing.get_context("fork")


@pytest.fixture
def objects(tmp_path: Path) -> LocalObjects:
    return LocalObjects(tmp_path / "store")


def asides(objects: LocalObjects) -> list[Path]:
    return list(objects.root.rglob(f"{ASIDE}*"))


def forked(work: Callable[..., Any], *given: Any) -> Any:
    child = FORKS.Process(target=work, args=given)
    child.start()
    return child


# ---- one writer ------------------------------------------------------------------------------------------------------


def test_what_is_put_is_got(objects: LocalObjects) -> None:
    objects.put("parts/a.rows", b"first")
    objects.put("parts/a.rows", b"second")
    assert objects.get("parts/a.rows") == b"second"
    assert objects.read("parts/a.rows", 2, 3) == b"con"
    assert objects.read("parts/a.rows", 4, 99) == b"nd"
    assert objects.list("parts") == ["a.rows"]
    assert (objects.delete("parts/a.rows"), objects.delete("parts/a.rows")) == (6, 0)
    assert (objects.list("parts"), objects.list("nowhere")) == ([], [])


def test_what_is_there_is_not_put_again(objects: LocalObjects) -> None:
    assert objects.put_if_absent("a", b"mine")
    assert not objects.put_if_absent("a", b"theirs")
    assert objects.get("a") == b"mine"
    assert asides(objects) == []


@pytest.mark.parametrize("ask", [lambda o: o.get("a/b"), lambda o: o.read("a/b", 0, 1)])
def test_a_missing_object_is_said_to_be_missing(objects: LocalObjects, ask: Callable[[LocalObjects], Any]) -> None:
    with pytest.raises(FileNotFoundError):
        ask(objects)


def test_a_listing_knows_objects_alone(objects: LocalObjects) -> None:
    objects.put("parts/b", b"")
    objects.put("parts/a/deeper", b"")
    for name in (".DS_Store", ".nfs0001", f"{ASIDE}x"):
        (objects.root / "parts" / name).write_bytes(b"")
    assert objects.list("parts") == ["b"]


# ---- many writers ----------------------------------------------------------------------------------------------------


def _claim(objects: LocalObjects, me: bytes, names: int, gate: Any) -> None:
    gate.wait()
    for i in range(names):
        if objects.put_if_absent(f"claims/{i}", me * 3000):
            objects.put(f"wins/{me.decode()}-{i}", b"")


def test_of_many_that_put_at_once_exactly_one_wins(objects: LocalObjects) -> None:
    gate, names = FORKS.Barrier(4), 40
    racers = [forked(_claim, objects, me, names, gate) for me in (b"a", b"b", b"c", b"d")]
    for racer in racers:
        racer.join(60)
    wins = [w.split("-") for w in objects.list("wins")]
    assert sorted(int(i) for _, i in wins) == list(range(names))
    assert all(objects.get(f"claims/{i}") == winner.encode() * 3000 for winner, i in wins)
    assert asides(objects) == []


def _overwrite(objects: LocalObjects, letter: bytes) -> None:
    for _ in range(60):
        objects.put("record.json", letter * 200_000)


def test_readers_see_no_half_of_what_is_replaced(objects: LocalObjects) -> None:
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


# ---- killed writers --------------------------------------------------------------------------------------------------


def _put_with_fault(objects: LocalObjects, fault: str, absent: bool) -> None:
    os.environ["REELMILL_FAULT"] = fault
    put = objects.put_if_absent if absent else objects.put
    put("folder/object", b"new" * 1000)


@pytest.mark.parametrize("absent", [True, False], ids=["put_if_absent", "put"])
@pytest.mark.parametrize(
    ("point", "appears", "left"), [("object.write", 0, 0), ("object.synced", 0, 1), ("object.renamed", 1, None)]
)
def test_a_killed_writer_leaves_nothing_or_all(
    objects: LocalObjects, point: str, appears: int, left: int | None, absent: bool
) -> None:
    child = forked(_put_with_fault, objects, f"{point}:kill", absent)
    child.join(30)
    assert child.exitcode == -signal.SIGKILL
    assert objects.list("folder") == ["object"] * appears
    assert not appears or objects.get("folder/object") == b"new" * 1000
    leftovers = objects.leftovers()
    assert len(leftovers) == (int(absent) if left is None else left)
    assert sorted(objects.root / n for n in leftovers) == sorted(asides(objects))
    assert sum(map(objects.delete, leftovers)) == 3000 * len(leftovers)
    assert objects.put_if_absent("folder/object", b"again") is not bool(appears)


def test_a_writer_killed_while_it_replaces_leaves_the_old_whole(objects: LocalObjects) -> None:
    objects.put("folder/object", b"old")
    child = forked(_put_with_fault, objects, "object.synced:kill", False)
    child.join(30)
    assert objects.get("folder/object") == b"old"


def test_what_a_live_writer_is_writing_is_no_leftover(objects: LocalObjects) -> None:
    child = forked(_put_with_fault, objects, "object.synced:stop", False)
    os.waitpid(child.pid, os.WUNTRACED)
    assert len(asides(objects)) == 1
    assert objects.leftovers() == ()
    os.kill(child.pid, signal.SIGKILL)
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # dead, and still a zombie
    assert len(objects.leftovers()) == 1
    child.join()


@pytest.mark.parametrize("name", ["0a1b2c3d-77-1234-aa", "some-other-tool", ""])
def test_a_strange_leftover_goes_when_it_is_a_day_old(objects: LocalObjects, name: str) -> None:
    objects.put("a", b"")
    strange = objects.root / f"{ASIDE}{name}"
    strange.write_bytes(b"half")
    assert objects.leftovers() == ()
    os.utime(strange, (0, strange.stat().st_mtime - 25 * 3600))
    assert objects.leftovers() == (strange.name,)


def test_an_interrupted_writer_tidies_up(objects: LocalObjects, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(handle: int) -> None:
        raise KeyboardInterrupt

    objects.put("there", b"already")
    monkeypatch.setattr(os, "fsync", interrupted)
    with pytest.raises(KeyboardInterrupt):
        objects.put("a", b"data")
    assert asides(objects) == []


# ---- a store that refuses --------------------------------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 256 KiB."""
    mount, place = shutil.which("mount"), tmp_path / "disk"
    place.mkdir()
    told = mount and subprocess.run([mount, "-t", "tmpfs", "-o", "size=256k", "tmpfs", place], capture_output=True)
    if not told or told.returncode:
        pytest.skip("this user may not mount a small disk; the full disk is still asked for at named points")
    yield place
    subprocess.run([shutil.which("umount") or "umount", "-l", place], check=True)


def test_a_full_disk_takes_whole_objects_or_none(small_disk: Path) -> None:
    objects = LocalObjects(small_disk)

    def fill() -> None:
        for i in range(9):
            objects.put(f"parts/{i}", b"x" * 50_000)

    with pytest.raises(StoreUnusable) as caught:
        fill()
    assert str(caught.value).count("\n") == 0
    assert "No space left on device" in str(caught.value)
    assert caught.value.do == "free some space"
    assert all(len(objects.get(f"parts/{n}")) == 50_000 for n in objects.list("parts"))
    assert 0 < len(objects.list("parts")) < 6
    assert asides(objects) == []
    objects.delete("parts/0")
    objects.put("parts/9", b"x" * 50_000)


def test_a_disk_that_cannot_be_written_is_told(small_disk: Path) -> None:
    objects = LocalObjects(small_disk)
    objects.put("a", b"kept")
    remount: list[str | Path] = [shutil.which("mount") or "mount", "-o", "remount,ro", small_disk]
    subprocess.run(remount, check=True)
    for refused in (objects.put, objects.put_if_absent):
        with pytest.raises(StoreUnusable, match=r"cannot be used as a store; seen: Read-only file system .*; do: "):
            refused("b", b"data")
    assert objects.get("a") == b"kept"
    assert objects.list("") == ["a"]


@pytest.mark.parametrize(("action", "told"), [("full", "No space left"), ("denied", "Permission denied")])
@pytest.mark.parametrize("point", ["object.write", "object.synced"])
@pytest.mark.parametrize("absent", [True, False])
def test_a_refusal_at_a_point(
    objects: LocalObjects, monkeypatch: pytest.MonkeyPatch, action: str, told: str, point: str, absent: bool
) -> None:
    monkeypatch.setattr("reelmill.schemas.points._seen", Counter())
    monkeypatch.setenv("REELMILL_FAULT", f"{point}:{action}")
    with pytest.raises(StoreUnusable, match=told):
        (objects.put_if_absent if absent else objects.put)("folder/object", b"data")
    assert objects.list("folder") == []
    assert asides(objects) == []


def _as_nobody(work: Callable[[], object]) -> str:
    """What work tells about the store when done without rights (by another user where this one may do anything)."""
    mine = os.geteuid()
    if mine == 0:
        os.seteuid(65534)
    try:
        with pytest.raises(StoreUnusable) as caught:
            work()
    finally:
        os.seteuid(mine)
    return str(caught.value)


def test_missing_rights_are_told(objects: LocalObjects) -> None:
    objects.put("a", b"")
    objects.root.chmod(0o000)
    try:
        for work in (
            lambda: objects.put("b", b""),
            lambda: objects.put_if_absent("b", b""),
            lambda: objects.get("a"),
            lambda: objects.list(""),
            lambda: objects.delete("a"),
        ):
            assert "Permission denied" in _as_nobody(work)
    finally:
        objects.root.chmod(0o700)
    assert (objects.list(""), asides(objects)) == (["a"], [])


@pytest.mark.parametrize("name", ["file/below", "file/below/deeper", "folder", "x" * 300])
def test_names_that_cannot_be_objects(objects: LocalObjects, name: str) -> None:
    objects.put("file", b"")
    objects.put("folder/object", b"")
    with pytest.raises(StoreUnusable):
        objects.put(name, b"data")
    assert asides(objects) == []


@pytest.mark.parametrize(
    "make", [lambda p: p.write_bytes(b""), lambda p: p.symlink_to("nowhere")], ids=["file", "link"]
)
def test_a_store_that_is_no_folder(tmp_path: Path, make: Callable[[Path], object]) -> None:
    make(tmp_path / "store")
    with pytest.raises(StoreUnusable):
        LocalObjects(tmp_path / "store").put("a", b"")


def test_trouble_of_our_own_is_not_called_the_stores(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), store_trouble(tmp_path):
        (tmp_path / "missing").read_bytes()
