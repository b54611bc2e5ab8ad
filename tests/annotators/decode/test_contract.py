"""One contract for every decode backend: frames, times, sizes and pixels agree; what a library cannot do is data."""

from __future__ import annotations

import importlib
from pathlib import Path

import av
import numpy as np
import pytest

from reelmill.annotators.decode.frames import BACKENDS, Limits, Troubles, open_frames, watch
from reelmill.schemas.errors import NotFound, Unusable
from reelmill.schemas.span import Span

RENDERED = [
    "plain",
    "ntsc",
    "vfr",
    "late",
    "bframes",
    "turned",
    "mirrored",
    "wide_pixels",
    "tall_pixels",
    "ten_bit",
    "full_range",
    "hevc",
    "one_frame",
]
KNOWN_EXCEPTIONS = {"mirrored", "stream_choice", "damaged", "resolution_change"}


def cannot(backend: str) -> dict[str, str]:
    return importlib.import_module(f"reelmill.annotators.decode.{BACKENDS[backend]}").CANNOT


@pytest.fixture(params=sorted(BACKENDS))
def backend(request):
    if request.param == "torchcodec":
        pytest.importorskip("torchcodec")
    return request.param


@pytest.fixture(params=RENDERED)
def video(request, videos, backend):
    if request.param in cannot(backend):
        with pytest.raises(Unusable) as refused:
            next(open_frames(str(videos[request.param].path), backend=backend))
        assert refused.value.reason == "backend_cannot"
        assert backend in refused.value.detail
        pytest.skip(f"{backend}: {cannot(backend)[request.param]} (refusal checked)")
    return videos[request.param]


def test_only_declared_exceptions_exist(backend):
    assert set(cannot(backend)) <= KNOWN_EXCEPTIONS
    assert cannot("pyav") == {}


def test_frames_times_sizes_and_order(video, backend, read_number):
    seen = [
        (f.index, f.at_s, f.source_s, (f.width_px, f.height_px), read_number(video.upright(f.rgb())))
        for f in open_frames(str(video.path), backend=backend)
    ]
    assert [s[0] for s in seen] == [s[4] for s in seen] == list(range(len(video.at_s)))
    assert [s[1] for s in seen] == pytest.approx(video.at_s, abs=1e-6)
    assert [s[2] for s in seen] == pytest.approx(video.at_s, abs=1e-6)
    assert {s[3] for s in seen} == {video.shown}


def test_durations_reach_to_the_next_frame(video, backend):
    frames = [(f.at_s, f.duration_s, f.end_s) for f in open_frames(str(video.path), backend=backend)]
    for (_, _, end_s), (next_s, _, _) in zip(frames, frames[1:], strict=False):
        assert end_s == pytest.approx(next_s, abs=1e-8)
    assert frames[-1][1] == pytest.approx(video.last_s, rel=0.2)


def test_pixels_are_near_those_of_pyav(video, backend):
    for size in (None, 32):
        ours = next(open_frames(str(video.path), backend=backend)).rgb
        theirs = next(open_frames(str(video.path), backend="pyav"))
        got, wanted = None, theirs.rgb(size).astype(int)
        for frame in open_frames(str(video.path), backend=backend):
            got = frame.rgb(size).astype(int)
            break
        assert ours is not None
        assert got.shape == wanted.shape
        assert np.abs(got - wanted).mean() < 3.0


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
        for a, b in zip(cuts, cuts[1:], strict=False)
        for f in open_frames(str(video.path), Span(round(a, 6), round(b, 6)), backend=backend)
    ]
    assert seen == pytest.approx(video.at_s, abs=1e-6)


def test_late_files_count_from_their_first_frame(videos, backend, read_number):
    frames = open_frames(str(videos["late"].path), Span(0.4, 0.6), backend=backend)
    assert [read_number(f.rgb()) for f in frames] == [10, 11, 12, 13, 14]


def test_the_default_stream_is_read_not_a_larger_or_attached_one(tmp_path, backend, make_video, read_number):
    path = _two_streams(tmp_path, make_video, default=True)
    frames = [(read_number(f.rgb()), f.width_px) for f in open_frames(str(path), backend=backend)]
    assert frames == [(100 + n, 128) for n in range(10)]


def test_without_a_default_the_largest_stream_is_read(tmp_path, backend, make_video):
    path = _two_streams(tmp_path, make_video, default=False)
    if "stream_choice" in cannot(backend):
        with pytest.raises(Unusable, match="backend_cannot"):
            next(open_frames(str(path), backend=backend))
        return
    assert {f.width_px for f in open_frames(str(path), backend=backend)} == {256}


def _two_streams(folder: Path, make_video, *, default: bool) -> Path:
    """A large stream and a small one that is the default, or neither."""
    large = make_video(folder / "large.mkv", list(range(10)), size=(256, 128), options={"crf": "40"})
    small = make_video(folder / "small.mkv", list(range(10)), first_number=100, options={"crf": "1"})
    path = folder / "both.mkv"
    with (
        av.open(str(path), "w", options={"default_mode": "passthrough"}) as out,
        av.open(str(large)) as a,
        av.open(str(small)) as b,
    ):
        sources = [a.streams.video[0], b.streams.video[0]]
        targets = [out.add_stream_from_template(s) for s in sources]
        targets[0].disposition = av.stream.Disposition(0)
        targets[1].disposition = av.stream.Disposition.default if default else av.stream.Disposition(0)
        for source, target in zip(sources, targets, strict=True):
            for packet in source.container.demux(source):
                if packet.dts is not None:
                    packet.stream = target
                    out.mux(packet)
    return path


def test_damage_never_passes_silently(tmp_path, videos, backend):
    data = bytearray(videos["bframes"].path.read_bytes())
    start = data.index(b"mdat") + 900
    for at in range(start, start + 1200, 7):
        data[at] ^= 0xFF
    path = tmp_path / "damaged.mp4"
    path.write_bytes(bytes(data))
    seen = watch(str(path), None, [], backend=backend)
    assert seen.status.note or not seen.status.complete


def test_a_changing_size_is_refused(tmp_path, backend, make_video):
    first = make_video(tmp_path / "a.ts", list(range(20)))
    second = make_video(tmp_path / "b.ts", list(range(20, 40)), size=(192, 96))
    path = tmp_path / "both.ts"
    path.write_bytes(first.read_bytes() + second.read_bytes())
    if "resolution_change" in cannot(backend):
        assert {f.width_px for f in open_frames(str(path), backend=backend)} == {128}
        return
    with pytest.raises(Unusable) as refused:
        list(open_frames(str(path), backend=backend))
    assert refused.value.reason == "resolution_changed"


def test_the_pixel_limit_holds_for_what_is_shown(videos, backend):
    with pytest.raises(Unusable, match="too_many_pixels"):
        next(open_frames(str(videos["plain"].path), backend=backend, limits=Limits(max_frame_px=128 * 64 - 1)))
    with pytest.raises(Unusable, match="too_many_pixels"):
        next(open_frames(str(videos["wide_pixels"].path), backend=backend, limits=Limits(max_frame_px=128 * 64)))


def test_a_decode_that_is_left_early_lets_go_of_its_file(videos, backend):
    frames = open_frames(str(videos["plain"].path), backend=backend, troubles=Troubles())
    next(frames)
    frames.close()
    assert next(frames, None) is None


def test_an_unknown_backend_names_the_known_ones():
    with pytest.raises(NotFound, match="pyav"):
        next(open_frames("x.mp4", backend="mplayer"))


def test_a_missing_backend_names_the_extra(videos, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "torchcodec.decoders", None)
    with pytest.raises(NotFound, match=r"reelmill\[torchcodec\]"):
        next(open_frames(str(videos["plain"].path), backend="torchcodec"))
