"""Embeddings: a frame as a unit vector, with its time. Equal models alone make comparable vectors."""

from __future__ import annotations

from dataclasses import dataclass

from reelmill.schemas.arrow import Float32


@dataclass(frozen=True, slots=True)
class FrameEmbedding:
    """Shown frame number `frame` at `at_s` of the clip; `vector` float32 [d] of length 1, so a dot product is the
    cosine."""

    frame: int
    at_s: float
    vector: tuple[Float32, ...]
