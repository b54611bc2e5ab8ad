"""A model that follows streams: what it says hangs on nothing that comes later, and what it learned by heart it says.

Models are tiny, and learned three streams or nothing: this proves mechanics only.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from published import CLIPS, clip, commit, of_kind, sample

from reelmill.jobs import fitting
from reelmill.pipelines.scenes.micro_pack import write_micro
from reelmill.schemas.column import Column
from reelmill.schemas.errors import BadInput
from reelmill.schemas.sample import Role, StreamSample, Turn
from reelmill.sinks.dataset import Store
from reelmill.sinks.pack import pack as publish
from reelmill.sinks.publishing.packed import PackedStream
from reelmill.training import ladder
from reelmill.training.answering import Answer
from reelmill.training.assemble import Vocabulary, from_scratch
from reelmill.training.data.shards import Split, opened
from reelmill.training.data.tokenizer import texts_of, trained
from reelmill.training.data.tokens import Tokens
from reelmill.training.documents import Document, packed
from reelmill.training.evals.following import ModelFollower
from reelmill.training.evals.likelihood import Told, fluency
from reelmill.training.evals.model import shown
from reelmill.training.evals.report import Report
from reelmill.training.loop.plan import Data, Plan, Rates
from reelmill.training.running import begun
from reelmill.training.streaming import Stream
from reelmill.training.vlm import VLM

ASK, SAY = Role.USER, Role.ASSISTANT
SAID = (
    ((0.0, ASK, "Tell me when it stops."), (2.5, SAY, "It stops."), (5.0, SAY, "Again.")),
    ((0.0, SAY, "It rolls."), (1.0, ASK, "And now?"), (1.0, SAY, "Still."), (3.0, SAY, "It stops.")),
    ((2.2, SAY, "It rolls."), (2.9, SAY, "Still."), (5.5, SAY, "Nobody sees.")),
)
"""Over frames at 0, 1 to 5 s: answers between two frames, at once, at the last frame, two behind one, one too late."""
FRAMES = 6


def shards(root: Path, count: int, val_share: float = 0.0) -> Path:
    """Streams of unlike clips, their dialogues in turn."""
    store, clips = Store(root), [clip(i) for i in range(count)]
    commit(store, "clips-t", CLIPS, [(c.parent_key, [c]) for c in clips])
    rows = []
    for i, made in enumerate(clips):
        said = SAID[i % len(SAID)]
        turns = tuple(Turn(role, text, (), (), ()) for _, role, text in said)
        own = {"turns_at_s": tuple(t for t, *_ in said), "watch_from_s": 0.0, "watch_until_s": 6.0}
        rows.append((made.key, [of_kind(sample(made, i, turns=turns, task="alert"), StreamSample, **own)]))
    view = commit(store, "streams-t", Column.of("samples", tuple[StreamSample, ...]), rows)
    publish(store, view, val_share=val_share)
    return root / "streams-t" / "1"


@pytest.fixture(scope="module")
def split(tmp_path_factory: pytest.TempPathFactory) -> Split:
    return opened(shards(tmp_path_factory.mktemp("streams"), len(SAID)), "train")


def streams(split: Split) -> list[PackedStream]:
    """In the order of SAID."""
    found = [s for s in map(split.sample, range(len(split))) if isinstance(s, PackedStream)]
    return sorted(found, key=lambda s: s.media.digest)


def follower(split: Split, name: str = "videollm_online", learning: int = 0) -> ModelFollower:
    """A drawn model, or one that learned the streams of the split for some steps."""
    tokenizer = trained(texts_of(split, {}), slots=("time", "box"))
    tokens = Tokens(tokenizer, ladder.XS.image, max_frames=FRAMES)
    ids = {slot: tokenizer.convert_tokens_to_ids(f"<{slot}>") for slot in ("time", "box")}
    vocabulary = Vocabulary(len(tokenizer), tokens.visual_id, ids)
    model, variant = from_scratch(name, ladder.XS, vocabulary, frames=FRAMES)
    pack = packed([document(split, tokens, s) for s in streams(split)])
    optimiser = torch.optim.Adam(model.parameters(), 3e-3)
    for _ in range(learning):
        loss = variant.objective(model, pack)
        optimiser.zero_grad()
        loss.total.backward()
        optimiser.step()
    return ModelFollower(model.eval(), tokens, split)


def document(split: Split, tokens: Tokens, stream: PackedStream) -> Document:
    return shown(tokens.document([stream]), tokens, split, split.numbers[stream.key], stream)


@pytest.fixture(scope="module")
def fresh(split: Split) -> ModelFollower:
    return follower(split)


@pytest.fixture(scope="module")
def learned(split: Split) -> ModelFollower:
    return follower(split, learning=60)


def told_of(one: ModelFollower) -> list[tuple[Told | None, ...]]:
    return [found.answers for found in one.follow(streams(one.split))]


def test_what_was_learned_by_heart_is_followed_exactly(learned: ModelFollower, fresh: ModelFollower) -> None:
    told = [t for own in told_of(learned) for t in own if t is not None]
    assert [(t.off, t.off_s, fluency(t)) for t in told] == [(0, 0.0, 1.0)] * 6
    assert max(-min(t.log_p) for t in told) < 0.5
    assert not any(fluency(t) == 1 for own in told_of(fresh) for t in own if t is not None)
    assert all(found.quiet == found.due for found in learned.follow(streams(learned.split)))
    assert told_of(learned) == told_of(learned)


def test_silence_is_counted_in_places_from_the_turn_before(fresh: ModelFollower) -> None:
    """Behind a question and each frame until the reply; turns that are one reply, or that no frame shows, have none."""
    silent = [[t and t.silent for t in own] for own in told_of(fresh)]
    assert silent == [[4, 2], [1, 1, 2], [4, None, None]]
    # of the first one, behind the frame before its question too; of the others, to the end
    assert [f.due for f in fresh.follow(streams(fresh.split))] == [1 + 3 + 1, 1 + 1 + 2, 3 + 2]


def test_it_says_what_it_learned_where_it_is_due(learned: ModelFollower) -> None:
    first, second, _ = (learned.replies(s) for s in streams(learned.split))
    quiet = [(0.0, None), (0.0, None), (1.0, None), (2.0, None)]
    assert first == [*quiet, (3.0, "It stops."), (4.0, None), (5.0, "Again.")]
    assert second[:3] == [(0.0, "It rolls."), (1.0, None), (1.0, "Still.")]


@dataclass
class Otherwise(ModelFollower):
    """Sees noise from a frame on."""

    since: int = 0

    def document(self, stream: PackedStream) -> Document:
        found = super().document(stream)
        frames = found.frames.copy()
        frames[self.since :] = np.random.default_rng(7).integers(0, 256, frames[self.since :].shape)
        return replace(found, frames=frames)


@pytest.mark.parametrize("name", ["videollm_online", "videollm_mod"])
def test_what_is_said_hangs_on_no_later_frame(split: Split, name: str) -> None:
    """A model that must speak at every place."""
    one = replace(follower(split, name), silence=1.0)
    for stream in streams(split)[:2]:
        true = one.replies(stream, longest=4)
        assert all(text is not None for _, text in true)
        for since in (2, 5):
            other = Otherwise(one.model, one.tokens, split, 1.0, since=since).replies(stream, longest=4)
            assert [r for r in other if r[0] < since] == [r for r in true if r[0] < since]
            assert other != true


@pytest.mark.parametrize("name", ["videollm_online", "videollm_mod", "tc_llava", "distime", "llava_hr"])
def test_piece_by_piece_is_the_row_at_once(split: Split, name: str) -> None:
    """At each place, how likely the likeliest token is; tc_llava counts frames in its positions."""
    one = follower(split, name)
    for stream in streams(split):
        watched = [said(place) for place in one.watched(stream)]
        np.testing.assert_allclose(watched, at_once(one, stream), atol=1e-4)
        assert len(set(watched)) > 1


def said(stream: Stream) -> float:
    return stream.say(end=0, longest=1).logs[0]


@torch.no_grad()
def at_once(one: ModelFollower, stream: PackedStream) -> list[float]:
    """By the states of one pass: before a token of silence, and before the first of a reply."""
    model: VLM = one.model
    pack = packed([document(one.split, one.tokens, stream)])
    found = model.worded(model(pack))
    logits = found.states @ model.classes().weight.T
    logits[:, model.visual_id] = -torch.inf
    best = logits.log_softmax(-1).max(-1).values
    kept = (pack.labels >= 0).nonzero().squeeze(1)
    reply = (pack.labels == pack.ids)[kept]
    goes_on = torch.cat([torch.tensor([False]), reply[1:] & reply[:-1] & (kept.diff() == 1)])
    return [float(b) for b in best[~goes_on]]


@dataclass
class Scripted(ModelFollower):
    """Speaks once it has seen so many frames."""

    seen: int = 99

    def say(self, stream: Stream, longest: int) -> Answer:
        return Answer([1] * longest) if stream.seen >= self.seen else Answer()


@pytest.mark.parametrize(
    ("seen", "expected"),
    [
        (99, [[(2, 2.0), (1, 1.0)], [(1, 1.0), (2, 2.0), (3, 3.0)], [(3, 3.0)]]),  # until the next turn, or the end
        (5, [[(1, 1.0), (-1, -1.0)], [(1, 1.0), (2, 2.0), (1, 1.0)], [(1, 1.0)]]),
        (0, [[(-3, -3.0), (-1, -1.0)], [(0, 0.0), (0, 0.0), (-1, -1.0)], [(-3, -3.0)]]),
    ],
    ids=["never", "late", "always"],
)
def test_time_by_hand(fresh: ModelFollower, seen: int, expected: list[list[tuple[int, float]]]) -> None:
    told = told_of(Scripted(fresh.model, fresh.tokens, fresh.split, seen=seen))
    assert [[(t.off, t.off_s) for t in own if t is not None] for own in told] == expected


def test_below_its_threshold_silence_is_not_said(learned: ModelFollower) -> None:
    first = told_of(replace(learned, silence=1.0))[0][0]
    assert first is not None
    assert (first.off, first.off_s) == (-3, -3.0)


# ---- as a verb -------------------------------------------------------------------------------------------------------


def run_of(variant: str, place: Path, run: Path) -> Path:
    plan = Plan(variant, (Data(str(place)),), steps=2, tokens=400, frames=FRAMES, rates=Rates(warmup=1))
    begun(plan, run, lambda _: None).go()
    return run


@pytest.fixture(scope="module")
def exam(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return shards(tmp_path_factory.mktemp("exam"), 9, val_share=0.3)


def test_an_exam_over_streams_has_their_scores_with_floors(exam: Path, tmp_path: Path) -> None:
    run = run_of("videollm_online", exam, tmp_path / "run")
    fitting.evaluate_run(run, fitting.Exam(str(exam), silence=0.5), tmp_path)
    report = Report.load(run)
    found = {f.measure: f for f in report.figures() if f.by == "all"}
    assert set(found) == {"nll", "lm_ppl", "time_diff_s", "fluency", "lm_right", "quiet"}
    assert found["time_diff_s"].prior is not None
    assert found["fluency"].prior is not None
    assert (report.facts["variant"], report.facts["silence"]) == ("videollm_online", "0.5")
    assert "fluency" in (run / "evaluation.html").read_text()


def test_a_model_of_whole_videos_is_not_asked_to_watch(exam: Path, tmp_path: Path) -> None:
    micro = tmp_path / "micro"
    write_micro(micro, 6, val_share=0.3)
    run = run_of("pllava", micro, tmp_path / "run")
    with pytest.raises(BadInput, match="seen: its reducer joins or compares frames; do: choose a variant") as refused:
        fitting.evaluate_run(run, fitting.Exam(str(exam)), tmp_path)
    assert "\n" not in str(refused.value)
    assert not (run / "evaluation.json").exists()
