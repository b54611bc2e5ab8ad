"""Subtitles in WebVTT (W3C): one annotation per file, a sentence per cue, in seconds of the medium.

    WEBVTT

    intro
    00:00:01.000 --> 00:00:03.500 align:start
    <v Ann>Hello there.

What a cue states is spoken, not seen. Voice and style tags are taken out, entities are read; NOTE, STYLE and REGION
blocks are no cues. The medium is the one with the file's own name (`talk.en.vtt` is of `talk`).
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from pathlib import Path

from reelmill.pipelines.sources.annotated.fields import annotation, each_stated, sentence, span_of
from reelmill.pipelines.sources.annotated.reading import Refused
from reelmill.pipelines.sources.annotated.release_files import files_of
from reelmill.schemas.annotation import Annotation, Stated
from reelmill.schemas.errors import Unusable

SET = "webvtt"
LICENCE = ""
EXPECTS = "a .vtt file, or a folder with them"
REVISION = "1"
SPOKEN = True

_TIME = re.compile(r"(?:(\d{2,}):)?([0-5]\d):([0-5]\d)[.,](\d{3})")
_TAG = re.compile(r"<[^<>]*>")
_LANGUAGE = re.compile(r"\.[a-z]{2,3}(?:-[A-Za-z0-9]+)?$")
_NO_CUE = re.compile(r"(?:NOTE|STYLE|REGION)(?:\s|$)")

Cue = list[str]


def read(path: Path) -> Iterator[Annotation | Refused]:
    """Holds one file's cues."""
    for file in files_of(path, "*.vtt"):
        lines = file.read_text(encoding="utf-8-sig", errors="replace").splitlines()
        if not lines or not lines[0].startswith("WEBVTT"):
            yield Refused(name_of(file, path), "not_webvtt", f"the first line is {(lines or [''])[0][:60]!r}")
        else:
            blocks = [b for b in blocks_of(lines)[1:] if not _NO_CUE.match(b[0])]
            yield from spoken(SET, name_of(file, path), blocks)


def blocks_of(lines: list[str]) -> list[Cue]:
    """Runs of lines between empty ones."""
    blocks: list[Cue] = [[]]
    for line in lines:
        if line.strip():
            blocks[-1].append(line.strip())
        elif blocks[-1]:
            blocks.append([])
    return [b for b in blocks if b]


def name_of(file: Path, path: Path) -> str:
    """A file's own path below the folder that was named, without its suffix: two folders may each have a talk.vtt."""
    return (file.relative_to(path) if path.is_dir() else Path(file.name)).with_suffix("").as_posix()


def spoken(source_set: str, name: str, blocks: list[Cue]) -> Iterator[Annotation | Refused]:
    """All cues of a file, as WebVTT and SubRip share them: perhaps a name, a line of times, the text."""
    good, bad = each_stated(name, blocks, _cue)
    if good:
        yield annotation(source_set, name, _LANGUAGE.sub("", name), stated=good)
    elif not bad:
        yield Refused(name, "no_cue", "the file has no cue")
    yield from bad


def _cue(block: Cue) -> Stated:
    at = next((n for n, line in enumerate(block[:2]) if "-->" in line), None)
    if at is None:
        raise Unusable("malformed", f"no line of times in {block[0][:60]!r}")
    start, _, end = block[at].partition("-->")
    text = html.unescape(_TAG.sub("", " ".join(block[at + 1 :])))
    return Stated(sentence(text), span_of(seconds(start), seconds(end)), "")


def seconds(text: str) -> float:
    """A time of a cue; settings may follow it. Raises Unusable("malformed").

    >>> seconds("00:01:02.500 align:start"), seconds("02:03,250")
    (62.5, 123.25)
    """
    found = _TIME.match(text.strip())
    if found is None:
        raise Unusable("malformed", f"{text.strip()[:40]!r} is no time")
    hours, minutes, whole, milli = (int(part or 0) for part in found.groups())
    return hours * 3600 + minutes * 60 + whole + milli / 1000
