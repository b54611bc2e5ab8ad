"""Steps: packs in, weights out. The same in one process on a CPU as on a GPU.

A step adds up the gradients of all its rows before it divides by their tokens: rows of unequal length count as one big
batch would. What was learned at step k is the same bits whether the run was killed before or not (on a CPU). Several
processes divide the rows of a step among them (loop/ranks.py).
"""

from __future__ import annotations

import copy
import json
import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from reelmill.schemas.errors import BadInput
from reelmill.schemas.points import reach
from reelmill.sinks.state.objects import store_trouble
from reelmill.training.documents import Pack
from reelmill.training.loop import checkpoint
from reelmill.training.loop.clock import Clock, lengths, operations
from reelmill.training.loop.compiled import compiled
from reelmill.training.loop.optimizer import optimizer
from reelmill.training.loop.plan import Plan, Rates
from reelmill.training.loop.ranks import Ranks, like, local, sharded, whole
from reelmill.training.loop.stages import Stages
from reelmill.training.seams import Objective, Schedule
from reelmill.training.values import Loss
from reelmill.training.vlm import VLM

LOG, TIMES = "log.jsonl", "times.jsonl"


@dataclass(frozen=True, slots=True)
class Told:
    """What is known after a step: losses per token, the gradient's norm, tokens of its rows, seconds and operations."""

    step: int
    steps: int
    losses: Mapping[str, float]
    norm: float
    rate: float
    tokens: int
    operations: float
    seconds: Mapping[str, float]
    cpu_s: float

    @property
    def line(self) -> str:
        """What the log keeps: nothing that depends on the clock."""
        said = {"step": self.step, **self.losses, "norm": self.norm, "rate": self.rate, "tokens": self.tokens}
        return json.dumps(said, sort_keys=True)

    @property
    def times(self) -> str:
        """What the clock said: seconds in each part and CPU seconds, with the operations done in them."""
        said = {"step": self.step, **self.seconds, "cpu_s": self.cpu_s, "operations": self.operations}
        return json.dumps(said, sort_keys=True)


class Packs(Protocol):
    """Where rows come from: iterates over packs, and says and takes back where it stands."""

    def __iter__(self) -> Iterator[Pack]: ...

    def state(self) -> Mapping[str, Any]: ...

    def load(self, state: Mapping[str, Any]) -> None: ...


@dataclass
class Fit:
    """A run under way. `packs` is a loader, of this process's rows where `ranks` has several; `tell` hears of every
    step. `stages` say which parts learn when; one stage in which all do, by default."""

    plan: Plan
    model: VLM
    objective: Objective
    packs: Packs
    run: Path
    tell: Callable[[Told], object] = field(default=lambda _: None)
    schedule: Schedule | None = None
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    step: int = 0
    stages: Stages = field(default_factory=Stages)
    ranks: Ranks = field(default_factory=Ranks.here)
    stopping: bool = field(default=False, init=False)

    def __post_init__(self) -> None:
        self.rows = self.ranks.share(self.plan.accumulate)
        self.model.to(self.device)
        if self.plan.compile:
            compiled(self.model)
        if self.ranks.world > 1:
            sharded(self.model, self.device, self.ranks.world)
        self.groups = groups(self.model, self.plan.rates, self.stages)
        one = self.ranks.world == 1  # sharded weights and whole ones do not go through one fused call
        how = {"fused": self.device.type == "cuda"} if one else {"foreach": False}
        rates = self.plan.rates
        self.optimizer = optimizer(self.plan.optimizer, self.groups, self.model, rates, **how)
        self.average = _Average(self.model, self.plan.ema) if self.plan.ema else None

    def resume(self) -> bool:
        """Goes on from the newest checkpoint; whether there was one."""
        found = checkpoint.steps(self.run)
        if not found:
            return False
        last = found[-1]
        last.weights_into(self.model)
        rest = last.rest()
        self.optimizer.load_state_dict(rest["optimiser"])
        for parameter, state in self.optimizer.state.items():
            state.update({name: like(value, parameter) for name, value in state.items()})
        if self.average is not None:
            held = self.average.held
            self.average.held = {name: like(value, held[name]) for name, value in rest["average"].items()}
        if rest["objective"] is not None:
            self.objective.state = rest["objective"]  # type: ignore[attr-defined]
        checkpoint.restore(rest["generators"])
        self.packs.load(last.at["packs"])
        self.step = last.step
        return True

    def _cut(self, path: Path) -> None:
        """The lines of steps that are to be done again are gone; those of others are never half there."""
        lines = path.read_text().splitlines(keepends=True) if path.exists() else []
        half = path.with_name(f".{path.name}")
        half.write_text("".join(lines[: self.step]))
        reach("log.cut")
        half.replace(path)

    def save(self) -> None:
        """A checkpoint of this step, whole, by the first process."""
        weights = whole(dict(self.model.state_dict()))
        rest = {
            "optimiser": whole(self.optimizer.state_dict()),
            "average": whole(self.average.held) if self.average else {},
            "objective": getattr(self.objective, "state", None),
            "generators": checkpoint.generators(),
        }
        at = {"packs": self.packs.state(), "variant": self.plan.variant}
        with self.ranks.in_turn():
            if self.ranks.leads:
                checkpoint.save(self.run, self.step, weights, rest, at, self.plan.keep)

    def stop(self) -> None:
        """After the step that is under way `go` saves a checkpoint and returns."""
        self.stopping = True

    def go(self) -> None:
        """All steps that are left, with checkpoints. Raises BadInput on a loss that is no number, and where memory runs
        out, StoreUnusable where the disk is full; the last checkpoint stands."""
        self.model.train()
        if self.step == 0:
            checkpoint.seeded(self.plan.seed)
        packs = iter(self.packs)
        try:
            with store_trouble(f"run {self.run}"):
                self._steps(packs)
        except torch.OutOfMemoryError as error:
            raise BadInput(
                f"a row of {self.plan.tokens} tokens",
                seen="no memory left for it",
                do="lower tokens and raise accumulate by as much",
            ) from error
        finally:
            close = getattr(packs, "close", None)
            if close is not None:
                close()

    def _steps(self, packs: Iterator[Pack]) -> None:
        paths = self.run / LOG, self.run / TIMES
        if not self.ranks.leads:
            paths = Path(os.devnull), Path(os.devnull)
        else:
            for path in paths:
                self._cut(path)
        with paths[0].open("a") as log, paths[1].open("a") as times:
            ending = self._ending()
            while self.step < self.plan.steps and not ending:
                told = self._step(packs)
                print(told.line, file=log, flush=True)
                print(told.times, file=times, flush=True)
                self.tell(told)
                ending = self._ending()
                if self.step % self.plan.keep_every == 0 or self.step == self.plan.steps or ending:
                    self.save()

    def _ending(self) -> bool:
        """Whether any process was asked to stop: all end behind the same step."""
        return any(self.ranks.gathered(self.stopping))

    def _step(self, packs: Iterator[Pack]) -> Told:
        clock = Clock(self.device)
        if self.schedule is not None:
            self.model.told(self.schedule(self.step, self.plan.steps))
        rate = self._set_rates()
        losses = [self._row(packs, clock) for _ in range(self.rows)]
        with clock.part("update"):
            weight = self.ranks.summed(torch.stack([loss.weight for loss, *_ in losses]).sum())
            norm = self._update(weight)
            mine = _added([{"loss": loss.total, **loss.parts} for loss, *_ in losses])
            by = _added([loss.counts for loss, *_ in losses])
            counted = _added([{"tokens": t, "operations": w} for _, t, w in losses])
            sums, counts, done = map(_added, zip(*self.ranks.gathered((mine, by, counted)), strict=True))
            said = _means(sums, counts, weight)
        self._require_numbers(said["loss"], rate)
        self.step += 1
        tokens, work = int(done["tokens"]), done["operations"]
        return Told(self.step, self.plan.steps, said, norm, rate, tokens, work, clock.read(), clock.cpu_s)

    def _set_rates(self) -> float:
        """Every part's rate at this step; a part whose rate is 0 learns nothing and costs no gradients."""
        stage, done, steps = self.stages.at(self.step, self.plan.steps)
        rate = self.plan.rates.at(done, steps)
        for group in self.optimizer.param_groups:
            share = self.stages.factor(stage, group["name"].partition(",")[0])
            group["lr"] = rate * group["factor"] * share
            for parameter in group["params"]:
                parameter.requires_grad_(share > 0)
        return rate

    def _row(self, packs: Iterator[Pack], clock: Clock) -> tuple[Loss, int, float]:
        """Adds a row's gradients; its loss, tokens and operations."""
        with clock.part("wait"):
            pack = next(packs, None)
        if pack is None:
            raise BadInput(f"step {self.step + 1} of {self.plan.steps}", seen="no data left", do="allow more epochs")
        with clock.part("move"):
            pack = pack.to(self.device)
        with clock.part("forward"), _precision(self.device):
            loss = self.objective(self.model, pack)
        with clock.part("backward"):
            loss.total.backward()
        budgets = getattr(self.objective, "passes", (None,))
        rows = [lengths(self.model, pack, budget) for budget in budgets]
        return loss, sum(int(r.sum()) for r in rows), sum(operations(self.model, pack, r) for r in rows)

    def _update(self, weight: Tensor) -> float:
        every = [p for group in self.optimizer.param_groups for p in group["params"]]
        self.ranks.add_gradients(every)
        learning = [p for p in every if p.grad is not None]
        if learning:
            torch._foreach_div_([local(p.grad) for p in learning], weight)
        norm = self.ranks.clipped(learning, self.plan.rates.clip)
        if math.isfinite(float(norm)):
            self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        if self.average is not None:
            self.average.add(self.model)
        return float(norm)

    def _require_numbers(self, loss: float, rate: float) -> None:
        if not math.isfinite(loss):
            last = checkpoint.steps(self.run)
            seen = f"{loss} at rate {rate:.2g}; the last checkpoint is of step {last[-1].step if last else 0}"
            raise BadInput(f"the loss of step {self.step + 1}", seen=seen, do="lower the rate, in a new folder")


def _added(parts: Iterable[Mapping[str, Any]]) -> dict[str, float]:
    """Sums by name, of several rows or processes. What one of them lacks counts 0 there."""
    found: dict[str, float] = {}
    for part in parts:
        for name, value in part.items():
            found[name] = found.get(name, 0.0) + float(value.detach() if isinstance(value, Tensor) else value)
    return found


def _means(sums: Mapping[str, float], counts: Mapping[str, float], weight: Tensor) -> dict[str, float]:
    """Each sum by its own count, or by the weight of all: no number where nothing was learned. What was not counted in
    this step is not told."""
    every = float(weight) or math.nan
    return {name: value / counts.get(name, every) for name, value in sums.items() if counts.get(name, 1.0)}


def groups(model: VLM, rates: Rates, stages: Stages) -> list[dict[str, Any]]:
    """One group a part of the model, with the factor of its rate; parts that never learn are frozen."""
    seen: set[int] = set()
    found = []
    for name, part in model.parts():
        factor = rates.parts.get(name, 1.0) if stages.learns(name) else 0.0
        own = [p for p in part.parameters() if id(p) not in seen]
        seen |= {id(p) for p in own}
        if factor == 0:
            part.requires_grad_(False)
        elif own:
            learning = [p for p in own if p.requires_grad]
            matrices = [p for p in learning if p.dim() > 1]
            others = [p for p in learning if p.dim() <= 1]
            found.append({"params": matrices, "factor": factor, "weight_decay": rates.decay, "name": name})
            found.append({"params": others, "factor": factor, "weight_decay": 0.0, "name": f"{name}, vectors"})
    return [group for group in found if group["params"]]


def _precision(device: torch.device) -> Any:
    """bfloat16 on a GPU; a CPU gains nothing from it (measured)."""
    return torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda")


class _Average:
    """Exponential moving average of the weights that learn."""

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.held: dict[str, Tensor] = {n: p.detach().clone() for n, p in model.named_parameters() if p.requires_grad}

    def add(self, model: nn.Module) -> None:
        """After a step."""
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if name in self.held:
                    self.held[name].lerp_(parameter, 1 - self.decay)


def frozen_copy(model: VLM) -> VLM:
    """The model as it is now, which learns nothing."""
    return copy.deepcopy(model).eval().requires_grad_(False)  # type: ignore[no-any-return]
