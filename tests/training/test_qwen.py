"""Qwen2-VL and Qwen2.5-VL as a trunk: positions of three axes in packed rows, caches, streams, reducers and hooks.

Weights are random (tests/fixtures/random_trunks.py): these tests prove mechanics, no quality.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import random_trunks
import torch
from torch import Tensor

from reelmill.schemas.errors import BadInput
from reelmill.training import backbones, native
from reelmill.training.answering import answer
from reelmill.training.assemble import Vocabulary, pretrained
from reelmill.training.attention import Cache
from reelmill.training.backbones import Backbone
from reelmill.training.data.form import QWEN_VL
from reelmill.training.data.tokenizer import loaded
from reelmill.training.data.tokens import Tokens
from reelmill.training.documents import IGNORED, Document, packed
from reelmill.training.loop.clock import lengths
from reelmill.training.loop.plan import Data, Plan
from reelmill.training.objectives.flip import shown_last
from reelmill.training.qwen import Merger
from reelmill.training.reducers.combine import Project
from reelmill.training.running import counting
from reelmill.training.streaming import Stream
from reelmill.training.trunk import following
from reelmill.training.values import Seq
from reelmill.training.variants.variant import Variant
from reelmill.training.vlm import VLM

KINDS = ["qwen2_vl", "qwen2_5_vl"]
SIDE = 32
GRID = 4  # cells of 8 pixels
CELLS = GRID * GRID
FRAMES = 6


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], str]:
    """Folders of checkpoints, each written when it is first asked for."""

    @cache
    def place(kind: str) -> str:
        return str(random_trunks.qwen(tmp_path_factory.mktemp("hub") / kind, kind))

    return place


class On:
    """A variant on a checkpoint, with its words, and pictures drawn from a seed."""

    def __init__(self, place: str, name: str = "llava15", **settings: Any) -> None:
        self.base: Backbone = backbones.whole(place, SIDE)
        form = QWEN_VL
        tokenizer = loaded(place, form)
        vocabulary = Vocabulary(len(tokenizer), tokenizer.convert_tokens_to_ids(form.visual))
        made: tuple[VLM, Variant] = pretrained(name, self.base, vocabulary, frames=FRAMES, settings=settings)
        self.model, self.variant = made[0].eval(), made[1]
        self.tokens = Tokens(tokenizer, self.base.image_px, form, max_frames=FRAMES)

    def ids(self, text: str) -> list[int]:
        found: list[int] = self.tokens.tokenizer(text, add_special_tokens=False)["input_ids"]
        return found

    def document(self, text: str, frames: int, fps: float = 0.0, *, seed: int = 0, apart: bool = False) -> Document:
        """`V` stands for a medium. Frames at `fps`, or pictures."""
        form = self.tokens.form
        medium = f"{form.before_visual}{form.visual}{form.after_visual}"
        ids = np.array(self.ids(text.replace("V", medium)), np.int64)
        drawn = np.random.default_rng(seed).integers(0, 256, (frames, SIDE, SIDE, 3)).astype(np.uint8)
        at_s = np.arange(frames) / fps if fps else np.zeros(frames)
        labels = np.where(np.arange(len(ids)) > len(ids) - 6, ids, IGNORED)
        duration_s = frames / fps if fps else 0.0
        return Document(("k",), ids, labels, np.zeros_like(ids), (), drawn, at_s, duration_s, apart=apart)

    def read(self, *documents: Document) -> Seq:
        with torch.no_grad():
            read: Seq = self.model(packed(list(documents)))
        return read

    def row(self, document: Document, budget: int | None = None) -> Seq:
        with torch.no_grad():
            row: Seq = self.model.row(packed([document]), budget)
        return row

    def logits(self, document: Document) -> Tensor:
        with torch.no_grad():
            return self.read(document).h @ self.model.classes().weight.T


@pytest.fixture(scope="module")
def put(places: Callable[[str], str]) -> Callable[..., On]:
    """A variant on a kind of checkpoint, made once for the tests that change nothing of it."""

    @cache
    def on(kind: str, name: str = "llava15", **settings: Any) -> On:
        return On(places(kind), name, **settings)

    return on


def said_there(model: Any, on: On, document: Document) -> Tensor:
    """What transformers' own model says: marks repeated, patches laid out frame by frame and cell by cell."""
    config, film = model.config, document.duration_s > 0
    mark = config.video_token_id if film else config.image_token_id
    pairs = document.frames if film else document.frames.repeat(2, 0)
    pairs = np.concatenate([pairs, pairs[-1:]]) if len(pairs) % 2 else pairs
    count = CELLS * (len(pairs) // 2 if film else 1)
    spread = [[mark] * count if i == on.tokens.visual_id else [i] for i in document.ids.tolist()]
    ids = torch.tensor([[i for part in spread for i in part]])
    if not len(pairs):
        return model(input_ids=ids).logits[0]
    mean, std = (on.base.tower.get_buffer(name) for name in ("mean", "std"))
    pixels = (torch.from_numpy(pairs).permute(0, 3, 1, 2) / 255 - mean) / std
    patches = []
    for i in range(0, len(pixels), 2):
        for row in range(0, SIDE, 8):
            for column in range(0, SIDE, 8):
                for dy, dx in ((0, 0), (0, 4), (4, 0), (4, 4)):
                    cut = pixels[i : i + 2, :, row + dy : row + dy + 4, column + dx : column + dx + 4]
                    patches.append(cut.transpose(0, 1).flatten())
    shape = [1, 2 * GRID, 2 * GRID]
    if not film:
        shown = {"pixel_values": torch.stack(patches), "image_grid_thw": torch.tensor([shape] * len(document.frames))}
        return model(input_ids=ids, **shown, mm_token_type_ids=(ids == mark).int()).logits[0]
    shown = {
        "pixel_values_videos": torch.stack(patches),
        "video_grid_thw": torch.tensor([[len(pairs) // 2, *shape[1:]]]),
    }
    if config.model_type == "qwen2_5_vl":
        shown["second_per_grid_ts"] = torch.tensor([2 * (document.at_s[1] - document.at_s[0])])
    return model(input_ids=ids, **shown, mm_token_type_ids=2 * (ids == mark).int()).logits[0]


def theirs(folder: str | Path) -> Any:
    from transformers import AutoModelForImageTextToText

    return AutoModelForImageTextToText.from_pretrained(folder, dtype=torch.float32).eval()


def shows(on: On) -> dict[str, Document]:
    return {
        "words": on.document("the red circle moves right", 0),
        "picture": on.document("the V red circle moves right", 1),
        "pictures": on.document("the V red V circle V moves right at frame", 3, seed=1),
        "film": on.document("the V red circle moves right at seconds", 4, 2.0, seed=2),
        "odd film": on.document("V the red circle moves right at frame", 5, 2.0, seed=3),
    }


@pytest.mark.parametrize("kind", KINDS)
def test_a_checkpoint_says_here_what_it_says_there(
    kind: str, places: Callable[[str], str], put: Callable[..., On]
) -> None:
    """2 frames a second: under transformers 5.16 pairs must be whole seconds apart to be told apart."""
    on, there = put(kind), theirs(places(kind))
    for name, document in shows(on).items():
        ours = on.logits(document)
        with torch.no_grad():
            said = said_there(there, on, document)
        torch.testing.assert_close(ours, said, atol=1e-4, rtol=1e-4, msg=lambda m, name=name: f"{name}: {m}")
        assert ours.std() > 0.1


def test_time_is_counted_in_seconds_or_in_pairs(put: Callable[..., On]) -> None:
    """Pairs 0.6 s apart, 4 steps a second: 0, 2.4, 4.8 and 7.2, cut; words behind go on from the fourth column."""
    for kind, times in (("qwen2_5_vl", [0, 2, 4, 7]), ("qwen2_vl", [0, 1, 2, 3])):
        on = put(kind)
        row = on.row(on.document("the V red", 7, 1 / 0.3))
        first, last = row.visual.nonzero()[[0, -1], 0].tolist()
        begun = int(row.pos[first - 1, 0]) + 1
        seen = row.pos[row.visual] - begun
        assert seen[::CELLS, 0].tolist() == times
        assert seen[:CELLS, 1:].tolist() == [[i, j] for i in range(GRID) for j in range(GRID)]
        assert row.pos[last + 1].tolist() == [begun + GRID] * 3


@pytest.mark.parametrize("kind", KINDS)
def test_a_packed_row_is_each_document_alone(kind: str, put: Callable[..., On]) -> None:
    on = put(kind)
    held = list(shows(on).values())
    together = on.read(*held)
    for number, document in enumerate(held):
        torch.testing.assert_close(together.h[together.doc == number], on.read(document).h, atol=1e-5, rtol=1e-5)


def test_branches_go_on_from_behind_the_film(put: Callable[..., On]) -> None:
    on = put("qwen2_5_vl")
    whole = on.document("V the red circle moves right at frame", 4, 1.0)
    cut = len(whole.ids) - 4
    branch = np.where(np.arange(len(whole.ids)) < cut, 0, 1)
    two = replace(
        whole,
        ids=np.append(whole.ids, whole.ids[cut:]),
        labels=np.append(whole.labels, whole.labels[cut:]),
        branch=np.append(branch, [2] * 4),
    )
    row, read, alone = on.row(two), on.read(two).h, on.read(whole).h
    assert torch.equal(row.pos[-4:], row.pos[-8:-4])
    torch.testing.assert_close(read[-8:-4], alone[-4:], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(read[-4:], alone[-4:], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_an_answer_from_the_cache_is_all_read_again(kind: str, put: Callable[..., On]) -> None:
    on = put(kind)
    for prompt in (shows(on)["film"], shows(on)["pictures"], shows(on)["words"]):
        said = answer(on.model, [prompt], end=-1, longest=5)[0][0]
        ids = prompt.ids.tolist()
        for token, log in zip(said.ids, said.logs, strict=True):
            nothing = np.full(len(ids), IGNORED)
            logits = on.logits(replace(prompt, ids=np.array(ids), labels=nothing, branch=np.zeros_like(nothing)))[-1]
            logits[on.tokens.visual_id] = -torch.inf
            assert float(logits.log_softmax(-1)[token]) == pytest.approx(log, abs=1e-4)
            assert int(logits.argmax()) == token
            ids.append(token)


# ---- reducers and hooks ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "tokens"),
    [
        ("m3", 3 * CELLS),
        ("mqt", None),
        ("evs", None),
        ("llavolta", 3 * CELLS),
        ("dpn_llava", 3 * CELLS),
        ("tc_llava", 3 * CELLS),
        ("llava_mini", None),
    ],
)
def test_papers_run_and_count_their_tokens(name: str, tokens: int | None, put: Callable[..., On]) -> None:
    on = put("qwen2_5_vl", name)
    film = on.document("V the red circle moves right", FRAMES, 2.0)
    row, words = on.row(film), len(film.ids) - 1
    assert tokens in (None, int(row.visual.sum()))
    assert row.length - words > 0
    assert counting(on.model)(film) == row.length == int(lengths(on.model, packed([film]))[0])
    assert on.read(film).h.isfinite().all()
    said = answer(on.model, [film], end=-1, longest=2)[0][0]
    assert len(said.ids) == 2


def test_pooled_tokens_lie_in_the_middle_of_their_cells(put: Callable[..., On]) -> None:
    """2 x 2 of 4 x 4 cells: middles at 1 and 3; words begin where they would without a pool, and say the same of it."""
    on = put("qwen2_vl", "m3")
    film = on.document("the V red", 4, 2.0)
    full, pooled = on.row(film), on.row(film, budget=4)
    assert int(pooled.visual.sum()) == 2 * 4
    begun = pooled.pos[pooled.visual][0, 0]
    assert (pooled.pos[pooled.visual] - begun).tolist() == [[t, i, j] for t in (0, 1) for i in (1, 3) for j in (1, 3)]
    assert torch.equal(full.pos[~full.visual], pooled.pos[~pooled.visual])
    means = full.h[full.visual].view(2, 2, 2, 2, 2, -1).mean((2, 4)).flatten(0, 2)
    torch.testing.assert_close(pooled.h[pooled.visual], means, atol=1e-5, rtol=1e-5)


def test_time_that_was_pooled_is_the_middle_of_its_pairs(put: Callable[..., On]) -> None:
    for kind, times in (("qwen2_5_vl", [2, 10]), ("qwen2_vl", [0, 2])):
        on = put(kind, "pllava", frames=2)  # of 2 x 2 tokens
        row = on.row(on.document("V the", 8, 2.0))  # pairs at 0, 1, 2 and 3 s; middles of two at 0.5 and 2.5
        begun = row.pos[int(row.visual.nonzero()[0]) - 1, 0] + 1
        assert (row.pos[row.visual][::4, 0] - begun).tolist() == times


def test_what_is_pruned_leaves_the_others_their_positions(put: Callable[..., On]) -> None:
    on = put("qwen2_5_vl", "fastv", layer=1, keep=0.25)
    film, plain = on.document("the V red circle moves", 4, 2.0), put("qwen2_5_vl")
    row, cache = on.row(film), Cache()
    with torch.no_grad():
        read = on.model.read(row, 1, cache)
    assert int(row.visual.sum()) == 2 * CELLS
    assert int(read.visual.sum()) == CELLS // 2
    assert torch.equal(read.pos, row.pos[read.index])
    assert torch.equal(row.pos, plain.row(film).pos)
    held = {layer: keys.shape[2] for layer, keys in cache.keys.items()}
    assert held == {0: row.length, 1: row.length - 2 * CELLS + CELLS // 2}


def test_crops_of_a_picture_are_seen_where_they_lie_in_it(put: Callable[..., On]) -> None:
    on = put("qwen2_vl", "llava_next")
    slicer = on.variant.slicer
    assert slicer is not None
    cut = slicer(72, 30)
    crops, bare = np.array(cut.shares()), on.document("", len(cut.shares()))
    ids = np.array(on.ids(on.tokens.form.opened(slicer.text(cut, on.tokens.form.visual)) + "the red"))
    picture = replace(bare, ids=ids, labels=np.full(len(ids), IGNORED), branch=np.zeros_like(ids), crops=crops)
    row = on.row(picture)
    assert counting(on.model)(picture) == row.length
    assert int(row.visual.sum()) > 2 * CELLS
    begun, behind = row.pos[row.visual].amin(), row.pos[int(row.visual.nonzero()[-1]) + 1, 0]
    assert behind - begun == len(crops) * GRID
    assert on.read(picture).h.isfinite().all()


def test_projectors_of_a_paper_begin_as_the_merger(put: Callable[..., On]) -> None:
    on = put("qwen2_5_vl", "m3")
    (project,) = [m for m in on.model.reducer.modules() if isinstance(m, Project)]
    (merger,) = [m for m in project.modules() if isinstance(m, Merger)]
    theirs = on.base.model.model.visual.merger
    assert torch.equal(merger.merger.mlp[0].weight, theirs.mlp[0].weight)
    assert merger.merger.mlp[0].weight is not theirs.mlp[0].weight


# ---- streams, and videos that are foretold ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["llava15", "m3", "tc_llava"])
def test_a_stream_is_its_frames_as_pictures(name: str, put: Callable[..., On]) -> None:
    on = put("qwen2_5_vl", name)
    budget = {"m3": 1}.get(name)
    form, before, asked = on.tokens.form, on.ids("the red"), on.ids("circle moves")
    bare = on.document("", 3, 1.0, seed=5, apart=True)
    ids = np.array([*before, *[on.tokens.visual_id] * 2, *before, on.tokens.visual_id, *asked])
    whole = replace(bare, ids=ids, labels=np.full(len(ids), IGNORED), branch=np.zeros_like(ids))
    assert form.visual == on.tokens.tokenizer.convert_ids_to_tokens(on.tokens.visual_id)
    streams = []
    for steps in ([2], [1, 1]):
        stream = Stream(on.model, duration_s=3.0, before=before, budget=budget)
        for n in steps:
            stream.push(bare.frames[stream.seen : stream.seen + n], bare.at_s[stream.seen : stream.seen + n].tolist())
        stream.hear(before)
        stream.push(bare.frames[2:], [2.0])
        streams.append(stream.ask(asked, end=-1, longest=4))
    said = answer(on.model, [whole], end=-1, longest=4, budget=budget)[0][0]
    for streamed in streams:
        np.testing.assert_allclose(streamed.logs, said.logs, atol=1e-4)


def test_frames_that_are_foretold_stand_behind_the_words(put: Callable[..., On]) -> None:
    on = put("qwen2_5_vl")
    whole = on.document("V the red circle", 4, 2.0)
    branch = (np.arange(len(whole.ids)) > 2).astype(np.int64)
    pack = packed([replace(whole, branch=branch, labels=np.where(branch > 0, whole.ids, IGNORED))])
    with torch.no_grad():
        row = on.model.row(pack)
    last, _, _ = shown_last(pack, row)
    words = len(whole.ids) - 1
    assert last.pos[:words].tolist() == [[i] * 3 for i in range(words)]
    torch.testing.assert_close(last.pos[words:] - words, row.pos[row.visual] - row.pos[row.visual].min())


# ---- learning, and written as it came --------------------------------------------------------------------------------


def test_a_step_lowers_the_loss_and_all_parts_learn(places: Callable[[str], str]) -> None:
    on = On(places("qwen2_5_vl"))
    pack = packed([shows(on)[name] for name in ("picture", "film")])
    parameters = [p for _, part in on.model.parts() for p in part.parameters()]
    assert len({id(p) for p in parameters}) == len(parameters)
    step = torch.optim.SGD(parameters, lr=1e-2)
    before = {name: [p.detach().clone() for p in part.parameters()] for name, part in on.model.parts()}
    losses = []
    for _ in range(2):
        loss = on.variant.objective(on.model, pack)
        losses.append(float((loss.total / loss.weight).detach()))
        step.zero_grad()
        (loss.total / loss.weight).backward()
        step.step()
    assert losses[1] < losses[0]
    for name, part in on.model.parts():
        moved = [not torch.equal(p, q) for p, q in zip(before[name], part.parameters(), strict=True)]
        assert any(moved) == bool(moved), name


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_written_is_loaded_with_equal_logits(kind: str, places: Callable[[str], str], tmp_path: Path) -> None:
    on = On(places(kind))
    torch.manual_seed(3)
    with torch.no_grad():
        for parameter in on.model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.05)
    native.write(on.model, on.variant, on.base, on.tokens, tmp_path / "made")
    there = theirs(tmp_path / "made")
    for name in ("picture", "film"):
        document = shows(on)[name]
        with torch.no_grad():
            said = said_there(there, on, document)
        torch.testing.assert_close(on.logits(document), said, atol=1e-4, rtol=1e-4)
    assert (tmp_path / "made" / "preprocessor_config.json").exists()


def test_the_template_opens_and_closes_every_medium(places: Callable[[str], str]) -> None:
    on = On(places("qwen2_vl"))
    form, tokenizer = on.tokens.form, on.tokens.tokenizer
    tokenizer.chat_template = form.chat_template()

    def said(kinds: Sequence[str]) -> str:
        content = [*({"type": kind} for kind in kinds), {"type": "text", "text": "when?"}]
        turns = [{"role": "user", "content": content}]
        return str(tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True))

    assert said(["image"]) == f"{form.opening}when?{form.assistant}"
    one, film = ("<|vision_start|>" + mark + "<|vision_end|>" for mark in ("<|image_pad|>", "<|video_pad|>"))
    assert said(["image", "image"]) == f"{form.user}{one}{one}when?{form.assistant}"
    assert said(["video"]) == f"{form.user}{film}when?{form.assistant}"


# ---- what cannot be --------------------------------------------------------------------------------------------------


def test_what_the_tower_does_not_have_is_refused(places: Callable[[str], str], tmp_path: Path) -> None:
    place = places("qwen2_5_vl")
    for name, wants in (("hired", "layers inside"), ("llava_hr", "its own way round"), ("ts_llava", "its own way")):
        with pytest.raises(BadInput, match=f"Qwen-VL's tower.*{wants}"):
            On(place, name)
    with pytest.raises(BadInput, match=r"frames of 30 pixels.*cells have 8.*multiple of 8"):
        backbones.whole(place, 30)
    assert backbones.whole(place).image_px == 336
    with pytest.raises(BadInput, match=r"frames of 448 pixels.*no model"):
        Plan("llava15", (Data("x"),), image_px=448)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "qwen3_vl"}))
    with pytest.raises(BadInput, match=r"'qwen3_vl', whose first layers are given visual features too"):
        backbones.whole(str(tmp_path))


def test_words_behind_a_token_go_on_from_its_medium(put: Callable[..., On]) -> None:
    """Behind the last cell of a picture, and of one that was pooled to a single token."""
    on = put("qwen2_vl", "m3")
    for budget in (None, 1):
        row = on.row(on.document("the V red", 1), budget)
        last = int(row.visual.nonzero()[-1])
        assert following(on.model.policy, row)[last] == row.pos[last + 1, 0]
