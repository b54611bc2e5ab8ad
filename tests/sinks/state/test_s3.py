"""S3 as the ledger needs it: lost answers, stores that are unfit, down or refuse; and datasets that live there."""

from __future__ import annotations

import dataclasses
import multiprocessing
import pickle
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from stormy import CREDENTIALS, Answer, Door, OwnS3, hurry

from reelmill.schemas import arrow
from reelmill.schemas.errors import BadInput, NotFound, StoreUnusable
from reelmill.schemas.verdict import ACCEPTED
from reelmill.sinks.dataset import PART, Dataset, Store
from reelmill.sinks.ledger import KeyOutcome, parquet_bytes
from reelmill.sinks.state.lease import held
from reelmill.sinks.state.place import place_at
from reelmill.sinks.state.s3 import PROBE, S3Folder, S3Objects, S3Options
from reelmill.sinks.state.snapshot import Entry

FORKS = multiprocessing.get_context("fork")
LOST = ("cut", "reset", "slow_down", "internal", "stall")


@pytest.fixture(scope="module")
def s3() -> Iterator[OwnS3]:
    pytest.importorskip("moto", reason="moto is not installed: no bucket of our own to try this on")
    with pytest.MonkeyPatch.context() as patch, OwnS3() as own:
        for name, value in CREDENTIALS.items():
            patch.setenv(name, value)
        hurry()
        yield own


@pytest.fixture
def door(s3: OwnS3) -> Iterator[Door]:
    with Door(s3) as opened:
        yield opened


def objects_behind(door: Door, attempts: int = 6, read_s: float = 0.5) -> S3Objects:
    """Objects in a bucket of their own that have shown that they honour conditions."""
    options = S3Options(door.url, attempts=attempts, read_s=read_s)
    objects = S3Objects(S3Folder(door.s3.bucket(), "here", options))
    objects.put_if_absent("first", b"")
    door.requests.clear()
    return objects


@pytest.fixture
def objects(door: Door) -> S3Objects:
    return objects_behind(door)


def told(work: Callable[[], Any]) -> StoreUnusable:
    """The one line that the store's refusal comes to."""
    with pytest.raises(StoreUnusable) as caught:
        work()
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 2
    return caught.value


# ---- lost answers ----------------------------------------------------------------------------------------------------


def _under(s3: OwnS3, faults: tuple[str, ...], method: str, act: Callable[[S3Objects], Any]) -> Any:
    """What an act comes to when its requests meet these faults, one after the other."""
    with Door(s3) as door:
        objects = objects_behind(door)
        objects.put("there", b"twelve bytes")
        door.only(*faults, method=method)
        answer = act(objects)
        assert door.met.total() == len(faults), "every fault was met"
        return answer


@pytest.mark.parametrize(
    ("method", "act", "answer"),
    [
        ("PUT", lambda o: (o.put_if_absent("new", b"mine"), o.get("new")), (True, b"mine")),
        ("PUT", lambda o: (o.put_if_absent("there", b"twelve bytes"), o.get("there")), (False, b"twelve bytes")),
        ("PUT", lambda o: (o.put("there", b"new"), o.get("there")), (None, b"new")),
        ("GET", lambda o: (o.get("there"), o.read("there", 7, 99)), (b"twelve bytes", b"bytes")),
        ("GET", lambda o: (o.list(""), o.folders("")), (["first", "there"], ())),
        ("HEAD", lambda o: (o.delete("there"), o.list("")), (12, ["first"])),
        ("DELETE", lambda o: (o.delete("there"), o.delete("there"), o.list("")), (12, 0, ["first"])),
    ],
    ids=["put-new", "put-theirs", "put", "get", "list", "size", "delete"],
)
def test_a_request_or_an_answer_that_is_lost_changes_nothing(
    s3: OwnS3, method: str, act: Callable[[S3Objects], Any], answer: Any
) -> None:
    """Each fault alone, and the worst one twice."""
    mixes = [(fault,) for fault in LOST] + [("cut", "cut"), ("reset", "cut")] + [("torn",)] * (method == "GET")
    with ThreadPoolExecutor(len(mixes)) as pool:
        found = list(pool.map(lambda faults: _under(s3, faults, method, act), mixes))
    assert dict(zip(mixes, found, strict=True)) == dict.fromkeys(mixes, answer)


def test_only_one_of_two_is_told_that_it_wrote_though_both_lost_answers(door: Door, objects: S3Objects) -> None:
    """Equal bytes do not make it ours: two runs may want to write the same."""
    door.only("cut", "", "cut", "", method="PUT")
    assert (objects.put_if_absent("a", b"same"), objects.put_if_absent("a", b"same")) == (True, False)
    assert door.met["cut"] == 2


def test_a_put_at_the_same_time_is_tried_again(door: Door, objects: S3Objects) -> None:
    door.only("conflict", "conflict", method="PUT")
    assert objects.put_if_absent("a", b"mine")
    assert not objects.put_if_absent("a", b"mine")


def test_endless_conflicts_end(door: Door) -> None:
    objects = objects_behind(door, attempts=3)
    door.down = "conflict"
    seen = "a was being written or deleted by others at each of 3 tries"
    assert seen in str(told(lambda: objects.put_if_absent("a", b"mine")))


def test_what_was_there_and_is_deleted_at_once_is_written(door: Door, objects: S3Objects) -> None:
    """412, and when one looks whose it is, it is gone."""
    objects.put("a", b"theirs")
    door.before = lambda method, path: S3Objects(calm).delete("a") if method == "HEAD" and path.endswith("/a") else None
    with Door(door.s3) as other:
        calm = dataclasses.replace(objects.folder, options=S3Options(endpoint=other.url))
        assert objects.put_if_absent("a", b"mine")
    assert objects.get("a") == b"mine"


# ---- unfit, down, refusing -------------------------------------------------------------------------------------------


def test_a_store_that_ignores_the_condition_is_refused(door: Door) -> None:
    door.forgets_conditions = True
    bucket = door.s3.bucket()
    store = Store(S3Folder(bucket, "store", S3Options(endpoint=door.url)))
    for _ in range(2):
        error = told(store.require_writable)
        assert "ignores If-None-Match: one object was made twice" in error.seen
        assert "two runs would write one dataset" in error.do
    told(lambda: store.dataset("made", "1").ledger.begin({"fingerprint": {}}))
    assert set(door.s3.contents(bucket)) == {f"store/{PROBE}", f"store/made/1/{PROBE}"}, "nothing else was written"


def test_a_process_asks_once_whether_conditions_hold(door: Door) -> None:
    objects = objects_behind(door)
    for n in range(3):
        assert objects.put_if_absent(f"a/{n}", b"")
    assert door.requests == {"PUT": 3}
    assert objects.list("") == ["first"], "what it was tried on is not shown"


class Refusing(OwnS3):
    """Answers everything in one way, without a server behind it."""

    def __init__(self, status: int, code: str) -> None:
        self.said = status, f"<Error><Code>{code}</Code><Message>as\nthe test wants</Message></Error>".encode()

    def asked(self, method: str, path: str, headers: list[tuple[str, str]], body: bytes) -> Answer:
        status, said = self.said
        return Answer(status, [("Content-Type", "application/xml")], b"" if method == "HEAD" else said)


@pytest.mark.parametrize(
    ("status", "code", "do"),
    [
        (403, "AccessDenied", "allow s3:GetObject"),
        (403, "InvalidAccessKeyId", "set AWS_PROFILE"),
        (400, "ExpiredToken", "sign in again"),
        (400, "AuthorizationHeaderMalformed", "set AWS_REGION"),
        (501, "NotImplemented", "use a store with conditional writes"),
        (418, "Teapot", "see that the store is up"),
    ],
)
def test_each_refusal_is_one_line_that_says_what_to_do(s3: OwnS3, status: int, code: str, do: str) -> None:
    with Door(Refusing(status, code)) as door:
        objects = S3Objects(S3Folder("bucket", "here", S3Options(endpoint=door.url)))
        for work in (lambda: objects.put("a", b""), lambda: objects.get("a"), lambda: objects.list("")):
            error = told(work)
            assert (error.what, code in error.seen, error.do.startswith(do)) == ("s3://bucket/here", True, True)
        assert told(lambda: objects.put_if_absent("a", b"")).do.startswith(do)
        told(lambda: objects.delete("a"))


def test_a_missing_bucket_is_told(door: Door) -> None:
    store = Store(S3Folder("no-such-bucket", "", S3Options(endpoint=door.url)))
    assert told(store.require_writable).do == "make the bucket, or name another --store"
    assert "NoSuchBucket" in told(store.datasets).seen


def test_a_store_that_nobody_answers_for_is_given_up(s3: OwnS3) -> None:
    with Door(s3) as door:
        gone = S3Options(endpoint=door.url, attempts=2, connect_s=0.5)
    started = time.monotonic()
    error = told(lambda: S3Objects(S3Folder("bucket", "here", gone)).put("a", b""))
    assert "Could not connect" in error.seen
    assert time.monotonic() - started < 10


@pytest.mark.parametrize("fault", ["stall", "torn", "internal", "slow_down"])
def test_a_store_that_never_answers_right_is_given_up(door: Door, fault: str) -> None:
    objects = objects_behind(door, attempts=2, read_s=0.2)
    objects.put("a", b"data")
    door.requests.clear()
    door.down = fault
    told(lambda: objects.get("a"))
    assert door.requests["GET"] == 2


FRESH = """
import sys
{before}
from reelmill.schemas.errors import StoreUnusable
from reelmill.sinks.state.s3 import S3Folder, S3Objects, S3Options
try:
    S3Objects(S3Folder("bucket", "here", S3Options(endpoint={endpoint!r}))).{act}
except StoreUnusable as error:
    print(error)
"""


@pytest.mark.parametrize(
    ("before", "endpoint", "env", "seen"),
    [
        ("", "", {"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""}, "Unable to locate credentials; do: set AWS_P"),
        ("", "", {"AWS_PROFILE": "nobody"}, "The config profile (nobody) could not be found; do: look at AWS_PROFILE"),
        ("", "no url", {}, "Invalid endpoint: no url; do: look at AWS_PROFILE, AWS_REGION and AWS_ENDPOINT_URL_S3"),
        ("sys.modules['botocore'] = None", "", {}, "do: pip install 'reelmill[s3]'"),
    ],
    ids=["credentials", "profile", "endpoint", "extra"],
)
def test_what_is_missing_here_is_told(
    clean_env: dict[str, str], before: str, endpoint: str, env: dict[str, str], seen: str
) -> None:
    pytest.importorskip("botocore", reason="botocore is not installed")
    acts = ("get('a')", "read('a', 0, 1)", "put_if_absent('a', b'')")
    for act in acts[: 1 if env else 3]:
        code = FRESH.format(before=before, endpoint=endpoint, act=act)
        done = subprocess.run(
            [sys.executable, "-c", code], env=clean_env | CREDENTIALS | env, capture_output=True, text=True, timeout=60
        )
        assert seen in done.stdout, done.stdout + done.stderr
        assert done.stdout.count("\n") == 1


@pytest.mark.parametrize("name", ["", "/a", "a//b", "a/", "../a", "a/../b", "a/.", "a\nb", "a\x00"])
def test_names_that_tools_would_fold_are_refused(name: str) -> None:
    with pytest.raises(BadInput, match="object name"):
        S3Folder("bucket", "here").key(name)


@pytest.mark.parametrize("uri", ["s3://", "s3:///a", "s3://Bucket/a", "s3://a", "s3://bucket//a", "s3://bucket/../a"])
def test_places_that_are_none_are_refused(uri: str) -> None:
    with pytest.raises(BadInput):
        place_at(uri)


@pytest.mark.parametrize("uri", ["s3://bucket", "s3://bucket/", "s3://bucket/a/b", "s3://bucket/a/b/"])
def test_a_place_is_read_and_written_alike(uri: str) -> None:
    place = place_at(uri)
    assert str(place) == uri.rstrip("/")
    assert (str(place / "x" / "y"), (place / "x" / "y").parent, (place / "x").name) == (
        f"{place}/x/y",
        place / "x",
        "x",
    )
    assert pickle.loads(pickle.dumps(place)) == place
    assert place_at("some/folder") == Path("some/folder")


# ---- many ------------------------------------------------------------------------------------------------------------


def test_a_listing_of_many_pages(s3: OwnS3, door: Door) -> None:
    objects = objects_behind(door, read_s=30.0)
    names = sorted(f"{n}.json" for n in range(1001))
    for name in names:
        s3.replace(objects.folder.bucket, objects.folder.key(f"commits/{name}"), b"")
    assert objects.list("commits") == names
    assert door.requests == {"GET": 2}


def test_threads_and_forks_share_what_can_be_shared(door: Door, objects: S3Objects) -> None:
    """A connection is one process's own; many threads may ask through one client, also for the first time."""
    fresh = pickle.loads(pickle.dumps(dataclasses.replace(objects.folder, options=S3Options(door.url, read_s=9.0))))
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: S3Objects(fresh).put(f"a/{n}", str(n).encode()), range(24)))
    children = [FORKS.Process(target=_read_all, args=(S3Objects(fresh),)) for _ in range(3)]
    for child in children:
        child.start()
    _read_all(S3Objects(fresh))
    for child in children:
        child.join(30)
    assert [child.exitcode for child in children] == [0, 0, 0]


def _read_all(objects: S3Objects) -> None:
    assert [objects.get(f"a/{n}") for n in range(24)] == [str(n).encode() for n in range(24)]


# ---- datasets --------------------------------------------------------------------------------------------------------


def _commit(dataset: Dataset, keys: list[str]) -> None:
    verdict = arrow.plain(ACCEPTED)
    dataset.ledger.begin({"name": dataset.name, "version": dataset.version, "recipe": "made", "fingerprint": {"a": 1}})
    with held(dataset.ledger.objects, dataset.ledger.take()) as lease:
        dataset.ledger.list_inputs(lease, map(Entry.derived, keys))
        for key in keys:
            table = pa.Table.from_pylist([{"key": key, "text": f"text {key}", "verdict": verdict}])
            files = {"rows": parquet_bytes(table), "media": b"frame of " + key.encode()}
            dataset.ledger.commit(lease, [KeyOutcome(key, "accepted", 0, 0)], files)


def test_a_store_in_a_bucket_is_read_as_one_in_a_folder(s3: OwnS3, door: Door, tmp_path: Path) -> None:
    bucket = s3.bucket()
    there = Store(S3Folder(bucket, "deep/store", S3Options(endpoint=door.url)))
    there.require_writable()
    assert there.datasets() == []
    for name, version in (("made", "10"), ("made", "9"), ("other", "1")):
        _commit(there.dataset(name, version), ["a", "b"])
    here = Store(s3.copied(bucket, tmp_path) / "deep" / "store")
    for store in (there, here):
        assert [d.label for d in store.datasets()] == ["made@9", "made@10", "other@1"]
        found = store.find("made")
        rows = found.rows()
        assert (found.label, rows["text"].to_pylist()) == ("made@10", ["text a", "text b"])
        assert [found.frame(part, 9, 1) for part in rows[PART].to_pylist()] == [b"a", b"b"]
        assert (found.counts().accepted, found.counts().closes) == (2, True)
        with pytest.raises(NotFound, match="made@9"):
            store.find("nothing")
    assert here.find("made").rows() == there.find("made").rows()


def test_a_dataset_in_a_bucket_has_no_folder(door: Door) -> None:
    dataset = Dataset(S3Folder("bucket", "store/made/1", S3Options(endpoint=door.url)))
    error = told(lambda: dataset.folder)
    assert "packing, galleries, sql and tables want a folder" in error.seen
    assert error.do == "copy it (aws s3 sync), then use the copy as --store"
