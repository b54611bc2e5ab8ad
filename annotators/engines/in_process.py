"""A step that runs a checkpoint in its own process: what is identity of it, and what is this machine's affair.

@dataclass(frozen=True)
class Detect(RunsCheckpoint):
    ability: ClassVar[str] = "detect"

Detect("transformers:IDEA-Research/grounding-dino-tiny").model
gives  "transformers:IDEA-Research/grounding-dino-tiny"
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from reelmill.annotators.engines.engine import EngineSpec, checkpoint_of


@dataclass(frozen=True)
class RunsCheckpoint:
    """`engine` may hold a folder and is execution; `model` and `model_revision`, read off it, are identity.

    Each worker holds the GPUs that the profile gives. Raises BadInput for an engine of another kind than
    `transformers:MODEL`, EngineUnusable for a folder without weights.
    """

    engine: str = field(compare=False, metadata={"identity": False})
    model: str = field(default="", kw_only=True)
    model_revision: str = field(default="", kw_only=True)
    ability: ClassVar[str]
    method: ClassVar[str] = "model"
    in_process: ClassVar[bool] = True

    def __post_init__(self) -> None:
        checkpoint_of(self.engine, self.ability)
        spec = EngineSpec.parse(self.engine)
        object.__setattr__(self, "model", self.model or spec.name)
        object.__setattr__(self, "model_revision", self.model_revision or spec.revision)

    @property
    def checkpoint(self) -> str:
        """The name or folder to load."""
        return checkpoint_of(self.engine, self.ability)
