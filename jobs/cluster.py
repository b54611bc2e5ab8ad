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

    Raises BadInput where no Ray answers at the address, or it is none.
    """
    import ray

    target = address or os.environ.get("RAY_ADDRESS", "") or "local"
    own: dict[str, Any] = {"num_cpus": cpus, "include_dashboard": False} if target == "local" else {}
    try:
        ray.init(address=target, log_to_driver=False, logging_level=logging.ERROR, **own)
    except (ConnectionError, RuntimeError, ValueError) as error:
        seen = next(iter(str(error).splitlines()), type(error).__name__)
        do = "use local, ray, or the address of a running Ray such as 10.0.0.1:6379 or ray://10.0.0.1:10001"
        raise BadInput(f"no Ray at {target!r}", seen=seen, do=do) from error
    try:
        yield
    finally:
        ray.shutdown()
