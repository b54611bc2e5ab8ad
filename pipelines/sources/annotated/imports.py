"""The rows of an existing set as a source, each joined with the clip of the medium that it names.

A row of the set is a row here, whatever becomes of it: one that its reader refused, whose medium is missing, or whose
video was cut into several clips arrives rejected, with the reason. A row whose medium is still pending upstream stays
pending. Keys come from what a row says, so a set that grows appends, and a row that was edited is another row.

    {"image": "coco/1.jpg", ...} and FOLDER/coco/1.jpg      ->  the row with the picture's frame
    {"image": "../../etc/passwd", ...}                      ->  rejected: media_name_refused; nothing was opened
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pyarrow as pa

from reelmill.annotators.annotator import VERDICT
from reelmill.annotators.shown import FRAMES, MEDIA
from reelmill.pipelines._recipe import Load, Place, Recipe, in_order
from reelmill.pipelines.sources.annotated.naming import Names, of_digest
from reelmill.pipelines.sources.annotated.reading import Refused
from reelmill.pipelines.sources.annotated.set_file import SetFile, Told
from reelmill.pipelines.sources.annotated.spool import Spool, SpoolRow
from reelmill.pipelines.sources.annotated.validating import ANNOTATION
from reelmill.pipelines.sources.rows import BASE, PROVENANCE, Rows
from reelmill.schemas import arrow
from reelmill.schemas.column import KEY, Column
from reelmill.schemas.errors import BadInput, NotFound, Unusable
from reelmill.schemas.keys import child_key, media_key
from reelmill.schemas.verdict import rejected
from reelmill.sinks.state.snapshot import Entry

CLIP_KEY = Column.of("clip_key", str)
MATCH = "match_media"
"""The step that a row without a usable medium is rejected in."""
_SHARED = (MEDIA, FRAMES, BASE, PROVENANCE)
_AT_ONCE = 4096


@dataclass(frozen=True)
class ImportedRows:
    """The rows of the set's file `owner`, which may grow, over the clips of `base`; the path is no identity."""

    base: Recipe
    owner: SetFile

    @property
    def gives(self) -> tuple[Column, ...]:
        return (ANNOTATION, CLIP_KEY, *_SHARED)

    @property
    def upstreams(self) -> tuple[Recipe, ...]:
        return (self.base,)

    def identity(self) -> dict[str, Any]:
        return {"annotated_set": self.owner.name, "rows_of": {self.base.name: self.base.fingerprint_hash()}}

    def entries(self, place: Place, progress: Callable[[int, int], None]) -> list[Entry]:
        """A place in the file per row, also of refused ones. Raises what the reader does, BadInput for an empty set."""
        spool, file = self.spool(place), self.owner.path.name
        spool.fill(progress)
        found = [
            Entry(row.key, f"{file}#{number}", None, row.size, "", "", None, live=True)
            for number, row in enumerate(spool.listed(), 1)
        ]
        if not found:
            raise self._empty()
        return found

    def require_rows(self) -> None:
        """Raise before any work what would be raised after the media were cut: NotFound, or BadInput."""
        if next(self.rows(), None) is None:
            raise self._empty()

    def _empty(self) -> BadInput:
        return BadInput(
            f"annotated set {str(self.owner.path)!r}", seen="no row", do=f"check that it is {self.owner.name}"
        )

    def rows(self) -> Iterator[SpoolRow]:
        for one in self.owner.told():
            yield SpoolRow(_key(self.owner.name, one), one.media, one.text)

    def spool(self, place: Place) -> Spool:
        return Spool(place.cache / "annotated" / f"{self.base.name}-{self.owner.name}-{place.slug}.sqlite", self.rows)

    def open(self, place: Place, recipe: Recipe) -> Load:
        return _Joined(self, place, recipe).load

    def ready(self, place: Place, recipe: Recipe, keys: Sequence[str]) -> list[str]:
        """Those of `keys` that can be judged: their medium is identified and cut, or certainly not there."""
        joined = _Joined(self, place, recipe)
        groups = [keys[i : i + _AT_ONCE] for i in range(0, len(keys), _AT_ONCE)]
        return [key for group in groups for key in joined.judged(group)]


def _key(set: str, one: Told) -> str:
    """Of what a row says. A refused row has its place as identity: two of them may be refused in the same words."""
    if isinstance(one.row, Refused):
        return child_key("", "imported", set, one.place + 1, f'{{"refused":{one.body}}}')
    return child_key("", "imported", set, one.body)


class _Joined:
    """Answers groups of keys of one run."""

    def __init__(self, source: ImportedRows, place: Place, recipe: Recipe) -> None:
        self.spool = source.spool(place)
        self.media = place.dataset(in_order(source.base)[0])
        self.clips = place.dataset(source.base)
        self.places = place.media
        self._load = Rows(source.base).open(place, recipe)
        self.schema = pa.schema([KEY.field, *(c.stored for c in source.gives), VERDICT.field])

    @cached_property
    def names(self) -> Names:
        inputs = self.media.inputs
        if inputs is None:
            raise NotFound(f"dataset {self.media.label}", seen="no listing of it", do="run its recipe")
        return Names(inputs, self.places)

    @cached_property
    def _units(self) -> Any:
        return of_digest([self.media.part(n, "children", ["media", "verdict"]) for n in self.media.parts("children")])

    @cached_property
    def _clips(self) -> Any:
        return of_digest([self.clips.part(n, "children", ["media", "verdict"]) for n in self.clips.parts("children")])

    def judged(self, keys: Sequence[str]) -> list[str]:
        """Those of `keys` whose medium is not pending upstream."""
        named = zip(keys, self.spool.of(keys), strict=True)
        return [key for key, (name, _) in named if not name or self._done(name)]

    def _done(self, name: str) -> bool:
        try:
            digest = self.names.digest(name)
        except Unusable:
            return True  # certainly not there, which `clip` tells
        units = [u["key"] for u in self._units.of(digest) if u["accepted"]]
        known = self.media.winners.numbered.get(media_key(digest), -1) >= 0
        return known and bool((self.clips.winners.numbered.numbers(units) >= 0).all())

    def clip(self, name: str) -> str:
        """Key of the clip that is the whole of a medium. Raises Unusable."""
        digest = self.names.digest(name)
        units, clips = [u for u in self._units.of(digest) if u["accepted"]], self._clips.of(digest)
        if len(units) > 1 or len(clips) > 1:
            seen = f"{len(clips)} clips in {len(units)} units, the row speaks of the whole"
            do = "take films of at most 60 s as they are with --whole (--set whole=true)"
            raise Unusable("video_was_cut", f"{seen}; {do}")
        if not clips or not clips[0]["accepted"]:
            why = clips[0]["reason"] if clips else "it gave no clip"
            raise Unusable("media_unusable", f"{why}; `reelmill rejects` of {self.media.name} or {self.clips.name}")
        return str(clips[0]["key"])

    def load(self, keys: Sequence[str]) -> pa.Table:
        rows = [self._row(key, *held) for key, held in zip(keys, self.spool.of(keys), strict=True)]
        wanted = list(dict.fromkeys(row["clip_key"] for row in rows if row["clip_key"]))
        held = self._load(wanted).select(["key", *(c.name for c in _SHARED)]).to_pylist() if wanted else []
        shared = {clip.pop("key"): clip for clip in held}
        return pa.Table.from_pylist([row | shared.get(row["clip_key"], {}) for row in rows], schema=self.schema)

    def _row(self, key: str, name: str, text: str) -> dict[str, Any]:
        held = json.loads(text)
        row: dict[str, Any] = {"key": key, "annotation": held.get("annotation"), "clip_key": None, "verdict": None}
        if refused := held.get("refused"):
            seen = f"{refused['original_id']}: {refused['detail']}"
            return row | {"verdict": arrow.plain(rejected("read_set", refused["reason"], seen))}
        try:
            return row | {"clip_key": self.clip(name)}
        except Unusable as no:
            seen = f"{row['annotation']['original_id']}: {no.detail}"
            return row | {"verdict": arrow.plain(rejected(MATCH, no.reason, seen))}
