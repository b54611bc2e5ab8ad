"""A model against a dataset: questions asked, answers scored, floors beside them, all in one report.

    report = evaluate(val, train, answerer, run="a", dataset="internvid_tg-mine@1")
    report.save(Path("runs/a/evaluation.json"))

Pairs want a `preferrer` and streams a `follower`; without one, such samples are refused, not passed over.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeVar

from reelmill.schemas.errors import BadInput
from reelmill.sinks.publishing.packed import PackedCurated, PackedPreference, PackedSample, PackedStream
from reelmill.training.evals.floors import with_floors, with_pair_floors, with_stream_floors
from reelmill.training.evals.likelihood import Follower, Preferrer, followed, preferred
from reelmill.training.evals.questions import Answerer, History, asked, items_of
from reelmill.training.evals.report import Report
from reelmill.training.evals.scores import Score, scored, starts

Kind = TypeVar("Kind", bound=PackedSample)
Part = TypeVar("Part")


def evaluate(
    samples: Sequence[PackedSample],
    train: Sequence[PackedSample],
    answerer: Answerer | None = None,
    *,
    preferrer: Preferrer | None = None,
    follower: Follower | None = None,
    history: History = History.TEACHER,
    objects: Mapping[str, int] | None = None,
    run: str,
    dataset: str,
    facts: Mapping[str, str] | None = None,
) -> Report:
    """Evaluate on `samples`; `train` are those that floors learn from, of other sources. `objects` as in `items_of`.

    Raises BadInput where there is nothing to ask, where nobody is there to answer, or where sources are shared.
    """
    items, own = items_of(samples, objects), items_of(train, objects)
    scores: list[Score] = []
    if items:
        told = asked(items, _wanted(answerer, "answerer", f"{len(items)} questions"), history)
        scores += with_floors(scored(items, told), items, own)
    if pairs := _only(PackedPreference, samples):
        rows = preferred(pairs, _wanted(preferrer, "preferrer", f"{len(pairs)} pairs"))
        scores += with_pair_floors(rows, pairs, _only(PackedPreference, train))
    if streams := _only(PackedStream, samples):
        rows = followed(streams, _wanted(follower, "follower", f"{len(streams)} streams"))
        scores += with_stream_floors(rows, streams, _only(PackedStream, train))
    if not scores:
        kinds = "curated clips" if _only(PackedCurated, samples) else "samples"
        raise BadInput("an evaluation", seen=f"{len(samples)} {kinds} without an answer", do="give dialogues")
    return Report(
        run, dataset, str(history), tuple(scores), tuple(starts(items, told)) if items else (), dict(facts or {})
    )


def _only(kind: type[Kind], samples: Sequence[PackedSample]) -> list[Kind]:
    return [s for s in samples if isinstance(s, kind)]


def _wanted(part: Part | None, name: str, seen: str) -> Part:
    if part is None:
        raise BadInput(f"an evaluation without {name}", seen=seen, do=f"give a {name}")
    return part
