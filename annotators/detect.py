"""Things named by phrases, found in shown frames by an open-vocabulary detector through transformers.

Grounding DINO (Liu et al. 2023), OWLv2 (Minderer et al. 2023) and what else AutoModelForZeroShotObjectDetection loads.
Without weights there is no such detector: what can be said then is which things *move*, in `tubes`. One picture is
asked about at a time, with all phrases.

    Detect("transformers:IDEA-Research/grounding-dino-tiny", phrases=("a dog", "a red ball"))
    gives  detections (Detection("a dog", Box(31.0, 80.5, 122.0, 199.0), 0.71, frame=12, at_s=0.48, ...),)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, cast

import pyarrow as pa

from reelmill.annotators.annotator import Resources, each_row
from reelmill.annotators.engines.checkpoints import device, loaded, told
from reelmill.annotators.engines.in_process import RunsCheckpoint
from reelmill.annotators.shown import FRAMES, JPEGS, Rgb, decoded, evenly
from reelmill.schemas import arrow
from reelmill.schemas.column import KEY, Column
from reelmill.schemas.detection import Detection
from reelmill.schemas.errors import BadInput
from reelmill.schemas.media import ShownFrame
from reelmill.schemas.tube import Box

DETECTIONS = Column.of("detections", tuple[Detection, ...])
DETECT_MODEL = Column.of("detect_model", str)
LOOKED_AT = Column.of("detect_frames", tuple[int, ...])

METHOD = "model"
_DIGITS = 2


@dataclass(frozen=True, slots=True)
class Found:
    """One box of one picture in its own pixels."""

    phrase: str
    box: Box
    score: float


@dataclass(frozen=True)
class Detect(RunsCheckpoint):
    """Looks for `phrases`, and for those of the text list column `phrases_column` where one is named.

    At most `most_frames` of a clip's shown frames are looked at, evenly taken. Kept are boxes of at least
    `least_score`, of those that overlap over `same_iou` for one phrase the surest, and of a frame the `most_per_frame`
    surest. A good `least_score` differs between models: for Grounding DINO about 0.3, for OWLv2 0.1 to 0.2.
    """

    phrases: tuple[str, ...] = ()
    phrases_column: str = ""
    least_score: float = 0.3
    same_iou: float = 0.7
    most_frames: int = 8
    most_per_frame: int = 20
    gives: ClassVar[tuple[Column, ...]] = (DETECTIONS, DETECT_MODEL, LOOKED_AT)
    ability: ClassVar[str] = "detect"
    observed: ClassVar[str] = "shown frames"
    revision: ClassVar[str] = "1"
    resources: ClassVar[Resources] = Resources(rows_per_commit=16)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_phrases(self.phrases)

    @property
    def needs(self) -> tuple[Column, ...]:
        asked = (Column.of(self.phrases_column, tuple[str, ...]),) if self.phrases_column else ()
        return (KEY, FRAMES, JPEGS, *asked)

    def setup(self) -> None:
        """Load the checkpoint. Raises NotFound and BadInput as `loaded` does."""
        object.__setattr__(self, "_detector", Detector(self.checkpoint, self.model_revision))

    def __call__(self, batch: pa.Table) -> pa.Table:
        return each_row(self, batch, self._row)

    def _row(self, row: dict[str, Any]) -> dict[str, Any]:
        detector = cast(Detector, self.__dict__["_detector"])
        frames = [arrow.typed(ShownFrame, f) for f in row["frames"]]
        phrases = self._phrases(row)
        chosen = evenly(len(frames), self.most_frames) if phrases else ()
        found: list[Detection] = []
        for i in chosen:
            boxes = detector.find(decoded(row["jpegs"][i]), phrases, self.least_score)
            found += _placed(distinct(boxes, self.same_iou)[: self.most_per_frame], frames[i])
        looked_at = tuple(frames[i].frame for i in chosen)
        return {"detections": tuple(found), "detect_model": detector.told, "detect_frames": looked_at}

    def _phrases(self, row: dict[str, Any]) -> tuple[str, ...]:
        own = row[self.phrases_column] if self.phrases_column else ()
        return tuple(dict.fromkeys((*self.phrases, *(p for p in own if p.strip() and "." not in p))))


def check_phrases(phrases: Sequence[str]) -> None:
    """Raises BadInput on an empty phrase and one with a full stop, which parts phrases in Grounding DINO's prompt."""
    for phrase in phrases:
        if not phrase.strip() or "." in phrase:
            raise BadInput(f"phrase {phrase!r}", seen="nothing to look for, or a full stop", do="name one thing")


def distinct(found: Sequence[Found], same_iou: float) -> list[Found]:
    """Surest first, without those that overlap a surer one of the same phrase (greedy non-maximum suppression)."""
    kept: list[Found] = []
    for one in sorted(found, key=lambda f: (-f.score, f.phrase, f.box.x0_px, f.box.y0_px)):
        if not any(k.phrase == one.phrase and k.box.iou(one.box) > same_iou for k in kept):
            kept.append(one)
    return kept


def _placed(found: Sequence[Found], frame: ShownFrame) -> list[Detection]:
    size = (frame.width_px, frame.height_px)
    return [Detection(f.phrase, f.box, f.score, frame.frame, frame.at_s, *size, METHOD) for f in found]


class Detector:
    """A zero-shot detection checkpoint. Grounding DINO scores words, from which its phrases are scored here: its own
    post-processing names a box by whichever words passed, which need not be a phrase that was asked for."""

    def __init__(self, model: str, revision: str) -> None:
        from transformers import AutoModelForZeroShotObjectDetection, AutoProcessor

        self.device = device()
        self.processor = loaded(AutoProcessor.from_pretrained, model, revision)
        load = AutoModelForZeroShotObjectDetection.from_pretrained
        self.net = loaded(load, model, revision).to(self.device).eval()
        self.told = told(model, revision, self.net.config)
        self.by_words = "grounding-dino" in self.net.config.model_type

    def find(self, rgb: Rgb, phrases: Sequence[str], least_score: float) -> list[Found]:
        """Boxes of one picture, clipped to it. Raises BadInput for more phrases than the model takes."""
        import torch

        height, width = rgb.shape[:2]
        asked = [list(phrases)]
        inputs = self.processor(images=rgb, text=asked, return_tensors="pt", **self._limits())
        inputs = inputs.to(self.device)
        with torch.inference_mode():
            outputs = self.net(**inputs)
        if self.by_words:
            boxes, scores, which = self._by_words(outputs, inputs["input_ids"][0].tolist(), (width, height))
        else:
            boxes, scores, which = self._by_phrases(outputs, asked, (width, height))
        return [
            Found(phrases[i], box, round(score, 4))
            for corners, score, i in zip(boxes, scores, which, strict=True)
            if score >= least_score and (box := _box(corners, width, height)).area_px > 0
        ]

    def _limits(self) -> dict[str, Any]:
        return {} if self.by_words else {"truncation": True}

    def _by_phrases(
        self, outputs: Any, asked: list[list[str]], size: tuple[int, int]
    ) -> tuple[list[list[float]], list[float], list[int]]:
        process = self.processor.post_process_grounded_object_detection
        (answer,) = process(outputs, threshold=0.0, target_sizes=[size[::-1]], text_labels=asked)
        return answer["boxes"].tolist(), answer["scores"].tolist(), answer["labels"].tolist()

    def _by_words(
        self, outputs: Any, words: list[int], size: tuple[int, int]
    ) -> tuple[list[list[float]], list[float], list[int]]:
        """A phrase's score is that of its surest word; a box belongs to its surest phrase."""
        import torch

        places = phrase_places(words, self.processor.tokenizer)
        if len(words) > self.net.config.max_text_len:
            seen = f"{len(words)} tokens, at most {self.net.config.max_text_len}"
            raise BadInput("phrases for Grounding DINO", seen=seen, do="ask for fewer at once")
        chances = outputs.logits[0].sigmoid()
        scores, which = torch.stack([chances[:, a:b].max(-1).values for a, b in places], 1).max(1)
        centre, sides = outputs.pred_boxes[0].split(2, -1)
        scale = torch.tensor([*size, *size], device=centre.device)
        boxes = torch.cat([centre - sides / 2, centre + sides / 2], -1) * scale
        return boxes.tolist(), scores.tolist(), which.tolist()


def phrase_places(words: Sequence[int], tokenizer: Any) -> list[tuple[int, int]]:
    """[first, stop) of each phrase's tokens in a prompt of phrases that end with full stops."""
    stop, special = tokenizer.convert_tokens_to_ids("."), set(tokenizer.all_special_ids)
    unknown = tokenizer.unk_token_id
    places: list[tuple[int, int]] = []
    first: int | None = None
    for i, word in enumerate(words):
        if word == stop and first is not None:
            places.append((first, i))
            first = None
        elif first is None and word != stop and (word not in special or word == unknown):
            first = i
    return places


def _box(corners: Sequence[float], width: int, height: int) -> Box:
    """Corners cut to the picture, to a hundredth of a pixel."""
    limits = (width, height, width, height)
    x0, y0, x1, y1 = (round(min(max(v, 0.0), float(m)), _DIGITS) for v, m in zip(corners, limits, strict=True))
    return Box(x0, y0, x1, y1)
