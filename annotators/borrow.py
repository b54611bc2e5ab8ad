"""Phrases of other clips with all that localisers say of them here, as one column.

phrases ("a dog runs",), asked_phrases (Proposal("asking", None, 0.5),), similar (Proposal("similarity", None, 0.0),)
  ->  borrowed (BorrowedPhrase("a dog runs", from_key, both proposals),)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import pyarrow as pa

from reelmill.annotators.agree import BORROWED, by_similarity
from reelmill.annotators.annotator import Resources, each_row
from reelmill.annotators.ask_spans import ASKED_PHRASES
from reelmill.annotators.localise import PHRASES, SIMILAR, SIMILAR_SPANS
from reelmill.schemas import arrow
from reelmill.schemas.column import KEY, Column
from reelmill.schemas.event import BorrowedPhrase, Proposal
from reelmill.schemas.span import Span

LENDERS = Column.of("lenders", tuple[str, ...])
"""For each of a row's phrases the key of the clip that it was listed of."""


@dataclass(frozen=True)
class HoldBorrowed:
    """Joins phrases, lenders and proposals. `similar`: whether similarities are among them."""

    similar: bool = False
    gives: ClassVar[tuple[Column, ...]] = (BORROWED,)
    revision: ClassVar[str] = "1"
    resources: ClassVar[Resources] = Resources(rows_per_commit=32)

    @property
    def needs(self) -> tuple[Column, ...]:
        own = (KEY, PHRASES, LENDERS, ASKED_PHRASES)
        return (*own, SIMILAR, SIMILAR_SPANS) if self.similar else own

    def setup(self) -> None: ...

    def __call__(self, batch: pa.Table) -> pa.Table:
        return each_row(self, batch, self._row)

    def _row(self, row: dict[str, Any]) -> dict[str, Any]:
        said: list[Sequence[Proposal]] = [(p,) for p in arrow.typed(tuple[Proposal, ...], row["asked_phrases"])]
        if self.similar:
            similar = arrow.typed(tuple[Proposal, ...], row["similar"])
            spans = arrow.typed(tuple[tuple[Span, ...], ...], row["similar_spans"])
            said = [(*a, *by_similarity([p], s)[0]) for a, p, s in zip(said, similar, spans, strict=True)]
        parts = zip(row["phrases"], row["lenders"], said, strict=True)
        return {"borrowed": tuple(BorrowedPhrase(phrase, lender, tuple(p)) for phrase, lender, p in parts)}
