"""Compiled layers say what plain ones say, whatever hooks do between them, and are not compiled again for a longer row.

The graphs are captured and differentiated as for every compiler, and run by torch itself; `make check-training` has the
default one write them in C++, which takes minutes.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import tiny_documents as tiny
import torch
from torch import Tensor
from torch._dynamo.utils import counters

from reelmill.schemas.errors import BadInput
from reelmill.training import ladder
from reelmill.training.assemble import from_scratch
from reelmill.training.documents import Pack, packed
from reelmill.training.loop.compiled import compiled
from reelmill.training.loop.plan import Data, Plan
from reelmill.training.seams import Objective
from reelmill.training.vlm import VLM

FULL = os.environ.get("REELMILL_TRAINING") == "full"
BACKENDS = [
    "aot_eager",
    pytest.param("inductor", marks=pytest.mark.skipif(not FULL, reason="minutes of a C++ compiler: check-training")),
]
VARIANTS = ["llava15", "fastv", *(["dynamic_llava", "videollm_mod", "m3", "st_llm", "llava_mole"] if FULL else [])]
"""Plain; dropping tokens; a bias in attention; tokens that pass a layer by; several passes; one without gradients;
experts in the layers."""
_WARM = 2
"""Rows after which all there is to compile was seen; gates of one token and the like come in the second."""


@pytest.fixture(autouse=True)
def nothing_compiled_before() -> Iterator[None]:
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def pack(n: int) -> Pack:
    """No two of the same length."""
    return packed([tiny.document(5 * n + i, answers=(2 + n,), question=3 + i) for i in range(1 + n % 3)])


def step(model: VLM, objective: Objective, n: int) -> tuple[Tensor, Tensor]:
    """Loss and all gradients."""
    torch.manual_seed(n)
    model.zero_grad()
    loss = objective(model, pack(n))
    loss.total.backward()
    return loss.total.detach(), torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])


@pytest.mark.timeout(900)
@pytest.mark.parametrize("backend", BACKENDS)
def test_compiled_is_as_eager_and_compiles_no_row_again(backend: str) -> None:
    for name in VARIANTS:
        (plain, variant), (made, same) = (from_scratch(name, ladder.XS, tiny.VOCABULARY, frames=4) for _ in "ab")
        compiled(made.train(), backend)
        graphs = []
        for n in range(6):
            expected, found = step(plain.train(), variant.objective, n), step(made, same.objective, n)
            torch.testing.assert_close(found[0], expected[0], rtol=1e-5, atol=1e-5)
            torch.testing.assert_close(found[1], expected[1], rtol=1e-5, atol=1e-5 * float(expected[1].abs().max()))
            graphs.append(counters["stats"]["unique_graphs"])
        assert graphs[-1] == graphs[_WARM - 1] > 0, f"{name}: {graphs}"


def test_without_a_compiler_a_cpu_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BadInput, match=r"C\+\+ compiler; seen: none of .* on PATH; do: install g\+\+"):
        compiled(ladder.trunk(ladder.XS, tiny.WORDS))


def test_a_run_of_before_is_the_same_plan(tmp_path: Path) -> None:
    """Its plan.json does not know the word."""
    Plan("mqt", (Data("x"),)).write(tmp_path)
    assert "compile" not in (tmp_path / "plan.json").read_text()
    with pytest.raises(BadInput, match="compile False there, True here"):
        Plan("mqt", (Data("x"),), compile=True).write(tmp_path)
