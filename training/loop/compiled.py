"""`torch.compile` for what every step does alike: layers of the tower and the language model, the words' cross-entropy.

What decides shapes from data stays as it is: reducers, hooks between the layers, and the attention of a packed row
(`attention.attend`), at which each layer falls into graphs. So does a tower whose layers' attention is read: what reads
it is put into the layers anew in every pass, and a graph would keep the first. So hooks may drop what they like, and
no variant is left out. The length of a row is symbolic from the first step on: rows of other lengths run the same code,
where a fixed length would pay for padding in every step and for a new graph behind every pruning.

    compiled(model)
"""

from __future__ import annotations

import shutil
from typing import Any

import torch

from reelmill.schemas.errors import BadInput
from reelmill.training import head
from reelmill.training.towers import HFTower
from reelmill.training.trunk import body_of
from reelmill.training.vlm import VLM


def compiled(model: VLM, backend: str = "inductor") -> VLM:
    """The same model, its layers and the head compiled when they are first run. Copies are made before: a copy's layers
    would run the weights of these. Raises BadInput where there is no compiler for the CPU's code."""
    weight = next(model.lm.parameters())
    if backend == "inductor" and weight.device.type == "cpu" and not any(map(shutil.which, ("c++", "g++", "clang++"))):
        do = "install g++, or train without --compile"
        raise BadInput("--compile on a CPU wants a C++ compiler", seen="none of c++, g++ and clang++ on PATH", do=do)
    layers: Any = body_of(model.lm).layers
    for layer in layers:
        layer.forward = torch.compile(layer.forward, dynamic=True, backend=backend)
    if type(model.tower) is HFTower and not model.tower.scored:
        for block in model.tower.blocks:
            block.forward = torch.compile(block.forward, dynamic=True, backend=backend)
    model.cross_entropy = torch.compile(head.cross_entropy, dynamic=True, backend=backend)
    return model
