"""Two runs compared: exact where they are the same, refused where they were asked other questions, and the verb."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from reelmill.jobs.cli import app
from reelmill.jobs.evaluating import compare_runs
from reelmill.schemas.errors import BadInput, NotFound
from reelmill.training.evals.compare import compare
from reelmill.training.evals.report import Report
from reelmill.training.evals.scores import Score


def run(name: str, *values: float, verbs: str = "", weight: float = 1.0) -> Report:
    rows = tuple(
        Score(f"k{i}.0", f"s{i}", "f", "t", verbs[i : i + 1], None, "", "tiou", v, weight, True)
        for i, v in enumerate(values)
    )
    return Report(name, "d@1", "teacher", rows)


ONE, TWO = run("one", 0.0, 0.5, 1.0, verbs="aab"), run("two", 0.5, 1.0, 1.0, verbs="aab")


def test_identical_runs_differ_by_exactly_nothing() -> None:
    for found in compare(ONE, replace(ONE, run="other")):
        difference = found.found.difference
        assert (difference.mean, found.found.p) == (0.0, 1.0)
        assert (difference.low, difference.high) in ((0.0, 0.0), (None, None))


def test_by_hand_and_by_verb() -> None:
    found = {(c.by, c.name): c for c in compare(ONE, TWO)}
    whole = found["all", ""]
    assert [whole.first, whole.second] == pytest.approx([0.5, 5 / 6])
    assert whole.found.difference.mean == pytest.approx(1 / 3)
    # Two sources moved, each by 0.5: of four signs two are as far from 0.
    assert whole.found.p == 0.5
    assert found["verb", "a"].found.difference.mean == pytest.approx(0.5)
    assert found["verb", "b"].found.difference.low is None  # one source


def test_the_other_way_round_is_the_other_sign() -> None:
    there, back = compare(ONE, TWO)[0].found, compare(TWO, ONE)[0].found
    assert there.difference.mean == -back.difference.mean
    assert there.p == back.p


def test_other_keys_are_refused_with_number_and_names() -> None:
    with pytest.raises(BadInput, match=r"5 rows only in 'one' \(k1\.0 tiou, k2\.0 tiou, k3\.0 tiou, \.\.\.\); 0 rows"):
        compare(run("one", *[0.0] * 6), run("two", 0.0))


@pytest.mark.parametrize(
    ("other", "match"),
    [
        (replace(TWO, dataset="e@1"), "another dataset; seen: d@1 and e@1"),
        (replace(TWO, history="replay"), "another history"),
        (run("two", 0.5, 1.0, 1.0, weight=2.0), r"3 rows of another weight or source \(k0"),
    ],
    ids=["dataset", "history", "weights"],
)
def test_other_conditions_are_refused(other: Report, match: str) -> None:
    with pytest.raises(BadInput, match=match):
        compare(ONE, other)


# --- the verb ---


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    for report in (ONE, TWO):
        report.save(tmp_path / report.run / "evaluation.json")
    return tmp_path / "one", tmp_path / "two"


def test_compare_prints_differences(folders: tuple[Path, Path]) -> None:
    told = CliRunner().invoke(app, ["compare", *map(str, folders)])
    assert told.exit_code == 0, told.output
    assert "two less one" in told.output
    assert "+0.333" in told.output
    assert len(told.output.splitlines()) > len(brief(folders).splitlines())


def brief(folders: tuple[Path, Path]) -> str:
    return CliRunner().invoke(app, ["compare", *map(str, folders), "--brief"]).output


def test_measures_are_named(folders: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    compare_runs(*folders, ("tiou",))
    assert "tiou" in capsys.readouterr().out
    with pytest.raises(BadInput, match="measure bleu9; seen: rows of tiou"):
        compare_runs(*folders, ("bleu9",))


def test_runs_of_one_name_are_told_apart_by_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for place in "ab":
        ONE.save(tmp_path / place / "evaluation.json")
    compare_runs(Path("a"), Path("b"), groups=False)
    assert "b less a" in capsys.readouterr().out
    with pytest.raises(NotFound, match=r"evaluation\.json"):
        compare_runs(Path("a"), Path("nothing"))
