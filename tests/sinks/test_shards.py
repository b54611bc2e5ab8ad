"""Shards: what is written loads back equal with webdataset, and the bytes depend on the samples alone."""

from __future__ import annotations

import hashlib
import struct
import tarfile
from pathlib import Path

import pytest
import webdataset
from hypothesis import example, given
from hypothesis import strategies as st

from reelmill.schemas.errors import Corrupt
from reelmill.sinks.shards import Indexed, Limits, Member, Shard, ShardWriter, header, read_member, tar_size


def written(root: Path, samples: list[tuple[str, list[Member]]], limits: Limits) -> tuple[list[Shard], list[Indexed]]:
    writer = ShardWriter(root, "name", "train", limits)
    index = [row for key, members in samples for row in writer.add(key, members)]
    return writer.close(), index


def members(i: int) -> list[Member]:
    return [Member("json", b"{}"), *(Member(f"f{n:03d}.jpg", bytes([n]) * (100 * i + 1)) for n in range(i % 3))]


SAMPLES = [(f"key{i:02d}", members(i)) for i in range(11)]


def test_webdataset_reads_back_every_sample_with_all_its_members(tmp_path: Path) -> None:
    shards, _ = written(tmp_path, SAMPLES, Limits(samples=4))

    urls = [str(tmp_path / s.name) for s in shards]
    read = list(webdataset.WebDataset(urls, shardshuffle=False))

    assert [s["__key__"] for s in read] == [k for k, _ in SAMPLES]
    for sample, (_, want) in zip(read, SAMPLES, strict=True):
        assert {k: v for k, v in sample.items() if not k.startswith("__")} == {m.field: m.data for m in want}


def test_a_shard_ends_at_its_number_of_samples(tmp_path: Path) -> None:
    shards, _ = written(tmp_path, SAMPLES, Limits(samples=4))

    assert [(s.name, s.samples) for s in shards] == [
        (f"shards/name-train-{i:06d}.tar", n) for i, n in enumerate((4, 4, 3))
    ]
    assert [(s.min_key, s.max_key) for s in shards] == [("key00", "key03"), ("key04", "key07"), ("key08", "key10")]


def test_a_shard_ends_before_its_size_and_a_sample_is_never_cut(tmp_path: Path) -> None:
    limit = 3 * 2048
    shards, index = written(tmp_path, SAMPLES, Limits(bytes=limit))

    assert sum(s.samples for s in shards) == len(SAMPLES)
    assert len(shards) > 1
    for shard in shards:
        inside = [(k, m) for k, m in SAMPLES if shard.min_key <= k <= shard.max_key]
        assert len(inside) == 1 or sum(tar_size(m) for _, m in inside) <= limit
        assert {r.shard for r in index if r.key in dict(inside)} == {shard.name}


def test_the_same_samples_give_the_same_bytes_elsewhere(tmp_path: Path) -> None:
    one, _ = written(tmp_path / "a", SAMPLES, Limits(samples=4))
    two, _ = written(tmp_path / "b", SAMPLES, Limits(samples=4))

    assert one == two
    for shard in one:
        data = (tmp_path / "a" / shard.name).read_bytes()
        assert data == (tmp_path / "b" / shard.name).read_bytes()
        assert (len(data), hashlib.sha256(data).hexdigest()) == (shard.bytes, shard.sha256)


def test_headers_hold_no_clock_and_no_user(tmp_path: Path) -> None:
    shards, _ = written(tmp_path, SAMPLES, Limits())

    with tarfile.open(tmp_path / shards[0].name) as tar:
        for info in tar:
            assert (info.mtime, info.uid, info.gid, info.uname, info.gname, info.mode) == (0, 0, 0, "", "", 0o644)
            assert info.pax_headers == {}


def test_the_index_leads_to_every_member(tmp_path: Path) -> None:
    _, index = written(tmp_path, SAMPLES, Limits(samples=4))

    want = {(k, m.field): m.data for k, ms in SAMPLES for m in ms}
    assert {(r.key, r.member): read_member(tmp_path, r) for r in index} == want


def test_energon_offsets_are_those_of_the_samples_and_of_the_end(tmp_path: Path) -> None:
    shards, _ = written(tmp_path, SAMPLES, Limits())

    raw = (tmp_path / f"{shards[0].name}.idx").read_bytes()
    offsets = struct.unpack(f"<{len(raw) // 8}Q", raw)
    with tarfile.open(tmp_path / shards[0].name) as tar:
        infos = tar.getmembers()
        first = [i.offset for i in infos if i.name.endswith(".json")]
        end = tar.offset
    assert list(offsets) == [*first, end]


def test_a_flipped_byte_is_named(tmp_path: Path) -> None:
    _, index = written(tmp_path, SAMPLES, Limits())
    row = next(r for r in index if r.member == "f000.jpg")
    shard = tmp_path / row.shard
    data = bytearray(shard.read_bytes())
    data[row.offset] ^= 1
    shard.write_bytes(data)

    with pytest.raises(Corrupt, match=f"{row.key}.f000.jpg"):
        read_member(tmp_path, row)


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        (["a", "a"], "same key twice"),
        (["b", "a"], "comes after b"),
        (["has.dot"], "other signs"),
        (["Upper"], "other signs"),
        (["../up"], "other signs"),
    ],
)
def test_keys_that_readers_would_confuse_are_refused(tmp_path: Path, keys: list[str], said: str) -> None:
    writer = ShardWriter(tmp_path, "name", "train", Limits())

    for key in keys[:-1]:
        writer.add(key, members(1))
    with pytest.raises(Corrupt, match=said):
        writer.add(keys[-1], members(1))


@pytest.mark.parametrize("fields", [["JSON"], ["json", "json"], ["a/b"], [""]])
def test_fields_that_readers_would_confuse_are_refused(tmp_path: Path, fields: list[str]) -> None:
    writer = ShardWriter(tmp_path, "name", "train", Limits())

    with pytest.raises(Corrupt, match="field"):
        writer.add("a", [Member(f, b"") for f in fields])


def test_a_split_without_samples_has_no_shard(tmp_path: Path) -> None:
    assert ShardWriter(tmp_path, "name", "val", Limits()).close() == []
    assert not (tmp_path / "shards").exists()


@given(sizes=st.lists(st.integers(0, 3000), min_size=1, max_size=6))
def test_tar_size_is_what_a_sample_takes(tmp_path_factory: pytest.TempPathFactory, sizes: list[int]) -> None:
    root = tmp_path_factory.mktemp("size")
    given_members = [Member(f"f{i:03d}.jpg", b"x" * n) for i, n in enumerate(sizes)]
    shards, _ = written(root, [("a", given_members)], Limits())

    raw = (root / f"{shards[0].name}.idx").read_bytes()
    assert struct.unpack("<2Q", raw) == (0, tar_size(given_members))


@given(name=st.from_regex(r"[a-z0-9_-]{1,80}\.[a-z0-9]{1,9}(\.jpg)?", fullmatch=True), size=st.integers(0, 8**11 - 1))
@example(name="a" * 96 + ".jpg", size=0)
@example(name="a" * 95 + ".jpg", size=8**11 - 1)
def test_headers_are_those_of_tarfile(name: str, size: int) -> None:
    info = tarfile.TarInfo(name)
    info.mode, info.size = 0o644, size
    assert header(name, size) == info.tobuf(tarfile.USTAR_FORMAT)


def test_names_that_no_ustar_header_holds_are_refused() -> None:
    with pytest.raises(ValueError, match="too long"):
        header("a" * 97 + ".jpg", 1)


def test_a_disk_that_fills_is_told_by_the_writer_and_not_by_its_thread(tmp_path: Path) -> None:
    """The thread that writes is ahead by some blocks; what it met is raised where samples are added, or at the end."""
    (tmp_path / "shards").mkdir()
    (tmp_path / "shards" / "full-train-000000.tar.part").symlink_to("/dev/full")
    writer = ShardWriter(tmp_path, "full", "train", Limits())

    def add_many() -> None:
        for i in range(20):
            writer.add(f"{i:04d}", [Member("json", bytes(1 << 20))])

    with pytest.raises(OSError, match="No space left"):
        add_many()
    small = ShardWriter(tmp_path, "full", "train", Limits())
    small.add("0", [Member("json", b"{}")])
    with pytest.raises(OSError, match="No space left"):
        small.close()
