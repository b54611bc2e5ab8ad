"""Texts over time, from lines given by hand over pictures that are painted: linking, looking between, and ends."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from reelmill.annotators.ocr.tracks import Patch, TrackRules, edges, likeness, linked, same_text, text_tracks
from reelmill.schemas.media import ShownFrame
from reelmill.schemas.text import TextLine
from reelmill.schemas.tube import Box

RULES = TrackRules()
SIZE = (400, 240)
PLACE = (100, 180)


def scene(seed, *texts):
    """Luma of a blurred picture of its own with texts painted on it."""
    small = np.random.default_rng(seed).integers(0, 150, (6, 10), np.uint8)
    image = Image.fromarray(small).resize(SIZE, Image.Resampling.BICUBIC)
    for text, place in texts:
        ImageDraw.Draw(image).text(place, text, fill=255, font=ImageFont.load_default(24))
    return np.asarray(image, np.float32)


def line(text, frame, place=PLACE, confidence=0.95):
    box = ImageDraw.Draw(Image.new("L", SIZE)).textbbox(place, text, font=ImageFont.load_default(24))
    x0, y0, x1, y1 = (float(v) for v in box)
    return TextLine(text, (x0, y0, x1, y0, x1, y1, x0, y1), confidence, 0, 12 * frame, 0.5 * frame, "rules")


def tracks(pictures, lines, rules=RULES):
    frames = [ShownFrame(12 * i, 0.5 * i, *SIZE, "", 0, 0) for i in range(len(pictures))]
    return text_tracks(frames, lines, lambda i: pictures[i], 0.5 * len(pictures), rules, "rules")


def ends(found):
    return [(t.text, t.span.start_s, t.span.end_s, t.start_after_s, t.seen_until_s) for t in found]


def test_frames_that_were_not_read_are_looked_at():
    caption = ("Chapter two", PLACE)
    pictures = [scene(i, *([caption] if 2 <= i < 7 else [])) for i in range(10)]
    found = tracks(pictures, {0: [], 4: [line("Chapter two", 4)], 9: []})
    assert ends(found) == [("Chapter two", 1.0, 3.5, 0.5, 3.0)]
    assert found[0].frames == (24, 36, 48, 60, 72)
    assert [s.frame for s in found[0].sightings] == [48]
    assert (found[0].first_read_s, found[0].last_read_s, found[0].script) == (2.0, 2.0, "Latn")


def test_what_is_there_to_the_end_ends_with_the_clip():
    found = tracks([scene(i, ("NEWS", (20, 20))) for i in range(4)], {0: [line("NEWS", 0, (20, 20))]})
    assert ends(found) == [("NEWS", 0.0, 2.0, None, 1.5)]


def test_another_text_in_the_place_ends_it_even_unread():
    pictures = [scene(i, ("They were here", PLACE) if i < 3 else ("You were there", PLACE)) for i in range(6)]
    found = tracks(pictures, {0: [line("They were here", 0)], 5: [line("You were there", 5)]})
    assert ends(found) == [
        ("They were here", 0.0, 1.5, None, 1.0),
        ("You were there", 1.5, 3.0, 1.0, 2.5),
    ]


def test_a_counter_is_another_text_each_time():
    texts = [f"Frame = {n}" for n in (1, 6, 11)]
    found = tracks([scene(0, (t, PLACE)) for t in texts], {i: [line(t, i)] for i, t in enumerate(texts)})
    assert [(t.text, t.span.start_s, t.span.end_s) for t in found] == [
        ("Frame = 1", 0.0, 0.5), ("Frame = 6", 0.5, 1.0), ("Frame = 11", 1.0, 1.5),
    ]  # fmt: skip


def test_a_text_that_was_covered_goes_on_and_one_that_was_gone_long_comes_anew():
    on = [("EXIT", PLACE)]
    covered = [scene(i, *(on if i != 2 else [])) for i in range(6)]
    lines = {0: [line("EXIT", 0)], 2: [], 5: [line("EXIT", 5)]}
    assert ends(tracks(covered, lines)) == [("EXIT", 0.0, 3.0, None, 2.5)]
    gone = [scene(i, *(on if i < 2 or i > 8 else [])) for i in range(11)]
    lines = {0: [line("EXIT", 0)], 5: [], 10: [line("EXIT", 10)]}
    assert ends(tracks(gone, lines)) == [("EXIT", 0.0, 1.0, None, 0.5), ("EXIT", 4.5, 5.5, 4.0, 5.0)]


def test_a_moving_text_is_one_text():
    places = [(20 + 40 * i, 100) for i in range(5)]
    pictures = [scene(i, ("FERRY", p)) for i, p in enumerate(places)]
    found = tracks(pictures, {i: [line("FERRY", i, places[i])] for i in (0, 2, 4)})
    assert ends(found) == [("FERRY", 0.0, 2.5, None, 2.0)]
    assert len(found[0].sightings) == 3


def test_two_equal_signs_side_by_side_stay_two():
    here, there = line("STOP", 0, (20, 20)), line("STOP", 0, (250, 20))
    later = line("STOP", 1, (20, 20)), line("STOP", 1, (250, 20))
    chains = linked({0: [here, there], 1: list(later)}, RULES)
    assert [[x.box.x0_px for x in c.lines.values()] for c in chains] == [[here.box.x0_px] * 2, [there.box.x0_px] * 2]


def test_a_line_in_pieces_is_the_line():
    whole = line("Platform nine is closed", 0, (20, 100))
    first = line("Platform nine", 1, (20, 100))
    second = TextLine("is closed", (190.0, 103.0, 270.0, 103.0, 270.0, 124.0, 190.0, 124.0), 0.9, 1, 12, 0.5, "rules")
    (chain,) = linked({0: [whole], 1: [first, second]}, RULES)
    assert sorted(chain.lines) == [0, 1]
    picture = scene(0, ("Platform nine is closed", (20, 100)))
    (track,) = tracks([picture, picture], {0: [whole], 1: [first, second]})
    assert track.text == "Platform nine is closed"


def test_the_reading_of_most_frames_counts():
    readings = ["Captain Nemo", "Captain Neme", "Captain Nemo"]
    found = tracks([scene(0, ("Captain Nemo", PLACE))] * 3, {i: [line(t, i)] for i, t in enumerate(readings)})
    assert [t.text for t in found] == ["Captain Nemo"]
    assert found[0].confidence == pytest.approx(0.95)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("Copyright © 2013", "Copyright© 2013", True),
        ("GATE 24", "GATE 25", False),
        ("Harbour", "harbor", True),
        ("Exit", "Taxi", False),
        ("->", "->", True),
    ],
)
def test_same_text(one, other, same):
    assert same_text(one, other, RULES.same_text) is same


def test_edges_are_found_again_behind_another_picture_and_not_elsewhere():
    text, box = ("Chapter two", PLACE), line("Chapter two", 0).box
    patch = Patch.of(edges(scene(1, text)), box)
    assert likeness(edges(scene(2, text)), patch, box) > 0.9
    moved = ("Chapter two", (PLACE[0] + 5, PLACE[1] - 4))
    assert likeness(edges(scene(2, moved)), patch, box) > 0.9
    assert likeness(edges(scene(2)), patch, box) < 0.4
    assert likeness(edges(scene(2, ("Volume nine", PLACE))), patch, box) < RULES.same_look
    faded = scene(2) + 0.1 * (scene(2, text) - scene(2))
    assert likeness(edges(faded), patch, box) < RULES.same_look


@pytest.mark.parametrize("box", [Box(-5, -5, 3, 3), Box(398, 238, 420, 260), Box(10, 10, 10.5, 10.5)])
def test_a_box_at_the_edge_or_without_size_is_borne(box):
    slopes = edges(scene(4))
    assert -1.01 <= likeness(slopes, Patch.of(slopes, box), box) <= 1.01
    flat = edges(np.zeros((240, 400), np.float32))
    assert likeness(flat, Patch.of(flat, box), box) == 0.0


def test_a_text_that_begins_as_the_one_before_did_takes_its_place():
    texts = ["Platform nine is closed"] * 3 + ["Platform nine is open again"] * 3
    pictures = [scene(0, (t, (20, 100))) for t in texts]
    found = tracks(pictures, {0: [line(texts[0], 0, (20, 100))], 3: [line(texts[3], 3, (20, 100))]})
    assert [(t.text, t.span.start_s, t.span.end_s) for t in found] == [(texts[0], 0.0, 1.5), (texts[3], 1.5, 3.0)]
