"""One contract for every decode backend: frames, times, sizes and pixels agree; what a library cannot do is data."""

from __future__ import annotations

import importlib
import itertools
import subprocess
from collections.abc import Generator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from reelmill.annotators.decode.frames import BACKENDS, Limits, Troubles, open_frames, watch
from reelmill.schemas.errors import NotFound, Unusable
from reelmill.schemas.span import Span

RENDERED = (
    *("plain", "ntsc", "vfr", "late", "bframes", "turned", "mirrored"),
    *("wide_pixels", "tall_pixels", "ten_bit", "full_range", "hevc", "one_frame"),
)
KNOWN_EXCEPTIONS = {"mirrored", "stream_choice", "damaged", "resolution_change", "restarting_times"}


def cannot(backend: str) -> dict[str, str]:
    declared: dict[str, str] = importlib.import_module(f"reelmill.annotators.decode.{BACKENDS[backend]}").CANNOT
    return declared


CAN = [(b, name) for b in sorted(BACKENDS) for name in RENDERED if name not in cannot(b)]
REFUSES = [(b, name) for b in sorted(BACKENDS) for name in RENDERED if name in cannot(b)]


@pytest.fixture(params=sorted(BACKENDS))
def backend(request):
    return request.param


@pytest.fixture
def video(videos, name):
    return videos[name]


def every_case(test):
    return pytest.mark.parametrize(("backend", "name"), CAN)(test)


@pytest.mark.parametrize(("backend", "name"), REFUSES)
def test_what_is_declared_impossible_is_refused_by_name(video, backend):
    with pytest.raises(Unusable) as refused:
        next(open_frames(str(video.path), backend=backend))
    assert refused.value.reason == "backend_cannot"
    assert backend in refused.value.detail


def test_only_declared_exceptions_exist(backend):
    assert set(cannot(backend)) <= KNOWN_EXCEPTIONS
    assert cannot("pyav") == {}


@every_case
def test_frames_times_sizes_and_order(video, backend, read_number):
    seen = [
        (f.index, f.at_s, f.source_s, (f.width_px, f.height_px), read_number(video.upright(f.rgb())))
        for f in open_frames(str(video.path), backend=backend)
    ]
    assert [s[0] for s in seen] == [s[4] for s in seen] == list(range(len(video.at_s)))
    assert [s[1] for s in seen] == pytest.approx(video.at_s, abs=1e-6)
    assert [s[2] for s in seen] == pytest.approx(video.at_s, abs=1e-6)
    assert {s[3] for s in seen} == {video.shown}


@every_case
def test_durations_reach_to_the_next_frame(video, backend):
    frames = [(f.at_s, f.duration_s, f.end_s) for f in open_frames(str(video.path), backend=backend)]
    for (_, _, end_s), (next_s, _, _) in itertools.pairwise(frames):
        assert end_s == pytest.approx(next_s, abs=1e-8)
    assert frames[-1][1] == pytest.approx(video.last_s, rel=0.2)


@every_case
def test_pixels_are_near_those_of_pyav(video, backend):
    for size in (None, 32):
        wanted = [f.rgb(size).astype(int) for f in open_frames(str(video.path), backend="pyav")]
        got = [f.rgb(size).astype(int) for f in open_frames(str(video.path), backend=backend)]
        assert [g.shape for g in got] == [w.shape for w in wanted]
        assert max(np.abs(g - w).mean() for g, w in zip(got, wanted, strict=True)) < 3.0


@pytest.mark.parametrize(("start_s", "end_s"), [(0.0, 0.2), (0.8, 1.6), (1.17, 1.23), (1.9, 99.0)])
def test_a_span_is_half_open_by_time(videos, backend, read_number, start_s, end_s):
    video = videos["bframes"]
    wanted = [n for n, at_s in enumerate(video.at_s) if start_s <= at_s < end_s]
    frames = [
        (f.index, read_number(f.rgb()), f.at_s, f.source_s)
        for f in open_frames(str(video.path), Span(start_s, end_s), backend=backend)
    ]
    assert [f[1] for f in frames] == wanted
    assert [f[0] for f in frames] == list(range(len(wanted)))
    assert frames[0][2] == 0.0
    assert [f[3] for f in frames] == pytest.approx([video.at_s[n] for n in wanted], abs=1e-6)


def test_adjoining_spans_share_no_frame_and_lose_none(videos, backend):
    video = videos["ntsc"]
    cuts = [0.0, 0.5, 15 * 1001 / 30000, 1.0, 2.0]
    seen = [
        f.source_s
        for a, b in itertools.pairwise(cuts)
        for f in open_frames(str(video.path), Span(round(a, 6), round(b, 6)), backend=backend)
    ]
    assert seen == pytest.approx(video.at_s, abs=1e-6)


def test_late_files_count_from_their_first_frame(videos, backend, read_number):
    frames = open_frames(str(videos["late"].path), Span(0.4, 0.6), backend=backend)
    assert [read_number(f.rgb()) for f in frames] == [10, 11, 12, 13, 14]


def test_the_default_stream_is_read_not_a_larger_one_or_a_cover(tmp_path, backend, make_video, read_number):
    path = _many_streams(tmp_path, make_video, "both.mp4", default=True)
    frames = [(read_number(f.rgb()), f.width_px) for f in open_frames(str(path), backend=backend)]
    assert frames == [(100 + n, 128) for n in range(10)]


def test_without_a_default_the_largest_stream_is_read(tmp_path, backend, make_video):
    path = _many_streams(tmp_path, make_video, "both.mkv", default=False)
    if "stream_choice" in cannot(backend):
        with pytest.raises(Unusable, match="backend_cannot"):
            next(open_frames(str(path), backend=backend))
        return
    assert {f.width_px for f in open_frames(str(path), backend=backend)} == {256}


def _many_streams(folder: Path, make_video, name: str, *, default: bool) -> Path:
    """A large stream and a small one of more bits; with `default` the small one is it, and there is a cover picture."""
    large = make_video(folder / "large.mp4", list(range(10)), size=(256, 128), options={"crf": "40"})
    small = make_video(folder / "small.mp4", list(range(10)), first_number=100, options={"crf": "1"})
    cover = folder / "cover.png"
    Image.fromarray(np.zeros((512, 512, 3), np.uint8)).save(cover)
    command = ["ffmpeg", "-v", "error", "-i", str(large), "-i", str(small)]
    if default:
        command += ["-i", str(cover), "-map", "0", "-map", "1", "-map", "2", "-disposition:v:2", "attached_pic"]
        command += ["-disposition:v:0", "0", "-disposition:v:1", "default"]
    else:
        command += ["-map", "1", "-map", "0", "-default_mode", "passthrough", "-disposition:v", "0"]
    subprocess.run([*command, "-c", "copy", str(folder / name)], check=True)
    return folder / name


def test_concealed_damage_is_counted(tmp_path, videos):
    path = _damaged(tmp_path, videos["bframes"].path, 60)
    status = watch(str(path), None, []).status
    assert "damaged frames" in status.note


def test_damage_that_cannot_be_read_never_passes_silently(tmp_path, videos, backend):
    path = _damaged(tmp_path, videos["bframes"].path, 1500)
    troubles = Troubles()
    frames = sum(1 for _ in open_frames(str(path), backend=backend, troubles=troubles))
    assert frames < 60
    assert troubles.note


def _damaged(folder: Path, source: Path, num_bytes: int) -> Path:
    data = bytearray(source.read_bytes())
    start = data.index(b"mdat") + 4 + len(data) // 3
    for at in range(start, start + num_bytes):
        data[at] ^= 0xFF
    path = folder / "damaged.mp4"
    path.write_bytes(bytes(data))
    return path


def test_a_changing_size_is_refused(tmp_path, backend, make_video):
    path = _glued(tmp_path, make_video(tmp_path / "a.ts", list(range(20))), 30, make_video, size=(192, 96))
    if "resolution_change" in cannot(backend):
        assert {f.width_px for f in open_frames(str(path), backend=backend)} == {128}
        return
    with pytest.raises(Unusable) as refused:
        list(open_frames(str(path), backend=backend))
    assert refused.value.reason == "resolution_changed"


def test_restarting_times_never_come_out(tmp_path, backend, make_video):
    path = _glued(tmp_path, make_video(tmp_path / "a.ts", list(range(20))), 0, make_video)
    if "restarting_times" in cannot(backend):
        with pytest.raises(Unusable, match="backend_cannot"):
            watch(str(path), None, [], backend=backend)
        return
    seen = watch(str(path), None, [], backend=backend)
    assert (seen.status.complete, seen.num_frames, seen.status.frames_expected) == (False, 20, 40)
    assert "did not rise" in seen.status.note


def _glued(folder: Path, first: Path, stamp: int, make_video, **how) -> Path:
    """Two transport streams in one file, the second with times from `stamp` on."""
    second = make_video(folder / "second.ts", list(range(stamp, stamp + 20)), **how)
    path = folder / "glued.ts"
    path.write_bytes(first.read_bytes() + second.read_bytes())
    return path


def test_the_pixel_limit_holds_for_what_is_shown(videos, backend):
    with pytest.raises(Unusable, match="too_many_pixels"):
        next(open_frames(str(videos["plain"].path), backend=backend, limits=Limits(max_frame_px=128 * 64 - 1)))
    with pytest.raises(Unusable, match="too_many_pixels"):
        next(open_frames(str(videos["wide_pixels"].path), backend=backend, limits=Limits(max_frame_px=128 * 64)))


def test_a_decode_that_is_left_early_lets_go_of_its_file(videos, backend):
    frames = open_frames(str(videos["plain"].path), backend=backend, troubles=Troubles())
    next(frames)
    assert isinstance(frames, Generator)
    frames.close()
    assert next(frames, None) is None


def test_an_unknown_backend_names_the_known_ones():
    with pytest.raises(NotFound, match="pyav"):
        next(open_frames("x.mp4", backend="mplayer"))


def test_a_missing_backend_names_the_extra(videos, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "torchcodec.decoders", None)
    with pytest.raises(NotFound, match=r"reelmill\[torchcodec\]"):
        next(open_frames(str(videos["plain"].path), backend="torchcodec"))
