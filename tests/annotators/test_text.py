"""Reading rendered text: what, where, how sure, and which frames; the engine really runs."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont
from stepped import run_sound as run

from reelmill.annotators.annotator import Annotator
from reelmill.annotators.cutting.shown import jpeg
from reelmill.annotators.shown import decoded
from reelmill.annotators.text import TEXTS, TRACKS, WORDS, ReadText, reader
from reelmill.schemas import arrow
from reelmill.schemas.errors import BadInput
from reelmill.schemas.media import Kind, MediaRef, ShownFrame

INK, PAPER = (20, 20, 60), (245, 245, 240)


@pytest.fixture(scope="module")
def step():
    ready = ReadText()
    ready.setup()
    return ready


def page(lines, size=(640, 240), ink=INK, paper=PAPER, letters=32):
    """A picture with lines of text at given places, and their true boxes."""
    image = Image.new("RGB", size, paper)
    draw = ImageDraw.Draw(image)
    font = ImageFont.load_default(letters)
    boxes = []
    for text, place in lines:
        draw.text(place, text, fill=ink, font=font)
        boxes.append(draw.textbbox(place, text, font=font))
    return np.asarray(image), boxes


SIGN, BOXES = page([("Platform 9 is closed", (40, 40)), ("Please use the bridge", (60, 120))])
EMPTY = page([])[0]


def row(pictures, key="k" * 26, every_s=0.5, kind=Kind.VIDEO):
    jpegs = [jpeg(p, 92) for p in pictures]
    shown = [
        ShownFrame(12 * i, every_s * i, p.shape[1], p.shape[0], "", 0, len(j))
        for i, (p, j) in enumerate(zip(pictures, jpegs, strict=True))
    ]
    media = MediaRef("file:///v", "d", kind, 640, 240, every_s * len(pictures), None, "")
    return {"key": key, "media": arrow.plain(media), "frames": arrow.plain(tuple(shown)), "jpegs": jpegs}


def texts_of(answer):
    return arrow.typed(TEXTS.hint, answer["texts"])


def words_of(answer):
    return arrow.typed(WORDS.hint, answer["text_words"])


def tracks_of(answer):
    return arrow.typed(TRACKS.hint, answer["text_tracks"])


def iou(a, b):
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    shared = max(0.0, width) * max(0.0, height)
    return shared / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared)


def box(line):
    return (line.box.x0_px, line.box.y0_px, line.box.x1_px, line.box.y1_px)


def test_it_is_an_annotator():
    assert isinstance(ReadText(), Annotator)


def test_lines_are_read_in_place_and_in_order(step):
    (answer,) = run(step, row([SIGN]))
    lines = texts_of(answer)
    assert [x.text for x in lines] == ["Platform 9 is closed", "Please use the bridge"]
    assert [x.order for x in lines] == [0, 1]
    assert all(iou(box(x), true) > 0.5 for x, true in zip(lines, BOXES, strict=True))
    assert all(x.confidence > 0.9 and x.method == "rules" for x in lines)
    assert answer["text_engine"].startswith("rapidocr 3.")
    assert "PP-OCRv6_rec_small" in answer["text_engine"]


def test_light_on_dark_is_read_too(step):
    negative, _ = page([("Night bus to Harbour Street", (30, 60))], ink=(240, 240, 120), paper=(10, 20, 30))
    assert [x.text for x in texts_of(run(step, row([negative]))[0])] == ["Night bus to Harbour Street"]


def test_a_small_picture_is_enlarged_and_boxes_stay_in_its_pixels(step):
    small, boxes = page([("Exit 27", (14, 12))], size=(110, 44), letters=16)
    (line,) = texts_of(run(step, row([small]))[0])
    assert line.text == "Exit 27"
    assert iou(box(line), boxes[0]) > 0.4


@pytest.mark.parametrize("size", [(2400, 40), (40, 900), (16, 16)])
def test_odd_shapes_are_borne(step, size):
    width, height = size
    quads = [x.quad_px for x in texts_of(run(step, row([np.full((height, width, 3), 200, np.uint8)]))[0])]
    assert all(0 <= x <= width for q in quads for x in q[0::2])
    assert all(0 <= y <= height for q in quads for y in q[1::2])


@pytest.mark.parametrize("quarters", [1, 2, 3])
def test_a_turned_picture_is_read_and_quads_begin_at_the_lines_own_top_left(step, quarters):
    lines = texts_of(run(step, row([np.ascontiguousarray(np.rot90(SIGN, -quarters))]))[0])
    assert [x.text for x in lines] == ["Platform 9 is closed", "Please use the bridge"]
    along = np.array(lines[0].quad_px).reshape(4, 2)
    direction = (along[1] - along[0]) / np.linalg.norm(along[1] - along[0])
    angle = np.radians(90 * quarters)
    assert direction == pytest.approx([np.cos(angle), np.sin(angle)], abs=0.1)


def test_nothing_to_read_is_an_answer(step):
    (answer,) = run(step, row([EMPTY]))
    assert (answer["texts"], answer["text_frames"], answer["text_unsure"]) == ([], [0], 0)


def test_a_row_without_frames_is_an_answer(step):
    (answer,) = run(step, row([]))
    assert (answer["texts"], answer["text_frames"]) == ([], [])


def test_unsure_lines_are_dropped_and_counted(step):
    strict = ReadText(min_confidence=1.1)
    strict.setup()
    (answer,) = run(strict, row([SIGN]))
    assert (answer["texts"], answer["text_unsure"]) == ([], 2)


def test_a_short_line_must_be_surer_than_a_long_one():
    step = ReadText()
    assert [step._wanted(t) for t in ("V", " V  ", "Exit", "Platform 9")] == [0.9, 0.9, 0.5, 0.5]
    assert ReadText(min_confidence=0.95)._wanted("V") == 0.95


def test_short_lines_that_stand_clear_are_kept(step):
    sign, _ = page([("W", (60, 60)), ("315", (300, 60)), ("E", (520, 60))], letters=48)
    assert [x.text for x in texts_of(run(step, row([sign]))[0])] == ["W", "315", "E"]


def test_a_slide_is_read_when_it_comes_and_not_again(step):
    other, _ = page([("Platform 9 is open again", (40, 40))])
    (answer,) = run(step, row([SIGN, SIGN, SIGN, other, other, EMPTY]))
    assert answer["text_frames"] == [0, 36, 60]
    lines = texts_of(answer)
    assert [(x.text, x.frame, x.at_s, x.order) for x in lines] == [
        ("Platform 9 is closed", 0, 0.0, 0),
        ("Please use the bridge", 0, 0.0, 1),
        ("Platform 9 is open again", 36, 1.5, 0),
    ]


def test_words_lie_in_their_lines_and_where_they_were_painted(step):
    (answer,) = run(step, row([SIGN]))
    words = words_of(answer)
    assert [(w.text, w.order, w.place, w.script) for w in words] == [
        ("Platform", 0, 0, "Latn"), ("9", 0, 1, "Zyyy"), ("is", 0, 2, "Latn"), ("closed", 0, 3, "Latn"),
        ("Please", 1, 0, "Latn"), ("use", 1, 1, "Latn"), ("the", 1, 2, "Latn"), ("bridge", 1, 3, "Latn"),
    ]  # fmt: skip
    draw, font = ImageDraw.Draw(Image.new("RGB", (640, 240))), ImageFont.load_default(32)
    for w in words:
        said, place = ("Platform 9 is closed", (40, 40)) if w.order == 0 else ("Please use the bridge", (60, 120))
        before = said[: said.index(w.text)]
        left = place[0] + draw.textlength(before, font=font)
        right = left + draw.textlength(w.text, font=font)
        assert (w.box.x0_px, w.box.x1_px) == pytest.approx((left, right), abs=10)


def test_words_of_a_turned_picture_follow_their_line(step):
    words = words_of(run(step, row([np.ascontiguousarray(np.rot90(SIGN, 2))]))[0])
    assert [w.text for w in words][:4] == ["Platform", "9", "is", "closed"]
    assert words[0].box.x0_px > words[3].box.x0_px


def test_texts_over_time_end_where_the_next_slide_begins(step):
    other, _ = page([("Platform 9 is open again", (40, 40))])
    (answer,) = run(step, row([SIGN, SIGN, SIGN, other, other, EMPTY]))
    seen = [(t.text, t.span.start_s, t.span.end_s, t.start_after_s, t.seen_until_s) for t in tracks_of(answer)]
    assert seen == [
        ("Platform 9 is closed", 0.0, 1.5, None, 1.0),
        ("Please use the bridge", 0.0, 1.5, None, 1.0),
        ("Platform 9 is open again", 1.5, 2.5, 1.0, 2.0),
    ]
    assert tracks_of(answer)[0].frames == (0, 12, 24)
    assert [s.frame for s in tracks_of(answer)[0].sightings] == [0]


def test_nothing_lasts_in_a_picture(step):
    (answer,) = run(step, row([SIGN], kind=Kind.IMAGE))
    assert len(answer["texts"]) == 2
    assert answer["text_tracks"] == []


def test_an_engine_is_asked_for_by_name():
    with pytest.raises(BadInput, match="tesseract:eng"):
        reader("easyocr")
    with pytest.raises(BadInput):
        ReadText(engine="rapidocr:eng").setup()


def test_a_row_alone_is_the_row_in_any_batch(step):
    rows = [
        row([SIGN], key="a" * 26),
        row([EMPTY, SIGN], key="b" * 26),
        row([np.ascontiguousarray(np.rot90(SIGN))], key="c" * 26),
    ]
    together = run(step, *rows)
    assert run(step, *reversed(rows)) == list(reversed(together))
    fresh = ReadText()
    fresh.setup()
    assert [run(fresh, one)[0] for one in rows] == together


def test_stored_frames_decode_to_rgb():
    assert decoded(jpeg(SIGN, 92)).shape == SIGN.shape
    gray = io.BytesIO()
    Image.fromarray(SIGN).convert("L").save(gray, "JPEG")
    assert decoded(gray.getvalue()).shape == SIGN.shape


def errors(read, true):
    """Levenshtein distance over the truth's length (character error rate)."""
    costs = list(range(len(true) + 1))
    for i, a in enumerate(read, 1):
        before, costs[0] = costs[0], i
        for j, b in enumerate(true, 1):
            before, costs[j] = costs[j], min(costs[j] + 1, costs[j - 1] + 1, before + (a != b))
    return costs[-1] / len(true)


@pytest.mark.parametrize("name", ["images/tess_phototest.tif", "images/tess_phototest-rotated-R.png"])
def test_real_pages(step, shared_media, name):
    import json

    truth = next(e for e in json.loads((shared_media / "groundtruth/ocr.json").read_text()) if e["file"] == name)
    picture = np.asarray(Image.open(shared_media / name).convert("RGB"))
    lines = texts_of(run(step, row([picture]))[0])
    assert errors(" ".join(x.text for x in lines), " ".join(truth["text"].split())) < 0.02
