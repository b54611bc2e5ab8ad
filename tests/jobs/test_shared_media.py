"""Real media that break pipelines: every file ends accepted or refused for what is truly wrong with it.

The table was judged by hand against what MANIFEST.json says of each file, and by looking at the frames where that says
too little: px_vfr.webm really is cut every third of a second, and psd_counter.mp4 changes its ground at 1 s and at 2 s.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from reelmill.pipelines import clips, media
from reelmill.pipelines._place import place_of
from reelmill.pipelines._recipe import Place
from reelmill.pipelines._run import Local, Report, run

pytestmark = pytest.mark.slow

KEPT = ("accepted", "")
Ends = set[tuple[str, str]]

# What each file comes to: accepted, or step/reason with a piece of the detail that names the fault.
TRUE: dict[str, Ends] = {
    "-rf leading dash; $(touch pwned) 'quote' \"dq\" .mp4": {KEPT},
    "all_black_20s.mp4": {("cut_clips/black", "mean luma 0.0")},
    "animated.webp": {KEPT},  # its first picture, by decision 0004
    "audio_only.mp4": {("identify/audio_only", "0 video streams")},
    "bitflips.mp4": {KEPT},  # 46 of 47 frames come; that some are damaged stands in its status
    "bomb_30000x30000.png": {("identify/too_many_pixels", "900000000 pixels")},
    "decord_corrupted.mp4": {KEPT},  # 49 of 50 frames come
    "decord_rot180.mov": {("cut_clips/too_short", "0.100 s")},
    "decord_rot90.mov": {("cut_clips/too_short", "0.100 s")},
    "encrypted_cenc.mp4": {("identify/encrypted", "cenc")},
    "exif_landscape_8.jpg": {KEPT},
    "fps1000.mp4": {KEPT},
    "fragmented.mp4": {KEPT},
    "gray16.png": {KEPT},
    "huge_8k.mp4": {("cut_clips/too_short", "0.400 s")},
    "jpeg_trailing_zip.jpg": {KEPT},  # the zip behind it is never looked at
    "lf_glass.mp3": {("identify/audio_only", "0 video streams")},
    "nemo_tiny_2fps.mp4": {KEPT},
    "one_frame.mp4": {("cut_clips/too_short", "0.033 s")},
    "one_pixel.png": {("cut_clips/too_small", "1x1 px")},
    "pil_bomb.gif": {("identify/too_many_pixels", "4364696535 pixels")},
    "pil_cmyk.jpg": {KEPT},
    "pil_hopper_16bit.pgm": {KEPT},
    "pil_truncated.jpg": {("identify/truncated_picture", "JPEG")},
    "pil_truncated.png": {("identify/truncated_picture", "PNG")},
    "prompt_injection_text.png": {KEPT},  # a picture of words; they are data to us
    "psd_counter.mp4": {KEPT},
    "psd_delayed_start.mp4": {
        ("cut_clips/black", "mean luma 2"),
        ("cut_clips/no_detail", "spread 0.0"),
    },  # a plain fade
    "px_bad_video.mp4": {("identify/not_media", "this is a bad vi")},
    "px_vfr.webm": {KEPT, ("cut_clips/too_short", "under 0.5 s")},
    "rapid_exif_text.jpg": {KEPT},
    "rapid_white_on_transparent.png": {KEPT},
    "really_mp4.jpg": {KEPT},  # judged by its bytes
    "resolution_change.ts": {("cut_clips/resolution_changed", "320x240 became 240x426")},
    "sar_2_1.mp4": {KEPT},
    "svg_xxe.svg": {("identify/vector_picture", "SVG")},
    "tc_full_range.mp4": {KEPT},
    "tc_h264_10bit.mp4": {KEPT},
    "tc_hevc_frames.mp4": {KEPT},
    "truncated_no_moov.mp4": {("identify/truncated_no_index", "without a moov box")},
    "video_starts_at_5s.mp4": {KEPT},
    "zero_length.mp4": {("identify/empty_file", "0 bytes")},
    "zip_bomb_small.zip": {("identify/archive", "never opened")},
    "zip_slip.zip": {("identify/archive", "never opened")},
}
DAMAGED = {"bitflips.mp4": (46, 47), "decord_corrupted.mp4": (49, 50)}
SHOWN_PX = {
    "decord_rot90.mov": (320, 568),
    "decord_rot180.mov": (568, 320),
    "sar_2_1.mp4": (1280, 480),
    "exif_landscape_8.jpg": (1800, 1200),
}
FRAMES = {"psd_counter.mp4": 30, "tc_hevc_frames.mp4": 10, "nemo_tiny_2fps.mp4": 7, "fps1000.mp4": 500}
OUTSIDE = Path("/tmp/zipslip_pwned.txt")  # where zip_slip.zip would write if anything unpacked it


class Ended:
    """What a run over the hard files came to, by file name."""

    def __init__(self, folder: Path, place: Place, reports: list[Report], cwd: Path) -> None:
        self.folder, self.place, self.reports, self.cwd = folder, place, reports, cwd
        files, cut = place.dataset(media.recipe()), place.dataset(clips.recipe())
        self.rows = {r["key"]: r for r in files.rows().to_pylist()}
        self.units = by_parent(files.children().to_pylist())
        self.cut = {r["key"]: r for r in cut.rows().to_pylist()}
        self.clips = by_parent(cut.children().to_pylist())
        self.entries = files.entries()
        self.keys = {Path(e.uri).name: e.key for e in self.entries}

    def clips_of(self, name: str) -> list[dict[str, Any]]:
        return [c for unit in self.units[self.keys[name]] for c in self.clips.get(unit["key"], [])]

    def verdicts(self, name: str) -> list[dict[str, Any]]:
        """The verdicts that a file ends with: its own, or its unit's, or those of its clips."""
        own = self.rows[self.keys[name]]["verdict"]
        if own["state"] == "rejected":
            return [own]
        units = [self.cut[u["key"]]["verdict"] for u in self.units[self.keys[name]]]
        return [v for v in units if v["state"] == "rejected"] + [c["verdict"] for c in self.clips_of(name)]


def by_parent(children: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = {}
    for child in children:
        found.setdefault(child["parent_key"], []).append(child)
    return found


@pytest.fixture(scope="module")
def ended(shared_media: Path, tmp_path_factory: pytest.TempPathFactory) -> Ended:
    folder, cwd = shared_media / "hard", tmp_path_factory.mktemp("here")
    place = place_of(cwd / "store", (str(folder),), "hard")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(cwd)
        return Ended(folder, place, run(clips.recipe(), place, Local(2)), cwd)


def test_the_table_speaks_of_every_file(shared_media: Path) -> None:
    assert {p.name for p in (shared_media / "hard").iterdir()} == TRUE.keys()


@pytest.mark.parametrize("name", sorted(TRUE))
def test_each_file_ends_with_its_true_reason(ended: Ended, name: str) -> None:
    verdicts = ended.verdicts(name)
    seen = {KEPT[0] if v["state"] == "accepted" else f"{v['step']}/{v['reason']}" for v in verdicts}
    assert seen == {reason for reason, _ in TRUE[name]}
    for reason, fragment in TRUE[name] - {KEPT}:
        details = [v["detail"] for v in verdicts if f"{v['step']}/{v['reason']}" == reason]
        assert any(fragment in d for d in details), details


def test_counts_close_and_every_name_is_accounted_for(ended: Ended) -> None:
    assert all(r.counts.closes and r.counts.pending == 0 and r.faults == 0 for r in ended.reports)
    assert len(ended.entries) == len(TRUE)
    twins = Counter(e.key for e in ended.entries)
    assert {n for n, k in ended.keys.items() if twins[k] > 1} >= {"really_mp4.jpg"}, "same bytes, another name"
    files = ended.reports[0].counts
    assert (files.live, files.accepted, files.rejected) == (43, 30, 13)
    assert files.rejected == sum(files.reasons.values())


@pytest.mark.parametrize("name", sorted(DAMAGED))
def test_a_damaged_file_says_how_much_of_it_came(ended: Ended, name: str) -> None:
    for clip in ended.clips_of(name):
        status = clip["status"]
        assert (status["frames_got"], status["frames_expected"]) == DAMAGED[name]
        assert not status["complete"]
        assert "damaged" in status["note"]


def test_a_whole_file_is_said_to_be_whole(ended: Ended) -> None:
    whole = [n for n, ends in TRUE.items() if KEPT in ends and n not in DAMAGED]
    assert [n for n in whole if not all(c["status"]["complete"] for c in ended.clips_of(n))] == []


@pytest.mark.parametrize("name", sorted(SHOWN_PX))
def test_a_size_is_the_shown_one(ended: Ended, name: str) -> None:
    (unit,) = ended.units[ended.keys[name]]
    assert (unit["media"]["width_px"], unit["media"]["height_px"]) == SHOWN_PX[name]


@pytest.mark.parametrize("name", sorted(FRAMES))
def test_no_frame_is_lost_or_told_twice(ended: Ended, name: str) -> None:
    assert sum(c["num_frames"] for c in ended.clips_of(name)) == FRAMES[name]


def test_no_name_and_no_archive_does_anything(ended: Ended, root: Path) -> None:
    for folder in (ended.cwd, ended.folder, root):
        assert not (folder / "pwned").exists()
    assert list(ended.cwd.rglob("*pwned*")) == []
    assert not OUTSIDE.exists()


GOOD = ("images/pocr_nist_demo.png", "hard/prompt_injection_text.png")
DEAD = {
    "hard/zero_length.mp4": "empty_file",
    "hard/px_bad_video.mp4": "not_media",
    "hard/truncated_no_moov.mp4": "truncated_no_index",
    "hard/audio_only.mp4": "audio_only",
    "hard/pil_truncated.png": "truncated_picture",
    "hard/bomb_30000x30000.png": "too_many_pixels",
    "hard/svg_xxe.svg": "vector_picture",
    "hard/zip_slip.zip": "archive",
}


def reelmill(cwd: Path, env: dict[str, str], *words: str) -> str:
    """Output of `reelmill WORDS`, which must end well."""
    command = [sys.executable, "-m", "reelmill.jobs.cli", *words]
    done = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_a_folder_that_is_four_fifths_dead_ends_well_with_exact_counts(
    shared_media: Path, clean_env: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "media").mkdir()
    for name in (*GOOD, *DEAD):
        shutil.copy(shared_media / name, tmp_path / "media")
    out = reelmill(tmp_path, clean_env, "run", "ocr_rich", "--media", "media", "--name", "dead")
    assert "media-dead@1: 2 accepted, 8 rejected, 0 pending" in out
    assert "clips-dead@1: 2 accepted, 0 rejected, 0 pending; 2 of 2 children accepted" in out
    assert "text-dead@1: 2 accepted, 0 rejected, 0 pending" in out
    rejects = reelmill(tmp_path, clean_env, "rejects", "media-dead")
    for name, reason in DEAD.items():
        assert f"{tmp_path}/media/{Path(name).name}  identify/{reason}  " in rejects
    status = [line.split() for line in reelmill(tmp_path, clean_env, "status").splitlines()]
    assert ["media-dead@1", "10", "2", "8", "0", "2", "of", "2"] in status
    assert "sound" in reelmill(tmp_path, clean_env, "verify", "ocr_rich-dead")
