"""Does memory grow with the amount of work? PSS over time of a view and its pack over 2,500 and 10,000 clips, and of an
hour of 1080p cut into clips.

The clips are made, not decoded: 3 s each, six shown frames of 320 x 180 (a rendered picture with film grain, JPEG
quality 85, about 15 kB, each with bytes of its own), ten to a source, one accepted event and a refused one, in commits
of 64 units as `clips` and of 64 clips as `events` would write them. The view (`internvid_tg`) and the pack over them
are the real ones. The film is one rendered 1080p minute, copied packet by packet as often as wanted (no re-encoding);
`media` and `clips` over it are the real ones.

    python benchmarks/flat_memory.py --clips 2500 10000 --minutes 60
"""

from __future__ import annotations

import argparse
import hashlib
import io
import itertools
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from ledger import Unsynced
from measure import Cost, Result, cost, say
from PIL import Image, ImageDraw

from reelmill.pipelines import clips, events, internvid_tg, media
from reelmill.pipelines._plan import Plan
from reelmill.pipelines._recipe import Place, Recipe
from reelmill.pipelines._run import Limits, Local, Silent, _run_one, identity, run
from reelmill.schemas import arrow
from reelmill.schemas.clip import ClipStats, NewClip, Unit
from reelmill.schemas.event import Event, EventKind, Proposal
from reelmill.schemas.keys import child_key, media_key
from reelmill.schemas.media import DecodeStatus, Kind, MediaRef, NewFrame
from reelmill.schemas.span import Span
from reelmill.schemas.verdict import ACCEPTED, rejected
from reelmill.sinks.dataset import Store
from reelmill.sinks.ledger import Ledger
from reelmill.sinks.pack import pack
from reelmill.sinks.parts import part_files
from reelmill.sinks.state.snapshot import Entry

CLIP_S, FPS, FRAMES, PER_SOURCE, PER_COMMIT = 3.0, 25, 6, 10, 64
SIZE = (320, 180)
SETTLED = 0.2
"""Share of a run, at its start, in which caches may fill; growth is looked for after it."""


# ---- a store of made clips -------------------------------------------------------------------------------------------


def pictures() -> list[bytes]:
    """Sixteen JPEGs of a ball on grainy ground."""
    dice = np.random.default_rng(0)
    found = []
    for i in range(16):
        image = Image.new("RGB", SIZE, (90, 120, 150))
        ImageDraw.Draw(image).ellipse((i * 18, 60, i * 18 + 60, 120), fill=(230, 60, 60))
        grain = np.asarray(image, np.int16) + dice.normal(0, 5, (SIZE[1], SIZE[0], 1))
        out = io.BytesIO()
        Image.fromarray(grain.clip(0, 255).astype(np.uint8)).save(out, "JPEG", quality=85)
        found.append(out.getvalue())
    return found


def digest(source: int) -> str:
    return hashlib.sha256(str(source).encode()).hexdigest()


def unit_of(source: int) -> Unit:
    whole = PER_SOURCE * CLIP_S
    span = Span(0.0, whole)
    ref = MediaRef(f"/films/{source:06d}.mp4", digest(source), Kind.VIDEO, *SIZE, whole, span, "CC0-1.0")
    parent = media_key(digest(source))
    return Unit(child_key(parent, "unit", 0), parent, ref, int(whole * FPS), ACCEPTED)


def clip_of(unit: Unit, n: int, drawn: Sequence[bytes]) -> NewClip:
    key = child_key(unit.key, "clip", n)
    span = Span(n * CLIP_S, (n + 1) * CLIP_S)
    ref = MediaRef(unit.media.uri, unit.media.digest, Kind.VIDEO, *SIZE, CLIP_S, span, unit.media.licence)
    step = int(CLIP_S * FPS / FRAMES)
    shown = tuple(
        NewFrame(i * step, i * step / FPS, *SIZE, drawn[(i + n) % len(drawn)] + f"{key}{i}".encode())
        for i in range(FRAMES)
    )
    stats = ClipStats(0.05, 120.0, 110.0, 40.0, "0" * 16)
    status = DecodeStatus(True, int(CLIP_S * FPS), int(CLIP_S * FPS), "")
    return NewClip(key, unit.key, ref, int(CLIP_S * FPS), False, stats, shown, status, ACCEPTED)


def events_of(clip: str) -> list[Event]:
    """An event that holds and one that the localisers do not agree on."""
    made = []
    for n, (kind, verb, start_s, ok) in enumerate(
        ((EventKind.ENTERS, "enters", 0.2, True), (EventKind.LEAVES, "leaves", 2.6, False))
    ):
        span = Span(start_s, start_s + 0.3)
        proposals = (Proposal("tubes", span, 0.8), Proposal("change", span if ok else None, 0.6))
        verdict = ACCEPTED if ok else rejected("ReadEvents", "localisers_disagree", "tIoU 0.00, want 0.50")
        ball, key = f"the {'blue' if n else 'red'} ball", child_key(clip, "event", n)
        made.append(Event(key, clip, kind, f"t{n}", ball, f"{ball} {verb}", span, 0.8, proposals, "rules", verdict))
    return made


def commit(place: Place, recipe: Recipe, rows: Iterator[tuple[str, list[Any]]], listed: Sequence[Entry]) -> None:
    """A dataset as its recipe would have left it: rows exploded into the given children."""
    dataset = place.dataset(recipe)
    ledger = Ledger(Unsynced(dataset.folder), dataset.label)
    ledger.begin(identity(recipe, place))
    lease = ledger.take()
    ledger.list_inputs(lease, listed)
    assert recipe.explode is not None
    while group := list(itertools.islice(rows, PER_COMMIT)):
        plain = [
            {"key": k, "verdict": None, recipe.explode.name: [arrow.plain(c) for c in made]}
            | dict.fromkeys(kept(recipe))
            for k, made in group
        ]
        ledger.commit(lease, *part_files(plain, recipe.keeps, recipe.explode))
    ledger.objects.put(f"leases/{lease.token:06d}.released", b"{}")


def kept(recipe: Recipe) -> list[str]:
    return [c.name for c in recipe.keeps]


def stock(place: Place, number: int) -> None:
    """Make `media`, `clips` and `events` of a number of clips."""
    drawn, cut, read = pictures(), clips.recipe(), events.recipe()
    units = [unit_of(i) for i in range(number // PER_SOURCE)]
    files = [
        Entry(u.parent_key, u.media.uri, u.media.digest, 5_000_000, u.media.licence, "", None, True) for u in units
    ]
    dataset = place.dataset(media.recipe())
    ledger = Ledger(Unsynced(dataset.folder), dataset.label)
    ledger.begin(identity(media.recipe(), place))
    ledger.list_inputs(ledger.take(), files)
    made = ((u.key, [clip_of(u, n, drawn) for n in range(PER_SOURCE)]) for u in sorted(units, key=lambda u: u.key))
    commit(place, cut, made, [Entry.derived(u.key) for u in units])
    keys = sorted(child_key(u.key, "clip", n) for u in units for n in range(PER_SOURCE))
    commit(place, read, ((k, events_of(k)) for k in keys), [Entry.derived(k) for k in keys])


# ---- what is measured ------------------------------------------------------------------------------------------------


def place_of(store: Path) -> Place:
    return Place(store, (str(store / "films"),), "flat")


def make_view(store: Path) -> None:
    _run_one(Plan.of(internvid_tg.recipe()), place_of(store), Local(2), Limits(), Silent())


def make_pack(store: Path) -> None:
    print(pack(Store(store), place_of(store).dataset(internvid_tg.recipe())))


def make_clips(store: Path) -> None:
    run(clips.recipe(), place_of(store), Local(2))


WORK = {f.__name__: f for f in (make_view, make_pack, make_clips)}


def measured(work: str, store: Path) -> Cost:
    one = cost([sys.executable, __file__, "--work", work, "--store", str(store)], memory=True)
    say(f"{work} in {store.name}: {one.wall_s:.0f} s, {one.cpu_s:.0f} CPU-s, {one.peak_mb:.0f} MB PSS at most")
    return one


def film(path: Path, minutes: int) -> None:
    """A 1080p film: one rendered minute of noise-textured moving shapes, copied `minutes` times by its packets."""
    minute = path.with_name("minute.mp4")
    path.parent.mkdir(parents=True, exist_ok=True)
    drawn = "testsrc2=size=1920x1080:rate=25:duration=60,noise=alls=6:allf=t:all_seed=1"
    quiet = ["ffmpeg", "-hide_banner", "-loglevel", "error", "-y"]
    coded = ["-c:v", "libx264", "-preset", "ultrafast", "-crf", "30", "-g", "50", "-pix_fmt", "yuv420p"]
    subprocess.run([*quiet, "-f", "lavfi", "-i", drawn, *coded, str(minute)], check=True)
    listing = path.with_suffix(".txt")
    listing.write_text(f"file '{minute.resolve()}'\n" * minutes)
    concat = ["-f", "concat", "-safe", "0", "-i", str(listing), "-c", "copy", str(path)]
    subprocess.run([*quiet, *concat], check=True)
    minute.unlink()
    listing.unlink()


@contextmanager
def scratch() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="flat-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


# ---- the page --------------------------------------------------------------------------------------------------------


def growth_mb(one: Cost) -> float:
    """Least-squares rise of PSS from the first fifth of a run to its end, over that whole time."""
    after = [(s, mb) for s, mb in one.pss_mb if s >= SETTLED * one.wall_s]
    if len(after) < 2:
        return 0.0
    seconds, mb = np.array(after).T
    return float(np.polyfit(seconds, mb, 1)[0] * (seconds[-1] - seconds[0]))


def plot(runs: dict[str, Cost]) -> Any:
    """PSS over the share of the run that is done: flat means that the curves lie on each other."""
    from matplotlib.figure import Figure

    kinds = list(dict.fromkeys(name.split(", ")[0] for name in runs))
    figure = Figure(figsize=(8, 2.6 * len(kinds)))
    for axes, kind in zip(np.atleast_1d(figure.subplots(len(kinds), 1)), kinds, strict=True):
        for name, one in runs.items():
            if name.startswith(f"{kind}, ") and one.pss_mb:
                seconds, mb = np.array(one.pss_mb).T
                axes.plot(seconds / one.wall_s * 100, mb, label=name.removeprefix(f"{kind}, "))
        axes.set(title=kind, xlabel="% of the run", ylabel="PSS MB", ylim=(0, None))
        axes.legend(frameon=False, loc="lower right")
    figure.tight_layout()
    return figure


def clip_runs(numbers: Sequence[int]) -> dict[str, Cost]:
    runs = {}
    for number in numbers:
        with scratch() as folder:
            say(f"making a store of {number} clips")
            stock(place_of(folder), number)
            runs[f"view, {number} clips"] = measured("make_view", folder)
            runs[f"pack, {number} clips"] = measured("make_pack", folder)
    return runs


def film_runs(minutes: Sequence[int]) -> dict[str, Cost]:
    runs = {}
    for number in minutes:
        with scratch() as folder:
            say(f"making a film of {number} minutes")
            film(folder / "films" / "film.mp4", number)
            runs[f"media and clips, {number} minutes of 1080p"] = measured("make_clips", folder)
    return runs


def report(numbers: Sequence[int], minutes: Sequence[int]) -> None:
    page = Result("flat_memory", "Memory against the amount of work")
    runs = clip_runs(numbers) | film_runs(minutes)
    for name, one in runs.items():
        page.raw[name] = {"wall_s": one.wall_s, "cpu_s": one.cpu_s, "pss_mb": one.pss_mb}
    rows = [(n, c.wall_s, c.cpu_s, c.peak_mb, growth_mb(c)) for n, c in runs.items()]
    page.table(("run", "wall s", "CPU-s", "peak PSS MB", "rise after the first fifth, MB"), rows)
    page.note(
        "One run each. PSS is that of the whole tree of processes, pages of mapped files included. The rise is the "
        "slope of PSS over the last four fifths of the run, times their length."
    )
    page.save(plot(runs))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=1, help="taken and not used: one run of each is plotted")
    parser.add_argument("--clips", type=int, nargs="*", default=[2_500, 10_000])
    parser.add_argument("--minutes", type=int, nargs="*", default=[60])
    parser.add_argument("--work", choices=sorted(WORK), help=argparse.SUPPRESS)
    parser.add_argument("--store", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.work:
        WORK[args.work](args.store)
    else:
        report(args.clips, args.minutes)
