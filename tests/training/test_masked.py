"""ST-LLM's hidden tokens: nothing hidden costs nothing, and the share is what was drawn."""

from __future__ import annotations

import tiny_documents as tiny
import torch

from reelmill.training import ladder
from reelmill.training.assemble import from_scratch
from reelmill.training.documents import packed
from reelmill.training.objectives.lm import LM
from reelmill.training.objectives.masked import Masked


def test_nothing_hidden_is_the_plain_loss() -> None:
    model, _ = from_scratch("st_llm", ladder.XS, tiny.VOCABULARY, frames=4)
    pack, none = packed([tiny.document(0)]), Masked(96, rate=0.0, spread=0.0, least=0.0)
    loss = none.eval()(model.eval(), pack)
    torch.testing.assert_close(loss.parts["masked"], torch.tensor(0.0), atol=1e-4, rtol=0)
    torch.testing.assert_close(loss.total, LM()(model, pack).total, atol=1e-4, rtol=1e-5)


def test_half_is_hidden_words_are_not_and_it_costs() -> None:
    model, _ = from_scratch("st_llm", ladder.XS, tiny.VOCABULARY, frames=4)
    torch.manual_seed(0)
    row, half = model.row(packed([tiny.document(i) for i in range(8)])), Masked(96, spread=0.0)
    kept = row.keep(half.kept(row))
    assert int((~kept.visual).sum()) == int((~row.visual).sum())
    assert 0.4 < int(kept.visual.sum()) / int(row.visual.sum()) < 0.6
    loss = half(model, packed([tiny.document(0)]))
    assert float(loss.parts["masked"]) > 0.01


def test_its_decoder_is_part_of_the_model() -> None:
    model, variant = from_scratch("st_llm", ladder.XS, tiny.VOCABULARY, frames=4)
    assert model.objective is variant.objective
    assert "objective" in dict(model.parts())
    assert "objective.outer.weight" in model.state_dict()
