"""`run`: from the command line's words to a recipe, a place and a back end; then the pack."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console

from reelmill.annotators.engines.profile import EngineProfile
from reelmill.jobs import cluster, recipes
from reelmill.jobs.progress import Terminal
from reelmill.pipelines import _machine
from reelmill.pipelines._place import place_of, with_versions
from reelmill.pipelines._recipe import Place, Recipe, in_order
from reelmill.pipelines._run import Backend, Limits, Local, OnRay, Report
from reelmill.pipelines._run import run as run_recipe
from reelmill.pipelines._table import TableRecipe, run_table
from reelmill.pipelines.sources.files import Files
from reelmill.schemas.errors import BadInput, StoreUnusable
from reelmill.schemas.keys import canonical_json
from reelmill.sinks.dataset import Dataset, Store
from reelmill.sinks.shares import left_out, shares_of, shares_said
from reelmill.sinks.state.place import Folder

PARTLY = 3
STUCK_AFTER_S = 3600.0
"""More than the slowest legal silence: a model server's answer, six tries of 120 s and five waits of 300 s that the
server asked for. A decode child has a limit of its own, within which it counts as alive."""
_VERSION = re.compile(r"[a-z0-9][a-z0-9-]{0,31}")


@dataclass(frozen=True, slots=True)
class Where:
    """Everything about a run that is not what it makes."""

    store: Folder
    name: str = ""
    on: str = "local"
    workers: int = 0
    limit: int = 0
    dev: bool = False
    as_version: str = ""
    fault_budget: float = 0.01
    wait_s: float = 600.0
    stuck_after_s: float = STUCK_AFTER_S
    profile: EngineProfile = field(default_factory=EngineProfile)


def recipe_of(
    name: str,
    options: Sequence[str] | None = None,
    engines: Sequence[str] | None = None,
    weighed: Sequence[str] | None = None,
) -> Recipe | TableRecipe:
    """The recipe that a command line names. Raises NotFound or BadInput."""
    said = {k: _literal(v) for k, v in _pairs(options or (), "--set", "name=value").items()}
    for ability, engine in _pairs(engines or (), "--engine", "ABILITY=ENGINE").items():
        said[f"{ability}_engine"] = engine
    if weighed:
        said["inputs"] = {k: _weight(v) for k, v in _pairs(weighed, "--input", "DATASET=WEIGHT").items()}
    made: Recipe | TableRecipe = recipes.make(name, said)
    return made


def profile_of(file: Path | None, max_cost: float, *, offline: bool) -> EngineProfile:
    """How engines are used: a profile file, and what the command line says beside it. Raises NotFound or BadInput."""
    profile = EngineProfile.read(file) if file else EngineProfile()
    return dataclasses.replace(profile, max_cost=max_cost or profile.max_cost, offline=offline or profile.offline)


def _weight(text: str) -> float:
    try:
        weight = float(text)
    except ValueError:
        weight = math.nan
    if not (math.isfinite(weight) and weight > 0):
        raise BadInput("--input wants DATASET=WEIGHT", seen=repr(text), do="give a positive number")
    return weight


def _pairs(words: Sequence[str], flag: str, form: str) -> dict[str, Any]:
    pairs: dict[str, Any] = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not equals or not name:
            raise BadInput(f"{flag} wants {form}", seen=repr(word))
        pairs[name] = value
    return pairs


def _literal(text: str) -> Any:
    """Numbers, true, false and null as such; anything else as text."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def run(recipe: Recipe | TableRecipe, media: tuple[str, ...], where: Where, pack_media: str) -> int:
    """Run and pack; returns the exit code."""
    if pack_media not in ("", "frames", "clip", "ref"):
        raise BadInput(f"--pack-media {pack_media!r}", seen="an unknown form", do="use frames, clip or ref")
    if pack_media and not isinstance(where.store, Path):
        do = "add --no-pack, then pack a copy of it (aws s3 sync)"
        raise StoreUnusable(f"--pack: {where.store}", seen="a bucket; packs are built in a folder", do=do)
    if isinstance(recipe, TableRecipe):
        return _run_table(recipe, where, pack_media)
    _require_media(recipe, media)
    _require_version(where)
    require_store_outside(where.store, media)
    place = dataclasses.replace(place_of(where.store, media, where.name), profile=where.profile)
    place = with_versions(place, recipe, dev=where.dev, as_version=where.as_version)
    reports = work(recipe, place, where)
    final = place.dataset(recipe)
    if pack_media and _makes_samples(recipe) and reports[-1].counts.accepted_children:
        from reelmill.jobs import packing

        packing.pack_and_show(where.store, final.label, pack_media, where.wait_s)
    return _exit_code(reports)


def _run_table(recipe: TableRecipe, where: Where, pack_media: str) -> int:
    _require_version(where)
    place = place_of(where.store, recipe.inputs, where.name)
    recipe = _versioned(recipe, place, where)
    with Terminal(Console()) as terminal:
        report = run_table(recipe, place, limits=Limits(wait_s=where.wait_s), watcher=terminal)
    _say_shares(Dataset(report.folder))
    if pack_media and report.counts.accepted_children:
        from reelmill.jobs import packing

        packing.pack_and_show(where.store, report.label, pack_media, where.wait_s)
    return _exit_code([report])


def _say_shares(dataset: Dataset) -> None:
    """A line for each input: what was asked of it, and what came."""
    for row in shares_of(dataset).to_pylist():
        shares, out = shares_said(row["asked_share"], row["got_share"]), left_out(row)
        line = f"  {row['input']} ({row['asked']}): {row['drawn']} of {row['available']} drawn; {shares}"
        Console().print(f"{line}; {out}" if out else line, highlight=False, markup=False, soft_wrap=True)


def _versioned(recipe: TableRecipe, place: Place, where: Where) -> TableRecipe:
    """The recipe under another version, where its dataset was made by another form of it and that was asked for."""
    if not (where.dev or where.as_version):
        return recipe
    made = Store(place.store).dataset(f"{recipe.name}-{place.slug}", recipe.version).ledger.identity()
    said = canonical_json(recipe.fingerprint())
    if made is None or canonical_json(made["fingerprint"]) == said:
        return recipe
    version = where.as_version or f"dev-{hashlib.sha256(said.encode()).hexdigest()[:8]}"
    return dataclasses.replace(recipe, version=version)


def work(recipe: Recipe, place: Place, where: Where) -> list[Report]:
    """Bring the datasets up to date with live progress."""
    limits = Limits(
        fault_share=where.fault_budget,
        max_rows=where.limit or None,
        wait_s=where.wait_s,
        stuck_after_s=where.stuck_after_s,
    )
    with Terminal(Console()) as terminal:
        if where.on == "local":
            backend: Backend = Local(where.workers) if where.workers else Local()
            return run_recipe(recipe, place, backend, limits=limits, watcher=terminal)
        with cluster.connected("" if where.on == "ray" else where.on, where.workers or _machine.default_workers()):
            return run_recipe(recipe, place, OnRay(), limits=limits, watcher=terminal)


def _require_media(recipe: Recipe, media: tuple[str, ...]) -> None:
    wants = any(isinstance(one.source, Files) for one in in_order(recipe))
    if wants and not (media and all(media)):
        seen = "an empty --media" if media else "no --media"
        raise BadInput(f"recipe {recipe.name} is made from media", seen=seen, do="give a folder, file, glob or table")


def _require_version(where: Where) -> None:
    """A version names a folder of the store."""
    if where.as_version and where.dev:
        raise BadInput("--dev and --as-version", seen="both", do="give one: --dev names its versions itself")
    if where.as_version and not _VERSION.fullmatch(where.as_version):
        seen = "other characters, or too many"
        raise BadInput(f"--as-version {where.as_version!r} cannot name a version", seen=seen, do="use a-z, 0-9 and -")


def require_store_outside(store: Folder, media: tuple[str, ...]) -> None:
    """A store below a folder of media would be listed as media itself, and grow with every run."""
    if not isinstance(store, Path):
        return
    for folder in (Path(m).absolute() for m in media if "://" not in m and Path(m).is_dir()):
        below = (
            store.resolve().relative_to(folder.resolve()) if store.resolve().is_relative_to(folder.resolve()) else None
        )
        if below is not None and not any(part.startswith(".") for part in below.parts):
            seen = f"the store {store.absolute()} inside it"
            raise BadInput(f"media folder {str(folder)!r}", seen=seen, do="give a --store outside of the media")


def _makes_samples(recipe: Recipe) -> bool:
    return recipe.explode is not None and recipe.explode.name == "samples"


def _exit_code(reports: list[Report]) -> int:
    return PARTLY if any(r.counts.pending for r in reports) else 0
