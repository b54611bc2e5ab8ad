"""The curated view: one sample per clip, its facts beside it, no word; and what the options refuse."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest
from view_rows import LINK, picture, row, shown, video

from reelmill.annotators.annotator import Annotator
from reelmill.annotators.cut import CutClips
from reelmill.pipelines import clips, curated
from reelmill.pipelines._plan import Plan
from reelmill.pipelines._recipe import in_order
from reelmill.pipelines.views.curated import SAMPLES, CompileCurated
from reelmill.schemas import arrow
from reelmill.schemas.clip import ClipStats
from reelmill.schemas.column import schema
from reelmill.schemas.errors import BadInput
from reelmill.schemas.sample import ClipFacts, CuratedSample
from reelmill.schemas.span import Span

STATS = ClipStats(motion=0.031, sharpness=412.0, luma=103.2, luma_spread=51.8, phash="d1c4b8a39e2e6c31")


def outcome(step: CompileCurated | None = None, media=None, stats: ClipStats | None = STATS) -> Any:
    step = step or CompileCurated()
    made = row(media or video(3.0, Span(1.0, 4.0)), shown(0, 12, 25), num_frames=75, still=False, stats=stats)
    (out,) = step(pa.Table.from_pylist([made], schema=schema(*step.needs))).to_pylist()
    assert out["fault"] is None, out["fault"]
    return out


def test_a_clip_becomes_one_sample_with_its_frames_and_facts_and_no_turn():
    (sample,) = arrow.typed(SAMPLES.hint, outcome()["samples"])
    assert isinstance(sample, CuratedSample)
    assert isinstance(CompileCurated(), Annotator)
    assert (sample.family, sample.task, sample.turns, sample.evidence) == ("curated", "clip", (), ())
    assert [(f.dataset, f.key, f.frame) for f in sample.frames] == [("clips-x@1", "clip", n) for n in (0, 12, 25)]
    assert sample.media.span == Span(1.0, 4.0)
    assert sample.facts == ClipFacts(75, False, 0.031, 412.0, 103.2, 51.8, "d1c4b8a39e2e6c31")
    assert sample.provenance[0] == LINK
    assert [p.step for p in sample.provenance[1:]] == ["compile_curated"]
    assert sample.verdict.accepted


@pytest.mark.parametrize(
    ("step", "media", "reason"),
    [
        (CompileCurated(min_motion=0.0311), None, "too_little_motion"),
        (CompileCurated(min_motion=0.031), None, None),
        (CompileCurated(min_motion=0.5), picture(), None),
        (CompileCurated(min_sharpness=412.5), None, "not_sharp"),
        (CompileCurated(min_sharpness=412.5), picture(), "not_sharp"),
    ],
)
def test_below_a_threshold_a_clip_is_refused_and_pictures_need_no_motion(step, media, reason):
    verdict = outcome(step, media)["verdict"]
    assert (verdict["reason"] if verdict else None) == reason
    if reason:
        assert ("0.031" if reason == "too_little_motion" else "412") in verdict["detail"]


def test_a_clip_without_stats_is_refused():
    assert outcome(stats=None)["verdict"]["reason"] == "no_stats"


def test_the_size_and_pace_of_frames_reach_the_cutter_and_are_identity():
    made = curated.recipe(short_side_px=224, every_s=1)
    cut = made.source.upstreams[0]
    (step,) = cut.steps
    assert isinstance(step, CutClips)
    assert (cut.name, step.shown.side_px, step.shown.every_s) == ("clips_224px_1000ms", 224, 1.0)
    assert cut.fingerprint_hash() != clips.recipe().fingerprint_hash()
    assert made.fingerprint_hash() != curated.recipe().fingerprint_hash()
    assert curated.recipe(every_s=1, short_side_px=224) == made
    assert curated.recipe(min_motion=0.01).source.upstreams[0] == clips.recipe(), "a filter cuts nothing anew"
    assert [r.name for r in in_order(curated.recipe())] == ["media", "clips", "curated"]
    Plan.of(made)


@pytest.mark.parametrize("bad", [0, 15, 5000, 224.5, "224", True, None])
def test_a_size_that_is_none_is_refused(bad):
    with pytest.raises(BadInput, match="short_side_px"):
        curated.recipe(short_side_px=bad)


@pytest.mark.parametrize("bad", [0, -1, 61, 0.3333, "1", True, float("nan"), float("inf")])
def test_a_pace_that_is_none_is_refused(bad):
    with pytest.raises(BadInput, match="every_s"):
        curated.recipe(every_s=bad)


@pytest.mark.parametrize("bad", ["much", -0.1, float("nan"), True])
def test_a_threshold_that_is_none_is_refused(bad):
    for name in ("min_motion", "min_sharpness"):
        with pytest.raises(BadInput, match=name):
            curated.recipe(**{name: bad})
