"""Media by the names that somebody else's set gives them: matched against what was listed, never opened by them.

A set says `coco/train2017/1.jpg`, a folder holds `train2017/1.jpg`: they are one file where the shorter of the two
paths is the end of the longer. Equal last parts are not enough: `vg/1.jpg` and `gqa/1.jpg` are two pictures.

    names.digest("coco/train2017/1.jpg")     ->  the digest of FOLDER/train2017/1.jpg
"""

from __future__ import annotations

import posixpath
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from reelmill.schemas.errors import Unusable
from reelmill.sinks.state import keyed
from reelmill.sinks.state.keyed import Keys

_TOLD = 3


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
        last = pa.array([posixpath.basename(u) for u in live["uri"].to_pylist()], pa.string())
        self._listed = Sorted(live.append_column("last", last), "last")

    def digest(self, name: str) -> str:
        """The digest of the one medium that a set's name stands for.

        Raises Unusable: media_missing, media_ambiguous (several files of other content fit), media_name_refused (it
        climbs out of its folder), media_unreadable.
        """
        said = [] if "://" in name else _parts(name)
        last = said[-1] if said else posixpath.basename(name)
        found = [row for row in self._listed.of(last) if self._fits(name, said, row["uri"])]
        if not found:
            raise Unusable("media_missing", f"no listed file is named {name[:200]!r}")
        digests = {row["digest"] for row in found}
        if len(digests) > 1:
            told = ", ".join(row["uri"] for row in found[:_TOLD])
            raise Unusable("media_ambiguous", f"{name[:200]!r} fits {len(found)} files: {told}")
        digest: str | None = digests.pop()
        if digest is None:
            raise Unusable("media_unreadable", str(found[0]["problem"]))
        return digest

    def _fits(self, name: str, said: list[str], uri: str) -> bool:
        """A URI is only itself; of two paths the shorter has to be the end of the longer."""
        if not said or "://" in uri:
            return name == uri
        held = Path(uri).parts
        folder = next((f for f in self.folders if held[: len(f)] == f), ())
        own = held[len(folder) :]
        return held[-len(said) :] == tuple(said) or tuple(said[-len(own) :]) == own


def _parts(path: str) -> list[str]:
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
