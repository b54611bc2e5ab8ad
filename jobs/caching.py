"""`cache stats` and `cache prune`: what a store keeps of models' replies, and how to forget some of them."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table

from reelmill.annotators.engines.profile import EngineProfile
from reelmill.annotators.engines.replies import Kept, Replies
from reelmill.jobs.inspecting import opened
from reelmill.pipelines._recipe import Place
from reelmill.schemas.errors import BadInput
from reelmill.sinks.state.place import Folder

_DAY_S = 86_400.0


def _replies(store: Folder) -> Replies:
    return Replies(Place(opened(store).root, (), "").cache / "replies")


@dataclass
class _Sum:
    """Of one engine and revision."""

    replies: int = 0
    size: int = 0
    tokens_in: int = 0
    tokens_out: int = 0

    def add(self, kept: Kept) -> None:
        self.replies += 1
        self.size += kept.size
        self.tokens_in += kept.reply.tokens_in
        self.tokens_out += kept.reply.tokens_out


def stats(store: Folder, profile: EngineProfile) -> None:
    """A line for each engine and revision."""
    sums: dict[tuple[str, str], _Sum] = {}
    for kept in _replies(store).all():
        sums.setdefault((kept.engine, kept.revision), _Sum()).add(kept)
    table = Table("engine", "revision", "replies", "MB", "tokens in", "tokens out", "cost")
    for (engine, revision), one in sorted(sums.items()):
        price = profile.price_of(engine)
        cost = f"{price.of(one.tokens_in, one.tokens_out):.4f}" if price else "no price known"
        size = f"{one.size / 1e6:.1f}"
        table.add_row(engine, revision, str(one.replies), size, str(one.tokens_in), str(one.tokens_out), cost)
    Console().print(table if sums else "no reply is kept here")


def prune(store: Folder, engine: str, older_than_days: float, same: int, *, delete: bool) -> None:
    """Forget the replies that every given condition fits. Raises BadInput where none is given."""
    if not (engine or older_than_days or same):
        raise BadInput("cache prune", seen="no condition", do="give --engine, --older-than or --same")
    replies, now = _replies(store), time.time()
    often = Counter(kept.reply.text for kept in replies.all()) if same else Counter[str]()
    count = size = 0
    for kept in replies.all():
        if engine and kept.engine != engine:
            continue
        if older_than_days and now - kept.at_s < older_than_days * _DAY_S:
            continue
        if same and often[kept.reply.text] <= same:
            continue
        count, size = count + 1, size + kept.size
        if delete:
            kept.path.unlink(missing_ok=True)
    done = "forgotten" if delete else "would be forgotten; add --delete to do it"
    Console().print(f"{count} replies, {size / 1e6:.1f} MB: {done}", highlight=False)
