"""Pairs of micro clips: the chosen side is what happens, the rejected is not, and neither looks it unseen."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

from reelmill.pipelines.scenes.micro import MicroPreset, micro_clip
from reelmill.pipelines.scenes.micro_pack import write_micro
from reelmill.pipelines.scenes.micro_pairs import form, pairs
from reelmill.pipelines.scenes.micro_samples import MicroFrames, clip_digest, stored
from reelmill.schemas.event import EventKind
from reelmill.schemas.sample import PreferenceSample
from reelmill.sinks.publishing.packed import PackedPreference
from reelmill.training.data.shards import opened

PRESET = MicroPreset(acts=("appear", "appear", "move"), span_frames=(2, 10))
CLIPS = 900
_SENTENCE = re.compile(r"The (\w+ \w+) (\w+)\.")
Told = list[tuple[str, str]]


@pytest.fixture(scope="module")
def made() -> list[tuple[Told, PreferenceSample]]:
    """What happens in each clip by the renderer's events, and the pairs about it."""
    none = MicroFrames((), ())
    found = []
    for index in range(CLIPS):
        clip = micro_clip(5, index, PRESET)
        true = [
            (e.subject.removeprefix("the "), str(e.kind))
            for e in sorted(clip.events, key=lambda e: e.span.start_s)
            if e.kind is not EventKind.STOPS
        ]
        found += [(true, p) for p in pairs(clip, none, clip_digest(5, index, PRESET), 5, "micro", PRESET)]
    return found


def sides(pair: PreferenceSample) -> tuple[Told, Told]:
    return _SENTENCE.findall(pair.turns[-1].text), _SENTENCE.findall(pair.rejected[-1].text)


def test_the_chosen_side_is_what_happens_and_the_other_is_not(made: list[tuple[Told, PreferenceSample]]) -> None:
    assert len(made) > CLIPS / 3
    for true, pair in made:
        chosen, rejected = sides(pair)
        assert chosen == true
        assert rejected != true


def test_each_kind_is_wrong_in_its_own_way(made: list[tuple[Told, PreferenceSample]]) -> None:
    seen = Counter[str]()
    for _, pair in made:
        chosen, rejected = sides(pair)
        kind, order = pair.perturbation.kind, pair.perturbation.order
        things = {thing for thing, _ in chosen}
        if kind in ("reverse", "shuffle"):
            assert rejected == [chosen[i] for i in order]
            assert sorted(order) == list(range(len(chosen)))
        elif kind == "drop":
            assert {thing for thing, _ in rejected} < things
        else:
            assert things < {thing for thing, _ in rejected}
            assert [s for s in rejected if s[0] in things] == chosen
        seen[kind] += 1
    assert set(seen) == {"reverse", "shuffle", "drop", "insert"}


def test_nothing_that_can_be_told_unseen_sets_a_side_apart(made: list[tuple[Told, PreferenceSample]]) -> None:
    lengths = Counter[str]()
    for _, pair in made:
        for side in sides(pair):
            for thing in {thing for thing, _ in side}:
                own = [verb for one, verb in side if one == thing]
                assert own in (["enters", "leaves"], ["moves"])
            assert len({thing for thing, _ in side}) <= 2
        if pair.perturbation.kind in ("drop", "insert"):
            lengths["longer" if len(sides(pair)[0]) > len(sides(pair)[1]) else "shorter"] += 1
    assert 0.3 < lengths["longer"] / lengths.total() < 0.7


def test_a_reader_of_forms_alone_does_no_better_than_chance(made: list[tuple[Told, PreferenceSample]]) -> None:
    """It knows from half of the pairs which form is the better of two, and is asked about the others."""
    seen: dict[str, list[tuple[object, object]]] = {}
    for _, pair in made:
        better, worse = (form([f"The {who} {verb}." for who, verb in side]) for side in sides(pair))
        kind = pair.perturbation.kind
        seen.setdefault("number" if kind in ("drop", "insert") else kind, []).append((better, worse))
    assert set(seen) == {"reverse", "shuffle", "number"}
    for kind, both in seen.items():
        known = Counter(both[::2])
        asked = [(a, b) for a, b in both[1::2] if known[a, b] != known[b, a]]
        right = sum(known[a, b] > known[b, a] for a, b in asked)
        assert abs(right - len(asked) / 2) <= 3 * 0.5 * len(asked) ** 0.5, (kind, right, len(asked))


def test_a_pair_depends_on_its_clip_alone_and_is_published(tmp_path: Path) -> None:
    counts = write_micro(tmp_path / "pack", 12, seed=5, preset=PRESET, val_share=0.0, paired=True)
    split = opened(tmp_path / "pack")
    samples = [split.sample(n) for n in range(len(split))]
    assert counts == {"train": len(samples)}
    assert all(isinstance(s, PackedPreference) for s in samples)
    by_key = {s.key: s for s in samples}
    again = [
        p
        for i in range(12)
        for clip in [micro_clip(5, i, PRESET)]
        for p in pairs(clip, stored(clip), clip_digest(5, i, PRESET), 5, "micro_pairs@5", PRESET)
    ]
    assert {p.key: p.rejected for p in again} == {k: s.rejected for k, s in by_key.items()}  # type: ignore[attr-defined]
