"""Recipes of evidence by models: what is missing is refused in one line, and what changes an answer is identity."""

from __future__ import annotations

import pytest

from reelmill.jobs.recipes import make
from reelmill.pipelines._recipe import in_order
from reelmill.schemas.errors import BadInput

MODEL = "transformers:some/model"
DETECTS = {"detect_engine": MODEL, "phrases": "a dog"}


@pytest.mark.parametrize(
    ("name", "options", "line"),
    [
        ("speech", {}, "seen: no engine; do: give --engine speech=transformers:MODEL"),
        ("detections", {}, "seen: no engine; do: give --engine detect=transformers:MODEL; without weights, `tubes`"),
        ("detections", {"detect_engine": MODEL}, "detection needs phrases; seen: none; do: give --set phrases="),
        ("tracks", {}, "seen: no engine; do: give --engine track=transformers:MODEL; without weights, `tubes`"),
        ("tracks", {"track_engine": MODEL}, "things are detected by a model; seen: no engine"),
        ("tracks", DETECTS | {"track_engine": "vllm:m"}, "seen: engine 'vllm:m'; do: give --engine track="),
        ("speech", {"speech_engine": "openai:m@http://h/v1"}, "speech runs a checkpoint in process"),
        ("detections", DETECTS | {"phrases": "a dog. a cat"}, "do: name one thing"),
    ],
)
def test_what_is_missing_is_said_in_one_line(name, options, line):
    with pytest.raises(BadInput) as refused:
        make(name, options)
    assert line in str(refused.value)
    assert refused.value.exit_code == 2
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("phrases", ["a dog; a red car ;", ["a dog", " a red car"]])
def test_phrases_are_a_list_or_one_line(phrases):
    (step,) = make("detections", DETECTS | {"phrases": phrases}).steps
    assert step.phrases == ("a dog", "a red car")


@pytest.mark.parametrize(
    ("name", "options", "other"),
    [
        ("detections", DETECTS, {"phrases": "a cat"}),
        ("detections", DETECTS, {"least_score": 0.1}),
        ("detections", DETECTS, {"model_revision": "abc"}),
        ("speech", {"speech_engine": MODEL}, {"language": "en"}),
        ("speech", {"speech_engine": MODEL}, {"speech_engine": "transformers:other/model"}),
        ("tracks", DETECTS | {"track_engine": MODEL}, {"phrases": "a cat"}),
    ],
)
def test_whatever_changes_the_answer_is_identity(name, options, other):
    one, two = make(name, options), make(name, options | other)
    assert one.fingerprint_hash() == make(name, options).fingerprint_hash()
    assert one.fingerprint_hash() != two.fingerprint_hash()


def test_tracks_are_fed_by_the_detections_of_the_same_options():
    tracks = make("tracks", DETECTS | {"track_engine": MODEL})
    (fed,) = (r for r in in_order(tracks) if r.name == "detections")
    assert fed.fingerprint_hash() == make("detections", DETECTS).fingerprint_hash()
    assert {r.name for r in in_order(tracks)} == {"media", "clips", "detections", "tubes", "tracks"}


def test_sound_needs_nothing():
    assert [r.name for r in in_order(make("sound", {}))] == ["media", "clips", "sound"]
