"""Is a dialogue of CoTasks right, and is its rejected side wrong and worse? From its words and times alone.

The view is not used, nor are the measures: what is told is read back line by line, held against every true event of the
clip, and scored again by other arithmetic.

>>> likeness("a dog runs", "a dog jumps") == likeness("a dog jumps", "a dog runs")
True
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

from reelmill.pipelines.views.checks.grounding import Said, said_of
from reelmill.schemas.event import Event
from reelmill.schemas.sample import PreferenceSample, Role, Sample, Turn
from reelmill.schemas.span import Span

ORDER_S = 0.2
"""Starts of true events that are nearer than this have no order."""
_HIT = 0.5
_PARTS = {
    "captions_first": ("count", "captions", "times"),
    "segments_first": ("count", "times", "timed"),
    "segments": ("count", "times"),
    "captions": ("count", "captions"),
    "captions_given_times": ("count", "times", "timed"),
    "times_given_captions": ("count", "captions", "times"),
}
_LABEL = re.compile(r"^(?:\w+ event: |Event \d+: |\d+\. )")
_TIMED = re.compile(r"^<time>: |^At <time>, | at <time>(?=\.$)| \(<time>\)(?=\.$)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class _Account:
    """What one side tells: how many, and the lines of its last answer with what the answers before it gave."""

    count: int | None
    sentences: tuple[str, ...]
    spans: tuple[Span, ...]


def check_cotasks(
    sample: Sample, events: Sequence[Event], slack_s: float = 1e-6, least_margin: float = 10.0
) -> list[str]:
    """What is wrong with a dialogue or a pair, given every true event of its clip; empty where all is right.

    `slack_s` is how far a time of the chosen side may be off, for labels that a localiser made.
    """
    faults = _form_faults(sample)
    if faults:
        return faults
    account = _read(sample.task, sample.turns)
    faults = _untrue(account, events, slack_s, ordered=sample.task != "times_given_captions")
    if faults or not isinstance(sample, PreferenceSample):
        return faults
    shared = sample.turns[: len(sample.turns) - len(sample.rejected)]
    worse = _read(sample.task, (*shared, *sample.rejected))
    if worse.sentences and worse.spans and len(worse.sentences) != len(worse.spans):
        return [f"{len(worse.sentences)} sentences and {len(worse.spans)} times are rejected"]
    return _pair_faults(sample, account, worse, events, least_margin)


def _form_faults(sample: Sample) -> list[str]:
    whole = [sample.turns]
    if isinstance(sample, PreferenceSample):
        whole.append((*sample.turns[: len(sample.turns) - len(sample.rejected)], *sample.rejected))
    roles = [Role.USER, Role.ASSISTANT] * len(_PARTS[sample.task])
    faults = [f"roles are {[str(t.role) for t in turns]}" for turns in whole if [t.role for t in turns] != roles]
    faults += [f for turns in whole for turn in turns for f in _turn_faults(turn, sample)]
    asked = {tuple(t.text for t in turns[0::2]) for turns in whole}
    return faults + (["the sides are asked different things"] if len(asked) > 1 else [])


def _turn_faults(turn: Turn, sample: Sample) -> list[str]:
    places, times = turn.text.count("<time>"), turn.tgt_s
    if turn.src_s or len(times) != 2 * places or not turn.text.strip():
        return [f"{places} places for {len(times)} times: {turn.text!r}"]
    span = sample.media.span
    end_s = min(sample.media.duration_s, span.duration_s if span else sample.media.duration_s)
    pairs = zip(times[0::2], times[1::2], strict=True)
    return [f"[{s}, {e}) in a clip of {end_s} s" for s, e in pairs if not 0 <= s < e <= end_s]


def _read(task: str, turns: Sequence[Turn]) -> _Account:
    count: int | None = None
    sentences: tuple[str, ...] = ()
    spans: tuple[Span, ...] = ()
    for part, answer in zip(_PARTS[task], turns[1::2], strict=True):
        lines = answer.text.split("\n")
        if part == "count":
            number = re.search(r"\d+", answer.text)
            count = int(number[0]) if number else None
        if part in ("captions", "timed"):
            form = _TIMED if part == "timed" else _LABEL
            sentences = tuple(form.sub("", line).rstrip(".") for line in lines)
        if part != "count" and answer.tgt_s:
            spans = tuple(Span(s, e) for s, e in zip(answer.tgt_s[0::2], answer.tgt_s[1::2], strict=True))
    return _Account(count, sentences, spans)


def _named(event: Event) -> Said:
    return event.subject.lower().removeprefix("the "), event.kind


def _true(events: Sequence[Event]) -> list[tuple[Said, Span]]:
    """Each thing said once, in order of time."""
    told = dict.fromkeys((_named(e), e.span) for e in events)
    return sorted(told, key=lambda t: (t[1].start_s, t[1].end_s))


def _said(account: _Account, events: Sequence[Event]) -> list[Said | None]:
    found = [said_of(sentence, events) for sentence in account.sentences]
    return [said[0] if len(said) == 1 else None for said in found]


def _untrue(account: _Account, events: Sequence[Event], slack_s: float, *, ordered: bool) -> list[str]:
    """What is not so of an account that is meant to be true, and in order of time where it is to be `ordered`."""
    true = _true(events)
    faults = [] if account.count == len(true) else [f"{account.count} events are counted, there are {len(true)}"]
    if account.spans and len(account.spans) != len(true):
        return [*faults, f"{len(account.spans)} times for {len(true)} events"]
    if not account.sentences:
        pairs = zip(account.spans, (span for _, span in true), strict=True)
        return faults + [f"{a} told, {b} is so" for a, b in pairs if not _same(a, b, slack_s)]
    said = _said(account, events)
    if Counter(said) != Counter(name for name, _ in true):
        return [*faults, f"said {said}, so is {[name for name, _ in true]}"]
    if account.spans:
        starts = [span.start_s for span in account.spans]
        faults += ["not told in order of time"] if ordered and starts != sorted(starts) else []
        return faults + _misplaced(list(zip(said, account.spans, strict=True)), true, slack_s)
    return faults + ([] if _in_order(said, true, max(slack_s, 1e-9)) else ["not told in order of time"])


def _misplaced(
    told: Sequence[tuple[Said | None, Span]], true: Sequence[tuple[Said, Span]], slack_s: float
) -> list[str]:
    left, faults = list(true), []
    for name, span in told:
        match = next((t for t in left if t[0] == name and _same(span, t[1], slack_s)), None)
        if match is None:
            faults.append(f"{name} is not at {span}, or told twice")
        else:
            left.remove(match)
    return faults


def _same(one: Span, other: Span, slack_s: float) -> bool:
    return abs(one.start_s - other.start_s) <= slack_s and abs(one.end_s - other.end_s) <= slack_s


def _in_order(said: Sequence[Said | None], true: Sequence[tuple[Said, Span]], slack_s: float) -> bool:
    """Whether every saying can have an event of its own so that none starts more than `slack_s` before an earlier."""
    if not said:
        return True
    starts = [span.start_s for _, span in true]
    return any(
        min(starts) >= span.start_s - slack_s and _in_order(said[1:], [*true[:i], *true[i + 1 :]], slack_s)
        for i, (name, span) in enumerate(true)
        if name == said[0]
    )


def _pair_faults(
    pair: PreferenceSample, chosen: _Account, worse: _Account, events: Sequence[Event], least_margin: float
) -> list[str]:
    faults = [f"a chosen claim fails: {c.text}" for c in pair.claims if not c.rejected and not c.holds]
    if all(c.holds for c in pair.claims if c.rejected):
        faults.append("no rejected claim fails")
    if not _is_false(worse, events):
        faults.append(f"rejected is not wrong: {pair.rejected[-1].text!r} {pair.rejected[-1].tgt_s}")
    margin = 100 * (score(pair.task, chosen, chosen) - score(pair.task, worse, chosen))
    if abs(margin - pair.margin) > 1e-4:
        faults.append(f"margin {pair.margin}, recomputed {margin}")
    below = margin < least_margin - 1e-9  # the last digits depend on the order of a sum
    return faults + ([f"margin {margin} is below {least_margin}"] if below else [])


def _is_false(account: _Account, events: Sequence[Event]) -> bool:
    """Whether something told is surely not so. Of times alone: one that is near to no event."""
    true = _true(events)
    if account.count != len(true):
        return True
    if not account.sentences:
        return any(all(span.tiou(own) < _HIT for _, own in true) for span in account.spans)
    said = _said(account, events)
    if account.spans:
        return any(_surely_not(name, span, true) for name, span in zip(said, account.spans, strict=True))
    return Counter(said) != Counter(name for name, _ in true) or not _in_order(said, true, ORDER_S)


def _surely_not(name: Said | None, span: Span, true: Sequence[tuple[Said, Span]]) -> bool:
    """No time of that name is near, and less than half of the span is one, looked at millisecond by millisecond."""
    own = [other for known, other in true if known == name]
    instants = [span.start_s + (k + 0.5) * span.duration_s / 1000 for k in range(1000)]
    within = sum(any(o.start_s <= t < o.end_s for o in own) for t in instants)
    return all(span.tiou(o) < _HIT for o in own) and within < 505


def score(task: str, told: _Account, own: _Account) -> float:
    """The measure of a pool in [0, 1], of one account against another."""
    if task == "segments":
        table = [[_overlap(a, b) for b in own.spans] for a in told.spans]
        precision = sum(map(max, table)) / len(table)
        recall = sum(max(row[i] for row in table) for i in range(len(own.spans))) / len(own.spans)
        return _harmonic(precision, recall)
    if task == "captions":
        found = _best(
            len(told.sentences), len(own.sentences), lambda i, j: likeness(told.sentences[i], own.sentences[j])
        )
        return _harmonic(found / len(told.sentences), found / len(own.sentences))
    # Both have as many events, so precision, recall and F1 are one figure.
    first, second = _timed(told), _timed(own)
    return _best(
        len(first), len(second), lambda i, j: _overlap(first[i][0], second[j][0]) * likeness(first[i][1], second[j][1])
    ) / len(second)


def _timed(account: _Account) -> list[tuple[Span, str]]:
    pairs = zip(account.spans, account.sentences, strict=True)
    return sorted(pairs, key=lambda p: (p[0].start_s, p[0].end_s))


def _overlap(one: Span, other: Span) -> float:
    """tIoU, by the length that either covers."""
    edges = sorted((one.start_s, one.end_s, other.start_s, other.end_s))
    both = max(0.0, edges[2] - edges[1]) if one.start_s < other.end_s and other.start_s < one.end_s else 0.0
    return both / (one.duration_s + other.duration_s - both)


def _harmonic(precision: float, recall: float) -> float:
    return 2 / (1 / precision + 1 / recall) if precision and recall else 0.0


def _best(rows: int, columns: int, of: Callable[[int, int], float]) -> float:
    """The greatest sum of matches in order, from the end backwards."""

    @cache
    def rest(i: int, j: int) -> float:
        if i == rows or j == columns:
            return 0.0
        return max(rest(i + 1, j), rest(i, j + 1), rest(i + 1, j + 1) + of(i, j))

    return rest(0, 0)


def likeness(one: str, other: str) -> float:
    """ROUGE-L with beta 1.2 of two plain sentences."""
    first, second = (re.findall(r"[\w-]+", text.lower()) for text in (one, other))
    common = _best(len(first), len(second), lambda i, j: float(first[i] == second[j]))
    if not common:
        return 0.0
    return 2.44 / (len(first) / common + 1.44 * len(second) / common)
