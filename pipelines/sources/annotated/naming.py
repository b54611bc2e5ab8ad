"""Media by the names that somebody else's set gives them: matched against what was listed, never opened by them.

A set says `coco/train2017/1.jpg`, a folder holds `train2017/1.jpg`: they are one file where the shorter of the two
paths is the end of the longer. A set may leave the suffix out (`v_QOlSCBRmfWY`), or name a medium by the digest of its
bytes (`sha256:` and 64 hex digits). What fits several is `media_ambiguous`.

    Names: a set's name to a listed file        names.digest("coco/train2017/1.jpg")
    Mentions: a medium to what a set calls it   mentions.of("/films/coco/train2017/1.jpg", digest)

`Names` knows the folders of a listing, so of pictures equal last parts are not enough: `vg/1.jpg` and `gqa/1.jpg` are
two. `Mentions` knows one medium alone; sets of videos name them by an id that is theirs alone, and a download has any
folder and container, so a last part that the set uses once is enough there.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from reelmill.schemas.errors import Unusable
from reelmill.sinks.state import keyed
from reelmill.sinks.state.keyed import Keys

DIGEST = "sha256:"
_SUFFIXES = (
    *(".mp4", ".mkv", ".webm", ".avi", ".mov", ".m4v", ".mpg", ".mpeg", ".ts", ".wmv", ".flv", ".3gp", ".ogv"),
    *(".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff"),
)
_TOLD = 4


def last_part(name: str) -> str:
    return name.replace("\\", "/").rstrip("/").rpartition("/")[2]


def stem(name: str) -> str:
    """The last part of a path without the suffix of a medium. What follows a point in a YouTube id's times is none.

    >>> stem("a/b/clip.MP4"), stem("bP5KfdFJzC4_660.0_810.0"), stem("sha256:ab")
    ('clip', 'bP5KfdFJzC4_660.0_810.0', 'sha256:ab')
    """
    last = last_part(name)
    head, point, tail = last.rpartition(".")
    return head if head and f"{point}{tail}".lower() in _SUFFIXES else last


def ends(path: Sequence[str], end: Sequence[str]) -> bool:
    """Whether the parts of a path end in those of another."""
    return tuple(path[-len(end) :]) == tuple(end)


def _ambiguous(name: str, fitting: Iterable[str]) -> Unusable:
    found = sorted(fitting)
    return Unusable("media_ambiguous", f"{name[:200]!r} fits {len(found)}: {', '.join(found[:_TOLD])}")


@dataclass(frozen=True)
class Sorted:
    """Rows of a table by one of its columns, which may hold a value many times."""

    table: pa.Table
    column: str

    @cached_property
    def _rows(self) -> pa.Table:
        return self.table.sort_by(self.column).combine_chunks()

    @cached_property
    def _values(self) -> Keys:
        return keyed.encoded(self._rows[self.column].to_pylist())

    def of(self, value: str) -> list[dict[str, Any]]:
        """The rows that hold a value."""
        first, end = (int(np.searchsorted(self._values, value.encode(), side)) for side in ("left", "right"))
        rows: list[dict[str, Any]] = self._rows.slice(first, end - first).to_pylist()
        return rows


class Names:
    """The files of a listing, by their names."""

    def __init__(self, inputs: pa.Table, places: Sequence[str]) -> None:
        live = inputs.filter(inputs["live"]).select(["uri", "digest", "problem"])
        self.folders = [Path(p).parts for p in places if "://" not in p and Path(p).is_dir()]
        stems = pa.array([stem(u) for u in live["uri"].to_pylist()], pa.string())
        self._listed, self._by_bytes = (
            Sorted(live.append_column("stem", stems), "stem"),
            Sorted(live.filter(pc.is_valid(live["digest"])), "digest"),
        )

    def digest(self, name: str) -> str:
        """The digest of the one medium that a set's name stands for.

        Raises Unusable: media_missing, media_ambiguous (several files of other content fit), media_name_refused (it
        climbs out of its folder), media_unreadable.
        """
        found = self._fitting(name)
        if not found:
            raise Unusable("media_missing", f"no listed file is named {name[:200]!r}")
        digests = {row["digest"] for row in found}
        if len(digests) > 1:
            raise _ambiguous(name, (row["uri"] for row in found))
        digest: str | None = digests.pop()
        if digest is None:
            raise Unusable("media_unreadable", str(found[0]["problem"]))
        return digest

    def _fitting(self, name: str) -> list[dict[str, Any]]:
        if name.startswith(DIGEST):
            return self._by_bytes.of(name.removeprefix(DIGEST))
        said = [] if "://" in name else _inside(name)
        return [row for row in self._listed.of(stem(name)) if self._fits(name, said, row["uri"])]

    def _fits(self, name: str, said: list[str], uri: str) -> bool:
        """A URI is only itself; of two paths the shorter has to be the end of the longer. The suffix counts where the
        set gives one."""
        if not said or "://" in uri:
            return name == uri
        held = Path(uri).parts
        folder = next((f for f in self.folders if held[: len(f)] == f), ())
        if stem(name) == said[-1]:
            held = (*held[:-1], stem(uri))
        own = held[len(folder) :]
        return ends(held, said) or ends(said, own)


class Mentions:
    """The names that a set gives to media, by what they may stand for. Holds names and keys, about 200 bytes a row."""

    def __init__(self, named: Iterable[tuple[str, str]]) -> None:
        """`named`: (the key of a row, the medium that it names)."""
        self._of: dict[str, list[tuple[str, str]]] = defaultdict(list)
        for key, name in named:
            self._of[stem(name)].append((key, name))

    def of(self, uri: str, digest: str) -> list[str]:
        """Keys of the rows about a medium, those that name its digest first.

        Raises Unusable("media_ambiguous") where the set has its last part for several media and none of their paths
        is the end of its own.
        """
        named = self._of.get(stem(uri), [])
        if len({name for _, name in named}) > 1:
            named = self._by_path(uri, named)
        return [key for key, _ in (*self._of.get(DIGEST + digest, ()), *named)]

    def _by_path(self, uri: str, named: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
        own = _parts(uri)
        fitting = [(key, name) for key, name in named if ends(own, _parts(name))]
        if len({name for _, name in fitting}) != 1:
            raise _ambiguous(last_part(uri), {name for _, name in named})
        return fitting


def _parts(uri: str) -> list[str]:
    """Parts of a path or URI, the last without the suffix of a medium."""
    *folders, _ = PurePosixPath(uri.partition("://")[2] or uri).parts
    return [*folders, stem(uri)]


def _inside(path: str) -> list[str]:
    """Parts of a path. Raises Unusable where it climbs: what it would lead to is nobody's to say."""
    parts = [p for p in path.replace("\\", "/").split("/") if p not in ("", ".")]
    if ".." in parts or not parts:
        raise Unusable("media_name_refused", f"{path[:200]!r} leads out of the folder")
    return parts


def of_digest(tables: Sequence[pa.Table]) -> Sorted:
    """Key, state and reason of units or clips, by the digest of their medium."""
    rows = [
        pa.table(
            {
                "key": t["key"],
                "digest": pc.struct_field(t["media"], "digest"),
                "accepted": pc.equal(pc.struct_field(t["verdict"], "state"), "accepted"),
                "reason": pc.struct_field(t["verdict"], "reason"),
            }
        )
        for t in tables
    ]
    kinds = [("key", pa.string()), ("digest", pa.string()), ("accepted", pa.bool_()), ("reason", pa.string())]
    return Sorted(pa.concat_tables([pa.schema(kinds).empty_table(), *rows]), "digest")
