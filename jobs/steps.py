"""Steps of training in the terminal: a bar with loss, speed and where the time goes; plain lines elsewhere."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from reelmill.schemas.errors import BadInput

_PARTS = ("wait", "move", "forward", "backward", "update")
_LINES = 20
"""Lines that a run leaves in a log."""
_TERA = 1e12


class Steps:
    """Shows a run; a context manager around it. `peak` is the machine's, in operations a second; without one speed is
    told in GFLOP/s, and no share of the peak."""

    def __init__(self, console: Console, steps: int, peak: float | None) -> None:
        self.console, self.peak = console, peak
        self.every = max(1, steps // _LINES)
        self.cpu_s = self.tokens = self.operations = 0.0
        self.spent_s = dict.fromkeys(_PARTS, 0.0)
        texts = [TextColumn(f"{{task.fields[{name}]}}") for name in ("loss", "speed", "where")]
        columns = (BarColumn(bar_width=16), MofNCompleteColumn(), *texts, TimeRemainingColumn())
        self.bar = Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
        self.task = self.bar.add_task("", total=steps, loss="", speed="", where="")

    def __enter__(self) -> Steps:
        self.bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.bar.stop()

    def begin_at(self, step: int) -> None:
        """A run that goes on has done so many steps."""
        self.bar.update(self.task, completed=step)

    def tell(self, told: Any) -> None:
        """A step is done."""
        self.cpu_s, self.tokens = self.cpu_s + told.cpu_s, self.tokens + told.tokens
        self.operations += told.operations
        for name in _PARTS:
            self.spent_s[name] += told.seconds[name]
        loss = " ".join(f"{name} {value:.3f}" for name, value in told.losses.items()) + f" norm {told.norm:.2f}"
        self.bar.update(self.task, completed=told.step, loss=loss, speed=self.speed(), where=self.where())
        if not self.console.is_terminal and (told.step % self.every == 0 or told.step in (1, told.steps)):
            line = f"step {told.step}/{told.steps} {loss} | {self.speed()} | {self.where()}"
            self.console.print(line, highlight=False, markup=False, soft_wrap=True)

    def speed(self) -> str:
        """Tokens a second, and arithmetic: as a share of the peak (MFU) where that is known."""
        all_s = sum(self.spent_s.values()) or 1.0
        work = self.operations / all_s
        told = f"MFU {work / self.peak:.1%}" if self.peak else f"{work / 1e9:.1f} GFLOP/s"
        return f"{self.tokens / all_s:,.0f} tokens/s {told}"

    def where(self) -> str:
        """Shares of the time; `wait` is for the loader."""
        all_s = sum(self.spent_s.values()) or 1.0
        return " ".join(f"{name} {self.spent_s[name] / all_s:.0%}" for name in _PARTS)


def peak_said(tera: float) -> float | None:
    """The peak that `--peak` names in TFLOP/s; for 0 that of the GPU, where it is a known one. Raises BadInput on less
    than nothing."""
    if not tera >= 0:
        raise BadInput(f"--peak {tera:g}", seen="no speed", do="give TFLOP/s in dense bfloat16, such as 989")
    if tera:
        return tera * _TERA
    import torch

    from reelmill.training.loop.peaks import peak_of

    return peak_of(torch.cuda.get_device_name()) if torch.cuda.is_available() else None
