"""The preference view: from exact truth chosen sides are right and rejected ones wrong; what leaks is refused."""

from __future__ import annotations

import pickle
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pair_rows import outcomes, pairs_of, row_of, true_clips
from view_rows import event, video

from reelmill.annotators.annotator import Annotator
from reelmill.pipelines._recipe import step_identity
from reelmill.pipelines.scenes.presets import EASY, MEDIUM
from reelmill.pipelines.views.checks.preference import check_ladder, check_preference, spoken_of
from reelmill.pipelines.views.evidenced import Evidence, alike
from reelmill.pipelines.views.preference import STATED_ORDER_S, CompareListed, ComparePerturbed, _least, _Writer
from reelmill.schemas import arrow
from reelmill.schemas.event import RULE_KINDS, Event, EventKind
from reelmill.schemas.sample import Claim, PreferenceSample
from reelmill.schemas.verdict import ACCEPTED, rejected

RED, BLUE, PINK = "the red circle", "the blue square", "the pink star"
PLAIN = (
    event(RED, "enters", 0.4, 0.9, confidence=0.8),
    event(RED, "moves", 0.4, 2.0),
    event(BLUE, "enters", 1.0, 1.4),
    event(BLUE, "moves", 1.0, 2.4),
    event(RED, "stops", 2.0, 3.0),
    event(BLUE, "stops", 2.4, 3.2),
    event(RED, "moves", 3.0, 4.0),
    event(BLUE, "moves", 3.2, 4.5),
    event(RED, "leaves", 3.6, 4.0, confidence=0.7),
)
OPEN = ComparePerturbed(even=False)
PRESET = replace(MEDIUM, name="three", movers=(2, 3), duration_s=(5.0, 8.0), shots=(1, 2))


@given(st.lists(st.sampled_from([(0, 1), (1, 0), (2, 0)]), min_size=1), st.tuples(*[st.integers(0, 2)] * 3))
def test_drawing_ends_early_only_where_more_draws_would_change_nothing(drawn, faults):
    known: dict[tuple[int, ...], int] = dict(zip([(0, 1), (1, 0), (2, 0)], faults, strict=True))
    assert _least(drawn, 3, lambda order: known[order]) == min(drawn, key=known.__getitem__)
    left = iter([(1, 0)] * 4)
    assert (_least(left, 1, lambda order: 1), len(list(left))) == ((1, 0), 3)


def accepted(events, step: ComparePerturbed | None = None) -> list[PreferenceSample]:
    return [s for s in pairs_of(events, step=step) if s.verdict.accepted]


def of(kind: str, samples, task: str = "") -> list[PreferenceSample]:
    return [s for s in samples if s.perturbation.kind == kind and s.task == (task or s.task)]


def test_it_is_an_annotator_with_a_plain_identity_that_travels():
    step = ComparePerturbed()
    step.setup()
    assert isinstance(step, Annotator)
    assert pickle.loads(pickle.dumps(step)) == step
    assert step_identity(step)["fields"]["even"] is True


@pytest.mark.parametrize(("preset", "even"), [(EASY, True), (PRESET, True), (PRESET, False)])
def test_from_true_events_every_pair_is_exactly_right(preset, even):
    kinds: Counter[str] = Counter()
    step = ComparePerturbed(even=even)
    for seed in range(400, 406):
        for key, medium, count, events in true_clips(seed, preset):
            pairs = pairs_of(events, key, medium, count, step)
            assert check_ladder(pairs) == []
            for pair in pairs:
                if pair.verdict.accepted:
                    assert check_preference(pair, events) == [], (pair.turns, pair.rejected)
                    assert pair.method == "truth"
                    kinds[pair.perturbation.kind] += 1
    always = (
        {"attribute", "entity", "shift"} if preset is EASY else {"shuffle", "drop", "insert", "replace", "borrowed"}
    )
    assert always <= set(kinds)
    if not even:
        assert {"reverse", "swap", "frames"} <= set(kinds)


def test_an_account_is_told_in_order_and_out_of_order():
    (back,) = [
        s for s in of("shuffle", accepted(PLAIN, OPEN)) if s.perturbation.items == 7 and not s.perturbation.stage
    ]
    told = spoken_of(back.turns[1].text)
    assert told[0] == ("red circle", EventKind.ENTERS)
    assert ("red circle", EventKind.MOVES) in told[2:], "the first move goes without saying: it enters moving"
    wrong = spoken_of(back.rejected[0].text)
    assert sorted(wrong) == sorted(told)
    assert [k for n, k in wrong if n == "red circle"] == [k for n, k in told if n == "red circle"]
    assert (back.perturbation.of, back.perturbation.stage) == ("captions", 0)
    assert back.label_confidence == 0.7
    assert back.margin == pytest.approx(sum(not c.holds for c in back.claims if c.rejected) / 13)


def test_what_a_pair_rests_on_is_kept():
    (first, *_) = of("swap", accepted(PLAIN), "order")
    assert set(first.evidence) <= {e.key for e in PLAIN}
    assert [(c.rejected, c.holds) for c in first.claims] == [(False, True), (True, False)]
    assert first.provenance[-1].step == "compare_perturbed"
    assert first.perturbation.order == (1, 0)
    assert {f.frame for f in first.frames} >= {0, 12}


def test_order_is_asked_only_where_the_starts_are_apart():
    near = (event(RED, "enters", 1.0, 1.5), event(BLUE, "enters", 1.15, 1.6))
    assert of("swap", pairs_of(near)) == []
    assert not of("shuffle", accepted(near))
    apart = (event(RED, "enters", 1.0, 1.5), event(BLUE, "enters", 1.25, 1.6))
    assert len(of("swap", accepted(apart), "order")) == 2


def test_a_third_thing_is_what_before_and_after_are_asked_about():
    three = (event(RED, "enters", 1.0, 1.4), event(PINK, "stops", 2.0, 3.0), event(BLUE, "enters", 3.0, 3.5))
    asked = [s for s in of("swap", accepted(three), "order") if len(spoken_of(s.turns[0].text)) == 3]
    assert len(asked) == 2
    for pair in asked:
        assert spoken_of(pair.turns[0].text)[0] == ("pink star", EventKind.STOPS)
        assert check_preference(pair, three) == []


def test_a_list_with_something_missing_is_wrong_because_it_says_that_it_is_all():
    pairs = accepted(PLAIN, OPEN)
    (drop,), (insert,) = of("drop", pairs, "crossings"), of("insert", pairs, "crossings")
    for pair in (drop, insert):
        (whole,) = [c for c in pair.claims if c.rejected and c.text.startswith("nothing else")]
        assert whole.holds is (pair is insert)
        assert ("else" in pair.rejected[0].text) or ("all" in pair.rejected[0].text)
    assert len(drop.rejected[0].text) < len(drop.turns[1].text)
    assert len(insert.rejected[0].text) > len(insert.turns[1].text)
    assert drop.perturbation.order != insert.perturbation.order == ()


def test_a_list_cannot_be_called_complete_while_an_exit_is_open():
    doubt = event(BLUE, "leaves", 5.0, 5.4, accepted=False)
    reasons = {s.verdict.reason for s in pairs_of((*PLAIN, doubt)) if s.task == "crossings"}
    assert reasons == {"unsettled"}


def test_a_thing_known_by_vague_words_alone_is_not_spoken_of():
    """ "The small grey object" is any bottle of three; "the grey square" is one thing."""
    vague, told = "the small grey object on the left", "the grey square"
    for name, asked in ((vague, False), (told, True)):
        seen = (event(name, "enters", 1.0, 1.5), event(RED, "enters", 2.2, 2.8), event(RED, "leaves", 4.0, 4.6))
        pairs = pairs_of(seen)
        assert any(name in p.turns[0].text + p.turns[-1].text for p in pairs) is asked
        assert [p for p in pairs if RED in p.turns[0].text]


@pytest.mark.parametrize("reason", ["start_not_seen", "end_not_seen", "low_confidence"])
def test_what_a_thing_did_while_it_was_lost_is_denied_of_nobody(reason):
    """The blue square is lost in mid-frame: it may leave later, so that it does not is no answer, nor when it moves."""
    lost = replace(event(BLUE, "moves", 1.0, 2.4), verdict=rejected("read_events", reason, ""))
    seen = (
        event(RED, "enters", 0.4, 0.9),
        event(RED, "leaves", 3.6, 4.2),
        event(BLUE, "enters", 1.5, 1.9),
        event(PINK, "enters", 2.6, 3.1),
    )
    whole, parts = accepted(seen, OPEN), accepted((*seen, lost), OPEN)
    denied = [p for p in parts if (BLUE.removeprefix("the "), EventKind.LEAVES) in spoken_of(p.rejected[0].text)]
    assert not denied
    assert [p for p in whole if (BLUE.removeprefix("the "), EventKind.LEAVES) in spoken_of(p.rejected[0].text)]
    timed = {p.turns[0].text for p in parts if p.task in ("grounding", "order") and BLUE in p.turns[0].text}
    assert not timed


def test_a_list_cannot_be_called_complete_while_a_thing_may_still_be_entering():
    """It moves in the first frame: whether it is half in view there, its events do not say."""
    moving = replace(event(PINK, "moves", 0.0, 3.0), verdict=rejected("read_events", "cut_at_start", ""))
    assert {s.verdict.reason for s in pairs_of((*PLAIN, moving)) if s.task == "crossings"} == {"unsettled"}


def test_a_short_span_is_moved_by_more_than_a_time_may_be_off():
    short = (event(RED, "enters", 2.0, 2.2), event(RED, "leaves", 4.0, 4.2), event(BLUE, "leaves", 4.4, 4.6))
    for seed in range(6):
        for pair in accepted(short, ComparePerturbed(seed=seed)):
            if pair.task == "grounding":
                (s, e), (ws, we) = pair.turns[-1].tgt_s, pair.rejected[0].tgt_s
                assert max(abs(s - ws), abs(e - we)) > 0.5, pair.rejected[0]
    assert not of("borrowed", accepted(short), "grounding"), "the other's time is within half a second of the true one"


def test_a_wrong_time_is_near_to_no_true_one():
    for pair in [s for s in accepted(PLAIN) if s.task == "grounding"]:
        assert check_preference(pair, PLAIN) == []
        assert len(pair.rejected[0].tgt_s) == len(pair.turns[1].tgt_s)
    borrowed = of("borrowed", accepted(PLAIN))
    assert {s.rejected[0].tgt_s for s in borrowed} >= {(0.4, 0.9), (1.0, 1.4)}


def test_where_a_span_touches_an_end_it_is_not_moved():
    ends = (event(RED, "moves", 0.0, 2.0), event(RED, "stops", 2.0, 6.0), event(BLUE, "enters", 2.0, 2.6))
    moved = {spoken_of(s.turns[0].text)[0] for s in of("shift", pairs_of(ends))}
    assert moved <= {("blue square", EventKind.ENTERS)}


def test_another_colour_is_near_to_nothing_in_the_clip():
    wording = ComparePerturbed().wording.table("near")
    for n in range(12):
        events = (event(RED, "enters", 0.4, 0.9), event(BLUE, "stops", 2.0, 3.0))
        for pair in of("attribute", pairs_of(events, key=f"clip{n}")):
            said, told = (
                {w for noun, _ in spoken_of(t.text) for w in noun.split()} for t in (pair.turns[1], pair.rejected[0])
            )
            (new,) = told - said
            assert new not in wording["red"] + wording["blue"]
            assert pair.verdict.accepted


def test_a_colour_that_could_be_taken_for_anothers_is_not_exchanged():
    two = (event(RED, "enters", 0.4, 0.9), event("the orange star", "enters", 2.0, 3.0))
    assert of("attribute", pairs_of(two)) == []


class At(random.Random):
    """A draw that is known."""

    def __init__(self, at: float) -> None:
        super().__init__(0)
        self.at = at

    def random(self) -> float:
        return self.at


@pytest.mark.parametrize(
    ("table", "rest"), [("near", ()), ("near", ("the blue object",)), ("kin", ()), ("kin", ("the pink star",))]
)
def test_each_word_is_put_in_for_another_as_often_as_that_for_it(table, rest):
    """Over all draws, of a thing that is as likely to have the one word as the other."""
    step = ComparePerturbed()
    shades, draws = step.wording.options("shades.words"), [At((i + 0.5) / 60) for i in range(60)]
    near = step.wording.table(table)
    evidence = Evidence((), step.wording.table("near"), step.wording.options("vague.words"), 0.2, shades)
    writer = _Writer(step, step.wording, step.material(row_of(PLAIN)), evidence, 0.04)
    words = [w for w in step.wording.options("exchanged.words") if w in near]
    name = {w: f"the {w} circle" if table == "near" else f"the red {w}" for w in words}
    flow: Counter[tuple[str, str]] = Counter()
    for one in name.values():
        ways = writer.others(one, rest, near)
        for other in ways:
            kept = sum(writer._put_in_as_often(other, rest, near, len(ways), draw) for draw in draws)
            flow[one, other] += kept * 60 // len(ways)
    assert len(flow) >= 4
    assert all(abs(count - flow[back[::-1]]) <= 1 for back, count in flow.items())
    assert len({len(writer.others(one, rest, near)) for one, _ in flow}) > 1, "each has as many ways: nothing is tested"


def test_two_things_of_one_name_and_vague_names_are_not_told_of():
    both = (event(RED, "enters", 0.4, 0.9, who="t1"), event(RED, "leaves", 3.0, 3.4, who="t2"))
    assert {s.verdict.reason for s in pairs_of(both)} == {"unsettled"}
    vague = (event("the object", "enters", 0.4, 0.9), event(RED, "enters", 2.0, 2.4), event(BLUE, "stops", 3.0, 4.0))
    told = " ".join(s.turns[1].text for s in accepted(vague) if s.task == "account")
    assert "object" not in told.lower()


def test_names_aside_both_sides_say_one_thing_or_the_pair_is_refused():
    def nameless(text: str) -> list[tuple[int, EventKind]]:
        numbers: dict[str, int] = {}
        return [(numbers.setdefault(n, len(numbers)), k) for n, k in spoken_of(text)]

    pairs = [s for s in pairs_of(PLAIN) if s.task == "account"]
    refused = [s for s in pairs if s.verdict.reason == "telltale"]
    assert refused
    assert all(nameless(s.turns[1].text) != nameless(s.rejected[0].text) for s in refused)
    assert all(nameless(s.turns[1].text) == nameless(s.rejected[0].text) for s in pairs if s.verdict.accepted)
    assert not [s for s in pairs_of(PLAIN, step=OPEN) if s.verdict.reason == "telltale"]


def test_rows_without_a_pair_say_why():
    step = ComparePerturbed()
    none = row_of((), key="none")
    doubt = row_of((event(RED, "enters", 1.0, 2.0, accepted=False),), key="doubt")
    still = row_of(PLAIN, key="still", still=True)
    late = row_of((event(RED, "enters", 1.0, 7.0),), key="late")
    assert [o["verdict"]["reason"] for o in outcomes(step, none, doubt, still, late)] == [
        "no_accepted_event",
        "no_accepted_event",
        "still",
        "no_accepted_event",
    ]


def test_the_seed_draws_other_pairs_under_the_same_keys():
    one, other = pairs_of(PLAIN), pairs_of(PLAIN, step=ComparePerturbed(seed=1))
    assert pairs_of(PLAIN) == one != other
    assert len({s.key for s in one} & {s.key for s in other}) > len(one) / 2
    assert {s.perturbation.seed for s in one}.isdisjoint({s.perturbation.seed for s in other})


def test_open_statements_help_neither_side():
    doubt = event(BLUE, "enters", 2.0, 2.4, accepted=False)
    evidence = Evidence((event(RED, "enters", 1.0, 1.5), doubt), {}, (), 0.2)
    assert evidence.happens((RED, EventKind.ENTERS)) is True
    assert evidence.happens((BLUE, EventKind.ENTERS)) is None
    assert evidence.happens((PINK, EventKind.ENTERS)) is False
    assert evidence.claim("x", None, (), rejected=True).holds is True
    assert evidence.claim("x", None, (), rejected=False).holds is False


def test_a_thing_that_does_it_twice_does_it_before_and_after():
    twice = (event(RED, "moves", 1.0, 1.5), event(RED, "moves", 4.0, 4.5), event(BLUE, "moves", 2.0, 2.5))
    evidence = Evidence(twice, {}, (), 0.2)
    red, blue = (RED, EventKind.MOVES), (BLUE, EventKind.MOVES)
    assert (evidence.before(red, blue), evidence.before(blue, red)) == (True, True)


def test_lists_are_alike_where_names_are_exchanged():
    one = ((RED, EventKind.ENTERS), (BLUE, EventKind.STOPS))
    assert alike(one, ((BLUE, EventKind.ENTERS), (RED, EventKind.STOPS)))
    assert not alike(one, ((RED, EventKind.STOPS), (BLUE, EventKind.ENTERS)))
    assert not alike(one, ((RED, EventKind.ENTERS), (RED, EventKind.STOPS)))


a_time = st.integers(0, 54).map(lambda n: n / 10)
an_event = st.builds(
    lambda who, kind, start, length, number, settled: event(
        who, kind, start, min(start + length, 6.0), who=f"{who}{number}", accepted=settled
    ),
    st.sampled_from((RED, BLUE, PINK, "the orange circle", "the object")),
    st.sampled_from([str(k) for k in RULE_KINDS]),
    a_time,
    st.integers(1, 20).map(lambda n: n / 10),
    st.sampled_from((0, 0, 0, 1)),
    st.sampled_from((True, True, True, False)),
)


@settings(max_examples=25, deadline=None)
@given(st.lists(an_event, max_size=9), st.booleans())
def test_of_random_true_events_accepted_pairs_are_right(events, even):
    """Names that could mean another thing too are left out: to the checker a name is a name."""
    plain = [replace(e, verdict=ACCEPTED) for e in events if e.subject in (RED, BLUE, PINK)]
    for pair in pairs_of(plain, step=ComparePerturbed(even=even)):
        if pair.verdict.accepted:
            assert check_preference(pair, plain) == [], (pair.turns, pair.rejected)


@settings(max_examples=15, deadline=None)
@given(st.lists(an_event, max_size=7), st.randoms(use_true_random=False))
def test_a_row_alone_is_the_row_in_any_batch_and_any_order_of_events(events, rng):
    one, two = row_of(events, key="one"), row_of(PLAIN, key="two")
    mixed = row_of(rng.sample(events, len(events)), key="one")
    step = ComparePerturbed()
    (alone,) = outcomes(step, one)
    assert outcomes(step, two, one)[1] == alone == outcomes(step, mixed)[0]


def clause_events(events: Sequence[Event]) -> list[Event]:
    """The same events as somebody's clauses, without a thing or a kind of their own."""
    third = {k: ComparePerturbed().wording.table(f"kinds.{k}.third") for k in RULE_KINDS}
    return [
        replace(e, kind=EventKind.STATED, subject="", subject_id="", phrase=f"{e.subject} {third[e.kind]}.")
        for e in events
    ]


def test_events_in_somebodys_words_give_pairs_that_are_as_right():
    """From the truth told in clauses: the checker holds the answers against the events themselves."""
    tasks: Counter[str] = Counter()
    step = ComparePerturbed(order_s=STATED_ORDER_S)
    for seed in range(400, 404):
        for key, medium, count, events in true_clips(seed, PRESET):
            for pair in pairs_of(clause_events(events), key, medium, count, step):
                if pair.verdict.accepted:
                    assert check_preference(pair, events) == [], (pair.turns, pair.rejected)
                    tasks[pair.task] += 1
    assert set(tasks) == {"account", "order", "grounding"}


def test_of_clauses_nothing_is_exchanged_or_denied():
    pairs = pairs_of(clause_events(PLAIN), step=ComparePerturbed(order_s=STATED_ORDER_S))
    assert {s.perturbation.kind for s in pairs} <= {"shuffle", "reverse", "swap", "frames", "shift", "borrowed"}
    starts_s = {third.phrase.rstrip("."): third.span.start_s for third in clause_events(PLAIN)}
    for pair in pairs:
        if pair.task == "order" and pair.verdict.accepted:
            told = next(c.text for c in pair.claims if not c.rejected)
            first, second = told.split(" before ")
            assert starts_s[second] - starts_s[first] >= STATED_ORDER_S


def test_listed_events_are_read_from_their_own_column():
    listed = CompareListed()
    assert "listed_events" in {c.name for c in listed.needs}
    assert listed.order_s == STATED_ORDER_S
    row = row_of((), key="clip")
    row["listed_events"] = [arrow.plain(e) for e in clause_events(PLAIN)]
    (out,) = outcomes(listed, row)
    assert {s.task for s in out["samples"]} == {"account", "order", "grounding"}


def lies(pair: PreferenceSample) -> list[PreferenceSample]:
    """A pair with one thing wrong in each."""
    chosen, wrong, how = pair.turns[-1], pair.rejected[-1], pair.perturbation
    swapped = replace(pair, turns=(pair.turns[0], wrong), rejected=(chosen,))
    claims = tuple(Claim(c.text, c.rejected, not c.holds, c.evidence) for c in pair.claims)
    identity = replace(how, order=tuple(range(how.items)))
    return [
        swapped,
        replace(pair, rejected=(chosen,)),
        replace(pair, turns=(pair.turns[0], replace(wrong, boxes=chosen.boxes, text=wrong.text + " "))),
        replace(pair, claims=claims),
        replace(pair, margin=pair.margin / 2),
        replace(pair, perturbation=identity),
        replace(pair, perturbation=replace(how, strength=0.0)),
        replace(pair, turns=(pair.turns[0], replace(chosen, tgt_s=(*chosen.tgt_s, 5.0, 5.1)))),
        replace(pair, turns=(chosen, pair.turns[0])),
    ]


def test_the_check_finds_every_seeded_defect():
    pairs = accepted(PLAIN, OPEN)
    assert {s.task for s in pairs} == {"account", "occurrence", "crossings", "order", "grounding"}
    for pair in pairs:
        assert check_preference(pair, PLAIN) == []
        for number, lie in enumerate(lies(pair)):
            assert check_preference(lie, PLAIN), (pair.task, pair.perturbation.kind, number)


def test_the_check_finds_a_rejected_side_that_is_only_incomplete():
    (pair, *_) = of("drop", accepted(PLAIN, OPEN), "crossings")
    modest = replace(
        pair.rejected[0], text=pair.rejected[0].text.replace("Nothing else", "Something").replace("all", "some")
    )
    assert check_preference(replace(pair, rejected=(modest,)), PLAIN)


def test_the_check_finds_stages_that_coincide():
    pairs = accepted(PLAIN, OPEN)
    assert check_ladder(pairs) == []
    assert check_ladder([*pairs, replace(pairs[0], key="again")])
    (drop,) = of("drop", pairs, "crossings")
    harder = replace(drop, perturbation=replace(drop.perturbation, stage=1))
    assert check_ladder([drop, harder])


def test_times_are_of_the_clip():
    for pair in pairs_of(PLAIN, media=video(6.0)):
        for turn in (*pair.turns, *pair.rejected):
            assert all(0 <= t <= 6.0 for t in turn.tgt_s)
