"""What the seam itself promises, whatever decodes: windows, limits, status, refusals with their true reasons."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator, Sequence
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reelmill.annotators.decode.frames import Limits, Picture, Troubles, _frames, fitted, open_frames, shown_size, watch
from reelmill.annotators.decode.headers import Turn, read_header
from reelmill.annotators.decode.packets import scan
from reelmill.schemas.errors import Fault, Unusable
from reelmill.schemas.span import Span


class Numbers:
    def __init__(self, read, short_side_px=None):
        self.read, self.side, self.seen = read, short_side_px, []

    def see(self, frame):
        self.seen.append((self.read(frame.rgb(self.side)), frame.at_s))

    def done(self):
        return tuple(self.seen)


def test_consumers_share_one_decode(videos, read_number):
    video = videos["plain"]
    full, small = Numbers(read_number), Numbers(lambda rgb: rgb.shape, 32)
    seen = watch(str(video.path), Span(0.4, 0.8), [full, small])
    assert [n for n, _ in seen.results[0]] == list(range(10, 20))
    assert {shape for shape, _ in seen.results[1]} == {(32, 64, 3)}
    assert seen.status.complete
    facts: tuple[object, ...] = (seen.num_frames, seen.duration_s, seen.width_px, seen.height_px)
    assert facts == (10, pytest.approx(0.4), 128, 64)
    assert (seen.status.frames_got, seen.status.frames_expected, seen.status.note) == (10, 10, "")


def test_a_frame_is_valid_only_while_it_is_current(videos):
    frames = open_frames(str(videos["plain"].path))
    first = next(frames)
    kept = first.rgb()
    next(frames)
    with pytest.raises(Fault, match="moved on"):
        first.rgb()
    assert kept.shape == (64, 128, 3)


def test_pixels_are_cached_per_size_and_cannot_be_written(videos):
    frame = next(open_frames(str(videos["plain"].path)))
    assert frame.rgb(32) is frame.rgb(32)
    with pytest.raises(ValueError, match="read-only"):
        frame.rgb(32)[0, 0, 0] = 1


def test_frames_are_never_enlarged(videos):
    frame = next(open_frames(str(videos["plain"].path)))
    assert frame.rgb(640).shape == frame.rgb().shape == (64, 128, 3)


@given(st.integers(1, 9000), st.integers(1, 9000), st.integers(1, 9000))
def test_fitted_keeps_the_shape_and_never_enlarges(width, height, side):
    w, h = fitted(width, height, side)
    assert 1 <= w <= width
    assert 1 <= h <= height
    assert min(w, h) == min(side, width, height)


@given(st.integers(2, 4000), st.integers(2, 4000), st.floats(0.1, 10.0), st.booleans())
def test_pixel_aspect_only_widens(width, height, aspect, transposed):
    shown = shown_size(width, height, aspect, transposed)
    w, h = shown[::-1] if transposed else shown
    assert w >= width
    assert h >= height
    assert (w == width) or (h == height)


def test_all_eight_turns_are_told_apart():
    pixels = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
    turns = [Turn(t, x, y) for t in (False, True) for x in (False, True) for y in (False, True)]
    assert len({t.applied(pixels).tobytes() for t in turns}) == 8
    assert Counter(t.mirrored for t in turns) == {True: 4, False: 4}


def test_half_a_file_does_not_pass_silently(tmp_path, videos, make_video):
    whole = make_video(tmp_path / "whole.mp4", list(range(100)), options={"movflags": "faststart"})
    data = _index_first(whole)
    path = tmp_path / "half.mp4"
    path.write_bytes(data[: len(data) * 6 // 10])
    seen = watch(str(path), None, [])
    assert not seen.status.complete
    assert seen.status.frames_expected == 100
    assert 10 < seen.status.frames_got < 90
    assert seen.status.note


def _index_first(path):
    """The same MP4 with its index before its data, as for the web."""
    import av

    out = path.with_name("fast.mp4")
    with av.open(str(path)) as a, av.open(str(out), "w", options={"movflags": "faststart"}) as b:
        target = b.add_stream_from_template(a.streams.video[0])
        for packet in a.demux(a.streams.video[0]):
            if packet.dts is not None:
                packet.stream = target
                b.mux(packet)
    return out.read_bytes()


def test_fewer_frames_than_expected_is_incomplete(videos):
    assert not watch(str(videos["plain"].path), None, [], expected=51).status.complete
    assert watch(str(videos["plain"].path), None, [], expected=50).status.complete


def test_a_span_past_the_end_has_no_frames(videos):
    with pytest.raises(Unusable) as refused:
        watch(str(videos["plain"].path), Span(5.0, 6.0), [])
    assert refused.value.reason == "no_frames"


class Raw:
    """A medium with given times (None: no time) and sizes."""

    origin_s = 10.0

    def __init__(self, times: Sequence[float | None], sizes: Sequence[tuple[int, int]] | None = None) -> None:
        self.times, self.sizes = times, sizes or [(8, 4)] * len(times)

    def pictures(self, from_s: float | None) -> Iterator[Picture]:
        for at_s, size in zip(self.times, self.sizes, strict=True):
            yield Picture(at_s, 0.04, *size, lambda w, h: np.zeros((h, w, 3), np.uint8))

    def close(self) -> None: ...


@given(st.lists(st.one_of(st.none(), st.floats(10.0, 20.0)), max_size=30))
def test_times_always_rise_and_what_is_left_out_is_counted(times):
    troubles = Troubles()
    frames = [(f.at_s, f.source_s, f.duration_s) for f in _frames(Raw(times), None, Limits(), troubles)]
    assert all(b[1] > a[1] for a, b in itertools.pairwise(frames))
    assert all(f[2] > 0 for f in frames)
    assert len(frames) + sum(troubles.counts.values()) == len(times)


def test_restarting_times_are_reported_not_emitted():
    troubles = Troubles()
    times = [10.0, 10.04, 10.08, 10.0, 10.04, 10.12]
    assert [f.source_s for f in _frames(Raw(times), None, Limits(), troubles)] == pytest.approx([0, 0.04, 0.08, 0.12])
    assert troubles.note == "frames whose time did not rise left out: 2"


def test_a_size_change_outside_the_span_does_not_matter():
    raw = Raw([10.0, 10.04, 10.08, 10.12], [(8, 4), (8, 4), (8, 4), (16, 8)])
    assert len(list(_frames(raw, Span(0.0, 0.1), Limits(), Troubles()))) == 3
    with pytest.raises(Unusable, match=r"8x4 became 16x8 at 0\.120 s"):
        list(_frames(raw, None, Limits(), Troubles()))


def test_raw_streams_without_times_are_refused(tmp_path, make_video):
    path = make_video(tmp_path / "raw.h264", list(range(10)))
    with pytest.raises(Unusable) as refused:
        watch(str(path), None, [])
    assert refused.value.reason == "no_timestamps"


REASONS = {
    "empty.mp4": (b"", "empty_file"),
    "text.mp4": (b"this is a bad video\n", "not_media"),
    "zip.mp4": (b"PK\x03\x04" + bytes(400), "not_media"),
    "list.m3u8": (b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n", "not_media"),
}


@pytest.mark.parametrize("name", REASONS)
def test_refusals_name_the_true_fault(tmp_path, name):
    data, reason = REASONS[name]
    path = tmp_path / name
    path.write_bytes(data)
    with pytest.raises(Unusable) as refused:
        next(open_frames(str(path)))
    assert refused.value.reason == reason


def test_a_missing_index_is_told_from_other_faults(tmp_path, videos):
    data = videos["plain"].path.read_bytes()
    path = tmp_path / "no_moov.mp4"
    path.write_bytes(data[: data.index(b"moov") - 4])
    with pytest.raises(Unusable) as refused:
        read_header(str(path), Limits())
    assert refused.value.reason == "truncated_no_index"


def test_a_protected_track_is_encrypted_but_the_word_alone_is_not(tmp_path, videos):
    data = videos["plain"].path.read_bytes()
    path = tmp_path / "v.mp4"
    at = data.index(b"stsd") + 16
    path.write_bytes(data[:at] + b"encv" + data[at + 4 :])
    with pytest.raises(Unusable) as refused:
        read_header(str(path), Limits())
    assert refused.value.reason == "encrypted"
    path.write_bytes(data[:at] + b"zzzz" + data[at + 4 :])
    with pytest.raises(Unusable) as refused:
        read_header(str(path), Limits())
    assert refused.value.reason == "unknown_codec"
    path.write_bytes(data + b"\x00\x00\x00\x10freeencvschm")
    assert read_header(str(path), Limits()).coded_width_px == 128


def test_a_vanished_file_is_unreadable():
    with pytest.raises(Unusable, match="unreadable"):
        read_header("/no/such/file.mp4", Limits())


def test_hostile_names_are_only_names(tmp_path, videos, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("-i evil; $(touch pwned).mp4", "concat:a|b.mp4", "http:__x.mp4", "a\nb '\".mp4"):
        (tmp_path / name).write_bytes(videos["one_frame"].path.read_bytes())
        assert watch(name, None, []).num_frames == 1
    assert not (tmp_path / "pwned").exists()


def test_packets_tell_what_a_span_should_give(videos):
    packets = scan(str(videos["bframes"].path))
    assert packets.expected(None) == 60
    assert packets.expected(Span(0.4, 0.8)) == 10
    assert packets.end_s == pytest.approx(2.4)
    assert packets.keyframes_s[0] == 0.0
    assert packets.missing == 0


def test_the_first_shown_frame_is_time_zero(videos):
    header = read_header(str(videos["late"].path), Limits())
    assert header.origin_s == pytest.approx(float(Fraction(70, 25)))


def test_every_hard_file_ends_in_frames_or_a_reason(shared_media, capfd):
    reasons = {}
    for path in sorted((shared_media / "hard").iterdir()):
        try:
            seen = watch(str(path), None, [])
            reasons[path.name] = "complete" if seen.status.complete else "incomplete"
        except Unusable as refused:
            reasons[path.name] = refused.reason
    assert reasons["truncated_no_moov.mp4"] == "truncated_no_index"
    assert reasons["encrypted_cenc.mp4"] == "encrypted"
    assert reasons["audio_only.mp4"] == reasons["lf_glass.mp3"] == "audio_only"
    assert reasons["zero_length.mp4"] == "empty_file"
    assert reasons["px_bad_video.mp4"] == "not_media"
    assert reasons["resolution_change.ts"] == "resolution_changed"
    assert reasons["bitflips.mp4"] == reasons["decord_corrupted.mp4"] == "incomplete"
    good = (
        "huge_8k.mp4 fps1000.mp4 fragmented.mp4 one_frame.mp4 px_vfr.webm sar_2_1.mp4 tc_h264_10bit.mp4 really_mp4.jpg"
    )
    assert {reasons[name] for name in good.split()} == {"complete"}


@pytest.mark.parametrize("parameters", ["open-gop=1:keyint=12:min-keyint=12:bframes=4", "intra-refresh=1:keyint=12"])
def test_pixels_of_a_span_do_not_depend_on_where_decoding_began(tmp_path, make_video, parameters):
    path = str(make_video(tmp_path / "v.mp4", list(range(60)), options={"x264-params": f"{parameters}:scenecut=0"}))
    whole = [f.rgb().tobytes() for f in open_frames(path)]
    thirds = [Span(0.0, 0.8), Span(0.8, 1.6), Span(1.6, 2.4)]
    assert [f.rgb().tobytes() for third in thirds for f in open_frames(path, third)] == whole


def test_damage_before_a_span_is_not_the_spans(tmp_path, videos):
    data = bytearray(videos["bframes"].path.read_bytes())
    start = data.index(b"mdat") + 4 + len(data) // 3
    data[start : start + 40] = bytes(b ^ 0xFF for b in data[start : start + 40])
    path = tmp_path / "damaged.mp4"
    path.write_bytes(bytes(data))
    assert "damaged frames" in watch(str(path), None, []).status.note
    assert watch(str(path), Span(2.2, 2.4), []).status.note == ""
