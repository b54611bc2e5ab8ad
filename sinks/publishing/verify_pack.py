"""Verification of a pack: files against the manifest, shards against the index, samples against the ledger."""

from __future__ import annotations

import hashlib
import json
import tarfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pyarrow.parquet as pq

from reelmill.schemas import arrow
from reelmill.schemas.errors import ReelmillError
from reelmill.sinks import catalog
from reelmill.sinks.dataset import Dataset
from reelmill.sinks.pack import MANIFEST
from reelmill.sinks.publishing import publish
from reelmill.sinks.publishing.findings import Finding, error, warning
from reelmill.sinks.publishing.packed import PackedSample, form_of

_Index = dict[str, dict[str, dict[str, Any]]]
"""shard -> member name -> index row."""


def is_packed(dataset: Dataset) -> bool:
    """True where something was published, also where it is damaged now."""
    return isinstance(dataset.place, Path) and (dataset.place / MANIFEST).is_symlink()


def check(dataset: Dataset, accepted: set[str], counts: Counter[str]) -> list[Finding]:
    """Findings about the pack of a dataset whose accepted children are `accepted`; adds to `counts` what it read."""
    root = publish.current(dataset)
    try:
        assert root is not None, "its generation is gone"
        said = json.loads((root / MANIFEST).read_text(encoding="utf-8"))
    except (AssertionError, OSError, ValueError) as trouble:
        return [error(MANIFEST, "a readable manifest", str(trouble), "manifest")]
    return [*_findings(root, said, accepted, counts)]


def _findings(root: Path, said: dict[str, Any], accepted: set[str], counts: Counter[str]) -> Iterator[Finding]:
    yield from _files(root, said, counts)
    index = {}
    try:
        index = _index(root, said)
    except (OSError, ValueError) as trouble:
        yield error("tables/index", "a readable index", str(trouble).splitlines()[0], "index")
    packed: dict[str, str] = {}
    sources: dict[str, set[str]] = {}
    for file in said["files"]:
        if file["path"].endswith(".tar"):
            yield from _shard(root, file, index.get(file["path"], {}), packed, sources)
    counts["packed samples"] = len(packed)
    yield from _against_ledger(said, set(packed), accepted)
    for digest, splits in sorted(sources.items()):
        if len(splits) > 1:
            yield error(f"source {digest}", "one split", " and ".join(sorted(splits)), "split_leak")
    yield from _catalog(root, said)


def _files(root: Path, said: dict[str, Any], counts: Counter[str]) -> Iterator[Finding]:
    listed = {f["path"] for f in said["files"]}
    for file in said["files"]:
        counts["packed files"] += 1
        path = root / file["path"]
        if not path.is_file():
            yield error(file["path"], f"{file['bytes']} bytes", "no such file", "file_missing")
            continue
        with path.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
        if (path.stat().st_size, digest) != (file["bytes"], file["sha256"]):
            declared = f"{file['bytes']} bytes, sha256 {file['sha256'][:12]}"
            yield error(file["path"], declared, f"{path.stat().st_size} bytes, sha256 {digest[:12]}", "file_bytes")
    for path in sorted(p for top in ("shards", "tables") for p in (root / top).rglob("*") if p.is_file()):
        if (name := path.relative_to(root).as_posix()) not in listed:
            yield error(name, "not in the manifest", f"{path.stat().st_size} bytes", "file_unlisted")


def _index(root: Path, said: dict[str, Any]) -> _Index:
    index: _Index = {}
    for file in said["files"]:
        if file["path"].startswith("tables/index/"):
            for row in pq.ParquetFile(root / file["path"]).read().to_pylist():
                index.setdefault(row["shard"], {})[f"{row['key']}.{row['member']}"] = row
    return index


def _shard(
    root: Path,
    file: dict[str, Any],
    index: dict[str, dict[str, Any]],
    packed: dict[str, str],
    sources: dict[str, set[str]],
) -> Iterator[Finding]:
    """One shard, member by member. `packed` (key -> shard) and `sources` (digest -> splits) gather over all shards."""
    name, seen, keys = file["path"], set(), []
    try:
        with tarfile.open(root / name, "r:") as tar:
            for info in tar:
                seen.add(info.name)
                data = _content(tar, info)
                yield from _member(f"{name} {info.name}", info, data, index.get(info.name))
                if info.name.endswith(".json"):
                    keys.append(info.name.removesuffix(".json"))
                    yield from _document(f"{name} {info.name}", keys[-1], data, file["split"], sources)
    except (tarfile.TarError, OSError, EOFError) as trouble:
        yield error(
            name, f"a tar of {file['samples']} samples", f"{type(trouble).__name__}: {trouble}", "shard_unreadable"
        )
    for missing in sorted(index.keys() - seen):
        yield error(f"{name} {missing}", "a member, by the index", "none in the shard", "member_missing")
    for key in keys:
        if key in packed:
            yield error(f"{name} {key}", "one sample per key", f"also in {packed[key]}", "duplicate_key")
        packed[key] = name
    bounds = (len(keys), keys[0], keys[-1]) if keys else (0, "", "")
    if bounds != (file["samples"], file["min_key"], file["max_key"]) or keys != sorted(keys):
        declared = f"{file['samples']} sorted samples from {file['min_key']} to {file['max_key']}"
        yield error(name, declared, f"{bounds[0]} from {bounds[1]} to {bounds[2]}", "shard_samples")


def _content(tar: tarfile.TarFile, info: tarfile.TarInfo) -> bytes:
    stream = tar.extractfile(info)
    return stream.read() if stream is not None else b""


def _member(where: str, info: tarfile.TarInfo, data: bytes, row: dict[str, Any] | None) -> Iterator[Finding]:
    if row is None:
        yield error(where, "a row of the index", "none", "member_unindexed")
        return
    digest = hashlib.sha256(data).hexdigest()
    if (row["offset"], row["size"], row["sha256"]) != (info.offset_data, len(data), digest):
        declared = f"{row['size']} bytes at {row['offset']}, sha256 {row['sha256'][:12]}"
        yield error(where, declared, f"{len(data)} at {info.offset_data}, sha256 {digest[:12]}", "member_bytes")


def _document(where: str, key: str, data: bytes, split: str, sources: dict[str, set[str]]) -> Iterator[Finding]:
    try:
        told = json.loads(data)
        sample: PackedSample = arrow.typed(form_of(told), told)
    except (ReelmillError, ValueError, TypeError) as trouble:
        yield error(where, "a packed sample", str(trouble), "sample_json")
        return
    if sample.key != key:
        yield error(where, f"key {key}", f"key {sample.key}", "sample_json")
    sources.setdefault(sample.media.digest, set()).add(split)


def _against_ledger(said: dict[str, Any], packed: set[str], accepted: set[str]) -> Iterator[Finding]:
    declared = sum(said["samples"].values())
    if declared != len(packed):
        yield error(MANIFEST, f"{declared} samples", f"{len(packed)} in the shards", "packed_count")
    if packed != accepted:
        seen = (
            f"{len(accepted - packed)} accepted samples are not packed, {len(packed - accepted)} packed ones are gone"
        )
        yield warning("pack", f"{len(packed)} packed samples, all that are accepted", f"{seen}; pack again", "behind")


def _catalog(root: Path, said: dict[str, Any]) -> Iterator[Finding]:
    try:
        seen = catalog.hashes(root / catalog.NAME)
    except (duckdb.Error, ReelmillError) as trouble:
        yield error(catalog.NAME, "a readable catalog", str(trouble).splitlines()[0], "catalog")
        return
    for table, digest in said["catalog"].items():
        if seen.get(table) != digest:
            yield error(f"{catalog.NAME} {table}", digest[:12], seen.get(table, "no table")[:12], "catalog")
