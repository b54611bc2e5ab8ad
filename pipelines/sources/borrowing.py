"""Rows of finished datasets, with phrases that were listed of other clips: questions about what does not happen.

Phrases are dealt from what is listed when a row is made: of the clips that follow a place drawn from the row's own key,
those of another source file, one phrase each. A row that is made keeps its phrases when media are added.

    clip a of film 1, listed: "a dog runs"    clip b of film 2, listed: "a man waves"
    phrases of a: "a man waves" from b
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from reelmill.annotators.borrow import LENDERS
from reelmill.annotators.clauses import alike
from reelmill.annotators.list_events import LISTED
from reelmill.annotators.localise import PHRASES
from reelmill.pipelines._recipe import Load, Place, Recipe
from reelmill.pipelines.sources.rows import Parts, Rows, accepted_keys, suffix_of
from reelmill.schemas.column import Column
from reelmill.schemas.keys import seed_for
from reelmill.sinks.dataset import Dataset
from reelmill.sinks.state import keyed
from reelmill.sinks.state.keyed import Numbered

_LOOKED_AT = 4
"""Clips that are looked at for each phrase: some are of the same film, empty, or list what this clip has too."""


@dataclass(frozen=True)
class Borrowing(Rows):
    """`most` phrases for a row, by `seed`. One of `joined` gives LISTED."""

    most: int = 2
    seed: int = 0

    @property
    def listed(self) -> Recipe:
        return next(recipe for recipe in self.joined if LISTED in recipe.keeps)

    @property
    def gives(self) -> tuple[Column, ...]:
        return (*super().gives, PHRASES, LENDERS)

    def identity(self) -> dict[str, Any]:
        return super().identity() | {"borrows": self.most, "seed": self.seed}

    def reads(self, recipe: Recipe) -> tuple[str, ...] | None:
        needed = super().reads(recipe)
        return None if needed is None else (*needed, LISTED.name)

    def open(self, place: Place, recipe: Recipe) -> Load:
        own, lenders = super().open(place, recipe), _Lenders(self, place)

        def load(keys: Sequence[str]) -> pa.Table:
            table = own(keys)
            dealt = lenders.deal(table)
            for column, item in ((PHRASES, 0), (LENDERS, 1)):
                values = [[pair[item] for pair in pairs] for pairs in dealt]
                table = table.append_column(column.stored, pa.array(values, column.field.type))
            return table

        return load


class _Lenders:
    """The clips that have a list. Holds their keys, and a few parts at a time."""

    def __init__(self, source: Borrowing, place: Place) -> None:
        self.source = source
        self.base, self.listed = place.dataset(source.base), place.dataset(source.listed)

    @cached_property
    def keys(self) -> keyed.Keys:
        return keyed.ascending(accepted_keys(self.listed, "")[0])

    @cached_property
    def lists(self) -> Parts:
        return _parts(self.listed)

    @cached_property
    def clips(self) -> Parts:
        return _parts(self.base)

    def deal(self, table: pa.Table) -> list[list[tuple[str, str]]]:
        """For each row the phrases that it borrows, with the key of the lender."""
        rows = table.select(["key", "media", LISTED.name]).to_pylist()
        near = {row["key"]: self._near(row["key"]) for row in rows}
        wanted = sorted({k for keys in near.values() for k in keys})
        lent = self._lent(wanted)
        return [self._borrowed(row, [(k, *lent[k]) for k in near[row["key"]]]) for row in rows]

    def _near(self, key: str) -> list[str]:
        """Keys of the clips to look at, from a place that is the row's own."""
        count = len(self.keys)
        start = seed_for(self.source.seed, key, "borrow") % max(1, count)
        places = [(start + i) % count for i in range(min(count, self.source.most * _LOOKED_AT))]
        return keyed.strings(self.keys[places]) if places else []

    def _lent(self, keys: Sequence[str]) -> dict[str, tuple[str, list[str]]]:
        """For each clip the digest of its film and its listed phrases."""
        if not keys:
            return {}
        digests = pc.struct_field(self.clips.of(keys)["media"], "digest").to_pylist()
        lists = self.lists.of(keys)[LISTED.name].to_pylist()
        said = [[event["phrase"] for event in events or []] for events in lists]
        return dict(zip(keys, zip(digests, said, strict=True), strict=True))

    def _borrowed(self, row: dict[str, Any], lenders: Sequence[tuple[str, str, list[str]]]) -> list[tuple[str, str]]:
        own = [event["phrase"] for event in row[LISTED.name] or []]
        found: list[tuple[str, str]] = []
        for lender, digest, phrases in lenders:
            strange = [p for p in phrases if not any(alike(p, o) for o in (*own, *(f for f, _ in found)))]
            if digest != row["media"]["digest"] and strange and len(found) < self.source.most:
                choice = seed_for(self.source.seed, row["key"], f"borrow {lender}") % len(strange)
                found.append((strange[choice], lender))
        return found


def _parts(dataset: Dataset) -> Parts:
    suffix = suffix_of(dataset)
    return Parts(dataset, suffix, Numbered.of(*accepted_keys(dataset, "")), dataset.parts(suffix))
