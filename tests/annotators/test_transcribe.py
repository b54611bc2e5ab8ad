"""Speech segments: times and gates exactly, on tokens and lines as Whisper writes them; the model's part with random
weights, which shows that the wires meet and says nothing of how well anything is heard."""

from __future__ import annotations

import dataclasses

import pyarrow as pa
import pytest
from random_weights import LANGUAGES, whisper
from sounded import Tone, sounded

from reelmill.annotators.annotator import Annotator, result_schema
from reelmill.annotators.hear import Hear
from reelmill.annotators.transcribe import (
    SPEECH,
    Line,
    SpeechRules,
    Transcribe,
    compression,
    misheard,
    stretches,
    windows,
)
from reelmill.schemas import arrow
from reelmill.schemas.column import schema
from reelmill.schemas.errors import BadInput, NotFound
from reelmill.schemas.media import Kind, MediaRef
from reelmill.schemas.sound import Sound, SoundStatus
from reelmill.schemas.span import Span

FIRST, SPECIAL = 1000, 900
RULES = SpeechRules()


def stamp(at_s):
    return FIRST + round(at_s / 0.02)


def read(*tokens):
    found = stretches(tokens, [-0.5] * len(tokens), FIRST, SPECIAL)
    return [(h.start_s, h.end_s, h.tokens) for h in found]


# ---- tokens ----------------------------------------------------------------------------------------------------------


def test_pairs_of_stamps_hold_text():
    assert read(stamp(0.5), 1, 2, stamp(1.5), stamp(2.0), 3, stamp(3.0)) == [(0.5, 1.5, (1, 2)), (2.0, 3.0, (3,))]


def test_text_that_runs_on_is_kept_and_says_so():
    assert read(stamp(0.0), 1, stamp(1.0), stamp(1.0), 2, 3) == [(0.0, 1.0, (1,)), (1.0, None, (2, 3))]


def test_text_without_stamps_begins_with_the_window():
    assert read(1, 2) == [(0.0, None, (1, 2))]
    assert read() == read(stamp(0.0), stamp(30.0)) == []


def test_special_tokens_are_no_text():
    assert read(stamp(0.0), 901, 5, 950, stamp(1.0)) == [(0.0, 1.0, (5,))]


def test_a_score_is_the_mean_over_its_own_text():
    found = stretches([stamp(0), 1, 2, stamp(1), 3], [-9, -1, -2, -9, -4], FIRST, SPECIAL)
    assert [h.logprob for h in found] == [-1.5, -4.0]


# ---- windows ---------------------------------------------------------------------------------------------------------


def heard(levels, active=()):
    levels = tuple(levels)
    return Sound(SoundStatus.SOUND, "aac", 44_100, 2, 0.0, -3.0, -60.0, 0.05, levels, tuple(active), (), "")


def test_a_short_clip_is_one_window():
    assert windows(heard([-20.0] * 400), 20.0, RULES) == (Span(0.0, 20.0),)


def test_a_long_clip_is_cut_where_it_is_quietest():
    levels = [-20.0] * 1200
    levels[540], levels[300] = -50.0, -90.0  # at 27 s, and at 15 s where no window ends
    cut = windows(heard(levels), 60.0, RULES)
    assert [w.end_s for w in cut[:2]] == [pytest.approx(27.025), pytest.approx(52.05, abs=0.1)]
    assert all(w.duration_s <= 30 for w in cut)
    assert [w.start_s for w in cut[1:]] == [w.end_s for w in cut[:-1]]
    assert cut[-1].end_s == 60.0


def test_a_sound_with_few_levels_is_still_cut():
    assert all(w.duration_s <= 30 for w in windows(heard([]), 61.0, RULES))


# ---- gates -----------------------------------------------------------------------------------------------------------

GOOD = Line(1.0, 3.0, "Mind the gap.", "Mind the gap.", "en", -0.3)


def reason(line=GOOD, before=(), active=1.0, **changed):
    found = misheard(dataclasses.replace(line, **changed), list(before), active, RULES)
    return found[0] if found else ""


def test_a_plain_segment_passes():
    assert reason() == ""


def test_text_over_silence_is_refused():
    assert reason(active=0.05) == "text_over_silence"
    assert reason(active=0.1) == ""


def test_text_that_repeats_itself_is_refused():
    loop = "Thank you for watching. " * 12
    assert compression(loop) > 2.4 > compression("Please stand clear of the doors; the next stop is the harbour.")
    assert reason(window_text=loop) == "repetitive"
    assert compression("") == 0.0


def test_the_third_same_segment_is_refused():
    same = dataclasses.replace(GOOD, text="MIND the gap.")
    assert reason(before=[same]) == ""
    assert reason(before=[same, GOOD]) == "repeated"
    assert reason(before=[same, dataclasses.replace(GOOD, text="Other.")]) == ""


def test_unsure_and_timeless_text_is_refused():
    assert reason(logprob=-1.2) == "unsure"
    assert reason(end_s=1.0) == "no_time"


# ---- the step, with random weights -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return whisper(tmp_path_factory.mktemp("whisper"))


@pytest.fixture(scope="module")
def step(checkpoint):
    made = Transcribe(f"transformers:{checkpoint}")
    made.setup()
    yield made
    made.close()


def row(path, span, sound=None, key="k"):
    media = MediaRef(str(path), "0" * 64, Kind.VIDEO, 64, 48, span.duration_s, span, "unknown")
    if sound is None:
        hear = Hear()
        hear.setup()
        asked = {"key": key, "media": arrow.plain(media)}
        (answer,) = hear(pa.Table.from_pylist([asked], schema=schema(*Hear.needs))).to_pylist()
        hear.close()
        sound = answer["sound"]
    return {"key": key, "media": arrow.plain(media), "sound": arrow.plain(sound)}


def run(step, *rows):
    table = step(pa.Table.from_pylist(list(rows), schema=schema(*Transcribe.needs)))
    assert table.schema == result_schema(step.gives)
    answers = table.to_pylist()
    assert all(a["fault"] is None for a in answers), answers
    return answers


def segments(answer):
    return arrow.typed(SPEECH.hint, answer["speech"])


def test_it_is_an_annotator(checkpoint):
    assert isinstance(Transcribe(f"transformers:{checkpoint}"), Annotator)


def test_segments_lie_in_the_clip_with_language_model_and_verdict(step, checkpoint, tmp_path):
    file = sounded(tmp_path / "a.mp4", [Tone(0.2, 39.0)], seconds=40.0)
    (answer,) = run(step, row(file, Span(2.0, 40.0)))
    found = segments(answer)
    assert found
    assert all(0 <= s.span.start_s < s.span.end_s <= 38.001 for s in found)
    assert {s.parent_key for s in found} == {"k"}
    assert len({s.key for s in found}) == len(found)
    assert {s.language for s in found} <= set(LANGUAGES)
    assert {s.model for s in found} == {answer["speech_model"]} == {f"{checkpoint.name}@{step.model_revision}"}
    assert {s.verdict.reason for s in found} <= {"unsure", "repetitive", "repeated", "no_time", "text_over_silence"}
    assert max(s.span.end_s for s in found) > 30, "the second window is read too"


def test_where_nothing_sounds_the_model_is_not_asked(step, tmp_path):
    file = sounded(tmp_path / "a.mp4", [], noise=1e-5)
    assert segments(run(step, row(file, Span(0.0, 3.0)))[0]) == ()


def test_a_row_alone_is_the_row_in_any_batch(step, tmp_path):
    file = sounded(tmp_path / "a.mp4", [Tone(0.5, 2.0), Tone(3.0, 5.5, hz=900.0)], seconds=6.0)
    rows = [row(file, Span(a, a + 2.0), key=f"k{a}") for a in (0.0, 2.0, 4.0)]
    together = run(step, *rows)
    assert run(step, *rows[::-1]) == together[::-1]
    assert [run(step, one)[0] for one in rows] == together


def test_a_named_language_is_kept(checkpoint, tmp_path):
    step = Transcribe(f"transformers:{checkpoint}", language="fr")
    step.setup()
    file = sounded(tmp_path / "a.mp4", [Tone(0.5, 2.0)])
    assert {s.language for s in segments(run(step, row(file, Span(0.0, 3.0)))[0])} == {"fr"}
    step.close()


def test_a_missing_checkpoint_is_one_clear_line(tmp_path):
    with pytest.raises(NotFound, match=r"checkpoint nobody/none not found; seen: .*; do: give a folder"):
        Transcribe("transformers:nobody/none").setup()


def test_another_kind_of_engine_is_refused():
    with pytest.raises(BadInput, match="do: give --engine speech=transformers:MODEL"):
        _ = Transcribe("openai:m@http://127.0.0.1:1/v1").model
