"""A small program that fills a dataset through the ledger alone, made to be killed; and what it must come to, worked
out apart from the ledger.

    python _writer.py PLACE NUM_KEYS SEED [--group 4] [--wait 0] [--s3 OPTIONS] [--worker TOKEN | --void | --collect]

`PLACE` is a `{store}/{name}/{version}`, a folder or s3:// (then reached by `S3Options` given as JSON). A driver says
`working` once it holds the lease. `--worker TOKEN` has no lease of its own: it commits groups for a driver that may be
dead, as workers on a cluster do. `--void` sends every third key back to pending, `--collect` frees garbage. The last
line of an undisturbed end is JSON: points reached, bytes freed. Errors end it as the command line does: one line, and
the error's exit code.

    python _writer.py --nursery [s3] SOCKET

forks copies of this program on demand (see `nursery.py`); with `s3` they have the client's imports done.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from nursery import serve
from recount import taken
from stormy import hurry

from reelmill.schemas import arrow
from reelmill.schemas.column import Column
from reelmill.schemas.errors import ReelmillError, StoreUnusable
from reelmill.schemas.keys import base32, canonical_json, child_key
from reelmill.schemas.media import NewFrame
from reelmill.schemas.points import times_reached
from reelmill.schemas.verdict import ACCEPTED, Verdict, rejected
from reelmill.sinks.dataset import PART, Dataset
from reelmill.sinks.parts import part_files
from reelmill.sinks.state.lease import Lease, held
from reelmill.sinks.state.place import Folder, place_at
from reelmill.sinks.state.s3 import SCHEME, S3Folder, S3Objects, S3Options
from reelmill.sinks.state.snapshot import Entry


@dataclass(frozen=True, slots=True)
class Piece:
    """A child."""

    key: str
    parent_key: str
    number: int
    verdict: Verdict


PIECES = Column.of("pieces", tuple[Piece, ...])
TEXT = Column.of("text", str)
FRAMES = Column.of("frames", tuple[NewFrame, ...])
IDENTITY = {"name": "made", "version": "1", "recipe": "made", "fingerprint": {"recipe": "made", "seed": 0}}


# ---- what there is to make: known without any ledger ---------------------------------------------------------------


def keys_of(number: int, seed: int) -> list[str]:
    return sorted(base32(hashlib.sha256(f"{seed}/{i}".encode()).digest()) for i in range(number))


def made(key: str, seed: int) -> dict[str, Any]:
    """The finished row of a key: a third rejected, 0 to 5 children of which some are rejected, 0 to 2 frames."""
    dice = hashlib.sha256(f"{seed}\n{key}".encode()).digest()
    refused = rejected("Make", f"dull_{dice[1] % 3}", f"dice {dice[1]}") if dice[0] % 3 == 0 else None
    pieces = [_piece(key, n, dice) for n in range(dice[2] % 6)]
    frames = [NewFrame(n, n / 8, 4, 3, dice * (1 + dice[4 + n] % 40)) for n in range(dice[3] % 3)]
    return {
        "key": key,
        "verdict": None if refused is None else arrow.plain(refused),
        "text": f"text {dice.hex()}",
        "frames": [arrow.plain(f) for f in frames],
        "pieces": [arrow.plain(p) for p in pieces],
    }


def _piece(parent: str, number: int, dice: bytes) -> Piece:
    verdict = rejected("Cut", "vowel", "") if dice[10 + number] % 4 == 0 else ACCEPTED
    return Piece(child_key(parent, "piece", number), parent, number, verdict)


def expected(keys: Sequence[str], seed: int) -> str:
    """What `promised` must say of a dataset that holds exactly these keys, done."""
    rows = [made(key, seed) for key in sorted(keys)]
    kept = [{n: r[n] for n in ("key", "text")} | {"verdict": r["verdict"] or arrow.plain(ACCEPTED)} for r in rows]
    children = [p for r in rows if r["verdict"] is None for p in r["pieces"]]
    frames = [[f["jpeg"] for f in r["frames"]] for r in rows]
    return _digest(kept, sorted(children, key=lambda c: str(c["key"])), frames)


def _digest(rows: list[dict[str, Any]], children: list[dict[str, Any]], frames: list[list[bytes]]) -> str:
    shown = [[hashlib.sha256(f).hexdigest() for f in of_row] for of_row in frames]
    return hashlib.sha256(canonical_json([rows, children, shown]).encode()).hexdigest()


# ---- what a dataset holds: asked of the readers, and read off its files ---------------------------------------------


def promised(dataset: Dataset) -> str:
    """Digest of what readers get: sorted rows, children and frame bytes, without facts about execution."""
    rows = dataset.rows().to_pylist()
    frames = [[dataset.frame(r[PART], f["offset"], f["size"]) for f in r["frames"]] for r in rows]
    kept = [{n: v for n, v in r.items() if n not in (PART, "frames")} for r in rows]
    return _digest(kept, dataset.children().drop_columns([PART]).to_pylist(), frames)


def recounted(folder: Path) -> str:
    """The same digest off the files, by the rules that the ledger's docstring states, without its code.

    Raises AssertionError where a row or child comes twice.
    """
    rows: list[dict[str, Any]] = []
    children: list[dict[str, Any]] = []
    frames: dict[str, list[bytes]] = {}
    for name, keys in taken(folder).items():
        files = {p.suffix: p for p in (folder / "parts").glob(f"{name}.*")}
        of_part = [r for r in pq.read_table(files[".rows"]).to_pylist() if r["key"] in keys]
        children += [c for c in pq.read_table(files[".children"]).to_pylist() if c["parent_key"] in keys]
        media = files[".media"].read_bytes() if ".media" in files else b""
        frames |= {r["key"]: [media[f["offset"] :][: f["size"]] for f in r.pop("frames")] for r in of_part}
        rows += of_part
    for table in (rows, children):
        table.sort(key=lambda r: str(r["key"]))
        assert len({r["key"] for r in table}) == len(table), "a key comes twice"
    return _digest(rows, children, [frames[r["key"]] for r in rows])


# ---- making it -------------------------------------------------------------------------------------------------------


def work(dataset: Dataset, lease: Lease, keys: Sequence[str], seed: int, group: int) -> None:
    """Make and commit keys, a group at a time."""
    for start in range(0, len(keys), group):
        rows = [made(key, seed) for key in keys[start : start + group]]
        outcomes, files = part_files(rows, (TEXT, FRAMES), PIECES)
        dataset.ledger.commit(lease, outcomes, files)


def drive(place: Folder, number: int, seed: int, group: int = 4, wait_s: float = 0.0) -> None:
    """One run, as the back ends do it: begin, take, list, work on what is pending, release."""
    ledger = Dataset(place).ledger
    ledger.begin(IDENTITY)
    lease = ledger.take(wait_s)
    say("working")
    with held(ledger.objects, lease):
        ledger.list_inputs(lease, [Entry.derived(k) for k in keys_of(number, seed)])
        work(Dataset(place), lease, ledger.pending(), seed, group)


def void(place: Folder, every: int = 3) -> None:
    """Send every third (or so) key back to pending."""
    ledger = Dataset(place).ledger
    with held(ledger.objects, ledger.take()) as lease:
        ledger.void(lease, sorted(ledger.winners().of_key)[::every])


def collect(place: Folder) -> int:
    ledger = Dataset(place).ledger
    with held(ledger.objects, ledger.take()) as lease:
        return ledger.collect(lease)


def say(line: str) -> None:
    """One line to whoever started this program, at once."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main() -> int:
    asked = argparse.ArgumentParser()
    asked.add_argument("place")
    asked.add_argument("number", type=int)
    asked.add_argument("seed", type=int)
    asked.add_argument("--group", type=int, default=4)
    asked.add_argument("--wait", type=float, default=0.0)
    asked.add_argument("--s3", default="{}")
    asked.add_argument("--worker", type=int)
    asked.add_argument("--void", action="store_true")
    asked.add_argument("--collect", action="store_true")
    args = asked.parse_args()
    say("ready")
    try:
        freed = _do(args)
    except ReelmillError as error:
        sys.stderr.write(f"{type(error).__name__}: {error}\n")
        return error.exit_code
    say(json.dumps({"points": times_reached(), "freed": freed}))
    return 0


def _do(args: argparse.Namespace) -> int:
    place = place_at(args.place)
    if args.place.startswith(SCHEME):
        place = S3Folder.at(args.place, S3Options(**json.loads(args.s3)))
    if args.worker is not None:
        keys = keys_of(args.number, args.seed)[::-1]  # the driver starts at the other end
        work(Dataset(place), Lease(args.worker), keys, args.seed, args.group)
    elif args.void:
        void(place)
    elif args.collect:
        return collect(place)
    else:
        drive(place, args.number, args.seed, args.group, args.wait)
    return 0


def _warm() -> None:
    """Make a client, and have it fail: nothing listens there."""
    with contextlib.suppress(StoreUnusable):
        S3Objects(S3Folder("nowhere", "", S3Options("http://127.0.0.1:9", attempts=1))).list("")
    hurry()


if __name__ == "__main__":
    if sys.argv[1] == "--nursery":
        if "s3" in sys.argv:
            _warm()
        serve(int(sys.argv[-1]), main)
    else:
        sys.exit(main())
