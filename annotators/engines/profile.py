"""How engines are used in a run: how much at a time, at what price, on which devices. Execution, never identity.

A profile file (`--profile FILE`) is TOML:

    in_flight = 32
    requests_per_minute = 500
    tokens_per_minute = 200000
    gpus = 1.0
    [prices."some-model"]        # in your currency, per million tokens
    input = 0.15
    output = 0.60
    batch_discount = 0.5         # of a provider's batch API
    [batch_api]                  # openai: engines ask by it, at half the price and within a day
    batch_max = 2000
"""

from __future__ import annotations

import dataclasses
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, ClassVar

import pydantic

from reelmill.schemas.errors import BadInput, NotFound

MILLION = 1_000_000
_STRICT = pydantic.ConfigDict(extra="forbid")


@dataclass(frozen=True, slots=True)
class Patience:
    """How long to try. Seconds; a server that asks to wait longer than `retry_after_max_s` is not waited for."""

    __pydantic_config__: ClassVar = _STRICT

    tries: int = 6
    timeout_s: float = 120.0
    first_wait_s: float = 1.0
    wait_max_s: float = 60.0
    retry_after_max_s: float = 300.0

    def wait_s(self, attempt: int, jitter: float) -> float:
        """1, 2, 4 .. seconds, less up to a quarter: `jitter` in [0, 1) keeps many requests from returning at once."""
        return min(self.first_wait_s * 2.0**attempt, self.wait_max_s) * (1 - 0.25 * jitter)


@dataclass(frozen=True, slots=True)
class Price:
    """Per million tokens, in whatever currency the user counts in. `batch_discount`: the share of it that is spared
    where a provider is asked by batch."""

    __pydantic_config__: ClassVar = _STRICT

    input: float
    output: float
    batch_discount: Annotated[float, pydantic.Field(ge=0, le=1)] = 0.5

    def of(self, tokens_in: int, tokens_out: int, *, batched: bool = False) -> float:
        """
        >>> Price(2.0, 8.0).of(1_000_000, 0), Price(2.0, 8.0).of(1_000_000, 0, batched=True)
        (2.0, 1.0)
        """
        live = (tokens_in * self.input + tokens_out * self.output) / MILLION
        return live * (1 - self.batch_discount) if batched else live

    @property
    def by_batch(self) -> Price:
        """As if all were asked by batch."""
        share = 1 - self.batch_discount
        return Price(self.input * share, self.output * share, 0.0)


@dataclass(frozen=True, slots=True)
class BatchApi:
    """How a provider's batch API is used. A batch is sent when it has `batch_max` requests or `file_mb` megabytes
    (10**6 bytes), or when nothing new came for `batch_wait_s` seconds; it is looked at every `poll_s`.

    So many rows are under way that `batches` of them can be filled: at most `batches * batch_max` and two groups more,
    with their pictures. The limits are OpenAI's: 50,000 requests and 200 MB a file (Batch API guide).
    """

    __pydantic_config__: ClassVar = _STRICT

    batch_max: Annotated[int, pydantic.Field(ge=1, le=50_000)] = 2000
    batch_wait_s: Annotated[float, pydantic.Field(ge=0)] = 30.0
    poll_s: Annotated[float, pydantic.Field(gt=0)] = 60.0
    batches: Annotated[int, pydantic.Field(ge=1)] = 2
    file_mb: Annotated[float, pydantic.Field(gt=0, le=200)] = 190.0


@dataclass(frozen=True, slots=True)
class EngineProfile:
    """`in_flight`: requests at a server at once. The limits a minute and `max_cost` are of one process; 0: none.

    For engines in this process: `batch` requests at most are answered together, each worker holds `gpus`, a model is
    spread over `tensor_parallel` of them and takes `gpu_share` of their memory; `context` tokens at most (0: what the
    checkpoint says); `vllm`: further arguments of its engine. On Ray `actors` hold an engine (0: one for a server, else
    as many as fit). `offline`: what is not in the cache of replies is an error, and nobody is asked. `batch_api`: how
    `openai:` engines ask by a provider's batch API; None: they ask each request by itself.
    """

    __pydantic_config__: ClassVar = _STRICT

    in_flight: int = 16
    requests_per_minute: float = 0.0
    tokens_per_minute: float = 0.0
    max_cost: float = 0.0
    offline: bool = False
    batch: int = 8
    gpus: float = 0.0
    actors: int = 0
    tensor_parallel: int = 1
    gpu_share: float = 0.9
    context: int = 0
    patience: Patience = field(default_factory=Patience)
    batch_api: BatchApi | None = None
    prices: dict[str, Price] = field(default_factory=dict)
    vllm: dict[str, str | int | float | bool] = field(default_factory=dict)

    def price_of(self, engine: str) -> Price | None:
        """By the engine's whole name (`openai:M`) or the model's alone; None where no price is given."""
        return self.prices.get(engine) or self.prices.get(engine.partition(":")[2])

    @classmethod
    def read(cls, path: Path) -> EngineProfile:
        """Raises NotFound, and BadInput naming the key that is wrong."""
        try:
            found = tomllib.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise NotFound(f"profile {path}", seen=error.strerror or str(error), do="give a TOML file") from error
        except ValueError as error:
            raise BadInput(f"profile {path}", seen=str(error), do="write TOML") from error
        return cls.checked(found, f"profile {path}")

    @classmethod
    def checked(cls, values: dict[str, Any], what: str) -> EngineProfile:
        """A profile from plain values, none of which is unknown, of another type, or under zero."""
        if isinstance(values.get("batch"), bool):  # else true would be read as 1
            do = "give a number, or a table [batch_api] for a provider's batch API"
            raise BadInput(f"{what}: batch", seen=str(values["batch"]).lower(), do=do)
        try:
            made: EngineProfile = _Form.validate_python(values)
        except pydantic.ValidationError as error:
            first = error.errors()[0]
            place = ".".join(map(str, first["loc"]))
            known = ", ".join(f.name for f in dataclasses.fields(cls))
            raise BadInput(f"{what}: {place}", seen=first["msg"], do=f"use {known}") from error
        low = [f.name for f in dataclasses.fields(cls) if isinstance(v := getattr(made, f.name), int | float) and v < 0]
        if low or made.in_flight < 1 or made.batch < 1:
            raise BadInput(f"{what}: {(low or ['in_flight or batch'])[0]}", seen="a number too small", do="raise it")
        return made


_Form = pydantic.TypeAdapter(EngineProfile)
