"""A stream says what a clip of the same frames says, and holds no more than it was told to."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import tiny_documents as tiny
import torch

from reelmill.schemas.errors import BadInput
from reelmill.training import ladder
from reelmill.training.answering import answer
from reelmill.training.assemble import from_scratch
from reelmill.training.documents import IGNORED, Document, packed
from reelmill.training.reducers.combine import Chain, Project
from reelmill.training.reducers.select import TopK, changed
from reelmill.training.seams import StreamCache
from reelmill.training.splice import flat
from reelmill.training.streaming import Recent, Stream
from reelmill.training.vlm import VLM

FRAMES = 6
DURATION_S = FRAMES * 0.5
BEFORE, ASKED = [7, 3, 9], [4, 5, 6, 2]
TOKENS = 16  # of a frame of the ladder's smallest tower
BY_FRAME = ["llava15", "tc_llava", "videollm_mod", "distime", "mqt", "llavolta", "llava_hr"]


def made(name: str, size: ladder.Size = ladder.XS) -> VLM:
    model, _ = from_scratch(name, size, tiny.VOCABULARY, frames=FRAMES)
    model.eval()
    return model


def clip(frames: int = FRAMES, before: list[int] | None = None) -> Document:
    """The frames with words before them and a question behind."""
    drawn = tiny.document(3, frames=FRAMES)
    before = BEFORE if before is None else before
    ids = np.array([*before, tiny.VISUAL, *ASKED])
    branch = np.array([0] * (len(before) + 1) + [1] * len(ASKED))
    shown, at_s = drawn.frames[:frames], drawn.at_s[:frames]
    return Document(("clip",), ids, np.full(len(ids), IGNORED), branch, (), shown, at_s, DURATION_S)


def watched(model: VLM, steps: list[int], keep: StreamCache | None = None) -> Stream:
    whole, at = clip(), 0
    stream = Stream(model, duration_s=DURATION_S, before=BEFORE, keep=keep)
    for n in steps:
        stream.push(whole.frames[at : at + n], whole.at_s[at : at + n].tolist())
        at += n
    return stream


def say(model: VLM, document: Document) -> list[float]:
    return answer(model, [document], end=tiny.END, longest=5)[0][0].logs


@pytest.mark.parametrize("name", BY_FRAME)
def test_frame_by_frame_is_the_clip_at_once(name: str) -> None:
    """Also of a tower that looks at changes, of positions that count frames, and of layers that frames pass by."""
    model = made(name)
    stream = watched(model, [1] * FRAMES)
    said = stream.ask(ASKED, end=tiny.END, longest=5)
    np.testing.assert_allclose(said.logs, say(model, clip()), atol=1e-4)
    together = watched(model, [2, 3, 1])
    for layer, keys in stream.cache.keys.items():
        torch.testing.assert_close(keys, together.cache.keys[layer], atol=1e-4, rtol=0)


def test_a_question_leaves_no_trace_and_may_come_at_any_time() -> None:
    model, whole = made("videollm_mod"), clip()
    stream = watched(model, [2])
    first = stream.ask(ASKED, end=tiny.END, longest=5).logs
    np.testing.assert_allclose(first, say(model, clip(2)), atol=1e-4)
    held = stream.cache.bytes()
    assert stream.ask(ASKED, end=tiny.END, longest=5).logs == first
    assert stream.cache.bytes() == held
    stream.push(whole.frames[2:], whole.at_s[2:].tolist())
    np.testing.assert_allclose(stream.ask(ASKED, end=tiny.END, longest=5).logs, say(model, whole), atol=1e-4)


def test_a_stream_that_forgets_nothing_is_one_without_a_budget() -> None:
    model = made("llava15")
    free, kept = watched(model, [1] * FRAMES), watched(model, [1] * FRAMES, Recent(FRAMES))
    assert kept.ask(ASKED, end=tiny.END).logs == free.ask(ASKED, end=tiny.END).logs
    assert kept.cache.bytes() == free.cache.bytes()


def test_what_is_forgotten_was_never_seen_where_no_other_token_read_it() -> None:
    """In a model of one layer frames do not read one another: what is left is the row without the forgotten ones."""
    model = made("llava15", replace(ladder.XS, layers=1))
    stream = watched(model, [1] * FRAMES, Recent(2, first=1))
    assert stream.frames == [0, 4, 5]
    with torch.no_grad():
        row = model.row(packed([clip()]))
        held = (~row.visual | torch.isin(row.kind, torch.tensor([0, 4, 5]))).nonzero().squeeze(1)
        state = model.read(row.keep(held), 1).h[-1]
        logits = model.classes().weight @ state
    logits[tiny.VISUAL] = -torch.inf
    said = stream.ask(ASKED, end=tiny.END, longest=1).logs
    assert said[0] == pytest.approx(float(logits.log_softmax(-1).max()), abs=1e-5)
    assert said[0] != pytest.approx(watched(model, [FRAMES]).ask(ASKED, end=tiny.END, longest=1).logs[0], abs=1e-5)


def test_memory_is_flat_under_a_budget_and_grows_by_frames_without() -> None:
    model = made("videollm_mod")
    sizes: dict[str, list[int]] = {"free": [], "kept": []}
    streams = {"free": watched(model, []), "kept": watched(model, [], Recent(2, first=1))}
    whole = clip()
    for name, stream in streams.items():
        for frame, at_s in zip(whole.frames, whole.at_s.tolist(), strict=True):
            stream.push(frame[None], [at_s])
            sizes[name].append(stream.cache.bytes())
    assert sizes["kept"][:3] == sizes["free"][:3]
    assert sizes["kept"][3:] == [sizes["kept"][2]] * 3
    a_token = 2 * 4 * ladder.XS.words
    assert set(np.diff(sizes["free"]).tolist()) == {(TOKENS + 4 + TOKENS) * a_token}  # a fifth goes into layer 1
    assert int((streams["kept"].cache.seen[0].kind < 0).sum()) == len(BEFORE)


def test_frames_that_stay_are_the_first_and_the_newest() -> None:
    assert sorted(Recent(2, first=1).keeps([0, 1, 2, 3])) == [0, 2, 3]
    assert sorted(Recent(0, first=2).keeps([0, 1, 2])) == [0, 1]
    assert sorted(Recent(5).keeps([0, 1])) == [0, 1]
    assert isinstance(Recent(1), StreamCache)


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("pllava", "joins or compares frames"),
        ("llava_sp", "joins or compares frames"),
        ("fastv", "depends on the words"),
        ("llava_mini", "depends on the words"),
        ("dynamic_llava", "Gate changes the row"),
    ],
)
def test_a_model_of_whole_videos_is_refused(name: str, why: str) -> None:
    with pytest.raises(BadInput, match=why):
        Stream(made(name), duration_s=1.0)


def test_a_score_that_compares_frames_is_refused() -> None:
    model = made("llava15")
    model.reducer = Chain(TopK(changed, 0.5), Project(ladder.XS.vision, ladder.XS.words))
    assert int(flat(model.reducer(model.tower(packed([clip()]))), 1)[2]) == FRAMES * TOKENS // 2
    with pytest.raises(BadInput, match="compares frames"):
        Stream(model, duration_s=1.0)
