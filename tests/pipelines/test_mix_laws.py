"""The laws of a mix over random samples: nothing lost or doubled, caps and quotas hold, no order matters."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mixing import Drawn, decided

from reelmill.pipelines import mix
from reelmill.schemas.errors import BadInput
from reelmill.sinks.shares import REASONS

NAMES = ("a-t@1", "b-t@1", "c-t@1")


@st.composite
def some_samples(draw: st.DrawFn, names: Sequence[str] = NAMES) -> list[Drawn]:
    """Up to 40 samples of three inputs over four sources of three clips each."""
    places = st.tuples(st.sampled_from(names), st.integers(0, 3), st.integers(0, 2), st.sampled_from("xyz"))
    found = draw(st.lists(places, max_size=40))
    return [Drawn(d, f"k{i}", f"source{s}", f"clip{s}.{c}", task) for i, (d, s, c, task) in enumerate(found)]


some_weights = st.fixed_dictionaries({n: st.integers(1, 5).map(float) for n in NAMES})
some_options = st.fixed_dictionaries(
    {
        "total": st.integers(0, 50),
        "seed": st.integers(0, 3),
        "source_max": st.integers(0, 6),
        "clip_max": st.integers(0, 3),
        "stratify": st.sampled_from(mix.STRATA),
    }
)


@settings(max_examples=15, deadline=None)
@given(some_samples(), some_weights, some_options, st.integers(0, 20) | st.none())
def test_every_sample_has_one_reason_and_the_shares_count_them_all(samples, weights, options, quota):
    quotas = {} if quota is None or (options["total"] and quota > options["total"]) else {"a-t@1": quota}
    reasons, shares = decided(samples, weights, quotas=quotas, **options)
    assert set(reasons.values()) <= {"", *REASONS}
    assert set(shares) == set(weights)
    for name, said in shares.items():
        own = Counter(reasons[s.key] for s in samples if s.dataset == name)
        assert said["available"] == own.total() == said["drawn"] + sum(said[r] for r in REASONS)
        assert said["drawn"] == own[""]
        assert [said[r] for r in REASONS] == [own[r] for r in REASONS]
    if options["total"]:
        assert sum(s["drawn"] for s in shares.values()) <= options["total"]


@settings(max_examples=15, deadline=None)
@given(some_samples(), some_weights, some_options)
def test_caps_hold_over_all_inputs_and_leave_out_no_more_than_they_must(samples, weights, options):
    reasons, _ = decided(samples, weights, **options)
    clip_max, source_max = options["clip_max"] or len(samples), options["source_max"] or len(samples)
    in_clips = Counter((s.digest, s.clip_key) for s in samples)
    left = Counter((s.digest, s.clip_key) for s in samples if reasons[s.key] != "over_clip_cap")
    assert left == {place: min(n, clip_max) for place, n in in_clips.items()}
    in_sources = Counter(digest for digest, _ in left.elements())
    fit = Counter(s.digest for s in samples if reasons[s.key] not in ("over_clip_cap", "over_source_cap"))
    assert fit == {digest: min(n, source_max) for digest, n in in_sources.items()}


@settings(max_examples=15, deadline=None)
@given(some_samples(), some_weights, some_options, st.randoms(use_true_random=False))
def test_no_order_of_samples_or_inputs_matters(samples, weights, options, rng: random.Random):
    turned = dict(rng.sample(sorted(weights.items()), len(weights)))
    one, other = decided(samples, weights, **options), decided(rng.sample(samples, len(samples)), turned, **options)
    assert one.reasons == other.reasons
    assert one.shares == other.shares


@settings(max_examples=15, deadline=None)
@given(some_samples(), some_weights, some_options)
def test_another_input_brings_back_nothing_that_a_cap_left_out(samples, weights, options):
    fewer = [s for s in samples if s.dataset != NAMES[2]]
    before = decided(fewer, {n: weights[n] for n in NAMES[:2]}, **options)
    after = decided(samples, weights, **options)
    for reason in ("over_clip_cap", "over_source_cap"):
        out = {key for key, seen in before.reasons.items() if seen == reason}
        assert {after.reasons[key] for key in out} <= {"over_clip_cap", "over_source_cap"}


@settings(max_examples=15, deadline=None)
@given(some_samples(), some_weights, some_options)
def test_without_caps_another_input_that_has_samples_only_takes_away(samples, weights, options):
    uncapped = options | {"source_max": 0, "clip_max": 0}
    fewer = [s for s in samples if s.dataset != NAMES[2]]
    before = decided(fewer, {n: weights[n] for n in NAMES[:2]}, **uncapped).accepted
    after = decided(samples, weights, **uncapped).accepted
    assert after - {s.key for s in samples if s.dataset == NAMES[2]} <= before


@settings(max_examples=15, deadline=None)
@given(
    have=st.lists(st.integers(1, 30), min_size=1, max_size=3),
    weights=st.lists(st.integers(1, 9), min_size=3, max_size=3),
    total=st.integers(0, 60),
)
def test_no_input_gives_more_than_it_has_and_weights_are_kept(have, weights, total):
    samples = plain(*have)
    shares = decided(samples, {NAMES[d]: float(weights[d]) for d in range(len(have))}, total=total).shares
    unit = min(count / weights[d] for d, count in enumerate(have))
    unit = min(unit, total / sum(weights[: len(have)])) if total else unit
    for d, count in enumerate(have):
        assert shares[NAMES[d]]["drawn"] <= count
        assert abs(shares[NAMES[d]]["drawn"] - unit * weights[d]) < 1


def plain(*have: int, task: str = "x") -> list[Drawn]:
    """So many samples of each input, each of a source of its own."""
    return [
        Drawn(NAMES[d], f"{task}{d}.{i}", f"s{task}{d}.{i}", f"c{task}{d}.{i}", task)
        for d, n in enumerate(have)
        for i in range(n)
    ]


def test_a_quota_is_a_number_and_the_others_share_the_rest():
    shares = decided(plain(30, 30, 30), dict.fromkeys(NAMES, 1.0), total=40, quotas="a-t@1=10; b-t@1=25%").shares
    assert {n: s["drawn"] for n, s in shares.items()} == {"a-t@1": 10, "b-t@1": 10, "c-t@1": 20}
    assert {n: s["over_quota"] for n, s in shares.items()} == {"a-t@1": 20, "b-t@1": 20, "c-t@1": 0}
    assert [s["asked"] for s in shares.values()] == ["10", "10", "weight 1"]
    assert [s["asked_share"] for s in shares.values()] == [s["got_share"] for s in shares.values()] == [0.25, 0.25, 0.5]


def test_a_quota_that_is_not_met_is_told_and_its_rest_goes_to_the_others():
    shares = decided(plain(4, 30, 30), dict.fromkeys(NAMES, 1.0), total=40, quotas={"a-t@1": 20}).shares
    assert {n: s["drawn"] for n, s in shares.items()} == {"a-t@1": 4, "b-t@1": 18, "c-t@1": 18}
    assert (shares["a-t@1"]["asked_share"], shares["a-t@1"]["got_share"]) == (0.5, 0.1)


def test_an_input_with_nothing_to_give_is_told_and_limits_no_other():
    shares = decided(plain(0, 5, 7), dict.fromkeys(NAMES, 1.0)).shares
    assert {n: s["drawn"] for n, s in shares.items()} == {"a-t@1": 0, "b-t@1": 5, "c-t@1": 5}
    assert (shares["a-t@1"]["available"], shares["a-t@1"]["got_share"]) == (0, 0.0)


def test_strata_keep_the_tasks_or_level_them():
    samples = plain(60, task="often") + plain(20, task="seldom") + plain(3, task="rare")
    found = {
        way: Counter(s.task for s in samples if not decided_[s.key])
        for way in mix.STRATA
        if (decided_ := decided(samples, {NAMES[0]: 1.0}, total=23, stratify=way).reasons)
    }
    assert {way: n.total() for way, n in found.items()} == dict.fromkeys(mix.STRATA, 23)
    assert found["equal"] == {"often": 10, "seldom": 10, "rare": 3}
    for task, have in (("often", 60), ("seldom", 20), ("rare", 3)):
        assert abs(found["proportional"][task] - 23 * have / 83) < 1.5


BAD = {
    "no whole number": ({"total": 1.5}, "give a whole number, 0 for no limit"),
    "a cap below nothing": ({"clip_max": -1}, "give a whole number, 0 for no limit"),
    "a flag for a cap": ({"source_max": True}, "give a whole number, 0 for no limit"),
    "strata of another sort": ({"stratify": "task"}, "use proportional or equal"),
    "a quota of no input": ({"quotas": "b-t@1=3"}, "name an input"),
    "quotas over the total": ({"quotas": "a-t@1=30", "total": 20}, "lower them"),
    "a share of nothing": ({"quotas": "a-t@1=30%"}, "give --set total=N too"),
    "a share of more than all": ({"quotas": "a-t@1=130%", "total": 9}, "or 0% to 100%"),
    "half a sample": ({"quotas": "a-t@1=2.5"}, "give a whole number"),
    "a word for a number": ({"quotas": "a-t@1=many"}, "give a whole number"),
    "no pair": ({"quotas": "a-t@1"}, "NAME=NUMBER"),
    "one input twice": ({"quotas": "a-t@1=1; a-t@1=2"}, "NAME=NUMBER"),
}


@pytest.mark.parametrize("case", BAD)
def test_options_that_do_not_fit_are_named(case: str) -> None:
    options, expected = BAD[case]
    with pytest.raises(BadInput, match=r".") as trouble:
        mix.recipe({"a-t@1": 1.0}, **options)  # type: ignore[arg-type]
    assert expected in str(trouble.value)
