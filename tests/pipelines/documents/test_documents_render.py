"""Documents as files: kinds by turns, truth beside them, kept when finished, made again when harmed."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from reelmill.pipelines.documents.compose import KINDS, LOOKS, compose
from reelmill.pipelines.documents.render import load_document, render_documents
from reelmill.pipelines.scenes.render import load_truth, render_picture
from reelmill.pipelines.scenes.truth import sidecar
from reelmill.schemas.errors import BadInput, Corrupt
from reelmill.schemas.keys import seed_for

EASY, HARD = LOOKS["easy"], LOOKS["hard"]


def test_kinds_take_turns_and_more_begin_with_the_same(tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    few = render_documents(tmp_path / "a", 9, 3, EASY, progress=lambda *at: told.append(at))
    assert [p.name.rpartition("_")[0] for p in few] == [*KINDS, next(iter(KINDS))]
    assert told == [(n, 9) for n in range(1, 10)]
    more = render_documents(tmp_path / "b", 10, 3, EASY)
    assert [p.read_bytes() for p in more[:9]] == [p.read_bytes() for p in few]
    assert [sidecar(p).read_bytes() for p in more[:9]] == [sidecar(p).read_bytes() for p in few]


def test_named_kinds_alone_and_their_format(tmp_path: Path) -> None:
    easy = render_documents(tmp_path, 2, 3, EASY, ("form",))
    hard = render_documents(tmp_path, 2, 3, HARD, ("form", "sign"))
    assert [p.name for p in (*easy, *hard)] == [
        "form_000000.png",
        "form_000001.png",
        "form_000000.jpg",
        "sign_000001.jpg",
    ]
    assert [Image.open(p).format for p in (easy[0], hard[0])] == ["PNG", "JPEG"]


def test_a_file_holds_what_was_drawn_and_its_sidecar_what_it_says(tmp_path: Path) -> None:
    (path,) = render_documents(tmp_path, 1, 3, EASY, ("receipt",))
    made = compose(seed_for(3, path.name, "easy"), "receipt", EASY)
    assert (np.asarray(Image.open(path)) == made.pixels).all()
    assert load_document(path) == (made.exact, made.document)
    assert load_truth(path) == made.exact  # as that of any rendered picture, so what scores scenes scores documents


def drop_bytes(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-9])


def drop_sidecar(path: Path) -> None:
    sidecar(path).unlink()


def break_sidecar(path: Path) -> None:
    sidecar(path).write_text("{")


@pytest.mark.parametrize("harm", [drop_bytes, drop_sidecar, break_sidecar])
def test_harmed_files_are_made_again_and_whole_ones_kept(tmp_path: Path, harm: Callable[[Path], None]) -> None:
    harmed, kept = render_documents(tmp_path, 2, 3, EASY, ("sign", "screen"))
    before, stamp = harmed.read_bytes(), kept.stat().st_mtime_ns
    harm(harmed)
    render_documents(tmp_path, 2, 3, EASY, ("sign", "screen"))
    assert harmed.read_bytes() == before
    assert load_document(harmed)[1].content.kind == "sign"
    assert kept.stat().st_mtime_ns == stamp


def test_an_edited_look_replaces_the_file(tmp_path: Path) -> None:
    render_documents(tmp_path, 1, 3, EASY, ("sign",))
    (path,) = render_documents(tmp_path, 1, 3, dataclasses.replace(EASY, text_px=(20, 20)), ("sign",))
    assert json.loads(sidecar(path).read_text())["identity"]["parameters"]["look"]["text_px"] == [20, 20]


def test_missing_and_foreign_truth_are_named(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="no document's truth beside it"):
        load_document(tmp_path / "a.png")
    render_picture(3, tmp_path / "sign.png")
    with pytest.raises(BadInput, match="no document's truth beside it"):
        load_document(tmp_path / "sign.png")
    sidecar(tmp_path / "a.png").write_text('{"format": 99}')
    with pytest.raises(Corrupt, match="another format"):
        load_document(tmp_path / "a.png")
