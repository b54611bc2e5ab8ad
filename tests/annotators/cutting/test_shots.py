"""Shots: hard cuts to the frame, flashes and shakes taken back, black and dissolves set apart, nothing lost between."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from painted import black, cut, frames, mixed, moving, texture, timeline_of

from reelmill.annotators.cutting.shots import (
    Cuts,
    Piece,
    ShotRules,
    What,
    _detector,
    black_spans,
    dissolves,
    pieces,
    runs,
)

A, B, C = texture(1), texture(2), texture(3)


def shots(found):
    return [(p.start, p.stop) for p in found if p.what is What.SHOT]


def test_a_hard_cut_is_exact_to_the_frame():
    proposed, found = cut([A] * 30 + [B] * 21 + [C] * 30)
    assert proposed == (30, 51)
    assert found == (Piece(0, 30, What.SHOT), Piece(30, 51, What.SHOT), Piece(51, 81, What.SHOT))


@pytest.mark.parametrize("at", [1, 2, 24, 28, 29])
def test_cuts_near_either_end_are_found(at):
    assert shots(cut([A] * at + [B] * (30 - at))[1]) == [(0, at), (at, 30)]


@pytest.mark.parametrize("length", [1, 3, 6])
def test_a_flash_is_proposed_and_taken_back(length):
    white = np.full_like(A, 255)
    proposed, found = cut([A] * 20 + [white] * length + [A] * 20)
    assert proposed == (20, 20 + length)
    assert shots(found) == [(0, 40 + length)]


def test_a_flash_between_two_scenes_does_not_hide_the_cut():
    white = np.full_like(A, 255)
    found = cut([A] * 20 + [white] * 2 + [B] * 20)[1]
    assert shots(found) == [(0, 20), (20, 22), (22, 42)]


def test_a_short_third_scene_is_a_shot_of_its_own():
    assert shots(cut([A] * 20 + [C] * 5 + [B] * 20)[1]) == [(0, 20), (20, 25), (25, 45)]


def test_a_jerk_of_the_camera_does_not_divide_a_shot():
    shaken = [np.roll(A, 8 * (i % 3 - 1), axis=1) for i in range(12)]
    assert shots(cut([A] * 15 + shaken + [A] * 15)[1]) == [(0, 42)]


def test_a_pan_is_neither_cut_nor_dissolve():
    wide = np.concatenate([texture(s) for s in range(4)], axis=1)
    panned = [wide[:, 6 * i : 6 * i + 192] for i in range(90)]
    assert cut(panned)[1] == (Piece(0, 90, What.SHOT),)


def test_a_black_span_is_a_piece_and_the_fade_stays_in_its_shot():
    out = [mixed(A, black(), i / 15) for i in range(15)]
    back = [mixed(black(), B, i / 15) for i in range(15)]
    found = cut([A] * 20 + out + [black()] * 20 + back + [B] * 20)[1]
    assert [p.what for p in found] == [What.SHOT, What.BLACK, What.SHOT]
    dark = found[1]
    assert 33 <= dark.start <= 35
    assert 55 <= dark.stop <= 57


def test_two_black_frames_are_no_span():
    assert [p.what for p in cut([A] * 20 + [black()] * 2 + [A] * 20)[1]] == [What.SHOT]


@pytest.mark.parametrize("length", [15, 25, 50])
def test_a_dissolve_is_set_apart_and_shots_hold_no_mixture(length):
    mixture = [mixed(A, B, (i + 1) / (length + 1)) for i in range(length)]
    found = cut([A] * 30 + mixture + [B] * 30)[1]
    assert [p.what for p in found] == [What.SHOT, What.TRANSITION, What.SHOT]
    middle = found[1]
    assert 24 <= middle.start <= 31
    assert 29 + length <= middle.stop <= 36 + length


def test_a_dissolve_between_moving_scenes_is_found_too():
    count = 100
    first, second = moving(A, lambda i: 3 * i, count), moving(B, lambda i: 150 - 2 * i, count)
    share = np.clip((np.arange(count) - 40) / 25, 0, 1)
    found = cut([mixed(a, b, float(s)) for a, b, s in zip(first, second, share, strict=True)])[1]
    assert [p.what for p in found] == [What.SHOT, What.TRANSITION, What.SHOT]


def test_a_dissolve_ends_on_a_frame_of_the_grid():
    mixture = [mixed(A, B, (i + 1) / 26) for i in range(25)]
    timeline = timeline_of(frames([A] * 30 + mixture + [B] * 30))
    found = pieces(timeline, (), ShotRules(), grid=(0, 13, 25, 38, 50, 63, 75))
    assert found[1].stop in (63, 75)
    assert pieces(timeline, (), ShotRules(), grid=(0, 13))[1].stop == 85, "no later frame of the grid: to the end"


def test_light_that_changes_is_no_dissolve():
    dimmed = [mixed(A, black(), 0.7 * min(i, 25) / 25) for i in range(60)]
    assert cut(dimmed)[1] == (Piece(0, 60, What.SHOT),)


def test_cuts_are_by_time_of_frames_however_unevenly_they_come():
    times = np.cumsum([0.02 if i % 3 else 0.21 for i in range(40)]).tolist()
    proposed, found = cut([A] * 17 + [B] * 23, times_s=times)
    assert proposed == (17,)
    assert shots(found) == [(0, 17), (17, 40)]


def test_proposals_are_those_of_the_two_detectors_run_apart():
    from scenedetect.common import FrameTimecode
    from scenedetect.detectors import AdaptiveDetector, ContentDetector

    rules = ShotRules()
    rng = np.random.default_rng(5)
    pictures = [mixed(texture(i // 7), texture(i // 7 + 1), float(rng.random()) * 0.6) for i in range(60)]
    adaptive = AdaptiveDetector(adaptive_threshold=rules.ratio, min_scene_len=0, min_content_val=rules.floor)
    content = ContentDetector(threshold=rules.content, min_scene_len=0)
    apart: set[int] = set()
    for one in frames(pictures):
        bgr = np.ascontiguousarray(one.rgb(rules.side_px)[..., ::-1])
        for detector in (adaptive, content):
            apart |= {c.frame_num for c in detector.process_frame(FrameTimecode(one.index, fps=25.0), bgr)}
    together = cut(pictures)[0]
    assert len(together) > 10, "the sequence must exercise both detectors"
    assert set(together) == apart - {0}


def test_our_score_is_the_library_s_own_bit_by_bit():
    """`_detector` computes ContentDetector's score another way; every bit of it, and every cut, must be the same."""
    from scenedetect.common import FrameTimecode
    from scenedetect.detectors import AdaptiveDetector

    rules, rng = ShotRules(), np.random.default_rng(3)
    theirs = AdaptiveDetector(rules.ratio, min_scene_len=0, window_width=2, min_content_val=rules.floor)
    ours = _detector(rules)
    flat = [np.full((37, 53, 3), level, np.uint8) for level in (0, 255, 1, 128)]
    noise = [rng.integers(0, 256, (37, 53, 3)).astype(np.uint8) for _ in range(20)]
    dim = [(n // d).astype(np.uint8) for n, d in zip(noise, rng.integers(1, 60, len(noise)), strict=True)]
    cuts = 0
    for i, rgb in enumerate([*flat, *noise, *dim, *flat, *flat, *dim[::-1]]):
        told = theirs.process_frame(FrameTimecode(i, fps=1.0), np.ascontiguousarray(rgb[..., ::-1]))
        assert ours.process_frame(FrameTimecode(i, fps=1.0), rgb) == told
        assert float(ours._frame_score).hex() == float(theirs._frame_score).hex()
        cuts += len(told)
    assert cuts


def test_what_is_proposed_late_was_suspect_in_time():
    cuts, suspects, late = Cuts(ShotRules()), set(), 0
    for one in frames([A] * 10 + [mixed(A, B, 0.12)] * 10 + [C] * 10):
        cuts.see(one)
        late += sum(c < one.index for c in cuts.newly)
        if cuts.suspect:
            suspects.add(one.index)
        assert all(one.index - 2 <= c <= one.index for c in cuts.newly)
        assert suspects.issuperset(cuts.newly)
    assert cuts.done() == (10, 20)
    assert late == 1


@given(st.lists(st.sampled_from([0, 1, 2, 3]), min_size=1, max_size=40), st.sets(st.integers(1, 39)))
def test_pieces_cover_every_frame_once_whatever_is_proposed(scenes, proposed):
    pictures = [SMALL[s] for s in scenes]
    cuts = sorted(c for c in proposed if c < len(pictures))
    found = pieces(timeline_of(frames(pictures)), cuts, ShotRules())
    assert found[0].start == 0
    assert found[-1].stop == len(pictures)
    assert all(a.stop == b.start for a, b in itertools.pairwise(found))
    assert all(p.start < p.stop for p in found)


SMALL = [texture(s, 48, 32) for s in (1, 2, 3)] + [black(48, 32)]


def test_one_frame_is_one_shot_and_none_is_none():
    assert cut([A])[1] == (Piece(0, 1, What.SHOT),)
    assert pieces(timeline_of([]), (), ShotRules()) == ()
    assert black_spans(timeline_of([]), ShotRules()) == []
    assert dissolves(timeline_of([]), ShotRules()) == []


def test_runs_are_half_open():
    assert runs(np.array([True, True, False, True])) == [(0, 2), (3, 4)]
    assert runs(np.zeros(3, bool)) == []


TRUE_CUTS = {
    "videos/comp_multishot_dev.mp4": [3.0, 5.4],
    "videos/nasa_13013.mp4": [8.008],
    "videos/lf_cooking.avi": [1.571],
    "videos/sam2_dog.mp4": [],
    "videos/sam2_cups.mp4": [],
    "videos/vidor_3843663025.mp4": [],
    "hard/psd_counter.mp4": [1.0, 2.0],
}


@pytest.mark.parametrize("name", TRUE_CUTS)
def test_hard_cuts_of_real_videos(name, shared_media):
    """Boundaries between two shots; dissolves and black spans (nasa 5.08 s is a slow fade) are not among them."""
    from reelmill.annotators.cutting.stats import Facts
    from reelmill.annotators.decode.frames import watch

    timeline, proposed = watch(str(shared_media / name), None, (Facts(144), Cuts(ShotRules()))).results
    found = pieces(timeline, proposed, ShotRules())
    hard = [b.start for a, b in itertools.pairwise(found) if a.what is b.what is What.SHOT]
    assert [round(float(timeline.at_s[i]), 3) for i in hard] == pytest.approx(TRUE_CUTS[name], abs=0.005)
