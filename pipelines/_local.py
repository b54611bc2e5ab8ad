"""The local back end: workers are threads of this process; heavy decoding happens in their own child processes."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait

from reelmill.pipelines._plan import Plan
from reelmill.pipelines._recipe import Place
from reelmill.pipelines._watch import Board
from reelmill.pipelines._work import Done, Worker
from reelmill.sinks.state.lease import Lease


def run_groups(
    plan: Plan, place: Place, lease: Lease, groups: Sequence[list[str]], workers: int, board: Board
) -> Generator[Done, None, None]:
    """Work on groups of keys, `workers` at a time; yields as groups are committed.

    The first error of the system (not of a row) ends the run: groups in flight are let finish, the rest is not begun.
    """
    load, engines = plan.recipe.source.open(place, plan.recipe), place.engines()
    mine, made, lock = threading.local(), list[Worker](), threading.Lock()

    def work(keys: list[str]) -> Done:
        if not hasattr(mine, "worker"):
            mine.worker = Worker(plan, place, lease, engines, load, board.pulse())
            with lock:
                made.append(mine.worker)
        done: Done = mine.worker.do(keys)
        return done

    try:
        with ThreadPoolExecutor(max_workers=max(1, min(workers, len(groups)))) as pool:
            try:
                yield from _bounded(pool, work, groups, workers * 2)
            except BaseException:
                engines.let_go()  # groups in flight are waited for now: not for hours, where they wait for a batch
                raise
    finally:
        for worker in made:
            worker.close()
        engines.close()


def _bounded(
    pool: ThreadPoolExecutor, work: Callable[[list[str]], Done], groups: Sequence[list[str]], ahead: int
) -> Iterator[Done]:
    waiting = iter(groups)
    flying: set[Future[Done]] = set()
    try:
        while True:
            for keys in waiting:
                flying.add(pool.submit(work, keys))
                if len(flying) >= ahead:
                    break
            if not flying:
                return
            finished, flying = wait(flying, return_when=FIRST_COMPLETED)
            for future in finished:
                yield future.result()
    finally:
        for future in flying:
            future.cancel()
