"""CPU-seconds of each decode backend: every frame of real clips, converted to a short side of 224 pixels.

Each measurement is a fresh process, so that imports and caches of one backend do not help another; the time to import
is left out. Medians of `--repeats` runs. The clips are read from REELMILL_MEDIA (default: ../shared/media).

    python benchmarks/decode_backends.py --repeats 5 > benchmarks/results/decode_backends-YYYY-MM-DD.md
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
from importlib import metadata
from pathlib import Path

CLIPS = ("nasa_13013.mp4", "lf_baby_reading.mp4", "vidor_3843663025.mp4", "sam2_cups.mp4")
BACKENDS = ("pyav", "decord", "torchcodec")
SHORT_SIDE_PX = 224


def measure(backend: str, path: str) -> dict[str, float]:
    """Decode one clip in this process: frames, CPU-seconds (user and system), peak memory."""
    from reelmill.annotators.decode.frames import BACKENDS as MODULES
    from reelmill.annotators.decode.frames import open_frames

    __import__(f"reelmill.annotators.decode.{MODULES[backend]}")
    if backend != "pyav":
        __import__("torchcodec.decoders" if backend == "torchcodec" else "decord")
    before = resource.getrusage(resource.RUSAGE_SELF)
    frames = sum(1 for frame in open_frames(path, backend=backend) if frame.rgb(SHORT_SIDE_PX).size)
    after = resource.getrusage(resource.RUSAGE_SELF)
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"frames": frames, "cpu_s": cpu_s, "peak_mb": after.ru_maxrss / 1024, "import_mb": before.ru_maxrss / 1024}


def measured(path: Path, repeats: int) -> dict[str, dict[str, float]]:
    """Medians over fresh processes, the backends in turn, so that a busy spell of the machine hits all of them."""
    runs: dict[str, list[dict[str, float]]] = {backend: [] for backend in BACKENDS}
    for _ in range(repeats):
        for backend in BACKENDS:
            command = [sys.executable, __file__, "--one", backend, str(path)]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            runs[backend].append(json.loads(done.stdout))
    return {b: {name: statistics.median(run[name] for run in r) for name in r[0]} for b, r in runs.items()}


def report(repeats: int) -> None:
    """Print a Markdown table."""
    media = Path(os.environ.get("REELMILL_MEDIA", "../shared/media")) / "videos"
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in ("av", "decord", "torchcodec", "torch"))
    print(f"# Decode backends, every frame at short side {SHORT_SIDE_PX}, medians of {repeats}\n")
    print(f"{platform.machine()}, {os.cpu_count()} CPUs (shared), Python {platform.python_version()}; {versions}\n")
    print("| clip | frames | backend | CPU-s | frames per CPU-s | peak MB over imports |\n|---|---|---|---|---|---|")
    for clip in CLIPS:
        for backend, got in measured(media / clip, repeats).items():
            speed, memory = got["frames"] / got["cpu_s"], got["peak_mb"] - got["import_mb"]
            line = f"| {clip} | {got['frames']:.0f} | {backend} | {got['cpu_s']:.2f} | {speed:.0f} | {memory:.0f} |"
            print(line, flush=True)
    print(f"\nLoad average at the end: {os.getloadavg()[0]:.1f}.")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--one", nargs=2, metavar=("BACKEND", "PATH"))
    given = parser.parse_args()
    if given.one:
        print(json.dumps(measure(*given.one)))
    else:
        report(given.repeats)


if __name__ == "__main__":
    main()
