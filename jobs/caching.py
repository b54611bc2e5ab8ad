"""`cache stats` and `cache prune`: what a store keeps of models' replies, and how to forget some of them."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field

from rich.console import Console

from reelmill.annotators.engines.batch_notes import forget_answered
from reelmill.annotators.engines.profile import EngineProfile, Price
from reelmill.annotators.engines.replies import Kept, Replies
from reelmill.annotators.engines.spending import Usage
from reelmill.jobs.inspecting import lined, opened
from reelmill.jobs.progress import wide_console
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
    used: Usage = field(default_factory=Usage)

    def add(self, kept: Kept, price: Price | None) -> None:
        self.replies += 1
        self.size += kept.size
        self.used += Usage.of(kept.reply, price)


def stats(store: Folder, profile: EngineProfile) -> None:
    """A line for each engine and revision."""
    sums: dict[tuple[str, str], _Sum] = {}
    for kept in _replies(store).all():
        sums.setdefault((kept.engine, kept.revision), _Sum()).add(kept, profile.price_of(kept.engine))
    table = lined("engine", "revision", "replies", "MB", "tokens in", "tokens out", "cost")
    for (engine, revision), one in sorted(sums.items()):
        cost = f"{one.used.cost:.4f}" if profile.price_of(engine) else "no price known"
        tokens = str(one.used.tokens_in), str(one.used.tokens_out)
        table.add_row(engine, revision, str(one.replies), f"{one.size / 1e6:.1f}", *tokens, cost)
    wide_console().print(table if sums else "no reply is kept here")


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
    if delete:
        forget_answered(replies.folder, engine)  # else what was forgotten would come back from the provider's files
    done = "forgotten" if delete else "would be forgotten; add --delete to do it"
    Console().print(f"{count} replies, {size / 1e6:.1f} MB: {done}", highlight=False)
