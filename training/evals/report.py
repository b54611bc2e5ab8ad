"""One evaluation: its rows, their means with intervals and floors, and the file that holds them.

A mean over everything hides what was not learned, so means stand by task, and in it by verb, by number of things and by
the perturbation of a pair. All are means over rows (macro); `lm_ppl` is exp of the mean `nll` over tokens, and CIDEr-D
is the mean over sentences as always. The bytes of a file depend on the rows alone.

    report.save(Path("runs/a/evaluation.json"));  Report.load(Path("runs/a")).figures()
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from itertools import groupby
from pathlib import Path
from typing import Any

from reelmill.schemas.errors import BadInput, NotFound
from reelmill.schemas.keys import canonical_json
from reelmill.training.evals.intervals import Mean, mean_of
from reelmill.training.evals.scores import Score, Start

FORMAT = 1
FILE = "evaluation.json"
ALL = "all"
BY = ("verb", "objects", "kind")
"""Besides all rows of a task, its rows by these."""
PERPLEXITY = "lm_ppl"


@dataclass(frozen=True, slots=True)
class Figure:
    """One measure of some rows of a task: those of one verb, number of objects or kind, or all of them. `unread` rows
    could not be read and count as wrong. Floors are means over the rows that have them, `None` where not all do."""

    family: str
    task: str
    by: str
    name: str
    measure: str
    mean: Mean
    unread: int
    prior: float | None
    question_only: float | None


@dataclass(frozen=True, slots=True)
class Report:
    """An evaluation of `run` on `dataset`. `history` says what stood in earlier rounds; `facts` are whatever else
    should be known of it (the checkpoint, the split, the decoding), as strings."""

    run: str
    dataset: str
    history: str
    scores: tuple[Score, ...]
    starts: tuple[Start, ...] = ()
    facts: Mapping[str, str] = field(default_factory=dict)

    def figures(self) -> list[Figure]:
        """Every measure of every group of rows, by family, task, group and measure."""
        return figures(self.scores)

    def save(self, path: Path) -> Path:
        """Write the file, rows by column; returns its path."""
        path.parent.mkdir(parents=True, exist_ok=True)
        head = {"format": FORMAT, "run": self.run, "dataset": self.dataset, "history": self.history}
        body = {
            "facts": dict(self.facts),
            "scores": _columns(Score, self.scores),
            "starts": _columns(Start, self.starts),
            "figures": [asdict(f) for f in self.figures()],
        }
        half = path.with_name(f".{path.name}")
        half.write_text(canonical_json(head | body) + "\n", encoding="utf-8")
        half.replace(path)
        return path

    @classmethod
    def load(cls, place: Path) -> Report:
        """Read a file, or the one in a folder. Raises NotFound where there is none, BadInput where it is another."""
        path = place / FILE if place.is_dir() else place
        if not path.is_file():
            raise NotFound(f"evaluation {path}", do=f"give a folder with {FILE} in it, or such a file")
        try:
            said = json.loads(path.read_bytes())
            if said["format"] > FORMAT:
                raise BadInput(f"evaluation {path}", seen=f"format {said['format']}", do="update reelmill")
            rows = tuple(_rows(Score, said["scores"]))
            starts = tuple(_rows(Start, said["starts"]))
            return cls(said["run"], said["dataset"], said["history"], rows, starts, said["facts"])
        except (ValueError, KeyError, TypeError) as error:
            raise BadInput(f"evaluation {path}", seen=f"{type(error).__name__}: {error}", do="evaluate anew") from error


def _columns(kind: type[Any], rows: Iterable[Any]) -> dict[str, list[Any]]:
    held = list(rows)
    return {f.name: [getattr(row, f.name) for row in held] for f in fields(kind)}


def _rows(kind: type[Any], columns: Mapping[str, Sequence[Any]]) -> Iterator[Any]:
    names = [f.name for f in fields(kind)]
    return (kind(*values) for values in zip(*(columns[n] for n in names), strict=True))


def figures(scores: Sequence[Score]) -> list[Figure]:
    """As `Report.figures`, of any rows."""
    out = [_figure(group, rows) for group, rows in grouped(scores)]
    return sorted((f for found in out for f in found), key=_order)


def grouped(scores: Iterable[Score]) -> Iterator[tuple[tuple[str, str, str, str, str], list[Score]]]:
    """Rows by (family, task, by, name, measure); each row stands in `all` and in each group that it has a name in."""
    named = [
        ((s.family, s.task, by, name, s.measure), s)
        for s in scores
        for by, name in ((ALL, ""), *((by, _name(s, by)) for by in BY))
        if by == ALL or name
    ]
    named.sort(key=lambda pair: (pair[0], pair[1].key))
    for group, pairs in groupby(named, key=lambda pair: pair[0]):
        yield group, [score for _, score in pairs]


def _name(score: Score, by: str) -> str:
    value = getattr(score, by)
    return "" if value is None else str(value)


def _order(figure: Figure) -> tuple[str, str, int, int, str, str]:
    number = int(figure.name) if figure.by == "objects" else 0
    return figure.family, figure.task, (ALL, *BY).index(figure.by), number, figure.name, figure.measure


def _figure(group: tuple[str, str, str, str, str], rows: Sequence[Score]) -> Iterator[Figure]:
    weights = [s.weight for s in rows]
    mean = mean_of([s.value for s in rows], [s.source for s in rows], weights)
    floors = (_floor([s.prior for s in rows], weights), _floor([s.question_only for s in rows], weights))
    family, task, by, name, measure = group
    yield Figure(family, task, by, name, measure, mean, sum(not s.read for s in rows), *floors)
    if measure == "nll":
        low, high = (None if end is None else math.exp(end) for end in (mean.low, mean.high))
        told = replace(mean, mean=math.exp(mean.mean), low=low, high=high)
        yield Figure(family, task, by, name, PERPLEXITY, told, 0, None, None)


def _floor(values: Sequence[float | None], weights: Sequence[float]) -> float | None:
    known = [(v, w) for v, w in zip(values, weights, strict=True) if v is not None]
    if len(known) < len(values):
        return None
    return sum(v * w for v, w in known) / sum(w for _, w in known)
