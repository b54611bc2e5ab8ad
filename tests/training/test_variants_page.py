"""The page of variants tells of every file in training/variants, and what it says of the code is so."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from transformers import LlamaConfig

from reelmill.training import variants
from reelmill.training.fusers.fuse import Fuse
from reelmill.training.objectives.lm import LM
from reelmill.training.reducers.combine import Apply, Chain, Project, Stage
from reelmill.training.variants.variant import On, Variant

_PLAIN = (Chain, Project, Apply, Fuse)
_STATES = {"M", "P", "R"}


@pytest.fixture(scope="module")
def rows(root: Path) -> dict[str, list[str]]:
    """Cells of the table by variant."""
    lines = (root / "docs" / "variants.md").read_text().splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("| `")]
    return {row[0].strip("`"): row[1:] for row in cells}


def named(part: Any) -> str:
    """What a seam is filled with."""
    return getattr(part, "__name__", type(part).__name__)


def fills(variant: Variant) -> str:
    """Seams and what stands in them."""
    stages = [m for m in variant.reducer.modules() if isinstance(m, Stage) and type(m) not in _PLAIN]
    fusers = [m.fuser for m in variant.reducer.modules() if isinstance(m, Fuse)]
    seams = {
        "slicer": [named(variant.slicer)] if variant.slicer else [],
        "tower": ["around it"] if variant.sees else [],
        "fuser": [named(fuser) for fuser in fusers],
        "reducer": [named(stage) for stage in stages],
        "pre-fusion": [named(variant.prefusion)] if variant.prefusion else [],
        "hook": [named(hook) for hook in variant.hooks],
        "policy": [named(variant.policy)] if variant.policy else [],
        "codec": [named(codec) for codec in variant.codecs.values()],
        "adapter": [named(variant.adapter)] if variant.adapter else [],
        "objective": [] if type(variant.objective) is LM else [named(variant.objective)],
        "schedule": [named(variant.schedule)] if variant.schedule else [],
    }
    said = [f"{seam} {', '.join(dict.fromkeys(parts))}" for seam, parts in seams.items() if parts]
    return "; ".join(said) or "projector alone"


def told(name: str) -> list[str]:
    """What a row must say before its last two cells."""
    lm = LlamaConfig(hidden_size=32, intermediate_size=32, num_hidden_layers=32, num_attention_heads=2, vocab_size=8)
    module = variants.named(name)
    claims = module.build(On(32, 32, (24, 24), 1, lm)).claims
    variant = module.build(On(32, 32, claims[0].grid, claims[0].frames, lm))
    paper = re.search(r"arXiv \d+\.\d+", variants.story(name))
    assert paper is not None
    return [paper[0], fills(variant), ", ".join(str(claim.tokens) for claim in claims)]


@pytest.mark.parametrize("name", variants.names())
def test_a_variant_has_a_row_that_is_so(name: str, rows: dict[str, list[str]]) -> None:
    expected = told(name)
    assert name in rows, f"docs/variants.md lacks: | `{name}` | {' | '.join(expected)} | M | ... |"
    assert rows[name][:3] == expected
    assert rows[name][3] in _STATES
    assert len(rows[name][4]) > 5


def test_the_page_has_no_other_rows(rows: dict[str, list[str]]) -> None:
    assert sorted(rows) == list(variants.names())
