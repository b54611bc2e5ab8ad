"""The card: numbers of the pack, both errors of the labels, and recipes for reading that work as they stand."""

from __future__ import annotations

import dataclasses
import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import published
import pytest
import yaml  # type: ignore[import-untyped]  # PyYAML ships no types; what it reads is annotated where it is used

from reelmill.schemas.clip import NewClip
from reelmill.schemas.column import Column
from reelmill.schemas.provenance import Provenance
from reelmill.schemas.sample import Perturbation, PreferenceSample, Role, Sample, Turn
from reelmill.sinks import card as cards
from reelmill.sinks.card import LabelErrors, label_errors, note_label_errors
from reelmill.sinks.card import yaml as to_yaml
from reelmill.sinks.dataset import Dataset, Store
from reelmill.sinks.pack import pack
from reelmill.sinks.parts import part_files
from reelmill.sinks.publishing.packed import MadeBy, made_by
from reelmill.sinks.state.snapshot import Entry


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    store, view = published.stocked(tmp_path_factory.mktemp("s"), sources=6)
    pack(store, view, val_share=0.3)
    return view


def text(dataset: Dataset) -> str:
    return (dataset.folder / "README.md").read_text()


def header(dataset: Dataset) -> dict[str, Any]:
    said: dict[str, Any] = yaml.safe_load(text(dataset).split("---\n")[1])
    return said


def test_the_header_is_yaml_with_the_real_splits_licences_and_tasks(packed: Dataset) -> None:
    said = header(packed)

    assert said["license"] == ["cc0-1.0"]
    assert said["task_categories"] == ["video-text-to-text"]
    assert {"internvid_tg", "when", "what"} <= set(said["tags"])
    assert said["size_categories"] == ["n<1K"]
    files = {f["split"]: f["path"] for f in said["configs"][0]["data_files"]}
    sizes = {s["name"]: s["num_examples"] for s in said["dataset_info"]["splits"]}
    assert files.keys() == sizes.keys() == {"train", "val"}
    assert sum(sizes.values()) == 12
    for split, pattern in files.items():
        assert list(packed.folder.glob(pattern)), split


def test_the_features_name_every_frame_field_and_the_whole_document(packed: Dataset) -> None:
    features = {f["name"]: f for f in header(packed)["dataset_info"]["features"]}

    assert [n for n in features if n.endswith("jpg")] == [f"f{i:03d}.jpg" for i in range(6)]
    document = {f["name"]: f for f in features["json"]["struct"]}
    assert document["label_confidence"]["dtype"] == "float64"
    turn = {f["name"]: f for f in document["turns"]["list"]}
    assert turn["tgt_s"] == {"name": "tgt_s", "list": "float64"}


def test_both_errors_are_named_also_where_nobody_measured(packed: Dataset) -> None:
    assert "- Error on rendered truth: not measured\n" in text(packed)
    assert "- Audited precision on this media: UNAUDITED\n" in text(packed)


def test_a_rule_made_label_says_that_it_is_one(packed: Dataset) -> None:
    assert "12 samples: **rule-made labels**" in text(packed)


def test_the_counts_close_level_by_level(packed: Dataset) -> None:
    rows = re.findall(r"\| (\S+) \| (inputs|children) \| (\d+) \| (\d+) \| (\d+) \| (\d+) \|", text(packed))

    assert len(rows) == 6
    for _, _, everything, *states in rows:
        assert int(everything) == sum(map(int, states))
    found = {(label, level): (int(a), int(r)) for label, level, _, a, r, _ in rows}
    assert found["grounding-t@1", "children"] == (12, 1)
    assert found["events-t@1", "children"] == (6, 6)


@pytest.mark.parametrize("number", [0, 1])
def test_its_recipes_for_reading_work_as_they_stand(packed: Dataset, number: int) -> None:
    code = re.findall(r"```python\n(.*?)```", text(packed), re.DOTALL)[number]

    done = subprocess.run([sys.executable, "-c", code], cwd=packed.folder, env=dict(os.environ), capture_output=True)
    assert done.returncode == 0, done.stderr.decode()
    assert len(code.strip().splitlines()) <= 5


def test_errors_that_were_noted_stand_on_the_card(tmp_path: Path) -> None:
    store, view = published.stocked(tmp_path, sources=1)
    assert label_errors(view) == LabelErrors()
    noted = LabelErrors("tIoU 0.91 on 120 scenes (scenes 3)", "0.88 of 50 samples, marked by A. Person")
    note_label_errors(view, noted)
    pack(store, view)

    assert label_errors(view) == noted
    assert "Audited precision on this media: 0.88 of 50 samples, marked by A. Person" in text(view)


def test_foreign_words_are_no_markup(tmp_path: Path) -> None:
    def hostile(sample: Sample) -> Sample:
        media = dataclasses.replace(sample.media, licence='x"\n---\n| a | <script> [l](javascript:1)')
        return dataclasses.replace(sample, media=media, task="`rm`: - yes\n# big")

    store, view = published.stocked(tmp_path, sources=1, change=hostile)
    pack(store, view)

    assert header(view)["license"] == ["other"]
    body = text(view).split("---\n", 2)[2]
    assert "<script>" not in body
    assert "\n# big" not in body
    assert not re.search(r"(?<!\\)\]\(javascript", body)


@pytest.mark.parametrize(
    ("method", "links", "want"),
    [
        ("rules", ("rules",), MadeBy.RULES),
        ("rules", ("rules", "model"), MadeBy.MODEL),
        ("rules", ("model", "human"), MadeBy.HUMAN),
        ("truth", ("rules",), MadeBy.TRUTH),
        ("model:qwen", (), MadeBy.MODEL),
        ("rules+two_localisers", (), MadeBy.RULES),
        ("imported", ("rules", "imported"), MadeBy.IMPORTED),
    ],
)
def test_a_label_is_named_after_the_least_exact_of_what_made_it(method: str, links: Any, want: MadeBy) -> None:
    assert made_by(method, links) is want


def test_a_model_in_the_provenance_stands_on_the_card(tmp_path: Path) -> None:
    def read(sample: Sample) -> Sample:
        link = Provenance("ReadText", "model", "1", "rapidocr", "", None, "", "", "clips-t@1")
        return dataclasses.replace(sample, provenance=(*sample.provenance, link))

    store, view = published.stocked(tmp_path, sources=1, change=read)
    pack(store, view)

    assert "2 samples: model-made labels" in text(view)
    assert "rule-made" not in text(view)


@pytest.mark.parametrize(
    "value",
    [
        {"a": 1, "b": [1, 2.5, None, True], "c": {}, "d": []},
        [{"a": [{"b": "x: y"}, {"b": "- z"}]}, ["p", ["q"]], "line\nbreak"],
        {"with space": {"deep": [{"deeper": {"x": ["#"]}}]}},
    ],
)
def test_yaml_is_read_back_equal(value: Any) -> None:
    assert yaml.safe_load(to_yaml(value)) == value


def test_an_empty_view_has_a_card_too(tmp_path: Path) -> None:
    store = Store(tmp_path)
    view = published.commit(store, "grounding-t", published.SAMPLES, [("k" * 26, [])])
    pack(store, view)

    assert header(view)["license"] == ["other"]
    assert "0 samples" in text(view)


def test_the_cost_of_a_sample_counts_all_that_it_rests_on() -> None:
    tally = cards.Tally()
    tally.samples["train"] = 8
    costs = [cards.Cost("clips-t@1", 6.0, 0, 0, 0.0), cards.Cost("view-t@1", 2.0, 4, 1000, 0.5)]
    facts: Any = SimpleNamespace(costs=costs, tally=tally)
    lines = cards._costs(facts).splitlines()
    assert "| clips-t@1 | 6.0 | 0.7500 | 0 | 0 | 0.0 | 0 |" in lines
    assert "| together | 8.0 | 1.0000 | 4 | 1000 | 125.0 | 0.5 |" in lines


def test_a_dataset_sums_what_its_commits_say(tmp_path: Path) -> None:
    dataset = Store(tmp_path).dataset("words-t", "1")
    dataset.ledger.begin({"name": "words-t", "version": "1", "recipe": "words", "fingerprint": {}})
    lease = dataset.ledger.take()
    dataset.ledger.list_inputs(lease, [Entry.derived("a"), Entry.derived("b")])
    used = {"ask": {"calls": 3, "tokens_in": 20, "tokens_out": 5, "cost": 0.25}}
    for key, seconds in (("a", {"load": 0.25, "cut": 1.0}), ("b", {"cut": 0.5})):
        outcomes, files = part_files([{"key": key, "verdict": None}], (), None)
        dataset.ledger.commit(lease, outcomes, files, seconds, used)
    assert cards.Cost.of(Store(tmp_path).dataset("words-t", "1")) == cards.Cost("words-t@1", 1.75, 6, 50, 0.5)


def pair(made: NewClip, i: int, n: int, kind: str) -> PreferenceSample:
    """A pair whose rejected side is always the shorter one."""
    plain = published.sample(made, i, n)
    sides = [Turn(Role.ASSISTANT, f"The ball {words}.", (), (), ()) for words in ("stops at last", "stops")]
    held = {f.name: getattr(plain, f.name) for f in dataclasses.fields(Sample)} | {"turns": (plain.turns[0], sides[0])}
    how = Perturbation(kind, "claims", 1.0, 0, 2, (), n)
    return PreferenceSample(**held, rejected=(sides[1],), perturbation=how, claims=(), margin=1.0)


def test_what_can_be_told_of_pairs_unseen_stands_on_the_card(tmp_path: Path) -> None:
    store = Store(tmp_path)
    made = [published.clip(i, frames=1) for i in range(26)]
    published.commit(store, "clips-t", published.CLIPS, [(c.parent_key, [c]) for c in made])
    pairs = [
        (c.key, [pair(c, i, n, "swap" if n == 1 else "drop") for n in (0, 1, 2, 4, 6)]) for i, c in enumerate(made)
    ]
    view = published.commit(store, "pairs-t", Column.of("samples", tuple[PreferenceSample, ...]), pairs)
    pack(store, view)
    said = text(view)

    assert "| when: drop or insert | 104 | 1.00 (1.00 to 1.00) | length | 1.00 (1.00 to 1.00) |" in said
    assert "| what: swap | 26 |  | | too few pairs to say |" in said


def test_a_set_without_pairs_says_nothing_of_them(packed: Dataset) -> None:
    assert "unseen" not in text(packed)
