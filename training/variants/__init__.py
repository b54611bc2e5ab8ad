"""One file a paper: it names the paper, states the formula, fills the seams and claims its token count."""

from __future__ import annotations

import ast
import difflib
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
        near = difflib.get_close_matches(name, names(), n=1)
        do = f"did you mean {near[0]!r}?" if near else "see `reelmill train list`"
        raise NotFound(f"variant {name!r}", seen=", ".join(names()), do=do)
    return importlib.import_module(f"reelmill.training.variants.{name}")


def story(name: str) -> str:
    """First line of a variant's page: paper and idea. Read without importing anything."""
    tree = ast.parse((Path(__file__).parent / f"{name}.py").read_text(encoding="utf-8"))
    return (ast.get_docstring(tree) or "").splitlines()[0]
