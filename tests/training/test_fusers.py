"""A second tower beside the first: it adds nothing until it has learned to, and then what it saw at the same place."""

from __future__ import annotations

import math
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import random_trunks
import tiny_documents as tiny
import torch
from PIL import Image
from published import stocked
from torch import Tensor, nn
from transformers import ConvNextConfig, ConvNextModel

from reelmill.schemas.errors import BadInput, NotFound
from reelmill.sinks.pack import pack as publish
from reelmill.training import backbones, ladder
from reelmill.training.assemble import Vocabulary, from_scratch, pretrained
from reelmill.training.documents import packed
from reelmill.training.fusers.dual import Dual, parted, whole
from reelmill.training.fusers.fuse import Fuse
from reelmill.training.fusers.gate import Gate
from reelmill.training.fusers.mine import Mine
from reelmill.training.fusers.weigh import Weigh
from reelmill.training.loop.plan import Data, Plan
from reelmill.training.reducers.combine import Stage
from reelmill.training.running import begun
from reelmill.training.second import Mixed, second, sized
from reelmill.training.towers import HFTower, places
from reelmill.training.values import Vis
from reelmill.training.variants.variant import On
from reelmill.training.vlm import VLM

FRAMES = 3


def view(side: int, width: int, *, sample: tuple[int, ...] = (0,), seed: int = 0) -> Vis:
    torch.manual_seed(seed)
    n, cells = len(sample), side * side
    frame = torch.arange(n).unsqueeze(1).expand(-1, cells)
    where = places((side, side)).expand(n, -1, -1)
    return Vis(torch.randn(n, cells, width), where, frame, frame * 1.0, torch.tensor(sample), grid=(side, side))


def awake(module: nn.Module) -> nn.Module:
    """With layers that start at zero drawn."""
    torch.manual_seed(1)
    for weight in module.parameters():
        if not weight.any():
            nn.init.normal_(weight, std=0.3)
    return module


@cache
def fresh(name: str) -> VLM:
    model, _ = from_scratch(name, ladder.XS, tiny.VOCABULARY, frames=FRAMES)
    model.eval()
    return model


# ---- nothing at first ------------------------------------------------------------------------------------------------


@torch.no_grad()
@pytest.mark.parametrize("name", ["llava_hr", "mini_gemini"])
def test_a_fresh_fuser_is_the_first_tower_alone(name: str) -> None:
    model, pack = fresh(name), packed([tiny.document(0, frames=FRAMES, size_px=48)])
    tower, reducer = model.tower, model.reducer
    assert isinstance(tower.tower, HFTower)
    alone = reducer.stages[-1](tower.tower(sized(pack, 24)))
    torch.testing.assert_close(reducer(tower(pack)).x, alone.x, atol=1e-6, rtol=0)


@torch.no_grad()
@pytest.mark.parametrize("name", ["llava_hr", "mini_gemini"])
def test_one_that_learned_is_not(name: str) -> None:
    """With weights behind the zeros; the first tower by itself is what it was, whatever read it before."""
    model, _ = from_scratch(name, ladder.XS, tiny.VOCABULARY, frames=FRAMES, seed=5)
    pack = packed([tiny.document(0, frames=FRAMES, size_px=48)])
    awake(model.tower)
    awake(model.reducer)
    tower, reducer = model.tower, model.reducer
    small = sized(pack, 24)
    before = tower.tower(small).x
    fused = reducer(tower(pack)).x
    assert (fused - reducer.stages[-1](tower.tower(small)).x).abs().max() > 1e-2
    assert torch.equal(tower.tower(small).x, before)
    if name == "llava_hr":
        assert (tower(pack).x - before).abs().max() > 1e-2


@pytest.mark.parametrize(
    ("depth", "layer", "behind"), [(24, -2, [6, 12, 18]), (2, -1, [1]), (2, -2, [0]), (4, -1, [1, 2, 3])]
)
def test_gates_stand_behind_blocks_that_are_read(depth: int, layer: int, behind: list[int]) -> None:
    size = ladder.Size(16, depth, 2, 24, 6, 16, 1, 2)
    tower = ladder.tower(size)
    tower.layer = layer
    assert Mixed(tower, ladder.conv(16, 48, 6, 2)).behind == behind


# ---- fusers ----------------------------------------------------------------------------------------------------------


@torch.no_grad()
def test_a_patch_reads_its_own_region_alone() -> None:
    """The third token of a 2 x 2 grid is below on the left: of 6 x 6 fine ones, rows 3 to 5 and columns 0 to 2."""
    mine = awake(Mine(8, 12))
    low, high = view(2, 8), view(6, 12, seed=3)
    changed = high.x.clone().view(1, 6, 6, 12)
    changed[:, 3:, :3] += torch.randn(1, 3, 3, 12)
    before, after = mine([low, high]).x, mine([low, high.with_x(changed.flatten(1, 2))]).x
    assert ((after - before).abs().amax((0, 2)) > 1e-3).tolist() == [False, False, True, False]


@torch.no_grad()
def test_mining_is_its_formula() -> None:
    mine: Any = awake(Mine(8, 12))
    low, high = view(2, 8), view(4, 12, seed=3)
    region = high.x.view(4, 4, 12)[:2, 2:].reshape(4, 12)  # of token 1, above on the right
    keys, values = mine.kv(mine.norm_kv(region)).chunk(2, -1)
    share = (keys @ mine.q(mine.norm_q(low.x[0, 1])) / math.sqrt(8)).softmax(0)
    torch.testing.assert_close(mine([low, high]).x[0, 1], low.x[0, 1] + mine.out(share @ values))


@torch.no_grad()
def test_a_gate_is_one_number_a_frame() -> None:
    gate: Any = awake(Gate(6, 4))
    low, high = view(3, 6, sample=(0, 0)), view(3, 4, sample=(0, 0), seed=3)
    maps = [v.x.transpose(1, 2).unflatten(2, (3, 3)) for v in (low, high)]
    more = gate.slow(maps[1])
    factor = (gate.mixed(*maps) - maps[0] - gate.local(maps[0])) / more
    by_frame = factor.flatten(1)
    torch.testing.assert_close(by_frame, by_frame[:, :1].expand_as(by_frame), atol=1e-3, rtol=1e-3)
    assert (by_frame[0, 0] - by_frame[1, 0]).abs() > 1e-3
    assert by_frame.abs().max() <= 1.0 + 1e-3


@torch.no_grad()
def test_towers_are_weighed_by_video_and_weights_sum_to_one() -> None:
    weigh = Weigh(8, Stage(), Stage())
    both = [view(2, 8, sample=(0, 0, 1), seed=s) for s in (3, 4)]
    shares = weigh.shares(both)
    torch.testing.assert_close(shares.sum(1), torch.ones(3))
    assert torch.equal(shares[0], shares[1])
    alone = [Vis(v.x[:2], v.place[:2], v.frame[:2], v.time[:2], v.sample[:2], grid=v.grid) for v in both]
    torch.testing.assert_close(weigh.shares(alone), shares[:2])
    means = torch.stack([v.x[:2].mean((0, 1)) for v in both])
    torch.testing.assert_close(shares[0], (weigh.key(means) @ weigh.query / math.sqrt(8)).softmax(0))
    expected = shares[:, :1, None] * both[0].x + shares[:, 1:, None] * both[1].x
    torch.testing.assert_close(weigh(both).x, expected)
    torch.testing.assert_close(weigh([both[0], both[0]]).x, both[0].x)


def test_parts_of_a_map_are_its_crops_or_its_strides() -> None:
    maps = torch.randn(2, 3, 6, 9)
    crops, strides = (parted(maps, 3, strides=s) for s in (False, True))
    assert torch.equal(crops[1, 2, 0], maps[1, :, 4:, :3].permute(1, 2, 0))
    assert torch.equal(strides[1, 2, 0], maps[1, :, 2::3, ::3].permute(1, 2, 0))
    assert torch.equal(whole(crops), maps)
    assert torch.equal(whole(strides, strides=True), maps)


@torch.no_grad()
@pytest.mark.parametrize("strides", [False, True])
def test_one_way_asks_the_other_within_a_part(strides: bool) -> None:
    """The key at row and column 3 of 6 lies in the middle crop and in the first stride; queries there read it alone."""
    dual, query, key = Dual(8, 3), torch.randn(1, 8, 6, 6), torch.randn(1, 8, 6, 6)
    other = key.clone()
    other[0, :, 3, 3] = torch.randn(8)
    off = (dual.asked(query, other, strides=strides) - dual.asked(query, key, strides=strides)).abs().amax(1)[0] > 1e-6
    expected = torch.zeros(6, 6, dtype=torch.bool)
    if strides:
        expected[::3, ::3] = True
    else:
        expected[2:4, 2:4] = True
    assert torch.equal(off, expected)


@torch.no_grad()
def test_crops_and_strides_lie_where_their_pixels_do() -> None:
    """Pixels of the first crop, and of the first stride, change the tokens of that crop and that stride."""
    tower: Any = fresh("inf_llava").tower
    document = tiny.document(0, frames=1, size_px=72)
    pack = packed([document])
    for way, (pixels, tokens) in enumerate([(slice(24), slice(4)), (slice(0, None, 3), slice(0, None, 3))]):
        changed = packed([document])
        changed.pixels[:, :, pixels, pixels] = 255 - changed.pixels[:, :, pixels, pixels]
        off = (tower(changed).other[way].x - tower(pack).other[way].x).abs().amax(2).view(12, 12) > 1e-6
        expected = torch.zeros(12, 12, dtype=torch.bool)
        expected[tokens, tokens] = True
        assert torch.equal(off, expected)


def test_one_view_is_refused() -> None:
    with pytest.raises(ValueError, match="no second view"):
        Fuse(Mine(8, 8))(view(2, 8))


# ---- pixels and towers -----------------------------------------------------------------------------------------------


def test_frames_are_made_smaller_as_the_data_side_does() -> None:
    """Pillow's filter on the same noise. It rounds between rows and columns: half a step, 0.6 behind the second pass,
    and half a step for each last rounding come to 2 of 255 at most."""
    document = tiny.document(0, frames=2, size_px=48)
    ours = sized(packed([document]), 24).pixels.permute(0, 2, 3, 1).numpy().astype(int)
    theirs = [np.asarray(Image.fromarray(f).resize((24, 24), Image.Resampling.BICUBIC)) for f in document.frames]
    assert np.abs(ours - np.stack(theirs)).max() <= 2


def convnext(folder: Path) -> Path:
    from transformers import CLIPImageProcessorPil

    torch.manual_seed(0)
    config = ConvNextConfig(hidden_sizes=[8, 16, 24], depths=[1, 1, 1], num_stages=3, patch_size=4)
    ConvNextModel(config).save_pretrained(folder)
    CLIPImageProcessorPil(image_mean=[0.1, 0.2, 0.3]).save_pretrained(folder)
    return folder


def trunk() -> On:
    return On(24, 32, (4, 4), FRAMES, None, 3, 32)


def seen(tower: Any, px: int) -> Tensor:
    out: Tensor = tower(sized(packed([tiny.document(0, frames=2, size_px=64)]), px)).x
    return out


@torch.no_grad()
@pytest.mark.parametrize("finer", [1, 2])
def test_a_convolutional_tower_gets_the_pixels_that_its_stride_asks_for(finer: int, tmp_path: Path) -> None:
    """Stride 16: 64 pixels are 4 x 4, 128 are 8 x 8; and what is told before the weights is what they give."""
    other = second(trunk(), str(convnext(tmp_path)), finer)
    assert (other.width, other.grid, other.image_px) == (24, (4 * finer, 4 * finer), 64 * finer)
    tower: Any = other.made()
    assert (tower.width, tower.grid) == (other.width, other.grid)
    assert seen(tower, other.image_px).shape == (2, (4 * finer) ** 2, 24)
    assert tower.mean.flatten().tolist() == pytest.approx([0.1, 0.2, 0.3])


@torch.no_grad()
@pytest.mark.parametrize("finer", [1, 2])
def test_one_from_scratch_is_what_was_told(finer: int) -> None:
    other = second(trunk(), None, finer)
    tower: Any = other.made()
    assert (tower.width, tower.grid) == (other.width, other.grid) == (24, (4 * finer, 4 * finer))
    assert other.image_px == 64
    assert seen(tower, 64).shape == (2, (4 * finer) ** 2, 24)


@torch.no_grad()
def test_a_transformer_is_taken_as_it_is(tmp_path: Path) -> None:
    other = second(trunk(), str(random_trunks.eyes(tmp_path, "siglip_vision_model")))
    assert (other.width, other.grid, other.image_px) == (24, (4, 4), 32)
    assert seen(other.made(), 32).shape == (2, 16, 24)


def test_what_is_no_tower_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="checkpoint"):
        second(trunk(), str(tmp_path / "nowhere"))
    with pytest.raises(BadInput, match="model type 'llama'"):
        second(trunk(), str(random_trunks.words(tmp_path / "words", "llama")))


@torch.no_grad()
@pytest.mark.parametrize("eyes", ["clip_vision_model", "siglip_vision_model", "dinov2"])
def test_a_named_pair_of_towers_begins_as_one(eyes: str, tmp_path: Path) -> None:
    """Each kind of first tower, with a ConvNeXt between its blocks."""
    names = random_trunks.eyes(tmp_path / "eyes", eyes), random_trunks.words(tmp_path / "words", "llama")
    base = backbones.parts(*map(str, names))
    vocabulary = Vocabulary(base.config.vocab_size, base.config.vocab_size - 1)
    settings = {"high": str(convnext(tmp_path / "high"))}
    model, variant = pretrained("llava_hr", base, vocabulary, frames=FRAMES, settings=settings)
    assert variant.image_px == 64
    pack = packed([tiny.document(0, frames=FRAMES, size_px=64)])
    tower: Any = model.tower
    alone = tower.tower(sized(pack, 32)).x
    torch.testing.assert_close(tower(pack).x, alone, atol=1e-6, rtol=0)
    awake(tower.gates)
    assert (tower(pack).x - alone).abs().max() > 1e-3


def test_a_run_reads_frames_in_the_larger_square(tmp_path: Path) -> None:
    store, view = stocked(tmp_path, sources=2)
    publish(store, view, val_share=0.0)
    plan = Plan("llava_hr", (Data(str(tmp_path / "grounding-t" / "1")),), frames=FRAMES)
    fit = begun(plan, tmp_path / "run", lambda _: None)
    assert next(iter(fit.packs)).pixels.shape[1:] == (3, 48, 48)
