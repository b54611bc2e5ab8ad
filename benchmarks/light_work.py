"""Light work, raw videos to shards: cuts, frames at 2 per second, motion, hash, WebDataset. What does the house cost?

CPU-seconds of whole process trees, in turn on the same seeded set of known cuts: a bare script, the same functions as
ours without the house (`lean`), `reelmill run curated` on the local back end and on Ray, and plain Ray Data. The cost
of a run over one clip of a second is the fixed part; what the large set costs above it, per second, the marginal one.

    python benchmarks/light_work.py --rounds 5
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import sys
import tarfile
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from measure import Cost, Result, bars, cost, in_turn, median, say
from peers.media import MediaSet, Truth, made, real_videos, score

LARGE, SMALL = MediaSet("light", clips=16), MediaSet("one", clips=1, seconds=1, segments=(1, 1))
PEERS = Path(__file__).parent / "peers"
BARE, LEAN, OURS, ON_RAY, RAY_DATA = "bare script", "lean", "reelmill", "reelmill --on ray", "plain Ray Data"
DOES = {
    BARE: "two decodes, detector 27/15, flow, hash, JPEG, tar",
    LEAN: "our functions, one decode, no house",
    OURS: "lean, and identify, isolate, judge, commit, resume, pack, card, catalog, gallery",
    ON_RAY: "the same on a Ray of its own",
    RAY_DATA: "the bare script's function",
}


def command(name: str, videos: Sequence[Path], out: Path) -> list[str]:
    """What is measured, writing into `out`."""
    scripts = {BARE: "bare.py", LEAN: "lean.py", RAY_DATA: "ray_data.py"}
    if name in scripts:
        return [sys.executable, str(PEERS / scripts[name]), str(out), *map(str, videos)]
    media = [word for folder in sorted({v.parent for v in videos}) for word in ("--media", str(folder))]
    words = ["run", "curated", *media, "--store", str(out), "--name", "light", "--workers", "2"]
    on = ["--on", "ray"] if name == ON_RAY else []
    return [sys.executable, "-m", "reelmill.jobs.cli", *words, "--set", "short_side_px=224", *on]


def begun(out: Path) -> dict[str, list[float]]:
    """Where clips begin inside each video, by what a command wrote into its shards; the first of a video left out."""
    found: dict[str, list[float]] = {}
    names = _names(out)
    shards = {p.resolve() for p in out.rglob("*.tar")}
    for shard in sorted(shards):
        with tarfile.open(shard) as tar:
            for member in tar:
                if member.name.endswith(".json"):
                    stream = tar.extractfile(member)
                    assert stream is not None, "a sample is a file"
                    name, start_s = _start(json.load(stream), names)
                    found.setdefault(name, []).extend([start_s] if start_s > 0 else [])
    return found


def _start(told: dict[str, object], names: Mapping[str, str]) -> tuple[str, float]:
    media = told.get("media")
    if isinstance(media, dict):
        return names[media["digest"]], media["span"]["start_s"] if media["span"] else 0.0
    return str(told["source"]), float(str(told["start_s"]))


def _names(store: Path) -> dict[str, str]:
    """File names by digest, from our table of sources."""
    import pyarrow.parquet as pq

    tables = [pq.read_table(p).to_pylist() for p in store.glob("*/*/tables/sources/*.parquet")]
    return {row["digest"]: row["name"] for rows in tables for row in rows}


class Bench:
    """Runs commands into folders that are empty each time."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def out(self, name: str, videos: Sequence[Path]) -> Path:
        return self.folder / f"{name.replace(' ', '_')}-{len(videos)}"

    def rounds(self, names: Sequence[str], videos: Sequence[Path], rounds: int) -> dict[str, list[Cost]]:
        commands = {n: command(n, videos, self.out(n, videos)) for n in names}
        return in_turn(commands, rounds, before=lambda n: shutil.rmtree(self.out(n, videos), ignore_errors=True))

    def peak_mb(self, name: str, videos: Sequence[Path]) -> float:
        shutil.rmtree(self.out(name, videos), ignore_errors=True)
        peak = cost(command(name, videos, self.out(name, videos)), memory=True).peak_mb
        say(f"memory, {name}: {peak:.0f} MB PSS at most")
        return peak


def quality(bench: Bench, names: Sequence[str], truth: Truth) -> dict[str, tuple[float, int, int]]:
    """Cut F1 of what the last run of each command wrote."""
    cuts = {path.name: times for path, times in truth.items()}
    return {n: score(begun(bench.out(n, list(truth))), cuts) for n in names}


def measured(bench: Bench, names: Sequence[str], truth: Truth, rounds: int) -> tuple[dict[str, list[Cost]], ...]:
    large = bench.rounds(names, list(truth), rounds)
    small = bench.rounds(names, list(made(SMALL)), rounds)
    return large, small


def report(page: Result, bench: Bench, rounds: int, ray_rounds: int) -> dict[str, float]:
    """Measure the made set and put it on the page; returns CPU-seconds by command."""
    truth = made(LARGE)
    names = [BARE, LEAN, OURS]
    large, small = measured(bench, names, truth, rounds)
    if ray_rounds:
        for found, more in zip((large, small), measured(bench, [ON_RAY, RAY_DATA], truth, ray_rounds), strict=True):
            found.update(more)
        names += [ON_RAY, RAY_DATA]
    f1 = quality(bench, names, truth)
    peaks = {n: bench.peak_mb(n, list(truth)) for n in names}
    for n in names:
        page.keep(f"{n}, {LARGE.video_s:g} s", large[n])
        page.keep(f"{n}, {SMALL.video_s:g} s", small[n])
    page.note(f"{LARGE.clips} made videos, {LARGE.video_s:g} s, {sum(map(len, truth.values()))} known cuts.")
    page.table(
        ("what", "does", "n", "CPU-s", "ratio to bare", "to lean", "CPU-s per video-s", "wall s", "cut F1", "PSS MB"),
        [
            (
                *(n, DOES[n], len(large[n]), median(large[n], "cpu_s")),
                *(ratio(large[n], large[BARE]), ratio(large[n], large[LEAN])),
                *(median(large[n], "cpu_s") / LARGE.video_s, median(large[n], "wall_s")),
                *(f"{f1[n][0]:.3f} ({f1[n][1]} of {f1[n][2]})", peaks[n]),
            )
            for n in names
        ],
    )
    _parts(page, names, large, small)
    return {n: median(large[n], "cpu_s") for n in names}


def _parts(page: Result, names: Sequence[str], large: dict[str, list[Cost]], small: dict[str, list[Cost]]) -> None:
    seconds = LARGE.video_s - SMALL.video_s
    slope = {n: (median(large[n], "cpu_s") - median(small[n], "cpu_s")) / seconds for n in names}
    page.note(f"Fixed: a run over one clip of {SMALL.video_s:g} s. Marginal: what the large set costs above it.")
    page.table(
        ("what", "fixed CPU-s", "fixed wall s", "marginal CPU-s per video-s", "marginal to bare", "to lean"),
        [
            (
                *(n, median(small[n], "cpu_s"), median(small[n], "wall_s"), slope[n]),
                *(slope[n] / slope[BARE], slope[n] / slope[LEAN]),
            )
            for n in names
        ],
    )


def ratio(some: Sequence[Cost], others: Sequence[Cost]) -> float:
    """Median of the rounds' own ratios, as far as both have rounds; CPU-seconds."""
    return statistics.median(a.cpu_s / b.cpu_s for a, b in zip(some, others, strict=False))


def report_real(page: Result, bench: Bench, rounds: int) -> None:
    """Real videos, in rows of their own: nobody knows their cuts."""
    videos = real_videos()
    if not videos or not rounds:
        page.note("Real videos: none at hand (REELMILL_MEDIA), not measured.")
        return
    names = (BARE, LEAN, OURS)
    costs = bench.rounds(names, videos, rounds)
    clips = {n: sum(len(starts) + 1 for starts in begun(bench.out(n, videos)).values()) for n in names}
    page.note(f"{len(videos)} real videos of REELMILL_MEDIA, no truth.")
    page.table(
        ("what", "n", "CPU-s", "ratio to bare", "ratio to lean", "clips"),
        [
            (n, len(c), median(c, "cpu_s"), ratio(c, costs[BARE]), ratio(c, costs[LEAN]), clips[n])
            for n, c in costs.items()
        ],
    )
    for n, c in costs.items():
        page.keep(f"{n}, real", c)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--ray-rounds", type=int, default=2, help="0 leaves Ray out")
    parser.add_argument("--real-rounds", type=int, default=1, help="0 leaves real videos out")
    given = parser.parse_args()
    page = Result("light_work", "Light work: what the house costs", rounds=given.rounds)
    with tempfile.TemporaryDirectory(prefix="light-work-") as folder:
        cpu_s = report(page, Bench(Path(folder)), given.rounds, given.ray_rounds)
        report_real(page, Bench(Path(folder)), given.real_rounds)
    page.save(bars(f"CPU-seconds for {LARGE.video_s:g} s of video", cpu_s, limit=("bare script", cpu_s[BARE])))


if __name__ == "__main__":
    main()
