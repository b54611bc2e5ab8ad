"""`verify`: recount a dataset from its bytes, and with `--truth` measure its labels against the scenes' exact truth."""

from __future__ import annotations

import dataclasses
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from reelmill.jobs.inspecting import opened
from reelmill.pipelines.scenes.evidence import in_clip, true_spans, tube_in_clip
from reelmill.pipelines.scenes.render import load_truth, record_of
from reelmill.pipelines.scenes.score import Figure, Predicted, score
from reelmill.pipelines.scenes.truth import SceneTruth, sidecar
from reelmill.pipelines.views.checks.cotasks import check_cotasks
from reelmill.pipelines.views.checks.documents import check_document
from reelmill.pipelines.views.checks.flipped import check_flipped
from reelmill.pipelines.views.checks.grounding import check_grounding
from reelmill.pipelines.views.checks.live import check_live
from reelmill.pipelines.views.checks.preference import check_preference
from reelmill.pipelines.views.checks.st_align import check_st_align
from reelmill.pipelines.views.checks.temple import check_temple
from reelmill.pipelines.views.checks.texts import check_dialogue, check_text_times
from reelmill.pipelines.views.checks.transcription import check_transcription
from reelmill.pipelines.views.transcription import LOCATE, READ, TRANSCRIPTION
from reelmill.schemas import arrow
from reelmill.schemas.errors import BadInput
from reelmill.schemas.event import Event
from reelmill.schemas.media import MediaRef
from reelmill.schemas.sample import GroundedSample, PreferenceSample, Sample, StreamSample, kind_of
from reelmill.schemas.span import Span
from reelmill.schemas.text import TextLine
from reelmill.schemas.tube import Tube
from reelmill.schemas.verdict import State
from reelmill.sinks.card import LabelErrors, note_figures, note_label_errors, noted_errors
from reelmill.sinks.dataset import Dataset, Store
from reelmill.sinks.pack import manifest, pack
from reelmill.sinks.state.place import Folder
from reelmill.sinks.verify import verify as verify_bytes

SLACKS_S = (1e-6, 0.1, 0.5)
_ROUNDED_S = 1e-4  # a clip's first frame lies on its cut, but for the rounding of two sums
_STAGE_A = (TRANSCRIPTION, READ, LOCATE)
_ABILITIES = {
    "tubes": ("tube", "false tubes"),
    "events": ("events", "enters", "leaves", "moves", "stops"),
    "text": ("words", "character", "invented"),
}
"""Which figures a dataset of evidence answers for, by how their names begin."""
_NOT_OF_VIEW = {
    "internvid_tg": ("text",),
    "st_align": ("text",),
    "live_stream": ("text",),
    "cotasks": ("text",),
    "flipped_internvid_tg": ("text",),
    "cotasks_pairs": ("text",),
    "dpo_perturb": ("text",),
    "temple": ("text",),
    "code_guided": ("tubes", "events", "text"),
    **dict.fromkeys(("ocr_rich", "ocr_dialogues", "ocr_written", "text_times"), ("tubes", "events")),
}
"""Evidence that a view does not rest on, and whose figures would only be noise beside it."""
_IN_WORDS_OF_A_MODEL = ("listed_events", "internvid_tg_listed")


def verify(store: Folder, label: str, *, truth: bool) -> int:
    """Print what was recounted and every finding; returns 1 where something is broken, else 0."""
    dataset = opened(store).find(label)
    console = Console()
    found = verify_bytes(dataset)
    console.print(str(found), highlight=False, markup=False, soft_wrap=True)
    for finding in found.findings:
        console.print(str(finding), highlight=False, markup=False, soft_wrap=True)
    if truth:
        console.print(truth_table(store, label))
        packed = manifest(dataset)
        if packed is not None:  # shards stay as they are; the card says the new figures
            pack(opened(store), dataset, media=packed["media"])
    return 0 if found.ok else 1


def truth_table(store: Folder, label: str) -> Table:
    """Measure, keep the figures beside the dataset and on its card, and give them as a table.

    Raises BadInput where none of the dataset's media was rendered here.
    """
    dataset = opened(store).find(label)
    figures = measure(opened(store), dataset)
    note_figures(dataset, [dataclasses.asdict(f) for f in figures])
    note_label_errors(dataset, LabelErrors(_sentence(figures), noted_errors(dataset).audited))
    table = Table("measured on rendered truth", "value", "95 % interval", "count")
    for one in figures:
        low, high = one.low, one.high
        interval = "" if low is None or high is None else f"{low:.3f} to {high:.3f}"
        table.add_row(one.name, "undefined" if one.value is None else f"{one.value:.3f}", interval, str(one.count))
    return table


def measure(store: Store, dataset: Dataset, slacks_s: Sequence[float] = SLACKS_S) -> list[Figure]:
    """Figures of the evidence that a view rests on, and of its own samples, each at how far times may be off.

    Raises BadInput where there is no truth, or it speaks of events in other words than a model that listed them.
    """
    beside = _Beside(store, dataset)
    if beside.recipe in _IN_WORDS_OF_A_MODEL:
        do = "compare `events`, whose words are those of the scenes, or audit samples by hand"
        raise BadInput(f"{dataset.label} has no truth", seen="clauses in a model's words", do=do)
    if not beside.truths:
        raise BadInput(f"{dataset.label} has no truth", seen="no media with a .truth.json", do="render with `scenes`")
    return [*_evidence_figures(beside), *_sample_figures(dataset, beside, slacks_s)]


def _evidence_figures(beside: _Beside) -> list[Figure]:
    """Figures of the evidence that was really looked for; truth in its place is not scored against itself."""
    if beside.suffix:
        return []
    aside = _NOT_OF_VIEW.get(beside.recipe, ())
    without = [recipe for recipe in _ABILITIES if recipe in aside or not beside.made(recipe)]
    silent = tuple(name for recipe in without for name in _ABILITIES[recipe])
    figures = score(beside.truths, beside.predictions()).rows()
    return [f for f in figures if not silent or not f.name.startswith(silent)]


def _sentence(figures: list[Figure]) -> str:
    wanted = (
        *("events, precision", "events, recall", "words read"),
        *(f"samples right within {SLACKS_S[1]:g} s", "answers right"),
    )
    chosen = [f for f in figures if f.name in wanted or f.name.startswith("texts right")]
    said = [f"{f.name} {'undefined' if f.value is None else f'{f.value:.3f}'} (n={f.count})" for f in chosen]
    return "; ".join([f"rendered scenes, rules: {figures[0].count} files" if figures else "", *said]).strip("; ")


@dataclass(frozen=True, slots=True)
class _Clip:
    key: str
    media: MediaRef


class _Beside:
    """The datasets of the same set of media: what was found for each rendered file, in the time of the file."""

    def __init__(self, store: Store, dataset: Dataset) -> None:
        recipe, _, slug = dataset.name.partition("-")
        self.store, self.recipe, self.slug = store, recipe, slug
        self.suffix = "_truth" if recipe.endswith("_truth") else ""
        names = dict.fromkeys((f"clips{self.suffix}", "clips", "clips_whole", "clips_truth"))  # a mix has any of them
        cut = [list(self._clips_of(name)) for name in names]
        # Those that evidence and samples are about: at the true cuts, as found, else uncut.
        self.clips = {c.key: c for c in next(filter(None, cut), [])}
        self.truths: dict[str, SceneTruth] = {}
        for uri in dict.fromkeys(clip.media.uri for clips in cut for clip in clips):  # true clips leave pictures out
            if sidecar(Path(uri)).exists():
                self.truths[uri] = load_truth(Path(uri))

    def made(self, recipe: str) -> list[Dataset]:
        """The versions of a dataset of this set of media, none where it was never made."""
        return [d for d in self.store.datasets() if d.name == f"{recipe}{self.suffix}-{self.slug}"]

    def table(self, recipe: str, *, children: bool) -> list[dict[str, Any]]:
        """Accepted rows (or children) of the newest version of a dataset of this set."""
        made = self.made(recipe)
        if not made:
            return []
        table = made[-1].children() if children else made[-1].rows()
        return [r for r in table.to_pylist() if r["verdict"]["state"] == State.ACCEPTED]

    def _clips_of(self, name: str) -> Iterator[_Clip]:
        made = next((d for d in self.store.datasets() if d.name == f"{name}-{self.slug}"), None)
        for row in made.children().to_pylist() if made is not None else ():
            if row["verdict"]["state"] == State.ACCEPTED:
                yield _Clip(row["key"], arrow.typed(MediaRef, row["media"]))

    def predictions(self) -> dict[str, Predicted]:
        """Accepted evidence by file, in the time of the file."""
        tubes, events, texts = self._tubes(), self._events(), self._texts()
        shots: dict[str, list[Span]] = defaultdict(list)
        for clip in self.clips.values():
            if clip.media.span is not None:
                shots[clip.media.uri].append(clip.media.span)
        return {
            uri: Predicted(
                tuple(sorted(shots[uri], key=lambda s: s.start_s)),
                tuple(tubes[uri]),
                tuple(events[uri]),
                tuple(texts[uri]),
            )
            for uri in self.truths
        }

    def _tubes(self) -> dict[str, list[Tube]]:
        found: dict[str, list[Tube]] = defaultdict(list)
        for row in self.table("tubes", children=False):
            clip = self.clips[row["key"]]
            start_s = clip.media.span.start_s if clip.media.span else 0.0
            for tube in arrow.typed(tuple[Tube, ...], row["tubes"]):
                times = tuple(t + start_s for t in tube.at_s)
                found[clip.media.uri].append(dataclasses.replace(tube, at_s=times, end_s=tube.end_s + start_s))
        return found

    def _events(self) -> dict[str, list[Event]]:
        found: dict[str, list[Event]] = defaultdict(list)
        for row in self.table("events", children=True):
            clip = self.clips[row["parent_key"]]
            event: Event = arrow.typed(Event, {k: v for k, v in row.items() if k != "part"})
            start_s = clip.media.span.start_s if clip.media.span else 0.0
            found[clip.media.uri].append(dataclasses.replace(event, span=event.span.shifted(start_s)))
        return found

    def _texts(self) -> dict[str, list[TextLine]]:
        found: dict[str, list[TextLine]] = defaultdict(list)
        for row in self.table("text", children=False):
            clip = self.clips[row["key"]]
            start_s = clip.media.span.start_s if clip.media.span else 0.0
            for line in arrow.typed(tuple[TextLine, ...], row["texts"]):
                found[clip.media.uri].append(dataclasses.replace(line, at_s=line.at_s + start_s))
        return found


def _sample_figures(dataset: Dataset, beside: _Beside, slacks_s: Sequence[float]) -> list[Figure]:
    children = dataset.children()
    if "turns" not in children.column_names:
        return []
    right: Counter[str] = Counter()
    total: Counter[str] = Counter()
    kind = kind_of(children.column_names)
    for row in children.drop_columns(["part"]).to_pylist():
        sample: Sample = arrow.typed(kind, row)
        if sample.verdict.accepted and sample.media.uri in beside.truths:
            for name, faults in _judged(sample, sample.media, beside.truths[sample.media.uri], slacks_s):
                total[name] += 1
                right[name] += not faults
    return [Figure(name, right[name] / total[name], None, None, total[name]) for name in sorted(total)]


def _judged(
    sample: Sample, media: MediaRef, exact: SceneTruth, slacks_s: Sequence[float]
) -> Iterator[tuple[str, list[str]]]:
    """Names of figures and the faults that a sample has in each."""
    if sample.task.startswith("text_"):
        shown = true_spans(exact, media)
        for slack_s in slacks_s:
            yield f"text times right within {slack_s:g} s: {sample.task}", check_text_times(sample, shown, slack_s)
    elif sample.family == "ocr_rich":
        check = check_transcription if sample.task in _STAGE_A else check_dialogue
        yield f"texts right: {sample.task}", check(sample, _texts_at(sample, media, exact))
    elif sample.family == "code_guided":
        faults = check_document(sample, record_of(Path(media.uri)) or {})
        yield "answers right", faults
        yield f"answers right: {sample.task}", faults
    elif media.span is not None:
        inside = (in_clip(e, media.span, media.duration_s) for e in exact.events)
        events = [e for e in inside if e is not None]
        for slack_s in slacks_s:
            faults = _faults(sample, media, exact, events, slack_s)
            yield f"samples right within {slack_s:g} s", faults
            yield f"samples right within {slack_s:g} s: {sample.task}", faults


def _faults(sample: Sample, media: MediaRef, exact: SceneTruth, events: Sequence[Event], slack_s: float) -> list[str]:
    """Faults of a sample about time. Where times may be off, a box of a tracker need only be found (IoU 0.5)."""
    if isinstance(sample, StreamSample):
        return check_live(sample, events, slack_s)
    if sample.family == "flipped":
        return check_flipped(sample, events, slack_s)
    if sample.family == "cotasks":
        return check_cotasks(sample, events, slack_s)
    if isinstance(sample, PreferenceSample) and sample.family == "temple":
        return check_temple(sample, events, exact.shots, slack_s)
    if isinstance(sample, PreferenceSample):
        return check_preference(sample, events, slack_s=slack_s)
    if sample.family != "st_align" or not isinstance(sample, GroundedSample) or media.span is None:
        return check_grounding(sample, events, slack_s)  # in a mix, dialogues without tubes are of that kind too
    inside = (tube_in_clip(t, media.span, media.duration_s) for t in exact.tubes)
    least_iou = 0.999 if slack_s == SLACKS_S[0] else 0.5
    return check_st_align(sample, [t for t in inside if t is not None], events, slack_s, least_iou)


def _texts_at(sample: Sample, media: MediaRef, exact: SceneTruth) -> list[TextLine]:
    """The true lines of the frame that a sample is about, in pixels of the medium."""
    at_s = sample.frames[0].at_s + (media.span.start_s if media.span else 0.0) + _ROUNDED_S
    shot = [s for s in exact.shots if s.start_s <= at_s < s.end_s]
    return [t for t in exact.texts if not shot or shot[0].start_s <= t.at_s < shot[0].end_s]
