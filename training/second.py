"""A second tower beside the first: a small convolutional one from scratch, or any of Hugging Face's by name.

    second(on, None, finer=2)       stride of a patch, over twice the pixels: twice the grid
    second(on, "convnext-folder")   as many pixels as give it the first tower's grid

Frames come once, in the larger square; every tower sees them at its own size.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from reelmill.training import backbones, ladder
from reelmill.training.documents import Pack
from reelmill.training.fusers.fuse import on_grid
from reelmill.training.fusers.gate import Gate
from reelmill.training.reducers.combine import Grid
from reelmill.training.towers import ConvTower, HFTower
from reelmill.training.values import Vis
from reelmill.training.variants.variant import On, Second


def second(on: On, place: str | None, finer: int = 1) -> Second:
    """What a tower will be, without its weights. `finer` times the first tower's grid, where it can be chosen: a vision
    transformer has the grid that it was made for.

    Raises NotFound where the checkpoint is not here, BadInput for another kind of model.
    """
    rows = on.grid[0] * finer
    if place is None:
        patch = on.image_px // on.grid[0]
        stages = 2 if finer == 1 else 1
        px = rows * patch * 2 ** (stages - 1)
        return Second(on.vision, (rows, rows), px, partial(ladder.conv, on.vision, px, patch, stages))
    config = backbones.tower_config(place)
    if config.model_type in backbones.CONVOLUTIONAL:
        px = rows * ConvTower.stride_of(config)
        return Second(config.hidden_sizes[-1], (rows, rows), px, partial(backbones.convolving, place, px))
    side = config.image_size // config.patch_size
    return Second(config.hidden_size, (side, side), config.image_size, partial(backbones.seen_by, place))


def largest(on: On, others: Sequence[Second]) -> int:
    """Side of the square that frames must come in."""
    return max(on.image_px, *(other.image_px for other in others))


class Beside(nn.Module):
    """A tower, and `others` that see the same frames: `Vis.other`."""

    def __init__(self, tower: HFTower, *others: nn.Module) -> None:
        super().__init__()
        self.tower: Any = tower
        self.others: Any = nn.ModuleList(others)

    @property
    def width(self) -> int:
        return int(self.tower.width)

    @property
    def grid(self) -> Grid:
        rows, columns = self.tower.grid
        return rows, columns

    @property
    def difference(self) -> bool:
        """Whether it looks at the frame before."""
        return bool(self.tower.difference)

    def forward(self, pack: Pack) -> Vis:
        """Tokens of every frame, as each tower sees it."""
        others = tuple(other(sized(pack, other.image_px)) for other in self.others)
        with self._reading(others):
            vis: Vis = self.tower(sized(pack, self.tower.image_px))
        return replace(vis, other=others)

    @contextmanager
    def _reading(self, others: tuple[Vis, ...]) -> Iterator[None]:  # noqa: ARG002 nothing here
        """What the first tower is told of the others."""
        yield


class Mixed(Beside):
    """The first tower reads the second one between its blocks, through a `Gate` each (LLaVA-HR): behind blocks 6, 12
    and 18 of 24, or as deep in a shallower tower, but never behind the layer that is taken."""

    def __init__(self, tower: HFTower, other: nn.Module, behind: Sequence[int] = (6, 12, 18)) -> None:
        super().__init__(tower, other)
        taken = tower.depth + 1 + tower.layer if tower.layer < 0 else tower.layer
        self.behind = sorted({max(0, min(taken - 1, max(1, n * tower.depth // 24))) for n in behind})
        self.gates = nn.ModuleList(Gate(tower.width, self.others[0].width) for _ in self.behind)

    @contextmanager
    def _reading(self, others: tuple[Vis, ...]) -> Iterator[None]:
        slow = on_grid(others[0], self.grid)
        blocks = self.tower.blocks
        with ExitStack() as hooks:
            for block, gate in zip(self.behind, self.gates, strict=True):
                handle = blocks[block].register_forward_pre_hook(partial(self._told, gate, slow))
                hooks.callback(handle.remove)
            yield

    def _told(self, gate: Gate, slow: Tensor, _block: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
        """A block's input with the patches changed; tokens before them stay."""
        h, *more = args
        lead = h.shape[1] - self.grid[0] * self.grid[1]
        maps = h[:, lead:].transpose(1, 2).unflatten(2, self.grid)
        mixed = gate.mixed(maps, slow).flatten(2).transpose(1, 2)
        return (torch.cat([h[:, :lead], mixed], 1), *more)


def sized(pack: Pack, px: int) -> Pack:
    """The same frames in another square: bicubic with antialias, to whole numbers, as the data side resizes."""
    if pack.pixels.shape[-1] == px:
        return pack
    pixels = interpolate(pack.pixels.float(), size=(px, px), mode="bicubic", antialias=True)
    return replace(pack, pixels=pixels.round().clamp(0, 255).to(pack.pixels.dtype))
