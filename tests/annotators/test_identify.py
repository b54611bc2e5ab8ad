"""Every listed file is a picture, a video with units, or rejected for its true reason."""

from __future__ import annotations

import itertools
import json
import shutil
import subprocess

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from reelmill.annotators.annotator import Annotator
from reelmill.annotators.identify import Identify, parts_of
from reelmill.schemas.arrow import typed
from reelmill.schemas.clip import UNIT_MAX_S, Unit
from reelmill.schemas.column import KEY, schema
from reelmill.schemas.keys import child_key, file_digest, media_key, micros
from reelmill.schemas.media import Probe

pytestmark = pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="needs the ffmpeg programs")


@pytest.fixture(scope="module")
def step():
    identify = Identify()
    identify.setup()
    yield identify
    identify.close()


def rows_of(*paths, **extra):
    rows = []
    for path in paths:
        digest = file_digest(path)
        row = {"key": media_key(digest), "uri": str(path), "digest": digest, "licence": "CC0-1.0", "problem": None}
        rows.append(row | extra)
    return pa.Table.from_pylist(rows, schema=schema(KEY, *Identify.needs))


def answer(step, path, **extra):
    return step(rows_of(path, **extra)).to_pylist()[0]


def reason(step, path):
    row = answer(step, path)
    assert row["fault"] is None, row["fault"]
    assert row["verdict"]["step"] == "identify"
    return row["verdict"]["reason"]


def video(path, seconds=2.0, *how, rate=10):
    source = f"testsrc=size=64x48:rate={rate}:duration={seconds}"
    if path.name.startswith("sound"):
        source += f"[out0];sine=duration={seconds}[out1]"
    command = ["ffmpeg", "-v", "error", "-f", "lavfi", "-i", source, "-pix_fmt", "yuv420p", "-threads", "1", *how]
    subprocess.run([*command, f"file:{path}"], check=True, stdin=subprocess.DEVNULL)
    return path


def test_it_is_an_annotator():
    assert isinstance(Identify(), Annotator)


def test_a_video(step, tmp_path):
    path = video(tmp_path / "a.mp4")
    row = answer(step, path)
    probe, (unit,) = typed(Probe, row["probe"]), typed(tuple[Unit, ...], row["units"])
    assert row["kind"] == "video"
    assert (probe.codec, probe.pixel_format, probe.coded_width_px, probe.coded_height_px) == ("h264", "yuv420p", 64, 48)
    assert (probe.declared_fps, probe.declared_frames, probe.declared_duration_s) == (10.0, 20, 2.0)
    assert (probe.video_streams, probe.audio_streams, probe.sample_aspect, probe.rotation_deg) == (1, 0, 1.0, 0)
    assert unit.key == child_key(row["key"], "unit", 0, 2_000_000)
    assert unit.parent_key == row["key"]
    assert unit.expected_frames == 20
    assert unit.verdict.accepted
    assert (unit.media.duration_s, unit.media.span.start_s, unit.media.span.end_s) == pytest.approx((2.0, 0.0, 2.0))
    assert (unit.media.uri, unit.media.licence, unit.media.width_px) == (str(path), "CC0-1.0", 64)


def test_a_long_video_gives_equal_units_that_hold_every_frame_once(step, tmp_path):
    row = answer(step, video(tmp_path / "long.mp4", 150.3, "-g", "50"))
    units = typed(tuple[Unit, ...], row["units"])
    assert len(units) == 3
    assert sum(u.expected_frames for u in units) == 1503
    assert {round(u.media.duration_s, 6) for u in units} == {150.3}
    assert max(u.media.span.duration_s for u in units) - min(u.media.span.duration_s for u in units) < 1e-5
    for one, other in itertools.pairwise(units):
        assert one.media.span.end_s == other.media.span.start_s
    assert len({u.key for u in units}) == 3


def test_a_unit_without_frames_is_rejected_by_itself(step, tmp_path):
    slow = video(tmp_path / "slow.mkv", 3, "-vf", "setpts=N*100/TB", "-fps_mode", "vfr", rate=1)
    units = typed(tuple[Unit, ...], answer(step, slow)["units"])
    assert sum(u.expected_frames for u in units) == 3
    empty = [u for u in units if u.expected_frames == 0]
    assert empty
    assert {u.verdict.reason for u in empty} == {"empty_span"}
    assert all(u.verdict.accepted for u in units if u.expected_frames)


@given(st.floats(0.001, 20_000.0))
def test_parts_cover_the_whole_and_none_is_too_long(duration_s):
    parts = parts_of(duration_s)
    assert parts[0][0] == 0.0
    assert parts[-1][1] == pytest.approx(duration_s, abs=2e-6)
    assert all(a < b for a, b in parts)
    assert all(a[1] == b[0] for a, b in itertools.pairwise(parts))
    assert max(b - a for a, b in parts) <= UNIT_MAX_S + 2e-6
    assert len({(micros(a), micros(b)) for a, b in parts}) == len(parts)


def test_a_picture(step, tmp_path):
    path = tmp_path / "p.png"
    exif = Image.Exif()
    exif[274] = 6
    Image.fromarray(np.zeros((20, 30, 3), np.uint8)).save(path, exif=exif)
    row = answer(step, path)
    (unit,) = typed(tuple[Unit, ...], row["units"])
    assert row["kind"] == "image"
    assert (unit.media.width_px, unit.media.height_px, unit.media.duration_s, unit.media.span) == (20, 30, 0.0, None)
    assert (row["probe"]["codec"], row["probe"]["rotation_deg"]) == ("png", 90)
    assert unit.expected_frames == 1


def test_content_decides_and_a_lying_name_is_noted(step, tmp_path):
    as_picture = shutil.copy(video(tmp_path / "v.mp4"), tmp_path / "v.jpg")
    row = answer(step, as_picture)
    assert row["kind"] == "video"
    assert "named .jpg" in row["units"][0]["verdict"]["detail"]
    Image.new("RGB", (4, 4)).save(tmp_path / "p.png")
    row = answer(step, shutil.copy(tmp_path / "p.png", tmp_path / "p.mp4"))
    assert row["kind"] == "image"
    assert "named .mp4" in row["units"][0]["verdict"]["detail"]


REFUSED = {
    "empty.mp4": (b"", "empty_file"),
    "text.mp4": (b"just some words, no media", "not_media"),
    "page.svg": (b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"/>', "vector_picture"),
    "a.zip": (b"PK\x03\x04" + bytes(60), "archive"),
    "a.tar": (bytes(257) + b"ustar" + bytes(300), "archive"),
    "a.pdf": (b"%PDF-1.7\n", "document"),
    "list.mp4": (b"#EXTM3U\nhttp://10.0.0.1/secret.ts\n", "playlist"),
    "photo.heic": (b"\x00\x00\x00\x18ftypheic" + bytes(40), "unsupported_picture"),
    "cut.png": (b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR", "truncated_picture"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refusals_name_the_true_fault(step, tmp_path, name):
    data, wanted = REFUSED[name]
    (tmp_path / name).write_bytes(data)
    assert reason(step, tmp_path / name) == wanted


def test_sound_alone_is_audio_only(step, tmp_path):
    path = tmp_path / "sound.mp4"
    subprocess.run(["ffmpeg", "-v", "error", "-f", "lavfi", "-i", "sine=duration=1", str(path)], check=True)
    assert reason(step, path) == "audio_only"


def test_half_a_file_owes_its_missing_frames(step, tmp_path):
    whole = video(tmp_path / "whole.mp4", 10, "-movflags", "faststart")
    half = tmp_path / "half.mp4"
    half.write_bytes(whole.read_bytes()[: whole.stat().st_size * 2 // 3])
    (unit,) = answer(step, half)["units"]
    assert unit["expected_frames"] == 100
    assert "declared frames lie past the end" in unit["verdict"]["detail"]


def test_hostile_names_are_only_names(step, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    source = video(tmp_path / "v.mp4")
    names = ["-rf $(touch pwned).mp4", "a;touch pwned;.mp4", "concat:x|y.mp4", "'\"\n.mp4", "ünïcode 视频.mp4"]
    for name in names:
        shutil.copy(source, tmp_path / name)
        assert answer(step, tmp_path / name)["kind"] == "video"
    assert not (tmp_path / "pwned").exists()


def test_a_title_that_is_not_utf8_does_not_matter(step, tmp_path):
    path = video(tmp_path / "v.mp4", 1, "-metadata", "title=cafeteria")
    path.write_bytes(path.read_bytes().replace(b"cafeteria", b"caf\xe9teria"))
    assert answer(step, path)["kind"] == "video"


def test_a_row_with_a_problem_is_rejected_with_it(step, tmp_path):
    path = tmp_path / "x.mp4"
    path.write_bytes(b"x")
    verdict = answer(step, path, problem="unreadable: permission denied", digest=None)["verdict"]
    assert (verdict["reason"], verdict["detail"]) == ("unreadable", "permission denied")


def test_a_file_that_vanished_is_unreadable(step, tmp_path):
    path = tmp_path / "x.mp4"
    path.write_bytes(b"x")
    table = rows_of(path)
    path.unlink()
    assert step(table).to_pylist()[0]["verdict"]["reason"] == "unreadable"


def test_a_row_does_not_depend_on_its_neighbours(step, tmp_path):
    (tmp_path / "bad.mp4").write_bytes(b"bad")
    paths = [video(tmp_path / "a.mp4"), tmp_path / "bad.mp4", video(tmp_path / "b.mp4", 1)]
    together = step(rows_of(*paths)).to_pylist()
    assert [step(rows_of(p)).to_pylist()[0] for p in paths] == together
    assert step(rows_of(*reversed(paths))).to_pylist() == together[::-1]


def told_by_ffprobe(path):
    """The columns of `Probe` as ffprobe gives them."""
    shown = ["-show_format", "-show_streams", "-of", "json"]
    done = subprocess.run(["ffprobe", "-v", "error", *shown, f"file:{path}"], check=True, capture_output=True)
    said = json.loads(done.stdout)
    videos = [s for s in said["streams"] if s["codec_type"] == "video" and not s["disposition"]["attached_pic"]]
    form = said["format"]
    stream = max(videos, key=lambda s: (s["disposition"]["default"], s["width"] * s["height"], -s["index"]))
    turn = next((float(s["rotation"]) for s in stream.get("side_data_list", []) if "rotation" in s), 0.0)
    duration = stream.get("duration") or form.get("duration")
    return Probe(
        container=form["format_name"],
        codec=stream["codec_name"],
        pixel_format=stream["pix_fmt"],
        coded_width_px=stream["width"],
        coded_height_px=stream["height"],
        rotation_deg=round(-turn) % 360,
        sample_aspect=ratio(stream.get("sample_aspect_ratio", "").replace(":", "/")) or 1.0,
        declared_fps=ratio(stream["avg_frame_rate"]),
        declared_frames=int(stream["nb_frames"]) if "nb_frames" in stream else None,
        declared_duration_s=float(duration) if duration else None,
        start_s=float(stream.get("start_time", 0.0)),
        video_streams=len(videos),
        audio_streams=sum(s["codec_type"] == "audio" for s in said["streams"]),
    )


def ratio(text):
    over, _, under = text.partition("/")
    return float(over) / float(under) or None if under not in ("", "0") else None


FORMS = {
    "plain.mp4": (),
    "turned.mp4": ("-metadata:s:v", "rotate=90"),
    "turned_more.mov": ("-metadata:s:v", "rotate=270"),
    "turned_over.mp4": ("-metadata:s:v", "rotate=180"),
    "wide_pixels.mp4": ("-vf", "setsar=4/3"),
    "wide_pixels.mkv": ("-vf", "setsar=4/3", "-c:v", "libx264"),
    "sound.mkv": (),
    "vp9.webm": ("-c:v", "libvpx-vp9", "-cpu-used", "8"),
    "old.avi": ("-c:v", "mpeg4"),
    "stream.ts": ("-c:v", "libx264"),
    "in_pieces.mp4": ("-movflags", "+frag_keyframe+empty_moov"),
    "film_rate.mp4": ("-r", "24000/1001"),
}


@pytest.mark.parametrize("name", FORMS)
def test_the_probe_is_what_ffprobe_says(step, tmp_path, name):
    path = video(tmp_path / name, 2.0, *FORMS[name])
    assert typed(Probe, answer(step, path)["probe"]) == told_by_ffprobe(path)


def test_the_probe_of_real_videos_is_what_ffprobe_says(step, shared_media):
    paths = sorted((shared_media / "videos").iterdir())
    probes = {p.name: typed(Probe, answer(step, p)["probe"]) for p in paths}
    assert len(probes) > 10
    for path in paths:
        assert probes[path.name] == told_by_ffprobe(path), path.name


HARD = {
    "bomb_30000x30000.png": "too_many_pixels",
    "pil_bomb.gif": "too_many_pixels",
    "encrypted_cenc.mp4": "encrypted",
    "audio_only.mp4": "audio_only",
    "lf_glass.mp3": "audio_only",
    "px_bad_video.mp4": "not_media",
    "truncated_no_moov.mp4": "truncated_no_index",
    "zero_length.mp4": "empty_file",
    "svg_xxe.svg": "vector_picture",
    "zip_slip.zip": "archive",
    "zip_bomb_small.zip": "archive",
    "pil_truncated.jpg": "truncated_picture",
    "pil_truncated.png": "truncated_picture",
}


def test_every_hard_file(step, shared_media):
    paths = sorted((shared_media / "hard").iterdir())
    rows = step(rows_of(*paths)).to_pylist()
    assert [r["fault"] for r in rows] == [None] * len(rows)
    refused = {p.name: r["verdict"]["reason"] for p, r in zip(paths, rows, strict=True) if r["verdict"]}
    assert refused == HARD
    shown = {p.name: r["units"][0]["media"] for p, r in zip(paths, rows, strict=True) if not r["verdict"]}
    sizes = {n: (m["width_px"], m["height_px"]) for n, m in shown.items()}
    assert sizes["decord_rot90.mov"] == (320, 568)
    assert sizes["sar_2_1.mp4"] == (1280, 480)
    assert sizes["huge_8k.mp4"] == (7680, 4320)
    assert shown["really_mp4.jpg"]["kind"] == "video"
    assert shown["psd_delayed_start.mp4"]["duration_s"] == pytest.approx(0.96)
