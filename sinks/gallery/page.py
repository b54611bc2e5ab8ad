"""Writing the page: samples chosen over all tasks, their frames with boxes, a time line each, and rejects by reason."""

from __future__ import annotations

import errno
import os
import shutil
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib import resources
from itertools import chain, zip_longest
from pathlib import Path
from typing import Any, Protocol

from reelmill.schemas.errors import BadInput, Corrupt
from reelmill.schemas.media import FrameRef
from reelmill.schemas.points import reach
from reelmill.schemas.sample import GroundedSample, PreferenceSample, Sample, Turn
from reelmill.schemas.span import Span
from reelmill.schemas.tube import Box
from reelmill.sinks.card import LabelErrors, label_errors
from reelmill.sinks.dataset import Dataset, Store
from reelmill.sinks.gallery.evidence import Evidence, near
from reelmill.sinks.gallery.sides import Side, sides, spoken
from reelmill.sinks.publishing.frames import StoredFrames
from reelmill.sinks.publishing.packed import MadeBy, made_by
from reelmill.sinks.publishing.publish import tree_bytes
from reelmill.sinks.publishing.view import accepted_children, lineage, samples, split_of
from reelmill.sinks.state.objects import store_trouble
from reelmill.sinks.state.processes import lives_by_mark, mark
from reelmill.sinks.tables import CountRow, RejectRow, count_rows, reject_rows

FRAMES_SHOWN = 8
_EXAMPLES = 3
_OLD = "-old"
_MARK = '<meta name="generator" content="reelmill gallery">'
_BADGE = {
    MadeBy.RULES: "rule-made label",
    MadeBy.MODEL: "model-made label",
    MadeBy.TRUTH: "exact truth",
    MadeBy.HUMAN: "label by a person",
    MadeBy.IMPORTED: "label of an existing set",
}


@dataclass(frozen=True, slots=True)
class Drawn:
    """A box on a frame, in shown pixels, with what it is."""

    box: Box
    name: str
    kind: str


@dataclass(frozen=True, slots=True)
class Shot:
    """A frame as it is shown: `inside` says that its time lies in an answered span."""

    src: str
    at_s: float
    width_px: int
    height_px: int
    inside: bool
    boxes: tuple[Drawn, ...]


@dataclass(frozen=True, slots=True)
class Band:
    """One bar of a time line, in seconds and percent. `kind` is src, tgt, accepted or rejected."""

    kind: str
    span: Span
    left_pc: float
    width_pc: float


@dataclass(frozen=True, slots=True)
class Track:
    """One line of a time line; `head` opens a group (an event), `note` says what a person should know of the line.

    `evidence` says that it shows what the label rests on, and not what the sample says.
    """

    head: str
    name: str
    note: str
    bands: tuple[Band, ...]
    evidence: bool = False


@dataclass(frozen=True, slots=True)
class Entry:
    """A sample with all that its article shows."""

    sample: Sample
    split: str
    badge: str
    shots: tuple[Shot, ...]
    num_frames: int
    tracks: tuple[Track, ...]
    ticks: tuple[float, ...]
    said: tuple[str, ...]
    sides: tuple[Side, ...]


@dataclass(frozen=True, slots=True)
class Group:
    """Rejects of one dataset, step and reason; `examples` are (key, detail, picture or '')."""

    dataset: str
    step: str
    reason: str
    count: int
    examples: tuple[tuple[str, str, str], ...]


def write_gallery(
    store: Store,
    dataset: Dataset,
    out: Path,
    *,
    limit: int = 48,
    evidence: Sequence[Dataset] | None = None,
    errors: LabelErrors | None = None,
) -> Path:
    """Write `out/index.html` and its frames, at most `limit` samples over all tasks; returns the page's path.

    `evidence` are datasets whose events or tubes are drawn, by default those that the samples rest on; `errors` are by
    default those noted for the dataset. Raises BadInput where `out` holds something that is no gallery.
    """
    _require_ours(out)
    accepted = accepted_children(dataset)
    rests_on = [*lineage(store, dataset, accepted), dataset]
    with store_trouble(out), _aside(out) as folder:
        pictures = _Pictures(StoredFrames(store), folder)
        shown = Evidence.of(rests_on[:-1] if evidence is None else evidence)
        entries = [entry_of(s, shown, pictures) for s in _chosen(samples(accepted), limit)]
        counts = [row for d in rests_on for row in count_rows(d.label, d.counts())]
        groups = _groups([row for d in rests_on for row in reject_rows(d)], rests_on, pictures)
        known = errors or label_errors(dataset)
        page = _render(dataset, entries, accepted.num_rows, counts, groups, known)
        (folder / "index.html").write_text(page, encoding="utf-8")
        reach("gallery.written")
    return out / "index.html"


@contextmanager
def _aside(out: Path) -> Iterator[Path]:
    """A folder beside `out` that takes its place when all went well: killed, full or failed, the old page stays."""
    folder = out.with_name(f".{out.name}-{mark(os.getpid())}")
    sweep(out)
    if folder.exists():  # of an earlier page of this process, which an error cut short
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    reach("gallery.begun")
    try:
        yield folder
        _replace(out, folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def sweep(out: Path) -> int:
    """Remove what processes that were killed left beside the page; returns the bytes freed."""
    freed = 0
    for left in out.parent.glob(f".{out.name}-*") if out.parent.is_dir() else ():
        if lives_by_mark(left.name.removeprefix(f".{out.name}-").removesuffix(_OLD)) is False:
            freed += tree_bytes(left)
            shutil.rmtree(left, ignore_errors=True)  # another may sweep here too
            reach("gallery.cleared")
    return freed


def _replace(out: Path, folder: Path) -> None:
    """Two runs that end together may both do this; the last page stays."""
    old = folder.with_name(folder.name + _OLD)
    for last in (False, False, True):
        with suppress(FileNotFoundError):
            out.rename(old)
            reach("gallery.set_aside")
        try:
            folder.rename(out)
            reach("gallery.swapped")
            break
        except OSError as error:
            if last or error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
        finally:
            shutil.rmtree(old, ignore_errors=True)
    reach("gallery.cleared")


def _require_ours(out: Path) -> None:
    """The page replaces an older page, and nothing else."""
    page = out / "index.html"
    if (
        out.exists()
        and any(out.iterdir())
        and not (page.is_file() and _MARK in page.read_text(errors="replace")[:2000])
    ):
        raise BadInput(f"folder {out}", seen="other files than a gallery's", do="name a new or empty folder")


def _chosen(found: Iterable[Sample], limit: int) -> list[Sample]:
    """Samples in turn from every task, each in key order: keys are hashes, so the first ones are as good as drawn."""
    by_task: dict[str, list[Sample]] = defaultdict(list)
    for sample in found:
        if len(by_task[sample.task]) < limit:
            by_task[sample.task].append(sample)
    rounds = chain.from_iterable(zip_longest(*(by_task[t] for t in sorted(by_task))))
    return [s for s in rounds if s is not None][:limit]


class PictureSource(Protocol):
    """Makes a stored frame available to a page and names it as the page's `src` does."""

    def src(self, ref: FrameRef) -> str: ...


class _Pictures:
    """Copies stored frames into the page's folder, each once; names come from content, never from the data's words."""

    def __init__(self, frames: StoredFrames, out: Path) -> None:
        self.frames, self.folder = frames, out / "frames"

    def src(self, ref: FrameRef) -> str:
        name = f"{ref.sha256[:24]}.jpg"
        path = self.folder / name
        if not path.exists():
            data = self.frames.read(ref)
            self.folder.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
            reach("gallery.picture")
        return f"frames/{name}"

    def of_key(self, labels: Sequence[str], key: str) -> str:
        """A picture of a row or child, from the first dataset that shows it; '' where none does."""
        for label in labels:
            refs = self.frames.of(label, key)
            if refs:
                try:
                    return self.src(refs[len(refs) // 2])
                except Corrupt:
                    return ""  # the verification names it; a page shows what can be shown
        return ""


def entry_of(sample: Sample, evidence: Evidence, pictures: PictureSource, most: int = FRAMES_SHOWN) -> Entry:
    """What an article shows of a sample, with at most so many of its frames."""
    told = [e for e in evidence.events.get(sample.parent_key, ()) if _told(e, sample)]
    events = sorted(told, key=lambda e: (str(e["verdict"]["state"]), e["span"]["start_s"], e["key"]))
    subjects = {e["subject_id"] for e in events if e["key"] in sample.evidence}
    refs = spread(sample.frames, most)
    shots = tuple(_shot(sample, ref, evidence.boxes(sample.parent_key, ref.at_s, subjects), pictures) for ref in refs)
    moving = sample.media.duration_s > 0
    return Entry(
        sample=sample,
        split=split_of(sample.media.digest),
        badge=_BADGE[made_by(sample.method, (p.method for p in sample.provenance))],
        shots=shots,
        num_frames=len(sample.frames),
        tracks=_tracks(sample, events) if moving else (),
        ticks=tuple(_percent(f.at_s, sample) for f in sample.frames) if moving else (),
        said=tuple(spoken(t) for t in sample.turns),
        sides=sides(sample) if isinstance(sample, PreferenceSample) else (),
    )


def _told(event: dict[str, Any], sample: Sample) -> bool:
    """Events that the answer rests on, and the refused ones of the same clip."""
    return event["key"] in sample.evidence or event["verdict"]["state"] == "rejected"


def spread(frames: Sequence[FrameRef], most: int) -> list[FrameRef]:
    """At most so many frames, first and last among them, at even distances."""
    if len(frames) <= most:
        return list(frames)
    return [frames[round(i * (len(frames) - 1) / (most - 1))] for i in range(most)]


def _spans(times: Sequence[float]) -> list[Span]:
    pairs = zip(times[::2], times[1::2], strict=False)
    return [Span(s, e) for s, e in pairs if 0.0 <= s < e]


def _shot(sample: Sample, ref: FrameRef, tubes: Sequence[tuple[str, Box]], pictures: PictureSource) -> Shot:
    answered = [span for turn in sample.turns for span in _spans(turn.tgt_s)]
    inside = any(s.start_s <= ref.at_s < s.end_s for s in answered)
    drawn = [Drawn(box, phrase, "tube") for phrase, box in tubes]
    drawn += [
        Drawn(b, turn.text, str(turn.role)) for turn in sample.turns if _on(turn, ref, sample) for b in turn.boxes
    ]
    if isinstance(sample, GroundedSample):
        drawn += [
            Drawn(t.boxes[i], f"tube {n + 1}", "said")
            for n, t in enumerate(sample.tubes)
            for i in near(t.at_s, ref.at_s)
        ]
    media = sample.media
    return Shot(pictures.src(ref), ref.at_s, media.width_px, media.height_px, inside, tuple(drawn))


def _on(turn: Turn, ref: FrameRef, sample: Sample) -> bool:
    """Whether a turn's boxes belong on a frame: those in its spans, or every frame where it names none."""
    spans = _spans((*turn.src_s, *turn.tgt_s))
    return not spans or len(sample.frames) == 1 or any(s.start_s <= ref.at_s < s.end_s for s in spans)


def _percent(at_s: float, sample: Sample) -> float:
    return round(min(max(at_s / sample.media.duration_s, 0.0), 1.0) * 100, 3)


def _band(kind: str, span: Span, sample: Sample) -> Band:
    left, right = _percent(span.start_s, sample), _percent(span.end_s, sample)
    return Band(kind, span, left, round(max(right - left, 0.4), 3))


def _tracks(sample: Sample, events: Sequence[dict[str, Any]]) -> tuple[Track, ...]:
    found = []
    for name, kind in (("asked", "src"), ("answered", "tgt")):
        times = [s for t in sample.turns for s in _spans(t.src_s if kind == "src" else t.tgt_s)]
        if times:
            found.append(Track("", name, "", tuple(_band(kind, s, sample) for s in times)))
    found += _own_tracks(sample)
    for event in events:
        kind = "accepted" if event["verdict"]["state"] == "accepted" else "rejected"
        head = f"{event['phrase']}: {kind}" + (f", {event['verdict']['reason']}" if kind == "rejected" else "")
        for i, proposal in enumerate(event["proposals"]):
            span = Span(**proposal["span"]) if proposal["span"] else None
            note = f"score {proposal['score']:.2f}" if span else "found nothing"
            bands = (_band(kind, span, sample),) if span else ()
            found.append(Track("" if i else head, proposal["localiser"], note, bands, evidence=True))
    return tuple(found)


def _own_tracks(sample: Sample) -> list[Track]:
    """What only some kinds of sample say of times: the rejected side of a pair, and tubes."""
    named: list[tuple[str, str, list[Span]]] = []
    if isinstance(sample, PreferenceSample):
        named = [("rejected", "rejected", [s for t in sample.rejected for s in _spans(t.tgt_s)])]
    if isinstance(sample, GroundedSample):
        ends = [(min(tube.at_s, default=0.0), tube.end_s) for tube in sample.tubes]
        named = [(f"tube {n + 1}", "tgt", _spans(times)) for n, times in enumerate(ends)]
    return [Track("", name, "", tuple(_band(kind, s, sample) for s in spans)) for name, kind, spans in named if spans]


def _groups(rejects: Sequence[RejectRow], rests_on: Sequence[Dataset], pictures: _Pictures) -> list[Group]:
    gathered: dict[tuple[str, str, str], list[RejectRow]] = defaultdict(list)
    for row in rejects:
        gathered[row.dataset, row.step, row.reason].append(row)
    labels = [d.label for d in reversed(rests_on)]
    groups = [
        Group(*named, len(rows), tuple(_example(row, labels, pictures) for row in rows[:_EXAMPLES]))
        for named, rows in gathered.items()
    ]
    return sorted(groups, key=lambda g: (-g.count, g.dataset, g.step, g.reason))


def _example(row: RejectRow, labels: Sequence[str], pictures: _Pictures) -> tuple[str, str, str]:
    picture = pictures.of_key(labels, row.key) or (pictures.of_key(labels, row.parent_key) if row.parent_key else "")
    return row.key, row.detail, picture


def _render(
    dataset: Dataset,
    entries: Sequence[Entry],
    total: int,
    counts: Sequence[CountRow],
    groups: Sequence[Group],
    errors: LabelErrors,
) -> str:
    import jinja2

    levels: dict[tuple[str, str], dict[str, int]] = defaultdict(dict)
    for row in counts:
        levels[row.dataset, row.level][row.state] = row.count
    loader = jinja2.PackageLoader("reelmill.sinks.gallery", ".")
    environment = jinja2.Environment(loader=loader, autoescape=True, undefined=jinja2.StrictUndefined)
    return environment.get_template("page.html.jinja").render(
        label=dataset.label,
        css=(resources.files(__package__) / "page.css").read_text(encoding="utf-8"),
        entries=entries,
        total=total,
        levels=levels,
        groups=groups,
        rejected=sum(g.count for g in groups),
        errors=errors.lines,
    )
