"""The two layouts of ST-Align there and back, within stated bounds; both conventions of boxes; and the benchmark."""

from __future__ import annotations

import re
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from aligned_rows import Exact, samples_of, shots, source_span
from hypothesis import given, settings
from hypothesis import strategies as st

from reelmill.pipelines.scenes.presets import MEDIUM
from reelmill.pipelines.views.st_align import FORMS
from reelmill.schemas.errors import BadInput
from reelmill.schemas.media import Kind, MediaRef
from reelmill.schemas.sample import GroundedSample, Role, Tubelet, Turn
from reelmill.schemas.tube import Box
from reelmill.schemas.verdict import rejected
from reelmill.sinks.exports.conventions import Boxes, in_pixels, normalised
from reelmill.sinks.exports.frame_clock import FrameClock
from reelmill.sinks.exports.st_align import ELC, OF_A_PICTURE, STAGES, from_raw, from_training, raw, tokened, training
from reelmill.sinks.exports.st_align_bench import TASKS, benchmark, captions, score, training_set

Both = tuple[tuple[Turn, ...], tuple[Tubelet, ...]]


@pytest.fixture(scope="module")
def clips() -> list[tuple[Exact, tuple[GroundedSample, ...]]]:
    """Shots of scenes at constant and at varying frame rates, with their accepted samples."""
    found = [exact for seed in range(3) for exact in shots(seed, MEDIUM)]
    return [(exact, tuple(s for s in samples_of(exact) if s.verdict.accepted)) for exact in found]


def clock_of(exact: Exact) -> FrameClock:
    """The clock of a source that begins before the clip at 12.5 frames a second and ends with it."""
    start_s = source_span(exact).start_s
    before = tuple(t for i in range(10_000) if (t := i * 0.08) < start_s - 1e-3)
    *inside, end_s = exact.edges_s
    return FrameClock((*before, *(start_s + t for t in inside)), start_s + end_s)


def far(one: Both, other: Both) -> tuple[float, float]:
    """How far two dialogues are apart in seconds and pixels; they have the same words and marks."""
    assert [(t.role, t.text) for t in one[0]] == [(t.role, t.text) for t in other[0]]
    times, places = [0.0], [0.0]
    pairs: list[tuple[Any, Any]] = [*zip(one[0], other[0], strict=True), *zip(one[1], other[1], strict=True)]
    for a, b in pairs:
        flat_a = (*a.at_s, a.end_s) if isinstance(a, Tubelet) else (*a.src_s, *a.tgt_s)
        flat_b = (*b.at_s, b.end_s) if isinstance(b, Tubelet) else (*b.src_s, *b.tgt_s)
        times += [abs(s - t) for s, t in zip(flat_a, flat_b, strict=True)]
        for p, q in zip(a.boxes, b.boxes, strict=True):
            places += [abs(p.x0_px - q.x0_px), abs(p.y0_px - q.y0_px), abs(p.x1_px - q.x1_px), abs(p.y1_px - q.y1_px)]
    return max(times), max(places)


def test_raw_comes_back_as_it_was_where_times_are_edges_of_frames(clips):
    seen = set()
    for exact, samples in clips:
        clock = clock_of(exact)
        for sample in samples:
            document = raw(sample, "v.mp4", clock)
            assert far(from_raw(document, clock), (sample.turns, sample.tubes)) < (1e-6, 1e-9), document
            seen.add(sample.task)
    assert seen == set(FORMS)


@pytest.mark.parametrize("boxes", list(Boxes))
def test_training_comes_back_as_it_was(clips, boxes):
    for _, samples in clips:
        for sample in samples:
            document = training(sample, "v.mp4", boxes)
            assert far(from_training(document, sample.media, boxes), (sample.turns, sample.tubes)) < (1e-9, 1e-9)
            lists = document["variables"].values()
            assert all(0.0 <= value <= 1.0 for values in lists for value in values)
            assert document["stage"] == STAGES[sample.task]


def test_the_layouts_are_as_published(clips):
    exact, samples = next((e, s) for e, s in clips if {"stvg", ELC, "rec"} <= {x.task for x in s})
    stvg, elc, rec = (next(s for s in samples if s.task == task) for task in ("stvg", ELC, "rec"))
    document = raw(stvg, "v.mp4", clock_of(exact))
    assert document["video_path"] == "v.mp4"
    first, last = document["meta"]["split"]
    assert last - first + 1 == len(exact.edges_s) - 1, "split holds both of its ends"
    assert document["meta"]["time_token"].keys() == {"<s>", "<e>"}
    assert all(first <= int(f) <= last for f in document["meta"]["spatial_token"]["<bboxes>"])
    assert "{<s>,<e>}" in document["conversations"][1]["value"]
    document = raw(elc, "v.mp4", clock_of(exact))
    assert document["conversations"][0]["value"].startswith("Starts in <s>, ")
    assert document["conversations"][1]["value"].startswith("Ends in <e>, ")
    assert document["conversations"][1]["value"].endswith(". Object bounding box: <bboxes>")
    document = raw(rec, "f.jpg")
    assert (document["image_path"], "split" in document["meta"]) == ("f.jpg", False)
    (box,) = rec.turns[1].boxes
    assert document["meta"]["spatial_token"]["<bbox>"] == [
        box.x0_px,
        box.y0_px,
        box.x1_px - box.x0_px,
        box.y1_px - box.y0_px,
    ]
    trained = training(rec, "f.jpg")
    assert trained["conversations"][0]["value"].startswith("<image>\n")
    assert "[<WIDTH-OUTPUT><HEIGHT-OUTPUT><WIDTH-OUTPUT><HEIGHT-OUTPUT>]" in trained["conversations"][1]["value"]
    assert len(trained["variables"]["spatial_width_output_locations"]) == 2
    with_clock = training(stvg, "v.mp4", clock=clock_of(exact))
    assert with_clock["meta"]["split"] == [first, last]


def test_a_time_without_a_clock_is_refused(clips):
    timed = next(s for _, samples in clips for s in samples if s.task == "tvg")
    with pytest.raises(BadInput, match="give the clock"):
        raw(timed, "v.mp4")
    torn = replace(timed, turns=(timed.turns[0], replace(timed.turns[1], tgt_s=())))
    with pytest.raises(BadInput, match="no value for a <time>"):
        training(torn, "v.mp4")


# ---- bounds ----------------------------------------------------------------------------------------------------------

a_gap = st.floats(0.01, 0.2)


@st.composite
def clocks(draw: st.DrawFn) -> FrameClock:
    edges = np.cumsum([0.0, *draw(st.lists(a_gap, min_size=2, max_size=30))]).tolist()
    return FrameClock(tuple(edges[:-1]), edges[-1])


@given(clocks(), st.floats(0, 1))
def test_d1_a_frame_is_off_by_at_most_half_of_one(clock, share):
    at_s = share * clock.until_s
    edges = [*clock.at_s, clock.until_s]
    half_s = max(b - a for a, b in pairwise(edges)) / 2 + 1e-9
    if at_s <= clock.at_s[-1]:
        assert abs(clock.at_s[clock.frame(at_s)] - at_s) <= half_s
    if at_s >= clock.at_s[1]:
        assert abs(clock.end_s_of(clock.last(at_s)) - at_s) <= half_s


@given(clocks())
def test_d4_the_edges_of_frames_are_their_own(clock):
    for number, at_s in enumerate(clock.at_s):
        assert clock.frame(at_s) == number
        assert clock.last(clock.end_s_of(number)) == number


def test_a_clock_that_runs_back_is_refused():
    with pytest.raises(BadInput, match="do not rise"):
        FrameClock((0.0, 0.5, 0.5), 1.0)


@settings(max_examples=60)
@given(st.floats(0, 5.9), st.floats(0.05, 6.0), *[st.floats(0, 1) for _ in range(4)], st.sampled_from(list(Boxes)))
def test_d5_tokens_are_off_by_at_most_half_a_bin(clips, start, length, x, y, wide, high, boxes):
    exact, samples = clips[0]
    base = next(s for s in samples if s.task == "stvg")
    clip_s, width, height = source_span(exact).duration_s, exact.media.width_px, exact.media.height_px
    start_s = min(start, clip_s - 0.05)
    end_s = min(start_s + length, clip_s)
    box = Box(x * width * 0.5, y * height * 0.5, (x + wide) * width * 0.5, (y + high) * height * 0.5)
    turns = (base.turns[0], Turn(Role.ASSISTANT, "<time>: <tube>", (), (start_s, end_s), ()))
    sample = replace(base, turns=turns, tubes=(Tubelet((start_s,), (box,), end_s),))
    document = training(sample, "v.mp4", boxes)
    said = tokened(document)[1]
    tokens = [int(t) for t in re.findall(r"-(\d{3})>", said)]
    side = (width, height) if boxes is Boxes.UNPADDED else (max(width, height),) * 2
    for token, at_s in zip(tokens[:3], (start_s, end_s, start_s), strict=True):
        assert abs(token / 99 * clip_s - at_s) <= clip_s / 198 + 1e-9
    back = in_pixels([t / 99 for t in tokens[3:]], sample.media, boxes)
    assert max(abs(back.x0_px - box.x0_px), abs(back.x1_px - box.x1_px)) <= side[0] / 198 + 1e-9
    assert max(abs(back.y0_px - box.y0_px), abs(back.y1_px - box.y1_px)) <= side[1] / 198 + 1e-9


@pytest.mark.parametrize("size", [(200, 100), (100, 200), (120, 120)], ids=["wide", "tall", "square"])
@pytest.mark.parametrize("boxes", list(Boxes))
def test_d6_a_drawn_box_is_found_again_in_either_convention(size, boxes):
    """A rectangle is painted, the frame padded (or not) as a processor does it, and the numbers are looked up there."""
    width, height = size
    frame = np.zeros((height, width), np.uint8)
    frame[30:70, 20:60] = 255
    box = Box(20, 30, 60, 70)
    side = max(size)
    if boxes is Boxes.PADDED:
        top, left = (side - height) // 2, (side - width) // 2
        frame = np.pad(frame, ((top, side - height - top), (left, side - width - left)))
    media = MediaRef("", "", Kind.IMAGE, width, height, 0.0, None, "")
    corners = normalised(box, media, boxes)
    x0, y0, x1, y1 = (round(c * n) for c, n in zip(corners, frame.shape[::-1] * 2, strict=True))
    assert frame[y0:y1, x0:x1].min() == 255
    assert frame.sum() == frame[y0:y1, x0:x1].sum()
    assert in_pixels(corners, media, boxes).iou(box) == pytest.approx(1.0)


# ---- the benchmark ---------------------------------------------------------------------------------------------------


def of_source(samples: tuple[GroundedSample, ...], number: int) -> list[GroundedSample]:
    return [replace(s, media=replace(s.media, digest=f"{number:064x}")) for s in samples]


def test_d11_no_source_is_in_both(clips):
    samples = [s for i in range(60) for s in of_source(clips[0][1], i)]
    bench, train = list(benchmark(samples, 0.3)), list(training_set(samples, 0.3))
    tested, trained = ({s.media.digest for s in part} for part in (bench, train))
    assert tested
    assert trained
    assert tested & trained == set()
    assert tested | trained == {s.media.digest for s in samples}
    assert {s.task for s in bench} <= set(TASKS)
    assert set(STAGES) >= {s.task for s in train} > set(TASKS)


def test_what_was_refused_is_in_neither(clips):
    refused = [replace(s, verdict=rejected("x", "y")) for s in clips[0][1]]
    assert [*benchmark(refused, 1.0), *training_set(refused, 0.0)] == []


def least_iou(tubelet: Tubelet, media: MediaRef) -> float:
    """The least vIoU of a tube whose every edge is off by half a bin."""
    wide, high = media.width_px / 99, media.height_px / 99  # twice half a bin: one at either side
    sides = [(b.x1_px - b.x0_px, b.y1_px - b.y0_px) for b in tubelet.boxes]
    shares = [max(0.0, (w - wide) * (h - high)) / ((w + wide) * (h + high)) for w, h in sides if w > wide and h > high]
    return sum(shares) / len(sides)


def test_the_scorer_gives_the_truth_in_tokens_all_that_tokens_can_say_and_silence_nothing(clips):
    samples = [s for _, found in clips for s in found if s.task in TASKS]
    true = {s.key: tokened(training(s, "v.mp4"))[1] for s in samples}
    found = score(samples, true)
    assert {t: getattr(found, t).count for t in TASKS} == {t: sum(s.task == t for s in samples) for t in TASKS}
    for task in ("stvg", "svg", "elc"):
        tubes, own = getattr(found, task), [s for s in samples if s.task == task]
        assert (tubes.unread, tubes.coverage) == (0, 1.0)
        assert tubes.m_viou == tubes.m_siou >= sum(least_iou(s.tubes[0], s.media) for s in own) / len(own)
    assert found.tvg.recall == (1.0, 1.0, 1.0), "half a bin at either end of spans of a tenth of the clip and more"
    assert found.rec.accuracy == 1.0, "no box of a picture is asked about that shows less than half of its thing"
    silent = score(samples, {})
    assert silent.rec.accuracy == silent.tvg.m_tiou == silent.stvg.m_viou == 0.0
    assert (silent.rec.unread, silent.tvg.unread, silent.elc.unread) == (
        found.rec.count,
        found.tvg.count,
        found.elc.count,
    )


def test_an_elc_caption_is_whole_on_both_sides(clips):
    samples = [s for _, found in clips for s in found if s.task == ELC]
    true = {s.key: tokened(training(s, "v.mp4"))[1] for s in samples}
    pairs = captions(samples, true)
    assert len(pairs) == len(samples)
    assert all(told == want and want.startswith("the ") for _, told, want in pairs)
    assert {told for _, told, _ in captions(samples, {})} == {None}


def test_pictures_are_the_forms_about_one_frame(clips):
    for _, samples in clips:
        assert all(
            (len(s.frames) == 1) is (s.task in OF_A_PICTURE)
            for s in samples
            if len(s.frames) != 1 or s.task in OF_A_PICTURE
        )
