"""Embeddings: shown frames, whole clips and texts as unit vectors whose dot product says how alike they are.

A dual encoder (CLIP, Radford et al. 2021; SigLIP, Zhai et al. 2023; SigLIP 2, Tschannen et al. 2025) puts pictures and
texts into one space. The `embedded` form is a fixed descriptor of colours and edges without weights: it tells pictures
apart by looks, knows no meaning, and takes no text.

    Embed("transformers:google/siglip2-base-patch16-224")
    gives  frame_embeddings (FrameEmbedding(0, 0.0, (0.013, ...)), ...), clip_embedding (0.011, ...)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol, cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from reelmill.annotators.annotator import Resources, each_row
from reelmill.annotators.engines import checkpoints
from reelmill.annotators.engines.engine import EngineSpec, checkpoint_of
from reelmill.annotators.shown import FRAMES, JPEGS, Rgb, decoded
from reelmill.schemas import arrow
from reelmill.schemas.column import KEY, Column
from reelmill.schemas.embedding import FrameEmbedding
from reelmill.schemas.errors import BadInput, Unusable
from reelmill.schemas.media import ShownFrame

FRAME_EMBEDDINGS = Column.of("frame_embeddings", tuple[FrameEmbedding, ...])
CLIP_EMBEDDING = Column.of("clip_embedding", tuple[arrow.Float32, ...])
EMBEDDING_MODEL = Column.of("embedding_model", str)
EMBEDDING_REVISION = Column.of("embedding_revision", str)

Vectors = npt.NDArray[np.float32]
Floats = npt.NDArray[np.float64]

DESCRIPTOR = "embedded:colours-and-edges"
DESCRIPTOR_REVISION = "1"
_TOGETHER = 8
"""Pictures of one clip that are encoded at once; never those of two, so that a row's sums are its own."""


class Encoder(Protocol):
    """Pictures and texts to float32 [n, d], each row of length 1. `texts` raises BadInput where there is no text."""

    def pictures(self, pictures: Sequence[Rgb]) -> Vectors: ...

    def texts(self, texts: Sequence[str]) -> Vectors: ...


def identity(engine: str, revision: str = "") -> tuple[str, str]:
    """Name and revision of what an engine embeds with; a folder's revision is a digest of its files.

    Raises BadInput for an engine that gives no vectors, EngineUnusable for a folder without weights.
    """
    spec = EngineSpec.parse(engine)
    if spec.kind == "embedded":
        return DESCRIPTOR, DESCRIPTOR_REVISION
    checkpoint_of(engine, "embed")
    return spec.name, revision or spec.revision


def encoder(engine: str, revision: str = "") -> Encoder:
    """The encoder behind an engine, ready. Raises NotFound where its checkpoint is not there, BadInput where it is of
    another kind.

    >>> encoder("embedded").pictures([np.zeros((8, 8, 3), np.uint8)]).shape
    (1, 320)
    """
    spec = EngineSpec.parse(engine)
    return Descriptor() if spec.kind == "embedded" else DualEncoder(spec.model, revision)


@dataclass(frozen=True)
class Embed:
    """Adds a vector for each shown frame, and for the clip: the mean of its frames', made a unit vector again.

    `engine` may hold a folder and is execution; `model` and `model_revision`, read off it, are identity.
    """

    engine: str = field(default="embedded", compare=False, metadata={"identity": False})
    model: str = ""
    model_revision: str = ""
    needs: ClassVar[tuple[Column, ...]] = (KEY, FRAMES, JPEGS)
    gives: ClassVar[tuple[Column, ...]] = (FRAME_EMBEDDINGS, CLIP_EMBEDDING, EMBEDDING_MODEL, EMBEDDING_REVISION)
    observed: ClassVar[str] = "shown frames"
    revision: ClassVar[str] = "1"
    resources: ClassVar[Resources] = Resources(rows_per_commit=16)

    def __post_init__(self) -> None:
        model, revision = identity(self.engine, self.model_revision)
        object.__setattr__(self, "model", self.model or model)
        object.__setattr__(self, "model_revision", self.model_revision or revision)

    @property
    def method(self) -> str:
        return "model" if self.in_process else "rules"

    @property
    def in_process(self) -> bool:
        """True where a checkpoint runs in the worker, which then holds what the profile gives it."""
        return self.model != DESCRIPTOR

    def setup(self) -> None:
        """Load the checkpoint. Raises NotFound and BadInput."""
        object.__setattr__(self, "_encoder", encoder(self.engine, self.model_revision))

    def __call__(self, batch: pa.Table) -> pa.Table:
        return each_row(self, batch, self._row)

    def _row(self, row: dict[str, Any]) -> dict[str, Any]:
        frames = arrow.typed(tuple[ShownFrame, ...], row["frames"])
        if not frames:
            raise Unusable("no_frames", "0 shown frames to embed")
        vectors = cast(Encoder, self.__dict__["_encoder"]).pictures([decoded(j) for j in row["jpegs"]])
        found = zip(frames, vectors, strict=True)
        return {
            "frame_embeddings": tuple(FrameEmbedding(f.frame, f.at_s, tuple(v.tolist())) for f, v in found),
            "clip_embedding": tuple(unit(vectors.mean(axis=0, dtype=np.float64)).tolist()),
            "embedding_model": self.model,
            "embedding_revision": self.model_revision,
        }


def unit(vectors: npt.NDArray[Any]) -> Vectors:
    """Vectors [..., d] brought to length 1, as float32. Raises Unusable where one has no length (or is no number)."""
    exact = np.asarray(vectors, np.float64)
    lengths = np.linalg.norm(exact, axis=-1, keepdims=True)
    if not (np.isfinite(lengths).all() and (lengths > 0).all()):
        raise Unusable("no_embedding", "a vector without a direction: its length is 0 or not a number")
    return np.asarray(exact / lengths, np.float32)


# ---- checkpoints -----------------------------------------------------------------------------------------------------


class DualEncoder:
    """A checkpoint with a picture and a text tower that end in one space, on CUDA where there is one, in float32."""

    def __init__(self, model: str, revision: str = "") -> None:
        net, self._processor, self._tokenizer = _loaded(model, revision)
        self._device = checkpoints.device()
        self._net = net.to(self._device).eval()
        self._kind = str(self._net.config.model_type)

    def pictures(self, pictures: Sequence[Rgb]) -> Vectors:
        return unit(np.concatenate([self._some(pictures[i : i + _TOGETHER]) for i in _starts(len(pictures))]))

    def _some(self, pictures: Sequence[Rgb]) -> Vectors:
        ready = self._processor(images=list(pictures), return_tensors="pt", input_data_format="channels_last")
        return self._features(self._net.get_image_features, ready)

    def texts(self, texts: Sequence[str]) -> Vectors:
        """One at a time, so that none is padded for another. What is longer than the text tower takes is cut."""
        return unit(np.concatenate([self._text(text) for text in texts]))

    def _text(self, text: str) -> Vectors:
        most = int(self._net.config.text_config.max_position_embeddings)
        # SigLIP was trained on lower-case texts, padded to its full length, without a mask over the padding.
        siglip = self._kind.startswith("siglip")
        form: dict[str, Any] = {"padding": "max_length", "return_attention_mask": False} if siglip else {}
        text = text.lower() if siglip else text
        ready = self._tokenizer([text], truncation=True, max_length=most, return_tensors="pt", **form)
        known = {name: ready[name] for name in ("input_ids", "attention_mask") if name in ready}
        return self._features(self._net.get_text_features, known)

    def _features(self, features: Any, inputs: Any) -> Vectors:
        import torch

        with torch.inference_mode():
            found = features(**{name: value.to(self._device) for name, value in inputs.items()})
        pooled = getattr(found, "pooler_output", found)
        return cast(Vectors, pooled.float().cpu().numpy())


def _starts(count: int) -> range:
    return range(0, count, _TOGETHER)


def _loaded(model: str, revision: str) -> tuple[Any, Any, Any]:
    """Network, picture processor and tokenizer. Raises NotFound where one is missing, BadInput where it is of another
    kind."""
    with checkpoints.importing:
        import torch
        from transformers import AutoImageProcessor, AutoModel, AutoTokenizer
    net = checkpoints.loaded(AutoModel.from_pretrained, model, revision, dtype=torch.float32)
    if not (hasattr(net, "get_image_features") and hasattr(net, "get_text_features")):
        seen = f"model type {net.config.model_type!r} has not a tower each for pictures and texts"
        raise BadInput(f"checkpoint {model}", seen=seen, do="name a CLIP, SigLIP or SigLIP 2 checkpoint")
    # Pillow's resampling everywhere: torchvision, where it is installed, gives other pixels.
    processor = checkpoints.loaded(AutoImageProcessor.from_pretrained, model, revision, backend="pil")
    return net, processor, checkpoints.loaded(AutoTokenizer.from_pretrained, model, revision)


# ---- without weights -------------------------------------------------------------------------------------------------

_SIDE_PX = 128
_CELLS = 4
_HUES, _GREYS, _WAYS = 8, 4, 8
_EVEN = 1e-4  # a picture without edges has no direction of its own: its edges count as even


class Descriptor:
    """Colours and edges of each of 4 x 4 cells: 8 hues by saturation, 4 greys by the rest, 8 directions of gradients by
    strength (Dalal & Triggs 2005), square roots of shares (Arandjelovic & Zisserman 2012), half the weight for each."""

    def pictures(self, pictures: Sequence[Rgb]) -> Vectors:
        return np.stack([describe(picture) for picture in pictures])

    def texts(self, texts: Sequence[str]) -> Vectors:
        del texts
        do = "give --engine embed=transformers:MODEL, a CLIP or SigLIP checkpoint"
        raise BadInput("the embedded descriptor embeds pictures only", seen="a text", do=do)


def describe(rgb: Rgb) -> Vectors:
    """float32 [320] of length 1, nowhere below 0. Depends on the picture's content alone, not on its size or shape."""
    import cv2

    small = cv2.resize(rgb, (_SIDE_PX, _SIDE_PX), interpolation=cv2.INTER_AREA)
    parts = [_shares(_colours(small)), _shares(_edges(small) + _EVEN)]
    return unit(np.concatenate([np.sqrt(part / 2) for part in parts]))


def _shares(counts: Floats) -> Floats:
    return np.asarray(counts / counts.sum(), np.float64).reshape(-1)


def _colours(rgb: Rgb) -> Floats:
    """float64 [16, 12]: amounts of each hue and of each grey in each cell; they add up to the cell's pixels."""
    import cv2

    hsv = cv2.cvtColor(rgb, cv2.COLOR_RGB2HSV)
    hue = (hsv[..., 0].astype(np.int64) * _HUES // 180).clip(0, _HUES - 1)
    grey = hsv[..., 2].astype(np.int64) * _GREYS // 256
    # A dark colour is seen as a grey: the hue of nearly black pixels is noise.
    vivid = (hsv[..., 1] / 255.0) * (hsv[..., 2] / 255.0)
    return np.concatenate([_histograms(hue, vivid, _HUES), _histograms(grey, 1 - vivid, _GREYS)], axis=1)


def _edges(rgb: Rgb) -> Floats:
    """float64 [16, 8]: strength of the luma's gradients in each cell by their direction, a half turn being all."""
    import cv2

    luma = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY).astype(np.float32) / 255
    across, down = (cv2.Sobel(luma, cv2.CV_32F, *order, ksize=3) for order in ((1, 0), (0, 1)))
    strength = np.hypot(across, down).astype(np.float64)
    turn = np.arctan2(down, across).astype(np.float64) / np.pi % 1.0
    return _histograms((np.round(turn * _WAYS).astype(np.int64)) % _WAYS, strength, _WAYS)


def _histograms(bins: npt.NDArray[np.int64], weights: Floats, count: int) -> Floats:
    """float64 [16, count]: sums of the weights of each bin in each cell."""
    places = np.arange(_SIDE_PX) * _CELLS // _SIDE_PX
    cells = places[:, None] * _CELLS + places[None, :]
    flat = np.bincount((cells * count + bins).reshape(-1), weights.reshape(-1), _CELLS * _CELLS * count)
    return np.asarray(flat, np.float64).reshape(_CELLS * _CELLS, count)
