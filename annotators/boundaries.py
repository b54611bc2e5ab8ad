"""Ends of a span, moved to where the picture begins or ceases to change: the boundary refinement of a consensus.

Localisers that see a few frames a second leave ends half a second off. A still camera shows when anything at all begins
to move and when all is still again; those switches know no phrase, so they move an end a little and never place one.

    span [1.0, 3.0), change from 1.24 s until 2.8 s  ->  [1.24, 2.8)
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from reelmill.annotators.events import Activity, EventRules
from reelmill.annotators.motion.changes import Changes
from reelmill.annotators.motion.phases import Floats
from reelmill.schemas.span import Span


@dataclass(frozen=True, slots=True)
class Switches:
    """Seconds of the clip, rising: `rises_s` at which change begins where none was, `falls_s` at which all is still."""

    rises_s: Floats
    falls_s: Floats

    @classmethod
    def of(cls, changes: Changes) -> Switches:
        """Of cells that change more than is usual for them, as the second localiser of `events` has it."""
        activity = Activity(changes, EventRules())
        active = activity.cells.any(axis=(1, 2)).astype(np.int8)
        steps = np.diff(np.concatenate([[0], active, [0]]))
        return cls(activity.edges_s[np.flatnonzero(steps == 1)], activity.edges_s[np.flatnonzero(steps == -1)])


def snapped(span: Span, switches: Switches, bound_s: float) -> Span:
    """Start at the nearest rise and end at the nearest fall, each within `bound_s` or left as it is. The span itself
    where its ends would meet."""
    start_s = _nearest(span.start_s, switches.rises_s, bound_s)
    end_s = _nearest(span.end_s, switches.falls_s, bound_s)
    return Span(start_s, end_s) if start_s < end_s else span


def _nearest(at_s: float, times_s: Floats, bound_s: float) -> float:
    near = times_s[np.abs(times_s - at_s) <= bound_s]
    return round(float(near[np.abs(near - at_s).argmin()]), 9) if len(near) else at_s
