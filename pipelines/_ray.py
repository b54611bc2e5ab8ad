"""The Ray back end: one Ray Data stream per recipe, a pool of actors that each hold a whole guarded chain and commit.

Only keys travel to the actors and only counts travel back. A killed actor is started again by Ray and its group is done
again under the same name, so nothing doubles. Whoever calls this has initialised Ray.
"""

from __future__ import annotations

import faulthandler
import logging
import math
import pickle
import signal
import threading
import time
from collections.abc import Generator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, cast

import pyarrow as pa
import ray
import ray.data
from ray.data import ActorPoolStrategy, DataContext
from ray.exceptions import RayError

from reelmill.annotators.engines.opening import Engines
from reelmill.pipelines._beats import Teller, Told
from reelmill.pipelines._plan import Node, Plan, Width
from reelmill.pipelines._recipe import Load, Place
from reelmill.pipelines._watch import Board
from reelmill.pipelines._work import Done, Worker
from reelmill.schemas.errors import Fault, ReelmillError
from reelmill.sinks.state.lease import Lease

_SETTLE_S = 3.0
_LOOK_S = 0.1


class _Chain:
    """One actor: workers of the plan, one for each call that Ray lets in at a time, and a thread that tells the store
    whether they move. They share the engines of this process."""

    def __init__(self, plan: Plan, place: Place, lease: Lease, stuck_after_s: float) -> None:
        faulthandler.register(signal.SIGUSR1, file=2)
        board = Board(stuck_after_s)
        if stuck_after_s:
            teller = Teller(board, place.dataset(plan.recipe).ledger.objects, lease)
            threading.Thread(target=teller.run, daemon=True, name="teller").start()
        engines, load = place.engines(), plan.recipe.source.open(place, plan.recipe)
        self._mine, self._make = threading.local(), partial(_worker, plan, place, lease, engines, load, board)
        self._ready = [self._make()]

    def __call__(self, batch: pa.Table) -> pa.Table:
        done = [self._one(keys) for keys in batch["keys"].to_pylist()]
        return pa.table({"done": pa.array(done, pa.binary())})

    def _one(self, keys: list[str]) -> bytes:
        """The first key and what was done, or the error that ended it: Ray Data would hand on only an error's text."""
        try:
            done: Done | ReelmillError = self._worker().do(keys)
        except ReelmillError as error:
            done = error
        except Exception as error:
            done = Fault("a worker on the cluster failed", seen=f"{type(error).__name__}: {error}")
        return pickle.dumps((keys[0], done))

    def _worker(self) -> Worker:
        """The thread's own; the first thread takes the one that showed, when the actor began, that it can be made."""
        if not hasattr(self._mine, "worker"):
            try:
                self._mine.worker = self._ready.pop()
            except IndexError:
                self._mine.worker = self._make()
        own: Worker = self._mine.worker
        return own


def _worker(plan: Plan, place: Place, lease: Lease, engines: Engines, load: Load, board: Board) -> Worker:
    return Worker(plan, place, lease, engines, load, board.pulse())


def cluster_width(plan: Plan) -> Width:
    """The width that the connected cluster can carry beside what others do there.

    Raises PlanRefused where it could not run the plan even if it were idle. Where nothing is free, one worker waits for
    it; the watchdog ends a wait without end.
    """
    nodes = [_node(n["Resources"]) for n in ray.nodes() if n["Alive"]]
    width, free = plan.width(nodes), _settled(nodes)
    if 0 < free.cpus < width.cpus:
        return replace(width, workers=1, cpus=math.floor(1000 * (free.cpus - min(0.5, free.cpus / 4))) / 1000)
    fit = math.floor(free.cpus / width.cpus)
    if width.gpus:
        fit = min(fit, math.floor(free.gpus / width.gpus))
    return replace(width, workers=max(1, min(width.workers, fit)))


def _node(resources: dict[str, Any]) -> Node:
    return Node(resources.get("CPU", 0.0), resources.get("GPU", 0.0))


def _settled(nodes: Sequence[Node]) -> Node:
    """What is free in the whole cluster; our own last workers are given some seconds to be gone."""
    until = time.monotonic() + _SETTLE_S
    while (free := _node(ray.available_resources())).cpus < sum(n.cpus for n in nodes) and time.monotonic() < until:
        time.sleep(_LOOK_S)
    return free


def run_groups(
    plan: Plan, place: Place, lease: Lease, groups: Sequence[list[str]], width: Width, board: Board
) -> Generator[Done, None, None]:
    """Work on groups of keys on the connected cluster; yields as groups are committed."""
    _quiet()
    blocks = [pa.table({"keys": pa.array([keys], pa.list_(pa.string()))}) for keys in groups]
    size = min(width.workers, len(groups))
    left = {keys[0]: keys for keys in groups}
    told = Told(place.dataset(plan.recipe).ledger.objects, lease, size, left, lambda: _room(width))
    board.elsewhere = told
    stream = ray.data.from_blocks(blocks).map_batches(  # from_arrow would ask for a CPU to look at each block
        _Chain,
        fn_constructor_args=(plan, place, lease, board.stuck_after_s),
        batch_size=None,
        batch_format="pyarrow",
        compute=_pool(size, plan.lanes),
        num_cpus=width.cpus,
        num_gpus=width.gpus or None,
    )
    try:
        for batch in stream.iter_batches(batch_size=None, batch_format="pyarrow"):
            for data in cast(pa.Table, batch)["done"].to_pylist():
                first, done = pickle.loads(data)  # noqa: S301 - written by our own actors a moment ago
                told.finished(first)
                yield _done(done)
    except RayError as error:
        last = str(error).strip().splitlines()[-1]
        raise Fault("a worker on the cluster died", seen=last, do="see the cluster's logs, run again") from error
    finally:
        board.elsewhere = None
        told.clear()


def _pool(size: int, lanes: int) -> ActorPoolStrategy:
    """So many actors; where a model is asked, each works on several groups at once."""
    if lanes == 1:
        return ActorPoolStrategy(min_size=size, max_size=size)
    return ActorPoolStrategy(
        min_size=size,
        max_size=size,
        max_tasks_in_flight_per_actor=2 * lanes,
        max_concurrent_calls_per_actor=lanes,
        enable_true_multi_threading=True,
    )


def _room(width: Width) -> str:
    """What the cluster has for a worker that never began."""
    have, free = _node(ray.cluster_resources()), _node(ray.available_resources())
    need = f"{width.cpus:g} CPUs" + (f" and {width.gpus:g} GPUs" if width.gpus else "")
    return f"{need} are asked for; the cluster has {have.cpus:g} CPUs, {free.cpus:g} free" + (
        f", {have.gpus:g} GPUs, {free.gpus:g} free" if width.gpus else ""
    )


def _done(told: Done | ReelmillError) -> Done:
    if isinstance(told, ReelmillError):
        raise told
    return told


def _quiet() -> None:
    context = DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)
