"""Any image-text-to-text (or text) checkpoint in this process, through transformers' own `generate`.

Requests of all workers wait in one line. A batch is the one that has waited longest and those most like it in length,
so that little is padded and nobody starves; while it runs the next ones gather. What does not fit into memory is halved
and tried again. Greedy answers are cut at each request's own limit; sampled ones are made alone, from their own seed.

`transformers` constrains no answer to a schema; it is checked on our side like any other.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from reelmill.annotators.engines import checkpoints
from reelmill.annotators.engines.chat import messages, picture
from reelmill.annotators.engines.engine import Candidate, Reply, Request
from reelmill.annotators.engines.profile import EngineProfile
from reelmill.annotators.engines.spending import guessed_tokens
from reelmill.schemas.errors import EngineDown, ReelmillError

_GATHER_S = 0.02


@dataclass(frozen=True, slots=True)
class _Waiting:
    """A request and the promise of its reply."""

    request: Request
    reply: Future[Reply]

    def fail(self, what: str) -> None:
        self.reply.set_result(Reply(self.request.id, "", "", error=what))


class TransformersEngine:
    """Loads `model` in a thread of its own when the first request comes; it answers `profile.batch` at a time."""

    def __init__(self, model: str, revision: str = "", profile: EngineProfile = EngineProfile()) -> None:
        self.model, self.revision, self.profile = model, revision, profile
        self.name = f"transformers:{checkpoints.short_name(model)}"
        self._line: queue.SimpleQueue[_Waiting | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()

    def submit(self, request: Request) -> Future[Reply]:
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._serve, name="generate", daemon=True)
                self._thread.start()
        reply: Future[Reply] = Future()
        self._line.put(_Waiting(request, reply))
        return reply

    def check(self, *, images: bool) -> None:
        checkpoints.require(f"transformers:{self.model}", self.model, self.revision, images=images)

    def close(self) -> None:
        with self._lock:
            if self._thread is not None:
                self._line.put(None)
                self._thread.join()
                self._thread = None

    def _serve(self) -> None:
        waiting: list[_Waiting] = []
        try:
            loaded = Loaded.of(self.name, self.model, self.revision, self.profile)
            while self._gathered(waiting):
                batch = chosen(waiting, self.profile.batch)
                _answer(loaded, batch)
        except ReelmillError as error:
            self._end(waiting, error)
        except Exception as error:
            seen = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
            self._end(waiting, EngineDown(f"engine {self.name}", seen=seen, do="see the log above"))

    def _gathered(self, waiting: list[_Waiting]) -> bool:
        """Move what came into `waiting`: at least one, and a moment longer for a whole batch. False at the end."""
        until = time.monotonic() + _GATHER_S
        while True:
            left = until - time.monotonic()
            try:
                if not waiting:
                    one = self._line.get()
                    until = time.monotonic() + _GATHER_S
                elif len(waiting) < self.profile.batch and left > 0:
                    one = self._line.get(timeout=left)
                else:
                    one = self._line.get_nowait()
            except queue.Empty:
                return True
            if one is None:
                for left_over in waiting:
                    left_over.fail("the engine was closed before it was asked")
                return False
            if one.reply.set_running_or_notify_cancel():
                waiting.append(one)

    def _end(self, waiting: list[_Waiting], error: ReelmillError) -> None:
        """No request fares better: all that wait, and all that come, are told so."""
        while True:
            for one in waiting:
                if not one.reply.done():
                    one.reply.set_exception(error)
            following = self._line.get()
            if following is None:
                return
            waiting = [following]


def chosen(waiting: list[_Waiting], most: int) -> list[_Waiting]:
    """Take out of `waiting` the oldest and at most `most - 1` of those nearest to it in length; a sampled one alone."""
    first = waiting[0]
    if first.request.temperature > 0:
        return [waiting.pop(0)]
    size = guessed_tokens(first.request)
    alike = [w for w in waiting if w.request.temperature == 0 and w.request.stop == first.request.stop]
    near = sorted(alike, key=lambda w: (w is not first, abs(guessed_tokens(w.request) - size)))[:most]
    waiting[:] = [w for w in waiting if w not in near]
    return near


def _answer(loaded: Loaded, batch: Sequence[_Waiting]) -> None:
    """Set every promise of a batch. What fails together is tried in halves, so that one request is to blame."""
    import torch

    try:
        replies = loaded.replies([w.request for w in batch])
    except Exception as error:
        if isinstance(error, torch.cuda.OutOfMemoryError):
            torch.cuda.empty_cache()
        if len(batch) == 1:
            batch[0].fail(f"{type(error).__name__}: {' '.join(str(error).split())[:300]}")
            return
        middle = len(batch) // 2
        _answer(loaded, batch[:middle])
        _answer(loaded, batch[middle:])
        return
    for one, reply in zip(batch, replies, strict=True):
        one.reply.set_result(reply)


@dataclass(frozen=True, slots=True)
class Loaded:
    """A model with its processor. `context`: tokens at most, prompt and answer together; 0: not known."""

    model: Any
    processor: Any
    said: str
    context: int

    @classmethod
    def of(cls, name: str, model: str, revision: str, profile: EngineProfile) -> Loaded:
        weights, processor = checkpoints.load(name, model, revision, checkpoints.device())
        config = weights.config.get_text_config()
        most = profile.context or int(getattr(config, "max_position_embeddings", 0) or 0)
        tokenizer = getattr(processor, "tokenizer", processor)
        tokenizer.padding_side = "left"
        if tokenizer.pad_token is None:
            tokenizer.pad_token = tokenizer.eos_token
        said = f"transformers:{checkpoints.told(model, revision, weights.config)}"
        return cls(weights, processor, said, most)

    def replies(self, requests: Sequence[Request]) -> list[Reply]:
        """One reply each, in order. Raises whatever the model raises."""
        import torch

        inputs = self.inputs(requests).to(self.model.device)
        mask = inputs["attention_mask"]
        lengths = mask.sum(dim=1).tolist()
        limit = max(r.max_tokens for r in requests)
        if self.context and int(mask.shape[1]) + limit > self.context:
            what = f"{mask.shape[1]} tokens and {limit} of answer, the model takes {self.context}"
            raise ValueError(f"the request is too long: {what}")
        with torch.inference_mode(), _seeded(requests[0]):
            made = self.model.generate(**inputs, **self._options(requests, limit))
        texts = made.sequences[:, mask.shape[1] :].tolist()
        first = made.logits[0].float().log_softmax(dim=-1) if made.logits else None
        return [
            self._reply(request, tokens, int(lengths[i]), None if first is None else first[i])
            for i, (request, tokens) in enumerate(zip(requests, texts, strict=True))
        ]

    def inputs(self, requests: Sequence[Request]) -> Any:
        """Left-padded tensors: each request through the chat template, its images after their times."""
        texts = [
            self.processor.apply_chat_template(messages(r), tokenize=False, add_generation_prompt=True)
            for r in requests
        ]
        images = [[picture(i) for i in r.images] for r in requests]
        shown = {"images": images} if any(images) else {}
        return self.processor(text=texts, **shown, padding=True, return_tensors="pt")

    def _options(self, requests: Sequence[Request], limit: int) -> dict[str, Any]:
        one = requests[0]
        options: dict[str, Any] = {
            "max_new_tokens": limit,
            "do_sample": one.temperature > 0,
            "return_dict_in_generate": True,
            "output_logits": any(r.top_logprobs for r in requests),
            "pad_token_id": self._tokenizer.pad_token_id,
        }
        if one.temperature > 0:
            options |= {"temperature": one.temperature, "top_p": one.top_p, "top_k": 0}
        if one.stop:
            options |= {"stop_strings": list(one.stop), "tokenizer": self._tokenizer}
        return options

    @property
    def _tokenizer(self) -> Any:
        return getattr(self.processor, "tokenizer", self.processor)

    def _reply(self, request: Request, tokens: list[int], tokens_in: int, first: Any) -> Reply:
        """The answer up to its own limit or end: what a longer one in the batch made further is not its own."""
        ends = self._ends
        mine = tokens[: request.max_tokens]
        end = next((i for i, token in enumerate(mine) if token in ends), None)
        text = self._tokenizer.decode(mine[:end], skip_special_tokens=True)
        cut = min((text.find(s) for s in request.stop if s in text), default=-1)
        done = end is not None or cut >= 0
        return Reply(
            id=request.id,
            text=(text if cut < 0 else text[:cut]).strip(),
            finish_reason="stop" if done else "length",
            tokens_in=tokens_in,
            tokens_out=len(mine) if end is None else end + 1,
            model=self.said,
            first=() if first is None or not request.top_logprobs else self._candidates(first, request.top_logprobs),
        )

    @property
    def _ends(self) -> frozenset[int]:
        said = self.model.generation_config.eos_token_id
        own = [] if said is None else said if isinstance(said, list) else [said]
        return frozenset([*own, *([self._tokenizer.eos_token_id] if self._tokenizer.eos_token_id is not None else [])])

    def _candidates(self, logprobs: Any, most: int) -> tuple[Candidate, ...]:
        found = logprobs.topk(min(most, logprobs.shape[-1]))
        pairs = zip(found.indices.tolist(), found.values.tolist(), strict=True)
        return tuple(Candidate(self._tokenizer.decode([token]), value) for token, value in pairs)


@contextmanager
def _seeded(request: Request) -> Iterator[None]:
    """Random numbers of a sampled request come from its own seed, and nobody else's are disturbed."""
    import torch

    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        torch.manual_seed(request.seed or 0)
        yield
