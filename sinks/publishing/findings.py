"""A finding of verification: where something is not as declared.

>>> print(error("parts/a-000001.rows", "10 bytes", "no such object", "part_missing"))
error part_missing: parts/a-000001.rows: declared 10 bytes, seen no such object
"""

from __future__ import annotations

import enum
from dataclasses import dataclass


class Severity(enum.StrEnum):
    """An error breaks a promise; a warning is worth knowing."""

    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True, slots=True)
class Finding:
    """`kind` is a short stable code to group by."""

    severity: Severity
    kind: str
    where: str
    declared: str
    seen: str

    def __str__(self) -> str:
        return f"{self.severity} {self.kind}: {self.where}: declared {self.declared}, seen {self.seen}"


def error(where: str, declared: str, seen: str, kind: str) -> Finding:
    return Finding(Severity.ERROR, kind, where, declared, seen)


def warning(where: str, declared: str, seen: str, kind: str) -> Finding:
    return Finding(Severity.WARNING, kind, where, declared, seen)
