"""Tubes of clips whose every box is known."""

from __future__ import annotations

import dataclasses

import numpy as np
import pyarrow as pa
import pytest
from drawn import BLUE, DARK, GREEN, RED, Drawn, Shot, Thing, evenly, film, ground, path, texture

from reelmill.annotators.decode.frames import Rgb
from reelmill.annotators.motion.follow import translation
from reelmill.annotators.tubes import Eyes, FollowTubes, TubeRules, followed
from reelmill.schemas import arrow
from reelmill.schemas.errors import Fault
from reelmill.schemas.media import Kind, MediaRef
from reelmill.schemas.span import Span
from reelmill.schemas.tube import Box, Tube


def watched(shot: Shot, end_s: float | None = None, rules: TubeRules | None = None) -> tuple[tuple[Tube, ...], str]:
    """Tubes and note of a shot that was never encoded."""
    pictures = shot.pictures()
    eyes = Eyes(len(pictures), rules or TubeRules())
    for at_s, picture in zip(shot.times, pictures, strict=True):
        eyes.see(Drawn(at_s, picture))
    height, width = pictures[0].shape[:2]
    return eyes.tubes("clip", (width, height), end_s or shot.times[-1] + 0.04)


def overlap(tube: Tube, shot: Shot, thing: Thing) -> float:
    """Mean IoU with the truth over the frames where either stands."""
    mine = dict(zip(tube.at_s, tube.boxes, strict=True))
    total = []
    for at_s in shot.times:
        true, seen = shot.box(thing, at_s), mine.get(at_s)
        if true is not None or seen is not None:
            total.append(seen.iou(Box(*map(float, true))) if true is not None and seen is not None else 0.0)
    return float(np.mean(total))


CROSSES = Thing(RED, path((0.4, -24, 40), (2.0, 160, 40)))


def test_a_thing_that_crosses_the_frame_is_one_tube_with_tight_boxes():
    shot = Shot(evenly(2.4), [CROSSES], texture(spread=30))
    tubes, note = watched(shot, 2.4)
    assert [t.phrase for t in tubes] == ["the red square"]
    assert overlap(tubes[0], shot, CROSSES) > 0.9
    assert note == ""
    assert (tubes[0].frame_width_px, tubes[0].frame_height_px, tubes[0].method) == (160, 120, "rules")
    assert set(tubes[0].at_s) <= set(shot.times)
    assert tubes[0].end_s in shot.times
    assert 0.5 < tubes[0].confidence <= 1.0


def test_two_things_that_pass_each_other_keep_their_colours_and_places():
    red = Thing(RED, path((0.2, -24, 40), (2.6, 160, 44)))
    blue = Thing(BLUE, path((0.2, 160, 48), (2.6, -24, 44)))
    shot = Shot(evenly(2.8), [red, blue])
    tubes, _ = watched(shot)
    assert sorted(t.phrase for t in tubes) == ["the blue square", "the red square"]
    by_phrase = {t.phrase: t for t in tubes}
    assert overlap(by_phrase["the blue square"], shot, blue) > 0.85
    # The red one is covered for a while: its truth here is the whole thing, its tube the visible part.
    assert overlap(by_phrase["the red square"], shot, red) > 0.7
    start, end = by_phrase["the red square"].boxes[0], by_phrase["the red square"].boxes[-1]
    assert start.x0_px < 20 < 140 < end.x1_px


def test_things_of_one_colour_that_merge_are_bridged_and_never_invented():
    one = Thing(RED, path((0.2, -24, 40), (2.6, 160, 40)))
    other = Thing(RED, path((0.2, 160, 44), (2.6, -24, 44)))
    tubes, _ = watched(Shot(evenly(2.8), [one, other]))
    assert 1 <= len(tubes) <= 2
    assert all(b.x1_px - b.x0_px < 60 for t in tubes for b in t.boxes)


@pytest.mark.parametrize("share", [0.3, 0.5, 0.55])
def test_a_thing_that_stands_for_half_of_the_clip_leaves_no_ghost(share):
    stands = Thing(GREEN, path((0.4, -24, 50), (1.0, 70, 50), (1.0 + 4 * share, 70, 50), (1.6 + 4 * share, 160, 50)))
    shot = Shot(evenly(4.0), [stands], texture(spread=25))
    tubes, _ = watched(shot)
    assert len(tubes) == 1
    assert overlap(tubes[0], shot, stands) > 0.85


def test_a_thing_that_is_there_at_first_and_then_leaves_is_followed_not_its_ghost():
    leaves = Thing(DARK, path((2.0, 60, 50), (2.8, 160, 50)))
    shot = Shot(evenly(3.4), [leaves], texture(spread=25))
    tubes, _ = watched(shot)
    assert len(tubes) == 1
    assert tubes[0].at_s[0] == 0.0
    assert overlap(tubes[0], shot, leaves) > 0.85


@pytest.mark.parametrize("grey", [0, 128, 255])
def test_where_nothing_moves_there_is_no_tube_and_no_excuse(grey):
    assert watched(Shot(evenly(1.0), [], ground(grey))) == ((), "")


def test_a_thing_that_stands_all_the_time_is_background():
    assert watched(Shot(evenly(1.0), [Thing(RED, path((0, 50, 50)))])) == ((), "")


def test_noise_gives_no_tube():
    rng = np.random.default_rng(3)
    noise = Shot(evenly(1.2))
    noise.pictures = lambda: [rng.integers(0, 256, (120, 160, 3), np.uint8) for _ in noise.times]
    assert watched(noise)[0] == ()


def test_sensor_noise_does_not_hide_a_thing_nor_make_one():
    rng = np.random.default_rng(3)
    shot = Shot(evenly(2.4), [CROSSES])
    clean = shot.pictures()
    shot.pictures = lambda: [np.clip(p + rng.normal(0, 5, p.shape), 0, 255).astype(np.uint8) for p in clean]
    tubes, _ = watched(shot)
    assert [t.phrase.split()[1] for t in tubes] == ["red"]
    assert overlap(tubes[0], shot, CROSSES) > 0.75


def test_a_pan_gives_no_tube_and_says_why():
    wide = texture(width=480, seed=5)
    shot = Shot(evenly(2.0))
    shot.pictures = lambda: [np.ascontiguousarray(wide[:, 3 * i : 3 * i + 160]) for i in range(len(shot.times))]
    tubes, note = watched(shot)
    assert tubes == ()
    assert note.startswith("camera_moves: ")


def test_a_large_mover_before_texture_is_not_taken_for_the_camera():
    large = Thing(BLUE, path((0.3, -70, 20), (1.9, 160, 20)), size=(70, 80))
    tubes, note = watched(Shot(evenly(2.2), [large], texture(spread=40)))
    assert not note.startswith("camera_moves")
    assert len(tubes) == 1


def test_stripes_do_not_slide():
    across, down = np.meshgrid(np.arange(160), np.arange(120))
    stripes = np.repeat((128 + 25 * np.sin((across + 0.3 * down) / 2.5))[..., None], 3, axis=2)
    rng = np.random.default_rng(2)
    shot = Shot(evenly(2.4), [CROSSES], stripes.astype(np.uint8))
    clean = shot.pictures()
    shot.pictures = lambda: [np.clip(p + rng.normal(0, 2, p.shape), 0, 255).astype(np.uint8) for p in clean]
    tubes, note = watched(shot)
    assert not note.startswith("camera_moves")
    assert len(tubes) == 1


def test_a_thing_that_comes_into_view_in_two_parts_is_one():
    def prong(y: float) -> Thing:
        return Thing(RED, path((0.4, -36, y), (1.6, 160, y)), size=(36, 8))

    body = Thing(RED, path((0.4, -36, 40), (1.6, 160, 40)), size=(20, 32))
    shot = Shot(evenly(2.0), [body, prong(40), prong(64)])
    whole = Thing(RED, body.corner, size=(36, 32))
    tubes, _ = watched(shot)
    assert len(tubes) == 1
    assert overlap(tubes[0], shot, whole) > 0.8


def test_a_change_of_light_is_no_thing():
    base = texture(spread=30).astype(np.int16)
    shot = Shot(evenly(2.0))
    shot.pictures = lambda: [np.clip(base + 2 * min(i, 25), 0, 255).astype(np.uint8) for i in range(len(shot.times))]
    assert watched(shot)[0] == ()


def test_a_fade_in_and_out_is_no_thing():
    base = texture(spread=60).astype(np.float32)
    base[:, :50] /= 6  # a dark and a bright part: a fade shifts them by different amounts
    shot = Shot(evenly(3.0))
    shot.pictures = lambda: [(base * min(1.0, (i + 1) / 18, (75 - i) / 18)).astype(np.uint8) for i in range(75)]
    assert watched(shot)[0] == ()


def test_what_comes_from_nowhere_is_published_in_doubt():
    way = path((0.8, 50, 50), (2.0, 110, 50))
    appears = Thing(RED, lambda t: way(t) if t > 0.8 else None)
    (tube,), note = watched(Shot(evenly(2.4), [appears]))
    assert tube.confidence < 0.5
    assert note == "doubted comes_or_goes_in_mid_frame: 1"


def test_a_track_that_goes_over_to_a_thing_of_another_size_is_published_in_doubt():
    way = path((0.0, 20, 50), (2.4, 90, 50))
    small = Thing(RED, lambda t: way(t) if t < 1.2 else None, size=(10, 10))
    large = Thing(RED, lambda t: (way(t)[0] - 15, 35) if t >= 1.2 else None, size=(44, 44))
    (tube,), note = watched(Shot(evenly(2.4), [small, large]))
    assert tube.confidence < 0.5
    assert note == "doubted switches: 1"


def test_what_grows_as_it_comes_near_is_not_in_doubt():
    sizes = [round(16 * 1.02**i) for i in range(60)]  # to over three times its width in 2.4 s
    shot = Shot(evenly(2.4))

    def near(i: int) -> Rgb:
        picture = ground()
        picture[30 : 30 + sizes[i], 20 + i : 20 + i + sizes[i]] = RED
        return picture

    shot.pictures = lambda: [near(i) for i in range(60)]
    (tube,), note = watched(shot)
    assert (tube.confidence > 0.5, note) == (True, "")


def test_a_loose_mover_is_published_in_doubt_and_not_dropped_from_the_account():
    way = path((0.4, -24, 40), (2.0, 160, 40))
    shot = Shot(evenly(2.4))

    def ragged(i: int) -> Rgb:
        picture = ground()
        x, height = round(way(shot.times[i])[0]), 40 if i % 2 else 16
        picture[40 : 40 + height, max(0, x) : max(0, x + 24)] = RED
        return picture

    shot.pictures = lambda: [ragged(i) for i in range(len(shot.times))]
    (tube,), note = watched(shot)
    assert tube.confidence < 0.5
    assert note == "doubted unsteady: 1"


def test_specks_that_flash_here_and_there_are_dropped():
    rng = np.random.default_rng(1)
    places = {t: (float(rng.integers(0, 140)), float(rng.integers(0, 100))) for t in evenly(2.0)}
    flash = Thing(RED, lambda t: places[t] if round(t * 25) % 3 == 0 else None, size=(8, 8))
    assert watched(Shot(evenly(2.0), [flash]))[0] == ()


@pytest.mark.parametrize("count", [1, 2])
def test_a_clip_of_one_or_two_frames_is_no_trouble(count):
    tubes, note = watched(Shot(evenly(count / 25), [CROSSES]))
    assert tubes == ()
    assert note.startswith("too_short") == (count == 1)


def test_half_a_second_is_enough_for_a_quick_thing():
    quick = Thing(RED, path((0.0, 10, 40), (0.48, 120, 40)))
    shot = Shot(evenly(0.52), [quick])
    tubes, _ = watched(shot, 0.52)
    assert len(tubes) == 1
    assert tubes[0].end_s == 0.52


@pytest.mark.parametrize(
    "times", [evenly(2.4, 30000 / 1001), sorted(set(np.cumsum([0.017, 0.066, 0.033] * 22).round(6)))]
)
def test_times_are_those_of_the_frames_whatever_their_rhythm(times):
    shot = Shot([float(t - times[0]) for t in times], [CROSSES])
    tubes, _ = watched(shot)
    assert len(tubes) == 1
    assert set(tubes[0].at_s) <= set(shot.times)
    assert overlap(tubes[0], shot, CROSSES) > 0.9


def test_boxes_are_in_shown_pixels_when_analysis_frames_are_smaller():
    big = Shot(evenly(2.0, 12.5), [Thing(BLUE, path((0.2, 0, 200), (1.8, 800, 200)), size=(160, 160))])
    big.ground = np.full((720, 960, 3), 128, np.uint8)
    tubes, _ = watched(big)
    assert overlap(tubes[0], big, big.things[0]) > 0.9
    assert max(b.x1_px for b in tubes[0].boxes) > 900


def test_frames_shrink_to_fit_the_memory_and_too_many_are_refused_in_words():
    eyes = Eyes(4000, TubeRules(frames_mb=64))
    frame = Drawn(0.0, np.zeros((480, 640, 3), np.uint8))
    eyes.see(frame)
    eyes.see(dataclasses.replace(frame, at_s=0.04))
    assert eyes._frames is not None
    assert eyes._frames.nbytes <= 64 << 20
    tubes, note = eyes.tubes("clip", (640, 480), 0.08)
    assert tubes == ()
    assert note.startswith("too_many_frames: ")


def test_more_frames_than_declared_are_a_fault_not_a_silent_cut():
    eyes = Eyes(1, TubeRules())
    eyes.see(Drawn(0.0, ground()))
    with pytest.raises(Fault, match="1 frames"):
        eyes.see(Drawn(0.04, ground()))


def test_a_film_of_many_frames_per_second_is_looked_at_60_times_a_second():
    eyes = Eyes(240, TubeRules())
    for i in range(240):
        eyes.see(Drawn(i / 240, ground()))
    assert 58 <= len(eyes.times) <= 61
    assert eyes.changes.times == eyes.times


# ---- the step --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def step():
    step = FollowTubes()
    step.setup()
    yield step
    step.close()


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    folder = tmp_path_factory.mktemp("films")
    film(folder / "a.mp4", Shot(evenly(2.4), [CROSSES], texture(spread=20)), 2.4)
    film(folder / "b.mp4", Shot(evenly(1.2), [Thing(BLUE, path((0.2, 10, 60), (1.0, 110, 60)))]), 1.2)
    (folder / "c.mp4").write_bytes(b"no film at all")
    span = {"a": Span(0.0, 2.4), "b": Span(0.2, 1.2), "c": Span(0.0, 1.0)}
    count = {"a": 60, "b": 25, "c": 25}
    return [row(folder / f"{n}.mp4", n, span[n], count[n]) for n in "abc"]


def row(file, key, span, num_frames):
    media = MediaRef(str(file), "", Kind.VIDEO, 160, 120, span.duration_s, span, "")
    return {"key": key, "media": arrow.plain(media), "num_frames": num_frames}


def batch(rows):
    schema = pa.schema([("key", pa.string()), pa.field("media", arrow.type_of(MediaRef)), ("num_frames", pa.int64())])
    return pa.Table.from_pylist(rows, schema=schema)


def test_a_row_alone_equals_that_row_in_any_batch(step, rows):
    alone = {r["key"]: step(batch([r])).to_pylist()[0] for r in rows}
    for order in ((0, 1, 2), (2, 1, 0), (1, 2, 0)):
        together = step(batch([rows[i] for i in order])).to_pylist()
        assert together == [alone[rows[i]["key"]] for i in order]


def test_the_step_finds_what_moves_in_clip_time_and_reports_the_decode(step, rows):
    first, second, broken = step(batch(rows)).to_pylist()
    assert [t["phrase"] for t in first["tubes"]] == ["the red square"]
    assert first["decode"] == {"complete": True, "frames_got": 60, "frames_expected": 60, "note": ""}
    assert second["tubes"][0]["at_s"][0] == 0.0
    assert second["changes"]["end_s"] == pytest.approx(1.0, abs=1e-6)
    assert second["tubes"][0]["end_s"] <= second["changes"]["end_s"]
    assert broken["verdict"]["state"] == "rejected"
    assert broken["tubes"] is None
    assert broken["fault"] is None


def test_tubes_survive_arrow_and_a_second_run_is_equal(step, rows):
    table = step(batch(rows[:1]))
    again = step(batch(rows[:1]))
    assert table.equals(again)
    tube = arrow.typed(tuple[Tube, ...], table.to_pylist()[0]["tubes"])[0]
    assert len(tube.tube_id) == 26
    assert tube.span.within(2.4)


def test_two_clips_of_one_film_have_tubes_of_their_own(rows):
    media = arrow.typed(MediaRef, rows[0]["media"])
    one = followed(media.uri, media.span, 60, "one", TubeRules(), 0)
    other = followed(media.uri, media.span, 60, "other", TubeRules(), 0)
    assert one.changes == other.changes
    assert one.tubes[0].boxes == other.tubes[0].boxes
    assert one.tubes[0].tube_id != other.tubes[0].tube_id


def test_being_covered_or_growing_is_not_moving():
    size = np.array([160.0, 120.0])
    covered = np.array([[20, 20, 60, 60], [40, 20, 60, 60], [20, 20, 60, 60]], float)
    grown = np.array([[20, 20, 60, 60], [10, 10, 70, 70]], float)
    entering = np.array([[0, 20, 10, 60], [0, 20, 30, 60]], float)
    assert np.abs(translation(covered, size)).max() == 0
    assert np.abs(translation(grown, size)).max() == 0
    assert translation(entering, size)[1].tolist() == [20, 0]
