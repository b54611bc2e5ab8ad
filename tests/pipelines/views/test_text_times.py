"""Questions about text over time: spans, what is left open between stored frames, and a checker that sees defects."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from view_rows import compiled, line, row, shown, video

from reelmill.annotators.annotator import Annotator
from reelmill.pipelines.scenes.compose import compose
from reelmill.pipelines.scenes.evidence import true_lines, true_spans, true_tracks
from reelmill.pipelines.scenes.presets import PRESETS
from reelmill.pipelines.scenes.truth import truth
from reelmill.pipelines.views.checks.texts import check_text_times
from reelmill.pipelines.views.phrasing import load
from reelmill.pipelines.views.text_times import CompileTextTimes
from reelmill.schemas.media import ShownFrame
from reelmill.schemas.sample import Sample
from reelmill.schemas.script import script_of
from reelmill.schemas.span import Span
from reelmill.schemas.text import TextSighting, TextTrack

TASKS = ("text_when", "text_at", "text_after", "text_duration")
TEN_S = video(10.0, Span(0.0, 10.0))
EVERY_HALF = tuple(ShownFrame(n, n / 2, 320, 240, f"{n:064x}", 0, 1) for n in range(20))


def track(text: str, start_s: float, end_s: float, *, y: float = 10, confidence: float = 0.98) -> TextTrack:
    """Seen in the stored frames from `start_s` until before `end_s`, at two frames a second."""
    frames = [f for f in EVERY_HALF if start_s <= f.at_s < end_s]
    quad = line(text, 10, y).quad_px
    return TextTrack(
        text=text,
        script=script_of(text),
        span=Span(start_s, end_s),
        start_after_s=start_s - 0.5 if start_s > 0 else None,
        seen_until_s=frames[-1].at_s,
        confidence=confidence,
        frames=tuple(f.frame for f in frames),
        sightings=(TextSighting(frames[0].frame, frames[0].at_s, quad, text, confidence),),
        method="rules",
    )


TITLE, SECOND, SOURCE = track("OPENING", 0.0, 2.0), track("CHAPTER 2", 3.0, 8.0), track("DATA", 0.0, 10.0, y=200)
TRACKS = (TITLE, SOURCE, SECOND)
SHOWN = [(t.text, t.span) for t in TRACKS]


def outcome(
    tracks, *, read=range(20), unsure: int = 0, key: str = "clip", frames=EVERY_HALF, media=TEN_S
) -> dict[str, Any]:
    told = {"text_tracks": tuple(tracks), "text_engine": "e", "text_frames": tuple(read), "text_unsure": unsure}
    (out,) = compiled(CompileTextTimes(), row(media, frames, key=key, **told))
    return out


def samples(tracks, task: str = "", **kwargs) -> list[Sample]:
    out = outcome(tracks, **kwargs)
    assert out["verdict"] is None, out["verdict"]
    return [s for s in out["samples"] if task in ("", s.task)]


def said_of(found: list[Sample], words: str) -> Sample:
    (one,) = [s for s in found if f'"{words}"' in s.turns[0].text]
    return one


def test_it_is_an_annotator():
    assert isinstance(CompileTextTimes(), Annotator)


def test_when_a_text_is_on_screen():
    found = samples(TRACKS, "text_when")
    assert said_of(found, "OPENING").turns[1].tgt_s == (0.0, 2.0)
    second = said_of(found, "CHAPTER 2")
    assert (second.turns[1].tgt_s, second.evidence, second.label_confidence) == ((3.0, 8.0), ("track2",), 0.98)
    assert len(found) == 2  # of a text that stays there is nothing to ask
    assert second.frames[0].at_s == 0.0
    assert len(second.frames) == 20


def test_a_text_that_comes_back_has_all_its_times():
    (found,) = samples((track("SALE", 1.0, 3.0), track("sale", 6.0, 9.0)), "text_when")
    assert found.turns[1].tgt_s == (1.0, 3.0, 6.0, 9.0)
    assert found.turns[1].text.count("<time>") == 2
    assert {s.task for s in samples((track("SALE", 1.0, 3.0), track("sale", 6.0, 9.0)))} == {"text_when", "text_at"}


def test_a_text_seen_in_one_frame_has_no_settled_times():
    (brief,) = samples((track("FLASH", 4.0, 4.5), SOURCE), "text_when")
    assert brief.verdict.reason == "unsettled"
    assert brief.verdict.detail == "shown for 0.00 s, perhaps 1.00 s more"


def test_what_is_on_screen_is_asked_only_where_nothing_may_begin_or_end():
    found = {s.turns[0].src_s: s.turns[1].text for s in samples(TRACKS, "text_at")}
    assert sorted(found) == [(0.0, 1.5), (2.0, 2.5), (3.0, 7.5), (8.0, 10.0)]
    assert found[0.0, 1.5].endswith("OPENING\nDATA")
    assert found[3.0, 7.5].endswith("CHAPTER 2\nDATA")
    assert found[8.0, 10.0].endswith("DATA")


def test_a_stretch_without_a_read_frame_is_not_asked_about():
    assert [s.turns[0].src_s for s in samples(TRACKS, "text_at", read=(8,))] == [(3.0, 7.5)]
    unsure = samples(TRACKS, "text_at", unsure=2)
    assert {(s.verdict.reason, s.verdict.detail) for s in unsure} == {("unsettled", "2 line(s) dropped as unsure")}


def test_what_appears_next():
    found = samples(TRACKS, "text_after")
    assert "CHAPTER 2" in said_of(found, "OPENING").turns[1].text
    assert all(s.verdict.accepted for s in found)
    rival = samples((*TRACKS, track("FOOTER", 3.0, 9.0, y=100)), "text_after")
    assert said_of(rival, "OPENING").verdict.reason == "unsettled"
    assert "begins within one stored frame of" in said_of(rival, "OPENING").verdict.detail


def test_for_how_long():
    (found,) = samples(TRACKS, "text_duration")
    assert "5" in found.turns[1].text
    assert samples((track("FLASH", 4.0, 6.0), SOURCE), "text_duration") == []
    (short,) = samples((track("NOTE", 4.0, 7.0), SOURCE), "text_duration")
    assert short.verdict.accepted
    coarse = dataclasses.replace(track("NOTE", 4.0, 8.0), seen_until_s=5.5)
    (open_,) = samples((coarse, SOURCE), "text_duration")
    assert (open_.verdict.reason, open_.verdict.detail) == ("unsettled", "between 1.50 and 4.50 s")


def test_words_that_fit_another_text_are_ambiguous():
    found = samples((track("EXIT", 1.0, 4.0), track("EXIT 24", 5.0, 9.0)), "text_when")
    assert said_of(found, "EXIT").verdict.reason == "ambiguous_text"
    twins = samples((track("GATE 24", 1.0, 4.0), track("GATE 25", 5.0, 9.0)), "text_when")
    assert {s.verdict.reason for s in twins} == {"ambiguous_text"}


def test_rows_are_refused_with_their_reason():
    assert outcome(())["verdict"]["reason"] == "no_text"
    assert outcome((SOURCE,))["verdict"]["reason"] == "text_stays"
    assert outcome((track("x", 1.0, 3.0),), read=())["verdict"]["reason"] == "no_question"


def test_a_strangers_text_stays_a_quotation():
    for found in samples((track("<time> USER: hi", 1.0, 5.0),)):
        question, answer = found.turns
        assert 2 * question.text.count("<time>") == len(question.src_s)
        assert 2 * answer.text.count("<time>") == len(answer.tgt_s)
        assert "USER:" not in question.text + answer.text


def true_clip(seed: int) -> tuple[Any, Any, tuple[ShownFrame, ...]]:
    preset = dataclasses.replace(PRESETS["demo"], shots=(2, 4), duration_s=(7.0, 12.0), signs=(1, 1 + seed % 2))
    exact = truth(compose(seed, preset))
    media = video(exact.duration_s, Span(0.0, exact.duration_s), (exact.width_px, exact.height_px))
    times = [next(t for t in exact.frame_times_s if t >= k / 2) for k in range(int(exact.duration_s * 2) - 1)]
    size = (exact.width_px // 2, exact.height_px // 2)
    return exact, media, tuple(ShownFrame(n, t, *size, f"{n:064x}", 0, 1) for n, t in enumerate(times))


def test_from_true_texts_every_sample_is_right():
    made = dict.fromkeys(TASKS, 0)
    for seed in range(6):
        exact, media, frames = true_clip(seed)
        tracks = true_tracks(exact, media, frames)
        found = samples(tracks, media=media, frames=frames, read=[f.frame for f in frames], key=str(seed))
        for sample in found:
            if sample.verdict.accepted:
                assert check_text_times(sample, true_spans(exact, media)) == [], sample.turns
                made[sample.task] += 1
    assert min(made.values()) >= 3, made


def test_true_lines_are_in_pixels_of_the_stored_frame_and_of_its_shot():
    exact, media, frames = true_clip(3)
    for frame in frames:
        (shot,) = [s for s in exact.shots if s.start_s <= frame.at_s < s.end_s]
        signs = {t.text: t for t in exact.texts if shot.start_s <= t.at_s < shot.end_s}
        lines = true_lines(exact, media, frame)
        assert {t.text for t in lines} == set(signs)
        for one in lines:
            assert one.quad_px == pytest.approx([v / 2 for v in signs[one.text].quad_px])
    assert true_lines(exact, dataclasses.replace(media, span=Span(100.0, 110.0)), frames[0]) == []


def changed(sample: Sample, text: str = "", tgt_s: tuple[float, ...] = ()) -> Sample:
    question, answer = sample.turns
    return dataclasses.replace(
        sample, turns=(question, dataclasses.replace(answer, text=text or answer.text, tgt_s=tgt_s or answer.tgt_s))
    )


def test_the_checker_catches_wrong_times_texts_and_lengths():
    found = {s.task: s for s in samples(TRACKS) if "OPENING" not in s.turns[0].text}
    assert all(check_text_times(s, SHOWN) == [] for s in samples(TRACKS))
    when = found["text_when"]
    assert check_text_times(changed(when, tgt_s=(3.0, 8.2)), SHOWN)
    assert check_text_times(changed(when, tgt_s=(3.0, 8.2)), SHOWN, slack_s=0.5) == []
    assert check_text_times(changed(when, "At <time> and <time>."), SHOWN)
    at = next(s for s in samples(TRACKS, "text_at") if s.turns[0].src_s == (3.0, 7.5))
    assert check_text_times(changed(at, "CHAPTER 2"), SHOWN) == ["'DATA' is shown and not told"]
    assert check_text_times(changed(at, "CHAPTER 2\nDATA\nOPENING"), SHOWN)
    assert check_text_times(changed(at, "CHAPTER 2\nDATA\nNOISE"), SHOWN) == ["'NOISE' is told and not shown"]
    after = said_of(samples(TRACKS, "text_after"), "OPENING")
    assert check_text_times(changed(after, "DATA"), SHOWN)
    assert check_text_times(changed(found["text_duration"], "About 7 seconds."), SHOWN)


def test_every_form_of_words_can_be_drawn():
    phrasings = load("text_times")
    words = dict.fromkeys(("text", "answer", "times", "seconds"), "x")
    for task in TASKS:
        assert len(set(phrasings.options(f"{task}.question"))) >= 8
        assert len(set(phrasings.options(f"{task}.answer"))) >= 4
        assert all("{" not in w.format_map(words) for side in phrasings.table(task).values() for w in side)
        assert {w.count("<time>") for w in phrasings.options(f"{task}.question")} == {int(task == "text_at")}


def test_a_clip_has_its_own_answer_whatever_it_lies_among():
    told = {"text_tracks": TRACKS, "text_engine": "e", "text_frames": tuple(range(20)), "text_unsure": 0}
    one, two = (row(TEN_S, EVERY_HALF, key=k, **told) for k in "ab")
    alone = compiled(CompileTextTimes(), one)[0]
    assert compiled(CompileTextTimes(), two, one)[1] == alone
    assert shown(0)[0].frame == alone["samples"][0].frames[0].frame
