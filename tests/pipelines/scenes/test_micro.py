"""Micro clips: truth read off the pixels, determinism per (seed, index), and the range of what happens."""

import dataclasses
from collections import Counter

import numpy as np
import pytest

from reelmill.pipelines.scenes.micro import MicroClip, MicroPreset, micro, micro_clip
from reelmill.schemas.errors import BadInput
from reelmill.schemas.event import RULE_KINDS, EventKind
from reelmill.schemas.tube import Tube

CLIPS = list(micro(seed=3, count=120))
WIDE = MicroPreset(name="wide", frames=8, size_px=32, objects=(3, 3), span_frames=(2, 3))


def seen(clip: MicroClip) -> np.ndarray:
    """bool [T, H, W]: pixels unlike the background, which is the commonest colour."""
    flat = clip.frames.reshape(-1, 3)
    colours, counts = np.unique(flat, axis=0, return_counts=True)
    ground = colours[counts.argmax()].astype(int)
    return np.asarray(np.abs(clip.frames.astype(int) - ground).max(axis=3) > 8)


def alone(clip: MicroClip) -> Tube:
    assert len(clip.tubes) == 1
    return clip.tubes[0]


def test_shapes_and_types() -> None:
    for clip in CLIPS[:10]:
        assert clip.frames.shape == (16, 24, 24, 3)
        assert clip.frames.dtype == np.uint8
        assert clip.at_s == tuple(i * 0.5 for i in range(16))
        assert clip.duration_s == 8.0
        assert 1 <= len(clip.tubes) <= 2
        assert clip.events


def test_any_clip_can_be_drawn_alone() -> None:
    for index in (0, 7, 119):
        one, other = micro_clip(3, index), CLIPS[index]
        assert one.frames.tobytes() == other.frames.tobytes()
        assert (one.tubes, one.events) == (other.tubes, other.events)
    assert micro_clip(4, 7).frames.tobytes() != CLIPS[7].frames.tobytes()
    assert len({c.frames.tobytes() for c in CLIPS}) > 115


def test_tubes_stand_where_pixels_differ_and_nowhere_else() -> None:
    for clip in [c for c in CLIPS if len(c.tubes) == 1]:
        tube = alone(clip)
        boxes = dict(zip(tube.at_s, tube.boxes, strict=True))
        for mask, at_s in zip(seen(clip), clip.at_s, strict=True):
            assert mask.any() == (at_s in boxes)
            if at_s in boxes:
                rows, columns = np.nonzero(mask)
                box = boxes[at_s]
                # Pixels covered by less than half lie outside the box, one at most on each side.
                assert 0 <= box.x0_px - columns.min() <= 1
                assert 0 <= columns.max() + 1 - box.x1_px <= 1
                assert 0 <= box.y0_px - rows.min() <= 1
                assert 0 <= rows.max() + 1 - box.y1_px <= 1


def test_things_never_touch() -> None:
    for clip in micro(1, 60, WIDE):
        for k in range(8):
            here = [b for t in clip.tubes for at_s, b in zip(t.at_s, t.boxes, strict=True) if at_s == clip.at_s[k]]
            assert all(a.iou(b) == 0 for i, a in enumerate(here) for b in here[i + 1 :])


def test_events_are_what_the_frames_show() -> None:
    for clip in [c for c in CLIPS if len(c.tubes) == 1]:
        tube = alone(clip)
        spans = {e.kind: e.span for e in clip.events}
        mask = seen(clip)
        shown = [t for k, t in enumerate(clip.at_s) if mask[k].any()]
        if EventKind.ENTERS in spans:
            assert spans[EventKind.ENTERS].start_s == shown[0] > 0
            assert spans[EventKind.ENTERS].duration_s == 0.5
        if EventKind.LEAVES in spans:
            assert spans[EventKind.LEAVES].end_s == shown[-1] + 0.5 < clip.duration_s
        changes = [
            clip.at_s[k] for k in range(1, 16) if mask[k].any() and mask[k - 1].any() and (mask[k] != mask[k - 1]).any()
        ]
        if EventKind.MOVES in spans:
            move = spans[EventKind.MOVES]
            assert changes == [t for t in clip.at_s if move.start_s <= t < move.end_s]
            assert spans[EventKind.STOPS].start_s == move.end_s
            first, last = tube.boxes[0].centre_px, tube.boxes[-1].centre_px
            assert np.hypot(first[0] - last[0], first[1] - last[1]) >= 12
        else:
            assert changes == []


def test_every_act_is_common_and_names_are_unique_in_a_clip() -> None:
    counts = Counter(e.kind for c in CLIPS for e in c.events)
    assert set(counts) == set(RULE_KINDS)
    assert counts[EventKind.MOVES] > 0.15 * sum(len(c.tubes) for c in CLIPS)
    assert all(len({t.phrase.split()[1] for t in c.tubes}) == len(c.tubes) for c in CLIPS)


def test_presets_choose_acts_and_sizes() -> None:
    clips = list(micro(0, 30, dataclasses.replace(WIDE, acts=("appear",), objects=(1, 1))))
    assert {e.kind for c in clips for e in c.events} == {EventKind.ENTERS, EventKind.LEAVES}
    assert {c.frames.shape for c in clips} == {(8, 32, 32, 3)}
    assert all(1.0 <= c.tubes[0].span.duration_s <= 1.5 for c in clips)


def test_room_too_small_for_a_move_is_named() -> None:
    with pytest.raises(BadInput, match="cannot move 40 px"):
        list(micro(0, 20, MicroPreset(acts=("move",), move_px=40)))
