"""Two localisers on 200 scenes that nothing was tuned on: each one's error alone, and what requiring agreement buys.

The shipped recipes `clips`, `tubes` and `events` run over 100 easy and 100 medium scenes. A refused event keeps both
proposals, so every answer is read from one run: what the tubes say, what the change map says of the same phase, and
what both agree on. Scenes and store lie in the cache and are kept: a run that was cut off goes on where it was.

    python benchmarks/localisers.py
"""

from __future__ import annotations

import argparse
import dataclasses
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from measure import Result, say
from peers.media import cache

from reelmill.annotators.events import Activity, EventRules, ReadEvents
from reelmill.annotators.motion.changes import Changes
from reelmill.jobs.verifying import _Beside
from reelmill.pipelines import events
from reelmill.pipelines._place import place_of
from reelmill.pipelines._run import Local, run
from reelmill.pipelines.scenes.confidence import Rate
from reelmill.pipelines.scenes.presets import PRESETS
from reelmill.pipelines.scenes.render import load_truth, render_set
from reelmill.pipelines.scenes.score import EventFigures, Predicted, Rule, score
from reelmill.pipelines.scenes.truth import SceneTruth
from reelmill.schemas import arrow
from reelmill.schemas.event import RULE_KINDS, Event, EventKind, Proposal
from reelmill.schemas.span import Span
from reelmill.schemas.tube import Tube
from reelmill.schemas.verdict import State
from reelmill.sinks.dataset import Store

SEEDS = {"easy": 30211, "medium": 30212}
RULE = Rule(min_viou=0.2, min_tiou=0.5)
DISAGREEMENT = ("second_localiser_silent", "localisers_disagree")
RESAMPLES = 2000
TOLERANCES = (0.5, 1.0, 1.5, 2.0, 3.0, float("inf"))

Answer = Callable[[Event], Span | None]


# ---- answers: what one event becomes when only some of what was said is listened to ----------------------------------


def _fits(event: Event) -> bool:
    """Did the tube localiser itself find no fault with it?"""
    return event.verdict.accepted or event.verdict.reason in DISAGREEMENT


def every_phase(event: Event) -> Span | None:
    return event.proposals[0].span


def tubes_alone(event: Event) -> Span | None:
    return event.proposals[0].span if _fits(event) else None


def changes_alone(event: Event) -> Span | None:
    """Asked where the tube says that something happens, and then taken at its own word."""
    return event.proposals[1].span if _fits(event) else None


def agreed(event: Event) -> Span | None:
    return event.span if event.verdict.accepted else None


ANSWERS: dict[str, Answer] = {
    "tubes, every phase": every_phase,
    "tubes alone": tubes_alone,
    "changes alone": changes_alone,
    "agreement": agreed,
}


def within(times: float) -> Answer:
    """Agreement with tolerances of so many times the shipped ones; infinite: the change map need only not be silent."""
    rules = EventRules()

    def answer(event: Event) -> Span | None:
        own, other = (p.span for p in event.proposals)
        if not _fits(event) or own is None or other is None:
            return None
        long = own.duration_s >= rules.long_s
        apart_s = max(abs(own.start_s - other.start_s), abs(own.end_s - other.end_s))
        near = apart_s <= times * (rules.agree_long_s if long else rules.agree_s)
        return own if near and (not long or np.isinf(times) or own.tiou(other) >= rules.agree_tiou) else None

    return answer


# ---- the run ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Clip:
    """What the second step of the shipped chain is given of a clip, in clip time."""

    key: str
    tubes: tuple[Tube, ...]
    changes: Changes


@dataclass(frozen=True, slots=True)
class Found:
    """One preset's truths, and the tubes and all events (refused ones too) of each file, in seconds of the file."""

    truths: dict[str, SceneTruth]
    tubes: dict[str, list[Tube]]
    events: dict[str, list[Event]]
    clips: list[_Clip]

    def predicted(self, uri: str, answer: Answer) -> Predicted:
        said = [(event, answer(event)) for event in self.events[uri]]
        kept = tuple(dataclasses.replace(event, span=span) for event, span in said if span is not None)
        return Predicted((), tuple(self.tubes[uri]), kept, ())


def found(name: str, scenes: int) -> Found:
    """Render, run and read one preset. What lies in the cache already is not done again."""
    folder = cache() / f"localisers-{name}-{SEEDS[name]}"
    render_set(folder / "media", scenes, SEEDS[name], PRESETS[name], pictures=0, progress=_counted(name))
    say(f"{name}: running clips, tubes and events")
    run(events.recipe(agreement=True), place_of(folder / "store", (str(folder / "media"),), "l"), Local(1))
    store = Store(folder / "store")
    beside = _Beside(store, store.find("events-l"))
    paths = sorted((folder / "media").glob("*.mp4"))[:scenes]
    truths = {str(path): load_truth(path) for path in paths}  # a scene without a clip is missed, never left out
    every, tubes = _all_events(beside), beside._tubes()
    clips = [_Clip(*one) for one in _tubes_and_changes(store) if one[0] in beside.clips]
    return Found(truths, {u: tubes[u] for u in truths}, {u: every[u] for u in truths}, clips)


def _tubes_and_changes(store: Store) -> Iterator[tuple[str, tuple[Tube, ...], Changes]]:
    for row in store.find("tubes-l").rows().to_pylist():
        if row["verdict"]["state"] == State.ACCEPTED:
            yield row["key"], arrow.typed(tuple[Tube, ...], row["tubes"]), arrow.typed(Changes, row["changes"])


def _counted(name: str) -> Callable[[int, int], None]:
    return lambda done, total: say(f"{name}: rendered {done} of {total}") if done % 10 == 0 else None


def _all_events(beside: Any) -> dict[str, list[Event]]:
    """Events of each file whatever their verdict, with their proposals, in the time of the file."""
    (dataset,) = beside.made("events")
    by_file: dict[str, list[Event]] = defaultdict(list)
    for row in dataset.children().drop_columns(["part"]).to_pylist():
        event: Event = arrow.typed(Event, row)
        media = beside.clips[event.parent_key].media
        by_file[media.uri].append(_shifted(event, media.span.start_s if media.span else 0.0))
    return by_file


def _shifted(event: Event, by_s: float) -> Event:
    proposals = tuple(Proposal(p.localiser, p.span.shifted(by_s) if p.span else None, p.score) for p in event.proposals)
    return dataclasses.replace(event, span=event.span.shifted(by_s), proposals=proposals)


# ---- figures ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Counts:
    """int [files] each: right, said and true events of one kind (or all), by one answer."""

    right: np.ndarray
    said: np.ndarray
    true: np.ndarray

    @property
    def precision(self) -> Rate:
        return Rate(int(self.right.sum()), int(self.said.sum()))

    @property
    def recall(self) -> Rate:
        return Rate(int(self.right.sum()), int(self.true.sum()))


def counts(data: Sequence[Found], answer: Answer) -> dict[EventKind | None, Counts]:
    """By kind (None: all), file by file."""
    rows: dict[EventKind | None, list[tuple[int, int, int]]] = defaultdict(list)
    for one in data:
        for uri, exact in one.truths.items():
            for figures in score({uri: exact}, {uri: one.predicted(uri, answer)}, RULE).events:
                found = figures.found
                rows[figures.kind].append((found.precision.hits, found.precision.count, found.recall.count))
    return {kind: Counts(*np.array(triples).T) for kind, triples in rows.items()}


def errors(data: Found, answer: Answer) -> dict[EventKind | None, EventFigures]:
    said = {uri: data.predicted(uri, answer) for uri in data.truths}
    return {figures.kind: figures for figures in score(data.truths, said, RULE).events}


@dataclass(frozen=True, slots=True)
class Trade:
    """What agreement changes, with bounds from one bootstrap over files for both (Efron 1979)."""

    precision: tuple[float, float, float]
    recall: tuple[float, float, float]
    wrong_removed: int
    right_lost: int

    @property
    def pays(self) -> str:
        gained, lost = self.precision[0], -self.recall[0]
        if gained < lost:
            return "no"
        return "yes" if self.precision[1] > 0 else "no difference" if gained == lost == 0 else "not shown"


def trade(before: Counts, after: Counts) -> Trade:
    picks = np.random.default_rng(0).integers(0, len(before.true), (RESAMPLES, len(before.true)))

    def change(below: str) -> tuple[float, float, float]:
        rates = []
        for which in (after, before):
            rates.append((which.right.sum() / getattr(which, below).sum(), _rates(which, below, picks)))
        low, high = np.nanquantile(rates[0][1] - rates[1][1], (0.025, 0.975))
        return float(rates[0][0] - rates[1][0]), float(low), float(high)

    wrong = int((before.said - before.right).sum() - (after.said - after.right).sum())
    return Trade(change("said"), change("true"), wrong, int(before.right.sum() - after.right.sum()))


def _rates(which: Counts, below: str, picks: np.ndarray) -> np.ndarray:
    with np.errstate(invalid="ignore"):
        rates: np.ndarray = which.right[picks].sum(axis=1) / getattr(which, below)[picks].sum(axis=1)
    return rates


# ---- wrong tubes: does the change map notice? ------------------------------------------------------------------------


def late(tube: Tube, by_s: float, end_s: float) -> Tube | None:
    """A tube whose tracker was late by so much, as far as it lies in the clip; None where too little does."""
    kept = [(t + by_s, box) for t, box in zip(tube.at_s, tube.boxes, strict=True) if 0 <= t + by_s < end_s - 1e-6]
    if len(kept) < 3:
        return None
    times, boxes = zip(*kept, strict=True)
    return dataclasses.replace(tube, at_s=times, boxes=boxes, end_s=min(tube.end_s + by_s, end_s))


def on_frames(tube: Tube, changes: Changes) -> Tube | None:
    """The same tube on the frames of a clip: each box goes to the frame nearest to its time, each frame to one box."""
    times = np.array(changes.at_s)
    chosen = {int(np.abs(times - t).argmin()): box for t, box in zip(tube.at_s, tube.boxes, strict=True)}
    frames = sorted(chosen)
    edges = (*changes.at_s, changes.end_s)
    if len(frames) < 3:
        return None
    last = edges[frames[-1] + 1]
    return dataclasses.replace(
        tube, at_s=tuple(edges[f] for f in frames), boxes=tuple(chosen[f] for f in frames), end_s=last
    )


Wrong = Callable[[_Clip, _Clip], Iterator[Tube | None]]


def let_through(data: Sequence[Found], wrong: Wrong, times: float = 1.0) -> dict[str, Rate]:
    """By kind: how many events of wrong tubes pass the tubes' own rules, and how many of these the change map too."""
    shipped = EventRules(agreement=True)
    step = ReadEvents(
        rules=dataclasses.replace(shipped, agree_s=times * shipped.agree_s, agree_long_s=times * shipped.agree_long_s)
    )
    passed: Counter[str] = Counter()
    asked: Counter[str] = Counter()
    for one in data:
        for clip, other in zip(one.clips, one.clips[1:] + one.clips[:1], strict=True):
            activity = Activity(clip.changes, step.rules)
            for tube in filter(None, wrong(clip, other)):
                placed = on_frames(tube, clip.changes)
                for event in step._events(clip.key, placed, activity) if placed else ():
                    asked[str(event.kind)] += _fits(event)
                    passed[str(event.kind)] += event.verdict.accepted
    total = {"all": Rate(passed.total(), asked.total())}
    return total | {str(kind): Rate(passed[kind], asked[kind]) for kind in RULE_KINDS}


def delayed(by_s: float) -> Wrong:
    return lambda clip, _: (late(tube, by_s, clip.changes.end_s) for tube in clip.tubes)


def of_another(clip: _Clip, other: _Clip) -> Iterator[Tube | None]:
    return (late(tube, 0.0, clip.changes.end_s) for tube in other.tubes)


WRONG = {f"{by_s:g} s late": delayed(by_s) for by_s in (0.0, 0.2, 0.5, 1.0)} | {"of another clip": of_another}


# ---- the page --------------------------------------------------------------------------------------------------------


def _kind(kind: EventKind | None) -> str:
    return str(kind or "all")


def _rate(rate: Rate) -> str:
    if rate.value is None or rate.low is None or rate.high is None:
        return "undefined"
    return f"{rate.value:.3f} [{rate.low:.3f}, {rate.high:.3f}] ({rate.hits}/{rate.count})"


def _edge(p50_s: float | None, p90_s: float | None) -> str:
    return "undefined" if p50_s is None or p90_s is None else f"{p50_s:.3f} / {p90_s:.3f}"


def _points(change: tuple[float, float, float]) -> str:
    return f"{100 * change[0]:+.1f} [{100 * change[1]:+.1f}, {100 * change[2]:+.1f}]"


def table_of_answers(page: Result, name: str, data: Found) -> None:
    page.note(f"## {name}: {len(data.truths)} scenes, seed {SEEDS[name]}")
    rows = []
    for what, answer in ANSWERS.items():
        by_kind, said = counts([data], answer), errors(data, answer)
        for kind, number in by_kind.items():
            start, end = said[kind].start, said[kind].end
            edges = _edge(start.median_s, start.p90_s), _edge(end.median_s, end.p90_s)
            rows.append((_kind(kind), what, _rate(number.precision), _rate(number.recall), *edges))
        page.raw[f"{name} {what}"] = {
            _kind(k): {f.name: getattr(c, f.name).tolist() for f in dataclasses.fields(c)} for k, c in by_kind.items()
        }
    order = [_kind(k) for k in (None, *RULE_KINDS)]
    rows.sort(key=lambda row: order.index(row[0]))
    page.table(("kind", "answer", "precision", "recall", "start error p50 / p90 (s)", "end error p50 / p90 (s)"), rows)


def table_of_trades(page: Result, data: dict[str, Found]) -> None:
    page.note(
        "## What requiring agreement buys\n\nAgainst tubes alone, in points, with 95 % bounds (bootstrap over files, "
        "paired). It pays where it gains at least the precision that it loses in recall."
    )
    rows: list[tuple[object, ...]] = []
    for name, sets in {**{n: [d] for n, d in data.items()}, "both": list(data.values())}.items():
        before, after = counts(sets, tubes_alone), counts(sets, agreed)
        for kind in before:
            one = trade(before[kind], after[kind])
            bought = _points(one.precision), _points(one.recall), one.wrong_removed, one.right_lost
            rows.append((name, _kind(kind), *bought, one.pays))
    header = ("scenes", "kind", "precision", "recall", "wrong events removed", "right events lost", "pays")
    page.table(header, rows)


def table_of_tolerances(page: Result, data: dict[str, Found]) -> None:
    page.note("## How near is near enough\n\nAll scenes; tolerances as multiples of the shipped ones (0.16 s, 0.25 s).")
    rows = []
    for times in TOLERANCES:
        all_kinds = counts(list(data.values()), within(times))
        for kind, number in all_kinds.items():
            rows.append((f"{times:g}", _kind(kind), _rate(number.precision), _rate(number.recall)))
    page.table(("times", "kind", "precision", "recall"), rows)


def table_of_wrong_tubes(page: Result, data: dict[str, Found]) -> None:
    page.note(
        "## Does the change map notice a wrong tube?\n\nEvents of tubes that were made wrong on purpose, all scenes: "
        "of those that pass the tubes' own rules, the share that agreement accepts. 0 s is the tracker as it is."
    )
    rows = []
    for what, wrong in WRONG.items():
        rates = let_through(list(data.values()), wrong)
        rows.append((what, *(_rate(rates[kind]) for kind in ("all", *map(str, RULE_KINDS)))))
    page.table(("tubes", "all", *map(str, RULE_KINDS)), rows)
    page.note("The same with wider tolerances, all kinds:")
    wider = (1.0, 1.5, 2.0, 3.0)
    sets = list(data.values())
    found = {what: [let_through(sets, wrong, t)["all"] for t in wider] for what, wrong in WRONG.items()}
    rows = [(what, *map(_rate, rates)) for what, rates in found.items()]
    page.table(("tubes", *(f"{t:g} times" for t in wider)), rows)


def picture(data: dict[str, Found]) -> Any:
    """An arrow per kind of event from tubes alone to agreement, in recall and precision."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4.2))
    for axes, (name, one) in zip(figure.subplots(1, len(data), sharey=True), data.items(), strict=True):
        before, after = counts([one], tubes_alone), counts([one], agreed)
        for colour, kind in zip(("#3b6ea5", "#b03030", "#4a8f4a", "#8a5aa0"), EventKind, strict=True):
            ends = [(w[kind].recall.value, w[kind].precision.value) for w in (before, after)]
            axes.plot(*zip(*ends, strict=True), color=colour, linewidth=1)
            axes.plot(*ends[0], "o", color=colour, markerfacecolor="white")
            axes.plot(*ends[1], "o", color=colour, label=str(kind))
        axes.set_title(f"{name}: hollow, tubes alone; filled, agreement", fontsize=10)
        axes.set_xlabel("recall")
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False)
    figure.axes[0].set_ylabel("precision")
    return figure


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scenes", type=int, default=100, help="of each preset")
    given = parser.parse_args()
    page = Result("localisers", "Two localisers, alone and in agreement")
    data = {name: found(name, given.scenes) for name in SEEDS}
    page.note(
        "A predicted event is right where a true one of its kind has a tIoU of at least 0.5 with it, and its tube a "
        "vIoU over 0.2 with the true tube, one to one (decision 0008). Errors are of right events alone. `tubes, every "
        "phase` takes those too that the tube localiser faults itself (cut off, found or lost in mid-frame, brief, "
        "unsure); the other answers do not. `changes alone` is not independent: it is asked only where a tube says "
        "that something happens, and told where."
    )
    for name, one in data.items():
        table_of_answers(page, name, one)
    table_of_trades(page, data)
    table_of_tolerances(page, data)
    table_of_wrong_tubes(page, data)
    page.save(picture(data))


if __name__ == "__main__":
    main()
