"""`train` and `eval`: a variant learns from packed datasets, and answers what it has not seen."""

from __future__ import annotations

import ast
import math
import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from reelmill.jobs.progress import wide_console
from reelmill.jobs.steps import Steps, peak_said
from reelmill.schemas.errors import BadInput
from reelmill.sinks.state.place import Folder, on_disk

if TYPE_CHECKING:
    from reelmill.training.loop.plan import Data, Plan
    from reelmill.training.loop.ranks import Ranks

STOPPED = 130


@dataclass(frozen=True, slots=True)
class Asked:
    """What the verb was told. `datasets` are separated by commas; NAME*2 counts twice."""

    variant: str
    datasets: str
    steps: int
    size: str
    tokens: int
    frames: int
    accumulate: int
    rate: float
    seed: int
    objective: str
    start: Path | None
    every: int
    in_order: bool
    ema: float
    tower: str | None = None
    words: str | None = None
    model: str | None = None
    stages: str = "paper"
    compile: bool = False
    image_px: int | None = None
    optimizer: str = "auto"

    def data(self, *, shared: bool) -> tuple[Data, ...]:
        """Places and weights. Raises BadInput on a weight that is no positive number."""
        return tuple(data_of(part, shared=shared) for part in filter(None, self.datasets.split(",")))

    def plan(self, settings: dict[str, Any], *, shared: bool) -> Plan:
        """Everything that decides the weights. Raises NotFound and BadInput for what cannot be."""
        from reelmill.training.loop.plan import Plan, Rates

        if not (math.isfinite(self.rate) and self.rate > 0):
            raise BadInput(f"--rate {self.rate}", seen="no positive number", do="give one, such as 2e-3")
        return Plan(
            self.variant,
            self.data(shared=shared),
            steps=self.steps,
            size=self.size,
            settings=settings,
            seed=self.seed,
            tokens=self.tokens,
            frames=self.frames,
            accumulate=self.accumulate,
            rates=Rates(rate=self.rate),
            objective=self.objective,
            start=None if self.start is None else str(self.start),
            in_order=self.in_order,
            ema=self.ema,
            keep_every=self.every,
            tower=self.tower,
            lm=self.words,
            model=self.model,
            stages=self.stages,
            compile=self.compile,
            image_px=self.image_px,
            optimizer=self.optimizer,
        )


def data_of(said: str, *, shared: bool) -> Data:
    """A dataset as PLACE or PLACE*WEIGHT. Raises BadInput on a weight that is no positive number."""
    place, _, weight = said.partition("*")
    try:
        times = float(weight or 1)
    except ValueError:
        times = math.nan
    if not (place and math.isfinite(times) and times > 0):
        raise BadInput(f"dataset {said!r}", seen=f"weight {weight!r}", do="write it as NAME*2, with a positive number")
    from reelmill.training.loop.plan import Data

    return Data(place, times, shared)


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


def train(plan: Plan, run: Path, store: Folder, tera: float = 0.0) -> int:
    """Trains to the last step, showing losses, speed and where the time goes. Returns the exit code: 130 where it was
    interrupted, with a checkpoint of the step that was under way.

    Raises NotFound, BadInput, Corrupt, StoreUnusable and Busy; what was written before stands.
    """
    from reelmill.training.loop.ranks import joined

    peak = peak_said(tera)
    with joined() as ranks:
        console = wide_console() if ranks.leads else Console(quiet=True)
        with Steps(console, plan.steps, peak and peak * ranks.world) as shown:
            done = _trained(plan, run, on_disk(store), shown, ranks)
        if done and ranks.leads:
            _ended(plan, run, shown)
        return 0 if done else STOPPED


def _trained(plan: Plan, run: Path, place: Path, shown: Steps, ranks: Ranks) -> bool:
    """Whether the last step is done; the first process has the folder for itself and tells of it."""
    from reelmill.training.loop.alone import alone
    from reelmill.training.running import begun, checked, unread_words

    splits = checked(plan, place)
    with alone(run) if ranks.leads else nullcontext():
        listeners = [shown.tell]
        fit = begun(plan, run, lambda told: [hear(told) for hear in listeners], place, splits)
        listeners += _board(run, fit.step) if ranks.leads and fit.step < plan.steps else []
        shown.begin_at(fit.step)
        if fit.step:
            _say(shown.console, f"{run}: goes on after step {fit.step} of {plan.steps}")
        elif ranks.leads and (words := unread_words(plan, run, place)):
            told = f"{', '.join(words[:8])}{', ...' if len(words) > 8 else ''}"
            _say(shown.console, f"{run}: {len(words)} words of the data are unknown to it and read as one: {told}")
        with _stopped_by_signals(fit), _page_of(run) if ranks.leads else nullcontext():
            fit.go()
    if fit.step < plan.steps:
        _say(shown.console, f"{run}: step {fit.step} of {plan.steps} is done, and its checkpoint written")
    return fit.step == plan.steps


def _ended(plan: Plan, run: Path, shown: Steps) -> None:
    """Says what is there now. A second model is read back from the last checkpoint."""
    if plan.pretrained:
        _say(shown.console, _native(run))
    done = f"{run}: {plan.variant}, {plan.steps} steps, {shown.cpu_s:.0f} CPU seconds here"
    _say(shown.console, f"{done}; curves in {run / 'report.html'}")
    _say(shown.console, f"ask it: reelmill eval {run} {plan.data[0].place}")


def _say(console: Console, line: str) -> None:
    console.print(line, highlight=False, markup=False, soft_wrap=True)


def _native(run: Path) -> str:
    """Writes RUN/model; what is to be said of it."""
    from reelmill.training.running import written

    try:
        return f"{written(run)}: for transformers, and --engine ABILITY=transformers:{run / 'model'}"
    except BadInput as error:
        return str(error)


def _board(run: Path, after: int) -> list[Any]:
    from reelmill.training.loop.board import board

    heard = board(run, after)
    return [heard] if heard else []


@contextmanager
def _stopped_by_signals(fit: Any) -> Iterator[None]:
    """Ctrl-C, and SIGTERM as schedulers send it, end the run after the step that is under way; a second one at once."""

    def ask(_number: int, _frame: object) -> None:
        if fit.stopping:
            raise KeyboardInterrupt
        fit.stop()

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _page_of(run: Path) -> Iterator[None]:
    """The run's page is written at its end, and where its loss was no number."""
    from reelmill.training.curves import write_report

    try:
        yield
    except BadInput:
        write_report(run)
        raise
    write_report(run)


@dataclass(frozen=True, slots=True)
class Exam:
    """What a run is asked: a dataset's split, at most `limit` samples, with `budget` visual tokens a group. In a stream
    it is silent where silence is the likeliest and at least as likely as `silence`."""

    place: str
    split: str = "val"
    limit: int | None = None
    budget: int | None = None
    silence: float | None = None

    def said(self) -> dict[str, str]:
        """What of it decides the scores."""
        own = (("limit", self.limit), ("budget", self.budget), ("silence", self.silence))
        return {"split": self.split} | {name: str(value) for name, value in own if value is not None}


def evaluate_run(run: Path, exam: Exam, store: Folder, out: Path | None = None, *, groups: bool = True) -> None:
    """Asks a run's model a dataset's questions; writes evaluation.json and a page into `out`, else into the run.

    Raises BadInput where another exam's evaluation lies there, and on a budget that the variant does not know.
    """
    from reelmill.training.curves import write_report
    from reelmill.training.evals.plots import write_page
    from reelmill.training.evals.report import FILE
    from reelmill.training.evals.table import report_table

    to, console = out or run, wide_console()
    report = _examined(run, exam, on_disk(store), to, console)
    report.save(to / FILE)
    page = write_page(report, to)
    console.print(report_table(report, groups=groups))
    pages = [str(to / FILE), str(page), *([str(write_report(run))] if to == run else [])]
    _say(console, f"written: {', '.join(pages)}")


def _examined(run: Path, exam: Exam, store: Path, to: Path, console: Console) -> Any:
    from reelmill.sinks.publishing.packed import PackedStream
    from reelmill.training.data.shards import opened
    from reelmill.training.evals.evaluate import evaluate
    from reelmill.training.evals.following import ModelFollower
    from reelmill.training.evals.model import ModelAnswerer, ModelPreferrer
    from reelmill.training.loop import checkpoint
    from reelmill.training.running import finished, require_watching

    made, held, learned = finished(run), opened(exam.place, exam.split, store), opened(exam.place, "train", store)
    if exam.budget is not None and exam.budget not in made.variant.budgets:
        known = ", ".join(map(str, made.variant.budgets)) or "no budgets"
        raise BadInput(f"--budget {exam.budget}", seen=f"{made.plan.variant} knows {known}", do="give one of these")
    facts = {"variant": made.plan.variant, "steps": str(checkpoint.newest(run).step)} | exam.said()
    _require_same(to, held.label, facts)
    samples = [held.sample(n) for n in range(min(exam.limit or len(held), len(held)))]
    train = [learned.sample(n) for n in range(len(learned))]
    if any(isinstance(s, PackedStream) for s in samples):
        require_watching(made.plan, made.variant, made.model.tower.grid, [held.label])
    answerer = ModelAnswerer(made.model, made.tokens, held, budget=exam.budget)
    preferrer = ModelPreferrer(made.model, made.tokens, held)
    follower = ModelFollower(made.model, made.tokens, held, exam.silence or 0.0, exam.budget)
    asked: dict[str, Any] = {"preferrer": preferrer, "follower": follower, "facts": facts}
    with console.status(f"{len(samples)} samples") if console.is_terminal else nullcontext():
        return evaluate(samples, train, answerer, run=run.resolve().name, dataset=held.label, **asked)


def _require_same(to: Path, label: str, facts: dict[str, str]) -> None:
    """An evaluation is written over by one of the same exam alone; the run may have learned more since."""
    from reelmill.training.evals.report import FILE, Report

    if not (to / FILE).is_file():
        return
    held = Report.load(to)
    there, here = ({**f, "dataset": d, "steps": ""} for f, d in ((held.facts, held.dataset), (facts, label)))
    if there != here:
        other = sorted(k for k in there.keys() | here.keys() if there.get(k) != here.get(k))
        seen = ", ".join(f"{k} {there.get(k, 'all')} there, {here.get(k, 'all')} here" for k in other)
        raise BadInput(f"{to / FILE} is of another exam", seen=seen, do="name another folder with --out")
