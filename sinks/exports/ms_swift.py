r"""ms-swift's JSONL: `messages` with `images` or `videos`, boxes in `objects`, the worse answer in `rejected_response`.

After the custom dataset page and the loader of modelscope/ms-swift 4.6. Boxes of pictures are absolute pixels, since
its templates convert them to what a model wants; those of videos are words, since it converts them for pictures alone.

A video of a `frames` pack is a frame list where its frames are half a second apart from the clip's start: for a list
ms-swift supposes 2 frames a second (`FPS`), and Qwen2.5-VL and later are told the times that follow. Frames at other
times go as pictures, with a line that says when they are.

    {"id": ..., "images": ["media/3f/3f9a.jpg"], "messages": [{"role": "user", "content": "<image>\nWhere is the dog?"},
     {"role": "assistant", "content": "<bbox>"}], "objects": {"bbox": [[10.0, 20.0, 30.0, 40.0]], ...}}
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from reelmill.schemas.tube import Box
from reelmill.sinks.exports.exporting import USUAL, Held, Layout, Row, dialogue, messages, timed, write_jsonl
from reelmill.sinks.exports.wording import Boxes, Times, Words

STEP_S = 0.5
"""Seconds between the frames of a list, as ms-swift supposes by default (`FPS` of qwen_vl_utils is 2)."""
SLACK_S = 0.04
"""How far a frame may be from its place: one frame of a film of 25 a second, which is how near a step can be met."""


@dataclass(frozen=True)
class MsSwift:
    """SFT rows, and DPO rows of pairs (`swift sft`, `swift rlhf --rlhf_type dpo`)."""

    times: Times = Times.SECONDS
    boxes: Boxes = Boxes.OBJECTS
    name: ClassVar[str] = "ms_swift"
    conventions: ClassVar[tuple[Boxes, ...]] = (Boxes.OBJECTS, Boxes.THOUSAND, Boxes.PIXELS, Boxes.UNIT)
    loads: ClassVar[str] = "from inside this folder: swift sft --dataset FILE (of pairs: swift rlhf --rlhf_type dpo)"
    lacks: ClassVar[tuple[str, ...]] = ("evidence", "label_confidence", "method", "provenance")
    embeds_media: ClassVar[bool] = False
    layout: ClassVar[Layout] = USUAL

    def row(self, held: Held, words: Words) -> Row:
        media, lead = self._media(held)
        said = dialogue(held, words, lead)
        row: Row = {"id": held.sample.key, "messages": messages(said.texts), **media}
        if said.boxes:
            row["objects"] = _objects(said.boxes)
        if said.rejected is not None:
            row["rejected_response"] = said.rejected
            if said.rejected_boxes:
                row["rejected_objects"] = _objects(said.rejected_boxes)
        return row

    def _media(self, held: Held) -> tuple[Row, str]:
        """The columns of the media, and what stands before the first question."""
        names = [f.name for f in held.files]
        if held.video:
            return {"videos": names}, "<video>\n"
        if held.moving and even([f.at_s for f in held.sample.frames]):
            return {"videos": [names]}, "<video>\n"
        return {"images": names}, "<image>" * len(names) + "\n" + timed(held, self.times)

    def write(self, rows: Iterable[Row], folder: Path, split: str) -> str:
        write_jsonl(rows, folder / f"{split}.jsonl")
        return f"{split}.jsonl"


def even(at_s: Sequence[float]) -> bool:
    """True of two frames or more that stand where a list of 2 a second puts them.

    >>> even([0.0, 0.48, 1.0]), even([0.0, 1.0]), even([0.0])
    (True, False, False)
    """
    return len(at_s) > 1 and all(abs(t - i * STEP_S) <= SLACK_S for i, t in enumerate(at_s))


def _objects(boxes: Sequence[Box]) -> dict[str, Any]:
    """Boxes as `objects`: x0, y0, x1, y1 in pixels of the first (the only) picture."""
    placed = [[round(v, 2) for v in (b.x0_px, b.y0_px, b.x1_px, b.y1_px)] for b in boxes]
    return {"ref": [], "bbox": placed, "bbox_type": "real", "image_id": [0] * len(boxes)}
