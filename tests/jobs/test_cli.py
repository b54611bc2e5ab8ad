"""The command line: bad input is one clear line and the documented exit code; good input does what it says."""

from __future__ import annotations

import contextlib
import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import published
import pytest

from reelmill.jobs import packing
from reelmill.schemas.errors import Busy
from reelmill.sinks.publishing.publish import building
from reelmill.training.data.shards import opened

Told = tuple[int, str, str]
Cli = Callable[..., Told]


@pytest.fixture
def words(tmp_path: Path) -> Path:
    path = tmp_path / "words.txt"
    path.write_text("alpha beta a")
    return path


def toy_run(told: Cli, words: Path, *more: str) -> Told:
    return told("run", "toy:recipe", "--media", str(words), "--name", "toy", "--no-pack", *more)


BAD = {
    "unknown recipe": (("run", "clip", "--media", "."), "did you mean 'clips'?"),
    "unknown recipe, nothing near": (("run", "qqq", "--media", "."), "run `reelmill list`"),
    "import path": (("explain", "no.such.module:recipe"), "cannot be imported"),
    "no media": (("run", "media"), "is made from media"),
    "no such path": (("run", "media", "--media", "nowhere"), "nowhere"),
    "empty folder": (("run", "media", "--media", "empty"), "empty"),
    "option without value": (("run", "toy:recipe", "--set", "extra"), "--set wants name=value"),
    "unknown option": (("run", "toy:recipe", "--set", "speed=2"), "has no option 'speed'"),
    "bad name": (("run", "media", "--media", "empty", "--name", "../up"), "cannot name a dataset"),
    "bad pack form": (("run", "toy:recipe", "--media", "words.txt", "--pack-media", "gif"), "use frames, clip or ref"),
    "no store": (("status", "--store", "nowhere"), "no such folder"),
    "no dataset": (("rejects", "clips-x", "--store", "empty"), "run `reelmill status`"),
    "no dataset to look at": (("look", "clips-x", "--store", "empty"), "run `reelmill status`"),
    "no dataset to ask": (("sql", "clips-x", "select 1", "--store", "empty"), "run `reelmill status`"),
    "no dataset to verify": (("verify", "clips-x", "--store", "empty"), "run `reelmill status`"),
    "no dataset to pack": (("pack", "clips-x", "--store", "empty"), "run `reelmill status`"),
    "no dataset to retry": (("retry", "clips-x", "--store", "empty"), "run `reelmill status`"),
    "no store to collect": (("gc", "--store", "nowhere"), "no such folder"),
    "empty media": (("run", "media", "--media", ""), "an empty --media"),
    "store inside the media": (("run", "media", "--media", "."), "give a --store outside of the media"),
    "store inside the demo's media": (("demo", "--media", ".", "--store", "demo"), "outside of the media"),
    "version with a path": (("run", "media", "--media", "empty", "--as-version", "../x"), "cannot name a version"),
    "two kinds of version": (("run", "media", "--media", "empty", "--as-version", "2", "--dev"), "give one"),
    "no Ray address": (("run", "toy:recipe", "--media", "words.txt", "--on", "bogus"), "no Ray at 'bogus'"),
    "weight that is no number": (("run", "mix", "--input", "a=nan"), "give a positive number"),
    "weight of nothing": (("run", "mix", "--input", "a=0"), "give a positive number"),
    "scenes into a file": (("scenes", "words.txt"), "name a folder that can be made"),
    "micro scenes into a file": (("scenes", "words.txt", "--preset", "micro"), "name an empty folder"),
    "unknown preset": (
        ("scenes", "out", "--preset", "hard"),
        "micro, micro-one, micro-pictures; do: choose one of these",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_clear_line_and_exit_code_2(told: Cli, words: Path, tmp_path: Path, case: str) -> None:
    (tmp_path / "empty").mkdir()
    arguments, expected = BAD[case]
    code, _, err = told(*arguments)
    assert code == 2
    assert expected in err
    assert len(err.strip().splitlines()) == 1
    assert err.startswith("error: ")


def test_a_wrong_flag_is_exit_code_2(told: Cli) -> None:
    code, _, err = told("run", "media", "--gpus", "8")
    assert code == 2
    assert "--gpus" in err


def test_a_store_that_cannot_be_written_is_named(told: Cli, words: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    code, _, err = toy_run(told, words, "--store", str(tmp_path / "file"))
    assert code == 2
    assert "cannot be used as a store" in err
    assert "choose another --store" in err


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_store_is_named(told: Cli, words: Path, tmp_path: Path) -> None:
    (tmp_path / "locked").mkdir()
    (tmp_path / "locked").chmod(stat.S_IRUSR | stat.S_IXUSR)
    code, _, err = toy_run(told, words, "--store", str(tmp_path / "locked" / "store"))
    assert (code, "Permission denied" in err) == (2, True)


def test_list_names_every_recipe(told: Cli) -> None:
    code, out, _ = told("list")
    assert code == 0
    named = {line.split()[0] for line in out.splitlines()}
    assert {"media", "clips", "tubes", "events", "text", "internvid_tg", "ocr_rich", "mix"} <= named


def test_explain_shows_both_levels(told: Cli) -> None:
    code, out, _ = told("explain", "toy:recipe")
    assert code == 0
    assert "-> words@1" in out
    assert "measure (revision 1" in out
    assert "alive after it: length, word" in out
    assert "extra=0" in out


def test_run_again_does_nothing_and_says_so(told: Cli, words: Path) -> None:
    code, out, _ = toy_run(told, words)
    assert code == 0
    assert "words-toy@1: 2 accepted, 1 rejected, 0 pending" in out
    code, out, _ = toy_run(told, words)
    assert code == 0
    assert "0 worked on now, 3 done before" in out


def test_a_fault_is_exit_code_3_and_status_says_why(told: Cli, words: Path) -> None:
    words.write_text("alpha bomb")
    code, out, _ = toy_run(told, words)
    assert code == 3
    assert "1 pending" in out
    code, out, _ = told("status")
    assert code == 0
    assert "RuntimeError: the engine is down" in out


def test_drift_is_refused_with_three_exits_and_dev_builds_beside(told: Cli, words: Path) -> None:
    toy_run(told, words)
    code, _, err = toy_run(told, words, "--set", "extra=1")
    assert code == 2
    assert "steps[0].fields.extra: was 0, is 1" in err
    assert "--as-version" in err
    assert "--dev" in err
    code, out, _ = toy_run(told, words, "--set", "extra=1", "--dev")
    assert code == 0
    assert "words-toy@dev-" in out
    code, out, _ = toy_run(told, words, "--set", "extra=1", "--as-version", "2")
    assert code == 0
    assert "words-toy@2" in out
    assert toy_run(told, words)[0] == 0


def test_rejects_are_listed_by_reason_and_retried(told: Cli, words: Path) -> None:
    toy_run(told, words)
    code, out, _ = told("rejects", "words-toy", "--where", "level = 'row'")
    assert code == 0
    assert "measure/too_short  1 letter, want 2" in out
    code, out, _ = told("retry", "words-toy", "--where", "reason = 'too_short'")
    assert "1 rows are pending again" in out
    code, out, _ = toy_run(told, words)
    assert "1 worked on now, 2 done before" in out


def test_a_wrong_condition_is_refused(told: Cli, words: Path) -> None:
    toy_run(told, words)
    code, _, err = told("rejects", "words-toy", "--where", "colour = 'red'")
    assert code == 2
    assert "use the columns level" in err


def test_another_folder_is_another_dataset(told: Cli, words: Path, tmp_path: Path) -> None:
    other = tmp_path / "other" / "words.txt"
    other.parent.mkdir()
    other.write_text("gamma")
    for path in (words, other):
        assert told("run", "toy:recipe", "--media", str(path), "--no-pack")[0] == 0
    _, out, _ = told("status")
    assert out.count("words-words-") == 2


def test_gc_frees_what_a_retry_left(told: Cli, words: Path) -> None:
    toy_run(told, words)
    told("retry", "words-toy", "--where", "true")
    toy_run(told, words)
    code, out, _ = told("gc")
    assert code == 0
    assert "words-toy@1: 0 bytes freed" not in out
    assert toy_run(told, words)[0] == 0
    code, out, _ = told("gc")
    assert "words-toy@1: 0 bytes freed" in out


def test_our_own_fault_is_exit_code_1_with_its_traceback(told: Cli, words: Path) -> None:
    code, _, err = told("run", "toy:broken", "--media", str(words), "--no-pack")
    assert code == 1
    assert "dropped" in err


def test_doctor_names_what_is_there(told: Cli) -> None:
    code, out, _ = told("doctor")
    assert code == 0
    assert "RapidOCR" in out
    assert "ffprobe" in out


SQL_FAULTS = {
    "found while reading the query": "selec 1",
    "found while running it": "select cast(word as integer) from (select 'x' as word)",
    "found at the last row": "select cast(word as integer) from (select unnest(['1', 'x']) as word)",
}


@pytest.mark.parametrize("case", SQL_FAULTS)
def test_a_wrong_query_is_one_clear_line(told: Cli, words: Path, case: str) -> None:
    toy_run(told, words)
    code, _, err = told("sql", "words-toy", SQL_FAULTS[case])
    assert code == 2
    assert err.startswith("error: the query; seen: ")
    assert len(err.strip().splitlines()) == 1


def test_sql_answers_in_three_forms(told: Cli, words: Path) -> None:
    toy_run(told, words)
    query = "select '[bold]x' as text, 2 as two"
    assert told("sql", "words-toy", query, "--format", "json")[1] == '{"text": "[bold]x", "two": 2}\n'
    assert told("sql", "words-toy", query, "--format", "csv")[1].splitlines() == ["text,two", "[bold]x,2"]
    assert told("sql", "words-toy", query)[1].splitlines()[-1].split() == ["[bold]x", "2"]
    code, _, err = told("sql", "words-toy", "selec 1", "--format", "xml")
    assert (code, "use table, csv or json" in err) == (2, True)


LONG = "a-name-that-is-quite-long-for-a-table-of-numbers-in-a-log"


@pytest.mark.parametrize(("columns", "name"), [("80", "holiday-2024-1a2b3c"), ("", LONG)])
def test_no_label_and_no_line_is_cut_off(
    told: Cli, words: Path, monkeypatch: pytest.MonkeyPatch, columns: str, name: str
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    code, out, _ = told("run", "toy:recipe", "--media", str(words), "--name", name, "--no-pack")
    assert code == 0
    said = f"words-{name}@1: 2 accepted, 1 rejected, 0 pending; "
    assert any(line.startswith(said) and line.endswith(" s)") for line in out.splitlines()), "one line, not wrapped"
    _, out, _ = told("status")
    assert [f"words-{name}@1", "3", "2", "1", "0"] in [line.split()[:5] for line in out.splitlines()]


def test_an_empty_store_says_so(told: Cli, tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    code, out, _ = told("status")
    assert (code, "no dataset in" in out) == (0, True)


def test_more_rejects_than_shown_are_announced(told: Cli, words: Path) -> None:
    words.write_text("a b c d")
    toy_run(told, words)
    _, out, _ = told("rejects", "words-toy", "-n", "1")
    assert "... and 3 more" in out


def test_a_pack_that_another_run_writes_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The other run ends between two looks."""
    store, view = published.stocked(tmp_path, sources=2)
    other = building(view)
    other.__enter__()
    with pytest.raises(Busy):
        packing.pack_and_show(store.root, view.label, "frames")
    monkeypatch.setattr(time, "sleep", lambda seconds: other.__exit__(None, None, None))
    assert packing.pack_and_show(store.root, view.label, "frames", 60.0).is_file()
    assert (view.folder / "manifest.json").is_file()


def test_ctrl_c_says_how_to_go_on(tmp_path: Path, clean_env: dict[str, str]) -> None:
    pipe = tmp_path / "words.txt"
    os.mkfifo(pipe)
    code = "import sys; from reelmill.jobs import cli; cli.main()"
    words = ["run", "toy:recipe", "--media", str(pipe), "--no-pack"]
    env = clean_env | {"PYTHONPATH": str(Path(__file__).parents[1] / "fixtures")}
    run = subprocess.Popen(
        [sys.executable, "-c", code, *words], cwd=tmp_path, env=env, stderr=subprocess.PIPE, text=True, process_group=0
    )
    with pipe.open("w"):  # opened once the run reads it: it is in the middle of its listing
        while run.poll() is None:  # one that comes between opening and reading is heard when the reading ends
            run.send_signal(signal.SIGINT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                run.wait(5)
    _, err = run.communicate()
    assert run.returncode == 130
    assert "stopped; run the same command again to go on" in err


def test_damaged_rows_are_found_sent_back_and_made_again(told: Cli, words: Path, tmp_path: Path) -> None:
    toy_run(told, words)
    part = next((tmp_path / "store").rglob("*.media"))
    part.write_bytes(part.read_bytes()[:-1] + b"?")
    code, out, _ = told("verify", "words-toy")
    assert code == 1
    assert "part_bytes" in out
    code, out, _ = told("retry", "words-toy", "--damaged")
    assert code == 0
    assert "0 rows" not in out
    assert toy_run(told, words)[0] == 0
    assert told("verify", "words-toy")[0] == 0


def test_micro_scenes_are_shards_that_training_reads(told: Cli, tmp_path: Path) -> None:
    code, out, _ = told("scenes", "micro", "--preset", "micro", "--count", "6", "--seed", "2")
    assert code == 0
    assert "6 clips" in out
    assert told("scenes", "one", "--preset", "micro-one", "--count", "20")[0] == 0
    assert {opened(tmp_path / "one").sample(n).task for n in range(9)} == {"when_appear", "where_still", "caption"}
    assert told("scenes", "pictures", "--preset", "micro-pictures", "--count", "9")[0] == 0
    assert {opened(tmp_path / "pictures").sample(n).task for n in range(4)} == {"where_still"}
    split = opened(tmp_path / "micro")
    assert split.sample(0).turns[1].role == "assistant"
