"""Laws of InfoNCE weighted by hardness: plain at alpha 0, weights that are constants, pairs of a pack alone."""

from __future__ import annotations

from dataclasses import replace

import pytest
import tiny_documents as tiny
import torch
from torch import Tensor
from torch.nn import functional as F

from reelmill.training import ladder
from reelmill.training.assemble import from_scratch
from reelmill.training.documents import Document, packed
from reelmill.training.objectives.contrastive import Contrastive, answers, apart, asked, info_nce, said_alike, told
from reelmill.training.vlm import VLM

SAME = torch.eye(2, dtype=torch.bool)
QUERY = torch.tensor([[1.0, 0.0], [0.6, 0.8]])
TARGET = torch.tensor([[2.0, 0.0], [0.0, 3.0]])  # cosines 1, 0 and 0.6, 0.8


@pytest.fixture(scope="module")
def model() -> VLM:
    made, _ = from_scratch("llave", ladder.XS, tiny.VOCABULARY, frames=2)
    made.eval()
    return made


def written(seed: int, **more: object) -> Document:
    return tiny.document(seed, frames=2, **more)  # type: ignore[arg-type]


def test_two_pairs_by_hand() -> None:
    """At temperature 1 and alpha 2: prompt 0 has a negative of cosine 0, prompt 1 one of 0.6, weighted e^1.2."""
    nll, near = info_nce(QUERY, TARGET, SAME, alpha=2.0, temperature=1.0)
    e = torch.tensor(1.0).exp()
    by_prompt = torch.stack([(1 + 1 / e).log(), (1 + (torch.tensor(1.2 + 0.6 - 0.8)).exp()).log()])
    by_answer = torch.stack([(1 + (torch.tensor(1.2 + 0.6 - 1.0)).exp()).log(), (1 + (-torch.tensor(0.8)).exp()).log()])
    torch.testing.assert_close(nll, (by_prompt + by_answer) / 2, atol=1e-6, rtol=0)
    assert near.tolist() == [True, True]


def test_without_hardness_it_is_plain_info_nce() -> None:
    torch.manual_seed(0)
    query, target = torch.randn(6, 8), torch.randn(6, 8)
    logits = F.normalize(query, dim=-1) @ F.normalize(target, dim=-1).T / 0.02
    right = torch.arange(6)
    plain = (F.cross_entropy(logits, right) + F.cross_entropy(logits.T, right)) / 2
    nll, near = info_nce(query, target, torch.eye(6, dtype=torch.bool), alpha=0.0, temperature=0.02)
    torch.testing.assert_close(nll.mean(), plain)
    assert torch.equal(near, logits.argmax(1) == right)
    harder, _ = info_nce(query, target, torch.eye(6, dtype=torch.bool), alpha=9.0, temperature=0.02)
    assert not torch.allclose(harder.mean(), plain, atol=1e-3)


def grad_of(alpha: float) -> tuple[Tensor, Tensor]:
    """Gradients by prompts and by answers."""
    query, target = QUERY.clone().requires_grad_(), TARGET.clone().requires_grad_()
    nll, _ = info_nce(query, target, SAME, alpha=alpha, temperature=1.0)
    one, other = torch.autograd.grad(nll.sum(), (query, target))
    return one, other


def test_hardness_is_a_constant_to_the_gradient() -> None:
    """As if every negative stood there exp(alpha s) times, s a number."""
    query, target = QUERY.clone().requires_grad_(), TARGET.clone().requires_grad_()
    cosine = F.normalize(query, dim=-1) @ F.normalize(target, dim=-1).T
    counted = torch.tensor([[1.0, 1.0], [torch.tensor(1.2).exp(), 1.0]])
    share = (counted * cosine.exp()) / (counted * cosine.exp()).sum(1, keepdim=True)
    back = (counted * cosine.exp()) / (counted * cosine.exp()).sum(0, keepdim=True)
    loss = -(share.diagonal().log() + back.diagonal().log()).sum() / 2
    expected = torch.autograd.grad(loss, (query, target))
    for ours, theirs in zip(grad_of(2.0), expected, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=1e-5)


def test_the_harder_a_negative_the_larger_its_share_of_the_gradient() -> None:
    """Two negatives of cosines 0.6 and 0: their gradients part by e^(0.6 / t) plainly, by e^(alpha 0.6) more here."""
    query = torch.tensor([[0.0, 0.6, 0.8]])
    targets = torch.tensor([[0.0, 0.0, 1.0], [0.0, 1.0, 0.0], [1.0, 0.0, 0.0]])

    def parted(alpha: float) -> float:
        own = torch.eye(3, dtype=torch.bool)
        cosine = (F.normalize(query.expand(3, -1), dim=-1) @ targets.T).requires_grad_()
        hardness = (alpha * cosine.detach()).masked_fill(own, 0)
        share = torch.autograd.grad(F.cross_entropy((cosine + hardness)[:1], torch.tensor([0])), cosine)[0][0]
        return float(share[1] / share[2])

    assert parted(3.0) / parted(0.0) == pytest.approx(float(torch.tensor(1.8).exp()), rel=1e-4)


def test_an_answer_that_says_the_same_is_no_negative() -> None:
    alike = torch.ones(2, 2, dtype=torch.bool)
    nll, near = info_nce(QUERY, TARGET.roll(1, 0), alike, alpha=9.0, temperature=0.02)
    assert nll.tolist() == [0.0, 0.0]
    assert near.tolist() == [True, True]


def test_pairs_of_a_pack_are_its_answers_each_read_alone() -> None:
    """Three questions about one video, then one about another, whose numbers go along."""
    slots = (("time", (0.25, 0.5)),)
    documents = [written(0, answers=(3, 2, 4)), written(1, answers=(2,), slots=slots)]
    pack = packed(documents)
    number, first = answers(pack)
    assert torch.bincount(number).tolist() == [3, 2, 4, 3]
    assert int(first.sum()) == 4
    alone = apart(pack, number)
    assert alone.keys == (("k0",), ("k0",), ("k0",), ("k1",))
    assert torch.equal(alone.ids, pack.ids[pack.labels >= 0])
    assert not bool((alone.labels >= 0).any())
    assert alone.slots["time"].at.tolist() == [len(alone.ids) - 1]
    assert alone.slots["time"].values.tolist() == [[0.25, 0.5]]
    assert len(alone.pixels) == 0


def test_the_same_words_with_other_numbers_say_something_else() -> None:
    def of(value: float) -> Document:
        return written(2, answers=(0,), slots=(("time", (value, 0.9)),))

    pack = packed([of(0.25), of(0.25), of(0.5)])
    alike = said_alike(apart(pack, answers(pack)[0]))
    assert alike.tolist() == [[True, True, False], [True, True, False], [False, False, True]]


@torch.no_grad()
def test_a_prompt_is_embedded_by_its_last_token_and_never_sees_its_answer(model: VLM) -> None:
    whole = written(3, answers=(3,))
    asks = whole.labels < 0
    prompt = replace(whole, ids=whole.ids[asks], labels=whole.labels[asks], branch=whole.branch[asks])
    pack = packed([whole, written(4, answers=(2,))])
    query = asked(model(pack), answers(pack)[1])
    torch.testing.assert_close(query[0], model(packed([prompt])).h[-1], atol=1e-5, rtol=1e-5)
    ids = torch.where(pack.labels >= 0, pack.ids % 30 + 1, pack.ids)
    other = replace(pack, ids=ids, labels=torch.where(pack.labels >= 0, ids, pack.labels))
    torch.testing.assert_close(asked(model(other), answers(other)[1]), query, atol=1e-6, rtol=0)


@torch.no_grad()
def test_an_embedding_does_not_know_its_neighbours_and_the_loss_not_the_order(model: VLM) -> None:
    documents = [written(seed, answers=(2 + seed % 3, 3)) for seed in range(3)]
    loss = Contrastive()(model, packed(documents))
    turned = Contrastive()(model, packed(documents[::-1]))
    torch.testing.assert_close(loss.total, turned.total, atol=1e-3, rtol=1e-4)
    assert float(loss.weight) == 6
    pack, one = packed(documents), packed(documents[:1])
    both = told(model(apart(pack, answers(pack)[0])))
    torch.testing.assert_close(both[:2], told(model(apart(one, answers(one)[0]))), atol=1e-5, rtol=1e-5)


def test_a_lone_pair_costs_nothing_and_weights_of_documents_count(model: VLM) -> None:
    assert Contrastive()(model, packed([written(0)])).total.item() == 0.0
    documents = [written(0), written(1)]
    whole, half = packed(documents), packed([replace(d, weight=0.5) for d in documents])
    one, other = Contrastive()(model, whole), Contrastive()(model, half)
    torch.testing.assert_close(one.total, 2 * other.total)
    assert (float(one.weight), float(other.weight)) == (2.0, 1.0)


def test_steps_bring_prompts_to_their_answers() -> None:
    torch.manual_seed(0)
    made, variant = from_scratch("llave", ladder.XS, tiny.VOCABULARY, frames=1)
    pack = packed([tiny.document(seed, frames=1) for seed in range(4)])
    optimiser = torch.optim.Adam(made.parameters(), 3e-3)
    losses = []
    for _ in range(15):
        loss = variant.objective(made, pack)
        optimiser.zero_grad()
        loss.total.backward()
        optimiser.step()
        losses.append(float(loss.total.detach()))
    assert losses[-1] < 0.05 * losses[0]
    assert float(variant.objective(made, pack).parts["accuracy"]) == 4.0


def test_packs_without_pairs_are_refused(model: VLM) -> None:
    with pytest.raises(ValueError, match="streams, or no answers"):
        Contrastive()(model, packed([written(0, prompt_only=True, answers=(0,))]))
