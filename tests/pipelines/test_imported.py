"""Sets joined with media: names match as paths do, every row ends somewhere, and samples are checked against pixels."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from painted import texture, write_video
from PIL import Image
from view_rows import picture, row, shown, video

from reelmill.jobs import inspecting
from reelmill.pipelines import clips, imported
from reelmill.pipelines._place import place_of
from reelmill.pipelines._recipe import Place, in_order
from reelmill.pipelines._run import Limits, Local, drifted, run
from reelmill.pipelines.sources.annotated.fields import annotation
from reelmill.pipelines.sources.annotated.imports import ImportedRows
from reelmill.pipelines.sources.annotated.naming import Names
from reelmill.pipelines.views.imported import CompileImported
from reelmill.schemas import arrow
from reelmill.schemas.annotation import Annotation, Region, Stated
from reelmill.schemas.column import schema
from reelmill.schemas.errors import BadInput, NotFound, Unusable
from reelmill.schemas.media import Kind, MediaRef
from reelmill.schemas.sample import Role, Sample, Turn
from reelmill.schemas.span import Span
from reelmill.schemas.tube import Box
from reelmill.sinks.dataset import Dataset
from reelmill.sinks.verify import sample_findings, verify

# --- names ---


def names(folder: Path, *uris: str) -> Names:
    """A listing of files (each with a digest of its own) or URIs."""
    rows = [
        {"uri": u if "://" in u else str(folder / u), "digest": f"{i:064x}", "problem": None, "live": True}
        for i, u in enumerate(uris)
    ]
    return Names(pa.Table.from_pylist(rows), (str(folder),))


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("coco/train2017/1.jpg", "coco/train2017/1.jpg"),
        ("train2017/1.jpg", "coco/train2017/1.jpg"),
        ("1.jpg", "coco/train2017/1.jpg"),
        ("data/coco/train2017/1.jpg", "coco/train2017/1.jpg"),
        ("/abs/coco/train2017/1.jpg", "coco/train2017/1.jpg"),
        ("./coco\\train2017\\1.jpg", "coco/train2017/1.jpg"),
        ("train2017/1.jpg", "1.jpg"),
        ("https://x.org/1.jpg", "https://x.org/1.jpg"),
        ("v_one", "films/v_one.mp4"),
        ("val/v_one", "films/val/v_one.webm"),
        ("bP5_660.0_810.0", "bP5_660.0_810.0.mkv"),
        (f"sha256:{1:064x}", "renamed.mp4"),
    ],
)
def test_the_shorter_path_is_the_end_of_the_longer(tmp_path: Path, name: str, file: str) -> None:
    assert names(tmp_path, "other.jpg", file).digest(name) == f"{1:064x}"


@pytest.mark.parametrize(
    ("name", "file", "reason"),
    [
        ("gqa/1.jpg", "vg/1.jpg", "media_missing"),
        ("1.jpg", "11.jpg", "media_missing"),
        ("1.JPG", "1.jpg", "media_missing"),
        ("1.png", "1.jpg", "media_missing"),
        ("test/v_one", "films/val/v_one.webm", "media_missing"),
        ("sha256:" + "a" * 64, "1.jpg", "media_missing"),
        ("https://x.org/1.jpg", "1.jpg", "media_missing"),
        ("1.jpg", "https://x.org/1.jpg", "media_missing"),
        ("../vg/1.jpg", "vg/1.jpg", "media_name_refused"),
        ("../../etc/passwd", "1.jpg", "media_name_refused"),
        ("/", "1.jpg", "media_name_refused"),
        ("a\0b.jpg", "1.jpg", "media_missing"),
    ],
)
def test_what_is_not_the_same_file_is_not_taken(tmp_path: Path, name: str, file: str, reason: str) -> None:
    with pytest.raises(Unusable) as told:
        names(tmp_path, file).digest(name)
    assert told.value.reason == reason


def test_two_files_of_one_name_are_ambiguous_unless_their_bytes_are_the_same(tmp_path: Path) -> None:
    with pytest.raises(Unusable, match="media_ambiguous"):
        names(tmp_path, "a/1.jpg", "b/1.jpg").digest("1.jpg")
    assert names(tmp_path, "a/1.jpg", "b/1.jpg").digest("b/1.jpg") == f"{1:064x}"
    with pytest.raises(Unusable, match="media_ambiguous"):
        names(tmp_path, "1.jpg", "1.png").digest("1")
    both = [{"uri": str(tmp_path / n), "digest": "0" * 64, "problem": None, "live": True} for n in ("1.jpg", "b/1.jpg")]
    assert Names(pa.Table.from_pylist(both), (str(tmp_path),)).digest("1.jpg") == "0" * 64


NAME = st.text("ab.", min_size=1, max_size=2).filter(lambda n: set(n) != {"."})


@given(st.lists(NAME, min_size=1, max_size=4), st.lists(NAME, min_size=1, max_size=4))
def test_a_match_is_always_an_end(held: list[str], said: list[str]) -> None:
    shorter = min(len(held), len(said))
    listing = names(Path("/nowhere-at-all"), "://".join(["file", "x"]))
    fits = listing._fits("/".join(said), said, "/" + "/".join(held))
    assert fits == (len(said) <= len(held) and held[-shorter:] == said)


# --- the view ---


def said(**what: Any) -> Annotation:
    return dataclasses.replace(annotation("llava_json:set", "7", "p.png", Kind.IMAGE), **what)


def turns(asks: str = "What?", answers: str = "A dog.", **of_answer: Any) -> tuple[Turn, ...]:
    answer = Turn(Role.ASSISTANT, answers, (), (), ())
    return (Turn(Role.USER, asks, (), (), ()), dataclasses.replace(answer, **of_answer))


def compiled(one: Annotation, media: MediaRef | None = None) -> tuple[str, tuple[Sample, ...]]:
    """The reason of a row's refusal, and its samples."""
    step = CompileImported()
    given = row(media or picture(), shown(0), key="row", annotation=one) | {"clip_key": "clip"}
    (out,) = step(pa.Table.from_pylist([given], schema=schema(*step.needs))).to_pylist()
    assert out["fault"] is None, out["fault"]
    return (out["verdict"] or {}).get("reason", ""), arrow.typed(tuple[Sample, ...], out["samples"] or [])


def test_a_dialogue_is_a_sample_that_says_where_it_comes_from() -> None:
    _, (one,) = compiled(said(turns=turns()))
    assert (one.family, one.task, one.method, one.label_confidence) == ("imported", "dialogue", "imported", 0.5)
    assert (one.parent_key, one.frames[0].key, one.evidence) == ("row", "clip", ("llava_json:set#7",))
    assert (one.provenance[-1].method, one.provenance[-1].observed) == ("imported", "row 7 of llava_json:set")
    assert list(sample_findings(one)) == []


def test_captions_are_asked_for_and_those_of_a_part_are_not() -> None:
    stated = (
        Stated("A dog <time> runs.", None, ""),
        Stated("It sits.", Span(0.0, 1.0), ""),
        Stated("A cat.", None, ""),
    )
    _, made = compiled(said(stated=stated, kind=Kind.VIDEO), video())
    assert {s.turns[1].text for s in made} == {"A dog < time> runs.", "A cat."}
    assert {s.task for s in made} == {"caption"}
    assert len({s.key for s in made}) == 2


def test_boxes_are_cut_at_the_edge_by_two_pixels_and_no_more() -> None:
    _, (one,) = compiled(said(turns=turns(answers="<box>", boxes=(Box(-1.5, 0, 321.0, 240.5),))))
    assert one.turns[1].boxes == (Box(0, 0, 320, 240),)
    assert compiled(said(turns=turns(answers="<box>", boxes=(Box(0, 0, 323, 240),))))[0] == "box_outside"
    assert compiled(said(turns=turns(answers="<box>", boxes=(Box(320, 10, 321, 20),))))[0] == "box_outside"


REFUSED = {
    "size_differs": said(turns=turns(), width_px=240, height_px=320),
    "kind_differs": said(turns=turns(), kind=Kind.VIDEO),
    "preference_pair": said(turns=turns(), rejected=turns()[1:]),
    "no_words": said(regions=(Region("a dog", "", Box(0, 0, 9, 9)),)),
    "time_outside": said(turns=turns(answers="<time>", tgt_s=(0.0, 99.0))),
}


@pytest.mark.parametrize("reason", REFUSED)
def test_what_cannot_be_a_sample_is_refused_by_name(reason: str) -> None:
    assert compiled(REFUSED[reason]) == (reason, ())


def test_a_caption_of_nothing_visible_is_refused() -> None:
    assert compiled(said(stated=(Stated("\u200b\u2060", None, ""),))) == ("no_words", ())


# --- the whole recipe ---


def talk(name: str, number: Any, kind: str = "image", asks: str = "<image>\nWhat is it?") -> dict[str, Any]:
    talked = [{"from": "human", "value": asks}, {"from": "gpt", "value": f"{name}."}]
    return {"id": number, kind: name, "conversations": talked}


ROWS = [
    *(talk("set/a.png", 1), talk("set/b.png", 2), talk("a.png", 3), talk("gone.png", 4), talk("../../etc/passwd", 5)),
    *(talk("notes.txt", 6), talk("two.mp4", 7, "video"), talk("one.mp4", 8, "video"), talk("one.mp4", 9), {"id": 10}),
    *(talk("set/a.png", 1), None),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two pictures, a text, a film of one shot and one of two."""
    top = tmp_path_factory.mktemp("imported")
    media = top / "media" / "set"
    media.mkdir(parents=True)
    for i, name in enumerate("ab"):
        Image.fromarray(texture(i)).save(media / f"{name}.png")
    (top / "media" / "notes.txt").write_text("no medium")
    write_video(top / "media" / "one.mp4", [texture(5)] * 30)
    write_video(top / "media" / "two.mp4", [texture(6)] * 30 + [texture(7)] * 30)
    (top / "set.json").write_text(json.dumps(ROWS))
    return top


def imported_into(folder: Path, store: Path, set_file: Path | None = None, **limits: Any) -> tuple[Place, Dataset]:
    place = place_of(store, (str(folder / "media"),), "t")
    recipe = imported.recipe("llava_json", str(set_file or folder / "set.json"))
    run(recipe, place, Local(2), limits=Limits(**limits))
    return place, place.dataset(recipe)


@pytest.fixture(scope="module")
def done(folder: Path) -> tuple[Place, Dataset]:
    return imported_into(folder, folder / "store")


def said_by(dataset: Dataset) -> Counter[str]:
    return Counter(s["turns"][1]["text"] for s in dataset.children().to_pylist())


def test_every_row_of_the_set_is_accounted_for(done: tuple[Place, Dataset]) -> None:
    _, dataset = done
    counts = dataset.counts()
    assert (counts.live, counts.pending, counts.closes) == (11, 0, True), "two rows are equal"
    assert said_by(dataset) == {"set/a.png.": 1, "set/b.png.": 1, "a.png.": 1, "one.mp4.": 1}
    assert counts.reasons == {
        ("row", "match_media", "media_missing"): 1,
        ("row", "match_media", "media_name_refused"): 1,
        ("row", "match_media", "media_unusable"): 1,
        ("row", "match_media", "video_was_cut"): 1,
        ("row", "compile_imported", "kind_differs"): 1,
        ("row", "read_set", "no_media"): 1,
        ("row", "read_set", "wrong_type"): 1,
    }
    assert sorted(e.uri for e in dataset.entries()) == sorted(f"set.json#{i}" for i in range(1, 13))
    assert verify(dataset).findings == ()


def test_rejects_name_the_set_own_ids(done: tuple[Place, Dataset]) -> None:
    details = {r["reason"]: r["detail"] for r in done[1].rejects().to_pylist()}
    assert details["media_missing"].startswith("4: ")
    assert "--whole" in details["video_was_cut"]
    assert details["wrong_type"].startswith(": the row is None")


def test_a_set_and_its_media_over_time(tmp_path: Path) -> None:
    """Cut late, then in full; then the set grows and one row is edited; then a missing picture comes."""
    media, file = tmp_path / "media", tmp_path / "set.json"
    media.mkdir()
    for i, name in enumerate("xy"):
        Image.fromarray(texture(i)).save(media / f"{name}.png")

    def after(*rows: Any, **limits: Any) -> Dataset:
        file.write_text(json.dumps(rows))
        return imported_into(tmp_path, tmp_path / "store", **limits)[1]

    late = after(talk("x.png", 1), talk("y.png", 2), talk("z.png", 3), max_rows=1).counts()
    assert late.pending == 2
    assert "media_unusable" not in {reason for _, _, reason in late.reasons}
    full = after(talk("x.png", 1), talk("y.png", 2), talk("z.png", 3)).counts()
    assert (full.accepted, full.rejected, full.pending) == (2, 1, 0)

    grown = after(talk("x.png", 1, asks="Which?"), talk("y.png", 2), talk("z.png", 3), talk("y.png", 4))
    counts = grown.counts()
    assert (counts.live, counts.accepted, counts.vanished) == (4, 3, 1)
    (missing,) = grown.rejects().to_pylist()
    assert missing["reason"] == "media_missing"

    Image.fromarray(texture(2)).save(media / "z.png")
    inspecting.retry(tmp_path / "store", grown.label, "reason = 'media_missing'", damaged=False, ask_again=False)
    came = after(talk("x.png", 1), talk("z.png", 3))
    assert said_by(came) == {"x.png.": 1, "z.png.": 1}


def test_another_form_is_drift_and_another_path_is_not(folder: Path, done: tuple[Place, Dataset]) -> None:
    place, _ = done
    assert drifted(imported.recipe("llava_json", "elsewhere.json"), place) == []
    assert drifted(imported.recipe("ms_swift", str(folder / "set.json")), place) == ["imported"]


def test_what_is_missing_is_said_before_any_work(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="reelmill import"):
        imported.recipe()
    with pytest.raises(NotFound, match="llava"):
        imported.recipe("llava", "set.json")
    for text in ("[]", "", "[{"):
        (tmp_path / "set.json").write_text(text)
        source = imported.recipe("llava_json", str(tmp_path / "set.json")).source
        assert isinstance(source, ImportedRows)
        with pytest.raises(BadInput):
            source.require_rows()
        with pytest.raises(BadInput):
            source.entries(place_of(tmp_path / "store", (str(folder),), "t"), lambda done, total: None)


def test_the_recipe_stands_over_clips(folder: Path) -> None:
    recipe = imported.recipe("llava_json", str(folder / "set.json"))
    assert [r.name for r in in_order(recipe)] == ["media", "clips", "imported"]
    assert isinstance(recipe.source, ImportedRows)
    assert recipe.source.base == clips.recipe()


def test_a_film_of_two_shots_is_taken_whole_where_that_is_asked_for(folder: Path, tmp_path: Path) -> None:
    recipe = imported.recipe("llava_json", str(folder / "set.json"), whole=True)
    assert [r.name for r in in_order(recipe)] == ["media", "clips_whole", "imported"]
    place = place_of(tmp_path / "store", (str(folder / "media"),), "t")
    run(recipe, place, Local(2))
    dataset = place.dataset(recipe)
    assert said_by(dataset)["two.mp4."] == 1
    assert not any(reason == "video_was_cut" for _, _, reason in dataset.counts().reasons)
    (two,) = (s for s in dataset.children().to_pylist() if s["turns"][1]["text"] == "two.mp4.")
    assert two["media"]["duration_s"] == pytest.approx(60 / 25)
    with pytest.raises(BadInput, match="true or false"):
        clips.recipe(whole=1)  # type: ignore[arg-type]
