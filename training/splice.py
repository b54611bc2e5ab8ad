"""Puts visual tokens where a document says, and tells of every token of the row where it stands."""

from __future__ import annotations

import torch
from torch import Tensor

from reelmill.training.documents import IGNORED, Pack, Slots
from reelmill.training.mrope import Axes
from reelmill.training.values import TEXT, Seq, Vis


def flat(vis: Vis, documents: int) -> tuple[Tensor, Tensor, Tensor]:
    """Visual tokens of all groups in order: x [N, C], their frames int64 [N], and how many each document has."""
    counts = torch.zeros(documents, dtype=torch.long, device=vis.x.device).index_add_(0, vis.sample, vis.counts())
    if vis.mask is None:
        return vis.x.flatten(0, 1), vis.frame.flatten(), counts
    return vis.x[vis.mask], vis.frame[vis.mask], counts


def spliced(pack: Pack, words: Tensor, vis: Vis | None, visual_id: int, axes: Axes | None = None) -> Seq:
    """One row of words and visual tokens. `words` [S, D] embeds the ids of the pack, slots already in place.

    A document's mark stands for all of its media, or, where it has as many as frames, each for one frame; what is to be
    said before a mark is then said before the first token of its frame. Positions are counted, or have three `axes`.
    Raises ValueError where documents and visual tokens do not belong together.
    """
    here = pack.ids == visual_id
    x, frame, counts = _visual(pack, words, vis)
    repeats = torch.ones_like(pack.ids)
    repeats[here] = _each(pack, pack.doc[here], frame, counts)
    source = torch.repeat_interleave(torch.arange(len(pack.ids), device=words.device), repeats)
    seen = here[source]
    nth = (seen.long().cumsum(0) - 1).clamp(min=0)
    h = torch.where(seen.unsqueeze(1), x[nth], words[source]) if len(x) else words[source]
    kind = torch.where(seen, frame[nth], TEXT) if len(x) else torch.full_like(source, TEXT)
    starts = repeats.cumsum(0) - repeats
    later = torch.arange(len(source), device=words.device) > starts[source]
    doc, branch = pack.doc[source], pack.branch[source]
    pos, before = placed(doc, branch)
    after = None
    if axes is not None:
        steps = axes.steps(pack, here)
        begun = counted(pack.doc, pack.branch, steps)
        pos, after = begun[source].unsqueeze(1).expand(-1, 3), (begun + steps)[source]
        if vis is not None:
            pos = pos + torch.where(seen.unsqueeze(1), axes.offsets(pack, vis, here)[nth], 0)
    return Seq(
        h=h,
        pos=pos,
        kind=kind,
        doc=doc,
        branch=branch,
        label=torch.where(seen & later, IGNORED, pack.labels[source]),
        weight=pack.weight[source],
        index=torch.arange(len(source), device=words.device),
        before=before,
        slots={name: Slots(starts[s.at], s.values) for name, s in pack.slots.items()},
        after=after,
    )


def _visual(pack: Pack, words: Tensor, vis: Vis | None) -> tuple[Tensor, Tensor, Tensor]:
    if vis is None:
        nothing = torch.zeros(0, dtype=torch.long, device=words.device)
        return words[:0], nothing, torch.zeros(pack.documents, dtype=torch.long, device=words.device)
    x, frame, counts = flat(vis, pack.documents)
    return x.to(words.dtype), frame, counts


def _each(pack: Pack, marked: Tensor, frame: Tensor, counts: Tensor) -> Tensor:
    """How many tokens each mark stands for; `marked` are the documents of the marks."""
    marks = torch.bincount(marked, minlength=pack.documents)
    if not torch.equal(marks > 0, counts > 0):
        raise ValueError(f"{int((counts > 0).sum())} documents have media, {int((marks > 0).sum())} a place for them")
    if int(marks.max()) <= 1:
        return counts[marked]
    several, shown = marks > 1, torch.bincount(pack.sample, minlength=pack.documents)
    owner = torch.repeat_interleave(torch.arange(pack.documents, device=counts.device), counts)
    mine, first = several[owner], shown.cumsum(0) - shown
    place = (first[owner] + frame)[mine]
    each = torch.bincount(place.clamp(max=len(pack.sample)), minlength=len(pack.sample) + 1)
    nth = torch.arange(len(marked), device=marks.device) - (marks.cumsum(0) - marks)[marked]
    found = torch.where(several[marked], each[(first[marked] + nth).clamp(max=len(pack.sample))], counts[marked])
    ordered = torch.equal(marks[several], shown[several]) and bool((place.diff() >= 0).all())
    if not (ordered and bool((frame < shown[owner])[mine].all()) and bool((found > 0).all())):
        raise ValueError("frames stand one by one here: a reducer or tower joins them, or leaves some out")
    return found


def placed(doc: Tensor, branch: Tensor) -> tuple[Tensor, Tensor]:
    """Position of each token in its document, and the token that says it, -1 for a document's first; int64 [S] each.

    Every branch goes on from the end of branch 0: it begins at the same position and is said by the same token.
    """
    at = torch.arange(len(doc), device=doc.device)
    new = _begins(doc, branch)
    documents = int(doc.max()) + 1 if len(doc) else 0
    shared = torch.zeros(documents, dtype=torch.long, device=doc.device).index_add_(0, doc, (branch == 0).long())
    first = torch.full((documents,), len(doc), device=doc.device).scatter_reduce_(0, doc, at, "amin")
    forked = branch > 0
    end = torch.where(shared > 0, first + shared - 1, -1)
    return counted(doc, branch, torch.ones_like(doc)), torch.where(new, torch.where(forked, end[doc], -1), at - 1)


def counted(doc: Tensor, branch: Tensor, steps: Tensor) -> Tensor:
    """int64 [S]: the sum of the `steps` [S] before each token, in branch 0 of its document and in its own branch."""
    gone = steps.cumsum(0) - steps
    begun = torch.where(_begins(doc, branch), gone, 0).cummax(0).values
    documents = int(doc.max()) + 1 if len(doc) else 0
    shared = torch.zeros(documents, dtype=steps.dtype, device=doc.device).index_add_(0, doc, steps * (branch == 0))
    return gone - begun + torch.where(branch > 0, shared[doc], 0)


def _begins(doc: Tensor, branch: Tensor) -> Tensor:
    """bool [S]: the first token of every branch."""
    new = torch.ones_like(doc, dtype=torch.bool)
    new[1:] = (doc[1:] != doc[:-1]) | (branch[1:] != branch[:-1])
    return new
