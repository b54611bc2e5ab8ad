"""What every step that decodes has in common: a child process of its own, from `setup` to `close`, and rows one by one.

@dataclass(frozen=True)
class Darkest(WithChild):
    ...
    def _row(self, row):
        return {"luma": self.child.call("my.module:luma", row["uri"], wall_s=60.0)}
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import pyarrow as pa

from reelmill.annotators.annotator import Annotator, each_row
from reelmill.annotators.decode.isolated import Isolated


class WithChild:
    """For a frozen dataclass with a method `_row`, as `each_row` asks it. The child is no field: it is no identity."""

    _row: Callable[[dict[str, Any]], dict[str, Any]]

    def setup(self) -> None:
        """Make ready the decode child; it starts with the first row."""
        object.__setattr__(self, "_child", Isolated())

    def close(self) -> None:
        """End the decode child."""
        self.child.close()

    @property
    def child(self) -> Isolated:
        """The decode child, once `setup` was called."""
        return cast(Isolated, self.__dict__["_child"])

    def __call__(self, batch: pa.Table) -> pa.Table:
        return each_row(cast(Annotator, self), batch, self._row)
