"""From a model's answers with their checked statements to preference pairs that differ in how many are false.

After RLAIF-V (Yu et al. 2024, released code): an answer scores minus the number of its false statements, two answers
that differ by 1 or more make a pair, two pairs are drawn for each prompt, and answers of the same text are one. Unlike
there, the chosen answer has no false statement, and an answer without any statement is compared with nothing.

    answers  "A red circle enters." (1 true), "A red dog enters and stops." (1 true, 2 false)
    pair     chosen the first, rejected the second, margin 2
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from reelmill.annotators.check_facts import ANSWERS, FACTS
from reelmill.annotators.shown import FRAMES, MEDIA
from reelmill.pipelines.sources.rows import BASE, PROVENANCE
from reelmill.pipelines.views.cotasks import PAIRS
from reelmill.pipelines.views.phrasing import Label, Material, defused, sample, sample_key
from reelmill.pipelines.views.worded import Worded
from reelmill.schemas import arrow
from reelmill.schemas.answer import CheckedFact
from reelmill.schemas.column import KEY, Column
from reelmill.schemas.errors import Unusable
from reelmill.schemas.keys import seed_for
from reelmill.schemas.provenance import UNMEASURED
from reelmill.schemas.sample import Claim, Perturbation, PreferenceSample, Role, Turn, widened
from reelmill.schemas.verdict import ACCEPTED

__all__ = ["PAIRS", "CompareFacts"]

FAMILY = "fact_pairs"
TASK = "caption"


@dataclass(frozen=True, slots=True)
class Checked:
    """An answer with its statements; `number` is its place among the samples."""

    number: int
    text: str
    facts: tuple[CheckedFact, ...]

    @property
    def false(self) -> int:
        return sum(not f.holds for f in self.facts)


@dataclass(frozen=True, kw_only=True)
class CompareFacts(Worded):
    """At most `most_pairs` pairs of a row, drawn by seed from all that differ by `least_gap` false statements."""

    least_gap: int = 1
    most_pairs: int = 2
    phrasings: str = "captioned"
    needs: ClassVar[tuple[Column, ...]] = (KEY, MEDIA, FRAMES, ANSWERS, FACTS, BASE, PROVENANCE)
    gives: ClassVar[tuple[Column, ...]] = (PAIRS,)
    looked_at: ClassVar[str] = "checked statements"

    def _row(self, row: dict[str, Any]) -> dict[str, Any]:
        answers = checked(row["answers"], arrow.typed(tuple[CheckedFact, ...], row["facts"]))
        found = [(a, b) for a in answers for b in answers if not a.false and b.false >= max(1, self.least_gap)]
        if not found:
            seen = ", ".join(f"{a.false} of {len(a.facts)}" for a in answers)
            raise Unusable("no_pair", f"false statements of {len(answers)} different answers: {seen or 'none'}")
        clip = self.material(row)
        drawn = sorted(found, key=lambda pair: self._chance(clip.key, *pair))[: self.most_pairs]
        pairs = [self._pair(clip, *pair) for pair in drawn]
        return {"samples": tuple(sorted(pairs, key=lambda s: s.key))}

    def _chance(self, key: str, chosen: Checked, other: Checked) -> int:
        return seed_for(self.seed, f"{key}/{chosen.number}/{other.number}", "draw")

    def _pair(self, clip: Material, chosen: Checked, other: Checked) -> PreferenceSample:
        key = sample_key(clip.key, FAMILY, TASK, chosen.number, other.number)
        question = self.wording.pick(f"{clip.media.kind}.question", seed_for(self.seed, key, "question"))
        sides = [Turn(Role.ASSISTANT, defused(side.text), (), (), ()) for side in (chosen, other)]
        label = Label((f"answers about {clip.key}",), UNMEASURED, "model:false_statements", ACCEPTED)
        turns = (Turn(Role.USER, question, (), (), ()), sides[0])
        base = sample(clip, key, FAMILY, TASK, clip.frames, turns, label)
        how = Perturbation(
            kind="sampled",
            of="claims",
            strength=other.false / len(other.facts),
            stage=0,
            items=len(other.facts),
            order=(),
            seed=self.seed,
        )
        claims = (*_claims(clip.key, chosen, rejected=False), *_claims(clip.key, other, rejected=True))
        margin = float(other.false - chosen.false)
        own = {"rejected": (sides[1],), "perturbation": how, "claims": claims, "margin": margin}
        return widened(PreferenceSample, base, **own)


def checked(answers: Sequence[str], facts: Sequence[CheckedFact]) -> list[Checked]:
    """Answers that have statements, the first of each text (case and spaces aside)."""
    of: dict[int, list[CheckedFact]] = defaultdict(list)
    for fact in facts:
        of[fact.answer].append(fact)
    first: dict[str, Checked] = {}
    for number, text in enumerate(answers):
        if of[number]:
            first.setdefault(" ".join(text.casefold().split()), Checked(number, text, tuple(of[number])))
    return list(first.values())


def _claims(key: str, side: Checked, *, rejected: bool) -> list[Claim]:
    return [Claim(f.text, rejected, f.holds, (f"answer {side.number} about {key}",)) for f in side.facts]
