"""Rendered files: container times equal truth, same bytes twice, resumable, never half a file."""

import dataclasses
import json
import subprocess
import sys
import time
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from reelmill.pipelines.scenes import micro, score
from reelmill.pipelines.scenes import render as rendering
from reelmill.pipelines.scenes.compose import compose
from reelmill.pipelines.scenes.draw import Painter
from reelmill.pipelines.scenes.pictures import compose_picture, picture_truth
from reelmill.pipelines.scenes.presets import DEMO, MEDIUM, Preset, Timing
from reelmill.pipelines.scenes.render import load_truth, render, render_picture, render_set
from reelmill.pipelines.scenes.truth import sidecar, truth
from reelmill.schemas.errors import BadInput, Corrupt
from reelmill.schemas.keys import file_digest

TINY = dataclasses.replace(
    DEMO, name="tiny", width_px=160, height_px=120, duration_s=(2.0, 2.2), shots=(1, 1), radius_px=(8, 12), signs=(0, 0)
)


def decoded(path: Path) -> tuple[list[float], float, np.ndarray]:
    """Presentation times, end of the last frame, and the first frame's pixels."""
    with av.open(str(path)) as box:
        frames = list(box.decode(video=0))
    times = [float(f.pts * f.time_base) for f in frames]
    return times, times[-1] + float(frames[-1].duration * frames[-1].time_base), frames[0].to_ndarray(format="rgb24")


@pytest.mark.parametrize("timing", list(Timing))
def test_truth_times_are_the_container_times(tmp_path: Path, timing: Timing) -> None:
    scene = compose(11, dataclasses.replace(MEDIUM, timings=(timing,), duration_s=(4.0, 4.5)))
    exact = render(scene, tmp_path / "a.mp4")
    times, end_s, _ = decoded(tmp_path / "a.mp4")
    assert len(times) == len(exact.frame_times_s)
    assert np.abs(np.array(times) - exact.frame_times_s).max() < 1e-6
    assert end_s == pytest.approx(exact.duration_s, abs=1e-6)
    gaps = np.diff(times)
    assert (np.ptp(gaps) > 0.02) == (timing is Timing.VFR)


def test_the_file_shows_the_drawn_frames(tmp_path: Path) -> None:
    scene = compose(2, DEMO)
    render(scene, tmp_path / "a.mp4")
    _, _, first = decoded(tmp_path / "a.mp4")
    drawn = Painter(scene).frame(0)
    assert first.shape == drawn.shape
    gap = np.abs(first.astype(float) - drawn)
    assert gap.mean() < 3  # colours survive: the matrix of the conversion is the one that is marked
    assert abs(float((first.astype(float) - drawn).mean())) < 1.5


def test_rendering_twice_gives_the_same_bytes(tmp_path: Path) -> None:
    for seed in range(3):
        scene = compose(seed, MEDIUM)
        for name in ("a.mp4", "b.mp4"):
            render(scene, tmp_path / name)
        assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()


def test_the_sidecar_holds_truth_identity_and_digest(tmp_path: Path) -> None:
    scene = compose(1, TINY)
    path = tmp_path / "a.mp4"
    assert render(scene, path) == load_truth(path) == truth(scene)
    record = json.loads(sidecar(path).read_text("utf-8"))
    assert record["sha256"] == file_digest(path)
    assert record["bytes"] == path.stat().st_size
    assert record["identity"]["seed"] == 1
    assert record["identity"]["parameters"]["name"] == "tiny"


def stamps(paths: list[Path]) -> list[tuple[int, int]]:
    return [(p.stat().st_ino, p.stat().st_mtime_ns) for p in paths]


def test_a_set_is_resumed_and_not_made_twice(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    first = render_set(tmp_path, 2, 5, TINY, pictures=1, progress=lambda done, total: seen.append((done, total)))
    assert [p.name for p in first] == ["scene_000000.mp4", "scene_000001.mp4", "sign_000000.png"]
    assert seen == [(1, 3), (2, 3), (3, 3)]
    before = stamps(first)
    longer = render_set(tmp_path, 3, 5, TINY, pictures=1)
    assert stamps(first) == before
    assert [p.name for p in longer if p not in first] == ["scene_000002.mp4"]


def test_a_longer_set_begins_with_the_same_files(tmp_path: Path) -> None:
    short = render_set(tmp_path / "short", 1, 5, TINY, pictures=1)
    long = render_set(tmp_path / "long", 2, 5, TINY, pictures=1)
    by_name = {p.name: p for p in long}
    assert all(p.read_bytes() == by_name[p.name].read_bytes() for p in short)


def cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-10])


def break_sidecar(path: Path) -> None:
    sidecar(path).write_text("{", "utf-8")


def drop_sidecar(path: Path) -> None:
    sidecar(path).unlink()


def drop_video(path: Path) -> None:
    path.unlink()


@pytest.mark.parametrize("harm", [cut_short, break_sidecar, drop_sidecar, drop_video])
def test_harmed_files_are_made_again(tmp_path: Path, harm: object) -> None:
    path = render_set(tmp_path, 1, 5, TINY, pictures=0)[0]
    whole = path.read_bytes()
    harm(path)  # type: ignore[operator]
    render_set(tmp_path, 1, 5, TINY, pictures=0)
    assert path.read_bytes() == whole
    assert load_truth(path).duration_s > 0


@pytest.mark.parametrize("change", [{"seed": 6}, {"preset": dataclasses.replace(TINY, contrast=39.0)}])
def test_another_identity_replaces_the_file(tmp_path: Path, change: dict[str, object]) -> None:
    asked: dict[str, object] = {"folder": tmp_path, "count": 1, "seed": 5, "preset": TINY, "pictures": 0}
    path = render_set(**asked)[0]  # type: ignore[arg-type]
    before = json.loads(sidecar(path).read_text("utf-8"))["identity"]
    render_set(**(asked | change))  # type: ignore[arg-type]
    assert json.loads(sidecar(path).read_text("utf-8"))["identity"] != before


def test_a_failed_render_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: Painter, number: int) -> np.ndarray:
        if number == 5:
            raise OSError(28, "No space left on device")
        return np.zeros((120, 160, 3), np.uint8)

    monkeypatch.setattr(Painter, "frame", fail)
    with pytest.raises(OSError, match="No space"):
        render(compose(1, TINY), tmp_path / "a.mp4")
    assert list(tmp_path.iterdir()) == []


def test_missing_and_foreign_truth_are_named(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="no truth beside it"):
        load_truth(tmp_path / "a.mp4")
    sidecar(tmp_path / "a.mp4").write_text('{"format": 99}', "utf-8")
    with pytest.raises(Corrupt, match="another format"):
        load_truth(tmp_path / "a.mp4")


def test_pictures_have_their_lines(tmp_path: Path) -> None:
    for seed in range(12):
        path = tmp_path / f"{seed}.png"
        exact = render_picture(seed, path)
        assert load_truth(path) == exact == picture_truth(compose_picture(seed))
        assert (exact.shots, exact.tubes, exact.events) == ((), (), ())
        assert 2 <= len(exact.texts) <= 5
        with Image.open(path) as picture:
            assert picture.size == (exact.width_px, exact.height_px)
        tops = [line.box.y0_px for line in exact.texts]
        assert tops == sorted(tops)
        assert all(line.box.clipped(exact.width_px, exact.height_px) == line.box for line in exact.texts)


def test_demo_scenes_are_cheap(tmp_path: Path) -> None:
    """A bound ten times above what was measured: it catches a wrong order of work, not a slow machine."""
    scene = compose(0, DEMO)
    start = time.process_time()
    render(scene, tmp_path / "a.mp4")
    assert time.process_time() - start < 0.5 * scene.edges_s[-1]


def test_module_is_light_to_import() -> None:
    names = f"{rendering.__name__}, {score.__name__}, {micro.__name__}"
    code = f"import sys, {names}; print([m for m in ('cv2', 'av', 'scipy', 'PIL', 'torch', 'ray') if m in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


def test_presets_are_data() -> None:
    assert isinstance(TINY, Preset)
    assert hash(TINY) != hash(DEMO)
