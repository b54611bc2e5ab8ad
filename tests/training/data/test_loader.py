"""Packs are the published samples, each once an epoch, and any state is taken up to the byte."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import json
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import spelling
import torch
from published import stocked
from spelling import SLOTS, TEXTS

from reelmill.schemas.errors import BadInput, Corrupt
from reelmill.sinks.pack import pack as publish
from reelmill.sinks.shards import Limits
from reelmill.training.data import prefetch
from reelmill.training.data.form import PLAIN
from reelmill.training.data.frames import Kept, stacked
from reelmill.training.data.loader import Loader, Settings, Source
from reelmill.training.data.prefetch import Prefetch, pinned
from reelmill.training.data.shards import Split, opened
from reelmill.training.data.tokenizer import loaded, trained
from reelmill.training.data.tokens import Tokens
from reelmill.training.documents import Document, Pack, packed

LENGTH = 160


def counts(document: Document) -> int:
    """Four visual tokens a frame."""
    return len(document.ids) - 1 + 4 * len(document.frames)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two shards and a bit of two samples for each of six clips, and a tokenizer beside them."""
    root = tmp_path_factory.mktemp("data")
    store, view = stocked(root)
    publish(store, view, val_share=0.0, limits=Limits(samples=5))
    trained(TEXTS, slots=("time", "box"), kind="bytes", vocabulary=330).save_pretrained(root / "tokenizer")
    return root


@pytest.fixture(scope="module")
def split(folder: Path) -> Split:
    return opened(folder / "grounding-t" / "1")


@pytest.fixture(scope="module")
def tokens(folder: Path) -> Tokens:
    return tokens_in(folder)


def tokens_in(folder: Path) -> Tokens:
    return Tokens(loaded(folder / "tokenizer", PLAIN, ("time", "box")), 16, codecs=SLOTS, max_frames=3)


def loader(split: Split, tokens: Tokens, *, shared: bool = False, threads: int = 2, **changes: Any) -> Loader:
    settings = dataclasses.replace(Settings(length=LENGTH, shuffle=4, waiting=9, epochs=3), **changes)
    return Loader([Source(split, shared=shared)], tokens, settings, counts, threads=threads)


def digest(pack: Pack) -> str:
    """Every byte of a pack."""
    seen = hashlib.sha256(repr(pack.keys).encode())
    for name in pack.__slots__:
        value = getattr(pack, name)
        if isinstance(value, torch.Tensor):
            seen.update(f"{name} {value.dtype} {tuple(value.shape)}".encode() + value.numpy().tobytes())
    for name, slots in pack.slots.items():
        seen.update(name.encode() + slots.at.numpy().tobytes() + slots.values.numpy().tobytes())
    return seen.hexdigest()


def test_an_epoch_is_every_sample_once(split: Split, tokens: Tokens) -> None:
    packs = list(loader(split, tokens, epochs=1))
    keys = [key for pack in packs for document in pack.keys for key in document]
    assert sorted(keys) == [split.sample(n).key for n in range(len(split))]
    assert len(packs) > 1


def test_packs_are_their_documents(split: Split, tokens: Tokens) -> None:
    """What threads and packing gave equals what one sample after another gives."""
    number_of = {split.sample(n).key: n for n in range(len(split))}
    for pack in loader(split, tokens, epochs=1):
        alone = []
        for (key,) in pack.keys:
            sample = split.sample(number_of[key])
            members = [f.member for f in tokens.shown(sample) if f.member]
            frames = stacked(split.jpegs(number_of[key], members), tokens.size_px)
            alone.append(dataclasses.replace(tokens.document([sample]), frames=frames))
        assert sum(map(counts, alone)) <= LENGTH
        assert digest(pack) == digest(packed(alone))
        assert pack.pixels.float().std() > 1


@pytest.mark.parametrize("shared", [False, True])
def test_any_state_is_taken_up_to_the_byte(split: Split, tokens: Tokens, shared: bool) -> None:
    """Stopped after every pack of three epochs, with packs ready that nobody took and documents waiting for a row."""
    whole = loader(split, tokens, shared=shared)
    seen, states = [], [json.dumps(whole.state())]
    for pack in whole:
        seen.append(digest(pack))
        states.append(json.dumps(whole.state()))
    assert any(json.loads(s)["at"]["orders"][0]["waiting"] for s in states[1:])
    assert any(json.loads(s)["at"]["waiting"] for s in states[1:])
    for stop in range(0, len(states), 2):
        rest = loader(split, tokens, shared=shared, threads=1)
        rest.load(json.loads(states[stop]))
        assert [digest(p) for p in rest] == seen[stop:]


def test_processes_take_the_rows_of_one_stream_in_turn(split: Split, tokens: Tokens) -> None:
    """A state of two is taken up by one, and none is of half a round."""
    whole = [digest(p) for p in loader(split, tokens)]
    first, second = (_own(split, tokens, (number, 2)) for number in (0, 1))
    packs = [[digest(p) for p in itertools.islice(each, 3)] for each in (first, second)]
    assert [d for pair in zip(*packs, strict=True) for d in pair] == whole[:6]
    assert json.dumps(first.state()) == json.dumps(second.state())
    alone = loader(split, tokens)
    alone.load(json.loads(json.dumps(first.state())))
    assert [digest(p) for p in alone] == whole[6:]


def test_rows_that_are_no_whole_round_are_left(split: Split, tokens: Tokens) -> None:
    whole, of = len(list(loader(split, tokens))), 5
    assert whole % of
    assert [len(list(_own(split, tokens, (n, of)))) for n in range(of)] == [whole // of] * of


def _own(split: Split, tokens: Tokens, own: tuple[int, int]) -> Loader:
    settings = Settings(length=LENGTH, shuffle=4, waiting=9, epochs=3)
    return Loader([Source(split)], tokens, settings, counts, threads=1, own=own)


def test_a_loader_goes_on_where_its_loop_was_left(split: Split, tokens: Tokens) -> None:
    whole = [digest(p) for p in loader(split, tokens)]
    halves = loader(split, tokens)
    head = [digest(p) for p in itertools.islice(halves, 4)]
    assert head + [digest(p) for p in halves] == whole


def test_a_fresh_process_takes_it_up(folder: Path, split: Split, tokens: Tokens) -> None:
    """Where sets have other orders; it also trains the tokenizers once more, which are the same to the byte."""
    first = loader(split, tokens)
    head = [digest(p) for p in itertools.islice(first, 5)]
    (folder / "state.json").write_text(json.dumps(first.state()))
    places = [str(Path(__file__).parent), str(Path(spelling.__file__).parent)]
    code = (
        f"import sys, json, pathlib; sys.path[:0] = {places!r}; from test_loader import *\n"
        f"folder = pathlib.Path({str(folder)!r})\n"
        "rest = loader(opened(folder / 'grounding-t' / '1'), tokens_in(folder))\n"
        "rest.load(json.loads((folder / 'state.json').read_text()))\n"
        "print(*[digest(p) for p in rest])\n"
        "print(*[tokenizer_digest(kind) for kind in ('word', 'bytes')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    rest, trained_there = done.stdout.splitlines()
    assert head + rest.split() == [digest(p) for p in loader(split, tokens)]
    assert trained_there.split() == [tokenizer_digest(kind) for kind in ("word", "bytes")]


def tokenizer_digest(kind: str) -> str:
    """Of the file that a tokenizer trained on our texts is saved as."""
    made = trained([*TEXTS] * 5, slots=("time",), kind=kind, vocabulary=300)
    return hashlib.sha256(made.backend_tokenizer.to_str().encode()).hexdigest()


def test_samples_of_a_clip_come_together(split: Split, tokens: Tokens) -> None:
    packs = list(loader(split, tokens, shared=True, epochs=1))
    documents = [keys for pack in packs for keys in pack.keys]
    assert sorted(map(len, documents)) == [2] * 6
    assert sorted(k for keys in documents for k in keys) == [split.sample(n).key for n in range(len(split))]
    assert all(pack.frame.shape[0] == 3 * pack.documents for pack in packs)  # the video once for both
    assert set(packs[0].branch.tolist()) == {0, 1, 2}
    few = Loader([Source(split, shared=True, branches=1)], tokens, Settings(length=LENGTH, epochs=1), counts)
    assert {len(keys) for pack in few for keys in pack.keys} == {1}


def test_sources_have_their_shares(split: Split, tokens: Tokens) -> None:
    """The second source shows its clips together, so that it can be told from the first."""
    sources = [Source(split, weight=3.0), Source(split, weight=1.0, shared=True)]
    stream = Loader(sources, tokens, Settings(length=LENGTH, waiting=4), counts)
    documents = [keys for pack in itertools.islice(stream, 40) for keys in pack.keys]
    share = sum(len(keys) == 1 for keys in documents) / len(documents)
    assert share == pytest.approx(0.75, abs=4 / len(documents))


def test_parts_share_an_epoch(split: Split, tokens: Tokens) -> None:
    seen = [
        [k for p in loader(split, tokens, epochs=1, part=part, parts=2) for d in p.keys for k in d] for part in (0, 1)
    ]
    assert sorted(seen[0] + seen[1]) == [split.sample(n).key for n in range(len(split))]


def test_kept_frames_are_the_same_and_bounded(split: Split, tokens: Tokens, monkeypatch: pytest.MonkeyPatch) -> None:
    """Kept ones are read once, others every epoch; a budget of 5,000 bytes has room for two of three."""
    whole = [digest(p) for p in loader(split, tokens)]
    read: list[int] = []
    jpegs = Split.jpegs

    def counted(self: Split, number: int, members: Sequence[str]) -> list[bytes]:
        read.append(number)
        return jpegs(self, number, members)

    monkeypatch.setattr(Split, "jpegs", counted)
    settings = Settings(length=LENGTH, shuffle=4, waiting=9, epochs=3)
    for keep_mb, reads in ((1, len(split)), (0, 3 * len(split))):
        read.clear()
        stream = Loader([Source(split)], tokens, settings, counts, threads=1, keep_mb=keep_mb)
        assert [digest(p) for p in stream] == whole
        assert len(read) == reads
    kept = Kept[bytes](5_000)
    made = [kept.of(n, partial(bytes, 2_304 + n), len) for n in (0, 1, 2, 0, 2)]
    assert kept.bytes == 4_609
    assert made[0] is made[3]
    assert made[2] is not made[4]  # made anew, as there is no room for it


def test_documents_over_length_are_refused_by_name(split: Split, tokens: Tokens) -> None:
    def long_first(document: Document) -> int:
        return 999 if document.keys == (split.sample(3).key,) else 50

    stream = Loader([Source(split)], tokens, Settings(length=100, epochs=2), long_first)
    keys = [k for pack in stream for document in pack.keys for k in document]
    assert stream.refused == {split.sample(3).key: 999}
    assert len(keys) == 2 * (len(split) - 1)


def test_rows_that_nothing_fits_are_an_error_and_not_a_silence(split: Split, tokens: Tokens) -> None:
    with pytest.raises(BadInput, match=r"no document fits into a row of 20 tokens; seen: the shortest of \d+ has"):
        next(iter(loader(split, tokens, length=20, epochs=None)))


@pytest.mark.parametrize("changes", [{"seed": 1}, {"length": 200}, {"waiting": 6}, {"shuffle": 5}])
def test_a_state_of_other_settings_is_refused(split: Split, tokens: Tokens, changes: dict[str, Any]) -> None:
    state = loader(split, tokens).state()
    with pytest.raises(BadInput, match="resume with the data and settings"):
        loader(split, tokens, **changes).load(state)


# --- threads ---


def ours() -> list[threading.Thread]:
    return [t for t in threading.enumerate() if t.name.startswith(("prefetch", "decode"))]


def test_threads_end_with_the_loop_however_it_ends(split: Split, tokens: Tokens) -> None:
    assert len(list(loader(split, tokens, epochs=1))) > 0
    assert ours() == []
    left = iter(loader(split, tokens))
    next(left)
    assert ours() != []
    left.close()  # type: ignore[attr-defined]
    assert ours() == []
    for _ in loader(split, tokens):
        break
    assert ours() == []


def test_an_error_of_a_worker_reaches_the_loop(split: Split, tokens: Tokens, tmp_path: Path) -> None:
    """A frame that was overwritten after the pack was opened."""
    for name in split.shards:
        place = tmp_path / name
        place.parent.mkdir(exist_ok=True)
        data = (split.root / name).read_bytes()
        place.write_bytes(data.replace(b"\xff\xd8\xff\xe0", b"\0\0\0\0"))
    broken = dataclasses.replace(split, root=tmp_path)
    with pytest.raises(Corrupt, match="a stored frame"):
        list(loader(broken, tokens))
    assert ours() == []


def test_no_more_than_the_depth_is_made_ahead() -> None:
    made, taken = [], threading.Semaphore(0)

    def numbers() -> Iterator[int]:
        for n in range(10):
            made.append(n)
            taken.release()
            yield n

    with Prefetch(numbers(), 2) as ahead:
        for n in range(10):
            assert next(ahead) == n
            assert len(made) <= n + 1 + 2 + 1  # those that are ready, and the one in hand
        with pytest.raises(StopIteration):
            next(ahead)


def test_waiting_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = itertools.count()
    monkeypatch.setattr(prefetch, "time", SimpleNamespace(perf_counter=lambda: float(next(clock))))
    with Prefetch(iter("abc"), 2) as ahead:
        assert list(ahead) == ["a", "b", "c"]
    assert ahead.waited_s == 4.0  # a tick for each item, and one for the end


def test_the_time_waited_adds_up_over_loops(split: Split, tokens: Tokens) -> None:
    stream = loader(split, tokens)
    list(itertools.islice(stream, 2))
    before = stream.waited_s
    list(stream)
    assert stream.waited_s > before > 0


@pytest.mark.skipif(not torch.cuda.is_available(), reason="memory is pinned for CUDA alone")
def test_pinned_packs_are_the_same(split: Split, tokens: Tokens) -> None:
    for pack in loader(split, tokens, epochs=1):
        same = pinned(pack)
        assert digest(same) == digest(pack)
        assert same.pixels.is_pinned()
        assert all(s.at.is_pinned() for s in same.slots.values())


def test_frames_come_in_the_order_of_their_times(split: Split, tokens: Tokens) -> None:
    for pack in loader(split, tokens, epochs=1):
        for number in range(pack.documents):
            times_s = pack.time_s[pack.sample == number].numpy()
            assert np.array_equal(times_s, [1.0, 3.0, 5.0])
