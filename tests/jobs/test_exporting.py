"""`reelmill export` by its command line: a folder for a trainer, told in two lines, or one clear line of refusal."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import exported
import pytest

from reelmill.jobs import cli

Told = tuple[int, str, str]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("export") / "store"
    film = exported.clip(0)
    exported.packed(root, [(film, exported.sample(film, exported.PLACED))])
    return root


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], store: Path) -> Callable[..., Told]:
    """Runs `reelmill export WORDS --store ...`; returns exit code, output and errors."""

    def run(*words: str) -> Told:
        monkeypatch.setattr(sys, "argv", ["reelmill", "export", *words, "--store", str(store)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        said = capsys.readouterr()
        return int(ended.value.code or 0), said.out, said.err

    return run


def test_an_export_says_what_is_where_and_how_to_load_it(told: Callable[..., Told], tmp_path: Path) -> None:
    out = tmp_path / "swift"
    code, said, _ = told("view-t", "--to", "ms_swift", "--out", str(out), "--times", "percent", "--boxes", "pixels")
    assert code == 0
    assert said.splitlines() == [
        f"view-t@1: 1 samples in {out}/train.jsonl",
        "load it: from inside this folder: swift sft --dataset FILE (of pairs: swift rlhf --rlhf_type dpo)",
    ]
    (row,) = (json.loads(line) for line in (out / "train.jsonl").read_text().splitlines())
    assert row["messages"][0]["content"].endswith("while 00% - 50%?")
    assert row["messages"][1]["content"] == "At [50, 20, 110, 60]."


BAD = {
    "form": (("--to", "llama_factory"), "use ms_swift, llava, trl"),
    "times": (("--to", "trl", "--times", "frames"), "use seconds, percent"),
    "boxes": (("--to", "trl", "--boxes", "objects"), "use thousand, pixels, unit"),
    "split": (("--to", "trl", "--split", "val"), "split 'val' of view-t@1 not found; seen: train"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_flags_are_one_line_and_exit_code_2(case: str, told: Callable[..., Told], tmp_path: Path) -> None:
    flags, expected = BAD[case]
    code, _, err = told("view-t", *flags, "--out", str(tmp_path / "out"))
    assert (code, len(err.splitlines())) == (2, 1)
    assert expected in err
    assert not (tmp_path / "out").exists()


def test_a_folder_that_is_in_use_is_refused(told: Callable[..., Told], tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    code, _, err = told("view-t", "--to", "llava", "--out", str(tmp_path))
    assert (code, "choose one that is empty or not there" in err) == (2, True)
    assert [p.name for p in tmp_path.iterdir()] == ["notes.txt"]


def test_an_unknown_dataset_is_named(told: Callable[..., Told], tmp_path: Path) -> None:
    code, _, err = told("view-u", "--to", "llava", "--out", str(tmp_path / "out"))
    assert (code, "view-t@1" in err) == (2, True)
