"""Tokens a second of the caption step against its engine alone, on the same prompts, in one process.

`transformers`: alone is a plain loop of batched `generate` over the prompts sorted by length. `vllm`: alone is its
asynchronous engine with every prompt handed over at once. The checkpoint is tiny and random: it says nothing, and its
tokens come so fast that whatever the step adds weighs more than it would beside a real model.

    python benchmarks/captioner.py --engine transformers --rounds 5
    make check-vllm-cpu
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import io
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
from measure import Result, bars, say

from reelmill.annotators.caption import Caption
from reelmill.annotators.engines.engine import Request
from reelmill.annotators.engines.opening import Engines
from reelmill.annotators.engines.profile import EngineProfile
from reelmill.annotators.engines.transformers_ import Loaded
from reelmill.schemas import arrow
from reelmill.schemas.column import schema
from reelmill.schemas.media import Kind, MediaRef, ShownFrame
from reelmill.schemas.span import Span

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "fixtures"))
from random_weights import llava

GOAL, GROUP, ALONE, STEP = 0.95, 32, "engine alone", "caption step"
VLLM = {"enforce_eager": True, "dtype": "float32"}


def rows(count: int) -> pa.Table:
    """Clips of one to four small frames."""
    from PIL import Image

    made = []
    for n in range(count):
        frames, jpegs = [], []
        for i in range(1 + n % 4):
            out = io.BytesIO()
            Image.new("RGB", (64, 48), (n * 37 % 256, i * 60, 90)).save(out, "JPEG")
            jpegs.append(out.getvalue())
            digest = hashlib.sha256(jpegs[-1]).hexdigest()
            frames.append(arrow.plain(ShownFrame(i, i / 2, 64, 48, digest, 0, len(jpegs[-1]))))
        media = MediaRef(f"f{n}", "0" * 64, Kind.VIDEO, 64, 48, 2.0, Span(0.0, 2.0), "CC0-1.0")
        made.append({"key": f"k{n}", "media": arrow.plain(media), "frames": frames, "jpegs": jpegs})
    return pa.Table.from_pylist(made, schema=schema(*Caption.needs))


def requests(step: Caption, table: pa.Table) -> list[Request]:
    """The questions that the step asks of these rows."""
    return [next(step._talk(row))[0].request for row in table.to_pylist()]


def through_step(step: Caption, table: pa.Table, engines: Engines) -> int:
    """Tokens that came, as a run asks for them: groups of rows, two in work at a time."""
    groups = [table.slice(i, GROUP) for i in range(0, table.num_rows, GROUP)]

    def done(group: pa.Table) -> int:
        mine = replace(step, engines=engines)
        mine(group)
        return mine.spent().tokens_out

    with ThreadPoolExecutor(2) as pool:
        return sum(pool.map(done, groups))


def transformers_alone(loaded: Loaded, asked: list[Request], batch: int) -> int:
    """The loop that one writes first."""
    import torch

    tokens, ends = 0, loaded.processor.tokenizer.eos_token_id
    line = sorted(asked, key=lambda r: (len(r.images), len(r.prompt)))
    for first in range(0, len(line), batch):
        some = line[first : first + batch]
        inputs = loaded.inputs(some).to(loaded.model.device)
        with torch.inference_mode():
            made = loaded.model.generate(
                **inputs, max_new_tokens=max(r.max_tokens for r in some), do_sample=False, pad_token_id=0
            )
        for row in made[:, inputs["input_ids"].shape[1] :].tolist():
            tokens += row.index(ends) + 1 if ends in row else len(row)
        loaded.processor.batch_decode(made, skip_special_tokens=True)
    return tokens


async def vllm_alone(served: Any, asked: list[Request], run: str) -> int:
    from reelmill.annotators.engines.chat import messages, picture
    from reelmill.annotators.engines.vllm_ import sampling

    async def one(number: int, request: Request) -> int:
        text = served.processor.apply_chat_template(messages(request), tokenize=False, add_generation_prompt=True)
        prompt = {"prompt": text, "multi_modal_data": {"image": [picture(i) for i in request.images]}}
        async for made in served.engine.generate(prompt, sampling(request), f"{run}-{number}"):
            last = made
        return len(last.outputs[0].token_ids)

    return sum(await asyncio.gather(*(one(n, request) for n, request in enumerate(asked))))


def ways(given: argparse.Namespace, folder: Path, engines: Engines) -> dict[str, Callable[[int], int]]:
    """What is compared; each takes the number of a round and returns the tokens that came."""
    table = rows(given.clips)
    step = Caption(f"{given.engine}:{folder}", max_tokens=given.tokens)
    asked = requests(step, table)
    model = engines.get(step.engine, step.model_revision)

    def stepping(number: int) -> int:
        del number
        return through_step(step, table, engines)

    if given.engine == "transformers":
        loaded = Loaded.of(step.model, str(folder), "", engines.profile)
        return {ALONE: lambda _: transformers_alone(loaded, asked, given.batch), STEP: stepping}
    model.submit(asked[0]).result()
    inner: Any = model.engine
    served = inner._loaded.result()

    def alone(number: int) -> int:
        return int(inner._loop.start(vllm_alone(served, asked, f"alone-{number}")).result())

    return {ALONE: alone, STEP: stepping}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--engine", choices=("transformers", "vllm"), default="transformers")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--clips", type=int, default=128)
    parser.add_argument("--tokens", type=int, default=48)
    parser.add_argument("--batch", type=int, default=8)
    given = parser.parse_args()
    profile = EngineProfile(batch=given.batch, vllm=VLLM, in_flight=given.clips)
    with tempfile.TemporaryDirectory() as name, Engines(profile) as engines:
        folder = llava(Path(name) / "tiny-llava", ends=False, old_names=given.engine == "vllm")
        compared = ways(given, folder, engines)
        rates: dict[str, list[float]] = {way: [] for way in compared}
        for number in range(-1, given.rounds):
            for way, work in compared.items():
                started = time.perf_counter()
                tokens = work(number)
                rate = tokens / (time.perf_counter() - started)
                say(f"round {number + 1} of {given.rounds}, {way}: {tokens} tokens, {rate:.0f} a second")
                if number >= 0:  # the first is a warm-up
                    rates[way].append(rate)
        page(given, rates)


def page(given: argparse.Namespace, rates: dict[str, list[float]]) -> None:
    made = Result(f"captioner_{given.engine}", f"The caption step on {given.engine}, against it alone", given.rounds)
    made.raw["tokens a second"] = rates
    ratio = statistics.median(a / b for a, b in zip(rates[STEP], rates[ALONE], strict=True))
    middle = {way: statistics.median(found) for way, found in rates.items()}
    made.note(f"{given.clips} clips of 1 to 4 frames, {given.tokens} tokens each; tiny and random.")
    made.table(("way", "tokens/s", "of alone"), [(w, middle[w], ratio if w == STEP else 1.0) for w in rates])
    made.save(bars("tokens a second", middle, limit=(f"{GOAL} of alone", GOAL * middle[ALONE])))


if __name__ == "__main__":
    main()
