"""What counts as done: commits, seals, voids, garbage, and damage that is told and never counted."""

from __future__ import annotations

import hashlib
import itertools
import json
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from reelmill.schemas import arrow
from reelmill.schemas.errors import BadInput, Corrupt, Drift, Fault, StaleWriter
from reelmill.schemas.keys import group_hash
from reelmill.schemas.verdict import ACCEPTED, rejected
from reelmill.sinks.dataset import PART, Dataset
from reelmill.sinks.ledger import KeyOutcome, Ledger, differences, parquet_bytes, parquet_table
from reelmill.sinks.state import lease as leases
from reelmill.sinks.state.lease import Lease, held
from reelmill.sinks.state.objects import LocalObjects
from reelmill.sinks.state.records import record_bytes
from reelmill.sinks.state.snapshot import Entry

IDENTITY: dict[str, Any] = {"name": "clips", "version": "1", "recipe": "clips", "fingerprint": {"at": [1, 2]}}
KEYS = tuple("abcdefgh")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "clips" / "1"


@pytest.fixture
def ledger(folder: Path) -> Ledger:
    made = Ledger(LocalObjects(folder), "clips@1")
    made.begin(IDENTITY)
    return made


def group(keys: Sequence[str], text: str = "") -> tuple[list[KeyOutcome], dict[str, bytes]]:
    """Outcomes and files of some keys: `b` and `f` are rejected, the others have a child and a frame each."""
    refused = {k: k in "bf" for k in keys}
    verdicts = [arrow.plain(rejected("Judge", "bad", "") if refused[k] else ACCEPTED) for k in keys]
    rows = pa.table({"key": list(keys), "text": [f"{text}{k}" for k in keys], "verdict": verdicts})
    kept = [k for k in keys if not refused[k]]
    children = {"key": [f"{k}1" for k in kept], "parent_key": kept, "verdict": [arrow.plain(ACCEPTED)] * len(kept)}
    outcomes = [KeyOutcome(k, "rejected" if refused[k] else "accepted", 0 if refused[k] else 1, 0) for k in keys]
    shaped = pa.schema([("key", pa.string()), ("parent_key", pa.string()), ("verdict", rows.schema.field(2).type)])
    files = {"rows": parquet_bytes(rows), "children": parquet_bytes(pa.table(children, schema=shaped))}
    return outcomes, files | {"media": "".join(keys).encode()}


def run(ledger: Ledger, size: int = 3, keys: Sequence[str] = KEYS, text: str = "", limit: int | None = None) -> Lease:
    """One run over the keys: commits what is pending, or a number of groups of it."""
    with held(ledger.objects, ledger.take()) as lease:
        ledger.list_inputs(lease, [Entry.derived(k) for k in keys])
        pending = ledger.pending()
        for start in range(0, len(pending), size)[:limit]:
            ledger.commit(lease, *group(pending[start : start + size], text))
    return lease


def void(ledger: Ledger, keys: Sequence[str]) -> None:
    with held(ledger.objects, ledger.take()) as lease:
        ledger.void(lease, keys)


def collect(ledger: Ledger) -> int:
    with held(ledger.objects, ledger.take()) as lease:
        return ledger.collect(lease)


def texts(folder: Path) -> list[str]:
    """What readers get for every row: reads all parts."""
    rows: list[str] = Dataset(folder).rows()["text"].to_pylist()
    return rows


# ---- identity --------------------------------------------------------------------------------------------------------


def test_the_same_recipe_begins_again(ledger: Ledger) -> None:
    ledger.begin(IDENTITY | {"fingerprint": {"at": (1, 2)}})
    assert ledger.identity() == {"format": 1, **IDENTITY}


def test_another_recipe_is_refused_field_by_field(ledger: Ledger) -> None:
    with pytest.raises(Drift, match=r"at\[1\]: was 2, is 3"):
        ledger.begin(IDENTITY | {"fingerprint": {"at": [1, 3]}})


def test_differences_name_each_leaf() -> None:
    known, now = {"a": {"b": 1}, "l": [1], "s": "x" * 99}, {"a": {"b": 2}, "l": [1, 2], "n": None}
    told = differences(known, now)
    assert told[:3] == ["a.b: was 1, is 2", "l: was [1], is [1,2]", "n: was absent, is null"]
    assert len(told[3]) < 120


# ---- commits ---------------------------------------------------------------------------------------------------------


def test_what_is_committed_is_done(ledger: Ledger, folder: Path) -> None:
    run(ledger)
    assert ledger.pending() == []
    assert texts(folder) == list(KEYS)
    counts = Dataset(folder).counts()
    assert (counts.live, counts.accepted, counts.rejected, counts.children) == (8, 6, 2, 6)


@pytest.mark.parametrize(("first", "then"), list(itertools.permutations([1, 3, 5, 8], 2)))
def test_groups_may_change_between_runs(ledger: Ledger, folder: Path, first: int, then: int) -> None:
    run(ledger, first, limit=1)
    assert ledger.pending() == list(KEYS[first:])
    run(ledger, then)
    assert texts(folder) == list(KEYS)


def test_d9_what_is_done_is_known_by_its_keys_and_not_by_their_number(ledger: Ledger, folder: Path) -> None:
    """Groups that end in another order than they were listed leave a hole; a number of lines would skip it."""
    with held(ledger.objects, ledger.take()) as lease:
        ledger.list_inputs(lease, [Entry.derived(k) for k in "abcd"])
        ledger.commit(lease, *group("bd", "first "))
    assert ledger.pending() == ["a", "c"]
    with held(ledger.objects, ledger.take()) as lease:
        ledger.list_inputs(lease, [Entry.derived(k) for k in "abcd"])
        ledger.commit(lease, *group("ac", "then "))
    assert texts(folder) == ["then a", "first b", "then c", "first d"]


def test_a_group_that_is_tried_again_is_taken_from_its_first_commit(ledger: Ledger, folder: Path) -> None:
    """Other bytes for the same keys and lease (a model that answers otherwise): nothing that counts is replaced."""
    with held(ledger.objects, ledger.take()) as lease:
        ledger.list_inputs(lease, [Entry.derived(k) for k in "abc"])
        first = ledger.commit(lease, *group("abc", "first "))
        again = ledger.commit(lease, *group("abc", "again "))
    assert again == first
    assert texts(folder) == ["first a", "first b", "first c"]
    assert ledger.broken() == {}
    assert [n.split(".")[-1] for n in ledger.garbage()] == ["rows"], "the other try's rows; its other files are equal"


def test_a_key_has_one_winner_among_several(ledger: Ledger, folder: Path) -> None:
    with held(ledger.objects, ledger.take()) as lease:
        ledger.list_inputs(lease, [Entry.derived(k) for k in "abc"])
        names = sorted(ledger.commit(lease, *group(keys, f"{keys} ")).name for keys in ("ab", "bc", "abc"))
    by_name = {f"{group_hash(list(k))}-000001": k for k in ("ab", "bc", "abc")}
    want = {key: by_name[next(n for n in names if key in by_name[n])] for key in "abc"}
    assert texts(folder) == [f"{want[key]} {key}" for key in "abc"]
    assert Dataset(folder).children()["key"].to_pylist() == ["a1", "c1"]


def test_faults_are_remembered_while_their_keys_are_pending(ledger: Ledger) -> None:
    with held(ledger.objects, ledger.take()) as lease:
        ledger.list_inputs(lease, [Entry.derived(k) for k in "abc"])
        ledger.record_faults(lease, {"a": "engine down", "b": "no such file: \udcff.mp4"})
    assert ledger.faults() == {"a": "engine down", "b": "no such file: \\udcff.mp4"}
    run(ledger, 1, "abc", limit=1)
    assert ledger.faults() == {"b": "no such file: \\udcff.mp4"}
    run(ledger, 1, "abc")
    assert ledger.faults() == {}
    assert [n.split("/")[0] for n in ledger.garbage()] == ["faults"]


# ---- writers that lost their lease -----------------------------------------------------------------------------------


def test_a_stale_writer_is_refused_everywhere(ledger: Ledger) -> None:
    stale = run(ledger, limit=1)
    ledger.take()
    before = ledger.winners()
    for work in (
        lambda: ledger.commit(stale, *group("h")),
        lambda: ledger.list_inputs(stale, []),
        lambda: ledger.void(stale, ["a"]),
        lambda: ledger.seal(stale),
    ):
        with pytest.raises((StaleWriter, Fault)):
            work()
    assert ledger.winners() == before
    assert len(ledger.snapshot()) == len(KEYS)


def snapshot_name(ledger: Ledger, token: int = 1) -> str:
    return next(n for n in ledger.objects.list("snapshots") if int(n.split(".")[0]) == token)


@pytest.fixture
def aside(tmp_path: Path) -> Path:
    return tmp_path / "aside"


def late(ledger: Ledger, name: str, data: bytes) -> None:
    """What a stale writer lands that passed its check before the new lease was taken."""
    ledger.objects.put(name, data)


def late_commit(ledger: Ledger, aside: Path, keys: str, token: int) -> str:
    """A commit of an older lease, landing now; it was made `aside`."""
    elsewhere = Ledger(LocalObjects(aside), "aside")
    elsewhere.objects.put(leases.token_name(token), record_bytes({}))
    made = elsewhere.commit(Lease(token), *group(keys, "late "))
    for name in [made.part(s) for s in made.files] + [f"commits/{made.name}.json"]:
        late(ledger, name, elsewhere.objects.get(name))
    return made.name


def test_what_lands_after_the_seal_is_void(ledger: Ledger, folder: Path, aside: Path) -> None:
    run(ledger, limit=1)
    run(ledger, limit=1)
    before = ledger.winners()
    for keys in ("gh", "abcdefgh"):
        late_commit(ledger, aside, keys, 1)
    assert ledger.winners() == before
    run(ledger)
    assert texts(folder) == list(KEYS)
    assert sum(n.startswith("commits/") for n in ledger.garbage()) == 2
    assert collect(ledger) > 0
    assert texts(folder) == list(KEYS)


def test_a_seal_that_comes_too_late_brings_nothing_back(ledger: Ledger, aside: Path) -> None:
    """Lease 2 is taken and sleeps before its seal; 3 seals; a worker of 1 lands; 2 wakes and seals what it sees."""
    run(ledger, limit=1)
    leases.take(ledger.objects, what="2")
    ledger.objects.put("leases/000002.released", b"{}")
    with held(ledger.objects, ledger.take()):
        before = ledger.winners()
        name = late_commit(ledger, aside, "gh", 1)
        said = {"token": 2, "since": 1, "snapshot": "", "commits": [f"{name}.json"], "voids": []}
        late(ledger, "seals/000002.json", record_bytes(said))
        assert ledger.winners() == before
        assert len(ledger.snapshot()) == len(KEYS)
    run(ledger)
    assert ledger.pending() == []


def test_a_lease_that_was_never_sealed_is_covered_by_the_next_seal(ledger: Ledger, folder: Path) -> None:
    run(ledger, limit=1)
    for token in (2, 3):
        assert leases.take(ledger.objects, what="killed before its seal") == Lease(token)
        ledger.objects.put(f"leases/{token:06d}.released", b"{}")
    assert len(ledger.pending()) == 5
    run(ledger)
    assert texts(folder) == list(KEYS)


def test_a_late_listing_changes_nothing(ledger: Ledger) -> None:
    for _ in range(3):
        run(ledger, keys="abc")
    assert json.loads(ledger.objects.get("seals/000003.json"))["snapshot"] == snapshot_name(ledger)
    late_name = "snapshots/000002.000.0123456789abcdef.parquet"
    late(ledger, late_name, parquet_bytes(arrow.to_table(Entry, [Entry.derived("z")])))
    assert [e.key for e in ledger.snapshot()] == list("abc")
    ledger.take()
    assert [e.key for e in ledger.snapshot()] == list("abc")
    assert ledger.garbage() == [late_name]


def test_a_late_void_changes_nothing(ledger: Ledger) -> None:
    run(ledger)
    name = next(iter(ledger.winners().commits))
    run(ledger)
    late(ledger, f"voids/{group_hash(['x'])}-000001.json", record_bytes({"voided": [["a", name]]}))
    assert ledger.pending() == []


# ---- retry -----------------------------------------------------------------------------------------------------------


def test_a_voided_key_is_done_again_once(ledger: Ledger, folder: Path) -> None:
    run(ledger)
    void(ledger, "bg?")
    assert ledger.pending() == ["b", "g"]
    assert Dataset(folder).counts().closes
    run(ledger, text="new ")
    assert texts(folder) == ["a", "new b", "c", "d", "e", "f", "new g", "h"]
    run(ledger, text="never ")
    assert texts(folder).count("new b") == 1


def test_an_old_winner_never_comes_back(ledger: Ledger, folder: Path) -> None:
    run(ledger)
    for turn in ("second ", "third "):
        void(ledger, "ab")
        assert ledger.pending() == ["a", "b"]
        run(ledger, text=turn)
        assert texts(folder)[:3] == [f"{turn}a", f"{turn}b", "c"]


def test_two_voids_of_one_lease_both_count(ledger: Ledger) -> None:
    run(ledger)
    with held(ledger.objects, ledger.take()) as lease:
        ledger.void(lease, ["a"])
        ledger.void(lease, ["h"])
        ledger.void(lease, ["a"])
    assert ledger.pending() == ["a", "h"]


def test_no_other_commit_of_the_same_key_steps_in(ledger: Ledger) -> None:
    with held(ledger.objects, ledger.take()) as lease:
        ledger.list_inputs(lease, [Entry.derived(k) for k in "abc"])
        for keys in ("abc", "ab", "a"):
            ledger.commit(lease, *group(keys))
    void(ledger, "a")
    assert ledger.pending() == ["a"]


def test_a_void_needs_a_lease_of_its_own(ledger: Ledger) -> None:
    with held(ledger.objects, ledger.take()) as lease:
        ledger.list_inputs(lease, [Entry.derived("a")])
        ledger.commit(lease, *group("a"))
        with pytest.raises(Fault, match="committed under that lease; do: release it"):
            ledger.void(lease, ["a"])


# ---- inputs that come and go, garbage --------------------------------------------------------------------------------


def test_a_run_may_list_its_inputs_again(ledger: Ledger) -> None:
    with held(ledger.objects, ledger.take()) as lease:
        for keys in ("abc", "b", "bd", "a"):
            change = ledger.list_inputs(lease, [Entry.derived(k) for k in keys])
        assert ledger.live_keys() == {"a"}
        assert (change.vanished, change.returned) == (2, 1)


def test_an_input_that_returns_is_not_done_again(ledger: Ledger, folder: Path) -> None:
    run(ledger)
    run(ledger, keys=KEYS[:5])
    assert texts(folder) == list(KEYS[:5])
    run(ledger, text="new ")
    assert texts(folder) == list(KEYS)


def test_an_input_that_returns_after_its_parts_were_collected_is_done_again(ledger: Ledger, folder: Path) -> None:
    run(ledger, 2)
    run(ledger, keys=KEYS[:5])
    assert collect(ledger) > 0
    assert texts(folder) == list(KEYS[:5])
    run(ledger, text="new ")
    assert texts(folder) == [*KEYS[:6], "new g", "new h"], "f shares a commit with e, which was in use"
    assert ledger.broken() == {}


def test_garbage_is_what_nothing_refers_to(ledger: Ledger, folder: Path) -> None:
    run(ledger, 2)
    assert ledger.garbage() == []
    void(ledger, "abc")
    gone = ledger.garbage()
    commit = ledger.winners().commits[f"{group_hash(['a', 'b'])}-000001"]
    assert gone == [f"commits/{commit.name}.json", *sorted(commit.part(s) for s in commit.files)], "commit first"
    run(ledger, 2, keys="abc")
    assert f"snapshots/{snapshot_name(ledger)}" in ledger.garbage()
    sizes = sum((folder / n).stat().st_size for n in ledger.garbage())
    assert collect(ledger) == sizes
    assert (ledger.garbage(), ledger.pending()) == ([], [])


def test_collecting_stops_where_a_newer_lease_was_taken(ledger: Ledger) -> None:
    stale = run(ledger)
    void(ledger, KEYS)
    with pytest.raises(StaleWriter):
        ledger.collect(stale)
    assert len(ledger.garbage()) > 0


# ---- damage ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def finished(ledger: Ledger, folder: Path) -> Path:
    """A dataset with everything in it: two runs, a void, a fault; `h` is pending."""
    run(ledger, limit=2)
    void(ledger, "a")
    with held(ledger.objects, ledger.take()) as lease:
        ledger.record_faults(lease, {"h": "engine down"})
    run(ledger, size=1, limit=2)
    return folder


def account(folder: Path) -> tuple[object, ...]:
    """Everything that a reader may count or read. Reads every part in use."""
    dataset = Dataset(folder)
    broken = dataset.ledger.broken()
    if broken:
        raise Corrupt(next(iter(broken.values())))
    rows, children = dataset.rows().drop_columns([PART]), dataset.children().drop_columns([PART])
    return (dataset.counts(), rows, children, dataset.ledger.pending(), dataset.ledger.faults(), dataset.identity)


FOLDERS = ("commits", "seals", "snapshots", "voids", "faults", "parts", ".")
DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "truncated": lambda data: data[: len(data) // 2],
    "empty": lambda data: b"",
    "half-json": lambda data: b'{"format": 1, "keys": [["a", "accep',
    "other-json": lambda data: b'{"format":1,"keys":[]}',
    "list": lambda data: b"[]",
    "deep": lambda data: b"[" * 100_000,
    "binary": lambda data: bytes(range(256)),
}


def in_use(finished: Path, kind: str) -> list[Path]:
    """Files of a kind that the account rests on."""
    ledger = Dataset(finished).ledger
    unused = {finished / n for n in ledger.garbage()}
    found = [p for p in sorted((finished / kind).iterdir()) if p.is_file() and p not in unused]
    assert found
    return found


@pytest.mark.parametrize("kind", FOLDERS)
def test_a_damaged_object_is_told(finished: Path, kind: str) -> None:
    for path, damage in itertools.product(in_use(finished, kind), DAMAGES):
        whole = path.read_bytes()
        path.write_bytes(DAMAGES[damage](whole))
        with pytest.raises(Corrupt, match=rf"{path.name}.* is corrupt.*; do: \S+") as caught:
            account(finished)
        assert "\n" not in str(caught.value)
        path.write_bytes(whole)
    account(finished)


@pytest.mark.parametrize("kind", FOLDERS)
def test_a_flipped_byte_is_told_or_changes_nothing(finished: Path, kind: str) -> None:
    dice, want, told = random.Random(kind), account(finished), 0
    for path in in_use(finished, kind):
        whole = path.read_bytes()
        for _ in range(25):
            data = bytearray(whole)
            data[dice.randrange(len(data))] ^= 1 << dice.randrange(8)
            path.write_bytes(data)
            try:
                assert account(finished) == want
            except (Corrupt, BadInput):
                told += 1
        path.write_bytes(whole)
    assert told > 0


@pytest.mark.parametrize("kind", ["commits", "seals", "voids", "faults", "."])
def test_what_a_later_program_wrote_is_refused(finished: Path, kind: str) -> None:
    for path in in_use(finished, kind):
        whole = path.read_bytes()
        path.write_bytes(record_bytes(json.loads(whole) | {"format": 2}))
        with pytest.raises(BadInput, match=rf"{path.name} has format 2; seen: this program reads up to 1; do: use a"):
            account(finished)
        path.write_bytes(whole)


def test_a_snapshot_of_a_later_program_is_refused(finished: Path) -> None:
    path = in_use(finished, "snapshots")[0]
    data = parquet_bytes(parquet_table(path.read_bytes()).replace_schema_metadata({"reelmill.format": "2"}))
    path.unlink()
    path.with_name(f"000009.000.{hashlib.sha256(data).hexdigest()[:16]}.parquet").write_bytes(data)
    with pytest.raises(BadInput, match="has format 2"):
        account(finished)


def test_a_commit_that_is_gone_is_work_to_do(finished: Path) -> None:
    ledger = Dataset(finished).ledger
    for path in in_use(finished, "commits"):
        path.unlink()
        assert Dataset(finished).counts().closes
    assert ledger.pending() == list(KEYS)
    run(ledger, 4, text="new ")
    assert texts(finished) == [f"new {k}" for k in KEYS]


@pytest.mark.parametrize("kind", ["seals", "snapshots", "parts"])
def test_what_is_gone_and_needed_is_told(finished: Path, kind: str) -> None:
    path = in_use(finished, kind)[0]
    path.unlink()
    with pytest.raises(Corrupt, match=rf"{path.name} is corrupt; seen: no such object"):
        account(finished)


@pytest.mark.parametrize("kind", ["commits", "seals", "snapshots", "voids"])
def test_a_name_that_is_not_ours_is_told(finished: Path, kind: str) -> None:
    path = in_use(finished, kind)[0]
    copy = path.with_name(f"{path.stem} (conflicted copy){path.suffix}")
    copy.write_bytes(path.read_bytes())
    with pytest.raises(Corrupt, match=r"conflicted copy\).*no name of ours; do: move it away"):
        account(finished)


def test_a_commit_under_anothers_name_is_told(finished: Path) -> None:
    one, other = in_use(finished, "commits")[:2]
    one.write_bytes(other.read_bytes())
    with pytest.raises(Corrupt, match="the contents of "):
        account(finished)


def test_broken_parts_are_mended_by_sending_their_keys_back(finished: Path) -> None:
    run(Dataset(finished).ledger)
    ledger, (one, other) = Dataset(finished).ledger, [p for p in in_use(finished, "parts") if p.suffix == ".rows"][:2]
    one.unlink()
    other.write_bytes(other.read_bytes()[:-1])
    broken = ledger.broken()
    assert {one.name in told or other.name in told for told in broken.values()} == {True}
    assert 0 < len(broken) < len(KEYS)
    void(ledger, sorted(broken))
    run(ledger)
    assert ledger.broken() == {}
    assert texts(finished) == list(KEYS)


def test_the_millionth_run_comes_after_the_others(ledger: Ledger) -> None:
    run(ledger, keys="ab")
    for token in (999_999, 1_000_000):
        ledger.objects.put(leases.token_name(token), record_bytes({}))
        ledger.objects.put(f"leases/{token:06d}.released", b"")
        run(ledger, keys=f"ab{token % 7}")
    assert [e.key for e in ledger.snapshot() if e.live] == ["1", "a", "b"]
    assert ledger.pending() == []
