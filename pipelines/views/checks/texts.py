"""Is a finished dialogue about text right? Only its words, boxes and times are read, against true lines and times.

The compilers of `dialogues`, `text_times` and `written_text` are not used: what is asked is found again in the
question. Words are compared by LLaVAR's rule (`checks.occurs`).

>>> quoted('Which word follows "GATE" in its line?')
'GATE'
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Sequence

from reelmill.pipelines.views.checks import normalised, occurs
from reelmill.schemas.sample import Sample
from reelmill.schemas.span import Span
from reelmill.schemas.text import TextLine
from reelmill.schemas.tube import Box

Lines = Sequence[TextLine]
Shown = Sequence[tuple[str, Span]]

_LEAST_IOU = 0.5
_ROUNDED_S = 1.0  # a length told in whole seconds, with both ends off by half a second at the most
_LOOSE = {
    "e-mail": re.compile(r"\S+@\S+\w"),
    "web": re.compile(r"(?:https?://|www\.)\S+\w"),
    "phone": re.compile(r"[+(]?\d(?:[\d ()-]{5,})\d"),
    "date": re.compile(r"\d[\d/.-]{4,}\d|\d{1,2} [A-Z]\w+ \d{4}|[A-Z]\w+ \d{1,2}, \d{4}"),
    "price": re.compile(r"[$€£¥] ?\d[\d.,]*\d|[$€£¥] ?\d|\d[\d.,]* ?(?:€|EUR|USD|GBP)"),
    "number": re.compile(r"\d{2,}"),
}
_LETTERS = {"CJK": "han", "HIRAGANA": "japanese", "KATAKANA": "japanese", "HANGUL": "korean"}


def check_dialogue(sample: Sample, texts: Lines) -> list[str]:
    """What is wrong with a sample of the dialogue view, given every true line of its frame; empty where all is right.

    Boxes of `texts` are in pixels of the sample's medium.
    """
    return _form_faults(sample) or _CHECKS[sample.task](sample, texts)


def check_text_times(sample: Sample, shown: Shown, slack_s: float = 1e-6) -> list[str]:
    """What is wrong with a sample about text over time, given every true text of its clip and when it is shown.

    `slack_s` is how far an edge may be off: one stored frame for labels that were read from frames.
    """
    faults = _form_faults(sample)
    return faults or {
        "text_when": _when_faults,
        "text_at": _at_faults,
        "text_after": _after_faults,
        "text_duration": _duration_faults,
    }[sample.task](sample, shown, slack_s)


def check_quotes(sample: Sample, texts: Lines) -> list[str]:
    """Every stretch in double quotes of an answer must stand in the true text of the frames."""
    whole = "\n".join(line.text for line in texts)
    said = re.findall(r'"([^"]+)"', sample.turns[-1].text)
    return [f"{words!r} is quoted and stands nowhere" for words in said if not occurs(whole, words)]


def _form_faults(sample: Sample) -> list[str]:
    """A question and an answer, as many boxes and times as places for them, all of them inside."""
    if len(sample.turns) != 2 or not all(turn.text.strip() for turn in sample.turns):
        return [f"{len(sample.turns)} turns, want a question and an answer with words"]
    question, answer = sample.turns
    faults = []
    if question.text.count("<box>") != len(question.boxes) or "<box>" in answer.text:
        faults.append(f"{question.text.count('<box>')} places for {len(question.boxes)} boxes")
    if 2 * question.text.count("<time>") != len(question.src_s) or 2 * answer.text.count("<time>") != len(answer.tgt_s):
        faults.append(f"times and their places differ: {question.text!r}, {answer.text!r}")
    width, height = sample.media.width_px, sample.media.height_px
    outside = [b for t in sample.turns for b in t.boxes if b.area_px <= 0 or b.clipped(width, height) != b]
    return faults + [f"{box} in a frame of {width} x {height}" for box in outside]


def quoted(text: str) -> str:
    """What stands between the first and the last double quote of a text."""
    return text[text.find('"') + 1 : text.rfind('"')]


# ---- one frame -------------------------------------------------------------------------------------------------------


def _beside_faults(sample: Sample, texts: Lines) -> list[str]:
    question = sample.turns[0].text
    named = [t for t in texts if normalised(t.text) == normalised(quoted(question))]
    found = re.findall(r"\b(above|below|left|right)\b", question.replace(quoted(question), ""))
    if len(named) != 1 or len(found) != 1:
        return [f"{quoted(question)!r} stands {len(named)} times, {len(found)} directions are asked for"]
    nearest = _nearest(named[0].box, found[0], [t for t in texts if t is not named[0]])
    if nearest is None:
        return [f"nothing stands {found[0]} {named[0].text!r}"]
    return _told_faults(sample, nearest)


def _nearest(own: Box, direction: str, others: Lines) -> TextLine | None:
    """The line beyond one edge of a box whose near edge is the nearest, among those that lie beside it at all."""
    upright = direction in ("above", "below")
    found: list[tuple[float, int, TextLine]] = []
    for line in others:
        box = line.box
        across = own.x0_px < box.x1_px and box.x0_px < own.x1_px
        along = own.y0_px < box.y1_px and box.y0_px < own.y1_px
        beside = across if upright else along
        far = {
            "below": (box.y0_px - own.y1_px, box.centre_px[1] > own.y1_px),
            "above": (own.y0_px - box.y1_px, box.centre_px[1] < own.y0_px),
            "right": (box.x0_px - own.x1_px, box.centre_px[0] > own.x1_px),
            "left": (own.x0_px - box.x1_px, box.centre_px[0] < own.x0_px),
        }[direction]
        if beside and far[1]:
            found.append((far[0], len(found), line))
    return min(found)[2] if found else None


def _told_faults(sample: Sample, line: TextLine) -> list[str]:
    """The answer says the line, and its box is where the line is."""
    answer = sample.turns[1]
    faults = [] if occurs(answer.text, line.text) else [f"it is {line.text!r}, answered {answer.text!r}"]
    if answer.boxes and answer.boxes[0].iou(line.box) < _LEAST_IOU:
        faults.append(f"{line.text!r} is at {line.box}, answered {answer.boxes[0]}")
    return faults


def _next_word_faults(sample: Sample, texts: Lines) -> list[str]:
    wanted = normalised(quoted(sample.turns[0].text))
    rows = [[w for w in t.text.split() if normalised(w)] for t in texts]
    after = [row[i + 1 : i + 2] for row in rows for i, word in enumerate(row) if normalised(word) == wanted]
    if len(after) != 1 or not after[0]:
        return [f"{wanted!r} stands {len(after)} times, or ends its line"]
    told = sample.turns[1].text
    return [] if occurs(told, after[0][0]) else [f"after {wanted!r} comes {after[0][0]!r}, answered {told!r}"]


def _tall(line: TextLine) -> float:
    """Height of a line's letters along its own slant."""
    x0, y0, *_, x3, y3 = line.quad_px
    return float(((x3 - x0) ** 2 + (y3 - y0) ** 2) ** 0.5)


def _largest_faults(sample: Sample, texts: Lines) -> list[str]:
    order = sorted(texts, key=_tall, reverse=True)
    return _told_faults(sample, order[0]) if order else ["there is no text"]


def _entity_faults(sample: Sample, texts: Lines) -> list[str]:
    question, answer = (turn.text for turn in sample.turns)
    kind = next((k for k in _LOOSE if re.search(rf"\b{k}\b", question)), "")
    if not kind:
        return [f"{question!r} asks for nothing that is known"]
    values = [m.group() for m in _LOOSE[kind].finditer(answer)]
    there = [m.group() for t in texts for m in _LOOSE[kind].finditer(t.text)]
    if len(values) != 1 or there != values:
        return [f"the text has {there} of the kind {kind!r}, answered {values}"]
    return []


def _told_count(sample: Sample) -> int:
    found = re.findall(r"\d+", sample.turns[1].text)
    return int(found[0]) if len(found) == 1 else -1


def _line_count_faults(sample: Sample, texts: Lines) -> list[str]:
    return [] if _told_count(sample) == len(texts) else [f"{len(texts)} lines, answered {sample.turns[1].text!r}"]


def _word_count_faults(sample: Sample, texts: Lines) -> list[str]:
    words = sum(len(t.text.split()) for t in texts)
    return [] if _told_count(sample) == words else [f"{words} words, answered {sample.turns[1].text!r}"]


def _present_faults(sample: Sample, texts: Lines) -> list[str]:
    question, answer = (turn.text for turn in sample.turns)
    there = any(occurs(t.text, quoted(question)) for t in texts)
    said = answer.split(",")[0].strip(" .").lower()
    return [] if said == ("yes" if there else "no") else [f"{quoted(question)!r}: {there}, answered {answer!r}"]


def _script_faults(sample: Sample, texts: Lines) -> list[str]:
    told = sample.turns[1].text.casefold()
    names = {unicodedata.name(c, "?").split()[0] for t in texts for c in t.text if c.isalpha()}
    scripts = {_LETTERS.get(name, name.casefold()) for name in names}
    scripts -= {"han"} if "japanese" in scripts else set()
    return [f"there are {name} letters, answered {told!r}" for name in sorted(scripts) if name not in told]


def _illegible_faults(sample: Sample, texts: Lines) -> list[str]:
    """What was rendered can be read, so nothing that stands there may be called illegible."""
    box = sample.turns[0].boxes[0]
    return [f"{t.text!r} can be read at {box}" for t in texts if t.box.iou(box) >= _LEAST_IOU]


_CHECKS: dict[str, Callable[[Sample, Lines], list[str]]] = {
    "beside": _beside_faults,
    "next_word": _next_word_faults,
    "largest": _largest_faults,
    "entity": _entity_faults,
    "line_count": _line_count_faults,
    "word_count": _word_count_faults,
    "present": _present_faults,
    "script": _script_faults,
    "illegible": _illegible_faults,
    "written_text": check_quotes,
}


# ---- over time -------------------------------------------------------------------------------------------------------


def _of(shown: Shown, text: str) -> list[Span]:
    return sorted((s for t, s in shown if normalised(t) == normalised(text)), key=lambda s: s.start_s)


def _when_faults(sample: Sample, shown: Shown, slack_s: float) -> list[str]:
    """The told times are those of the text, where they touch taken together."""
    text, times = quoted(sample.turns[0].text), sample.turns[1].tgt_s
    true: list[list[float]] = []
    for span in _of(shown, text):
        if true and span.start_s <= true[-1][1] + slack_s:
            true[-1][1] = max(true[-1][1], span.end_s)
        else:
            true.append([span.start_s, span.end_s])
    flat = [t for pair in true for t in pair]
    if len(flat) != len(times) or any(abs(a - b) > slack_s for a, b in zip(flat, times, strict=True)):
        return [f"{text!r} is shown at {flat}, answered {list(times)}"]
    return []


def _at_faults(sample: Sample, shown: Shown, slack_s: float) -> list[str]:
    """Every text that is shown throughout the stretch is told, and none that is shown in no part of it."""
    start_s, end_s = sample.turns[0].src_s
    told = sample.turns[1].text
    through = {t for t, s in shown if s.start_s <= start_s + slack_s and end_s - slack_s <= s.end_s}
    touching = {t for t, s in shown if s.start_s < end_s - slack_s and start_s + slack_s < s.end_s}
    faults = [f"{t!r} is shown and not told" for t in sorted(through & touching) if not occurs(told, t)]
    never = {t for t, _ in shown} - touching
    wrong = [t for t in sorted(never) if occurs(told, t) and not any(occurs(x, t) for x in touching)]
    lines = [x for x in told.split("\n") if not x.endswith(":")]
    strange = [x for x in lines if not any(occurs(t, x) for t in touching)]
    return faults + [f"{t!r} is told and not shown" for t in [*wrong, *strange]]


def _after_faults(sample: Sample, shown: Shown, _slack_s: float) -> list[str]:
    """The told text is the one that begins first after the named one has begun."""
    text, told = quoted(sample.turns[0].text), sample.turns[1].text
    own = _of(shown, text)
    if len(own) != 1:
        return [f"{text!r} is shown {len(own)} times"]
    later = sorted((s.start_s, t) for t, s in shown if s.start_s > own[0].start_s + 1e-6)
    first = [t for start_s, t in later if start_s <= later[0][0] + 1e-6]
    if len(first) != 1 or not occurs(told, first[0]):
        return [f"after {text!r} comes {first}, answered {told!r}"]
    return []


def _duration_faults(sample: Sample, shown: Shown, slack_s: float) -> list[str]:
    text, own = quoted(sample.turns[0].text), _of(shown, quoted(sample.turns[0].text))
    if len(own) != 1:
        return [f"{text!r} is shown {len(own)} times"]
    true_s = own[0].end_s - own[0].start_s
    off = abs(_told_count(sample) - true_s)
    return [] if off <= _ROUNDED_S + slack_s else [f"{text!r} is shown for {true_s} s, {sample.turns[1].text!r}"]
