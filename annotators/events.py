"""Events of a clip, each with what two localisers say: the tube's boxes, and the change map that never saw a tube.

The second opinion is asked for the kind at hand: the strip along the border for an entrance or exit, the cells under
the thing for a move or a rest. With `agreement` only an event on whose times both agree is accepted. Every event keeps
both proposals, accepted or not.

    tubes say "enters" [1.00, 1.28), the left strip changes in [1.00, 1.32)  ->  accepted
    tubes say "enters" [1.00, 1.28), the strip is quiet                      ->  rejected: second_localiser_silent
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa

from reelmill.annotators.annotator import Resources, each_row, step_name
from reelmill.annotators.motion.changes import CHANGES, Changes
from reelmill.annotators.motion.phases import Flags, Floats, Phase, PhaseRules, Reading, phases
from reelmill.annotators.tubes import METHOD, TUBES
from reelmill.schemas import arrow
from reelmill.schemas.column import KEY, Column
from reelmill.schemas.event import Event, EventKind, Proposal
from reelmill.schemas.keys import child_key, micros
from reelmill.schemas.span import Span
from reelmill.schemas.tube import Tube
from reelmill.schemas.verdict import ACCEPTED, Verdict, rejected

EVENTS = Column.of("events", tuple[Event, ...])

TUBE_LOCALISER, CHANGE_LOCALISER = "tubes", "changes"

DOUBTED = "low_confidence"
"""Reason of the one event of a tube that may be no one thing: it moves, and what it does is not read off its boxes."""
_BORDER_KINDS = (EventKind.ENTERS, EventKind.LEAVES)


@dataclass(frozen=True, slots=True)
class EventRules:
    """`look_s`: how far around the tube's answer the change map is searched; `bridge_s`: quiet gaps inside a move.

    A cell or border piece changes where at least `cell_mille` or `piece_mille` of its pixels do, above its own median.
    Spans of at least `long_s` agree at `agree_tiou` with ends within `agree_long_s`, shorter ones with ends within
    `agree_s`. Below `least_tube` no event of a tube is accepted; no event shorter than `least_s` is. Without
    `agreement` the second localiser's answer is kept and decides nothing (what it buys: decision 0022).
    """

    look_s: float = 0.5
    bridge_s: float = 0.13
    cell_mille: int = 20
    piece_mille: int = 200
    long_s: float = 0.8
    agree_tiou: float = 0.5
    agree_long_s: float = 0.25
    agree_s: float = 0.16
    least_tube: float = 0.5
    least_s: float = 0.06
    agreement: bool = False


@dataclass(frozen=True)
class ReadEvents:
    """Adds the events of a clip's tubes, every one with a verdict."""

    phases: PhaseRules = field(default_factory=PhaseRules)
    rules: EventRules = field(default_factory=EventRules)
    needs: ClassVar[tuple[Column, ...]] = (KEY, TUBES, CHANGES)
    gives: ClassVar[tuple[Column, ...]] = (EVENTS,)
    revision: ClassVar[str] = "3"
    resources: ClassVar[Resources] = Resources(rows_per_commit=64)

    def setup(self) -> None: ...

    def __call__(self, batch: pa.Table) -> pa.Table:
        return each_row(self, batch, self._row)

    def _row(self, row: dict[str, Any]) -> dict[str, Any]:
        tubes = arrow.typed(tuple[Tube, ...], row["tubes"])
        changes = Activity(arrow.typed(Changes, row["changes"]), self.rules)
        events = [event for tube in tubes for event in self._events(row["key"], tube, changes)]
        return {"events": tuple(sorted(events, key=lambda e: (e.span.start_s, e.span.end_s, e.subject_id, e.kind)))}

    def _events(self, key: str, tube: Tube, changes: Activity) -> list[Event]:
        reading = Reading(tube, changes.end_s, self.phases)
        if tube.confidence < self.rules.least_tube:
            found = [reading.phase(EventKind.MOVES, 0, len(tube.boxes))]
        else:
            found = phases(reading)
        return [self._event(key, tube, phase, changes.proposal(reading, phase)) for phase in found]

    def _event(self, key: str, tube: Tube, phase: Phase, second: Proposal) -> Event:
        verdict, agreement = _judged(phase, second, tube, self.rules, step_name(self))
        start, end = micros(phase.span.start_s), micros(phase.span.end_s)
        backed = second.score * agreement
        if self.rules.agreement:
            confidence = (tube.confidence * backed) ** (1 / 3)
        else:  # the tube's word counts by itself: half of it where the second localiser says nothing of the kind
            confidence = tube.confidence * (1 + backed**0.5) / 2
        return Event(
            key=child_key(key, "event", str(phase.kind), tube.tube_id, start, end),
            parent_key=key,
            kind=phase.kind,
            subject_id=tube.tube_id,
            subject=tube.phrase,
            phrase=f"{tube.phrase} {phase.kind}",
            span=phase.span,
            confidence=round(confidence, 4),
            proposals=(Proposal(TUBE_LOCALISER, phase.span, tube.confidence), second),
            method=METHOD,
            verdict=verdict,
        )


def _judged(phase: Phase, second: Proposal, tube: Tube, rules: EventRules, step: str) -> tuple[Verdict, float]:
    """The verdict on an event, and how well the localisers agree (tIoU)."""
    span, other = phase.span, second.span
    agreement = span.tiou(other) if other is not None else 0.0
    if tube.confidence < rules.least_tube:
        return rejected(step, DOUBTED, f"tube {tube.confidence:.2f}, want {rules.least_tube}"), agreement
    if phase.fault:
        return rejected(step, phase.fault, phase.detail), agreement
    if span.duration_s < rules.least_s:
        return rejected(step, "too_brief", f"{span.duration_s:.3f} s, want {rules.least_s} s"), agreement
    if not rules.agreement:
        return ACCEPTED, agreement
    if other is None:
        seen = f"no change where [{span.start_s:.3f}, {span.end_s:.3f}) needs one"
        return rejected(step, "second_localiser_silent", seen), agreement
    apart_s = max(abs(span.start_s - other.start_s), abs(span.end_s - other.end_s))
    long = span.duration_s >= rules.long_s
    within_s = rules.agree_long_s if long else rules.agree_s
    if apart_s > within_s or (long and agreement < rules.agree_tiou):
        said = f"changes say [{other.start_s:.3f}, {other.end_s:.3f}), tubes [{span.start_s:.3f}, {span.end_s:.3f})"
        return rejected(step, "localisers_disagree", f"{said}: ends {apart_s:.3f} s apart, want {within_s}"), agreement
    return ACCEPTED, agreement


class Activity:
    """The change map as arrays of flags: `cells` bool [frames, rows, columns], `border` bool [frames, side, piece]."""

    def __init__(self, changes: Changes, rules: EventRules) -> None:
        self.rules, self.end_s = rules, changes.end_s
        self.edges_s = np.array([*changes.at_s, changes.end_s])
        count = len(changes.at_s)
        self.cells = _active(np.array(changes.cells).reshape(count, changes.rows, changes.columns), rules.cell_mille)
        self.border = _active(np.array(changes.border).reshape(count, 4, changes.pieces), rules.piece_mille)

    def proposal(self, reading: Reading, phase: Phase) -> Proposal:
        """What the change map says about a phase: its span, or None where nothing of the kind is seen.

        `score` is the share of frames that fit: changing ones inside a move or crossing, quiet ones inside a rest."""
        near = (self.edges_s[:-1] > phase.span.start_s - self.rules.look_s) & (
            self.edges_s[:-1] < phase.span.end_s + self.rules.look_s
        )
        if phase.kind in _BORDER_KINDS:
            return self._crossing(self._strip(reading, phase) & near)
        under, there = self._under(reading)
        if phase.kind is EventKind.MOVES:
            return self._longest(phase, self._bridged(under) & near & there, under)
        return self._longest(phase, ~self._quiet_bridged(under) & near & there, ~under)

    def _strip(self, reading: Reading, phase: Phase) -> Flags:
        """Frames in which the border changes where the thing crosses it."""
        pieces = self.border.shape[2]
        sides = reading.sides[phase.first : phase.end]
        boxes = reading.boxes[phase.first : phase.end] / np.tile(reading.size, 2) * pieces
        active = np.zeros(len(self.border), bool)
        for side in range(4):
            if sides[:, side].any():
                low, high = boxes[:, (0, 2) if side < 2 else (1, 3)][sides[:, side]].T
                active |= self.border[:, side, _cells(low.min(), high.max(), pieces)].any(axis=1)
        return active

    def _crossing(self, active: Flags) -> Proposal:
        """From the strip's first change to its last: what stands across it in between need not change it."""
        frames = np.flatnonzero(active)
        if len(frames) < 2:
            return Proposal(CHANGE_LOCALISER, None, 0.0)
        first, last = int(frames[0]), int(frames[-1])
        span = Span(float(self.edges_s[first]), float(self.edges_s[last]))
        return Proposal(CHANGE_LOCALISER, span, round(len(frames) / (last - first + 1), 4))

    def _under(self, reading: Reading) -> tuple[Flags, Flags]:
        """Frames in which a cell under the thing (now or one frame ago) changes; frames in which it is there."""
        rows, columns = self.cells.shape[1:]
        grid = np.tile([columns, rows], 2) / np.tile(reading.size, 2)
        boxes = reading.boxes * grid
        reach = np.concatenate([boxes[:1], boxes[:-1]])
        low = np.minimum(boxes[:, :2], reach[:, :2])
        high = np.maximum(boxes[:, 2:], reach[:, 2:])
        frames = np.searchsorted(self.edges_s, reading.edges_s[:-1] - 1e-6)
        under, there = np.zeros(len(self.cells), bool), np.zeros(len(self.cells), bool)
        for frame, (x0, y0), (x1, y1) in zip(frames, low, high, strict=True):
            under[frame] = self.cells[frame, _cells(y0, y1, rows), _cells(x0, x1, columns)].any()
        there[frames] = True
        return under, there

    def _longest(self, phase: Phase, wanted: Flags, raw: Flags) -> Proposal:
        """The run of wanted frames that shares most time with a phase."""
        best: Span | None = None
        score = 0.0
        for first, end in _runs(wanted):
            span = Span(float(self.edges_s[first]), float(self.edges_s[end]))
            if span.overlap_s(phase.span) > (best.overlap_s(phase.span) if best else 0.0):
                best, score = span, float(raw[first:end].mean())
        return Proposal(CHANGE_LOCALISER, best, round(score, 4))

    def _bridged(self, active: Flags) -> Flags:
        """Quiet gaps of at most `bridge_s` filled."""
        filled = active.copy()
        for first, end in _runs(~active):
            inner = first > 0 and end < len(active)
            if inner and self.edges_s[end] - self.edges_s[first] <= self.rules.bridge_s:
                filled[first:end] = True
        return filled

    def _quiet_bridged(self, active: Flags) -> Flags:
        """Changes of a single frame between quiet ones taken out: a compressed film refreshes itself now and then."""
        calm = active.copy()
        for first, end in _runs(active):
            if end - first == 1 and first > 0 and end < len(active):
                calm[first] = False
        return calm


def _active(shares: Floats, least: int) -> Flags:
    """Where a share exceeds its own median over the clip by at least `least`."""
    usual = np.median(shares, axis=0) if len(shares) else 0
    return np.asarray(shares - usual >= least)


def _cells(low: float, high: float, count: int) -> slice:
    """Cells that the stretch [low, high) of a grid touches; at least one."""
    first = int(np.clip(np.floor(low), 0, count - 1))
    return slice(first, max(first + 1, int(np.clip(np.ceil(high), 0, count))))


def _runs(mask: Flags) -> list[tuple[int, int]]:
    edges = np.flatnonzero(np.diff(np.concatenate([[False], mask, [False]]).astype(np.int8)))
    return [(int(a), int(b)) for a, b in zip(edges[::2], edges[1::2], strict=True)]
