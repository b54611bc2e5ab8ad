"""Dialogues about text, judged against every true line of their frame: what stands here, where does it say this."""

from __future__ import annotations

from collections.abc import Sequence

from reelmill.pipelines.views.checks.forms import form_faults
from reelmill.pipelines.views.checks.words import normalised, occurs
from reelmill.schemas.sample import Role, Sample, Turn
from reelmill.schemas.text import TextLine
from reelmill.schemas.tube import Box


def check_transcription(sample: Sample, texts: Sequence[TextLine], least_iou: float = 0.5) -> list[str]:
    """What is wrong with a sample of the text view, given every true line of its frame; empty where all is right."""
    question, answer = sample.turns[0], sample.turns[-1]
    faults = form_faults(sample) + [f for turn in sample.turns for f in _box_faults(turn, sample)]
    if faults:
        return faults
    if question.boxes:
        return _read_faults(question.boxes[0], answer, texts, least_iou)
    if "<box>" in answer.text:
        return _locate_faults(question, answer.boxes, texts, least_iou)
    missing = [line.text for line in texts if normalised(line.text) and not occurs(answer.text, line.text)]
    return [f"not transcribed: {text!r}" for text in missing]


def _box_faults(turn: Turn, sample: Sample) -> list[str]:
    """Every `<box>` has its box, and every box lies in the frame."""
    faults = []
    places = turn.text.count("<box>")
    if places not in (0, len(turn.boxes)) or (turn.role is Role.USER and places != len(turn.boxes)):
        faults.append(f"{places} placeholders for {len(turn.boxes)} boxes: {turn.text!r}")
    width, height = sample.media.width_px, sample.media.height_px
    outside = [b for b in turn.boxes if b.area_px <= 0 or b.clipped(width, height) != b]
    return faults + [f"{box} in a frame of {width} x {height}" for box in outside]


def _read_faults(box: Box, answer: Turn, texts: Sequence[TextLine], least_iou: float) -> list[str]:
    inside = [line for line in texts if line.box.iou(box) >= least_iou]
    wrong = [line.text for line in inside if normalised(line.text) and not occurs(answer.text, line.text)]
    if not inside:
        return [f"no text lies at {box}"]
    return [f"{text!r} is at {box}, answered {answer.text!r}" for text in wrong]


def _locate_faults(question: Turn, boxes: Sequence[Box], texts: Sequence[TextLine], least_iou: float) -> list[str]:
    quoted = question.text[question.text.find('"') + 1 : question.text.rfind('"')]
    places = [line.box for line in texts if occurs(line.text, quoted)]
    if len(places) != 1:
        return [f"{quoted!r} occurs {len(places)} times"]
    return [] if places[0].iou(boxes[0]) >= least_iou else [f"{quoted!r} is at {places[0]}, answered {boxes[0]}"]
