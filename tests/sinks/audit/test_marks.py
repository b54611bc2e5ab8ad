"""Marks are kept as they were made, by any number of writers, and foreign files are refused with their first fault."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import published
import pydantic
import pytest
from marked import NOON, accepted, mark

from reelmill.schemas.errors import BadInput, Corrupt
from reelmill.schemas.sample import GroundedSample, Sample, Tubelet
from reelmill.schemas.tube import Box
from reelmill.sinks.audit.marks import Mark, MarkFile, keep, kept, newest, rater_named, read_file, text_sha256
from reelmill.sinks.dataset import Dataset


@pytest.fixture(scope="module")
def view(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return published.stocked(tmp_path_factory.mktemp("s"), sources=3)[1]


@pytest.fixture
def found(view: Dataset) -> list[Sample]:
    return accepted(view)


def elsewhere(view: Dataset, folder: Path) -> Dataset:
    """The same dataset at a place where nothing is written yet."""
    return Dataset(folder / view.name / view.version)


def test_marks_come_back_as_they_were_made(view: Dataset, found: list[Sample], tmp_path: Path) -> None:
    place = elsewhere(view, tmp_path)
    made = [mark(found[0], "wrong", note='it "leaves"\n\u202e, late'), mark(found[1], "unsure", later_s=1)]
    keep(place, made[:1])
    keep(place, made[1:])
    keep(place, [])

    assert kept(place) == made
    assert sorted(p.name for p in (place.folder / "audit").iterdir()) == ["ada-000001.jsonl", "ada-000002.jsonl"]


def test_a_name_never_becomes_a_path(view: Dataset, found: list[Sample], tmp_path: Path) -> None:
    place = elsewhere(view, tmp_path)
    keep(place, [mark(found[0], rater="../../Zoë/x")])
    assert [p.name for p in (place.folder / "audit").iterdir()] == ["_zo_x-000001.jsonl"]
    assert [m.rater for m in kept(place)] == ["../../Zoë/x"]


def test_two_writers_lose_nothing(view: Dataset, found: list[Sample], tmp_path: Path) -> None:
    place = elsewhere(view, tmp_path)
    made = [mark(found[i % 6], rater="Ada", later_s=i) for i in range(24)]
    with ThreadPoolExecutor(4) as writers:
        list(writers.map(lambda one: keep(place, [one]), made))
    assert kept(place) == made


def test_marks_of_all_versions_are_read_together(view: Dataset, found: list[Sample], tmp_path: Path) -> None:
    for version, one in (("1", mark(found[0])), ("2", mark(found[1], later_s=-5))):
        keep(Dataset(tmp_path / view.name / version), [one])
    keep(Dataset(tmp_path / "another-t" / "1"), [mark(found[2])])
    assert [m.key for m in kept(Dataset(tmp_path / view.name / "3"))] == [found[1].key, found[0].key]


def test_the_last_mark_of_a_rater_counts(found: list[Sample]) -> None:
    first, second, other = mark(found[0]), mark(found[0], "wrong", later_s=9), mark(found[0], rater="Bo")
    assert newest([second, other, first]) == {(first.key, "Ada"): second, (first.key, "Bo"): other}


def test_a_mark_is_on_disk_when_keep_returns(view: Dataset, found: list[Sample], tmp_path: Path) -> None:
    """kill -9 right after it, and at every step of the next one: the first mark is whole, the next whole or absent."""
    place, program = elsewhere(view, tmp_path), (
        "import os, sys; from pathlib import Path\n"
        "from reelmill.sinks.audit.marks import Mark, keep; from reelmill.sinks.dataset import Dataset\n"
        "place, *marks = sys.argv[1:]\n"
        "for one in marks: keep(Dataset(Path(place)), [Mark.model_validate_json(one)])"
    )  # fmt: skip
    made = [mark(found[i], later_s=i) for i in range(2)]
    words = [sys.executable, "-c", program, str(place.folder), *(m.model_dump_json() for m in made)]
    for point in ("object.synced", "object.renamed"):
        env = os.environ | {"REELMILL_FAULT": f"{point}:kill:2"}
        done = subprocess.run(words, env=env, capture_output=True, timeout=60)
        assert done.returncode == -9, done.stderr
        left = kept(place)
        assert left[0] == made[0]
        assert left[1:] == (made[1:] if point == "object.renamed" else [])
        for file in (place.folder / "audit").glob("*.jsonl"):
            file.unlink()


def test_the_text_is_all_that_a_person_judges(found: list[Sample]) -> None:
    one = found[0]
    answer = dataclasses.replace(one.turns[1], tgt_s=(1.0, 3.6))
    moved = dataclasses.replace(answer, tgt_s=(1.0, 3.5), boxes=())
    assert text_sha256(one) == text_sha256(dataclasses.replace(one, method="model", label_confidence=0.1, frames=()))
    assert (
        len({text_sha256(dataclasses.replace(one, turns=(one.turns[0], t))) for t in (*one.turns, answer, moved)}) == 4
    )


def test_tubes_belong_to_what_is_judged(found: list[Sample]) -> None:
    fields = {f.name: getattr(found[0], f.name) for f in dataclasses.fields(found[0])}
    one, other = (GroundedSample(**fields, tubes=(Tubelet((0.0,), (Box(0, 0, x, 9),), 1.0),)) for x in (5.0, 6.0))
    assert text_sha256(one) != text_sha256(other)


@pytest.mark.parametrize("name", ["", "   ", "a" * 65, "Ada\u202ecilA", "a\x1b[31m"])
def test_a_rater_has_a_name_that_can_be_printed(name: str) -> None:
    with pytest.raises(ValueError, match="1 to 64 printable signs"):
        rater_named(name)


def download(view: Dataset, made: list[Mark], **changes: Any) -> bytes:
    said = {"format": 1, "dataset": view.label, "marks": [json.loads(m.model_dump_json()) for m in made]}
    return json.dumps(said | changes).encode()


def test_a_downloaded_file_is_read(view: Dataset, found: list[Sample]) -> None:
    made = [mark(found[0]), mark(found[1], "wrong", note="too late")]
    assert list(read_file(download(view, made), "m.json", view)) == made
    assert MarkFile.model_json_schema()["additionalProperties"] is False


@pytest.mark.parametrize(
    ("changes", "seen"),
    [
        ({"format": 2}, "format: "),
        ({"dataset": "other-t@1"}, "marks of 'other-t@1', not grounding-t"),
        ({"marks": [{"key": "../../etc"}]}, "marks.0.key: "),
        ({"extra": 1}, "extra: "),
        ({"marks": 7}, "marks: "),
    ],
)
def test_a_foreign_file_is_refused_with_its_first_fault(view: Dataset, changes: dict[str, Any], seen: str) -> None:
    with pytest.raises(BadInput) as refused:
        read_file(download(view, [], **changes), "m.json", view)
    assert seen in str(refused.value)
    assert "the page offered" in str(refused.value)


@pytest.mark.parametrize("field", ["judgement", "at", "rater", "text_sha256"])
def test_a_mark_without_its_parts_is_none(found: list[Sample], field: str) -> None:
    said = json.loads(mark(found[0]).model_dump_json())
    for bad in (said | {field: "??\x00"}, {k: v for k, v in said.items() if k != field}):
        with pytest.raises(pydantic.ValidationError):
            Mark.model_validate_json(json.dumps(bad))


def test_no_json_and_marks_of_the_far_future_are_refused(view: Dataset, found: list[Sample]) -> None:
    with pytest.raises(BadInput, match="Invalid JSON"):
        read_file(b"<html>", "m.json", view)
    late = (datetime.now(UTC) + timedelta(days=40) - NOON).total_seconds()
    with pytest.raises(BadInput, match="set the clock it came from"):
        read_file(download(view, [mark(found[0], later_s=late)]), "m.json", view)


def test_a_damaged_line_is_named(view: Dataset, found: list[Sample], tmp_path: Path) -> None:
    place = elsewhere(view, tmp_path)
    keep(place, [mark(found[0])])
    file = place.folder / "audit" / "ada-000001.jsonl"
    file.write_text(file.read_text().replace('"right"', '"rihgt"'))
    with pytest.raises(Corrupt, match=r"audit/ada-000001.jsonl is corrupt; seen: judgement"):
        kept(place)
