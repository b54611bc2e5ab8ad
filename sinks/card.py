"""The card of a packed dataset (README.md): what is in it, how sure its labels are, and how to read it.

The header is what Hugging Face's hub reads. Every number is counted from the pack itself. Two errors of the labels are
always named, also where nobody measured them.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from reelmill.schemas import arrow
from reelmill.sinks.audit.precision import Group, audit_of, interval
from reelmill.sinks.dataset import Dataset
from reelmill.sinks.publishing.blind import Told, Unseen
from reelmill.sinks.publishing.packed import MadeBy, Media, PackedCurated, PackedSample
from reelmill.sinks.shards import Shard
from reelmill.sinks.shares import left_out, shares_said
from reelmill.sinks.state.records import read_record, record_bytes
from reelmill.sinks.tables import CountRow

_ERRORS, _FIGURES = "label_errors.json", "label_figures.json"
FIGURES = pa.schema(
    [("name", pa.string()), *((n, pa.float64()) for n in ("value", "low", "high")), ("count", pa.int64())]
)
_COSTS = ("cpu_s", "calls", "tokens", "price")
_SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))
_HUB_LICENCES = {
    *("cc0-1.0", "cc-by-2.0", "cc-by-3.0", "cc-by-4.0", "cc-by-sa-3.0", "cc-by-sa-4.0", "cc-by-nc-4.0", "pddl"),
    *("cc-by-nc-sa-4.0", "cc-by-nc-nd-4.0", "apache-2.0", "mit", "bsd-2-clause", "bsd-3-clause", "odc-by", "lgpl-2.1"),
}
_ORIGIN = {
    MadeBy.RULES: "**rule-made labels**: read off the media and worded by rules; no person or model saw them",
    MadeBy.MODEL: "model-made labels: a model read the media; the words around its reading may be rules'",
    MadeBy.TRUTH: "exact truth of rendered scenes",
    MadeBy.HUMAN: "labels that a person gave or checked",
    MadeBy.IMPORTED: "labels of an existing set: who made them, and how, is not known here; nothing checked them",
}


@dataclass(frozen=True, slots=True)
class LabelErrors:
    """What is known of the labels' errors, each one sentence with its number, engine and date; '' where unknown.

    `groups` are what `audited` says for each method, family and task, where persons marked samples.
    """

    rendered_truth: str = ""
    audited: str = ""
    groups: tuple[Group, ...] = ()

    @property
    def lines(self) -> tuple[str, str]:
        """The two lines that every card, page and report shows."""
        return (
            f"Error on rendered truth: {self.rendered_truth or 'not measured'}",
            f"Audited precision on this media: {self.audited or 'UNAUDITED'}",
        )


def label_errors(dataset: Dataset) -> LabelErrors:
    """The errors noted for a dataset, and its audit as the marks stand today; unknown where there is neither."""
    noted, audit = noted_errors(dataset), audit_of(dataset)
    return noted if audit is None else LabelErrors(noted.rendered_truth, audit.sentence, audit.groups)


def noted_errors(dataset: Dataset) -> LabelErrors:
    """The errors noted for a dataset alone; marks of persons are never noted, but counted when they are shown."""
    try:
        said = read_record(dataset.ledger.objects, dataset.label, _ERRORS, "delete it and note the errors again")
    except FileNotFoundError:
        return LabelErrors()
    return LabelErrors(said["rendered_truth"], said["audited"])


def note_figures(dataset: Dataset, figures: Sequence[dict[str, Any]]) -> None:
    """Keep the figures of a measurement (name, value, low, high, count) beside the dataset; `sql` shows them."""
    dataset.ledger.objects.put(_FIGURES, record_bytes({"figures": list(figures)}))


def figures(dataset: Dataset) -> pa.Table:
    """The figures noted last, empty where nobody measured."""
    try:
        said = read_record(dataset.ledger.objects, dataset.label, _FIGURES, "delete it and measure again")
    except FileNotFoundError:
        said = {"figures": []}
    return pa.Table.from_pylist(said["figures"], schema=FIGURES)


def note_label_errors(dataset: Dataset, errors: LabelErrors) -> None:
    """Keep the errors beside the dataset; cards and pages written from now on show them."""
    said = {"rendered_truth": errors.rendered_truth, "audited": errors.audited}
    dataset.ledger.objects.put(_ERRORS, record_bytes(said))


@dataclass
class Tally:
    """Counts of the packed samples, filled while they are written."""

    samples: Counter[str] = field(default_factory=Counter)
    licences: Counter[str] = field(default_factory=Counter)
    families: Counter[str] = field(default_factory=Counter)
    tasks: Counter[str] = field(default_factory=Counter)
    made_by: Counter[str] = field(default_factory=Counter)
    methods: Counter[str] = field(default_factory=Counter)
    kinds: Counter[str] = field(default_factory=Counter)
    sources: dict[str, str] = field(default_factory=dict)
    max_frames: int = 0
    document: Any = PackedSample

    def add(self, sample: PackedSample, split: str) -> None:
        self.samples[split] += 1
        self.licences[sample.media.licence] += 1
        self.families[sample.family] += 1
        self.tasks[sample.task] += 1
        self.made_by[sample.made_by] += 1
        self.methods[sample.method] += 1
        self.kinds[sample.media.kind] += 1
        self.sources[sample.media.digest] = split
        self.max_frames = max(self.max_frames, len(sample.frames))
        self.document = type(sample)

    @property
    def total(self) -> int:
        return self.samples.total()


@dataclass(frozen=True, slots=True)
class Cost:
    """What one dataset took: processor time, and the calls, tokens and price of the models that it asked."""

    label: str
    cpu_s: float
    calls: int
    tokens: int
    price: float

    @classmethod
    def of(cls, dataset: Dataset) -> Cost:
        used = list(dataset.usage().values())
        tokens = sum(u["tokens_in"] + u["tokens_out"] for u in used)
        calls, price = sum(u["calls"] for u in used), sum(u["cost"] for u in used)
        return cls(dataset.label, dataset.cpu_s(), int(calls), int(tokens), price)


@dataclass(frozen=True, slots=True)
class Facts:
    """All that a card says."""

    name: str
    label: str
    media: Media
    tally: Tally
    counts: Sequence[CountRow]
    reasons: dict[tuple[str, str, str], int]
    shards: Sequence[Shard]
    errors: LabelErrors
    costs: Sequence[Cost]
    shares: Sequence[dict[str, Any]] = ()
    unseen: Sequence[Unseen] = ()


def card(facts: Facts) -> str:
    """The whole README.md."""
    parts = (_what, _labels, _unseen, _shares, _counts, _rejects, _costs, _licences, _reading)
    body = "\n\n".join(said for part in parts if (said := part(facts)))
    return f"---\n{yaml(header(facts))}---\n\n{body}\n"


def header(facts: Facts) -> dict[str, Any]:
    """The YAML header: Hugging Face's dataset card fields, from real counts."""
    splits = [{"split": s, "path": f"shards/{facts.name}-{s}-*.tar"} for s in sorted(facts.tally.samples)]
    return {
        "pretty_name": facts.name,
        "license": sorted({_hub_licence(name) for name in facts.tally.licences}) or ["other"],
        "task_categories": _categories(facts.tally),
        "tags": ["webdataset", "reelmill", *sorted(facts.tally.families), *sorted(facts.tally.tasks)],
        "size_categories": [next((name for top, name in _SIZES if facts.tally.total < top), "n>1M")],
        "configs": [{"config_name": "default", "data_files": splits}],
        "dataset_info": {
            "features": features(facts),
            "splits": [
                {"name": s, "num_examples": n, "num_bytes": sum(x.bytes for x in facts.shards if x.split == s)}
                for s, n in sorted(facts.tally.samples.items())
            ],
        },
    }


def _hub_licence(name: str) -> str:
    """The hub's identifier of a licence; those that it does not know are `other` and stand in the card's text."""
    return name.lower() if name.lower() in _HUB_LICENCES else "other"


def _categories(tally: Tally) -> list[str]:
    kinds = {"video": "video-text-to-text", "image": "image-text-to-text"}
    return sorted(kinds[k] for k in tally.kinds if k in kinds)


def features(facts: Facts) -> list[dict[str, Any]]:
    """Hugging Face feature list: without it, samples with other numbers of frames are refused as unlike."""
    frames = facts.tally.max_frames if facts.media is not Media.REF else 0
    named = [{"name": f"f{i:03d}.jpg", "dtype": "image"} for i in range(frames)]
    clip = [{"name": "mp4", "dtype": "video"}] if facts.media is Media.CLIP else []
    document = {"name": "json", "struct": [_feature(f) for f in arrow.schema_of(facts.tally.document)]}
    ends = [{"name": n, "dtype": "string"} for n in ("__key__", "__url__")]
    return [*ends, *clip, *(named if facts.media is Media.FRAMES or "image" in facts.tally.kinds else []), document]


def _feature(column: pa.Field) -> dict[str, Any]:
    return {"name": column.name, **_kind(column.type)}


def _kind(kind: pa.DataType) -> dict[str, Any]:
    if pa.types.is_struct(kind):
        return {"struct": [_feature(f) for f in kind]}
    if pa.types.is_list(kind):
        inner = _kind(kind.value_type)
        return {"list": inner.get("dtype") or inner.get("struct") or inner}
    return {"dtype": {"double": "float64"}.get(str(kind), str(kind))}


def yaml(value: Any, depth: int = 0) -> str:
    """Plain data as block YAML; strings are written as JSON, which is YAML.

    >>> print(yaml({"a": [1, {"b": "x: y"}], "c": []}), end="")
    a:
      - 1
      - b: "x: y"
    c: []
    """
    pad = "  " * depth
    if isinstance(value, dict):
        return "".join(f"{pad}{_name(k)}:{_beside(v, depth)}" for k, v in value.items())
    lines = []
    for item in value:
        if isinstance(item, dict):
            lines.append(f"{pad}- {yaml(item, depth + 1).lstrip(' ')}")
        else:
            lines.append(f"{pad}-{_beside(item, depth)}")
    return "".join(lines)


def _name(key: str) -> str:
    return key if key.replace("_", "").isalnum() else json.dumps(key)


def _beside(value: Any, depth: int) -> str:
    if isinstance(value, (dict, list)) and value:
        return "\n" + yaml(value, depth + 1)
    return f" {json.dumps(value, ensure_ascii=False)}\n"


def _what(facts: Facts) -> str:
    tally = facts.tally
    splits = ", ".join(f"{n} {s}" for s, n in sorted(tally.samples.items()))
    sources = Counter(tally.sources.values())
    held = {
        Media.FRAMES: "the shown frames of every sample (JPEG) and their times",
        Media.CLIP: "an mp4 of every sample's clip, without sound",
        Media.REF: "no media: `media.uri` and `media.digest` name the source",
    }[facts.media]
    return (
        f"# {_cell(facts.name)}\n\n"
        f"{tally.total} samples ({splits}) from {len(tally.sources)} sources, made by Reelmill as "
        f"`{facts.label}`. Shards hold {held}.\n"
        f"A source lies in one split only ({', '.join(f'{n} in {s}' for s, n in sorted(sources.items()))}); the split "
        "is a hash of its digest and does not move when media is added.\n\n"
        f"{_table(('task', 'samples'), tally.tasks)}"
    )


def _labels(facts: Facts) -> str:
    if facts.tally.document is PackedCurated:
        return (
            "## No labels\n\nThese samples have no words: they are frames, and what was measured of their clip "
            "(`facts`: motion, sharpness, luma, a perceptual hash). Nothing is said of what they show."
        )
    made = [f"- {n} samples: {_ORIGIN[MadeBy(kind)]}." for kind, n in sorted(facts.tally.made_by.items())]
    errors = [f"- {_cell(line)}" for line in facts.errors.lines]
    table = _table(("method", "samples"), facts.tally.methods)
    return "\n".join(["## How sure the labels are", "", *errors, *made]) + f"\n\n{table}{_audited(facts.errors.groups)}"


def _audited(groups: Sequence[Group]) -> str:
    """What persons found, for each method, family and task; '' where nobody marked anything."""
    if not any(g.rate.count for g in groups):
        return ""
    lines = ["| audited by | | samples | right | unsure | precision |", "|---|---|---:|---:|---:|---|"]
    for g in groups:
        found = f"{g.rate.value:.2f} ({interval(g.rate)})" if g.rate.count else "nothing decided"
        right = f"{g.rate.hits} of {g.rate.count}"
        lines.append(f"| {g.by} | {_cell(g.name)} | {g.samples} | {right} | {g.unsure} | {found} |")
    return "\n\n" + "\n".join(lines)


def _shares(facts: Facts) -> str:
    """What a mix was asked for and what it got, input by input; '' where the dataset is none."""
    if not facts.shares:
        return ""
    lines = ["| input | asked | available | drawn | share | left out |", "|---|---|---:|---:|---|---|"]
    for row in facts.shares:
        share, out = shares_said(row["asked_share"], row["got_share"]), left_out(row) or "none"
        numbers = f"{row['available']} | {row['drawn']}"
        lines.append(f"| {_cell(row['input'])} | {_cell(row['asked'])} | {numbers} | {share} | {_cell(out)} |")
    return "\n".join(["## What was mixed", "", *lines])


def _unseen(facts: Facts) -> str:
    """What readers that see no frame tell of the pairs, kind by kind; '' where there are none."""
    if not facts.unseen:
        return ""
    words = (
        "How often a reader without the video gives the chosen side the higher score (AUC within pairs; 0.5 is blind, "
        "the best of four readers lies a little above it by chance). What such a reader can tell, a trained model can "
        "learn instead of looking. Readers learn on some sources and are asked about others."
    )
    lines = ["| kind of pair | pairs | by length alone | best reader | its AUC, 95 % |", "|---|---:|---|---|---|"]
    for one in facts.unseen:
        best = f"{one.best.reader} | {_auc(one.best)}" if one.best else "| too few pairs to say"
        lines.append(f"| {_cell(one.kind)} | {one.pairs} | {_auc(one.length) if one.length else ''} | {best} |")
    return "\n".join(["## What can be told of the pairs unseen", "", words, "", *lines])


def _auc(told: Told) -> str:
    return f"{told.auc:.2f} ({told.low:.2f} to {told.high:.2f})"


def _counts(facts: Facts) -> str:
    levels: dict[tuple[str, str], dict[str, int]] = {}
    for row in facts.counts:
        levels.setdefault((row.dataset, row.level), {})[row.state] = row.count
    lines = ["| dataset | level | all | accepted | rejected | pending |", "|---|---|---:|---:|---:|---:|"]
    for (label, level), states in levels.items():
        numbers = [sum(states.values()), *(states.get(s, 0) for s in ("accepted", "rejected", "pending"))]
        lines.append(f"| {_cell(label)} | {level} | {' | '.join(str(n) for n in numbers)} |")
    closing = f"Packed samples: {facts.tally.total}; every accepted child is in exactly one shard."
    return "\n".join(["## Counts, level by level", "", *lines, "", closing])


def _rejects(facts: Facts) -> str:
    if not facts.reasons:
        return "## Rejects\n\nNothing was rejected."
    lines = ["## Rejects", "", "| dataset | step | reason | count |", "|---|---|---|---:|"]
    for (label, step, reason), n in sorted(facts.reasons.items(), key=lambda x: (-x[1], x[0])):
        lines.append(f"| {_cell(label)} | {_cell(step)} | {_cell(reason)} | {n} |")
    return "\n".join([*lines, "", "One by one, with what was seen: table `rejects`."])


def _costs(facts: Facts) -> str:
    """In all, and for each packed sample: what it rests on is counted whole, also where other views share it."""
    rows = [*facts.costs, Cost("together", *(sum(getattr(c, n) for c in facts.costs) for n in _COSTS))]
    made = max(1, facts.tally.total)
    lines = [
        ("dataset", "CPU-seconds", "for each sample", "model calls", "tokens", "tokens for each sample", "price"),
        ["---"] * 7,
        *((_cell(c.label), *_each(c.cpu_s, made, 4), c.calls, *_each(c.tokens, made, 1), f"{c.price:g}") for c in rows),
    ]
    table = "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)
    return f"## What it cost\n\nOf the rows that count; datasets that other views share are counted whole.\n\n{table}"


def _each(total: float, samples: int, digits: int) -> tuple[str, str]:
    return f"{total:.1f}" if isinstance(total, float) else str(total), f"{total / samples:.{digits}f}"


def _licences(facts: Facts) -> str:
    words = "The media keep the licences of their sources; a licence that was not given reads `unknown`."
    return f"## Licences of the media\n\n{words}\n\n{_table(('licence', 'samples'), facts.tally.licences)}"


def _reading(facts: Facts) -> str:
    split = next(iter(sorted(facts.tally.samples)), "train")
    last = max(sum(s.split == split for s in facts.shards) - 1, 0)
    urls = f"shards/{facts.name}-{split}-{{000000..{last:06d}}}.tar"
    told = 'told["facts"]' if facts.tally.document is PackedCurated else 'told["turns"]'
    return f"""## How to read it

```python
import duckdb
catalog = duckdb.connect("catalog.duckdb", read_only=True)
print(catalog.sql("select task, count(*) from samples group by task"))
print(catalog.sql("select reason, count(*) from rejects group by reason"))
```

```python
import json, webdataset
for sample in webdataset.WebDataset({json.dumps(urls)}, shardshuffle=False):
    told = json.loads(sample["json"])  # {told}, told["frames"][0]["at_s"]
    jpegs = [sample[f["member"]] for f in told["frames"] if f["member"]]
```

`<time>` in a turn stands for the next (start, end) pair of `src_s` (questions) or `tgt_s` (answers), in seconds of the
clip; boxes are in shown pixels of `media`. `manifest.json` holds the sha256 of every file."""  # noqa: S608 - a text


def _table(head: tuple[str, str], counts: Counter[str]) -> str:
    lines = [f"| {head[0]} | {head[1]} |", "|---|---:|"]
    return "\n".join([*lines, *(f"| {_cell(k) or 'unknown'} | {n} |" for k, n in sorted(counts.items()))])


def _cell(text: str) -> str:
    """Foreign text in Markdown: one line, nothing that is markup or HTML."""
    flat = " ".join(text.split())
    for sign in "\\&`*_[]<>|#!":  # `&` before those that are written with it
        flat = flat.replace(sign, f"\\{sign}" if sign not in "<>&" else {"<": "&lt;", ">": "&gt;", "&": "&amp;"}[sign])
    return flat
