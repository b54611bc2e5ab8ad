"""Can the sides of preference pairs be told apart without the video? Scenes are composed, and no pixel is drawn.

Pairs of `dpo_perturb`, or with `--of` those of `cotasks` or `temple`.

Every pair is compiled from the exact events of its shot, so what readers find is the doing of the perturbations and of
the scenes' own habits, never of wrong evidence. Each kind is audited as the recipe gives it, once more without the rule
that refuses telltale pairs, and once more where only mirrored pairs are kept.

    python benchmarks/blind.py --scenes 300
"""

from __future__ import annotations

import argparse
import dataclasses
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from measure import Result, bars, say

from reelmill.pipelines.scenes.compose import compose
from reelmill.pipelines.scenes.presets import MEDIUM
from reelmill.pipelines.scenes.truth import truth
from reelmill.pipelines.sources.films import FilmClip
from reelmill.pipelines.views.checks.cotasks import check_cotasks
from reelmill.pipelines.views.checks.preference import check_preference
from reelmill.pipelines.views.checks.temple import check_temple
from reelmill.pipelines.views.cotasks import CompareCoTasks
from reelmill.pipelines.views.preference import PAIRS, ComparePerturbed
from reelmill.pipelines.views.temple import CompareFilms
from reelmill.schemas import arrow
from reelmill.schemas.column import schema
from reelmill.schemas.event import Event
from reelmill.schemas.media import Kind, MediaRef, ShownFrame
from reelmill.schemas.sample import PreferenceSample
from reelmill.schemas.span import Span
from reelmill.schemas.verdict import ACCEPTED
from reelmill.sinks.publishing.blind import Pair, Told, audit, audit_in_sequence, mirrored, pair_of

FIRST_SEED = 70_000
BUSY = dataclasses.replace(MEDIUM, name="busy", movers=(2, 3), shots=(1, 2), duration_s=(5.0, 10.0))
"""Scenes of two or three things for five to ten seconds: a clip of one thing has no order to perturb."""
GOAL, LENGTH_GOAL = 0.60, 0.55

MOST, SEQUENCES = 2000, 1000
"""Pairs of a kind that are audited at most (the first by key: a draw), and that the GRU, the slowest, is given."""

Clip = tuple[dict[str, Any], list[Event]]


def clips(seed: int) -> Iterator[Clip]:
    """A row of the view, and the true events, for each shot of a scene."""
    exact = truth(compose(seed, BUSY))
    for number, shot in enumerate(exact.shots):
        own = [e for e in exact.events if e.subject_id.startswith(f"s{number}m")]
        events = [dataclasses.replace(e, key=f"e{i}", span=e.span.shifted(-shot.start_s)) for i, e in enumerate(own)]
        times_s = [t - shot.start_s for t in exact.frame_times_s if shot.start_s <= t < shot.end_s]
        yield _row(f"{seed}.{number}", seed, shot, times_s, events), events


def _row(key: str, seed: int, shot: Span, times_s: Sequence[float], events: Sequence[Event]) -> dict[str, Any]:
    digest = f"{seed:064x}"
    media = MediaRef(f"scene:{seed}", digest, Kind.VIDEO, BUSY.width_px, BUSY.height_px, shot.duration_s, shot, "")
    halves = {math.floor(t / 0.5): i for i, t in reversed(list(enumerate(times_s)))}
    frames = tuple(
        ShownFrame(i, times_s[i], BUSY.width_px, BUSY.height_px, f"{i:064x}", 0, 1) for i in sorted(halves.values())
    )
    row = {"media": media, "frames": frames, "provenance": (), "events": tuple(events)}
    plain = {name: arrow.plain(value) for name, value in row.items()}
    return plain | {"key": key, "clips_dataset": "scenes", "num_frames": len(times_s), "still": False}


FILMS = dataclasses.replace(BUSY, name="films", movers=(1, 2), shots=(4, 9), duration_s=(12.0, 24.0))
"""Films of four to nine shots, no two of which look alike."""


def films(seed: int) -> Iterator[Clip]:
    """A row of a film of a scene's shots, and the true events."""
    exact = truth(compose(seed, FILMS))
    events = [dataclasses.replace(e, key=f"e{i}") for i, e in enumerate(exact.events)]
    whole = Span(0.0, exact.duration_s)
    media = MediaRef(
        f"scene:{seed}", f"{seed:064x}", Kind.VIDEO, FILMS.width_px, FILMS.height_px, whole.end_s, whole, ""
    )
    shots = []
    for number, shot in enumerate(exact.shots):
        times_s = [n / 2 for n in range(max(1, int(shot.duration_s * 2)))]
        frames = tuple(
            ShownFrame(i, t, media.width_px, media.height_px, f"{i:064x}", 0, 1) for i, t in enumerate(times_s)
        )
        own = dataclasses.replace(media, duration_s=shot.duration_s, span=shot)
        shots.append(FilmClip(f"{seed}.{number}", str(seed), own, frames, ACCEPTED))
    by_shot = [[e for e in events if e.subject_id.startswith(f"s{n}m")] for n in range(len(shots))]
    row = {
        "media": media,
        "film_clips": shots,
        "film_events": [
            [dataclasses.replace(e, span=e.span.shifted(-c.starts_s)) for e in own]
            for c, own in zip(shots, by_shot, strict=True)
        ],
        "film_clip_embedding": np.eye(len(shots)).tolist(),
        "film_frame_sharpness": [[1.0] * len(c.frames) for c in shots],
        "provenance": (),
    }
    plain = {name: arrow.plain(value) for name, value in row.items()}
    yield plain | {"key": str(seed), "clips_dataset": "scenes"}, events


def compiled(step: Any, row: dict[str, Any]) -> list[PreferenceSample]:
    (out,) = step(pa.Table.from_pylist([row], schema=schema(*step.needs))).to_pylist()
    return list(arrow.typed(PAIRS.hint, out["samples"] or []))


def temple_faults(sample: PreferenceSample, events: Sequence[Event]) -> list[str]:
    seed = int(sample.parent_key)
    return check_temple(sample, events, truth(compose(seed, FILMS)).shots)


AUDITED: dict[str, tuple[Any, Any, Any, Any]] = {
    "dpo_perturb": (clips, ComparePerturbed(), ComparePerturbed(even=False), check_preference),
    "cotasks": (clips, CompareCoTasks(), CompareCoTasks(even=False), check_cotasks),
    "temple": (films, CompareFilms(), None, temple_faults),
}
"""Rows, the step as its recipe has it, the step that gives telltale pairs too, and the independent checker."""


def made(of: str, scenes: int, brief: bool) -> tuple[dict[str, list[Pair]], Counter[str], Counter[str]]:
    """Pairs with and without the rule on telltale ones, what became of all, and what the checker says."""
    rows, own, uneven, check = AUDITED[of]
    steps = {"as the recipe gives them": own} | ({} if brief or uneven is None else {"telltale ones too": uneven})
    pairs: dict[str, list[Pair]] = {name: [] for name in steps}
    became, checked = Counter[str](), Counter[str]()
    for number in range(scenes):
        for row, events in rows(FIRST_SEED + number):
            for name, step in steps.items():
                for sample in compiled(step, row):
                    if sample.verdict.accepted:
                        pairs[name].append(pair_of(sample))
                        checked[f"{name}: {'wrong' if check(sample, events) else 'right'}"] += 1
                    if step is own:
                        became[sample.verdict.reason or "accepted"] += 1
        if number % 100 == 99:
            say(f"{number + 1} of {scenes} scenes")
    return pairs, became, checked


def worst(told: Sequence[Told]) -> Told:
    return max(told, key=lambda t: t.auc)


def table(page: Result, title: str, pairs: list[Pair], sequence: bool) -> dict[str, float]:
    """One row per kind; gives the blind AUC, that of its best reader, by kind."""
    say(f"auditing {title}: {len(pairs)} pairs")
    by_kind: dict[str, list[Pair]] = {}
    for pair in sorted(pairs, key=lambda p: p.key):
        by_kind.setdefault(pair.kind, []).append(pair)
    told = [t for own in by_kind.values() for t in audit(own[:MOST])]
    kinds = sorted({t.kind for t in told})
    if sequence:
        told += [audit_in_sequence([p for p in pairs if p.kind == kind][:SEQUENCES]) for kind in kinds]
    page.note(f"## {title}: {len(pairs)} pairs")
    rows, blind = [], {}
    for kind in kinds:
        own = [t for t in told if t.kind == kind]
        best, length = worst(own), next(t for t in own if t.reader == "length")
        each = ", ".join(f"{t.reader} {t.auc:.3f}" for t in own)
        goal = "yes" if best.auc <= GOAL and length.auc <= LENGTH_GOAL else "no"
        say(f"{kind}: {len(by_kind[kind])} pairs, best {best.auc:.3f} [{best.low:.3f}, {best.high:.3f}]: {each}")
        rows.append(
            (
                kind,
                len(by_kind[kind]),
                best.pairs,
                best.sources,
                f"{best.auc:.3f} [{best.low:.3f}, {best.high:.3f}]",
                each,
                goal,
            )
        )
        blind[kind] = best.auc
    page.table(("kind", "pairs", "audited", "scenes", "blind AUC, 95 %", "by reader", "goal met"), rows)
    page.raw[title] = [dataclasses.asdict(t) for t in told]
    return blind


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scenes", type=int, default=300)
    parser.add_argument("--of", choices=sorted(AUDITED), default="dpo_perturb")
    parser.add_argument("--brief", action="store_true", help="no telltale pairs: half the time")
    asked = parser.parse_args()
    name = "blind" if asked.of == "dpo_perturb" else f"blind_{asked.of}"
    page = Result(name, f"What can be told of the pairs of {asked.of} without the video")
    page.note(
        f"{asked.scenes} composed scenes from seed {FIRST_SEED}, truth as evidence. AUC of sides within pairs, five"
        " folds by scene; the blind AUC is that of the best reader (the best of several is above 0.5 by chance alone)."
        f" At most {MOST} pairs of a kind are audited. Goal: at most {GOAL}, by length alone at most {LENGTH_GOAL}."
    )
    pairs, became, checked = made(asked.of, asked.scenes, asked.brief)
    own = pairs["as the recipe gives them"]
    blind = table(page, "as the recipe gives them", own, sequence=True)
    if "telltale ones too" in pairs:
        table(page, "telltale ones too", pairs["telltale ones too"], sequence=False)
    kept = mirrored(own)
    table(page, "mirrored ones of those that the recipe gives", [p for p in own if p.key in kept], sequence=False)
    page.note(
        "Below 0.5 is no signal either: where each form is chosen as often as rejected, what a fold has too much of is"
        " missing in the others, and a reader learns it the wrong way round."
    )
    page.table(("what became of the pairs", "count"), sorted(became.items()))
    page.table(("what the independent checker says", "count"), sorted(checked.items()))
    page.save(bars("blind AUC as the recipe gives them", blind, limit=("goal", GOAL)))


if __name__ == "__main__":
    main()
