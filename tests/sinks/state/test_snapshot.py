"""The listing of inputs over time: whatever happens to the files, every input ever seen is accounted for once."""

from __future__ import annotations

import random
from collections.abc import Iterable

from hypothesis import given
from hypothesis import strategies as st

from reelmill.schemas import arrow
from reelmill.sinks.state.snapshot import Change, Entry, change, live_keys, merge

URIS = [f"/media/{n}.mp4" for n in "abcde"]
UNREADABLE = ""

World = dict[str, str]
"""What lies where: URI -> contents; UNREADABLE for a file whose bytes cannot be read."""
WORLDS = st.lists(st.dictionaries(st.sampled_from(URIS), st.sampled_from(["k1", "k2", "k3", UNREADABLE])), max_size=6)


def entry(uri: str, contents: str) -> Entry:
    """As a source lists it: by contents, or by its place where these cannot be read."""
    if contents == UNREADABLE:
        return Entry(f"unread-{uri}", uri, None, 0, "CC0-1.0", "", "Permission denied", live=True)
    return Entry(contents, uri, contents * 4, 9, "CC0-1.0", "{}", None, live=True)


def listing(world: World) -> list[Entry]:
    return [entry(uri, contents) for uri, contents in world.items()]


def places(entries: Iterable[Entry]) -> dict[str, set[str]]:
    """Key -> URIs that it lies at now."""
    found: dict[str, set[str]] = {}
    for e in entries:
        if e.live:
            found.setdefault(e.key, set()).add(e.uri)
    return found


def model_change(seen: set[str], before: dict[str, set[str]], after: dict[str, set[str]]) -> Change:
    """What happened, key by key."""
    added = vanished = returned = renamed = copied = uncopied = 0
    for key in before.keys() | after.keys():
        was, now = before.get(key, set()), after.get(key, set())
        if not was:
            added, returned = added + (key not in seen), returned + (key in seen)
        elif not now:
            vanished += 1
        else:
            came, went = len(now - was), len(was - now)
            renamed += min(came, went)
            copied += max(0, came - went)
            uncopied += max(0, went - came)
    return Change(added, vanished, returned, renamed, copied, uncopied)


@given(WORLDS)
def test_every_listing_is_accounted_for(worlds: list[World]) -> None:
    snapshot: tuple[Entry, ...] = ()
    seen: set[tuple[str, str]] = set()
    for world in worlds:
        before, known = places(snapshot), {key for key, _ in seen}
        new = merge(snapshot, listing(world))
        after = places(listing(world))
        assert change(snapshot, new) == model_change(known, before, after)
        seen |= {(e.key, e.uri) for e in listing(world)}
        assert [(e.key, e.uri) for e in new] == sorted(seen)
        assert places(new) == after
        assert live_keys(new) == after.keys()
        snapshot = new


@given(WORLDS, st.randoms())
def test_the_order_of_a_listing_and_its_repetition_change_nothing(worlds: list[World], dice: random.Random) -> None:
    snapshot: tuple[Entry, ...] = ()
    for world in worlds:
        listed = listing(world)
        new = merge(snapshot, listed)
        dice.shuffle(listed)
        assert merge(snapshot, listed) == new
        assert merge(new, listed) == new
        assert not change(new, merge(new, listed))
        snapshot = new


@given(WORLDS)
def test_a_snapshot_is_the_same_after_storing(worlds: list[World]) -> None:
    snapshot: tuple[Entry, ...] = ()
    for world in worlds:
        snapshot = merge(snapshot, listing(world))
    assert tuple(arrow.from_table(Entry, arrow.to_table(Entry, snapshot))) == snapshot


def test_a_file_that_moves_is_renamed_once() -> None:
    before = merge((), listing({"/a.mp4": "k1", "/b.mp4": "k2"}))
    after = merge(before, listing({"/moved.mp4": "k1", "/b.mp4": "k2"}))
    assert change(before, after) == Change(added=0, vanished=0, returned=0, renamed=1)


def test_a_second_copy_is_a_copy_and_no_new_name() -> None:
    before = merge((), listing({"/a.mp4": "k1"}))
    twice = merge(before, listing({"/a.mp4": "k1", "/copy.mp4": "k1"}))
    assert change(before, twice) == Change(0, 0, 0, 0, copied=1)
    assert change(twice, merge(twice, listing({"/copy.mp4": "k1"}))) == Change(0, 0, 0, 0, uncopied=1)


def test_a_file_that_becomes_readable_is_another_input() -> None:
    before = merge((), listing({"/a.mp4": UNREADABLE}))
    after = merge(before, listing({"/a.mp4": "k1"}))
    assert change(before, after) == Change(added=1, vanished=1, returned=0, renamed=0)
    assert [(e.key, e.live) for e in after] == [("k1", True), ("unread-/a.mp4", False)]


def test_new_facts_about_an_input_replace_old_ones() -> None:
    before = merge((), [Entry("k1", "/a.mp4", "d", 1, "unknown", "", None, live=True)])
    after = merge(before, [Entry("k1", "/a.mp4", "d", 1, "CC-BY-4.0", "", None, live=True)])
    assert [e.licence for e in after] == ["CC-BY-4.0"]
    assert not change(before, after)
