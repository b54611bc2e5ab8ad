"""Detections: geometry, phrases and suppression exactly; the models' part with random weights, which shows that both
architectures are asked and read, and says nothing of what they find."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from random_weights import grounding_dino, owlv2
from stepped import run_sound as run

from reelmill.annotators.annotator import Annotator
from reelmill.annotators.cutting.shown import jpeg
from reelmill.annotators.detect import DETECTIONS, Detect, Detector, Found, distinct, phrase_places
from reelmill.schemas import arrow
from reelmill.schemas.errors import BadInput, NotFound
from reelmill.schemas.media import ShownFrame
from reelmill.schemas.tube import Box

PHRASES = ("a red square", "dog")
MAKERS = {"grounding_dino": grounding_dino, "owlv2": owlv2}


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    return {name: make(tmp_path_factory.mktemp(name)) for name, make in MAKERS.items()}


@pytest.fixture(scope="module", params=MAKERS)
def step(request, checkpoints):
    made = Detect(f"transformers:{checkpoints[request.param]}", PHRASES, least_score=0.0)
    made.setup()
    return made


def picture(seed, size=(90, 160)):
    return np.random.default_rng(seed).integers(0, 255, (*size, 3)).astype(np.uint8)


def row(pictures, key="k", **more):
    frames = [ShownFrame(12 * i, 0.5 * i, p.shape[1], p.shape[0], "", 0, 1) for i, p in enumerate(pictures)]
    return {"key": key, "frames": [arrow.plain(f) for f in frames], "jpegs": [jpeg(p, 90) for p in pictures], **more}


def detections(answer):
    return arrow.typed(DETECTIONS.hint, answer["detections"])


# ---- the step --------------------------------------------------------------------------------------------------------


def test_it_is_an_annotator(step):
    assert isinstance(step, Annotator)


def test_boxes_lie_in_their_frame_with_its_time_and_size(step):
    (answer,) = run(step, row([picture(0), picture(1, (64, 48))]))
    found = detections(answer)
    assert {(d.frame, d.at_s, d.frame_width_px, d.frame_height_px) for d in found} == {
        (0, 0.0, 160, 90),
        (12, 0.5, 48, 64),
    }
    for d in found:
        assert 0 <= d.box.x0_px < d.box.x1_px <= d.frame_width_px
        assert 0 <= d.box.y0_px < d.box.y1_px <= d.frame_height_px
        assert d.phrase in PHRASES
        assert 0 <= d.score <= 1
    assert answer["detect_frames"] == [0, 12]
    name, _, revision = answer["detect_model"].partition("@")
    assert name in ("grounding_dino0", "owlv20")
    assert revision == step.model_revision != ""


def test_a_row_alone_is_the_row_in_any_batch(step):
    rows = [row([picture(3 * i), picture(3 * i + 1)][: 1 + i % 2], key=f"k{i}") for i in range(3)]
    together = run(step, *rows)
    assert run(step, *rows[::-1]) == together[::-1]
    assert [run(step, one)[0] for one in rows] == together


def test_scores_below_the_threshold_are_left_out(checkpoints):
    step = Detect(f"transformers:{checkpoints['owlv2']}", PHRASES, least_score=1.1)
    step.setup()
    (answer,) = run(step, row([picture(0)]))
    assert (answer["detections"], answer["detect_frames"]) == ([], [0])


def test_phrases_of_a_column_are_asked_beside_its_own(checkpoints):
    step = Detect(f"transformers:{checkpoints['owlv2']}", (), phrases_column="names", least_score=0.0)
    step.setup()
    with_names, without = run(step, row([picture(0)], names=["circle"]), row([picture(0)], key="j", names=[]))
    assert {d.phrase for d in detections(with_names)} == {"circle"}
    assert (without["detections"], without["detect_frames"]) == ([], [])


def test_a_row_without_frames_is_an_answer(step):
    assert run(step, row([]))[0]["detections"] == []


@pytest.mark.parametrize("phrase", ["", "  ", "a dog. a cat"])
def test_phrases_that_cannot_be_told_apart_are_refused(phrase):
    with pytest.raises(BadInput, match="name one thing"):
        Detect("transformers:m", (phrase,))


def test_a_missing_checkpoint_is_one_clear_line():
    with pytest.raises(NotFound, match=r"checkpoint nobody/none not found"):
        Detect("transformers:nobody/none", PHRASES).setup()


def test_a_checkpoint_of_another_kind_is_refused(tmp_path):
    from transformers import BertConfig, BertModel

    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    BertModel(BertConfig(vocab_size=16, **sizes)).save_pretrained(tmp_path)
    with pytest.raises((BadInput, NotFound), match="checkpoint"):
        Detect(f"transformers:{tmp_path}", PHRASES).setup()


# ---- what is read off a model ----------------------------------------------------------------------------------------


def test_each_phrase_has_the_place_of_its_words(checkpoints):
    detector = Detector(str(checkpoints["grounding_dino"]), "")
    words = detector.processor(images=picture(0), text=[["a red square", "dog", "zebra"]])["input_ids"][0]
    assert phrase_places(list(words), detector.processor.tokenizer) == [(1, 4), (5, 6), (7, 8)]


def test_a_box_belongs_to_the_phrase_of_its_surest_word(checkpoints):
    detector = Detector(str(checkpoints["grounding_dino"]), "")
    words = list(detector.processor(images=picture(0), text=[list(PHRASES)])["input_ids"][0])
    logits = torch.full((1, 2, 64), -9.0)
    logits[0, 0, 3], logits[0, 0, 5], logits[0, 1, 5] = 2.0, 1.0, 0.0  # "square" over "dog"; "dog"
    pred_boxes = torch.tensor([[[0.5, 0.5, 0.5, 0.2], [0.25, 0.25, 0.5, 0.5]]])
    outputs = SimpleNamespace(logits=logits, pred_boxes=pred_boxes)
    boxes, scores, which = detector._by_words(outputs, words, (160, 90))
    assert which == [0, 1]
    assert scores == pytest.approx([0.8808, 0.5], abs=1e-3)
    assert boxes[0] == pytest.approx([40, 36, 120, 54], abs=1e-3)
    assert boxes[1] == pytest.approx([0, 0, 80, 45], abs=1e-3)


def test_boxes_of_owlv2_are_of_the_square_that_it_fills_up(checkpoints):
    """OWLv2 fills a picture up to a square at its right and bottom: half of that is not half of the frame."""
    detector = Detector(str(checkpoints["owlv2"]), "")
    outputs = SimpleNamespace(logits=torch.tensor([[[3.0, -3.0]]]), pred_boxes=torch.tensor([[[0.25, 0.25, 0.5, 0.5]]]))
    boxes, _, which = detector._by_phrases(outputs, [list(PHRASES)], (160, 90))
    assert boxes[0] == pytest.approx([0, 0, 80, 80], abs=1e-3)
    assert which == [0]


def test_too_many_phrases_are_refused(checkpoints):
    step = Detector(str(checkpoints["grounding_dino"]), "")
    outputs = SimpleNamespace(logits=torch.zeros(1, 1, 64), pred_boxes=torch.zeros(1, 1, 4))
    with pytest.raises(BadInput, match="65 tokens, at most 64"):
        step._by_words(outputs, [2] * 65, (10, 10))


def test_the_surest_of_overlapping_boxes_stays_per_phrase():
    box, near, far = Box(0, 0, 10, 10), Box(0, 0, 10, 9), Box(20, 20, 30, 30)
    found = [Found("a", near, 0.5), Found("a", box, 0.9), Found("b", near, 0.4), Found("a", far, 0.1)]
    assert distinct(found, 0.7) == [found[1], found[0 + 2], found[3]]
    assert len(distinct(found, 0.95)) == 4
