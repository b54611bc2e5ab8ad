"""MOTChallenge (Leal-Taixé et al. 2015, Milan et al. 2016): things followed through a sequence, a box a line.

    seqinfo.ini   [Sequence] name=MOT17-02, frameRate=30, seqLength=600, imWidth=1920, imHeight=1080
    gt/gt.txt     frame, id, left, top, width, height, considered, class, visible

Frames, ids and box corners count from 1 (motchallenge.net, instructions), so 1 is taken off each corner; boxes may hang
over the edge of the frame, where a person is cut off. A line whose `considered` is 0 is one that the set itself leaves
out of its evaluation: a thing with no other line is refused as `ignored_by_the_set`. One annotation per sequence.
"""

from __future__ import annotations

import configparser
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from reelmill.pipelines.sources.annotated.fields import annotation, corners, number, rate, size_of, taken, tube_of
from reelmill.pipelines.sources.annotated.reading import Refused
from reelmill.pipelines.sources.annotated.release_files import files_of, lines_of
from reelmill.schemas.annotation import Annotation
from reelmill.schemas.errors import BadInput, Unusable
from reelmill.schemas.tube import Box, Tube

SET = "mot"
LICENCE = "CC-BY-NC-SA-3.0"
EXPECTS = "a folder of sequences, or one sequence: seqinfo.ini and gt/gt.txt"
REVISION = "1"
CLASSES = {
    1: "pedestrian",
    2: "person on a vehicle",
    3: "car",
    4: "bicycle",
    5: "motorbike",
    6: "non-motorised vehicle",
    7: "static person",
    8: "distractor",
    9: "occluder",
    10: "occluder on the ground",
    11: "full occluder",
    12: "reflection",
    13: "crowd",
}
"""Classes of MOT16, MOT17 and MOT20. MOT15 writes -1: pedestrians alone."""

Boxes = dict[tuple[str, str], dict[float, Box]]


def read(path: Path) -> Iterator[Annotation | Refused]:
    """Holds the boxes of one sequence. Raises BadInput on a file: a box without its sequence has no time."""
    if path.is_file():
        raise BadInput(f"annotations {str(path)!r}", seen="a file", do=f"give {EXPECTS}")
    for info in files_of(path, "seqinfo.ini"):
        yield from _sequence(info)


def _sequence(info: Path) -> Iterator[Annotation | Refused]:
    bad: list[Refused] = []

    def made() -> Annotation:
        about = _about(info)
        name, fps = about.get("name", info.parent.name), rate(float(about["framerate"]))
        size = size_of(float(about["imwidth"]), float(about["imheight"]))
        tubes = _tubes(name, info.parent / "gt" / "gt.txt", size, fps, bad)
        length_s = int(about["seqlength"]) / fps
        return annotation(SET, name, name, licence=LICENCE, size=size, duration_s=length_s, tubes=tubes)

    yield taken(info.parent.name, made)
    yield from bad


def _about(info: Path) -> dict[str, str]:
    parser = configparser.ConfigParser(interpolation=None)
    try:
        parser.read_string(info.read_text(encoding="utf-8-sig"))
        return dict(parser["Sequence"])
    except (configparser.Error, UnicodeDecodeError, KeyError) as error:
        raise Unusable("malformed", f"{info.name}: {error}"[:200]) from error


def _tubes(name: str, file: Path, size: tuple[int, int], fps: float, bad: list[Refused]) -> list[Tube]:
    boxes: Boxes = defaultdict(dict)
    ignored: dict[tuple[str, str], int] = {}
    for place, line in lines_of(file):
        if line.startswith("#"):
            continue
        try:
            thing, at_s, box = _line(line, fps)
            if box is None:
                ignored[thing] = ignored.get(thing, 0) + 1
            else:
                boxes[thing][at_s] = box
        except Unusable as judgement:
            bad.append(Refused(f"{name}#{place}", judgement.reason, judgement.detail))
    for (one, _), count in ignored.items():
        if not any(one == kept for kept, _ in boxes):
            bad.append(Refused(f"{name}/{one}", "ignored_by_the_set", f"{count} lines, none to be considered"))
    return [tube_of(one, phrase, at, size, 1 / fps) for (one, phrase), at in boxes.items()]


def _line(line: str, fps: float) -> tuple[tuple[str, str], float, Box | None]:
    """A thing (id and phrase), the time of its frame, and its box; None for one that is not to be considered."""
    try:
        fields: list[Any] = [number(float(word), "a field") for word in line.split(",")]
        frame, who, left, top, width, height, considered = fields[:7]
        kind = CLASSES.get(int(fields[7]), "") if len(fields) == 9 else "pedestrian"
    except ValueError as error:
        raise Unusable("malformed", f"{line[:80]!r}: {error}") from error
    if frame < 1:
        raise Unusable("negative_time", f"frame {frame:g}, want 1 and more")
    box = corners(left - 1, top - 1, width, height) if considered else None
    return (f"{who:g}", kind), (frame - 1) / fps, box
