"""Which frames are read: those that changed, and in busy clips those in which text comes and stays."""

from __future__ import annotations

import numpy as np
from painted import texture
from PIL import Image, ImageDraw, ImageFont

from reelmill.annotators.cutting.shown import jpeg
from reelmill.annotators.ocr.frames import FrameRules, Look, changed_frames, frames_to_read, look, spread, still_frames

RULES = FrameRules()
SIZE = (796, 448)


def captioned(picture, text):
    image = Image.fromarray(picture)
    ImageDraw.Draw(image).text((250, 400), text, fill="white", font=ImageFont.load_default(28))
    return np.asarray(image)


def busy(count):
    """Frames of another blurred picture each: everything changes all the time."""
    pictures = []
    for seed in range(count):
        small = np.random.default_rng(seed).integers(0, 160, (6, 10, 3), np.uint8)
        pictures.append(np.asarray(Image.fromarray(small).resize(SIZE, Image.Resampling.BICUBIC)))
    return pictures


def test_a_subtitle_is_change_enough():
    shot = np.asarray(Image.fromarray(texture(3)).resize(SIZE))
    looks = [look(jpeg(p, 90)) for p in (shot, shot, captioned(shot, "I told you so."))]
    assert changed_frames([one.luma for one in looks], RULES) == [0, 2]
    assert frames_to_read(looks, RULES) == [0, 2]


def test_a_caption_that_comes_over_a_busy_picture_is_read():
    plain = busy(30)
    shown = [captioned(p, "Where did you put them?") if 12 <= i < 15 else p for i, p in enumerate(plain)]
    looks = [look(jpeg(p, 90)) for p in shown]
    assert 12 in still_frames(looks, RULES)
    assert {12, 13, 14} & set(frames_to_read(looks, RULES))
    bare = [look(jpeg(p, 90)) for p in plain]
    assert not {12, 13, 14} & set(still_frames(bare, RULES))


def test_of_many_still_frames_the_strongest_are_read():
    flat, looks = np.zeros((54, 96), np.int16), []
    for i in range(40):
        edges = flat.copy()
        edges[: 1 + 5 * (i in (9, 10)), : 20 + 20 * (i // 2 % 2)] = 40  # each lasts two frames
        looks.append(Look(np.full((54, 96), 2 * i, np.int16), edges))
    found = still_frames(looks, FrameRules(still_luma=6))
    assert max(found, key=lambda i: found[i]) == 9
    rules = FrameRules(luma=1, most=2, most_still=1)
    assert frames_to_read(looks, rules) == [0, 9, 39]


def test_the_number_of_frames_read_is_bounded_and_spread():
    looks = [Look(np.full((54, 96), 40 * (i % 3), np.int16), np.zeros((54, 96), np.int16)) for i in range(50)]
    assert frames_to_read(looks, RULES) == [0, 7, 14, 21, 28, 35, 42, 49]
    assert frames_to_read(looks, FrameRules(most=1)) == [0]
    assert changed_frames([], RULES) == []


def test_an_even_choice_keeps_both_ends():
    assert spread(range(10), 4) == [0, 3, 6, 9]
    assert spread([3, 5], 8) == [3, 5]
