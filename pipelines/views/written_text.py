"""From a teacher's questions and answers to samples about text: what an answer quotes or counts is looked up.

A pair that the teacher's own step refused stays refused with its reason. Further refusals of a sample:

    not_about_text      the quote that the answer rests on stands in the caption and in no line of text
    quotes_unread_text  the answer has words in quotation marks that no agreed line has (LLaVAR's rule, `checks.occurs`)
    unread_number       the answer has a number that neither an agreed line nor the caption has

    pair    "What does the sign say?" "It is gate 24."  quote "GATE 24", which two engines read
    sample  the same, evidence ("frame0.line0",)
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import pyarrow as pa

from reelmill.annotators.annotator import Resources, each_row, step_name
from reelmill.annotators.ask import PAIRS
from reelmill.annotators.caption import CAPTION
from reelmill.annotators.read_second import AGREED
from reelmill.annotators.shown import FRAMES, MEDIA
from reelmill.pipelines.sources.rows import BASE, PROVENANCE
from reelmill.pipelines.views.checks import normalised, occurs
from reelmill.pipelines.views.phrasing import Label, Material, defused, sample, sample_key
from reelmill.pipelines.views.transcription import FAMILY, text_id
from reelmill.pipelines.views.worded import SAMPLES, lent
from reelmill.schemas import arrow
from reelmill.schemas.answer import WrittenPair
from reelmill.schemas.column import KEY, Column
from reelmill.schemas.errors import Unusable
from reelmill.schemas.provenance import UNMEASURED, Provenance
from reelmill.schemas.sample import Role, Sample, Turn
from reelmill.schemas.text import TextLine
from reelmill.schemas.verdict import Verdict, rejected

TASK = "written_text"
_LABEL = re.compile(r"\b(?:Text|Caption):")
_QUOTED = re.compile(r'["“]([^"“”]+)["”]')
_NUMBER = re.compile(r"\d+(?:[.,:]\d+)*")


@dataclass(frozen=True)
class CompileWrittenText:
    """One sample per pair, over the frames whose lines its quote names. Confidence is that of a label which nobody has
    measured, or of the least sure line if that is lower."""

    needs: ClassVar[tuple[Column, ...]] = (KEY, MEDIA, FRAMES, CAPTION, AGREED, PAIRS, BASE, PROVENANCE)
    gives: ClassVar[tuple[Column, ...]] = (SAMPLES,)
    revision: ClassVar[str] = "1"
    resources: ClassVar[Resources] = Resources(rows_per_commit=256)

    def setup(self) -> None:
        """Nothing to make ready."""

    def __call__(self, batch: pa.Table) -> pa.Table:
        return each_row(self, batch, self._row)

    def _row(self, row: dict[str, Any]) -> dict[str, Any]:
        pairs = arrow.typed(tuple[WrittenPair, ...], row["pairs"])
        if not pairs:
            raise Unusable("no_pairs", "the teacher wrote none")
        step = step_name(self)
        link = Provenance(
            step, "rules", self.revision, "", "", None, row["media"]["digest"], "the pairs and the text", ""
        )
        clip, lines = lent(row, link), arrow.typed(tuple[TextLine, ...], row["agreed_texts"])
        samples = [_sample(clip, pair, lines, row["caption"] or "", step) for pair in pairs]
        return {"samples": tuple(sorted(samples, key=lambda s: s.key))}


def _sample(clip: Material, pair: WrittenPair, lines: Sequence[TextLine], caption: str, step: str) -> Sample:
    named = named_lines(pair.quote, lines)
    key = sample_key(clip.key, FAMILY, TASK, pair.question)
    verdict = looked_up(pair, named, lines, caption, step)
    frames = [f for f in clip.frames if f.frame in {line.frame for line in named}] or list(clip.frames)
    turns = (
        Turn(Role.USER, defused(pair.question), (), (), ()),
        Turn(Role.ASSISTANT, defused(pair.answer), (), (), ()),
    )
    sure = min([UNMEASURED, *(line.confidence for line in named)])
    label = Label(tuple(text_id(line) for line in named), sure, "model", verdict)
    return sample(clip, key, FAMILY, TASK, frames, turns, label)


def named_lines(quote: str, lines: Sequence[TextLine]) -> list[TextLine]:
    """The lines that a quote of the evidence holds, or that hold a part of it, by LLaVAR's rule."""
    parts = [part for piece in _LABEL.split(quote) for part in piece.splitlines() if normalised(part)]
    return [line for line in lines if any(occurs(part, line.text) or occurs(line.text, part) for part in parts)]


def looked_up(
    pair: WrittenPair, named: Sequence[TextLine], lines: Sequence[TextLine], caption: str, step: str
) -> Verdict:
    """The pair's own verdict, or why its answer rests on no text that was read."""
    if not pair.verdict.accepted:
        return pair.verdict
    if not named:
        return rejected(step, "not_about_text", f"quoted {pair.quote[:200]!r}")
    text = "\n".join(line.text for line in lines)
    strange = [words for words in _QUOTED.findall(pair.answer) if not occurs(text, words)]
    if strange:
        return rejected(step, "quotes_unread_text", f"quoted {strange[0][:200]!r}")
    known = set(_NUMBER.findall(f"{text}\n{caption}"))
    unread = [number for number in _NUMBER.findall(pair.answer) if number not in known]
    return rejected(step, "unread_number", f"said {unread[0]}") if unread else pair.verdict
