"""The plan: a recipe checked before anything runs, with the columns alive at each edge and the width it runs at.

>>> from reelmill.pipelines import media
>>> print(Plan.of(media.recipe()).edges[0].step)
identify
"""

from __future__ import annotations

import math
import typing
from collections.abc import Sequence
from dataclasses import dataclass, field

from reelmill.annotators.annotator import Annotator, step_name
from reelmill.annotators.asking import Asks
from reelmill.annotators.engines.engine import EngineSpec
from reelmill.annotators.engines.profile import EngineProfile
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
class Node:
    """What one machine of a cluster has."""

    cpus: float
    gpus: float


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
    profile: EngineProfile = field(default_factory=EngineProfile)

    @classmethod
    def of(cls, recipe: Recipe, profile: EngineProfile = EngineProfile()) -> Plan:
        """Check a recipe. Raises PlanRefused naming the step, the column and what there is instead."""
        known = {c.name: c for c in (KEY, *recipe.source.gives)}
        for step in recipe.steps:
            _check_step(recipe, step, known)
            known |= {c.name: c for c in step.gives}
        _check_explode(recipe, known)
        return cls(recipe, _edges(recipe), profile)

    @property
    def asking(self) -> tuple[Asks, ...]:
        """The steps that ask a model."""
        return tuple(step for step in self.recipe.steps if isinstance(step, Asks))

    @property
    def lanes(self) -> int:
        """Groups of keys that one process works on at once: while one waits for its last answers, another asks."""
        return 2 + self._together // self.rows_per_commit if self.asking else 1

    @property
    def by_batch(self) -> bool:
        """True where a provider is asked by its batch API."""
        return self.profile.batch_api is not None and any(
            EngineSpec.parse(step.engine).kind == "openai" for step in self.asking
        )

    @property
    def _together(self) -> int:
        """Rows that must be under way to keep a model busy, or to fill as many batches as the profile says."""
        api = self.profile.batch_api
        return (
            max(self.profile.in_flight, api.batch_max * api.batches)
            if api and self.by_batch
            else self.profile.in_flight
        )

    @property
    def _engine_gpus(self) -> float:
        return self.profile.gpus if any(getattr(step, "in_process", False) for step in self.recipe.steps) else 0.0

    @property
    def rows_per_commit(self) -> int:
        return min((s.resources.rows_per_commit for s in self.recipe.steps), default=256)

    def group_size(self, pending: int, workers: int) -> int:
        """Keys per commit: small enough that every worker gets several groups, never above what a step may lose.

        Where models are asked by batch each worker gets one, so that as many rows as can be are asked about together.
        """
        each = 1 if self.by_batch else 4
        return max(1, min(self.rows_per_commit, math.ceil(pending / (workers * each))))

    @property
    def _need(self) -> tuple[float, float]:
        """CPUs and GPUs of one worker: it holds the whole chain, so the hungriest step and all GPUs."""
        cpus = max((s.resources.cpus for s in self.recipe.steps), default=1.0)
        return cpus, sum(s.resources.gpus for s in self.recipe.steps) + self._engine_gpus

    def local_workers(self, wanted: int, gpus: int) -> int:
        """`wanted` threads, or fewer where each needs a GPU. Raises PlanRefused where there are not enough for one.

        Where a model is asked there are as many as it takes to keep it busy: they share one engine and mostly wait.
        """
        need, gpu = self._need
        if gpu > gpus:
            raise self._refused(f"{gpus} GPUs on this machine", need, gpu)
        if self.asking:
            return self.lanes
        return max(1, min(wanted, math.floor(gpus / gpu)) if gpu else wanted)

    def width(self, nodes: Sequence[Node]) -> Width:
        """Workers that the nodes of a cluster can carry; none spans two of them.

        A little of each node is left for the engine that feeds the workers: actors that hold every CPU starve it, and
        the run hangs. Where no node has the CPUs that a step asks for, a worker gets the largest node's and takes its
        time. Raises PlanRefused where not even one worker fits.
        """
        need, gpu = self._need
        fit = [n for n in nodes if n.cpus > 0 and n.gpus >= gpu]
        if not fit:
            have = f"{sum(n.cpus for n in nodes):g} CPUs and {sum(n.gpus for n in nodes):g} GPUs on {len(nodes)} nodes"
            raise self._refused(have, need, gpu)
        need = min(need, max(n.cpus for n in fit))
        carried = [(n, _carried(n, need, gpu)) for n in fit]
        shares = [(n.cpus - min(0.5, n.cpus / 4)) / count for n, count in carried if count]
        cpus = math.floor(1000 * min(need, *shares)) / 1000
        return Width(int(min(sum(count for _, count in carried), self._actors)), cpus, gpu)

    @property
    def _actors(self) -> float:
        """Most actors that hold an engine: one asks a server for all, a model in the process may fill the cluster."""
        if not self.asking:
            return math.inf
        return self.profile.actors or (math.inf if any(step.in_process for step in self.asking) else 1)

    def _refused(self, have: str, need: float, gpu: float) -> PlanRefused:
        what = f"recipe {self.recipe.name} needs {need:g} CPUs and {gpu:g} GPUs a worker"
        return PlanRefused(what, seen=have, do="run it where they are, such as --on ADDRESS of a cluster")


def _carried(node: Node, need: float, gpu: float) -> int:
    by_cpus = math.floor(node.cpus / need)
    return min(by_cpus, math.floor(node.gpus / gpu)) if gpu else by_cpus


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
