"""The plan: a recipe checked before anything runs, with the columns alive at each edge and the width it runs at.

>>> from reelmill.pipelines import media
>>> print(Plan.of(media.recipe()).edges[0].step)
identify
"""

from __future__ import annotations

import math
import typing
from dataclasses import dataclass

from reelmill.annotators.annotator import Annotator, step_name
from reelmill.pipelines._recipe import Recipe
from reelmill.schemas.column import KEY, Column
from reelmill.schemas.errors import PlanRefused

_CHILD_FIELDS = ("key", "parent_key", "verdict")


@dataclass(frozen=True, slots=True)
class Edge:
    """What leaves one step: the columns that somebody after it still needs."""

    step: str
    adds: tuple[str, ...]
    alive: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Width:
    """How wide a plan runs: `workers` whole chains side by side, each holding `cpus` and `gpus`."""

    workers: int
    cpus: float
    gpus: float


@dataclass(frozen=True, slots=True)
class Plan:
    """A recipe that fits together. Both back ends read it, with the same meaning."""

    recipe: Recipe
    edges: tuple[Edge, ...]

    @classmethod
    def of(cls, recipe: Recipe) -> Plan:
        """Check a recipe. Raises PlanRefused naming the step, the column and what there is instead."""
        known = {c.name: c for c in (KEY, *recipe.source.gives)}
        for step in recipe.steps:
            _check_step(recipe, step, known)
            known |= {c.name: c for c in step.gives}
        _check_explode(recipe, known)
        return cls(recipe, _edges(recipe))

    @property
    def rows_per_commit(self) -> int:
        return min((s.resources.rows_per_commit for s in self.recipe.steps), default=256)

    def group_size(self, pending: int, workers: int) -> int:
        """Keys per commit: small enough that every worker gets several groups, never above what a step may lose."""
        return max(1, min(self.rows_per_commit, math.ceil(pending / (workers * 4))))

    def width(self, cpus: float, gpus: float) -> Width:
        """Workers that `cpus` and `gpus` can carry, leaving a little of a CPU for the engine that feeds them.

        Actors that hold every CPU starve the tasks that feed them, and the run hangs. Raises PlanRefused where not even
        one worker fits.
        """
        need = max((s.resources.cpus for s in self.recipe.steps), default=1.0)
        gpu = sum(s.resources.gpus for s in self.recipe.steps)
        if gpu > gpus or cpus <= 0:
            seen = f"{cpus:g} CPUs and {gpus:g} GPUs"
            raise PlanRefused(f"recipe {self.recipe.name} needs {need:g} CPUs and {gpu:g} GPUs a worker", seen=seen)
        workers = max(1, math.floor(cpus / need))
        if gpu:
            workers = min(workers, math.floor(gpus / gpu))
        spare = min(0.5, cpus / 4)
        return Width(workers, min(need, round((cpus - spare) / workers, 3)), gpu)


def _check_step(recipe: Recipe, step: Annotator, known: dict[str, Column]) -> None:
    where = f"recipe {recipe.name}: step {step_name(step)}"
    for column in step.needs:
        have = known.get(column.name)
        if have is None:
            raise PlanRefused(
                f"{where} needs column {column.name}", seen=", ".join(known), do="add a step that gives it"
            )
        if have.field.type != column.field.type:
            seen = f"{have.field.type} from upstream"
            raise PlanRefused(f"{where} needs {column.name} as {column.field.type}", seen=seen, do="align the types")
    for column in step.gives:
        if column.name in known or column.name in ("verdict", "fault", "part"):
            raise PlanRefused(f"{where} gives {column.name}", seen="a column of that name", do="rename one of them")


def _check_explode(recipe: Recipe, known: dict[str, Column]) -> None:
    if recipe.explode is None:
        return
    if recipe.explode.name not in known:
        raise PlanRefused(f"recipe {recipe.name} explodes {recipe.explode.name}", seen=", ".join(known))
    names = typing.get_type_hints(typing.get_args(recipe.explode.hint)[0])
    missing = [n for n in _CHILD_FIELDS if n not in names]
    if missing:
        raise PlanRefused(
            f"recipe {recipe.name}: children in {recipe.explode.name} lack {missing}", seen=", ".join(names)
        )


def _edges(recipe: Recipe) -> tuple[Edge, ...]:
    kept = {c.name for c in recipe.keeps} | ({recipe.explode.name} if recipe.explode else set())
    alive, edges = {c.name for c in recipe.source.gives}, []
    for i, step in enumerate(recipe.steps):
        alive |= {c.name for c in step.gives}
        needed = {c.name for later in recipe.steps[i + 1 :] for c in later.needs} | kept
        alive &= needed
        edges.append(Edge(step_name(step), tuple(c.name for c in step.gives), tuple(sorted(alive))))
    return tuple(edges)
