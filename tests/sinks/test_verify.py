"""Verification: each thing is broken for real, and each is named with what was declared and what was seen."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path

import duckdb
import published
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from reelmill.schemas import arrow
from reelmill.schemas.errors import NotFound
from reelmill.schemas.media import FrameRef
from reelmill.schemas.sample import Role, Sample, Turn
from reelmill.schemas.tube import Box
from reelmill.sinks.dataset import Dataset, Store
from reelmill.sinks.ledger import parquet_bytes
from reelmill.sinks.pack import pack
from reelmill.sinks.publishing.packed import PackedSample
from reelmill.sinks.state.records import record_bytes
from reelmill.sinks.verify import Verified, sample_findings, verify


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return published.stocked(tmp_path / "s", sources=4)[0]


@pytest.fixture
def packed(store: Store) -> Dataset:
    view = store.find("grounding-t")
    pack(store, view)
    return view


def kinds(verified: Verified) -> set[str]:
    return {f.kind for f in verified.findings}


def parts(dataset: Dataset, suffix: str) -> list[Path]:
    return sorted((dataset.folder / "parts").glob(f"*.{suffix}"))


def flip(path: Path, at: int = -20) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 0xFF
    path.write_bytes(data)


def test_a_sound_store_has_no_finding_and_says_what_was_looked_at(store: Store, packed: Dataset) -> None:
    view = verify(packed)
    assert (view.findings, view.ok) == ((), True)
    assert view.counts["samples"] == view.counts["packed samples"] == 8
    assert (view.counts["rows"], view.counts["children"]) == (5, 9)
    clips = verify(store.find("clips-t"))
    assert (clips.findings, clips.counts["frames"]) == ((), 5 * 6)
    assert verify(store.find("events-t")).ok
    assert "sound" in str(view)


def test_a_dataset_that_was_never_begun_is_not_sound_but_missing(store: Store) -> None:
    with pytest.raises(NotFound):
        verify(store.dataset("nothing", "1"))


@pytest.mark.parametrize("suffix", ["rows", "children", "media"])
def test_a_flipped_byte_in_a_part_is_named(store: Store, suffix: str) -> None:
    clips = store.find("clips-t")
    broken = parts(clips, suffix)[0]
    flip(broken)

    verified = verify(clips)

    assert not verified.ok
    found = next(f for f in verified.findings if f.kind == "part_bytes")
    assert found.where == f"parts/{broken.name}"
    assert "sha256" in found.declared


def test_a_deleted_part_is_named_and_the_counts_no_longer_agree(store: Store) -> None:
    view = store.find("grounding-t")
    gone = parts(view, "children")[0]
    gone.unlink()

    verified = verify(view)

    assert {"part_missing", "counts"} <= kinds(verified)
    assert any(f.where == f"parts/{gone.name}" and f.seen == "no such object" for f in verified.findings)


def replace_part(dataset: Dataset, path: Path, data: bytes) -> Path:
    """Put other bytes in a part's place and make its commit agree, as a bug of ours would."""
    suffix, name = path.suffix[1:], path.name.split(".")[0]
    digest = hashlib.sha256(data).hexdigest()
    commit = dataset.folder / "commits" / f"{name}.json"
    said = json.loads(commit.read_text())
    said["files"][suffix] = {"size": len(data), "sha256": digest}
    del said["sha256"]
    commit.write_bytes(record_bytes(said))
    path.unlink()
    place = path.with_name(f"{name}.{digest[:16]}.{suffix}")
    place.write_bytes(data)
    return place


def rewrite(
    dataset: Dataset, suffix: str, change: Callable[[list[dict[str, object]]], list[dict[str, object]]]
) -> None:
    """Write the first part of a kind anew with changed rows."""
    path = parts(dataset, suffix)[0]
    table = pq.read_table(path)
    replace_part(dataset, path, parquet_bytes(pa.Table.from_pylist(change(table.to_pylist()), schema=table.schema)))


def test_a_doubled_row_is_named(store: Store) -> None:
    view = store.find("grounding-t")
    rewrite(view, "rows", lambda rows: [*rows, rows[0]])

    assert "duplicate_key" in kinds(verify(view))


def test_a_doubled_child_is_named(store: Store) -> None:
    view = store.find("grounding-t")
    rewrite(view, "children", lambda rows: [*rows, rows[0]])

    assert {"duplicate_key", "child_count"} <= kinds(verify(view))


def test_a_lost_child_is_named_with_both_counts(store: Store) -> None:
    view = store.find("grounding-t")
    rewrite(view, "children", lambda rows: rows[1:])

    found = [f for f in verify(view).findings if f.kind == "child_count"]
    assert len(found) == 1
    assert found[0].declared != found[0].seen


def test_a_child_of_nobody_is_named(store: Store) -> None:
    view = store.find("grounding-t")
    rewrite(view, "children", lambda rows: [{**rows[0], "parent_key": "z" * 26}, *rows[1:]])

    found = [f for f in verify(view).findings if f.kind == "parent_link"]
    assert [f.seen for f in found] == ["parent " + "z" * 26]


def test_a_row_whose_state_differs_from_its_commit_is_named(store: Store) -> None:
    view = store.find("grounding-t")
    refused = {"state": "rejected", "step": "", "reason": "", "detail": ""}
    rewrite(view, "rows", lambda rows: [{**rows[0], "verdict": refused}, *rows[1:]])

    assert {"row_state", "verdict", "counts"} <= kinds(verify(view))


def test_a_part_of_another_schema_is_named(store: Store) -> None:
    view = store.find("grounding-t")
    path = parts(view, "children")[1]
    path = replace_part(view, path, parquet_bytes(pq.read_table(path).drop_columns(["task"])))

    found = [f for f in verify(view).findings if f.kind == "schema"]
    assert [f.where for f in found] == [f"parts/{path.name}"]


def test_a_commit_that_cannot_be_read_is_a_finding(store: Store) -> None:
    view = store.find("grounding-t")
    next(iter(sorted((view.folder / "commits").iterdir()))).write_text("{")

    assert kinds(verify(view)) == {"corrupt_commit"}


def test_a_frame_that_is_gone_upstream_is_named_by_every_sample_that_shows_it(store: Store) -> None:
    view = store.find("grounding-t")
    (store.find("clips-t").folder / "dataset.json").unlink()

    found = [f for f in verify(view).findings if f.kind == "frame_ref"]
    assert len(found) == 8 * 6


# ---- samples --------------------------------------------------------------------------------------------------------


def changed(**changes: object) -> Sample:
    return dataclasses.replace(published.sample(published.clip(1), 1), **changes)  # type: ignore[arg-type]


def answered(text: str, tgt: tuple[float, ...], boxes: tuple[Box, ...] = (), src: tuple[float, ...] = ()) -> Sample:
    question = published.sample(published.clip(1), 1).turns[0]
    return changed(turns=(question, Turn(Role.ASSISTANT, text, src, tgt, boxes)))


def shifted(by_s: float) -> Sample:
    sample = changed()
    return dataclasses.replace(sample, frames=tuple(dataclasses.replace(f, at_s=f.at_s + by_s) for f in sample.frames))


BROKEN: list[tuple[str, Sample]] = [
    ("time_range", answered("<time>", (1.0, 6.5))),
    ("time_range", answered("<time>", (2.0, 2.0))),
    ("time_range", answered("<time>", (-0.5, 2.0))),
    ("placeholders", answered("no mark", (1.0, 2.0))),
    ("placeholders", answered("<time> and <time>", (1.0, 2.0))),
    ("placeholders", answered("<time>", (1.0, 2.0, 3.0))),
    ("placeholders", answered("now", (), src=(1.0, 2.0))),
    ("box_range", answered("there", (), (Box(0, 0, 321, 20),))),
    ("box_range", answered("there", (), (Box(-1, 0, 20, 20),))),
    ("box_range", answered("there", (), (Box(30, 0, 20, 20),))),
    ("frame_times", shifted(1.5)),
    ("frame_times", changed(frames=tuple(reversed(changed().frames)))),
    ("turns", changed(turns=changed().turns[:1])),
    ("confidence", changed(label_confidence=1.5)),
    ("provenance", changed(provenance=())),
]


@pytest.mark.parametrize(("kind", "sample"), BROKEN)
def test_a_sample_that_breaks_a_law_is_named(kind: str, sample: Sample) -> None:
    assert {f.kind for f in sample_findings(sample)} == {kind}


def test_a_sound_sample_has_no_finding_up_to_the_clips_very_end() -> None:
    assert not list(sample_findings(changed()))
    assert not list(sample_findings(answered("<time>", (0.0, 6.0), (Box(0, 0, 320, 180),))))


def test_broken_samples_are_found_in_a_dataset(tmp_path: Path) -> None:
    def late(sample: Sample) -> Sample:
        return dataclasses.replace(sample, turns=answered("<time>", (1.0, 7.0)).turns)

    _, view = published.stocked(tmp_path, sources=2, change=late)

    found = [f for f in verify(view).findings if f.kind == "time_range"]
    assert len(found) == 4
    assert found[0].declared == "0 <= s < e <= 6.0"


def test_a_reference_at_another_time_is_named(tmp_path: Path) -> None:
    def moved(sample: Sample) -> Sample:
        first: FrameRef = dataclasses.replace(sample.frames[0], at_s=0.5)
        return dataclasses.replace(sample, frames=(first, *sample.frames[1:]))

    _, view = published.stocked(tmp_path, sources=1, change=moved)

    found = [f for f in verify(view).findings if f.kind == "frame_ref"]
    assert {(f.declared, f.seen) for f in found} == {("shown at 0.5 s", "stored at 0.0 s")}


# ---- packs ----------------------------------------------------------------------------------------------------------


def shard(packed: Dataset) -> Path:
    return next(p for p in (packed.folder / "shards").resolve().glob("*train*.tar"))


def test_a_flipped_byte_in_a_shard_names_the_file_and_the_member(packed: Dataset) -> None:
    path = shard(packed)
    with tarfile.open(path) as tar:
        member = next(m for m in tar if m.name.endswith("f001.jpg"))
    flip(path, member.offset_data + 5)

    verified = verify(packed)

    assert kinds(verified) == {"file_bytes", "member_bytes"}
    assert any(f.where == f"shards/{path.name} {member.name}" for f in verified.findings)


def test_a_truncated_shard_is_named_with_the_samples_that_it_lost(packed: Dataset) -> None:
    path = shard(packed)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])

    assert {"file_bytes", "shard_unreadable", "member_missing", "shard_samples", "packed_count"} <= kinds(
        verify(packed)
    )


def test_a_doubled_sample_in_a_shard_is_named(packed: Dataset) -> None:
    path = shard(packed)
    with tarfile.open(path) as tar:
        first = next(m for m in tar if m.name.endswith(".json"))
        stream = tar.extractfile(first)
        assert stream is not None
        data = stream.read()
    with tarfile.open(path, "a") as tar:
        tar.addfile(first, io.BytesIO(data))

    assert {"duplicate_key", "shard_samples"} <= kinds(verify(packed))


def test_a_deleted_shard_and_a_stray_file_are_named(packed: Dataset) -> None:
    path = shard(packed)
    path.rename(path.with_name("grounding-t-train-000009.tar"))

    verified = verify(packed)

    assert {"file_missing", "file_unlisted"} <= kinds(verified)


def test_a_changed_catalog_is_named_table_by_table(packed: Dataset) -> None:
    connection = duckdb.connect(str(packed.folder / "catalog.duckdb"))
    connection.execute("delete from turns where turn = 1")
    connection.close()

    assert [(f.kind, f.where) for f in verify(packed).findings] == [("catalog", "catalog.duckdb turns")]


def test_a_broken_catalog_index_or_manifest_is_a_finding(packed: Dataset) -> None:
    (packed.folder / "catalog.duckdb").resolve().write_bytes(b"no database")
    flip(next((packed.folder / "tables" / "index").resolve().rglob("*.parquet")), -1)
    assert {"catalog", "file_bytes", "index"} <= kinds(verify(packed))

    (packed.folder / "manifest.json").resolve().write_text("{")
    assert "manifest" in kinds(verify(packed))


def test_a_source_in_two_splits_is_named(packed: Dataset) -> None:
    place = (packed.folder / "manifest.json").resolve()
    said = json.loads(place.read_text())
    path = shard(packed)
    twin = path.with_name("grounding-t-val-000000.tar")
    twin.write_bytes(path.read_bytes())
    file = next(f for f in said["files"] if f["path"] == f"shards/{path.name}")
    said["files"].append({**file, "path": f"shards/{twin.name}", "split": "val"})
    place.write_text(json.dumps(said))

    found = [f for f in verify(packed).findings if f.kind == "split_leak"]
    assert {f.seen for f in found} == {"train and val"}
    assert len(found) == 4


def test_a_pack_behind_its_ledger_is_a_warning(store: Store, packed: Dataset) -> None:
    clip = published.clip(70)
    published.commit(store, "clips-t", published.CLIPS, [(clip.parent_key, [clip])])
    rows = [(clip.key, [published.sample(clip, 70)])]
    view = published.commit(store, "grounding-t", published.SAMPLES, rows)

    verified = verify(view)

    behind = [f for f in verified.findings if f.kind == "behind"]
    assert [str(f.severity) for f in behind] == ["warning"]
    assert "1 accepted samples are not packed, 8 packed ones are gone" in behind[0].seen


def test_documents_are_typed(packed: Dataset) -> None:
    with tarfile.open(shard(packed)) as tar:
        member = next(m for m in tar if m.name.endswith(".json"))
        stream = tar.extractfile(member)
        assert stream is not None
        told = json.loads(stream.read())
    assert arrow.plain(arrow.typed(PackedSample, told)) == told
