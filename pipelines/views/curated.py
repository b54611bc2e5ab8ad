"""The curated view: a clip or picture as it is, with what was measured of it and no word said about it.

clip of 75 frames, shown at 0, 0.5 ... 2.5 s, motion 0.031
gives   a sample of these six frames, no turns, facts.motion 0.031
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import pyarrow as pa

from reelmill.annotators.annotator import Resources, each_row, step_name
from reelmill.annotators.shown import FRAMES, MEDIA
from reelmill.pipelines.sources.rows import BASE, PROVENANCE
from reelmill.pipelines.views.phrasing import sample_key
from reelmill.pipelines.views.worded import lent
from reelmill.schemas import arrow
from reelmill.schemas.clip import ClipStats
from reelmill.schemas.column import KEY, Column
from reelmill.schemas.errors import Unusable
from reelmill.schemas.media import Kind
from reelmill.schemas.provenance import Provenance
from reelmill.schemas.sample import WORDLESS, ClipFacts, CuratedSample
from reelmill.schemas.verdict import ACCEPTED

FAMILY = "curated"
SAMPLES = Column.of("samples", tuple[CuratedSample, ...])
NUM_FRAMES = Column.of("num_frames", int)
STILL = Column.of("still", bool)
STATS = Column.of("stats", ClipStats | None)


@dataclass(frozen=True, kw_only=True)
class CompileCurated:
    """One sample per clip or picture. `min_motion` is asked of videos alone; units as in `ClipStats`."""

    min_motion: float = 0.0
    min_sharpness: float = 0.0
    needs: ClassVar[tuple[Column, ...]] = (KEY, MEDIA, FRAMES, NUM_FRAMES, STILL, STATS, BASE, PROVENANCE)
    gives: ClassVar[tuple[Column, ...]] = (SAMPLES,)
    revision: ClassVar[str] = "1"
    resources: ClassVar[Resources] = Resources(rows_per_commit=256)

    def setup(self) -> None:
        """Nothing to make ready."""

    def __call__(self, batch: pa.Table) -> pa.Table:
        return each_row(self, batch, self._row)

    def _row(self, row: dict[str, Any]) -> dict[str, Any]:
        stats: ClipStats | None = arrow.typed(ClipStats | None, row["stats"])
        if stats is None:
            raise Unusable("no_stats", "nothing was measured of the clip")
        self._judge(row["media"]["kind"], stats)
        clip = lent(row, self._link(row["media"]["digest"]))
        made = CuratedSample(
            key=sample_key(clip.key, FAMILY, WORDLESS),
            parent_key=clip.key,
            family=FAMILY,
            task=WORDLESS,
            media=clip.media,
            frames=clip.refs(clip.frames),
            turns=(),
            evidence=(),
            label_confidence=1.0,  # nothing is claimed, so nothing can be wrong
            method="rules",
            provenance=clip.provenance,
            verdict=ACCEPTED,
            facts=ClipFacts(num_frames=row["num_frames"], still=row["still"], **arrow.plain(stats)),
        )
        return {"samples": (made,)}

    def _judge(self, kind: str, stats: ClipStats) -> None:
        if kind == Kind.VIDEO and stats.motion < self.min_motion:
            raise Unusable("too_little_motion", f"motion {stats.motion:.6f}, under {self.min_motion:g}")
        if stats.sharpness < self.min_sharpness:
            raise Unusable("not_sharp", f"sharpness {stats.sharpness:.1f}, under {self.min_sharpness:g}")

    def _link(self, digest: str) -> Provenance:
        return Provenance(
            step=step_name(self),
            method="rules",
            revision=self.revision,
            model="",
            prompt_hash="",
            seed=None,
            source_digest=digest,
            observed="the facts of the clip",
            dataset="",
        )
