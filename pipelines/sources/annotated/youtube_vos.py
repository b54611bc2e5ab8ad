"""YouTube-VOS (Xu et al. 2018) and Refer-YouTube-VOS (Seo et al. 2020): things by their masks, sentences about them.

    meta.json               {"videos": {VIDEO: {"objects": {"1": {"category": "giraffe", "frames": ["00000", ...]}}}}}
    meta_expressions.json   {"videos": {VIDEO: {"expressions": {"0": {"exp": "a giraffe ...", "obj_id": "1"}}}}}
    Annotations/VIDEO/00005.png   a palette picture: the colour number is the thing's id, 0 is the ground

A frame's name is its number in a video of 30 frames a second, of which every fifth has a mask (Refer-YouTube-VOS,
dataset page), so 00005 is at 5/30 s. A mask becomes the smallest box around it; a frame in which a thing has no pixel
has no box. An expression is a sentence about the whole clip. One annotation per video.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from reelmill.pipelines.sources.annotated.fields import annotation, each_stated, sentence, taken, tube_of
from reelmill.pipelines.sources.annotated.reading import Refused
from reelmill.pipelines.sources.annotated.release_files import files_of, json_of
from reelmill.schemas.annotation import Annotation, Stated
from reelmill.schemas.errors import BadInput, Unusable
from reelmill.schemas.tube import Box, Tube

SET = "youtube_vos"
LICENCE = "CC-BY-4.0"
EXPECTS = "a split's folder: meta.json or meta_expressions.json (or both), and Annotations/VIDEO/*.png"
REVISION = "1"
FPS = 30.0
EVERY = 5

Size = tuple[int, int]


def read(path: Path) -> Iterator[Annotation | Refused]:
    """Holds the two lists and the boxes of one video; masks are read one at a time. Raises BadInput on a file."""
    if path.is_file():
        raise BadInput(f"annotations {str(path)!r}", seen="a file", do=f"give {EXPECTS}")
    things: dict[str, Any] = defaultdict(dict)
    spoken: dict[str, Any] = defaultdict(dict)
    folders = {f.name: f for top in path.rglob("Annotations") for f in sorted(top.iterdir()) if f.is_dir()}
    for file in files_of(path, "meta*.json"):
        for video, row in json_of(file, dict).get("videos", {}).items():
            things[video] |= row.get("objects", {})
            spoken[video] |= row.get("expressions", {})
    for video in sorted(things.keys() | spoken.keys()):
        yield from _video(video, things[video], spoken[video], folders.get(video))


def _video(video: str, things: Any, spoken: Any, folder: Path | None) -> Iterator[Annotation | Refused]:
    bad: list[Refused] = []

    def made() -> Annotation:
        boxes, size = _boxes(video, folder, bad)
        tubes = _tubes(video, things, boxes, size, bad)
        kept = {tube.tube_id for tube in tubes}
        good, unsaid = each_stated(video, spoken.values(), lambda row: _stated(row, kept))
        bad.extend(unsaid)
        return annotation(SET, video, video, licence=LICENCE, size=size or (None, None), stated=good, tubes=tubes)

    yield taken(video, made)
    yield from bad


def _stated(row: Any, kept: set[str]) -> Stated:
    thing = str(row.get("obj_id", ""))
    return Stated(sentence(row["exp"]), None, thing if thing in kept else "")


def _tubes(video: str, things: Any, boxes: Any, size: Size | None, bad: list[Refused]) -> list[Tube]:
    """A tube for each thing that the lists or the masks know; one whose masks are all empty is refused."""
    tubes = []
    for thing in sorted({*things, *boxes}, key=lambda t: (len(t), t)):
        if size is None:
            bad.append(Refused(f"{video}/{thing}", "no_mask", "no readable mask of the video is there"))
        elif not boxes.get(thing):
            bad.append(Refused(f"{video}/{thing}", "empty_mask", f"no pixel of thing {thing} in any frame"))
        else:
            name = str(things.get(thing, {}).get("category", ""))
            tubes.append(tube_of(thing, name, boxes[thing], size, EVERY / FPS))
    return tubes


def _boxes(video: str, folder: Path | None, bad: list[Refused]) -> tuple[dict[str, dict[float, Box]], Size | None]:
    """Of every thing, the box of its mask by time; and the size of the frames. Masks of two sizes are refused."""
    found: dict[str, dict[float, Box]] = defaultdict(dict)
    size: Size | None = None
    for file in sorted(folder.glob("*.png")) if folder else ():
        try:
            mask = _mask(file)
            seen = (mask.shape[1], mask.shape[0])
            size = size or seen
            if seen != size:
                raise Unusable("size_changes", f"{seen[0]} x {seen[1]} px, others {size[0]} x {size[1]}")
            for thing, box in mask_boxes(mask).items():
                found[thing][int(file.stem) / FPS] = box
        except Unusable as judgement:
            bad.append(Refused(f"{video}/{file.name}", judgement.reason, judgement.detail))
    return found, size


def _mask(file: Path) -> Any:
    """The colour numbers of a palette picture, uint8 [height, width]. Raises Unusable: malformed, not_a_palette."""
    from PIL import Image

    try:
        with Image.open(file) as picture:
            if picture.mode not in ("P", "L"):
                raise Unusable("not_a_palette", f"{file.name} is a picture of mode {picture.mode}")
            if not (file.stem.isascii() and file.stem.isdecimal()):
                raise Unusable("malformed", f"{file.name} is not named by the number of its frame")
            return np.array(picture)
    except (OSError, ValueError, SyntaxError) as error:
        raise Unusable("malformed", f"{file.name}: {error}"[:200]) from error


def mask_boxes(mask: Any) -> dict[str, Box]:
    """The smallest box around each number but 0 of a mask [height, width]; the far corners are exclusive.

    >>> mask_boxes(np.array([[0, 0, 0], [0, 2, 2]]))
    {'2': Box(x0_px=1.0, y0_px=1.0, x1_px=3.0, y1_px=2.0)}
    """
    found = {}
    for thing in np.unique(mask[mask > 0]).tolist():
        rows, columns = np.nonzero(mask == thing)
        corners = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
        found[str(thing)] = Box(*(float(c) for c in corners))
    return found
