"""What a clip sounds like, without a model: whether it has sound at all, how loud, from when to when, and onsets.

A stream is not sound: cameras and editors write tracks of digital silence. So a clip is `none` (no track; a picture),
`silent` or `sound`, and each is an accepted row. Active spans are energy above a noise floor; they do not say speech.

    clip of 3 s, a tone from 1.0 to 1.5 s  ->  status="sound", active=(Span(1.0, 1.5),), onsets_s=(1.0,)
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from reelmill.annotators.annotator import Resources
from reelmill.annotators.decode.audio import RATE_HZ, Audio, read_audio
from reelmill.annotators.decode.local import local_path
from reelmill.annotators.decode.with_child import WithChild
from reelmill.annotators.loudness import (
    LOWEST_DBFS,
    ActiveRules,
    OnsetRules,
    active_spans,
    levels,
    noise_floor,
    onsets,
)
from reelmill.annotators.shown import MEDIA
from reelmill.schemas import arrow
from reelmill.schemas.column import KEY, Column
from reelmill.schemas.media import Kind, MediaRef
from reelmill.schemas.sound import Sound, SoundStatus
from reelmill.schemas.span import Span

SOUND = Column.of("sound", Sound)

WALL_S = 120.0


@dataclass(frozen=True)
class Hear(WithChild):
    """Adds the sound of a clip: levels per `active.step_s`, active spans, onsets. Pictures have none."""

    active: ActiveRules = field(default_factory=ActiveRules)
    onsets: OnsetRules = field(default_factory=OnsetRules)
    needs: ClassVar[tuple[Column, ...]] = (KEY, MEDIA)
    gives: ClassVar[tuple[Column, ...]] = (SOUND,)
    observed: ClassVar[str] = "every audio sample"
    revision: ClassVar[str] = "1"
    resources: ClassVar[Resources] = Resources(rows_per_commit=64)

    def _row(self, row: dict[str, Any]) -> dict[str, Any]:
        media = arrow.typed(MediaRef, row["media"])
        if media.kind is Kind.IMAGE:
            return {"sound": no_sound(self.active, "a picture")}
        path = local_path(media.uri, media.digest)
        sound = self.child.call(f"{__name__}:heard", path, media.span, self.active, self.onsets, wall_s=WALL_S)
        return {"sound": sound}


def no_sound(rules: ActiveRules, note: str, audio: Audio | None = None) -> Sound:
    """The answer where there is not one sample."""
    told = (audio.codec, audio.sample_rate_hz, audio.channels) if audio else ("", 0, 0)
    missing_s = len(audio.samples) / RATE_HZ if audio else 0.0
    return Sound(SoundStatus.NONE, *told, missing_s, LOWEST_DBFS, LOWEST_DBFS, rules.step_s, (), (), (), note)


def heard(path: str, span: Span | None, active: ActiveRules, rises: OnsetRules) -> Sound:
    """Sound of a span of a local file. Runs in the child. Raises Unusable as `read_audio` does."""
    audio = read_audio(path, span)
    if not audio.has_track:
        return no_sound(active, "no audio stream")
    if audio.covered_s == 0:
        return no_sound(active, "the audio stream has no sample in this span", audio)
    return described(audio, active, rises)


def described(audio: Audio, active: ActiveRules, rises: OnsetRules) -> Sound:
    """Levels, active spans and onsets of samples that are there."""
    duration_s = len(audio.samples) / RATE_HZ
    level = levels(audio.samples, RATE_HZ, active.step_s)
    silent = float(level.max()) < active.silence_dbfs
    peak = float(np.abs(audio.samples).max())
    return Sound(
        status=SoundStatus.SILENT if silent else SoundStatus.SOUND,
        codec=audio.codec,
        sample_rate_hz=audio.sample_rate_hz,
        channels=audio.channels,
        missing_s=round(duration_s - audio.covered_s, 6),
        peak_dbfs=round(max(float(20 * np.log10(max(peak, 1e-9))), LOWEST_DBFS), 2),
        floor_dbfs=round(noise_floor(level, active), 2),
        step_s=active.step_s,
        level_dbfs=tuple(round(float(v), 1) for v in level),
        active=() if silent else active_spans(level, duration_s, active),
        onsets_s=() if silent else onsets(audio.samples, RATE_HZ, rises),
        note=audio.note,
    )
