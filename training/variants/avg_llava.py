"""AVG-LLaVA (Lan et al., arXiv 2410.02745): a router picks one of five granularities by the picture and the question.

Average pools of 24 x 24 to 36, 72, 144, 288 and 576 tokens. The router reads all of them and the 32 words of the prompt
nearest to the picture, through one encoder layer; each token votes, and a learned weight for each place sums the votes.
The paper trains the model on all granularities first and the router alone behind it; a trunk from scratch does both.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from reelmill.training.objectives.route import RankRoute
from reelmill.training.reducers.combine import Chain, Grid, Project, Route
from reelmill.training.reducers.pool import GridPool
from reelmill.training.values import Text, Vis
from reelmill.training.variants.variant import L15, Claim, On, Phase, Variant

SIZES: tuple[Grid, ...] = ((6, 6), (6, 12), (12, 12), (12, 24), (24, 24))


class Router(nn.Module):
    """Logits [samples, granularities] from all granularities and some words."""

    def __init__(self, width: int, pools: list[GridPool], words: int = 32, heads: int = 8) -> None:
        super().__init__()
        self.pools, self.words = nn.ModuleList(pools), words
        self.mixes = nn.TransformerEncoderLayer(width, heads, width, dropout=0.0, batch_first=True)
        self.votes = nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.Linear(width, len(pools)))
        tokens = sum(pool.size[0] * pool.size[1] for pool in pools if pool.size)
        self.voters = nn.Parameter(torch.full((tokens + words,), 1 / (tokens + words)))
        self.norm = nn.LayerNorm(len(pools))

    def forward(self, vis: Vis, text: Text | None) -> Tensor:
        """Votes of each frame, their mean over a sample. Raises ValueError without words."""
        if text is None:
            raise ValueError("this router reads the prompt")
        seen = torch.cat([pool(vis).x for pool in self.pools], 1)
        read = self.mixes(torch.cat([seen, self._nearest(vis, text)], 1))
        votes = (self.votes(read) * self.voters.view(1, -1, 1)).sum(1)
        samples, at = torch.unique_consecutive(vis.sample, return_inverse=True)
        total = votes.new_zeros(len(samples), votes.shape[1]).index_add(0, at, votes)
        out: Tensor = self.norm(total / torch.bincount(at).unsqueeze(1))
        return out

    def _nearest(self, vis: Vis, text: Text) -> Tensor:
        """[n, words, D]: words nearest to the mean patch; zeros where a prompt has fewer."""
        words, mask = text.h[vis.sample], text.mask[vis.sample]
        near = F.cosine_similarity(words, vis.x.mean(1, keepdim=True), dim=-1).masked_fill(~mask, -torch.inf)
        k = min(self.words, words.shape[1])
        at = near.topk(k, dim=1).indices
        picked = words.gather(1, at.unsqueeze(-1).expand(-1, -1, words.shape[-1]))
        picked = picked * mask.gather(1, at).unsqueeze(-1)
        return F.pad(picked, (0, 0, 0, self.words - k))


def build(on: On, words: int = 32) -> Variant:
    """The same quarters and halves of a smaller grid."""
    rows, columns = on.grid
    sizes = sorted({(max(1, a * rows // 24), max(1, b * columns // 24)) for a, b in SIZES}, key=lambda s: s[0] * s[1])
    pools = [GridPool(size) for size in sizes]
    project = Project(on.vision, on.words)
    route = Route(Router(on.words, pools, words, heads=min(8, on.words // 8)), *[GridPool(size) for size in sizes])
    claims = tuple(Claim(1, (24, 24), a * b, i) for i, (a, b) in enumerate(SIZES))
    return Variant(
        Chain(project, route),
        claims,
        by_words=True,
        objective=RankRoute(project, route),
        phases=(
            *L15,
            Phase("granularities", 0.2, {"reducer": 1e-5, "lm": 1e-5}),
            Phase("router", 0.1, {"reducer": 1e-3}),
        ),
        budgets=tuple(range(len(sizes))),
    )
