"""The sample as it is published: one JSON document per sample, typed here once and read back by any trainer.

Facts about execution (parts, offsets, tokens) are left out, and so is the place of a file, except where a pack refers
to media (`ref`): the same inputs give the same bytes wherever the store lies.

>>> made_by("rules", ("rules", "model"))
<MadeBy.MODEL: 'model'>
"""

from __future__ import annotations

import enum
from collections.abc import Collection, Iterable
from dataclasses import dataclass, fields

from reelmill.schemas import arrow
from reelmill.schemas.keys import canonical_json
from reelmill.schemas.media import FrameRef, MediaRef, ShownFrame
from reelmill.schemas.provenance import Provenance
from reelmill.schemas.sample import (
    Claim,
    ClipFacts,
    CuratedSample,
    GroundedSample,
    Perturbation,
    PreferenceSample,
    Sample,
    StreamSample,
    Tubelet,
    Turn,
    kind_of,
    own_fields,
)
from reelmill.schemas.span import Span

FORMAT = 1
"""Version of the packed layout and of the sample document. Readers refuse a larger one."""


class MadeBy(enum.StrEnum):
    """Who the label rests on: a person, a model, exact truth of a rendered scene, rules alone, or whoever made a set
    that was imported."""

    HUMAN = "human"
    MODEL = "model"
    TRUTH = "truth"
    RULES = "rules"
    IMPORTED = "imported"


class Media(enum.StrEnum):
    """What a packed sample carries: its shown JPEGs, an mp4 cut of its clip, or only the place of its source."""

    FRAMES = "frames"
    CLIP = "clip"
    REF = "ref"


@dataclass(frozen=True, slots=True)
class PackedFrame:
    """A shown frame. `member` is the part of the tar name after the key, None where the pack holds no frames."""

    member: str | None
    dataset: str
    key: str
    frame: int
    at_s: float
    width_px: int
    height_px: int
    sha256: str


@dataclass(frozen=True, slots=True)
class PackedMedia:
    """The medium. `member` names the mp4 of a `clip` pack, `uri` the source of a `ref` pack; sizes are shown pixels."""

    kind: str
    digest: str
    member: str | None
    uri: str | None
    width_px: int
    height_px: int
    duration_s: float
    span: Span | None
    licence: str


@dataclass(frozen=True, slots=True)
class PackedSample:
    """`{key}.json` of a shard."""

    format: int
    key: str
    parent_key: str
    dataset: str
    family: str
    task: str
    made_by: str
    method: str
    label_confidence: float
    media: PackedMedia
    frames: tuple[PackedFrame, ...]
    turns: tuple[Turn, ...]
    evidence: tuple[str, ...]
    provenance: tuple[Provenance, ...]


@dataclass(frozen=True, slots=True)
class PackedCurated(PackedSample):
    """`{key}.json` of a curated clip: no turns, and what was measured of it."""

    facts: ClipFacts


@dataclass(frozen=True, slots=True)
class PackedGrounded(PackedSample):
    """`{key}.json` of a sample with tubes."""

    tubes: tuple[Tubelet, ...]


@dataclass(frozen=True, slots=True)
class PackedPreference(PackedSample):
    """`{key}.json` of a pair."""

    rejected: tuple[Turn, ...]
    perturbation: Perturbation
    claims: tuple[Claim, ...]
    margin: float


@dataclass(frozen=True, slots=True)
class PackedStream(PackedSample):
    """`{key}.json` of a dialogue while the clip plays."""

    turns_at_s: tuple[float, ...]
    watch_from_s: float
    watch_until_s: float


FORMS: dict[type[Sample], type[PackedSample]] = {
    Sample: PackedSample,
    CuratedSample: PackedCurated,
    GroundedSample: PackedGrounded,
    PreferenceSample: PackedPreference,
    StreamSample: PackedStream,
}
"""The published form of each kind of sample."""


def form_of(columns: Collection[str]) -> type[PackedSample]:
    """The published form that a document with these fields has."""
    return FORMS[kind_of(columns)]


def made_by(method: str, links: Iterable[str]) -> MadeBy:
    """What a label rests on, from its own method and those of its provenance: the least exact of them names it."""
    own = method.replace("+", ":").split(":")[0]
    named = {own, *links}
    if own in (MadeBy.TRUTH, MadeBy.IMPORTED):
        return MadeBy(own)
    return next((kind for kind in (MadeBy.HUMAN, MadeBy.MODEL) if kind in named), MadeBy.RULES)


def frame_member(i: int) -> str:
    """Tar field of a sample's i-th shown frame, without dots before the extension's own."""
    return f"f{i:03d}.jpg"


def packed_sample(sample: Sample, dataset: str, media: Media, shown: Iterable[ShownFrame]) -> PackedSample:
    """The published form of an accepted sample. `shown` are the stored frames that it refers to, in order."""
    holds_frames = media is Media.FRAMES or (media is Media.CLIP and sample.media.span is None)
    frames = tuple(
        _packed_frame(ref, stored, frame_member(i) if holds_frames else None)
        for i, (ref, stored) in enumerate(zip(sample.frames, shown, strict=True))
    )
    packed = PackedSample(
        format=FORMAT,
        key=sample.key,
        parent_key=sample.parent_key,
        dataset=dataset,
        family=sample.family,
        task=sample.task,
        made_by=str(made_by(sample.method, (p.method for p in sample.provenance))),
        method=sample.method,
        label_confidence=sample.label_confidence,
        media=_packed_media(sample.media, media),
        frames=frames,
        turns=sample.turns,
        evidence=sample.evidence,
        provenance=sample.provenance,
    )
    own = {name: getattr(sample, name) for name in own_fields(type(sample))}
    return FORMS[type(sample)](**{f.name: getattr(packed, f.name) for f in fields(packed)}, **own) if own else packed


def _packed_frame(ref: FrameRef, stored: ShownFrame, member: str | None) -> PackedFrame:
    return PackedFrame(
        member, ref.dataset, ref.key, ref.frame, ref.at_s, stored.width_px, stored.height_px, stored.sha256
    )


def _packed_media(ref: MediaRef, media: Media) -> PackedMedia:
    return PackedMedia(
        kind=str(ref.kind),
        digest=ref.digest,
        member="mp4" if media is Media.CLIP and ref.span is not None else None,
        uri=ref.uri if media is Media.REF else None,
        width_px=ref.width_px,
        height_px=ref.height_px,
        duration_s=ref.duration_s,
        span=ref.span,
        licence=ref.licence,
    )


def document(sample: PackedSample) -> bytes:
    """The canonical JSON bytes of a sample."""
    return canonical_json(arrow.plain(sample)).encode()
