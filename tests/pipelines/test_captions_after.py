"""Captions of clips beside the one before: who was shown with whom, checked by an account of its own, over HTTP."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from reelmill.annotators.caption import CaptionAfter
from reelmill.annotators.engines.stand_in.server import MODEL, serving
from reelmill.pipelines import captioned, captions, clips
from reelmill.pipelines._recipe import Place
from reelmill.pipelines._run import Local, run
from reelmill.pipelines.scenes.presets import PRESETS
from reelmill.pipelines.scenes.render import render_set
from reelmill.pipelines.sources.rows import Rows

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def media(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("media")
    render_set(folder, 6, 31, PRESETS["demo"], pictures=1)
    return folder


@pytest.fixture(scope="module")
def made(media: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Place, list[dict[str, Any]]]:
    place = Place(tmp_path_factory.mktemp("store"), (str(media),), "t")
    with serving() as teacher:
        run(captioned.recipe(f"openai:{MODEL}@{teacher.url}", form="after"), place, Local(1))
    recipe = captions.recipe(f"openai:{MODEL}@http://127.0.0.1:1/v1", form="after")
    return place, place.dataset(recipe).rows().to_pylist()


def before_of(place: Place) -> dict[str, str]:
    """By key: the accepted clip that ends last before a clip begins, in the same unit of the same file."""
    cut = [c for c in place.dataset(clips.recipe()).children().to_pylist() if c["verdict"]["state"] == "accepted"]
    found = {}
    for clip in cut:
        span = clip["media"]["span"]
        same = [
            (o["media"]["span"]["end_s"], o["key"])
            for o in cut
            if span and o["parent_key"] == clip["parent_key"] and o["media"]["span"]["end_s"] <= span["start_s"] + 1e-6
        ]
        found[clip["key"]] = max(same)[1] if same else ""
    return found


def test_every_clip_but_the_first_of_its_unit_is_shown_beside_the_one_before(
    made: tuple[Place, list[dict[str, Any]]],
) -> None:
    place, rows = made
    expected = before_of(place)
    assert {r["key"]: r["caption_before"] for r in rows} == expected
    assert 0 < sum(1 for before in expected.values() if before) < len(expected)


def test_what_is_different_comes_first_and_the_caption_stands_alone(
    made: tuple[Place, list[dict[str, Any]]],
) -> None:
    for row in made[1]:
        parts = row["caption_parts"]
        assert [p["after"] for p in parts] == ([True, False] if row["caption_before"] else [False])
        assert parts[-1]["text"] == row["caption"]
        assert all(p["frames_s"] == row["caption_frames_s"] for p in parts)
        assert all(t >= 0 for t in row["caption_frames_s"])


def test_frames_of_the_clip_before_are_timed_below_zero(made: tuple[Place, list[dict[str, Any]]]) -> None:
    place, rows = made
    recipe = captions.recipe(f"openai:{MODEL}@http://127.0.0.1:1/v1", form="after")
    (step,) = recipe.steps
    assert isinstance(step, CaptionAfter)
    key = next(r["key"] for r in rows if r["caption_before"])
    row = recipe.source.open(place, recipe)([key]).to_pylist()[0]
    (question,) = next(step._talk(row))
    times = [image.at_s for image in question.request.images if image.at_s is not None]
    assert times == sorted(times)
    assert times[0] == pytest.approx(row["before"]["starts_s"] + row["before"]["frames"][0]["at_s"])
    assert times[0] < 0.0 <= times[-1]


def test_only_this_form_reads_what_came_before() -> None:
    plain, after = (Rows(clips.recipe(), with_frames=True, with_before=b) for b in (False, True))
    assert "with_before" not in plain.identity()
    assert after.identity() == plain.identity() | {"with_before": True}
    assert {c.name for c in after.gives} - {c.name for c in plain.gives} == {"before"}
