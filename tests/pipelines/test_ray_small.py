"""Ray on one CPU, some of it held by somebody else: every plan that fits is narrowed and ends, none hangs."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import recount
import toy

from reelmill.annotators.annotator import Resources
from reelmill.pipelines._plan import Plan
from reelmill.pipelines._recipe import Place, Recipe
from reelmill.pipelines._run import Limits, Local, OnRay, run
from reelmill.schemas.errors import OverBudget, PlanRefused

pytestmark = [pytest.mark.ray, pytest.mark.slow]
MENDED: Recipe = dataclasses.replace(toy.recipe(), steps=(toy.Measure(mended=True), toy.Spell()))


@pytest.fixture(scope="module")
def one_cpu(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    import ray

    os.environ["RAY_AUTH_MODE"] = "disabled"
    ray.init(
        address="local",
        num_cpus=1,
        include_dashboard=False,
        log_to_driver=False,
        runtime_env={"env_vars": {"PYTHONPATH": str(Path(toy.__file__).parent)}},
        _temp_dir=str(tmp_path_factory.mktemp("ray")),
    )
    yield ray
    ray.shutdown()


def place_with(folder: Path, words: str) -> Place:
    (folder / "words.txt").write_text(words)
    return Place(folder / "store", (str(folder / "words.txt"),), "toy")


@pytest.mark.usefixtures("one_cpu")
def test_one_cpu_is_enough(tmp_path: Path) -> None:
    place = place_with(tmp_path, "alpha beta gamma delta a")
    (report,) = run(toy.recipe(), place, OnRay(), limits=Limits(stuck_after_s=120.0))
    assert (report.counts.accepted, report.counts.rejected, report.counts.pending) == (4, 1, 0)
    assert not list((place.dataset(toy.recipe()).folder / "beats").glob("*"))


@pytest.mark.usefixtures("one_cpu")
def test_a_step_that_wants_more_cpus_than_there_are_is_narrowed(tmp_path: Path) -> None:
    @dataclasses.dataclass(frozen=True)
    class Hungry(toy.Measure):
        resources = Resources(cpus=8, rows_per_commit=4)

    place = place_with(tmp_path, "alpha beta gamma delta")
    hungry = dataclasses.replace(toy.recipe(), steps=(Hungry(), toy.Spell()))
    assert run(hungry, place, OnRay())[0].counts.accepted == 4


def test_what_others_hold_is_left_to_them(one_cpu: Any, tmp_path: Path) -> None:
    from reelmill.pipelines._ray import cluster_width

    class Holder:
        def here(self) -> bool:
            return True

    holder = one_cpu.remote(num_cpus=0.5)(Holder).remote()
    assert one_cpu.get(holder.here.remote())
    try:
        width = cluster_width(Plan.of(toy.recipe()))
        assert (width.workers, width.cpus) == (1, 0.375)
        place = place_with(tmp_path, "alpha beta gamma delta")
        assert run(toy.recipe(), place, OnRay())[0].counts.accepted == 4
    finally:
        one_cpu.kill(holder)


@pytest.mark.usefixtures("one_cpu")
def test_a_gpu_step_is_refused_in_one_clear_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    place = place_with(tmp_path, "alpha")
    gpu = dataclasses.replace(toy.recipe(), steps=(toy.NeedsGpu(), toy.Spell()))
    want = "recipe words needs 1 CPUs and 1 GPUs a worker; seen: "
    with pytest.raises(PlanRefused, match=f"{want}1 CPUs and 0 GPUs on 1 nodes; do: run it where they are"):
        run(gpu, place, OnRay())
    with pytest.raises(PlanRefused, match=f"{want}0 GPUs on this machine; do: run it where they are"):
        run(gpu, place, Local(2))


@pytest.mark.usefixtures("one_cpu")
def test_the_fault_budget_holds_here_too(tmp_path: Path) -> None:
    """Exactly the share is borne, one more is not; what was committed counts, and the rest is done after a mend."""
    words = [f"a{i}" for i in range(10, 85)] + [f"bomb{i}" for i in range(5)]
    limits = Limits(fault_share=0.05, fault_floor=80)
    (tmp_path / "borne").mkdir()
    (report,) = run(toy.recipe(), place_with(tmp_path / "borne", f"a00 {' '.join(words[:-1])}"), OnRay(), limits=limits)
    assert (report.faults, report.counts.pending) == (4, 4)
    place = place_with(tmp_path, " ".join(words))
    with pytest.raises(OverBudget, match=r"5 faults in 80 rows; the last: bomb\d: RuntimeError: the engine is down"):
        run(toy.recipe(), place, OnRay(), limits=limits)
    folder = place.dataset(toy.recipe()).folder
    assert sum(map(len, recount.taken(folder).values())) == 75
    assert run(MENDED, place, OnRay())[0].worked == 5
    assert sum(map(len, recount.taken(folder).values())) == 80
