"""The flow on real files: each change of the media costs exactly its own work in every dataset, shown by counts.

Two rendered scenes of 2 s and a picture with text go from files to packed samples; nothing is stubbed, and the
captioner is a real HTTP server.
"""

from __future__ import annotations

import dataclasses
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from chat_server import Act, Asked, caption_of, chatting, completion

from reelmill.pipelines import captioned, internvid_tg, ocr_rich
from reelmill.pipelines._place import place_of, with_versions
from reelmill.pipelines._recipe import Place, Recipe
from reelmill.pipelines._run import Local, run
from reelmill.pipelines.scenes.presets import PRESETS
from reelmill.pipelines.scenes.render import render_set
from reelmill.schemas.errors import Drift
from reelmill.sinks.dataset import Store
from reelmill.sinks.pack import pack
from reelmill.sinks.verify import verify

pytestmark = pytest.mark.slow
SHORT = dataclasses.replace(PRESETS["demo"], name="short", short_share=1.0)


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("rendered")
    render_set(folder, 3, 41, SHORT, pictures=1)
    return folder


@pytest.fixture
def media(rendered: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "media"
    folder.mkdir()
    for name in ("scene_000000.mp4", "scene_000001.mp4", "sign_000000.png"):
        shutil.copy(rendered / name, folder)
    return folder


@pytest.fixture
def place(media: Path, tmp_path: Path) -> Place:
    return place_of(tmp_path / "store", (str(media),), "flow")


def worked(recipe: Recipe, place: Place) -> dict[str, int]:
    """Rows worked on in each dataset; counts close in all of them."""
    reports = run(recipe, place, Local(1))
    assert all(r.counts.closes and r.counts.pending == 0 and not r.faults for r in reports)
    return {r.label.split("-")[0]: r.worked for r in reports}


def clips_of(place: Place) -> int:
    dataset = place.dataset(internvid_tg.recipe().source.upstreams[0])
    kinds = [m["kind"] for m in dataset.children().column("media").to_pylist()]
    return kinds.count("video")


def nothing(done: dict[str, int]) -> bool:
    return not any(done.values())


def test_every_change_of_the_media_costs_exactly_its_own_work(place: Place, media: Path, rendered: Path) -> None:
    recipe = internvid_tg.recipe()
    first = worked(recipe, place)
    clips = clips_of(place)
    assert first == {"media": 3, "clips": 3, "tubes": clips, "events": clips, "internvid_tg": clips}
    assert nothing(worked(recipe, place)), "a second run"

    shutil.copy(rendered / "scene_000002.mp4", media)
    added = worked(recipe, place)
    more = clips_of(place) - clips
    assert added == {"media": 1, "clips": 1, "tubes": more, "events": more, "internvid_tg": more}, "one file more"

    (media / "scene_000002.mp4").rename(media / "renamed; $(touch pwned).mp4")
    assert nothing(worked(recipe, place)), "one file renamed"

    shutil.copy(media / "scene_000000.mp4", media / "same again.mp4")
    assert nothing(worked(recipe, place)), "a second copy of the same bytes"
    (media / "same again.mp4").unlink()

    (media / "scene_000001.mp4").unlink()
    assert nothing(worked(recipe, place)), "one file removed"
    counts = place.dataset(recipe).counts()
    assert counts.vanished >= 1
    assert counts.live == clips_of(place)

    shutil.copy(rendered / "scene_000001.mp4", media / "scene_000000.mp4")
    edited = worked(recipe, place)
    assert edited["media"] == 0, "edited in place to bytes that were known before"
    with (media / "scene_000000.mp4").open("ab") as stream:
        stream.write(b"\0\0\0\x08free")
    edited = worked(recipe, place)
    assert edited["media"] == edited["clips"] == 1, "edited in place to new bytes"
    assert edited["tubes"] == edited["events"] == edited["internvid_tg"] >= 1
    assert not (media / "pwned").exists()
    assert not Path("pwned").exists()


def test_both_families_share_media_and_clips_and_what_is_packed_is_sound(place: Place) -> None:
    worked(internvid_tg.recipe(), place)
    then = worked(ocr_rich.recipe(), place)
    assert (then["media"], then["clips"]) == (0, 0)
    assert then["text"] == then["ocr_rich"] > 0
    for recipe in (internvid_tg.recipe(), ocr_rich.recipe()):
        dataset = place.dataset(recipe)
        packed = pack(Store(place.store), dataset)
        assert sum(packed.samples.values()) == dataset.counts().accepted_children > 0
        assert [f for f in verify(dataset).findings if f.severity != "note"] == []


def answer(asked: Asked, earlier: int) -> Act:
    del earlier
    return Act(body=completion(caption_of(asked)))


@pytest.fixture
def prompts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Writes the prompt `mine:ask` with a closing sentence; a new process would see the same."""
    package = tmp_path / "code" / "mine"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    monkeypatch.syspath_prepend(str(package.parent))

    def write(sentence: str) -> None:
        text = f"---\ninputs: times\nanswer: Caption\n---\nFrames at {{{{times}}}}. {sentence} Answer as JSON.\n"
        (package / "ask.md").write_text(text)

    yield write
    sys.modules.pop("mine", None)


def test_a_changed_prompt_redoes_what_depends_on_it_and_nothing_else(
    place: Place, prompts: Callable[[str], None]
) -> None:
    with chatting(answer) as chat:
        prompts("Describe them.")
        first = worked(captioned.recipe(f"openai:toy@{chat.url}", "mine:ask"), place)
        rows = first["captions"]
        assert rows == first["captioned"] == len(chat.asked) > 0

        prompts("Describe them in one sentence.")
        changed = captioned.recipe(f"openai:toy@{chat.url}", "mine:ask")
        with pytest.raises(Drift, match="prompt_hash"):
            run(changed, place, Local(1))
        again = worked(changed, with_versions(place, changed, dev=True, as_version=""))
        assert again == {"media": 0, "clips": 0, "captions": rows, "captioned": rows}
        assert len(chat.asked) == 2 * rows

        prompts("Describe them.")
        back = captioned.recipe(f"openai:toy@{chat.url}", "mine:ask")
        assert nothing(worked(back, place)), "the change was taken back"
        bought = worked(back, with_versions(place, back, dev=False, as_version=""))
        assert nothing(bought)
        assert len(chat.asked) == 2 * rows


def test_replies_are_bought_once_for_the_whole_store(place: Place) -> None:
    with chatting(answer) as chat:
        recipe = captioned.recipe(f"openai:toy@{chat.url}")
        worked(recipe, place)
        bought = len(chat.asked)
        other = place_of(place.store, place.media, "other")
        assert worked(recipe, other)["captions"] == bought
        assert len(chat.asked) == bought
