"""What every view shares: a step that words samples from a file of phrasings, and what a clip lends to its samples.

class CompileCaption(Worded): ...    fills `needs`, `looked_at` and `_row`
"""

from __future__ import annotations

import abc
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, cast

import pyarrow as pa

from reelmill.annotators.annotator import Annotator, Resources, each_row, step_name
from reelmill.pipelines.views.phrasing import Material, Phrasings, load, phrasings_hash
from reelmill.schemas import arrow
from reelmill.schemas.column import Column
from reelmill.schemas.media import MediaRef, ShownFrame
from reelmill.schemas.provenance import Provenance
from reelmill.schemas.sample import Sample

SAMPLES = Column.of("samples", tuple[Sample, ...])


@dataclass(frozen=True, kw_only=True)
class Worded(abc.ABC):
    """A compile step. `phrasings` names a file of `pipelines/templates` (or package:file); its hash is identity."""

    seed: int = 0
    phrasings: str
    phrasings_hash: str = ""
    gives: ClassVar[tuple[Column, ...]] = (SAMPLES,)
    revision: ClassVar[str] = "1"
    resources: ClassVar[Resources] = Resources(rows_per_commit=256)
    looked_at: ClassVar[str]

    def __post_init__(self) -> None:
        object.__setattr__(self, "phrasings_hash", self.phrasings_hash or phrasings_hash(self.phrasings))

    def setup(self) -> None:
        """Raises Drift where this machine's phrasings are not those that the step was described with."""
        _ = self.wording

    @cached_property
    def wording(self) -> Phrasings:
        return load(self.phrasings, self.phrasings_hash)

    def __call__(self, batch: pa.Table) -> pa.Table:
        return each_row(cast(Annotator, self), batch, self._row)

    @abc.abstractmethod
    def _row(self, row: dict[str, Any]) -> dict[str, Any]:
        """The samples of one clip or picture. Raises Unusable where it gives none."""

    def material(self, row: dict[str, Any], model: str = "") -> Material:
        """What the samples of a row share, this step being the last link of their provenance."""
        link = Provenance(
            step=step_name(self),
            method="rules",
            revision=self.revision,
            model=model,
            prompt_hash=self.phrasings_hash,
            seed=self.seed,
            source_digest=row["media"]["digest"],
            observed=self.looked_at,
            dataset="",
        )
        return lent(row, link)


def lent(row: dict[str, Any], link: Provenance) -> Material:
    """What a clip or picture lends to its samples, `link` being the last of their provenance."""
    return Material(
        key=row["key"],
        media=arrow.typed(MediaRef, row["media"]),
        frames=arrow.typed(tuple[ShownFrame, ...], row["frames"]),
        dataset=row["clips_dataset"],
        provenance=(*arrow.typed(tuple[Provenance, ...], row["provenance"]), link),
    )
