"""Datasets as readers see them: found by name, sorted, filtered, counted at both levels, damage told."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reelmill.schemas import arrow
from reelmill.schemas.errors import BadInput, Corrupt, NotFound, StoreUnusable
from reelmill.schemas.verdict import ACCEPTED, rejected
from reelmill.sinks.dataset import PART, Dataset, Store
from reelmill.sinks.ledger import KeyOutcome, Ledger, parquet_bytes
from reelmill.sinks.state.lease import held
from reelmill.sinks.state.objects import LocalObjects
from reelmill.sinks.state.place import on_disk
from reelmill.sinks.state.snapshot import Entry

GOOD, BAD = arrow.plain(ACCEPTED), arrow.plain(rejected("Judge", "dull", "2 of 9"))
VERDICT = pa.Table.from_pylist([{"v": GOOD}]).schema.field("v").type
ROWS = pa.schema([("key", pa.string()), ("text", pa.string()), ("verdict", VERDICT)])
CHILDREN = pa.schema([("key", pa.string()), ("parent_key", pa.string()), ("verdict", VERDICT)])


def begin(store: Store, name: str, version: str = "1") -> Dataset:
    dataset = store.dataset(name, version)
    dataset.ledger.begin({"name": name, "version": version, "recipe": name, "fingerprint": {}})
    return dataset


def commit(dataset: Dataset, rows: dict[str, list[bool] | None], group: int = 2, absent: tuple[str, ...] = ()) -> None:
    """Commit rows: key -> whether each of its children was accepted, or None for a rejected row."""
    ledger = dataset.ledger
    with held(ledger.objects, ledger.take()) as lease:
        ledger.list_inputs(lease, [Entry.derived(k) for k in rows.keys() - set(absent)])
        keys = list(rows)
        for start in range(0, len(keys), group):
            _commit_group(ledger, lease, {k: rows[k] for k in keys[start : start + group]})


def _commit_group(ledger: Ledger, lease: Any, rows: dict[str, list[bool] | None]) -> None:
    made = [{"key": k, "text": f"text {k}", "verdict": BAD if c is None else GOOD} for k, c in rows.items()]
    children = [
        {"key": f"{k}-{i}", "parent_key": k, "verdict": GOOD if good else BAD}
        for k, of_row in rows.items()
        for i, good in enumerate(of_row or [])
    ]
    outcomes = [
        KeyOutcome(k, "rejected" if c is None else "accepted", len(c or []), sum(c or [])) for k, c in rows.items()
    ]
    files = {
        "rows": parquet_bytes(pa.Table.from_pylist(made, schema=ROWS)),
        "children": parquet_bytes(pa.Table.from_pylist(children, schema=CHILDREN)),
        "media": "".join(rows).encode(),
    }
    ledger.commit(lease, outcomes, files)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


# ---- the store -------------------------------------------------------------------------------------------------------


def test_the_newest_version_is_found_by_number(store: Store) -> None:
    for version in ("9", "10", "2", "10-dev"):
        begin(store, "clips-demo", version)
    begin(store, "events-demo")
    assert [d.label for d in store.datasets()] == [
        *(f"clips-demo@{v}" for v in ("2", "9", "10", "10-dev")),
        "events-demo@1",
    ]
    assert store.find("clips-demo@9").version == "9"
    assert store.find("events-demo").label == "events-demo@1"


@pytest.mark.parametrize(
    ("wanted", "seen"),
    [("clip-demo", "clips-demo@1"), ("clips-demo@7", "clips-demo@1"), ("zzz", "clips-demo@1, tubes-other@1")],
)
def test_a_name_that_is_not_there_is_told_with_the_nearest(store: Store, wanted: str, seen: str) -> None:
    begin(store, "clips-demo")
    begin(store, "tubes-other")
    with pytest.raises(NotFound) as caught:
        store.find(wanted)
    assert caught.value.seen.startswith(seen)


def test_an_empty_store_says_so(store: Store) -> None:
    with pytest.raises(NotFound, match="no dataset in "):
        store.find("clips")
    assert store.datasets() == []


def test_a_dataset_that_was_never_begun_is_not_found(store: Store) -> None:
    dataset = store.dataset("clips", "1")
    with pytest.raises(NotFound, match="run its recipe"):
        _ = dataset.identity
    assert (dataset.rows().num_rows, dataset.children().num_rows, dataset.entries()) == (0, 0, ())
    assert dataset.counts().closes


def test_a_store_must_be_writable(store: Store, tmp_path: Path) -> None:
    store.require_writable()
    assert list(on_disk(store.root).iterdir()) == []
    (tmp_path / "file").write_bytes(b"")
    for place in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(StoreUnusable):
            Store(place).require_writable()


# ---- rows and children -----------------------------------------------------------------------------------------------


def test_rows_and_children_come_sorted_and_filtered(store: Store) -> None:
    dataset = begin(store, "clips")
    commit(dataset, {"c": [True, False], "a": None, "d": [True], "b": []}, absent=("d",))
    rows, children = Dataset(dataset.folder).rows(), Dataset(dataset.folder).children()
    assert rows["key"].to_pylist() == ["a", "b", "c"]
    assert rows["text"].to_pylist() == ["text a", "text b", "text c"]
    assert children["key"].to_pylist() == ["c-0", "c-1"], "d vanished and takes its child along"
    assert set(rows[PART].to_pylist()) == set(Dataset(dataset.folder).winners.of_key.values())


def test_columns_may_be_chosen(store: Store) -> None:
    dataset = begin(store, "clips")
    commit(dataset, {"a": [True]})
    assert Dataset(dataset.folder).rows(["text"]).column_names == ["text", "key", PART]
    assert Dataset(dataset.folder).children([]).column_names == ["key", "parent_key", PART]


def test_a_reader_sees_one_moment(store: Store) -> None:
    dataset = begin(store, "clips")
    commit(dataset, {"a": [True], "b": None})
    reader = Dataset(dataset.folder)
    assert len(reader.entries()) == 2
    commit(dataset, {"c": [True], "d": None, "e": []}, absent=("b",))
    assert reader.rows()["key"].to_pylist() == ["a", "b"]
    assert (reader.counts().live, reader.counts().closes, len(reader.entries())) == (2, True, 2)
    assert Dataset(dataset.folder).counts().live == 3


ROW = st.none() | st.lists(st.booleans(), max_size=4)


@settings(max_examples=30)
@given(rows=st.dictionaries(st.sampled_from("abcdefghij"), ROW), group=st.integers(1, 4), data=st.data())
def test_counts_are_those_of_the_rows(
    tmp_path_factory: pytest.TempPathFactory, rows: dict[str, list[bool] | None], group: int, data: st.DataObject
) -> None:
    absent = tuple(data.draw(st.sets(st.sampled_from(sorted(rows))))) if rows else ()
    dataset = begin(Store(tmp_path_factory.mktemp("counts")), "clips")
    commit(dataset, rows, group, absent)
    kept = {k: v for k, v in rows.items() if k not in absent}
    children = [good for of_row in kept.values() for good in of_row or []]
    counts = Dataset(dataset.folder).counts()
    assert counts.closes
    assert (counts.live, counts.pending) == (len(kept), 0)
    assert counts.rejected == sum(v is None for v in kept.values())
    assert (counts.children, counts.accepted_children) == (len(children), sum(children))
    want = Counter(
        {("row", "Judge", "dull"): counts.rejected, ("child", "Judge", "dull"): len(children) - sum(children)}
    )
    assert counts.reasons == dict(+want)
    assert Dataset(dataset.folder).rejects().num_rows == want.total()


# ---- frames, damage --------------------------------------------------------------------------------------------------


@pytest.fixture
def one(store: Store) -> tuple[Dataset, str, Path]:
    """A dataset of one commit, the commit's name, and its media part, which holds `ab`."""
    dataset = begin(store, "clips")
    commit(dataset, {"a": [True], "b": None})
    return dataset, dataset.rows()[PART][0].as_py(), next((dataset.folder / "parts").glob("*.media"))


def test_a_frame_is_read_from_its_place(one: tuple[Dataset, str, Path]) -> None:
    dataset, part, _ = one
    assert (dataset.frame(part, 0, 1), dataset.frame(part, 1, 1)) == (b"a", b"b")


def test_a_media_part_that_ends_too_early_is_told(one: tuple[Dataset, str, Path]) -> None:
    dataset, part, media = one
    media.write_bytes(b"a")
    assert dataset.frame(part, 0, 1) == b"a"
    with pytest.raises(Corrupt, match=rf"{media.name} is corrupt; seen: 0 of 1 bytes at 1; do: `retry`"):
        dataset.frame(part, 1, 1)
    media.unlink()
    with pytest.raises(Corrupt, match="no such object"):
        dataset.frame(part, 0, 1)


@pytest.mark.parametrize("damage", [b"", b"PAR1", None])
def test_rows_that_are_damaged_are_never_counted(one: tuple[Dataset, str, Path], damage: bytes | None) -> None:
    dataset, _, media = one
    rows = next(media.parent.glob("*.rows"))
    rows.write_bytes(rows.read_bytes()[:-1] if damage is None else damage)
    for read in (Dataset(dataset.folder).rows, Dataset(dataset.folder).counts, Dataset(dataset.folder).rejects):
        with pytest.raises(Corrupt, match=r"bytes of .*, sha256 differs from the commit"):
            read()


def test_a_dataset_of_a_later_program_is_refused(one: tuple[Dataset, str, Path]) -> None:
    folder = one[0].folder
    said = (folder / "dataset.json").read_bytes().replace(b'"format":1', b'"format":2')
    LocalObjects(folder).put("dataset.json", said)
    with pytest.raises(BadInput, match=r"dataset.json has format 2"):
        _ = Dataset(folder).identity
