"""`documents`, then `run code_guided`, then `verify --truth`: from nothing to samples that are held to be right."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from reelmill.jobs import verifying
from reelmill.pipelines import code_guided
from reelmill.pipelines._place import place_of
from reelmill.pipelines._run import Local, run
from reelmill.pipelines.documents.looks import LOOKS
from reelmill.pipelines.documents.render import render_documents
from reelmill.pipelines.scenes.render import render_picture
from reelmill.sinks.dataset import Store

Told = tuple[int, str, str]


def test_documents_are_rendered_and_told(told: Callable[..., Told], tmp_path: Path) -> None:
    code, out, _ = told("documents", "papers", "--count", "2", "--seed", "7", "--kind", "receipt", "--kind", "sign")
    assert (code, out.strip()) == (0, "2 files in papers, with their truth beside them")
    assert sorted(p.name for p in (tmp_path / "papers").glob("*.png")) == ["receipt_000000.png", "sign_000001.png"]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("documents", "papers", "--kind", "novel"), "kind 'novel' not found; seen: chart, table, receipt"),
        (("documents", "papers", "--look", "awful"), "look 'awful' not found; seen: easy, hard"),
        (("documents", "words.txt"), "name a folder that can be made"),
    ],
)
def test_bad_input_is_one_line(
    told: Callable[..., Told], tmp_path: Path, words: tuple[str, ...], expected: str
) -> None:
    (tmp_path / "words.txt").write_text("a file")
    code, _, err = told(*words)
    assert (code, len(err.strip().splitlines())) == (2, 1)
    assert expected in err


def test_help_says_what_comes_next(told: Callable[..., Told]) -> None:
    code, out, _ = told("documents", "--help")
    assert code == 0
    assert "run code_guided --media FOLDER" in out


def test_without_matplotlib_the_extra_is_named(told: Callable[..., Told], monkeypatch: pytest.MonkeyPatch) -> None:
    from reelmill.pipelines.documents import page

    page.font.cache_clear()
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    code, _, err = told("documents", "papers", "--kind", "table")
    assert code == 2
    assert "pip install 'reelmill[documents]'" in err


def test_from_files_to_samples_that_are_right(tmp_path: Path) -> None:
    media = tmp_path / "media"
    render_documents(media, 8, 11, LOOKS["hard"])
    render_picture(3, media / "sign.png")  # a rendered picture that is no document
    place = place_of(tmp_path / "store", (str(media),), "papers")
    report = run(code_guided.recipe(), place, Local(1))[-1]
    assert (report.counts.accepted, report.counts.rejected) == (8, 1)
    dataset = place.dataset(code_guided.recipe())
    assert [r["verdict"]["reason"] for r in dataset.rows().to_pylist() if r["verdict"]["reason"]] == ["no_truth"]
    figures = {f.name: f for f in verifying.measure(Store(tmp_path / "store"), dataset)}
    assert (figures["answers right"].value, figures["answers right"].count) == (1.0, len(dataset.children()))
    assert figures["answers right: transcription"].count == 7
    assert "words read" not in figures


def test_a_document_of_another_truth_is_no_longer_right(tmp_path: Path) -> None:
    """The checker is really asked: with the truth of another seed in its place the figure falls."""
    media = tmp_path / "media"
    render_documents(media, 1, 11, LOOKS["easy"], ("form",))
    place = place_of(tmp_path / "store", (str(media),), "papers")
    run(code_guided.recipe(), place, Local(1))
    for path in media.iterdir():
        path.unlink()
    render_documents(media, 1, 12, LOOKS["easy"], ("form",))
    dataset = place.dataset(code_guided.recipe())
    figures = {f.name: f.value for f in verifying.measure(Store(tmp_path / "store"), dataset)}
    assert figures["answers right"] is not None
    assert figures["answers right"] < 0.8
