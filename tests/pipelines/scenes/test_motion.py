"""Shapes, paths and phases against geometry and counts worked out by hand."""

import math

import numpy as np
import pytest

from reelmill.pipelines.scenes.motion import phases, runs, stamp_at, track, visible
from reelmill.pipelines.scenes.scene import Mover, Waypoint
from reelmill.pipelines.scenes.shapes import SHAPES, stamp

EDGES_S = np.arange(41) * 0.1  # 40 frames of 0.1 s


def mover(*path: tuple[float, float, float], shape: str = "square", radius: int = 10, colour: str = "red") -> Mover:
    return Mover(shape, colour, (200, 40, 40), radius, tuple(Waypoint(*w) for w in path))


def kinds(thing: Mover, width: int = 100, height: int = 60) -> list[tuple[str, int, int]]:
    return [(str(p.kind), p.first, p.end) for p in phases(track(thing, EDGES_S, width, height))]


@pytest.mark.parametrize(
    ("shape", "area"),
    [("square", (2 * 0.8 * 20) ** 2), ("circle", math.pi * 19**2), ("diamond", 2 * 20**2)],
)
def test_coverage_adds_up_to_the_area_of_the_shape(shape: str, area: float) -> None:
    assert stamp(shape, 20, 0, 0).coverage.sum() == pytest.approx(area, rel=0.03)


@pytest.mark.parametrize("shape", SHAPES)
def test_a_quarter_pixel_moves_the_weight_of_a_stamp_by_a_quarter(shape: str) -> None:
    def centre_x(phase: int) -> float:
        cover = stamp(shape, 15, phase, 0).coverage
        return float((cover.sum(axis=0) * np.arange(cover.shape[1])).sum() / cover.sum())

    steps = np.diff([centre_x(phase) for phase in range(4)])
    assert steps == pytest.approx([0.25] * 3, abs=0.02)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("radius", [3, 13, 28])
def test_no_stamp_touches_its_own_edge(shape: str, radius: int) -> None:
    for phase in range(4):
        cover = stamp(shape, radius, phase, 3).coverage
        assert cover[0].max() == cover[-1].max() == cover[:, 0].max() == cover[:, -1].max() == 0


def test_stamps_are_shared_and_so_cannot_be_written() -> None:
    with pytest.raises(ValueError, match="read-only"):
        stamp("star", 12, 1, 2).coverage[0, 0] = 1


def test_boxes_follow_the_place_and_are_clipped() -> None:
    seen = track(mover((0.0, 50.0, 30.0), (4.0, 90.0, 30.0)), EDGES_S, 100, 60)
    assert seen.box[0].tolist() == [42, 22, 58, 38]  # a square of 16 px about (50, 30)
    assert seen.box[10].tolist() == [52, 22, 68, 38]  # one second at 10 px/s later
    edge = track(mover((0.0, 98.0, 30.0)), EDGES_S, 100, 60)
    assert edge.seen[0].tolist() == [90, 22, 100, 38]
    assert edge.in_view[0]
    assert not edge.whole[0]


def test_the_cap_at_a_border_is_lower_than_the_circle() -> None:
    # Radius 19 px about x = 114: the frame shows columns 95 .. 99, where the circle reaches sqrt(19² - 14.5²) = 12 px.
    seen = track(mover((0.0, 114.0, 30.0), shape="circle", radius=20), EDGES_S, 100, 60)
    assert seen.seen[0].tolist() == pytest.approx([95, 18, 100, 42], abs=1)
    assert seen.box[0].tolist() == pytest.approx([95, 11, 133, 49], abs=1)


def test_phases_of_an_entrance_a_rest_and_an_exit() -> None:
    # 40 px/s: half 8 px, so visible from x > -8 and whole from x = 8; still from 1.7 s to
    # 2.5 s; then 44.3 px/s: whole until x = 92 (2.5 + 0.99 s), in view until x = 108 (2.5 + 1.35 s).
    thing = mover((0.0, -20.0, 30.0), (1.7, 48.0, 30.0), (2.5, 48.0, 30.0), (3.9, 110.0, 30.0))
    seen = track(thing, EDGES_S, 100, 60)
    assert kinds(thing) == [
        ("enters", 4, 7),  # x is -8 + 4 = -4 px at frame 4 and 8 px at frame 7
        ("moves", 4, 18),  # frame 17 is where it arrives and differs from frame 16; frame 18 equals it
        ("stops", 18, 26),
        ("moves", 26, 39),
        ("leaves", 35, 39),
    ]
    assert seen.in_view.sum() == 35


def test_a_thing_that_stood_from_the_start_has_not_stopped() -> None:
    assert kinds(mover((1.0, 30.0, 30.0), (2.0, 60.0, 30.0))) == [("moves", 11, 21), ("stops", 21, 40)]


def test_a_turn_without_a_rest_is_one_move() -> None:
    assert kinds(mover((1.0, 30.0, 30.0), (2.0, 60.0, 30.0), (3.0, 60.0, 45.0)))[0] == ("moves", 11, 31)


def test_never_in_view_has_no_phases() -> None:
    assert kinds(mover((0.0, -50.0, 30.0), (3.0, -40.0, 30.0))) == []


def test_an_entrance_lasts_at_least_one_frame() -> None:
    assert kinds(mover((0.5, -30.0, 30.0), (0.6, 40.0, 30.0)))[0] == ("enters", 6, 7)


def test_runs_cover_exactly_the_true_places() -> None:
    assert runs(np.zeros(3, bool)) == []
    assert runs(np.array([False, True, True, False, True])) == [(1, 3), (4, 5)]


def test_what_lies_above_hides_what_lies_below() -> None:
    below = track(mover((0.0, 50.0, 30.0)), EDGES_S, 100, 60)
    half = track(mover((0.0, 58.0, 30.0), colour="blue"), EDGES_S, 100, 60)
    boxes, share = visible([below, half])
    assert boxes[0, 0].tolist() == [42, 22, 50, 38]  # the right half is under the other
    assert share[:, 0].tolist() == [0.5, 1.0]
    boxes, share = visible([below, track(mover((0.0, 50.0, 30.0), colour="blue"), EDGES_S, 100, 60)])
    assert share[0].max() == 0
    assert (boxes[0, :, 2] == boxes[0, :, 0]).all()


def test_a_stamp_lies_where_its_track_says() -> None:
    thing = mover((0.0, 33.3, 21.7), shape="star", radius=14)
    seen = track(thing, EDGES_S, 100, 60)
    mark, left, top = stamp_at(thing, seen.quarters[0])
    assert seen.box[0].tolist() == np.add(mark.box, (left, top, left, top)).tolist()
