"""A verdict: where a row or child ended. A row without one is pending; there is no fourth state.

>>> rejected("shots", "black", "mean luma 2.1 of 255").state
<State.REJECTED: 'rejected'>
"""

from __future__ import annotations

import enum
from dataclasses import dataclass


class State(enum.StrEnum):
    ACCEPTED = "accepted"
    REJECTED = "rejected"


@dataclass(frozen=True, slots=True)
class Verdict:
    """`reason` is a short stable code to group by; `detail` is what was seen, for a person."""

    state: State
    step: str
    reason: str
    detail: str

    @property
    def accepted(self) -> bool:
        return self.state is State.ACCEPTED


ACCEPTED = Verdict(State.ACCEPTED, "", "", "")


def rejected(step: str, reason: str, detail: str = "") -> Verdict:
    return Verdict(State.REJECTED, step, reason, detail)
