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
