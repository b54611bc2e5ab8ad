"""The defect register on what the spatio-temporal flow really gives: rendered files in, samples and layouts out.

D1 times from nominal frame rates, D3 times beyond the end, D4 frames taken for seconds, D6 boxes of another size or
form, D10 failed samples replaced by others, D11 training on test sources, D12 rows that fit no schema, D13 questions
that their own answers contradict. (D5, D6: `tests/sinks/exports`; D8, D15, D17: `tests/schemas/metrics`. D2, D7, D9,
D14 and D16 are about captions, teachers, resumption, streams and model scores, of which this family has none.)
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from reelmill.annotators.decode.frames import open_frames
from reelmill.annotators.decode.packets import scan
from reelmill.jobs import verifying
from reelmill.pipelines import st_align
from reelmill.pipelines._place import place_of
from reelmill.pipelines._recipe import Place, in_order
from reelmill.pipelines._run import Local, run
from reelmill.pipelines.scenes.compose import compose
from reelmill.pipelines.scenes.presets import PRESETS, Timing
from reelmill.pipelines.scenes.render import render
from reelmill.schemas import arrow
from reelmill.schemas.sample import GroundedSample
from reelmill.sinks.dataset import Store
from reelmill.sinks.exports.frame_clock import FrameClock
from reelmill.sinks.exports.st_align import from_raw, raw
from reelmill.sinks.exports.st_align_bench import benchmark, training_set
from reelmill.sinks.pack import pack
from reelmill.sinks.publishing.view import accepted_children, samples
from reelmill.sinks.verify import verify

pytestmark = pytest.mark.slow
MICRO = 1.5e-6
TRUTH = st_align.recipe("truth")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """A 29.97 fps and a VFR scene and half a video, through the flow that has truth for its evidence."""
    folder = tmp_path_factory.mktemp("aligned")
    media = folder / "media"
    media.mkdir()
    for seed, (name, timing) in enumerate((("ntsc", Timing.NTSC), ("vfr", Timing.VFR))):
        preset = dataclasses.replace(PRESETS["demo"], name=name, timings=(timing,), duration_s=(3.0, 3.5), shots=(1, 1))
        render(compose(seed, preset), media / f"{name}.mp4")
    (media / "half.mp4").write_bytes((media / "ntsc.mp4").read_bytes()[:5_000])
    place = place_of(folder / "store", (str(media),), "aligned")
    run(TRUTH, place, Local(1))
    return place


def made(place: Place) -> list[GroundedSample]:
    found = list(samples(accepted_children(place.dataset(TRUTH))))
    grounded = [s for s in found if isinstance(s, GroundedSample)]
    assert len(grounded) == len(found)
    return grounded


def clock_of(uri: str) -> FrameClock:
    """The clock of a file by its container alone."""
    packets = scan(uri)
    return FrameClock(packets.at_s, packets.end_s)


def test_d1_and_d4_boxes_stand_at_presentation_times_of_the_container(place: Place) -> None:
    tubes = 0
    for sample in made(place):
        assert sample.media.span is not None
        times = [t - sample.media.span.start_s for t in clock_of(sample.media.uri).at_s]
        for tubelet in sample.tubes:
            tubes += 1
            assert {f.at_s for f in sample.frames} >= set(tubelet.at_s)
            assert all(min(abs(t - at_s) for t in times) < MICRO for at_s in tubelet.at_s)
    assert tubes >= 10


def test_d1_frame_numbers_of_the_raw_layout_are_those_of_the_file(place: Place) -> None:
    for sample in (s for s in made(place) if s.task == "stvg"):
        clock = clock_of(sample.media.uri)
        document = raw(sample, sample.media.uri, clock)
        turns, tubes = from_raw(document, clock)
        for told, want in zip(turns[1].tgt_s, sample.turns[1].tgt_s, strict=True):
            assert abs(told - want) < MICRO
        assert np.allclose(tubes[0].at_s, sample.tubes[0].at_s, atol=MICRO)


def test_d6_a_box_lies_on_its_thing_in_the_decoded_frame(place: Place) -> None:
    """The pixels in a box are of another colour than those around it: the box is of this frame and in this form."""
    seen = 0
    for sample in (s for s in made(place) if s.task == "rec"):
        assert sample.media.span is not None
        (box,) = sample.turns[1].boxes
        wanted = sample.media.span.start_s + sample.frames[0].at_s
        frames = open_frames(sample.media.uri)
        picture = next(f.rgb(None) for f in frames if abs(f.at_s - wanted) < MICRO).astype(int)
        x, y = (int(c) for c in box.centre_px)
        inside = picture[y, x]
        outside = picture[y, max(0, int(box.x0_px) - 6)] if box.x0_px > 8 else picture[y, int(box.x1_px) + 6]
        assert np.abs(inside - outside).sum() > 60, (sample.key, inside, outside)
        seen += 1
    assert seen >= 4


def test_d3_d12_every_row_fits_its_schema_and_the_recount_finds_nothing(place: Place) -> None:
    for recipe in in_order(TRUTH):
        found = verify(place.dataset(recipe))
        assert found.ok, found.findings
    assert arrow.schema_of(GroundedSample).names == [
        n for n in place.dataset(TRUTH).children().column_names if n != "part"
    ]


def test_d10_what_cannot_be_decoded_is_counted_and_replaced_by_nothing(place: Place) -> None:
    media, clips = (place.dataset(r).counts() for r in in_order(TRUTH)[:2])
    assert (media.live, media.pending, clips.pending) == (3, 0, 0)
    assert media.rejected + clips.rejected == 1, (media.reasons, clips.reasons)
    view = place.dataset(TRUTH).counts()
    assert view.accepted + view.rejected == clips.accepted_children == 2
    assert {Path(s.media.uri).name for s in made(place)} == {"ntsc.mp4", "vfr.mp4"}


def test_d11_the_pack_and_the_benchmark_split_sources_alike(place: Place) -> None:
    both = made(place)
    bench, train = list(benchmark(both, 0.5)), list(training_set(both, 0.5))
    assert {s.media.digest for s in bench}.isdisjoint(s.media.digest for s in train)
    packed = pack(Store(place.store), place.dataset(TRUTH), val_share=0.5)
    assert packed.samples.get("train", 0) == len(train)
    assert packed.samples.get("val", 0) == len(both) - len(train) >= len(bench)


def test_d13_yes_and_no_are_balanced_in_every_clip(place: Place) -> None:
    said: dict[str, Counter[str]] = {}
    for sample in (s for s in made(place) if s.task == "vqa_yes_no"):
        answer = sample.turns[1].text[:2].lower().strip(".")
        said.setdefault(sample.parent_key, Counter())[answer] += 1
    assert said
    assert all(counts["ye"] == counts["no"] for counts in said.values())


def test_every_sample_compiled_from_truth_is_right(place: Place) -> None:
    store = Store(place.store)
    figures = {f.name: f for f in verifying.measure(store, place.dataset(TRUTH))}
    assert figures["samples right within 1e-06 s"].count == len(made(place)) > 20
    assert all(f.value == 1.0 for f in figures.values())
