"""`run --fault-budget` and `--stuck-after` at their edges: exit codes and what is said."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import typer.main

from reelmill.jobs import cli, running

Told = tuple[int, str, str]


@pytest.fixture
def told(told: Callable[..., Told], tmp_path: Path) -> Callable[..., Told]:
    """Runs the toy over 200 words of which all but one fail."""
    (tmp_path / "words.txt").write_text(" ".join(["alpha", *(f"bomb{i:03d}" for i in range(199))]))
    return partial(told, "run", "toy:recipe", "--media", "words.txt", "--name", "toy", "--no-pack", "--workers", "1")


def test_over_the_budget_is_code_3_and_one_line(told: Callable[..., Told]) -> None:
    code, _, err = told("--fault-budget", "0.5")
    assert code == 3
    assert err.startswith(
        "error: words-toy@1: faults over the budget of 50% after 200 rows; seen: 199 faults in 200 rows"
    )
    assert err.count("\n") == 1


def test_a_budget_of_everything_lets_the_run_end_by_itself(told: Callable[..., Told]) -> None:
    code, out, err = told("--fault-budget", "1")
    assert (code, err) == (3, "")
    assert "1 accepted, 0 rejected, 199 pending" in out
    assert "199 failed by faults" in out


def test_a_budget_of_nothing_ends_it(told: Callable[..., Told]) -> None:
    code, _, err = told("--fault-budget", "0")
    assert code == 3
    assert "over the budget of 0% after 200 rows" in err


@pytest.mark.parametrize("flags", [("--fault-budget", "1.01"), ("--fault-budget", "-0.1"), ("--stuck-after", "-1")])
def test_shares_and_times_that_mean_nothing_are_refused(told: Callable[..., Told], flags: tuple[str, str]) -> None:
    code, _, err = told(*flags)
    assert code == 2
    assert flags[0] in err


def test_no_watchdog_is_asked_for_with_0(told: Callable[..., Told]) -> None:
    assert told("--stuck-after", "0", "--fault-budget", "1")[0] == 3


def test_the_default_is_told_and_is_the_one_of_the_code() -> None:
    command: Any = typer.main.get_command(cli.app)
    (flag,) = [p for p in command.commands["run"].params if p.name == "stuck_after"]
    assert flag.default == running.STUCK_AFTER_S
