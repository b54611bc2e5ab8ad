"""`teacher`: the stand-in for a model server, for trying a recipe that asks models before any is at hand."""

from __future__ import annotations

import asyncio
import contextlib

import typer

from reelmill.annotators.engines.stand_in.batches import LINE_KINDS
from reelmill.annotators.engines.stand_in.faults import Faults
from reelmill.annotators.engines.stand_in.server import MODEL, serving
from reelmill.schemas.errors import BadInput


def teach(port: int, fault_rate: float, latency_s: float) -> None:
    """Serve until Ctrl-C. Raises BadInput where the port is taken."""
    try:
        with serving(Faults(rate=fault_rate), latency_s, port) as teacher:
            teacher.desk.faults, teacher.desk.takes_s = Faults(fault_rate, LINE_KINDS), latency_s
            typer.echo(f"serving; use it as --engine caption=openai:{MODEL}@{teacher.url}")
            with contextlib.suppress(KeyboardInterrupt):
                asyncio.run(asyncio.Event().wait())
            typer.echo(f"{teacher.calls} requests; faults: {dict(+teacher.met)}")
            if teacher.desk.batches:
                lines, met = teacher.desk.met.total(), dict(+teacher.desk.met)
                typer.echo(f"{len(teacher.desk.batches)} batches of {lines} lines; faults: {met}")
    except OSError as error:
        raise BadInput(f"--port {port}", seen=error.strerror or str(error), do="give another, or 0 for any") from error
