"""The audit page: one sample at a time, judged by keyboard. One HTML file without any outside resource.

Served, it sends each mark to the program; as a file, it keeps them and offers them as a download. Its one script is
named by its sha256 in the page's own policy, so that no word of the data can become another.

>>> policy(b"1", served=False).split("; ")[1]
"script-src 'sha256-a4ayc/80/OGda4BO/1o/V0etpOqiLx1JwB5S3beHW0s='"
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources

from reelmill.schemas import arrow
from reelmill.schemas.errors import BadInput
from reelmill.schemas.media import FrameRef
from reelmill.schemas.sample import Sample
from reelmill.sinks.audit.draw import accepted, drawn, only, strata
from reelmill.sinks.audit.marks import NOTE_SIGNS, Mark, kept, text_sha256
from reelmill.sinks.audit.precision import counted
from reelmill.sinks.dataset import Dataset, Store
from reelmill.sinks.gallery.entry import Entry, PictureSource, chosen_frames, entry_of
from reelmill.sinks.gallery.evidence import Evidence
from reelmill.sinks.publishing.frames import StoredFrames
from reelmill.sinks.publishing.view import lineage

FRAMES_SHOWN = 16
"""Twice the gallery's: at the usual two frames a second, eight seconds without a gap."""


@dataclass(frozen=True, slots=True)
class Question:
    """A sample that a person is asked about. `mark` is the one that this person gave before, where it still counts."""

    sample: Sample
    text_sha256: str
    frames: tuple[str, ...]
    mark: Mark | None


@dataclass(frozen=True, slots=True)
class Asked:
    """Who is asked what; `accepted` are the samples that it was drawn from."""

    dataset: str
    rater: str
    questions: tuple[Question, ...]
    accepted: int


class Embedded:
    """Pictures inside the page."""

    def __init__(self, frames: StoredFrames) -> None:
        self.frames = frames

    def src(self, ref: FrameRef) -> str:
        return f"data:image/jpeg;base64,{base64.b64encode(self.frames.read(ref)).decode()}"


class Held:
    """Pictures in memory under names made of their content: what a server answers from, and nothing else."""

    def __init__(self, frames: StoredFrames) -> None:
        self.frames = frames
        self.jpegs: dict[str, bytes] = {}

    def src(self, ref: FrameRef) -> str:
        name = f"frames/{ref.sha256[:24]}.jpg"
        if name not in self.jpegs:
            self.jpegs[name] = self.frames.read(ref)
        return name


def ask(dataset: Dataset, rater: str, *, n: int, seed: int, wanted: Sequence[str] = ()) -> Asked:
    """Draw at most `n` questions from the strata that are wanted (all by default).

    Raises BadInput where the dataset has no labels or nothing accepted, NotFound where no sample is as wanted.
    """
    groups = only(strata(dataset), wanted)
    if not groups:
        raise BadInput(
            f"dataset {dataset.label}", seen="no accepted sample", do="see `reelmill rejects` for the reasons"
        )
    keys = drawn(groups, n, seed)
    found = accepted(dataset, keys)
    before = {m.key: m for m in counted(kept(dataset), found) if m.rater == rater}
    questions = (_question(found[key], before.get(key)) for key in keys)
    return Asked(dataset.label, rater, tuple(questions), sum(map(len, groups.values())))


def _question(sample: Sample, mark: Mark | None) -> Question:
    frames = tuple(ref.sha256 for ref in chosen_frames(sample, FRAMES_SHOWN))
    return Question(sample, text_sha256(sample), frames, mark)


def page(store: Store, dataset: Dataset, asked: Asked, pictures: PictureSource, *, served: bool) -> str:
    """The page's HTML. Raises Corrupt where a frame is not as it was stored."""
    evidence = _events(store, dataset, [q.sample for q in asked.questions])
    entries = [entry_of(q.sample, evidence, pictures, FRAMES_SHOWN) for q in asked.questions]
    return _render(asked, entries, served=served)


def _events(store: Store, dataset: Dataset, shown: Sequence[Sample]) -> Evidence:
    """What was proposed of the clips. Tubes and lines are left out: a box that the label does not name would sway its
    judge."""
    rests_on = lineage(store, dataset, arrow.to_table(type(shown[0]), shown))
    return Evidence(Evidence.of(rests_on, (s.parent_key for s in shown)).events)


def policy(script: bytes, *, served: bool) -> str:
    """The content security policy of the page: its own script, its own pictures, and nobody else."""
    digest = base64.b64encode(hashlib.sha256(script).digest()).decode()
    pictures = "'self' data:" if served else "data:"
    rules = {
        "default-src": "'none'",
        "script-src": f"'sha256-{digest}'",
        "style-src": "'unsafe-inline'",
        "img-src": pictures,
        "connect-src": "'self'" if served else "'none'",
        "base-uri": "'none'",
        "form-action": "'none'",
    }
    return "; ".join(f"{name} {value}" for name, value in rules.items())


def _render(asked: Asked, entries: Sequence[Entry], *, served: bool) -> str:
    import jinja2

    files: Mapping[str, str] = {
        name: (resources.files(package) / name).read_text(encoding="utf-8")
        for package, name in (
            ("reelmill.sinks.gallery", "page.css"),
            ("reelmill.sinks.audit", "audit.css"),
            ("reelmill.sinks.audit", "audit.js"),
        )
    }
    rooms = [jinja2.PackageLoader(f"reelmill.sinks.{name}", ".") for name in ("audit", "gallery")]
    environment = jinja2.Environment(
        loader=jinja2.ChoiceLoader(rooms), autoescape=True, undefined=jinja2.StrictUndefined
    )
    return environment.get_template("audit.html.jinja").render(
        asked=asked,
        questions=list(zip(asked.questions, entries, strict=True)),
        served=served,
        css=files["page.css"] + files["audit.css"],
        script=files["audit.js"],
        policy=policy(files["audit.js"].encode(), served=served),
        note_signs=NOTE_SIGNS,
    )
