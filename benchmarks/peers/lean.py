"""Reelmill's own functions without its house: what separates this from `reelmill run curated` is the house alone.

The same consumers over the same single decode, the same JPEG bytes, in two processes that are handed their files once;
no ledger, no isolation, no guard, no parts, no identification, no hashes of what was read or written.

    python benchmarks/peers/lean.py OUT VIDEO ...
"""

from __future__ import annotations

import dataclasses
import json
import multiprocessing
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

SHORT_SIDE_PX, EVERY_S = 224, 0.5


def samples(path: str) -> Iterator[dict[str, Any]]:
    """Dicts for ShardWriter: the frames of every accepted clip of a video, and its facts."""
    from reelmill.annotators.cut import JudgeRules, cut_video, is_still, judged
    from reelmill.annotators.cutting.shots import ShotRules
    from reelmill.annotators.cutting.shown import ShownRules
    from reelmill.schemas.media import Kind, MediaRef

    shots, judge = ShotRules(), JudgeRules()
    found = cut_video(path, None, 0, shots, ShownRules(every_s=EVERY_S, side_px=SHORT_SIDE_PX), "pyav")
    for number, shot in enumerate(found.shots):
        size = (found.width_px, found.height_px)
        media = MediaRef(path, "", Kind.VIDEO, *size, shot.span.duration_s, shot.source, "")
        if not judged(shot, media, shots, judge, "cut").accepted:
            continue
        facts = {"source": Path(path).name, "start_s": shot.source.start_s, "end_s": shot.source.end_s}
        told = facts | dataclasses.asdict(shot.stats) | {"still": is_still(shot, judge)}
        sample: dict[str, Any] = {"__key__": f"{Path(path).stem}-{number:03d}", "json": json.dumps(told).encode()}
        yield sample | {f"f{i:03d}.jpg": frame.jpeg for i, frame in enumerate(shot.frames)}


def work(out: str, number: int, paths: Sequence[str]) -> None:
    sys.modules["torch"] = None  # type: ignore[assignment] # webdataset would spend a second on importing it
    from webdataset import ShardWriter

    with ShardWriter(f"{out}/w{number}-%06d.tar", verbose=0) as writer:
        for path in paths:
            for sample in samples(path):
                writer.write(sample)


def main() -> int:
    out, *paths = sys.argv[1:]
    Path(out).mkdir(parents=True, exist_ok=True)
    spawn = multiprocessing.get_context("spawn")
    workers = [spawn.Process(target=work, args=(out, i, paths[i::2])) for i in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return max(worker.exitcode or 0 for worker in workers)


if __name__ == "__main__":
    sys.exit(main())
