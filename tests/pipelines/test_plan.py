"""The plan: what does not fit together, or cannot run on this machine, is refused before anything runs."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import toy
from hypothesis import given
from hypothesis import strategies as st

from reelmill.annotators.annotator import Annotator, Resources
from reelmill.annotators.engines.profile import BatchApi, EngineProfile
from reelmill.pipelines import captioned
from reelmill.pipelines._plan import Node, Plan
from reelmill.pipelines._recipe import Recipe
from reelmill.schemas.column import Column
from reelmill.schemas.errors import PlanRefused, SchemaBroken


@dataclasses.dataclass(frozen=True)
class Step(toy.Measure):
    needs = (Column.of("word", str),)
    gives = (Column.of("other", int),)


def with_steps(*steps: Annotator) -> Recipe:
    return dataclasses.replace(toy.recipe(), steps=steps, explode=None)


def test_edges_name_the_columns_alive_after_each_step() -> None:
    first, second = Plan.of(toy.recipe()).edges
    assert (first.step, first.adds, first.alive) == ("measure", ("length",), ("length", "word"))
    assert second.alive == ("length", "letters")


def test_a_missing_column_is_refused_with_what_there_is() -> None:
    with pytest.raises(PlanRefused, match=r"spell needs column length; seen: key, word"):
        Plan.of(with_steps(toy.Spell()))


def test_a_column_of_another_type_is_refused() -> None:
    @dataclasses.dataclass(frozen=True)
    class Wrong(Step):
        needs = (Column.of("word", int),)

    with pytest.raises(PlanRefused, match="int64; seen: string"):
        Plan.of(with_steps(Wrong()))


def test_a_column_given_twice_is_refused() -> None:
    with pytest.raises(PlanRefused, match="gives length"):
        Plan.of(with_steps(toy.Measure(), toy.Measure()))


def test_a_reserved_name_is_refused() -> None:
    @dataclasses.dataclass(frozen=True)
    class Judge(Step):
        gives = (Column.of("verdict", str),)

    with pytest.raises(PlanRefused, match="gives verdict"):
        Plan.of(with_steps(Judge()))


def test_children_need_a_key_a_parent_and_a_verdict() -> None:
    @dataclasses.dataclass(frozen=True)
    class Bare:
        letter: str

    column = Column.of("bare", tuple[Bare, ...])

    @dataclasses.dataclass(frozen=True)
    class Gives(Step):
        gives = (column,)

    with pytest.raises(PlanRefused, match="lack"):
        Plan.of(dataclasses.replace(toy.recipe(), steps=(Gives(),), explode=column))


@given(st.floats(0.5, 64), st.floats(0.25, 4))
def test_workers_never_hold_every_cpu(cpus: float, need: float) -> None:
    @dataclasses.dataclass(frozen=True)
    class Wide(Step):
        resources = Resources(cpus=need)

    width = Plan.of(with_steps(Wide())).width([Node(cpus, 0)])
    assert width.workers >= 1
    assert 0 < width.workers * width.cpus < cpus


@given(st.lists(st.floats(0.1, 64), min_size=1, max_size=5), st.floats(0.25, 8))
def test_every_worker_fits_on_one_node(nodes: list[float], need: float) -> None:
    """Sixteen CPUs on eight machines hold no worker of three."""

    @dataclasses.dataclass(frozen=True)
    class Wide(Step):
        resources = Resources(cpus=need)

    width = Plan.of(with_steps(Wide())).width([Node(n, 0) for n in nodes])
    assert 1 <= width.workers <= sum(n // width.cpus for n in nodes)
    assert width.cpus <= need
    assert all(n - width.cpus * (n // min(need, max(nodes))) > 0 for n in nodes), "a node is full"


def test_a_step_that_no_node_has_the_cpus_for_gets_the_largest() -> None:
    @dataclasses.dataclass(frozen=True)
    class Wide(Step):
        resources = Resources(cpus=8)

    width = Plan.of(with_steps(Wide())).width([Node(2, 0), Node(4, 0), Node(4, 0)])
    assert (width.workers, width.cpus) == (2, 3.5)


def test_a_gpu_step_without_a_gpu_is_refused() -> None:
    @dataclasses.dataclass(frozen=True)
    class Gpu(Step):
        resources = Resources(gpus=1)

    plan = Plan.of(with_steps(Gpu()))
    with pytest.raises(PlanRefused, match="1 GPUs a worker; seen: 2 CPUs and 0 GPUs on 1 nodes; do: run it where"):
        plan.width([Node(2, 0)])
    assert plan.width([Node(8, 2)]).workers == 2
    assert plan.width([Node(8, 1), Node(16, 0)]).workers == 1
    with pytest.raises(PlanRefused, match="seen: 0 GPUs on this machine"):
        plan.local_workers(8, 0)
    assert plan.local_workers(8, 2) == 2
    assert Plan.of(toy.recipe()).local_workers(8, 0) == 8


def test_a_step_that_runs_a_checkpoint_holds_the_gpus_that_the_profile_gives() -> None:
    @dataclasses.dataclass(frozen=True)
    class Runs(Step):
        in_process = True

    profile = EngineProfile(gpus=0.5)
    assert Plan.of(with_steps(Runs()), profile).width([Node(8, 2)]).gpus == 0.5
    assert Plan.of(with_steps(Runs()), profile).local_workers(8, 1) == 2
    assert Plan.of(with_steps(Step()), profile).width([Node(8, 2)]).gpus == 0.0


def test_the_fingerprint_follows_fields_and_revisions_and_nothing_else() -> None:
    one = toy.recipe()
    assert one.fingerprint() == toy.recipe(version="2").fingerprint()
    assert one.fingerprint_hash() != toy.recipe(extra=1).fingerprint_hash()
    other = dataclasses.replace(one, steps=(toy.Measure(), toy.Spell(workers_seen="seven")))
    assert one.fingerprint_hash() == other.fingerprint_hash()


def test_a_field_without_one_spelling_is_refused() -> None:
    @dataclasses.dataclass(frozen=True)
    class Odd(Step):
        function: object = print

    with pytest.raises(SchemaBroken, match="odd"):
        with_steps(Odd()).fingerprint()


def test_groups_are_small_enough_for_every_worker() -> None:
    plan = Plan.of(toy.recipe())
    assert plan.group_size(1_000, 2) == 4
    assert plan.group_size(3, 2) == 1


def asking(engine: str, **profile: Any) -> Plan:
    """The plan of captions, which commit 32 rows at a time."""
    recipe = captioned.recipe(engine).source.upstreams[1]
    return Plan.of(recipe, EngineProfile(**profile))


def test_batches_have_as_many_rows_under_way_as_fill_them_and_no_more() -> None:
    api = BatchApi(batch_max=1000, batches=2)
    plan = asking("openai:m@http://here/v1", batch_api=api)
    assert plan.rows_per_commit == 32
    workers = plan.local_workers(2, 0)
    assert 2000 <= workers * 32 <= 2000 + 2 * 32
    for pending in (1, 500, 1000, 2000, 100_000):
        size = plan.group_size(pending, workers)
        under_way = min(workers, -(-pending // size)) * size
        assert under_way >= min(pending, 2000)
        assert size <= 32


def test_without_batches_lanes_are_as_before() -> None:
    live = asking("openai:m@http://here/v1", in_flight=64)
    here = asking("transformers:m", in_flight=64, batch_api=BatchApi())
    assert live.lanes == here.lanes == 4
    assert live.group_size(1000, 4) == 32
    assert not here.by_batch
