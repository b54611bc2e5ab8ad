"""Ends at the switches of the change map: moved a little, and never turned round."""

from __future__ import annotations

from typing import Any

import numpy as np
from drawn import RED, Shot, Thing, evenly
from hypothesis import given
from hypothesis import strategies as st

from reelmill.annotators.boundaries import Switches, snapped
from reelmill.annotators.motion.changes import ChangeMap, Changes
from reelmill.schemas.span import Span


def changes(shot: Shot) -> Changes:
    seen = ChangeMap()
    for at_s, picture in zip(shot.times, shot.pictures(), strict=True):
        seen.see(at_s, picture)
    return seen.done(shot.times[-1] + 0.04)


def rolls(first_s: float, last_s: float, seconds: float = 4.0) -> Changes:
    """A red thing that stands still, rolls to the right between two times, and stands again."""
    thing = Thing(RED, lambda t: (20 + 40 * (min(max(t, first_s), last_s) - first_s), 40), size=(20, 20))
    return changes(Shot(evenly(seconds), [thing]))


def test_switches_are_where_a_thing_sets_out_and_where_it_comes_to_rest() -> None:
    found = Switches.of(rolls(1.2, 2.8))
    assert [round(t, 2) for t in found.rises_s] == [1.24], "the first frame that differs from the one before"
    assert len(found.falls_s) == 1
    assert abs(found.falls_s[0] - 2.84) < 0.05
    still = Switches.of(changes(Shot(evenly(1.0), [])))
    assert (len(still.rises_s), len(still.falls_s)) == (0, 0)


def test_an_end_moves_to_the_nearest_switch_within_the_bound() -> None:
    switches = Switches(np.array([1.2, 1.9]), np.array([2.8]))
    assert snapped(Span(1.0, 3.0), switches, 0.5) == Span(1.2, 2.8)
    assert snapped(Span(0.5, 3.5), switches, 0.5) == Span(0.5, 3.5)
    assert snapped(Span(1.0, 3.0), switches, 0.0) == Span(1.0, 3.0)
    turned = Switches(np.array([2.0]), np.array([1.9]))
    assert snapped(Span(1.8, 2.1), turned, 0.5) == Span(1.8, 2.1)


TIMES = st.lists(st.integers(0, 80).map(lambda n: n / 8), max_size=6).map(lambda t: np.array(sorted(t)))


@given(TIMES, TIMES, st.integers(0, 60), st.integers(1, 20), st.floats(0, 1))
def test_no_end_moves_by_more_than_the_bound(rises: Any, falls: Any, start: int, length: int, bound_s: float) -> None:
    span = Span(start / 8, (start + length) / 8)
    moved = snapped(span, Switches(rises, falls), bound_s)
    assert abs(moved.start_s - span.start_s) <= bound_s + 1e-9
    assert abs(moved.end_s - span.end_s) <= bound_s + 1e-9
