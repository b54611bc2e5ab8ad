"""`train --on`: the same loop in workers of Ray Train, on this machine or on a cluster that sees the same folders.

Each worker is a rank of training/loop/ranks.py; Ray Train starts them, tells torch of one another and ends all where
one fails. Checkpoints are the run's own, so a run that was started here goes on without Ray, and the other way round.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reelmill.jobs.cluster import connected
from reelmill.schemas.errors import BadInput, ReelmillError
from reelmill.sinks.state.place import Folder, on_disk

if TYPE_CHECKING:
    from reelmill.training.loop.plan import Plan

_START_S = "600"
"""For a worker to begin: importing torch and transformers takes a minute on a machine that has other work."""


def train_on(where: str, workers: int, plan: Plan, run: Path, store: Folder) -> int:
    """Trains with `workers` processes on the Ray at `where` (ray: the job's, or one of its own); returns the exit code.

    Raises as `train` does, and BadInput where Ray has no place for so many or a worker failed.
    """
    from reelmill.training.loop.ranks import Ranks
    from reelmill.training.running import checked

    Ranks(0, workers).share(plan.accumulate)
    checked(plan, on_disk(store))
    run.mkdir(parents=True, exist_ok=True)
    os.environ.setdefault("RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S", _START_S)
    with connected("" if where == "ray" else where, workers):
        _require_room(workers)
        _fit(workers, {"plan": plan, "run": run.absolute(), "store": on_disk(store).absolute()})
    return 0


def _require_room(workers: int) -> None:
    """Ray Train waits for ever for what a cluster does not have."""
    import ray

    gpus, cpus = (int(ray.cluster_resources().get(kind, 0)) for kind in ("GPU", "CPU"))
    if workers > (gpus or cpus):
        seen = f"{gpus} GPUs and {cpus} CPUs in this Ray"
        raise BadInput(f"{workers} workers", seen=seen, do="give fewer with --workers, or name another Ray with --on")


def _fit(workers: int, said: dict[str, Any]) -> None:
    import ray
    from ray.train import RunConfig, ScalingConfig
    from ray.train.torch import TorchTrainer
    from ray.train.v2.api.config import FailureConfig
    from ray.train.v2.api.exceptions import TrainingFailedError

    trainer = TorchTrainer(
        _work,
        train_loop_config=said,
        scaling_config=ScalingConfig(num_workers=workers, use_gpu="GPU" in ray.cluster_resources()),
        run_config=RunConfig(
            name="ray",
            storage_path=str(said["run"]),
            # Its default begins a group that could not start again and again, which looks like a hang.
            failure_config=FailureConfig(max_failures=0, controller_failure_limit=0),
        ),
    )
    try:
        trainer.fit()
    except TrainingFailedError as error:
        raise _cause(error, said["run"]) from error


def _cause(error: Any, run: Path) -> ReelmillError:
    """Our own error where a worker raised one."""
    failures = getattr(error, "worker_failures", {}).values()
    for failure in failures:
        seen: BaseException | None = failure
        while seen is not None:
            if isinstance(seen, ReelmillError):
                return seen
            seen = seen.__cause__
    told = next((line for line in reversed(str(error).splitlines()) if line.strip()), type(error).__name__)
    return BadInput(f"run {run}", seen=f"a worker failed: {told}", do="give the same command again to go on")


def _work(said: dict[str, Any]) -> None:
    """In each worker. Ray Train has told torch of the others."""
    from reelmill.jobs.fitting import train

    train(said["plan"], said["run"], said["store"])
