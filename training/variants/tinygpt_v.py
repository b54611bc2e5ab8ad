"""TinyGPT-V (Yuan et al., arXiv 2312.16862): 32 queries read a picture, a linear layer, a small model with LoRA.

The paper's queries are a pretrained Q-Former's; here they are one layer of cross-attention. Its extra norms inside the
language model are left out.
"""

from reelmill.training.adapters.lora import Lora
from reelmill.training.reducers.query import Query
from reelmill.training.variants.variant import Claim, On, Phase, Variant


def build(on: On, queries: int = 32) -> Variant:
    """At most as many queries as a frame has patches."""
    reducer = Query(on.vision, min(queries, on.cells), heads=min(8, max(1, on.vision // 8)), out=on.words)
    phases = (Phase("tune", 1.0, {"reducer": 1e-4, "lm": 1e-4}),)
    return Variant(reducer, (Claim(1, (16, 16), 32),), adapter=Lora(rank=64, alpha=16), phases=phases)
