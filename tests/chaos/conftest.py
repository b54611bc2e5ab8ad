"""What the tests of kills share: a tiny flow over rendered videos, and the tally that is told at the end."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from realflow import RealFlow
from struck import Tally

_TALLY = pytest.StashKey[Tally]()
SHM = Path("/dev/shm")


@pytest.fixture(scope="session")
def tally(request: pytest.FixtureRequest) -> Tally:
    return request.config.stash.setdefault(_TALLY, Tally())


@pytest.fixture(scope="session")
def flow(tally: Tally) -> Iterator[RealFlow]:
    """In memory, where there is some: what kill -9 leaves behind is the same there, and syncing is free."""
    root = Path(tempfile.mkdtemp(dir=SHM if os.access(SHM, os.W_OK) else None))
    made = RealFlow(root, tally)
    try:
        made.be_calm()
        yield made
    finally:
        made.close()
        shutil.rmtree(root)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Told only where nothing failed: the last line is a claim."""
    tally = config.stash.get(_TALLY, Tally())
    if tally.lines() and not terminalreporter.stats.keys() & {"failed", "error"}:
        terminalreporter.section("random kills")
        for line in tally.lines():
            terminalreporter.write_line(line)
