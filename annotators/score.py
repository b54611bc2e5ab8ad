"""Scores of a clip or picture: motion, sharpness, light, share of text, looks by a head of yours, a safety check of
yours. They say and judge nothing: views filter by them.

What nobody looked at is None. Without a head there is no aesthetic score, and without a check nothing is "safe".

    Score(head="sac_logos_ava1.safetensors", safety="my.package:nsfw")
    gives  scores ClipScores(motion=0.03, sharpness=412.0, text_share=0.12, aesthetic=5.4, ...)
           safety (FrameMark(0, 0.0, "safe", 0.98), ...)
"""

from __future__ import annotations

import hashlib
import importlib
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from reelmill.annotators.annotator import Resources, each_row
from reelmill.annotators.embed import CLIP_EMBEDDING, EMBEDDING_MODEL, FRAME_EMBEDDINGS
from reelmill.annotators.shown import FRAMES, JPEGS, MEDIA
from reelmill.annotators.text import READ, TEXTS
from reelmill.schemas import arrow
from reelmill.schemas.clip import ClipStats
from reelmill.schemas.column import KEY, Column
from reelmill.schemas.embedding import FrameEmbedding
from reelmill.schemas.errors import BadInput, NotFound, SchemaBroken
from reelmill.schemas.media import Kind, MediaRef, ShownFrame
from reelmill.schemas.scores import ClipScores, FrameMark
from reelmill.schemas.text import TextLine
from reelmill.schemas.tube import Box

STATS = Column.of("stats", ClipStats | None)
SCORES = Column.of("scores", ClipScores)
SAFETY = Column.of("safety", tuple[FrameMark, ...] | None)
SCORED_BY = Column.of("scored_by", tuple[str, ...])

Floats = npt.NDArray[np.float64]
Check = Callable[[bytes], tuple[str, float]]
_DIGITS = 6


@dataclass(frozen=True)
class Score:
    """`head` is a safetensors file: linear layers over the embeddings that `Embed` made, LAION's aesthetic predictors
    among them. `safety` is `package.module:function`, called with each shown frame's JPEG; it gives a label and a
    score.

    Files and functions are named on this machine; what is identity is the head's digest, and the check's name with the
    revision that you say.
    """

    head: str = field(default="", compare=False, metadata={"identity": False})
    head_digest: str = ""
    safety: str = ""
    safety_revision: str = ""
    gives: ClassVar[tuple[Column, ...]] = (SCORES, SAFETY, SCORED_BY)
    observed: ClassVar[str] = "shown frames"
    revision: ClassVar[str] = "1"
    resources: ClassVar[Resources] = Resources(rows_per_commit=64)

    def __post_init__(self) -> None:
        if self.head:
            object.__setattr__(self, "head_digest", self.head_digest or _digest(Path(self.head)))

    @property
    def needs(self) -> tuple[Column, ...]:
        embeddings = (FRAME_EMBEDDINGS, CLIP_EMBEDDING, EMBEDDING_MODEL) if self.head else ()
        return (KEY, MEDIA, STATS, FRAMES, TEXTS, READ, *embeddings, *((JPEGS,) if self.safety else ()))

    @property
    def method(self) -> str:
        return "model" if self.head or self.safety else "rules"

    def setup(self) -> None:
        """Raises NotFound and BadInput where the head or the check is not there, or is none."""
        object.__setattr__(self, "_head", Head.read(Path(self.head)) if self.head else None)
        object.__setattr__(self, "_check", found_check(self.safety) if self.safety else None)

    def __call__(self, batch: pa.Table) -> pa.Table:
        return each_row(self, batch, self._row)

    def _row(self, row: dict[str, Any]) -> dict[str, Any]:
        media = arrow.typed(MediaRef, row["media"])
        stats: ClipStats | None = arrow.typed(ClipStats | None, row["stats"])
        mean, most = text_shares(
            arrow.typed(tuple[ShownFrame, ...], row["frames"]),
            arrow.typed(tuple[TextLine, ...], row["texts"]),
            row["text_frames"],
            media.duration_s,
        )
        scores = ClipScores(
            motion=stats.motion if stats is not None and media.kind is Kind.VIDEO else None,
            sharpness=stats.sharpness if stats is not None else None,
            luma=stats.luma if stats is not None else None,
            contrast=stats.luma_spread if stats is not None else None,
            text_share=mean,
            text_share_most=most,
            aesthetic=self._aesthetic(row),
        )
        return {"scores": scores, "safety": self._marks(row), "scored_by": self._by(row)}

    def _aesthetic(self, row: dict[str, Any]) -> float | None:
        head: Head | None = self.__dict__["_head"]
        if head is None:
            return None
        frames = arrow.typed(tuple[FrameEmbedding, ...], row["frame_embeddings"])
        return round(float(head(np.array([f.vector for f in frames], np.float64)).mean()), _DIGITS)

    def _marks(self, row: dict[str, Any]) -> tuple[FrameMark, ...] | None:
        check: Check | None = self.__dict__["_check"]
        if check is None:
            return None
        frames = zip(row["frames"], row["jpegs"], strict=True)
        return tuple(FrameMark(f["frame"], f["at_s"], *_mark(self.safety, check(jpeg))) for f, jpeg in frames)

    def _by(self, row: dict[str, Any]) -> tuple[str, ...]:
        """What stands behind the scores that are not rules."""
        head = (f"aesthetic: head {self.head_digest[:16]} over {row['embedding_model']}",) if self.head else ()
        check = (f"safety: {self.safety}@{self.safety_revision or 'unknown revision'}",) if self.safety else ()
        return head + check


# ---- text ------------------------------------------------------------------------------------------------------------


def text_shares(
    frames: Sequence[ShownFrame], lines: Sequence[TextLine], read: Sequence[int], duration_s: float
) -> tuple[float | None, float | None]:
    """Share of the frame under text: mean by time, and of the fullest frame; None where no frame was read.

    `read` are the numbers of the frames that were read; one stands until the next, since frames between do not differ.
    """
    sizes = {f.frame: f for f in frames}
    looked = [sizes[number] for number in sorted(read)]
    if not looked:
        return None, None
    shares = [
        union_px([x.box for x in lines if x.frame == f.frame], f.width_px, f.height_px) / (f.width_px * f.height_px)
        for f in looked
    ]
    lasts_s = np.diff([0.0, *(f.at_s for f in looked[1:]), max(duration_s, looked[-1].at_s)])
    mean = float(np.average(shares, weights=lasts_s)) if lasts_s.sum() > 0 else float(np.mean(shares))
    return round(mean, _DIGITS), round(max(shares), _DIGITS)


def union_px(boxes: Sequence[Box], width_px: int, height_px: int) -> float:
    """Pixels of a frame under at least one box. Exact: every cell of the grid that their edges draw is in or out."""
    corners = np.array([(b.x0_px, b.y0_px, b.x1_px, b.y1_px) for b in boxes], np.float64).reshape(-1, 4)
    x0, y0, x1, y1 = np.clip(corners, 0, [width_px, height_px] * 2).T
    across, down = (np.unique(np.concatenate(pair)) for pair in ((x0, x1), (y0, y1)))
    in_x = (x0[:, None] <= across[None, :-1]) & (x1[:, None] >= across[None, 1:])
    in_y = (y0[:, None] <= down[None, :-1]) & (y1[:, None] >= down[None, 1:])
    covered = (in_y[:, :, None] & in_x[:, None, :]).any(axis=0)
    return float(np.diff(down) @ covered.astype(np.float64) @ np.diff(across)) if len(boxes) else 0.0


# ---- looks: a head over embeddings -----------------------------------------------------------------------------------

_FLOATS = {"F64": np.float64, "F32": np.float32, "F16": np.float16}
_HEADER_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Head:
    """`weight` float64 [d], `bias`: layers without anything between them are one linear map (Schuhmann 2022, "improved
    aesthetic predictor": five linear layers over the unit vectors of CLIP ViT-L/14, no activation)."""

    weight: Floats
    bias: float

    @classmethod
    def read(cls, path: Path) -> Head:
        """From `weight`, `bias`, or `NAME.0.weight`, `NAME.2.weight` .. in order. Raises NotFound and BadInput."""
        tensors = read_tensors(path)
        names = sorted((n for n in tensors if n.split(".")[-1] == "weight"), key=_number)
        weight, bias = None, np.zeros(1)
        for name in names:
            layer = np.atleast_2d(tensors[name])
            if weight is not None and layer.shape[1] != weight.shape[0]:
                raise _no_head(path, f"{name} takes {layer.shape[1]} numbers, the layer before gives {weight.shape[0]}")
            own = tensors.get(f"{name.removesuffix('weight')}bias", np.zeros(layer.shape[0]))
            weight, bias = (layer, own) if weight is None else (layer @ weight, layer @ bias + own)
        if weight is None or weight.shape[0] != 1:
            raise _no_head(path, "no weight" if weight is None else f"{weight.shape[0]} numbers at its end, want one")
        return cls(weight[0], float(bias.reshape(-1)[0]))

    def __call__(self, vectors: Floats) -> Floats:
        """Scores float64 [n] of unit vectors [n, d]. Raises BadInput where they are of another model."""
        if vectors.shape[-1] != len(self.weight):
            seen = f"embeddings of {vectors.shape[-1]} numbers, a head over {len(self.weight)}"
            raise BadInput("aesthetic head", seen=seen, do="embed with the model that the head was trained on")
        return np.asarray(vectors @ self.weight + self.bias, np.float64)


def _number(name: str) -> tuple[tuple[int, str], ...]:
    """`layers.10.weight` after `layers.2.weight`."""
    return tuple((int(p), "") if p.isdigit() else (-1, p) for p in re.split(r"\.", name))


def read_tensors(path: Path) -> dict[str, Floats]:
    """Tensors of a safetensors file as float64: a header of JSON after its length in 8 bytes, then the numbers.

    Raises NotFound, and BadInput for another format or for tensors of other kinds than F64, F32 and F16.
    """
    if not path.is_file():
        raise NotFound(f"aesthetic head {path}", do="give a safetensors file")
    data = path.read_bytes()
    size = int.from_bytes(data[:8], "little")
    try:
        if not 0 < size <= min(_HEADER_BYTES, len(data) - 8):
            raise ValueError(f"a header of {size} bytes")
        header = json.loads(data[8 : 8 + size])
        return {name: _tensor(told, data[8 + size :]) for name, told in header.items() if name != "__metadata__"}
    except (ValueError, KeyError, TypeError) as error:
        raise _no_head(path, f"{type(error).__name__} {error}") from error


def _tensor(told: dict[str, Any], data: bytes) -> Floats:
    first, end = told["data_offsets"]
    numbers = np.frombuffer(data[first:end], np.dtype(_FLOATS[told["dtype"]]).newbyteorder("<"))
    return numbers.reshape(told["shape"]).astype(np.float64)


def _no_head(path: Path, seen: str) -> BadInput:
    do = "give linear layers with one number at the end, as safetensors in F64, F32 or F16"
    return BadInput(f"aesthetic head {path.name}", seen=seen, do=do)


def _digest(path: Path) -> str:
    if not path.is_file():
        raise NotFound(f"aesthetic head {path}", do="give a safetensors file")
    return hashlib.sha256(path.read_bytes()).hexdigest()


# ---- safety: a check of the user's -----------------------------------------------------------------------------------


def found_check(path: str) -> Check:
    """The function that `package.module:function` names. Raises BadInput where it cannot be imported or called."""
    module, _, name = path.partition(":")
    try:
        check: Check = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise BadInput(f"safety check {path!r}", seen=str(error), do="give package.module:function") from error
    if not callable(check):
        raise BadInput(f"safety check {path!r}", seen="no function", do="give package.module:function")
    return check


def _mark(check: str, said: Any) -> tuple[str, float]:
    """Label and score as the check gave them. Raises SchemaBroken where it gave anything else: no answer is no mark."""
    if isinstance(said, tuple) and len(said) == 2:
        label, score = said
        if isinstance(label, str) and label and isinstance(score, int | float) and np.isfinite(score):
            return label, float(score)
    raise SchemaBroken(f"safety check {check}", seen=repr(said)[:100], do="return (label, score)")
