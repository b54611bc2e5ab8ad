"""Micro clips as shards: every answer is what can be seen in the stored pixels, and the bytes are the set's alone."""

from __future__ import annotations

import hashlib
import json
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from reelmill.pipelines.scenes import colours
from reelmill.pipelines.scenes.micro import MicroPreset
from reelmill.pipelines.scenes.micro_pack import write_micro
from reelmill.schemas.errors import BadInput
from reelmill.sinks.publishing.packed import PackedSample
from reelmill.sinks.shards import Limits
from reelmill.training.data.frames import stacked
from reelmill.training.data.shards import Split, opened
from reelmill.training.data.units import documents_of, together

CLIPS = 40
NEAR = 30.0
"""How far a stored pixel may lie from its thing's colour. JPEG moves 999 of 1,000 pixels by less than 17 levels (40
clips); half the way between our nearest two colours, orange and yellow, is 38."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("micro") / "pack"
    write_micro(place, CLIPS, seed=3, val_share=0.2, limits=Limits(samples=50))
    return place


@pytest.fixture(scope="module")
def seen(folder: Path) -> list[tuple[PackedSample, np.ndarray]]:
    """Every sample of both splits with its decoded frames."""
    found = []
    for name in ("train", "val"):
        split = opened(folder, name)
        for number in range(len(split)):
            sample = split.sample(number)
            jpegs = split.jpegs(number, [f.member for f in sample.frames if f.member])
            found.append((sample, stacked(jpegs, sample.media.width_px)))
    return found


def of_colour(frames: np.ndarray, phrase: str) -> np.ndarray:
    """bool [T, H, W]: pixels of the thing that a phrase ("the red circle") names."""
    rgb = np.array(colours.THINGS[phrase.split()[1]], float)
    return np.asarray(np.linalg.norm(frames.astype(float) - rgb, axis=-1) < NEAR)


def asked_of(sample: PackedSample) -> str:
    """The thing that a question is about."""
    return " ".join(sample.turns[0].text.split()[2:5])


def test_visible_spans_are_those_of_the_pixels(seen: list[tuple[PackedSample, np.ndarray]]) -> None:
    checked = 0
    for sample, frames in seen:
        if sample.task in ("when_appear", "when_arrive", "when_depart"):
            present = of_colour(frames, asked_of(sample)).sum(axis=(1, 2)) >= 4
            at_s = np.array([f.at_s for f in sample.frames])
            first, last = np.flatnonzero(present)[[0, -1]]
            assert sample.turns[1].tgt_s == (at_s[first], at_s[last] + 0.5), sample.turns
            assert present[first : last + 1].all()
            checked += 1
    assert checked > 20


def test_movements_are_those_of_the_pixels(seen: list[tuple[PackedSample, np.ndarray]]) -> None:
    checked = 0
    for sample, frames in seen:
        if sample.task == "when_move":
            masks = of_colour(frames, asked_of(sample))
            changed = np.flatnonzero((masks[1:] != masks[:-1]).sum(axis=(1, 2)) >= 4) + 1
            start_s, end_s = sample.turns[1].tgt_s
            at_s = [f.at_s for f in sample.frames]
            assert (at_s[changed[0]], at_s[changed[-1]] + 0.5) == (start_s, end_s)
            checked += 1
    assert checked > 5


def test_boxes_hold_the_thing_and_little_else(seen: list[tuple[PackedSample, np.ndarray]]) -> None:
    places = Counter[str]()
    for sample, frames in seen:
        if sample.task.startswith("where_"):
            at = [f.at_s for f in sample.frames].index(sample.turns[0].src_s[0])
            rows, columns = np.nonzero(of_colour(frames, asked_of(sample))[at])
            (box,) = sample.turns[1].boxes
            near = [columns.min() - box.x0_px, rows.min() - box.y0_px]
            near += [box.x1_px - columns.max() - 1, box.y1_px - rows.max() - 1]
            assert all(-0.01 <= gap <= 2 for gap in near), (sample.turns, near)  # an edge pixel is half ground
            places[sample.task] += 1
    assert set(places) == {"where_still", "where_moving"}


def test_what_came_first_began_first(seen: list[tuple[PackedSample, np.ndarray]]) -> None:
    """By the first frame in which either thing changes; the answer is named first about as often as second."""
    named_first = []
    for sample, frames in seen:
        if sample.task == "order":
            question, answer = sample.turns[0].text, sample.turns[1].text
            one, other = question.removeprefix("Which came first: ").removesuffix("?").split(" or ")
            assert answer.lower() in (f"{one}.", f"{other}.")
            first, then = (one, other) if answer.lower() == f"{one}." else (other, one)
            assert _began(frames, first) < _began(frames, then)
            named_first.append(first == one)
    assert 0.2 < sum(named_first) / len(named_first) < 0.8


def _began(frames: np.ndarray, event: str) -> int:
    """The frame in which an event begins, from the pixels of its thing."""
    masks = of_colour(frames, event)
    present = masks.sum(axis=(1, 2)) >= 4
    if event.endswith("enters"):
        return int(np.flatnonzero(present)[0])
    if event.endswith("leaves"):
        return int(np.flatnonzero(present)[-1])
    return int(np.flatnonzero((masks[1:] != masks[:-1]).sum(axis=(1, 2)) >= 4)[0]) + 1


def test_captions_tell_everything_once_in_no_order(seen: list[tuple[PackedSample, np.ndarray]]) -> None:
    forwards = []
    for sample, frames in seen:
        if sample.task == "caption":
            told = [s.strip().lower() for s in sample.turns[1].text.split(".") if s.strip()]
            assert len(set(told)) == len(told) == len(sample.evidence)
            begun = [_began(frames, event) for event in told]
            forwards += [a < b for a, b in pairwise(begun) if a != b]
    assert 0.2 < sum(forwards) / len(forwards) < 0.8


def test_verbs_and_numbers_of_things_are_named(seen: list[tuple[PackedSample, np.ndarray]]) -> None:
    tasks = Counter(sample.task for sample, _ in seen)
    assert set(tasks) == {
        *("when_appear", "when_arrive", "when_depart", "when_move"),
        *("where_still", "where_moving", "order", "caption"),
    }
    for sample, _ in seen:
        assert sample.method in ("truth:objects=1", "truth:objects=2")
        assert (sample.made_by, sample.family, len(sample.key)) == ("truth", "micro", 26)
        assert sample.task != "order" or sample.method == "truth:objects=2"


def test_clips_are_wholly_in_one_split_and_side_by_side(folder: Path) -> None:
    clips: dict[str, set[str]] = {}
    for name in ("train", "val"):
        split: Split = opened(folder, name)
        units = together(split, most=100)
        for unit in range(units.ends[-1]):
            numbers = units.numbers(unit)
            assert list(numbers) == list(range(numbers[0], numbers[-1] + 1))
            samples = [split.sample(n) for n in numbers]
            assert len(documents_of(samples)) == 1
            clips.setdefault(samples[0].parent_key, set()).add(name)
    assert len(clips) == CLIPS
    assert Counter(len(splits) for splits in clips.values()) == {1: CLIPS}


def test_the_same_set_has_the_same_bytes(folder: Path, tmp_path: Path) -> None:
    write_micro(tmp_path / "again", CLIPS, seed=3, val_share=0.2, limits=Limits(samples=50))
    for file in json.loads((folder / "manifest.json").read_text())["files"]:
        data = (tmp_path / "again" / file["path"]).read_bytes()
        assert (hashlib.sha256(data).hexdigest(), len(data)) == (file["sha256"], file["bytes"])
    assert (tmp_path / "again" / "manifest.json").read_bytes() == (folder / "manifest.json").read_bytes()


def test_a_larger_set_holds_the_smaller_one(folder: Path, tmp_path: Path) -> None:
    write_micro(tmp_path / "few", 5, seed=3, val_share=0.0)
    few, all_of_them = opened(tmp_path / "few"), [opened(folder, name) for name in ("train", "val")]
    keys = {split.sample(n).key for split in all_of_them for n in range(len(split))}
    assert {few.sample(n).key for n in range(len(few))} < keys


def test_a_set_that_is_there_is_left_and_another_is_refused(folder: Path, tmp_path: Path) -> None:
    before = (folder / "manifest.json").stat().st_mtime_ns
    counts = write_micro(folder, CLIPS, seed=3, val_share=0.2)
    assert (folder / "manifest.json").stat().st_mtime_ns == before
    assert counts == {name: len(opened(folder, name)) for name in ("train", "val")}
    with pytest.raises(BadInput, match="micro@3 of other settings; do: name an empty folder"):
        write_micro(folder, CLIPS + 1, seed=3, val_share=0.2)
    (tmp_path / "mine.txt").write_text("keep me")
    with pytest.raises(BadInput, match="other files; do: name an empty folder"):
        write_micro(tmp_path, 2)
    with pytest.raises(BadInput, match="ask for 1 or more"):
        write_micro(tmp_path / "none", 0)


def test_another_preset_is_another_set(tmp_path: Path) -> None:
    write_micro(tmp_path / "one", 3, preset=MicroPreset(name="still", acts=("appear",), objects=(1, 1)), val_share=0.0)
    split = opened(tmp_path / "one")
    assert {split.sample(n).task for n in range(len(split))} == {"when_appear", "where_still", "caption"}


def test_boxes_are_asked_for_at_as_many_frames_as_wanted(tmp_path: Path) -> None:
    """The first question stays what it is; each is about another frame, and answered by the tube."""
    few, many = tmp_path / "few", tmp_path / "many"
    write_micro(few, 12, seed=4, val_share=0.0)
    write_micro(many, 12, seed=4, val_share=0.0, boxes=4)
    once, often = (
        [s for n in range(len(split)) if isinstance(s := split.sample(n), PackedSample)]
        for split in (opened(few), opened(many))
    )
    by_key = {s.key: s for s in often}
    assert all(by_key[s.key].turns == s.turns for s in once)
    asked: dict[tuple[str, str], list[tuple[float, ...]]] = {}
    for sample in often:
        if sample.task.startswith("where"):
            asked.setdefault((sample.parent_key, sample.turns[0].text), []).append(sample.turns[0].src_s)
    counts = {len(times) for times in asked.values()}
    assert counts <= {2, 3, 4}  # an appearance shows itself in two frames or more
    assert 4 in counts
    assert all(len(set(times)) == len(times) for times in asked.values())


def test_a_picture_asks_where_a_thing_is_and_nothing_else(tmp_path: Path) -> None:
    preset = MicroPreset(name="picture", frames=1, acts=("stay",), objects=(1, 1))
    write_micro(tmp_path / "one", 5, preset=preset, val_share=0.0)
    split = opened(tmp_path / "one")
    samples = [split.sample(n) for n in range(len(split))]
    assert [s.task for s in samples] == ["where_still"] * 5
    assert {len(s.frames) for s in samples} == {1}


def test_of_several_that_write_one_folder_one_does(tmp_path: Path) -> None:
    """Each waits for the one before; where that one fails, the next writes."""
    begun, place = list[int](), tmp_path / "pack"
    ready = threading.Barrier(4)

    def write(number: int) -> dict[str, int] | str:
        def told(done: int, total: int) -> None:
            if done == 1:
                begun.append(number)
                if len(begun) == 1:
                    raise OSError("the first one fails")

        ready.wait()
        try:
            return write_micro(place, 6, seed=3, progress=told)
        except OSError as error:
            return str(error)

    with ThreadPoolExecutor(4) as pool:
        ended = list(pool.map(write, range(4)))
    counts = [e for e in ended if not isinstance(e, str)]
    assert len(begun) == 2
    assert len(counts) == 3
    assert len({json.dumps(c) for c in counts}) == 1
    assert len(opened(place)) == counts[0]["train"]
    assert [p.name for p in tmp_path.iterdir()] == ["pack"]
