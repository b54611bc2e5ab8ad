"""Connecting to Ray: the cluster of the job that we run in, an address that was given, or a local one of our own."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from reelmill.schemas.errors import BadInput


@contextmanager
def connected(address: str = "", cpus: int | None = None) -> Iterator[None]:
    """Connect to Ray for the length of a block. Inside a submitted job the job's own cluster is used.

    Raises BadInput where no Ray answers at the address.
    """
    import ray

    target = address or os.environ.get("RAY_ADDRESS", "") or "local"
    own: dict[str, Any] = {"num_cpus": cpus, "include_dashboard": False} if target == "local" else {}
    try:
        ray.init(address=target, log_to_driver=False, logging_level=logging.ERROR, **own)
    except (ConnectionError, RuntimeError) as error:
        raise BadInput(
            f"--ray {target}", seen=str(error).splitlines()[0], do="start Ray there, or use `local`"
        ) from error
    try:
        yield
    finally:
        ray.shutdown()
