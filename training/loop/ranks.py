"""Several processes that train one model, each on rows of its own: FSDP2 for the language model's layers.

    torchrun --nproc-per-node 8 --no-python -- reelmill train pllava mine --accumulate 8

Layers are sharded (torch.distributed.fsdp.fully_shard), as most weights are theirs; towers, reducers, words and head
are whole on every process, since they are read outside of the model's own forward pass. The rows of a step are divided
among the processes and their gradients added up before they are divided by the tokens of all, so that a plan means the
same weights however many processes run it. Processes are called ranks, as torch does.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from reelmill.schemas.errors import BadInput

if TYPE_CHECKING:
    from reelmill.training.vlm import VLM


@dataclass(frozen=True, slots=True)
class Ranks:
    """Process `rank` of `world`, counted from 0. Every process must call the same in the same order."""

    rank: int = 0
    world: int = 1

    @classmethod
    def here(cls) -> Ranks:
        """As torch.distributed was told, by `joined` or by Ray; one process where it was told nothing."""
        from torch import distributed

        if not (distributed.is_available() and distributed.is_initialized()):
            return cls()
        return cls(distributed.get_rank(), distributed.get_world_size())

    @property
    def leads(self) -> bool:
        """Whether this process writes what is written once."""
        return self.rank == 0

    def share(self, rows: int) -> int:
        """Rows of a step that are this process's. Raises BadInput where they do not come out even."""
        if rows % self.world:
            seen, do = f"{self.world} processes", f"give --accumulate a multiple of {self.world}"
            raise BadInput(f"{rows} rows of a step", seen=seen, do=do)
        return rows // self.world

    @contextmanager
    def in_turn(self) -> Iterator[None]:
        """The first process does it before the others do, however it ends: what it writes is there for them."""
        if self.rank:
            self._meet()
        try:
            yield
        finally:
            if not self.rank:
                self._meet()

    def _meet(self) -> None:
        if self.world > 1:
            from torch import distributed

            distributed.barrier()

    def gathered(self, mine: Any) -> list[Any]:
        """What each process has, in their order."""
        if self.world == 1:
            return [mine]
        from torch import distributed

        found: list[Any] = [None] * self.world
        distributed.all_gather_object(found, mine)
        return found

    def summed(self, value: Tensor) -> Tensor:
        """The sum over all processes, in place."""
        if self.world > 1:
            from torch import distributed

            distributed.all_reduce(value)
        return value

    def add_gradients(self, parameters: Sequence[nn.Parameter]) -> None:
        """Sums of what each process found, for weights that are whole; sharded ones were added up on the way. A weight
        that no row of this process touched gets its share from the others, and none where nobody's did."""
        whole = [p for p in parameters if not _is_sharded(p)]
        if self.world == 1 or not whole:
            return
        touched = torch.tensor([float(p.grad is not None) for p in whole], device=whole[0].device)
        learned = [p for p, n in zip(whole, self.summed(touched).tolist(), strict=True) if n]
        if not learned:
            return
        found = [torch.zeros_like(p) if p.grad is None else p.grad for p in learned]
        together = self.summed(torch.cat([g.flatten() for g in found]))
        for p, of_all in zip(learned, together.split([p.numel() for p in learned]), strict=True):
            p.grad = of_all.view_as(p)

    def clipped(self, parameters: Sequence[nn.Parameter], most: float) -> Tensor:
        """The norm of all gradients, which are made shorter where it is above `most`."""
        if self.world == 1:
            return nn.utils.clip_grad_norm_(parameters, most)
        squares: dict[bool, Tensor] = {}
        for p in parameters:
            own = local(p.grad).float().square().sum()
            squares[_is_sharded(p)] = squares.get(_is_sharded(p), torch.zeros_like(own)) + own
        if True in squares:
            self.summed(squares[True])
        norm = torch.stack(list(squares.values())).sum().sqrt()
        for p in parameters:
            local(p.grad).mul_((most / (norm + 1e-6)).clamp(max=1.0))
        return norm


@contextmanager
def joined() -> Iterator[Ranks]:
    """The processes that torchrun started; this one alone where it did not, or where they have met already."""
    from torch import distributed

    started = int(os.environ.get("WORLD_SIZE", "1")) > 1 and not distributed.is_initialized()
    if started:
        if torch.cuda.is_available():
            torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
        distributed.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
    try:
        yield Ranks.here()
    finally:
        if started:
            distributed.destroy_process_group()


def sharded(model: VLM, device: torch.device, world: int) -> None:
    """Divides the layers of the language model between the processes. Their gradients come as sums, not as means."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    from reelmill.training.trunk import body_of

    body = body_of(model.lm)
    mesh = init_device_mesh(device.type, (world,))
    ours = {p for layer in body.layers for p in layer.parameters()}
    for layer in body.layers:
        fully_shard(layer, mesh=mesh)
        layer.set_gradient_divide_factor(1.0)
        layer.set_force_sum_reduction_for_comms(True)
    fully_shard(body, mesh=mesh, ignored_params={p for p in body.parameters() if p not in ours})


def _is_sharded(tensor: Tensor) -> bool:
    return hasattr(tensor, "full_tensor")


def local(tensor: Any) -> Tensor:
    """What this process holds of a tensor; writing into it writes into the tensor."""
    found: Tensor = tensor.to_local() if _is_sharded(tensor) else tensor
    return found


def whole(held: Any) -> Any:
    """The same with every sharded tensor whole; all processes must ask."""
    if isinstance(held, dict):
        return {name: whole(value) for name, value in held.items()}
    if isinstance(held, list):
        return [whole(value) for value in held]
    return held.full_tensor() if isinstance(held, Tensor) and _is_sharded(held) else held


def like(tensor: Tensor, other: Any) -> Tensor:
    """A whole tensor, sharded as `other` is. Every process has it, so nothing is sent."""
    if not _is_sharded(other) or math.prod(tensor.shape) != other.numel():
        return tensor
    from torch.distributed.tensor import distribute_tensor

    on = tensor.to(other.device, other.dtype)
    return distribute_tensor(on, other.device_mesh, other.placements, src_data_rank=None)
