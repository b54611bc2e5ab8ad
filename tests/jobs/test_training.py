"""`train`, `eval` and `compare` as a person types them: what cannot be is one line, and nothing is overwritten."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from reelmill.jobs import cli
from reelmill.jobs.steps import peak_said
from reelmill.pipelines.scenes.micro_pack import write_micro
from reelmill.schemas.errors import BadInput
from reelmill.training.loop.alone import alone

Told = tuple[int, str, str]
Cli = Callable[..., Told]
BRIEF = ("--steps", "4", "--tokens", "300", "--frames", "4", "--checkpoint-every", "2", "--set", "side=1")


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("micro") / "micro"
    write_micro(folder, 12, val_share=0.3)
    return folder


def files(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_a_peak_is_a_speed() -> None:
    assert peak_said(989) == 989e12
    with pytest.raises(BadInput, match="such as 989"):
        peak_said(float("nan"))


def refused(said: Told, expected: str) -> None:
    code, _, err = said
    assert code == 2, err
    assert expected in err
    assert len(err.strip().splitlines()) == 1, err


def test_the_papers_are_listed_with_their_idea(told: Cli) -> None:
    code, out, _ = told("train", "list")
    assert code == 0
    assert any("pllava" in line and "arXiv 2404.16994" in line for line in out.splitlines())


BAD = {
    "unknown variant": (("train", "plava", "MICRO"), "'pllava'"),
    "no dataset": (("train", "pllava"), "a run needs a dataset"),
    "no such dataset": (("train", "pllava", "nowhere"), "nowhere"),
    "weight that is no number": (("train", "pllava", "MICRO*x"), "NAME*2"),
    "weight of nothing": (("train", "pllava", "MICRO*0"), "positive number"),
    "unknown size": (("train", "pllava", "MICRO", "--size", "XXL"), "XS, S, M, L"),
    "unknown setting": (("train", "pllava", "MICRO", "--set", "sides=2"), "it takes frames, side"),
    "setting of another kind": (("train", "pllava", "MICRO", "--set", "side=wide"), "give other values"),
    "setting without a value": (("train", "pllava", "MICRO", "--set", "side"), "no NAME=VALUE"),
    "unknown objective": (("train", "pllava", "MICRO", "--objective", "ppo"), "variant and dpo are known"),
    "nothing preferred": (("train", "pllava", "MICRO", "--objective", "dpo"), "dpo wants pairs; seen: micro in"),
    "unknown optimizer": (("train", "pllava", "MICRO", "--optimizer", "lion"), "adamw and muon are known"),
    "start of nothing": (("train", "pllava", "MICRO", "--start", "nowhere"), "a checkpoint of nowhere"),
    "rate of nothing": (("train", "pllava", "MICRO", "--rate", "nan"), "--rate nan"),
    "run in a file": (("train", "pllava", "MICRO", "--run", "words.txt/run"), "words.txt/run"),
    "eval of no run": (("eval", "nowhere", "MICRO"), "no plan.json"),
    "compare of no run": (("compare", "nowhere", "nowhere"), "evaluation nowhere"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_cannot_be_is_one_line_and_leaves_nothing(told: Cli, shards: Path, tmp_path: Path, case: str) -> None:
    (tmp_path / "words.txt").write_text("a file")
    words, expected = BAD[case]
    refused(told(*(w.replace("MICRO", str(shards)) for w in words)), expected)
    assert [p.name for p in tmp_path.iterdir()] == ["words.txt"]


def test_shards_that_cannot_be_read_are_one_line_and_leave_nothing(told: Cli, shards: Path, tmp_path: Path) -> None:
    (cut := tmp_path / "cut").parent.mkdir(exist_ok=True)
    shutil.copytree(shards, cut)
    shard = next(cut.rglob("*train*.tar"))
    shard.write_bytes(shard.read_bytes()[:-4096])
    code, _, err = told("train", "pllava", str(cut), "--run", "r")
    assert code == 1, "stored bytes that differ from their record are a fault"
    assert "it was cut; do: copy the whole pack" in err
    assert len(err.strip().splitlines()) == 1
    manifest = json.loads((shards / "manifest.json").read_text())
    (cut / "manifest.json").write_text(json.dumps(manifest | {"format": 99}))
    refused(told("train", "pllava", str(cut), "--run", "r"), "format 99")
    assert not (tmp_path / "r").exists()


@pytest.fixture(scope="module")
def trained(shards: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of four steps, evaluated."""
    run = tmp_path_factory.mktemp("runs") / "trained"
    words = (("train", "pllava", str(shards), "--run", str(run), *BRIEF), ("eval", str(run), str(shards)))
    with pytest.MonkeyPatch.context() as patch:
        for one in words:
            patch.setattr(sys, "argv", ["reelmill", *one])
            with pytest.raises(SystemExit) as ended:
                cli.main()
            assert not ended.value.code
    return run


def test_a_finished_run_does_nothing_when_it_is_run_again(told: Cli, shards: Path, trained: Path) -> None:
    before = files(trained / "checkpoints")
    code, out, _ = told("train", "pllava", str(shards), "--run", str(trained), *BRIEF)
    assert code == 0
    assert "goes on after step 4 of 4" in out
    assert files(trained / "checkpoints") == before


def test_a_folder_of_another_plan_is_refused_and_kept(told: Cli, shards: Path, trained: Path) -> None:
    before = files(trained)
    refused(told("train", "m3", str(shards), "--run", str(trained)), "variant pllava there, m3 here")
    refused(told("train", "pllava", str(shards), "--run", str(trained), *BRIEF, "--seed", "3"), "seed 0 there, 3 here")
    assert files(trained) == before


def test_a_start_from_another_model_is_refused(told: Cli, shards: Path, trained: Path) -> None:
    refused(told("train", "m3", str(shards), "--run", "r", "--start", str(trained), "--size", "S"), "another model")


def test_what_the_log_says_has_no_clock_in_it_and_the_times_have(trained: Path) -> None:
    log, times = (
        [json.loads(line) for line in (trained / name).read_text().splitlines()]
        for name in ("log.jsonl", "times.jsonl")
    )
    assert [line["step"] for line in log] == [line["step"] for line in times] == [1, 2, 3, 4]
    assert set(log[0]) == {"step", "loss", "lm", "norm", "rate", "tokens"}
    assert all(line["forward"] > 0 and line["operations"] > 0 for line in times)


def test_the_page_has_curves_and_scores(trained: Path) -> None:
    page = (trained / "report.html").read_text()
    assert page.count("<img") >= 3
    assert "4 of 4, rows of 300 tokens" in page
    assert "micro when_" in page
    assert "http" not in page.replace("http-equiv", ""), "the page asks no other machine"


def test_an_exam_replaces_no_other(told: Cli, shards: Path, trained: Path, tmp_path: Path) -> None:
    before = files(trained)
    refused(told("eval", str(trained), str(shards), "--limit", "3"), "limit all there, 3 here; do: name another folder")
    refused(told("eval", str(trained), str(shards), "--budget", "3"), "pllava knows no budgets")
    assert files(trained) == before
    code, out, _ = told("eval", str(trained), str(shards), "--limit", "3", "--out", "three")
    assert code == 0
    assert "three/evaluation.json" in out
    assert (tmp_path / "three" / "evaluation.html").is_file()


def test_a_run_is_compared_with_itself(told: Cli, trained: Path) -> None:
    code, out, _ = told("compare", str(trained), str(trained), "--brief")
    assert code == 0
    assert "+0.000" in out


def test_two_processes_on_one_run_are_one_too_many(told: Cli, shards: Path, trained: Path) -> None:
    """The lock is the file's, so that a second opening stands for a second process."""
    with alone(trained):
        refused(told("train", "pllava", str(shards), "--run", str(trained), *BRIEF), "is being written by another run")
    assert told("train", "pllava", str(shards), "--run", str(trained), *BRIEF)[0] == 0


def test_a_loss_that_is_no_number_is_one_line_with_its_curves(told: Cli, shards: Path, tmp_path: Path) -> None:
    words = ("train", "pllava", str(shards), "--run", "r", *BRIEF, "--rate", "1e30")
    refused(told(*words), "do: lower the rate")
    assert (tmp_path / "r" / "report.html").is_file()
    assert len((tmp_path / "r" / "log.jsonl").read_text().splitlines()) < 4


def test_event_files_are_written_where_tensorboard_is(told: Cli, shards: Path, tmp_path: Path) -> None:
    loading = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    assert told("train", "pllava", str(shards), "--run", "r", *BRIEF)[0] == 0
    events = loading.EventAccumulator(str(tmp_path / "r" / "tensorboard")).Reload()
    assert [e.step for e in events.Scalars("loss/lm")] == [1, 2, 3, 4]
    log = [json.loads(line) for line in (tmp_path / "r" / "log.jsonl").read_text().splitlines()]
    assert [e.value for e in events.Scalars("loss/lm")] == pytest.approx([line["lm"] for line in log])
