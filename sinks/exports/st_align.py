"""Samples in the two layouts that LLaVA-ST reads, and back: pure conversions, each with a bound on what it loses.

    raw       the benchmark's: placeholders in the text, frame numbers and x, y, w, h pixels in `meta`
    training  generic markers in the text, and six lists of numbers in [0, 1] in order of appearance

Canonical is the sample itself: seconds, half-open, and pixels of the medium as shown. `raw` rounds a time to a frame
(at most half of one), `training` loses nothing, and who answers in 100 tokens is off by at most 1/198 of the clip, the
width and the height (`tokened`). Layouts: inference/src/datasets.py and utils.py of appletea233/LLaVA-ST. Of ELC both
have instants, not intervals: the start in the question and the end in the answer.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from reelmill.schemas.errors import BadInput
from reelmill.schemas.media import MediaRef
from reelmill.schemas.metrics.answers import token_of
from reelmill.schemas.sample import GroundedSample, Role, Tubelet, Turn
from reelmill.schemas.span import Span
from reelmill.schemas.tube import Box
from reelmill.sinks.exports.conventions import Boxes, clip_s, in_pixels, normalised
from reelmill.sinks.exports.frame_clock import FrameClock

STAGES = {
    **dict.fromkeys(("vc", "ic", "vqa_open", "vqa_attribute", "vqa_yes_no"), 1),
    **dict.fromkeys(("rec", "reg", "tvg", "tr", "dvc", "dgc", "tgc"), 2),
    **dict.fromkeys(("stvg", "svg", "elc", "absent"), 3),
}
"""The stage of training that a task belongs to: content, coordinates, both interleaved (Li et al. 2025)."""

OF_A_PICTURE = frozenset({"ic", "rec", "reg", "dgc"})
"""Tasks about one shown frame, exported as a picture."""

ELC = "elc"
Document = dict[str, Any]

_MARK = re.compile(r"<(?:time|box|tube)>")
_SPEAKER = {Role.USER: "human", Role.ASSISTANT: "gpt"}
_ROLE = {speaker: role for role, speaker in _SPEAKER.items()}
_SIDE = {Role.USER: "INPUT", Role.ASSISTANT: "OUTPUT"}


# ---- the walk through a dialogue, there and back ---------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Spelling:
    """How a layout writes an interval, a box and a tube of a turn."""

    time: Callable[[Role, Span], str]
    box: Callable[[Role, Box], str]
    tube: Callable[[Role, Tubelet], str]


def _spelled(sample: GroundedSample, spelling: _Spelling) -> list[dict[str, str]]:
    """The turns with every placeholder written out, in order. Raises BadInput where marks and values do not fit."""
    tubes = iter(sample.tubes)
    out = []
    for turn in sample.turns:
        values = {"<time>": iter(_spans(turn)), "<box>": iter(turn.boxes), "<tube>": tubes}
        text = ""
        for mark, before in _pieces(turn.text):
            value: Any = next(values[mark], None) if mark else ""
            if value is None:
                raise BadInput(f"sample {sample.key}", seen=f"no value for a {mark} of {turn.text!r}", do="verify it")
            text += before + (getattr(spelling, mark[1:-1])(turn.role, value) if mark else "")
        out.append({"from": _SPEAKER[turn.role], "value": text})
    return out


def _pieces(text: str) -> Iterator[tuple[str, str]]:
    """Each mark with the text before it, and at last no mark with the rest."""
    at = 0
    for match in _MARK.finditer(text):
        yield match[0], text[at : match.start()]
        at = match.end()
    yield "", text[at:]


def _spans(turn: Turn) -> list[Span]:
    flat = turn.src_s if turn.role is Role.USER else turn.tgt_s
    return [Span(s, e) for s, e in zip(flat[0::2], flat[1::2], strict=True)]


@dataclass(slots=True)
class _Heard:
    """A turn read back from a layout. An instant of ELC is an interval that begins or ends with it."""

    role: Role
    text: str
    times_s: list[tuple[float, float]] = field(default_factory=list)
    boxes: list[Box] = field(default_factory=list)
    tubes: list[tuple[tuple[float, ...], tuple[Box, ...]]] = field(default_factory=list)


def _canonical(heard: Sequence[_Heard], task: str) -> tuple[tuple[Turn, ...], tuple[Tubelet, ...]]:
    """Turns and tubes. A tube ends with the last interval that was named before it."""
    if task == ELC:
        _intervals(*heard)
    tubes, end_s = [], 0.0
    for turn in heard:
        end_s = turn.times_s[-1][1] if turn.times_s else end_s
        tubes += [Tubelet(at_s, boxes, end_s) for at_s, boxes in turn.tubes]
    return tuple(_turn(one) for one in heard), tuple(tubes)


def _intervals(question: _Heard, answer: _Heard) -> None:
    """ELC's instants as intervals: the question's lasts until the second box of the tube, the answer's is the event."""
    (start_s, _), (_, end_s) = question.times_s[0], answer.times_s[0]
    at_s = answer.tubes[0][0]
    question.times_s = [(start_s, at_s[1] if len(at_s) > 1 else end_s)]
    answer.times_s = [(start_s, end_s)]


def _turn(heard: _Heard) -> Turn:
    flat = tuple(t for pair in heard.times_s for t in pair)
    asked = heard.role is Role.USER
    return Turn(heard.role, heard.text, flat if asked else (), () if asked else flat, tuple(heard.boxes))


# ---- the benchmark's layout ------------------------------------------------------------------------------------------


@dataclass
class _Raw:
    """Names given to the times and boxes of one document, and their values in frames and pixels."""

    sample: GroundedSample
    clock: FrameClock | None
    times: dict[str, int] = field(default_factory=dict)
    boxes: dict[str, list[float]] = field(default_factory=dict)
    tubes: dict[str, dict[str, list[float]]] = field(default_factory=dict)

    def frame(self, at_s: float) -> int:
        return _given(self.clock).frame(_origin_s(self.sample.media) + at_s)

    def last(self, end_s: float) -> int:
        return _given(self.clock).last(_origin_s(self.sample.media) + end_s)

    def time(self, role: Role, span: Span) -> str:
        if self.sample.task == ELC:
            name, frame = ("<s>", self.frame(span.start_s)) if role is Role.USER else ("<e>", self.last(span.end_s))
            self.times[name] = frame
            return name
        number = _number(len(self.times) // 2)
        first = self.frame(span.start_s)
        self.times |= {f"<s{number}>": first, f"<e{number}>": max(first, self.last(span.end_s))}
        return f"{{<s{number}>,<e{number}>}}"

    def box(self, role: Role, box: Box) -> str:
        del role
        name = f"<bbox{_number(len(self.boxes))}>"
        self.boxes[name] = _xywh(box)
        return name

    def tube(self, role: Role, tube: Tubelet) -> str:
        del role
        name = f"<bboxes{_number(len(self.tubes))}>"
        self.tubes[name] = {str(self.frame(t)): _xywh(b) for t, b in zip(tube.at_s, tube.boxes, strict=True)}
        return name


def _given(clock: FrameClock | None) -> FrameClock:
    if clock is None:
        raise BadInput("a dialogue about times", seen="no clock", do="give the clock of its source")
    return clock


def _origin_s(media: MediaRef) -> float:
    return media.span.start_s if media.span else 0.0


def _number(before: int) -> str:
    return str(before + 1) if before else ""


def _xywh(box: Box) -> list[float]:
    return [box.x0_px, box.y0_px, box.x1_px - box.x0_px, box.y1_px - box.y0_px]


def raw(sample: GroundedSample, path: str, clock: FrameClock | None = None) -> Document:
    """A sample in the benchmark's layout. `path` is the source (of a picture task, the shown frame); `clock` the
    source's. Raises BadInput where a time has to become a frame and there is no clock."""
    names = _Raw(sample, clock)
    turns = _spelled(sample, _Spelling(names.time, names.box, names.tube))
    picture = sample.task in OF_A_PICTURE
    meta: Document = {"width": sample.media.width_px, "height": sample.media.height_px}
    if not picture:
        meta["split"] = [names.frame(0.0), names.last(clip_s(sample.media))]
    meta |= {"time_token": names.times, "spatial_token": names.boxes | names.tubes}
    medium = "image_path" if picture else "video_path"
    return {"id": sample.key, "task": sample.task, medium: path, "conversations": turns, "meta": meta}


_RAW = re.compile(r"\{<s\d*>,<e\d*>\}|<[se]\d*>|<bboxes\d*>|<bbox\d*>")


def from_raw(document: Document, clock: FrameClock | None) -> tuple[tuple[Turn, ...], tuple[Tubelet, ...]]:
    """Turns and tubes of a `raw` document, in seconds of its clip. A time is off by at most half a frame; one that was
    the edge of a frame comes back as it was."""
    heard = []
    for turn in document["conversations"]:
        one = _Heard(_ROLE[turn["from"]], "")
        one.text = _RAW.sub(partial(_heard_raw, one, document["meta"], clock), turn["value"])
        heard.append(one)
    return _canonical(heard, document["task"])


def _heard_raw(heard: _Heard, meta: Document, clock: FrameClock | None, written: re.Match[str]) -> str:
    """Note the value of a name, and give the mark that stands for it."""
    name = written[0]
    if name.startswith("<bboxes"):
        steps = meta["spatial_token"][name].items()
        origin_s = _given(clock).at_s[meta["split"][0]]
        at_s = tuple(_given(clock).at_s[int(frame)] - origin_s for frame, _ in steps)
        heard.tubes.append((at_s, tuple(_from_xywh(corners) for _, corners in steps)))
        return "<tube>"
    if name.startswith("<bbox"):
        heard.boxes.append(_from_xywh(meta["spatial_token"][name]))
        return "<box>"
    first, *more = name.strip("{}").split(",")
    frames = meta["time_token"][first], meta["time_token"][more[0] if more else first]
    origin_s = _given(clock).at_s[meta["split"][0]]
    heard.times_s.append((_given(clock).at_s[frames[0]] - origin_s, _given(clock).end_s_of(frames[1]) - origin_s))
    return "<time>"


def _from_xywh(corners: Sequence[float]) -> Box:
    x, y, width, height = corners
    return Box(x, y, x + width, y + height)


# ---- the layout of training ------------------------------------------------------------------------------------------

_AXES = {
    "TEMP": "temporal_{}_locations",
    "HEIGHT": "spatial_height_{}_locations",
    "WIDTH": "spatial_width_{}_locations",
}
_BOX = r"\[<WIDTH-\w+><HEIGHT-\w+><WIDTH-\w+><HEIGHT-\w+>\]"
_STEP = rf"<TEMP-\w+>: {_BOX}"
_TRAINED = re.compile(rf"{_STEP}(?:, {_STEP})*|\{{<TEMP-\w+><TEMP-\w+>\}}|{_BOX}|<TEMP-\w+>")
_MARKER = re.compile(r"<(TEMP|HEIGHT|WIDTH)-(INPUT|OUTPUT)>")


@dataclass
class _Trained:
    """The six lists of one document."""

    sample: GroundedSample
    boxes: Boxes
    variables: dict[str, list[float]]

    def at(self, role: Role, at_s: float) -> str:
        return self.put("TEMP", role, min(1.0, at_s / clip_s(self.sample.media)))

    def put(self, axis: str, role: Role, share: float) -> str:
        self.variables[_list_of(axis, _SIDE[role])].append(share)
        return f"<{axis}-{_SIDE[role]}>"

    def time(self, role: Role, span: Span) -> str:
        if self.sample.task == ELC:
            return self.at(role, span.start_s if role is Role.USER else span.end_s)
        return f"{{{self.at(role, span.start_s)}{self.at(role, span.end_s)}}}"

    def box(self, role: Role, box: Box) -> str:
        corners = zip(("WIDTH", "HEIGHT") * 2, normalised(box, self.sample.media, self.boxes), strict=True)
        return f"[{''.join(self.put(axis, role, share) for axis, share in corners)}]"

    def tube(self, role: Role, tube: Tubelet) -> str:
        steps = zip(tube.at_s, tube.boxes, strict=True)
        return ", ".join(f"{self.at(role, at_s)}: {self.box(role, box)}" for at_s, box in steps)


def _list_of(axis: str, side: str) -> str:
    return _AXES[axis].format(side.lower())


def training(
    sample: GroundedSample, path: str, boxes: Boxes = Boxes.UNPADDED, clock: FrameClock | None = None
) -> Document:
    """A sample in the layout of training. Times are shares of the clip, so `path` is the clip itself; with the `clock`
    of its source it is the source, and `meta.split` says which frames are the clip."""
    lists = _Trained(sample, boxes, {_list_of(axis, side): [] for axis in _AXES for side in _SIDE.values()})
    turns = _spelled(sample, _Spelling(lists.time, lists.box, lists.tube))
    medium = "image" if sample.task in OF_A_PICTURE else "video"
    turns[0]["value"] = f"<{medium}>\n{turns[0]['value']}"
    document: Document = {"id": sample.key, "task": sample.task, "stage": STAGES[sample.task], medium: path}
    document |= {"conversations": turns, "variables": lists.variables}
    if clock is not None and medium == "video":
        names = _Raw(sample, clock)
        document["meta"] = {"split": [names.frame(0.0), names.last(clip_s(sample.media))]}
    return document


def from_training(
    document: Document, media: MediaRef, boxes: Boxes = Boxes.UNPADDED
) -> tuple[tuple[Turn, ...], tuple[Tubelet, ...]]:
    """Turns and tubes of a `training` document about `media`, exact but for rounding of floats."""
    values = {name: iter(found) for name, found in document["variables"].items()}
    heard = []
    for turn in document["conversations"]:
        one = _Heard(_ROLE[turn["from"]], "")
        text = re.sub(r"^<(?:video|image)>\n", "", turn["value"])
        one.text = _TRAINED.sub(partial(_heard_trained, one, values, media, boxes), text)
        heard.append(one)
    return _canonical(heard, document["task"])


def _heard_trained(
    heard: _Heard, values: dict[str, Iterator[float]], media: MediaRef, boxes: Boxes, written: re.Match[str]
) -> str:
    """Take the numbers of one piece off the lists, and give the mark that stands for it."""
    found = [(axis, next(values[_list_of(axis, side)])) for axis, side in _MARKER.findall(written[0])]
    times_s = tuple(share * clip_s(media) for axis, share in found if axis == "TEMP")
    shares = [share for axis, share in found if axis != "TEMP"]
    corners = tuple(in_pixels(shares[i : i + 4], media, boxes) for i in range(0, len(shares), 4))
    if times_s and corners:
        heard.tubes.append((times_s, corners))
        return "<tube>"
    if corners:
        heard.boxes += corners
        return "<box>"
    heard.times_s.append((times_s[0], times_s[-1]))
    return "<time>"


def tokened(document: Document) -> list[str]:
    """The turns of a `training` document as a model of 100 tokens an axis reads and writes them."""
    values = {name: iter(found) for name, found in document["variables"].items()}

    def token(match: re.Match[str]) -> str:
        return f"<{match[1]}-{token_of(next(values[_list_of(match[1], match[2])])):03d}>"

    return [_MARKER.sub(token, turn["value"]) for turn in document["conversations"]]
