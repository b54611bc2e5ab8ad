"""Seeded videos with known cuts, made once into a cache folder, and how cuts that were found are scored.

Clips of 20 s, 640x360, 25 frames per second: 3 to 7 segments of three lavfi sources, hue-rotated, cut by frame, joined
and encoded by x264 in one thread. Neighbouring segments come from different sources, so that every cut is a cut.

    made(MediaSet("light", clips=16))   # -> {path: (cut times in seconds, ...)}
"""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

FPS = 25
_SOURCES = (
    "testsrc2=s=640x360:r={fps}",
    "mandelbrot=s=640x360:r={fps}",
    "life=s=160x90:r={fps}:mold=10:life_color=0x4080c0:death_color=0x305f90:seed={seed},scale=640:360:flags=neighbor",
)
_SHORTEST = FPS  # frames of a segment
_SETTLED = 50  # frames left out: a game of life begins with a flash
_RENDERER = "1"  # raise it when the same seed should give other videos


@dataclass(frozen=True, slots=True)
class MediaSet:
    """`clips` videos of `seconds`; with `segments` of 1 a video has no cut."""

    name: str
    clips: int
    seconds: int = 20
    segments: tuple[int, int] = (3, 7)
    seed: int = 5

    @property
    def folder(self) -> Path:
        return cache() / f"{self.name}-{self.clips}x{self.seconds}s-{self.seed}-r{_RENDERER}"

    @property
    def video_s(self) -> float:
        return float(self.clips * self.seconds)


Truth = dict[Path, tuple[float, ...]]


def cache() -> Path:
    """REELMILL_BENCH_CACHE, or a folder of the user's cache."""
    home = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(os.environ.get("REELMILL_BENCH_CACHE") or Path(home) / "reelmill" / "bench")


def made(wanted: MediaSet) -> Truth:
    """The videos of a set and where their cuts are; rendered unless they lie in the cache already."""
    marker = wanted.folder / "truth.json"
    if not marker.exists():
        aside = wanted.folder.with_name(f".{wanted.folder.name}-{os.getpid()}")
        shutil.rmtree(aside, ignore_errors=True)
        (aside / "videos").mkdir(parents=True)
        truth = {f"{i:03d}.mp4": _render(wanted, i, aside / "videos" / f"{i:03d}.mp4") for i in range(wanted.clips)}
        (aside / "truth.json").write_text(json.dumps(truth))
        shutil.rmtree(wanted.folder, ignore_errors=True)
        aside.rename(wanted.folder)
    said = json.loads(marker.read_text())
    return {wanted.folder / "videos" / name: tuple(cuts) for name, cuts in said.items()}


def _render(wanted: MediaSet, number: int, path: Path) -> list[float]:
    """One video; returns its cut times."""
    print(f"rendering {path.name} of {wanted.name}", file=sys.stderr, flush=True)
    rng = random.Random(f"{wanted.seed} {number}")
    edges = _edges(rng, wanted.seconds * FPS, rng.randint(*wanted.segments))
    graph, before = [], -1
    inputs: list[str] = []
    for i, (start, stop) in enumerate(pairwise(edges)):
        source = rng.choice([s for s in range(len(_SOURCES)) if s != before])
        spec = _SOURCES[source].format(fps=FPS, seed=rng.randrange(1, 10**6))
        inputs += ["-f", "lavfi", "-i", spec]
        kept = f"trim=start_frame={_SETTLED}:end_frame={_SETTLED + stop - start},setpts=PTS-STARTPTS"
        graph.append(f"[{i}]{kept},hue=h={rng.randrange(360)}[s{i}]")
        before = source
    joined = "".join(f"[s{i}]" for i in range(len(edges) - 1))
    graph.append(f"{joined}concat=n={len(edges) - 1},format=yuv420p[v]")
    words = ["-filter_complex", ";".join(graph), "-map", "[v]", "-c:v", "libx264", "-preset", "veryfast"]
    program = shutil.which("ffmpeg") or "ffmpeg"
    exact = ["-threads", "1", "-bitexact", "-flags:v", "+bitexact"]
    subprocess.run([program, "-v", "error", "-nostdin", "-y", *inputs, *words, *exact, str(path)], check=True)
    return [edge / FPS for edge in edges[1:-1]]


def _edges(rng: random.Random, frames: int, segments: int) -> list[int]:
    """Frame numbers at which segments begin, and the end; no segment is shorter than a second."""
    free = frames - segments * _SHORTEST
    inside = sorted(rng.randint(0, free) for _ in range(segments - 1))
    return [0, *(at + (i + 1) * _SHORTEST for i, at in enumerate(inside)), frames]


def real_videos() -> list[Path]:
    """Real videos of REELMILL_MEDIA (default ../shared/media); none where the folder is absent."""
    folder = Path(os.environ.get("REELMILL_MEDIA", "../shared/media")) / "videos"
    return sorted(p.resolve() for p in folder.glob("*") if p.is_file())


def score(found: Mapping[str, Sequence[float]], truth: Mapping[str, Sequence[float]]) -> tuple[float, int, int]:
    """F1 of cut times by file name, and how many are right of how many there are. A cut matches within two frames."""
    right = proposed = 0
    for name, cuts in truth.items():
        left = list(found.get(name, ()))
        proposed += len(left)
        for cut in cuts:
            match = min(left, key=lambda at: abs(at - cut), default=None)
            if match is not None and abs(match - cut) <= 2 / FPS + 1e-6:
                left.remove(match)
                right += 1
    known = sum(len(cuts) for cuts in truth.values())
    return 2 * right / max(1, proposed + known), right, known
