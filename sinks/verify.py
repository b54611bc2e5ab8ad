"""Verification: recount a dataset from its bytes at every level, and say each thing that is not as declared.

    ledger    every part against its commit, every row against its schema, every child against its parent, one winner
              per key, counts from parts == counts from commits == counts that close
    samples   frames resolvable, times in [0, duration), boxes inside the frame, one span per `<time>`
    pack      every file against the manifest, every shard member against the index, sources in one split, catalog equal

Findings are data: verification never stops at the first one, and never raises over what it finds.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from reelmill.schemas import arrow
from reelmill.schemas.errors import Corrupt, ReelmillError
from reelmill.schemas.keys import group_hash
from reelmill.schemas.media import ShownFrame
from reelmill.schemas.sample import WORDLESS, GroundedSample, Role, Sample, StreamSample, Turn, kind_of
from reelmill.schemas.tube import Box
from reelmill.schemas.verdict import State, Verdict
from reelmill.sinks.dataset import Dataset
from reelmill.sinks.ledger import Commit, parquet_table
from reelmill.sinks.publishing import verify_pack
from reelmill.sinks.publishing.findings import Finding, Severity, error
from reelmill.sinks.publishing.frames import StoredFrames
from reelmill.sinks.publishing.view import store_of
from reelmill.sinks.state import snapshot as snapshots

TIME_MARK, TUBE_MARK = "<time>", "<tube>"
_SLACK_S = 1e-6
_SLACK_PX = 1e-6
_FRAMES = arrow.type_of(tuple[ShownFrame, ...])

__all__ = ["Finding", "Severity", "Verified", "sample_findings", "verify"]


@dataclass(frozen=True, slots=True)
class Verified:
    """What was looked at (`counts`: what -> how many) and every finding."""

    dataset: str
    counts: dict[str, int]
    findings: tuple[Finding, ...]

    @property
    def ok(self) -> bool:
        """True where nothing is in error; warnings may stand."""
        return not any(f.severity is Severity.ERROR for f in self.findings)

    def __str__(self) -> str:
        looked = ", ".join(f"{n} {what}" for what, n in self.counts.items())
        state = "sound" if self.ok else "NOT SOUND"
        return "\n".join([f"{self.dataset}: {state}; looked at {looked}", *(str(f) for f in self.findings)])


@dataclass
class _Read:
    """What could be read of a dataset, and what was found on the way."""

    findings: list[Finding] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    rows: dict[str, str] = field(default_factory=dict)  # key -> state, winners only
    children: dict[str, tuple[str, bool]] = field(default_factory=dict)  # key -> (parent, accepted), winners only
    of_samples: list[Finding] = field(default_factory=list)  # told after those of the ledger
    schemas: dict[str, pa.Schema] = field(default_factory=dict)


def verify(dataset: Dataset) -> Verified:
    """Recount and check a dataset and, where it is packed, its pack. Raises NotFound on one that was never begun."""
    _ = dataset.identity
    read = _Read()
    if not _readable(dataset, read):
        return Verified(dataset.label, dict(read.counts), tuple(read.findings))
    frames = StoredFrames(store_of(dataset))
    for name in sorted(dataset.winners.used()):  # what a retry voided is garbage, whole or not
        _check_commit(dataset, dataset.winners.commits[name], frames, read)
    _check_counts(dataset, read)
    read.findings += read.of_samples
    if verify_pack.is_packed(dataset):
        accepted = {key for key, (_, kept) in read.children.items() if kept}
        read.findings += verify_pack.check(dataset, accepted, read.counts)
    return Verified(dataset.label, dict(read.counts), tuple(read.findings))


# ---- ledger ---------------------------------------------------------------------------------------------------------


def _readable(dataset: Dataset, read: _Read) -> bool:
    """Whether the ledger's records can be read; where not, each one that cannot is a finding."""
    try:
        names = dataset.ledger.valid_commit_names()
    except ReelmillError as trouble:
        read.findings.append(error(trouble.what, "a readable ledger", trouble.seen, "ledger"))
        return False
    for name in names:
        try:
            dataset.ledger.read_commit(name)
        except (ReelmillError, FileNotFoundError) as trouble:
            seen = trouble.seen if isinstance(trouble, ReelmillError) else "no such object"
            read.findings.append(error(f"commits/{name}.json", "a readable commit", seen, "corrupt_commit"))
    if not read.findings:
        try:
            _ = dataset.winners
        except ReelmillError as trouble:  # the snapshot or a void
            read.findings.append(error(trouble.what, "a readable ledger", trouble.seen, "ledger"))
    return not read.findings


def _check_commit(dataset: Dataset, commit: Commit, frames: StoredFrames, read: _Read) -> None:
    read.counts["commits"] += 1
    where = f"commits/{commit.name}.json"
    declared = group_hash([o.key for o in commit.keys])
    if declared != commit.hash:
        read.findings.append(error(where, f"hash {declared} of its keys", commit.hash, "commit_hash"))
    parts = {suffix: _part(dataset, commit, suffix, read) for suffix in commit.files}
    keys = dataset.winners.keys_of(commit.name)
    rows = _table(parts.get("rows"), commit, "rows", read)
    children = _table(parts.get("children"), commit, "children", read)
    if rows is not None:
        _check_rows(commit, rows, keys, read)
    if children is not None:
        _check_children(commit, children, keys, read)
        _check_outcomes(commit, children, read)
        _check_samples(children, keys, frames, read)
    for suffix, table in (("rows", rows), ("children", children)):
        if table is not None and parts.get("media") is not None:
            _check_frames(commit, suffix, table, parts["media"] or b"", read)


def _part(dataset: Dataset, commit: Commit, suffix: str, read: _Read) -> bytes | None:
    where, want = commit.part(suffix), commit.files[suffix]
    read.counts["parts"] += 1
    try:
        data = dataset.ledger.objects.get(where)
    except FileNotFoundError:
        read.findings.append(error(where, f"{want['size']} bytes", "no such object", "part_missing"))
        return None
    digest = hashlib.sha256(data).hexdigest()
    if digest != want["sha256"]:
        seen = f"{len(data)} bytes, sha256 {digest[:12]}"
        declared = f"{want['size']} bytes, sha256 {want['sha256'][:12]}"
        read.findings.append(error(where, declared, seen, "part_bytes"))
        return None
    return data


def _table(data: bytes | None, commit: Commit, suffix: str, read: _Read) -> pa.Table | None:
    """A part as a table of the same schema as the others of its kind; None (and a finding) where it is not."""
    if data is None:
        return None
    where = commit.part(suffix)
    try:
        table = parquet_table(data)
        table.validate(full=True)
    except (pa.ArrowInvalid, OSError) as trouble:
        read.findings.append(error(where, "a readable table", str(trouble).splitlines()[0], "part_unreadable"))
        return None
    known = read.schemas.setdefault(suffix, table.schema)
    if known != table.schema:
        seen = sorted(set(map(str, table.schema)) ^ set(map(str, known)))
        read.findings.append(error(where, "the schema of the other parts", f"differs in {seen}", "schema"))
        return None
    declared = arrow.schema_of(kind_of(table.column_names))
    if _is_view(table) and suffix == "children" and table.schema.remove_metadata() != declared:
        read.findings.append(error(where, f"{declared.names}", f"{table.schema.names}", "schema"))
        return None
    return table


def _is_view(table: pa.Table) -> bool:
    return {"task", "turns", "family"} <= set(table.column_names)


def _check_rows(commit: Commit, rows: pa.Table, keys: set[str], read: _Read) -> None:
    where = commit.part("rows")
    declared = {o.key: o.state for o in commit.keys}
    seen: dict[str, str] = {}
    for row in rows.select(["key", "verdict"]).to_pylist():
        read.counts["rows"] += 1
        if row["key"] in seen:
            read.findings.append(error(f"{where} {row['key']}", "one row per key", "the key twice", "duplicate_key"))
        seen[row["key"]] = row["verdict"]["state"]
        read.findings += _verdict_findings(f"{where} {row['key']}", row["verdict"])
    for key in sorted(declared.keys() | seen.keys()):
        if declared.get(key) != seen.get(key):
            where_key = f"{where} {key}"
            read.findings.append(
                error(where_key, declared.get(key) or "no such key", seen.get(key) or "no row", "row_state")
            )
    read.rows |= {k: s for k, s in seen.items() if k in keys}


def _verdict_findings(where: str, verdict: dict[str, Any]) -> Iterator[Finding]:
    said = arrow.typed(Verdict, verdict) if verdict["state"] in list(State) else None
    if said is None:
        yield error(where, "accepted or rejected", verdict["state"], "verdict")
    elif not said.accepted and not (said.step and said.reason):
        yield error(where, "a step and a reason", f"step {said.step!r}, reason {said.reason!r}", "verdict")


def _check_children(commit: Commit, children: pa.Table, keys: set[str], read: _Read) -> None:
    where = commit.part("children")
    owned = {o.key for o in commit.keys if o.state == State.ACCEPTED}
    for row in children.to_pylist():
        key, parent = row["key"], row["parent_key"]
        read.counts["children"] += 1
        read.findings += _verdict_findings(f"{where} {key}", row["verdict"])
        if parent not in owned:
            seen = f"parent {parent}"
            read.findings.append(error(f"{where} {key}", "an accepted row of its commit", seen, "parent_link"))
        if parent in keys and key in read.children:
            seen = f"also a child of {read.children[key][0]}"
            read.findings.append(error(f"{where} {key}", "one child per key", seen, "duplicate_key"))
        if parent in keys:
            read.children[key] = (parent, row["verdict"]["state"] == State.ACCEPTED)


def _check_outcomes(commit: Commit, children: pa.Table, read: _Read) -> None:
    """Children per row, as the commit says and as the part holds them."""
    held: Counter[str] = Counter()
    kept: Counter[str] = Counter()
    for row in children.select(["parent_key", "verdict"]).to_pylist():
        held[row["parent_key"]] += 1
        kept[row["parent_key"]] += row["verdict"]["state"] == State.ACCEPTED
    for outcome in commit.keys:
        declared = f"{outcome.children} children, {outcome.accepted_children} accepted"
        seen = f"{held[outcome.key]} children, {kept[outcome.key]} accepted"
        if declared != seen:
            where = f"{commit.part('children')} {outcome.key}"
            read.findings.append(error(where, declared, seen, "child_count"))


def _check_frames(commit: Commit, suffix: str, table: pa.Table, media: bytes, read: _Read) -> None:
    for column in (f.name for f in table.schema if f.type == _FRAMES):
        for key, frames in zip(table["key"].to_pylist(), table[column].to_pylist(), strict=True):
            for frame in frames or ():
                read.counts["frames"] += 1
                data = media[frame["offset"] : frame["offset"] + frame["size"]]
                if hashlib.sha256(data).hexdigest() != frame["sha256"]:
                    where = f"{commit.part(suffix)} {key} {column} {frame['frame']}"
                    declared = f"{frame['size']} bytes at {frame['offset']}, sha256 {frame['sha256'][:12]}"
                    read.findings.append(error(where, declared, f"{len(data)} other bytes", "frame_bytes"))


def _check_counts(dataset: Dataset, read: _Read) -> None:
    """The numbers that the winning commits give, against a recount of their parts."""
    winners = dataset.winners
    outcomes = [o for name in winners.commits for o in winners.won(name)]
    states = Counter(read.rows.values())
    kept = sum(accepted for _, accepted in read.children.values())
    live = len(snapshots.live_of(dataset.inputs)) if dataset.inputs is not None else 0
    pending = live - len(winners.numbered)
    read.counts["pending"] = pending
    for what, declared, seen in (
        ("accepted rows", sum(o.state == State.ACCEPTED for o in outcomes), states[State.ACCEPTED]),
        ("rejected rows", sum(o.state == State.REJECTED for o in outcomes), states[State.REJECTED]),
        ("children", sum(o.children for o in outcomes), len(read.children)),
        ("accepted children", sum(o.accepted_children for o in outcomes), kept),
        ("live inputs", live, len(read.rows) + pending),
    ):
        if declared != seen:
            read.findings.append(error(what, f"{declared} by the commits", f"{seen} in the parts", "counts"))


# ---- samples --------------------------------------------------------------------------------------------------------


def _check_samples(children: pa.Table, keys: set[str], frames: StoredFrames, read: _Read) -> None:
    kind = kind_of(children.column_names)
    if children.schema.remove_metadata() != arrow.schema_of(kind):
        return
    for row in children.to_pylist():
        if row["parent_key"] not in keys or row["verdict"]["state"] != State.ACCEPTED:
            continue
        read.counts["samples"] += 1
        try:
            sample = arrow.typed(kind, row)
        except (ReelmillError, ValueError) as trouble:
            read.of_samples.append(error(f"sample {row['key']}", "a Sample", str(trouble), "sample_type"))
            continue
        read.of_samples += [*sample_findings(sample), *_frame_findings(sample, frames)]


def sample_findings(sample: Sample) -> Iterator[Finding]:
    """What is wrong with one accepted sample by itself: times, boxes, placeholders, evidence of confidence."""
    where = f"sample {sample.key}"
    wanted = set() if sample.task == WORDLESS else set(Role)
    roles = {t.role for t in sample.turns}
    silent = isinstance(sample, StreamSample) and roles == {Role.USER}  # silence is an answer
    if roles != wanted and not silent:
        declared = "a question and an answer" if wanted else "no dialogue"
        yield error(where, declared, f"{[str(t.role) for t in sample.turns]}", "turns")
    for i, turn in enumerate(sample.turns):
        yield from _turn_findings(f"{where} turn {i}", turn, sample)
    times = [f.at_s for f in sample.frames]
    if times != sorted(set(times)):
        yield error(where, "frame times that rise", f"{times}", "frame_times")
    if any(not 0.0 <= t <= sample.media.duration_s for t in times):
        yield error(where, f"frame times in [0, {sample.media.duration_s}]", f"{times}", "frame_times")
    if not 0.0 <= sample.label_confidence <= 1.0:
        yield error(where, "a confidence in [0, 1]", f"{sample.label_confidence}", "confidence")
    if not sample.provenance:
        yield error(where, "provenance", "none", "provenance")
    if isinstance(sample, GroundedSample):
        yield from _tube_findings(where, sample)
    if isinstance(sample, StreamSample):
        yield from _stream_findings(where, sample)


def _stream_findings(where: str, sample: StreamSample) -> Iterator[Finding]:
    at_s, from_s, until_s = sample.turns_at_s, sample.watch_from_s, sample.watch_until_s
    if len(at_s) != len(sample.turns):
        yield error(where, f"a time for each of {len(sample.turns)} turns", f"{len(at_s)}", "stream_times")
    if list(at_s) != sorted(at_s) or any(not from_s <= t < until_s for t in at_s):
        yield error(where, f"turns in order in [{from_s}, {until_s})", f"{at_s}", "stream_times")
    if not 0.0 <= from_s < until_s <= sample.media.duration_s + _SLACK_S:
        yield error(where, f"watched in [0, {sample.media.duration_s}]", f"[{from_s}, {until_s})", "stream_times")


def _tube_findings(where: str, sample: GroundedSample) -> Iterator[Finding]:
    marks = sum(t.text.count(TUBE_MARK) for t in sample.turns)
    if marks != len(sample.tubes):
        yield error(where, f"{marks} {TUBE_MARK}", f"{len(sample.tubes)} tubes", "placeholders")
    for tube in sample.tubes:
        edges = [*tube.at_s, tube.end_s]
        if len(tube.at_s) != len(tube.boxes) or not tube.boxes:
            yield error(where, "a box for each time of a tube", f"{len(tube.at_s)}, {len(tube.boxes)}", "tube")
        if edges != sorted(set(edges)) or edges[0] < 0 or tube.end_s > sample.media.duration_s + _SLACK_S:
            yield error(where, f"times that rise in [0, {sample.media.duration_s}]", f"{edges}", "time_range")
        for box in (b for b in tube.boxes if not _inside(b, sample.media.width_px, sample.media.height_px)):
            yield error(
                where, f"boxes inside {sample.media.width_px} x {sample.media.height_px}", f"{box}", "box_range"
            )


def _turn_findings(where: str, turn: Turn, sample: Sample) -> Iterator[Finding]:
    spans = turn.src_s if turn.role is Role.USER else turn.tgt_s
    other = turn.tgt_s if turn.role is Role.USER else turn.src_s
    if turn.text.count(TIME_MARK) * 2 != len(spans) or other:
        declared = f"{turn.text.count(TIME_MARK)} {TIME_MARK} in a turn of {turn.role}"
        yield error(where, declared, f"{len(turn.src_s)} src_s, {len(turn.tgt_s)} tgt_s", "placeholders")
    for start, end in zip(spans[::2], spans[1::2], strict=False):
        if not 0.0 <= start < end <= sample.media.duration_s + _SLACK_S:
            declared = f"0 <= s < e <= {sample.media.duration_s}"
            yield error(where, declared, f"[{start}, {end})", "time_range")
    for box in turn.boxes:
        if not _inside(box, sample.media.width_px, sample.media.height_px):
            declared = f"a box inside {sample.media.width_px} x {sample.media.height_px}"
            yield error(where, declared, f"{box}", "box_range")


def _inside(box: Box, width_px: int, height_px: int) -> bool:
    wide = -_SLACK_PX <= box.x0_px <= box.x1_px <= width_px + _SLACK_PX
    return wide and -_SLACK_PX <= box.y0_px <= box.y1_px <= height_px + _SLACK_PX


def _frame_findings(sample: Sample, frames: StoredFrames) -> Sequence[Finding]:
    """Frames are what is stored, at their times; those of several clips moved to their film's, a clip as a whole."""
    found = []
    several = len({ref.key for ref in sample.frames}) > 1
    moved_s: dict[str, float] = {}
    for ref in sample.frames:
        where = f"sample {sample.key} frame {ref.frame}"
        try:
            shown = frames.find(ref)
        except Corrupt as trouble:
            found.append(error(where, f"a frame of {ref.dataset} {ref.key}", trouble.seen, "frame_ref"))
            continue
        by_s = moved_s.setdefault(ref.key, ref.at_s - shown.at_s) if several else 0.0
        if abs(shown.at_s + by_s - ref.at_s) > _SLACK_S:
            found.append(error(where, f"shown at {ref.at_s} s", f"stored at {shown.at_s} s", "frame_ref"))
    return found
