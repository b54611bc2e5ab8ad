"""What goes wrong with model servers, each to be had on purpose, drawn from the request and how often it came before.

    busy        429 with Retry-After                    broken      500 with an HTML page
    stall       no answer for a long time               cut         the connection ends in mid-answer
    truncated   half a JSON body, and status 200        empty       no choices
    malformed   an answer that is not JSON              misshapen   JSON of another shape than was asked for
    shortened   an answer cut by its token limit        twin        the answer to an earlier request, once more
    slow        the right answer, late

So a run meets the same faults in whatever order its requests come, and a request that is tried again may fare better.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

KINDS = (
    *("busy", "broken", "stall", "cut", "truncated", "empty"),
    *("malformed", "misshapen", "shortened", "twin", "slow"),
)


@dataclass(frozen=True, slots=True)
class Faults:
    """`rate` of all attempts go wrong, in one of `kinds` each. Seconds: how long a stall and a slow answer last, and
    what Retry-After asks for."""

    rate: float = 0.0
    kinds: tuple[str, ...] = KINDS
    seed: int = 0
    stall_s: float = 30.0
    slow_s: float = 1.0
    retry_after_s: float = 1.0

    def of(self, digest: str, attempt: int) -> str:
        """The fault that an attempt meets, '' for none.

        >>> Faults(1.0, ("cut",)).of("abc", 0), Faults(0.0).of("abc", 0)
        ('cut', '')
        """
        drawn = hashlib.sha256(f"{self.seed} {digest} {attempt}".encode()).digest()
        if int.from_bytes(drawn[:6], "big") >= self.rate * 2**48:
            return ""
        return self.kinds[int.from_bytes(drawn[6:8], "big") % len(self.kinds)]
