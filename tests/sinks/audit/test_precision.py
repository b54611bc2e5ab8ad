"""From marks to a precision: the figures by hand, what no longer counts, raters that disagree, and the card's lines."""

from __future__ import annotations

import dataclasses
import math
import re
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import published
import pytest
from hypothesis import given
from hypothesis import strategies as st
from marked import accepted, mark

from reelmill.schemas.sample import Sample, Turn
from reelmill.sinks.audit.draw import Stratum, drawn
from reelmill.sinks.audit.marks import Judgement, Mark, keep
from reelmill.sinks.audit.precision import Audit, Weighted, audit_of, interval, judgement, kappa, rate, weighted
from reelmill.sinks.card import LabelErrors, label_errors, note_label_errors
from reelmill.sinks.dataset import Dataset, Store
from reelmill.sinks.pack import pack
from reelmill.sinks.publishing.view import store_of
from reelmill.sinks.rate import Rate, wilson
from reelmill.sinks.verify import verify

WHEN, WHAT = Stratum("tg", "when", "rules"), Stratum("tg", "what", "rules")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("model")
    published.stocked(root, sources=4)
    return root


@pytest.fixture
def view(model: Path, tmp_path: Path) -> Dataset:
    """A view of the test's own, as the model is."""
    return Store(Path(shutil.copytree(model, tmp_path / "store"))).find("grounding-t")


def audited(view: Dataset, marks: list[Mark]) -> Audit:
    keep(view, marks)
    audit = audit_of(view)
    assert audit is not None
    return audit


def test_nobody_marked_anything(view: Dataset) -> None:
    assert audit_of(view) is None
    assert label_errors(view).lines[1] == "Audited precision on this media: UNAUDITED"


def test_the_example_of_the_card_by_hand() -> None:
    """57 of 60: centre (57 + 1.9207) / 63.8415 = 0.9229, half width 1.96 / 63.8415 * sqrt(57 * 3 / 60 + 0.9604)."""
    assert interval(Rate(57, 60)) == "95 % 0.86 to 0.98"
    assert Rate(57, 60).low == pytest.approx(0.8630, abs=1e-4)
    assert Rate(57, 60).high == pytest.approx(0.9829, abs=1e-4)


def test_precision_is_right_of_decided_and_unsure_stands_beside(view: Dataset) -> None:
    found = accepted(view)
    said = ["right"] * 5 + ["wrong", "unsure"]
    audit = audited(view, [mark(s, j) for s, j in zip(found, said, strict=False)])

    assert (audit.total, audit.unsure, audit.raters) == (Rate(5, 6), 1, ("Ada",))
    assert audit.sentence.startswith("5 of 6 right (95 % 0.44 to 0.97), by Ada, 2026-11-21; 1 unsure beside")
    by = {(g.by, g.name): g for g in audit.groups}
    assert by.keys() == {("method", "rules"), ("family", "internvid_tg"), ("task", "what"), ("task", "when")}
    assert by["method", "rules"].samples == 8
    tasks = [by["task", t] for t in ("what", "when")]
    assert [t.samples for t in tasks] == [4, 4]
    assert sum(t.rate.hits for t in tasks) == 5
    assert sum(t.rate.count for t in tasks) == 6


def test_a_lopsided_audit_says_the_weighted_precision_and_what_nobody_saw(view: Dataset) -> None:
    found = accepted(view)
    when, what = ([s for s in found if s.task == t] for t in ("when", "what"))
    first = audited(view, [mark(s) for s in when])
    assert "nothing decided in 1 of 2 strata" in first.sentence
    second = audited(view, [mark(what[0], "wrong")])
    assert second.total == Rate(4, 5)
    # half of the samples are `what`, of which one is marked: 1 / (0.25 / 4 + 0.25 / 1) = 3.2 samples in effect
    assert second.weighted == Weighted(0.5, *wilson(0.5, 3.2))
    assert "weighted by the strata's sizes 0.50 (95 % 0.13 to 0.87)" in second.sentence


def test_two_raters_who_disagree_are_told_and_the_sample_is_wrong(view: Dataset) -> None:
    found = accepted(view)
    marks = [mark(s) for s in found[:4]] + [mark(s, rater="Bo", later_s=1) for s in found[1:4]]
    marks.append(mark(found[3], "wrong", "Bo", later_s=2, note="leaves later"))
    audit = audited(view, marks)

    assert audit.total == Rate(3, 4)
    (one,) = audit.agreements
    assert (one.raters, one.count, one.same, one.kappa) == (("Ada", "Bo"), 3, 2, 0.0)
    assert [(d.key, [str(m.judgement) for m in d.marks]) for d in audit.disputes] == [
        (found[3].key, ["right", "wrong"])
    ]
    assert "by Ada and Bo" in audit.sentence
    assert "Ada and Bo agree on 2 of 3, Cohen's kappa 0.00; 1 disputed" in audit.sentence


def test_kappa_of_a_textbook_table() -> None:
    """20 yes-yes, 5 yes-no, 10 no-yes, 15 no-no: p_o = 0.7, p_e = 0.5 * 0.6 + 0.5 * 0.4 = 0.5, kappa 0.4."""
    table = {("y", "y"): 20, ("y", "n"): 5, ("n", "y"): 10, ("n", "n"): 15}
    assert kappa([pair for pair, n in table.items() for _ in range(n)]) == pytest.approx(0.4)
    assert kappa([("y", "y")] * 9) is None


@given(st.lists(st.tuples(*[st.sampled_from(("right", "wrong", "unsure"))] * 2), min_size=1, max_size=30))
def test_laws_of_kappa(pairs: list[tuple[str, str]]) -> None:
    found = kappa(pairs)
    assert found == kappa([(b, a) for a, b in pairs])
    if found is not None:
        assert -1 <= found <= 1
        assert (found == 1) == all(a == b for a, b in pairs)


@pytest.mark.parametrize(
    ("said", "all_told"),
    [("right unsure", "right"), ("right wrong", "wrong"), ("unsure wrong", "wrong"), ("unsure", "unsure")],
)
def test_what_raters_say_together(said: str, all_told: str) -> None:
    assert judgement(Judgement(j) for j in said.split()) == all_told


def reworded(sample: Sample) -> Sample:
    """Every `when` says another time."""
    turns = tuple(dataclasses.replace(t, tgt_s=(1.0, 4.0)) if t.tgt_s else t for t in sample.turns)
    return dataclasses.replace(sample, turns=turns if sample.task == "when" else sample.turns)


def test_a_new_version_keeps_marks_of_samples_that_say_the_same(tmp_path: Path, view: Dataset) -> None:
    keep(view, [mark(s, "wrong") for s in accepted(view)])
    _, other = published.stocked(tmp_path / "other", sources=3, change=reworded)
    other.folder.rename(view.folder.parent / "2")
    audit = audit_of(store_of(view).dataset(view.name, "2"))

    assert audit is not None
    assert (audit.total, audit.changed, audit.gone) == (Rate(0, 3), 3, 2)
    assert "3 samples changed since marked and no longer counted; 2 marked samples no longer there" in audit.sentence


def test_marks_none_of_which_counts_leave_it_unaudited_whatever_was_noted_before(tmp_path: Path, view: Dataset) -> None:
    def all_other(sample: Sample) -> Sample:
        return dataclasses.replace(sample, turns=(*sample.turns[:1], Turn(sample.turns[1].role, "Never.", (), (), ())))

    note_label_errors(view, LabelErrors("tIoU 0.9", "0.88 of 50 samples, long ago"))
    assert label_errors(view).audited == "0.88 of 50 samples, long ago"
    _, other = published.stocked(tmp_path / "other", sources=4, change=all_other)
    keep(view, [mark(s) for s in accepted(other)])
    assert label_errors(view).lines == (
        "Error on rendered truth: tIoU 0.9",
        "Audited precision on this media: UNAUDITED; 8 samples changed since marked and no longer counted",
    )
    keep(view, [mark(s, later_s=9) for s in accepted(view)])
    assert label_errors(view).audited.startswith("8 of 8 right (95 % 0.68 to 1.00), by Ada")


def test_the_card_says_it_with_a_table_and_no_promised_byte_changes(view: Dataset) -> None:
    store = store_of(view)
    pack(store, view)
    before = (view.folder / "manifest.json").read_bytes()
    assert "UNAUDITED" in (view.folder / "README.md").read_text()
    keep(view, [mark(s, rater="A <b>|*") for s in accepted(view)[:6]])
    pack(store, view)
    card = (view.folder / "README.md").read_text()

    assert "UNAUDITED" not in card
    assert "Audited precision on this media: 6 of 6 right (95 % 0.61 to 1.00), by A &lt;b&gt;\\|\\*, 2026-11-21" in card
    rows = re.findall(r"^\| (method|family|task) \| (\S+) \| (\d) \| (\d of \d) \| 0 \| (1\.00|noth).*\|$", card, re.M)
    assert [r[:3] for r in rows[:2]] == [("method", "rules", "8"), ("family", "internvid\\_tg", "8")]
    assert {r[1] for r in rows[2:]} == {"what", "when"}
    assert (view.folder / "manifest.json").read_bytes() == before
    assert verify(view).ok


def test_intervals_hold_the_truth_about_as_often_as_they_say() -> None:
    """400 audits of 1,204 samples: 60 drawn as a person gets them, and then 60 more of the worse task alone."""
    groups = {WHEN: [f"when{i}" for i in range(900)], WHAT: [f"what{i}" for i in range(304)]}
    sizes = {s: len(of) for s, of in groups.items()}
    rng = np.random.default_rng(7)
    held: Counter[str] = Counter()
    for seed in range(400):
        right = {k: bool(rng.random() < (0.95 if s == WHEN else 0.75)) for s, of in groups.items() for k in of}
        true = sum(right.values()) / len(right)
        asked = set(drawn(groups, 60, seed))
        for name in ("drawn", "deepened"):
            said = {
                s: rate(Judgement.RIGHT if right[k] else Judgement.WRONG for k in of if k in asked)
                for s, of in groups.items()
            }
            plain, found = Rate(sum(r.hits for r in said.values()), len(asked)), weighted(said, sizes)
            assert found is not None
            held[f"{name}, as counted"] += (plain.low or 0) <= true <= (plain.high or 0)
            held[f"{name}, weighted"] += found.low <= true <= found.high
            asked |= set(drawn({WHAT: groups[WHAT]}, 60, seed + 1))
    least = 400 * (0.95 - 2 * math.sqrt(0.95 * 0.05 / 400))  # two standard errors of 400 trials below 95 %
    assert min(held["drawn, as counted"], held["drawn, weighted"], held["deepened, weighted"]) >= least
    assert held["deepened, as counted"] < 0.7 * 400  # why the weighted figure stands beside it
