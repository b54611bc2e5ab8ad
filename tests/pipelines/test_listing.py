"""Listings: every place that can be named, digests that are remembered and never wrong, licences, clear refusals."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from reelmill.annotators.decode.local import local_path
from reelmill.pipelines.sources.digests import Digests
from reelmill.pipelines.sources.listing import list_media
from reelmill.schemas.errors import BadInput, NotFound, Unusable

OLD_NS = 1_600_000_000_000_000_000


def put(path: Path, data: bytes = b"data") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    os.utime(path, ns=(OLD_NS, OLD_NS))
    return path


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def names(listed) -> list[str]:
    return [Path(one.uri).name for one in listed]


@pytest.fixture
def folder(tmp_path):
    top = tmp_path / "media"
    put(top / "b.mp4", b"bb")
    put(top / "a.jpg", b"a")
    put(top / "deep" / "er" / "c.mkv", b"ccc")
    return top


@pytest.fixture
def memory():
    files = fsspec.filesystem("memory")
    files.store.clear()
    yield files
    files.store.clear()


def test_a_folder_is_listed_whole_and_sorted(folder):
    listed = list_media(str(folder))
    assert [one.uri for one in listed] == sorted(str(p) for p in folder.rglob("*.*") if p.is_file())
    assert [(one.size, one.digest) for one in listed] == [(1, sha(b"a")), (2, sha(b"bb")), (3, sha(b"ccc"))]
    assert {(one.licence, one.metadata, one.problem) for one in listed} == {("unknown", "", None)}
    assert listed[0].modified_ns == OLD_NS


def test_dot_names_are_left_out_and_counted(folder):
    put(folder / ".DS_Store")
    put(folder / ".git" / "config")
    put(folder / "b.mp4.license", b"SPDX-License-Identifier: CC0-1.0")
    os.mkfifo(folder / "pipe")
    left_out: list[str] = []
    assert names(list_media(str(folder), left_out=left_out)) == ["a.jpg", "b.mp4", "c.mkv"]
    assert sorted(Path(p).name for p in left_out) == [".DS_Store", ".git", "b.mp4.license", "pipe"]


def test_links_that_loop_end_and_broken_ones_are_listed(folder):
    (folder / "deep" / "up").symlink_to(folder)
    (folder / "linked.mp4").symlink_to(folder / "b.mp4")
    (folder / "nowhere.mp4").symlink_to(folder / "gone.mp4")
    listed = {Path(one.uri).name: one for one in list_media(str(folder))}
    assert sorted(listed) == ["a.jpg", "b.mp4", "c.mkv", "linked.mp4", "nowhere.mp4"]
    assert listed["linked.mp4"].digest == listed["b.mp4"].digest
    assert listed["nowhere.mp4"].digest is None
    assert listed["nowhere.mp4"].problem == "unreadable: no such file or directory"


def test_files_globs_and_several_places(folder, tmp_path, monkeypatch):
    assert names(list_media(str(folder / "a.jpg"))) == ["a.jpg"]
    assert names(list_media(str(folder / "**" / "*.m*"))) == ["b.mp4", "c.mkv"]
    assert names(list_media([str(folder / "a.jpg"), str(folder), f"file://{folder}/b.mp4"])) == [
        "a.jpg",
        "b.mp4",
        "c.mkv",
    ]
    monkeypatch.chdir(folder)
    assert [one.uri for one in list_media("b.mp4")] == [str(folder / "b.mp4")]


def test_a_name_with_glob_signs_is_a_name_first(tmp_path):
    put(tmp_path / "take[1].mp4")
    assert names(list_media(str(tmp_path / "take[1].mp4"))) == ["take[1].mp4"]


def test_a_name_that_is_not_utf8_is_listed_with_its_problem(tmp_path):
    raw = os.fsencode(tmp_path) + b"/caf\xe9.mp4"
    Path(os.fsdecode(raw)).write_bytes(b"x")
    (one,) = list_media(str(tmp_path))
    assert one.problem is not None
    assert one.problem.startswith("bad_name")
    assert one.uri.endswith("caf%E9.mp4")
    assert os.fsencode(local_path(one.uri, None)) == raw
    assert one.uri.encode()


def test_unreadable_files_are_listed_with_the_reason(folder):
    if os.geteuid() == 0:
        pytest.skip("root reads everything")
    (folder / "a.jpg").chmod(0)
    (folder / "deep" / "er").chmod(0)
    try:
        listed = {Path(one.uri).name: one.problem for one in list_media(str(folder))}
    finally:
        (folder / "deep" / "er").chmod(0o700)
    assert listed["a.jpg"] == "unreadable: permission denied"
    assert listed["er"] == "unreadable: permission denied (a folder)"


TABLE = [
    {"path": "media/a.jpg", "license": "CC-BY-4.0", "caption": "one"},
    {"path": "media/b.mp4", "license": "", "caption": "two"},
]


def write_table(path: Path, rows) -> Path:
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    elif path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(r) + "\n" for r in rows))
    else:
        sign = "\t" if path.suffix == ".tsv" else ","
        path.write_text("\n".join([sign.join(rows[0]), *(sign.join(r.values()) for r in rows)]) + "\n")
    return path


@pytest.mark.parametrize("name", ["t.csv", "t.tsv", "t.parquet", "t.jsonl"])
def test_tables_resolve_against_themselves_and_keep_their_columns(folder, tmp_path, name):
    listed = list_media(str(write_table(tmp_path / name, TABLE)))
    assert [one.uri for one in listed] == [str(folder / "a.jpg"), str(folder / "b.mp4")]
    assert [one.licence for one in listed] == ["CC-BY-4.0", "unknown"]
    assert [json.loads(one.metadata) for one in listed] == [{"caption": "one"}, {"caption": "two"}]
    assert listed[0].digest == sha(b"a")


@pytest.mark.parametrize("column", ["uri", "url", "file_name"])
def test_the_column_may_have_several_names(folder, tmp_path, column):
    table = write_table(tmp_path / "t.csv", [{column: str(folder / "a.jpg"), "id": "007"}])
    (one,) = list_media(str(table))
    assert json.loads(one.metadata) == {"id": "007"}


def test_a_table_may_name_what_is_not_there(tmp_path):
    (one,) = list_media(str(write_table(tmp_path / "t.jsonl", [{"uri": "no.mp4", "score": float("nan")}])))
    assert (one.digest, one.problem) == (None, "unreadable: no such file or directory")
    assert json.loads(one.metadata) == {"score": None}


def test_licence_sidecars(folder):
    put(folder / "a.jpg.license", b"SPDX-FileCopyrightText: 2024 somebody\n\nSPDX-License-Identifier: CC-BY-SA-4.0\n")
    put(folder / "LICENSE", b"MIT")
    licences = {Path(one.uri).name: one.licence for one in list_media(str(folder))}
    assert licences == {"a.jpg": "CC-BY-SA-4.0", "b.mp4": "unknown", "c.mkv": "unknown", "LICENSE": "unknown"}


def test_remote_folders_files_globs_and_tables(memory, tmp_path):
    memory.pipe({"/m/a.mp4": b"aa", "/m/x/b.mp4": b"b", "/m/.hidden": b"h"})
    memory.pipe("/m2/t.csv", b"uri,note\nmemory://m/a.mp4,far\n../m/x/b.mp4,near\n")
    listed = list_media("memory://m")
    assert [(one.uri, one.digest) for one in listed] == [
        ("memory:///m/a.mp4", sha(b"aa")),
        ("memory:///m/x/b.mp4", sha(b"b")),
    ]
    assert names(list_media("memory://m/x/b.mp4")) == ["b.mp4"]
    assert names(list_media("memory://m/*.mp4")) == ["a.mp4"]
    listed = list_media("memory://m2/t.csv")
    notes = {one.digest: json.loads(one.metadata)["note"] for one in listed}
    assert notes == {sha(b"aa"): "far", sha(b"b"): "near"}


def test_a_remote_file_is_fetched_once_and_checked(memory, tmp_path):
    memory.pipe("/m/a.mp4", b"aa")
    path = local_path("memory://m/a.mp4", sha(b"aa"), tmp_path)
    assert Path(path).read_bytes() == b"aa"
    memory.pipe("/m/a.mp4", b"changed")
    assert local_path("memory://m/a.mp4", sha(b"aa"), tmp_path) == path
    with pytest.raises(Unusable, match="content_changed"):
        local_path("memory://m/a.mp4", sha(b"other"), tmp_path)
    with pytest.raises(Unusable, match="unreadable"):
        local_path("memory://m/none.mp4", None, tmp_path)
    assert [p.name for p in tmp_path.rglob("*") if p.is_file()] == [sha(b"aa")]


class Reads:
    """Counts bytes that were hashed."""

    def __init__(self):
        self.calls: list[tuple[int, int]] = []

    def __call__(self, done, total):
        self.calls.append((done, total))


def test_digests_are_remembered(folder, tmp_path):
    cache, first, second = tmp_path / "cache" / "digests", Reads(), Reads()
    before = list_media(str(folder), cache, first)
    assert list_media(str(folder), cache, second) == before
    assert first.calls[-1] == (6, 6)
    assert [done for done, _ in first.calls] == sorted(done for done, _ in first.calls)
    assert second.calls == []


def test_a_changed_file_is_read_again_even_with_its_old_size_and_time(folder, tmp_path):
    cache = tmp_path / "digests"
    list_media(str(folder), cache)
    put(folder / "b.mp4", b"BB")
    listed = {Path(one.uri).name: one.digest for one in list_media(str(folder), cache)}
    assert listed["b.mp4"] == sha(b"BB")


def test_a_file_as_young_as_a_clock_tick_is_not_remembered(folder, tmp_path):
    (folder / "b.mp4").write_bytes(b"new")
    cache, again = tmp_path / "digests", Reads()
    list_media(str(folder), cache)
    list_media(str(folder), cache, again)
    assert again.calls == [(3, 3)]


@pytest.mark.parametrize(
    "broken", [b"", b"{", b'{"version": 99, "digests": {}}', b"\xff\xfe", b"[1]", b'{"version":1,"digests":[]}']
)
def test_a_broken_cache_is_begun_anew(folder, tmp_path, broken):
    cache = put(tmp_path / "digests", broken)
    before = list_media(str(folder))
    assert list_media(str(folder), cache) == before
    again = Reads()
    assert list_media(str(folder), cache, again) == before
    assert again.calls == []


def test_runs_at_once_keep_the_cache_whole(tmp_path):
    path = tmp_path / "digests"

    def fill(start: int) -> None:
        for n in range(start, start + 30):
            with Digests(path) as digests:
                digests.remember(f"/{n}", n, "stamp", "d")

    threads = [threading.Thread(target=fill, args=(100 * i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    held = json.loads(path.read_text())["digests"]
    assert all(held[uri][0] == int(uri[1:]) for uri in held)
    assert [p.name for p in tmp_path.iterdir()] == ["digests"]


def test_a_killed_run_leaves_the_old_cache(tmp_path, clean_env):
    """Killed over and over while it saves: what is read back is always a whole cache that never shrinks."""
    path = tmp_path / "digests"
    program = f"""
from pathlib import Path
from reelmill.pipelines.sources.digests import Digests
print("ready", flush=True)
n = 0
while True:
    n += 1
    digests = Digests(Path({str(path)!r}))
    digests.remember(f"/{{n % 50}}", n, "stamp", "d" * 20_000)
    digests.save()
"""
    held = 0
    for _ in range(4):
        child = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, env=clean_env)
        assert child.stdout is not None
        child.stdout.readline()
        while not path.exists() or path.stat().st_size < 1000 * (held + 1):
            os.sched_yield()
        child.send_signal(signal.SIGKILL)
        child.communicate()
        now = len(json.loads(path.read_text())["digests"])
        assert now >= held
        held = now
    assert held > 0


def test_refusals_are_one_clear_line(tmp_path, folder, memory):
    (tmp_path / "empty").mkdir()
    (tmp_path / "no_column.csv").write_text("name,size\na,1\n")
    (tmp_path / "no_rows.csv").write_text("uri\n")
    (tmp_path / "ragged.csv").write_text("uri,a\nx.mp4,1,2\n")
    (tmp_path / "hole.csv").write_text("uri,a\n,1\n")
    (tmp_path / "bad.jsonl").write_text("[1]\n")
    (tmp_path / "bad.parquet").write_bytes(b"no parquet")
    expected = {
        str(tmp_path / "nothing"): (NotFound, "no such file or folder"),
        str(tmp_path / "empty"): (NotFound, "no file"),
        str(tmp_path / "*.avi"): (NotFound, "no file"),
        str(tmp_path / "no_column.csv"): (BadInput, "columns name, size"),
        str(tmp_path / "no_rows.csv"): (BadInput, "no rows"),
        str(tmp_path / "ragged.csv"): (BadInput, "row 1 has 3 fields"),
        str(tmp_path / "hole.csv"): (BadInput, "row 1"),
        str(tmp_path / "bad.jsonl"): (BadInput, "no JSON object"),
        str(tmp_path / "bad.parquet"): (BadInput, "table"),
        "memory://none": (NotFound, "nothing there"),
        "gopher://old/place": (BadInput, "gopher"),
    }
    for place, (kind, words) in expected.items():
        with pytest.raises(kind) as refused:
            list_media(place)
        assert words in str(refused.value)
        assert "\n" not in str(refused.value)
    with pytest.raises(BadInput, match="no media were named"):
        list_media([])


def test_one_file_under_two_licences_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"x")
    table = tmp_path / "media.csv"
    table.write_text("uri,licence\na.png,CC0-1.0\na.png,CC-BY-4.0\n")
    with pytest.raises(BadInput, match=r"two licences; seen: 'CC0-1.0' and 'CC-BY-4.0'"):
        list_media(str(table))
    table.write_text("uri,licence\na.png,CC0-1.0\na.png,CC0-1.0\n")
    assert [one.licence for one in list_media(str(table))] == ["CC0-1.0"]


def test_an_interrupt_does_not_wait_for_the_end_of_large_files(tmp_path: Path) -> None:
    for name in ("a", "b", "c", "d", "e"):
        with (tmp_path / f"{name}.mp4").open("wb") as film:
            film.truncate(1 << 28)
    told: list[int] = []

    def interrupted(done: int, total: int) -> None:
        told.append(done)
        if len(told) == 3:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        list_media(str(tmp_path), progress=interrupted)
    assert len(told) < 100, "of 1,280 blocks"
