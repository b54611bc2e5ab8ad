"""Numbers as digits: no tokens of its own, nothing to learn but text (LLaVA-1.5 boxes, V2Xum-LLM's times)."""

from __future__ import annotations

import re
from collections.abc import Sequence

from torch import Tensor, nn

from reelmill.training.seams import Spelled

_NUMBER = r"(\d+(?:\.\d+)?)"
_SAID = {2: re.compile(rf"{_NUMBER} to {_NUMBER}"), 4: re.compile(rf"\[{_NUMBER}, {_NUMBER}, {_NUMBER}, {_NUMBER}\]")}


class Text(nn.Module):
    """A time in the clip's seconds with `decimals`, a box as four shares of the frame."""

    def __init__(self, decimals: int = 1) -> None:
        super().__init__()
        self.decimals, self.names = decimals, ()

    def spell(self, values: Sequence[float], scale: Sequence[float]) -> Sequence[Spelled]:
        """Two numbers as "1.5 to 3.0", more as "[0.10, 0.20, 0.30, 0.40]"."""
        said = [f"{v * s:.{self.decimals}f}" for v, s in zip(values, scale, strict=True)]
        return [" to ".join(said) if len(said) == 2 else f"[{', '.join(said)}]"]

    def embed(self, name: str, values: Tensor) -> Tensor:
        """Never called: text has no slots."""
        raise ValueError(f"numbers written as text have no slot {name!r}")

    def rows(self, name: str) -> Tensor | None:
        return None

    target = loss = read = embed

    def found(self, text: str, d: int) -> tuple[str, list[tuple[float, ...]]]:
        """A text with `{}` in the place of every group of `d` numbers written as `spell` does, and the numbers."""
        numbers = [tuple(map(float, groups)) for groups in _SAID[d].findall(text)]
        return _SAID[d].sub("{}", text.replace("{", "(").replace("}", ")")), numbers
