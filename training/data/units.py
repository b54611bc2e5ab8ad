"""What is drawn from a split: each sample alone, or all samples of one clip, so that its video is encoded once.

Samples of a clip (sinks/publishing/linked.py) lie all over the shards, since their keys are hashes: the pack's table of
samples says which belong together. A joined document has a branch for each; pairs and streams keep documents of
their own.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow.parquet as pq

from reelmill.schemas.errors import Corrupt
from reelmill.sinks.publishing.packed import PackedPreference, PackedSample, PackedStream
from reelmill.training.data.shards import Split


@dataclass(frozen=True)
class Units:
    """`ends[i]` is how many units lie in the first i + 1 shards; a unit lies where its first sample does. `groups` are
    the samples of each unit, None where every sample is one."""

    ends: tuple[int, ...]
    groups: tuple[tuple[int, ...], ...] | None = None

    def numbers(self, unit: int) -> tuple[int, ...]:
        """The samples of a unit, by their numbers in the split."""
        return (unit,) if self.groups is None else self.groups[unit]


def alone(split: Split) -> Units:
    """Every sample a unit."""
    return Units(split.ends)


def together(split: Split, most: int) -> Units:
    """The samples of each clip, at most `most` in a unit. Raises Corrupt where the pack's table does not say."""
    clips: dict[str, list[int]] = {}
    for number, clip in enumerate(_clip_keys(split)):
        clips.setdefault(clip, []).append(number)
    groups = [tuple(of[i : i + most]) for of in clips.values() for i in range(0, len(of), most)]
    groups.sort()
    firsts = [group[0] for group in groups]
    return Units(tuple(bisect_left(firsts, end) for end in split.ends), tuple(groups))


def _clip_keys(split: Split) -> list[str]:
    """The clip of every sample, by number: the table is sorted by key, as shards are."""
    files = sorted((split.root / "tables" / "samples" / f"split={split.split}").glob("*.parquet"))
    clips: list[str] = []
    for file in files:
        clips += pq.ParquetFile(file).read(columns=["clip_key"])["clip_key"].to_pylist()
    if len(clips) != len(split):
        seen = f"{len(clips)} rows for {len(split)} samples"
        raise Corrupt(f"{split.label}: tables/samples of {split.split}", seen=seen, do="copy the whole pack")
    return clips


def documents_of(samples: Sequence[PackedSample]) -> list[list[PackedSample]]:
    """The samples of a unit by document: together are dialogues about the same frames of the same time."""
    found: dict[object, list[PackedSample]] = {}
    for sample in samples:
        frames = tuple((f.dataset, f.key, f.frame) for f in sample.frames)
        own = sample.key if isinstance(sample, PackedPreference | PackedStream) else ""
        found.setdefault((own, sample.media.digest, sample.media.span, frames), []).append(sample)
    return list(found.values())
