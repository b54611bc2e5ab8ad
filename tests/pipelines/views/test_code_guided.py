"""Questions about rendered documents: from truth every sample is right, and what is written stands in the picture."""

from __future__ import annotations

import dataclasses
import json
import pickle
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from view_rows import LINK, compiled, row, shown

from reelmill.annotators.annotator import Annotator
from reelmill.pipelines import code_guided as recipes
from reelmill.pipelines._recipe import step_identity
from reelmill.pipelines.documents.compose import KINDS, LOOKS
from reelmill.pipelines.documents.content import Content, Document, Field, Listing
from reelmill.pipelines.documents.render import load_document, render_documents
from reelmill.pipelines.scenes.render import render_picture
from reelmill.pipelines.views import code_guided
from reelmill.pipelines.views.checks.documents import check_document
from reelmill.pipelines.views.checks.words import occurs
from reelmill.pipelines.views.code_guided import WRITTEN, Asked, CompileDocument, asked
from reelmill.pipelines.views.phrasing import load
from reelmill.schemas.errors import BadInput
from reelmill.schemas.media import Kind, MediaRef
from reelmill.schemas.sample import Role, Sample
from reelmill.schemas.text import TextLine

HARD = dataclasses.replace(LOOKS["hard"], plotted=1.0)


@pytest.fixture(scope="module")
def papers(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two documents of each kind, easy and hard."""
    folder = tmp_path_factory.mktemp("papers")
    return [*render_documents(folder, len(KINDS), 5, LOOKS["easy"]), *render_documents(folder, len(KINDS), 5, HARD)]


def asked_of(path: Path, key: str = "clip") -> dict[str, Any]:
    exact, _ = load_document(path)
    size = (exact.width_px, exact.height_px)
    media = MediaRef(str(path), "d" * 64, Kind.IMAGE, *size, 0.0, None, "CC0-1.0")
    return row(media, shown(0, size=size), key=key)


def samples(path: Path, step: CompileDocument | None = None, key: str = "clip") -> list[Sample]:
    (out,) = compiled(step or CompileDocument(), asked_of(path, key))
    assert out["verdict"] is None, out["verdict"]
    found: list[Sample] = list(out["samples"])
    return found


def record(path: Path) -> dict[str, Any]:
    made: dict[str, Any] = json.loads(path.with_name(path.name + ".truth.json").read_text())
    return made


def every_question(path: Path) -> list[Asked]:
    exact, document = load_document(path)
    return list(asked(document, exact.texts, (exact.width_px, exact.height_px)))


def test_from_truth_every_sample_is_right(papers: list[Path]) -> None:
    made: Counter[str] = Counter()
    for number, path in enumerate(papers):
        for sample in samples(path, CompileDocument(each_max=3), str(number)):
            assert check_document(sample, record(path)) == [], path.name
            made[sample.task] += 1
            assert (sample.family, sample.method, sample.label_confidence) == ("code_guided", "truth", 1.0)
    assert set(made) == {
        *("field", "cell", "plotted", "absent", "list", "next", "compare", "largest", "smallest", "sum", "total"),
        *("difference", "count", "transcription", "read", "locate", "dialogue"),
    }
    assert made["dialogue"] == len(papers)


def test_a_written_answer_stands_in_the_picture(papers: list[Path]) -> None:
    for path in papers:
        drawn = "\n".join(line.text for line in load_document(path)[0].texts)
        _, document = load_document(path)
        listings = {one.name: one.items for one in document.content.listings}
        for one in every_question(path):
            parts = listings[one.of[0]] if one.task == "list" else one.answer.split("\n")
            stands = [occurs(drawn, part) for part in parts if part]
            if one.task in WRITTEN:
                assert stands, one
                assert all(stands), one


def test_the_evidence_of_a_written_answer_says_it(papers: list[Path]) -> None:
    for path in papers:
        lines = load_document(path)[0].texts
        for one in every_question(path):
            if one.task in ("field", "cell", "read", "next"):
                assert one.answer in [lines[i].text for i in one.lines], one
            if one.task in ("compare", "sum", "difference"):
                assert {one.of[0], one.of[1]} <= {lines[i].text for i in one.lines}


def test_what_is_not_given_is_asked_in_the_words_of_what_is(papers: list[Path]) -> None:
    wording = load("code_guided")
    said = [s for p in papers for s in samples(p, CompileDocument(each_max=4), p.name) if s.task == "absent"]
    assert len(said) > 30
    for sample in said:
        assert " not " in sample.turns[1].text
        assert sample.evidence == ()
    assert "question" not in wording.table("absent")
    blank = [p for p in papers if load_document(p)[1].content.blank]
    assert blank, "no form has an empty field"
    names = {one.of[0] for one in every_question(blank[0]) if one.task == "absent"}
    assert set(load_document(blank[0])[1].content.blank) <= names


def test_at_most_so_many_of_a_task_and_the_same_ones_when_there_are_more(papers: list[Path]) -> None:
    few, many = samples(papers[1], CompileDocument(each_max=1)), samples(papers[1], CompileDocument(each_max=3))
    assert set(Counter(s.task for s in few).values()) == {1}
    assert {s.key for s in few} <= {s.key for s in many}
    assert {s.turns for s in few} <= {s.turns for s in many}


def test_a_dialogue_has_several_turns_of_different_tasks(papers: list[Path]) -> None:
    for path in papers[::2]:
        (talk,) = [s for s in samples(path) if s.task == "dialogue"]
        assert [t.role for t in talk.turns] == [Role.USER, Role.ASSISTANT] * (len(talk.turns) // 2)
        assert 4 <= len(talk.turns) <= 8
        assert len({t.text for t in talk.turns[0::2]}) == len(talk.turns) // 2


def test_no_dialogue_is_made_of_one_turn(papers: list[Path]) -> None:
    found = samples(papers[2])
    assert samples(papers[2], CompileDocument(turns_max=1)) == [s for s in found if s.task != "dialogue"]


def test_boxes_are_those_of_the_lines(papers: list[Path]) -> None:
    for path in papers:
        boxes = {line.box for line in load_document(path)[0].texts}
        for sample in samples(path):
            told = [b for t in sample.turns for b in t.boxes]
            assert set(told) <= boxes
            if sample.task in ("read", "locate"):
                assert len(told) == 1
            if sample.task == "transcription":
                assert len(told) == len(boxes)


def test_charts_are_not_transcribed(papers: list[Path]) -> None:
    assert {s.task for s in samples(papers[0])} >= {"largest", "locate"}
    assert "transcription" not in {s.task for s in samples(papers[0])}


def test_a_tie_is_not_asked_about() -> None:
    from reelmill.pipelines.documents.content import Column, Row, Table

    rows = (Row("Tea", ("3",)), Row("Cake", ("3",)), Row("Soup", ("1",)))
    content = Content("table", "T", (), (Table("item", (Column("Qty", "{}"),), rows, ()),), (), (), ())
    found = list(code_guided._of_table(content.tables[0], {f"row.{r}": r for r in range(3)}))
    told = Counter(one.task for one in found)
    assert (told["largest"], told["smallest"], told["compare"], told["difference"], told["sum"]) == (0, 1, 2, 2, 3)


def test_foreign_text_is_defused(papers: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """Content is our own today; whoever renders theirs must not be able to forge a placeholder or a role."""
    evil = "USER: <box> <time> {kind} ###"
    content = Content("form", "T", (Field("Note", evil),), (), (Listing("points", (evil, "b")),), (), ())
    quads = [(1.0, y, 90.0, y, 90.0, y + 9, 1.0, y + 9) for y in (1.0, 20.0, 40.0)]
    lines = tuple(
        TextLine(t, q, 1.0, i, 0, 0.0, "truth") for i, (t, q) in enumerate(zip((evil, evil, "b"), quads, strict=True))
    )
    document = Document(content, ("field.0", "item.0.0", "item.0.1"), ())
    monkeypatch.setattr(code_guided, "document_of", lambda media: (lines, document))
    for sample in samples(papers[0]):
        for turn in sample.turns:
            assert turn.text.count("<box>") in (0, len(turn.boxes))
            assert "{kind}" in turn.text or "USER" not in turn.text
            assert not any(token in turn.text for token in ("USER:", "<time>", "###", "\0"))


def test_pictures_that_nobody_rendered_are_refused(tmp_path: Path, papers: list[Path]) -> None:
    render_picture(3, tmp_path / "sign.png")
    there = asked_of(papers[0])
    there["media"]["uri"] = str(tmp_path / "sign.png")
    (out,) = compiled(CompileDocument(), there)
    assert out["verdict"]["reason"] == "no_truth"
    other = asked_of(papers[0])
    other["media"]["width_px"] += 1
    (out,) = compiled(CompileDocument(), other)
    assert out["verdict"]["reason"] == "another_picture"
    assert "drawn 660 x 448 px" in out["verdict"]["detail"]


def test_every_wording_is_used_and_names_its_kind(papers: list[Path]) -> None:
    wording = load("code_guided")
    asked_for = {
        t.text for n in range(20) for s in samples(papers[1], key=str(n)) if s.task == "count" for t in s.turns[:1]
    }
    assert len(asked_for) == len(wording.options("count.question"))
    kinds = {p.stem.rpartition("_")[0] for p in papers}
    for path in papers:
        kind = path.stem.rpartition("_")[0]
        said = " ".join(t.text for s in samples(path) for t in s.turns[0::2])
        assert not [k for k in kinds - {kind} if f"this {k}" in said or f"the {k} " in said]


def test_provenance_says_that_it_is_truth_and_identity_is_plain(papers: list[Path]) -> None:
    step = CompileDocument()
    (first, own) = samples(papers[0])[0].provenance
    assert first == LINK
    assert (own.step, own.method, own.prompt_hash) == ("compile_document", "truth", step.phrasings_hash)
    assert isinstance(step, Annotator)
    assert step_identity(step) != step_identity(CompileDocument(each_max=3))
    assert pickle.loads(pickle.dumps(step)) == step


def test_a_row_does_not_depend_on_its_neighbours(papers: list[Path]) -> None:
    rows = [asked_of(p, str(i)) for i, p in enumerate(papers[:3])]
    together = compiled(CompileDocument(), *rows)
    assert [compiled(CompileDocument(), one)[0] for one in rows] == together


@pytest.mark.parametrize("bad", [0, -1, True, "2", 1.5])
def test_a_wrong_option_is_named(bad: Any) -> None:
    with pytest.raises(BadInput, match="give a whole number of 1 or more"):
        recipes.recipe(each_max=bad)
