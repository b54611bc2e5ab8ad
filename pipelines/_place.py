"""Where a run happens: naming datasets after the media they are made from, and choosing versions that fit.

>>> slug_of(("clips/holiday 2024",)).startswith("holiday-2024-")
True
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import replace
from pathlib import Path

from reelmill.pipelines._recipe import Place, Recipe, in_order
from reelmill.pipelines._run import drifted
from reelmill.schemas.errors import BadInput
from reelmill.sinks.dataset import Store
from reelmill.sinks.state.place import Folder

_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,63}")


def absolute(where: str) -> str:
    """A path as an absolute one; a URI with a scheme as it is."""
    return where if "://" in where else str(Path(where).absolute())


def slug_of(media: tuple[str, ...]) -> str:
    """A readable name for a set of media and a short hash of the full locations: another folder is another dataset."""
    tail = Path(media[0].rstrip("/")).name.split(".")[0] if media else "none"
    readable = re.sub(r"[^a-z0-9]+", "-", tail.lower()).strip("-")[:32] or "media"
    full = "\n".join(sorted(absolute(m) for m in media))
    return f"{readable}-{hashlib.sha256(full.encode()).hexdigest()[:6]}"


def place_of(store: Folder, media: tuple[str, ...], name: str = "") -> Place:
    """The place of a run. Raises BadInput on a name that cannot be a folder, StoreUnusable on a store that refuses."""
    if name and not _NAME.fullmatch(name):
        raise BadInput(f"--name {name!r} cannot name a dataset", seen="other characters", do="use a-z, 0-9 and -")
    Store(store).require_writable()
    store = store.absolute() if isinstance(store, Path) else store
    return Place(store, tuple(absolute(m) for m in media), name or slug_of(media))


def with_versions(place: Place, recipe: Recipe, *, dev: bool, as_version: str) -> Place:
    """The place with other versions for drifted datasets and all that is fed from them, where that was asked for."""
    if not (dev or as_version):
        return place
    changed: set[str] = set(drifted(recipe, place))
    for one in in_order(recipe):
        if any(up.name in changed for up in one.source.upstreams):
            changed.add(one.name)
    by_name = {one.name: one for one in in_order(recipe)}
    versions = {n: as_version or f"dev-{by_name[n].fingerprint_hash()[:8]}" for n in changed}
    return replace(place, versions=versions)
