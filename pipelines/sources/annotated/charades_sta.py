"""Charades-STA (Gao et al. 2017): one sentence and its time a line, `VIDEO START END##SENTENCE`, in seconds.

    AO8RW 0.0 6.9##a person is putting a book on a shelf.

Ends may lie beyond the end of the video (gsig/charades-algorithms, issue 5). Where a `Charades_v1_*.csv` with the
columns `id` and `length` lies in the folder, the length is known and the end is set to it; else the end stays as it is,
and validation says that the length was not there to check it by. A line has no id of its own: it is VIDEO:LINE.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path

from reelmill.pipelines.sources.annotated.fields import annotation, sentence, span_of, taken
from reelmill.pipelines.sources.annotated.reading import Refused
from reelmill.pipelines.sources.annotated.release_files import files_of, lines_of, split_of
from reelmill.schemas.annotation import Annotation, Stated
from reelmill.schemas.errors import BadInput, Unusable

SET = "charades_sta"
LICENCE = ""
EXPECTS = "charades_sta_train.txt or charades_sta_test.txt, or a folder with them and Charades_v1_*.csv"
REVISION = "1"


def read(path: Path) -> Iterator[Annotation | Refused]:
    """Streams the sentences; the lengths of a folder (about 10,000 numbers) are held."""
    lengths_s = _lengths(path)
    for file in files_of(path, "*sta*.txt"):
        for place, line in lines_of(file):
            video = line.split(" ", 1)[0]
            yield taken(f"{video}:{place}", partial(_line, line, place, split_of(file.stem), lengths_s))


def _line(line: str, place: int, split: str, lengths_s: Mapping[str, float]) -> Annotation:
    head, mark, text = line.partition("##")
    words = head.split()
    if not mark or len(words) != 3:
        raise Unusable("malformed", f"line {place} is {line[:80]!r}, want VIDEO START END##SENTENCE")
    video, start, end = words
    start_s, end_s, length_s = float(start), float(end), lengths_s.get(video)
    if length_s is not None and start_s < length_s:
        end_s = min(end_s, length_s)
    stated = Stated(sentence(text), span_of(start_s, end_s), "")
    return annotation(SET, f"{video}:{place}", video, split=split, duration_s=length_s, stated=(stated,))


def _lengths(path: Path) -> dict[str, float]:
    """Seconds of each video, from the tables that lie in the folder."""
    found: dict[str, float] = {}
    for file in sorted(path.rglob("Charades_v1_*.csv")) if path.is_dir() else ():
        with file.open(encoding="utf-8-sig", newline="") as stream:
            for row in csv.DictReader(stream):
                try:
                    found[row["id"]] = float(row["length"])
                except (KeyError, TypeError, ValueError) as error:
                    seen = f"{type(error).__name__}: {error}"
                    raise BadInput(f"table {str(file)!r}", seen=seen, do="give the columns id and length") from error
    return found
