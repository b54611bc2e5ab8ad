"""The bare script: what a person writes for this in an afternoon. Two processes, no rejects, no resume, no counts.

python benchmarks/peers/bare.py OUT VIDEO ...
"""

from __future__ import annotations

import io
import json
import multiprocessing
import sys
from pathlib import Path

import av
import cv2
import imagehash
import numpy as np
from PIL import Image
from scenedetect import ContentDetector, detect

sys.modules["torch"] = None  # as where it is not installed: webdataset would spend a second on importing it
from webdataset import ShardWriter  # noqa: E402

SHORT_SIDE_PX, EVERY_S = 224, 0.5


def samples(path):  # noqa: ANN001, ANN201 - a script is what it is compared as
    """Dicts for ShardWriter: the frames of every clip of a video, and its facts."""
    shots = detect(path, ContentDetector(threshold=27, min_scene_len=15), start_in_scene=True)
    spans = [(a.seconds, b.seconds) for a, b in shots]
    clips = [[] for _ in spans]
    with av.open(path) as container:
        stream = container.streams.video[0]
        size = (stream.width * SHORT_SIDE_PX // min(stream.width, stream.height), SHORT_SIDE_PX)
        for frame in container.decode(stream):
            number = next((i for i, (a, b) in enumerate(spans) if a <= frame.time < b), None)
            if number is None or frame.time < spans[number][0] + len(clips[number]) * EVERY_S:
                continue
            clips[number].append(frame.reformat(*size, format="rgb24").to_ndarray())
    for number, (span, frames) in enumerate(zip(spans, clips, strict=True)):
        grays = [cv2.cvtColor(f, cv2.COLOR_RGB2GRAY) for f in frames]
        flows = [cv2.calcOpticalFlowFarneback(a, b, None, 0.5, 3, 15, 3, 5, 1.2, 0) for a, b in zip(grays, grays[1:])]  # noqa: B905, RUF007
        motion = float(np.mean([np.linalg.norm(f, axis=2).mean() for f in flows])) if flows else 0.0
        phash = str(imagehash.phash(Image.fromarray(frames[len(frames) // 2])))
        facts = {"source": Path(path).name, "start_s": span[0], "end_s": span[1], "motion": motion, "phash": phash}
        sample = {"__key__": f"{Path(path).stem}-{number:03d}", "json": json.dumps(facts).encode()}
        for i, pixels in enumerate(frames):
            out = io.BytesIO()
            Image.fromarray(pixels).save(out, "JPEG", quality=90)
            sample[f"f{i:03d}.jpg"] = out.getvalue()
        yield sample


def work(out, number, paths):  # noqa: ANN001, ANN201
    cv2.setNumThreads(1)
    with ShardWriter(f"{out}/w{number}-%06d.tar", verbose=0) as writer:
        for path in paths:
            for sample in samples(path):
                writer.write(sample)


if __name__ == "__main__":
    out, *paths = sys.argv[1:]
    Path(out).mkdir(parents=True, exist_ok=True)
    spawn = multiprocessing.get_context("spawn")
    workers = [spawn.Process(target=work, args=(out, i, paths[i::2])) for i in range(2)]
    [worker.start() for worker in workers]
    [worker.join() for worker in workers]
    sys.exit(max(worker.exitcode for worker in workers))
