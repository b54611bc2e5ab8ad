"""The Ray back end: one Ray Data stream per recipe, a pool of actors that each hold a whole guarded chain and commit.

Only keys travel to the actors and only counts travel back. A killed actor is started again by Ray and its group is done
again under the same name, so nothing doubles. Whoever calls this has initialised Ray.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Sequence

import pyarrow as pa
import ray
import ray.data
from ray.data import ActorPoolStrategy, DataContext
from ray.exceptions import RayError

from reelmill.pipelines._plan import Plan, Width
from reelmill.pipelines._recipe import Place
from reelmill.pipelines._work import Done, Worker
from reelmill.schemas.errors import Fault, ReelmillError
from reelmill.sinks.lease import Lease


class _Chain:
    """One actor: a worker of the plan."""

    def __init__(self, plan: Plan, place: Place, lease: Lease) -> None:
        self.worker = Worker(plan, place, lease)

    def __call__(self, batch: pa.Table) -> pa.Table:
        done = [json.dumps(dataclasses.asdict(self.worker.do(keys))) for keys in batch["keys"].to_pylist()]
        return pa.table({"done": pa.array(done, pa.string())})


def cluster_width(plan: Plan) -> Width:
    """The width that the connected cluster can carry. Raises PlanRefused where it cannot run the plan at all."""
    have = ray.cluster_resources()
    return plan.width(have.get("CPU", 0.0), have.get("GPU", 0.0))


def run_groups(plan: Plan, place: Place, lease: Lease, groups: Sequence[list[str]], width: Width) -> Iterator[Done]:
    """Work on groups of keys on the connected cluster; yields as groups are committed."""
    _quiet()
    blocks = [pa.table({"keys": pa.array([keys], pa.list_(pa.string()))}) for keys in groups]
    size = min(width.workers, len(groups))
    stream = ray.data.from_arrow(blocks).map_batches(
        _Chain,
        fn_constructor_args=(plan, place, lease),
        batch_size=None,
        batch_format="pyarrow",
        compute=ActorPoolStrategy(min_size=size, max_size=size),
        num_cpus=width.cpus,
        num_gpus=width.gpus or None,
    )
    try:
        for batch in stream.iter_batches(batch_size=None, batch_format="pyarrow"):
            for text in batch["done"].to_pylist():
                yield Done(**json.loads(text))
    except RayError as error:
        raise _ours(error) from error


def _quiet() -> None:
    context = DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False


def _ours(error: BaseException) -> ReelmillError:
    """The error of ours inside one of Ray's, or a Fault with Ray's own words."""
    seen: BaseException | None = error
    while seen is not None:
        cause = getattr(seen, "cause", None)
        for inner in (seen, cause):
            if isinstance(inner, ReelmillError):
                return inner
        seen = seen.__cause__
    return Fault("a worker on the cluster", seen=str(error).strip().splitlines()[-1], do="see the cluster's logs")
