"""`--store s3://bucket/prefix`: row recipes run there to the rows that a folder gets; what needs a folder says so."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import toy
from stormy import CREDENTIALS, Door, OwnS3

from reelmill import pipelines
from reelmill.jobs.cli import main
from reelmill.sinks.dataset import PART, Dataset, Store
from reelmill.sinks.state.place import place_at

Asked = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def door() -> Iterator[Door]:
    pytest.importorskip("moto", reason="moto is not installed: no bucket of our own to try this on")
    with OwnS3() as s3, Door(s3) as calm:
        yield calm


@pytest.fixture
def store(door: Door, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    """A place in a bucket, named as a person names it: how it is reached stands in the environment."""
    for name, value in (CREDENTIALS | {"AWS_ENDPOINT_URL_S3": door.url, "XDG_CACHE_HOME": str(tmp_path)}).items():
        monkeypatch.setenv(name, value)
    return f"s3://{door.s3.bucket()}/some/store"


@pytest.fixture
def media(tmp_path: Path) -> str:
    (tmp_path / "words.txt").write_text("apple h fig kiwi zoo plum bombastic nut date pear\n")
    return str(tmp_path / "words.txt")


@pytest.fixture
def reelmill(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Asked:
    """The command line, in this process: exit code, output, errors."""

    def asked(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["reelmill", *words])
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = capfd.readouterr()
        return int(ended.value.code or 0), out, err

    return asked


def table(dataset: Dataset, read: str) -> list[dict[str, Any]]:
    found: pa.Table = getattr(dataset, read)()
    return [{n: v for n, v in row.items() if n != PART} for row in found.to_pylist()]


def frames(dataset: Dataset) -> list[bytes]:
    return [dataset.frame(c[PART], f["offset"], f["size"]) for c in dataset.children().to_pylist() for f in c["frames"]]


def test_a_chain_of_recipes_comes_to_the_same_as_in_a_folder(
    reelmill: Asked, store: str, media: str, tmp_path: Path
) -> None:
    run = ("run", "toy:saying", "--media", media, "--name", "toy", "--workers", "2")
    there = reelmill(*run, "--store", store, "--no-pack")
    here = reelmill(*run, "--store", str(tmp_path / "store"), "--no-pack")
    assert there[0] == here[0] == 3, "one word fails"
    folder, bucket = Store(tmp_path / "store"), Store(place_at(store))
    assert [d.label for d in bucket.datasets()] == ["hearing-toy@1", "saying-toy@1", "words-toy@1"]
    for one, other in zip(folder.datasets(), bucket.datasets(), strict=True):
        for read in ("rows", "children", "rejects"):
            assert table(one, read) == table(other, read)
        assert one.counts() == other.counts()
        assert one.ledger.faults().keys() == other.ledger.faults().keys()
        assert "record.json" in other.ledger.objects.list("")
    assert frames(folder.find("words-toy")) == frames(bucket.find("words-toy"))
    again = reelmill(*run, "--store", store, "--no-pack")
    assert again[0] == 3
    assert bucket.find("saying-toy").counts() == folder.find("saying-toy").counts()


def test_what_asks_about_a_store_asks_a_bucket(reelmill: Asked, store: str, media: str) -> None:
    pipelines.build(toy.recipe(), [media], store, name="toy")
    code, out, _ = reelmill("status", "--store", store)
    assert (code, "words-toy@1" in out, "pending for" in out) == (0, True, True)
    code, out, _ = reelmill("rejects", "words-toy", "--store", store)
    assert (code, "too_short" in out, "vowel" in out) == (0, True, True)
    assert reelmill("retry", "words-toy", "--store", store)[0] == 0
    assert Store(place_at(store)).find("words-toy").counts().pending == 2
    code, out, _ = reelmill("gc", "--store", store)
    assert (code, "words-toy@1: 0 bytes freed" in out) == (0, True)
    code, out, err = reelmill("verify", "words-toy", "--store", store)
    assert (code, err) == (0, ""), out


@pytest.mark.parametrize(
    ("words", "do"),
    [
        (("run", "toy:recipe", "--name", "toy"), "do: add --no-pack, then pack a copy of it (aws s3 sync)"),
        (("pack", "words-toy"), "do: copy it (aws s3 sync), then use the copy as --store"),
        (("sql", "words-toy", "select 1"), "do: copy it (aws s3 sync), then use the copy as --store"),
        (("demo",), "do: copy it (aws s3 sync), then use the copy as --store"),
    ],
)
def test_what_needs_a_folder_says_so(reelmill: Asked, store: str, media: str, words: tuple[str, ...], do: str) -> None:
    pipelines.build(toy.recipe(), [media], store, name="toy")
    options = ("--media", media) if words[0] == "run" else ()
    code, _, err = reelmill(*words, *options, "--store", store)
    assert (code, err.count("\n"), err.startswith("error: ")) == (2, 1, True)
    assert "cannot be used as a store; seen: a bucket" in err
    assert do in err


def test_a_bucket_that_is_not_there_ends_the_run_before_it_begins(reelmill: Asked, store: str, media: str) -> None:
    gone = "s3://no-such-bucket/store"
    code, _, err = reelmill("run", "toy:recipe", "--media", media, "--store", gone, "--no-pack")
    assert (code, err.count("\n")) == (2, 1)
    assert "NoSuchBucket" in err
    assert reelmill("status", "--store", "s3://Bad_Name/x")[0] == 2
