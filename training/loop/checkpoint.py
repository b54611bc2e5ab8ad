"""What a killed run goes on from: weights, optimiser, generators and the place in the data, all of it or nothing.

RUN/checkpoints/step-000250/model.safetensors     weights, as any reader of safetensors takes them
rest.pt               optimiser, averages and generators
at.json               step, the loader's state and what the files must hash to
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import random
import shutil
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from reelmill.schemas.errors import BadInput, Corrupt, NotFound, ReelmillError
from reelmill.schemas.points import reach
from reelmill.sinks.state.objects import store_trouble, sync
from reelmill.training.loop.ranks import like

WEIGHTS, REST, AT = "model.safetensors", "rest.pt", "at.json"
_FULL_BYTES = 1 << 20
"""A disk with less room than this is full: a write that failed on it has used up what was left."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A finished step's state on disk."""

    folder: Path
    step: int
    at: Mapping[str, Any]

    def weights_into(self, model: nn.Module, longer: Collection[str] = ()) -> None:
        """`longer` are weights that may have more rows in the model than were written: those after them stay.

        Raises BadInput where the weights are those of another model, Corrupt where they changed on disk.
        """
        from safetensors.torch import load_file

        self._require(WEIGHTS)
        held = load_file(str(self.folder / WEIGHTS))
        shared = {name for name in model.state_dict() if name not in held} & set(self.at["shared"])
        own = model.state_dict()
        for name in held.keys() & set(longer):
            if held[name].shape[1:] == own[name].shape[1:]:
                held[name] = torch.cat([held[name], own[name].detach().cpu()[len(held[name]) :]])
        wrong = [n for n in held if n not in own or own[n].shape != held[n].shape]
        lacking = [n for n in own if n not in held and n not in shared]
        if wrong or lacking:
            first = (wrong or lacking)[0]
            seen = f"{len(wrong)} weights that do not fit, {len(lacking)} that are missing, as {first}"
            do = "name a run of the same variant and size"
            raise BadInput(f"{self.folder} holds another model", seen=seen, do=do)
        model.load_state_dict({name: like(value, own[name]) for name, value in held.items()}, strict=False)

    def rest(self) -> dict[str, Any]:
        """Optimiser, averages and generators. Raises Corrupt where they changed on disk."""
        self._require(REST)
        found: dict[str, Any] = torch.load(self.folder / REST, weights_only=True)
        return found

    def _require(self, name: str) -> None:
        said, seen = self.at["sha256"][name], _sha256(self.folder / name)
        if said != seen:
            told = f"sha256 {seen[:12]}, written {said[:12]}"
            raise Corrupt(str(self.folder / name), seen=told, do="delete this step: the one before it stands")


def _sha256(path: Path) -> str:
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except FileNotFoundError:
        return "of no file"


def save(
    run: Path, step: int, weights: Mapping[str, torch.Tensor], rest: Mapping[str, Any], at: Mapping[str, Any], keep: int
) -> Checkpoint:
    """`weights` are a model's whole state. Writes beside, syncs, renames; then removes all but the `keep` newest.

    Raises StoreUnusable where the disk is full or refuses: older checkpoints stand, what was half written is gone.
    """
    target = run / "checkpoints" / f"step-{step:06d}"
    half = target.with_name(f".{target.name}")
    for left in target.parent.glob(".step-*"):
        shutil.rmtree(left)
    try:
        with store_trouble(f"run {run}"), _full(run):
            said = _written(half, weights, rest, {"step": step, **at})
            _drop(target)
            half.rename(target)
            sync(target.parent)
    except ReelmillError:
        shutil.rmtree(half, ignore_errors=True)
        raise
    reach("checkpoint.renamed")
    for old in steps(run)[:-keep]:
        _drop(old.folder)
    return Checkpoint(target, step, said)


def _written(
    half: Path, weights: Mapping[str, torch.Tensor], rest: Mapping[str, Any], at: Mapping[str, Any]
) -> dict[str, Any]:
    """All files of a checkpoint in a folder that nobody reads yet; what its at.json says."""
    from safetensors.torch import save_file

    half.mkdir(parents=True)
    reach("checkpoint.begun")
    own, shared = _owned(weights)
    save_file(own, str(half / WEIGHTS))
    reach("checkpoint.weights")
    torch.save(dict(rest), half / REST)
    reach("checkpoint.rest")
    hashes = {name: _sha256(half / name) for name in (WEIGHTS, REST)}
    said = {**at, "shared": shared, "sha256": hashes}
    (half / AT).write_text(json.dumps(said, sort_keys=True))
    for path in (*half.iterdir(), half):
        sync(path)
    reach("checkpoint.at")
    return said


@contextmanager
def _full(run: Path) -> Iterator[None]:
    """The writers of torch and safetensors hide a full disk in errors of their own: as the system's error."""
    from safetensors import SafetensorError

    try:
        yield
    except (RuntimeError, SafetensorError) as error:
        if f"os error {errno.ENOSPC}" not in str(error) and shutil.disk_usage(run).free >= _FULL_BYTES:
            raise
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)) from error


def _drop(folder: Path) -> None:
    """Removes a finished checkpoint: out of sight first, as one half removed would be taken for a whole one."""
    aside = folder.with_name(f".{folder.name}-old")
    if folder.exists():
        folder.rename(aside)
        reach("checkpoint.aside")
        shutil.rmtree(aside)
    reach("checkpoint.dropped")


def _owned(weights: Mapping[str, torch.Tensor]) -> tuple[dict[str, torch.Tensor], list[str]]:
    """Weights under the first of their names, and the other names of shared ones."""
    own: dict[str, torch.Tensor] = {}
    shared, seen = [], set()
    for name, tensor in weights.items():
        if tensor.data_ptr() in seen and tensor.numel():
            shared.append(name)
            continue
        seen.add(tensor.data_ptr())
        own[name] = tensor.detach().cpu().contiguous()
    return own, shared


def steps(run: Path) -> list[Checkpoint]:
    """Finished checkpoints of a run, oldest first."""
    found = []
    for folder in sorted((run / "checkpoints").glob("step-*")):
        at = json.loads((folder / AT).read_text())
        found.append(Checkpoint(folder, at["step"], at))
    return found


def newest(run: Path) -> Checkpoint:
    """The last finished step. Raises NotFound where there is none."""
    found = steps(run)
    if not found:
        raise NotFound(f"a checkpoint of {run}", seen="none finished", do="train it first")
    return found[-1]


def generators() -> dict[str, Any]:
    """States of all random generators."""
    python, numpy_state = random.getstate(), np.random.get_state(legacy=False)
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    assert isinstance(numpy_state, dict)
    state = numpy_state["state"]
    return {
        "torch": torch.get_rng_state(),
        "cuda": cuda,
        "python": [python[0], list(python[1]), python[2]],
        "numpy": [numpy_state["bit_generator"], state["key"].tolist(), int(state["pos"])],
    }


def seeded(seed: int) -> None:
    """Begins all random generators anew: what a process drew before its first step is not in the weights."""
    torch.manual_seed(seed)
    random.seed(seed)
    np.random.seed(seed)


def restore(held: Mapping[str, Any]) -> None:
    """Puts all random generators back."""
    torch.set_rng_state(held["torch"])
    if held["cuda"] and torch.cuda.is_available():
        torch.cuda.set_rng_state_all(held["cuda"])
    version, inner, gauss = held["python"]
    random.setstate((version, tuple(inner), gauss))
    name, key, pos = held["numpy"]
    np.random.set_state({"bit_generator": name, "state": {"key": np.array(key, np.uint32), "pos": pos}})
