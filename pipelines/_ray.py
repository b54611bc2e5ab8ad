"""The Ray back end: one Ray Data stream per recipe, a pool of actors that each hold a whole guarded chain and commit.

Only keys travel to the actors and only counts travel back. A killed actor is started again by Ray and its group is done
again under the same name, so nothing doubles. Whoever calls this has initialised Ray.
"""

from __future__ import annotations

import logging
import pickle
from collections.abc import Iterator, Sequence
from typing import cast

import pyarrow as pa
import ray
import ray.data
from ray.data import ActorPoolStrategy, DataContext
from ray.exceptions import RayError

from reelmill.pipelines._plan import Plan, Width
from reelmill.pipelines._recipe import Place
from reelmill.pipelines._work import Done, Worker
from reelmill.schemas.errors import Fault, ReelmillError
from reelmill.sinks.state.lease import Lease


class _Chain:
    """One actor: a worker of the plan."""

    def __init__(self, plan: Plan, place: Place, lease: Lease) -> None:
        self.worker = Worker(plan, place, lease)

    def __call__(self, batch: pa.Table) -> pa.Table:
        done = [self._one(keys) for keys in batch["keys"].to_pylist()]
        return pa.table({"done": pa.array(done, pa.binary())})

    def _one(self, keys: list[str]) -> bytes:
        """What was done, or the error that ended it: Ray Data would hand on only the text of an exception."""
        try:
            return pickle.dumps(self.worker.do(keys))
        except ReelmillError as error:
            return pickle.dumps(error)
        except Exception as error:
            return pickle.dumps(Fault("a worker on the cluster failed", seen=f"{type(error).__name__}: {error}"))


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
            for data in cast(pa.Table, batch)["done"].to_pylist():
                yield _done(pickle.loads(data))  # noqa: S301 - written by our own actors a moment ago
    except RayError as error:
        last = str(error).strip().splitlines()[-1]
        raise Fault("a worker on the cluster died", seen=last, do="see the cluster's logs, run again") from error


def _done(told: Done | ReelmillError) -> Done:
    if isinstance(told, ReelmillError):
        raise told
    return told


def _quiet() -> None:
    context = DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)
