"""The ledger: which keys of a dataset are done, by whom, with what verdict, so that a killed run resumes to the same
rows.

    dataset.json                     identity: recipe, version, fingerprint
    snapshots/<token>.*.parquet      the inputs, as listed by run <token>
    leases/<token>.json              one writer at a time; the number is the fencing token
    seals/<token>.json               what run <token> found of earlier tokens: commits, voids and snapshot that count
    parts/<hash>-<token>.<sha>.*     rows, children and media of one group of keys
    commits/<hash>-<token>.json      the same group's keys, child counts and verdicts: a group counts once this exists
    voids/<hash>-<token>.json        keys sent back to pending by `retry`, and the commits that no longer count for them
    faults/<hash>-<token>.json       keys that failed by our fault: they stay pending

A commit is valid when no seal covers its token, or when the seal that does names it. Every key has one winner: the
valid commit with the smallest (token, hash) that was not voided for it. Pending = live keys of the snapshot - keys with
a winner; nothing else is remembered, and so nothing can disagree. What counts is never written over.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice
from typing import Any, NamedTuple, overload

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from reelmill.schemas.errors import Corrupt, Drift, Fault
from reelmill.schemas.keys import canonical_json, group_hash
from reelmill.schemas.points import reach
from reelmill.sinks.state import keyed
from reelmill.sinks.state import lease as leases
from reelmill.sinks.state import snapshot as snapshots
from reelmill.sinks.state.keyed import Keys, Numbered
from reelmill.sinks.state.lease import Lease
from reelmill.sinks.state.objects import Objects
from reelmill.sinks.state.records import FORMAT, read_record, record_bytes, record_of, require_known
from reelmill.sinks.state.snapshot import Change, Entry

_NAME = {
    "commits": re.compile(r"[a-z2-7]{26}-(\d{6,})\.json"),
    "voids": re.compile(r"[a-z2-7]{26}-(\d{6,})\.json"),
    "faults": re.compile(r"[a-z2-7]{26}-(\d{6,})\.json"),
    "seals": re.compile(r"(\d{6,})\.json"),
    "snapshots": re.compile(r"(\d{6,})\.\d{3,}\.([0-9a-f]{16})\.parquet"),
    "parts": re.compile(r"[a-z2-7]{26}-(\d{6,})\.[0-9a-f]{16}\.[a-z]+"),
}
_FORMAT_MARK = b"reelmill.format"
_PACK = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False)
_READERS, _READ_BLOCK = 8, 64
"""Threads that read commits, and how many each takes at a time."""


class KeyOutcome(NamedTuple):
    """What became of one key: its state, and how many children it made and how many of them were accepted."""

    key: str
    state: str
    children: int
    accepted_children: int


class Outcomes(Sequence[KeyOutcome]):
    """The outcomes of one commit, packed: a reader holds those of every key there is. Equal to a tuple of the same."""

    __slots__ = ("_packed", "_size")

    def __init__(self, outcomes: Sequence[Sequence[Any]]) -> None:
        """`outcomes` are KeyOutcomes, or lists of the same four values."""
        self._packed, self._size = _PACK.encode(outcomes).encode(), len(outcomes)

    def __iter__(self) -> Iterator[KeyOutcome]:
        return (KeyOutcome(*row) for row in json.loads(self._packed))

    def __len__(self) -> int:
        return self._size

    @overload
    def __getitem__(self, i: int) -> KeyOutcome: ...
    @overload
    def __getitem__(self, i: slice) -> tuple[KeyOutcome, ...]: ...
    def __getitem__(self, i: int | slice) -> KeyOutcome | tuple[KeyOutcome, ...]:
        return tuple(self)[i]

    def __eq__(self, other: object) -> bool:
        return tuple(self) == tuple(other) if isinstance(other, (Outcomes, tuple)) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._packed)

    def __repr__(self) -> str:
        return repr(tuple(self))


@dataclass(frozen=True, slots=True)
class Commit:
    """One group of keys that is done. `files` maps a suffix (rows, children, media) to its size and sha256.

    `seconds` (processor time of the worker and its decode child) and `usage` (calls, tokens and cost of the models that
    were asked) are facts by step, for people.
    """

    hash: str
    token: int
    keys: Outcomes
    files: dict[str, dict[str, Any]]
    seconds: dict[str, float] = field(default_factory=dict)
    usage: dict[str, dict[str, float]] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return f"{self.hash}-{self.token:06d}"

    def part(self, suffix: str) -> str:
        """Name of a part file. Its sha256 is in it, so that another try at the same group never touches this one."""
        return f"parts/{self.name}.{self.files[suffix]['sha256'][:16]}.{suffix}"


@dataclass(frozen=True)
class Winners:
    """The commits that count, and for each done key the name of the one that it is taken from.

    `lost` names the keys of a commit that are taken from another one or from none; most commits have no such key.
    """

    commits: dict[str, Commit]
    lost: dict[str, frozenset[str]]

    def won(self, name: str) -> list[KeyOutcome]:
        """Outcomes of the keys that are taken from one commit."""
        lost = self.lost.get(name)
        return [o for o in self.commits[name].keys if lost is None or o.key not in lost]

    def keys_of(self, name: str) -> set[str]:
        """Keys that are taken from one commit."""
        return {o.key for o in self.won(name)}

    def used(self) -> list[str]:
        """Names of the commits that at least one key is taken from, sorted."""
        return sorted(n for n, made in self.commits.items() if len(self.lost.get(n, ())) < len(made.keys))

    @cached_property
    def numbered(self) -> Numbered:
        """For each done key, the place of its commit in `names`."""
        won = [keyed.encoded(o.key for o in self.won(name)) for name in self.names]
        owners = np.repeat(np.arange(len(won)), [len(keys) for keys in won])
        return Numbered.of(np.concatenate([keyed.encoded(()), *won]), owners)

    @cached_property
    def names(self) -> list[str]:
        return list(self.commits)

    @cached_property
    def of_key(self) -> Mapping[str, str]:
        """Name of the commit of each done key, keys in order."""
        return _Named(self.numbered, self.names)


class _Named(Mapping[str, str]):
    """Names by key, through their numbers."""

    def __init__(self, numbered: Numbered, names: Sequence[str]) -> None:
        self._numbered, self._names = numbered, names

    def __getitem__(self, key: str) -> str:
        return self._names[self._numbered[key]]

    def __iter__(self) -> Iterator[str]:
        return iter(self._numbered)

    def __len__(self) -> int:
        return len(self._numbered)


@dataclass(frozen=True, slots=True)
class _Seal:
    """What the taker of lease `token` found: it covers the tokens from `since` up to, and without, its own."""

    token: int
    since: int
    snapshot: str
    commits: frozenset[str]
    voids: frozenset[str]

    def names(self, folder: str) -> frozenset[str]:
        return self.commits if folder == "commits" else self.voids


def parquet_bytes(table: pa.Table) -> bytes:
    """A table as one zstd Parquet file: the same rows give the same bytes under the same library version."""
    sink = io.BytesIO()
    pq.write_table(table, sink, compression="zstd", compression_level=3)
    return sink.getvalue()


def parquet_table(data: bytes, columns: Sequence[str] | None = None) -> pa.Table:
    """The table in a part; of `columns` those that it has, in their order."""
    with pq.ParquetFile(pa.BufferReader(data)) as file:  # not `read_table`: its scanner costs more than a small part
        table = file.read(None if columns is None else list(columns), use_threads=False)
    return table if columns is None else table.select([n for n in columns if n in table.column_names])


class Ledger:
    """The state of one dataset, over an object store. Cheap to make; holds nothing that is not in the store."""

    def __init__(self, objects: Objects, name: str) -> None:
        self.objects, self.name = objects, name

    # ---- identity -----------------------------------------------------------------------------------------------

    def identity(self) -> dict[str, Any] | None:
        """What `dataset.json` says, None where the dataset was never begun. Raises BadInput on a newer format."""
        try:
            return self._record("dataset.json", "restore it from a copy, or build the dataset anew")
        except FileNotFoundError:
            return None

    def begin(self, identity: dict[str, Any]) -> None:
        """Write the identity, or compare it with the one that is there. Raises Drift with each field that differs."""
        if self.objects.put_if_absent("dataset.json", record_bytes(identity)):
            return
        known = self.identity() or {}
        lines = differences(known.get("fingerprint"), _as_stored(identity["fingerprint"]))
        if lines:
            do = "give the recipe a new version (--as-version V), use --dev, or revert the change"
            raise Drift(f"dataset {self.name}", seen="; ".join(lines), do=do)

    # ---- snapshot -----------------------------------------------------------------------------------------------

    def snapshot(self) -> tuple[Entry, ...]:
        """The newest snapshot, empty before the first run."""
        table = self._snapshot_table(None)
        return () if table is None else snapshots.entries_of(table)

    def snapshot_table(self, columns: Sequence[str] | None = None) -> pa.Table | None:
        """The newest snapshot as it is stored: a tenth of the memory of its entries. None before the first run."""
        return self._snapshot_table(columns)

    def live_keys(self) -> set[str]:
        """Keys with at least one live input: as `snapshot.live_keys` of the snapshot, without making its entries."""
        return set(keyed.strings(self._live()))

    def _live(self) -> Keys:
        table = self._snapshot_table(("key", "live"))
        return keyed.encoded(()) if table is None else snapshots.live_of(table)

    def list_inputs(self, lease: Lease, listed: Iterable[Entry]) -> Change:
        """Lay a new listing over the snapshot; write it where it differs. Raises StaleWriter after a newer lease."""
        old = self._snapshot_table(None)
        new, changed = snapshots.laid_over(old, listed)
        if new is not old and (old is not None or new.num_rows):
            self._put_snapshot(lease, parquet_bytes(new.replace_schema_metadata({_FORMAT_MARK: str(FORMAT)})))
        return changed

    def _put_snapshot(self, lease: Lease, data: bytes) -> None:
        leases.require_newest(self.objects, lease)
        before = sum(token == lease.token for token, _ in self._names("snapshots"))
        name = f"{lease.token:06d}.{before:03d}.{hashlib.sha256(data).hexdigest()[:16]}.parquet"
        self.objects.put(f"snapshots/{name}", data)
        reach("snapshot.written")

    def _snapshot_name(self, chain: Sequence[_Seal]) -> str:
        """Name of the snapshot that counts: the newest since the last seal, or the one that this seal found; or ''."""
        since = chain[-1].token if chain else 0
        newer = [(t, n) for t, n in self._names("snapshots") if t >= since]
        return max(newer)[1] if newer else chain[-1].snapshot if chain else ""

    def _snapshot_table(self, columns: Sequence[str] | None) -> pa.Table | None:
        name = self._snapshot_name(self._chain())
        if not name:
            return None
        what, mend = f"{self.name}: snapshots/{name}", "restore it from a copy, or build the dataset anew"
        try:
            data = self.objects.get(f"snapshots/{name}")
        except FileNotFoundError as error:
            raise Corrupt(what, seen="no such object, and it is the newest", do=mend) from error
        if hashlib.sha256(data).hexdigest()[:16] != name.split(".")[2]:
            raise Corrupt(what, seen=f"{len(data)} bytes with another sha256 than its name says", do=mend)
        metadata = pq.read_schema(pa.BufferReader(data)).metadata or {}
        require_known(what, int(metadata.get(_FORMAT_MARK, b"0")))
        return parquet_table(data, columns)

    # ---- lease and seal -----------------------------------------------------------------------------------------

    def take(self, wait_s: float = 0.0, waiting: Callable[[dict[str, Any]], None] = leases.untold) -> Lease:
        """Take the lease and seal what was committed before it. Raises Busy as `lease.take` does."""
        lease = leases.take(self.objects, what=f"dataset {self.name}", wait_s=wait_s, waiting=waiting)
        self.seal(lease)
        return lease

    def seal(self, lease: Lease) -> None:
        """Name what counts of earlier leases; whatever they write from now on is void. Raises StaleWriter too late."""
        chain = [s for s in self._chain() if s.token < lease.token]
        since = chain[-1].token if chain else 0
        found = {f: [n for t, n in self._names(f) if since <= t < lease.token] for f in ("commits", "voids")}
        said = {"token": lease.token, "since": since, "snapshot": self._snapshot_name(chain), **found}
        leases.require_newest(self.objects, lease)
        self.objects.put_if_absent(f"seals/{lease.token:06d}.json", record_bytes(said))
        reach("seal.written")

    def _chain(self) -> list[_Seal]:
        """The seals that count, oldest first: the newest, the one that it found, and so on.

        A taker that was held up between its lease and its seal (and lost the lease meanwhile) writes one that no later
        seal has found; it is no link of the chain, and so cannot bring back what was void.
        """
        chain: list[_Seal] = []
        token = max((t for t, _ in self._names("seals")), default=0)
        while token:
            chain.append(self._read_seal(token))
            token = chain[-1].since
        return chain[::-1]

    def _read_seal(self, token: int) -> _Seal:
        name, mend = f"seals/{token:06d}.json", "restore it from a copy, or build the dataset anew"
        try:
            said = self._record(name, mend)
        except FileNotFoundError as error:
            raise Corrupt(f"{self.name}: {name}", seen="no such object, but a later one names it", do=mend) from error
        return _Seal(token, said["since"], said["snapshot"], frozenset(said["commits"]), frozenset(said["voids"]))

    def _counting(self, folder: str) -> list[str]:
        """Names in `commits` or `voids` that count, without `.json`, sorted by (token, name)."""
        chain = self._chain()

        def counts(token: int, name: str) -> bool:
            seal = next((s for s in chain if s.since <= token < s.token), None)
            return seal is None or name in seal.names(folder)

        return [n.removesuffix(".json") for t, n in sorted(self._names(folder)) if counts(t, n)]

    def valid_commit_names(self) -> list[str]:
        """Names of the commits that count, sorted by (token, hash)."""
        return self._counting("commits")

    # ---- commit -------------------------------------------------------------------------------------------------

    def commit(
        self,
        lease: Lease,
        outcomes: Sequence[KeyOutcome],
        files: dict[str, bytes],
        seconds: dict[str, float] | None = None,
        usage: dict[str, dict[str, float]] | None = None,
    ) -> Commit:
        """Write the part files of a group of keys, then the commit that makes them count. Returns the one that counts:
        where the same lease committed the same keys before (a worker that is tried again), that earlier one.

        Raises StaleWriter where a newer lease was taken, StoreUnusable where the store refuses.
        """
        leases.require_newest(self.objects, lease)
        described = {s: {"size": len(d), "sha256": hashlib.sha256(d).hexdigest()} for s, d in files.items()}
        hashed = group_hash([o.key for o in outcomes])
        made = Commit(hashed, lease.token, Outcomes(list(outcomes)), described, seconds or {}, usage or {})
        for suffix, data in files.items():
            self.objects.put(made.part(suffix), data)
            reach("part.written")
        leases.require_newest(self.objects, lease)
        reach("commit.before")
        ours = self.objects.put_if_absent(f"commits/{made.name}.json", record_bytes(_commit_record(made)))
        reach("commit.written")
        return made if ours else self.read_commit(made.name)

    def record_faults(self, lease: Lease, faults: dict[str, str]) -> None:
        """Keep why keys failed by our fault. They stay pending; the next run tries them again."""
        name = f"faults/{group_hash(sorted(faults))}-{lease.token:06d}.json"
        self.objects.put(name, record_bytes({"keys": _speakable(faults)}))
        reach("fault.written")

    def faults(self) -> dict[str, str]:
        """Last known fault of each key that is still pending."""
        found: dict[str, str] = {}
        for _, name in sorted(self._names("faults")):
            found |= self._fault_keys(name)
        pending = set(self.pending()) if found else set()
        return {k: v for k, v in found.items() if k in pending}

    def _fault_keys(self, name: str) -> dict[str, str]:
        keys: dict[str, str] = self._record(f"faults/{name}", "delete it; it is only a note")["keys"]
        return keys

    def void(self, lease: Lease, keys: Iterable[str]) -> None:
        """Send done keys back to pending: no commit of this moment counts for them any longer.

        Keys must have been committed under earlier leases. Raises StaleWriter after a newer lease.
        """
        wanted, voided = set(keys), set[tuple[str, str]]()
        for name, said in self._commits_said():
            found = {(key, name) for key, *_ in said["keys"] if key in wanted}
            voided |= found
            if found and said["token"] == lease.token:
                what = f"{self.name}: keys to be voided under lease {lease.token}"
                raise Fault(what, seen="they were committed under that lease", do="release it and take another")
        if not voided:
            return
        leases.require_newest(self.objects, lease)
        name = f"voids/{group_hash([f'{k} {n}' for k, n in voided])}-{lease.token:06d}.json"
        self.objects.put(name, record_bytes({"voided": sorted(voided)}))
        reach("void.written")

    # ---- what counts --------------------------------------------------------------------------------------------

    def read_commit(self, name: str) -> Commit:
        """One commit. Raises FileNotFoundError, BadInput on a newer format, Corrupt where it is damaged."""
        return _commit(self._commit_said(name, self.objects.get(f"commits/{name}.json")))

    def _commit_said(self, name: str, data: bytes) -> dict[str, Any]:
        mend = "delete it: its keys will be pending again"
        said = record_of(data, f"{self.name}: commits/{name}.json", mend)
        seen = f"{said['hash']}-{said['token']:06d}"
        if seen != name:
            raise Corrupt(f"{self.name}: commits/{name}.json", seen=f"the contents of {seen}", do=mend)
        return said

    def _commits_said(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Every commit that counts, in order, as it is stored. Read side by side: there may be a hundred thousand."""
        names = self.valid_commit_names()
        blocks = [names[i : i + _READ_BLOCK] for i in range(0, len(names), _READ_BLOCK)]
        for block, read in zip(blocks, _side_by_side(self._read_commits, blocks), strict=True):
            for name, data in zip(block, read, strict=True):
                yield name, self._commit_said(name, data)

    def _read_commits(self, names: Sequence[str]) -> list[bytes]:
        return [self.objects.get(f"commits/{name}.json") for name in names]

    def winners(self, live: Collection[str] | Keys | None = None) -> Winners:
        """For every done key of the snapshot (or of `live`, where a reader has listed them), the commit that it is
        taken from."""
        wanted = self._live() if live is None else live if isinstance(live, np.ndarray) else _ascending(live)
        commits: dict[str, Commit] = {}

        def noted() -> Iterator[tuple[str, dict[str, Any]]]:
            for name, said in self._commits_said():
                commits[name] = _commit(said)
                yield name, said

        claims = _Claims.of(noted(), self._voided())
        return Winners(commits, claims.lost(wanted))

    def _voided(self) -> set[tuple[str, str]]:
        found: set[tuple[str, str]] = set()
        for name in self._counting("voids"):
            said = self._record(f"voids/{name}.json", "delete it, then `retry` what it was for")
            found |= {(key, commit) for key, commit in said["voided"]}
        return found

    def pending(self) -> list[str]:
        """Live keys that nobody has committed, sorted."""
        live = self._live()
        done = np.zeros(len(live), bool)
        at = keyed.places(live, _Claims.of(self._commits_said(), self._voided()).keys)
        done[at[at >= 0]] = True
        return keyed.strings(live[~done])

    def part_bytes(self, commit: Commit, suffix: str) -> bytes:
        """A part file, checked against its commit. Raises Corrupt where size or sha256 differ or the file is gone."""
        name, mend = commit.part(suffix), "`retry` its keys"
        try:
            data = self.objects.get(name)
        except FileNotFoundError as error:
            raise Corrupt(f"{self.name}: {name}", seen="no such object", do=mend) from error
        want = commit.files[suffix]
        if hashlib.sha256(data).hexdigest() != want["sha256"]:
            seen = f"{len(data)} bytes of {want['size']}, sha256 differs from the commit"
            raise Corrupt(f"{self.name}: {name}", seen=seen, do=mend)
        return data

    def broken(self) -> dict[str, str]:
        """Done keys whose part files are gone or damaged, with what is wrong: reads every part. Mend with `void`."""
        winners, found = self.winners(), dict[str, str]()
        for name in winners.used():
            try:
                for suffix in winners.commits[name].files:
                    self.part_bytes(winners.commits[name], suffix)
            except Corrupt as error:
                found |= dict.fromkeys(winners.keys_of(name), str(error))
        return found

    # ---- garbage ------------------------------------------------------------------------------------------------

    def garbage(self) -> list[str]:
        """Objects that nothing refers to, in a safe order of deletion.

        Commits that count for no live key (void ones too) come before their parts: killed in between, an input that
        returns is done again instead of missing its part. Then notes on faults that are over, snapshots that were
        followed by another, and what killed writers left half-written.
        """
        winners, snapshot = self.winners(), self._snapshot_name(self._chain())
        used = set(winners.used())
        kept = {winners.commits[n].part(s) for n in used for s in winners.commits[n].files}
        commits = [f"commits/{n}" for _, n in self._names("commits") if n.removesuffix(".json") not in used]
        parts = [p for _, n in self._names("parts") if (p := f"parts/{n}") not in kept]
        over = [f"snapshots/{n}" for _, n in self._names("snapshots") if n != snapshot]
        return [*commits, *parts, *self._faults_over(), *over, *self.objects.leftovers()]

    def _faults_over(self) -> list[str]:
        names = [n for _, n in self._names("faults")]
        pending = set(self.pending()) if names else set()
        return [f"faults/{n}" for n in names if pending.isdisjoint(self._fault_keys(n))]

    def collect(self, lease: Lease) -> int:
        """Delete the garbage; returns the bytes freed. Call it under a lease of its own, with no worker at work.

        Raises StaleWriter where a newer lease was taken.
        """
        freed = 0
        for name in self.garbage():
            leases.require_newest(self.objects, lease)
            freed += self.objects.delete(name)
            reach("garbage.deleted")
        return freed

    # ---- names and records --------------------------------------------------------------------------------------

    def _names(self, folder: str) -> list[tuple[int, str]]:
        """(token, name) of each object in one of our folders. Raises Corrupt on a name that is not ours."""
        found = [(_NAME[folder].fullmatch(n), n) for n in self.objects.list(folder)]
        foreign = next((n for match, n in found if match is None), None)
        if foreign is not None:
            raise Corrupt(f"{self.name}: {folder}", seen=f"{foreign!r}, which is no name of ours", do="move it away")
        return [(int(match[1]), n) for match, n in found if match]

    def _record(self, name: str, mend: str) -> dict[str, Any]:
        return read_record(self.objects, self.name, name, mend)


@dataclass(frozen=True, slots=True)
class _Claims:
    """Every (key, commit) that was not voided, in the order of commits: the first that names a live key wins it."""

    keys: Keys
    owners: keyed.Numbers
    names: list[str]
    void: dict[str, set[str]]

    @classmethod
    def of(cls, commits: Iterable[tuple[str, dict[str, Any]]], voided: set[tuple[str, str]]) -> _Claims:
        blocks, sizes, names = [keyed.encoded(())], list[int](), list[str]()
        void: dict[str, set[str]] = {}
        for key, commit in voided:
            void.setdefault(commit, set()).add(key)
        for name, said in commits:
            left = [key for key, *_ in said["keys"] if key not in void.get(name, ())]
            blocks.append(keyed.encoded(left))
            sizes.append(len(left))
            names.append(name)
        return cls(np.concatenate(blocks), np.repeat(np.arange(len(names)), sizes), names, void)

    def lost(self, live: Keys) -> dict[str, frozenset[str]]:
        """Keys that a commit holds and does not win, by its name: vanished, voided, or won by an earlier one."""
        at = keyed.places(live, self.keys)
        _, first, which = np.unique(at, return_index=True, return_inverse=True)
        winner = self.owners[first[which]] if len(at) else self.owners
        found: dict[str, set[str]] = {}
        for i in np.flatnonzero((at < 0) | (self.owners != winner)).tolist():
            found.setdefault(self.names[self.owners[i]], set()).add(self.keys[i].decode())
        for name in self.void.keys() & set(self.names):
            found.setdefault(name, set()).update(self.void[name])
        return {name: frozenset(keys) for name, keys in found.items()}


def _side_by_side(
    work: Callable[[Sequence[str]], list[bytes]], blocks: Sequence[Sequence[str]]
) -> Iterator[list[bytes]]:
    """Results of `work` in the order of `blocks`, a few at a time: an object store answers many as fast as one."""
    if len(blocks) < 2:
        yield from map(work, blocks)
        return
    waiting, flying = iter(blocks), list[Future[list[bytes]]]()
    with ThreadPoolExecutor(_READERS) as pool:
        flying += [pool.submit(work, block) for block in islice(waiting, 2 * _READERS)]
        while flying:
            yield flying.pop(0).result()
            flying += [pool.submit(work, block) for block in islice(waiting, 1)]


def _ascending(keys: Collection[str]) -> Keys:
    return keyed.ascending(keyed.encoded(keys))


def _commit(said: dict[str, Any]) -> Commit:
    keys, usage = Outcomes(said["keys"]), said.get("usage", {})
    return Commit(said["hash"], said["token"], keys, said["files"], said["seconds"], usage)


def _as_stored(value: Any) -> Any:
    """A value as JSON gives it back: tuples are lists."""
    return json.loads(canonical_json(value))


def _speakable(faults: dict[str, str]) -> dict[str, str]:
    """Fault texts in UTF-8: a traceback may quote a file name that is not."""
    return {k: v.encode(errors="backslashreplace").decode() for k, v in faults.items()}


def _commit_record(commit: Commit) -> dict[str, Any]:
    used = {"usage": commit.usage} if commit.usage else {}
    return used | {
        "hash": commit.hash,
        "token": commit.token,
        "keys": [[o.key, o.state, o.children, o.accepted_children] for o in commit.keys],
        "files": commit.files,
        "seconds": commit.seconds,
    }


def differences(known: Any, now: Any, path: str = "") -> list[str]:
    """Field-level diff of two plain values, one line per leaf that differs.

    >>> differences({"a": {"b": 1}}, {"a": {"b": 2}, "c": 3})
    ['a.b: was 1, is 2', 'c: was absent, is 3']
    """
    if isinstance(known, dict) and isinstance(now, dict):
        lines: list[str] = []
        for name in sorted(known.keys() | now.keys()):
            here = f"{path}.{name}" if path else name
            lines += differences(known.get(name, "absent"), now.get(name, "absent"), here)
        return lines
    if isinstance(known, list) and isinstance(now, list) and len(known) == len(now):
        return [
            line for i, (a, b) in enumerate(zip(known, now, strict=True)) for line in differences(a, b, f"{path}[{i}]")
        ]
    return [] if known == now else [f"{path}: was {_brief(known)}, is {_brief(now)}"]


def _brief(value: Any) -> str:
    text = value if isinstance(value, str) else canonical_json(value)
    return text if len(text) <= 80 else text[:77] + "..."
