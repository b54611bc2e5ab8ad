"""Detected things followed through a clip by SAM 2 (Ravi et al. 2024), and which of its tubes another tracker confirms.

Of the frames in which things were detected, the one with the surest boxes is the prompt. From it the clip is walked to
its end and, as a film that runs backwards, to its beginning; a mask's box counts where SAM 2 says that the thing is
there. Pictures and prompts are prepared here, as SAM 2's own processor does it, which needs torchvision: this does not.
Without weights there are the motion tubes of `tubes`; `agreements` says which tubes of both are of one thing.

    Track("transformers:facebook/sam2.1-hiera-tiny")
    gives  tracks (Tube(phrase="a dog", 120 boxes, method="model", ...),), tracks_note="dropped unsure: 1"
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from reelmill.annotators.annotator import Resources, each_row
from reelmill.annotators.cutting.shown import jpeg
from reelmill.annotators.decode.frames import Frame, Rgb, watch
from reelmill.annotators.decode.local import local_path
from reelmill.annotators.decode.with_child import WithChild
from reelmill.annotators.detect import DETECTIONS
from reelmill.annotators.engines.checkpoints import device, loaded, told
from reelmill.annotators.engines.in_process import RunsCheckpoint
from reelmill.annotators.shown import MEDIA, decoded
from reelmill.annotators.tubes import NUM_FRAMES, TUBES
from reelmill.schemas import arrow
from reelmill.schemas.column import KEY, Column
from reelmill.schemas.detection import Detection
from reelmill.schemas.keys import child_key, micros
from reelmill.schemas.media import DecodeStatus, MediaRef
from reelmill.schemas.span import Span
from reelmill.schemas.tube import Agreement, Box, Tube, viou

TRACKS = Column.of("tracks", tuple[Tube, ...])
TRACKS_NOTE = Column.of("tracks_note", str)
TRACK_MODEL = Column.of("track_model", str)
SEEN_S = Column.of("track_seen_s", tuple[float, ...])
TRACK_DECODE = Column.of("track_decode", DecodeStatus)
AGREED = Column.of("tracks_agreed", tuple[Agreement, ...])

METHOD = "model"
AGREE_VIOU = 0.5

_WALL_S = 600.0
_QUALITY = 95
_MEAN, _SPREAD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # ImageNet's, as all of SAM 2 was trained
_BOX_LABELS = (2, 3)  # what the prompt encoder calls the two corners of a box
_SPECK = 0.1  # parts of a mask under this share of its largest one are specks
_DIGITS = 2


@dataclass(frozen=True, slots=True)
class TrackRules:
    """Frames of `short_side_px` are seen, at most `most_frames` of a clip, evenly taken. Of a prompt frame the
    `most_things` surest boxes are followed. A box counts where SAM 2's presence is at least `least_presence`; a tube
    where it has `least_boxes` boxes, their mean presence is at least `least_mean`, and no surer one is the same thing
    (vIoU over `same_viou`)."""

    short_side_px: int = 576
    most_frames: int = 1800
    most_things: int = 8
    least_presence: float = 0.5
    least_boxes: int = 3
    least_mean: float = 0.7
    same_viou: float = 0.8


@dataclass(frozen=True, slots=True)
class Seen:
    """The frames that a clip is followed through, as JPEGs with their times; sizes as shown."""

    at_s: tuple[float, ...]
    end_s: float
    jpegs: tuple[bytes, ...]
    width_px: int
    height_px: int
    decode: DecodeStatus


@dataclass(frozen=True, slots=True)
class Masked:
    """One thing in one frame: its box in fractions of the frame, None where no mask is left, and SAM 2's presence."""

    box: tuple[float, float, float, float] | None
    presence: float


@dataclass(frozen=True)
class Track(WithChild, RunsCheckpoint):
    """Adds tubes of detected things, in shown pixels, and the times of every frame that was looked at."""

    rules: TrackRules = field(default_factory=TrackRules)
    needs: ClassVar[tuple[Column, ...]] = (KEY, MEDIA, NUM_FRAMES, DETECTIONS)
    gives: ClassVar[tuple[Column, ...]] = (TRACKS, TRACK_MODEL, TRACKS_NOTE, SEEN_S, TRACK_DECODE)
    ability: ClassVar[str] = "track"
    observed: ClassVar[str] = "every frame, thinned in long clips"
    revision: ClassVar[str] = "1"
    resources: ClassVar[Resources] = Resources(rows_per_commit=4)

    def setup(self) -> None:
        """Load the checkpoint. Raises NotFound and BadInput as `loaded` does."""
        super().setup()
        object.__setattr__(self, "_sam", Sam2(self.checkpoint, self.model_revision))

    def _row(self, row: dict[str, Any]) -> dict[str, Any]:
        sam, media = cast(Sam2, self.__dict__["_sam"]), arrow.typed(MediaRef, row["media"])
        prompts = prompted([arrow.typed(Detection, d) for d in row["detections"]], self.rules.most_things)
        seen = self.child.call(
            f"{__name__}:frames_of",
            local_path(media.uri, media.digest),
            media.span,
            row["num_frames"],
            prompts[0].frame if prompts else None,
            self.rules,
            wall_s=_WALL_S,
        )
        tubes, note = followed(sam, row["key"], seen, prompts, self.rules)
        return {
            "tracks": tubes,
            "track_model": sam.told,
            "tracks_note": note,
            "track_seen_s": seen.at_s,
            "track_decode": seen.decode,
        }


def prompted(detections: Sequence[Detection], most: int) -> list[Detection]:
    """The surest detections of the frame whose scores sum highest, of equal ones the earliest."""
    by_frame: dict[int, list[Detection]] = {}
    for one in detections:
        by_frame.setdefault(one.frame, []).append(one)
    if not by_frame:
        return []
    surest = {f: sorted(ds, key=lambda d: (-d.score, d.phrase, d.box.x0_px))[:most] for f, ds in by_frame.items()}
    return surest[max(surest, key=lambda f: (sum(d.score for d in surest[f]), -f))]


def followed(
    sam: Sam2, key: str, seen: Seen, prompts: Sequence[Detection], rules: TrackRules
) -> tuple[tuple[Tube, ...], str]:
    """Tubes of the prompts through the frames seen, and a note on what was dropped and why."""
    if not prompts:
        return (), "no detections"
    first = int(np.argmin([abs(t - prompts[0].at_s) for t in seen.at_s]))
    corners = [_fractions(p) for p in prompts]
    onward = list(sam.walk((decoded(j) for j in seen.jpegs[first:]), corners))
    back = list(sam.walk((decoded(j) for j in seen.jpegs[first::-1]), corners))
    frames = [*reversed(back[1:]), *onward]
    tubes: list[Tube] = []
    dropped = Counter[str]()
    for i, prompt in enumerate(prompts):
        tube = tube_of(key, prompt, [frame[i] for frame in frames], seen, rules)
        if isinstance(tube, str):
            dropped[tube] += 1
        elif any(viou(tube, surer) > rules.same_viou for surer in tubes):
            dropped["same_thing"] += 1
        else:
            tubes.append(tube)
    return tuple(tubes), ", ".join(f"dropped {reason}: {n}" for reason, n in sorted(dropped.items()))


def _fractions(prompt: Detection) -> tuple[float, float, float, float]:
    """A detection's corners as fractions: stored and seen frames are of different sizes."""
    box, width, height = prompt.box, prompt.frame_width_px, prompt.frame_height_px
    return box.x0_px / width, box.y0_px / height, box.x1_px / width, box.y1_px / height


def tube_of(key: str, prompt: Detection, masked: Sequence[Masked], seen: Seen, rules: TrackRules) -> Tube | str:
    """The tube of one thing, or why there is none: too_few_boxes, unsure."""
    places = [i for i, m in enumerate(masked) if m.box is not None and m.presence >= rules.least_presence]
    if len(places) < rules.least_boxes:
        return "too_few_boxes"
    mean = float(np.mean([masked[i].presence for i in places]))
    if mean < rules.least_mean:
        return "unsure"
    edges = [*seen.at_s, seen.end_s]
    boxes = tuple(_shown(cast(Any, masked[i].box), seen) for i in places)
    first = boxes[0]
    return Tube(
        tube_id=child_key(
            key, "track", prompt.phrase, micros(edges[places[0]]), round(first.x0_px), round(first.y0_px)
        ),
        phrase=prompt.phrase,
        at_s=tuple(edges[i] for i in places),
        boxes=boxes,
        frame_width_px=seen.width_px,
        frame_height_px=seen.height_px,
        end_s=edges[places[-1] + 1],
        confidence=round(prompt.score * mean, 4),
        method=METHOD,
    )


def _shown(box: tuple[float, float, float, float], seen: Seen) -> Box:
    sides = (seen.width_px, seen.height_px, seen.width_px, seen.height_px)
    return Box(*(round(v * side, _DIGITS) for v, side in zip(box, sides, strict=True)))


# ---- in the isolated child -------------------------------------------------------------------------------------------


def frames_of(path: str, span: Span | None, num_frames: int, prompt: int | None, rules: TrackRules) -> Seen:
    """Frames of a span as JPEGs, the prompt's among them. Runs in the child. Raises Unusable as `watch` does."""
    eyes = _Eyes(wanted_frames(num_frames, prompt, rules.most_frames), rules.short_side_px)
    seen = watch(path, span, [eyes], expected=num_frames)
    return Seen(tuple(eyes.at_s), seen.duration_s, tuple(eyes.jpegs), seen.width_px, seen.height_px, seen.status)


def wanted_frames(num_frames: int, prompt: int | None, most: int) -> frozenset[int] | None:
    """Numbers of the frames to follow through; None for all."""
    if num_frames <= most:
        return None
    even = np.linspace(0, num_frames - 1, most).round().astype(int).tolist()
    return frozenset(even) | ({prompt} if prompt is not None else frozenset())


class _Eyes:
    """Consumer of a decode: keeps small JPEGs of the frames that are wanted, since pixels of a minute would not fit."""

    def __init__(self, wanted: frozenset[int] | None, short_side_px: int) -> None:
        self.wanted, self.short_side_px = wanted, short_side_px
        self.at_s: list[float] = []
        self.jpegs: list[bytes] = []

    def see(self, frame: Frame) -> None:
        if self.wanted is None or frame.index in self.wanted:
            self.at_s.append(frame.at_s)
            self.jpegs.append(jpeg(frame.rgb(self.short_side_px), _QUALITY, full_colour=True))

    def done(self) -> None:
        """Nothing to hand over: `frames_of` reads the frames itself."""


# ---- the model -------------------------------------------------------------------------------------------------------


class Sam2:
    """A SAM 2 video checkpoint, one frame at a time: memory does not grow with the length of a clip."""

    def __init__(self, model: str, revision: str) -> None:
        from transformers import Sam2VideoModel

        self.device = device()
        self.net = loaded(Sam2VideoModel.from_pretrained, model, revision).to(self.device).eval()
        self.side = int(self.net.config.image_size)
        self.kept = max(self.net.config.num_maskmem, self.net.config.max_object_pointers_in_encoder)
        self.told = told(model, revision, self.net.config)

    def walk(
        self, frames: Iterable[Rgb], corners: Sequence[tuple[float, float, float, float]]
    ) -> Iterator[list[Masked]]:
        """Follow things, boxed in the first frame (x0, y0, x1, y1 as fractions), through the frames as they come."""
        import torch
        from transformers.models.sam2_video.modeling_sam2_video import Sam2VideoInferenceSession

        session = Sam2VideoInferenceSession(
            video_height=self.side, video_width=self.side, inference_device=self.device, dtype=self.net.dtype
        )
        for thing, box in enumerate(corners):
            session.add_point_inputs(session.obj_id_to_idx(thing), 0, self._prompt(box))
        session.obj_with_new_inputs = list(range(len(corners)))
        for number, rgb in enumerate(frames):
            with torch.inference_mode():
                out = self.net(session, frame=self._pixels(rgb), frame_idx=number)
            yield self._masked(out)
            self._forget(session, number)

    def _prompt(self, box: tuple[float, float, float, float]) -> dict[str, Any]:
        """The corners of a box as two points with labels of their own, in pixels of the model's square."""
        import torch

        points = torch.tensor(box, dtype=torch.float32).mul(self.side).reshape(1, 1, 2, 2)
        return {"point_coords": points, "point_labels": torch.tensor([[_BOX_LABELS]], dtype=torch.int32)}

    def _pixels(self, rgb: Rgb) -> Any:
        """A frame as the model's square, float [3, side, side]; aspect is not kept, as in SAM 2's own transform."""
        import torch

        picture = torch.from_numpy(rgb.copy()).to(self.device).permute(2, 0, 1)[None].float() / 255
        square = torch.nn.functional.interpolate(
            picture, (self.side, self.side), mode="bilinear", align_corners=False, antialias=True
        )
        mean, spread = (torch.tensor(v, device=self.device).reshape(3, 1, 1) for v in (_MEAN, _SPREAD))
        return ((square[0] - mean) / spread).to(self.net.dtype)

    def _masked(self, out: Any) -> list[Masked]:
        import torch

        masks = torch.nn.functional.interpolate(
            out.pred_masks.float().reshape(-1, 1, *out.pred_masks.shape[-2:]),
            (self.side, self.side),
            mode="bilinear",
            align_corners=False,
        )
        presence = out.object_score_logits.float().sigmoid().reshape(-1).tolist()
        inside = (masks[:, 0] > 0).cpu().numpy()
        return [Masked(box_of(mask), round(p, 6)) for mask, p in zip(inside, presence, strict=True)]

    def _forget(self, session: Any, number: int) -> None:
        """Let go of what no later frame looks back to; the prompt frame is kept."""
        session.processed_frames.pop(number, None)
        for outputs in session.output_dict_per_obj.values():
            outputs["non_cond_frame_outputs"].pop(number - self.kept, None)


def box_of(mask: npt.NDArray[np.bool_]) -> tuple[float, float, float, float] | None:
    """Box around a mask [height, width] in fractions of its sides, without specks; None where it is empty."""
    import cv2

    count, _, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    if count < 2:
        return None
    parts = stats[1:]
    parts = parts[parts[:, cv2.CC_STAT_AREA] >= _SPECK * parts[:, cv2.CC_STAT_AREA].max()]
    x0, y0 = parts[:, cv2.CC_STAT_LEFT], parts[:, cv2.CC_STAT_TOP]
    x1, y1 = x0 + parts[:, cv2.CC_STAT_WIDTH], y0 + parts[:, cv2.CC_STAT_HEIGHT]
    height, width = mask.shape
    return float(x0.min() / width), float(y0.min() / height), float(x1.max() / width), float(y1.max() / height)


# ---- two trackers ----------------------------------------------------------------------------------------------------


def agreements(
    tubes: Sequence[Tube], others: Sequence[Tube], seen_s: Sequence[float], least: float = AGREE_VIOU
) -> tuple[Agreement, ...]:
    """Pairs of tubes, each in one pair at most, that two trackers agree on: vIoU of at least `least`, best pairs first.

    Frames that only the second tracker looked at are left out; `seen_s` are those of the first.
    """
    times = {micros(t) for t in seen_s}
    pairs = [
        (viou(tube, part), tube.tube_id, part.tube_id)
        for other in others
        if (part := at_times(other, times)) is not None
        for tube in tubes
    ]
    taken: set[str] = set()
    agreed = []
    for share, one, two in sorted(pairs, key=lambda p: (-p[0], p[1], p[2])):
        if share >= least and one not in taken and two not in taken:
            taken |= {one, two}
            agreed.append(Agreement(one, two, round(share, 4)))
    return tuple(agreed)


def at_times(tube: Tube, times: set[int]) -> Tube | None:
    """A tube's boxes at some times (in microseconds); None where it has none there."""
    kept = [i for i, t in enumerate(tube.at_s) if micros(t) in times]
    if not kept:
        return None
    return replace(tube, at_s=tuple(tube.at_s[i] for i in kept), boxes=tuple(tube.boxes[i] for i in kept))


@dataclass(frozen=True)
class CompareTracks:
    """Adds which of a clip's tracks are also motion tubes: two trackers that know nothing of each other."""

    least_viou: float = AGREE_VIOU
    needs: ClassVar[tuple[Column, ...]] = (KEY, TRACKS, TUBES, SEEN_S)
    gives: ClassVar[tuple[Column, ...]] = (AGREED,)
    revision: ClassVar[str] = "1"
    resources: ClassVar[Resources] = Resources(rows_per_commit=64)

    def setup(self) -> None: ...

    def __call__(self, batch: pa.Table) -> pa.Table:
        return each_row(self, batch, self._row)

    def _row(self, row: dict[str, Any]) -> dict[str, Any]:
        tracks, tubes = (arrow.typed(tuple[Tube, ...], row[name]) for name in ("tracks", "tubes"))
        return {"tracks_agreed": agreements(tracks, tubes, row["track_seen_s"], self.least_viou)}
