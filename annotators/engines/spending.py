"""What engines cost: calls and tokens counted, priced, and stopped where a limit is reached.

>>> Usage(calls=1, tokens_in=10) + Usage(calls=2, cached=1, tokens_in=5)
Usage(calls=3, cached=1, tokens_in=15, tokens_out=0, cost=0.0, batched=0)
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass

from reelmill.annotators.engines.engine import Reply, Request
from reelmill.annotators.engines.profile import Price
from reelmill.schemas.errors import OverBudget

_IMAGE_TOKENS = 300
_LETTERS_PER_TOKEN = 4
_WINDOW_S = 60.0


@dataclass(frozen=True, slots=True)
class Usage:
    """Of `calls` answers `cached` came from the cache. Tokens and cost are those of all of them, whenever paid.

    So a killed run and its rerun say the same of a dataset. `cost` is 0 where no price is known; `batched` answers came
    by a provider's batch API, at its price.
    """

    calls: int = 0
    cached: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    cost: float = 0.0
    batched: int = 0

    def __add__(self, other: Usage) -> Usage:
        return Usage(**{name: value + getattr(other, name) for name, value in asdict(self).items()})

    @classmethod
    def of(cls, reply: Reply, price: Price | None) -> Usage:
        """One reply. An error costs nothing that we could know of."""
        cost = price.of(reply.tokens_in, reply.tokens_out, batched=reply.batched) if price else 0.0
        return cls(1, int(reply.cached), reply.tokens_in, reply.tokens_out, cost, int(reply.batched))


class Purse:
    """Money that may be spent by one process. `most` 0: no limit. May be used by several threads.

    What is being asked is counted as if it were spent: at what an answer cost so far, the first ones at a guess, and
    where it will be asked by batch at the guess for that.
    """

    def __init__(self, most: float, price: Price | None, name: str, *, batched: bool = False) -> None:
        self.most, self.price, self.name, self.batched = most, price, name, batched
        self.spent, self._bought, self._reserved = 0.0, 0, 0.0
        self._lock = threading.Lock()

    def reserve(self, request: Request) -> float:
        """What was set aside for a request. Raises OverBudget where it would go beyond the limit."""
        if self.price is None:
            return 0.0
        with self._lock:
            asked = guessed_tokens(request) - request.max_tokens
            guess = self.price.of(asked, request.max_tokens, batched=self.batched)
            cost = self.spent / self._bought if self._bought else guess
            if self.most and self.spent + self._reserved + cost > self.most:
                seen = f"{self.spent:.4f} spent on {self.name}, {self._reserved:.4f} being asked for"
                do = "raise --max-cost and run again: every answer that was paid for is kept"
                raise OverBudget(f"the spending stop of {self.most:g} is reached", seen=seen, do=do)
            self._reserved += cost
            return cost

    def pay(self, reply: Reply, reserved: float) -> None:
        if self.price is not None:
            with self._lock:
                self._reserved -= reserved
                self._bought += 1
                self.spent += self.price.of(reply.tokens_in, reply.tokens_out, batched=reply.batched)


def guessed_tokens(request: Request) -> int:
    """A rough upper guess at the tokens of a request and its answer: nobody knows before the server has counted."""
    return len(request.prompt) // _LETTERS_PER_TOKEN + _IMAGE_TOKENS * len(request.images) + request.max_tokens


class Allowance:
    """So many units a minute, spread evenly: a token bucket that begins with a second's worth. For one event loop.

    What was guessed too high is given back when it is known.
    """

    def __init__(self, per_minute: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.rate, self._clock = per_minute / _WINDOW_S, clock
        self._room, self._at = self.rate, clock()
        self._turn = asyncio.Lock()

    async def take(self, units: float) -> None:
        """Wait until `units` are free. What is more than a minute's worth is let through and paid off after."""
        if not self.rate:
            return
        async with self._turn:
            while (short := min(units, self.rate * _WINDOW_S) - self._filled()) > 0:
                await asyncio.sleep(short / self.rate)
            self._room -= units

    def give_back(self, units: float) -> None:
        self._room += units if self.rate else 0.0

    def _filled(self) -> float:
        now = self._clock()
        self._room = min(self._room + (now - self._at) * self.rate, self.rate * _WINDOW_S)
        self._at = now
        return self._room
