"""From lessons to weights, from weights to captions behind the engine, and from accepted captions to lessons again.

The model is tiny and random before it learns four pictures by heart: this proves mechanics; benchmarks/closed_loop.py
has figures on pictures that nobody learned.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import lessons
import pytest
from closed_loop import Loop, Said, trunk

from reelmill.sinks.dataset import Store
from reelmill.training import backbones
from reelmill.training.answering import answer
from reelmill.training.data.shards import Split, opened
from reelmill.training.evals.model import shown
from reelmill.training.ladder import XS
from reelmill.training.loop.plan import planned
from reelmill.training.running import Made, finished

SIZE = replace(XS, image=64, patch=32, layers=2, difference=False)
COUNT = 4


@pytest.fixture(scope="module")
def loop(tmp_path_factory: pytest.TempPathFactory) -> Loop:
    return Loop(tmp_path_factory.mktemp("loop"))


@pytest.fixture(scope="module")
def pictures(loop: Loop) -> Path:
    return lessons.draw(loop.root / "pictures", COUNT, seed=1)


@pytest.fixture(scope="module")
def first(loop: Loop, pictures: Path) -> Path:
    """A captioner of four pictures."""
    eyes, words = trunk(loop.root, SIZE)
    truth = loop.lessons(pictures)
    return loop.learn("first", [truth], 80, tokens=768, rate=2e-3, tower=str(eyes), words=str(words))


@pytest.fixture(scope="module")
def said(loop: Loop, pictures: Path, first: Path) -> Said:
    return loop.said(first, pictures)


def test_what_it_learned_is_what_the_engine_hears(said: Said) -> None:
    """One caption for all would be right once."""
    assert said.accepted == COUNT
    assert said.right > 1


def test_the_engine_hears_what_our_own_model_says(loop: Loop, said: Said) -> None:
    made, split = finished(loop.root / "first"), opened(str(loop.store / "lessons-pictures" / "1"))
    ours = sorted(spoken(made, split, number) for number in range(len(split)))
    assert [json.loads(text)["caption"] for text in ours] == sorted(caption or "" for _, caption in said.pairs)


def spoken(made: Made, split: Split, number: int) -> str:
    """Greedy answer of our own loop to a lesson's question."""
    tokens, sample = made.tokens, split.sample(number)
    whole = shown(tokens.document([sample]), tokens, split, number, sample)
    kept = whole.labels < 0
    asked = replace(whole, ids=whole.ids[kept], labels=whole.labels[kept], branch=whole.branch[kept])
    ((one,),) = answer(made.model, [asked], end=tokens.tokenizer.eos_token_id)
    assert one.ended
    return str(tokens.tokenizer.decode(one.ids))


def test_accepted_captions_are_lessons_and_learned_from(
    loop: Loop, pictures: Path, first: Path, said: Said, capsys: pytest.CaptureFixture[str]
) -> None:
    again = loop.lessons(pictures, first)
    made = Store(loop.store).dataset("lessons_again-pictures", "first")
    answers = [json.loads(row["turns"][1]["text"])["caption"] for row in made.children(["turns"]).to_pylist()]
    assert sorted(answers) == sorted(caption for _, caption in said.pairs if caption)
    second = loop.learn("second", [loop.store / "lessons-pictures" / "1", again], 2, tokens=768, model=str(first))
    assert "transformers:" in capsys.readouterr().out
    base = backbones.whole(str(second))
    assert base.tower.grid == (2, 2)
    assert planned(loop.root / "second").model == str(first)
    assert loop.said(second, pictures).accepted == COUNT


def test_a_variant_without_a_layout_trains_and_says_that_nothing_was_written(
    loop: Loop, first: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from reelmill.jobs import fitting

    run, places = loop.root / "mqt", str(loop.store / "lessons-pictures" / "1")
    shape = (2, "XS", 768, 1, 1, 1e-3, 0)
    asked = fitting.Asked("mqt", places, *shape, "variant", None, 250, in_order=False, ema=0.0, model=str(first))
    fitting.train(asked.plan({}, shared=False), run, loop.store)
    out = " ".join(capsys.readouterr().out.split())
    assert "the reducer Query; do: train llava15" in out
    assert not (run / "model").exists()
