"""Every step of every recipe that ships: a row's answer does not depend on its neighbours, columns are as declared.

Steps are found through the recipes and recipes by their files, so a new one is enrolled by existing. Rows are real:
what each recipe's own source gives over a few rendered files, a picture, and a file that is no medium.
"""

from __future__ import annotations

import copy
import dataclasses
import json
import pickle
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pytest
from random_weights import grounding_dino, sam2_video, siglip, whisper
from sounded import Tone, sounded

from reelmill.annotators.annotator import Annotator, result_schema, step_name
from reelmill.annotators.engines.stand_in.server import MODEL, serving
from reelmill.jobs.recipes import make, recipe_files
from reelmill.pipelines._guard import run_step, with_outcome
from reelmill.pipelines._place import place_of
from reelmill.pipelines._recipe import Place, Recipe, in_order, step_identity
from reelmill.pipelines._run import Local, run
from reelmill.pipelines._table import TableRecipe
from reelmill.pipelines.documents.looks import LOOKS
from reelmill.pipelines.documents.render import render_documents
from reelmill.pipelines.scenes.presets import PRESETS
from reelmill.pipelines.scenes.render import render_set
from reelmill.schemas.keys import canonical_json

pytestmark = pytest.mark.slow
Engines = Mapping[str, dict[str, Any]]
WHOLE_DATASETS: dict[str, dict[str, Any]] = {"even_pairs": {}, "mix": {}, "text_rich": {"vectors": "b@1"}}
READ_TWICE = ("agreed_text", "ocr_dialogues", "ocr_written")
TESSERACT = shutil.which("tesseract") is not None
MADE = [f.name for f in recipe_files() if f.name not in WHOLE_DATASETS]
NAMES = [
    pytest.param(n, marks=pytest.mark.skipif(n in READ_TWICE and not TESSERACT, reason="tesseract is not installed"))
    for n in MADE
]


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engines]:
    """Options of each recipe that needs an engine. Checkpoints have random weights: what they say is of no matter."""
    weights = {
        f.__name__: f"transformers:{f(tmp_path_factory.mktemp('w'))}"
        for f in (grounding_dino, sam2_video, siglip, whisper)
    }
    said = tmp_path_factory.mktemp("set") / "train.json"
    heard = {"duration": 2.0, "timestamps": [[0.2, 1.0], [1.0, 3.0]], "sentences": ["It beeps.", "It beeps on."]}
    said.write_text(json.dumps({"heard": heard, "unseen": {"duration": 1.0}}))
    annotated = {"set": "activitynet_captions", "path": str(said)}
    detects = {"detect_engine": weights["grounding_dino"], "phrases": "a red square; dog", "least_score": 0.0}
    with serving() as teacher:
        asked = f"openai:{MODEL}@{teacher.url}"
        yield {
            "annotations": annotated,
            "witnessed": annotated,
            "captions": {"caption_engine": asked},
            "captioned": {"caption_engine": asked},
            "listed": {"list_engine": asked},
            "borrowed": {"list_engine": asked},
            "listed_events": {"list_engine": asked},
            "checked_captions": {"caption_engine": asked, "judge_engine": asked},
            "drawn_accounts": {"sample_engine": asked, "samples": 1},
            "sampled_answers": {"answer_engine": asked, "judge_engine": asked, "samples": 2},
            "fact_pairs": {"answer_engine": asked, "judge_engine": asked, "samples": 2},
            "written": {"caption_engine": asked, "write_engine": asked},
            "ocr_written": {"caption_engine": asked, "write_engine": asked},
            "speech": {"speech_engine": weights["whisper"]},
            "detections": detects,
            "imported": {"set": "llava_json", "path": str(an_existing_set(tmp_path_factory.mktemp("set")))},
            "similar": {"embed_engine": weights["siglip"], "phrases": ["a red circle", "nothing"]},
            "tracks": detects | {"track_engine": weights["sam2_video"], "most_things": 1},
        }


def an_existing_set(folder: Path) -> Path:
    """Rows about a picture and a scene of `place`, one whose medium is nowhere, and one that is no row."""
    talk = [{"from": "human", "value": "<image>\nWhat is it?"}, {"from": "gpt", "value": "A sign."}]
    rows = [{"id": n, "image": f"{n}.png", "conversations": talk} for n in ("sign_000000", "gone")]
    film = {"id": "film", "video": "heard.mp4", "conversations": talk}
    (folder / "set.json").write_text(json.dumps([*rows, film, None]))
    return folder / "set.json"


def recipe_of(name: str, engine: Engines) -> Recipe:
    made = make(name, engine.get(name, {}))
    assert isinstance(made, Recipe)
    return made


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, engine: Engines) -> Place:
    """A store in which every recipe has run once."""
    folder = tmp_path_factory.mktemp("contract")
    short = dataclasses.replace(PRESETS["demo"], name="short", short_share=1.0)
    render_set(folder / "media", 2, 8, short, pictures=1)
    render_documents(folder / "media", 1, 8, LOOKS["easy"], ("receipt",))
    sounded(folder / "media" / "heard.mp4", [Tone(0.4, 0.9), Tone(1.2, 1.9, hz=900.0)], seconds=2.0)
    (folder / "media" / "notes.txt").write_text("no medium")
    place = place_of(folder / "store", (str(folder / "media"),), "contract")
    for name in MADE if TESSERACT else [n for n in MADE if n not in READ_TWICE]:
        run(recipe_of(name, engine), place, Local(2))
    return place


class Fed(NamedTuple):
    """A step, the rows that it is given in a real run, and what it says of them."""

    step: Annotator
    batch: pa.Table
    whole: dict[str, Any]


@pytest.fixture(scope="module", params=NAMES)
def fed(request: pytest.FixtureRequest, place: Place, engine: Engines) -> Iterator[tuple[str, list[Fed]]]:
    """A recipe's name and its steps; what they hold is let go before the next recipe comes."""
    steps = feed(recipe_of(request.param, engine), place)
    yield request.param, steps
    for step, _, _ in steps:
        close(step)


def feed(recipe: Recipe, place: Place) -> list[Fed]:
    keys = sorted(place.dataset(recipe).winners.of_key)
    table = with_outcome(recipe.source.open(place, recipe)(keys))
    steps: list[Fed] = []
    for step in recipe.steps:
        if steps:
            table = run_step(steps[-1].step, table)
        step.setup()
        live = table.filter(pa.compute.is_null(table["verdict"]))
        batch = live.select(list(dict.fromkeys(["key", *(c.name for c in step.needs)])))
        steps.append(Fed(step, batch, by_key(step(batch))))
    return steps


def close(step: Annotator) -> None:
    """As a worker does at its end."""
    if hasattr(step, "close"):
        step.close()


def by_key(answer: pa.Table) -> dict[str, Any]:
    return {row["key"]: row for row in answer.to_pylist()}


def test_table_recipes_are_the_only_ones_left_out(engine: Engines) -> None:
    for name, options in WHOLE_DATASETS.items():
        assert isinstance(make(name, {"inputs": {"a@1": 1.0}, **options}), TableRecipe)
    assert {"media", "clips", "tubes", "events", "text", "sound", "internvid_tg", "ocr_rich"} <= set(MADE)


def test_a_row_alone_is_the_row_in_any_batch(fed: tuple[str, list[Fed]]) -> None:
    name, steps = fed
    for step, batch, whole in steps:
        assert whole, f"{name}: no live row reached {step_name(step)}"
        backwards = by_key(step(batch.take(list(range(batch.num_rows))[::-1])))
        assert backwards == whole, f"{name}: {step_name(step)} depends on the order of rows"
        for i in range(batch.num_rows):
            alone = step(batch.slice(i, 1)).to_pylist()[0]
            assert alone == whole[alone["key"]], f"{name}: {step_name(step)} depends on a row's neighbours"


def test_an_empty_batch_keeps_the_declared_columns(fed: tuple[str, list[Fed]]) -> None:
    name, steps = fed
    for step, batch, _ in steps:
        empty = step(batch.slice(0, 0))
        assert empty.num_rows == 0
        assert empty.schema.equals(result_schema(step.gives)), f"{name}: {step_name(step)}"


@pytest.mark.parametrize("name", NAMES)
def test_steps_travel_to_workers_and_have_one_spelling(name: str, engine: Engines) -> None:
    for recipe in in_order(recipe_of(name, engine)):
        for step in recipe.steps:
            again = pickle.loads(pickle.dumps(step))
            assert step_identity(again) == step_identity(step) == step_identity(copy.copy(step))
            canonical_json(step_identity(step))


def test_a_fresh_worker_gives_the_same_answers(fed: tuple[str, list[Fed]], engine: Engines) -> None:
    name, steps = fed
    untouched = recipe_of(name, engine).steps
    for (step, batch, whole), sent in zip(steps, untouched, strict=True):
        fresh = pickle.loads(pickle.dumps(sent))
        fresh.setup()
        assert by_key(fresh(batch)) == whole, f"{name}: {step_name(step)}"
        close(fresh)


def test_a_strangers_recipe_is_found_by_its_import_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "theirs.py").write_text("from toy import recipe\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert make("theirs:recipe", {}).name == "words"
