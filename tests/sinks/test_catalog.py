"""The catalog: opens from anywhere, holds what the pack holds, and is compared table by table."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import duckdb
import published
import pytest

from reelmill.schemas.errors import NotFound
from reelmill.sinks import catalog
from reelmill.sinks.catalog import TABLES, connect, hashes, logical_hash
from reelmill.sinks.dataset import Dataset, Store
from reelmill.sinks.pack import manifest, pack


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, Dataset]:
    store, view = published.stocked(tmp_path_factory.mktemp("s"), sources=4)
    view.ledger.objects.put("record.json", b'{"argv":["run"],"seconds":1.5}')
    pack(store, view)
    return store, view


def test_it_opens_from_another_folder_with_the_plain_wheel(packed: tuple[Store, Dataset], tmp_path: Path) -> None:
    ask = "import duckdb, sys; print(duckdb.connect(sys.argv[1], read_only=True).sql('select count(*) from samples'))"
    path = (packed[1].folder / "catalog.duckdb").resolve()

    told = subprocess.run([sys.executable, "-c", ask, str(path)], cwd=tmp_path, capture_output=True, check=True)

    assert b"8" in told.stdout


def test_every_table_holds_what_the_pack_holds(packed: tuple[Store, Dataset]) -> None:
    connection = duckdb.connect(str(packed[1].folder / "catalog.duckdb"), read_only=True)
    sizes = {t: connection.sql(f'select count(*) from "{t}"').fetchall()[0][0] for t in (*TABLES, "record")}

    # 4 clips of 2 samples; a sample has 2 turns and 7 members; rejects: 1 clip, 4 events, 1 row and 1 child of the view
    assert sizes == {
        "samples": 8,
        "turns": 16,
        "index": 56,
        "sources": 4,
        "rejects": 7,
        "counts": 15,
        "record": 2,
    }
    assert connection.sql("select value_json from record where name = 'seconds'").fetchall() == [("1.5",)]
    assert {c for c, *_ in connection.sql("describe samples").fetchall()} >= {"key", "split", "task", "made_by"}


def test_the_pack_holds_no_media_bytes_in_its_tables(packed: tuple[Store, Dataset]) -> None:
    connection = duckdb.connect(str(packed[1].folder / "catalog.duckdb"), read_only=True)

    kinds = {kind for t in TABLES for _, kind, *_ in connection.sql(f'describe "{t}"').fetchall()}
    assert kinds <= {"VARCHAR", "BIGINT", "DOUBLE"}


def test_the_manifest_names_the_logical_hash_of_every_table(packed: tuple[Store, Dataset]) -> None:
    said = manifest(packed[1])

    assert said is not None
    assert said["catalog"] == hashes(packed[1].folder / "catalog.duckdb")
    assert set(said["catalog"]) == set(TABLES)


def test_equal_tables_have_equal_hashes_and_others_do_not() -> None:
    connection = duckdb.connect()
    connection.execute("create table one as select * from (values (1, 'a'), (2, null)) t(n, s)")
    connection.execute("create table turned as select * from one order by n desc")
    connection.execute("create table other as select n, coalesce(s, '') as s from one")
    connection.execute("create table typed as select n::bigint as n, s from one")

    found = {name: logical_hash(connection, name) for name in ("one", "turned", "other", "typed")}
    assert found["one"] == found["turned"]
    assert len(set(found.values())) == 3


def test_a_table_that_is_not_there_is_named() -> None:
    with pytest.raises(NotFound, match="table 'x; drop'"):
        logical_hash(duckdb.connect(), "x; drop")


def test_a_connection_shows_the_ledger_and_the_pack(packed: tuple[Store, Dataset]) -> None:
    connection = connect(*packed)

    def number(table: str) -> int:
        return int(connection.sql(f'select count(*) from "{table}"').fetchall()[0][0])

    found = {t: number(t) for t in ("inputs", "rows", "children", "dataset_rejects", "samples", "upstream_clips")}
    assert found == {
        "inputs": 5,
        "rows": 5,
        "children": 9,
        "dataset_rejects": 2,
        "samples": 8,
        "upstream_clips": 5,
    }
    with pytest.raises(duckdb.Error, match=r"(?i)read-only"):
        connection.execute("delete from samples")


def test_a_dataset_that_was_never_packed_can_be_asked_too(packed: tuple[Store, Dataset]) -> None:
    store, _ = packed
    connection = connect(store, store.find("clips-t"))

    assert connection.sql("select count(*) from children").fetchall() == [(5,)]


def test_a_catalog_is_not_kept_open(packed: tuple[Store, Dataset]) -> None:
    writable = duckdb.connect(str(packed[1].folder / "catalog.duckdb"))
    writable.close()
    assert not list(packed[1].folder.glob("**/*.wal"))
    assert catalog.NAME == "catalog.duckdb"
