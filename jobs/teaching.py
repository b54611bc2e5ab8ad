"""`teacher`: the stand-in for a model server, for trying a recipe that asks models before any is at hand."""

from __future__ import annotations

import asyncio
import contextlib

import typer

from reelmill.annotators.engines.stand_in.faults import Faults
from reelmill.annotators.engines.stand_in.server import MODEL, serving


def teach(port: int, fault_rate: float, latency_s: float) -> None:
    """Serve until Ctrl-C."""
    with serving(Faults(rate=fault_rate), latency_s, port) as teacher:
        typer.echo(f"serving; use it as --engine caption=openai:{MODEL}@{teacher.url}")
        with contextlib.suppress(KeyboardInterrupt):
            asyncio.run(asyncio.Event().wait())
        typer.echo(f"{teacher.calls} requests; faults: {dict(+teacher.met)}")
