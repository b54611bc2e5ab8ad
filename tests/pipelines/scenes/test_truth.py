"""Truth against the drawn pixels: what it says must be what is seen, found again without it."""

import dataclasses
from itertools import pairwise

import numpy as np
import pytest

from reelmill.pipelines.scenes.compose import compose
from reelmill.pipelines.scenes.draw import Painter
from reelmill.pipelines.scenes.presets import DEMO, EASY, MEDIUM, PRESETS, Preset
from reelmill.pipelines.scenes.scene import Scene, Shot
from reelmill.pipelines.scenes.truth import SceneTruth, truth
from reelmill.schemas import arrow
from reelmill.schemas.event import Event, EventKind
from reelmill.schemas.span import Span
from reelmill.schemas.tube import Box, Tube

QUIET = {preset: dataclasses.replace(preset, noise=0.0) for preset in PRESETS.values()}


def only(scene: Scene, shot: Shot, keep: int) -> Scene:
    """The scene with one thing left in one shot (keep < 0: none), so that a difference of frames shows that thing."""
    movers = shot.movers[keep : keep + 1] if keep >= 0 else ()
    shots = tuple(dataclasses.replace(s, movers=movers if s is shot else ()) for s in scene.shots)
    return dataclasses.replace(scene, shots=shots)


def seen_box(with_thing: np.ndarray, without: np.ndarray) -> Box | None:
    """Box of pixels that moved at least half way from the background to the thing: half coverage, by colour alone."""
    gap = np.abs(with_thing.astype(float) - without.astype(float)).max(axis=2)
    if gap.max() < 20:
        return None
    rows, columns = np.nonzero(gap >= 0.5 * gap.max())
    return Box(columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)


def tube_of(exact: SceneTruth, tube_id: str) -> Tube:
    return next(t for t in exact.tubes if t.tube_id == tube_id)


@pytest.mark.parametrize("preset", [EASY, DEMO, MEDIUM], ids=lambda p: p.name)
def test_boxes_are_where_the_pixels_change(preset: Preset) -> None:
    scene = compose(1, QUIET[preset])
    exact = truth(scene)
    times = {t: i for i, t in enumerate(exact.frame_times_s)}
    compared = 0
    for s, shot in enumerate(scene.shots):
        empty = Painter(only(scene, shot, -1))
        for m in range(len(shot.movers)):
            alone = only(scene, shot, m)
            tube = next(t for t in truth(alone).tubes if t.tube_id == f"s{s}m0")
            painter = Painter(alone)
            for at_s, box in list(zip(tube.at_s, tube.boxes, strict=True))[::7]:
                found = seen_box(painter.frame(times[at_s]), empty.frame(times[at_s]))
                if box.area_px > 100:
                    assert found is not None
                    assert found.iou(box) > 0.85  # edges where the backdrop varies may move by a pixel
                    compared += 1
    assert compared > 10


@pytest.mark.parametrize("preset", PRESETS.values(), ids=list(PRESETS))
def test_tubes_and_events_keep_to_one_shot_and_to_frames(preset: Preset) -> None:
    for seed in range(20):
        exact = truth(compose(seed, preset))
        edges = {*exact.frame_times_s, exact.duration_s}
        assert exact.shots[0].start_s == 0.0
        assert exact.shots[-1].end_s == exact.duration_s
        assert exact.cuts_s == tuple(s.start_s for s in exact.shots[1:])
        assert all(a.end_s == b.start_s for a, b in pairwise(exact.shots))
        for tube in exact.tubes:
            assert sum(s.start_s <= tube.at_s[0] and tube.end_s <= s.end_s for s in exact.shots) == 1
            assert {*tube.at_s, tube.end_s} <= edges
            assert all(b.clipped(exact.width_px, exact.height_px) == b and b.area_px > 0 for b in tube.boxes)
        for event in exact.events:
            assert {event.span.start_s, event.span.end_s} <= edges
            tube = tube_of(exact, event.subject_id)
            assert tube.span.start_s <= event.span.start_s < event.span.end_s <= tube.end_s
            assert event.phrase == f"{event.subject} {event.kind}"
            assert event.subject == tube.phrase


def expected_events(tube: Tube, shot: Span, times: list[float]) -> set[tuple[EventKind, float, float]]:
    """Events by the words of schemas/event.py, read off a tube's boxes alone (no path, no mask)."""
    after = dict(pairwise(times))
    boxes = dict(zip(tube.at_s, tube.boxes, strict=True))
    inside = [
        t
        for t, b in boxes.items()
        if b.x0_px > 0 and b.y0_px > 0 and b.x1_px < tube.frame_width_px and b.y1_px < tube.frame_height_px
    ]
    found: set[tuple[EventKind, float, float]] = set()
    if tube.at_s[0] > shot.start_s:
        found.add((EventKind.ENTERS, tube.at_s[0], inside[0]))
    if tube.end_s < shot.end_s:
        found.add((EventKind.LEAVES, after[inside[-1]], tube.end_s))
    return found


def test_entrances_and_exits_follow_from_the_boxes() -> None:
    checked = 0
    for seed in range(15):
        exact = truth(compose(seed, QUIET[EASY]))
        times = [*exact.frame_times_s, exact.duration_s]
        for tube in exact.tubes:
            shot = next(s for s in exact.shots if s.start_s <= tube.at_s[0] < s.end_s)
            own = [e for e in exact.events if e.subject_id == tube.tube_id]
            for kind, start_s, end_s in expected_events(tube, shot, times):
                event = next(e for e in own if e.kind is kind)
                # A box that ends exactly at the border is whole but does not show it: one frame of doubt.
                assert abs(times.index(event.span.start_s) - times.index(start_s)) <= 1
                assert abs(times.index(event.span.end_s) - times.index(end_s)) <= 1
                checked += 1
    assert checked > 20


def still(exact: SceneTruth, event: Event, tube: Tube) -> list[bool]:
    """Frame by frame of an event: is the box the same as one frame before?"""
    boxes = dict(zip(tube.at_s, tube.boxes, strict=True))
    order = list(tube.at_s)
    span = [t for t in order if event.span.start_s <= t < event.span.end_s]
    return [boxes[t] == boxes[order[order.index(t) - 1]] for t in span if order.index(t) > 0]


def test_moves_move_and_stops_do_not() -> None:
    for seed in range(15):
        exact = truth(compose(seed, EASY))
        for event in exact.events:
            same = still(exact, event, tube_of(exact, event.subject_id))
            if event.kind is EventKind.STOPS:
                assert all(same)
            elif event.kind is EventKind.MOVES:
                assert np.mean(same) < 0.1  # a slanted path may keep its whole-pixel box for a frame


def test_pixels_stand_still_in_a_stop_and_change_where_it_ends() -> None:
    scene = compose(5, QUIET[EASY])
    exact = truth(scene)
    number = {t: i for i, t in enumerate(exact.frame_times_s)}
    painter = Painter(scene)
    stop = next(e for e in exact.events if e.kind is EventKind.STOPS)
    first = number[stop.span.start_s]
    tube = tube_of(exact, stop.subject_id)
    b = tube.boxes[tube.at_s.index(stop.span.start_s)]
    window = np.s_[int(b.y0_px) : int(b.y1_px), int(b.x0_px) : int(b.x1_px)]
    assert (painter.frame(first)[window] == painter.frame(first - 1)[window]).all()
    assert (painter.frame(first - 1)[window] != painter.frame(first - 2)[window]).any()


def test_texts_are_those_of_the_signs_and_dark_on_light_where_the_quad_says() -> None:
    scene = compose(2, DEMO)
    exact = truth(scene)
    assert [t.text for t in exact.texts] == [s.text for shot in scene.shots for s in shot.signs]
    assert exact.texts
    for line in exact.texts:
        shot = next(s for s in exact.shots if s.start_s == line.at_s)
        middle = (shot.start_s + shot.end_s) / 2
        number = next(i for i, t in enumerate(exact.frame_times_s) if t >= middle)
        frame = Painter(scene).frame(number).astype(float)
        x0, y0, x1, y1 = (round(v) for v in dataclasses.astuple(line.box))
        inside, rim = frame[y0:y1, x0:x1], frame[y0 - 3 : y0 - 1, x0:x1]
        assert inside.std() > 40  # letters
        assert rim.std(axis=(0, 1)).max() < 1  # bare plate above them
        assert np.abs(inside[0] - rim[0]).max() > 40  # the ink reaches the quad's top edge
        assert np.abs(inside[-1] - rim[0]).max() > 40


def test_truth_survives_json() -> None:
    exact = truth(compose(3, MEDIUM))
    assert arrow.typed(SceneTruth, arrow.plain(exact)) == exact
