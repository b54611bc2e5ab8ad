"""Streams in the form of VideoLLM-online's loader, and back: frames by the number, questions and answers in between.

Chen et al. 2024; `data/ego4d/livechat.py` and `data/stream.py` of its release. A conversation is a list of

    {"role": "stream", "num_frames": n, "learn": true}   n frames; silence is learned after all but the last, and there
                                                         that it is time to answer
    {"role": "stream", "num_frames": n, "learn": n - 1}  before a question and at the end: the last one teaches nothing
    {"role": "user" | "assistant", "content": ..., "time": ...}

A turn stands behind the first frame at or after its time, questions too, so that nothing is said of what no frame has
shown yet. It is late by at most `bound_s`: the longest gap between frames, 1/fps where a rate is given. In the loader a
question moves to the frame before, an answer that shares its frame with another takes its place, and one at the time of
the answer before is lost; here answers that share a frame are joined, and turns after the last frame are counted.

>>> [m.get("num_frames") for m in _messages([0.0, 0.5, 1.0], [])]
[3]
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby, pairwise
from typing import Any

from reelmill.schemas.errors import BadInput
from reelmill.schemas.sample import Role, StreamSample, Turn

Row = dict[str, Any]
_SLACK_S = 1e-6


def frame_times_s(sample: StreamSample, fps: float | None = None) -> list[float]:
    """The frames that a trainer feeds, in seconds of the clip: the stored ones, or those of a rate, while watched.

    Raises BadInput where there are none."""
    from_s, until_s = sample.watch_from_s, sample.watch_until_s
    grid = [f.at_s for f in sample.frames]
    if fps is not None:
        if not (math.isfinite(fps) and fps > 0):
            raise BadInput(f"fps={fps}", seen="no rate", do="give frames per second, such as 2")
        grid = [i / fps for i in range(math.ceil(until_s * fps))]
    times = [t for t in grid if from_s - _SLACK_S <= t < until_s]
    if not times:
        raise BadInput(f"frames of {sample.key}", seen=f"none in [{from_s}, {until_s}) s", do="give a higher fps")
    return times


def bound_s(times_s: Sequence[float]) -> float:
    """The longest that a turn waits for its frame: from the watch's start or a frame to the next."""
    return max((b - a for a, b in pairwise([0.0, *times_s])), default=0.0)


def live(sample: StreamSample, video: str, fps: float | None = None) -> Row:
    """A row for VideoLLM-online's loader; `video` is what its features are filed under.

    `load_range` is the range of frames (stored ones in order, or of `fps`), `frame_times` their seconds, `bound` the
    most seconds by which a turn is late, `unshown` how many turns come after the last frame and are left out.
    """
    times = frame_times_s(sample, fps)
    placed = [(bisect.bisect_left(times, t - _SLACK_S), t, turn) for t, turn in _timed(sample)]
    shown = [p for p in placed if p[0] < len(times)]
    return {
        "id": sample.key,
        "video": video,
        "load_range": [0, len(times)],
        "frame_times": times,
        "bound": bound_s(times),
        "unshown": len(placed) - len(shown),
        "conversation": _messages(times, shown),
    }


def _timed(sample: StreamSample) -> Iterable[tuple[float, Turn]]:
    if any(b < a for a, b in pairwise(sample.turns_at_s)):
        raise BadInput(
            f"turns of {sample.key}", seen=f"times that fall: {sample.turns_at_s}", do="`verify` the dataset"
        )
    return zip(sample.turns_at_s, sample.turns, strict=True)


def _messages(times: Sequence[float], placed: Sequence[tuple[int, float, Turn]]) -> list[Row]:
    """Turns behind their frames; what is left of the frames comes after the last turn, in silence."""
    out: list[Row] = []
    fed = 0
    for frame, group in groupby(placed, key=lambda p: p[0]):
        said = _joined([(t, turn) for _, t, turn in group], times[frame])
        out.append(_stream(frame + 1 - fed, answered=said[0]["role"] == Role.ASSISTANT))
        fed = frame + 1
        out += said
    return out if fed == len(times) else [*out, _stream(len(times) - fed)]


def _stream(count: int, answered: bool = False) -> Row:
    """Frames. What the loader learns after the last of them is to answer, so it is learned where an answer comes."""
    return {"role": "stream", "num_frames": count, "learn": True if answered else count - 1}


def _joined(said: Sequence[tuple[float, Turn]], frame_s: float) -> list[Row]:
    """Messages behind one frame, answers that follow each other as one."""
    out: list[Row] = []
    for at_s, turn in said:
        if out and turn.role is Role.ASSISTANT and out[-1]["role"] == Role.ASSISTANT:
            out[-1]["content"] += f" {turn.text}"
            continue
        learn = {"learn": True} if turn.role is Role.ASSISTANT else {}
        message = {"role": str(turn.role), "content": turn.text, "time": at_s, "fps_time": frame_s}
        out.append(message | learn)
    return out


def from_live(row: Mapping[str, Any]) -> tuple[tuple[Turn, ...], tuple[float, ...]]:
    """Turns and their times, read off the number of frames before them and not off `time`. Raises BadInput where the
    numbers of frames do not add up to those of the row."""
    turns: list[Turn] = []
    at_s: list[float] = []
    fed = 0
    for message in row["conversation"]:
        if message["role"] == "stream":
            fed += message["num_frames"]
            continue
        if not 0 < fed <= len(row["frame_times"]):
            raise BadInput(f"row {row['id']}", seen=f"a turn after {fed} frames", do="export it again")
        turns.append(Turn(Role(message["role"]), message["content"], (), (), ()))
        at_s.append(row["frame_times"][fed - 1])
    if fed != len(row["frame_times"]):
        raise BadInput(f"row {row['id']}", seen=f"{fed} of {len(row['frame_times'])} frames", do="export it again")
    return tuple(turns), tuple(at_s)
