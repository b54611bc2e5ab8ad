"""Where a label comes from: source bytes, method, model, prompt, seed, and the frame times looked at."""

from __future__ import annotations

from dataclasses import dataclass

UNMEASURED = 0.5
"""The confidence of a claim whose error nobody has measured: a model's word, a set's own. Neither right nor wrong."""


@dataclass(frozen=True, slots=True)
class Provenance:
    """One link of the chain from a source's bytes to a label. `method` is rules, model, human, truth or imported."""

    step: str
    method: str
    revision: str
    model: str
    prompt_hash: str
    seed: int | None
    source_digest: str
    observed: str
    dataset: str
