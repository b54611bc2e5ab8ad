"""Streams as VideoLLM-online's loader takes them, and back: late by at most the bound, never early, nothing lost."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reelmill.schemas.errors import BadInput
from reelmill.schemas.media import FrameRef, Kind, MediaRef
from reelmill.schemas.sample import Role, StreamSample, Turn
from reelmill.schemas.span import Span
from reelmill.schemas.verdict import ACCEPTED
from reelmill.sinks.exports.live import bound_s, frame_times_s, from_live, live

ASK, TELL = Role.USER, Role.ASSISTANT


def stream(
    *lines: tuple[float, Role, str], frames: tuple[float, ...] = (0.0, 0.5, 1.0, 1.5, 2.0, 2.5), until_s: float = 3.0
) -> StreamSample:
    media = MediaRef("file:///v.mp4", "d" * 64, Kind.VIDEO, 320, 240, until_s, Span(7.0, 7.0 + until_s), "")
    return StreamSample(
        key="k",
        parent_key="clip",
        family="live_stream",
        task="alert",
        media=media,
        frames=tuple(FrameRef("clips-x@1", "clip", i, t, "0" * 64) for i, t in enumerate(frames)),
        turns=tuple(Turn(role, text, (), (), ()) for _, role, text in lines),
        evidence=("e",),
        label_confidence=1.0,
        method="truth",
        provenance=(),
        verdict=ACCEPTED,
        turns_at_s=tuple(t for t, _, _ in lines),
        watch_from_s=0.0,
        watch_until_s=until_s,
    )


PLAIN = stream((0.5, ASK, "Tell me."), (1.2, TELL, "It moves."), (2.0, TELL, "It rests."))


def short(row: dict[str, Any]) -> list[tuple[Any, ...]]:
    return [(m["role"], m.get("num_frames", m.get("content")), m.get("learn")) for m in row["conversation"]]


def test_the_form_of_the_loader():
    row = live(PLAIN, "v")
    assert short(row) == [
        ("stream", 2, 1),  # silence after the first frame; what comes after the second is nobody's to foresee
        ("user", "Tell me.", None),
        ("stream", 2, True),
        ("assistant", "It moves.", True),
        ("stream", 1, True),
        ("assistant", "It rests.", True),
        ("stream", 1, 0),
    ]
    assert (row["load_range"], row["bound"], row["unshown"]) == ([0, 6], 0.5, 0)
    assert [m["time"] for m in row["conversation"] if "time" in m] == [0.5, 1.2, 2.0]
    assert [m["fps_time"] for m in row["conversation"] if "time" in m] == [0.5, 1.5, 2.0]
    assert json.loads(json.dumps(row)) == row


def test_the_loaders_grammar_two_streams_and_two_answers_never_meet():
    """`chat_template_transition` of the release has no (stream, stream) and no (assistant, assistant)."""
    at_once = stream((0.5, ASK, "Now?"), (0.5, TELL, "No."), (0.6, TELL, "a"), (0.9, TELL, "b"), (1.0, ASK, "And now?"))
    roles = [m["role"] for m in live(at_once, "v")["conversation"]]
    assert not {("stream", "stream"), ("assistant", "assistant")} & set(pairwise(roles))
    assert roles == ["stream", "user", "assistant", "stream", "assistant", "user", "stream"]


def test_answers_that_share_a_frame_are_joined_and_none_takes_the_place_of_another():
    row = live(stream((0.5, ASK, "?"), (1.1, TELL, "One."), (1.2, TELL, "Two."), (1.5, TELL, "Three.")), "v")
    assert [m["content"] for m in row["conversation"] if m["role"] == "assistant"] == ["One. Two. Three."]


def test_silence_alone_is_frames_after_a_question():
    row = live(stream((0.0, ASK, "Tell me.")), "v")
    assert short(row) == [("stream", 1, 0), ("user", "Tell me.", None), ("stream", 5, 4)]


def test_what_comes_after_the_last_frame_is_left_out_and_counted():
    row = live(stream((0.5, ASK, "?"), (2.7, TELL, "Late.")), "v")
    assert row["unshown"] == 1
    assert "Late." not in json.dumps(row)
    assert live(stream((0.5, ASK, "?"), (2.7, TELL, "Late.")), "v", fps=5)["unshown"] == 0


def test_frames_outside_what_is_watched_are_not_fed():
    part = replace(PLAIN, watch_from_s=0.5, watch_until_s=2.5)
    assert frame_times_s(part) == [0.5, 1.0, 1.5, 2.0]
    assert frame_times_s(part, 4) == [0.5, 0.75, 1.0, 1.25, 1.5, 1.75, 2.0, 2.25]
    assert short(live(part, "v"))[0] == ("stream", 1, 0)


@pytest.mark.parametrize("fps", [0, -1, float("nan"), float("inf")])
def test_no_rate(fps: float):
    with pytest.raises(BadInput, match="give frames per second"):
        live(PLAIN, "v", fps)


def test_what_cannot_be_exported_or_read():
    with pytest.raises(BadInput, match="none in"):
        live(stream((0.5, ASK, "?"), frames=()), "v")
    with pytest.raises(BadInput, match="times that fall"):
        live(replace(PLAIN, turns_at_s=(2.0, 1.2, 0.5)), "v")
    row = live(PLAIN, "v")
    with pytest.raises(BadInput, match="5 of 6 frames"):
        from_live(row | {"conversation": row["conversation"][:-1]})
    with pytest.raises(BadInput, match="after 0 frames"):
        from_live(row | {"conversation": row["conversation"][1:]})


a_role = st.sampled_from([ASK, TELL])
some_times = st.lists(st.floats(0.0, 9.99), min_size=1, max_size=12).map(sorted)


@given(some_times, st.data(), st.sampled_from([None, 1.0, 2.0, 29.97]))
def test_round_trip_within_the_bound_never_early_and_nothing_lost(times: list[float], data: Any, fps: float | None):
    frames = data.draw(st.lists(st.integers(1, 990), unique=True, min_size=1, max_size=30).map(sorted))
    lines = [(t, data.draw(a_role), f"w{i}") for i, t in enumerate(times)]
    sample = stream(*lines, frames=(0.0, *(n / 100 for n in frames)), until_s=10.0)
    row = live(sample, "v", fps)
    turns, at_s = from_live(row)
    if fps is not None:
        assert row["bound"] <= 1 / fps + 1e-9
    assert row["bound"] == bound_s(row["frame_times"])
    said = [(word, turn.role, t) for turn, t in zip(turns, at_s, strict=True) for word in turn.text.split()]
    assert len(said) + row["unshown"] == len(lines)
    for (word, role, back_s), (t, own_role, text) in zip(said, lines, strict=False):
        assert (word, role) == (text, own_role)
        assert -1e-6 <= back_s - t <= row["bound"] + 1e-9
    assert all(t > row["frame_times"][-1] for t, _, _ in lines[len(said) :])
