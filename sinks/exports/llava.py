r"""LLaVA's JSON list, as the trainers of LLaVA-1.5, LLaVA-NeXT and LLaVA-Video read it.

After Liu et al. 2023 (arXiv 2304.08485) and the loaders of LLaVA-VL/LLaVA-NeXT (`llava/train/train.py` and
`train_dpo.py`): the placeholder is `<image>` of videos too, one for each picture of a list and one for a whole mp4. The
loader for pairs takes every `<image>` out of the prompt and puts one in front, so that a pair over several frames has
no form there: pack such a view with `--media clip`.

    {"id": ..., "image": "media/3f/3f9a.jpg", "conversations": [{"from": "human", "value": "<image>\nWhere?"}, ...]}
    {"id": ..., "video": "media/5c/5c01.mp4", "prompt": "<image>\nWhat happens?", "chosen": "...", "rejected": "..."}
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from reelmill.schemas.errors import Unusable
from reelmill.schemas.keys import canonical_json
from reelmill.sinks.exports.exporting import USUAL, Dialogue, Held, Layout, Row, dialogue, timed
from reelmill.sinks.exports.wording import Boxes, Times, Words

SPEAKERS = ("human", "gpt")
MARK = "<image>"


@dataclass(frozen=True)
class Llava:
    """Conversations, and of pairs prompt, chosen and rejected as texts."""

    times: Times = Times.SECONDS
    boxes: Boxes = Boxes.UNIT
    name: ClassVar[str] = "llava"
    conventions: ClassVar[tuple[Boxes, ...]] = (Boxes.UNIT, Boxes.SQUARE, Boxes.THOUSAND, Boxes.PIXELS)
    loads: ClassVar[str] = "--data_path FOLDER/FILE --image_folder FOLDER --video_folder FOLDER"
    lacks: ClassVar[tuple[str, ...]] = ("evidence", "label_confidence", "method", "provenance")
    embeds_media: ClassVar[bool] = False
    layout: ClassVar[Layout] = USUAL

    def row(self, held: Held, words: Words) -> Row:
        names = [f.name for f in held.files]
        said = dialogue(held, words, MARK * len(names) + "\n" + timed(held, self.times))
        image = names if len(names) > 1 else names[0]
        row: Row = {"id": held.sample.key, "video" if held.video else "image": image}
        if said.rejected is not None:
            return row | _pair(held, said, said.rejected)
        return row | {"conversations": [{"from": SPEAKERS[i % 2], "value": t} for i, t in enumerate(said.texts)]}

    def write(self, rows: Iterable[Row], folder: Path, split: str) -> str:
        """A JSON list, a row a line: older loaders read no JSONL."""
        with (folder / f"{split}.json").open("w", encoding="utf-8", newline="\n") as stream:
            for i, row in enumerate(rows):
                stream.write(("[\n" if i == 0 else ",\n") + canonical_json(row))
            stream.write("\n]\n")
        return f"{split}.json"


def _pair(held: Held, said: Dialogue, rejected: str) -> Row:
    """`answer` is the chosen text once more: the loader adds up its words where it groups by length."""
    if len(held.files) > 1:
        raise Unusable("pair_over_several_frames", f"{held.sample.key}: {len(held.files)} frames and one placeholder")
    if len(said.texts) != 2:
        seen = f"{held.sample.key}: a prompt is one text, seen {len(said.texts) - 1}"
        raise Unusable("pair_after_several_turns", seen)
    prompt, chosen = said.texts
    return {"prompt": prompt, "chosen": chosen, "rejected": rejected, "answer": chosen}
