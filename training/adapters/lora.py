"""Low-rank adapters (Hu et al., arXiv 2106.09685), put in by peft."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import nn

LINEARS = r".*\.(q_proj|k_proj|v_proj|o_proj|gate_proj|up_proj|down_proj)"
"""Every linear layer of a decoder layer of the Llama form."""


@dataclass(frozen=True, slots=True)
class Lora:
    """Rank and scale alpha / rank; the model's own weights are frozen. The second factor starts at zero: nothing
    changes before the first step."""

    rank: int = 128
    alpha: int = 256
    targets: str = LINEARS
    from_scratch: bool = False

    def put_in(self, lm: nn.Module) -> nn.Module:
        """The same model, with adapters in every linear layer whose name fits."""
        from peft import LoraConfig, inject_adapter_in_model

        config = LoraConfig(r=self.rank, lora_alpha=self.alpha, target_modules=self.targets, lora_dropout=0.0)
        out: nn.Module = inject_adapter_in_model(config, lm)
        return out

    def merge(self, lm: nn.Module) -> nn.Module:
        """Adapters added into the weights; the layers are plain again."""
        from peft.tuners.lora import LoraLayer

        for name, module in list(lm.named_modules()):
            if isinstance(module, LoraLayer):
                layer: Any = module
                layer.merge()
                parent, _, last = name.rpartition(".")
                setattr(lm.get_submodule(parent), last, layer.get_base_layer())
        return lm
