"""The engine that reads is said to the recipe, enters its identity, and is passed on by the view."""

from __future__ import annotations

import pytest

from reelmill.jobs.recipes import make
from reelmill.pipelines import ocr_rich, text
from reelmill.pipelines._recipe import step_identity
from reelmill.schemas.errors import BadInput


def test_the_engine_is_part_of_the_identity() -> None:
    plain, same, other = text.recipe(), text.recipe("rapidocr"), text.recipe("tesseract:eng+kor")
    assert plain.fingerprint_hash() == same.fingerprint_hash() != other.fingerprint_hash()
    assert step_identity(other.steps[0])["fields"]["engine"] == "tesseract:eng+kor"


def test_the_view_reads_what_its_engine_read() -> None:
    recipe = make("ocr_rich", {"text_engine": "tesseract"})
    assert recipe.source.upstreams[1].fingerprint_hash() == text.recipe("tesseract").fingerprint_hash()
    assert ocr_rich.recipe().fingerprint_hash() != recipe.fingerprint_hash()


def test_provenance_names_the_engine() -> None:
    assert text.recipe("tesseract").steps[0].model == "tesseract"  # type: ignore[attr-defined]


def test_an_unknown_engine_is_refused_when_the_step_is_made_ready() -> None:
    with pytest.raises(BadInput, match="unknown"):
        text.recipe("easyocr").steps[0].setup()


def test_the_floor_of_text_is_said_to_the_recipe() -> None:
    step = make("ocr_rich", {"min_words": 8, "min_text_share": 0.05, "min_confidence": 0.9}).steps[0]
    assert (step.words_min, step.text_share_min, step.confidence_min) == (8, 0.05, 0.9)
    assert make("ocr_rich", {}).fingerprint_hash() != make("ocr_rich", {"min_words": 8}).fingerprint_hash()


@pytest.mark.parametrize(
    ("name", "options", "line"),
    [
        ("ocr_rich", {"evidence": "guess"}, "evidence=guess; seen: an unknown kind; do: use rules or truth"),
        ("text_times", {"evidence": "guess"}, "seen: an unknown kind"),
        ("agreed_text", {"second_engine": "rapidocr"}, "second_engine=rapidocr; seen: the first engine is rapidocr"),
        ("ocr_dialogues", {"text_engine": "tesseract"}, "seen: the first engine is tesseract"),
        ("ocr_written", {}, "seen: no engine; do: give --engine write="),
    ],
)
def test_what_cannot_be_made_is_said_in_one_line(name: str, options: dict[str, str], line: str) -> None:
    with pytest.raises(BadInput) as refused:
        make(name, options)
    assert line in str(refused.value)
    assert "\n" not in str(refused.value)


def test_uncut_videos_are_read_as_a_dataset_of_another_name() -> None:
    assert text.recipe(whole=True).name == "text_whole"
    assert [r.name for r in make("text_times", {}).source.upstreams] == ["clips_whole", "text_whole"]
    assert make("text_times", {"whole": False, "evidence": "truth"}).name == "text_times_of_shots_truth"
