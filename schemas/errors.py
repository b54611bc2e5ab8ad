"""Every error that leaves a room, in one tree.

    ReelmillError                    exit code
    ├── UserError                    2   the request or the input is at fault
    │   ├── NotFound                     no such recipe, dataset, path or engine
    │   ├── BadInput                     a flag, table or file that cannot be understood
    │   ├── StoreUnusable                the store cannot be written or read
    │   ├── Drift                        a finished dataset was made by another recipe than today's
    │   ├── PlanRefused                  the recipe does not fit together, or the profile cannot run it
    │   ├── Busy                         another live run holds the dataset
    │   └── EngineUnusable               the engine that was named is not there, or cannot do what is asked of it
    ├── Fault                        1   ours: a bug, a dead engine, a broken file that we wrote
    │   ├── GuardBroken                  a step dropped, doubled, reordered or mistyped rows
    │   ├── SchemaBroken                 a value does not fit its declared type
    │   ├── StaleWriter                  a worker of a run that lost its lease tried to commit
    │   ├── Corrupt                      stored bytes differ from their record
    │   └── EngineDown                   a model engine cannot answer
    └── OverBudget                   3   too many rows failed by faults; the rest is committed

`Unusable` stands apart: it is judgement, not trouble. It rejects one row or child and never leaves a step.

>>> str(NotFound("recipe 'clip'", seen="clips, tubes", do="run `reelmill list`"))
"recipe 'clip' not found; seen: clips, tubes; do: run `reelmill list`"
"""

from __future__ import annotations

from typing import ClassVar


class ReelmillError(Exception):
    """Says what was declared, what was seen and what to do, in one line."""

    exit_code: ClassVar[int] = 1
    verdict: ClassVar[str] = ""

    def __init__(self, what: str, *, seen: str = "", do: str = "") -> None:
        parts = [f"{what} {self.verdict}".strip()]
        if seen:
            parts.append(f"seen: {seen}")
        if do:
            parts.append(f"do: {do}")
        self.what, self.seen, self.do = what, seen, do
        super().__init__("; ".join(parts))

    def __reduce__(self) -> tuple[object, ...]:
        """Survive pickling between processes: keyword arguments are not in `args`."""
        return _rebuild, (type(self), self.what, self.seen, self.do)


def _rebuild(cls: type[ReelmillError], what: str, seen: str, do: str) -> ReelmillError:
    return cls(what, seen=seen, do=do)


class UserError(ReelmillError):
    exit_code = 2


class NotFound(UserError):
    verdict = "not found"


class BadInput(UserError):
    verdict = ""


class StoreUnusable(UserError):
    verdict = "cannot be used as a store"


class Drift(UserError):
    verdict = "has drifted"


class PlanRefused(UserError):
    verdict = ""


class Busy(UserError):
    verdict = "is being written by another run"


class EngineUnusable(UserError):
    verdict = "cannot be used"


class Fault(ReelmillError):
    exit_code = 1


class GuardBroken(Fault):
    pass


class SchemaBroken(Fault):
    pass


class StaleWriter(Fault):
    verdict = "lost its lease"


class Corrupt(Fault):
    verdict = "is corrupt"


class EngineDown(Fault):
    verdict = "cannot answer"


class OverBudget(ReelmillError):
    exit_code = 3


class Unusable(Exception):
    """Reject one row or child: `reason` is a short stable code, `detail` says what was seen.

    >>> raise Unusable("no_video_stream", "1 audio stream, 0 video streams")
    Traceback (most recent call last):
    ...
    reelmill.schemas.errors.Unusable: no_video_stream: 1 audio stream, 0 video streams
    """

    def __init__(self, reason: str, detail: str = "") -> None:
        self.reason, self.detail = reason, detail
        super().__init__(f"{reason}: {detail}" if detail else reason)

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.reason, self.detail)
