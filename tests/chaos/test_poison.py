"""A thousand inputs of which ten are bad in ten ways: 990 are accepted, ten are named with their true reasons.

Three of the bad ones break the decoder itself: it loops for ever, eats memory, crashes the process. The default is a
smaller set with the same ten; `make chaos` takes the thousand.
"""

from __future__ import annotations

import os
import struct
import subprocess
import zipfile
import zlib
from pathlib import Path

import numpy as np
import poisoned
import pytest
import recount

from reelmill.annotators.decode.isolated import Isolated
from reelmill.pipelines._recipe import Place
from reelmill.pipelines._run import Local, run
from reelmill.schemas.errors import Unusable

FULL = os.environ.get("REELMILL_CHAOS") == "full"
GOOD = 990 if FULL else 30
CRASHES = 100 if FULL else 5
pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200 if FULL else 240)]

REASONS = {
    "empty.mp4": "empty_file",
    "half.mp4": "truncated_no_index",
    "notes.mp4": "not_media",
    "sound.mp4": "audio_only",
    "packed.mp4": "archive",
    "bomb.png": "too_many_pixels",
    "black.mp4": "black",
    "loop.mp4": "decode_timeout",
    "eat.mp4": "decode_memory",
    "crash.mp4": "decode_crashed",
}


def film(path: Path, seed: int, *, light: bool = True) -> None:
    """0.64 s at 64x64: a square that moves over noise, unlike that of any other seed."""
    import av

    rng = np.random.default_rng(seed)
    back = rng.integers(40, 200, (8, 8, 3), np.uint8).repeat(8, 0).repeat(8, 1)
    with av.open(str(path), "w", format="mp4") as box:
        stream = box.add_stream("libx264", 25, options={"preset": "ultrafast", "threads": "1"})
        stream.width = stream.height = 64
        for number in range(16):
            picture = back.copy() if light else np.zeros_like(back)
            if light:
                picture[20:32, number * 2 : number * 2 + 12] = 255
            box.mux(stream.encode(av.VideoFrame.from_ndarray(picture, "rgb24")))
        box.mux(stream.encode())


def bomb() -> bytes:
    """A PNG of a few bytes that says it holds 3.6 gigapixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"\0" * 64)) + chunk(b"IEND", b"")


@pytest.fixture(scope="module")
def media(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("media")
    for seed in range(GOOD):
        film(folder / f"good_{seed:04d}.mp4", seed)
    whole = (folder / "good_0000.mp4").read_bytes()
    film(folder / "black.mp4", 0, light=False)
    for number, kind in enumerate(("loop", "eat", "crash")):
        film(folder / f"{kind}.mp4", 10_000 + number)
        with (folder / f"{kind}.mp4").open("ab") as out:
            out.write(poisoned.mark(kind))
    (folder / "empty.mp4").touch()
    (folder / "half.mp4").write_bytes(whole[: len(whole) * 3 // 5])
    (folder / "notes.mp4").write_text("Dear diary, this is no film.\n" * 20)
    (folder / "bomb.png").write_bytes(bomb())
    with zipfile.ZipFile(folder / "packed.mp4", "w") as archive:
        archive.writestr("film.mp4", whole)
    sound = ["-f", "lavfi", "-i", "sine=frequency=440:duration=1", "-c:a", "aac", str(folder / "sound.mp4")]
    subprocess.run(["ffmpeg", "-nostdin", "-v", "error", *sound], check=True)
    return folder


def test_good_ones_are_accepted_and_bad_ones_named(media: Path, tmp_path: Path) -> None:
    store = tmp_path / "store"
    reports = run(poisoned.recipe(), Place(store, (str(media),), "p"), Local(2))
    assert all(r.counts.pending == 0 and not r.faults for r in reports)

    rows, units = recount.rows_and_children(store / "media-p" / "1")
    cut, clips = recount.rows_and_children(store / "clips-p" / "1")
    names = {u["key"]: Path(u["media"]["uri"]).name for u in units}
    listed = {e["key"]: Path(e["uri"]).name for e in recount.entries(store / "media-p" / "1")}
    assert sorted(listed.values()) == sorted(p.name for p in media.iterdir()), "every file is listed once"

    refused = {listed[r["key"]]: r["verdict"]["reason"] for r in rows if r["verdict"]["state"] == "rejected"}
    refused |= {names[r["key"]]: r["verdict"]["reason"] for r in cut if r["verdict"]["state"] == "rejected"}
    refused |= {names[c["parent_key"]]: c["verdict"]["reason"] for c in clips if c["verdict"]["state"] == "rejected"}
    accepted = {names[c["parent_key"]] for c in clips if c["verdict"]["state"] == "accepted"}
    assert refused == REASONS
    assert accepted == {p.name for p in media.glob("good_*")}
    assert len(accepted) == GOOD


def open_files() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def below() -> list[str]:
    """Processes that any thread of this one has started and not yet reaped."""
    return [pid for task in Path("/proc/self/task").glob("*/children") for pid in task.read_text().split()]


def test_crash_after_crash_leaks_nothing(media: Path) -> None:
    """No descriptor, no process, and the next file is answered."""
    rules = (poisoned.PoisonedCut().shots, poisoned.PoisonedCut().shown, "pyav")

    def decode(child: Isolated, name: str) -> object:
        return child.call("poisoned:cut_video", str(media / name), None, None, *rules, wall_s=30)

    with Isolated(memory_bytes=poisoned.MEMORY_BYTES) as child:
        decode(child, "good_0000.mp4")
        before, others = open_files(), len(below()) - 1
        for _ in range(CRASHES):
            with pytest.raises(Unusable, match="decode_crashed"):
                decode(child, "crash.mp4")
        decode(child, "good_0000.mp4")
        assert open_files() == before
        assert len(below()) == 1 + others
