"""One file a paper: it names the paper, states the formula, fills the seams and claims its token count."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

from reelmill.schemas.errors import NotFound


def names() -> tuple[str, ...]:
    """All variants: a file is one by being here."""
    return tuple(sorted(p.stem for p in Path(__file__).parent.glob("*.py") if p.stem not in ("__init__", "variant")))


def named(name: str) -> Any:
    """The module of a variant. Raises NotFound, with the known ones, for an unknown name."""
    if name not in names():
        raise NotFound(f"no variant {name!r}", seen=f"{len(names())} variants: {', '.join(names())}", do="choose one")
    return importlib.import_module(f"reelmill.training.variants.{name}")


def story(name: str) -> str:
    """First line of a variant's page: paper and idea."""
    return str(named(name).__doc__).strip().splitlines()[0]
