"""Drawing the samples that a person is asked about: at random within each (family, task, method), in proportion.

A stratum of few samples is asked about at least once, where there are as many questions as strata. Which samples are
drawn depends on their keys and the seed alone: a dataset that grew keeps most of its draw, and two raters get the same.

>>> shares({"a": 90, "b": 9, "c": 1}, 20)
{'a': 18, 'b': 1, 'c': 1}
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple, TypeVar

import pyarrow as pa
import pyarrow.compute as pc

from reelmill.schemas.errors import BadInput, NotFound
from reelmill.schemas.sample import CuratedSample, Sample
from reelmill.schemas.verdict import State
from reelmill.sinks.dataset import Dataset
from reelmill.sinks.publishing.view import accepted_parts, samples

Name = TypeVar("Name", bound=str | tuple[str, ...])


class Stratum(NamedTuple):
    """What samples are grouped by."""

    family: str
    task: str
    method: str


def strata(dataset: Dataset) -> dict[Stratum, list[str]]:
    """Keys of the accepted samples by stratum. Raises BadInput where the dataset holds no samples."""
    found: dict[Stratum, list[str]] = defaultdict(list)
    for part in accepted_parts(dataset, ["key", *Stratum._fields]):
        for row in part.select(["key", *Stratum._fields]).to_pylist():
            found[Stratum(row["family"], row["task"], row["method"])].append(row["key"])
    return dict(sorted(found.items()))


def only(groups: Mapping[Stratum, list[str]], wanted: Sequence[str]) -> dict[Stratum, list[str]]:
    """The strata that every `NAME=VALUE` of `wanted` names. Raises BadInput on an unknown name, NotFound on none."""
    asked = [w.partition("=")[::2] for w in wanted]
    for name, value in asked:
        if name not in Stratum._fields or not value:
            raise BadInput(f"--stratum {name}={value}", seen="no such group", do="use family=, task= or method=")
    found = {s: keys for s, keys in groups.items() if all(getattr(s, n) == v for n, v in asked)}
    if wanted and not found:
        seen = "; ".join(f"family={s.family} task={s.task} method={s.method}" for s in list(groups)[:8])
        raise NotFound(f"samples of {' '.join(wanted)}", seen=seen or "no accepted sample", do="name one of these")
    return found


def shares(sizes: Mapping[Name, int], n: int) -> dict[Name, int]:
    """How many of `n` questions fall to each group: one each (the largest first), the rest to whom most is due."""
    total = sum(sizes.values())
    first = sorted(sizes, key=lambda s: (-sizes[s], s))[:n]
    given = {s: int(s in first and sizes[s] > 0) for s in sizes}
    for _ in range(min(n, total) - sum(given.values())):
        due = {s: n * sizes[s] / total - given[s] for s in sizes if given[s] < sizes[s]}
        given[max(due, key=lambda s: (due[s], s))] += 1
    return given


def drawn(groups: Mapping[Stratum, list[str]], n: int, seed: int) -> list[str]:
    """Keys of at most `n` samples, in an order of which every beginning is itself spread over the strata."""
    given = shares({s: len(keys) for s, keys in groups.items()}, n)
    placed = []
    for stratum, keys in groups.items():
        for i, key in enumerate(sorted(keys, key=lambda k: _lot(seed, k))[: given[stratum]]):
            placed.append(((i + 0.5) / given[stratum], _lot(seed, key), key))
    return [key for _, _, key in sorted(placed)]


def _of_part(dataset: Dataset, name: str, wanted: pa.Array) -> Iterator[Sample]:
    """Few keys are asked for, and parts are many: only those that hold one are decoded in full."""
    states = dataset.part(name, "children", ["key", "verdict"])
    accepted_ = pc.equal(pc.struct_field(states["verdict"], "state"), str(State.ACCEPTED))
    here = pc.and_(pc.is_in(states["key"], wanted), accepted_)
    if pc.any(here).as_py():
        yield from samples(dataset.part(name, "children").filter(here))


def _lot(seed: int, key: str) -> str:
    return hashlib.sha256(f"audit\n{seed}\n{key}".encode()).hexdigest()


def accepted(dataset: Dataset, keys: Sequence[str]) -> dict[str, Sample]:
    """The accepted samples of some keys. Raises BadInput where they have no words, and so no label."""
    wanted, found = pa.array(sorted(set(keys)), pa.string()), dict[str, Sample]()
    for name in dataset.parts("children"):
        found |= {s.key: s for s in _of_part(dataset, name, wanted)}
    if any(isinstance(s, CuratedSample) for s in found.values()):
        raise BadInput(f"dataset {dataset.label} has no labels", seen="clips without words", do="audit a view of them")
    return found
