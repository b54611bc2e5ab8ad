"""Frames that stand one by one in a row, and what silence among them costs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest
import tiny_documents as tiny
import torch
from published import streamed, view_of
from torch import Tensor

from reelmill.schemas.errors import BadInput
from reelmill.schemas.sample import StreamSample
from reelmill.sinks.dataset import Store
from reelmill.sinks.pack import pack as publish
from reelmill.training import ladder
from reelmill.training.assemble import from_scratch
from reelmill.training.documents import IGNORED, Document, packed
from reelmill.training.loop.clock import lengths
from reelmill.training.loop.plan import Data, Plan, Rates
from reelmill.training.objectives.lm import LM
from reelmill.training.objectives.streaming import Streaming
from reelmill.training.reducers.combine import Branch
from reelmill.training.running import begun, checked, counting
from reelmill.training.streaming import Stream
from reelmill.training.values import Seq
from reelmill.training.vlm import VLM

END, MARK = tiny.END, 31
FRAMES, TOKENS = 4, 10


def made(name: str = "videollm_online") -> VLM:
    model, _ = from_scratch(name, ladder.XS, tiny.VOCABULARY, frames=FRAMES)
    model.eval()
    return model


@pytest.fixture(scope="module")
def model() -> VLM:
    return made()


V = tiny.VISUAL
IDS = [V, V, 5, 6, V, MARK, 7, END, V, MARK]
LABELS = [IGNORED, END, END, IGNORED, END, MARK, 7, END, IGNORED, END]


def stream(seed: int = 0, ids: list[int] = IDS, labels: list[int] = LABELS) -> Document:
    """Silent after frame 0; a question (5, 6) at frame 1, silence; a reply at frame 2; silence after frame 3."""
    drawn, zeros = tiny.document(seed, frames=FRAMES), np.zeros(len(ids), np.int64)
    return replace(drawn, ids=np.array(ids), labels=np.array(labels), branch=zeros)


# ---- the row ---------------------------------------------------------------------------------------------------------


@torch.no_grad()
def test_every_frame_s_tokens_stand_at_its_mark(model: VLM) -> None:
    pack = packed([tiny.document(3, frames=2), stream(), stream(1)])
    row = model.row(pack)
    mine = row.keep((row.doc == 1).nonzero().squeeze(1))
    expected = [0] * TOKENS + [1] * TOKENS + [-1] * 2 + [2] * TOKENS + [-1] * 3 + [3] * TOKENS + [-1]
    assert mine.kind.tolist() == expected
    assert mine.pos.tolist() == list(range(len(expected)))
    vis = model.reducer(model.tower(packed([stream()])))
    torch.testing.assert_close(mine.h[mine.visual], vis.x.flatten(0, 1), atol=1e-6, rtol=0)
    assert int((mine.label >= 0).sum()) == sum(label >= 0 for label in LABELS)
    firsts = (mine.label >= 0) & mine.visual
    assert firsts.nonzero().squeeze(1).tolist() == [TOKENS, 2 * TOKENS + 2]
    said = (row.label >= 0).nonzero().squeeze(1)
    assert row.label[said].tolist() == pack.labels[pack.labels >= 0].tolist()


@torch.no_grad()
def test_nothing_that_is_said_knows_what_comes_later_or_who_stands_beside(model: VLM) -> None:
    whole = stream()
    nll = model.said(model(packed([whole]))).nll
    cut = replace(whole, ids=whole.ids[:4], labels=whole.labels[:4], branch=whole.branch[:4], frames=whole.frames[:2])
    cut = replace(cut, at_s=whole.at_s[:2])
    torch.testing.assert_close(model.said(model(packed([cut]))).nll, nll[:2], atol=1e-5, rtol=1e-5)
    together = model.said(model(packed([stream(5), tiny.document(2, frames=2), whole]))).nll
    torch.testing.assert_close(together[-len(nll) :], nll, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_a_stream_that_is_watched_reads_what_was_learned_from(model: VLM) -> None:
    """Frames pushed one by one fill the cache as the row of a stream without words does."""
    silent = stream(ids=[V] * FRAMES, labels=[IGNORED] * FRAMES)
    watched = Stream(model, duration_s=silent.duration_s)
    for frame in range(FRAMES):
        watched.push(silent.frames[frame : frame + 1], silent.at_s[frame : frame + 1].tolist())
    asked = [4, 5, 6]
    said = watched.ask(asked, end=END, longest=1).logs[0]
    row = replace(silent, ids=np.array([V] * FRAMES + asked), labels=np.full(FRAMES + 3, IGNORED))
    state = model(packed([replace(row, branch=np.zeros(FRAMES + 3, np.int64))])).h[-1]
    logits = model.classes().weight @ state
    logits[V] = -torch.inf
    assert said == pytest.approx(float(logits.log_softmax(-1).max()), abs=1e-4)


def test_frames_that_a_reducer_joins_or_shows_twice_cannot_stand_alone() -> None:
    twice = made("llava15")
    twice.reducer = Branch(twice.reducer, twice.reducer)
    for model in (made("evs"), twice):
        with pytest.raises(ValueError, match="a reducer or tower joins them"):
            model(packed([stream()]))


def test_frames_that_are_thinned_out_one_by_one_can() -> None:
    thinned = made("fastervlm")
    assert len(thinned.said(thinned(packed([stream()]))).nll) == 7


def test_a_document_has_a_mark_for_all_frames_or_for_each(model: VLM) -> None:
    with pytest.raises(ValueError, match="frames stand one by one"):
        model(packed([stream(ids=[V, V, 5], labels=[IGNORED] * 3)]))
    with pytest.raises(ValueError, match="1 documents have media, 0 a place"):
        model(packed([stream(ids=[5, 6], labels=[IGNORED, 6])]))


def test_tokens_of_streams_are_counted_as_they_are(model: VLM) -> None:
    documents = [stream(), tiny.document(3, frames=2), tiny.document(4, frames=0)]
    pack = packed(documents)
    real = torch.bincount(model.row(pack).doc).tolist()
    assert lengths(model, pack).tolist() == real
    assert [counting(model)(d) for d in documents] == real


# ---- the loss --------------------------------------------------------------------------------------------------------


@torch.no_grad()
def test_silence_is_weighed_and_divided_by_the_number_of_targets(model: VLM) -> None:
    """By hand from the states: four silences and a reply of three tokens."""
    pack = packed([stream()])
    seq = model(pack)
    logs = (seq.h @ model.classes().weight.T).log_softmax(-1)
    ends = [TOKENS - 1, 2 * TOKENS - 1, 2 * TOKENS + 1, 4 * TOKENS + 4]  # frame 0, frame 1, the question, frame 3
    quiet = -sum(float(logs[i, END]) for i in ends)
    reply = 3 * TOKENS + 1  # the state of frame 2 says that it is time to speak
    said = -float(logs[reply, MARK] + logs[reply + 1, 7] + logs[reply + 2, END])
    for silence in (0.0, 0.5, 1.0, 3.0):
        loss = Streaming(silence)(model, pack)
        assert float(loss.weight) == 7
        assert float(loss.total) == pytest.approx(said + silence * quiet, rel=1e-5)
        assert float(loss.parts["lm"]) == pytest.approx(said, rel=1e-5)
        assert float(loss.parts["silence"]) == pytest.approx(silence * quiet, rel=1e-5, abs=1e-6)


def test_at_weight_1_it_is_the_loss_of_all_targets_and_without_streams_the_plain_one(model: VLM) -> None:
    for documents in ([stream(), stream(1)], [tiny.document(1), tiny.document(2)]):
        pack = packed([replace(d, weight=1.5) for d in documents])
        ours, plain = Streaming()(model, pack), LM()(model, pack)
        torch.testing.assert_close(ours.total, plain.total)
        torch.testing.assert_close(ours.weight, plain.weight)
    assert Streaming(9.0)(model, pack).parts["silence"].item() == 0.0


def test_at_weight_0_replies_alone_teach(model: VLM) -> None:
    def taught(objective: Streaming | LM, labels: list[int]) -> list[Tensor]:
        model.zero_grad()
        objective(model, packed([stream(labels=labels)])).total.backward()
        return [p.grad.clone() for p in model.parameters() if p.grad is not None]

    replies = [label if label == token else IGNORED for token, label in zip(IDS, LABELS, strict=True)]
    plain, none = taught(LM(), replies), taught(Streaming(0.0), LABELS)
    for one, other in zip(plain, none, strict=True):
        torch.testing.assert_close(one, other, atol=1e-6, rtol=1e-4)
    halves = zip(taught(Streaming(0.5), LABELS), taught(Streaming(1.0), LABELS), none, strict=True)
    for half, whole, nothing in halves:
        torch.testing.assert_close(2 * half, whole + nothing, atol=1e-5, rtol=1e-3)


@dataclass
class DropAll:
    """A hook that takes the first visual token away."""

    at: tuple[int, ...] = (1,)
    scored: Mapping[int, str] = field(default_factory=dict)

    def __call__(self, layer: int, seq: Seq, scores: Mapping[int, Tensor]) -> Seq:
        return seq.keep((~seq.visual).nonzero().squeeze(1))


def test_a_hook_that_drops_frames_is_refused(model: VLM) -> None:
    model.hooks = (DropAll(),)
    try:
        with pytest.raises(ValueError, match="7 targets in the pack, 5 in the row"):
            Streaming()(model, packed([stream()]))
    finally:
        model.hooks = ()


def test_it_learns_when_to_speak() -> None:
    """Two streams of unlike frames: one speaks at frame 2, one is silent throughout."""
    torch.manual_seed(0)
    model, variant = from_scratch("videollm_online", ladder.XS, tiny.VOCABULARY, frames=FRAMES)
    never = stream(1, ids=[V, V, 5, 6, V, V, MARK], labels=[IGNORED, END, END, IGNORED, END, END, END])
    pack = packed([stream(0), never])
    optimiser = torch.optim.Adam(model.parameters(), 3e-3)
    for _ in range(40):
        loss = variant.objective(model, pack)
        optimiser.zero_grad()
        loss.total.backward()
        optimiser.step()
    with torch.no_grad():
        seq = model.eval()(pack)
        found = model.said(seq)
        best = (found.states @ model.classes().weight.T).argmax(-1)
    assert best.tolist() == pack.labels[pack.labels >= 0].tolist()


# ---- from shards -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One stream of six frames, asked at the start and answered at 3.5 s."""
    root = tmp_path_factory.mktemp("streams")
    store = Store(root)
    publish(store, view_of(store, StreamSample, **streamed()), val_share=0.0)
    return root / "kind-t" / "1"


def plan(shards: Path, variant: str, **more: object) -> Plan:
    said = {"steps": 2, "tokens": 400, "frames": 6, "rates": Rates(warmup=1), "words": "bytes", "vocabulary": 400}
    return Plan(variant, (Data(str(shards), shared=True),), **{**said, **more})  # type: ignore[arg-type]


def test_streams_are_trained_from_shards(shards: Path, tmp_path: Path) -> None:
    losses: list[Mapping[str, float]] = []
    begun(plan(shards, "videollm_online"), tmp_path / "run", lambda told: losses.append(told.losses)).go()
    assert len(losses) == 2
    assert all(told["silence"] > 0 and told["lm"] > 0 for told in losses)


@pytest.mark.parametrize(
    ("variant", "more", "why"),
    [
        ("pllava", {}, "its reducer joins or compares frames"),
        ("dynamic_llava", {}, "Gate changes the row"),
        ("llave", {}, "objective Contrastive, which has no silence"),
        ("videollm_mod", {"objective": "dpo"}, "objective dpo, which has no silence"),
    ],
)
def test_models_that_cannot_watch_are_refused_before_anything_is_written(
    shards: Path, tmp_path: Path, variant: str, more: dict[str, object], why: str
) -> None:
    with pytest.raises(BadInput, match=why):
        begun(plan(shards, variant, **more), tmp_path / "run", lambda _: None)
    assert not (tmp_path / "run").exists()


def test_other_models_that_watch_learn_silence_too(shards: Path) -> None:
    assert len(checked(plan(shards, "videollm_mod"))) == 1
