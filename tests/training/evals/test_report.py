"""Reports: groups and their means, the file and back, pages with stable bytes, and whole evaluations."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from asked import Knowing, ask, pair, sample, stream, tell
from rich.console import Console
from rich.table import Table

from reelmill.schemas.errors import BadInput, NotFound
from reelmill.sinks.publishing.packed import PackedSample
from reelmill.training.evals.evaluate import evaluate
from reelmill.training.evals.likelihood import Followed, LogProbs, Told
from reelmill.training.evals.plots import tasks_drawn, write_page
from reelmill.training.evals.questions import History, Reply, items_of
from reelmill.training.evals.report import FORMAT, Figure, Report
from reelmill.training.evals.scores import Score, Start
from reelmill.training.evals.table import report_table


def row(key: str, value: float, *, verb: str = "", objects: int | None = None, prior: float | None = None) -> Score:
    return Score(f"{key}.0", key, "f", "t", verb, objects, "", "tiou", value, 1.0, value > 0, prior, prior)


ROWS = (
    row("a", 1.0, verb="moves", objects=1, prior=0.5),
    row("b", 0.0, verb="moves", objects=10, prior=0.0),
    row("c", 0.5, verb="enters", objects=2, prior=0.5),
    row("d", 0.5),
)
STARTS = (Start("a.0", "t", "moves", 10.0, 1.0, 2.0), Start("b.0", "t", "moves", 10.0, 3.0, None))
REPORT = Report("one", "d@1", "teacher", ROWS, STARTS, {"split": "val"})


def of(report: Report, by: str, name: str = "", measure: str = "tiou") -> Figure:
    (found,) = [f for f in report.figures() if (f.by, f.name, f.measure) == (by, name, measure)]
    return found


def test_means_stand_by_task_verb_and_number_of_things() -> None:
    assert [(f.by, f.name) for f in REPORT.figures()] == [
        ("all", ""),
        ("verb", "enters"),
        ("verb", "moves"),
        ("objects", "1"),
        ("objects", "2"),
        ("objects", "10"),
    ]
    whole, moves = of(REPORT, "all"), of(REPORT, "verb", "moves")
    assert (whole.mean.mean, whole.mean.rows, whole.unread) == (0.5, 4, 1)
    assert (moves.mean.mean, moves.prior, moves.unread) == (0.5, 0.25, 1)


def test_a_floor_of_some_rows_is_no_floor_of_all() -> None:
    assert of(REPORT, "all").prior is None
    assert of(REPORT, "verb", "enters").prior == 0.5


def test_a_report_comes_back_and_has_the_same_bytes(tmp_path: Path) -> None:
    path = REPORT.save(tmp_path / "a" / "evaluation.json")
    assert Report.load(path) == Report.load(path.parent) == REPORT
    again = Report.load(path).save(tmp_path / "b.json")
    assert again.read_bytes() == path.read_bytes()
    said = json.loads(path.read_bytes())
    assert (said["format"], said["figures"][0]["mean"]["mean"]) == (FORMAT, 0.5)


def test_what_is_no_report_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="evaluation"):
        Report.load(tmp_path)
    path = REPORT.save(tmp_path / "evaluation.json")
    newer = json.loads(path.read_bytes()) | {"format": FORMAT + 1}
    for text, match in ((json.dumps(newer), "format 2"), ("{}", "KeyError"), ("[", "JSONDecodeError")):
        path.write_text(text)
        with pytest.raises(BadInput, match=match):
            Report.load(tmp_path)


def test_the_table_shows_floors_and_marks_few_sources() -> None:
    assert "question only" in (text := shown(report_table(REPORT)))
    assert "10 objects" in text
    assert "*" in text  # four sources are few
    assert "objects" not in shown(report_table(REPORT, groups=False))


def shown(table: Table) -> str:
    out = io.StringIO()
    Console(file=out, width=160).print(table)
    return out.getvalue()


def test_the_page_has_the_same_bytes_again_and_escapes_names(tmp_path: Path) -> None:
    named = Report("<b>run</b>", "d@1", "replay", ROWS, STARTS)
    pages = [write_page(named, tmp_path / name) for name in "ab"]
    assert pages[0].read_bytes() == pages[1].read_bytes()
    for name in ("scores-00.png", "starts.png"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    text = pages[0].read_text()
    assert "&lt;b&gt;run" in text
    assert "<b>run" not in text
    assert "own answers" in text


def test_every_headline_has_a_panel() -> None:
    assert {name: {f.measure for f in own} for name, own in tasks_drawn(REPORT.figures()).items()} == {"f t": {"tiou"}}


def test_an_empty_report_has_no_page(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="no score"):
        write_page(Report("one", "d@1", "teacher", ()), tmp_path)


def test_reports_are_read_and_compared_without_torch(clean_env: dict[str, str], tmp_path: Path) -> None:
    """A laptop that compares two runs need not have what they were trained with."""
    code = "import sys, reelmill.training.evals.evaluate, reelmill.jobs.evaluating; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], env=clean_env | own_path(), cwd=tmp_path, check=True, timeout=60)


def own_path() -> dict[str, str]:
    """Where this process took the rooms from: a checkout of its own, or the installed one."""
    return {"PYTHONPATH": os.environ["PYTHONPATH"]} if "PYTHONPATH" in os.environ else {}


# --- whole evaluations ---


def clips(name: str, n: int) -> list[PackedSample]:
    turns = (ask("When does the dog move?"), tell("At <time>.", (2.0, 6.0)), ask("Often?"), tell("Once."))
    return [sample(*turns, key=f"{name}{i}", source=f"{name}{i}") for i in range(n)]


class Sure:
    def log_probs(self, pairs: object) -> list[LogProbs]:
        return [LogProbs(-1.0, 1, -2.0, 1)]

    def follow(self, streams: object) -> list[Followed]:
        return [Followed((Told(3, 0, 0.0, (-0.5,), (True,)),), 2, 2)]


def test_dialogues_pairs_and_streams_stand_in_one_report() -> None:
    val = [*clips("v", 3), pair("a", "b", key="p", source="p"), stream((1.0, tell("It moves.")), source="w")]
    train = [*clips("t", 3), pair("a", "b", key="q", source="q"), stream((1.5, tell("It moves.")), source="x")]
    knowing, sure = Knowing.all(items_of(val)), Sure()
    found = evaluate(val, train, knowing, preferrer=sure, follower=sure, run="r", dataset="d@1", facts={"step": "9"})
    means = {(f.task, f.measure): f for f in found.figures() if f.by == "all"}
    assert {m.mean.mean for (task, name), m in means.items() if name in ("tiou", "contains", "prefers")} == {1.0}
    assert means["grounding", "tiou"].prior == means["grounding", "tiou"].question_only == 1.0
    assert means["alert", "time_diff_s"].prior == 0.5
    assert [s.told_s for s in found.starts] == [2.0] * 3
    assert (found.history, found.facts) == ("teacher", {"step": "9"})


def test_history_changes_what_is_asked() -> None:
    val = clips("v", 1)
    knowing = Knowing({"v0.0": Reply("At <time>.", ((0.0, 1.0),))})
    evaluate(val, [], knowing, history=History.REPLAY, run="r", dataset="d@1")
    assert knowing.seen[1].before[1].tgt_s == (0.0, 1.0)


@pytest.mark.parametrize(
    ("samples", "match"),
    [
        (clips("v", 1), "without answerer"),
        ([pair("a", "b")], "without preferrer"),
        ([stream((1.0, tell("It moves.")))], "without follower"),
        ([sample()], "1 samples without an answer"),
    ],
    ids=["dialogues", "pairs", "streams", "nothing"],
)
def test_nobody_to_answer_is_refused(samples: list[PackedSample], match: str) -> None:
    with pytest.raises(BadInput, match=match):
        evaluate(samples, [], run="r", dataset="d@1")
