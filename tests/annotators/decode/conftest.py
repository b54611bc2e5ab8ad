"""Rendered videos with known times: every frame carries its number as bits in its top row of blocks."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

BITS, BLOCK = 8, 16
WIDTH, HEIGHT = BITS * BLOCK, 64


def picture(number: int, width: int = WIDTH, height: int = HEIGHT) -> np.ndarray:
    """RGB with `number` in the top blocks, a red left edge and a ramp below, so that turns and mirrors show."""
    rgb = np.zeros((height, width, 3), np.uint8)
    rgb[:, :, 1] = np.linspace(20, 120, width, dtype=np.uint8)[None]
    rgb[:, :, 2] = np.linspace(20, 200, height, dtype=np.uint8)[:, None]
    rgb[BLOCK:, : width // 8] = (220, 30, 30)
    for bit in range(BITS):
        rgb[:BLOCK, bit * BLOCK : (bit + 1) * BLOCK] = 235 if number >> bit & 1 else 16
    return rgb


def number_of(rgb: np.ndarray) -> int:
    """The number in a shown picture in its upright form, at any horizontal stretch."""
    columns = [int((bit + 0.5) * rgb.shape[1] / BITS) for bit in range(BITS)]
    row = BLOCK // 2 * rgb.shape[0] // HEIGHT
    return sum(1 << bit for bit, column in enumerate(columns) if rgb[row, column].mean() > 128)


@dataclass(frozen=True)
class Video:
    """A rendered file and the truth about it. `at_s` from the first presented frame."""

    path: Path
    at_s: tuple[float, ...]
    shown: tuple[int, int]
    last_s: float
    upright: Callable[[np.ndarray], np.ndarray] = lambda rgb: rgb


def encode(
    path: Path,
    stamps: list[int],
    *,
    base: Fraction = Fraction(1, 25),
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    options: dict[str, str] | None = None,
    size: tuple[int, int] = (WIDTH, HEIGHT),
    sar: Fraction | None = None,
    first_number: int = 0,
) -> Path:
    """Encode one frame per stamp, in units of `base`."""
    with av.open(str(path), "w") as out:
        stream = out.add_stream(codec, rate=25, options={"threads": "1", "crf": "12", **(options or {})})
        stream.width, stream.height = size
        stream.pix_fmt = pix_fmt
        stream.codec_context.thread_count = 1
        stream.codec_context.time_base = stream.time_base = base
        if sar:
            stream.codec_context.sample_aspect_ratio = sar
        for number, stamp in enumerate(stamps, first_number):
            frame = av.VideoFrame.from_ndarray(picture(number, *size), format="rgb24")
            frame.pts, frame.time_base = stamp, base
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return path


def with_matrix(path: Path, a: int, b: int, c: int, d: int) -> Path:
    """Write a display matrix into the track header of an MP4 (ISO 14496-12, 8.3.2), as phones do."""
    data = bytearray(path.read_bytes())
    at = data.index(b"tkhd") + 4 + 40
    data[at : at + 36] = struct.pack(">9i", a << 16, b << 16, 0, c << 16, d << 16, 0, 0, 0, 1 << 30)
    path.write_bytes(bytes(data))
    return path


def truth(path: Path, stamps: list[int], base: Fraction, shown: tuple[int, int] = (WIDTH, HEIGHT)) -> Video:
    first = stamps[0]
    at_s = tuple(float((s - first) * base) for s in stamps)
    return Video(path, at_s, shown, 0.04)


def _plain(folder: Path) -> Video:
    return truth(encode(folder / "plain.mp4", list(range(50))), list(range(50)), Fraction(1, 25))


def _ntsc(folder: Path) -> Video:
    base, stamps = Fraction(1001, 30000), list(range(45))
    return truth(encode(folder / "ntsc.mp4", stamps, base=base), stamps, base)


def _vfr(folder: Path) -> Video:
    base, stamps = Fraction(1, 1000), [0, 10, 25, 400, 433, 900, 1000, 1033, 1500, 1501, 2600]
    options = {"bf": "0"}
    return truth(encode(folder / "vfr.mkv", stamps, base=base, options=options), stamps, base)


def _late(folder: Path) -> Video:
    stamps = list(range(70, 100))
    return truth(encode(folder / "late.mkv", stamps), stamps, Fraction(1, 25))


def _bframes(folder: Path) -> Video:
    stamps = list(range(60))
    options = {"bf": "4", "b-adapt": "0", "g": "24"}
    return truth(encode(folder / "bframes.mp4", stamps, options=options), stamps, Fraction(1, 25))


def _turned(folder: Path) -> Video:
    path = with_matrix(encode(folder / "turned.mp4", list(range(10))), 0, 1, -1, 0)
    video = truth(path, list(range(10)), Fraction(1, 25), (HEIGHT, WIDTH))
    return Video(path, video.at_s, video.shown, video.last_s, lambda rgb: np.rot90(rgb, 1))


def _mirrored(folder: Path) -> Video:
    path = with_matrix(encode(folder / "mirrored.mp4", list(range(10))), -1, 0, 0, 1)
    video = truth(path, list(range(10)), Fraction(1, 25))
    return Video(path, video.at_s, video.shown, video.last_s, lambda rgb: rgb[:, ::-1])


def _wide_pixels(folder: Path) -> Video:
    path = encode(folder / "sar.mp4", list(range(10)), sar=Fraction(2, 1))
    return truth(path, list(range(10)), Fraction(1, 25), (2 * WIDTH, HEIGHT))


def _tall_pixels(folder: Path) -> Video:
    path = encode(folder / "tall.mp4", list(range(10)), sar=Fraction(1, 2))
    return truth(path, list(range(10)), Fraction(1, 25), (WIDTH, 2 * HEIGHT))


def _ten_bit(folder: Path) -> Video:
    path = encode(folder / "ten.mp4", list(range(10)), pix_fmt="yuv420p10le")
    return truth(path, list(range(10)), Fraction(1, 25))


def _full_range(folder: Path) -> Video:
    return truth(encode(folder / "full.mp4", list(range(10)), pix_fmt="yuvj420p"), list(range(10)), Fraction(1, 25))


def _hevc(folder: Path) -> Video:
    path = encode(folder / "hevc.mp4", list(range(10)), codec="libx265", options={"x265-params": "log-level=none"})
    return truth(path, list(range(10)), Fraction(1, 25))


def _one_frame(folder: Path) -> Video:
    return truth(encode(folder / "one.mp4", [0]), [0], Fraction(1, 25))


RENDERED = {
    "plain": _plain,
    "ntsc": _ntsc,
    "vfr": _vfr,
    "late": _late,
    "bframes": _bframes,
    "turned": _turned,
    "mirrored": _mirrored,
    "wide_pixels": _wide_pixels,
    "tall_pixels": _tall_pixels,
    "ten_bit": _ten_bit,
    "full_range": _full_range,
    "hevc": _hevc,
    "one_frame": _one_frame,
}


@pytest.fixture(scope="session")
def videos(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Video]:
    folder = tmp_path_factory.mktemp("videos")
    return {name: make(folder) for name, make in RENDERED.items()}


@pytest.fixture(scope="session")
def make_video() -> Callable[..., Path]:
    return encode


@pytest.fixture(scope="session")
def read_number() -> Callable[[np.ndarray], int]:
    return number_of
