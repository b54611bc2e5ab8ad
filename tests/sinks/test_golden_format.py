"""Format 1 stays readable: a dataset that was written once and is kept as files is opened by today's code.

Compatibility: a reader takes every format up to its own and refuses a newer one (`sinks/state/records.py`). When the
format is raised, the old golden dataset stays and a migration is tested on it.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import toy

from reelmill.pipelines._recipe import Place
from reelmill.pipelines._run import Local, run
from reelmill.schemas.errors import BadInput
from reelmill.sinks.dataset import Dataset
from reelmill.sinks.verify import verify

GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "format-1"


@pytest.fixture
def old(tmp_path: Path) -> Dataset:
    """A copy of the golden store: two words and a letter that is too short, made by `toy.recipe()`."""
    shutil.copytree(GOLDEN, tmp_path / "store")
    return Dataset(tmp_path / "store" / "words-golden" / "1")


def test_an_old_dataset_is_read_whole(old: Dataset) -> None:
    counts = old.counts()
    assert (counts.live, counts.accepted, counts.rejected, counts.pending) == (3, 2, 1, 0)
    assert (counts.children, counts.accepted_children) == (9, 5)
    assert counts.reasons == {("row", "measure", "too_short"): 1, ("child", "spell", "vowel"): 4}
    for child in old.children().to_pylist():
        frame = child["frames"][0]
        data = old.frame(child["part"], frame["offset"], frame["size"])
        assert data == f"jpeg of {child['letter']} {frame['frame']} in {child['parent_key']}".encode()
    assert verify(old).ok


def test_an_old_dataset_is_gone_on_with(old: Dataset, tmp_path: Path) -> None:
    words = tmp_path / "words.txt"
    words.write_text("alpha beta a gamma")
    place = Place(tmp_path / "store", (str(words),), "golden")
    report = run(toy.recipe(), place, Local(1))[0]
    assert (report.cached, report.worked) == (3, 1)
    assert report.counts.closes


def test_a_newer_format_is_refused_with_what_to_do(old: Dataset) -> None:
    record = old.folder / "dataset.json"
    record.write_text(record.read_text().replace('"format":1', '"format":2'))
    with pytest.raises(BadInput, match="newer"):
        _ = Dataset(old.folder).identity
