"""Small hand-made datasets for the tests of what is published: clips with real JPEGs, and a view over them."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw

from reelmill.schemas import arrow
from reelmill.schemas.clip import NewClip
from reelmill.schemas.column import Column
from reelmill.schemas.event import Event, EventKind, Proposal
from reelmill.schemas.keys import child_key
from reelmill.schemas.media import DecodeStatus, FrameRef, Kind, MediaRef, NewFrame
from reelmill.schemas.provenance import Provenance
from reelmill.schemas.sample import Role, Sample, Turn
from reelmill.schemas.span import Span
from reelmill.schemas.tube import Box
from reelmill.schemas.verdict import ACCEPTED, rejected
from reelmill.sinks.dataset import Dataset, Store
from reelmill.sinks.parts import part_files
from reelmill.sinks.snapshot import Entry

CLIPS = Column.of("clips", tuple[NewClip, ...])
SAMPLES = Column.of("samples", tuple[Sample, ...])
EVENTS = Column.of("events", tuple[Event, ...])
SIZE = (320, 180)
DURATION_S = 6.0


def jpeg(seed: int, at: float, size: tuple[int, int] = SIZE) -> bytes:
    """A picture of a ball that rolls with time."""
    image = Image.new("RGB", size, ((seed * 37) % 120 + 60, (seed * 91) % 120 + 60, 150))
    x = int(at / DURATION_S * size[0])
    ImageDraw.Draw(image).ellipse((x - 20, 70, x + 20, 110), fill=(230, 60, 60))
    out = io.BytesIO()
    image.save(out, "JPEG", quality=85)
    return out.getvalue()


def digest(i: int) -> str:
    return f"{i:064x}"


def media(i: int, *, uri: str = "", licence: str = "CC0-1.0") -> MediaRef:
    uri = uri or f"/media/film {i}.mp4"
    return MediaRef(uri, digest(i), Kind.VIDEO, *SIZE, DURATION_S, Span(0.0, DURATION_S), licence)


def clip(i: int, *, uri: str = "", verdict: Any = ACCEPTED, frames: int = 6) -> NewClip:
    parent = child_key(digest(i), "unit", 0)
    shown = tuple(NewFrame(n * 30, float(n), *SIZE, jpeg(i, n)) for n in range(frames))
    medium = media(i, uri=uri)
    status = DecodeStatus(True, 180, 180, "")
    return NewClip(child_key(parent, "clip", 0), parent, medium, 180, False, None, shown, status, verdict)


def refs(made: NewClip, label: str) -> tuple[FrameRef, ...]:
    from hashlib import sha256

    return tuple(FrameRef(label, made.key, f.frame, f.at_s, sha256(f.jpeg).hexdigest()) for f in made.frames)


def links(i: int) -> tuple[Provenance, ...]:
    made = ("clips-t@1", "CutClips"), ("events-t@1", "ReadEvents")
    return tuple(Provenance(step, "rules", "1", "", "", None, digest(i), "all frames", d) for d, step in made)


def sample(made: NewClip, i: int, n: int = 0, **changes: Any) -> Sample:
    """The n-th sample of a clip: when does it happen, and where."""
    turns = (
        Turn(Role.USER, "When does the <red> ball & its shadow roll?", (), (), ()),
        Turn(Role.ASSISTANT, "During <time>.", (), (1.0, 3.5), (Box(40.0, 60.0, 120.0, 120.0),)),
    )
    made_sample = Sample(
        key=child_key(made.key, "sample", n),
        parent_key=made.key,
        family="internvid_tg",
        task="when" if n % 2 == 0 else "what",
        media=made.media,
        frames=refs(made, "clips-t@1"),
        turns=turns,
        evidence=(child_key(made.key, "event", 0),),
        label_confidence=0.75,
        method="rules",
        provenance=links(i),
        verdict=ACCEPTED,
    )
    return dataclasses.replace(made_sample, **changes)


def event(made: NewClip, n: int = 0, *, accepted: bool = True) -> Event:
    proposals = (Proposal("tubes", Span(1.0, 3.5), 0.8), Proposal("change", Span(1.1, 3.4) if accepted else None, 0.6))
    verdict = ACCEPTED if accepted else rejected("ReadEvents", "localisers_disagree", "tIoU 0.00, want 0.50")
    key = child_key(made.key, "event", n)
    kind = EventKind.MOVES if accepted else EventKind.ENTERS
    phrase = "the red ball rolls"
    return Event(key, made.key, kind, "t0", "the red ball", phrase, Span(1, 3.5), 0.75, proposals, "rules", verdict)


def commit(
    store: Store,
    name: str,
    explode: Column,
    rows: Sequence[tuple[str, Sequence[Any]]],
    *,
    group: int = 3,
    refused: Sequence[str] = (),
    entries: Sequence[Entry] = (),
) -> Dataset:
    """A dataset `name`@1 whose rows are exploded into the given children, committed `group` rows at a time."""
    dataset = store.dataset(name, "1")
    dataset.ledger.begin({"name": name, "version": "1", "recipe": name.split("-")[0], "fingerprint": {"recipe": name}})
    lease = dataset.ledger.take()
    listed = list(entries) or [Entry.derived(k) for k in [*(k for k, _ in rows), *refused]]
    dataset.ledger.list_inputs(lease, listed)
    plain: list[dict[str, Any]] = [
        {"key": k, "verdict": None, explode.name: [arrow.plain(c) for c in children]} for k, children in rows
    ]
    bad = arrow.plain(rejected("Identify", "no_video_stream", "1 audio stream, 0 video streams"))
    plain += [{"key": k, "verdict": bad, explode.name: None} for k in refused]
    for start in range(0, len(plain), group):
        outcomes, files = part_files(plain[start : start + group], (), explode)
        dataset.ledger.commit(lease, outcomes, files)
    dataset.ledger.objects.put_if_absent(f"leases/{lease.token:06d}.released", b"{}")
    return store.dataset(name, "1")


def stocked(
    root: Path,
    *,
    sources: int = 6,
    per_clip: int = 2,
    group: int = 3,
    change: Callable[[Sample], Sample] = lambda s: s,
    uris: Sequence[str] = (),
) -> tuple[Store, Dataset]:
    """A store with clips, events and a view of two samples per clip, of which some of each are rejected."""
    store = Store(root)
    named = list(uris) or [f"{root}/film {i}.mp4" for i in range(sources)]
    clips = [clip(i, uri=uri) for i, uri in enumerate(named)]
    spoiled = dataclasses.replace(clip(99), verdict=rejected("CutClips", "black", "mean luma 2.1 of 255"))
    commit(store, "clips-t", CLIPS, [(c.parent_key, [c]) for c in (*clips, spoiled)], group=group)
    commit(store, "events-t", EVENTS, [(c.key, [event(c), event(c, 1, accepted=False)]) for c in clips], group=group)
    rows = [(c.key, [change(sample(c, i, n)) for n in range(per_clip)]) for i, c in enumerate(clips)]
    refusal = rejected("CompileGrounding", "nothing_happens", "0 events")
    rows[0][1].append(sample(clips[0], 0, 9, verdict=refusal))
    view = commit(store, "grounding-t", SAMPLES, rows, group=group, refused=["ab" * 13])
    return store, view
