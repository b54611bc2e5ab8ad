"""Scores from log-probabilities: which side of a pair a model prefers, and how it keeps time in a stream.

    pair     prefers, margin                      by the sums of log p, as DPO trains (Rafailov et al. 2023)
             prefers_per_token, margin_per_token  by their means: a longer side is not worse for being longer
    stream   nll, time_diff_s, fluency, lm_right  of each answer, after the true turns before it
             quiet                                of each stream: the share of silences that were kept

Stream measures are those of VideoLLM-online (Chen et al. 2024, `stream_evaluate` of its released code): LM-PPL is
exp(mean nll); TimeDiff the mean |time off|; Fluency the share of an answer's tokens, silent frames included, that are
right up to the first that is not. `time_diff_s` takes seconds where that code has frames over fps: the same at its
fixed rate. Three points are ours, since the code was read in notes only: a weight of tokens in the mean nll, an answer
that came too early by more than all its silence counts 0 and not less, and who is silent until the next turn, or the
end, counts as late as that (that code waits for fewer frames than the answer's own silence has).

>>> fluency(Told(4, 0, 0.0, (-0.1, -0.2), (True, False)))
0.8333333333333334
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from reelmill.schemas.errors import Fault, GuardBroken
from reelmill.schemas.sample import Role, Turn
from reelmill.sinks.publishing.packed import PackedFrame, PackedMedia, PackedPreference, PackedStream
from reelmill.training.evals.named import verb_of
from reelmill.training.evals.scores import Score

TIE = 0.5
"""What a pair counts whose sides are equally likely: neither right nor wrong."""


@dataclass(frozen=True, slots=True)
class Pair:
    """Turns that two sides share, and the sides. Which one is true is known to whoever asks: it is `chosen`."""

    key: str
    dataset: str
    media: PackedMedia
    frames: tuple[PackedFrame, ...]
    before: tuple[Turn, ...]
    chosen: tuple[Turn, ...]
    rejected: tuple[Turn, ...]


@dataclass(frozen=True, slots=True)
class LogProbs:
    """Natural log p of the tokens of each side's answers, summed, and how many tokens these are (1 or more)."""

    chosen: float
    chosen_tokens: int
    rejected: float
    rejected_tokens: int


class Preferrer(Protocol):
    """Says how likely the sides of pairs are."""

    def log_probs(self, pairs: Sequence[Pair]) -> Sequence[LogProbs]:
        """One for each pair, in their order."""
        ...


@dataclass(frozen=True, slots=True)
class Told:
    """How a model did at one answer of a stream, given the true turns before it.

    `silent` are the frames from the turn before to the true time of the answer; `off` by how many of these it spoke
    too early (negative) or too late, `off_s` the same in seconds. `log_p` of each true token; `right` says of each
    whether the model's own greedy choice is that token.
    """

    silent: int
    off: int
    off_s: float
    log_p: tuple[float, ...]
    right: tuple[bool, ...]


@dataclass(frozen=True, slots=True)
class Followed:
    """A stream: `answers` has one for each turn of the assistant, in their order; None for a turn that no frame shows
    any more, or that is one reply with the turn before it. `quiet` times of `due`, at which silence was due after the
    true turns before, it was silent."""

    answers: tuple[Told | None, ...]
    due: int
    quiet: int


class Follower(Protocol):
    """Follows streams and speaks; what it says is measured and the true turns go on."""

    def follow(self, streams: Sequence[PackedStream]) -> Sequence[Followed]:
        """One for each stream, in their order."""
        ...


def pair_of(sample: PackedPreference) -> Pair:
    """A published pair as it is asked about."""
    shared = len(sample.turns) - len(sample.rejected)
    return Pair(
        sample.key,
        sample.dataset,
        sample.media,
        sample.frames,
        sample.turns[:shared],
        sample.turns[shared:],
        sample.rejected,
    )


def preferred(samples: Sequence[PackedPreference], preferrer: Preferrer) -> list[Score]:
    """Rows of pairs, told apart by their perturbation.

    Raises GuardBroken where there are more or fewer answers than pairs, Fault where one is no number.
    """
    found = preferrer.log_probs([pair_of(s) for s in samples])
    if len(found) != len(samples):
        raise GuardBroken("a preferrer", seen=f"{len(found)} answers to {len(samples)} pairs")
    return [row for sample, one in zip(samples, found, strict=True) for row in _pair_rows(sample, one)]


def _pair_rows(sample: PackedPreference, found: LogProbs) -> list[Score]:
    if not (math.isfinite(found.chosen) and math.isfinite(found.rejected)):
        seen = f"{found.chosen} and {found.rejected}"
        raise Fault(f"log p of the sides of {sample.key}", seen=seen, do="look for an empty side or a diverged model")
    margin = found.chosen - found.rejected
    by_token = found.chosen / found.chosen_tokens - found.rejected / found.rejected_tokens
    values = {
        "prefers": right(margin),
        "prefers_per_token": right(by_token),
        "margin": margin,
        "margin_per_token": by_token,
    }
    asked = " ".join(t.text for t in sample.turns[: len(sample.turns) - len(sample.rejected)] if t.role is Role.USER)
    named = (sample.key, sample.media.digest, sample.family, sample.task, verb_of(asked), None)
    return [Score(*named, sample.perturbation.kind, name, value, 1.0, True) for name, value in values.items()]


def right(margin: float) -> float:
    """1 where the chosen side is ahead, 0 where it is behind, TIE where neither is."""
    return TIE if margin == 0 else float(margin > 0)


# ---- streams ---------------------------------------------------------------------------------------------------------


def followed(samples: Sequence[PackedStream], follower: Follower) -> list[Score]:
    """Rows of streams: a set for each answer that is told of, and of each stream the share of its silences that were
    kept, which a stream without an answer has too. Beside fluency and that share stand those of who never speaks.

    Raises GuardBroken where answers are missing or too many.
    """
    found = follower.follow(samples)
    wanted = [sum(turn.role is Role.ASSISTANT for turn in s.turns) for s in samples]
    seen = [len(one.answers) for one in found]
    if seen != wanted:
        raise GuardBroken("a follower", seen=f"{sum(seen)} answers in {len(seen)} streams for {sum(wanted)} turns")
    return [row for sample, told in zip(samples, found, strict=True) for row in _stream_rows(sample, told)]


def _stream_rows(sample: PackedStream, told: Followed) -> list[Score]:
    answers = [turn for turn in sample.turns if turn.role is Role.ASSISTANT]
    out: list[Score] = []
    for number, (turn, one) in enumerate(zip(answers, told.answers, strict=True)):
        key = f"{sample.key}.{number}"
        if one is None:
            continue
        if not one.log_p or len(one.log_p) != len(one.right) or not all(map(math.isfinite, one.log_p)):
            raise Fault(f"log p of {key}", seen=f"{one.log_p}", do="give a number for each token of the answer")
        named = (key, sample.media.digest, sample.family, sample.task, verb_of(turn.text), None, "")
        out.append(Score(*named, "nll", -sum(one.log_p) / len(one.log_p), float(len(one.log_p)), True))
        never = fluency(replace(one, off=1))
        out.append(Score(*named, "time_diff_s", abs(one.off_s), 1.0, True))
        out.append(Score(*named, "fluency", fluency(one), 1.0, True, prior=never))
        out.append(Score(*named, "lm_right", leading(one) / len(one.right), 1.0, True))
    if told.due:
        asked = " ".join(turn.text for turn in sample.turns)
        named = (sample.key, sample.media.digest, sample.family, sample.task, verb_of(asked), None, "")
        out.append(Score(*named, "quiet", told.quiet / told.due, 1.0, True, prior=1.0))
    return out


def leading(told: Told) -> int:
    """Tokens of an answer that are right before the first that is not."""
    return next((i for i, good in enumerate(told.right) if not good), len(told.right))


def fluency(told: Told) -> float:
    """The share in [0, 1] of `silent` frames and tokens that are right in a run from the first.

    On time: silence and the leading right tokens. Too early: the frames kept silent until then. Too late: all silence
    but the last frame, at which it should have spoken.
    """
    total = told.silent + len(told.right)
    if told.off == 0:
        return (told.silent + leading(told)) / total
    if told.off < 0:
        return max(0, told.silent + told.off) / total
    return max(0, told.silent - 1) / total


def silences_s(sample: PackedStream) -> list[float]:
    """Seconds from the turn before (or the watch's begin) to each answer."""
    times = (sample.watch_from_s, *sample.turns_at_s)
    return [times[i + 1] - times[i] for i, turn in enumerate(sample.turns) if turn.role is Role.ASSISTANT]


def gaps_s(sample: PackedStream) -> list[float]:
    """Seconds from each answer to the next turn that is later, or to the watch's end: so late is who never speaks."""
    answers = [at_s for at_s, turn in zip(sample.turns_at_s, sample.turns, strict=True) if turn.role is Role.ASSISTANT]
    times = (*sample.turns_at_s, sample.watch_until_s)
    return [min((t for t in times if t > at_s), default=at_s) - at_s for at_s in answers]
