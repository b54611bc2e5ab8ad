"""From text that two engines read alike to questions about it: places, words, counts, presence, prices, scripts.

After LLaVAR's second stage (Zhang et al. 2023, arXiv 2306.17107), in which a text-only GPT-4 writes dialogues from the
text of two OCR tools and a caption, and nobody checks them. Here each question has one answer that follows from agreed
lines, and each sample names those lines; `ocr_written` has the form with a teacher. Refusals:

    no_text         no line was recognised in any shown frame
    no_agreed_text  lines were recognised, but the engines agree on none
    unsettled       (a sample) the answer rests on text that the engines do not agree on, or on a close call

    agreed  "GATE 24" above "EXIT"
    sample  Q 'Which line stands directly above "EXIT"?'  A 'GATE 24'  boxes ((10, 10, 90, 40),)
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from reelmill.annotators.annotator import step_name
from reelmill.annotators.read_second import AGREED, SECOND_ENGINE, SECOND_TEXTS, compared
from reelmill.annotators.shown import FRAMES, MEDIA
from reelmill.annotators.text import UNSURE
from reelmill.pipelines.sources.rows import BASE, PROVENANCE
from reelmill.pipelines.views.phrasing import Label, Material, defused, joined_methods, sample, sample_key
from reelmill.pipelines.views.text_facts import Fact, Seen, drawn, facts, letters_px
from reelmill.pipelines.views.transcription import (
    FAMILY,
    TEXT_ENGINE,
    TEXTS,
    Page,
    different,
    in_medium,
    pages_of,
    text_id,
)
from reelmill.pipelines.views.worded import Worded
from reelmill.schemas import arrow
from reelmill.schemas.column import KEY, Column
from reelmill.schemas.errors import Unusable
from reelmill.schemas.keys import seed_for
from reelmill.schemas.sample import Role, Sample, Turn
from reelmill.schemas.text import TextLine
from reelmill.schemas.verdict import ACCEPTED, rejected


@dataclass(frozen=True, kw_only=True)
class CompileDialogues(Worded):
    """Questions about at most `frames_max` different frames, `most` of a task in each.

    A line is called illegible where the first engine is less sure of it than `illegible_confidence` and the second did
    not read it alike. `absent_words` are asked for where they are not there; empty: those of the phrasings.
    """

    same_text: float = 0.8
    frames_max: int = 4
    most: int = 2
    illegible_confidence: float = 0.6
    absent_words: tuple[str, ...] = ()
    phrasings: str = "ocr_dialogues"
    needs: ClassVar[tuple[Column, ...]] = (
        *(KEY, MEDIA, FRAMES, BASE, PROVENANCE),
        *(TEXTS, TEXT_ENGINE, UNSURE, SECOND_TEXTS, SECOND_ENGINE, AGREED),
    )
    looked_at: ClassVar[str] = "text of the shown frames, read twice"
    revision: ClassVar[str] = "2"

    def _row(self, row: dict[str, Any]) -> dict[str, Any]:
        clip = self.material(row, f"{row['text_engine']}+{row['second_engine']}")
        first, second, agreed = (arrow.typed(tuple[TextLine, ...], row[c.name]) for c in (TEXTS, SECOND_TEXTS, AGREED))
        pages = pages_of(clip, first)
        if not pages:
            raise Unusable("no_text", f"0 lines in {len(clip.frames)} shown frame(s)")
        chosen = different(pages, self.same_text)[: self.frames_max]
        found = [seen_of(clip, page, second, agreed, row["text_unsure"]) for page in chosen]
        if not any(seen.agreed for seen in found):
            engines = f"{row['text_engine']} and {row['second_engine']}"
            raise Unusable("no_agreed_text", f"{len(first)} and {len(second)} line(s) by {engines}, 0 alike")
        samples = [s for seen in found if seen.agreed for s in self._samples(clip, seen)]
        return {"samples": tuple(sorted(samples, key=lambda s: s.key))}

    def _samples(self, clip: Material, seen: Seen) -> list[Sample]:
        absent = self.absent_words or self.wording.options("absent.words")
        found = facts(seen, absent, self.illegible_confidence)

        def chance(fact: Fact) -> int:
            return seed_for(self.seed, self._key(clip, seen, fact), "drawn")

        return [self._sample(clip, seen, fact) for fact in drawn(tuple(found), self.most, chance)]

    def _key(self, clip: Material, seen: Seen, fact: Fact) -> str:
        return sample_key(clip.key, FAMILY, fact.task, seen.page.frame.frame, *fact.identity)

    def _sample(self, clip: Material, seen: Seen, fact: Fact) -> Sample:
        key = self._key(clip, seen, fact)
        words = self._worded(fact.words)
        asked, told = (f"{fact.task}.{side}" for side in (fact.asked, fact.form))
        question = self.wording.pick(asked, seed_for(self.seed, key, "question"), **words)
        answer = self.wording.pick(told, seed_for(self.seed, key, "answer"), **words)
        turns = (
            Turn(Role.USER, question, (), (), fact.question_boxes),
            Turn(Role.ASSISTANT, answer, (), (), fact.answer_boxes),
        )
        lines = [seen.page.lines[i] for i in fact.lines]
        label = Label(
            evidence=tuple(text_id(line) for line in lines),
            confidence=fact.confidence,
            method=joined_methods(line.method for line in lines),
            verdict=rejected(step_name(self), "unsettled", fact.open) if fact.open else ACCEPTED,
        )
        return sample(clip, key, FAMILY, fact.task, (seen.page.frame,), turns, label)

    def _worded(self, words: dict[str, str]) -> dict[str, str]:
        """Codes of a fact (a direction, a kind, a script) as the phrasings say them."""
        tables = {"direction": "directions", "kind": "kinds", "script": "scripts"}
        return {n: self.wording.table(tables[n]).get(w, w) if n in tables else w for n, w in words.items()}


def seen_of(clip: Material, page: Page, second: Sequence[TextLine], agreed: Sequence[TextLine], unsure: int) -> Seen:
    """One frame with what both engines made of it; boxes in pixels of the medium."""
    sure = {line.order: line.confidence for line in agreed if line.frame == page.frame.frame}
    alike = {i: sure[line.order] for i, line in enumerate(page.lines) if line.order in sure}
    left: dict[str, int] = defaultdict(int, Counter(compared(page.lines[i].text) for i in alike))
    strange, tall_px = [], [letters_px(line) for line in page.lines]
    for line in second:
        if line.frame != page.frame.frame:
            continue
        left[compared(line.text)] -= 1
        box, text = in_medium(line.box, page.frame, clip.media), defused(line.text)
        if left[compared(line.text)] < 0 and text and box.area_px > 0:
            strange.append((box, text))
            tall_px.append(letters_px(line))
    return Seen(page, alike, tuple(strange), unsure, tuple(tall_px))
