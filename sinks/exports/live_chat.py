"""VideoLLM-online's own training files: what stands on disk before its loader reads it.

Chen et al. 2024; `data/livechat/` writes the layout, `data/ego4d/livechat.py` and `ego4d.py` of the release read it:

    FOLDER/annotations/livechat_train.json   [{"video_uid": ..., "duration": ..., "conversation": [
                                                {"role": "user" | "assistant", "content": ..., "time": seconds}, ...]}]
    FOLDER/full_scale/VIDEO_UID.mp4          videos side by side, which its scripts bring to 2 frames a second, encode
                                             to features and list with their durations (`..._metadata.json`)

The loader puts times on the grid of its frames, questions down and answers up, and loses turns without a word where two
of them meet: a question at the time of the turn before ends the dialogue, an answer there takes the place of the one
before, and an answer on the frame of the turn before is dropped. So all times are written on the grid already, each at
the first frame at or after its own; answers that share a frame are joined; and a question that shares its frame with
the turn before comes a thousandth of a frame after it. Nothing is early, and late by less than a frame.

What the layout has no room for: silence after the last turn (the loader stops there, so a stream of silence alone is
left out), when watching begins (it draws up to 20 frames of its own), and what no frame shows any more.

>>> placed([(0.2, Role.USER, "When?"), (0.6, Role.ASSISTANT, "It moves."), (0.9, Role.ASSISTANT, "It rests.")], 4)[0][1]
{'role': 'assistant', 'content': 'It moves. It rests.', 'time': 1.0}
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import ClassVar

from reelmill.schemas.errors import BadInput, Unusable
from reelmill.schemas.keys import canonical_json
from reelmill.schemas.sample import Role
from reelmill.sinks.exports.exporting import Held, Layout, Row
from reelmill.sinks.exports.wording import Boxes, Times, Words
from reelmill.sinks.publishing.packed import PackedStream

FPS = 2
"""Frames a second of the release's features. A power of two, so that every time of the grid is exact."""
_AFTER_S = 0.001 / FPS
_SLACK_S = 1e-6
_VIDEOS = "full_scale"

Line = tuple[float, Role, str]
"""When a turn is due in seconds of the clip, who speaks, and what is said."""


@dataclass(frozen=True)
class LiveChat:
    """Streams that were packed as mp4. Times are numbers beside the texts, and there are no boxes."""

    times: Times = Times.SECONDS
    boxes: Boxes = Boxes.PIXELS
    name: ClassVar[str] = "live_chat"
    conventions: ClassVar[tuple[Boxes, ...]] = (Boxes.PIXELS,)
    loads: ClassVar[str] = (
        "FOLDER as datasets/ego4d/v2, `anno_path` of the loader set to annotations/livechat_SPLIT.json"
    )
    lacks: ClassVar[tuple[str, ...]] = ("evidence", "label_confidence", "method", "provenance", "turns_at_s")
    embeds_media: ClassVar[bool] = False
    layout: ClassVar[Layout] = Layout(
        plays=True,
        media=_VIDEOS,
        time_bound=f"seconds of the clip, at the first of {FPS} frames a second at or after the exact time: never "
        f"early, late by less than 1/{FPS} s",
    )

    def row(self, held: Held, words: Words) -> Row:
        """One dialogue. Raises Unusable where the loader could learn nothing of it."""
        sample = held.sample
        assert isinstance(sample, PackedStream), "the layout plays"
        if not held.video:
            raise Unusable("no_video_file", f"{sample.key} is packed as frames: `pack --media clip`")
        turns = zip(sample.turns_at_s, sample.turns, strict=True)
        lines = [(at_s, turn.role, turn.text) for at_s, turn in turns]
        said, unshown = placed(lines, frames_of(held.duration_s))
        if not any(m["role"] == "assistant" for m in said):
            raise Unusable("nothing_is_said", f"{sample.key}: the loader learns of silence only before an answer")
        words.unsaid["turns_after_the_last_frame"] += unshown
        uid = Path(held.files[0].name).stem
        return {"video_uid": uid, "duration": said[-1]["time"] - said[0]["time"], "conversation": said}

    def write(self, rows: Iterable[Row], folder: Path, split: str) -> str:
        """A JSON list, as the loader reads it whole."""
        path = folder / "annotations" / f"livechat_{split}.json"
        path.parent.mkdir()
        with path.open("w", encoding="utf-8", newline="\n") as stream:
            for i, row in enumerate(rows):
                stream.write(("[\n" if i == 0 else ",\n") + canonical_json(row))
            stream.write("\n]\n")
        return path.relative_to(folder).as_posix()


def frames_of(duration_s: float) -> int:
    """How many frames a clip surely has on the grid: ffmpeg, which the release samples with, gives as many or more."""
    return math.floor(duration_s * FPS + 0.5 - _SLACK_S)


def _frame(at_s: float) -> int:
    return math.ceil((at_s - _SLACK_S) * FPS)


def placed(lines: Sequence[Line], frames: int) -> tuple[list[Row], int]:
    """Turns as messages on the grid of `frames` frames, and how many are left out: from the first that no frame shows.

    Raises Unusable where no question comes first, BadInput where times fall.
    """
    if any(later < at_s for (at_s, _, _), (later, _, _) in pairwise(lines)):
        seen = f"times that fall: {[t for t, _, _ in lines]}"
        raise BadInput("turns of a stream", seen=seen, do="`verify` the dataset")
    if not lines or lines[0][1] is not Role.USER:
        raise Unusable("no_question_first", "the loader begins with a question")
    said: list[Row] = []
    fed = -1
    for number, (at_s, role, text) in enumerate(lines):
        frame = _frame(at_s)
        before = said[-1] if said and fed == frame else None
        time_s = _time_s(frame, before, role)
        if time_s > (frames - 1) / FPS:
            return said, len(lines) - number
        if before and (before["role"], role) == ("assistant", Role.ASSISTANT):
            before["content"] += f" {text}"
        else:
            said.append({"role": str(role), "content": text, "time": time_s})
            fed = frame
    return said, 0


def _time_s(frame: int, before: Row | None, role: Role) -> float:
    """An answer has the time of a question on its frame; a question comes after all that is on it, and after 0."""
    if before is not None:
        return float(before["time"]) + (_AFTER_S if role is Role.USER else 0.0)
    return frame / FPS or _AFTER_S


# ---- the way back ----------------------------------------------------------------------------------------------------


def from_live_chat(row: Mapping[str, object], frames: int) -> list[Line]:
    """The turns of a row and the times of the frames that the released loader puts them behind, by its rules.

    Raises BadInput where that loader would leave out, replace or break off anything, or the row is of another form.
    """
    messages = row["conversation"]
    if not isinstance(row.get("video_uid"), str) or not isinstance(messages, list) or not messages:
        raise BadInput("a row of livechat", seen=f"{sorted(row)}", do="give video_uid and a conversation")
    read: list[Line] = []
    before_s = -1.0
    for message in messages:
        role, text, time_s = Role(message["role"]), message["content"], message["time"]
        lost = _lost(read, before_s, role, text, time_s, (frames - 1) / FPS)
        if lost:
            raise BadInput(f"livechat of {row['video_uid']} at {time_s} s", seen=lost, do="export it again")
        shared = bool(read) and time_s == before_s
        shown_s = read[-1][0] if shared else _on_grid(role, time_s, read)
        read.append((shown_s, role, text))
        before_s = time_s
    return read


def _on_grid(role: Role, time_s: float, read: Sequence[Line]) -> float:
    """Questions down, answers up, and never before the turn before."""
    frame = math.floor(time_s * FPS) if role is Role.USER else math.ceil(time_s * FPS)
    return max(frame / FPS, read[-1][0] if read else 0.0)


def _lost(read: Sequence[Line], before_s: float, role: Role, text: str, time_s: float, until_s: float) -> str:
    """What the released loader would do to a turn instead of taking it, "" where it takes it."""
    if not text:
        return "an empty text"
    if not read:
        return (
            "" if role is Role.USER and 0 < time_s <= until_s else f"a dialogue that begins with {role} at {time_s} s"
        )
    if time_s > until_s or time_s < before_s:
        return f"the dialogue breaks off: after {before_s} s, and frames end at {until_s} s"
    if time_s == before_s:
        return "" if (read[-1][1], role) == (Role.USER, Role.ASSISTANT) else f"{role} at the time of the turn before"
    if role is Role.ASSISTANT and _on_grid(role, time_s, read) == read[-1][0]:
        return "an answer on the frame of the turn before"
    return ""
