"""The draw: in proportion, seeded, the same for two raters, and nearly the same once a dataset grew."""

from __future__ import annotations

import dataclasses
from collections import Counter
from pathlib import Path

import published
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reelmill.schemas.column import Column
from reelmill.schemas.errors import BadInput, NotFound
from reelmill.schemas.keys import child_key
from reelmill.schemas.sample import ClipFacts, CuratedSample
from reelmill.sinks.audit.draw import Stratum, accepted, drawn, only, shares, strata
from reelmill.sinks.dataset import Store

WHEN, WHAT, RARE = Stratum("tg", "when", "rules"), Stratum("tg", "what", "rules"), Stratum("tg", "what", "model:x")


def keys(n: int, of: str) -> list[str]:
    return [child_key("p", of, i) for i in range(n)]


GROUPS = {WHEN: keys(900, "when"), WHAT: keys(300, "what"), RARE: keys(4, "rare")}


@given(st.dictionaries(st.text(min_size=1), st.integers(0, 400), max_size=8), st.integers(1, 300))
def test_shares_close_and_follow_the_sizes(sizes: dict[str, int], n: int) -> None:
    given_ = shares(sizes, n)
    total = sum(sizes.values())
    assert sum(given_.values()) == min(n, total)
    assert all(0 <= given_[s] <= sizes[s] for s in sizes)
    if n >= len(sizes):
        assert all(given_[s] >= 1 for s in sizes if sizes[s])
        assert all(given_[s] <= n * sizes[s] / total + 1 for s in sizes if sizes[s])


def test_every_stratum_is_asked_about_and_two_raters_get_the_same() -> None:
    got = drawn(GROUPS, 60, seed=0)
    by = {key: s for s, of in GROUPS.items() for key in of}
    assert Counter(by[k] for k in got) == {WHEN: 44, WHAT: 15, RARE: 1}
    assert len(set(got)) == 60
    assert got == drawn({s: of[::-1] for s, of in reversed(GROUPS.items())}, 60, seed=0)
    assert set(got) != set(drawn(GROUPS, 60, seed=1))


def test_a_person_who_stops_early_has_marked_a_spread_sample() -> None:
    by = {key: s for s, of in GROUPS.items() for key in of}
    first = Counter(by[k] for k in drawn(GROUPS, 60, seed=3)[:20])
    assert abs(first[WHEN] - 15) <= 2
    assert first[WHAT] >= 3


def test_a_dataset_that_grew_keeps_most_of_its_draw() -> None:
    grown = GROUPS | {WHEN: [*GROUPS[WHEN], *keys(90, "new")]}
    assert len(set(drawn(GROUPS, 60, 0)) & set(drawn(grown, 60, 0))) >= 45


def test_each_sample_of_a_stratum_is_as_likely_as_another() -> None:
    counts = Counter(k for seed in range(400) for k in drawn({WHEN: keys(10, "x")}, 3, seed))
    assert len(counts) == 10
    assert all(80 <= n <= 160 for n in counts.values())  # 120 each; four standard deviations of 9.2 are 37


def test_strata_can_be_chosen_and_wrong_ones_are_told_what_there_is() -> None:
    assert list(only(GROUPS, ["task=what"])) == [WHAT, RARE]
    assert list(only(GROUPS, ["task=what", "method=model:x"])) == [RARE]
    assert only(GROUPS, []) == GROUPS
    with pytest.raises(BadInput, match="use family=, task= or method="):
        only(GROUPS, ["colour=red"])
    with pytest.raises(NotFound, match="family=tg task=when method=rules"):
        only(GROUPS, ["task=grounding"])


def test_strata_of_a_view_are_its_accepted_samples(tmp_path: Path) -> None:
    _, view = published.stocked(tmp_path, sources=3, group=2)
    groups = strata(view)
    assert {s.task: len(of) for s, of in groups.items()} == {"what": 3, "when": 3}
    some = [of[0] for of in groups.values()]
    assert sorted(accepted(view, [*some, "z" * 26])) == sorted(some)


def test_clips_without_words_have_no_labels(tmp_path: Path) -> None:
    clip = published.clip(0)
    fields = {f.name: getattr(published.sample(clip, 0), f.name) for f in dataclasses.fields(published.sample(clip, 0))}
    facts = ClipFacts(180, False, 0.1, 100.0, 90.0, 20.0, "00")
    curated = CuratedSample(**(fields | {"turns": (), "task": "clip"}), facts=facts)
    column = Column.of("samples", tuple[CuratedSample, ...])
    view = published.commit(Store(tmp_path), "curated-t", column, [(clip.key, [curated])])
    with pytest.raises(BadInput, match="has no labels"):
        accepted(view, [curated.key])
