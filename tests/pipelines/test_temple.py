"""Whole films through the whole flow: exact truth to verified pairs, and a film of two units told by a captioner."""

from __future__ import annotations

import dataclasses
import json
import tarfile
from pathlib import Path

import numpy as np
import pytest
from painted import texture, write_video

from reelmill.annotators.engines.stand_in.server import MODEL, serving
from reelmill.jobs import verifying
from reelmill.pipelines import clips, temple
from reelmill.pipelines._place import place_of
from reelmill.pipelines._recipe import Place, Recipe, in_order
from reelmill.pipelines._run import Local, run
from reelmill.pipelines.scenes.compose import compose
from reelmill.pipelines.scenes.presets import PRESETS
from reelmill.pipelines.scenes.render import render
from reelmill.pipelines.sources.films import Films
from reelmill.pipelines.sources.rows import Rows
from reelmill.schemas import arrow
from reelmill.schemas.errors import BadInput
from reelmill.schemas.sample import PreferenceSample
from reelmill.sinks.dataset import Store
from reelmill.sinks.pack import pack
from reelmill.sinks.verify import verify

FILM = dataclasses.replace(PRESETS["demo"], name="film", movers=(1, 1), shots=(5, 5), duration_s=(9.0, 10.0))


@pytest.mark.parametrize(
    ("option", "seen"),
    [({"evidence": "x"}, "evidence=x"), ({"over": 0}, "over=0"), ({"frames": "some"}, "frames=some")],
)
def test_an_unknown_option_is_named(option: dict[str, object], seen: str) -> None:
    with pytest.raises(BadInput, match=seen):
        temple.recipe(**option)  # type: ignore[arg-type]


def test_every_option_is_identity_and_evidence_is_in_the_name() -> None:
    plain = temple.recipe()
    for other in (temple.recipe(over=0.9), temple.recipe(frames="key"), temple.recipe(seed=1)):
        assert other.fingerprint_hash() != plain.fingerprint_hash()
    names = [r.name for r in in_order(temple.recipe("truth"))]
    assert names[-1] == "temple_truth"
    assert {"clips_truth", "events_truth", "embeddings_by_looks_truth", "sharpness_truth"} <= set(names)
    asked = temple.recipe("captions", caption_engine="openai:m@http://127.0.0.1:9/v1")
    assert [r.name for r in in_order(asked)][-1] == "temple_captions"
    assert "captions_after" in [r.name for r in in_order(asked)]


def test_a_rendered_film_gives_pairs_that_verify_holds_right_and_packs_in_the_films_time(tmp_path: Path) -> None:
    media = tmp_path / "media"
    media.mkdir()
    render(compose(2, FILM), media / "film.mp4")
    place = place_of(tmp_path / "store", (str(media),), "t")
    recipe = temple.recipe("truth", over=0.99)
    made = run(recipe, place, Local(1))[-1].counts.accepted_children
    store, dataset = Store(place.store), Store(place.store).find("temple_truth-t")
    figures = {f.name: f for f in verifying.measure(store, dataset)}
    assert figures["samples right within 1e-06 s"].count == made >= 6
    assert all(f.value == 1.0 for f in figures.values())
    assert verify(dataset).findings == ()
    pack(store, dataset)
    (shard,) = sorted((dataset.folder / "shards").glob("*.tar"))
    with tarfile.open(shard) as tar:
        members = {m.name: tar.extractfile(m).read() for m in tar}  # type: ignore[union-attr]
    told = [json.loads(data) for name, data in members.items() if name.endswith(".json")]
    assert len(told) == made
    for one in told:
        times_s = [f["at_s"] for f in one["frames"]]
        assert times_s == sorted(set(times_s))
        assert times_s[-1] > 8.0


@pytest.fixture(scope="module")
def two_units(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """66 s, so two units of 33 s, and six shots of 12 s or less: one goes on over the end of the first unit."""
    folder = tmp_path_factory.mktemp("media")
    pictures = [np.roll(texture(at_s // 12, 96, 72), at_s % 3, axis=1) for at_s in range(66)]
    write_video(folder / "long.mp4", pictures, [1000 * i for i in range(66)])
    return folder


def film_rows(place: Place, recipe: Recipe) -> list[dict[str, object]]:
    keys = [e.key for e in recipe.source.entries(place, lambda done, total: None)]
    rows: list[dict[str, object]] = recipe.source.open(place, recipe)(keys).to_pylist()
    return rows


@pytest.mark.slow
def test_a_film_of_two_units_is_one_row_and_one_list_of_captions(two_units: Path, tmp_path: Path) -> None:
    place = place_of(tmp_path / "store", (str(two_units),), "long")
    run(clips.recipe(), place, Local(1))
    films = Films(Rows(clips.recipe(), only="video"))
    (key,) = [e.key for e in films.entries(place, lambda done, total: None)]
    assert films.ready(place, [key]) == [key]
    with serving() as teacher:
        recipe = temple.recipe("captions", caption_engine=f"openai:{MODEL}@{teacher.url}", over=0.95)
        assert isinstance(recipe.source, Films)
        assert recipe.source.ready(place, [key]) == [], "no clip has its captions yet"
        (report,) = run(recipe, place, Local(1))[-1:]
    assert report.counts.accepted == 1
    (row,) = film_rows(place, recipe)
    spans = [c["media"]["span"] for c in row["film_clips"]]  # type: ignore[attr-defined]
    assert len({c["unit_key"] for c in row["film_clips"]}) == 2  # type: ignore[attr-defined]
    starts_s = [s["start_s"] for s in spans]
    assert starts_s == pytest.approx([0.0, 12.0, 24.0, 33.0, 36.0, 48.0, 60.0])
    assert len(row["film_caption"]) == len(row["film_frame_sharpness"]) == len(spans)  # type: ignore[arg-type]
    check_captions(place, recipe, row["film_caption"])  # type: ignore[arg-type]


def check_captions(place: Place, recipe: Recipe, captions: list[str]) -> None:
    """Chosen sides tell the captions in the order of the clips, rejected ones do not."""
    children = place.dataset(recipe).children().drop_columns(["part"]).to_pylist()
    pairs = [p for p in (arrow.typed(PreferenceSample, c) for c in children) if p.verdict.accepted]
    assert {p.perturbation.kind for p in pairs} >= {"shuffle", "reverse", "swap", "drop", "insert"}
    for pair in pairs:
        chosen, wrong = ([t.text.find(c) for c in captions] for t in (pair.turns[-1], pair.rejected[-1]))
        there = [place for place in chosen if place >= 0]
        assert there == sorted(there)
        assert wrong != chosen
        assert pair.media.span is not None
        assert pair.media.duration_s > 60.0
