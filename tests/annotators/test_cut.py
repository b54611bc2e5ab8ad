"""Clips of rendered units: every frame in exactly one clip, exact times, true reasons, the same answer in any batch."""

from __future__ import annotations

import io
import itertools
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from painted import black, mixed, moving, texture, write_video
from PIL import Image

from reelmill.annotators.annotator import Annotator, result_schema
from reelmill.annotators.cut import CLIPS, CutClips, JudgeRules, check_complete
from reelmill.annotators.decode.frames import open_frames
from reelmill.schemas import arrow
from reelmill.schemas.clip import NewClip
from reelmill.schemas.column import schema
from reelmill.schemas.errors import Unusable
from reelmill.schemas.keys import child_key, micros
from reelmill.schemas.media import DecodeStatus, Kind, MediaRef
from reelmill.schemas.span import Span

A, B, C = texture(1), texture(2), texture(3)
PARENT = "u" * 26


@pytest.fixture(scope="module")
def step():
    ready = CutClips()
    ready.setup()
    yield ready
    ready.close()


@pytest.fixture(scope="module")
def three_shots(tmp_path_factory):
    """A dot that runs over A, then B, 12 black frames, then C."""
    path = tmp_path_factory.mktemp("media") / "three.mp4"
    pictures = [*moving(A, lambda i: 3 * i, 40), *moving(B, lambda i: 5 * i, 33), *[black()] * 12, *[C] * 30]
    return write_video(path, pictures)


def unit(path: Path, span: Span | None = None, *, expected: int | None = None, kind: str = "video", key: str = PARENT):
    seconds = span.duration_s if span else 5.0
    media = MediaRef(str(path), "ab" * 32, Kind(kind), 1, 1, seconds if kind == "video" else 0.0, span, "CC0-1.0")
    return {"key": key, "media": arrow.plain(media), "expected_frames": expected}


def run(step, *rows):
    batch = pa.Table.from_pylist(list(rows), schema=schema(*step.needs))
    table = step(batch)
    assert table.schema == result_schema(step.gives)
    return table.to_pylist()


def clips_of(row) -> tuple[NewClip, ...]:
    assert row["fault"] is None, row["fault"]
    assert row["verdict"] is None, row["verdict"]
    clips: tuple[NewClip, ...] = arrow.typed(CLIPS.hint, row["clips"])
    return clips


def spans(clips):
    return [(round(c.media.span.start_s, 6), round(c.media.span.end_s, 6)) for c in clips]


def test_it_is_an_annotator():
    assert isinstance(CutClips(), Annotator)


def test_shots_become_clips_with_exact_times(step, three_shots):
    row = run(step, unit(three_shots, Span(0.0, 4.6)))[0]
    clips = clips_of(row)
    assert spans(clips) == [(0.0, 1.6), (1.6, 2.92), (2.92, 3.4), (3.4, 4.6)]
    assert [c.num_frames for c in clips] == [40, 33, 12, 30]
    assert [c.verdict.reason for c in clips] == ["", "", "black", ""]
    assert [c.still for c in clips] == [False, False, True, True]
    assert row["cuts_s"] == pytest.approx([1.6, 2.92, 3.4])
    assert [(round(s["start_s"], 6), round(s["end_s"], 6)) for s in row["shots"]] == spans(clips)


def test_a_clip_says_where_it_comes_from(step, three_shots):
    clip = clips_of(run(step, unit(three_shots, Span(0.0, 4.6)))[0])[1]
    media = clip.media
    assert clip.parent_key == PARENT
    assert media.span is not None
    assert clip.key == child_key(PARENT, "clip", micros(media.span.start_s), micros(media.span.end_s))
    assert (media.digest, media.licence, media.kind) == ("ab" * 32, "CC0-1.0", "video")
    assert (media.width_px, media.height_px) == (192, 144)
    assert media.duration_s == pytest.approx(1.32)
    assert clip.status.complete


def test_decoding_a_clips_span_again_gives_its_frames(step, three_shots):
    for clip in clips_of(run(step, unit(three_shots, Span(0.0, 4.6)))[0]):
        again = {f.index: (f.at_s, f.rgb(448)) for f in open_frames(str(three_shots), clip.media.span)}
        assert len(again) == clip.num_frames
        for shown in clip.frames:
            at_s, rgb = again[shown.frame]
            assert at_s == shown.at_s
            stored = np.asarray(Image.open(io.BytesIO(shown.jpeg)).convert("RGB")).astype(int)
            assert np.abs(stored - rgb).mean() < 6


def test_a_unit_in_the_middle_of_a_source_keeps_source_time(step, three_shots):
    row = run(step, unit(three_shots, Span(1.0, 2.6)))[0]
    clips = clips_of(row)
    assert spans(clips) == [(1.0, 1.6), (1.6, 2.6)]
    assert row["cuts_s"] == pytest.approx([0.6])
    assert [f.at_s for f in clips[1].frames] == pytest.approx([0.0, 0.4, 0.92])
    assert [f.frame for f in clips[1].frames] == [0, 10, 23]


def test_a_variable_frame_rate_keeps_its_times(step, tmp_path):
    times = np.cumsum([0, *[20, 110, 40] * 12]).tolist()
    path = write_video(tmp_path / "vfr.mp4", [A] * 19 + [B] * 18, times)
    clips = clips_of(run(step, unit(path))[0])
    assert spans(clips)[0][1] == pytest.approx(times[19] / 1000, abs=0.001)
    assert all(c.frames for c in clips)


def test_a_still_clip_is_accepted_and_marked(step, tmp_path):
    path = write_video(tmp_path / "slide.mp4", [A] * 30)
    (clip,) = clips_of(run(step, unit(path))[0])
    assert clip.still
    assert clip.verdict.accepted


def test_a_small_thing_that_moves_is_not_still(step, tmp_path):
    path = write_video(tmp_path / "dot.mp4", moving(A, lambda i: 2 * i, 30, size=5))
    (clip,) = clips_of(run(step, unit(path))[0])
    assert clip.stats is not None
    assert clip.stats.motion < step.judge.still_motion, "the mean alone would call it still"
    assert not clip.still


def test_reasons_name_what_was_seen(step, tmp_path):
    gray = np.full_like(A, 128)
    mixture = [mixed(A, C, (i + 1) / 26) for i in range(25)]
    path = write_video(tmp_path / "odd.mp4", [B] * 8 + [gray] * 20 + [A] * 25 + mixture + [C] * 30)
    clips = clips_of(run(step, unit(path))[0])
    reasons = [c.verdict.reason for c in clips]
    assert reasons == ["too_short", "no_detail", "", "transition", ""]
    assert clips[0].verdict.detail == "0.320 s, under 0.5 s"
    assert all(c.verdict.step == "cut_clips" for c in clips if not c.verdict.accepted)
    assert sum(c.num_frames for c in clips) == 108


def test_one_frame_is_a_clip_with_a_shown_frame(step, tmp_path):
    (clip,) = clips_of(run(step, unit(write_video(tmp_path / "one.mp4", [A])))[0])
    assert (clip.num_frames, clip.verdict.reason, len(clip.frames)) == (1, "too_short", 1)


def test_missing_frames_refuse_the_unit(step, three_shots):
    row = run(step, unit(three_shots, Span(0.0, 4.6), expected=230))[0]
    assert row["verdict"]["reason"] == "truncated"
    assert row["verdict"]["detail"].startswith("decoded 115 of 230 frames")
    assert row["clips"] is None
    assert run(step, unit(three_shots, Span(0.0, 4.6), expected=118))[0]["verdict"] is None, "under 5 % is borne"


def test_damage_is_not_called_truncation():
    with pytest.raises(Unusable) as caught:
        check_complete(DecodeStatus(False, 50, 100, "packets that could not be decoded: 50"), JudgeRules())
    assert caught.value.reason == "frames_missing"
    assert "packets that could not be decoded: 50" in caught.value.detail
    check_complete(DecodeStatus(True, 50, None, ""), JudgeRules())


def test_bad_media_is_refused_with_its_true_reason(step, tmp_path):
    (tmp_path / "bad.mp4").write_bytes(b"not a video at all, by no means")
    rows = run(step, unit(tmp_path / "bad.mp4", key="a" * 26), unit(tmp_path / "none.mp4", key="b" * 26))
    assert [r["verdict"]["reason"] for r in rows] == ["not_media", "unreadable"]


def test_a_row_alone_is_the_row_in_any_batch(step, three_shots, tmp_path):
    other = unit(write_video(tmp_path / "other.mp4", [C] * 20 + [A] * 20), key="o" * 26)
    picture = tmp_path / "p.png"
    Image.fromarray(texture(9, 300, 200)).save(picture)
    rows = [unit(three_shots, Span(0.0, 4.6)), other, unit(picture, kind="image", key="p" * 26)]
    together = run(step, *rows)
    assert run(step, *reversed(rows)) == list(reversed(together))
    for row, answer in zip(rows, together, strict=True):
        fresh = CutClips()
        fresh.setup()
        assert run(fresh, row) == [answer]
        fresh.close()


def test_a_picture_is_a_clip_of_one_frame(step, tmp_path):
    path = tmp_path / "wide.png"
    Image.fromarray(texture(4, 3000, 1000)).save(path)
    row = run(step, unit(path, kind="image", expected=1))[0]
    (clip,) = clips_of(row)
    assert (row["cuts_s"], row["shots"]) == ([], [])
    assert (clip.media.span, clip.media.duration_s, clip.still, clip.num_frames) == (None, 0.0, True, 1)
    assert (clip.media.width_px, clip.media.height_px) == (3000, 1000)
    assert clip.stats is not None
    assert clip.stats.motion == 0.0
    assert clip.stats.sharpness > 0
    (shown,) = clip.frames
    assert (shown.frame, shown.at_s, shown.width_px, shown.height_px) == (0, 0.0, 2048, 683)
    assert clip.key == child_key(PARENT, "clip", 0, 0)


@pytest.mark.parametrize(
    ("picture", "reason"),
    [(texture(1, 12, 90), "too_small"), (black(), "black"), (np.full_like(A, 250), "no_detail"), (A, "")],
)
def test_pictures_are_judged(step, tmp_path, picture, reason):
    path = tmp_path / "p.png"
    Image.fromarray(picture).save(path)
    (clip,) = clips_of(run(step, unit(path, kind="image"))[0])
    assert clip.verdict.reason == reason


def test_rules_are_identity():
    assert CutClips() == CutClips()
    assert CutClips(judge=JudgeRules(min_clip_s=1.0)) != CutClips()


def test_every_real_unit_is_covered_without_gap(step, shared_media):
    for name in ("videos/comp_multishot_dev.mp4", "hard/px_vfr.webm", "hard/psd_delayed_start.mp4"):
        clips = clips_of(run(step, unit(shared_media / name))[0])
        ends = spans(clips)
        assert ends[0][0] == 0.0
        assert all(a[1] == pytest.approx(b[0], abs=1e-9) for a, b in itertools.pairwise(ends))
        assert all(c.frames for c in clips)
