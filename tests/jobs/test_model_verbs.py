"""The command line where models are asked: what is said before any work, what it would cost, what is kept of it."""

from __future__ import annotations

import io
import logging
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner, Result

from reelmill.annotators.engines.stand_in.faults import Faults
from reelmill.annotators.engines.stand_in.server import MODEL, Teacher, serving
from reelmill.jobs.cli import app
from reelmill.jobs.progress import Terminal
from reelmill.pipelines.scenes.presets import PRESETS
from reelmill.pipelines.scenes.render import render_set
from reelmill.schemas.errors import BadInput, EngineUnusable, NotFound, OverBudget, ReelmillError

pytestmark = pytest.mark.slow
WIDE = {"COLUMNS": "240"}


def play(*words: str) -> Result:
    return CliRunner(env=WIDE).invoke(app, list(words))


def refused(kind: type[ReelmillError], *words: str) -> str:
    """The one line of a refusal."""
    result = play(*words)
    assert isinstance(result.exception, kind), result.output + repr(result.exception)
    assert "\n" not in str(result.exception)
    return str(result.exception)


@pytest.fixture(scope="module")
def teacher() -> Iterator[Teacher]:
    with serving() as made:
        yield made


@pytest.fixture(scope="module")
def engine(teacher: Teacher) -> str:
    return f"caption=openai:{MODEL}@{teacher.url}"


@pytest.fixture(scope="module")
def media(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("media")
    render_set(folder, 5, 90, PRESETS["demo"], pictures=2)
    return folder


@pytest.fixture(scope="module")
def prices(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("prices") / "profile.toml"
    file.write_text(f'in_flight = 1\n[prices."{MODEL}"]\ninput = 1000.0\noutput = 1000.0\n')
    return file


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory, media: Path) -> Path:
    """A store with clips and no captions."""
    folder = tmp_path_factory.mktemp("store")
    result = play("run", "clips", "--media", str(media), "--store", str(folder), "--name", "m")
    assert result.exit_code == 0, result.output
    return folder


def where(store: Path, media: Path) -> list[str]:
    return ["--media", str(media), "--store", str(store), "--name", "m"]


def test_doctor_looks_at_the_engines_that_are_named(engine: str, tmp_path: Path) -> None:
    good = play("doctor", "--engine", engine, "--store", str(tmp_path / "s"))
    assert re.search(rf"ok .*engine openai:{MODEL}@\S+ .*answers, also with a picture", good.output)
    bad = play("doctor", "--engine", "caption=openai:m@http://127.0.0.1:9/v1", "--store", str(tmp_path / "s"))
    assert bad.exit_code == 2
    assert "MISSING" in bad.output
    assert "no connection" in bad.output


def test_doctor_says_whether_there_is_a_batch_api_where_the_profile_asks_for_it(tmp_path: Path) -> None:
    (profile := tmp_path / "batch.toml").write_text("[batch_api]\n")
    with serving() as teacher:
        words = ["--engine", f"caption=openai:{MODEL}@{teacher.url}", "--profile", str(profile)]
        words += ["--store", str(tmp_path / "s")]
        assert "answers, also with a picture; has a batch API" in play("doctor", *words).output
        teacher.desk.open = False
        bad = play("doctor", *words)
        assert bad.exit_code == 2
        assert "no batch API (HTTP 404 for GET /batches)" in bad.output
        assert len(teacher.desk.batches) == 0


def test_progress_of_batches_is_said_beside_that_of_rows() -> None:
    log, out = logging.getLogger("reelmill.annotators.engines.openai_batch"), io.StringIO()
    with Terminal(Console(file=out, width=100)):
        log.info("batch b1: 812 of 3,000 done (in_progress)")
    log.info("batch b2: 0 of 1 done (in_progress)")
    assert out.getvalue() == "batch b1: 812 of 3,000 done (in_progress)\n"


def test_what_cannot_be_is_told_in_one_line_before_any_work(media: Path, tmp_path: Path, engine: str) -> None:
    fresh = where(tmp_path / "fresh", media)
    down = ["run", "captioned", "--engine", "caption=openai:m@http://127.0.0.1:9/v1", *fresh]
    assert "start the server" in refused(EngineUnusable, *down)
    assert "unknown form" in refused(BadInput, "run", "captioned", "--engine", "caption=gpt", *fresh)
    asked = ["run", "captioned", "--engine", engine, *fresh]
    assert "needs a price" in refused(BadInput, *asked, "--max-cost", "1")
    assert "not found" in refused(NotFound, *asked, "--profile", str(tmp_path / "none.toml"))
    (wrong := tmp_path / "wrong.toml").write_text("in_fligth = 3\n")
    assert "in_fligth" in refused(BadInput, *asked, "--profile", str(wrong))
    wrong.write_text('in_flight = "many"\n')
    assert "in_flight" in refused(BadInput, *asked, "--profile", str(wrong))
    wrong.write_text("in_flight = 0\n")
    assert "too small" in refused(BadInput, *asked, "--profile", str(wrong))
    assert not list((tmp_path / "fresh").glob("*/*")), "something was worked on"


def test_a_server_that_wants_a_key_says_so(media: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving() as teacher:
        teacher.key = "sk-another"
        words = ["run", "captioned", "--engine", f"caption=openai:{MODEL}@{teacher.url}", *where(tmp_path / "s", media)]
        told = refused(EngineUnusable, *words)
        assert "HTTP 401" in told
        assert "set OPENAI_API_KEY" in told
        monkeypatch.setenv("OPENAI_API_KEY", "sk-another")
        found = play("doctor", "--engine", words[3], "--store", str(tmp_path / "s"))
    assert "answers, also with a picture" in found.output


def test_a_model_without_eyes_is_refused_before_it_is_shown_anything(media: Path, tmp_path: Path) -> None:
    with serving() as teacher:
        teacher.sees = False
        words = ["run", "captioned", "--engine", f"caption=openai:{MODEL}@{teacher.url}", *where(tmp_path / "s", media)]
        told = refused(EngineUnusable, *words)
    assert "name a model that takes images" in told


def test_cost_is_estimated_from_rows_that_are_asked_once(
    engine: str, teacher: Teacher, media: Path, store: Path, prices: Path
) -> None:
    words = ["captioned", "--engine", engine, *where(store, media), "--profile", str(prices)]
    calls = teacher.calls
    said = play("explain", *words, "--cost", "--pilot", "3")
    assert said.exit_code == 0, said.output
    assert teacher.calls == calls + 3
    row = next(line for line in said.output.splitlines() if "captions-m@1" in line)
    pending, asked_now, all_calls = (int(n) for n in re.findall(r"│\s+(\d+)\s+(?=│)", row)[:3])
    assert (asked_now, all_calls) == (3, pending)
    assert "±" in row
    (by_batch := prices.with_name("batch.toml")).write_text(f"{prices.read_text()}[batch_api]\n")
    other = play("explain", *words[:-1], str(by_batch), "--cost", "--pilot", "3").output
    live, batched = (float(re.search(r"([\d.]+) ±", text)[1]) for text in (said.output, other))  # type: ignore[index]
    assert batched == pytest.approx(live / 2, abs=1e-4)
    assert "by batch" in other
    assert teacher.calls == calls + 3
    stopped = play("run", *words, "--max-cost", "1.5", "--no-pack")
    assert isinstance(stopped.exception, OverBudget)
    assert stopped.exception.exit_code == 3
    spent = teacher.calls
    done = play("run", *words, "--no-pack")
    assert done.exit_code == 0, done.output
    assert teacher.calls - calls <= pending + 1 + 1  # the pilot's answers and those before the stop were kept
    assert spent < teacher.calls
    status = play("status", "--store", str(store))
    used = re.search(r"captions-m@1: caption made (\d+) calls.*cost ([\d.]+), ([\d.]+) for each", status.output)
    assert used is not None, status.output
    assert int(used[1]) == pending
    assert float(used[3]) == pytest.approx(float(used[2]) / pending, rel=1e-3)


def test_the_cache_is_counted_and_pruned(engine: str, teacher: Teacher, media: Path, store: Path, prices: Path) -> None:
    run = ["run", "captioned", "--engine", engine, *where(store, media), "--no-pack"]
    play(*run)
    stats = play("cache", "stats", "--store", str(store), "--profile", str(prices))
    kept = re.search(rf"openai:{MODEL}\s+(\d+)\s+", stats.output)
    assert kept is not None, stats.output
    assert "no condition" in refused(BadInput, "cache", "prune", "--store", str(store))
    tried = play("cache", "prune", "--engine", f"openai:{MODEL}", "--store", str(store))
    assert f"{kept[1]} replies" in tried.output
    assert "would be forgotten" in tried.output
    assert "0 replies" in play("cache", "prune", "--older-than", "1", "--store", str(store), "--delete").output
    gone = play("cache", "prune", "--engine", f"openai:{MODEL}", "--store", str(store), "--delete")
    assert f"{kept[1]} replies" in gone.output
    assert "no reply is kept" in play("cache", "stats", "--store", str(store)).output


def test_retry_takes_the_kept_answer_unless_it_is_told_to_ask_again(media: Path, tmp_path: Path) -> None:
    with serving(Faults(0.5, ("shortened",))) as hasty:
        engine = f"caption=openai:{MODEL}@{hasty.url}"
        run = ["run", "captioned", "--engine", engine, *where(tmp_path, media), "--no-pack"]
        retry = ["retry", "captions-m", "--where", "reason = 'answer_cut'", "--store", str(tmp_path)]
        assert play(*run).exit_code == 0
        cut = int(play("rejects", "captions-m", "--store", str(tmp_path)).output.count("finish_reason length"))
        assert cut > 0
        calls = hasty.calls
        assert f"{cut} rows are pending again;" in play(*retry).output
        assert play(*run).exit_code == 0
        assert hasty.calls == calls
        assert (
            f"{cut} rows are pending again; {cut} replies about them are forgotten"
            in play(*retry, "--ask-again").output
        )
        assert play(*run).exit_code == 0
        assert hasty.calls == calls + cut


def test_offline_takes_answers_from_the_cache_alone(
    engine: str, teacher: Teacher, media: Path, store: Path, tmp_path: Path
) -> None:
    other = ["run", "captioned", "--engine", engine, "--media", str(media), "--store", str(store), "--no-pack"]
    assert play(*other, "--name", "warm").exit_code == 0
    calls = teacher.calls
    again = play(*other, "--name", "warm2", "--offline")
    assert again.exit_code == 0, again.output
    assert teacher.calls == calls
    prompt = ["--set", "form=scales", "--set", "model_revision=other"]
    cold = play(*other, "--name", "cold", "--offline", *prompt)
    assert cold.exit_code == 3
    assert teacher.calls == calls
    assert "not in the cache" in play("status", "--store", str(store)).output


def test_a_port_that_is_taken_is_one_line(teacher: Teacher) -> None:
    port = teacher.url.split(":")[2].split("/")[0]
    assert "give another" in refused(BadInput, "teacher", "--port", port)
