"""Noun phrases: only what pixels show."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from drawn import Drawn, Shot, Thing, evenly, path, texture

from reelmill.annotators.motion.blobs import lab
from reelmill.annotators.motion.phrase import Look, phrase, phrases
from reelmill.annotators.tubes import Eyes, TubeRules


def look(rgb: tuple[int, int, int], *, spread: float = 3.0, share: float = 0.02, x: float = 0.5) -> Look:
    colour = lab(np.full((1, 1, 3), rgb, np.uint8))[0, 0].astype(np.float64)
    return Look(colour, spread, None, share, np.full((4, 2), (x, 0.5)))


@pytest.mark.parametrize(
    ("rgb", "word"),
    [
        ((206, 46, 42), "red"),
        ((235, 137, 36), "orange"),
        ((236, 210, 58), "yellow"),
        ((56, 152, 74), "green"),
        ((44, 88, 196), "blue"),
        ((128, 62, 160), "purple"),
        ((240, 142, 180), "pink"),
        ((240, 240, 236), "white"),
        ((20, 20, 22), "black"),
        ((130, 130, 130), "grey"),
    ],
)
def test_plain_colours_have_their_name(rgb, word):
    assert phrase(look(rgb)) == f"the {word} object"


@pytest.mark.parametrize(
    ("lab_colour", "words"),
    [
        ((38.5, 25.0, 4.0), "the red object"),  # a red car with dark windows: nearest to brown, 48 degrees off its hue
        ((36.0, 20.0, 26.0), "the brown object"),
        ((36.0, 40.0, 3.0), "the red object"),  # the hue of pink, and far too dark for it
        ((40.0, 0.0, 25.0), "the object"),  # dull yellow: neither brown nor yellow
    ],
)
def test_a_dull_colour_is_called_by_its_hue(lab_colour, words):
    seen = Look(np.array(lab_colour), 10.0, None, 0.02, np.full((4, 2), 0.5))
    assert phrase(seen) == words


def test_a_colour_that_its_own_spread_takes_to_the_next_term_is_none():
    """A red car with dark panes before grey tarmac: its median lies between red and pink, its pixels on both sides."""
    between = Look(np.array([45.5, 25.0, 4.0]), 13.0, None, 0.02, np.full((4, 2), 0.5))
    assert phrase(between) == "the object"
    assert phrase(dataclasses.replace(between, spread=2.0)) == "the pink object"


def test_a_thing_of_many_colours_has_none():
    assert phrase(look((206, 46, 42), spread=30)) == "the object"
    assert phrase(look((20, 20, 40), spread=30)) == "the dark object"


def test_size_is_said_where_it_is_plain():
    assert phrase(look((44, 88, 196), share=0.2)) == "the large blue object"
    assert phrase(look((44, 88, 196), share=0.001)) == "the small blue object"


def test_things_that_look_alike_are_told_apart_by_a_place_that_they_keep():
    assert phrases([look((206, 46, 42), x=0.2), look((206, 46, 42), x=0.8), look((44, 88, 196))]) == [
        "the red object on the left",
        "the red object on the right",
        "the blue object",
    ]
    moves = Look(look((206, 46, 42)).colour, 3.0, None, 0.02, np.linspace((0.1, 0.5), (0.9, 0.5), 9))
    assert phrases([moves, moves]) == ["the red object", "the red object"]


@pytest.mark.parametrize(("points", "word"), [(4, "square"), (3, "triangle"), (64, "circle")])
def test_outlines_are_named_from_what_was_seen(points, word):
    import cv2

    turn = np.arange(points) * 2 * np.pi / points + {4: np.pi / 4, 3: -np.pi / 2, 64: 0.0}[points]
    outline = np.stack([np.cos(turn), np.sin(turn)], axis=1) * 28

    def picture(x: float) -> np.ndarray:
        frame = texture(320, 240, spread=20)
        cv2.fillPoly(
            frame, [np.rint((outline + np.array([x, 120])) * 16).astype(np.int32)], (44, 88, 196), cv2.LINE_AA, 4
        )
        return frame

    shot = Shot(evenly(2.0), [Thing((0, 0, 0), lambda t: None)])
    eyes = Eyes(50, TubeRules())
    for i, at_s in enumerate(shot.times):
        eyes.see(Drawn(at_s, picture(60 + 4 * i)))
    tubes, _ = eyes.tubes("clip", (320, 240), 2.0)
    assert [t.phrase for t in tubes] == [f"the blue {word}"]


@pytest.mark.parametrize(
    ("size", "words"),
    [
        ((24, 24), "the red square"),
        ((24, 22), "the red square"),
        ((27, 21), "the red object"),
        ((21, 27), "the red object"),
    ],
)
def test_a_rectangle_is_no_square_though_its_box_is_filled_as_a_square_is(size, words):
    """27 x 21 has the proportions of the 90 x 70 px pictures that an audit found called squares. Half of its way each
    goes over the border, where its box is cut: only whole views say how long its sides are."""
    goes_out = Thing((200, 40, 40), path((0.2, -30, 40), (1.0, 60, 40), (2.0, 175, 40)), size)
    shot = Shot(evenly(2.4), [goes_out], texture(spread=30))
    eyes = Eyes(len(shot.times), TubeRules())
    for at_s, picture in zip(shot.times, shot.pictures(), strict=True):
        eyes.see(Drawn(at_s, picture))
    tubes, _ = eyes.tubes("clip", (160, 120), 2.4)
    assert [t.phrase for t in tubes] == [words]


def test_a_figure_that_is_not_known_by_equal_sides_keeps_its_name():
    """A star is wider than it is tall; a circle as wide would be an ellipse."""
    from reelmill.annotators.motion.phrase import _figures

    outlines = _figures()
    named = {
        name: phrase(dataclasses.replace(look((206, 46, 42)), shape=outlines[name], sides=(44.0, 40.0)))
        for name in ("star", "circle", "square")
    }
    assert named == {"star": "the red star", "circle": "the red object", "square": "the red object"}
