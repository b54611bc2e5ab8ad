"""Finding recipes: a module of `pipelines/` with a function `recipe`, or any `package.module:function` of the user's.

There is no registry. Listing reads the files without importing them, so that it stays instant.
"""

from __future__ import annotations

import ast
import difflib
import importlib
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reelmill.schemas.errors import BadInput, NotFound


@dataclass(frozen=True, slots=True)
class Found:
    """A recipe file: its name and the first line of its docstring."""

    name: str
    summary: str


def recipe_files() -> list[Found]:
    """Every recipe that ships, by name, read without importing anything."""
    from reelmill import pipelines

    folder = Path(inspect.getfile(pipelines)).parent
    found = [_read(path) for path in sorted(folder.glob("*.py")) if not path.name.startswith("_")]
    return [f for f in found if f is not None]


def _read(path: Path) -> Found | None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    if not any(isinstance(node, ast.FunctionDef) and node.name == "recipe" for node in tree.body):
        return None
    return Found(path.stem, (ast.get_docstring(tree) or "").splitlines()[0])


def recipe_function(name: str) -> Callable[..., Any]:
    """The function that makes a recipe. Raises NotFound with near names, BadInput where an import path is wrong."""
    if ":" in name:
        return _imported(name)
    known = [f.name for f in recipe_files()]
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean {near[0]!r}?" if near else "run `reelmill list`, or give package.module:function"
        raise NotFound(f"recipe {name!r}", seen=", ".join(known), do=hint)
    made: Callable[..., Any] = importlib.import_module(f"reelmill.pipelines.{name}").recipe
    return made


def _imported(path: str) -> Callable[..., Any]:
    module_name, _, attribute = path.partition(":")
    try:
        found: Callable[..., Any] = getattr(importlib.import_module(module_name), attribute)
    except (ImportError, AttributeError) as error:
        raise BadInput(
            f"recipe {path!r} cannot be imported", seen=str(error), do="give package.module:function"
        ) from error
    return found


def make(name: str, options: dict[str, Any]) -> Any:
    """Call a recipe's function with the options that it takes. Raises BadInput naming an option it does not take."""
    function = recipe_function(name)
    takes = inspect.signature(function).parameters
    unknown = sorted(set(options) - set(takes))
    if unknown:
        raise BadInput(f"recipe {name!r} has no option {unknown[0]!r}", seen=", ".join(takes) or "no options")
    missing = [n for n, p in takes.items() if p.default is p.empty and n not in options]
    if missing:
        do = "give --input DATASET=WEIGHT" if missing[0] == "inputs" else f"give --set {missing[0]}=..."
        raise BadInput(f"recipe {name!r} needs {missing[0]}", seen="it was not given", do=do)
    return function(**options)
