"""TensorBoard's event files in RUN/tensorboard, where the package is there; nothing where it is not."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

from reelmill.training.loop.fit import Told

FOLDER = "tensorboard"


def board(run: Path, after: int) -> Callable[[Told], None] | None:
    """What hears of every step and writes it, None without the package. Steps after `after` that an ended process had
    written are done again, and hidden."""
    if find_spec("tensorboard") is None:
        return None
    from torch.utils.tensorboard import SummaryWriter

    writer = SummaryWriter(str(run / FOLDER), purge_step=after + 1)

    def write(told: Told) -> None:
        scalars = {f"loss/{name}": value for name, value in told.losses.items()}
        scalars |= {"norm": told.norm, "rate": told.rate, "tokens": float(told.tokens)}
        scalars |= {f"seconds/{name}": value for name, value in told.seconds.items()}
        for name, value in scalars.items():
            writer.add_scalar(name, value, told.step)
        writer.flush()

    return write
