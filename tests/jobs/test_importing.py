"""`reelmill import` by the command line: what it says, its exit codes, and a pack of ours that comes back."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from painted import texture
from PIL import Image

from reelmill.sinks.dataset import Store
from reelmill.sinks.verify import verify

Told = tuple[int, str, str]
Cli = Callable[..., Told]


@pytest.fixture
def told(told: Cli) -> Cli:
    """Runs `reelmill WORDS` in a folder with a set and its pictures; returns exit code, output and errors."""
    Path("pictures").mkdir()
    Image.fromarray(texture(0)).save("pictures/a.png")
    talk = [{"from": "human", "value": "What?\n<image>"}, {"from": "gpt", "value": "Blots."}]
    rows: list[Any] = [{"id": n, "image": f"{n}.png", "conversations": talk} for n in ("a", "gone")]
    Path("set.json").write_text(json.dumps(rows))
    Path("none.json").write_text("[]")
    return told


BAD = {
    "no such form": (("llava", "set.json", "--media", "pictures"), "annotated set 'llava'"),
    "a module that reads nothing": (("reading", "set.json", "--media", "pictures"), "annotated set 'reading'"),
    "no such file": (("llava_json", "nowhere.json", "--media", "pictures"), "nowhere.json"),
    "no row": (("llava_json", "none.json", "--media", "pictures"), "no row"),
    "no media": (("llava_json", "set.json"), "give --media FOLDER"),
    "no such media": (("llava_json", "set.json", "--media", "nowhere"), "nowhere"),
    "a file that is none of the form": (("coco", "set.json", "--media", "pictures"), "set.json"),
    "shards without a tar": (("webdataset", "pictures"), "no .tar file"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_clear_line_and_exit_code_2(told: Cli, case: str) -> None:
    words, expected = BAD[case]
    code, _, err = told("import", *words, "--name", "t")
    assert (code, len(err.strip().splitlines())) == (2, 1)
    assert err.startswith("error: ")
    assert expected in err


def test_a_name_is_asked_for(told: Cli) -> None:
    code, _, err = told("import", "llava_json", "set.json", "--media", "pictures")
    assert code == 2
    assert "--name" in err


def test_help_shows_how(told: Cli) -> None:
    code, out, _ = told("import", "--help")
    assert code == 0
    said = " ".join(out.split())
    assert "reelmill import llava_json llava_instruct_150k.json --media coco/ --name llava" in said
    assert "--whole" in out


def test_a_set_is_imported_packed_and_its_missing_media_told_of(told: Cli, tmp_path: Path) -> None:
    code, out, _ = told("import", "llava_json", "set.json", "--media", "pictures", "--name", "t")
    assert code == 0
    assert "imported-t@1: 2 rows of set.json: 1 accepted as 1 samples, 1 rejected, 0 pending" in out
    assert "1 rows found no medium: reelmill rejects imported-t --where \"reason = 'media_missing'\"" in out
    code, out, _ = told("rejects", "imported-t", "--where", "reason = 'media_missing'")
    assert "set.json#2  match_media/media_missing  gone: no listed file is named 'gone.png'" in out
    dataset = Store(tmp_path / "store").find("imported-t")
    assert verify(dataset).findings == ()
    card = (dataset.folder / "README.md").read_text()
    assert "labels of an existing set: who made them, and how, is not known here" in card
    assert "rule-made" not in card
    assert "label of an existing set" in (dataset.folder / "gallery" / "index.html").read_text()
    comes_back_through_its_own_pack(told, dataset.folder / "shards", tmp_path)


def comes_back_through_its_own_pack(told: Cli, shards: Path, tmp_path: Path) -> None:
    """The pack, imported: pictures are unpacked below the store, and the dialogue is the same."""
    code, out, _ = told("import", "webdataset", str(shards), "--name", "again", "--no-pack")
    assert code == 0
    assert "1 media unpacked to " in out
    (sample,) = Store(tmp_path / "store").find("imported-again").children().to_pylist()
    assert [turn["text"] for turn in sample["turns"]] == ["What?", "Blots."]
    assert (tmp_path / "store" / "media" / "again") in Path(sample["media"]["uri"]).parents


def test_shards_without_media_are_refused(told: Cli) -> None:
    with tarfile.open("texts.tar", "w") as archive:
        info = tarfile.TarInfo("a.txt")
        info.size = 2
        archive.addfile(info, io.BytesIO(b"A."))
    code, _, err = told("import", "webdataset", "texts.tar", "--name", "t")
    assert (code, "no picture or video inside" in err) == (2, True)
