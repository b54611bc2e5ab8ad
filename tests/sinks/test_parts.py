"""Two ways to the files of a commit: from plain rows, and from the table that steps gave. They give the same bytes."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reelmill.annotators.annotator import VERDICT
from reelmill.annotators.cut import CLIPS
from reelmill.annotators.events import EVENTS
from reelmill.annotators.tubes import TUBES, TUBES_NOTE
from reelmill.schemas import arrow
from reelmill.schemas.column import KEY, Column
from reelmill.schemas.event import Event, EventKind, Proposal
from reelmill.schemas.span import Span
from reelmill.schemas.tube import Box
from reelmill.schemas.verdict import ACCEPTED, Verdict, rejected
from reelmill.sinks.parts import has_new_frames, part_files, table_files

KEEPS = (Column.of("note", str), Column.of("box", Box), Column.of("counts", tuple[int, ...]))
NO = rejected("look", "dark", "luma 3 of 255")


def an_event(number: int, verdict: Verdict) -> Event:
    proposals = (Proposal("tubes", Span(0.0, 1.0), 0.5), Proposal("change", None, 0.5))[: number % 3]
    span = Span(0.0, number + 1.0)
    return Event(f"e{number}", "k", EventKind.MOVES, "t", "it", "it moves", span, 0.5, proposals, "rules", verdict)


def a_row(key: str, refused: bool, events: list[Verdict], bare: bool) -> dict[str, Any]:
    """A row as it is when the last step is done; a refused one may hold what an earlier step made."""
    made = [arrow.plain(an_event(i, v)) for i, v in enumerate(events)]
    kept: dict[str, Any] = {"note": key * 2, "box": arrow.plain(Box(0.0, 0.0, 1.0, 2.0)), "counts": [1, 2]}
    own = dict.fromkeys(kept) if bare else kept
    verdict = arrow.plain(NO) if refused else None
    return {"key": key, **own, "events": None if bare and refused else made, "verdict": verdict}


ROWS = st.lists(
    st.builds(
        a_row,
        st.text("abz23", min_size=1, max_size=4),
        st.booleans(),
        st.lists(st.sampled_from([ACCEPTED, NO]), max_size=3),
        st.booleans(),
    ),
    unique_by=lambda row: row["key"],
    max_size=6,
)


def as_table(rows: list[dict[str, Any]], explode: Column | None) -> pa.Table:
    columns = [*KEEPS, *((explode,) if explode else ())]
    return arrow.cast_rows(rows, pa.schema([KEY.field, *(c.stored for c in columns), VERDICT.field]))


@settings(max_examples=25)
@given(rows=ROWS)
@pytest.mark.parametrize("explode", [None, EVENTS])
def test_a_table_gives_the_bytes_of_its_rows(explode: Column | None, rows: list[dict[str, Any]]) -> None:
    assert table_files(as_table(rows, explode), KEEPS, explode) == part_files(rows, KEEPS, explode)


def test_a_table_in_chunks_gives_the_same_bytes() -> None:
    rows = [a_row(k, k == "b", [ACCEPTED, NO], False) for k in "cab"]
    chunked = pa.concat_tables([as_table(rows[i : i + 1], EVENTS) for i in range(3)])
    outcomes, files = table_files(chunked, KEEPS, EVENTS)
    assert (outcomes, files) == part_files(rows, KEEPS, EVENTS)
    assert outcomes == [("a", "accepted", 2, 1), ("b", "rejected", 0, 0), ("c", "accepted", 2, 1)]


def test_what_a_refused_row_lacks_is_null_as_a_whole() -> None:
    """As the guard lays it: the answers of live rows, taken to their places."""
    live = a_row("a", False, [ACCEPTED], False)
    table = as_table([live], EVENTS).take(pa.array([0, None]))
    verdicts = pa.array([None, arrow.plain(NO)], VERDICT.field.type)
    table = table.set_column(0, KEY.field, pa.array(["a", "b"])).set_column(5, VERDICT.field, verdicts)
    assert table_files(table, KEEPS, EVENTS) == part_files([live, a_row("b", True, [], True)], KEEPS, EVENTS)


def test_frames_with_their_bytes_are_seen() -> None:
    assert has_new_frames((), CLIPS)
    assert not has_new_frames((TUBES, TUBES_NOTE), None)
    assert not has_new_frames(KEEPS, EVENTS)
