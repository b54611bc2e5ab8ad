"""What every variant must hold, on the ladder's smallest model: a file in training/variants is enrolled by existing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
import tiny_documents as tiny
import torch
from transformers import LlamaConfig

from reelmill.schemas.errors import NotFound
from reelmill.training import ladder, variants
from reelmill.training.answering import answer
from reelmill.training.assemble import from_scratch
from reelmill.training.documents import Document, packed
from reelmill.training.slicers.cut import tiles_of
from reelmill.training.towers import places
from reelmill.training.values import Text, Vis
from reelmill.training.variants.variant import Claim, On, Second, Variant
from reelmill.training.vlm import VLM

FRAMES = 4
NUMBERS: dict[str, tuple[float, ...]] = {"time": (0.25, 0.7), "box": (0.1, 0.2, 0.6, 0.9)}


@cache
def built(name: str, seed: int) -> tuple[VLM, Variant]:
    return from_scratch(name, ladder.XS, tiny.VOCABULARY, frames=FRAMES, seed=seed)


def made(name: str, seed: int = 0) -> tuple[VLM, Variant]:
    model, variant = built(name, seed)
    return model.eval(), variant


def slots_of(model: VLM) -> list[tuple[str, tuple[float, ...]]]:
    """A time and a box as the model's codecs spell them."""
    said = [codec.spell(NUMBERS[name], (1.0,) * len(NUMBERS[name])) for name, codec in model.codecs.items()]
    return [part for parts in said for part in parts if not isinstance(part, str)]


def written(model: VLM, seed: int, **more: Any) -> Document:
    return tiny.document(seed, frames=FRAMES, slots=slots_of(model), **more)


def with_pictures(model: VLM, variant: Variant, documents: list[Document]) -> list[Document]:
    """Documents, and two pictures as the variant cuts them: a wide and a tall one."""
    if variant.slicer is None:
        return documents
    wide, tall = (tiny.picture(9, variant.slicer, *size, slots=slots_of(model)) for size in ((72, 30), (24, 80)))
    return [documents[0], wide, *documents[1:], tall]


def claims() -> Iterator[Any]:
    lm = LlamaConfig(hidden_size=32, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2, vocab_size=8)
    for name in variants.names():
        module = variants.named(name)
        for claim in module.build(On(32, 32, (24, 24), 1, lm)).claims:
            yield pytest.param(module, claim, lm, id=f"{name}-{claim.tokens}")


def seen(claim: Claim, variant: Variant) -> Vis:
    """Random patches of a claim's frames, or of a picture's crops."""
    torch.manual_seed(0)
    n, cells = claim.frames, claim.grid[0] * claim.grid[1]
    cut = None if variant.slicer is None or claim.picture is None else variant.slicer(*claim.picture)
    x = torch.randn(n, cells, 32)
    frame = torch.arange(n).unsqueeze(1).expand(-1, cells)
    none, where = torch.zeros(n, dtype=torch.long), places(claim.grid).expand(n, -1, -1)
    first = Vis(x[:1], where[:1], frame[:1], frame[:1] / n, none[:1], grid=claim.grid)
    return Vis(
        x,
        where,
        frame,
        frame / n,
        none,
        grid=claim.grid,
        cls=torch.randn(n, 32),
        scores={layer: torch.rand(n, cells) for layer in variant.scores},
        levels={layer: torch.randn(n, cells, 32) for layer in variant.levels},
        classes={layer: torch.randn(n, 32) for layer in variant.levels},
        other=tuple(beside(second, n) for second in variant.others) or (first,),
        crop=None if cut is None else torch.tensor(cut.shares()),
    )


def beside(second: Second, frames: int) -> Vis:
    """Random patches of the same frames, as a second tower gives them."""
    cells = second.grid[0] * second.grid[1]
    frame, where = torch.arange(frames).unsqueeze(1).expand(-1, cells), places(second.grid).expand(frames, -1, -1)
    x, none = torch.randn(frames, cells, second.width), torch.zeros(frames, dtype=torch.long)
    return Vis(x, where, frame, frame / frames, none, grid=second.grid)


@pytest.mark.parametrize(("module", "claim", "lm"), list(claims()))
def test_a_paper_s_token_count_is_what_comes_out(module: Any, claim: Claim, lm: Any) -> None:
    variant = module.build(On(32, 32, claim.grid, claim.frames, lm))
    words = Text(torch.randn(1, 3, 32), torch.ones(1, 3, dtype=torch.bool), torch.zeros(1, 3, dtype=torch.long))
    with torch.no_grad():
        vis = seen(claim, variant)
        out = variant.reducer(vis, words, claim.budget)
    assert vis.crop is None or len(vis.crop) == claim.frames
    assert int(out.counts().sum()) == claim.tokens
    tiles = None if vis.crop is None else tiles_of(vis.crop.tolist())
    assert variant.reducer.count(claim.frames, claim.grid, claim.budget, tiles) == claim.tokens


@pytest.mark.parametrize("name", variants.names())
def test_a_document_s_loss_does_not_know_its_neighbours(name: str) -> None:
    model, variant = made(name)
    documents = with_pictures(model, variant, [written(model, seed, answers=(2 + seed,)) for seed in range(3)])
    alone = [model.said(model(packed([d]))).nll for d in documents]
    together = model.said(model(packed(documents))).nll
    other = model.said(model(packed([*documents[-1:], *documents[:-1]]))).nll
    torch.testing.assert_close(together, torch.cat(alone), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(other, torch.cat([*alone[-1:], *alone[:-1]]), atol=1e-5, rtol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("name", variants.names())
def test_questions_about_one_video_do_not_know_one_another(name: str) -> None:
    """Where the prompt decides what is seen, or what a hook drops, they cannot share a video, and that is said."""
    model, _ = made(name)
    whole = tiny.document(8, frames=FRAMES, answers=(3, 2))
    apart = [model.said(model(packed([tiny.branch_alone(whole, b)]))).nll for b in (1, 2)]
    if model.by_words:
        with pytest.raises(ValueError, match="share a video between questions"):
            model(packed([whole]))
    else:
        together = model.said(model(packed([whole]))).nll
        torch.testing.assert_close(together, torch.cat(apart), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", variants.names())
def test_every_weight_that_learns_is_reached(name: str) -> None:
    model, variant = made(name)
    model.train()
    loss = variant.objective(model, packed(with_pictures(model, variant, [written(model, 0), written(model, 1)])))
    (loss.total / loss.weight).backward()
    unreached = [n for n, p in model.named_parameters() if p.requires_grad and p.grad is None]
    spared = ("post_layernorm", "encoder.layers.1")  # a tower's tail behind the layer that is taken
    assert [n for n in unreached if not any(part in n for part in spared)] == []
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)


@pytest.mark.parametrize("name", variants.names())
def test_an_answer_is_what_reading_all_again_says(name: str) -> None:
    model, variant = made(name)
    prompts = [written(model, seed, prompt_only=True, answers=(0,)) for seed in (5, 6)]
    if variant.slicer is not None:
        prompts.append(tiny.picture(7, variant.slicer, 60, 40, prompt_only=True, answers=(0,)))
    both = answer(model, prompts, end=tiny.END, longest=5)
    for prompt, (said,) in zip(prompts, both, strict=True):
        assert answer(model, [prompt], end=tiny.END, longest=5)[0][0].ids == said.ids
        if not said.slots:
            ids, logs = said_again(model, prompt, len(said.ids))
            assert said.ids == ids
            torch.testing.assert_close(said.logs[: len(logs)], logs, atol=1e-4, rtol=0)


@pytest.mark.parametrize("name", variants.names())
def test_an_answer_does_not_know_its_neighbours(name: str) -> None:
    """One is longer than all others and has no video: behind a pruning lines are of the old length, and shorter ones
    are not what they were."""
    model, _ = made(name)
    words = tiny.document(6, frames=0, question=90, prompt_only=True, answers=(0,))
    prompts = [words, written(model, 7, prompt_only=True, answers=(0,))]
    for prompt, (said,) in zip(prompts, answer(model, prompts, end=tiny.END, longest=3), strict=True):
        alone = answer(model, [prompt], end=tiny.END, longest=3)[0][0]
        assert (said.ids, said.ended) == (alone.ids, alone.ended)
        torch.testing.assert_close(said.logs, alone.logs, atol=1e-4, rtol=0)


def said_again(model: VLM, prompt: Document, steps: int) -> tuple[list[int], list[float]]:
    """Greedy without a cache: the whole row is read for each token. Hooks see answers as text, as they do with one."""
    ids: list[int] = []
    logs: list[float] = []
    for _ in range(steps):
        whole = np.concatenate([prompt.ids, ids]).astype(np.int64)
        branch = np.concatenate([prompt.branch, [prompt.branch[-1]] * len(ids)]).astype(np.int64)
        ignored = np.full(len(whole), -100)
        labels = ignored.copy()
        labels[len(prompt.ids) :] = whole[len(prompt.ids) :]
        now = replace(prompt, ids=whole, labels=labels, branch=branch, slots=())
        with torch.no_grad():
            logits = model.classes().weight @ model(packed([now])).h[-1]
        logits[tiny.VISUAL] = -torch.inf
        ids.append(int(logits.argmax()))
        logs.append(float(logits.log_softmax(-1)[ids[-1]]))
    return ids, logs


@pytest.mark.parametrize("name", variants.names())
def test_weights_say_all_that_a_model_is(name: str) -> None:
    one, _ = made(name, seed=0)
    other, _ = made(name, seed=1)
    pack = packed([written(one, 3)])
    before = one.said(one(pack)).nll
    assert not torch.equal(before, other.said(other(pack)).nll)
    other.load_state_dict(one.state_dict())
    assert torch.equal(before, other.said(other(pack)).nll)


@pytest.mark.parametrize("name", variants.names())
def test_a_page_names_its_paper(name: str) -> None:
    assert "arXiv" in variants.story(name)


def test_an_unknown_variant_is_one_line_that_names_those_there_are() -> None:
    with pytest.raises(NotFound, match=r"variant 'llava2' not found.*fastv"):
        variants.named("llava2")
