"""WebDataset shards: our own packs, and plain ones of a picture or video beside `json` or `txt`.

After the format's page (webdataset/webdataset): files of one sample lie side by side in a tar and share the name up to
the first dot. Of a pack of ours, `{key}.json` has the dialogue; of a plain shard, `json` may hold `conversations`
(LLaVA's) or `caption`, and `txt` is a caption. Nothing is ever taken to where a shard's own names lead: media are
written by `unpack`, which names its files itself, and links, devices and compressed shards are refused.

    shard-000000.tar: a.jpg, a.json, b.mp4, b.txt     ->  annotations of "shard-000000/a.jpg", "shard-000000/b.mp4"
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import re
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from reelmill.pipelines.sources.annotated import dialogue
from reelmill.pipelines.sources.annotated.fields import (
    annotation,
    as_list,
    as_object,
    as_text,
    clean,
    each,
    shown,
    size,
)
from reelmill.pipelines.sources.annotated.reading import Refused
from reelmill.pipelines.sources.annotated.release_files import split_of
from reelmill.pipelines.views.phrasing import TIME
from reelmill.schemas import arrow
from reelmill.schemas.annotation import Annotation, Stated
from reelmill.schemas.errors import BadInput, NotFound, SchemaBroken, Unusable
from reelmill.schemas.media import Kind
from reelmill.schemas.sample import Role, Turn
from reelmill.schemas.tube import Box

LICENCE = ""
EXPECTS = "a .tar shard or a folder of them, uncompressed; media inside are unpacked below the store"

KINDS = {
    **dict.fromkeys(("jpg", "jpeg", "png", "webp", "gif"), Kind.IMAGE),
    **dict.fromkeys(("mp4", "webm", "mkv", "mov", "avi"), Kind.VIDEO),
}
_FRAME = re.compile(r"f(\d{3})\.jpg")
_KEY = re.compile(r"[\w-]{1,200}", re.ASCII)
_LARGEST_TEXT = 16 << 20


@dataclass
class _Group:
    """The files of one sample: texts by extension, and the names of its media."""

    shard: str
    key: str
    texts: dict[str, bytes] = field(default_factory=dict)
    media: list[str] = field(default_factory=list)
    fault: str = ""


def read(path: Path) -> Iterator[Annotation | Refused]:
    """An annotation per sample. `media_uri` is the name that `unpack` gives the medium."""
    return (one for label, shard in shards(path).items() for one in each(_rows(label, shard), _made, "key"))


def shards(path: Path) -> dict[str, Path]:
    """The shards at a place by a label of their own: the path below it, as one name. Raises NotFound or BadInput."""
    found = sorted(path.rglob("*.tar")) if path.is_dir() else [path]
    if not found or not all(f.is_file() for f in found):
        raise NotFound(f"shards at {str(path)!r}", seen="no .tar file", do="check the path")
    top = path if path.is_dir() else path.parent
    labels = {re.sub(r"[^\w-]", "_", str(f.relative_to(top).with_suffix(""))): f for f in found}
    if len(labels) != len(found):
        raise BadInput(f"shards at {str(path)!r}", seen="two that differ by / and _ alone", do="rename one of them")
    return labels


def unpack(path: Path, folder: Path) -> int:
    """Write the media of all shards to `folder/SHARD/KEY.EXT`; returns how many lie there. What is there is kept, and a
    shard that breaks off gives what stands before that."""
    count = 0
    for label, shard in shards(path).items():
        (folder / label).mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(tarfile.TarError, EOFError):  # `read` refuses what is behind
            for key, extension, member, archive in _members(shard):
                if _is_medium(extension) and _safe(key) and member.isreg():
                    _write(archive, member, folder / label / f"{_safe(key)}.{extension}")
                    count += 1
    return count


def _write(archive: tarfile.TarFile, member: tarfile.TarInfo, file: Path) -> None:
    """Put a member in place whole, so that a killed run leaves nothing half-written under a medium's name."""
    stream = archive.extractfile(member)
    if stream is None or (file.is_file() and file.stat().st_size == member.size):
        return
    part = file.with_name(f".{file.name}.part")
    try:
        with part.open("wb") as out:
            while block := stream.read(1 << 20):
                out.write(block)
        part.replace(file)
    finally:
        part.unlink(missing_ok=True)


def _members(shard: Path) -> Iterator[tuple[str, str, tarfile.TarInfo, tarfile.TarFile]]:
    """(key, extension, member, archive) in the shard's order. Raises tarfile.TarError where it breaks off."""
    with tarfile.open(shard, "r|") as archive:
        for member in archive:
            folder, slash, name = member.name.rpartition("/")
            key, _, extension = name.partition(".")
            if not member.isdir():
                yield f"{folder}{slash}{key}", extension.lower(), member, archive


def _safe(key: str) -> str:
    """A key as a file's name, "" where it is none: slashes become underscores, anything unusual is not taken."""
    name = key.replace("/", "_")
    return name if _KEY.fullmatch(name) else ""


def _is_medium(extension: str) -> bool:
    return extension in KINDS or _FRAME.fullmatch(extension) is not None


def _rows(label: str, shard: Path) -> Iterator[Any]:
    """A row per sample; a shard that breaks off ends with a refusal."""
    group: _Group | None = None
    try:
        for key, extension, member, archive in _members(shard):
            if group is None or group.key != key:
                if group:
                    yield _row(group)
                group = _Group(label, key)
            _take(group, extension, member, archive)
    except (tarfile.TarError, EOFError, OSError) as error:
        yield Refused("", "broken_shard", f"{shard.name}: {error}"[:300])
    if group:
        yield _row(group)


def _take(group: _Group, extension: str, member: tarfile.TarInfo, archive: tarfile.TarFile) -> None:
    if not member.isreg():
        group.fault = f"{shown(member.name)} is a link or a device"
    elif _is_medium(extension):
        group.media.append(extension)
    elif extension in ("json", "txt"):
        if member.size > _LARGEST_TEXT:
            group.fault = f"{shown(member.name)} has {member.size} bytes"
            return
        stream = archive.extractfile(member)
        group.texts[extension] = stream.read() if stream else b""


def _row(group: _Group) -> dict[str, Any]:
    return {"key": clean(group.key), "group": group}


def _made(row: dict[str, Any]) -> Annotation:
    group: _Group = row["group"]
    if group.fault:
        raise Unusable("not_a_file", group.fault)
    if not _safe(group.key):
        raise Unusable("bad_key", shown(group.key))
    said = _json(group.texts["json"]) if "json" in group.texts else {}
    if {"format", "turns", "media"} <= said.keys():
        return _packed(group, said)
    if len(group.media) != 1:
        raise Unusable("several_media" if group.media else "no_media", f"{shown(group.media)}")
    made = annotation(
        f"webdataset:{group.shard}", clean(group.key), _named(group, group.media[0]), KINDS[group.media[0]]
    )
    return dataclasses.replace(made, split=split_of(group.shard), **_claims(group, said))


def _named(group: _Group, extension: str) -> str:
    return f"{group.shard}/{_safe(group.key)}.{extension}"


def _json(data: bytes) -> dict[str, Any]:
    try:
        return as_object(json.loads(data), "json")
    except (ValueError, RecursionError) as error:
        raise Unusable("broken_json", str(error)[:200]) from error


def _claims(group: _Group, said: dict[str, Any]) -> dict[str, Any]:
    if "conversations" in said:
        return {"turns": dialogue.turns(said["conversations"], "from", "value")}
    if "messages" in said:
        return {"turns": dialogue.turns(said["messages"], "role", "content")}
    caption = said.get("caption", group.texts.get("txt", b"").decode("utf-8", "replace"))
    return {"stated": (Stated(as_text(caption, "caption"), None, ""),)}


def _packed(group: _Group, said: dict[str, Any]) -> Annotation:
    """A sample of a pack of ours. A picture is its one stored frame, whose pixels the boxes are scaled to; a video is
    the mp4 of a pack that holds clips."""
    media = as_object(said["media"], "media")
    turns = _turns(as_list(said["turns"], "turns"))
    if media.get("kind") == Kind.VIDEO:
        if "mp4" not in group.media:
            raise Unusable("frames_only", "a video of which the pack holds frames: pack it with --media clip")
        name, kind, width, height = _named(group, "mp4"), Kind.VIDEO, media.get("width_px"), media.get("height_px")
    else:
        frames = [as_object(f, "a frame") for f in as_list(said.get("frames"), "frames")]
        if len(frames) != 1 or frames[0].get("member") not in group.media:
            raise Unusable("no_media", f"the pack holds {shown(group.media)}")
        name, kind = _named(group, frames[0]["member"]), Kind.IMAGE
        width, height = frames[0].get("width_px"), frames[0].get("height_px")
        turns = _scaled(turns, size(media.get("width_px"), "width_px"), size(width, "width_px"))
    made = annotation(f"webdataset:{group.shard}", clean(group.key), name, kind)
    made = dataclasses.replace(made, split=split_of(group.shard), turns=turns)
    return dataclasses.replace(made, width_px=size(width, "width_px"), height_px=size(height, "height_px"))


def _turns(rows: list[Any]) -> tuple[Turn, ...]:
    try:
        turns: tuple[Turn, ...] = arrow.typed(tuple[Turn, ...], rows)
        for turn in turns:
            _require_marks(turn)
    except (SchemaBroken, ValueError, TypeError, AttributeError) as error:
        raise Unusable("wrong_type", f"turns: {error}"[:200]) from error
    return turns


def _require_marks(turn: Turn) -> None:
    """A pack's turn holds two times for each mark, as ours do; whoever wrote the shard may be somebody else."""
    own, other = (turn.src_s, turn.tgt_s) if turn.role is Role.USER else (turn.tgt_s, turn.src_s)
    if other or len(own) != 2 * turn.text.count(TIME):
        raise Unusable("placeholders", f"{turn.text.count(TIME)} {TIME} for {len(own)} and {len(other)} times")


def _scaled(turns: tuple[Turn, ...], media_px: int | None, frame_px: int | None) -> tuple[Turn, ...]:
    if not media_px or not frame_px or media_px == frame_px:
        return turns
    by = frame_px / media_px
    return tuple(dataclasses.replace(t, boxes=tuple(_smaller(box, by) for box in t.boxes)) for t in turns)


def _smaller(box: Box, by: float) -> Box:
    return Box(box.x0_px * by, box.y0_px * by, box.x1_px * by, box.y1_px * by)
