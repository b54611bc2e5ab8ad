"""Answers from video and question, questions from video and answer, videos from both (Flipped-VQA, arXiv 2310.15747).

    A  [video] [question] [answer]    -log p of the answer's tokens
    Q  [video] [answer] [question]    -log p of the question's tokens
    V  [question] [answer] [video]    -log p of each frame among the frames of its video: a softmax over k of
                                      h · f_k / tau, h the state before the frame, f_k frame k without its code of time

Each is a mean over what it predicts and the three are added up, as in the released code. There the means are of a
batch; here they are of each branch, weighted by the tokens of its answer, so that no loss depends on its neighbours.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional as F

from reelmill.training.documents import IGNORED, Pack, Slots
from reelmill.training.mrope import behind
from reelmill.training.reducers.combine import Stage, valid
from reelmill.training.splice import placed, spliced
from reelmill.training.values import Loss, Seq, Vis
from reelmill.training.vlm import VLM


@dataclass
class Flip:
    """The three terms; `question` and `video` weigh the second and the third. `features` is the model's reducer without
    the codes of time that it adds, which would tell one frame from another. `tau` divides the products of the third.

    A question is what stands before an answer in its branch. It is said behind the answer and its end mark.
    """

    features: Stage
    tau: float = 100.0
    question: float = 1.0
    video: float = 1.0

    def __call__(self, model: VLM, pack: Pack) -> Loss:
        """A sum over the tokens of answers. Raises ValueError for streams, and for a model that sees by the words: it
        would be shown the question that it is to say."""
        if model.by_words or bool(pack.silent.any()):
            raise ValueError("a turned dialogue needs a model that sees without the words, and no stream")
        words, full = model.words(pack), model.tower(pack) if len(pack.pixels) else None
        vis = None if full is None else model.reducer(full)
        tokens = _sums(pack, pack.weight * (pack.labels >= 0))
        row = spliced(pack, words, vis, model.visual_id, model.axes)
        parts = {"answer": (said(model, pack, row) * tokens).sum()}
        other, order = turned(pack)
        turned_row = spliced(other, words[order], vis, model.visual_id, model.axes)
        parts["question"] = self.question * (said(model, other, turned_row) * tokens).sum()
        if full is not None:
            parts["video"] = self.video * (self.frames(model, pack, row, self.features(full)) * tokens).sum()
        return Loss(torch.stack([*parts.values()]).sum(), tokens.sum(), parts)

    def frames(self, model: VLM, pack: Pack, row: Seq, features: Vis) -> Tensor:
        """Mean -log p of the frames behind each branch, float32 [branches of all documents]."""
        last, unit, doc = shown_last(pack, row)
        seen = frame_features(features)
        mean = pack.weight.new_zeros(len(_sums(pack, pack.weight)))
        if not len(unit):
            return mean
        starts = begins(last)
        if not torch.equal(torch.bincount(last.doc[starts]), torch.bincount(features.sample)[doc]):
            raise ValueError("frames are foretold one by one, and the reducer joins them or leaves some out")
        read = model.read(last, len(unit))
        nll = foretold(read.h[read.rows(last.before[starts])], seen, features.sample, doc[last.doc[starts]], self.tau)
        each = nll.new_zeros(len(unit)).index_add(0, last.doc[starts], nll)
        return mean.index_copy(0, unit, each / torch.bincount(last.doc[starts]))


def foretold(states: Tensor, features: Tensor, sample: Tensor, doc: Tensor, tau: float) -> Tensor:
    """-log p of each frame, float32 [n]: `states` [n, D] stand before the frames of documents `doc` int64 [n], every
    document's in order, one document's perhaps several times; `features` [k, D] are the frames of documents `sample`.
    """
    with torch.autocast(states.device.type, enabled=False):
        logits = states.float() @ features.float().T / tau
    logits = logits.masked_fill(doc.unsqueeze(1) != sample, -torch.inf)
    first = torch.searchsorted(sample, doc)
    shown = torch.bincount(sample)[doc]
    nth = torch.arange(len(doc), device=doc.device)
    new = torch.ones_like(doc, dtype=torch.bool)
    new[1:] = doc[1:] != doc[:-1]
    since = nth - torch.where(new, nth, 0).cummax(0).values
    return F.cross_entropy(logits, first + since % shown, reduction="none")


def frame_features(vis: Vis) -> Tensor:
    """[n, D]: the mean of each frame's tokens."""
    kept = valid(vis).unsqueeze(-1).to(vis.x.dtype)
    return (vis.x * kept).sum(1) / kept.sum(1).clamp(min=1)


def turned(pack: Pack) -> tuple[Pack, Tensor]:
    """The pack with every answer before its question, which is learned in its place, and the order of its tokens, int64
    [S]. What branches share stays as it is."""
    learned, unit = pack.labels >= 0, _units(pack)
    new = torch.ones_like(learned)
    new[1:] = (unit[1:] != unit[:-1]) | (learned[:-1] & ~learned[1:])
    exchange = new.cumsum(0) - 1
    answered = torch.zeros_like(exchange).index_add(0, exchange, learned.long())[exchange] > 0
    question = ~learned & answered & (pack.branch > 0)
    order = (2 * exchange + question).argsort(stable=True)
    labels = torch.where(question, pack.ids, IGNORED)[order]
    place = torch.empty_like(order).scatter_(0, order, torch.arange(len(order), device=order.device))
    slots = {name: Slots(place[slots.at], slots.values) for name, slots in pack.slots.items()}
    return replace(pack, ids=pack.ids[order], labels=labels, slots=slots), order


def said(model: VLM, pack: Pack, row: Seq) -> Tensor:
    """Mean -log p of what is learned of each branch, float32 [branches of all documents]; 0 of nothing."""
    found = model.said(model.read(row, pack.documents))
    learned = pack.labels >= 0
    unit = _units(pack)[learned]
    counts = _sums(pack, learned.float())
    return torch.zeros_like(counts).index_add(0, unit, found.nll) / counts.clamp(min=1)


def shown_last(pack: Pack, row: Seq) -> tuple[Seq, Tensor, Tensor]:
    """A row in which every answered branch is a document of its own: what its branches share, its own words, the frames
    behind. Also the number of each such branch and of its document, int64 [branches] both."""
    learned = _sums(pack, (pack.labels >= 0).float()) > 0
    most = _most(pack)
    unit = learned.nonzero().squeeze(1)
    unit = unit[(unit % most > 0) & (torch.bincount(pack.sample, minlength=pack.documents)[unit // most] > 0)]
    doc, branch = (unit // most).tolist(), (unit % most).tolist()
    parts = []
    for d, b in zip(doc, branch, strict=True):
        mine = row.doc == d
        words = mine & ~row.visual & ((row.branch == 0) | (row.branch == b))
        parts.append(torch.cat([words.nonzero().squeeze(1), (mine & row.visual).nonzero().squeeze(1)]))
    source = torch.cat(parts) if parts else row.index[:0]
    lengths = torch.tensor([len(part) for part in parts], dtype=torch.long, device=source.device)
    own = torch.repeat_interleave(torch.arange(len(parts), device=source.device), lengths)
    shared = torch.zeros_like(own)
    pos, before = placed(own, shared)
    if row.pos.dim() > 1:
        pos = behind(row.pos[source], row.visual[source], own, pos)
    last = Seq(
        h=row.h[source],
        pos=pos,
        kind=row.kind[source],
        doc=own,
        branch=shared,
        label=torch.full_like(own, IGNORED),
        weight=row.weight[source],
        index=torch.arange(len(source), device=source.device),
        before=before,
    )
    return last, unit, unit // most


def begins(row: Seq) -> Tensor:
    """int64 [n]: the first token of every frame."""
    new = row.visual.clone()
    new[1:] &= (row.kind[1:] != row.kind[:-1]) | (row.doc[1:] != row.doc[:-1])
    return new.nonzero().squeeze(1)


def _most(pack: Pack) -> int:
    """Branches of the document that has most, the shared one too."""
    return int(pack.branch.max()) + 1


def _units(pack: Pack) -> Tensor:
    """The number of each token's branch among those of all documents, int64 [S]."""
    return pack.doc * _most(pack) + pack.branch


def _sums(pack: Pack, values: Tensor) -> Tensor:
    """Sums of a value of each token over its branch, float32 [branches of all documents]."""
    return values.new_zeros(pack.documents * _most(pack)).index_add(0, _units(pack), values)
