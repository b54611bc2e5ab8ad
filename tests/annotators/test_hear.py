"""What films with known tracks sound like: their levels, onsets to 10 ms, and silence that is called silence."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from sounded import Tone, sounded

from reelmill.annotators.annotator import Annotator, result_schema
from reelmill.annotators.hear import SOUND, Hear
from reelmill.annotators.loudness import (
    LOWEST_DBFS,
    ActiveRules,
    OnsetRules,
    active_spans,
    levels,
    noise_floor,
    onsets,
)
from reelmill.schemas import arrow
from reelmill.schemas.column import schema
from reelmill.schemas.media import Kind, MediaRef
from reelmill.schemas.sound import SoundStatus
from reelmill.schemas.span import Span

RATE = 16_000


@pytest.fixture(scope="module")
def step():
    made = Hear()
    made.setup()
    yield made
    made.close()


def row(path, span, key="k"):
    kind = Kind.IMAGE if span is None else Kind.VIDEO
    media = MediaRef(str(path), "0" * 64, kind, 64, 48, span.duration_s if span else 0.0, span, "unknown")
    return {"key": key, "media": arrow.plain(media)}


def run(step, *rows):
    table = step(pa.Table.from_pylist(list(rows), schema=schema(*Hear.needs)))
    assert table.schema == result_schema(step.gives)
    return table.to_pylist()


def sound_of(answer):
    assert (answer["verdict"], answer["fault"]) == (None, None)
    return arrow.typed(SOUND.hint, answer["sound"])


def hiss(seconds, dbfs, seed=0):
    return np.random.default_rng(seed).normal(0, 10 ** (dbfs / 20), round(seconds * RATE)).astype(np.float32)


def tone(seconds, loud=0.3, hz=440.0):
    return (loud * np.sin(2 * np.pi * hz * np.arange(round(seconds * RATE)) / RATE)).astype(np.float32)


# ---- the step --------------------------------------------------------------------------------------------------------


def test_it_is_an_annotator():
    assert isinstance(Hear(), Annotator)


def test_a_film_with_two_tones(step, tmp_path):
    file = sounded(tmp_path / "a.mp4", [Tone(1.0, 1.5), Tone(2.2, 2.6)], noise=1e-3)
    sound = sound_of(run(step, row(file, Span(0.0, 3.0)))[0])
    assert (sound.status, sound.codec, sound.sample_rate_hz, sound.channels) == (SoundStatus.SOUND, "aac", 44_100, 2)
    assert sound.onsets_s == pytest.approx((1.0, 2.2), abs=0.02)
    assert [(s.start_s, s.end_s) for s in sound.active] == [
        (pytest.approx(1.0, abs=0.051), pytest.approx(1.5, abs=0.051)),
        (pytest.approx(2.2, abs=0.051), pytest.approx(2.6, abs=0.051)),
    ]
    assert len(sound.level_dbfs) == 60
    assert sound.level_dbfs[24] == pytest.approx(20 * np.log10(0.3 / np.sqrt(2)), abs=0.3)
    assert sound.peak_dbfs == pytest.approx(20 * np.log10(0.3), abs=0.5)
    assert sound.floor_dbfs == pytest.approx(-60 + 10 * np.log10(16 / 44.1), abs=2)  # the rest lies above 8 kHz


def test_times_are_those_of_the_clip_not_of_its_file(step, tmp_path):
    file = sounded(tmp_path / "a.mp4", [Tone(5.25, 6.0)], seconds=8.0, sound_from_s=-0.3)
    sound = sound_of(run(step, row(file, Span(4.0, 7.0)))[0])
    assert sound.onsets_s == pytest.approx((1.25,), abs=0.02)


def test_a_track_of_silence_is_no_sound(step, tmp_path):
    file = sounded(tmp_path / "a.mp4", [], noise=10 ** (-91 / 20))
    sound = sound_of(run(step, row(file, Span(0.0, 3.0)))[0])
    assert (sound.status, sound.active, sound.onsets_s) == (SoundStatus.SILENT, (), ())
    assert max(sound.level_dbfs) < -85
    assert len(sound.level_dbfs) == 60


def test_a_picture_and_a_film_without_a_track_have_none(step, tmp_path, shared_media):
    picture, film = run(step, row("x.png", None), row(shared_media / "videos/lf_cooking.avi", Span(0.0, 2.0)))
    assert sound_of(picture).note == "a picture"
    assert sound_of(film).note == "no audio stream"
    assert sound_of(picture).status == sound_of(film).status == SoundStatus.NONE


def test_where_the_track_has_ended_there_is_none(step, tmp_path):
    file = sounded(tmp_path / "a.mp4", [], sound_to_s=1.0, noise=0.1)
    sound = sound_of(run(step, row(file, Span(2.0, 3.0)))[0])
    assert (sound.status, sound.missing_s, sound.level_dbfs) == (SoundStatus.NONE, 1.0, ())


def test_a_broken_file_is_refused_and_its_neighbour_is_not(step, tmp_path):
    broken = tmp_path / "b.mp4"
    broken.write_bytes(b"no film at all")
    good = sounded(tmp_path / "a.mp4", [Tone(0.5, 0.8)], seconds=1.0)
    bad, fine = run(step, row(broken, Span(0.0, 1.0), "b"), row(good, Span(0.0, 1.0), "a"))
    assert bad["verdict"]["reason"] == "not_media"
    assert sound_of(fine).onsets_s == pytest.approx((0.5,), abs=0.02)


def test_a_row_alone_is_the_row_in_any_batch(step, tmp_path):
    file = sounded(tmp_path / "a.mp4", [Tone(0.5, 0.8), Tone(1.9, 2.5)], noise=1e-3)
    rows = [row(file, Span(a, a + 1.0), f"k{a}") for a in (0.0, 1.0, 2.0)]
    together = run(step, *rows)
    assert run(step, *rows[::-1]) == together[::-1]
    assert [run(step, one)[0] for one in rows] == together


@pytest.mark.parametrize(
    ("name", "status"),
    [
        ("sam2_dog.mp4", SoundStatus.SILENT),
        ("intel_cars_topdown.mp4", SoundStatus.SILENT),
        ("udacity_lane.mp4", SoundStatus.SILENT),
        ("nasa_13013.mp4", SoundStatus.SOUND),
        ("vidor_8670554760.mp4", SoundStatus.SOUND),
        ("intel_bottles.mp4", SoundStatus.NONE),
    ],
)
def test_real_films(step, shared_media, name, status):
    assert sound_of(run(step, row(shared_media / "videos" / name, Span(0.0, 5.0)))[0]).status == status


# ---- levels, spans, onsets -------------------------------------------------------------------------------------------


def test_levels_of_known_waves():
    square = np.tile(np.array([1, -1], np.float32), RATE // 2)
    assert levels(square, RATE, 0.05) == pytest.approx(np.zeros(20), abs=1e-9)
    assert levels(tone(1.0, 1.0), RATE, 0.05) == pytest.approx(np.full(20, -3.0103), abs=0.01)
    assert levels(np.zeros(RATE, np.float32), RATE, 0.5).tolist() == [LOWEST_DBFS] * 2


def test_a_last_short_step_has_the_level_of_its_own_samples():
    short = np.full(1000, 0.5, np.float32)
    assert levels(short, RATE, 0.05) == pytest.approx([-6.02, -6.02], abs=0.01)
    assert len(levels(short[:0], RATE, 0.05)) == 0


def test_the_floor_is_what_most_steps_reach():
    level = np.array([-70.0] * 2 + [-20.0] * 8)
    assert noise_floor(level, ActiveRules()) == -70.0
    assert noise_floor(level[:0], ActiveRules()) == LOWEST_DBFS


def spans(levels_dbfs, **rules):
    level = np.array(levels_dbfs, np.float64)
    found = active_spans(level, len(level) * 0.05, ActiveRules(**rules))
    return [(s.start_s, s.end_s) for s in found]


def test_gaps_are_bridged_and_blips_dropped():
    quiet, loud = [-70.0], [-20.0]
    assert spans(quiet * 4 + loud * 4 + quiet * 4 + loud * 4 + quiet * 4) == [(0.2, 0.8)]
    assert spans(quiet * 4 + loud * 4 + quiet * 5 + loud * 4 + quiet * 4) == [(0.2, 0.4), (0.65, 0.85)]
    assert spans(quiet * 10 + loud + quiet * 10) == []


def test_sound_without_a_pause_is_active_throughout_and_hiss_is_not():
    assert spans([-20.0] * 40) == [(0.0, 2.0)]
    assert spans([-50.0] * 40) == []
    assert spans([-50.0] * 30 + [-40.0] * 10) == []
    assert spans([-50.0] * 30 + [-37.0] * 10) == [(1.5, 2.0)]


def test_onsets_of_known_tones_and_noises():
    """No onset missed, none invented, each within 10 ms, over tones, noise bursts and dying tones in a quiet hiss."""
    rng = np.random.default_rng(0)
    for trial in range(30):
        true = np.cumsum(rng.uniform(0.4, 0.9, 6))
        sound = hiss(6.0, -60, seed=trial)
        for start_s in true:
            length, loud = round(rng.uniform(0.1, 0.3) * RATE), 10 ** (rng.uniform(-25, -6) / 20)
            burst = tone(1.0, loud, rng.uniform(150, 4000))[:length]
            burst = [burst, rng.normal(0, loud / 2, length), burst * np.exp(-np.arange(length) / 1300)][trial % 3]
            first = round(start_s * RATE)
            sound[first : first + length] += burst
        assert onsets(sound, RATE, OnsetRules()) == pytest.approx(true, abs=0.01), trial


def test_an_end_is_no_onset():
    sound = np.concatenate([tone(1.0), np.zeros(RATE, np.float32)])
    assert [t for t in onsets(sound, RATE, OnsetRules()) if t > 0.1] == []


@pytest.mark.parametrize("sound", [np.zeros(RATE), hiss(4.0, -20), np.zeros(10), np.ones(1), np.zeros(0)])
def test_what_has_no_onset_gets_none(sound):
    assert onsets(np.asarray(sound, np.float32), RATE, OnsetRules()) == ()
