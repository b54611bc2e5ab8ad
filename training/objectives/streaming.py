"""When to speak and when to be silent, while frames come (LIVE; VideoLLM-online, arXiv 2406.11816, section 3.3)."""

from __future__ import annotations

from dataclasses import dataclass

from reelmill.training.documents import Pack
from reelmill.training.objectives.lm import auxiliary
from reelmill.training.values import Loss
from reelmill.training.vlm import VLM


@dataclass
class Streaming:
    """Cross-entropy of replies, with what they begin with, plus `silence` times that of silence where it is due; over
    the number of both.

    `silence` is 1 in the paper and its code, where silence is the end mark, a target that never enters the row. Packs
    without streams have the plain loss.
    """

    silence: float = 1.0

    def __call__(self, model: VLM, pack: Pack) -> Loss:
        """A sum over tokens and silences. Raises ValueError where a hook took away a frame at which it was due."""
        seq = model(pack)
        found, silent = model.said(seq), pack.silent[pack.labels >= 0]
        if len(found.nll) != len(silent):
            raise ValueError(f"{len(silent)} targets in the pack, {len(found.nll)} in the row: a hook dropped frames")
        weight = seq.weight[found.at]
        nll = found.nll * weight
        said, quiet, tokens = nll[~silent].sum(), self.silence * nll[silent].sum(), weight.sum()
        more = {name: value * tokens for name, value in auxiliary(model).items()}
        return Loss(sum(more.values(), said + quiet), tokens, {"lm": said, "silence": quiet, **more})
