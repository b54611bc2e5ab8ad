"""The whole embedded flow, step by step, each beside what the machine could do at best: how far are we from it?

Every dataset of `internvid_tg` and `ocr_rich` is made by a run of its own with one worker. Its cost is that run's
CPU-seconds less those of the same run with nothing to do. The limits are measured on the very same bytes: reading
packets and hashing for `media`, plain PyAV decode for `clips` and `tubes`, plain RapidOCR on what `text` read.

    python benchmarks/embedded_work.py --rounds 5
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median as middle
from typing import Any

from measure import Result, bars, cost, say
from peers.media import cache

CHAIN = ("media", "clips", "tubes", "events", "internvid_tg", "text", "ocr_rich")
DOES = {
    "media": "sniff, header, packets, probe, sha256",
    "clips": "decode, cuts, facts, JPEG",
    "tubes": "decode, background, blobs, tracks",
    "events": "two localisers over tubes and change maps",
    "internvid_tg": "dialogues, then pack and gallery",
    "text": "RapidOCR on frames that differ",
    "ocr_rich": "dialogues, then pack and gallery",
}
LIMIT_OF = {"media": "packets", "clips": "decode", "tubes": "decode", "text": "ocr"}
SCENES, SEED, PICTURES = 12, 60, 4


def media() -> Path:
    """Rendered scenes and pictures with text, made once into the cache."""
    from reelmill.pipelines.scenes.presets import PRESETS
    from reelmill.pipelines.scenes.render import render_set

    folder = cache() / f"scenes-{SCENES}-{SEED}-{PICTURES}"
    render_set(folder, SCENES, SEED, PRESETS["demo"], pictures=PICTURES)  # what is there is kept
    return folder


# ---- limits: each in a process of its own, which prints its CPU-seconds ----------------------------------------------


def packets(folder: Path) -> int:
    """Hash every file and read every packet."""
    import av

    for path in sorted(p for p in folder.iterdir() if p.suffix in (".mp4", ".png")):
        with path.open("rb") as stream:
            hashlib.file_digest(stream, "sha256")
    count = 0
    for path in sorted(folder.glob("*.mp4")):
        with av.open(str(path)) as container:
            count += sum(1 for _ in container.demux(video=0))
    return count


def decode(folder: Path) -> int:
    """Decode every frame on one thread and look at none."""
    import av

    count = 0
    for path in sorted(folder.glob("*.mp4")):
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            stream.codec_context.thread_count = 1
            count += sum(1 for _ in container.decode(stream))
    return count


def ocr(store: Path) -> Callable[[], int]:
    """RapidOCR as it comes, one thread, on the frames that `text` read, at the size at which it read them."""
    from reelmill.annotators.ocr.rapid import RapidLines
    from reelmill.annotators.shown import decoded
    from reelmill.annotators.text import ReadText, framed
    from reelmill.sinks.dataset import Store

    clips, step = Store(store).find("clips-e"), ReadText()
    read = {r["key"]: r["text_frames"] for r in Store(store).find("text-e").rows().to_pylist()}
    pictures = []
    for row in clips.children().to_pylist():
        for frame in row["frames"]:
            if frame["frame"] in read.get(row["key"], ()):
                rgb = decoded(clips.frame(row["part"], frame["offset"], frame["size"]))
                grow = min(step.most_enlarged, max(1.0, step.short_px / min(rgb.shape[:2])))
                pictures.append(framed(rgb, min(grow, step.long_px / max(rgb.shape[:2]))))
    rapid = RapidLines()._rapid

    def work() -> int:
        for picture in pictures:
            rapid(picture, use_cls=False)
        return len(pictures)

    return work


def limit(name: str, store: Path) -> dict[str, float]:
    """CPU-seconds and how many things were looked at; imports and models are made ready before the clock starts."""
    __import__("av")
    folder = media()
    plain = {"packets": packets, "decode": decode}
    work = partial(plain[name], folder) if name in plain else ocr(store)
    started = time.process_time()
    count = work()
    return {"cpu_s": time.process_time() - started, "count": count}


def disk(store: Path, folder: Path) -> dict[str, float]:
    """Write the store's files again, each with an fsync, and hash them; wall seconds."""
    files = [p.read_bytes() for p in sorted(store.rglob("*")) if p.is_file() and not p.is_symlink()]
    started = time.monotonic()
    for i, data in enumerate(files):
        with (folder / f"{i}").open("wb") as out:
            out.write(data)
            out.flush()
            os.fsync(out.fileno())
    written_s, started = time.monotonic() - started, time.monotonic()
    for data in files:
        hashlib.sha256(data).hexdigest()
    hashed_s = time.monotonic() - started
    return {"files": len(files), "mb": sum(map(len, files)) / 1e6, "write_s": written_s, "hash_s": hashed_s}


# ---- the flow --------------------------------------------------------------------------------------------------------


def measured_flow(store: Path) -> dict[str, dict[str, float]]:
    """Cost of each dataset above that of the same run with nothing to do."""
    found = {}
    for name in CHAIN:
        words = ["run", name, "--media", str(media()), "--store", str(store), "--name", "e", "--workers", "1"]
        argv = [sys.executable, "-m", "reelmill.jobs.cli", *words]
        full, idle = cost(argv), cost(argv)
        record = json.loads(next(store.glob(f"{name}-e/*/record.json")).read_text())
        found[name] = {
            "cpu_s": max(0.0, full.cpu_s - idle.cpu_s),
            "wall_s": max(0.0, full.wall_s - idle.wall_s),
            "idle_cpu_s": idle.cpu_s,
            "step_s": sum(record["step_seconds"].values()),
        }
        say(f"{name}: {found[name]['cpu_s']:.2f} CPU-s of work, {idle.cpu_s:.2f} with nothing to do")
    return found


def measured_limit(name: str, store: Path) -> dict[str, float]:
    words = [sys.executable, __file__, "--limit", name, str(store)]
    done = subprocess.run(words, check=True, capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
    said: dict[str, float] = json.loads(done.stdout.strip().splitlines()[-1])
    say(f"limit {name}: {said['cpu_s']:.2f} CPU-s for {said['count']:.0f}")
    return said


def one_round(folder: Path) -> dict[str, dict[str, float]]:
    shutil.rmtree(folder / "store", ignore_errors=True)
    shutil.rmtree(folder / "disk", ignore_errors=True)
    (folder / "disk").mkdir(parents=True)
    found = measured_flow(folder / "store")
    for name in dict.fromkeys(LIMIT_OF.values()):
        found[f"limit {name}"] = measured_limit(name, folder / "store")
    found["disk"] = disk(folder / "store", folder / "disk")
    return found


def medians(rounds: list[dict[str, dict[str, float]]]) -> dict[str, dict[str, float]]:
    return {n: {f: middle(r[n][f] for r in rounds) for f in rounds[0][n]} for n in rounds[0]}


def put_on(page: Result, found: dict[str, dict[str, float]]) -> None:
    rows: list[tuple[Any, ...]] = []
    for name in CHAIN:
        best = found.get(f"limit {LIMIT_OF.get(name)}")
        times = found[name]["cpu_s"] / best["cpu_s"] if best else "-"
        limited = f"{best['cpu_s']:.2f} ({LIMIT_OF[name]}, {best['count']:.0f})" if best else "none"
        rows.append((name, DOES[name], found[name]["cpu_s"], found[name]["step_s"], limited, times))
    page.note(f"{SCENES} rendered scenes and {PICTURES} pictures, one worker.")
    page.table(
        ("dataset", "does", "CPU-s", "its steps, wall s", "limit CPU-s (what, how many)", "times the limit"), rows
    )
    total, wall = (sum(found[n][f] for n in CHAIN) for f in ("cpu_s", "wall_s"))
    idle = max(found[n]["idle_cpu_s"] for n in CHAIN)
    d = found["disk"]
    page.note(f"Together {total:.1f} CPU-s, {wall:.1f} s; a run with nothing to do costs at most {idle:.2f} CPU-s.")
    shares = f"{d['write_s'] / wall:.1%} and {d['hash_s'] / wall:.1%} of the flow's wall time"
    page.note(
        f"The store holds {d['files']:.0f} files, {d['mb']:.1f} MB. To write them again with an fsync each takes "
        f"{d['write_s']:.2f} s, to hash them {d['hash_s']:.3f} s: {shares}."
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--limit", nargs=2, metavar=("NAME", "STORE"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.limit:
        print(json.dumps(limit(given.limit[0], Path(given.limit[1]))))
        return
    media()
    page = Result("embedded_work", "The embedded flow, step by step", rounds=given.rounds)
    with tempfile.TemporaryDirectory(prefix="embedded-") as folder:
        rounds = [one_round(Path(folder)) for _ in range(given.rounds)]
    page.raw = {"rounds": rounds}
    found = medians(rounds)
    put_on(page, found)
    page.save(bars("CPU-seconds by dataset", {n: found[n]["cpu_s"] for n in CHAIN}))


if __name__ == "__main__":
    main()
