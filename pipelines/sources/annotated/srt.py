"""Subtitles in SubRip: one annotation per file, a sentence per cue, in seconds of the medium.

    1
    00:00:01,000 --> 00:00:03,500
    Hello <i>there</i>.

The cues are read as those of WebVTT are; what they state is spoken, not seen.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from reelmill.pipelines.sources.annotated.reading import Refused
from reelmill.pipelines.sources.annotated.release_files import files_of
from reelmill.pipelines.sources.annotated.webvtt import blocks_of, name_of, spoken
from reelmill.schemas.annotation import Annotation

SET = "srt"
LICENCE = ""
EXPECTS = "an .srt file in UTF-8, or a folder with them"
REVISION = "1"
SPOKEN = True


def read(path: Path) -> Iterator[Annotation | Refused]:
    """Holds one file's cues. A file that is not UTF-8 is refused: to guess at letters would be to make some up."""
    for file in files_of(path, "*.srt"):
        try:
            text = file.read_text(encoding="utf-8-sig")
        except UnicodeDecodeError as error:
            yield Refused(name_of(file, path), "not_utf8", str(error))
            continue
        yield from spoken(SET, name_of(file, path), blocks_of(text.splitlines()))
