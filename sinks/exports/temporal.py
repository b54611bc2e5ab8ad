"""Dialogues about time in the forms of four families of trainers, and back; each with a stated bound on its times.

    E.T. Instruct, vid  <vid> for every timestamp, seconds in `src` (questions) and `tgt` (answers)   exact
    E.T. Instruct, txt  "0.4 - 2.0 seconds" in the text                                               0.05 s
    DisTime             <TIME_STAMP> for every interval, seconds in `tgt` (and `src`)                 exact
    VTimeLLM            two digits 00..99, hundredths of the clip                                     D/200 (`percent`)
    TimeChat, TimeIT    "0.4 - 2.0 seconds, text", one decimal                                        0.05 s

Functions are pure: a sample and the name of its clip's file in, one row of plain data out, and from a row its turns.
Times are seconds of the clip, whose file they name; a sample about a span of a longer file is to be cut first. The way
back takes every "10 to 12" and "1.0 - 2.0 seconds" of a text for a time, whoever wrote it.

>>> percent(2.0, 8.0), percent(8.0, 8.0), seconds("25", 8.0)
('25', '99', 2.0)
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from reelmill.schemas.errors import BadInput
from reelmill.schemas.sample import Role, Sample, Turn
from reelmill.schemas.span import Span

Row = dict[str, Any]

_TIME = "<time>"
_VID, _TIME_STAMP = "<vid> - <vid>", "<TIME_STAMP>"
_TXT = re.compile(r"(?P<start>\d+\.\d) - (?P<end>\d+\.\d) seconds")
_PERCENT = re.compile(r"\b(?P<start>\d\d) to (?P<end>\d\d)\b")
_SPEAKERS = {Role.USER: "human", Role.ASSISTANT: "gpt"}
_ROLES = {said: role for role, said in _SPEAKERS.items()}
_LINES = tuple(
    re.compile(form)
    for form in (
        r"\A<time>: (?P<text>.+)\Z",
        r"\AAt <time>, (?P<text>.+)\Z",
        r"\A(?P<text>.+) at <time>\.\Z",
        r"\A(?P<text>.+) \(<time>\)\.\Z",
    )
)
"""The four forms of a line of a dense caption (pipelines/templates/internvid_tg.toml)."""


# ---- times as text ---------------------------------------------------------------------------------------------------


def percent(at_s: float, duration_s: float) -> str:
    """Hundredths of a clip as two digits: round(100 t / D), 99 at most (VTimeLLM, Huang et al. 2024).

    What it stands for is at most D/200 off; of times beyond 0.995 D, which the last bin takes in, at most D/100.
    """
    return f"{min(round(100 * at_s / duration_s), 99):02d}"


def seconds(digits: str, duration_s: float) -> float:
    """The time that two digits stand for."""
    return int(digits) * duration_s / 100


def _one_decimal(span: Span) -> str:
    return f"{span.start_s:.1f} - {span.end_s:.1f} seconds"


def _duration_s(sample: Sample) -> float:
    span_s = sample.media.span.duration_s if sample.media.span else sample.media.duration_s
    return min(span_s, sample.media.duration_s)


# ---- placeholders ----------------------------------------------------------------------------------------------------


def _pairs(flat_s: Sequence[float]) -> Iterator[Span]:
    yield from (Span(s, e) for s, e in zip(flat_s[0::2], flat_s[1::2], strict=True))


def _worded(turn: Turn, say: Callable[[Span], str]) -> str:
    """A turn's text with every `<time>` said. Raises BadInput where placeholders and intervals are not as many."""
    spans = list(_pairs(turn.src_s if turn.role is Role.USER else turn.tgt_s))
    parts = turn.text.split(_TIME)
    if len(parts) != len(spans) + 1:
        seen = f"{len(parts) - 1} placeholders, {len(spans)} intervals in {turn.text!r}"
        raise BadInput("a turn has an interval for every <time>", seen=seen, do="`verify` the dataset")
    return "".join(part + said for part, said in zip(parts, [*map(say, spans), ""], strict=True))


def _turn(role: Role, text: str, spans: Sequence[tuple[float, float]]) -> Turn:
    flat = tuple(t for span in spans for t in span)
    return Turn(role, text, flat if role is Role.USER else (), flat if role is Role.ASSISTANT else (), ())


def _read(role: Role, text: str, said: re.Pattern[str], at_s: Callable[[str], float]) -> Turn:
    """A turn out of a text in which times are written."""
    spans = [(at_s(found["start"]), at_s(found["end"])) for found in said.finditer(text)]
    return _turn(role, said.sub(_TIME, text), spans)


def _conversations(sample: Sample, mark: str, say: Callable[[Span], str]) -> list[dict[str, str]]:
    """LLaVA's form: the first question has the mark of the video before it."""
    texts = [_worded(turn, say) for turn in sample.turns]
    return [
        {"from": _SPEAKERS[turn.role], "value": f"{mark}\n{text}" if i == 0 else text}
        for i, (turn, text) in enumerate(zip(sample.turns, texts, strict=True))
    ]


def _said(row: Mapping[str, Any], mark: str) -> Iterator[tuple[Role, str]]:
    for said in row["conversations"]:
        yield _ROLES[said["from"]], said["value"].removeprefix(f"{mark}\n")


def _sides(sample: Sample) -> dict[str, list[float]]:
    """`src` and `tgt` over all turns, each only where it has any."""
    src = [t for turn in sample.turns for t in turn.src_s]
    tgt = [t for turn in sample.turns for t in turn.tgt_s]
    return ({"src": src} if src else {}) | ({"tgt": tgt} if tgt else {})


def _placed(row: Mapping[str, Any], mark: str, placeholder: str) -> tuple[Turn, ...]:
    """Turns of a row whose times stand beside its texts, in the order of their placeholders."""
    left = {Role.USER: list(_pairs(row.get("src", ()))), Role.ASSISTANT: list(_pairs(row.get("tgt", ())))}
    turns = []
    for role, text in _said(row, mark):
        count = text.count(placeholder)
        own, left[role] = left[role][:count], left[role][count:]
        turns.append(_turn(role, text.replace(placeholder, _TIME), [(s.start_s, s.end_s) for s in own]))
    return tuple(turns)


# ---- E.T. Instruct ---------------------------------------------------------------------------------------------------


def et_instruct(sample: Sample, video: str, source: str, style: str = "vid") -> Row:
    """A row of E.T. Instruct 164K (Liu et al. 2024, docs/DATASET.md of ETBench): `style` is vid or txt.

    Times of vid are exact; of txt they are rounded to 0.1 s, at most 0.05 s off. Raises BadInput for another style.
    """
    if style not in ("vid", "txt"):
        raise BadInput(f"style={style!r} of E.T. Instruct", seen="an unknown style", do="use vid or txt")
    row = {"task": sample.task, "source": source, "video": video, "duration": _duration_s(sample)}
    say = _one_decimal if style == "txt" else lambda _: _VID
    return row | _sides(sample) | {"conversations": _conversations(sample, "<image>", say)}


def from_et_instruct(row: Mapping[str, Any]) -> tuple[Turn, ...]:
    """The turns of a row: of vid from `src` and `tgt`, of txt from what its text says."""
    if any(_VID in said["value"] for said in row["conversations"]):
        return _placed(row, "<image>", _VID)
    return tuple(_read(role, text, _TXT, float) for role, text in _said(row, "<image>"))


# ---- DisTime ---------------------------------------------------------------------------------------------------------


def distime(sample: Sample, video: str) -> Row:
    """A row of DisTime (Zeng et al. 2025, README): one `<TIME_STAMP>` for each interval, exact seconds beside it.

    Its released loader reads `tgt` alone; intervals of questions stand in `src`, as in E.T. Instruct.
    """
    said = _conversations(sample, "<video>", lambda _: _TIME_STAMP)
    return {"video": video} | _sides(sample) | {"conversations": said}


def from_distime(row: Mapping[str, Any]) -> tuple[Turn, ...]:
    return _placed(row, "<video>", _TIME_STAMP)


# ---- VTimeLLM --------------------------------------------------------------------------------------------------------


def vtimellm(sample: Sample, video: str, key: str = "") -> Row:
    """A row of VTimeLLM (Huang et al. 2024): "25 to 40" are hundredths of the clip; bounds as in `percent`.

    `meta.split` is the clip in its source, in seconds, `meta.duration` its length. `meta.token` is empty: the digits
    are in the text already, and the released loader then leaves the text as it is.
    """
    length_s = _duration_s(sample)
    span = sample.media.span
    split = [span.start_s, span.end_s] if span else [0.0, length_s]
    said = _conversations(
        sample, "<video>", lambda s: f"{percent(s.start_s, length_s)} to {percent(s.end_s, length_s)}"
    )
    meta = {"split": split, "duration": length_s, "token": {}}
    return {"id": key or sample.key, "video": video, "conversations": said, "source": sample.family, "meta": meta}


def from_vtimellm(row: Mapping[str, Any]) -> tuple[Turn, ...]:
    length_s = row["meta"]["duration"]
    said = _said(row, "<video>")
    return tuple(_read(role, text, _PERCENT, lambda digits: seconds(digits, length_s)) for role, text in said)


# ---- TimeChat, TimeIT ------------------------------------------------------------------------------------------------


def timechat(sample: Sample, video: str, source: str) -> Row:
    """A row of TimeIT (TimeChat, Ren et al. 2024): question and answer pairs, times to 0.1 s in the text.

    Lines of a dense caption become "0.4 - 2.0 seconds, text"; other answers keep their sentence.
    """
    dense = sample.task == "dense_caption"
    turns = [_time_first(t) if dense and t.role is Role.ASSISTANT else t for t in sample.turns]
    said = [_worded(turn, _one_decimal) for turn in turns]
    pairs = [{"q": q, "a": a} for q, a in zip(said[0::2], said[1::2], strict=True)]
    return {"video": video, "QA": pairs, "source": source}


def _time_first(turn: Turn) -> Turn:
    """A turn of lines with a time each, every line led by it; a line of another form as it is."""
    found = [(line, next((m for form in _LINES if (m := form.match(line))), None)) for line in turn.text.split("\n")]
    lines = [f"{_TIME}, {m['text'].rstrip('.')}." if m else line for line, m in found]
    return replace(turn, text="\n".join(lines))


def from_timechat(row: Mapping[str, Any]) -> tuple[Turn, ...]:
    said = [(role, pair[side]) for pair in row["QA"] for role, side in ((Role.USER, "q"), (Role.ASSISTANT, "a"))]
    return tuple(_read(role, text, _TXT, float) for role, text in said)
