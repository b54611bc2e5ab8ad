"""What is said in a clip, by Whisper through transformers: segments with times of the clip, each with a verdict.

Windows of at most 30 s are cut where it is quietest and read together, one clip at a time. Whisper writes text where
nobody speaks and repeats itself (Radford et al. 2022, section 4.5): text over no activity, repetitive text and text the
model is unsure of are rejected, with their reason, and kept. What was said is data and is never obeyed.

    Transcribe("transformers:openai/whisper-small")
    gives  speech (SpeechSegment(span=Span(1.2, 3.8), text="Mind the gap.", language="en", ...),)
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, cast

import numpy as np

from reelmill.annotators.annotator import Resources, step_name
from reelmill.annotators.decode.audio import RATE_HZ, Samples
from reelmill.annotators.decode.local import local_path
from reelmill.annotators.decode.with_child import WithChild
from reelmill.annotators.engines.checkpoints import device, loaded, told
from reelmill.annotators.engines.in_process import RunsCheckpoint
from reelmill.annotators.hear import SOUND, WALL_S
from reelmill.annotators.shown import MEDIA
from reelmill.schemas import arrow
from reelmill.schemas.column import KEY, Column
from reelmill.schemas.keys import child_key, micros
from reelmill.schemas.media import MediaRef
from reelmill.schemas.sound import Sound, SoundStatus, SpeechSegment
from reelmill.schemas.span import Span
from reelmill.schemas.verdict import ACCEPTED, rejected

SPEECH = Column.of("speech", tuple[SpeechSegment, ...])
SPEECH_MODEL = Column.of("speech_model", str)

METHOD = "model"
_STAMP_S = 0.02  # what one timestamp token stands for (Radford et al. 2022, section 2.3)
_DIGITS = 3


@dataclass(frozen=True, slots=True)
class SpeechRules:
    """`window_s` is what Whisper hears at once, `seam_s` how far back from its end the quietest place is looked for.

    A segment is refused where less than `least_active` of it stands above the noise floor, where its window's text
    shrinks more than `most_squeezed` times under zlib, where it is the same as the `most_same` before it, or where the
    mean log probability of its tokens is under `least_logprob` (2.4 and -1.0 are Whisper's own limits).
    """

    window_s: float = 30.0
    seam_s: float = 5.0
    least_active: float = 0.1
    most_squeezed: float = 2.4
    most_same: int = 2
    least_logprob: float = -1.0


@dataclass(frozen=True, slots=True)
class Heard:
    """A stretch of text as read off a window's tokens. Seconds of the window; `end_s` is None where it ran on."""

    start_s: float
    end_s: float | None
    tokens: tuple[int, ...]
    logprob: float


@dataclass(frozen=True, slots=True)
class Line:
    """One segment in clip time, before it is judged. `window_text` is all that was written for its window."""

    start_s: float
    end_s: float
    text: str
    window_text: str
    language: str
    logprob: float


@dataclass(frozen=True)
class Transcribe(WithChild, RunsCheckpoint):
    """Adds speech segments. `language` is a tag, "" to let the model say; `model_revision` a commit of the hub."""

    language: str = ""
    rules: SpeechRules = field(default_factory=SpeechRules)
    needs: ClassVar[tuple[Column, ...]] = (KEY, MEDIA, SOUND)
    gives: ClassVar[tuple[Column, ...]] = (SPEECH_MODEL, SPEECH)
    ability: ClassVar[str] = "speech"
    observed: ClassVar[str] = "every audio sample"
    revision: ClassVar[str] = "1"
    resources: ClassVar[Resources] = Resources(rows_per_commit=16)

    def setup(self) -> None:
        """Load the checkpoint. Raises NotFound and BadInput as `loaded` does."""
        super().setup()
        object.__setattr__(self, "_whisper", Whisper(self.checkpoint, self.model_revision, self.language))

    def _row(self, row: dict[str, Any]) -> dict[str, Any]:
        whisper = cast(Whisper, self.__dict__["_whisper"])
        sound = arrow.typed(Sound, row["sound"])
        lines = self._lines(whisper, row, sound) if sound.status is SoundStatus.SOUND and sound.active else []
        segments = [self._segment(row["key"], i, lines, sound, whisper.told) for i in range(len(lines))]
        return {"speech": tuple(segments), "speech_model": whisper.told}

    def _lines(self, whisper: Whisper, row: dict[str, Any], sound: Sound) -> list[Line]:
        media = arrow.typed(MediaRef, row["media"])
        path = local_path(media.uri, media.digest)
        audio = self.child.call("reelmill.annotators.decode.audio:read_audio", path, media.span, wall_s=WALL_S)
        spans = windows(sound, len(audio.samples) / RATE_HZ, self.rules)
        cuts = [audio.samples[round(s.start_s * RATE_HZ) : round(s.end_s * RATE_HZ)] for s in spans]
        said = whisper.read(cuts)
        return [line for span, answer in zip(spans, said, strict=True) for line in whisper.lines(span, *answer)]

    def _segment(self, key: str, place: int, lines: Sequence[Line], sound: Sound, model: str) -> SpeechSegment:
        line = lines[place]
        start_s = max(0.0, min(line.start_s, line.end_s - _STAMP_S))
        span = Span(round(start_s, _DIGITS), round(max(line.end_s, start_s + _STAMP_S), _DIGITS))
        active = sum(span.overlap_s(s) for s in sound.active) / span.duration_s
        fault = misheard(line, lines[max(0, place - self.rules.most_same) : place], active, self.rules)
        return SpeechSegment(
            key=child_key(key, "speech", micros(span.start_s), micros(span.end_s), place),
            parent_key=key,
            span=span,
            text=line.text,
            language=line.language,
            logprob=round(line.logprob, 4),
            active_share=round(active, 4),
            method=METHOD,
            model=model,
            verdict=rejected(step_name(self), *fault) if fault else ACCEPTED,
        )


def misheard(line: Line, before: Sequence[Line], active: float, rules: SpeechRules) -> tuple[str, str] | None:
    """Reason and detail where a segment is one of Whisper's known failures; None where it is not."""
    if line.end_s <= line.start_s:
        return "no_time", f"from {line.start_s:.2f} s to {line.end_s:.2f} s"
    if active < rules.least_active:
        return "text_over_silence", f"{active:.0%} of it is active, want {rules.least_active:.0%}"
    squeezed = compression(line.window_text)
    if squeezed > rules.most_squeezed:
        return "repetitive", f"its window's text shrinks {squeezed:.1f} times, want at most {rules.most_squeezed}"
    if len(before) == rules.most_same and all(b.text.casefold() == line.text.casefold() for b in before):
        return "repeated", f"the same as the {len(before)} segments before it"
    if line.logprob < rules.least_logprob:
        return "unsure", f"mean log probability {line.logprob:.2f}, want {rules.least_logprob}"
    return None


def compression(text: str) -> float:
    """Bytes of a text over its bytes under zlib: Whisper's measure of text that repeats itself."""
    data = text.encode()
    return len(data) / len(zlib.compress(data)) if data else 0.0


def windows(sound: Sound, duration_s: float, rules: SpeechRules) -> tuple[Span, ...]:
    """Windows that cover a clip, each cut in the middle of the quietest step near its end."""
    edges, level = [0.0], np.array(sound.level_dbfs)
    while duration_s - edges[-1] > rules.window_s:
        last = int((edges[-1] + rules.window_s) / sound.step_s)
        first = max(int((edges[-1] + rules.window_s - rules.seam_s) / sound.step_s), 0)
        quietest = first + int(np.argmin(level[first:last])) if first < len(level) else first
        edges.append((quietest + 0.5) * sound.step_s)
    return tuple(Span(a, b) for a, b in zip(edges, [*edges[1:], duration_s], strict=True) if b > a)


def stretches(tokens: Sequence[int], logprobs: Sequence[float], first_stamp: int, special: int) -> list[Heard]:
    """Text between timestamp tokens. `first_stamp` is the token of 0.00 s; from `special` on tokens are no text.

    >>> [(h.start_s, h.end_s, h.tokens) for h in stretches([100, 7, 8, 150, 150, 9], [0.0] * 6, 100, 90)]
    [(0.0, 1.0, (7, 8)), (1.0, None, (9,))]
    """
    found: list[Heard] = []
    start_s, text, scores = 0.0, list[int](), list[float]()
    for token, score in zip(tokens, logprobs, strict=True):
        if token >= first_stamp:
            at_s = (token - first_stamp) * _STAMP_S
            if text:
                found.append(Heard(start_s, at_s, tuple(text), float(np.mean(scores))))
            start_s, text, scores = at_s, [], []
        elif token < special:
            text.append(token)
            scores.append(score)
    if text:
        found.append(Heard(start_s, None, tuple(text), float(np.mean(scores))))
    return found


class Whisper:
    """A Whisper checkpoint: greedy, without a temperature and without what it said before, so that runs repeat."""

    def __init__(self, model: str, revision: str, language: str) -> None:
        from transformers import WhisperForConditionalGeneration, WhisperProcessor

        self.device = device()
        self.processor = loaded(WhisperProcessor.from_pretrained, model, revision)
        load = WhisperForConditionalGeneration.from_pretrained
        self.net = loaded(load, model, revision).to(self.device).eval()
        self.settings = self.net.generation_config
        self.language, self.told = language, told(model, revision, self.net.config)

    def read(self, cuts: Sequence[Samples]) -> list[tuple[str, list[Heard]]]:
        """Language and stretches of each window of one clip (float32 mono at 16 kHz, at most 30 s each)."""
        import torch

        heard = self.processor.feature_extractor(list(cuts), sampling_rate=RATE_HZ, return_tensors="pt")
        features = heard.input_features.to(self.device, self.net.dtype)
        with torch.inference_mode():
            languages = self._languages(features)
            asked = {"task": "transcribe", "language": languages} if self.settings.is_multilingual else {}
            out = self.net.generate(
                features,
                **asked,
                return_timestamps=True,
                do_sample=False,
                num_beams=1,
                force_unique_generate_call=True,
                return_dict_in_generate=True,
                output_scores=True,
            )
            written = out.sequences[:, -len(out.scores) :]
            scores = torch.stack(out.scores, 1).float().log_softmax(-1).gather(-1, written[..., None])[..., 0]
        return [
            (tag, self._stretches(tokens, logprobs))
            for tag, tokens, logprobs in zip(languages, written.tolist(), scores.tolist(), strict=True)
        ]

    def _languages(self, features: Any) -> list[str]:
        if not self.settings.is_multilingual:
            return ["en"] * len(features)
        if self.language:
            return [self.language] * len(features)
        tags = {number: token.strip("<|>") for token, number in self.settings.lang_to_id.items()}
        return [tags[number] for number in self.net.detect_language(features).tolist()]

    def _stretches(self, tokens: list[int], logprobs: list[float]) -> list[Heard]:
        first_stamp = self.settings.no_timestamps_token_id + 1
        end = tokens.index(self.settings.eos_token_id) if self.settings.eos_token_id in tokens else len(tokens)
        return stretches(tokens[:end], logprobs[:end], first_stamp, self.settings.eos_token_id)

    def lines(self, window: Span, language: str, found: Sequence[Heard]) -> list[Line]:
        """Stretches of a window as segments of the clip; what is empty is left out, what runs on ends with it."""
        decode = self.processor.tokenizer.decode
        texts = [decode(h.tokens, skip_special_tokens=True).strip() for h in found]
        whole = " ".join(texts)
        return [
            Line(
                min(window.start_s + heard.start_s, window.end_s),
                window.end_s if heard.end_s is None else min(window.start_s + heard.end_s, window.end_s),
                text,
                whole,
                language,
                heard.logprob,
            )
            for heard, text in zip(found, texts, strict=True)
            if text
        ]
