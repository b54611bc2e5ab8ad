"""Packing: counts close, bytes do not tell how work was grouped, and a kill leaves the old pack or the new one."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections import namedtuple
from pathlib import Path
from typing import Any

import duckdb
import published
import pytest
import webdataset

from reelmill.schemas import arrow
from reelmill.schemas.errors import BadInput, Busy, Corrupt, NotFound, StoreUnusable
from reelmill.schemas.sample import Sample
from reelmill.schemas.span import Span
from reelmill.sinks.card import LabelErrors, note_label_errors
from reelmill.sinks.dataset import Dataset, Store
from reelmill.sinks.pack import estimate, manifest, pack
from reelmill.sinks.publishing import publish
from reelmill.sinks.publishing.packed import PackedSample
from reelmill.sinks.publishing.view import accepted_children, split_of
from reelmill.sinks.shards import Limits

SOURCES = 8


def promised(dataset: Dataset) -> dict[str, bytes]:
    """Every promised file of a pack, and the manifest itself."""
    said = manifest(dataset)
    assert said is not None
    return {n: (dataset.folder / n).read_bytes() for n in ["manifest.json", *(f["path"] for f in said["files"])]}


def documents(dataset: Dataset) -> dict[str, dict[str, Any]]:
    """Samples of a pack as webdataset reads them."""
    urls = sorted(str(p) for p in (dataset.folder / "shards").glob("*.tar"))
    return {s["__key__"]: s for s in webdataset.WebDataset(urls, shardshuffle=False)}


def test_every_accepted_sample_is_packed_and_loads_back_equal(tmp_path: Path) -> None:
    store, view = published.stocked(tmp_path, sources=SOURCES)

    done = pack(store, view)

    read, accepted = documents(view), accepted_children(view)
    assert set(read) == set(accepted["key"].to_pylist())
    assert sum(done.samples.values()) == accepted.num_rows == 2 * SOURCES
    for row in accepted.to_pylist():
        sample = arrow.typed(Sample, {n: row[n] for n in arrow.schema_of(Sample).names})
        told: PackedSample = arrow.typed(PackedSample, json.loads(read[sample.key]["json"]))
        assert (told.turns, told.provenance, told.evidence) == (sample.turns, sample.provenance, sample.evidence)
        assert [(f.frame, f.at_s) for f in told.frames] == [(f.frame, f.at_s) for f in sample.frames]
        for ref, frame in zip(sample.frames, told.frames, strict=True):
            assert frame.member is not None
            assert hashlib.sha256(read[sample.key][frame.member]).hexdigest() == ref.sha256


def test_a_source_lies_in_one_split_and_stays_there(tmp_path: Path) -> None:
    store, view = published.stocked(tmp_path / "few", sources=5)
    more_store, more = published.stocked(tmp_path / "more", sources=SOURCES)
    pack(store, view, val_share=0.3)
    pack(more_store, more, val_share=0.3)

    def splits(dataset: Dataset) -> dict[str, str]:
        rows = duckdb.connect(str(dataset.folder / "catalog.duckdb"), read_only=True)
        found = rows.sql("select distinct source_digest, split from samples").fetchall()
        assert len(found) == len(dict(found))
        return dict(found)

    few, many = splits(view), splits(more)
    assert few.items() <= many.items()
    assert set(many.values()) == {"train", "val"}


def test_the_share_of_val_is_about_what_was_asked() -> None:
    found = [split_of(published.digest(i), 0.2) for i in range(5000)]

    assert 0.18 < found.count("val") / 5000 < 0.22
    assert {split_of(published.digest(i), 0.0) for i in range(100)} == {"train"}


def test_where_everything_is_train_there_is_no_val(tmp_path: Path) -> None:
    store, view = published.stocked(tmp_path, sources=3)

    assert set(pack(store, view, val_share=0.0).samples) == {"train"}
    assert not list((view.folder / "shards").glob("*val*"))
    assert (
        "val" not in (view.folder / "README.md").read_text().split("How to read")[0].split("configs")[1].split("---")[0]
    )


def test_bytes_do_not_tell_how_keys_were_grouped_or_where_the_store_lies(tmp_path: Path) -> None:
    one_store, one = published.stocked(tmp_path / "a", sources=4, group=1)
    two_store, two = published.stocked(tmp_path / "elsewhere" / "b", sources=4, group=5)
    pack(one_store, one, limits=Limits(samples=3))
    pack(two_store, two, limits=Limits(samples=3))

    assert promised(one) == promised(two)


def test_packing_again_with_nothing_new_writes_nothing(tmp_path: Path) -> None:
    store, view = published.stocked(tmp_path)
    pack(store, view)
    before, generation = promised(view), publish.current(view)

    again = pack(store, Store(tmp_path).find("grounding-t"))

    assert again.up_to_date
    assert "up to date" in str(again)
    assert (promised(view), publish.current(view)) == (before, generation)
    assert not publish.stale(view)


def test_packing_again_on_purpose_gives_the_same_bytes(tmp_path: Path) -> None:
    store, view = published.stocked(tmp_path)
    pack(store, view)
    before = promised(view)

    assert not pack(store, view, again=True).up_to_date
    assert promised(view) == before


def test_a_missing_file_is_reason_enough_to_pack_again(tmp_path: Path) -> None:
    store, view = published.stocked(tmp_path)
    pack(store, view)
    before = promised(view)
    next((view.folder / "shards").glob("*.tar")).unlink()

    assert not pack(store, view).up_to_date
    assert promised(view) == before


def test_new_samples_replace_the_old_pack(tmp_path: Path) -> None:
    store, view = published.stocked(tmp_path, sources=3)
    assert pack(store, view).samples == {"train": 6}
    clip = published.clip(50)
    published.commit(store, "clips-t", published.CLIPS, [(clip.parent_key, [clip])])
    view = published.commit(store, "grounding-t", published.SAMPLES, [(clip.key, [published.sample(clip, 50)])])

    # the new listing holds one input only: the others are tombstoned and leave the pack
    done = pack(store, view)

    assert (done.up_to_date, sum(done.samples.values())) == (False, 1)
    assert set(documents(view)) == {published.sample(clip, 50).key}


def test_label_errors_change_the_card_and_no_promised_byte(tmp_path: Path) -> None:
    store, view = published.stocked(tmp_path)
    pack(store, view)
    before = promised(view)
    note_label_errors(view, LabelErrors(rendered_truth="tIoU 0.93 on 200 scenes"))

    assert pack(store, view).up_to_date
    assert "Error on rendered truth: tIoU 0.93 on 200 scenes" in (view.folder / "README.md").read_text()
    assert promised(view) == before


def test_the_manifest_names_every_file_with_its_sha256(tmp_path: Path) -> None:
    store, view = published.stocked(tmp_path)
    pack(store, view)
    said = manifest(view)

    assert said is not None
    assert said["format"] == 1
    for file in said["files"]:
        data = (view.folder / file["path"]).read_bytes()
        assert (len(data), hashlib.sha256(data).hexdigest()) == (file["bytes"], file["sha256"])
    on_disk = {p.relative_to(view.folder).as_posix() for top in ("shards", "tables") for p in walk(view.folder / top)}
    assert on_disk <= {f["path"] for f in said["files"]}
    shard = next(f for f in said["files"] if f["path"].endswith(".tar"))
    assert {"samples", "min_key", "max_key", "split"} <= shard.keys()


def walk(folder: Path) -> list[Path]:
    """Files below a folder that is a link."""
    return [folder / p.relative_to(folder.resolve()) for p in folder.resolve().rglob("*") if p.is_file()]


def test_a_frame_with_other_bytes_is_refused_and_the_old_pack_stays(tmp_path: Path) -> None:
    store, view = published.stocked(tmp_path)
    pack(store, view)
    before = promised(view)
    media = sorted((store.find("clips-t").folder / "parts").glob("*.media"))[0]
    data = bytearray(media.read_bytes())
    data[200] ^= 0xFF
    media.write_bytes(data)

    with pytest.raises(Corrupt, match=r"clips-t@1 \w+ frame 0"):
        pack(store, view, again=True)
    assert promised(view) == before
    assert not publish.stale(view)


def test_a_reference_to_another_frame_names_dataset_key_and_frame(tmp_path: Path) -> None:
    def other(sample: Sample) -> Sample:
        refs = (dataclasses.replace(sample.frames[0], sha256="0" * 64), *sample.frames[1:])
        return dataclasses.replace(sample, frames=refs)

    store, view = published.stocked(tmp_path, change=other)

    with pytest.raises(Corrupt, match=r"reference to clips-t@1 \w{26} frame 0"):
        pack(store, view)
    assert publish.current(view) is None


def test_a_disk_without_room_is_refused_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, view = published.stocked(tmp_path)
    wanted = estimate(store, view)
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10**9, 0, wanted.bytes))

    with pytest.raises(StoreUnusable, match="the pack needs about"):
        pack(store, view)
    assert not (view.folder / ".pack").exists()


def test_the_estimate_is_close_to_what_is_written(tmp_path: Path) -> None:
    store, view = published.stocked(tmp_path, sources=8)

    wanted = estimate(store, view)
    done = pack(store, view)

    assert (wanted.samples, wanted.frames) == (16, 96)
    assert 0.7 < wanted.bytes / done.bytes < 1.5


def test_ref_packs_name_their_source_and_hold_no_media(tmp_path: Path) -> None:
    store, view = published.stocked(tmp_path, sources=2)
    pack(store, view, media="ref")

    for sample in documents(view).values():
        assert {k for k in sample if not k.startswith("__")} == {"json"}
        told = json.loads(sample["json"])
        assert told["media"]["uri"].startswith(str(tmp_path))
        assert [f["member"] for f in told["frames"]] == [None] * 6


def test_no_path_of_this_machine_is_in_a_frames_pack(tmp_path: Path) -> None:
    store, view = published.stocked(tmp_path)
    pack(store, view)

    assert not [n for n, data in promised(view).items() if str(tmp_path).encode() in data]
    catalog = duckdb.connect(str(view.folder / "catalog.duckdb"), read_only=True)
    assert catalog.sql("select distinct uri from sources").fetchall() == [(None,)]


@pytest.fixture(scope="session")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six seconds of a test picture with odd width, under a name that looks like an option."""
    path = tmp_path_factory.mktemp("film") / "-rf $(x) 'y'.mp4"
    source = "testsrc=size=321x180:rate=30:duration=6"
    command = ["ffmpeg", "-v", "error", "-f", "lavfi", "-i", source, "-threads", "1", "-pix_fmt", "yuv444p"]
    subprocess.run([*command, f"file:{path}"], check=True)
    return path


def of_film(film: Path, span: Span) -> Any:
    digest = hashlib.sha256(film.read_bytes()).hexdigest()

    def change(sample: Sample) -> Sample:
        media = dataclasses.replace(
            sample.media, uri=str(film), digest=digest, span=span, duration_s=span.duration_s, width_px=321
        )
        return dataclasses.replace(sample, media=media)

    return change


def test_clip_packs_hold_the_cut_and_give_the_same_bytes_twice(tmp_path: Path, film: Path) -> None:
    span = Span(1.0, 2.5)
    one_store, one = published.stocked(tmp_path / "a", sources=1, change=of_film(film, span))
    two_store, two = published.stocked(tmp_path / "b", sources=1, change=of_film(film, span))
    assert estimate(one_store, one, media="clip").cut.clips == 1
    pack(one_store, one, media="clip")
    pack(two_store, two, media="clip")

    assert promised(one) == promised(two)
    sample = next(iter(documents(one).values()))
    assert {k for k in sample if not k.startswith("__")} == {"json", "mp4"}
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(sample["mp4"])
    ask = [
        "ffprobe",
        "-v",
        "error",
        "-count_frames",
        "-show_entries",
        "stream=nb_read_frames,width,height",
        "-of",
        "csv",
    ]
    told = subprocess.run([*ask, str(cut)], check=True, capture_output=True, text=True).stdout.strip()
    assert told == "stream,322,180,45"


def test_a_clip_pack_without_its_source_says_so(tmp_path: Path, film: Path) -> None:
    store, view = published.stocked(tmp_path, sources=1)

    with pytest.raises(NotFound, match=r"film 0\.mp4"):
        pack(store, view, media="clip")


def test_a_clip_pack_of_a_changed_source_is_refused(tmp_path: Path, film: Path) -> None:
    changed = tmp_path / "changed.mp4"
    changed.write_bytes(film.read_bytes() + b"x")

    def change(sample: Sample) -> Sample:
        made: Sample = of_film(film, Span(0.0, 1.0))(sample)
        return dataclasses.replace(made, media=dataclasses.replace(made.media, uri=str(changed)))

    store, view = published.stocked(tmp_path / "s", sources=1, change=change)

    with pytest.raises(Corrupt, match="sha256"):
        pack(store, view, media="clip")


def test_a_dataset_of_clips_cannot_be_packed(tmp_path: Path) -> None:
    store, _ = published.stocked(tmp_path)

    with pytest.raises(BadInput, match="holds no samples"):
        pack(store, store.find("clips-t"))
    with pytest.raises(BadInput, match="use frames, clip or ref"):
        pack(store, store.find("grounding-t"), media="pixels")


def test_a_view_that_accepted_nothing_gives_an_empty_pack(tmp_path: Path) -> None:
    store = Store(tmp_path)
    view = published.commit(store, "grounding-t", published.SAMPLES, [("k" * 26, [])])

    done = pack(store, view)

    assert (done.samples, done.shards) == ({}, 0)
    assert pack(store, view).up_to_date


def test_two_packs_of_one_dataset_do_not_meet(tmp_path: Path) -> None:
    store, view = published.stocked(tmp_path)

    with publish.building(view), pytest.raises(Busy, match="another process"):
        pack(store, view)
    assert pack(store, view).samples


KILLED = """
import sys
from pathlib import Path
from reelmill.sinks.dataset import Store
from reelmill.sinks.pack import pack

store = Store(Path(sys.argv[1]))
pack(store, store.find("grounding-t"), media=sys.argv[2])
"""
POINTS = (
    *("shard.write", "shard.renamed", "table.written", "table.written:3", "catalog.written"),
    *("manifest.written", "pack.before", "pack.swapped"),
)


@pytest.mark.parametrize("point", POINTS)
def test_a_kill_leaves_the_old_pack_or_the_new_one_whole(tmp_path: Path, point: str) -> None:
    store, view = published.stocked(tmp_path / "s", sources=2)
    pack(store, view, media="ref")
    old = promised(view)
    shutil.copytree(tmp_path / "s", tmp_path / "whole", symlinks=True)
    whole = Store(tmp_path / "whole")
    pack(whole, whole.find("grounding-t"))
    new = promised(whole.find("grounding-t"))
    name, _, nth = point.partition(":")
    environment = os.environ | {"REELMILL_FAULT": f"{name}:kill:{nth or 1}"}

    ended = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path / "s"), "frames"], env=environment, check=False)

    assert ended.returncode == -9
    assert promised(view) == (new if point == "pack.swapped" else old)
    pack(store, view)
    assert promised(view) == new
    assert not publish.stale(view)


def test_a_killed_first_pack_leaves_no_pack(tmp_path: Path) -> None:
    _, view = published.stocked(tmp_path, sources=2)
    environment = os.environ | {"REELMILL_FAULT": "pack.before:kill"}

    subprocess.run([sys.executable, "-c", KILLED, str(tmp_path), "frames"], env=environment, check=False)

    assert manifest(view) is None
    assert not (view.folder / "manifest.json").exists()


@pytest.mark.parametrize("point", ["pack.before", "pack.link", "card.written"])
def test_gc_sweeps_what_a_killed_pack_left(tmp_path: Path, point: str) -> None:
    """Also where nothing is packed again: it may be as large as the pack."""
    store, view = published.stocked(tmp_path, sources=2)
    if point == "card.written":  # of a card alone: the pack is there already
        pack(store, view)
        note_label_errors(view, LabelErrors("measured", ""))
    environment = os.environ | {"REELMILL_FAULT": f"{point}:kill"}
    subprocess.run([sys.executable, "-c", KILLED, str(tmp_path), "frames"], env=environment, check=False)
    left = {p for p in (view.folder / ".pack").rglob("*") if p.suffix == ".part" or p.name.startswith("link-")}
    assert left or publish.stale(view)

    assert publish.sweep(view) > 0
    assert not publish.stale(view)
    assert not {p for p in left if p.exists() or p.is_symlink()}
    assert publish.sweep(view) == 0


def test_gc_leaves_alone_what_is_being_packed(tmp_path: Path) -> None:
    _, view = published.stocked(tmp_path, sources=2)
    with publish.building(view) as generation:
        (generation / "half").write_bytes(b"written")
        assert publish.sweep(view) == 0
        assert (generation / "half").exists()


def test_a_full_disk_keeps_the_old_pack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, view = published.stocked(tmp_path, sources=2)
    pack(store, view, media="ref")
    old = promised(view)
    monkeypatch.setenv("REELMILL_FAULT", "manifest.written:full")

    with pytest.raises(StoreUnusable, match="free some space"):
        pack(store, view)
    assert promised(view) == old
    assert not publish.stale(view)


def test_a_store_can_be_moved(tmp_path: Path) -> None:
    store, view = published.stocked(tmp_path / "here", sources=2)
    pack(store, view)
    before = promised(view)
    (tmp_path / "here").rename(tmp_path / "there")

    moved = Store(tmp_path / "there").find("grounding-t")
    assert promised(moved) == before
    assert pack(Store(tmp_path / "there"), moved).up_to_date
