"""How well text is read, file by file, engine by engine and script by script, and how exact the times of texts are.

Everything passes through the recipes `clips` and `text` as it would in use: frames as they are stored, not originals.
Truth is that of rendered scenes and pictures (seeds that no test uses), of captions drawn over real clips at known
times, and of the media folder's `ocr.json` and slides.

A word counts as read where it is in the multiset of words of the file's answer: NFKC, case folded, only its letters and
digits; Han, kana, Hangul and Thai letter by letter, since these set no spaces or set them otherwise. A word broken by a
hyphen at the end of a line stands in truth and answer alike as it is printed. Of a clip the words of its texts over
time are counted, each once per text and shot. A truth of "legible words only" says nothing of what else may stand in
the picture: recall alone.

    python benchmarks/ocr.py --engines rapidocr tesseract
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import tempfile
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
from measure import Result, say
from PIL import ImageDraw

from reelmill.annotators.ocr.tracks import iou
from reelmill.pipelines import clips, text
from reelmill.pipelines._place import place_of
from reelmill.pipelines._run import Local, run
from reelmill.pipelines.scenes import signs
from reelmill.pipelines.scenes.presets import PRESETS
from reelmill.pipelines.scenes.render import load_truth, render_set
from reelmill.pipelines.scenes.truth import SceneTruth
from reelmill.schemas import arrow
from reelmill.schemas.media import MediaRef
from reelmill.schemas.script import script_of
from reelmill.schemas.span import Span
from reelmill.schemas.text import TextLine, TextTrack, TextWord
from reelmill.schemas.tube import Box
from reelmill.sinks.dataset import Dataset

SEED, SCENES, PICTURES = 271_828, 8, 12
PARTIAL = "legible words only"
RECALL, PRECISION = 0.95, 0.90
_BY_LETTER = ("Hani", "Jpan", "Kana", "Hang", "Thai")
_SLACK_S = 1e-3


# ---- words -----------------------------------------------------------------------------------------------------------


def words(said: str) -> Counter[str]:
    """The multiset of words of a text, as the module's docstring says."""
    found: Counter[str] = Counter()
    for word in unicodedata.normalize("NFKC", said).casefold().split():
        run = ""
        for c in filter(str.isalnum, word):
            if script_of(c) in _BY_LETTER:
                found.update([run, c])
                run = ""
            else:
                run += c
        found.update([run])
    del found[""]
    return found


@dataclass
class Tally:
    """Words of the truth, words of the answer, and those in both. `exact` is False where the truth leaves words out."""

    true: Counter[str] = field(default_factory=Counter)
    seen: Counter[str] = field(default_factory=Counter)
    hit: Counter[str] = field(default_factory=Counter)
    exact: bool = True

    def add(self, true: Counter[str], seen: Counter[str]) -> None:
        self.true += true
        self.seen += seen
        self.hit += true & seen

    @property
    def recall(self) -> float | None:
        return self.hit.total() / self.true.total() if self.true else None

    @property
    def precision(self) -> float | None:
        return self.hit.total() / self.seen.total() if self.seen and self.exact else None

    def of_script(self, script: str) -> tuple[int, int]:
        """Words read and words of the truth that are of one script."""
        return tuple(sum(n for w, n in c.items() if script_of(w) == script) for c in (self.hit, self.true))  # type: ignore[return-value]


@dataclass(frozen=True)
class Timed:
    """One text of the truth with its span, and what was found of it: errors of the ends and the sampling step, in
    seconds; None where no track has that text."""

    text: str
    start_error_s: float | None = None
    end_error_s: float | None = None
    step_s: float = 0.5

    @property
    def within(self) -> bool:
        if self.start_error_s is None or self.end_error_s is None:
            return False
        return max(self.start_error_s, self.end_error_s) <= self.step_s + _SLACK_S


@dataclass(frozen=True)
class Seen:
    """What was said of one file, in seconds of that file."""

    lines: tuple[TextLine, ...]
    words: tuple[TextWord, ...]
    tracks: tuple[TextTrack, ...]
    frames_s: tuple[float, ...]


# ---- running -------------------------------------------------------------------------------------------------------


def rendered(folder: Path, seed: int) -> Path:
    """Scenes of every preset and pictures, fresh seeds."""
    for name, preset in PRESETS.items():
        render_set(folder / name, SCENES, seed, preset, pictures=PICTURES if name == "demo" else 0)
    return folder


def real(media: Path, folder: Path) -> Path:
    """Copies of the files that have true text, under their own names."""
    folder.mkdir(parents=True, exist_ok=True)
    for file in (*(e["file"] for e in entries(media)), "videos/comp_slides_dev.mp4"):
        shutil.copyfile(media / file, folder / Path(file).name)
    return folder


CLIPS = ("udacity_lane.mp4", "sam2_dog.mp4", "sam2_juggle.mp4", "intel_cars_topdown.mp4", "lf_baby_reading.mp4")
_CAPTION_S = (1.1, 3.0)


def captions(seed: int, end_s: float) -> list[tuple[Span, str]]:
    """Sentences over a film, each for a second or three, some right after another, and a label for all of it."""
    rng, at_s = random.Random(seed), 0.3
    found = [(Span(0.0, end_s), "CHANNEL SEVEN")]
    while at_s + _CAPTION_S[1] < min(end_s, 14.0):
        span = Span(at_s, at_s + rng.uniform(*_CAPTION_S))
        found.append((span, " ".join(w.capitalize() for w in rng.sample(signs.WORDS, 3))))
        at_s = span.end_s + rng.choice((0.0, 0.0, 1.3))
    return found


def captioned(media: Path, folder: Path, seed: int) -> Path:
    """Real clips with captions drawn over them, white, half of them with a black rim; times are those of the frames."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, name in enumerate(CLIPS):
        with av.open(str(media / "videos" / name)) as film, av.open(str(folder / name), "w") as out:
            stream = film.streams.video[0]
            rate, size = stream.average_rate, (stream.codec_context.width, stream.codec_context.height)
            drawn = out.add_stream("libx264", rate=rate)
            drawn.width, drawn.height, drawn.pix_fmt = *size, "yuv420p"
            said = captions(seed + number, stream.frames / float(rate))
            for i, frame in enumerate(film.decode(stream)):
                now = [text for span, text in said if span.start_s <= i / float(rate) < span.end_s]
                picture = av.VideoFrame.from_image(_with_texts(frame.to_image(), now, rim=2 * (number % 2)))
                picture.pts = i
                out.mux(drawn.encode(picture))
            out.mux(drawn.encode(None))
    return folder


def _with_texts(image: Any, texts: Sequence[str], rim: int) -> Any:
    draw, face = ImageDraw.Draw(image), signs.font(image.height // 18)
    for said in texts:
        across = 0.05 if said == "CHANNEL SEVEN" else 0.25
        place = (image.width * across, image.height * (0.05 if across < 0.1 else 0.85))
        draw.text(place, said, fill="white", font=face, stroke_width=rim, stroke_fill="black")
    return image


def score_captions(folder: Path, seed: int, seen: dict[str, Seen]) -> Scores:
    """Recall and times; no precision, since the clips show texts of their own."""
    scores = Scores()
    for number, name in enumerate(CLIPS):
        with av.open(str(folder / name)) as film:
            end_s = film.streams.video[0].frames / float(film.streams.video[0].average_rate)
        said, found = captions(seed + number, end_s), seen.get(f"{folder.name}/{name}", Seen((), (), (), ()))
        tally = Tally(exact=False)
        tally.add(_of(text for _, text in said), _of(t.text for t in found.tracks))
        scores.tallies[f"{folder.name}/{name}"] = tally
        scores.timed[f"{folder.name}/{name}"] = [time_of(x, span, found.tracks, found.frames_s) for span, x in said]
    return scores


def entries(media: Path) -> list[dict[str, Any]]:
    """What ocr.json says of files whose text it gives."""
    found = json.loads((media / "groundtruth" / "ocr.json").read_text())
    return [e for e in found if e.get("text") or e.get("words")]


def read(store: Path, media: Path, engine: str) -> tuple[dict[str, Seen], float]:
    """What the recipes say of each file (by its name) with one engine, and the seconds of the reading step."""
    name = "".join(c if c.isalnum() else "-" for c in engine)
    place = place_of(store / name, (str(media),), "ocr")
    report = run(text.recipe(engine), place, Local(1))[-1]
    say(f"{engine}: {report.counts}")
    stored, evidence = place.dataset(clips.recipe()), place.dataset(text.recipe(engine))
    record = json.loads((evidence.folder / "record.json").read_text())
    return _by_file(stored, evidence), sum(record["step_seconds"].values())


def _by_file(stored: Dataset, evidence: Dataset) -> dict[str, Seen]:
    clip_of = {row["key"]: row for row in stored.children().to_pylist()}
    found: dict[str, list[Any]] = defaultdict(lambda: [[], [], [], []])
    for row in evidence.rows().to_pylist():
        clip = clip_of[row["key"]]
        media: MediaRef = arrow.typed(MediaRef, clip["media"])
        begin = media.span.start_s if media.span else 0.0
        lines, said, tracks, times = found[_name(media)]
        lines += [_shifted(line, begin) for line in arrow.typed(tuple[TextLine, ...], row["texts"])]
        said += arrow.typed(tuple[TextWord, ...], row["text_words"])
        tracks += [_later(track, begin) for track in arrow.typed(tuple[TextTrack, ...], row["text_tracks"])]
        times += [begin + frame["at_s"] for frame in clip["frames"]]
    return {name: Seen(tuple(a), tuple(b), tuple(c), tuple(sorted(d))) for name, (a, b, c, d) in found.items()}


def _name(media: MediaRef) -> str:
    path = Path(media.uri.removeprefix("file://"))
    return f"{path.parent.name}/{path.name}"


def _shifted(line: TextLine, by_s: float) -> TextLine:
    return TextLine(line.text, line.quad_px, line.confidence, line.order, line.frame, line.at_s + by_s, line.method)


def _later(track: TextTrack, by_s: float) -> TextTrack:
    return TextTrack(
        track.text, track.script, track.span.shifted(by_s), track.start_after_s, track.seen_until_s + by_s,
        track.confidence, track.frames, track.sightings, track.method,
    )  # fmt: skip


# ---- scoring -------------------------------------------------------------------------------------------------------


def score_scene(exact: SceneTruth, seen: Seen) -> tuple[Tally, list[Timed]]:
    """A rendered film by its shots, or a rendered picture."""
    tally, timed = Tally(), list[Timed]()
    if not exact.shots:
        tally.add(_of(line.text for line in exact.texts), _of(line.text for line in seen.lines))
        return tally, timed
    for shot in exact.shots:
        true = [line for line in exact.texts if shot.start_s <= line.at_s < shot.end_s]
        tracks = [t for t in seen.tracks if shot.start_s <= (t.span.start_s + t.span.end_s) / 2 < shot.end_s]
        tally.add(_of(line.text for line in true), _of(t.text for t in tracks))
        timed += [time_of(line.text, shot, tracks, seen.frames_s) for line in true]
    return tally, timed


def time_of(said: str, span: Span, tracks: Sequence[TextTrack], frames_s: Sequence[float]) -> Timed:
    """Errors of the track that has this text and overlaps its span most."""
    same = [t for t in tracks if words(t.text) == words(said) and t.span.overlap_s(span) > 0]
    if not same:
        return Timed(said)
    best = max(same, key=lambda t: t.span.tiou(span))
    gaps = [b - a for a, b in pairwise(frames_s)]
    step = max(gaps, default=0.5)
    return Timed(said, abs(best.span.start_s - span.start_s), abs(best.span.end_s - span.end_s), step)


def _of(texts: Iterator[str]) -> Counter[str]:
    return sum((words(t) for t in texts), Counter[str]())


def score_slides(media: Path, seen: Seen) -> tuple[Tally, list[Timed]]:
    truth = json.loads((media / "groundtruth" / "comp_slides_dev.json").read_text())
    tally, timed = Tally(), list[Timed]()
    for slide in truth["slides"]:
        span, true = Span(slide["start"], slide["end"]), [slide["title"], *slide["lines"]]
        tracks = [t for t in seen.tracks if span.start_s <= (t.span.start_s + t.span.end_s) / 2 < span.end_s]
        tally.add(_of(iter(true)), _of(t.text for t in tracks))
        timed += [time_of(line, span, tracks, seen.frames_s) for line in true]
    return tally, timed


def score_entry(entry: dict[str, Any], seen: Seen) -> Tally:
    """A real picture. Words of a truth given by quads, without spaces, are compared quad by quad."""
    tally = Tally(exact=PARTIAL not in entry["source"])
    if "text" in entry:
        tally.add(words(entry["text"]), _of(line.text for line in seen.lines))
        return tally
    lines = {(line.frame, line.order): line for line in seen.lines}
    regions: list[list[TextWord]] = [[] for _ in entry["words"]]
    for word in seen.words:
        held = [(iou(lines[word.frame, word.order].box, _box(r["quad"])), -i) for i, r in enumerate(entry["words"])
                if _centre_in(word, r["quad"])]  # fmt: skip
        if held:  # tilted lines have upright boxes that overlap: the one that the whole line fits best
            regions[-max(held)[1]].append(word)
        else:
            tally.add(Counter(), words(word.text))
    for region, held_words in zip(entry["words"], regions, strict=True):
        inside = sorted(held_words, key=lambda w: w.box.x0_px)
        if region["text"]:  # an empty text marks what could not be read: neither asked for nor held against the answer
            tally.add(_joined(region["text"]), _joined("".join(w.text for w in inside)))
    return tally


def _box(quad: Sequence[float]) -> Box:
    return Box(min(quad[0::2]), min(quad[1::2]), max(quad[0::2]), max(quad[1::2]))


def _joined(said: str) -> Counter[str]:
    plain = "".join(c for c in unicodedata.normalize("NFKC", said).casefold() if c.isalnum())
    return Counter([plain] if plain else [])


def _centre_in(word: TextWord, quad: Sequence[float]) -> bool:
    (x, y), xs, ys = word.box.centre_px, quad[0::2], quad[1::2]
    return min(xs) <= x <= max(xs) and min(ys) <= y <= max(ys)


@dataclass
class Scores:
    """Tallies and times by file."""

    tallies: dict[str, Tally] = field(default_factory=dict)
    timed: dict[str, list[Timed]] = field(default_factory=dict)

    def pooled(self, exact: bool = False) -> Tally:
        whole = Tally()
        for tally in self.tallies.values():
            if tally.exact or not exact:
                whole.true += tally.true
                whole.seen += tally.seen
                whole.hit += tally.hit
        return whole

    @property
    def times(self) -> list[Timed]:
        return [t for one in self.timed.values() for t in one]


def score_rendered(folder: Path, seen: dict[str, Seen]) -> Scores:
    scores = Scores()
    for path in sorted(p for p in folder.rglob("*") if p.suffix in (".mp4", ".png")):
        exact, name = load_truth(path), f"{path.parent.name}/{path.name}"
        scores.tallies[name], scores.timed[name] = score_scene(exact, seen.get(name, Seen((), (), (), ())))
    return scores


def score_real(media: Path, folder: Path, seen: dict[str, Seen]) -> Scores:
    scores, none = Scores(), Seen((), (), (), ())
    for entry in entries(media):
        name = f"{folder.name}/{Path(entry['file']).name}"
        scores.tallies[name] = score_entry(entry, seen.get(name, none))
    name = f"{folder.name}/comp_slides_dev.mp4"
    scores.tallies[name], scores.timed[name] = score_slides(media, seen.get(name, none))
    return scores


# ---- the page ------------------------------------------------------------------------------------------------------


def shown(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def put_on(page: Result, title: str, of_engine: dict[str, Scores]) -> None:
    """Tables of one set: by file, by script, and times."""
    page.note(f"## {title}")
    engines = list(of_engine)
    header = ["file", "words", *(f"{e}: {what}" for e in engines for what in ("recall", "precision", "missed; added"))]
    names = list(next(iter(of_engine.values())).tallies)
    page.table(header, [_row(n, [of_engine[e].tallies[n] for e in engines]) for n in names])
    whole = [of_engine[e].pooled() for e in engines]
    exact = [of_engine[e].pooled(exact=True) for e in engines]
    pooled = [f"{e}: recall {shown(w.recall)}, precision {shown(x.precision)} where the truth is whole"
              for e, w, x in zip(engines, whole, exact, strict=True)]  # fmt: skip
    page.note(f"Pooled over {whole[0].true.total()} words. {'; '.join(pooled)}.")
    scripts = sorted({script_of(w) for w in whole[0].true})
    rows = [(s, whole[0].of_script(s)[1], *(shown(_share(*w.of_script(s))) for w in whole)) for s in scripts]
    page.table(("script", "words (letters)", *(f"{e}: recall" for e in engines)), rows)
    if any(of_engine[e].times for e in engines):
        page.table(("engine", "texts", "found", "both ends within one sampled frame", "worst start s", "worst end s"),
                   [_times(e, of_engine[e].times) for e in engines])  # fmt: skip


def _share(hit: int, of: int) -> float | None:
    return hit / of if of else None


def _row(name: str, tallies: Sequence[Tally]) -> list[object]:
    row: list[object] = [name, tallies[0].true.total()]
    for tally in tallies:
        wrong = (_few(tally.true - tally.hit), _few(tally.seen - tally.hit) if tally.exact else "not counted")
        precision = shown(tally.precision) if tally.exact else "truth is partial"
        row += [shown(tally.recall), precision, "; ".join(wrong) if any(wrong) else ""]
    return row


def _few(counted: Counter[str], most: int = 8) -> str:
    found = sorted(counted.elements())
    return " ".join(found[:most]).replace("|", "/") + (f" and {len(found) - most} more" if len(found) > most else "")


def _times(engine: str, times: Sequence[Timed]) -> tuple[object, ...]:
    found = [t for t in times if t.start_error_s is not None and t.end_error_s is not None]
    worst = [max((getattr(t, f) for t in found), default=0.0) for f in ("start_error_s", "end_error_s")]
    return engine, len(times), len(found), sum(t.within for t in times), *worst


def figure(of_engine: dict[str, Scores]) -> Any:
    """Recall and precision of every file as bars, an engine a column, with the lines that are asked for."""
    from matplotlib.figure import Figure

    names = list(next(iter(of_engine.values())).tallies)
    plot = Figure(figsize=(6 * len(of_engine), 1 + 0.22 * len(names)))
    for axes, (engine, scores) in zip(
        plot.subplots(1, len(of_engine), squeeze=False)[0], of_engine.items(), strict=True
    ):
        places = range(len(names))
        tallies = [scores.tallies[n] for n in names]
        axes.barh([p - 0.2 for p in places], [t.recall or 0.0 for t in tallies], 0.4, color="#3b6ea5", label="recall")
        axes.barh([p + 0.2 for p in places], [t.precision or 0.0 for t in tallies], 0.4, color="#c9a227",
                  label="precision (none where the truth is partial)")  # fmt: skip
        axes.set_yticks(list(places), names, fontsize=7)
        axes.invert_yaxis()
        axes.set_title(engine)
        axes.axvline(RECALL, color="#3b6ea5", linestyle="--", linewidth=1)
        axes.axvline(PRECISION, color="#c9a227", linestyle="--", linewidth=1)
        axes.spines[["top", "right"]].set_visible(False)
    axes.legend(loc="lower center", bbox_to_anchor=(0.0, -0.08), fontsize=8, frameon=False, ncols=2)
    plot.tight_layout()
    return plot


def skipped(media: Path) -> str:
    found = json.loads((media / "groundtruth" / "ocr.json").read_text())
    left = [Path(e["file"]).name for e in found if not (e.get("text") or e.get("words"))]
    partial = [Path(e["file"]).name for e in found if PARTIAL in e["source"]]
    return (
        f"Left out, no text in the truth: {', '.join(left)}. Recall alone, since the truth was read from a small view "
        f"and has legible words only: {', '.join(partial)}."
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engines", nargs="+", default=["rapidocr", "tesseract"])
    parser.add_argument("--real-only", nargs="*", default=["tesseract:eng+kor+jpn+chi_sim"])
    parser.add_argument("--seed", type=int, default=SEED)
    given = parser.parse_args()
    media = Path(os.environ.get("REELMILL_MEDIA", "../shared/media"))
    page = Result("ocr", "How well text is read")
    sets: dict[str, dict[str, Scores]] = {"Rendered": {}, "Captions over real clips": {}, "Real": {}}
    seconds: list[tuple[object, ...]] = []
    with tempfile.TemporaryDirectory(prefix="ocr-") as name:
        folder = Path(name)
        made = rendered(folder / "made", given.seed)
        found = real(media, folder / "real") if media.is_dir() else None
        for engine in given.engines:
            seen, spent = read(folder / "made-store", made, engine)
            sets["Rendered"][engine] = score_rendered(made, seen)
            seconds.append((engine, "rendered", len(seen), spent))
        if found is not None:
            over = captioned(media, folder / "captioned", given.seed)
            for engine in given.engines:
                seen, spent = read(folder / "captioned-store", over, engine)
                sets["Captions over real clips"][engine] = score_captions(over, given.seed, seen)
                seconds.append((engine, "captions", len(seen), spent))
        for engine in (*given.engines, *given.real_only) if found is not None else ():
            seen, spent = read(folder / "real-store", found, engine)
            sets["Real"][engine] = score_real(media, found, seen)
            seconds.append((engine, "real", len(seen), spent))
    report(page, {name: one for name, one in sets.items() if one}, seconds, media)


def report(
    page: Result, sets: dict[str, dict[str, Scores]], seconds: Sequence[tuple[object, ...]], media: Path
) -> None:
    page.note((__doc__ or "").split("\n\n    python")[0])
    for title, of_engine in sets.items():
        put_on(page, title, of_engine)
        page.raw[title] = {e: _raw(scores) for e, scores in of_engine.items()}
    if "Real" in sets:
        page.note(skipped(media))
    page.table(("engine", "set", "files", "seconds of reading"), seconds)
    whole = {e: Scores({k: t for one in sets.values() for k, t in one[e].tallies.items()}) for e in sets["Rendered"]}
    page.save(figure(whole))


def _raw(scores: Scores) -> dict[str, Any]:
    words_of = {n: [t.hit.total(), t.true.total(), t.seen.total(), t.exact] for n, t in scores.tallies.items()}
    times = {n: [(t.text, t.start_error_s, t.end_error_s) for t in ts] for n, ts in scores.timed.items() if ts}
    return {"words: read, true, seen, whole": words_of, "times: text, start, end": times}


if __name__ == "__main__":
    main()
