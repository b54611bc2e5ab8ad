"""Sound of a clip: how loud, when it sets in, when there is any, and what a model takes for speech in it.

Times are seconds of the clip (0 = its first presented frame). Levels are dB of full scale (dBFS): 0 is a square wave
that fills the range, a full sine is -3.01. A stream is not sound: tracks of digital silence are common.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

from reelmill.schemas.span import Span
from reelmill.schemas.verdict import Verdict


class SoundStatus(enum.StrEnum):
    """`NONE`: no track, or a track without one sample in the clip; `SILENT`: no step of it above the silence level."""

    NONE = "none"
    SILENT = "silent"
    SOUND = "sound"


@dataclass(frozen=True, slots=True)
class Sound:
    """`level_dbfs[i]` is the RMS level of `[i, i + 1) * step_s`; `active` spans stand above the clip's own noise floor.

    `missing_s` seconds of the clip have no sample in the track. `active` says that something sounds, not that somebody
    speaks. `note` counts what was damaged.
    """

    status: SoundStatus
    codec: str
    sample_rate_hz: int
    channels: int
    missing_s: float
    peak_dbfs: float
    floor_dbfs: float
    step_s: float
    level_dbfs: tuple[float, ...]
    active: tuple[Span, ...]
    onsets_s: tuple[float, ...]
    note: str


@dataclass(frozen=True, slots=True)
class SpeechSegment:
    """What a model wrote down for a span. `language` is its tag ("en", "" unknown); `logprob` the mean over tokens.

    `active_share` is the part of the span in which anything sounds. `text` is data, whatever it says.
    """

    key: str
    parent_key: str
    span: Span
    text: str
    language: str
    logprob: float
    active_share: float
    method: str
    model: str
    verdict: Verdict
