"""Stages of a run from pretrained weights: which parts learn in which share of the steps, and how fast.

    Stages.of(variant.phases)      LLaVA-1.5: the projector for 0.46 of all steps, then it and the language model

The rates of a paper's phases count against the highest of them, which is the run's own rate: `--rate` scales all. Each
stage warms up and falls by itself, as papers train them one after another.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from reelmill.training.variants.variant import Phase

_PRETRAINED = ("tower", "lm")
"""Parts that stay as they are where a phase does not name them; what a variant adds learns with its reducer."""


@dataclass(frozen=True, slots=True)
class Stages:
    """Shares of the steps, and for each the factors of its parts; none: all parts learn from the first step on."""

    shares: tuple[float, ...] = ()
    factors: tuple[Mapping[str, float], ...] = ()

    @classmethod
    def of(cls, phases: Sequence[Phase]) -> Stages:
        """Shares are brought to a sum of 1."""
        whole = sum(phase.share for phase in phases)
        highest = max((rate for phase in phases for rate in phase.rates.values()), default=1.0)
        factors = tuple({name: rate / highest for name, rate in phase.rates.items()} for phase in phases)
        return cls(tuple(phase.share / whole for phase in phases), factors)

    def starts(self, steps: int) -> list[int]:
        """The first step of each stage, and the end."""
        done = [sum(self.shares[:i]) for i in range(len(self.shares))]
        return [*(round(share * steps) for share in done), steps]

    def at(self, step: int, steps: int) -> tuple[int, int, int]:
        """The stage of a step, how many of its own steps are done, and how many it has."""
        if not self.shares:
            return 0, step, steps
        starts = self.starts(steps)
        stage = max(i for i in range(len(self.shares)) if starts[i] <= step)
        return stage, step - starts[stage], starts[stage + 1] - starts[stage]

    def factor(self, stage: int, part: str) -> float:
        """What the rate of a part is multiplied by in a stage; 0: it does not learn."""
        if not self.factors:
            return 1.0
        said = self.factors[stage]
        return said.get(part, 0.0 if part in _PRETRAINED else said.get("reducer", 0.0))

    def learns(self, part: str) -> bool:
        """Whether a part learns in any stage."""
        return not self.factors or any(self.factor(stage, part) for stage in range(len(self.factors)))
