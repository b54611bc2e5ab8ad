"""Answers a second from an OpenAI-compatible server, against a bare asyncio loop with the same client and as many in
flight; and memory over 50,000 calls.

The server is the stand-in teacher in a process of its own, with the latency of a small model. `step` is the whole way
of an ability: conversation, check of the shape, gates, accounting, cache. Every variant is a process of its own.

    python benchmarks/goodput.py --rounds 5
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from measure import Result, bars, cost, say

from reelmill.annotators.asking import Asks, Conversation, Question
from reelmill.annotators.check_facts import Facts
from reelmill.annotators.engines.engine import Request, answers
from reelmill.annotators.engines.opening import Engines
from reelmill.annotators.engines.profile import EngineProfile
from reelmill.annotators.engines.stand_in.server import MODEL

BARE, ENGINE, CACHED, STEP = "bare asyncio loop", "engine", "engine and cache", "step and cache"
VARIANTS = (BARE, ENGINE, CACHED, STEP)
GOAL = 0.9
_GROUP = 32


@contextmanager
def served(latency_s: float) -> Iterator[str]:
    """The stand-in in a process of its own; its URL."""
    command = [sys.executable, "-m", "reelmill.jobs.cli", "teacher", "--port", "0", "--latency", str(latency_s)]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=None)
    assert server.stdout is not None
    try:
        found = re.search(r"http://\S+", server.stdout.readline())
        assert found is not None
        yield found[0]
    finally:
        server.terminate()
        server.wait()


def prompt(number: int) -> str:
    return f"Split this answer: {json.dumps(f'Thing {number} is red. It moves left. It is number {number}.')}"


def schema() -> dict[str, object]:
    wanted = {"name": "answer", "schema": Facts.model_json_schema(), "strict": True}
    return {"type": "json_schema", "json_schema": wanted}


async def bare(url: str, calls: int, in_flight: int) -> int:
    """What one writes first: a semaphore, and the answer's text parsed."""
    from openai import AsyncOpenAI

    client, slots, shape = (
        AsyncOpenAI(base_url=url, api_key="none", max_retries=0),
        asyncio.Semaphore(in_flight),
        schema(),
    )

    async def one(number: int) -> bool:
        async with slots:
            said = await client.chat.completions.create(
                model=MODEL,
                messages=[{"role": "user", "content": prompt(number)}],
                max_tokens=512,
                temperature=0.0,
                response_format=shape,  # type: ignore[arg-type]
            )
        return len(json.loads(said.choices[0].message.content or "")["facts"]) == 3

    return sum(await asyncio.gather(*(one(n) for n in range(calls))))


def through_engine(url: str, calls: int, in_flight: int, cache: Path | None) -> int:
    wanted = json.dumps(Facts.model_json_schema())
    requests = (Request(str(n), prompt(n), answer_schema=wanted) for n in range(calls))
    with Engines(EngineProfile(in_flight=in_flight), cache) as engines:
        model = engines.get(f"openai:{MODEL}@{url}")
        return sum(len(json.loads(r.text)["facts"]) == 3 for r in answers(model, requests, ahead=2 * in_flight))


class Split(Asks):
    """The shortest ability."""

    sends_images = False

    def rows(self, first: int) -> int:
        keys = [str(n) for n in range(first, first + _GROUP)]
        ended = self._asked({key: self._talk({"key": key}) for key in keys})
        return sum(len(ended(key)["facts"]) == 3 for key in keys)

    def _talk(self, row: dict[str, Any]) -> Conversation:
        number = int(row["key"])
        (said,) = yield [Question.of(Request(str(number), prompt(number)), Facts, lambda a: " ".join(a.facts))]
        return {"facts": said.value.facts}


def through_step(url: str, calls: int, in_flight: int, cache: Path | None) -> int:
    """As a run does it: several threads, each with a group of rows, share one engine."""
    from concurrent.futures import ThreadPoolExecutor
    from dataclasses import replace

    lanes = 2 + in_flight // _GROUP
    with Engines(EngineProfile(in_flight=in_flight), cache) as engines, ThreadPoolExecutor(lanes) as pool:
        step = Split(f"openai:{MODEL}@{url}", prompt="split_facts", engines=engines)
        return sum(pool.map(lambda first: replace(step).rows(first), range(0, calls, _GROUP)))


def one(variant: str, url: str, calls: int, in_flight: int, cache: Path) -> None:
    """A measured process: prints the answers a second, after a warm-up of 64."""
    work = {
        BARE: lambda n: asyncio.run(bare(url, n, in_flight)),
        ENGINE: lambda n: through_engine(url, n, in_flight, None),
        CACHED: lambda n: through_engine(url, n, in_flight, cache / str(n)),
        STEP: lambda n: through_step(url, n, in_flight, cache / str(n)),
    }[variant]
    work(64)
    started = time.perf_counter()
    good = work(calls)
    seconds = time.perf_counter() - started
    assert good == calls, f"{good} of {calls} answers were right"
    print(json.dumps({"a_second": calls / seconds}))


def measured(variant: str, url: str, given: argparse.Namespace) -> float:
    with tempfile.TemporaryDirectory(prefix="goodput-", dir=Path.cwd()) as cache:
        words = ["--one", variant, "--url", url, "--calls", str(given.calls), "--in-flight", str(given.in_flight)]
        command = [sys.executable, __file__, *words, "--cache", cache]
        told = subprocess.run(command, check=True, capture_output=True, text=True)
    rate: float = json.loads(told.stdout.splitlines()[-1])["a_second"]
    say(f"{variant}: {rate:.1f} answers a second")
    return rate


def compare(page: Result, latency_s: float, given: argparse.Namespace) -> dict[str, float]:
    rates: dict[str, list[float]] = {v: [] for v in VARIANTS}
    with served(latency_s) as url:
        for _ in range(given.rounds):
            for variant in VARIANTS:
                rates[variant].append(measured(variant, url, given))
    middle = {v: statistics.median(r) for v, r in rates.items()}
    page.raw[f"latency {latency_s:g} s"] = rates
    bound = f"at most {given.in_flight / latency_s:.0f} answers a second" if latency_s else "two cores bind both ends"
    ratios = {v: statistics.median(a / b for a, b in zip(r, rates[BARE], strict=True)) for v, r in rates.items()}
    page.note(f"Latency {latency_s:g} s, {given.in_flight} in flight: {bound}.")
    page.table(("way", "answers/s", "of bare"), [(v, middle[v], ratios[v]) for v in VARIANTS])
    return middle


def memory(page: Result, given: argparse.Namespace) -> None:
    """PSS while `--many` different questions go through step and cache."""
    with served(0.0) as url, tempfile.TemporaryDirectory(prefix="goodput-", dir=Path.cwd()) as cache:
        words = ["--one", STEP, "--url", url, "--calls", str(given.many), "--in-flight", str(given.in_flight)]
        run = cost([sys.executable, __file__, *words, "--cache", cache], memory=True)
    page.keep("memory", [run])
    page.raw["pss_mb"] = run.pss_mb
    tenths = [run.pss_mb[len(run.pss_mb) * n // 10] for n in range(1, 10)]
    page.note(f"{given.many} calls through step and cache, {run.wall_s:.0f} s: PSS in MB at each tenth of the time.")
    page.table([f"{n}0 %" for n in range(1, 10)], [[f"{mb:.0f}" for _, mb in tenths]])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--calls", type=int, default=1024)
    parser.add_argument("--many", type=int, default=49_984, help="calls while memory is watched; a multiple of 32")
    parser.add_argument("--in-flight", type=int, default=16)
    parser.add_argument("--one", choices=VARIANTS, help=argparse.SUPPRESS)
    parser.add_argument("--url", help=argparse.SUPPRESS)
    parser.add_argument("--cache", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        one(given.one, given.url, given.calls, given.in_flight, given.cache)
        return
    page = Result("goodput", "Answers a second from a model server, against a bare asyncio loop", rounds=given.rounds)
    slow = compare(page, 0.2, given)
    compare(page, 0.0, given)
    memory(page, given)
    page.note(f"The goal is {GOAL} of bare at a model's latency.")
    page.save(bars("answers a second, latency 0.2 s", slow, limit=(f"{GOAL} of bare", GOAL * slow[BARE])))


if __name__ == "__main__":
    main()
