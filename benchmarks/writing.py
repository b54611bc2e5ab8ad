"""Writing shards: ours against webdataset's, the same members and bytes in the same order, in turn.

Ours hashes every member and the shard, gives the place of each member and writes Energon's index; `synced` adds what
publishing a pack does, a sync of every file. So does `webdataset + our promises`, which is webdataset's writer with the
same things done around it. Beside them the floor: the same bytes hashed once, copied in memory, and written in one go
with a sync.

    python benchmarks/writing.py --rounds 5
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import statistics
import tarfile
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import webdataset
from measure import Result, bars, say

from reelmill.sinks.shards import Limits, Member, ShardWriter

FRAMES, JSON_BYTES, CUT = 6, 4_000, 1_000
SIZES = {"frames of 10 kB": (10_000, 6_000), "frames of 60 kB": (60_000, 1_500)}
"""Bytes of a frame, and how many samples of six frames and one JSON are written."""
TARGET = 0.8
Samples = Sequence[tuple[str, list[Member]]]


def samples(frame_bytes: int, number: int) -> Samples:
    """Random bytes: nothing on the way looks at them. Buffers are shared, so that memory holds a few megabytes."""
    pool = [os.urandom(frame_bytes + i) for i in range(64)]
    texts = [os.urandom(JSON_BYTES // 2).hex().encode() for _ in range(16)]
    return [
        (
            f"{i:026d}",
            [
                Member("json", texts[i % 16]),
                *(Member(f"f{n:03d}.jpg", pool[(i * 7 + n) % 64]) for n in range(FRAMES)),
            ],
        )
        for i in range(number)
    ]


def ours(made: Samples, folder: Path) -> None:
    """As the pack writes: one call a sample, index rows kept."""
    writer = ShardWriter(folder, "bench", "train", Limits(CUT, 2**40))
    index = [row for key, members in made for row in writer.add(key, members)]
    assert len(writer.close()) == -(-len(made) // CUT)
    assert len(index) == len(made) * (FRAMES + 1)


def synced(made: Samples, folder: Path) -> None:
    """As a published pack is: on disk."""
    ours(made, folder)
    for path in sorted(folder.rglob("*.tar*")):
        with path.open("rb") as stream:
            os.fsync(stream.fileno())


def bare(made: Samples, folder: Path) -> None:
    """webdataset as its users write: no index, no hash, no sync."""
    folder.mkdir(parents=True)
    with webdataset.ShardWriter(str(folder / "%06d.tar"), maxcount=CUT, verbose=0, mtime=0) as sink:
        for key, members in made:
            sink.write({"__key__": key, **{m.field: m.data for m in members}})


def promised(made: Samples, folder: Path) -> None:
    """webdataset, with the digests, the places and the sync that ours gives."""
    index = []

    def finish(path: str) -> None:
        with Path(path).open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
            os.fsync(stream.fileno())
        with tarfile.open(path) as tar:
            index.append((digest, [(m.name, m.offset_data, m.size) for m in tar]))

    folder.mkdir(parents=True)
    with webdataset.ShardWriter(str(folder / "%06d.tar"), maxcount=CUT, verbose=0, mtime=0, post=finish) as sink:
        for key, members in made:
            index.append((key, [hashlib.sha256(m.data).hexdigest() for m in members]))
            sink.write({"__key__": key, **{m.field: m.data for m in members}})


def raw(made: Samples, folder: Path) -> None:
    """The floor of the disk: the members' bytes alone, then a sync."""
    folder.mkdir(parents=True)
    with (folder / "raw").open("wb") as stream:
        for _, members in made:
            stream.write(b"".join(m.data for m in members))
        stream.flush()
        os.fsync(stream.fileno())


def hashed(made: Samples, folder: Path) -> None:
    """The floor of the digest: every byte once; ours needs it twice, per member and per shard."""
    del folder
    digest = hashlib.sha256()
    for _, members in made:
        for member in members:
            digest.update(member.data)


def copied(made: Samples, folder: Path) -> None:
    """The floor of memory: every byte copied once."""
    del folder
    room = bytearray(max(len(m.data) for _, members in made for m in members))
    for _, members in made:
        for member in members:
            room[: len(member.data)] = member.data


WORK: dict[str, Callable[[Samples, Path], None]] = {
    "reelmill": ours,
    "webdataset": bare,
    "reelmill, synced": synced,
    "webdataset + our promises": promised,
    "raw write + fsync": raw,
    "sha256 once": hashed,
    "memory copy": copied,
}


def timed(work: Callable[[Samples, Path], None], made: Samples) -> tuple[float, float]:
    """(wall, CPU) seconds of one run into an empty folder; what earlier runs left unwritten is waited for first."""
    folder = Path(tempfile.mkdtemp(prefix="writing-"))
    os.sync()
    try:
        wall, cpu = time.perf_counter(), time.process_time()
        work(made, folder / "out")
        return time.perf_counter() - wall, time.process_time() - cpu
    finally:
        shutil.rmtree(folder)


def require_equal_members(made: Samples) -> None:
    """Both writers hold the same members, byte for byte, or nothing is compared."""
    with tempfile.TemporaryDirectory(prefix="writing-") as folder:
        held = []
        for name, work in (("ours", ours), ("bare", bare)):
            work(made[:20], Path(folder) / name)
            (shard,) = sorted((Path(folder) / name).rglob("*.tar"))
            with tarfile.open(shard) as tar:
                held.append({m.name: tar.extractfile(m).read() for m in tar})  # type: ignore[union-attr]
        assert held[0] == held[1], "members differ"


def measured(name: str, rounds: int, page: Result) -> dict[str, float]:
    """Median MB/s by writer, and a table on the page."""
    frame_bytes, number = SIZES[name]
    made = samples(frame_bytes, number)
    require_equal_members(made)
    megabytes = sum(len(m.data) for _, members in made for m in members) / 1e6
    runs: dict[str, list[tuple[float, float]]] = {what: [] for what in WORK}
    for i in range(rounds):
        for what, work in WORK.items():
            runs[what].append(timed(work, made))
        say(f"{name}, round {i + 1} of {rounds}: " + ", ".join(f"{w} {r[-1][0]:.2f} s" for w, r in runs.items()))
    page.raw[name] = {"megabytes": megabytes, "samples": number, "runs (wall s, CPU s)": runs}
    wall = {what: statistics.median(w for w, _ in r) for what, r in runs.items()}
    cpu = {what: statistics.median(c for _, c in r) for what, r in runs.items()}
    rows = [
        (what, number / wall[what], megabytes / wall[what], cpu[what], _ratio(runs["webdataset"], runs[what]))
        for what in WORK
    ]
    page.note(f"{name}: {number} samples, {megabytes:.0f} MB, {CUT} samples a shard.")
    page.table(("what", "samples/s", "MB/s", "CPU-s", "times as fast as webdataset"), rows)
    return {f"{what}, {name}": megabytes / seconds for what, seconds in wall.items() if what in list(WORK)[:4]}


def _ratio(others: Sequence[tuple[float, float]], some: Sequence[tuple[float, float]]) -> float:
    """Median of the rounds' own ratios of wall time."""
    return statistics.median(o / s for (o, _), (s, _) in zip(others, some, strict=True))


def report(rounds: int) -> None:
    page = Result("writing", "Writing shards", rounds)
    speeds = {what: value for name in SIZES for what, value in measured(name, rounds, page).items()}
    worst = min(
        _ratio(r["runs (wall s, CPU s)"]["webdataset"], r["runs (wall s, CPU s)"]["reelmill"])
        for r in page.raw.values()
    )
    met = "met" if worst >= TARGET else "NOT met"
    page.note(f"Against webdataset's writer without hashes or sync: at least {worst:.2f}; {TARGET} wanted: {met}.")
    page.save(bars("MB/s of members", speeds))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    report(parser.parse_args().rounds)
