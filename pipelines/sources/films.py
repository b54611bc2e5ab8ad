"""Whole source videos as rows: the clips of all units of one file in order of time, with the evidence of each.

Evidence is keyed by clip, a clip lies under a unit of at most 60 s, and a unit under its file. Here they are joined the
other way round: a row is a file, `film_clips` are its clips, and a column `c` of evidence is the list `film_c` with
one item for each of them, null where there is none. Times stay those of the clips; `FilmClip.starts_s` moves them.

    media  film -> units [0, 60) [60, 95)      clips 5 and 3      events of each clip
    row    film, film_clips (8), film_events ((...), (...), None, ...)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from reelmill.annotators.annotator import VERDICT
from reelmill.annotators.shown import MEDIA
from reelmill.pipelines._recipe import Load, Place, Recipe
from reelmill.pipelines.sources.rows import BASE, PROVENANCE, Parts, Rows, ready
from reelmill.schemas import arrow
from reelmill.schemas.column import KEY, Column, schema
from reelmill.schemas.media import Kind, MediaRef, ShownFrame
from reelmill.schemas.span import Span
from reelmill.schemas.verdict import State, Verdict
from reelmill.sinks.dataset import Dataset
from reelmill.sinks.state.snapshot import Entry


@dataclass(frozen=True, slots=True)
class FilmClip:
    """A clip as a part of its film. `media.span` is in the film's time, `frames` in the clip's; `verdict` is the cut's
    own, or that of the evidence which refused it."""

    key: str
    unit_key: str
    media: MediaRef
    frames: tuple[ShownFrame, ...]
    verdict: Verdict

    @property
    def span(self) -> Span:
        assert self.media.span is not None, "a film's clips have times"
        return self.media.span

    @property
    def starts_s(self) -> float:
        return self.span.start_s


FILM_CLIPS = Column.of("film_clips", tuple[FilmClip, ...])


def of_film(column: Column) -> Column:
    """A column of the clips' evidence as the film has it: one item for each clip.

    >>> of_film(Column.of("caption", str | None)).name
    'film_caption'
    """
    return Column.of(f"film_{column.name}", tuple[column.hint | None, ...])  # type: ignore[name-defined]


@dataclass(frozen=True)
class Films:
    """`clips` are rows over a dataset of clips whose units come from a dataset of media. Videos alone."""

    clips: Rows

    @property
    def _media(self) -> Recipe:
        return self.clips.base.source.upstreams[0]

    @property
    def _evidence(self) -> tuple[Column, ...]:
        return tuple(c for recipe in self.clips.joined for c in _given(recipe))

    @property
    def gives(self) -> tuple[Column, ...]:
        return (MEDIA, FILM_CLIPS, *(of_film(c) for c in self._evidence), BASE, PROVENANCE)

    @property
    def upstreams(self) -> tuple[Recipe, ...]:
        return (self._media, *self.clips.upstreams)

    def identity(self) -> dict[str, Any]:
        return {"films_of": self.clips.identity()}

    def entries(self, place: Place, progress: Callable[[int, int], None]) -> list[Entry]:
        """Files with an accepted video unit; `ready` tells which have all their evidence."""
        keys = sorted(set(_accepted(place.dataset(self._media), of_video=True).values()))
        progress(len(keys), len(keys))
        return [Entry.derived(key) for key in keys]

    def ready(self, place: Place, keys: Sequence[str]) -> list[str]:
        """Those of `keys` of which every unit is cut and every accepted clip has its evidence, or was refused it."""
        film_of, wanted = _accepted(place.dataset(self._media), of_video=True), set(keys)
        cut = place.dataset(self.clips.base)
        done = cut.winners.numbered.numbers(list(film_of)).tolist() if film_of else []
        waiting = {film for film, number in zip(film_of.values(), done, strict=True) if number < 0}
        clips = {clip: film_of[unit] for clip, unit in _accepted(cut).items() if unit in film_of}
        own = [clip for clip, film in clips.items() if film in wanted]
        complete = set(ready(self.clips, place, own)) if own else set()
        waiting |= {clips[clip] for clip in own if clip not in complete}
        return [key for key in keys if key not in waiting]

    def open(self, place: Place, recipe: Recipe) -> Load:
        return _Reader(self, place, self.clips.open(place, recipe)).load


def _given(recipe: Recipe) -> tuple[Column, ...]:
    return (*recipe.keeps, *((recipe.explode,) if recipe.explode is not None else ()))


def _accepted(dataset: Dataset, *, of_video: bool = False) -> dict[str, str]:
    """The parent of each accepted child."""
    found: dict[str, str] = {}
    for name in dataset.parts("children"):
        table = dataset.part(name, "children", ["verdict", "media"])
        table = table.filter(pc.equal(pc.struct_field(table["verdict"], "state"), str(State.ACCEPTED)))
        if of_video:
            table = table.filter(pc.equal(pc.struct_field(table["media"], "kind"), str(Kind.VIDEO)))
        found |= dict(zip(table["key"].to_pylist(), table["parent_key"].to_pylist(), strict=True))
    return found


class _Reader:
    """Answers groups of films of one run. `clips` loads clips with their evidence as a view of clips has them."""

    def __init__(self, source: Films, place: Place, clips: Load) -> None:
        self.source, self.clips = source, clips
        self.units, self.cut = place.dataset(source._media), place.dataset(source.clips.base)

    def load(self, keys: Sequence[str]) -> pa.Table:
        units = {row["key"]: row for row in _children(self.units, keys) if _usable(row)}
        clips: dict[str, list[dict[str, Any]]] = {key: [] for key in keys}
        for row in _children(self.cut, sorted(units)):
            clips[units[row["parent_key"]]["parent_key"]].append(row)
        own = [c["key"] for found in clips.values() for c in found if c["verdict"]["state"] == State.ACCEPTED]
        beside = {row["key"]: row for row in self.clips(own).to_pylist()} if own else {}
        whole = {row["parent_key"]: row["media"] for row in units.values()}
        rows = [self._row(key, whole[key], sorted(clips[key], key=_starts_s), beside) for key in keys]
        return pa.Table.from_pylist(rows, schema=schema(KEY, *self.source.gives))

    def _row(
        self, key: str, unit: dict[str, Any], clips: list[dict[str, Any]], beside: dict[str, dict[str, Any]]
    ) -> dict[str, Any]:
        known = [beside.get(clip["key"], {}) for clip in clips]
        told = tuple(_film_clip(clip, own) for clip, own in zip(clips, known, strict=True))
        evidence = {of_film(c).name: [own.get(c.name) for own in known] for c in self.source._evidence}
        links: list[Any] = next((own[PROVENANCE.name] for own in known if own), [])
        media = _whole(arrow.typed(MediaRef, unit), told)
        shared = {"key": key, "media": media, "film_clips": told, BASE.name: self.cut.label, PROVENANCE.name: links}
        return {name: arrow.plain(value) for name, value in (shared | evidence).items()}


def _usable(unit: dict[str, Any]) -> bool:
    return bool(unit["verdict"]["state"] == State.ACCEPTED and unit["media"]["kind"] == Kind.VIDEO)


def _starts_s(clip: dict[str, Any]) -> float:
    return float(clip["media"]["span"]["start_s"])


def _film_clip(clip: dict[str, Any], own: dict[str, Any]) -> FilmClip:
    return FilmClip(
        key=clip["key"],
        unit_key=clip["parent_key"],
        media=arrow.typed(MediaRef, own.get("media") or clip["media"]),
        frames=arrow.typed(tuple[ShownFrame, ...], clip["frames"]),
        verdict=arrow.typed(Verdict, own.get(VERDICT.name) or clip["verdict"]),
    )


def _whole(unit: MediaRef, clips: Sequence[FilmClip]) -> MediaRef:
    """The film itself, in the size and at the place that its clips have."""
    known = next((c.media for c in clips if c.verdict.accepted), unit)
    end_s = max([unit.duration_s, *(c.span.end_s for c in clips)])
    return replace(known, duration_s=end_s, span=Span(0.0, end_s))


def _children(dataset: Dataset, parents: Sequence[str]) -> list[dict[str, Any]]:
    """Children of these rows, refused ones too."""
    parts = Parts(dataset, "children", dataset.winners.numbered, dataset.winners.names)
    return [row for table in parts.around(parents, "parent_key") for row in table.to_pylist()] if parents else []
