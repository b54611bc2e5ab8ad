"""What links the samples of one clip: its key, however many views, flips and mixes a sample has been through.

A sample's `parent_key` names the row that it was made from: a clip for a view, another sample for a flipped view or a
mix. Its frames keep the key of the clip that stored them, and that is the link.

    internvid_tg   parent_key = clip      frames[].key = clip      clip_key = clip
    flipped        parent_key = sample    frames[].key = clip      clip_key = clip
    mix            parent_key = sample    frames[].key = clip      clip_key = clip
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol


class Stored(Protocol):
    """A reference to a frame that a dataset stores under `key`."""

    @property
    def key(self) -> str: ...


CLIP_KEY = """case when coalesce(len(frames), 0) = 0 then parent_key
  when list_contains(list_transform(frames, lambda f: f.key), parent_key) then parent_key else frames[-1].key end"""
"""`clip_key` as SQL over the columns of a sample."""

LINKED = """select clip_key, min(source_digest) as source_digest, count(*) as samples,
  list_sort(list(distinct family)) as families, list_sort(list(distinct task)) as tasks, list(key order by key) as keys
from {samples} group by clip_key"""
"""One row for each clip, with all of its samples, over a table with `clip_key` and `source_digest`."""


def clip_key(parent_key: str, frames: Sequence[Stored]) -> str:
    """Key of the clip (or picture) that a sample is about.

    `parent_key` where its frames are stored under that one or it has none; else where the last of them is stored: those
    of the clip before, which some captions look at too, come first.
    """
    if not frames or any(f.key == parent_key for f in frames):
        return parent_key
    return frames[-1].key
