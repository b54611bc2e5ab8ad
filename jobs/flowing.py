"""`run FLOW`: every node of a flow as its verb would do it; what is done already is left as it is."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from reelmill.jobs import fitting, running
from reelmill.jobs.flows import Flow, Node
from reelmill.schemas.errors import BadInput
from reelmill.sinks.state.place import on_disk

if TYPE_CHECKING:
    from reelmill.training.loop.plan import Plan

_NOT_PLANNED = ("data", "start", "shared", "rate", "peak")
"""What a train node says besides its plan's own fields."""


def run(flow: Flow, where: running.Where) -> int:
    """Does what is not done yet, in order; returns the exit code of the first node that did not end well, else 0."""
    doing = Doing(flow, where, on_disk(where.store), Console())
    for node in flow.nodes:
        doing.console.print(f"{node.kind} {node.name}", style="bold", highlight=False)
        code = {"dataset": doing.dataset, "train": doing.train, "eval": doing.eval}[node.kind](node)
        if code:
            return code
    return 0


@dataclass(frozen=True, slots=True)
class Doing:
    """A flow under way: `where` holds what the command line said for all nodes."""

    flow: Flow
    where: running.Where
    store: Path
    console: Console

    def dataset(self, node: Node) -> int:
        """As `reelmill run` with the node's words."""
        said = node.said
        where = dataclasses.replace(
            self.where,
            name=self._slug(node),
            on=said.get("on", self.where.on),
            workers=said.get("workers", self.where.workers),
        )
        media = tuple(said.get("media", self.flow.media))
        return running.run(self._recipe(node), media, where, said.get("pack_media", "frames"))

    def _slug(self, node: Node) -> str:
        return str(node.said.get("name", self.flow.name))

    def _recipe(self, node: Node) -> Any:
        options = [f"{k}={v if isinstance(v, str) else json.dumps(v)}" for k, v in node.said.get("set", {}).items()]
        engines = [f"{ability}={engine}" for ability, engine in node.said.get("engine", {}).items()]
        weighed = [f"{self.dataset_name(name)}={weight}" for name, weight in node.said.get("input", {}).items()]
        return running.recipe_of(node.said["recipe"], options, engines, weighed)

    def dataset_name(self, name: str) -> str:
        """Under which name a node's dataset stands in the store."""
        node = self.flow.node(name)
        return f"{self._recipe(node).name}-{self._slug(node)}"

    def train(self, node: Node) -> int:
        """As `reelmill train`, into a folder that is named by plan and data."""
        plan, run = self.planned(node)
        if _steps_done(run) >= plan.steps:
            self._say(f"{run}: done before")
            return 0
        return fitting.train(plan, run, self.store, float(node.said.get("peak", 0.0)))

    def planned(self, node: Node) -> tuple[Plan, Path]:
        """The plan of a train node, and its folder. Raises BadInput on what a plan cannot be."""
        from reelmill.training.data.shards import opened
        from reelmill.training.loop.plan import Data, Plan, Rates

        said = node.said
        places = {self.dataset_name(name): float(weight) for name, weight in said["data"].items()}
        data = tuple(Data(place, weight, said.get("shared", True)) for place, weight in places.items())
        start = str(self.planned(self.flow.node(said["start"]))[1]) if "start" in said else None
        own = {name: value for name, value in said.items() if name not in _NOT_PLANNED}
        plan = Plan(data=data, start=start, rates=Rates(rate=said.get("rate", Rates().rate)), **own)
        prints = [opened(place, "train", self.store).fingerprint for place in places]
        return plan, self.flow.runs / f"{self.flow.name}-{node.name}-{_hash([plan.said(), prints])}"

    def eval(self, node: Node) -> int:
        """As `reelmill eval`, into a folder of the run that is named by the exam and what is asked."""
        from reelmill.training.data.shards import opened
        from reelmill.training.evals.report import FILE

        said = node.said
        _, run = self.planned(self.flow.node(said["run"]))
        place, split = self.dataset_name(said["data"]), said.get("split", "val")
        exam = fitting.Exam(place, split, said.get("limit"), said.get("budget"), said.get("silence"))
        out = run / f"{node.name}-{_hash([dataclasses.asdict(exam), opened(place, split, self.store).fingerprint])}"
        if (out / FILE).is_file():
            self._say(f"{out}: done before")
        else:
            fitting.evaluate_run(run, exam, self.store, out)
        return 0

    def _say(self, line: str) -> None:
        self.console.print(line, highlight=False, markup=False, soft_wrap=True)


def _steps_done(run: Path) -> int:
    from reelmill.training.loop import checkpoint

    return max((found.step for found in checkpoint.steps(run)), default=0)


def _hash(said: Any) -> str:
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()[:8]


def require_alone(words: dict[str, Any]) -> None:
    """Words of `run` that a flow says itself. Raises BadInput on one that was given beside it."""
    if given := sorted(name for name, value in words.items() if value):
        raise BadInput(f"--{given[0]} beside a flow", seen="the file says it for each node", do="write it there")
