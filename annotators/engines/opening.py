"""The engines of a run: each opened once per process, shared by all its workers, with the store's replies before it."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import TYPE_CHECKING

from reelmill.annotators.engines.engine import Engine, EngineSpec, Patient
from reelmill.annotators.engines.profile import EngineProfile, Price
from reelmill.annotators.engines.replies import Remembered, Replay, Replies
from reelmill.annotators.engines.spending import Purse
from reelmill.schemas.errors import BadInput

if TYPE_CHECKING:
    from reelmill.annotators.engines.openai_http import OpenAIEngine


class Engines:
    """Opens what a spec names. Use as a context manager, or `close` it; may be shared between threads.

    `cache` is the folder of replies; None: nothing is kept.
    """

    def __init__(self, profile: EngineProfile = EngineProfile(), cache: Path | None = None) -> None:
        self.profile, self.cache = profile, cache
        self._open: dict[tuple[str, str], Remembered] = {}
        self._lock = threading.Lock()

    def get(self, spec: str, revision: str = "") -> Remembered:
        """Raises BadInput on a spec of an unknown form, and where costs are limited but no price is known."""
        with self._lock:
            if (spec, revision) not in self._open:
                self._open[spec, revision] = self._remembered(bare(spec, revision, self.profile, self.cache))
            return self._open[spec, revision]

    def _remembered(self, engine: Engine) -> Remembered:
        price = self.price_of(engine.name)
        if self.profile.max_cost and price is None:
            seen = ", ".join(self.profile.prices) or "no prices"
            do = f"add [prices.{engine.name!r}] with input and output to the --profile file"
            raise BadInput(f"--max-cost needs a price for {engine.name}", seen=seen, do=do)
        replies = Replies(self.cache) if self.cache else None
        purse = Purse(self.profile.max_cost, price, engine.name, batched=isinstance(engine, Patient))
        return Remembered(engine, replies, purse, offline=self.profile.offline)

    def price_of(self, engine: str) -> Price | None:
        return self.profile.price_of(engine)

    def let_go(self) -> None:
        """End all waiting for engines that take hours. What was asked there is found again by the next run."""
        with self._lock:
            for engine in self._open.values():
                engine.let_go()

    def close(self) -> None:
        with self._lock:
            for engine in self._open.values():
                engine.close()
            self._open.clear()

    def __enter__(self) -> Engines:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def bare(spec: str, revision: str, profile: EngineProfile, cache: Path | None = None) -> Engine:
    """The engine alone, not yet connected or loaded; batches of a provider are noted in `cache`. Raises BadInput for a
    form that no engine has."""
    parsed = EngineSpec.parse(spec)
    if parsed.kind == "replay":
        return Replay(Path(parsed.model))
    if parsed.kind == "openai":
        from reelmill.annotators.engines.openai_http import OpenAIEngine

        live = OpenAIEngine(parsed.model, parsed.where, revision, profile)
        return _by_batch(live, cache) if profile.batch_api else live
    if parsed.kind == "transformers":
        from reelmill.annotators.engines.transformers_ import TransformersEngine

        return TransformersEngine(parsed.model, revision, profile)
    if parsed.kind == "vllm":
        from reelmill.annotators.engines.vllm_ import VllmEngine

        return VllmEngine(parsed.model, revision, profile)
    raise BadInput(f"engine {spec}", seen="no model stands behind it", do="this ability needs one: name a model")


def _by_batch(live: OpenAIEngine, cache: Path | None) -> Engine:
    from reelmill.annotators.engines.openai_batch import OpenAIBatchEngine

    return OpenAIBatchEngine(live, cache)
