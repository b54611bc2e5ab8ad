"""Real pictures and slides of the media folder: words found, and the times of texts, against their truth."""

from __future__ import annotations

import json
import unicodedata
from collections import Counter

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from reelmill.annotators.cutting.shown import jpeg
from reelmill.annotators.text import TEXTS, TRACKS, ReadText
from reelmill.schemas import arrow
from reelmill.schemas.column import schema
from reelmill.schemas.media import Kind, MediaRef, ShownFrame
from reelmill.schemas.script import script_of

ENTRIES = ("tess_phototest.tif", "eocr_chinese.jpg", "eocr_japanese.jpg", "pocr_ger_1.jpg", "mmocr_1058891.jpg")
EVERY_S = 0.5


@pytest.fixture(scope="module")
def step():
    ready = ReadText()
    ready.setup()
    return ready


def answer(step, pictures, kind, end_s=0.0):
    jpegs = [jpeg(p, 92) for p in pictures]
    frames = [ShownFrame(5 * i, EVERY_S * i, p.shape[1], p.shape[0], "", 0, 1) for i, p in enumerate(pictures)]
    height, width = pictures[0].shape[:2]
    media = MediaRef("file:///v", "d", kind, width, height, end_s, None, "")
    row = {"key": "k" * 26, "media": arrow.plain(media), "frames": arrow.plain(tuple(frames)), "jpegs": jpegs}
    (found,) = step(pa.Table.from_pylist([row], schema=schema(*step.needs))).to_pylist()
    assert found["fault"] is None, found["fault"]
    return found


def words(text):
    """Words by white space, and by letter where the script sets none."""
    plain = "".join(c if c.isalnum() or c.isspace() else "" for c in unicodedata.normalize("NFKC", text).casefold())
    apart = "".join(f" {c} " if script_of(c) in ("Hani", "Jpan") else c for c in plain)
    return Counter(apart.split())


@pytest.mark.parametrize("name", ENTRIES)
def test_words_of_real_pictures_are_found(step, shared_media, name):
    entries = json.loads((shared_media / "groundtruth" / "ocr.json").read_text())
    true = words(next(e["text"] for e in entries if e["file"].endswith(name)))
    picture = np.asarray(Image.open(shared_media / "images" / name).convert("RGB"))
    lines = arrow.typed(TEXTS.hint, answer(step, [picture], Kind.IMAGE)["texts"])
    seen = words(" ".join(line.text for line in lines))
    assert (true & seen).total() >= 0.95 * true.total(), dict(true - seen)


def test_texts_of_real_slides_last_as_long_as_their_slide(step, shared_media):
    import av

    slides = json.loads((shared_media / "groundtruth" / "comp_slides_dev.json").read_text())
    with av.open(str(shared_media / slides["file"])) as film:
        pictures = [f.to_ndarray(format="rgb24") for i, f in enumerate(film.decode(video=0)) if i % 5 == 0]
    found = answer(step, pictures, Kind.VIDEO, 12.0)
    assert len(found["text_frames"]) == 3
    tracks = arrow.typed(TRACKS.hint, found["text_tracks"])
    for slide in slides["slides"]:
        for text in (slide["title"], *slide["lines"]):
            (track,) = [t for t in tracks if words(t.text) == words(text)]
            assert abs(track.span.start_s - slide["start"]) <= EVERY_S
            assert abs(track.span.end_s - slide["end"]) <= EVERY_S
