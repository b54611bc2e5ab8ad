"""Positions of three axes, as Qwen2-VL (arXiv 2409.12191, section 2.1) and Qwen2.5-VL (arXiv 2502.13923) turn tokens.

    words     the same number on all three axes, one more for each word
    medium    begins at the number that is next: (time, row, column) of each token are added to it
    behind    words go on max(rows, columns) further, however many steps of time there were

That is `get_rope_index` of transformers. A picture is a medium of its own, and so is each frame that stands alone; the
frames of a film are one. Row and column are those of the cell of the tower's grid in which the middle of a token lies,
and its time is counted as the tower's own. So tokens that are left keep their positions, one that stands for several
cells lies in the middle of them, and words stand where they would stand if nothing were reduced.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from reelmill.training.documents import Pack
from reelmill.training.values import Vis

_SHARE, _STEP = 1e-6, 1e-3
"""Times are shares of the clip in float32: what they are off by moves no token to the step before."""


@dataclass(frozen=True, slots=True)
class Axes:
    """Rows and columns of a tower's cells, how many frames of a film it joins, and steps of time in a second: None
    where each group of joined frames is one step (Qwen2-VL)."""

    grid: tuple[int, int]
    joins: int
    per_second: float | None = None

    @property
    def extent(self) -> int:
        """Steps from a medium's beginning to what comes behind it."""
        return max(self.grid)

    def steps(self, pack: Pack, here: Tensor) -> Tensor:
        """int64 [ids]: how far each id of a pack moves on; `here` bool [ids] are the marks of media."""
        marks = torch.bincount(pack.doc[here], minlength=pack.documents)
        shown = torch.bincount(pack.sample, minlength=pack.documents)
        media = torch.where((marks > 1) | pack.film, 1, shown)
        return torch.ones_like(pack.ids).masked_scatter(here, media[pack.doc[here]] * self.extent)

    def offsets(self, pack: Pack, vis: Vis, here: Tensor) -> Tensor:
        """int64 [N, 3]: time, row and column of all visual tokens in order, from where their mark begins."""
        cells = torch.tensor(self.grid, device=vis.place.device)
        within = (vis.place * cells).floor().long().clamp(min=0).minimum(cells - 1)
        film = pack.film[vis.sample].unsqueeze(1)
        time = torch.where(film, self._time(pack, vis), 0).unsqueeze(-1)
        number = torch.where(film, 0, self._medium(pack, vis, here)).unsqueeze(-1)
        found = torch.cat([time, within], -1) + number * self.extent
        return found.flatten(0, 1) if vis.mask is None else found[vis.mask]

    def _medium(self, pack: Pack, vis: Vis, here: Tensor) -> Tensor:
        """int64 [n, L]: which of the media of its mark a token is of; a mark for each frame has one."""
        several = torch.bincount(pack.doc[here], minlength=pack.documents) > 1
        number = vis.frame - _first(pack, pack.frame)[vis.sample].unsqueeze(1)
        return torch.where(several[vis.sample].unsqueeze(1), 0, number)

    def _time(self, pack: Pack, vis: Vis) -> Tensor:
        """int64 [n, L]: seconds of a film in steps, or the number of the joined frames that are seen then."""
        duration_s = pack.duration_s.clamp(min=_SHARE)
        if self.per_second is not None:
            begun_s = _first(pack, pack.time_s)[vis.sample].unsqueeze(1)
            passed_s = vis.time * duration_s[vis.sample].unsqueeze(1) - begun_s
            return (passed_s * self.per_second + _STEP).floor().long().clamp(min=0)
        began = 2 * pack.sample.double() + (pack.time_s / duration_s[pack.sample]).double()
        at = 2 * vis.sample.double().unsqueeze(1) + vis.time.double() + _SHARE
        first = torch.searchsorted(pack.sample, vis.sample).unsqueeze(1)
        frame = torch.searchsorted(began, at.contiguous(), right=True) - 1 - first
        return frame.clamp(min=0) // self.joins


def _first(pack: Pack, of: Tensor) -> Tensor:
    """The least of what the frames of each document have, 0 for one without."""
    none = torch.zeros(pack.documents, dtype=of.dtype, device=of.device)
    return none.scatter_reduce(0, pack.sample, of, "amin", include_self=False)


def behind(pos: Tensor, visual: Tensor, doc: Tensor, counted: Tensor) -> Tensor:
    """Positions [S, 3] of a row whose frames were put behind the words of their documents: words as `counted` [S],
    frames as they stood to one another in `pos` [S, 3], from the number that is next. `doc` int64 [S] as in a row."""
    documents = int(doc.max()) + 1 if len(doc) else 0
    begun = pos.new_zeros(documents).scatter_reduce(0, doc[visual], pos[visual].amin(1), "amin", include_self=False)
    words = torch.bincount(doc[~visual], minlength=documents)
    moved = pos + (words - begun)[doc].unsqueeze(1)
    return torch.where(visual.unsqueeze(1), moved, counted.unsqueeze(1))
