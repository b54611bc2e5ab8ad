"""From recognised lines to dialogues about text: transcribe it, read what stands in a box, say where a line stands.

After LLaVAR's first stage (Zhang et al. 2023, arXiv 2306.17107), with what it leaves out: confidences, boxes, reading
order, a floor for how much and how sure, and frames of a video that show the same text only once. Refusals:

    no_text           no line was recognised in any shown frame
    too_little_text   fewer lines, words or less text area than wanted
    low_confidence    enough text, but the recogniser was not sure of it

A transcription says that it is all there is to read, in order, so it alone is also refused as

    unread_text       lines were seen that the recogniser was too unsure of to keep
    unsure_line       one line is doubtful, however sure the others are
    no_one_order      lines run in several directions, as the labels of a chart do: nobody reads them as one text

What was recognised is a stranger's text: quoted, never obeyed, and unable to forge a placeholder or a role (`defused`).

    lines   "EXIT 4" at (10, 10, 90, 40), sure to 0.98
    sample  Q "What text is visible in the image?"  A "EXIT 4"  boxes ((10, 10, 90, 40),)
"""

from __future__ import annotations

import cmath
import difflib
import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from reelmill.annotators.annotator import step_name
from reelmill.annotators.shown import FRAMES, MEDIA
from reelmill.pipelines.sources.rows import BASE, PROVENANCE
from reelmill.pipelines.views.checks.words import normalised
from reelmill.pipelines.views.phrasing import (
    Label,
    Material,
    Phrasings,
    defused,
    joined_methods,
    sample,
    sample_key,
)
from reelmill.pipelines.views.worded import Worded
from reelmill.schemas import arrow
from reelmill.schemas.column import KEY, Column
from reelmill.schemas.errors import Unusable
from reelmill.schemas.keys import seed_for
from reelmill.schemas.media import MediaRef, ShownFrame
from reelmill.schemas.sample import Role, Sample, Turn
from reelmill.schemas.script import spaced
from reelmill.schemas.text import TextLine
from reelmill.schemas.tube import Box
from reelmill.schemas.verdict import ACCEPTED, Verdict, rejected

FAMILY = "ocr_rich"
TRANSCRIPTION, READ, LOCATE = "transcription", "read", "locate"

TEXTS = Column.of("texts", tuple[TextLine, ...])
TEXT_ENGINE = Column.of("text_engine", str)
UNSURE = Column.of("text_unsure", int)

_MOST = 0.5
_ASLANT_DEG = 30.0
"""Lines of one page differ by less, also where it is seen at an angle; labels of charts are turned by 45 or 90."""


@dataclass(frozen=True, kw_only=True)
class CompileTranscription(Worded):
    """Samples of one picture or clip from its recognised lines, at most `frames_max` different frames of a clip.

    The numbers to `confidence_min` are the floor below which a frame is refused; `text_share` is the area of the lines'
    boxes over that of the frame. Two frames show the same text where their likeness (0 to 1, `difflib`) reaches
    `same_text`. A single line is asked about only when as sure as `line_confidence` and fewer than `misread_max` of its
    letters are likely misread; `lines_max` per frame and task. Confidence is the mean over a line's letters, and in a
    long one hides a wrong letter: one of chance 0.2 among twenty leaves 0.96, and 0.8 letters misread.
    """

    lines_min: int = 1
    words_min: int = 2
    characters_min: int = 4
    text_share_min: float = 0.001
    confidence_min: float = 0.8
    line_confidence: float = 0.9
    misread_max: float = 0.5
    same_text: float = 0.8
    frames_max: int = 4
    lines_max: int = 2
    phrasings: str = FAMILY
    needs: ClassVar[tuple[Column, ...]] = (KEY, MEDIA, FRAMES, TEXTS, TEXT_ENGINE, UNSURE, BASE, PROVENANCE)
    looked_at: ClassVar[str] = "text of the shown frames"
    revision: ClassVar[str] = "2"

    def _row(self, row: dict[str, Any]) -> dict[str, Any]:
        clip = self.material(row, row["text_engine"])
        pages = pages_of(clip, arrow.typed(tuple[TextLine, ...], row["texts"]))
        if not pages:
            raise Unusable("no_text", f"0 lines in {len(clip.frames)} shown frame(s)")
        chosen = different(pages, self.same_text)[: self.frames_max]
        faults = [self.fault(page) for page in chosen]
        if all(faults):
            raise Unusable(faults[0].reason, faults[0].detail)  # type: ignore[union-attr]
        unsure: int = row["text_unsure"]
        samples = [
            s for page, fault in zip(chosen, faults, strict=True) for s in self._samples(clip, page, fault, unsure)
        ]
        return {"samples": tuple(sorted(samples, key=lambda s: s.key))}

    def fault(self, page: Page) -> Verdict | None:
        """Why a frame has too little or too doubtful text; None where it is good."""
        words, characters = len(page.text.split()), sum(c.isalnum() for c in page.text)
        few = [
            f"{seen} {what}, want {least}"
            for what, seen, least in (
                ("line(s)", len(page.lines), self.lines_min),
                ("word(s)", words, self.words_min),
                ("letters and digits", characters, self.characters_min),
            )
            if seen < least
        ]
        if page.share < self.text_share_min:
            few.append(f"{page.share:.2%} of the frame, want {self.text_share_min:.2%}")
        if few:
            return rejected(step_name(self), "too_little_text", "; ".join(few))
        if page.confidence < self.confidence_min:
            seen = f"mean confidence {page.confidence:.3f} of {len(page.lines)} line(s), want {self.confidence_min}"
            return rejected(step_name(self), "low_confidence", seen)
        return None

    def partial(self, page: Page, unsure: int) -> Verdict | None:
        """Why the lines of a good frame are not all of its text in order; None where nothing says so. `unsure` lines
        were dropped somewhere in the clip or picture."""
        least = min(line.confidence for line in page.lines)
        if unsure:
            return rejected(step_name(self), "unread_text", f"{unsure} line(s) were dropped as unsure")
        if least < self.line_confidence:
            seen = f"the least sure of {len(page.lines)} line(s) {least:.3f}, want {self.line_confidence}"
            return rejected(step_name(self), "unsure_line", seen)
        apart_deg = page.apart_deg()
        if apart_deg > _ASLANT_DEG:
            seen = f"lines run {apart_deg:.0f} degrees apart, want {_ASLANT_DEG:.0f}"
            return rejected(step_name(self), "no_one_order", seen)
        return None

    def _samples(self, clip: Material, page: Page, fault: Verdict | None, unsure: int) -> Iterator[Sample]:
        view = _View(self, self.wording, clip, page)
        yield view.transcription(fault or self.partial(page, unsure))
        if fault is None:
            yield from view.reads()
            yield from view.locates()


@dataclass(frozen=True, slots=True)
class Page:
    """One shown frame and its lines in reading order, their text already harmless. Lines without any are left out.

    A frame may be stored smaller than its medium is shown: lines are in pixels of the stored frame, `boxes` in those of
    the medium, whose size a sample carries. `share` is the area of the boxes over that of the medium.
    """

    frame: ShownFrame
    lines: tuple[TextLine, ...]
    texts: tuple[str, ...]
    boxes: tuple[Box, ...]
    share: float

    @property
    def text(self) -> str:
        return "\n".join(self.texts)

    @property
    def confidence(self) -> float:
        """Mean over the lines, each weighted by its length: a wrong letter in a short line counts as in a long one."""
        sizes = [len(text) for text in self.texts]
        return sum(n * line.confidence for n, line in zip(sizes, self.lines, strict=True)) / sum(sizes)

    def misread(self, i: int) -> float:
        """How many letters of a line are likely misread, were its confidence the chance of each to be right."""
        return (1 - self.lines[i].confidence) * sum(not c.isspace() for c in self.texts[i])

    def filled(self, i: int) -> float:
        """The share of a line's upright box that its own four corners enclose (the shoelace formula)."""
        line = self.lines[i]
        xs, ys = line.quad_px[0::2], line.quad_px[1::2]
        twice = sum(xs[k - 1] * ys[k] - xs[k] * ys[k - 1] for k in range(4))
        return abs(twice) / 2 / max(line.box.area_px, 1e-9)

    def apart_deg(self) -> float:
        """The most that a line's direction differs from that of the longest. Of lone letters and digits no direction is
        known."""
        along = [_along(line) for line, text in zip(self.lines, self.texts, strict=True) if says_much(text)]
        main = max(along, key=abs, default=1 + 0j)
        return max((abs(math.degrees(cmath.phase(a * main.conjugate()))) for a in along), default=0.0)


def _along(line: TextLine) -> complex:
    """The way from a line's beginning to its end, in pixels, x as the real part."""
    corners = [complex(x, y) for x, y in zip(line.quad_px[0::2], line.quad_px[1::2], strict=True)]
    return (corners[1] - corners[0] + corners[2] - corners[3]) / 2


def pages_of(clip: Material, lines: Sequence[TextLine]) -> list[Page]:
    """The frames that have text, in order of time."""
    of_frame: dict[int, list[TextLine]] = defaultdict(list)
    for line in lines:
        of_frame[line.frame].append(line)
    pages = [_page(clip.media, frame, of_frame[frame.frame]) for frame in sorted(clip.frames, key=lambda f: f.frame)]
    return [page for page in pages if page.lines]


def _page(media: MediaRef, frame: ShownFrame, lines: Sequence[TextLine]) -> Page:
    kept = []
    for line in sorted(lines, key=lambda line: (line.order, line.quad_px, line.text)):
        text, box = defused(line.text), in_medium(line.box, frame, media)
        if text and box.area_px > 0:
            kept.append((line, text, box))
    share = sum(box.area_px for _, _, box in kept) / (media.width_px * media.height_px)
    return Page(frame, tuple(k[0] for k in kept), tuple(k[1] for k in kept), tuple(k[2] for k in kept), share)


def in_medium(box: Box, frame: ShownFrame, media: MediaRef) -> Box:
    """A box of a stored frame in pixels of its medium, cut at the edges."""
    x, y = media.width_px / frame.width_px, media.height_px / frame.height_px
    scaled = Box(box.x0_px * x, box.y0_px * y, box.x1_px * x, box.y1_px * y)
    return scaled.clipped(media.width_px, media.height_px)


def different(pages: Sequence[Page], same_text: float) -> list[Page]:
    """One page for each text that is shown, the one with most text first.

    Greedy: a page is kept when it is unlike every page kept before it, so of near-equal frames the fullest stays, and
    among those the surest, and then the earliest.
    """
    fullest = sorted(pages, key=lambda p: (-len(normalised(p.text)), -p.confidence, p.frame.frame))
    kept: list[Page] = []
    for page in fullest:
        if all(_likeness(page, other) < same_text for other in kept):
            kept.append(page)
    return kept


def _likeness(one: Page, other: Page) -> float:
    """1 for a text that is part of the other (a sign half out of view), else the ratio of `difflib`."""
    first, second = normalised(one.text), normalised(other.text)
    if first in second:
        return 1.0
    return difflib.SequenceMatcher(None, first, second, autojunk=False).ratio()


class _View:
    """The samples of one frame."""

    def __init__(self, step: CompileTranscription, wording: Phrasings, clip: Material, page: Page) -> None:
        self.step, self.wording, self.clip, self.page = step, wording, clip, page
        self.sure = [i for i, text in enumerate(page.texts) if says_much(text) and self._surely_read(i)]

    def _surely_read(self, i: int) -> bool:
        step, page = self.step, self.page
        return page.lines[i].confidence >= step.line_confidence and page.misread(i) < step.misread_max

    def transcription(self, fault: Verdict | None) -> Sample:
        """All lines in reading order. The answer's boxes are those of its lines; its text names none of them."""
        page, key = self.page, self.key(TRANSCRIPTION)
        answer = self.say(Role.ASSISTANT, TRANSCRIPTION, key, page.text, page.boxes)
        turns = (self.say(Role.USER, TRANSCRIPTION, key), answer)
        return self.sample(key, TRANSCRIPTION, turns, range(len(page.lines)), fault)

    def reads(self) -> Iterator[Sample]:
        """What stands in this box? Only of a line whose box no other line touches."""
        alone = [i for i in self.sure if not any(self._touches(i, j) for j in range(len(self.page.lines)) if j != i)]
        for i in self.drawn(READ, alone):
            key, text, box = self.key(READ, self.place(i)), self.page.texts[i], self.page.boxes[i]
            turns = (self.say(Role.USER, READ, key, boxes=(box,)), self.say(Role.ASSISTANT, READ, key, text))
            yield self.sample(key, READ, turns, (i,), None)

    def _touches(self, i: int, j: int) -> bool:
        one, other = self.page.boxes[i], self.page.boxes[j]
        wide = min(one.x1_px, other.x1_px) > max(one.x0_px, other.x0_px)
        return wide and min(one.y1_px, other.y1_px) > max(one.y0_px, other.y0_px)

    def locates(self) -> Iterator[Sample]:
        """Where does this line stand? Only of a text that the whole frame shows exactly once, and that takes up most of
        its upright box: that of a long slanted line is mostly its neighbours'."""
        texts = self.page.texts
        once = [i for i in self.sure if times_said(self.page.text, texts[i]) == 1 and self.page.filled(i) > _MOST]
        for i in self.drawn(LOCATE, once):
            key, box = self.key(LOCATE, self.place(i)), self.page.boxes[i]
            answer = self.say(Role.ASSISTANT, LOCATE, key, boxes=(box,))
            yield self.sample(key, LOCATE, (self.say(Role.USER, LOCATE, key, texts[i]), answer), (i,), None)

    def drawn(self, task: str, candidates: Sequence[int]) -> list[int]:
        """At most `lines_max` of the candidates, by a draw that depends on each line alone."""
        chance = {i: seed_for(self.step.seed, self.key(task, self.place(i)), "drawn") for i in candidates}
        return sorted(candidates, key=lambda i: chance[i])[: self.step.lines_max]

    def key(self, task: str, *identity: str | int) -> str:
        return sample_key(self.clip.key, FAMILY, task, self.page.frame.frame, *identity)

    def place(self, i: int) -> str:
        """Identity of a line: its text, and its corners in tenths of a pixel. Its number depends on its neighbours."""
        corners = ",".join(str(round(10 * c)) for c in self.page.lines[i].quad_px)
        return f"{self.page.texts[i]}@{corners}"

    def say(self, role: Role, task: str, key: str, text: str = "", boxes: tuple[Box, ...] = ()) -> Turn:
        side = "question" if role is Role.USER else "answer"
        wording = self.wording.pick(f"{task}.{side}", seed_for(self.step.seed, key, side), text=text)
        return Turn(role, wording, (), (), boxes)

    def sample(
        self, key: str, task: str, turns: tuple[Turn, ...], named: Sequence[int], verdict: Verdict | None
    ) -> Sample:
        lines = [self.page.lines[i] for i in named]
        label = Label(
            evidence=tuple(text_id(line) for line in lines),
            confidence=min(line.confidence for line in lines),
            method=joined_methods(line.method for line in lines),
            verdict=verdict or ACCEPTED,
        )
        return sample(self.clip, key, FAMILY, task, (self.page.frame,), turns, label)


def text_id(line: TextLine) -> str:
    """How evidence names a line: its frame and its place in the reading order there."""
    return f"frame{line.frame}.line{line.order}"


def says_much(text: str) -> bool:
    """At least two letters or digits are left to ask about; a lone letter is found in nearly any text."""
    return sum(c.isalnum() for c in normalised(text)) >= 2


def times_said(within: str, text: str) -> int:
    """How often `text` stands in `within`, normalised: at word boundaries, or anywhere where no spaces are set."""
    words, wanted = normalised(within).split(), normalised(text).split()
    if any(spaced([c, c]) == c + c for c in text):
        return "".join(words).count("".join(wanted))
    return sum(words[i : i + len(wanted)] == wanted for i in range(len(words) - len(wanted) + 1))
