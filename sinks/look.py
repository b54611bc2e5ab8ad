"""A look at a dataset in the terminal: a few samples with their dialogue and time line, and the rejects by reason.

>>> bar(6.0, [Span(1.0, 3.5)], width=12)
'··█████·····'
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import islice

from rich import box
from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from reelmill.schemas.sample import ClipFacts, CuratedSample, Role, Sample
from reelmill.schemas.span import Span
from reelmill.sinks.card import label_errors
from reelmill.sinks.dataset import Dataset
from reelmill.sinks.publishing.packed import made_by
from reelmill.sinks.publishing.view import accepted_children, samples

WIDTH = 60
_BIDI = dict.fromkeys([*range(0x202A, 0x202F), *range(0x2066, 0x206A), 0x200E, 0x200F])


def bar(duration_s: float, spans: Sequence[Span], width: int = WIDTH) -> str:
    """Spans of a medium as one line of `width` signs; a span has at least one."""
    cells = ["·"] * width
    for span in spans:
        first = min(int(span.start_s / duration_s * width), width - 1)
        last = max(first, min(round(span.end_s / duration_s * width), width) - 1)
        cells[first : last + 1] = "█" * (last + 1 - first)
    return "".join(cells)


def render(dataset: Dataset, n: int = 5) -> RenderableType:
    """The first `n` accepted samples, then the rejects by reason. Raises BadInput on a dataset without samples."""
    accepted = accepted_children(dataset)
    errors = Text("\n".join(label_errors(dataset).lines), style="yellow")
    head = Text(f"{dataset.label}: {accepted.num_rows} accepted samples", style="bold")
    return Group(head, errors, *(_panel(s) for s in islice(samples(accepted), n)), _rejects(dataset))


def _panel(sample: Sample) -> Panel:
    lines = Text()
    for turn in sample.turns:
        who = "asks   " if turn.role is Role.USER else "answers"
        lines.append(f"{who} ", style="cyan" if turn.role is Role.USER else "green").append(f"{_safe(turn.text)}\n")
        times = turn.src_s if turn.role is Role.USER else turn.tgt_s
        spans = [Span(s, e) for s, e in zip(times[::2], times[1::2], strict=False) if 0.0 <= s < e]
        if spans and sample.media.duration_s > 0:
            lines.append(f"        {bar(sample.media.duration_s, spans)} ")
            lines.append(", ".join(f"{s.start_s:.2f}-{s.end_s:.2f} s" for s in spans) + "\n")
        if turn.boxes:
            lines.append(f"        {len(turn.boxes)} boxes\n", style="dim")
    if isinstance(sample, CuratedSample):
        lines.append(f"{_measured(sample.facts)}\n")
    lines.append(_facts(sample), style="dim")
    return Panel(lines, title=Text(f"{_safe(sample.task)}  {sample.key}"), title_align="left", box=box.ROUNDED)


def _measured(facts: ClipFacts) -> str:
    moves = "still" if facts.still else f"motion {facts.motion:.4f}"
    return f"{moves}, sharpness {facts.sharpness:.0f}, luma {facts.luma:.0f} ± {facts.luma_spread:.0f}, {facts.phash}"


def _facts(sample: Sample) -> str:
    origin = made_by(sample.method, (p.method for p in sample.provenance))
    media = f"{sample.media.kind} {sample.media.width_px}x{sample.media.height_px}, {sample.media.duration_s:.2f} s"
    frames = f"{len(sample.frames)} frames"
    licence = _safe(sample.media.licence) or "licence unknown"
    return f"{media}, {frames}; made by {origin} ({_safe(sample.method)}), {sample.label_confidence:.2f}; {licence}"


def _rejects(dataset: Dataset) -> RenderableType:
    found = dataset.rejects().to_pylist()
    if not found:
        return Text("nothing was rejected", style="dim")
    table = Table("count", "level", "step", "reason", "for instance", title="rejects by reason", box=box.SIMPLE)
    counts = Counter((r["level"], r["step"], r["reason"]) for r in found)
    details = {(r["level"], r["step"], r["reason"]): r["detail"] for r in reversed(found)}
    for named, count in sorted(counts.items(), key=lambda x: (-x[1], x[0])):
        table.add_row(str(count), *(Text(_safe(n)) for n in named), Text(_safe(details[named])))
    return table


def _safe(text: str) -> str:
    """Foreign words on one line, without control signs: a terminal obeys those."""
    return "".join(c if c.isprintable() else " " for c in text.translate(_BIDI))
