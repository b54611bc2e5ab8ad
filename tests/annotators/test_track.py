"""Tracks: prompts, masks, gates and agreement exactly; SAM 2's part with random weights, which shows that a clip is
walked both ways and that forgetting changes nothing, and says nothing of how well anything is followed."""

from __future__ import annotations

import dataclasses

import numpy as np
import pyarrow as pa
import pytest
import torch
from drawn import RED, Shot, Thing, evenly, film, path, texture
from random_weights import sam2_video
from stepped import run_sound as run

from reelmill.annotators.annotator import Annotator
from reelmill.annotators.cutting.shown import jpeg
from reelmill.annotators.track import (
    AGREED,
    TRACKS,
    CompareTracks,
    Masked,
    Sam2,
    Seen,
    Track,
    TrackRules,
    agreements,
    box_of,
    followed,
    frames_of,
    prompted,
    tube_of,
    wanted_frames,
)
from reelmill.schemas import arrow
from reelmill.schemas.column import schema
from reelmill.schemas.detection import Detection
from reelmill.schemas.errors import NotFound
from reelmill.schemas.media import DecodeStatus, Kind, MediaRef
from reelmill.schemas.span import Span
from reelmill.schemas.tube import Box, Tube

RULES = TrackRules()
EASY = TrackRules(least_presence=0.0, least_mean=0.0)


def detection(phrase="a dog", box=(16, 12, 48, 40), score=0.8, frame=10, at_s=0.4):
    return Detection(phrase, Box(*map(float, box)), score, frame, at_s, 80, 60, "model")


def tube(at_s, box, name="t", end_s=None):
    return Tube(name, "a dog", tuple(at_s), (Box(*map(float, box)),) * len(at_s), 160, 120, end_s or 9.0, 0.9, "model")


# ---- prompts ---------------------------------------------------------------------------------------------------------


def test_the_frame_with_the_surest_boxes_is_the_prompt():
    early, late = detection(frame=0, at_s=0.0, score=0.6), detection(frame=10, score=0.7)
    more = detection("a cat", frame=0, at_s=0.0, score=0.5)
    assert prompted([late, early, more], 8) == [early, more]
    assert prompted([late, early, more], 1) == [late]
    assert prompted([], 8) == []


def test_of_equal_frames_the_earliest_counts():
    assert prompted([detection(frame=5), detection(frame=3)], 8)[0].frame == 3


def test_a_long_clip_is_thinned_and_keeps_its_prompt():
    assert wanted_frames(100, 7, 100) is None
    wanted = wanted_frames(100, 7, 5)
    assert sorted(wanted or ()) == [0, 7, 25, 50, 74, 99]
    assert len(wanted_frames(100, None, 5) or ()) == 5


# ---- masks and tubes -------------------------------------------------------------------------------------------------


def test_a_box_stands_around_a_mask_without_its_specks():
    mask = np.zeros((100, 200), bool)
    assert box_of(mask) is None
    mask[20:60, 50:150] = True
    mask[90, 190] = True
    assert box_of(mask) == (0.25, 0.2, 0.75, 0.6)
    mask[80:100, 150:200] = True  # a quarter of its size: a part that something hides the join of
    assert box_of(mask) == (0.25, 0.2, 1.0, 1.0)


SEEN = Seen((0.0, 0.1, 0.25, 0.3), 0.4, (), 160, 120, DecodeStatus(True, 4, 4, ""))
HERE = Masked((0.25, 0.5, 0.5, 0.75), 0.9)


def test_a_tube_has_boxes_in_shown_pixels_where_the_thing_is_seen():
    gone, hidden = Masked((0.0, 0.0, 1.0, 1.0), 0.4), Masked(None, 0.9)
    made = tube_of("k", detection(), [HERE, gone, HERE, HERE], SEEN, RULES)
    assert isinstance(made, Tube)
    assert (made.at_s, made.end_s) == ((0.0, 0.25, 0.3), 0.4)
    assert set(made.boxes) == {Box(40.0, 60.0, 80.0, 90.0)}
    assert (made.frame_width_px, made.frame_height_px, made.phrase, made.method) == (160, 120, "a dog", "model")
    assert made.confidence == pytest.approx(0.8 * 0.9)
    early = tube_of("k", detection(), [HERE, HERE, HERE, hidden], SEEN, RULES)
    assert isinstance(early, Tube)
    assert early.end_s == 0.3
    assert early.tube_id == made.tube_id


def test_tubes_of_few_or_unsure_boxes_are_dropped():
    few = [HERE, Masked(None, 0.9), Masked(None, 0.9), HERE]
    assert tube_of("k", detection(), few, SEEN, RULES) == "too_few_boxes"
    unsure = [dataclasses.replace(HERE, presence=0.6)] * 4
    assert tube_of("k", detection(), unsure, SEEN, RULES) == "unsure"


class Bright:
    """Stands in for a model: every thing's box is as wide as its frame is bright, so that a tube tells its frames."""

    told = "bright"

    def walk(self, frames, corners):
        for rgb in frames:
            yield [Masked((0.0, 0.0, round(rgb.mean() / 255, 1), 1.0), 0.9) for _ in corners]


def test_both_ways_are_put_together_in_order_and_one_thing_is_followed_once():
    pictures = [jpeg(np.full((16, 16, 3), round(25.5 * (i + 1)), np.uint8), 95) for i in range(6)]
    seen = Seen((0.0, 0.1, 0.2, 0.3, 0.4, 0.5), 0.6, tuple(pictures), 100, 100, DecodeStatus(True, 6, 6, ""))
    prompts = [detection(at_s=0.2), detection("a cat", at_s=0.2, score=0.5)]
    tubes, note = followed(Bright(), "k", seen, prompts, RULES)  # type: ignore[arg-type]
    assert [b.x1_px for b in tubes[0].boxes] == pytest.approx([10, 20, 30, 40, 50, 60])
    assert tubes[0].at_s == seen.at_s
    assert ([t.phrase for t in tubes], note) == (["a dog"], "dropped same_thing: 1")


# ---- two trackers ----------------------------------------------------------------------------------------------------

TIMES = (0.0, 0.1, 0.2, 0.3)


def pairs(tubes, others, seen_s=TIMES, **rules):
    return [(a.tube_id, a.other_id, a.viou) for a in agreements(tubes, others, seen_s, **rules)]


def test_trackers_agree_from_half_on():
    mine = tube(TIMES, (0, 0, 40, 40))
    assert pairs([mine], [tube(TIMES, (0, 0, 40, 20), "m")]) == [("t", "m", 0.5)]
    assert pairs([mine], [tube(TIMES, (0, 0, 40, 19), "m")]) == []
    assert pairs([mine], [tube(TIMES[:2], (0, 0, 40, 40), "m")]) == [("t", "m", 0.5)]
    assert pairs([mine], [tube(TIMES[:1], (0, 0, 40, 40), "m")]) == []
    assert pairs([mine], []) == pairs([], [mine]) == []


def test_each_tube_is_in_one_pair_and_the_best_comes_first():
    mine = [tube(TIMES, (0, 0, 40, 40), "a"), tube(TIMES, (0, 0, 40, 36), "b")]
    theirs = [tube(TIMES, (0, 0, 40, 36), "x"), tube(TIMES, (0, 0, 40, 30), "y")]
    assert pairs(mine, theirs) == [("b", "x", 1.0), ("a", "y", 0.75)]


def test_frames_that_only_one_looked_at_do_not_count():
    mine = tube((0.0, 0.2), (0, 0, 40, 40))
    every = tube(TIMES, (0, 0, 40, 40), "m")
    assert pairs([mine], [every], seen_s=(0.0, 0.2)) == [("t", "m", 1.0)]
    assert pairs([mine], [every]) == [("t", "m", 0.5)]
    assert pairs([mine], [tube((0.15,), (0, 0, 40, 40), "m")], seen_s=(0.0, 0.2)) == []


def test_the_comparing_step_joins_tracks_and_motion_tubes():
    row = {
        "key": "k",
        "tracks": arrow.plain((tube(TIMES, (0, 0, 40, 40)),)),
        "tubes": arrow.plain((tube(TIMES, (0, 0, 40, 40), "m"),)),
        "track_seen_s": list(TIMES),
    }
    step = CompareTracks()
    assert isinstance(step, Annotator)
    (answer,) = step(pa.Table.from_pylist([row], schema=schema(*step.needs))).to_pylist()
    assert [a.viou for a in arrow.typed(AGREED.hint, answer["tracks_agreed"])] == [1.0]


# ---- the model, with random weights ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return sam2_video(tmp_path_factory.mktemp("sam2"))


@pytest.fixture(scope="module")
def sam(checkpoint):
    return Sam2(str(checkpoint), "")


@pytest.fixture(scope="module")
def step(checkpoint):
    made = Track(f"transformers:{checkpoint}", rules=EASY)
    made.setup()
    yield made
    made.close()


def noise(count):
    return [np.random.default_rng(i).integers(0, 255, (60, 80, 3)).astype(np.uint8) for i in range(count)]


def test_forgetting_old_frames_changes_nothing(sam, monkeypatch):
    boxes = [(0.1, 0.1, 0.4, 0.5), (0.5, 0.5, 0.9, 0.9)]
    forgetful = list(sam.walk(noise(24), boxes))
    monkeypatch.setattr(Sam2, "_forget", lambda self, session, number: None)
    assert list(sam.walk(noise(24), boxes)) == forgetful
    assert len({m.presence for frame in forgetful for m in frame}) > 2, "the frames make a difference"


def test_what_is_kept_does_not_grow_with_the_clip(sam, monkeypatch):
    sizes, forget = [], Sam2._forget

    def counted(self, session, number):
        forget(self, session, number)
        kept = sum(len(o["non_cond_frame_outputs"]) for o in session.output_dict_per_obj.values())
        sizes.append((kept, len(session.processed_frames)))

    monkeypatch.setattr(Sam2, "_forget", counted)
    list(sam.walk(noise(30), [(0.1, 0.1, 0.4, 0.5)]))
    assert max(sizes) == (sam.kept, 0)


def test_pictures_are_prepared_as_sam_2_was_trained(sam):
    white = sam._pixels(np.full((60, 80, 3), 255, np.uint8))
    assert white.shape == (3, 128, 128)
    assert white[:, 5, 5].tolist() == pytest.approx([(1 - 0.485) / 0.229, (1 - 0.456) / 0.224, (1 - 0.406) / 0.225])
    prompt = sam._prompt((0.25, 0.5, 0.75, 1.0))
    assert prompt["point_coords"].tolist() == [[[[32.0, 64.0], [96.0, 128.0]]]]
    assert prompt["point_labels"].tolist() == [[[2, 3]]]


def test_masks_of_things_become_boxes_in_their_order(sam):
    from types import SimpleNamespace

    logits = torch.full((2, 1, 32, 32), -5.0)
    logits[0, 0, 8:16, 0:8] = logits[1, 0, 16:32, 16:32] = 5.0
    out = SimpleNamespace(pred_masks=logits, object_score_logits=torch.tensor([[2.0], [-2.0]]))
    first, second = sam._masked(out)
    assert first.box == pytest.approx((0.0, 0.25, 0.25, 0.5), abs=0.02)
    assert second.box == pytest.approx((0.5, 0.5, 1.0, 1.0), abs=0.02)
    assert (first.presence, second.presence) == pytest.approx((0.8808, 0.1192), abs=1e-4)


SHOT = Shot(evenly(0.8), [Thing(RED, path((0.0, 20, 20), (0.8, 60, 40)))], texture(spread=25))


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    return film(tmp_path_factory.mktemp("film") / "a.mp4", SHOT, 0.8)


def row(clip, *found, key="k"):
    media = MediaRef(str(clip), "0" * 64, Kind.VIDEO, 160, 120, 0.8, Span(0.0, 0.8), "unknown")
    plain = [arrow.plain(d) for d in found]
    return {"key": key, "media": arrow.plain(media), "num_frames": 20, "detections": plain}


def test_it_is_an_annotator(step):
    assert isinstance(step, Annotator)


def test_a_clip_is_walked_from_the_prompt_to_both_ends(step, checkpoint, clip):
    (answer,) = run(step, row(clip, detection(), detection("a cat", (40, 30, 70, 55), 0.6)))
    tubes = arrow.typed(TRACKS.hint, answer["tracks"])
    assert {t.phrase for t in tubes} <= {"a dog", "a cat"}
    assert answer["track_seen_s"] == SHOT.times
    assert list(next(t.at_s for t in tubes if t.phrase == "a dog")) == SHOT.times
    for t in tubes:
        assert set(t.at_s) <= set(SHOT.times)
        assert all(0 <= b.x0_px < b.x1_px <= 160 and 0 <= b.y0_px < b.y1_px <= 120 for b in t.boxes)
    assert answer["track_model"] == f"{checkpoint.name}@{step.model_revision}"
    assert answer["track_decode"]["complete"]


def test_a_clip_without_detections_has_no_tracks_and_says_why(step, clip):
    (answer,) = run(step, row(clip))
    assert (answer["tracks"], answer["tracks_note"]) == ([], "no detections")


def test_a_row_alone_is_the_row_in_any_batch(step, clip):
    rows = [row(clip, detection(frame=f, at_s=f / 25), key=f"k{f}") for f in (0, 10, 19)]
    together = run(step, *rows)
    assert run(step, *rows[::-1]) == together[::-1]
    assert [run(step, one)[0] for one in rows] == together


def test_frames_of_a_thinned_clip_keep_their_own_times(clip):
    seen = frames_of(str(clip), None, 20, 7, TrackRules(most_frames=4, short_side_px=60))
    assert seen.at_s == pytest.approx([SHOT.times[i] for i in (0, 6, 7, 13, 19)])
    assert (seen.width_px, seen.height_px, len(seen.jpegs)) == (160, 120, 5)
    assert seen.end_s == pytest.approx(0.8)


def test_a_missing_checkpoint_is_one_clear_line():
    with pytest.raises(NotFound, match=r"checkpoint nobody/none not found"):
        Track("transformers:nobody/none").setup()
