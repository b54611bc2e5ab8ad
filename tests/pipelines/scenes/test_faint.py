"""Faint scenes: what micro clips say of them is what their truth says, and what was refused is not asked about."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from reelmill.pipelines.scenes import colours
from reelmill.pipelines.scenes.draw import Painter
from reelmill.pipelines.scenes.faint import (
    CONTRAST,
    DURATION_S,
    FPS,
    Evidence,
    compose_faint,
    render_faint,
    shrunk,
    told_small,
)
from reelmill.pipelines.scenes.micro import MicroClip, MicroPreset
from reelmill.pipelines.scenes.micro_samples import clip_digest, samples, stored
from reelmill.pipelines.scenes.truth import SceneTruth, truth
from reelmill.schemas.event import EventKind
from reelmill.schemas.sample import Sample
from reelmill.schemas.verdict import rejected

SCENES = 60
AT_S = tuple(np.arange(0, DURATION_S, 0.5).tolist())
NOBODY = np.zeros((16, 24, 24, 3), np.uint8)


@pytest.fixture(scope="module")
def exact() -> list[SceneTruth]:
    return [truth(compose_faint(1, index)) for index in range(SCENES)]


def small(said: SceneTruth, *, accepted: bool = False, **changed: Any) -> MicroClip:
    evidence = replace(Evidence(said.tubes, said.events), **changed)
    return told_small(0, NOBODY, AT_S, DURATION_S, evidence, accepted=accepted)


def asked(clip: MicroClip) -> list[Sample]:
    return samples(clip, stored(clip), clip_digest(0, 0, MicroPreset()), 0, "faint@0", boxes=4) if clip.tubes else []


def test_a_thing_is_told_of_in_the_frames_that_show_it(exact: list[SceneTruth]) -> None:
    for said in exact:
        (tube,) = said.tubes
        clip = small(said)
        (own,) = clip.tubes
        shown = [t for t in AT_S if tube.at_s[0] - 1e-6 <= t < tube.end_s - 1e-6]
        assert own.at_s == tuple(shown)
        large = tube.boxes[int(np.argmin(np.abs(np.array(tube.at_s) - shown[0])))]
        assert own.boxes[0].x0_px * 160 / 24 == pytest.approx(large.x0_px)
        assert own.frame_width_px == 24


def test_each_act_has_its_question(exact: list[SceneTruth]) -> None:
    """A visit moves twice, so that one span would not answer; a glide is always there."""
    seen = set()
    for index, said in enumerate(exact):
        tasks = {s.task for s in asked(small(said))} - {"caption", "where_still", "where_moving"}
        path = compose_faint(1, index).shots[0].movers[0].path
        always = said.tubes[0].at_s[0] == 0
        act = "visit" if len(path) == 4 else "glide" if always else "pass"
        assert tasks == {"visit": {"when_appear"}, "glide": {"when_move"}, "pass": {"when_appear", "when_move"}}[act]
        seen.add(act)
    assert seen == {"visit", "glide", "pass"}


def test_what_was_refused_is_asked_about_among_all_labels_alone(exact: list[SceneTruth]) -> None:
    said = next(s for s in exact if len(s.events) == 3)  # enters, moves, leaves
    left = {
        EventKind.ENTERS: {"when_move", "where_moving"},
        EventKind.LEAVES: {"when_move", "where_moving"},
        EventKind.MOVES: {"when_appear", "where_still"},  # what moves is known by the movement
    }
    for kind, sure in left.items():
        events = tuple(
            replace(e, verdict=rejected("read_events", "too_brief")) if e.kind is kind else e for e in said.events
        )
        tasks = [{s.task for s in asked(small(said, accepted=flag, events=events))} for flag in (False, True)]
        assert [own - {"caption"} for own in tasks] == [{"when_appear", "when_move", "where_moving"}, sure]
    tubes = (replace(said.tubes[0], confidence=0.4),)
    assert not asked(small(said, accepted=True, tubes=tubes))
    assert asked(small(said, tubes=tubes))


def test_labels_say_who_made_them_and_how_sure(exact: list[SceneTruth]) -> None:
    found = replace(exact[0].tubes[0], method="rules", confidence=0.7)
    assert {(s.method, s.label_confidence) for s in asked(small(exact[0], tubes=(found,)))} == {
        ("rules:objects=1", 0.7)
    }


def test_contrast_is_within_its_range(exact: list[SceneTruth]) -> None:
    shots = [compose_faint(1, index).shots[0] for index in range(SCENES)]
    apart = [colours.distance(shot.movers[0].rgb, shot.backdrop.rgb) for shot in shots]
    # Colours are whole levels, and CIE L*a*b* is not a straight line of sRGB.
    assert CONTRAST[0] / 3 < min(apart) < 10
    assert 30 < max(apart) < CONTRAST[1] * 1.5


def test_rendered_files_are_kept_and_shrunk_frames_show_the_thing(tmp_path: Path) -> None:
    (path,) = render_faint(tmp_path, 1, seed=1)
    before = path.stat().st_mtime_ns
    assert render_faint(tmp_path, 1, seed=1) == [path]
    assert path.stat().st_mtime_ns == before
    scene = compose_faint(1, 0)
    picture = Painter(scene).frame(scene.num_frames // 2)
    jpegs = stored(MicroClip(0, picture[None], (0.0,), 1.0, (), ())).jpegs
    frames = shrunk(jpegs, 20)
    assert frames.shape == (1, 20, 20, 3)
    assert scene.num_frames == DURATION_S * FPS
    means = picture.reshape(20, 8, 20, 8, 3).mean(axis=(1, 3))
    assert np.abs(frames[0] - means).mean() < 3
