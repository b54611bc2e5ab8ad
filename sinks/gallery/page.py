"""Writing the page: samples of every task in sections of their own, an index of these, and rejects by reason."""

from __future__ import annotations

import errno
import os
import shutil
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib import resources
from itertools import chain, islice, zip_longest
from pathlib import Path

import pyarrow as pa

from reelmill.schemas.errors import BadInput, Corrupt
from reelmill.schemas.media import FrameRef
from reelmill.schemas.points import reach
from reelmill.schemas.sample import Sample
from reelmill.sinks.card import LabelErrors, label_errors
from reelmill.sinks.dataset import Dataset, Store
from reelmill.sinks.gallery.entry import Entry, entry_of
from reelmill.sinks.gallery.evidence import Evidence
from reelmill.sinks.publishing.frames import StoredFrames
from reelmill.sinks.publishing.publish import tree_bytes
from reelmill.sinks.publishing.view import accepted_children, lineage, samples
from reelmill.sinks.state.objects import store_trouble
from reelmill.sinks.state.processes import lives_by_mark, mark
from reelmill.sinks.tables import CountRow, RejectRow, count_rows, reject_rows

_EXAMPLES = 3
_OLD = "-old"
_MARK = '<meta name="generator" content="reelmill gallery">'


@dataclass(frozen=True, slots=True)
class Section:
    """The samples of one task that are shown, of `total` accepted ones. `anchor` is a name of the page's own."""

    family: str
    task: str
    anchor: str
    total: int
    entries: tuple[Entry, ...]


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
        chosen = _chosen(samples(accepted), limit)
        shown = Evidence.of(rests_on[:-1] if evidence is None else evidence, (s.parent_key for s in chosen))
        sections = _sections(accepted, [entry_of(s, shown, pictures) for s in chosen])
        counts = [row for d in rests_on for row in count_rows(d.label, d.counts())]
        groups = _groups([row for d in rests_on for row in reject_rows(d)], rests_on, pictures)
        known = errors or label_errors(dataset)
        page = _render(dataset, sections, accepted.num_rows, counts, groups, known)
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
    """Samples in turn from every task, and of a task in turn from every source, each in key order: keys are hashes, so
    the first ones are as good as drawn."""
    by_task: dict[tuple[str, str], dict[str, list[Sample]]] = defaultdict(lambda: defaultdict(list))
    for sample in found:
        sources, source = by_task[sample.family, sample.task], sample.media.digest
        # with as many sources as can be shown, each gives its first sample and no other is needed
        if len(sources) < limit or (source in sources and not sources[source]):
            sources[source].append(sample)
    rounds = _by_turns([list(_by_turns(list(by_task[t].values()))) for t in sorted(by_task)])
    return list(islice(rounds, limit))


def _by_turns(queues: Sequence[Sequence[Sample]]) -> Iterator[Sample]:
    """The first of each queue, then the second of each that has one, and so on."""
    return (s for s in chain.from_iterable(zip_longest(*queues)) if s is not None)


def _sections(accepted: pa.Table, entries: Sequence[Entry]) -> list[Section]:
    """Entries by task, with how many samples each task has in all."""
    shown: dict[tuple[str, str], list[Entry]] = defaultdict(list)
    for entry in entries:
        shown[entry.sample.family, entry.sample.task].append(entry)
    counted = accepted.group_by(["family", "task"]).aggregate([([], "count_all")]).to_pylist()
    totals = {(c["family"], c["task"]): c["count_all"] for c in counted}
    return [
        Section(*named, f"task-{i}", totals[named], tuple(shown[named])) for i, named in enumerate(sorted(shown), 1)
    ]


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
    sections: Sequence[Section],
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
        sections=sections,
        shown=sum(len(s.entries) for s in sections),
        total=total,
        levels=levels,
        groups=groups,
        rejected=sum(g.count for g in groups),
        errors=errors.lines,
    )
