"""The second engine: its table, its absence, and (where the program is installed) what it reads."""

from __future__ import annotations

import shutil
import stat

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from reelmill.annotators.ocr.tesseract import TesseractLines, lines_of
from reelmill.annotators.text import ReadText
from reelmill.schemas.errors import BadInput, EngineDown, NotFound

HEADER = "level\tpage_num\tblock_num\tpar_num\tline_num\tword_num\tleft\ttop\twidth\theight\tconf\ttext"
installed = pytest.mark.skipif(shutil.which("tesseract") is None, reason="the program tesseract is not installed")


def page(quarters=0):
    image = Image.new("RGB", (760, 460), "white")
    draw, font = ImageDraw.Draw(image), ImageFont.load_default(30)
    for i in range(7):
        draw.text((40, 30 + 56 * i), f"The quick brown dog jumped over fence {i + 2}", fill="black", font=font)
    return np.ascontiguousarray(np.rot90(np.asarray(image)[..., ::-1], quarters))


def program(folder, body):
    """A program named tesseract that lists one language and else does as told."""
    path = folder / "tesseract"
    path.write_text(
        "#!/bin/sh\n"
        'case "$1" in --list-langs) echo List; echo eng; exit 0;; --version) echo tesseract 9; exit 0;; esac\n' + body
    )
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


def test_the_table_becomes_lines_of_words():
    rows = [
        "4\t1\t1\t1\t1\t0\t10\t10\t90\t20\t-1\t",
        "5\t1\t1\t1\t1\t1\t10\t10\t40\t20\t96.0\tEXIT",
        "5\t1\t1\t1\t1\t2\t60\t12\t40\t18\t48.0\t4",
        "5\t1\t1\t1\t1\t3\t60\t12\t40\t18\t95.0\t ",
        "5\t1\t1\t1\t2\t1\t10\t40\t40\t20\t-1\tNO",
    ]
    first, second = lines_of("\n".join([HEADER, *rows]))
    assert (first.text, second.text) == ("EXIT 4", "NO")
    assert first.confidence == pytest.approx((4 * 0.96 + 0.48) / 5)
    assert first.quad.tolist() == [[10, 10], [100, 10], [100, 30], [10, 30]]
    assert first.words[1].quad.tolist() == [[60, 12], [100, 12], [100, 30], [60, 30]]
    assert second.confidence == 0.0
    assert lines_of(HEADER) == []


def test_its_absence_is_one_line_with_what_to_do(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(NotFound, match="apt-get install tesseract-ocr") as missing:
        ReadText(engine="tesseract").setup()
    assert missing.value.exit_code == 2
    assert "\n" not in str(missing.value)


def test_a_missing_language_is_named(monkeypatch, tmp_path):
    program(tmp_path, "exit 0\n")
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    with pytest.raises(NotFound, match="tesseract-ocr-chi-sim") as missing:
        TesseractLines("eng+chi_sim")
    assert missing.value.seen == "eng"


@pytest.mark.parametrize("languages", ["", "eng deu", "-c x=1", "../eng", "eng+"])
def test_a_language_is_a_name_and_never_an_option(languages):
    with pytest.raises(BadInput, match="eng\\+deu"):
        TesseractLines(languages)


def test_a_program_that_fails_says_why(monkeypatch, tmp_path):
    program(tmp_path, "cat > /dev/null; echo out of memory >&2; exit 3\n")
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    with pytest.raises(EngineDown, match="out of memory"):
        TesseractLines().lines(page())


def test_a_program_that_hangs_is_ended(monkeypatch, tmp_path):
    program(tmp_path, "exec sleep 60\n")
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setattr("reelmill.annotators.ocr.tesseract._TIMEOUT_S", 0.3)
    with pytest.raises(EngineDown, match="no answer"):
        TesseractLines().lines(page())


@installed
@pytest.mark.parametrize("quarters", [0, 1, 2, 3])
def test_a_page_is_read_whichever_way_it_lies(quarters):
    lines = TesseractLines().lines(page(quarters))
    assert [line.text for line in lines] == [f"The quick brown dog jumped over fence {i + 2}" for i in range(7)]
    along = lines[0].quad[1] - lines[0].quad[0]
    angle = -np.radians(90 * quarters)
    assert along / np.linalg.norm(along) == pytest.approx([np.cos(angle), np.sin(angle)], abs=0.05)
    height, width = page(quarters).shape[:2]
    for word in lines[0].words:
        assert ((word.quad >= 0) & (word.quad <= [width, height])).all()


@installed
def test_nothing_to_read_is_no_line():
    assert TesseractLines().lines(np.full((120, 160, 3), 200, np.uint8)) == []


@installed
def test_the_name_tells_version_and_languages():
    name = TesseractLines("eng").name
    assert name.startswith("tesseract ")
    assert name.endswith(", eng")
