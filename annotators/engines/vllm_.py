"""A checkpoint through vLLM's own asynchronous engine, in this process: continuous batching, schemas held to.

Frames are decoded and scaled upstream, once; vLLM is handed the very pixels, never a file to sample from. `vllm` needs
an environment of its own (`constraints/vllm-cpu.txt`, docs/engines.md): it is imported when the first request comes.
"""

from __future__ import annotations

import asyncio
import json
from concurrent.futures import Future
from functools import cached_property
from typing import Any

from reelmill.annotators.engines import checkpoints
from reelmill.annotators.engines.chat import messages, picture
from reelmill.annotators.engines.engine import Candidate, Reply, Request
from reelmill.annotators.engines.loop import Loop
from reelmill.annotators.engines.profile import EngineProfile
from reelmill.schemas.errors import EngineDown, EngineUnusable, ReelmillError


class VllmEngine:
    """Loads `model` when the first request comes. The profile says on how many GPUs, and how much of their memory."""

    def __init__(self, model: str, revision: str = "", profile: EngineProfile = EngineProfile()) -> None:
        self.model, self.revision, self.profile = model, revision, profile
        self.name = f"vllm:{checkpoints.short_name(model)}"
        self._loaded: asyncio.Task[_Served] | None = None
        self._number = 0

    @cached_property
    def _loop(self) -> Loop:
        return Loop("vllm")

    def submit(self, request: Request) -> Future[Reply]:
        return self._loop.start(self._answered(request))

    def check(self, *, images: bool) -> None:
        import importlib.util

        if importlib.util.find_spec("vllm") is None:
            do = "make the environment of docs/engines.md, or use transformers: or openai:"
            raise EngineUnusable(f"engine vllm:{self.model}", seen="no package vllm here", do=do)
        checkpoints.require(f"vllm:{self.model}", self.model, self.revision, images=images)

    def close(self) -> None:
        if "_loop" in self.__dict__:
            self._loop.start(self._ended()).result()
            self._loop.close()

    async def _ended(self) -> None:
        if self._loaded is not None and self._loaded.done() and not self._loaded.exception():
            self._loaded.result().engine.shutdown()

    async def _answered(self, request: Request) -> Reply:
        if self._loaded is None:
            self._loaded = asyncio.create_task(self._load())
        self._number += 1
        number = f"{self._number}"
        try:
            served = await asyncio.shield(self._loaded)
            return await served.reply(number, request)
        except ReelmillError:
            raise
        except Exception as error:
            from vllm.v1.engine.exceptions import EngineDeadError

            seen = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
            if isinstance(error, EngineDeadError):
                raise EngineDown(f"engine {self.name}", seen=seen, do="see vLLM's log above") from error
            return Reply(request.id, "", "", error=seen)

    async def _load(self) -> _Served:
        return await asyncio.to_thread(_Served.of, self.name, self.model, self.revision, self.profile)


class _Served:
    """A running engine and the checkpoint's processor, for its chat template."""

    def __init__(self, engine: Any, processor: Any, said: str) -> None:
        self.engine, self.processor, self.said = engine, processor, said

    @classmethod
    def of(cls, name: str, model: str, revision: str, profile: EngineProfile) -> _Served:
        """Raises EngineUnusable where vLLM cannot load the checkpoint here."""
        from transformers import AutoProcessor
        from vllm import AsyncEngineArgs
        from vllm.v1.engine.async_llm import AsyncLLM

        known = None if not revision or checkpoints.short_name(model) != model else revision
        options = {"max_model_len": profile.context} if profile.context else {}
        try:
            arguments = AsyncEngineArgs(
                model=model,
                revision=known,
                tensor_parallel_size=profile.tensor_parallel,
                gpu_memory_utilization=profile.gpu_share,
                disable_log_stats=True,
                **profile.vllm,
                **options,
            )
            engine = AsyncLLM.from_engine_args(arguments)
            processor = AutoProcessor.from_pretrained(model, revision=known)
        except Exception as error:
            seen = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
            raise EngineUnusable(f"engine {name}", seen=seen, do="see vLLM's log above") from error
        return cls(engine, processor, name)

    async def reply(self, number: str, request: Request) -> Reply:
        """Raises what vLLM raises: a request that is too long, for example."""
        text = self.processor.apply_chat_template(messages(request), tokenize=False, add_generation_prompt=True)
        prompt: dict[str, Any] = {"prompt": text}
        if request.images:
            prompt["multi_modal_data"] = {"image": [picture(image) for image in request.images]}
        (whole,) = [one async for one in self.engine.generate(prompt, sampling(request), number)]
        made = whole.outputs[0]
        return Reply(
            id=request.id,
            text=made.text.strip(),
            finish_reason=made.finish_reason or "",
            tokens_in=len(whole.prompt_token_ids or ()),
            tokens_out=len(made.token_ids),
            model=self.said,
            first=_first(made),
        )


def sampling(request: Request) -> Any:
    """vLLM's sampling parameters for a request: its own seed, and its schema as a grammar."""
    from vllm import SamplingParams
    from vllm.sampling_params import RequestOutputKind, StructuredOutputsParams

    shape = json.loads(request.answer_schema) if request.answer_schema else None
    return SamplingParams(
        temperature=request.temperature,
        top_p=request.top_p,
        max_tokens=request.max_tokens,
        seed=request.seed,
        stop=list(request.stop) or None,
        logprobs=request.top_logprobs or None,
        output_kind=RequestOutputKind.FINAL_ONLY,
        structured_outputs=StructuredOutputsParams(json=shape) if shape else None,
    )


def _first(made: Any) -> tuple[Candidate, ...]:
    """Candidates for the first token, likeliest first."""
    if not made.logprobs:
        return ()
    found = [Candidate(one.decoded_token, one.logprob) for one in made.logprobs[0].values()]
    return tuple(sorted(found, key=lambda c: (-c.logprob, c.token)))
