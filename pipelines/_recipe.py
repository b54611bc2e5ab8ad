"""What a recipe is: a frozen description of where keys come from, which steps add columns, and what is kept.

A recipe never says where or how wide it runs. Its fingerprint is its identity: names, fields and revisions of its
steps, and the fingerprints of the recipes it is fed from.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, cast

import pyarrow as pa

from reelmill.annotators.annotator import Annotator, step_name
from reelmill.annotators.engines.opening import Engines
from reelmill.annotators.engines.profile import EngineProfile
from reelmill.schemas import arrow
from reelmill.schemas.column import Column
from reelmill.schemas.errors import SchemaBroken
from reelmill.schemas.keys import canonical_json
from reelmill.sinks.dataset import Dataset, Store
from reelmill.sinks.state.place import Folder
from reelmill.sinks.state.snapshot import Entry

Load = Callable[[Sequence[str]], pa.Table]
"""Keys in, one row per key out (same order), with the source's columns and perhaps a `verdict` already."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where and how a run happens: the store, the media that were asked for, how datasets are named, and how engines
    are used. Never identity."""

    store: Folder
    media: tuple[str, ...]
    slug: str
    versions: dict[str, str] = field(default_factory=dict)
    profile: EngineProfile = field(default_factory=EngineProfile)

    def dataset(self, recipe: Recipe) -> Dataset:
        """The dataset that `recipe` makes here. `versions` holds other versions than the recipe's own (`--dev`)."""
        version = self.versions.get(recipe.name, recipe.version)
        return Store(self.store).dataset(f"{recipe.name}-{self.slug}", version)

    @property
    def cache(self) -> Path:
        """Folder for replies and digests that may be used again: of the store, or this machine's own for a bucket."""
        if isinstance(self.store, Path):
            return self.store / ".cache"
        own = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        return own / "reelmill" / hashlib.sha256(str(self.store).encode()).hexdigest()[:16]

    def engines(self) -> Engines:
        """The engines of one process, with the replies that the whole store shares."""
        return Engines(self.profile, self.cache / "replies")


class Source(Protocol):
    """Lists keys and opens them."""

    @property
    def gives(self) -> tuple[Column, ...]: ...

    @property
    def upstreams(self) -> tuple[Recipe, ...]: ...

    def identity(self) -> dict[str, Any]: ...

    def entries(self, place: Place, progress: Callable[[int, int], None]) -> list[Entry]: ...

    def open(self, place: Place, recipe: Recipe) -> Load: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """`explode` is the list column whose items become the children; `drops` are columns not worth storing."""

    name: str
    version: str
    source: Source
    steps: tuple[Annotator, ...]
    explode: Column | None = None
    drops: tuple[Column, ...] = ()

    @property
    def keeps(self) -> tuple[Column, ...]:
        """Row columns that are stored: what the steps give, without the exploded and dropped ones."""
        out = {c.name for c in (*self.drops, *((self.explode,) if self.explode else ()))}
        return tuple(c for step in self.steps for c in step.gives if c.name not in out)

    def fingerprint(self) -> dict[str, Any]:
        """Plain, canonical identity; two recipes that could give other rows have other fingerprints."""
        return {
            "recipe": self.name,
            "source": self.source.identity(),
            "steps": [step_identity(s) for s in self.steps],
            "explode": self.explode.name if self.explode else "",
        }

    def fingerprint_hash(self) -> str:
        return hashlib.sha256(canonical_json(self.fingerprint()).encode()).hexdigest()[:16]


def step_identity(step: Annotator) -> dict[str, Any]:
    """Name, revision and fields of a step. Raises SchemaBroken on a field without one spelling (a callable, say)."""
    values = {
        f.name: arrow.plain(getattr(step, f.name))
        for f in dataclasses.fields(cast(Any, step))
        if f.metadata.get("identity", True) and f.init
    }
    try:
        canonical_json(values)
    except (TypeError, ValueError) as error:
        raise SchemaBroken(f"step {step_name(step)}", seen=str(error), do="use plain values as fields") from error
    return {"step": step_name(step), "revision": step.revision, "fields": values}


def in_order(recipe: Recipe) -> tuple[Recipe, ...]:
    """The recipe and all it is fed from, each once, sources first."""
    found: dict[str, Recipe] = {}

    def visit(one: Recipe) -> None:
        for upstream in one.source.upstreams:
            visit(upstream)
        found.setdefault(one.name, one)

    visit(recipe)
    return tuple(found.values())
