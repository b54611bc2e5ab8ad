"""Naming: the same media give the same dataset, other media another; and `build` is the door from Python."""

from __future__ import annotations

from pathlib import Path

import pytest
import toy

from reelmill import pipelines
from reelmill.pipelines._place import place_of, slug_of
from reelmill.schemas.errors import BadInput, StoreUnusable


def test_a_relative_and_an_absolute_path_name_the_same_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    assert slug_of(("clips",)) == slug_of((str(tmp_path / "clips"),))
    assert slug_of(("clips",)) != slug_of(("other/clips",))
    assert slug_of(("a", "b")).removeprefix("a-") == slug_of(("b", "a")).removeprefix("b-")


@pytest.mark.parametrize(
    ("media", "readable"),
    [("My Holiday!.parquet", "my-holiday-"), ("s3://bucket/Clips/", "clips-"), ("../..", "media-"), ("ключ", "media-")],
)
def test_names_are_safe_as_folders(media: str, readable: str) -> None:
    slug = slug_of((media,))
    assert slug.startswith(readable)
    assert set(slug) <= set("abcdefghijklmnopqrstuvwxyz0123456789-")


@pytest.mark.parametrize("name", ["../up", "A", "a b", "-a", "a" * 65, "a.b"])
def test_a_name_that_cannot_be_a_folder_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(BadInput, match="--name"):
        place_of(tmp_path, ("x",), name)


def test_a_store_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "store").write_text("")
    with pytest.raises(StoreUnusable, match="choose another --store"):
        place_of(tmp_path / "store", ("x",))


def test_build_returns_a_readable_dataset(tmp_path: Path) -> None:
    (tmp_path / "words.txt").write_text("alpha beta")
    dataset = pipelines.build(toy.recipe(), [str(tmp_path / "words.txt")], tmp_path / "store", name="toy", workers=1)
    assert dataset.label == "words-toy@1"
    assert dataset.counts().children == 9
