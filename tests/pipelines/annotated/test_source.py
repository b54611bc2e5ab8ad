"""An annotated file as a dataset: every row is counted, keys are of the content, the set is read once however large."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from reelmill.pipelines import annotations as said
from reelmill.pipelines._recipe import Place, Recipe
from reelmill.pipelines._run import Local, Report, run
from reelmill.pipelines.sources.annotated.fields import annotation
from reelmill.pipelines.sources.annotated.reading import Refused
from reelmill.pipelines.sources.annotated.set_file import SetFile, digest_of, told
from reelmill.pipelines.sources.annotated.source import Annotated, spooled
from reelmill.pipelines.sources.annotated.spool import Spool, SpoolRow
from reelmill.schemas import arrow
from reelmill.schemas.annotation import Annotation, Stated
from reelmill.schemas.errors import BadInput, Corrupt, NotFound

VIDEOS: dict[str, Any] = {
    "v_one": {"duration": 20.5, "timestamps": [[0, 4.25], [4, 21]], "sentences": ["A cat sits.", "It leaves."]},
    "v_two": {"duration": 9, "timestamps": [[3, 1], [1, 2]], "sentences": ["Backwards.", "A dog runs."]},
    "v_bad": {"duration": 9},
}


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path / "store", (), "t")


@pytest.fixture
def set_file(tmp_path: Path) -> Path:
    path = tmp_path / "here" / "train.json"
    path.parent.mkdir()
    path.write_text(json.dumps(VIDEOS))
    return path


def made(path: Path, place: Place) -> tuple[Recipe, Report]:
    recipe = said.recipe("activitynet_captions", str(path))
    (report,) = run(recipe, place, Local(1))
    return recipe, report


def test_every_row_of_the_file_ends_somewhere(set_file: Path, place: Place) -> None:
    recipe, report = made(set_file, place)
    assert report.counts.closes
    assert (report.counts.live, report.counts.accepted, report.counts.pending) == (4, 2, 0)
    assert report.counts.reasons == {
        ("row", "annotated", "malformed"): 1,
        ("row", "annotated", "falling_times"): 1,
    }
    rows = {r["annotation"]["original_id"]: r for r in place.dataset(recipe).rows().to_pylist() if r["annotation"]}
    one = arrow.typed(Annotation, rows["train:v_one"]["annotation"])
    assert [s.text for s in one.stated] == ["A cat sits."]
    assert [(o["number"], o["reason"]) for o in rows["train:v_one"]["left_out"]] == [(1, "span_beyond_duration")]
    refused = [r["verdict"]["detail"] for r in place.dataset(recipe).rows().to_pylist() if not r["annotation"]]
    assert sorted(d.partition(": ")[0] for d in refused) == ["train:v_bad", "train:v_two#0"]


def test_a_moved_file_is_the_same_dataset_and_another_file_is_another(set_file: Path, place: Place) -> None:
    recipe, _ = made(set_file, place)
    elsewhere = set_file.parent.parent / "there" / "train.json"
    elsewhere.parent.mkdir()
    set_file.rename(elsewhere)
    again, report = made(elsewhere, place)
    assert again.fingerprint() == recipe.fingerprint()
    assert (report.worked, report.cached) == (0, 4)
    elsewhere.write_text(json.dumps(VIDEOS | {"v_bad": {}}))
    other = said.recipe("activitynet_captions", str(elsewhere))
    assert other.name != recipe.name
    assert other.fingerprint() != recipe.fingerprint()


def test_rows_of_one_id_are_told_apart_and_only_the_first_counts(tmp_path: Path, place: Place) -> None:
    line = json.dumps({"qid": 1, "query": "a dog", "duration": 9, "vid": "v", "relevant_windows": [[0, 2]]})
    file = tmp_path / "highlight_val.jsonl"
    file.write_text("\n".join([line] * 3))
    recipe = said.recipe("qvhighlights", str(file))
    (report,) = run(recipe, place, Local(1))
    assert (report.counts.live, report.counts.accepted) == (3, 1)
    assert report.counts.reasons == {("row", "validate_annotation", "duplicate_id"): 2}


def test_the_set_is_read_once_and_every_group_finds_its_own_rows(
    tmp_path: Path, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "charades_sta_train.txt"
    file.write_text("".join(f"V{n} {n}.0 {n + 1}.5##sentence number {n}.\n" for n in range(300)))
    owner = SetFile.at("charades_sta", str(file))
    source = Annotated(owner)
    keys = [e.key for e in source.entries(place, lambda done, total: None)]
    assert len(set(keys)) == 300

    def never(*_: object) -> None:
        raise AssertionError("the set was read a second time")

    monkeypatch.setattr(Spool, "fill", never)
    load = source.open(place, said.recipe("charades_sta", str(file)))
    for group in (keys[250:][::-1], keys[:3], [keys[7]]):
        texts = [row["original"]["stated"][0]["text"] for row in load(group).to_pylist()]
        assert texts == [f"sentence number {keys.index(key)}." for key in group]


def test_a_spool_is_made_again_where_it_is_missing_or_lacks_a_key(tmp_path: Path) -> None:
    rows = [SpoolRow("a", "a.jpg", "1"), SpoolRow("b", "b.jpg", "2"), SpoolRow("a", "a.jpg", "1")]
    spool = Spool(tmp_path / "c" / "s.sqlite", lambda: rows)
    assert spool.of(["b", "a", "b"]) == [("b.jpg", "2"), ("a.jpg", "1"), ("b.jpg", "2")]
    assert [(row.key, row.size) for row in spool.listed()] == [("a", 1), ("b", 1), ("a", 1)], "a place each"
    rows.append(SpoolRow("c", "", "3"))
    assert spool.of(["c"]) == [("", "3")]
    with pytest.raises(Corrupt, match="run again"):
        spool.of(["d"])
    assert [p.name for p in (tmp_path / "c").iterdir()] == ["s.sqlite"]


def test_many_keys_and_a_fill_that_breaks_off(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "s.sqlite", lambda: [SpoolRow(str(i), "", str(i)) for i in range(1_200)])
    assert spool.of([str(i) for i in range(1_200)])[-1] == ("", "1199")

    def broken() -> Any:
        yield SpoolRow("x", "", "y")
        raise BadInput("the set", seen="its end")

    with pytest.raises(BadInput):
        Spool(spool.path, broken).fill()
    assert spool.of(["5"]) == [("", "5")], "the old one stays"
    assert len(list(tmp_path.iterdir())) == 1


def test_a_broken_off_spool_is_made_anew(set_file: Path, tmp_path: Path) -> None:
    owner = SetFile.at("activitynet_captions", str(set_file))
    first = spooled(owner, tmp_path)
    whole = list(first.listed())
    assert len(whole) == 4
    first.path.rename(first.path.with_name(f".{first.path.name}.broken-off"))
    again = spooled(owner, tmp_path)
    assert list(again.listed()) == whole
    assert [f.name for f in first.path.parent.glob("[!.]*")] == [first.path.name]


def test_a_file_that_changes_while_it_is_read_is_the_users_error(set_file: Path, tmp_path: Path) -> None:
    owner = SetFile.at("activitynet_captions", str(set_file))
    set_file.write_text(json.dumps({"v_new": VIDEOS["v_one"]}))
    with pytest.raises(BadInput, match="changed while"):
        spooled(owner, tmp_path / "cache").fill()
    assert [f for f in (tmp_path / "cache").rglob("*") if f.is_file()] == []


def test_what_no_store_can_hold_is_refused_in_its_place() -> None:
    lone, endless = annotation("demo", "\ud800", "a.mp4"), annotation("demo", "2", "a.mp4", duration_s=float("inf"))
    good = annotation("demo", "3", "a.mp4", stated=(Stated("e\u0301 \U0001f600", None, ""),))
    held = list(told([lone, endless, good, Refused("\udfff", "torn", "\ud800")]))
    rows = [json.loads(one.text) for one in held]
    assert [row.get("refused", {}).get("reason") for row in rows] == ["unstorable", "unstorable", None, "torn"]
    assert rows[0]["refused"]["original_id"] == "\\ud800"
    assert arrow.typed(Annotation, rows[2]["annotation"]) == good
    assert [one.media for one in held] == ["", "", "a.mp4", ""]
    assert [one.place for one in held] == [0, 1, 2, 3]


def test_the_digest_of_a_folder_is_of_names_and_bytes(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "x.json").write_text("1")
    before = digest_of(tmp_path)
    (tmp_path / "a" / "x.json").rename(tmp_path / "a" / "y.json")
    assert digest_of(tmp_path) != before
    (tmp_path / "a" / "y.json").rename(tmp_path / "a" / "x.json")
    assert digest_of(tmp_path) == before
    (tmp_path / "a" / "x.json").write_text("2")
    assert digest_of(tmp_path) != before


def test_a_wrong_set_or_path_is_one_clear_line(set_file: Path) -> None:
    with pytest.raises(NotFound, match="vidstgg"):
        said.recipe("vidstgg", str(set_file))
    with pytest.raises(NotFound, match="no such file or folder"):
        said.recipe("vidstg", "nowhere/at-all.json")
