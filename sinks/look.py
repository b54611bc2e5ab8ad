"""A look at a dataset in the terminal: a few samples with their dialogue and time line, and the rejects by reason.

Of a pair both sides are shown with the words that differ between « and »; of a stream, when each turn is said.

>>> bar(6.0, [Span(1.0, 3.5)], width=12)
'··█████·····'
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import islice

from rich import box
from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from reelmill.schemas.sample import (
    ClipFacts,
    CuratedSample,
    GroundedSample,
    PreferenceSample,
    Role,
    Sample,
    StreamSample,
    Turn,
)
from reelmill.schemas.span import Span
from reelmill.sinks.card import label_errors
from reelmill.sinks.dataset import Dataset
from reelmill.sinks.gallery.sides import Piece, perturbed, sides
from reelmill.sinks.gallery.timeline import silences, spans
from reelmill.sinks.gallery.words import own_times, pixels
from reelmill.sinks.publishing.packed import made_by
from reelmill.sinks.publishing.view import accepted_children, samples

WIDTH = 60
_BOXES_TOLD = 2
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
    alone = len(sample.turns) - (len(sample.rejected) if isinstance(sample, PreferenceSample) else 0)
    for i, turn in enumerate(sample.turns[:alone]):
        who, style = ("asks   ", "cyan") if turn.role is Role.USER else ("answers", "green")
        said_s = f"{sample.turns_at_s[i]:.2f} s  " if isinstance(sample, StreamSample) else ""
        lines.append(f"{said_s}{who} ", style=style).append(f"{_safe(turn.text)}\n")
        lines.append(_times(sample, turn))
        if turn.boxes:
            lines.append(f"        {_boxed(turn)}\n", style="dim")
    lines.append(_own(sample))
    lines.append(_facts(sample), style="dim")
    return Panel(lines, title=Text(f"{_safe(sample.task)}  {sample.key}"), title_align="left", box=box.ROUNDED)


def _times(sample: Sample, turn: Turn) -> str:
    return _line(sample, spans(own_times(turn)))


def _line(sample: Sample, found: Sequence[Span], name: str = "") -> str:
    """A time-line with its spans in figures; '' of a medium without duration, or where there is nothing to show."""
    if not found or sample.media.duration_s <= 0:
        return ""
    told = ", ".join(f"{s.start_s:.2f}-{s.end_s:.2f} s" for s in found)
    return f"{name:8}{bar(sample.media.duration_s, found)} {told}\n"


def _boxed(turn: Turn) -> str:
    """The boxes in figures where they are few."""
    count = f"{len(turn.boxes)} box{'es' if len(turn.boxes) > 1 else ''}"
    return f"{count}: {', '.join(map(pixels, turn.boxes))}" if len(turn.boxes) <= _BOXES_TOLD else count


def _own(sample: Sample) -> Text:
    """What only some kinds of sample hold."""
    match sample:
        case CuratedSample():
            return Text(f"{_measured(sample.facts)}\n")
        case GroundedSample():
            return Text("".join(_followed(sample)))
        case PreferenceSample():
            return _pair(sample)
        case StreamSample():
            return Text(_streamed(sample), style="dim")
    return Text()


def _streamed(sample: StreamSample) -> str:
    """Who speaks when: Q and A on a line on which silence is dotted; '' of a medium without duration."""
    if sample.media.duration_s <= 0:
        return ""
    silent_s = sum(s.duration_s for s in silences(sample))
    cells, duration_s = [" "] * WIDTH, sample.media.duration_s
    for span in silences(sample):
        dotted = bar(duration_s, [span])
        cells = ["·" if sign == "█" else cell for sign, cell in zip(dotted, cells, strict=True)]
    for turn, at_s in zip(sample.turns, sample.turns_at_s, strict=True):
        cells[min(int(at_s / duration_s * WIDTH), WIDTH - 1)] = "Q" if turn.role is Role.USER else "A"
    return f"{'silent':8}{''.join(cells)} {silent_s:.2f} s\n"


def _followed(sample: GroundedSample) -> Iterator[str]:
    for n, tube in enumerate(sample.tubes, 1):
        yield _line(sample, spans((min(tube.at_s, default=0.0), tube.end_s)), f"tube {n}")
        ends = f"{pixels(tube.boxes[0])} to {pixels(tube.boxes[-1])}" if tube.boxes else "nowhere"
        yield f"        {len(tube.boxes)} boxes, from {ends}\n"


def _pair(pair: PreferenceSample) -> Text:
    lines = Text()
    both = [*pair.turns[len(pair.turns) - len(pair.rejected) :]]
    turns = [turn for two in zip(both, pair.rejected, strict=True) for turn in two]
    for side, turn in zip(sides(pair), turns, strict=True):
        lines.append(f"{side.name:8} ", style="green" if side.name == "chosen" else "red")
        for piece in side.pieces:
            lines.append(_differing(piece), style="bold" if piece.differs else "")
        lines.append("\n" + _times(pair, turn))
        for claim in side.claims:
            lines.append(f"        {'✓ holds' if claim.holds else '✗ fails'}  {_safe(claim.text)}\n")
    return lines.append(f"made wrong by {_safe(perturbed(pair.perturbation))}\n", style="dim")


def _differing(piece: Piece) -> str:
    """Marked by signs, since a file or a pipe has no bold."""
    return f"«{_safe(piece.text)}»" if piece.differs and piece.text.strip() else _safe(piece.text)


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
