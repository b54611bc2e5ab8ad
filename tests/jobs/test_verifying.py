"""`verify --truth`: true evidence compiles to right samples only, and the figures reach the card and `sql`."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path
from types import ModuleType

import pytest

from reelmill.jobs import verifying
from reelmill.pipelines import flipped, internvid_tg, mix, ocr_dialogues, ocr_rich, st_align, text_times
from reelmill.pipelines._place import place_of
from reelmill.pipelines._recipe import Place
from reelmill.pipelines._run import Local, run
from reelmill.pipelines._table import run_table
from reelmill.pipelines.scenes.presets import PRESETS
from reelmill.pipelines.scenes.render import load_truth, render_set
from reelmill.pipelines.scenes.score import Figure
from reelmill.pipelines.scenes.truth import SceneTruth
from reelmill.schemas.errors import BadInput
from reelmill.sinks import catalog
from reelmill.sinks.card import label_errors
from reelmill.sinks.dataset import Store
from reelmill.sinks.pack import pack

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    folder = tmp_path_factory.mktemp("verify")
    render_set(folder / "media", 3, 77, PRESETS["demo"], pictures=1)
    return place_of(folder / "store", (str(folder / "media"),), "seen")


def figures_of(place: Place, label: str) -> dict[str, Figure]:
    store = Store(place.store)
    return {f.name: f for f in verifying.measure(store, store.find(label))}


def test_every_sample_compiled_from_truth_is_right(place: Place) -> None:
    recipe = internvid_tg.recipe("truth")
    counts = run(recipe, place, Local(2))[-1].counts
    figures = figures_of(place, "internvid_tg_truth-seen")
    exact = figures["samples right within 1e-06 s"]
    assert exact.count == counts.accepted_children > 20
    assert all(f.value == 1.0 for f in figures.values())
    assert {n.rpartition(": ")[2] for n in figures} >= {"grounding", "span_caption", "dense_caption", "absent"}


def test_dialogues_of_several_families_are_judged_as_what_they_are(place: Place) -> None:
    """In a mix with tubes every dialogue is a row with tubes, some without any."""
    made = [internvid_tg.recipe("truth"), st_align.recipe("truth"), flipped.recipe(options={"evidence": "truth"})]
    reports = [run(recipe, place, Local(2))[-1] for recipe in made]
    all_of_them = {r.label: float(r.counts.accepted_children) for r in reports}
    total = run_table(mix.recipe(all_of_them), place).counts.accepted_children
    figures = figures_of(place, "mix-seen")
    assert figures["samples right within 1e-06 s"].count == total == sum(all_of_them.values())
    assert {n.rpartition(": ")[2] for n in figures} >= {"grounding", "va_to_q"}
    drawn = Store(place.store).find("mix-seen").children(["family"])["family"].to_pylist()
    assert set(drawn) == {"internvid_tg", "st_align", "flipped"}
    assert all(f.value == 1.0 for n, f in figures.items() if "samples right" in n)


def test_found_evidence_is_measured_and_the_figures_are_kept(place: Place) -> None:
    run(internvid_tg.recipe(), place, Local(2))
    store = Store(place.store)
    dataset = store.find("internvid_tg-seen")
    pack(store, dataset)
    assert "Error on rendered truth: not measured" in (dataset.folder / "README.md").read_text()
    before = (dataset.folder / "manifest.json").read_bytes()
    assert verifying.verify(place.store, "internvid_tg-seen", truth=True) == 0
    card = (dataset.folder / "README.md").read_text()
    assert "not measured" not in card
    assert "events, recall" in card
    assert "UNAUDITED" in card
    assert (dataset.folder / "manifest.json").read_bytes() == before
    assert label_errors(dataset).rendered_truth
    with catalog.connect(store, dataset) as connection:
        names = [n for (n,) in connection.sql("select name from label_figures where count > 0").fetchall()]
    assert "tube vIoU, mean" in names
    assert "words read" not in names


def test_a_wrong_time_in_a_sample_is_seen(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = internvid_tg.recipe("truth")
    run(recipe, place, Local(2))
    true = load_truth

    def late(path: Path) -> SceneTruth:
        exact = true(path)
        moved = tuple(dataclasses.replace(e, span=e.span.shifted(0.2)) for e in exact.events)
        return dataclasses.replace(exact, events=moved)

    monkeypatch.setattr(verifying, "load_truth", late)
    figures = figures_of(place, "internvid_tg_truth-seen")
    grounding = figures["samples right within 0.1 s: grounding"]
    assert grounding.value is not None
    assert grounding.value < 0.1


def test_text_is_measured_on_its_own_view(place: Place) -> None:
    run(ocr_rich.recipe(), place, Local(2))
    figures = figures_of(place, "ocr_rich-seen")
    assert figures["texts right: transcription"].count > 0
    assert "tube vIoU, mean" not in figures


def test_media_without_truth_cannot_be_measured(place: Place, tmp_path: Path) -> None:
    (tmp_path / "media").mkdir()
    shutil.copy(next(Path(place.media[0]).glob("*.png")), tmp_path / "media")
    bare = place_of(tmp_path / "store", (str(tmp_path / "media"),), "bare")
    run(ocr_rich.recipe(), bare, Local(1))
    with pytest.raises(BadInput, match=r"no media with a \.truth\.json"):
        verifying.truth_table(bare.store, "ocr_rich-bare")


@pytest.mark.parametrize(
    ("made", "tasks"),
    [
        (ocr_rich, {"transcription", "read", "locate"}),
        (ocr_dialogues, {"present", "line_count", "word_count", "script"}),
        (text_times, {"text_when", "text_at"}),
    ],
)
def test_every_sample_compiled_from_true_text_is_right(place: Place, made: ModuleType, tasks: set[str]) -> None:
    recipe = made.recipe(evidence="truth")
    counts = run(recipe, place, Local(2))[-1].counts
    figures = figures_of(place, f"{recipe.name}-seen")
    exact = [f for f in figures.values() if "within" not in f.name or "within 1e-06 s" in f.name]
    assert sum(f.count for f in exact) == counts.accepted_children > 0
    assert all(f.value == 1.0 for f in figures.values())
    assert {f.name.rpartition(": ")[2] for f in exact} >= tasks
