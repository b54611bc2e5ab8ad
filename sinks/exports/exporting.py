"""A packed dataset as the files that a trainer reads: what all forms share.

    FOLDER/train.jsonl         the trainer's own file; its name is the form's
    FOLDER/media/3f/3f9a...    frames or clips, named by the sha256 of their bytes: samples of one clip share them
    FOLDER/export.json         what was written in which convention, what was left out and why, what the form cannot say

The folder is built aside and renamed: it is there whole or not at all. Samples come in the order of the pack, so that
the same pack gives the same bytes. See docs/exports.md.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import tarfile
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Protocol

from reelmill.schemas import arrow
from reelmill.schemas.errors import BadInput, Corrupt, NotFound, StoreUnusable, Unusable
from reelmill.schemas.keys import canonical_json
from reelmill.schemas.media import Kind
from reelmill.schemas.sample import Role, own_fields
from reelmill.schemas.tube import Box
from reelmill.sinks.dataset import Dataset
from reelmill.sinks.exports.wording import BOUNDS, Boxes, Frame, Times, Words, frame_times
from reelmill.sinks.pack import manifest
from reelmill.sinks.publishing import publish
from reelmill.sinks.publishing.packed import (
    FORMS,
    PackedCurated,
    PackedGrounded,
    PackedPreference,
    PackedSample,
    PackedStream,
    form_of,
)
from reelmill.sinks.state.objects import store_trouble

MANIFEST, MEDIA = "export.json", "media"
FORMAT = 1
ROLES = (Role.USER, Role.ASSISTANT)
MARKS = ("<image>", "<video>", "<audio>", "<bbox>", "<ref-object>", "<cot-process>", "<start-image>")
"""What some trainer takes for a medium, a box or a name wherever it stands in a text."""
_HEADROOM = 1.1
Row = dict[str, Any]
Progress = Callable[[int, int], None]
"""Told (samples read, samples in the split)."""


def _unseen(done: int, total: int) -> None:
    """Progress that nobody looks at."""


@dataclass(frozen=True, slots=True)
class File:
    """One exported file of a sample: its name below the folder, and its bytes."""

    name: str
    data: bytes


@dataclass(frozen=True, slots=True)
class Held:
    """A packed sample with its media. `video` says that `files` is one mp4; else they are frames, or one picture."""

    sample: PackedSample
    files: tuple[File, ...]
    video: bool
    frame: Frame

    @property
    def moving(self) -> bool:
        """True where the medium is a video, also one that is shown as frames."""
        return self.sample.media.kind == Kind.VIDEO

    @property
    def one_picture(self) -> bool:
        """True of a picture, and of a video of which one frame is shown."""
        return not self.video and len(self.files) == 1

    @property
    def duration_s(self) -> float:
        """Length of the clip, 0 of a picture."""
        span = self.sample.media.span
        return min(span.duration_s, self.sample.media.duration_s) if span else self.sample.media.duration_s


@dataclass(frozen=True, slots=True)
class Layout:
    """What sets a form apart from the usual: it takes dialogues that are said while the clip `plays`, and no others; it
    has its `media` side by side in a folder of that name; its times have a bound of their own."""

    plays: bool = False
    media: str = ""
    time_bound: str = ""

    def path(self, file: File) -> str:
        """Where a file lies below the folder of the export."""
        return f"{self.media}/{Path(file.name).name}" if self.media else file.name


USUAL = Layout()


class Form(Protocol):
    """What a trainer reads. `conventions` are the ways of writing boxes that it takes, its own first; `loads` tells how
    the folder is given to the trainer; `lacks` names what it has no place for."""

    name: ClassVar[str]
    conventions: ClassVar[tuple[Boxes, ...]]
    loads: ClassVar[str]
    lacks: ClassVar[tuple[str, ...]]
    embeds_media: ClassVar[bool]
    layout: ClassVar[Layout]

    @property
    def times(self) -> Times: ...
    @property
    def boxes(self) -> Boxes: ...

    def row(self, held: Held, words: Words) -> Row:
        """One sample in the trainer's form. Raises Unusable where it has none."""

    def write(self, rows: Iterable[Row], folder: Path, split: str) -> str:
        """Write all rows; returns the name of the file. Files of `media/` are there already."""


@dataclass(slots=True)
class Tally:
    """What became of the samples of a split."""

    samples: int = 0
    left_out: Counter[str] = field(default_factory=Counter)
    unsaid: Counter[str] = field(default_factory=Counter)
    licences: Counter[str] = field(default_factory=Counter)
    kinds: set[str] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class Exported:
    """What an export holds."""

    folder: Path
    file: str
    samples: int
    left_out: dict[str, int]

    def __str__(self) -> str:
        left = ", ".join(f"{n} {reason}" for reason, n in sorted(self.left_out.items()))
        return f"{self.samples} samples in {self.folder / self.file}" + (f"; left out: {left}" if left else "")


def export(dataset: Dataset, form: Form, out: Path, *, split: str = "train", progress: Progress = _unseen) -> Exported:
    """Write a split of a packed dataset to the folder `out`, which is made; an empty one may be there.

    Raises NotFound where nothing is packed or there is no such split, BadInput where `out` holds something or no
    sample has a place in the form, Corrupt on shards that are damaged, StoreUnusable where the disk is too small.
    """
    said, root = manifest(dataset), publish.current(dataset)
    if said is None or root is None:
        raise NotFound(f"a pack of {dataset.label}", seen="no shards", do=f"run `reelmill pack {dataset.name}` first")
    shards = _shards(said, split, dataset)
    with store_trouble(out), _aside(out) as folder:
        _require_room(shards, out)
        tally, total = Tally(), said["samples"][split]
        rows = _rows(held_samples(root, shards), form, folder, tally, lambda done: progress(done, total))
        file = form.write(rows, folder, split)
        if not tally.samples:
            seen = ", ".join(f"{n} {reason}" for reason, n in sorted(tally.left_out.items()))
            raise BadInput(f"{dataset.label} has nothing for {form.name}", seen=seen, do="see docs/exports.md")
        _write_manifest(folder, form, tally, {"dataset": dataset.label, "split": split, "pack": said}, file)
    return Exported(out, file, tally.samples, dict(tally.left_out))


def chosen_boxes(conventions: tuple[Boxes, ...], named: str, form: str) -> Boxes:
    """The convention that a person names, the form's own where none is. Raises BadInput on one that it cannot take."""
    if not named:
        return conventions[0]
    if named not in conventions:
        raise BadInput(f"--boxes {named} for {form}", seen="not one that it takes", do=f"use {', '.join(conventions)}")
    return Boxes(named)


def _shards(said: dict[str, Any], split: str, dataset: Dataset) -> list[dict[str, Any]]:
    if said["media"] == "ref":
        do = f"run `reelmill pack {dataset.name} --media frames` (or clip) first"
        raise BadInput(f"the pack of {dataset.label}", seen="media ref: it holds no frames and no clips", do=do)
    found = [f for f in said["files"] if f["path"].endswith(".tar") and f["split"] == split]
    if not found:
        there = ", ".join(sorted(said["samples"])) or "no samples at all"
        raise NotFound(f"split {split!r} of {dataset.label}", seen=there, do="give --split")
    return sorted(found, key=lambda f: str(f["path"]))


def _require_room(shards: list[dict[str, Any]], out: Path) -> None:
    """Media are copied out of the shards, so these are the bound of what is written."""
    wanted, free = sum(s["bytes"] for s in shards) * _HEADROOM, shutil.disk_usage(out.absolute().parent).free
    if wanted > free:
        seen = f"{free / 1e9:.2f} GB free, the export needs up to {wanted / 1e9:.2f} GB"
        raise StoreUnusable(str(out), seen=seen, do="free some space, or choose another --out")


@contextmanager
def _aside(out: Path) -> Iterator[Path]:
    """A folder beside `out` that becomes it at the end, or goes. What killed exports left beside it goes too."""
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise BadInput(f"folder {str(out)!r}", seen="something is in it", do="choose one that is empty or not there")
    out.absolute().parent.mkdir(parents=True, exist_ok=True)
    for left in out.absolute().parent.glob(f".{out.name}.part-*"):
        with _held(left) as dead:
            if dead:
                shutil.rmtree(left)
    folder = out.absolute().parent / f".{out.name}.part-{uuid.uuid4().hex}"
    folder.mkdir()
    try:
        with _held(folder):
            yield folder
            folder.rename(out.absolute())
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _held(folder: Path) -> Iterator[bool]:
    """A lock on a folder that ends with this process; False where another live one has it."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield True
    except BlockingIOError:
        yield False
    finally:
        os.close(handle)


def held_samples(root: Path, shards: Iterable[dict[str, Any]]) -> Iterator[Held]:
    """The samples of shards in order, with their media. Raises Corrupt where bytes differ from what the samples say."""
    for shard in shards:
        with (root / shard["path"]).open("rb") as stream, tarfile.open(fileobj=stream, mode="r:") as tar:
            for key, members in _grouped(tar):
                yield _held_sample(shard["path"], key, members)


def _grouped(tar: tarfile.TarFile) -> Iterator[tuple[str, dict[str, bytes]]]:
    """Members by sample: they lie side by side."""
    key, members = "", dict[str, bytes]()
    for info in tar:
        name, _, member = info.name.partition(".")
        if name != key and members:
            yield key, members
            members = {}
        content = tar.extractfile(info)
        assert content is not None, f"{info.name} is a file"
        key, members[member] = name, content.read()
    if members:
        yield key, members


def _held_sample(shard: str, key: str, members: dict[str, bytes]) -> Held:
    document = json.loads(members["json"])
    sample: PackedSample = arrow.typed(form_of(document), document)
    video = sample.media.member is not None
    if video:
        return Held(sample, (_file(members[sample.media.member or ""], "mp4"),), video, _clip_frame(sample))
    files = tuple(_file(members[f.member], "jpg") for f in sample.frames if f.member is not None)
    for file, frame in zip(files, sample.frames, strict=True):
        if frame.sha256 not in file.name:
            raise Corrupt(f"{shard}: {key}.{frame.member}", seen="bytes that differ from the sample", do="pack again")
    return Held(sample, files, video, _shown_frame(sample))


def _file(data: bytes, kind: str) -> File:
    digest = hashlib.sha256(data).hexdigest()
    return File(f"{MEDIA}/{digest[:2]}/{digest}.{kind}", data)


def _clip_frame(sample: PackedSample) -> Frame:
    """A cut clip has the shown size, made even by a line at the far side (see publishing.clipcut)."""
    width, height = sample.media.width_px, sample.media.height_px
    return Frame(width + width % 2, height + height % 2)


def _shown_frame(sample: PackedSample) -> Frame:
    """Frames of one sample have one size, since they come from one clip."""
    if not sample.frames:
        return Frame(sample.media.width_px, sample.media.height_px)
    width, height = sample.frames[0].width_px, sample.frames[0].height_px
    return Frame(width, height, (width / sample.media.width_px, height / sample.media.height_px))


def _rows(
    samples: Iterable[Held], form: Form, folder: Path, tally: Tally, progress: Callable[[int], None]
) -> Iterator[Row]:
    for number, held in enumerate(samples, 1):
        try:
            row, words = _row(held, form)
        except Unusable as unfit:
            tally.left_out[unfit.reason] += 1
        else:
            if not form.embeds_media:
                _put(held.files, folder, form.layout)
            tally.samples += 1
            tally.unsaid.update(words.unsaid)
            tally.licences[held.sample.media.licence] += 1
            tally.kinds.add(type(held.sample).__name__)
            yield row
        progress(number)


def _row(held: Held, form: Form) -> tuple[Row, Words]:
    (require_stream if form.layout.plays else require_dialogue)(held)
    tubes = held.sample.tubes if isinstance(held.sample, PackedGrounded) else ()
    by_words = form.boxes is Boxes.OBJECTS and not held.one_picture  # ms-swift converts the boxes of pictures alone
    boxes = Boxes.THOUSAND if by_words else form.boxes
    words = Words(held.frame, held.duration_s, form.times, boxes, iter(tubes))
    row = form.row(held, words)
    if next(words.tubes, None):
        raise Unusable("places_differ", f"{held.sample.key} has more tubes than places")
    return row, words


def require_dialogue(held: Held) -> None:
    """Raise Unusable on a sample that no trainer's dialogue can hold: user and assistant by turns, over media."""
    sample = held.sample
    if isinstance(sample, PackedCurated):
        raise Unusable("no_dialogue", f"{sample.key} is a clip without words")
    if isinstance(sample, PackedStream):
        raise Unusable("said_while_playing", f"{sample.key} answers before the clip has ended")
    if not held.files:
        raise Unusable("no_media", f"{sample.key} has no frame")
    if len({(f.width_px, f.height_px) for f in sample.frames}) > 1:
        raise Unusable("frames_of_several_sizes", f"{sample.key}: boxes would hold for one of them")
    sides = [sample.turns]
    if isinstance(sample, PackedPreference):
        if [t.role for t in sample.rejected] != [Role.ASSISTANT]:
            raise Unusable("pair_of_several_turns", f"{sample.key}: {len(sample.rejected)} turns on the rejected side")
        sides.append((*sample.turns[: len(sample.turns) - len(sample.rejected)], *sample.rejected))
    for turns in sides:
        if not turns or [t.role for t in turns] != [*ROLES] * (len(turns) // 2):
            raise Unusable("turns_not_alternating", f"{sample.key}: {[str(t.role) for t in turns]}")
    if any(mark in turn.text for turns in sides for turn in turns for mark in MARKS):
        raise Unusable("placeholder_in_text", f"{sample.key} says one of {', '.join(MARKS)}")


def require_stream(held: Held) -> None:
    """Raise Unusable on a sample that is not said while its clip plays."""
    if not isinstance(held.sample, PackedStream):
        raise Unusable("not_said_while_playing", f"{held.sample.key} has no times of its turns")


def _put(files: Iterable[File], folder: Path, layout: Layout) -> None:
    for file in files:
        path = folder / layout.path(file)
        if not path.exists():  # the name is the digest of the bytes
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(file.data)


@dataclass(frozen=True, slots=True)
class Dialogue:
    """A sample's turns as words: user and assistant by turns. Of a pair the last of `texts` is the chosen answer, and
    `rejected` stands in its place; `boxes` and `rejected_boxes` are those that each side left to the trainer."""

    texts: tuple[str, ...]
    rejected: str | None
    boxes: tuple[Box, ...]
    rejected_boxes: tuple[Box, ...]


def dialogue(held: Held, words: Words, lead: str) -> Dialogue:
    """The turns in words, `lead` before the first question. Raises Unusable as `Words` does."""
    sample = held.sample
    said = [words(turn) for turn in sample.turns[:-1]]
    shared = len(words.left)
    said.append(words(sample.turns[-1]))
    own = tuple(words.left)
    rejected = words(sample.rejected[0]) if isinstance(sample, PackedPreference) else None
    return Dialogue((lead + said[0], *said[1:]), rejected, own, (*own[:shared], *words.left[len(own) :]))


def timed(held: Held, times: Times) -> str:
    """The line that says when the frames of a video are, where it is shown as a list of pictures; else nothing."""
    speaks_of_times = any(turn.src_s or turn.tgt_s for turn in held.sample.turns)
    if not held.moving or held.video or (held.one_picture and not speaks_of_times):
        return ""
    return frame_times([f.at_s for f in held.sample.frames], held.duration_s, times) + "\n"


def messages(texts: Sequence[str]) -> list[dict[str, str]]:
    """Texts as the messages that chat templates take."""
    return [{"role": str(ROLES[i % 2]), "content": text} for i, text in enumerate(texts)]


def write_jsonl(rows: Iterable[Row], path: Path) -> None:
    """A JSON object a line, one spelling per value."""
    with path.open("w", encoding="utf-8", newline="\n") as stream:
        for row in rows:
            stream.write(canonical_json(row) + "\n")


def _write_manifest(folder: Path, form: Form, tally: Tally, source: Row, file: str) -> None:
    names = [
        p.relative_to(folder).as_posix()
        for p in sorted((folder / (form.layout.media or MEDIA)).rglob("*"))
        if p.is_file()
    ]
    own = sorted({n for kind, packed in FORMS.items() if packed.__name__ in tally.kinds for n in own_fields(kind)})
    with (folder / file).open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    said = {
        "format": FORMAT,
        "form": form.name,
        "loads": form.loads,
        "dataset": source["dataset"],
        "split": source["split"],
        "pack": {"media": source["pack"]["media"], "inputs": source["pack"]["inputs"]},
        "times": {"convention": str(form.times), "meaning": form.layout.time_bound or BOUNDS[form.times]},
        "boxes": {"convention": str(form.boxes), "meaning": BOUNDS[form.boxes]},
        "samples": tally.samples,
        "left_out": dict(tally.left_out),
        "not_said": dict(tally.unsaid),
        "without_a_place": sorted({*form.lacks, *(n for n in own if n not in ("rejected", "tubes"))}),
        "licences": dict(tally.licences),
        "file": {"path": file, "sha256": digest, "bytes": (folder / file).stat().st_size},
        "media": {"files": len(names), "bytes": sum((folder / n).stat().st_size for n in names)},
    }
    text = json.dumps(said, indent=1, sort_keys=True, ensure_ascii=False) + "\n"
    (folder / MANIFEST).write_text(text, encoding="utf-8")
