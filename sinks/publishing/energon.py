"""Energon's `.nv-meta`: the shards of each split and how many samples each holds, so that no `prepare` is needed.

Samples vary in their number of frames, and so they are offered as crude samples: the trainer's cooker picks members.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from reelmill.schemas.points import reach
from reelmill.sinks.shards import Shard

FOLDER = ".nv-meta"
_SPLITS = ("train", "val", "test")
_DATASET = "__module__: megatron.energon\n__class__: CrudeWebdataset\n"


def write_meta(root: Path, shards: Sequence[Shard]) -> list[str]:
    """Write `.nv-meta` under `root`; returns the names of its files."""
    folder = root / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    counts = {s.name: s.samples for s in shards}
    texts = {
        "dataset.yaml": _DATASET,
        "split.yaml": _split_yaml(shards),
        ".info.json": json.dumps({"energon_version": None, "shard_counts": counts}, indent=2) + "\n",
    }
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")
        reach("meta.written")
    return [f"{FOLDER}/{name}" for name in sorted(texts)]


def _split_yaml(shards: Sequence[Shard]) -> str:
    lines = ["split_parts:"]
    for split in _SPLITS:
        names = [s.name for s in shards if s.split == split]
        lines += [f"  {split}:", *(f"  - {name}" for name in names)] if names else [f"  {split}: []"]
    return "\n".join([*lines, "exclude: []", ""])
