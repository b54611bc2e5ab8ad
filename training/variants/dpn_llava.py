"""DPN-LLaVA (Ai et al., arXiv 2503.20322): inside the model, an expert for each sample pools its pictures further.

After layers 7 and 15 of 32 the grid is pooled by 1, 2 or 4, after layer 23 by 1 or 2. See `PoolRoute`. The released
code pads training rows back to full length, so that training saves nothing; packed rows just get shorter. It also
shares one list between all layers' terms; here each layer has its own.
"""

from reelmill.training.hooks.pool import PoolRoute
from reelmill.training.reducers.combine import Project
from reelmill.training.variants.variant import L15, Claim, On, Variant


def build(on: On, least: int = 18) -> Variant:
    """The same depths of a shallower model; a smaller grid may be pooled to one token."""
    depth = on.lm.num_hidden_layers
    layers = tuple(sorted({max(1, min(depth - 1, (n + 1) * depth // 32)) for n in (7, 15, 23)}))
    experts = tuple((1, 2) if i == 2 else (1, 2, 4) for i in range(len(layers)))
    least = least if on.cells >= 144 else 1
    route = PoolRoute(on.words, layers, experts, least=least)
    claims = (Claim(1, (24, 24), 576),)
    return Variant(Project(on.vision, on.words), claims, hooks=(route,), by_words=True, phases=L15)
