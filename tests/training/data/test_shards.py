"""A published split is read sample by sample, from packs that `reelmill pack` wrote."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from published import digest, jpeg, stocked

from reelmill.schemas.errors import BadInput, Corrupt, NotFound
from reelmill.sinks.dataset import Dataset
from reelmill.sinks.pack import pack
from reelmill.sinks.publishing.packed import PackedSample
from reelmill.sinks.publishing.view import split_of
from reelmill.sinks.shards import Limits
from reelmill.training.data.frames import decoded, drawn, stacked
from reelmill.training.data.shards import Split, opened


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    store, view = stocked(tmp_path_factory.mktemp("store"))
    pack(store, view, val_share=0.3, limits=Limits(samples=3))
    return view


@pytest.fixture(scope="module")
def train(published: Dataset) -> Split:
    return opened(published.folder)


def copied(published: Dataset, tmp_path: Path) -> Path:
    """A pack of its own, to be broken."""
    root = tmp_path / "pack"
    for name in ("manifest.json", "shards"):
        source = published.folder / name
        for file in [source] if source.is_file() else sorted(source.iterdir()):
            place = root / file.relative_to(published.folder)
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(file.read_bytes())
    return root


def by_tarfile(published: Dataset, split: str) -> list[dict[str, bytes]]:
    """The samples of a split as the standard library reads whole shards."""
    found: list[dict[str, bytes]] = []
    for shard in sorted((published.folder / "shards").glob(f"*-{split}-*.tar")):
        with tarfile.open(shard) as tar:
            for member in tar:
                key, _, field = member.name.partition(".")
                stream = tar.extractfile(member)
                assert stream is not None
                if field == "json":
                    found.append({"key": key.encode()})
                found[-1][field] = stream.read()
    return found


@pytest.mark.parametrize("split", ["train", "val"])
def test_every_sample_is_what_a_whole_reader_sees(published: Dataset, split: str) -> None:
    read, whole = opened(published.folder, split), by_tarfile(published, split)
    assert len(read) == len(whole) > 0
    for number, members in enumerate(whole):
        sample = read.sample(number)
        assert sample.key.encode() == members["key"]
        assert json.loads(members["json"])["turns"][0]["text"] == sample.turns[0].text
        names = [f.member for f in sample.frames if f.member]
        assert read.jpegs(number, names) == [members[n] for n in names]
        assert read.jpegs(number, names[::-2]) == [members[n] for n in names[::-2]]


def test_samples_run_through_several_shards_in_key_order(train: Split) -> None:
    keys = [train.sample(n).key for n in range(len(train))]
    assert len(train.shards) > 1
    assert keys == sorted(set(keys))
    assert isinstance(train.sample(0), PackedSample)


def test_splits_are_the_published_ones(published: Dataset) -> None:
    for split in ("train", "val"):
        read = opened(published.folder, split)
        digests = {read.sample(n).media.digest for n in range(len(read))}
        assert digests == {digest(i) for i in range(6) if split_of(digest(i), 0.3) == split}


def test_a_dataset_is_found_by_name(published: Dataset, train: Split) -> None:
    store = published.folder.parent.parent
    assert opened("grounding-t", store=store).fingerprint == train.fingerprint
    assert opened("grounding-t@1", "val", store=store).fingerprint != train.fingerprint


@pytest.mark.parametrize(
    ("place", "split", "error", "words"),
    [
        ("grounding-t", "test", NotFound, r"split 'test' of grounding-t@1 not found; seen: train \(\d+ samples\), val"),
        ("nothing", "train", NotFound, "dataset 'nothing' not found"),
        ("clips-t", "train", NotFound, "nothing is packed; do: run `reelmill pack clips-t`"),
    ],
)
def test_what_is_not_there_is_named(
    published: Dataset, place: str, split: str, error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        opened(place, split, store=published.folder.parent.parent)


def test_a_folder_without_a_pack_is_named(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"no manifest\.json in it") as caught:
        opened(tmp_path)
    assert caught.value.exit_code == 2


def test_an_empty_dataset_is_refused(tmp_path: Path) -> None:
    store, view = stocked(tmp_path / "s", sources=2, per_clip=0)
    pack(store, view)
    with pytest.raises(BadInput, match="is empty; seen: no shards"):
        opened(view.folder)


@pytest.mark.parametrize("media", ["ref", "clip"])
def test_packs_without_frames_are_refused(tmp_path: Path, published: Dataset, media: str) -> None:
    root = copied(published, tmp_path)
    said = json.loads((root / "manifest.json").read_text()) | {"media": media}
    (root / "manifest.json").write_text(json.dumps(said))
    with pytest.raises(
        BadInput, match=f"packed with media {media}; do: run `reelmill pack grounding-t --media frames`"
    ):
        opened(root)


def test_another_format_is_refused(tmp_path: Path, published: Dataset) -> None:
    root = copied(published, tmp_path)
    shard = opened(root).shards[0]
    data = (root / shard).read_bytes()
    (root / shard).write_bytes(data.replace(b'"format":1,', b'"format":2,', 1))
    with pytest.raises(BadInput, match="format 2, this version reads 1"):
        opened(root).sample(0)
    said = json.loads((root / "manifest.json").read_text()) | {"format": 2}
    (root / "manifest.json").write_text(json.dumps(said))
    with pytest.raises(BadInput, match="format 2"):
        opened(root)


def test_a_cut_shard_is_seen_when_it_is_opened(tmp_path: Path, published: Dataset) -> None:
    root = copied(published, tmp_path)
    shard = root / opened(root).shards[0]
    shard.write_bytes(shard.read_bytes()[:-20_000])
    with pytest.raises(Corrupt, match=r"it was cut; do: copy the whole pack") as caught:
        opened(root)
    assert caught.value.exit_code == 1


@pytest.mark.parametrize("index", [None, b"", b"1234567"])
def test_a_shard_without_its_index_is_named(tmp_path: Path, published: Dataset, index: bytes | None) -> None:
    root = copied(published, tmp_path)
    place = root / (opened(root).shards[0] + ".idx")
    place.unlink() if index is None else place.write_bytes(index)
    with pytest.raises(Corrupt, match="copy the whole pack"):
        opened(root)


@pytest.mark.parametrize(("at", "written"), [(0, b"\xff" * 512), (512, b"{" * 40)])
def test_overwritten_bytes_are_named_by_shard_and_sample(
    tmp_path: Path, published: Dataset, at: int, written: bytes
) -> None:
    root = copied(published, tmp_path)
    read = opened(root)
    with (root / read.shards[1]).open("r+b") as stream:
        stream.seek(read.offsets[1][0] + at)
        stream.write(written)
    with pytest.raises(Corrupt, match=rf"{read.shards[1]}, sample {read.ends[0]} is corrupt"):
        read.sample(read.ends[0])
    assert read.sample(read.ends[0] - 1).key < read.sample(read.ends[0] + 1).key


def test_a_frame_that_is_not_there_is_named(train: Split) -> None:
    with pytest.raises(Corrupt, match=r"no member f999\.jpg"):
        train.jpegs(0, ["f000.jpg", "f999.jpg"])


def test_frames_are_square_rgb_and_antialiased() -> None:
    stripes = np.zeros((64, 64, 3), np.uint8)
    stripes[:, ::2] = 255
    out = io.BytesIO()
    Image.fromarray(stripes).save(out, "JPEG", quality=98)
    small = decoded(out.getvalue(), 16)
    assert small.shape == (16, 16, 3)
    assert small.dtype == np.uint8
    assert 100 < small.min() <= small.max() < 156  # without antialias it would be 0 or 255
    assert stacked([jpeg(0, 0.0), jpeg(0, 3.0)], 32).shape == (2, 32, 32, 3)


def test_frames_of_the_towers_size_are_not_resampled() -> None:
    data = jpeg(3, 1.0, (40, 40))
    assert np.array_equal(decoded(data, 40), np.asarray(Image.open(io.BytesIO(data)).convert("RGB")))


@pytest.mark.parametrize("data", [b"", b"no picture", jpeg(0, 0.0)[:400]])
def test_a_broken_frame_is_corrupt(data: bytes) -> None:
    with pytest.raises(Corrupt, match="a stored frame is corrupt"):
        decoded(data, 16)


@pytest.mark.parametrize(
    ("count", "most", "want"),
    [(3, None, [0, 1, 2]), (3, 8, [0, 1, 2]), (8, 4, [1, 3, 5, 7]), (7, 2, [1, 5]), (9, 1, [4]), (0, 4, [])],
)
def test_frames_are_drawn_evenly(count: int, most: int | None, want: list[int]) -> None:
    assert drawn(count, most) == want
