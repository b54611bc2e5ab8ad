"""Shares of tokens as they were written: 0.07 of 100 is 7, although 0.07 * 100 in binary is a little more.

>>> rounded_up(0.07, 100)
7
"""

from __future__ import annotations

import math
from fractions import Fraction


def exact(share: float | Fraction) -> Fraction:
    """The decimal that a share is written as."""
    return share if isinstance(share, Fraction) else Fraction(repr(float(share)))


def rounded_up(share: float | Fraction, tokens: int) -> int:
    """The least number of tokens that is no less than a share of them."""
    return math.ceil(exact(share) * tokens)
