"""From published shards to a trained model and its answers, at the smallest size: mechanics, not quality."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from reelmill.pipelines.scenes.micro import MicroPreset
from reelmill.pipelines.scenes.micro_pack import write_micro
from reelmill.schemas.errors import BadInput, NotFound
from reelmill.training.answering import Answer
from reelmill.training.codecs.text import Text
from reelmill.training.data.shards import Split, opened
from reelmill.training.data.tokenizer import held, texts_of, unread
from reelmill.training.evals.evaluate import evaluate
from reelmill.training.evals.model import ModelAnswerer
from reelmill.training.evals.questions import Question, items_of
from reelmill.training.loop import checkpoint
from reelmill.training.loop.fit import Told
from reelmill.training.loop.plan import Data, Plan, Rates
from reelmill.training.running import Made, begun, finished, unread_words

FRAMES = 4


@pytest.fixture(scope="module")
def pack(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("shards") / "pack"
    write_micro(place, 24, seed=11, val_share=0.3)
    return place


def plan(pack: Path, variant: str = "distime", **more: Any) -> Plan:
    said = {"steps": 2, "tokens": 700, "frames": FRAMES, "keep_every": 1, "rates": Rates(warmup=1)}
    return Plan(variant, **{"data": (Data(str(pack), shared=True),), **said, **more})


def silent(_: Told) -> None:
    """Nobody listens."""


@pytest.fixture(scope="module")
def runs(pack: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One trained run for each way to write numbers, and one that sees by the words."""
    found = {}
    for variant in ("distime", "llava_st", "llava15", "ppllava"):
        found[variant] = tmp_path_factory.mktemp("runs") / variant
        data = (Data(str(pack), shared=variant != "ppllava"),)
        begun(replace(plan(pack, variant), data=data), found[variant], silent).go()
    return found


def val(pack: Path) -> Split:
    return opened(pack, "val")


def questions(pack: Path) -> list[Question]:
    split = val(pack)
    return [item.question for item in items_of([split.sample(n) for n in range(len(split))])]


def test_a_run_that_is_begun_again_goes_on(pack: Path, runs: dict[str, Path], tmp_path: Path) -> None:
    """From the loader's place in the shards, through a fresh process's worth of objects."""
    half = tmp_path / "run"
    first = begun(plan(pack), half, silent)

    def stop(told: Told) -> None:
        if told.step == 2:
            raise KeyboardInterrupt

    first.tell = stop
    with pytest.raises(KeyboardInterrupt):
        first.go()
    assert checkpoint.newest(half).step == 1
    begun(plan(pack), half, silent).go()
    one, other = (checkpoint.newest(r).folder / checkpoint.WEIGHTS for r in (half, runs["distime"]))
    assert one.read_bytes() == other.read_bytes()


@pytest.mark.parametrize("variant", ["distime", "llava_st", "llava15", "ppllava"])
def test_every_question_is_answered_alone_as_among_others(pack: Path, runs: dict[str, Path], variant: str) -> None:
    made = finished(runs[variant])
    asked = questions(pack)[:6]
    answerer = ModelAnswerer(made.model, made.tokens, val(pack), longest=8)
    together = answerer.answer(asked)
    alone = [answerer.answer([q])[0] for q in asked]
    assert [r.text for r in together] == [r.text for r in alone]
    assert len(together) == len(asked)


def test_an_evaluation_has_floors_and_intervals(pack: Path, runs: dict[str, Path]) -> None:
    made, held, learned = finished(runs["distime"]), val(pack), opened(pack, "train")
    samples, train = ([s.sample(n) for n in range(len(s))] for s in (held, learned))
    answerer = ModelAnswerer(made.model, made.tokens, held, longest=8)
    report = evaluate(samples, train, answerer, run="r", dataset=held.label)
    whole = [f for f in report.figures() if f.task.startswith("when") and f.measure == "tiou"]
    assert whole
    assert all(f.prior is not None and f.question_only is not None for f in whole)


def told(made: Made, pack: Path, said: Answer) -> tuple[str, tuple[Any, ...], tuple[Any, ...]]:
    question = questions(pack)[0]
    reply = ModelAnswerer(made.model, made.tokens, val(pack))._reply(question, said)
    return reply.text, reply.spans, reply.boxes


def test_a_distribution_s_numbers_become_a_time_in_seconds(pack: Path, runs: dict[str, Path]) -> None:
    made = finished(runs["distime"])
    token = made.model.slot_ids["time"]
    text, spans, _ = told(made, pack, Answer([token], [(0, "time", (0.25, 0.5))]))
    assert (text, spans) == ("<time>", ((2.0, 4.0),))


def test_two_bins_are_one_time_and_four_one_box(pack: Path, runs: dict[str, Path]) -> None:
    made = finished(runs["llava_st"])
    ids = made.model.slot_ids
    time = Answer([ids["time"]] * 2, [(0, "time", (0.25,)), (1, "time", (0.5,))])
    assert told(made, pack, time)[:2] == ("<time>", ((2.0, 4.0),))
    names = ("x", "y", "x", "y")
    box = Answer(
        [ids[n] for n in names], [(i, n, (v,)) for i, (n, v) in enumerate(zip(names, (0, 0.5, 0.5, 1), strict=True))]
    )
    text, _, (found,) = told(made, pack, box)
    assert (text, found.x0_px, found.y0_px, found.x1_px, found.y1_px) == ("<box>", 0.0, 12.0, 12.0, 24.0)
    lone = told(made, pack, Answer([ids["time"]], [(0, "time", (0.25,))]))
    assert lone == ("", (), ())


def test_digits_are_read_where_they_stand() -> None:
    text, numbers = Text(1).found("It is there from 1.5 to 3.0, then 4 to 5 {x}", 2)
    assert (text, numbers) == ("It is there from {}, then {} (x)", [(1.5, 3.0), (4.0, 5.0)])
    assert Text(0).found("at [1, 2, 3, 4]", 4) == ("at {}", [(1.0, 2.0, 3.0, 4.0)])
    assert Text(0).found("at [1, 2, 3]", 4) == ("at [1, 2, 3]", [])


def test_a_blind_model_is_shown_grey(pack: Path, runs: dict[str, Path]) -> None:
    made = finished(runs["distime"])
    seen: list[torch.Tensor] = []
    made.model.tower.register_forward_pre_hook(lambda _m, args: seen.append(args[0].pixels))
    ModelAnswerer(made.model, made.tokens, val(pack), longest=1, blind=True).answer(questions(pack)[:1])
    assert seen[0].unique().tolist() == [128]


def test_settings_that_a_variant_lacks_are_one_line(pack: Path, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="variant mqt has no setting 'colour'; seen: it takes queries, keys"):
        begun(plan(pack, "mqt", settings={"colour": 3}), tmp_path, silent)
    with pytest.raises(NotFound, match="variant 'mqqt' not found"):
        begun(plan(pack, "mqqt"), tmp_path / "other", silent)


@pytest.mark.parametrize("variant", ["fastv", "llava_mini", "ppllava"])
def test_questions_that_would_share_a_video_are_refused_before_anything_is_written(
    pack: Path, tmp_path: Path, variant: str
) -> None:
    """Of models that see by the words, in a hook, before the language model or in the reducer."""
    with pytest.raises(BadInput, match=rf"variant {variant} sees by the words.*share a row in .*--no-shared"):
        begun(plan(pack, variant), tmp_path / "run", silent)
    pairs = (Data(str(pack)),)
    with pytest.raises(BadInput, match="seen: pairs, whose sides share a video"):
        begun(plan(pack, variant, data=pairs, objective="dpo"), tmp_path / "run", silent)
    assert not (tmp_path / "run").exists()


def test_dialogues_beside_pairs_are_replayed(pack: Path, tmp_path: Path) -> None:
    """Each pair is a document of its own, though questions share theirs; the log tells both losses."""
    write_micro(tmp_path / "pairs", 60, val_share=0.0, paired=True)
    begun(plan(pack), tmp_path / "start", silent).go()
    data = (Data(str(tmp_path / "pairs"), shared=True), Data(str(pack), 0.5, shared=True))
    made = plan(pack, data=data, objective="dpo", start=str(tmp_path / "start"), accumulate=4)
    told: list[Told] = []
    begun(made, tmp_path / "run", told.append).go()
    assert told[0].losses["dpo"] == pytest.approx(0.6931, abs=1e-3)
    for t in told:
        assert t.losses["dpo"] < t.losses["loss"] < t.losses["replay"]


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that has met the words of pictures alone."""
    root = tmp_path_factory.mktemp("pictures")
    picture = MicroPreset(name="picture", frames=1, acts=("stay",), objects=(1, 1))
    write_micro(root / "data", 12, preset=picture, val_share=0.0)
    begun(plan(root / "data"), root / "run", silent).go()
    return root / "run"


def test_a_start_learns_the_words_that_it_had_not_met(pack: Path, pictures: Path, tmp_path: Path) -> None:
    """Its own words keep their numbers and rows; all of the data's are read, in a process that begins again too."""
    known, then = held(pictures / "tokenizer"), plan(pack, start=str(pictures))
    texts = list(texts_of(opened(pack), dict(finished(pictures).model.codecs)))
    assert " visible" in unread(known, texts)
    begun(then, tmp_path / "then", silent)
    own = held(tmp_path / "then" / "tokenizer")
    assert unread(own, texts) == {}
    assert unread_words(then, tmp_path / "then") == []
    assert known.get_vocab().items() < own.get_vocab().items()
    assert sorted(own.get_vocab().values()) == list(range(len(own)))
    for again in range(2):  # the second goes on from the checkpoint of the first
        fit = begun(then, tmp_path / "then", silent)
        rows = fit.model.outputs()[0]
        assert len(rows) == len(own) > len(known)
        old = finished(pictures).model.outputs()[0]
        assert torch.equal(rows[: len(known)], old) is (not again)
        assert rows[len(known) :].std(dim=1).min() > 0
        fit.go()


def test_words_for_which_a_start_has_no_room_are_named(pack: Path, pictures: Path, tmp_path: Path) -> None:
    room = len(held(pictures / "tokenizer")) + 2
    then = plan(pack, start=str(pictures), vocabulary=room)
    begun(then, tmp_path / "then", silent)
    assert len(held(tmp_path / "then" / "tokenizer")) == room
    words = unread_words(then, tmp_path / "then")
    assert {"visible", "happens"} & set(words)
    assert not {"Where", "at", "red"} & set(words)
    assert words == [w.strip() for w in words]


def test_weights_of_another_run_are_a_start(pack: Path, runs: dict[str, Path], tmp_path: Path) -> None:
    started = begun(plan(pack, start=str(runs["distime"]), seed=5), tmp_path / "run", silent)
    held = finished(runs["distime"]).model.state_dict()
    assert all(torch.equal(v, held[n]) for n, v in started.model.state_dict().items())
    with pytest.raises(BadInput, match="holds another model"):
        begun(plan(pack, "llava_st", start=str(runs["distime"])), tmp_path / "other", silent)
