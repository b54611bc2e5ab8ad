"""Micro clips and pictures as documents in memory, drawn by as many processes as there are cores.

Published shards are read, checked and tokenised by one thread, which is enough for a model that fills a GPU and far too
slow for one that is learned in seconds. The samples, their words and the documents are those of every run.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from reelmill.pipelines.scenes.micro import MicroPreset, micro_clip
from reelmill.pipelines.scenes.micro_pack import write_micro
from reelmill.pipelines.scenes.micro_samples import clip_digest, samples, stored
from reelmill.sinks.publishing.packed import Media, PackedSample, packed_sample
from reelmill.training.codecs.text import Text
from reelmill.training.data.form import PLAIN
from reelmill.training.data.frames import stacked
from reelmill.training.data.prefetch import Prefetch, pinned
from reelmill.training.data.shards import opened
from reelmill.training.data.tokenizer import loaded, texts_of, trained
from reelmill.training.data.tokens import Tokens
from reelmill.training.documents import Document, Pack, packed
from reelmill.training.variants import small

SLOTS = ("time", "box", "x", "y")
LABEL = "micro@bench"
_SIDE_PX = 24
"""Of a micro clip as it is; larger ones are drawn larger by as much."""
_PROCESSES, _SHARES = 14, 4
_WORDS_FROM = 300
"""Clips whose words a vocabulary is made of: they say all that there is to say."""


def preset(size_px: int, *, pictures: bool) -> MicroPreset:
    """One thing; in a picture it is there, in a clip it appears or glides for 2 to 5 of 16 frames (learning.py)."""
    times = size_px // _SIDE_PX or 1
    acts = ("stay",) if pictures else ("appear", "appear", "move")
    return MicroPreset(
        frames=1 if pictures else 16,
        size_px=size_px,
        objects=(1, 1),
        acts=acts,
        radius_px=(3 * times, 5 * times),
        move_px=12 * times,
    )


@dataclass(frozen=True, slots=True)
class Part:
    """What one process draws: `count` clips from `first` on. `tasks` begin the names of those that are asked about,
    `together` puts all questions about a clip in one document."""

    words: Path
    size_px: int
    pictures: bool
    seed: int
    first: int
    count: int
    codecs: tuple[str, ...] = ("dist",)
    tasks: tuple[str, ...] = ("w",)
    together: bool = True
    boxes: int = 4


def writing(words: Path, codec: str, size_px: int) -> Tokens:
    """How samples are written with a codec of `small`; its weights are not asked."""
    spell: Mapping[str, Any] = small.CODECS[codec](8, 1.0)
    return Tokens(loaded(words, PLAIN, SLOTS), size_px, codecs={"time": Text(1), "box": Text(1), **spell})


def documents(part: Part) -> dict[str, list[Document]]:
    """Documents by codec, which share their pixels."""
    by_codec = {codec: writing(part.words, codec, part.size_px) for codec in part.codecs}
    found: dict[str, list[Document]] = {codec: [] for codec in part.codecs}
    for index in range(part.first, part.first + part.count):
        asked, jpegs = _asked(part, index)
        pixels = stacked(jpegs, part.size_px)
        for codec, tokens in by_codec.items():
            for one in [asked] if part.together else [[sample] for sample in asked]:
                found[codec].append(replace(tokens.document(one), frames=pixels))
    return found


def _asked(part: Part, index: int) -> tuple[list[PackedSample], Sequence[bytes]]:
    how = preset(part.size_px, pictures=part.pictures)
    clip = micro_clip(part.seed, index, how)
    frames = stored(clip)
    made = samples(clip, frames, clip_digest(part.seed, index, how), part.seed, LABEL, part.boxes)
    kept = [packed_sample(s, LABEL, Media.FRAMES, frames.shown) for s in made if s.task.startswith(part.tasks)]
    return kept, frames.jpegs


def drawn(part: Part, *, alone: bool) -> dict[str, list[Document]]:
    """All of a part, by several processes; in this one with `alone`."""
    if alone:
        return documents(part)
    processes = max(1, min(_PROCESSES, len(os.sched_getaffinity(0)) - 1))
    each = -(-part.count // (processes * _SHARES))
    firsts = range(part.first, part.first + part.count, each)
    parts = [replace(part, first=at, count=min(each, part.first + part.count - at)) for at in firsts]
    found: dict[str, list[Document]] = {codec: [] for codec in part.codecs}
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        for made in pool.map(documents, parts):
            for codec, own in made.items():
                found[codec] += own
    return found


def words(work: Path, size_px: int) -> Path:
    """A folder with a tokenizer over everything that is said, whatever the codec."""
    folder = work / f"words-{size_px}"
    if not folder.exists():
        texts = []
        for pictures in (True, False):
            place = work / f"{folder.name}-{'pictures' if pictures else 'clips'}"
            write_micro(place, _WORDS_FROM, seed=90, preset=preset(size_px, pictures=pictures), val_share=0.0)
            texts += list(texts_of(opened(place), {"time": Text(1), "box": Text(1)}))
        trained(texts, slots=SLOTS).save_pretrained(folder)
    return folder


class Memory:
    """Rows of documents that are in memory, in another order each time round, for ever; made ahead by a thread."""

    def __init__(
        self, held: Sequence[Document], counts: Callable[[Document], int], row: int, *, seed: int, pin: bool
    ) -> None:
        self.held, self.row, self.seed, self.pin = held, row, seed, pin
        self.lengths = [counts(document) for document in held]

    def __iter__(self) -> Iterator[Pack]:
        with Prefetch(self._made(), 4) as ahead:
            yield from ahead

    def _made(self) -> Iterator[Pack]:
        draw, order, chosen, room = random.Random(self.seed), list(range(len(self.held))), list[Document](), self.row
        while True:
            draw.shuffle(order)
            for at in order:
                if self.lengths[at] > room and chosen:
                    yield pinned(packed(chosen)) if self.pin else packed(chosen)
                    chosen, room = [], self.row
                chosen.append(self.held[at])
                room -= self.lengths[at]

    def state(self) -> Mapping[str, Any]:
        return {}

    def load(self, state: Mapping[str, Any]) -> None:
        """Nothing to go on from."""
