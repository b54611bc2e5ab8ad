"""VideoLLM-online's training files, read back by a strict reader of ours after the rules of its loader: every turn is
taken, none early, each late by less than a frame. Their own loader could not be fetched and run here."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import exported
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reelmill.annotators.decode.packets import scan
from reelmill.jobs.exporting import form_of
from reelmill.pipelines.scenes.compose import compose
from reelmill.pipelines.scenes.presets import PRESETS
from reelmill.pipelines.scenes.render import render
from reelmill.schemas.errors import BadInput, Unusable
from reelmill.schemas.keys import file_digest
from reelmill.schemas.media import MediaRef
from reelmill.schemas.sample import Role, StreamSample
from reelmill.schemas.span import Span
from reelmill.sinks.exports.exporting import export
from reelmill.sinks.exports.live_chat import FPS, frames_of, from_live_chat, placed

ASK, TELL = Role.USER, Role.ASSISTANT
Lines = list[tuple[float, Role, str]]


def row_of(lines: Lines, frames: int) -> dict[str, Any]:
    return {"video_uid": "v", "conversation": placed(lines, frames)[0]}


def test_times_stand_on_the_grid_and_answers_that_share_a_frame_are_one() -> None:
    lines = [(0.0, ASK, "Tell me."), (0.6, TELL, "a"), (0.9, TELL, "b"), (1.0, TELL, "c"), (1.2, TELL, "d")]
    said, _ = placed(lines, 10)
    assert [(m["content"], m["time"]) for m in said] == [("Tell me.", 0.0005), ("a b c", 1.0), ("d", 1.5)]
    assert from_live_chat(row_of(lines, 10), 10) == [(0.0, ASK, "Tell me."), (1.0, TELL, "a b c"), (1.5, TELL, "d")]


def test_a_question_on_the_frame_of_an_answer_is_asked_and_answered_there() -> None:
    lines = [(0.5, ASK, "Tell me."), (1.0, TELL, "a"), (1.0, ASK, "Now?"), (1.0, TELL, "b"), (1.0, ASK, "And?")]
    assert [m["time"] for m in placed(lines, 10)[0]] == [0.5, 1.0, 1.0005, 1.0005, 1.001]
    assert [t for t, _, _ in from_live_chat(row_of(lines, 10), 10)] == [0.5, 1.0, 1.0, 1.0, 1.0]


def test_what_the_loader_cannot_begin_with_or_reach_is_left_out() -> None:
    with pytest.raises(Unusable, match="begins with a question"):
        placed([(1.0, TELL, "a")], 10)
    with pytest.raises(BadInput, match="times that fall"):
        placed([(1.0, ASK, "a"), (0.5, TELL, "b")], 10)
    said, unshown = placed([(1.0, ASK, "a"), (4.5, TELL, "b"), (4.6, TELL, "c"), (4.7, TELL, "d")], 10)
    assert ([m["content"] for m in said], unshown) == (["a", "b"], 2)


def test_a_question_that_is_left_out_takes_its_answer_with_it() -> None:
    said, unshown = placed([(0.5, ASK, "?"), (4.5, TELL, "a"), (4.5, ASK, "Now?"), (4.5, TELL, "b")], 10)
    assert ([m["content"] for m in said], unshown) == (["?", "a"], 2)


@pytest.mark.parametrize(
    ("spoil", "seen"),
    [
        ({"time": 0.6}, "assistant at the time of the turn before"),
        ({"time": 0.9}, "an answer on the frame of the turn before"),
        ({"time": 0.2}, "the dialogue breaks off"),
        ({"time": 9.0}, "the dialogue breaks off"),
        ({"role": "user", "time": 0.6}, "user at the time of the turn before"),
        ({"content": ""}, "an empty text"),
    ],
)
def test_the_reader_refuses_what_the_released_loader_loses_without_a_word(spoil: dict[str, Any], seen: str) -> None:
    """The rows that its own writer makes are full of these: a time is what a model wrote."""
    row = row_of([(0.5, ASK, "?"), (1.0, TELL, "a"), (1.5, TELL, "b")], 10)
    question, first, second = row["conversation"]
    with pytest.raises(BadInput, match=seen):
        from_live_chat(row | {"conversation": [question, first | {"time": 0.6}, second | spoil]}, 10)
    with pytest.raises(BadInput, match="begins with"):
        from_live_chat(row | {"conversation": [first, second]}, 10)


@settings(max_examples=80, deadline=None)
@given(st.lists(st.tuples(st.floats(0, 12), st.sampled_from([ASK, TELL])), max_size=14), st.integers(4, 24))
def test_every_turn_that_a_frame_shows_is_taken_never_early_and_less_than_a_frame_late(turns: Any, frames: int) -> None:
    lines: Lines = [(0.0, ASK, "w")]
    lines += [(t, role, f"w{i}") for i, (t, role) in enumerate(sorted(turns, key=lambda turn: turn[0]))]
    row = json.loads(json.dumps(row_of(lines, frames)))
    told = [(word, role, t) for t, role, text in from_live_chat(row, frames) for word in text.split()]
    for (word, role, shown_s), (at_s, own_role, text) in zip(told, lines, strict=False):
        assert (word, role) == (text, own_role)
        assert -1e-6 <= shown_s - at_s < 1 / FPS
    left = lines[len(told) :]
    assert all(at_s > (frames - 2) / FPS for at_s, _, _ in left), "only what comes at the last frame or after it"


# ---- from a pack -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("film") / "film.mp4"
    render(compose(3, replace(PRESETS["demo"], duration_s=(3.0, 3.5), shots=(1, 1))), path)
    return path


def played(film: Path, number: int, lines: Lines) -> tuple[Any, StreamSample]:
    length_s = scan(str(film)).end_s
    made = exported.clip(0, uri=str(film))
    media: MediaRef = replace(made.media, digest=file_digest(film), duration_s=length_s, span=Span(0.0, length_s))
    made = replace(made, media=media)
    turns = tuple(exported.asked(t) if role is ASK else exported.said(t) for _, role, t in lines)
    base = exported.played(exported.sample(made, turns, number))
    return made, replace(base, turns_at_s=tuple(t for t, _, _ in lines), watch_until_s=length_s)


def test_a_pack_becomes_the_files_that_the_loader_and_its_scripts_read(film: Path, tmp_path: Path) -> None:
    lines: Lines = [(0.5, ASK, "Tell me."), (1.1, TELL, "It moves."), (2.2, TELL, "It rests."), (99.0, TELL, "Late.")]
    silent = played(film, 1, [(0.5, ASK, "Tell me.")])
    view = exported.packed(tmp_path / "store", [played(film, 0, lines), silent], media="clip")
    done = export(view, form_of("live_chat", "seconds", ""), tmp_path / "out")
    assert (done.file, done.samples, done.left_out) == ("annotations/livechat_train.json", 1, {"nothing_is_said": 1})
    (row,) = json.loads((tmp_path / "out" / done.file).read_text())
    assert sorted(row) == ["conversation", "duration", "video_uid"]
    video = tmp_path / "out" / "full_scale" / f"{row['video_uid']}.mp4"
    assert [p.name for p in video.parent.iterdir()] == [video.name], "side by side, as its scripts list them"
    frames = frames_of(scan(str(video)).end_s)
    assert from_live_chat(row, frames) == [(0.5, ASK, "Tell me."), (1.5, TELL, "It moves."), (2.5, TELL, "It rests.")]
    said = json.loads((tmp_path / "out" / "export.json").read_text())
    assert said["not_said"] == {"turns_after_the_last_frame": 1}
    assert "late by less than 1/2 s" in said["times"]["meaning"]
    assert said["media"]["files"] == 1


def test_ffmpeg_gives_as_many_frames_as_are_counted_on(film: Path, tmp_path: Path) -> None:
    """The release samples with `-r 2`; a frame too few would end the loader's clip before its last turn."""
    import ffmpeg

    for length_s in (2.2, 2.51, 2.76):
        out = tmp_path / f"{length_s}.mp4"
        cut = tmp_path / f"{length_s}-cut.mp4"
        ffmpeg.input(str(film), t=length_s).output(str(cut), an=None, preset="ultrafast").run(quiet=True)
        ffmpeg.input(str(cut)).output(str(out), r=FPS, an=None, preset="ultrafast").run(quiet=True)
        assert len(scan(str(out)).at_s) >= frames_of(scan(str(cut)).end_s)


def test_frames_and_dialogues_about_the_whole_clip_have_no_place(film: Path, tmp_path: Path) -> None:
    stream = played(film, 0, [(0.5, ASK, "Tell me."), (1.0, TELL, "It moves.")])
    plain = exported.clip(1)
    for name, rows, reason in (
        ("frames", [stream], "no_video_file"),
        ("plain", [(plain, exported.sample(plain, exported.WHEN))], "not_said_while_playing"),
    ):
        view = exported.packed(tmp_path / name, rows)
        with pytest.raises(BadInput, match=f"1 {reason}"):
            export(view, form_of("live_chat", "seconds", ""), tmp_path / f"{name}-out")
