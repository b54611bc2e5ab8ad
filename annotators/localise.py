"""When does it happen: the stretch of a clip whose frames are likest to a phrase. One of three ways to localise.

Frames and phrase are vectors of one dual encoder. A frame gains what its similarity has over a level between "not
there" and "there"; the span of most gain is found by dynamic programming (Bentley 1984 for one, two states for
several). "Not in this clip" is an answer: what stands no clearer out of the rest than noise does is no span.

    similarities  .11 .12 .10 .24 .25 .23 .11 .12  of frames at 0, 0.5, .. 3.5 s
      ->  Proposal("similarity", [1.25, 2.75), 1.0)

A clip's own frames are all that it is held against, so what is true throughout the clip is not found either, and ends
lie halfway between frames: with two frames a second no nearer than 0.25 s.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from reelmill.annotators.annotator import Resources, each_row
from reelmill.annotators.embed import DESCRIPTOR, FRAME_EMBEDDINGS, Descriptor, Encoder, encoder, identity
from reelmill.annotators.list_events import LISTED
from reelmill.annotators.shown import MEDIA
from reelmill.schemas import arrow
from reelmill.schemas.column import KEY, Column
from reelmill.schemas.embedding import FrameEmbedding
from reelmill.schemas.errors import BadInput, Unusable
from reelmill.schemas.event import Proposal
from reelmill.schemas.media import MediaRef
from reelmill.schemas.span import Span

PHRASES = Column.of("phrases", tuple[str, ...])
SIMILAR = Column.of("similar", tuple[Proposal, ...])
SIMILAR_SPANS = Column.of("similar_spans", tuple[tuple[Span, ...], ...])
SIMILARITIES = Column.of("similarities", tuple[tuple[arrow.Float32, ...], ...])
SIMILAR_FRAMES_S = Column.of("similar_frames_s", tuple[float, ...])

LOCALISER = "similarity"
_MOST_ALIKE = 0.9
Floats = npt.NDArray[np.float64]
Stretch = tuple[int, int]
"""Frames `[first, end)`."""


# ---- the span of most gain -------------------------------------------------------------------------------------------


def best_stretch(gains: Floats, penalty: float) -> Stretch | None:
    """The frames `[first, end)` whose sum of gains is the highest, the earliest of equals; None where none is over
    `penalty`. One pass (Kadane's, in Bentley 1984)."""
    best, found = penalty, None
    total, first = 0.0, 0
    for i, gain in enumerate(gains.tolist()):
        if total <= 0:
            total, first = 0.0, i
        total += gain
        if total > best:
            best, found = total, (first, i + 1)
    return found


def best_stretches(gains: Floats, penalty: float) -> list[Stretch]:
    """Disjoint stretches, by time, of the highest sum of gains less `penalty` for each. Two states, out and in, and one
    pass back over the choices (Viterbi 1967)."""
    out, inside = 0.0, -np.inf
    entered, left = np.zeros(len(gains), bool), np.zeros(len(gains), bool)
    for i, gain in enumerate(gains.tolist()):
        entered[i], left[i] = out - penalty > inside, inside > out
        out, inside = max(out, inside), max(inside, out - penalty) + gain
    found: list[Stretch] = []
    end = len(gains) if inside > out else None
    for i in range(len(gains) - 1, -1, -1):
        if end is None:
            end = i if left[i] else None
        elif entered[i]:
            found.append((i, end))
            end = None
    return found[::-1]


def level(similarities: Floats) -> float:
    """Halfway between the means of the two classes that part the values best (Otsu 1979); the value where all are
    equal."""
    values = np.sort(similarities)
    counts = np.arange(1, len(values))
    sums = values.cumsum()[:-1]
    below, above = sums / counts, (values.sum() - sums) / (len(values) - counts)
    between = counts * (len(values) - counts) * (above - below) ** 2
    if not len(values) or np.isclose(values[0], values[-1], rtol=0, atol=1e-12):
        return float(values.mean()) if len(values) else 0.0
    at = int(np.argmax(between))
    return float((below[at] + above[at]) / 2)


# ---- is it there? ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class SpanRules:
    """`penalty`: how many clear frames a span must be worth (one that is as far above the level as frames are on
    average gains 1). `least_clear`: how many standard errors the mean inside must lie above the mean outside;
    `least_margin`: and how much similarity. `noise_floor`: similarities are never held to be surer than this.

    `background`: the similarity that is "not there" by itself, where it is known for the encoder; without it the clip's
    own frames say.
    """

    penalty: float = 2.0
    least_clear: float = 6.0
    least_margin: float = 0.0
    noise_floor: float = 0.002
    background: float | None = None


@dataclass(frozen=True, slots=True)
class Localised:
    """`proposal` is the clearest span, or says that there is none; `spans` are all that are clear, by time."""

    proposal: Proposal
    spans: tuple[Span, ...]


def localise(similarities: Sequence[float], at_s: Sequence[float], end_s: float, rules: SpanRules) -> Localised:
    """Where frames at `at_s` (rising, in a clip that ends at `end_s`) are alike to a phrase.

    The score is the share of frames on their side of the level: above it inside, below it outside.
    """
    values, edges = np.asarray(similarities, np.float64), edges_s(at_s, end_s)
    threshold = level(values) if rules.background is None else rules.background
    gains = _gains(values - threshold, np.diff(edges))
    one, several = best_stretch(gains, rules.penalty), best_stretches(gains, rules.penalty)
    if one is None or not is_clear(values, [one, *several], one, rules):
        return Localised(Proposal(LOCALISER, None, 0.0), ())
    clear = [s for s in several if is_clear(values, several, s, rules)] or [one]
    inside = _mask(len(values), [one])
    fits = float(np.where(inside, values > threshold, values <= threshold).mean())
    proposal = Proposal(LOCALISER, _span(edges, one), round(fits, 4))
    return Localised(proposal, tuple(_span(edges, s) for s in clear))


def edges_s(at_s: Sequence[float], end_s: float) -> Floats:
    """float64 [n + 1]: frames stand for the time that is nearer to them than to another; the clip's ends are edges."""
    times = np.asarray(at_s, np.float64)
    return np.concatenate([[0.0], (times[1:] + times[:-1]) / 2, [end_s]])


def _gains(above: Floats, lasts_s: Floats) -> Floats:
    """What each frame adds to a span that has it: 1 for an average distance from the level and an average time."""
    scale = np.abs(above).sum() * lasts_s.sum() / max(1, len(above)) ** 2
    return above * lasts_s / scale if scale > 0 else np.zeros(len(above))


def is_clear(values: Floats, spans: Sequence[Stretch], one: Stretch, rules: SpanRules) -> bool:
    """Does the mean inside `one` stand far enough over the mean of the frames outside all `spans`?

    Two means with one spread (Student's t); the threshold is far above the usual, since the span was chosen for it.
    Neighbouring frames are alike, so they count as fewer (Bartlett 1935).
    """
    inside, rest = values[one[0] : one[1]], values[~_mask(len(values), spans)]
    if rules.background is None and not len(rest):
        return False  # nothing to hold it against
    base = float(rest.mean()) if rules.background is None else rules.background
    margin = float(inside.mean()) - base
    off = _off_means(values, [*spans, one])
    spread = max(rules.noise_floor, float(np.sqrt((off**2).sum() / max(1, len(off) - 2))))
    frames = 1 / len(inside) + (1 / len(rest) if rules.background is None else 0.0)
    error = spread * np.sqrt(frames * _alike(off))
    return margin >= rules.least_margin and margin >= rules.least_clear * error


def _off_means(values: Floats, spans: Sequence[Stretch]) -> Floats:
    """What is left of each frame when the mean of its own span, or of all that is outside, is taken off."""
    off, outside = values.copy(), ~_mask(len(values), spans)
    off[outside] -= off[outside].mean() if outside.any() else 0.0
    for first, end in dict.fromkeys(spans):
        off[first:end] = values[first:end] - values[first:end].mean()
    return off


def _alike(off: Floats) -> float:
    """How many frames are worth one, by the correlation of neighbours; 1 where they have nothing in common."""
    power = float((off**2).sum())
    shared = float((off[1:] * off[:-1]).sum()) / power if power > 0 else 0.0
    shared = min(max(shared, 0.0), _MOST_ALIKE)
    return (1 + shared) / (1 - shared)


def _mask(count: int, spans: Sequence[Stretch]) -> npt.NDArray[np.bool_]:
    mask = np.zeros(count, bool)
    for first, end in spans:
        mask[first:end] = True
    return mask


def _span(edges: Floats, stretch: Stretch) -> Span:
    return Span(round(float(edges[stretch[0]]), 6), round(float(edges[stretch[1]]), 6))


# ---- the steps -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class SamePhrases:
    """Gives every clip the same phrases: a search through all of them."""

    phrases: tuple[str, ...]
    needs: ClassVar[tuple[Column, ...]] = (KEY,)
    gives: ClassVar[tuple[Column, ...]] = (PHRASES,)
    revision: ClassVar[str] = "1"
    resources: ClassVar[Resources] = Resources(rows_per_commit=32)

    def setup(self) -> None: ...

    def __call__(self, batch: pa.Table) -> pa.Table:
        return each_row(self, batch, lambda _: {"phrases": self.phrases})


@dataclass(frozen=True)
class ListedPhrases:
    """Gives every clip the phrases of its own listed events, in their order."""

    needs: ClassVar[tuple[Column, ...]] = (KEY, LISTED)
    gives: ClassVar[tuple[Column, ...]] = (PHRASES,)
    revision: ClassVar[str] = "1"
    resources: ClassVar[Resources] = Resources(rows_per_commit=32)

    def setup(self) -> None: ...

    def __call__(self, batch: pa.Table) -> pa.Table:
        return each_row(self, batch, lambda row: {"phrases": tuple(event["phrase"] for event in row["listed"])})


@dataclass(frozen=True)
class Localise:
    """Adds, for each of a clip's `phrases`, where its frames are alike to it, and by how much each frame is.

    The frames' vectors come from `Embed` with the same engine. `engine` may hold a folder and is execution; `model` and
    `model_revision`, read off it, are identity. Raises BadInput for the embedded descriptor, which knows no texts.
    """

    engine: str = field(compare=False, metadata={"identity": False})
    model: str = ""
    model_revision: str = ""
    rules: SpanRules = field(default_factory=SpanRules)
    needs: ClassVar[tuple[Column, ...]] = (KEY, MEDIA, PHRASES, FRAME_EMBEDDINGS)
    gives: ClassVar[tuple[Column, ...]] = (SIMILAR, SIMILAR_SPANS, SIMILARITIES, SIMILAR_FRAMES_S)
    method: ClassVar[str] = "model"
    observed: ClassVar[str] = "shown frames"
    revision: ClassVar[str] = "1"
    resources: ClassVar[Resources] = Resources(rows_per_commit=32)

    def __post_init__(self) -> None:
        model, revision = identity(self.engine, self.model_revision)
        if model == DESCRIPTOR:
            Descriptor().texts(())
        object.__setattr__(self, "model", self.model or model)
        object.__setattr__(self, "model_revision", self.model_revision or revision)

    def setup(self) -> None:
        """Load the checkpoint. Raises NotFound and BadInput."""
        object.__setattr__(self, "_encoder", encoder(self.engine, self.model_revision))

    def __call__(self, batch: pa.Table) -> pa.Table:
        return each_row(self, batch, self._row)

    def _row(self, row: dict[str, Any]) -> dict[str, Any]:
        frames = arrow.typed(tuple[FrameEmbedding, ...], row["frame_embeddings"])
        duration_s = arrow.typed(MediaRef, row["media"]).duration_s
        if duration_s <= 0:
            raise Unusable("no_time", "a picture has no spans")
        at_s = tuple(f.at_s for f in frames)
        similar = self._similarities(row["phrases"], np.array([f.vector for f in frames], np.float32))
        found = [localise(values, at_s, duration_s, self.rules) for values in similar]
        return {
            "similar": tuple(f.proposal for f in found),
            "similar_spans": tuple(f.spans for f in found),
            "similarities": tuple(tuple(map(arrow.Float32, values)) for values in similar),
            "similar_frames_s": at_s,
        }

    def _similarities(self, phrases: Sequence[str], frames: npt.NDArray[np.float32]) -> list[list[float]]:
        """Cosines of each phrase with each frame, float64 [phrases, frames]."""
        if not phrases:
            return []
        texts = cast(Encoder, self.__dict__["_encoder"]).texts(phrases)
        if texts.shape[1] != frames.shape[1]:
            seen = f"frames of {frames.shape[1]} numbers, texts of {texts.shape[1]}"
            raise BadInput("frames and phrases were embedded by two models", seen=seen, do="name one engine for both")
        found: list[list[float]] = (texts.astype(np.float64) @ frames.astype(np.float64).T).tolist()
        return found
