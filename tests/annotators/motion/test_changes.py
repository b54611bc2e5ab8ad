"""The change map: where and when neighbouring frames differ."""

from __future__ import annotations

import numpy as np
import pytest
from drawn import RED, Shot, Thing, evenly, ground, path

from reelmill.annotators.motion.changes import COLUMNS, PIECES, ROWS, ChangeMap, Changes
from reelmill.schemas import arrow


def mapped(shot: Shot, end_s: float = 9.0) -> tuple[np.ndarray, np.ndarray, Changes]:
    """Cells [n, rows, columns], border [n, 4, pieces] and the map itself."""
    seen = ChangeMap()
    for at_s, picture in zip(shot.times, shot.pictures(), strict=True):
        seen.see(at_s, picture)
    changes = seen.done(end_s)
    count = len(shot.times)
    return np.reshape(changes.cells, (count, ROWS, COLUMNS)), np.reshape(changes.border, (count, 4, PIECES)), changes


def test_a_still_clip_changes_nowhere():
    cells, border, changes = mapped(Shot(evenly(0.4), [Thing(RED, path((0, 40, 40)))]))
    assert not cells.any()
    assert not border.any()
    assert changes.at_s == tuple(evenly(0.4))


def test_change_lies_in_the_cells_that_the_thing_leaves_and_reaches_and_nowhere_else():
    hops = Thing(RED, lambda t: (20, 30) if t < 0.2 else (100, 90), size=(10, 10))
    cells, border, _ = mapped(Shot(evenly(0.4), [hops]))
    frame = 5
    assert not np.delete(cells, frame, axis=0).any()
    assert {(int(r), int(c)) for r, c in np.argwhere(cells[frame])} == {(r, c) for r in (3,) for c in (2,)} | {(9, 10)}
    assert cells[frame, 3, 2] == 1000
    assert not border.any()


@pytest.mark.parametrize(("corner", "side"), [((60, -10), 0), ((60, 110), 1), ((-10, 60), 2), ((150, 60), 3)])
def test_what_stands_across_a_border_changes_that_strip_alone(corner, side):
    comes = Thing(RED, lambda t: corner if t >= 0.2 else None, size=(20, 20))
    _, border, _ = mapped(Shot(evenly(0.4), [comes]))
    assert [bool(border[5, s].any()) for s in range(4)] == [s == side for s in range(4)]
    pieces = np.flatnonzero(border[5, side])
    assert pieces.min() >= 5
    assert pieces.max() <= 10


def test_faint_noise_is_no_change():
    rng = np.random.default_rng(0)
    shot = Shot(evenly(0.4))
    shot.pictures = lambda: [(ground() + rng.integers(-5, 6, (120, 160, 3))).astype(np.uint8) for _ in shot.times]
    cells, border, _ = mapped(shot)
    assert not cells.any()
    assert not border.any()


@pytest.mark.parametrize("size", [(1, 1), (5, 7), (48, 64), (97, 31)])
def test_any_frame_size_gives_the_same_grid(size):
    seen = ChangeMap()
    seen.see(0.0, np.zeros((*size, 3), np.uint8))
    seen.see(0.1, np.full((*size, 3), 255, np.uint8))
    changes = seen.done(0.2)
    assert len(changes.cells) == 2 * ROWS * COLUMNS
    assert set(changes.cells[ROWS * COLUMNS :]) == {1000}
    assert set(changes.border[4 * PIECES :]) == {1000}


def test_an_empty_map_and_arrow():
    empty = ChangeMap().done(0.5)
    assert empty.at_s == ()
    assert arrow.typed(Changes, arrow.plain(empty)) == empty
