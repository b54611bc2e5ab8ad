"""A captioner closes the loop: trained on truth, loaded behind the engine, trained again on what was accepted of it.

Pictures of one coloured thing each, 48 kinds, captions such as "A red circle at the left.". A LLaVA layout of random
weights (XS) learns `--labelled` pictures by the verb `train`, captions `--pool` others by the recipe `captions`, and
goes on over truth and its own accepted captions; beside it, the same steps over the truth alone. All are asked about
`--held` pictures that none of them learned from.

    python benchmarks/closed_loop.py --steps 600 --more 300
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

from measure import Result, bars, say

from reelmill.schemas.metrics.captions import macro, rouge_l
from reelmill.training.ladder import XS

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "fixtures"))
import lessons
from closed_loop import Loop, Said, trunk

SIZE = replace(XS, image=64, patch=16, difference=False)
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


def loop(given: argparse.Namespace, root: Path) -> list[tuple[str, Said]]:
    """What each captioner says of held-out pictures, in the order of the table."""
    made = Loop(root)
    labelled, pool, held = (
        lessons.draw(root / name, count, seed)
        for seed, (name, count) in enumerate((("labelled", given.labelled), ("pool", given.pool), ("held", given.held)))
    )
    eyes, words = trunk(root, SIZE)
    begins, truth = {"tower": str(eyes), "words": str(words)}, made.lessons(labelled)
    found: list[tuple[str, Said]] = []

    def ask(name: str, model: Path) -> Path:
        found.append((name, made.said(model, held)))
        say(f"{name}: {row(name, found[-1][1])[1:]}")
        return model

    ask("one step", made.learn("begun", [truth], 1, **begins))
    first = ask(f"{given.steps} steps on truth", made.learn("first", [truth], given.steps, **begins))
    own = made.lessons(pool, first)
    more = {"rate": given.rate, "model": str(first)}
    ask(f"and {given.more} on truth", made.learn("control", [truth], given.more, **more))
    ask(f"and {given.more} on truth and its own", made.learn("second", [truth, own], given.more, **more))
    found.append(("its own captions of the pool", made.said(first, pool)))
    return [(CONSTANT, constant(found[0][1])), *found]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
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
    made = Result("closed_loop", "A captioner trained on truth, then on its own accepted captions", rounds=1)
    made.raw["captions"] = {name: [list(pair) for pair in said.pairs] for name, said in found}
    made.note(
        f"{given.labelled} labelled pictures, {given.pool} of the pool, {given.held} held out; "
        f"{time.process_time() - started:.0f} CPU seconds in all, one seed."
    )
    columns = ("captioner", "accepted", "right", "colour", "shape", "place", "ROUGE-L")
    made.table(columns, [row(name, said) for name, said in found])
    shares = {name: said.right / len(said.pairs) for name, said in found}
    made.save(bars("right word for word", shares, limit=("one caption for all", shares[CONSTANT])))


if __name__ == "__main__":
    main()
