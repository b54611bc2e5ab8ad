"""Sound by presentation time: a tone that starts at a known time of the pictures is found there, whatever the box."""

from __future__ import annotations

import numpy as np
import pytest
from sounded import Tone, sounded, wave

from reelmill.annotators.decode.audio import RATE_HZ, _placed, _Run, _unit, read_audio
from reelmill.annotators.decode.isolated import Isolated
from reelmill.schemas.errors import Unusable
from reelmill.schemas.span import Span

TOLERANCE_S = 0.02
AVI_S = 0.07
"""AVI keeps decode order alone, from which FFmpeg guesses the first picture's time, up to two frames late."""


def rises_at(samples, after_s=0.0):
    """Time of the first sample at a third of the peak."""
    loud = np.flatnonzero(np.abs(samples) > np.abs(samples).max() / 3)
    return next(i for i in loud.tolist() if i >= after_s * RATE_HZ) / RATE_HZ


BOXES = [
    ("a.mp4", "aac", 44_100),
    ("a.mov", "pcm_s16le", 48_000),
    ("a.mkv", "aac", 48_000),
    ("b.mkv", "libopus", 48_000),
    ("a.mkv", "flac", 22_050),
    ("a.avi", "libmp3lame", 44_100),
    ("a.ts", "aac", 32_000),
    ("a.mkv", "pcm_s16le", 8_000),
]


def begins_s(name):
    """First picture on the container's clock; an AVI track has no start of its own."""
    return 0.0 if name.endswith("avi") else 1.0


def within_s(name):
    return AVI_S if name.endswith("avi") else TOLERANCE_S


@pytest.mark.parametrize(("name", "codec", "rate_hz"), BOXES)
def test_a_tone_is_where_the_pictures_have_it(tmp_path, name, codec, rate_hz):
    made = {"codec": codec, "rate_hz": rate_hz, "pictures_from_s": begins_s(name)}
    file = sounded(tmp_path / name, [Tone(1.234, 1.7)], **made)
    audio = read_audio(str(file), Span(0.0, 3.0))
    assert rises_at(audio.samples) == pytest.approx(1.234, abs=within_s(name))
    assert (len(audio.samples), audio.sample_rate_hz, audio.channels) == (3 * RATE_HZ, rate_hz, 2)
    assert audio.covered_s == pytest.approx(3.0, abs=0.06)


@pytest.mark.parametrize(("name", "codec", "rate_hz"), BOXES[:6])
def test_a_late_span_is_sought_and_has_its_own_zero(tmp_path, name, codec, rate_hz):
    made = {"codec": codec, "rate_hz": rate_hz, "pictures_from_s": begins_s(name)}
    file = sounded(tmp_path / name, [Tone(13.1, 13.3)], seconds=16.0, **made)
    audio = read_audio(str(file), Span(12.0, 14.0))
    assert len(audio.samples) == 2 * RATE_HZ
    assert rises_at(audio.samples) == pytest.approx(1.1, abs=within_s(name))


@pytest.mark.parametrize("from_s", [-0.7, 0.5])
def test_a_track_that_starts_before_or_after_the_pictures_is_not_shifted(tmp_path, from_s):
    file = sounded(tmp_path / "a.mp4", [Tone(1.0, 1.4)], sound_from_s=from_s)
    audio = read_audio(str(file), Span(0.0, 3.0))
    assert rises_at(audio.samples) == pytest.approx(1.0, abs=TOLERANCE_S)
    assert audio.covered_s == pytest.approx(3.0 - max(0.0, from_s), abs=0.06)


def test_a_hole_stays_silent_and_what_follows_keeps_its_time(tmp_path):
    file = sounded(tmp_path / "a.mkv", [Tone(0.2, 2.8)], codec="pcm_s16le", rate_hz=16_000, hole_s=(1.0, 1.5))
    audio = read_audio(str(file), Span(0.0, 3.0))
    assert not audio.samples[round(1.05 * RATE_HZ) : round(1.45 * RATE_HZ)].any()
    assert rises_at(audio.samples, after_s=1.2) == pytest.approx(1.5, abs=0.07)  # frames are 64 ms long
    assert audio.covered_s == pytest.approx(2.5, abs=0.07)


def test_a_track_that_ends_early_is_covered_as_far_as_it_goes(tmp_path):
    file = sounded(tmp_path / "a.mp4", [], sound_to_s=1.0, noise=0.1)
    late = read_audio(str(file), Span(2.0, 3.0))
    assert (late.has_track, late.covered_s) == (True, 0.0)
    assert read_audio(str(file), Span(0.5, 1.5)).covered_s == pytest.approx(0.5, abs=0.06)


def test_samples_are_what_was_written(tmp_path):
    tones = [Tone(0.3, 0.9, hz=300.0), Tone(1.1, 2.0, hz=1000.0, loud=0.1)]
    file = sounded(tmp_path / "a.mkv", tones, codec="pcm_s16le", rate_hz=16_000)
    audio = read_audio(str(file), Span(0.0, 3.0))
    assert np.abs(audio.samples - wave(tones, 0.0, 3.0, 16_000)).max() < 1e-3


def test_channels_are_averaged_not_summed(tmp_path):
    file = sounded(tmp_path / "a.mkv", [Tone(0.0, 3.0, loud=0.8)], codec="pcm_s16le", layout="5.1")
    audio = read_audio(str(file), Span(0.0, 3.0))
    assert audio.channels == 6
    assert np.abs(audio.samples).max() == pytest.approx(0.8, abs=0.02)


@pytest.mark.parametrize(
    ("kind", "raw", "share"), [("u1", [0, 128], [-1, 0]), ("i2", [-32768, 16384], [-1, 0.5]), ("i4", [2**30], [0.5])]
)
def test_every_format_has_the_same_full_scale(kind, raw, share):
    assert _unit(np.array(raw, kind)).tolist() == share


def test_of_two_runs_over_each_other_the_later_counts():
    one, other = _Run(0.0, RATE_HZ), _Run(0.5, RATE_HZ)
    one.add(np.full(RATE_HZ, 0.25, np.float32))
    other.add(np.full(RATE_HZ, 0.5, np.float32))
    samples, covered = _placed([one, other], 0.0, 2.0)
    assert samples[[0, 7999, 8000, 23999, 24000]].tolist() == [0.25, 0.25, 0.5, 0.5, 0.0]
    assert covered.sum() == 1.5 * RATE_HZ


def test_a_film_without_a_track_says_so(shared_media):
    assert not read_audio(str(shared_media / "videos/lf_cooking.avi"), Span(0.0, 2.0)).has_track


def test_a_sound_file_counts_from_its_first_sample(shared_media):
    audio = read_audio(str(shared_media / "audio/lf_4.mp3"), None)
    assert (audio.codec, audio.channels) == ("mp3float", 2)
    assert len(audio.samples) / RATE_HZ == pytest.approx(5.04, abs=0.06)


def asked(child, path, span):
    """The sound, or None where the file was judged."""
    try:
        return child.call("reelmill.annotators.decode.audio:read_audio", str(path), span, wall_s=60)
    except Unusable as refused:
        if refused.reason in ("decode_timeout", "decode_memory", "decode_crashed"):
            raise
        return None


def test_hostile_files_are_judged_and_the_child_lives_on(shared_media):
    hard = [*sorted((shared_media / "hard").iterdir()), *sorted((shared_media / "audio").iterdir())]
    with Isolated() as child:
        heard = {path.name: asked(child, path, None) for path in hard}
    assert {n for n, audio in heard.items() if audio is not None and audio.covered_s > 0} == {
        *("audio_only.mp4", "video_starts_at_5s.mp4", "px_vfr.webm", "lf_glass.mp3", "lf_4.mp3")
    }
    sounds = [audio.samples for audio in heard.values() if audio is not None]
    assert all(np.isfinite(s).all() and np.abs(s).max(initial=0) <= 1 for s in sounds)


@pytest.fixture(scope="module")
def bearing():
    """The child that bears all of them, as in a run; one that it does not survive would be an end of it."""
    with Isolated() as child:
        yield child


@pytest.mark.parametrize("seed", range(12))
def test_mutated_sound_is_judged_or_borne(tmp_path, seed, bearing):
    """Bytes flipped anywhere in a film with sound: an answer within bounds or a reason, never an end of the run."""
    broken = bytearray(sounded(tmp_path / "a.mkv", [Tone(0.2, 1.0)], seconds=1.2).read_bytes())
    rng = np.random.default_rng(seed)
    for place in rng.integers(0, len(broken), 40).tolist():
        broken[place] ^= int(rng.integers(1, 256))
    file = tmp_path / "broken.mkv"
    file.write_bytes(bytes(broken))
    audio = asked(bearing, file, Span(0.0, 1.2))
    assert audio is None or (len(audio.samples) in (0, round(1.2 * RATE_HZ)) and 0 <= audio.covered_s <= 1.2)
