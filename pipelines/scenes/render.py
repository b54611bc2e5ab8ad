"""Scenes and pictures as files, each with its truth beside it: `scene_000017.mp4` and `scene_000017.mp4.truth.json`.

One x264 thread and bit-exact flags make the same bytes for the same libraries. A file appears whole or not at all; the
sidecar is written last, so a file whose sidecar names its size and today's identity is finished and is kept.

    >>> render_set(Path("media"), count=12, seed=0, preset=PRESETS["demo"])     # doctest: +SKIP
    [PosixPath('media/scene_000000.mp4'), ...]
"""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

from reelmill.pipelines.scenes.compose import compose
from reelmill.pipelines.scenes.draw import Painter
from reelmill.pipelines.scenes.pictures import compose_picture, draw_picture, picture_truth
from reelmill.pipelines.scenes.presets import Preset
from reelmill.pipelines.scenes.scene import TICKS_PER_S, Scene
from reelmill.pipelines.scenes.truth import SceneTruth, sidecar, truth
from reelmill.schemas import arrow
from reelmill.schemas.errors import BadInput, Corrupt
from reelmill.schemas.keys import file_digest, seed_for

FORMAT = 1
Progress = Callable[[int, int], None]

_CRF = "23"
_KEY_FRAMES = 50
# One thread is not enough for equal bytes: with weighted prediction and macroblock trees on, the x264 inside PyAV 18.1
# gave several encodings of the same pictures within one process; with both off no pair differed (docs/decisions/0005).
_X264 = (
    "threads=1:lookahead-threads=1:sliced-threads=0:weightp=0:mbtree=0"
    ":colorprim=smpte170m:transfer=smpte170m:colormatrix=smpte170m"
)


def render(scene: Scene, path: Path) -> SceneTruth:
    """Encode a scene as H.264 in MP4 with its own presentation times, write its sidecar, and give its truth.

    Raises OSError where the folder cannot be written and av.FFmpegError where x264 is missing.
    """
    exact = truth(scene)
    appear(path, functools.partial(_encode, scene))
    write_sidecar(path, scene.identity, exact)
    return exact


def render_picture(seed: int, path: Path) -> SceneTruth:
    """Write the picture of a seed as PNG with its sidecar, and give its truth."""
    picture = compose_picture(seed)
    exact = picture_truth(picture)
    appear(path, functools.partial(_write_png, draw_picture(picture)))
    write_sidecar(path, picture.identity, exact)
    return exact


def render_set(
    folder: Path, count: int, seed: int, preset: Preset, *, pictures: int = 2, progress: Progress | None = None
) -> list[Path]:
    """Render `count` scenes and some pictures of text into a folder; finished files of the same identity are kept.

    `progress(done, total)` is called after each file, also a kept one. The seed of a file depends on (seed, file name,
    preset name) alone, so a larger count begins with the same files.
    """
    folder.mkdir(parents=True, exist_ok=True)
    paths: list[Path] = []
    for number in range(count + pictures):
        is_scene = number < count
        path = folder / (f"scene_{number:06d}.mp4" if is_scene else f"sign_{number - count:06d}.png")
        _keep_or_render(path, preset if is_scene else None, seed_for(seed, path.name, preset.name))
        paths.append(path)
        if progress is not None:
            progress(number + 1, count + pictures)
    return paths


def load_truth(media: Path) -> SceneTruth:
    """The truth of a rendered file. Raises BadInput where it has no sidecar and Corrupt where that cannot be read."""
    record = record_of(media)
    if record is None:
        raise BadInput(f"{media.name} has no truth beside it", seen=str(sidecar(media)), do="render it again")
    exact: SceneTruth = arrow.typed(SceneTruth, record["truth"])
    return exact


def _keep_or_render(path: Path, preset: Preset | None, seed: int) -> None:
    if preset is None:
        if not finished(path, compose_picture(seed).identity):
            render_picture(seed, path)
        return
    scene = compose(seed, preset)
    if not finished(path, scene.identity):
        render(scene, path)


def finished(path: Path, identity: dict[str, Any]) -> bool:
    """Is this file there, whole, and of this identity? JSON has no tuples, so identities compare as JSON."""
    try:
        record = record_of(path)
    except Corrupt:
        return False
    if record is None or not path.is_file():
        return False
    same = record["identity"] == json.loads(json.dumps(identity))
    return bool(same and record["bytes"] == path.stat().st_size)


def record_of(media: Path) -> dict[str, Any] | None:
    """What stands in the sidecar of a file; None where there is none. Raises Corrupt where it cannot be read."""
    beside = sidecar(media)
    if not beside.is_file():
        return None
    try:
        record: dict[str, Any] = json.loads(beside.read_text("utf-8"))
    except ValueError as error:
        raise Corrupt(str(beside), seen=str(error), do="delete it and render again") from error
    if not isinstance(record, dict) or record.get("format") != FORMAT:
        raise Corrupt(str(beside), seen="another format", do=f"render again (format {FORMAT})")
    return record


def write_sidecar(media: Path, identity: dict[str, Any], exact: SceneTruth, **more: Any) -> None:
    """The sidecar of a file that is there; `more` are further parts of its record, as plain values."""
    record = more | {
        "format": FORMAT,
        "identity": identity,
        "sha256": file_digest(media),
        "bytes": media.stat().st_size,
        "truth": arrow.plain(exact),
    }
    text = json.dumps(record, sort_keys=True, separators=(",", ":"), allow_nan=False)
    appear(sidecar(media), lambda path: path.write_text(text, "utf-8"))


def appear(path: Path, write: Callable[[Path], object]) -> None:
    """Write under a hidden name of this process, then rename: readers see the whole file or none."""
    hidden = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        write(hidden)
        hidden.replace(path)
    finally:
        hidden.unlink(missing_ok=True)


def _write_png(pixels: Any, path: Path) -> None:
    from PIL import Image

    Image.fromarray(pixels).save(path, format="PNG")


def _encode(scene: Scene, path: Path) -> None:
    import av
    import cv2

    cv2.setNumThreads(1)
    with av.open(str(path), "w", format="mp4", options={"fflags": "+bitexact", "movflags": "+faststart"}) as box:
        stream = _stream(box, scene)
        painter = Painter(scene)
        gaps = {start: after - start for start, after in zip(scene.ticks, scene.ticks[1:], strict=False)}
        for number, pixels in enumerate(painter.frames()):
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24").reformat(
                format="yuv420p", dst_colorspace="ITU601"
            )
            frame.pts, frame.time_base = scene.ticks[number], Fraction(1, TICKS_PER_S)
            _mux(box, stream.encode(frame), gaps)
        _mux(box, stream.encode(None), gaps)


def _stream(box: Any, scene: Scene) -> Any:
    """An H.264 stream on the scene's own clock."""
    stream = box.add_stream("libx264", rate=25)
    stream.width, stream.height, stream.pix_fmt = scene.preset.width_px, scene.preset.height_px, "yuv420p"
    stream.time_base = stream.codec_context.time_base = Fraction(1, TICKS_PER_S)
    stream.codec_context.thread_count = 1
    stream.codec_context.gop_size = _KEY_FRAMES
    stream.codec_context.max_b_frames = 0
    stream.codec_context.options = {"preset": "veryfast", "crf": _CRF, "x264-params": _X264, "flags": "+bitexact"}
    return stream


def _mux(box: Any, packets: Any, gaps: dict[int, int]) -> None:
    """Mux with true durations: only the last one matters, since it ends the film."""
    for packet in packets:
        packet.duration = gaps[packet.pts]
        box.mux(packet)
