"""Perturbations of a list of n items, as pure functions: how much is touched depends on n, and nothing stays as it was.

After TEMPLE (arXiv 2503.16929), which cuts a list of captions into blocks of max(1, n // r) for r = 16, 8, 4, 2 and
permutes, reverses or drops them. There half of the shuffles at r = 2 are the identity, and for short lists several r
give one block structure; here identity is never drawn and a structure that came before is left out.

>>> block_sizes(4), block_sizes(16)
((1, 2), (1, 2, 4, 8))
>>> reversed_blocks(5, 2)
(4, 2, 3, 0, 1)
>>> woven("abab", (3, 2, 1, 0))
(1, 0, 3, 2)
"""

from __future__ import annotations

import math
import random
from collections import defaultdict, deque
from collections.abc import Hashable, Sequence
from functools import lru_cache

from reelmill.schemas.span import Span

DIVISORS = (16, 8, 4, 2)
"""TEMPLE's r, the strongest corruption first: a share 1/r of the items makes one block."""

Order = tuple[int, ...]


def block_sizes(n: int) -> tuple[int, ...]:
    """Sizes of blocks, one per stage, the smallest (the strongest corruption) first; none where n < 2.

    Every size leaves two blocks or more, and no two sizes are equal, so no two stages have one block structure.
    """
    return tuple(sorted({size for r in DIVISORS if (size := max(1, n // r)) < n}))


def drop_counts(n: int) -> tuple[int, ...]:
    """How many of n items fall out (or are added), one number per stage, the most first; at least one item stays."""
    return tuple(sorted({count for r in DIVISORS if (count := max(1, n // r)) < n}, reverse=True))


@lru_cache(maxsize=1 << 10)
def blocks(n: int, size: int) -> tuple[Order, ...]:
    """Places 0 to n - 1 cut into runs of `size`; the last may be shorter."""
    return tuple(tuple(range(first, min(first + size, n))) for first in range(0, n, size))


def reversed_blocks(n: int, size: int) -> Order:
    """The blocks from the last to the first, each in its own order."""
    return tuple(place for block in reversed(blocks(n, size)) for place in block)


def shuffled_blocks(n: int, size: int, rng: random.Random) -> Order:
    """The blocks in another order, every such order being equally likely. Raises ValueError below two blocks."""
    cut = blocks(n, size)
    if len(cut) < 2:
        raise ValueError(f"{n} items in blocks of {size}: want two blocks or more, seen {len(cut)}")
    while True:
        drawn = rng.sample(cut, len(cut))
        if tuple(drawn) != cut:
            return tuple(place for block in drawn for place in block)


def shuffles(n: int, size: int) -> int:
    """How many orders `shuffled_blocks` draws from.

    >>> shuffles(3, 1)
    5
    """
    return math.factorial(len(blocks(n, size))) - 1


def swapped(n: int, at: int) -> Order:
    """Places `at` and `at + 1` exchanged."""
    places = list(range(n))
    places[at], places[at + 1] = places[at + 1], places[at]
    return tuple(places)


def dropped(n: int, count: int, rng: random.Random) -> Order:
    """The n - count places that stay, in order."""
    gone = set(rng.sample(range(n), count))
    return tuple(place for place in range(n) if place not in gone)


def woven(owners: Sequence[Hashable], order: Sequence[int]) -> Order:
    """Owners take turns in the new `order`, and what one owner does stays in its own: places of the items then.

    So "leaves" never comes before the same thing's "enters", which anybody could call wrong without seeing the video.
    """
    own: dict[Hashable, deque[int]] = defaultdict(deque)
    for place, owner in enumerate(owners):
        own[owner].append(place)
    return tuple(own[owners[place]].popleft() for place in order)


def framed(slots: Sequence[int], frames: Sequence[int]) -> Order:
    """The order of items when frames are shown as `frames`, item i standing at frame `slots[i]` of the clean ones."""
    shown_at = {frame: i for i, frame in enumerate(frames)}
    return tuple(sorted(range(len(slots)), key=lambda i: (shown_at[slots[i]], i)))


def keeps_turns(owners: Sequence[Hashable], order: Sequence[int]) -> bool:
    """Whether each owner's items keep their order."""
    return tuple(order) == woven(owners, order)


def moved_share(order: Sequence[int], n: int) -> float:
    """The share of n items that are gone or no longer in their place, in [0, 1]."""
    at_home = sum(place == i for i, place in enumerate(order)) if len(order) == n else len(order)
    return 1 - at_home / n


def is_identity(order: Sequence[int], n: int) -> bool:
    return tuple(order) == tuple(range(n))


def shifted(span: Span, by_s: float, duration_s: float) -> Span | None:
    """The span moved in time, or None where that leads out of the clip. Its length stays."""
    start_s, end_s = span.start_s + by_s, span.end_s + by_s
    return Span(start_s, end_s) if start_s >= 0 and end_s <= duration_s else None
