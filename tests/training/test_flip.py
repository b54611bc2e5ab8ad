"""Laws of turned dialogues: each term learns what it foretells and nothing else, and foretells it from the rest."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import tiny_documents as tiny
import torch
from torch import Tensor

from reelmill.training import ladder
from reelmill.training.assemble import from_scratch
from reelmill.training.documents import IGNORED, Document, packed
from reelmill.training.objectives.flip import Flip, begins, foretold, shown_last, turned
from reelmill.training.objectives.lm import LM
from reelmill.training.reducers.combine import Chain, Select
from reelmill.training.vlm import VLM

FRAMES, V, END = 3, tiny.VISUAL, tiny.END


@pytest.fixture(scope="module")
def made() -> tuple[VLM, Flip]:
    model, variant = from_scratch("flipped_vqa", ladder.XS, tiny.VOCABULARY, frames=FRAMES)
    assert isinstance(variant.objective, Flip)
    return model.eval(), variant.objective


def spoken(seed: int, *branches: list[tuple[list[int], list[int]]], **more: object) -> Document:
    """A document of exchanges, (question, answer) each, in branches behind the video."""
    ids, labels, branch = [V], [IGNORED], [0]
    for number, exchanges in enumerate(branches, 1):
        for question, answer in exchanges:
            ids += question + answer
            labels += [IGNORED] * len(question) + answer
            branch += [number] * (len(question) + len(answer))
    drawn = tiny.document(seed, frames=FRAMES)
    said = replace(drawn, ids=np.array(ids), labels=np.array(labels), branch=np.array(branch))
    return replace(said, **more)  # type: ignore[arg-type]


ONE = [([1, 2, 3], [4, END])]
TWO = [([5], [6, 7, END]), ([8, 9], [10, END])]


def test_every_answer_comes_before_its_question_and_the_question_is_learned() -> None:
    pack, order = turned(packed([spoken(0, ONE, TWO), spoken(1, ONE)]))
    assert pack.ids.tolist() == [V, 4, END, 1, 2, 3, 6, 7, END, 5, 10, END, 8, 9, V, 4, END, 1, 2, 3]
    learned = pack.labels >= 0
    assert pack.labels[learned].tolist() == [1, 2, 3, 5, 8, 9, 1, 2, 3]
    assert torch.equal(pack.labels[learned], pack.ids[learned])
    assert pack.doc.tolist() == [0] * 14 + [1] * 6
    assert pack.branch.tolist() == [0] + [1] * 5 + [2] * 8 + [0] + [1] * 5
    assert sorted(order.tolist()) == list(range(20))


def test_what_has_no_answer_is_not_learned_and_what_has_no_question_stays() -> None:
    pack, _ = turned(packed([spoken(0, [([], [4, END]), ([5, 6], [7, END]), ([8, 9], [])])]))
    assert pack.ids.tolist() == [V, 4, END, 7, END, 5, 6, 8, 9]
    assert pack.labels[pack.labels >= 0].tolist() == [5, 6]


def test_numbers_go_with_their_tokens() -> None:
    whole = tiny.document(2, frames=FRAMES, slots=(("time", (0.25, 0.5)), ("box", (0.1, 0.2, 0.3, 0.4))))
    before = packed([whole])
    after, _ = turned(before)
    for name, slots in after.slots.items():
        assert after.ids[slots.at].tolist() == [tiny.SLOTS[name]] == before.ids[before.slots[name].at].tolist()
        assert torch.equal(slots.values, before.slots[name].values)


def terms(made: tuple[VLM, Flip], *documents: Document) -> dict[str, Tensor]:
    model, flip = made
    loss = flip(model, packed(list(documents)))
    torch.testing.assert_close(loss.total, torch.stack(list(loss.parts.values())).sum())
    return dict(loss.parts)


@torch.no_grad()
def test_the_answer_s_term_is_the_plain_loss(made: tuple[VLM, Flip]) -> None:
    documents = [spoken(0, ONE, TWO), replace(spoken(1, ONE), weight=2.5)]
    plain, (model, flip) = LM()(made[0], packed(documents)), made
    loss = flip(model, packed(documents))
    torch.testing.assert_close(loss.parts["answer"], plain.total)
    torch.testing.assert_close(loss.weight, plain.weight)


@torch.no_grad()
def test_the_question_s_term_is_its_plain_loss_behind_the_answer(made: tuple[VLM, Flip]) -> None:
    """A dialogue written the other way round: a mean of 3 tokens, weighted by the answer's 2."""
    behind = spoken(0, [([4, END], [1, 2, 3])])
    by_hand = LM()(made[0], packed([behind]))
    expected = by_hand.total / 3 * 2
    torch.testing.assert_close(terms(made, spoken(0, ONE))["question"], expected, atol=1e-5, rtol=1e-5)


def test_frames_are_foretold_among_those_of_their_own_video() -> None:
    """By hand: two videos of 2 and 1 frames, the first one shown twice; tau 2."""
    features = torch.tensor([[2.0, 0.0], [0.0, 4.0], [9.0, 9.0]])
    states = torch.tensor([[1.0, 1.0], [1.0, 0.0], [0.0, 1.0], [0.0, 0.0], [5.0, 5.0]])
    nll = foretold(states, features, torch.tensor([0, 0, 1]), torch.tensor([0, 0, 0, 0, 1]), tau=2.0)
    e = math.e
    expected = [math.log(1 + e), math.log(1 + e), math.log(1 + e**2), math.log(2), 0.0]
    torch.testing.assert_close(nll, torch.tensor(expected), atol=1e-6, rtol=0)


@torch.no_grad()
def test_the_video_s_term_reads_its_words_and_the_frames_before(made: tuple[VLM, Flip]) -> None:
    """By hand from a row of question, answer and frames: three states foretell three frames."""
    model, flip = made
    pack = packed([spoken(0, ONE)])
    row = model.row(pack)
    last, unit, doc = shown_last(pack, row)
    assert last.kind.tolist() == [-1] * 5 + [0, 1, 2]
    torch.testing.assert_close(last.h, torch.cat([row.h[FRAMES:], row.h[:FRAMES]]))
    assert (unit.tolist(), doc.tolist(), begins(last).tolist()) == ([1], [0], [5, 6, 7])
    states = model.read(last, 1).h[[4, 5, 6]]
    features = flip.features(model.tower(pack)).x[:, 0]
    logs = (states @ features.T / flip.tau).log_softmax(-1)
    expected = -logs.diagonal().mean() * 2
    torch.testing.assert_close(terms(made, spoken(0, ONE))["video"], expected, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_equal_frames_cannot_be_told_apart_by_their_time(made: tuple[VLM, Flip]) -> None:
    """Codes of time are in the row and not in what is foretold: each frame has a chance of a third."""
    whole = spoken(0, ONE)
    still = replace(whole, frames=np.repeat(whole.frames[:1], FRAMES, 0))
    assert float(terms(made, still)["video"]) == pytest.approx(2 * math.log(3), abs=1e-5)
    assert float(terms(made, whole)["video"]) != pytest.approx(2 * math.log(3), abs=1e-3)


@torch.no_grad()
def test_each_term_reads_what_it_is_given_and_not_what_it_foretells(made: tuple[VLM, Flip]) -> None:
    """With another answer, question or video all terms that read it change."""
    plain = terms(made, spoken(0, ONE))
    others = {
        "answer": spoken(0, [([1, 2, 3], [11, END])]),
        "question": spoken(0, [([12, 13, 14], [4, END])]),
        "video": spoken(1, ONE),
    }
    for changed, document in others.items():
        now = terms(made, document)
        assert all(abs(float(now[name] - plain[name])) > 1e-4 for name in plain if name != changed)


@torch.no_grad()
def test_no_state_that_foretells_has_seen_it(made: tuple[VLM, Flip]) -> None:
    """Of the last frame, the last question token and the last answer token, in the row of each term."""
    model, _ = made
    pack = packed([spoken(0, ONE)])
    row = model.row(pack)
    last, _, _ = shown_last(pack, row)
    other = replace(last, h=last.h.clone())
    other.h[-1] += 1
    before, after = model.read(last, 1).h, model.read(other, 1).h
    assert torch.equal(before[:-1], after[:-1])
    assert not torch.allclose(before[-1], after[-1], atol=1e-3)


@torch.no_grad()
def test_branches_and_documents_do_not_know_one_another(made: tuple[VLM, Flip]) -> None:
    shared, other = spoken(0, ONE, TWO), spoken(1, ONE)
    apart = [terms(made, tiny.branch_alone(shared, b)) for b in (1, 2)] + [terms(made, other)]
    for order in ([shared, other], [other, shared]):
        together = terms(made, *order)
        for name, value in together.items():
            torch.testing.assert_close(value, torch.stack([one[name] for one in apart]).sum(), atol=1e-4, rtol=1e-5)


@torch.no_grad()
def test_a_text_has_no_video_to_foretell(made: tuple[VLM, Flip]) -> None:
    words = tiny.document(0, frames=0)
    assert set(terms(made, words)) == {"answer", "question"}
    with_words = terms(made, words, spoken(1, ONE))
    alone = terms(made, spoken(1, ONE))
    torch.testing.assert_close(with_words["video"], alone["video"], atol=1e-5, rtol=1e-5)


def test_terms_are_weighed_and_each_teaches(made: tuple[VLM, Flip]) -> None:
    model, flip = made
    pack = packed([spoken(0, ONE), spoken(1, TWO)])
    plain = flip(model, pack)
    heavy = replace(flip, question=0.5, video=3.0)(model, pack)
    torch.testing.assert_close(heavy.parts["question"], 0.5 * plain.parts["question"])
    torch.testing.assert_close(heavy.parts["video"], 3 * plain.parts["video"])
    frames = next(flip.features.parameters())
    for term in plain.parts.values():
        (grad,) = torch.autograd.grad(term, [frames], retain_graph=True)
        assert float(grad.abs().sum()) > 0


def test_a_model_that_sees_by_the_words_is_refused(made: tuple[VLM, Flip]) -> None:
    by_words, _ = from_scratch("ppllava", ladder.XS, tiny.VOCABULARY, frames=FRAMES)
    with pytest.raises(ValueError, match="sees without the words"):
        made[1](by_words, packed([spoken(0, ONE)]))
    silent = replace(spoken(0, ONE), labels=np.array([IGNORED, END, IGNORED, IGNORED, 4, END]))
    with pytest.raises(ValueError, match="and no stream"):
        made[1](made[0], packed([silent]))


def test_frames_that_are_not_there_one_by_one_cannot_be_foretold(made: tuple[VLM, Flip]) -> None:
    model, flip = made
    with pytest.raises(ValueError, match="joins them or leaves some out"):
        replace(flip, features=Chain(Select(lambda _: [0]), flip.features))(model, packed([spoken(0, ONE)]))
