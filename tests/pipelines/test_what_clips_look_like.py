"""`embeddings`, `scores` and `similar` over rendered scenes and a picture of text, and what they refuse at once."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import random_weights

from reelmill.jobs.recipes import make
from reelmill.pipelines import embeddings, scores, similar
from reelmill.pipelines._place import place_of
from reelmill.pipelines._recipe import Place
from reelmill.pipelines._run import Local, run
from reelmill.pipelines.scenes.presets import PRESETS
from reelmill.pipelines.scenes.render import load_truth, render_set
from reelmill.schemas.errors import BadInput

SHORT = dataclasses.replace(PRESETS["demo"], name="short", short_share=1.0)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    folder = tmp_path_factory.mktemp("looks")
    render_set(folder / "media", 6, 43, SHORT, pictures=1)
    return place_of(folder / "store", (str(folder / "media"),), "looks")


def made(name: str, place: Place, **options: object) -> list[dict[str, Any]]:
    recipe = make(name, options)
    run(recipe, place, Local(1))
    rows: list[dict[str, Any]] = place.dataset(recipe).rows().to_pylist()
    assert rows
    assert all(row["verdict"]["state"] == "accepted" for row in rows), [row["verdict"] for row in rows]
    return rows


def test_a_frame_is_likest_to_its_own_clip(place: Place) -> None:
    rows = [row for row in made("embeddings", place) if len(row["frame_embeddings"]) > 1]
    frames = [np.array([f["vector"] for f in row["frame_embeddings"]]) for row in rows]
    ends = np.array([f[-1] for f in frames]) @ np.array([f[0] for f in frames]).T
    assert len(rows) >= 5
    assert (ends.argmax(axis=1) == np.arange(len(rows))).all()


def test_the_share_of_text_goes_with_the_sign(place: Place) -> None:
    rows = {row["key"]: row["scores"] for row in made("scores", place)}
    (picture,) = (s for s in rows.values() if s["motion"] is None)
    (path,) = Path(place.media[0]).glob("*.png")
    exact = load_truth(path)
    share = sum(t.box.area_px for t in exact.texts) / (exact.width_px * exact.height_px)
    assert share < picture["text_share"] < 2.5 * share  # RapidOCR's boxes stand wider than letters
    assert all(s["aesthetic"] is None and s["sharpness"] > 0 for s in rows.values())


def test_phrases_of_the_user_are_asked_of_every_video(place: Place, tmp_path: Path) -> None:
    engine = f"transformers:{random_weights.clip(tmp_path / 'clip')}"
    rows = made("similar", place, embed_engine=engine, phrases="a red circle; a red circle; a dog;")
    videos = sum(1 for path in Path(place.media[0]).glob("*.mp4"))
    assert len(rows) >= videos
    assert all(len(row["similar"]) == len(row["similarities"]) == 2 for row in rows)


def test_what_is_missing_is_said_before_any_work(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="phrases are compared by a model"):
        similar.recipe()
    with pytest.raises(BadInput, match="similar wants phrases; seen: none"):
        similar.recipe("transformers:google/siglip2-base-patch16-224")
    with pytest.raises(BadInput, match="similar wants phrases; seen: both ways"):
        similar.recipe("transformers:m", ["a dog"], "openai:m@http://127.0.0.1:9/v1")
    with pytest.raises(BadInput, match="phrases=7"):
        similar.recipe("transformers:m", 7)
    with pytest.raises(BadInput, match="embeds pictures only"):
        similar.recipe("embedded", ["a dog"])
    with pytest.raises(BadInput, match="an aesthetic head needs embeddings; seen: embedded"):
        scores.recipe(str(tmp_path / "head.safetensors"), "embedded")


def test_a_check_that_is_not_there_is_said_before_any_work() -> None:
    with pytest.raises(BadInput, match=r"safety check 'none\.such:f'"):
        scores.recipe(safety="none.such:f")


def test_two_encoders_are_two_datasets() -> None:
    looks, meaning = embeddings.recipe(), embeddings.recipe("transformers:google/siglip2-base-patch16-224")
    assert looks.name != meaning.name
    assert embeddings.recipe("transformers:m", "a").fingerprint_hash() != meaning.fingerprint_hash()
