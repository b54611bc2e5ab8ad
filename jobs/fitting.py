"""`train` and `eval`: a variant learns from packed datasets, and answers what it has not seen."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.table import Table

from reelmill.jobs.progress import wide_console
from reelmill.schemas.errors import BadInput
from reelmill.training.loop.plan import Data

_SHOWN = ("wait", "move", "forward", "backward", "update")


@dataclass(frozen=True, slots=True)
class Asked:
    """What the verb was told. `datasets` are separated by commas; NAME*2 counts twice."""

    variant: str
    datasets: str
    run: Path
    steps: int
    size: str
    tokens: int
    frames: int
    accumulate: int
    rate: float
    seed: int
    objective: str
    start: Path | None
    tower: str | None = None
    words: str | None = None
    model: str | None = None
    stages: str = "paper"

    def data(self, *, shared: bool) -> tuple[Data, ...]:
        """Places and weights. Raises BadInput on a weight that is no number."""
        found = []
        for part in filter(None, self.datasets.split(",")):
            place, _, weight = part.partition("*")
            try:
                found.append(Data(place, float(weight or 1), shared))
            except ValueError as error:
                raise BadInput(f"dataset {part!r}", seen=f"weight {weight!r}", do="write it as NAME*2") from error
        return tuple(found)


def print_variants() -> None:
    """All variants, with paper and idea."""
    from reelmill.training import variants

    table = Table("variant", "paper and idea", box=None)
    for name in variants.names():
        table.add_row(name, variants.story(name))
    wide_console().print(table)


def settings(pairs: Sequence[str]) -> dict[str, Any]:
    """NAME=VALUE pairs, values as Python writes them, else words. Raises BadInput on others."""
    found: dict[str, Any] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name:
            raise BadInput(f"--set {pair!r}", seen="no NAME=VALUE", do="write it as --set queries=16")
        try:
            found[name] = ast.literal_eval(value)
        except (ValueError, SyntaxError):
            found[name] = value
    return found


def train(
    asked: Asked, *, shared: bool, in_order: bool, ema: float, settings: dict[str, Any], store: str | Path | None
) -> None:
    """Trains to the last step, showing losses, speed and where the time goes."""
    from reelmill.training.loop.plan import Plan, Rates
    from reelmill.training.running import begun

    plan = Plan(
        asked.variant,
        asked.data(shared=shared),
        steps=asked.steps,
        size=asked.size,
        settings=settings,
        seed=asked.seed,
        tokens=asked.tokens,
        frames=asked.frames,
        accumulate=asked.accumulate,
        rates=Rates(rate=asked.rate),
        objective=asked.objective,
        start=None if asked.start is None else str(asked.start),
        in_order=in_order,
        ema=ema,
        tower=asked.tower,
        lm=asked.words,
        model=asked.model,
        stages=asked.stages,
    )
    console = wide_console()
    with _Shown(console) as shown:
        fit = begun(plan, asked.run, shown.tell, _folder(store))
        if fit.step:
            console.print(f"goes on after step {fit.step} of {plan.steps}")
        fit.go()
    del fit  # a second model is read back from the last checkpoint
    if plan.pretrained:
        console.print(_native(asked.run))
    done = f"{asked.run}: {plan.variant}, {plan.steps} steps, {shown.cpu_s:.0f} CPU seconds here"
    console.print(f"{done}; ask it: reelmill eval {asked.run} DATASET")


def _native(run: Path) -> str:
    """Writes RUN/model; what is to be said of it."""
    from reelmill.training.running import written

    try:
        return f"{written(run)}: for transformers, and --engine ABILITY=transformers:{run / 'model'}"
    except BadInput as error:
        return str(error)


def _folder(store: str | Path | None) -> Path | None:
    return None if store is None else Path(store)


class _Shown:
    """The last step, live in a terminal, a line now and then elsewhere."""

    def __init__(self, console: Console) -> None:
        self.console, self.cpu_s, self.live = console, 0.0, Live(console=console, transient=True, auto_refresh=False)
        self.spent = dict.fromkeys(_SHOWN, 0.0)
        self.tokens = self.operations = 0.0

    def __enter__(self) -> _Shown:
        if self.console.is_terminal:
            self.live.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.live.stop()

    def tell(self, told: Any) -> None:
        """A step is done."""
        self.cpu_s += told.cpu_s
        self.tokens, self.operations = self.tokens + told.tokens, self.operations + told.operations
        for name in _SHOWN:
            self.spent[name] += told.seconds[name]
        if self.console.is_terminal:
            self.live.update(self._line(told), refresh=True)
        elif told.step % 50 == 0 or told.step == told.steps:
            self.console.print(self._line(told))

    def _line(self, told: Any) -> str:
        all_s = sum(self.spent.values()) or 1.0
        where = " ".join(f"{name} {self.spent[name] / all_s:.0%}" for name in _SHOWN)
        losses = " ".join(f"{name} {value:.3f}" for name, value in told.losses.items())
        speed = f"{self.tokens / all_s:,.0f} tokens/s {self.operations / all_s / 1e9:.1f} GFLOP/s"
        return f"step {told.step}/{told.steps} {losses} norm {told.norm:.2f} | {speed} | {where}"


def evaluate_run(run: Path, place: str, split: str, limit: int | None, budget: int | None, store: str | Path) -> None:
    """Asks a run's model a dataset's questions and writes evaluation.json and a page beside it."""
    from reelmill.training.data.shards import opened
    from reelmill.training.evals.evaluate import evaluate
    from reelmill.training.evals.model import ModelAnswerer, ModelPreferrer
    from reelmill.training.evals.plots import write_page
    from reelmill.training.evals.table import report_table
    from reelmill.training.running import finished

    made, held, learned = finished(run), opened(place, split, _folder(store)), opened(place, "train", _folder(store))
    samples = [held.sample(n) for n in range(min(limit or len(held), len(held)))]
    train = [learned.sample(n) for n in range(len(learned))]
    console = wide_console()
    answerer = ModelAnswerer(made.model, made.tokens, held, budget=budget)
    preferrer = ModelPreferrer(made.model, made.tokens, held)
    facts = {"variant": made.plan.variant, "steps": str(made.plan.steps), "split": split}
    with console.status(f"{len(samples)} samples") if console.is_terminal else nullcontext():
        report = evaluate(samples, train, answerer, preferrer=preferrer, run=run.name, dataset=held.label, facts=facts)
    report.save(run / "evaluation.json")
    page = write_page(report, run)
    console.print(report_table(report))
    console.print(f"{run / 'evaluation.json'} and {page}")
