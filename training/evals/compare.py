"""Two runs on the same questions: the difference of each score, with its paired interval and a test.

Pairing takes out what makes questions hard for both, so differences show that separate intervals would hide. Rows are
matched by key and measure and must be the same in both: a mean over other questions is no comparison.

p is not corrected for the number of comparisons; of twenty groups one is below 0.05 by chance.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from reelmill.schemas.errors import BadInput
from reelmill.training.evals.intervals import Paired, paired
from reelmill.training.evals.report import Report, grouped
from reelmill.training.evals.scores import Score

_SHOWN = 3

Row = tuple[str, str]
"""Key and measure."""


@dataclass(frozen=True, slots=True)
class Compared:
    """One measure of one group in both runs. `found.difference` is that of `second` less `first`."""

    family: str
    task: str
    by: str
    name: str
    measure: str
    first: float
    second: float
    found: Paired


def compare(first: Report, second: Report) -> list[Compared]:
    """The second run less the first, by task and in it by verb, number of things and kind.

    Raises BadInput where datasets, histories or rows differ, with how many rows and which.
    """
    _require_same(first, second)
    values = {(s.key, s.measure): s.value for s in second.scores}
    return [_compared(group, rows, [values[s.key, s.measure] for s in rows]) for group, rows in grouped(first.scores)]


def _compared(group: tuple[str, str, str, str, str], rows: Sequence[Score], other: Sequence[float]) -> Compared:
    own, weights = [s.value for s in rows], [s.weight for s in rows]
    found = paired(other, own, [s.source for s in rows], weights)
    first = sum(v * w for v, w in zip(own, weights, strict=True)) / sum(weights)
    return Compared(*group, first, first + found.difference.mean, found)


def _require_same(first: Report, second: Report) -> None:
    for name in ("dataset", "history"):
        one, two = getattr(first, name), getattr(second, name)
        if one != two:
            raise BadInput(f"runs of another {name}", seen=f"{one} and {two}", do="evaluate both alike")
    sides: list[dict[Row, Score]] = [{(s.key, s.measure): s for s in run.scores} for run in (first, second)]
    alone = [sorted(side.keys() - other.keys()) for side, other in (sides, sides[::-1])]
    if any(alone):
        told = [f"{len(a)} rows only in {run.run!r}{_some(a)}" for a, run in zip(alone, (first, second), strict=True)]
        raise BadInput("runs with other questions", seen="; ".join(told), do="evaluate both on the same samples")
    other = [key for key, s in sides[0].items() if (s.weight, s.source) != (sides[1][key].weight, sides[1][key].source)]
    if other:
        seen = f"{len(other)} rows of another weight or source{_some(sorted(other))}"
        raise BadInput("runs with other answers", seen=seen, do="evaluate both with one tokeniser and one dataset")


def _some(rows: Sequence[Row]) -> str:
    shown = ", ".join(f"{key} {measure}" for key, measure in rows[:_SHOWN])
    return f" ({shown}{', ...' if len(rows) > _SHOWN else ''})" if rows else ""
