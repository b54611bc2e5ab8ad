"""The ledger: which keys of a dataset are done, by whom, with what verdict, so that a killed run resumes to the same rows.

    dataset.json                     identity: recipe, version, fingerprint
    snapshots/<token>.parquet        the inputs, as listed by run <token>
    leases/<token>.json              one writer at a time; the number is the fencing token
    seals/<token>.json               the commits of earlier tokens that run <token> found: later ones are void
    parts/<hash>-<token>.*           rows, children and media of one group of keys
    commits/<hash>-<token>.json      the same group's keys, child counts and verdicts: a group counts once this exists
    faults/<hash>-<token>.json       keys that failed by our fault: they stay pending
    voids/<token>.json               keys sent back to pending by `retry`

A commit is valid when its token is the newest, or when the first seal after its token names it. Every key has one winner:
the valid commit with the smallest (token, hash) that was not voided. Pending = live keys of the snapshot - keys with a
winner; nothing else is remembered, and so nothing can disagree.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from reelmill.schemas import arrow
from reelmill.schemas.errors import BadInput, Corrupt, Drift
from reelmill.schemas.keys import canonical_json, group_hash
from reelmill.sinks import lease as leases
from reelmill.sinks import snapshot as snapshots
from reelmill.sinks.lease import Lease
from reelmill.sinks.objects import Objects
from reelmill.sinks.points import reach
from reelmill.sinks.snapshot import Change, Entry

FORMAT = 1


@dataclass(frozen=True, slots=True)
class KeyOutcome:
    """What became of one key: its state, and how many children it made and how many of them were accepted."""

    key: str
    state: str
    children: int
    accepted_children: int


@dataclass(frozen=True, slots=True)
class Commit:
    """One group of keys that is done. `files` maps a suffix (rows, children, media) to its size and sha256."""

    hash: str
    token: int
    keys: tuple[KeyOutcome, ...]
    files: dict[str, dict[str, Any]]
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return f"{self.hash}-{self.token:06d}"

    def part(self, suffix: str) -> str:
        return f"parts/{self.name}.{suffix}"


@dataclass(frozen=True, slots=True)
class Winners:
    """The commits that count, and for each done key the name of the one that it is taken from."""

    commits: dict[str, Commit]
    of_key: dict[str, str]

    def keys_of(self, name: str) -> set[str]:
        """Keys that are taken from one commit."""
        return {o.key for o in self.commits[name].keys if self.of_key.get(o.key) == name}


def parquet_bytes(table: pa.Table) -> bytes:
    """A table as one zstd Parquet file: the same rows give the same bytes under the same library version."""
    sink = io.BytesIO()
    pq.write_table(table, sink, compression="zstd", compression_level=3)
    return sink.getvalue()


def parquet_table(data: bytes, columns: Sequence[str] | None = None) -> pa.Table:
    return pq.read_table(pa.BufferReader(data), columns=list(columns) if columns is not None else None)


class Ledger:
    """The state of one dataset, over an object store. Cheap to make; holds nothing that is not in the store."""

    def __init__(self, objects: Objects, name: str) -> None:
        self.objects, self.name = objects, name

    # ---- identity -----------------------------------------------------------------------------------------------

    def identity(self) -> dict[str, Any] | None:
        """What `dataset.json` says, None where the dataset was never begun. Raises BadInput on a newer format."""
        try:
            said: dict[str, Any] = json.loads(self.objects.get("dataset.json"))
        except FileNotFoundError:
            return None
        if said["format"] > FORMAT:
            raise BadInput(
                f"dataset {self.name}", seen=f"format {said['format']}", do=f"use a newer reelmill than {FORMAT}"
            )
        return said

    def begin(self, identity: dict[str, Any]) -> None:
        """Write the identity, or compare it with the one that is there. Raises Drift with each field that differs."""
        said = json.loads(canonical_json({"format": FORMAT, **identity}))
        if self.objects.put_if_absent("dataset.json", canonical_json(said).encode()):
            return
        known = self.identity() or {}
        lines = differences(known.get("fingerprint"), said["fingerprint"])
        if lines:
            do = "give the recipe a new version (--as-version V), use --dev, or revert the change"
            raise Drift(f"dataset {self.name}", seen="; ".join(lines), do=do)

    # ---- snapshot -----------------------------------------------------------------------------------------------

    def snapshot(self) -> tuple[Entry, ...]:
        """The newest snapshot, empty before the first run."""
        names = self.objects.list("snapshots")
        if not names:
            return ()
        return tuple(arrow.from_table(Entry, parquet_table(self.objects.get(f"snapshots/{names[-1]}"))))

    def list_inputs(self, lease: Lease, listed: Iterable[Entry]) -> Change:
        """Lay a new listing over the snapshot; write it where it differs."""
        old = self.snapshot()
        new = snapshots.merge(old, listed)
        changed = snapshots.change(old, new)
        if new != old:
            data = parquet_bytes(arrow.to_table(Entry, new))
            self.objects.put(f"snapshots/{lease.token:06d}.parquet", data)
            reach("snapshot.written")
        return changed

    # ---- lease and seal -----------------------------------------------------------------------------------------

    def take(self, wait_s: float = 0.0, waiting: Callable[[dict[str, Any]], None] = lambda holder: None) -> Lease:
        """Take the lease and seal what was committed before it. Raises Busy as `lease.take` does."""
        lease = leases.take(self.objects, what=f"dataset {self.name}", wait_s=wait_s, waiting=waiting)
        self.seal(lease)
        return lease

    def seal(self, lease: Lease) -> None:
        """Name the commits of earlier leases that count; whatever they write from now on is void."""
        unsealed = self._unsealed_tokens(lease.token)
        names = [n for n in self._commit_names() if _token_of(n) in unsealed]
        self.objects.put_if_absent(f"seals/{lease.token:06d}.json", canonical_json(names).encode())
        reach("seal.written")

    def _unsealed_tokens(self, token: int) -> set[int]:
        seals = [int(n.split(".")[0]) for n in self.objects.list("seals")]
        last = max((s for s in seals if s < token), default=0)
        return set(range(last, token))

    def _commit_names(self) -> list[str]:
        return [n.removesuffix(".json") for n in self.objects.list("commits")]

    def valid_commit_names(self) -> list[str]:
        """Names of the commits that count, sorted by (token, hash)."""
        sealed: dict[int, set[str]] = {}
        for name in self.objects.list("seals"):
            sealed[int(name.split(".")[0])] = set(json.loads(self.objects.get(f"seals/{name}")))
        order = sorted(sealed)

        def counts(name: str) -> bool:
            seal = next((s for s in order if s > _token_of(name)), None)
            return seal is None or name in sealed[seal]

        return sorted(filter(counts, self._commit_names()), key=lambda n: (_token_of(n), n))

    # ---- commit -------------------------------------------------------------------------------------------------

    def commit(
        self,
        lease: Lease,
        outcomes: Sequence[KeyOutcome],
        files: dict[str, bytes],
        seconds: dict[str, float] | None = None,
    ) -> Commit:
        """Write the part files of a group of keys, then the commit that makes them count.

        Raises StaleWriter where a newer lease was taken, StoreUnusable where the store refuses.
        """
        leases.require_newest(self.objects, lease)
        described = {s: {"size": len(d), "sha256": hashlib.sha256(d).hexdigest()} for s, d in files.items()}
        made = Commit(group_hash([o.key for o in outcomes]), lease.token, tuple(outcomes), described, seconds or {})
        for suffix, data in files.items():
            self.objects.put(made.part(suffix), data)
        reach("part.written")
        leases.require_newest(self.objects, lease)
        reach("commit.before")
        self.objects.put(f"commits/{made.name}.json", canonical_json(_commit_json(made)).encode())
        reach("commit.written")
        return made

    def record_faults(self, lease: Lease, faults: dict[str, str]) -> None:
        """Keep why keys failed by our fault. They stay pending; the next run tries them again."""
        name = f"faults/{group_hash(sorted(faults))}-{lease.token:06d}.json"
        self.objects.put(name, canonical_json(faults).encode())

    def faults(self) -> dict[str, str]:
        """Last known fault of each key that is still pending."""
        found: dict[str, str] = {}
        for name in sorted(self.objects.list("faults"), key=_token_of):
            found |= json.loads(self.objects.get(f"faults/{name}"))
        pending = set(self.pending())
        return {k: v for k, v in found.items() if k in pending}

    def void(self, lease: Lease, keys: Iterable[str]) -> None:
        """Send done keys back to pending: the commits of this moment no longer count for them."""
        winners = self.winners()
        voided = {k: winners.of_key[k] for k in keys if k in winners.of_key}
        self.objects.put(f"voids/{lease.token:06d}.json", canonical_json(voided).encode())

    # ---- what counts --------------------------------------------------------------------------------------------

    def read_commit(self, name: str) -> Commit:
        said = json.loads(self.objects.get(f"commits/{name}.json"))
        keys = tuple(KeyOutcome(*k) for k in said["keys"])
        return Commit(said["hash"], said["token"], keys, said["files"], said["seconds"])

    def winners(self) -> Winners:
        """For every done key of the live snapshot, the one commit that it is taken from."""
        live, voided = snapshots.live_keys(self.snapshot()), self._voided()
        commits: dict[str, Commit] = {}
        of_key: dict[str, str] = {}
        for name in self.valid_commit_names():
            commits[name] = made = self.read_commit(name)
            for outcome in made.keys:
                if outcome.key in live and outcome.key not in of_key and (outcome.key, name) not in voided:
                    of_key[outcome.key] = name
        return Winners(commits, of_key)

    def _voided(self) -> set[tuple[str, str]]:
        found: set[tuple[str, str]] = set()
        for name in self.objects.list("voids"):
            found |= set(json.loads(self.objects.get(f"voids/{name}")).items())
        return found

    def pending(self) -> list[str]:
        """Live keys that nobody has committed, sorted."""
        return sorted(snapshots.live_keys(self.snapshot()) - self.winners().of_key.keys())

    def part_bytes(self, commit: Commit, suffix: str) -> bytes:
        """A part file, checked against its commit. Raises Corrupt where size or sha256 differ or the file is gone."""
        try:
            data = self.objects.get(commit.part(suffix))
        except FileNotFoundError as error:
            raise Corrupt(
                f"{self.name}: {commit.part(suffix)}", seen="no such object", do="`retry` its keys"
            ) from error
        want = commit.files[suffix]
        if hashlib.sha256(data).hexdigest() != want["sha256"]:
            seen = f"{len(data)} bytes of {want['size']}, sha256 differs from the commit"
            raise Corrupt(f"{self.name}: {commit.part(suffix)}", seen=seen, do="`retry` its keys")
        return data

    def garbage(self) -> list[str]:
        """Objects that nothing refers to: parts without a valid commit, void commits, leftovers of killed writers."""
        valid = set(self.valid_commit_names())
        used = {n for n in self.winners().of_key.values()} & valid
        parts = [f"parts/{n}" for n in self.objects.list("parts") if n.split(".")[0] not in used]
        return parts + [f"commits/{n}.json" for n in self._commit_names() if n not in valid]


def _token_of(name: str) -> int:
    """Token of `<hash>-<token>` with or without a suffix."""
    return int(name.split(".")[0].rsplit("-", 1)[1])


def _commit_json(commit: Commit) -> dict[str, Any]:
    return {
        "format": FORMAT,
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
