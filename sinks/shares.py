"""What was asked of each input of a table recipe, and what came: noted beside the dataset, shown by run, card and sql.

>>> shares_said(0.5, 0.25)
'50.0 % asked, 25.0 % got'
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from reelmill.sinks.dataset import Dataset
from reelmill.sinks.state.records import read_record, record_bytes

REASONS = ("not_drawn", "over_quota", "over_source_cap", "over_clip_cap")
"""Why a sample is left out of a mix."""
SHARES = pa.schema(
    [("input", pa.string()), ("asked", pa.string())]
    + [(n, pa.int64()) for n in ("available", "drawn", *REASONS)]
    + [(n, pa.float64()) for n in ("asked_share", "got_share")]
)
"""One row for each input. `available` = `drawn` + what was left out by each reason; shares are of what was drawn."""
_NAME = "shares.json"


def note_shares(dataset: Dataset, shares: Sequence[dict[str, Any]]) -> None:
    """Keep what was asked and what came beside the dataset; it is written anew whenever all is decided again."""
    dataset.ledger.objects.put(_NAME, record_bytes({"shares": list(shares)}))


def shares_of(dataset: Dataset) -> pa.Table:
    """What was noted last, empty for a dataset that no table recipe made."""
    try:
        noted = read_record(dataset.ledger.objects, dataset.label, _NAME, "delete it and run the recipe again")
    except FileNotFoundError:
        noted = {"shares": []}
    return pa.Table.from_pylist(noted["shares"], schema=SHARES)


def shares_said(asked: float | None, got: float | None) -> str:
    """Two shares as people read them; a share of nothing has no number."""
    return ", ".join(f"{_percent(value)} {word}" for value, word in ((asked, "asked"), (got, "got")))


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.1f} %"


def left_out(row: dict[str, Any]) -> str:
    """How many samples of one input were left out, by reason; '' for none."""
    return ", ".join(f"{row[reason]} {reason}" for reason in REASONS if row[reason])
