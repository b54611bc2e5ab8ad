"""Pixels to visual tokens: any vision model of transformers, or a small one from scratch."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from reelmill.training.documents import Pack
from reelmill.training.values import Vis


class HFTower(nn.Module):
    """A vision transformer of transformers (CLIP, SigLIP, DINOv2 and their like), frame by frame.

    `layer` is the layer whose states are taken, counted as Python counts (-2: LLaVA-1.5), `normed` puts the model's
    last norm behind it. `scores` and `levels` name layers that reducers ask for. `difference` puts the change since the
    frame before beside each frame, as three more channels.
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        layer: int = -2,
        normed: bool = False,
        mean: tuple[float, float, float] = (0.5, 0.5, 0.5),
        std: tuple[float, float, float] = (0.5, 0.5, 0.5),
        difference: bool = False,
        scores: Collection[int] = (),
        levels: Collection[int] = (),
    ) -> None:
        super().__init__()
        self.model: Any = model
        self.layer, self.normed, self.difference = layer, normed, difference
        self.scored, self.levelled = frozenset(scores), frozenset(levels)
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1), persistent=False)

    @property
    def width(self) -> int:
        """C of its tokens."""
        return int(self.model.config.hidden_size)

    @property
    def depth(self) -> int:
        """Its layers."""
        return int(self.model.config.num_hidden_layers)

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of patches."""
        side = self.model.config.image_size // self.model.config.patch_size
        return side, side

    @property
    def image_px(self) -> int:
        """Side of the square that it sees."""
        return int(self.model.config.image_size)

    def want(self, scores: Collection[int] = (), levels: Collection[int] = ()) -> None:
        """Reducers say here what they read."""
        self.scored |= frozenset(scores)
        self.levelled |= frozenset(levels)

    def __call__(self, pack: Pack) -> Vis:
        vis: Vis = super().__call__(pack)
        return vis

    def forward(self, pack: Pack) -> Vis:
        """Tokens of every frame of a pack."""
        with self._scoring() as scores:
            out = self.model(pixel_values=self._pixels(pack), output_hidden_states=True)
        states: Any = out.hidden_states
        x = self._normed(states[self.layer])
        lead = x.shape[1] - self.grid[0] * self.grid[1]
        return frames_of(
            pack,
            x[:, lead:],
            self.grid,
            cls=x[:, 0] if lead else None,
            scores={layer: found()[:, lead:] for layer, found in scores.items()},
            levels={layer: states[layer][:, lead:] for layer in sorted(self.levelled)},
            classes={layer: states[layer][:, 0] for layer in sorted(self.levelled) if lead},
        )

    def _normed(self, x: Tensor) -> Tensor:
        """With the model's last norm, where that is wanted."""
        if not self.normed:
            return x
        norm = getattr(self.model, "post_layernorm", None) or self.model.layernorm  # DINOv2 calls it so
        out: Tensor = norm(x)
        return out

    def _pixels(self, pack: Pack) -> Tensor:
        mean, std = self.get_buffer("mean"), self.get_buffer("std")
        pixels = (pack.pixels.to(mean.dtype) / 255 - mean) / std
        if not self.difference:
            return pixels
        earlier = torch.cat([pixels[:1], pixels[:-1]])
        first = pack.frame == 0
        if pack.crop is not None:  # crops lie side by side: one is no change of the other
            first = first | (pack.duration_s[pack.sample] == 0)
        return torch.cat([pixels, torch.where(first.view(-1, 1, 1, 1), 0, pixels - earlier)], 1)

    @property
    def blocks(self) -> Any:
        """Its layers as modules."""
        encoder: Any = self.model.encoder
        return getattr(encoder, "layers", None) or encoder.layer

    @contextmanager
    def _scoring(self) -> Iterator[dict[int, Callable[[], Tensor]]]:
        """Attention from the class token, from queries and keys: it needs no particular attention kernel (as HiRED)."""
        layers = self.blocks
        heads = self.model.config.num_attention_heads
        found: dict[int, dict[str, Tensor]] = {layer: {} for layer in sorted(self.scored)}
        handles = []
        for layer, kept in found.items():
            for name in ("q_proj", "k_proj"):
                linear = getattr(getattr(layers[layer], "self_attn", None) or layers[layer].attention, name)
                handles.append(linear.register_forward_hook(partial(_keep, kept, name)))
        try:
            yield {layer: partial(_scored, kept, heads) for layer, kept in found.items()}
        finally:
            for handle in handles:
                handle.remove()


class ConvTower(nn.Module):
    """A ConvNeXt of transformers, frame by frame: the last stage's map, at any square that its stride divides."""

    def __init__(
        self,
        model: nn.Module,
        image_px: int,
        mean: tuple[float, float, float] = (0.5, 0.5, 0.5),
        std: tuple[float, float, float] = (0.5, 0.5, 0.5),
    ) -> None:
        super().__init__()
        self.model: Any = model
        self.model.layernorm = nn.Identity()  # the norm of its pooled output, which nobody reads
        self.image_px = image_px
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1), persistent=False)

    @staticmethod
    def stride_of(config: Any) -> int:
        """Pixels of a cell of the last map, each way."""
        return int(config.patch_size * 2 ** (len(config.hidden_sizes) - 1))

    @property
    def width(self) -> int:
        """C of its tokens."""
        return int(self.model.config.hidden_sizes[-1])

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of the last map."""
        side = self.image_px // self.stride_of(self.model.config)
        return side, side

    def forward(self, pack: Pack) -> Vis:
        """Tokens of every frame of a pack."""
        mean, std = self.get_buffer("mean"), self.get_buffer("std")
        maps = self.model((pack.pixels.to(mean.dtype) / 255 - mean) / std).last_hidden_state
        return frames_of(pack, maps.flatten(2).transpose(1, 2), self.grid)


def groups_of(tower: Any, frames: int, *, film: bool) -> int:
    """Groups of tokens that frames become: a tower may join so many (`joins`) that follow one another."""
    return -(-frames // getattr(tower, "joins", 1)) if film else frames


def _keep(kept: dict[str, Tensor], name: str, _module: nn.Module, _args: Any, output: Tensor) -> None:
    kept[name] = output.detach()


def _scored(kept: dict[str, Tensor], heads: int) -> Tensor:
    return from_class(kept["q_proj"], kept["k_proj"], heads)


def from_class(query: Tensor, key: Tensor, heads: int) -> Tensor:
    """Attention of the first token to all, mean over heads: queries and keys [n, L, C] to float32 [n, L]."""
    n, length, width = key.shape
    q = query[:, :1].float().view(n, 1, heads, -1).transpose(1, 2)
    k = key.float().view(n, length, heads, -1).transpose(1, 2)
    return ((q @ k.transpose(-1, -2)) * (width // heads) ** -0.5).softmax(-1).mean(1)[:, 0]


def frames_of(pack: Pack, x: Tensor, grid: tuple[int, int], **more: Any) -> Vis:
    """Patch tokens [n, rows * columns, C] of the frames of a pack, with their places and times."""
    return Vis(
        x=x,
        place=laid(grid, len(x), x.device, pack.crop),
        frame=pack.frame.unsqueeze(1).expand(-1, x.shape[1]),
        time=(pack.time_s / pack.duration_s[pack.sample].clamp(min=1e-6)).unsqueeze(1).expand(-1, x.shape[1]),
        sample=pack.sample,
        grid=grid,
        crop=pack.crop,
        **more,
    )


def laid(grid: tuple[int, int], n: int, device: torch.device | str, crop: Tensor | None) -> Tensor:
    """Places [n, rows * columns, 2] of the same grid in n frames, or in the crops [n, 4] that they are."""
    return within(places(grid, device).expand(n, -1, -1), crop)


def within(place: Tensor, crop: Tensor | None) -> Tensor:
    """Places [n, L, 2] in a crop, as places in the picture that it is of."""
    if crop is None:
        return place
    start, end = crop[:, [1, 0]].unsqueeze(1), crop[:, [3, 2]].unsqueeze(1)
    return start + place * (end - start)


def places(grid: tuple[int, int], device: torch.device | str = "cpu") -> Tensor:
    """Middles of a grid's cells in shares of the frame, [rows * columns, 2] as (row, column), row-major."""
    rows, columns = (((torch.arange(n, device=device) + 0.5) / n) for n in grid)
    return torch.cartesian_prod(rows, columns)
