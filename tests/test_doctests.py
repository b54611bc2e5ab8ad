"""Every example in a docstring is run. A new module is enrolled by existing.

Modules are imported by their real names; pytest's own collection would import the rooms bare and so make second copies.
"""

from __future__ import annotations

import ast
import doctest
import importlib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
ROOMS = ("schemas", "annotators", "sinks", "pipelines", "training", "jobs")


def with_examples() -> list[str]:
    """Names of the modules that show `>>>` in a docstring; found from the text, so that nothing is imported to look."""
    found = []
    for room in ROOMS:
        for path in sorted((ROOT / room).rglob("*.py")):
            if ">>>" in path.read_text() and ast.parse(path.read_text()).body:
                dotted = ".".join(path.relative_to(ROOT).with_suffix("").parts)
                found.append("reelmill." + dotted.removesuffix(".__init__"))
    return found


@pytest.mark.parametrize("name", with_examples())
def test_examples_in_docstrings_are_true(name: str) -> None:
    module = importlib.import_module(name)
    shown = [example for found in doctest.DocTestFinder().find(module) for example in found.examples]
    assert shown, f"{name} shows >>> where doctest does not look"
    assert doctest.testmod(module, optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE).failed == 0
