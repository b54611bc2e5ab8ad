"""LLaVE (Lan et al., arXiv 2503.04812): prompts and answers as embeddings, harder negatives weigh more.

See `Contrastive` for the loss; `alpha` 9 and temperature 0.02 are those of the released training script. 729 tokens of
a picture of 384 pixels. The model learns to embed and not to speak: `eval` asks for words and finds none.
"""

from reelmill.training.objectives.contrastive import Contrastive
from reelmill.training.reducers.combine import Project
from reelmill.training.variants.variant import Claim, On, Phase, Variant


def build(on: On, alpha: float = 9.0, temperature: float = 0.02) -> Variant:
    """Nothing is reduced."""
    return Variant(
        Project(on.vision, on.words),
        (Claim(1, (27, 27), 729),),
        objective=Contrastive(alpha, temperature),
        phases=(Phase("tune", 1.0, {"reducer": 1e-5, "lm": 1e-5}),),
    )
