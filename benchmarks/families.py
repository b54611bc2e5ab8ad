"""Every family over rendered scenes: are samples from truth right, how many from found evidence are, what an hour of
film takes, and how fast views compile again when a template changed.

    python benchmarks/families.py                      every part in turn, then the page
    python benchmarks/families.py --brief              12 scenes, 7 documents, 4 minutes of film
    python benchmarks/families.py --part truth --folder work --films 20

What a part made stays in `--folder` (a part that is asked for again does what is missing); without it, in a folder
that is removed. Samples are judged by `views/checks`, as `verify --truth` does. Parts that are done stand on the page.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import importlib
import json
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from measure import RESULTS, Result, descendants, pss_mb, say

from reelmill.jobs import verifying
from reelmill.jobs.recipes import make
from reelmill.pipelines import code_guided, flipped, mix
from reelmill.pipelines._place import place_of
from reelmill.pipelines._plan import Plan
from reelmill.pipelines._recipe import Place, Recipe, in_order
from reelmill.pipelines._run import Limits, Local, Report, Silent, _run_one, run
from reelmill.pipelines._table import run_table
from reelmill.pipelines.documents.looks import LOOKS
from reelmill.pipelines.documents.render import render_documents
from reelmill.pipelines.scenes.evidence import in_clip
from reelmill.pipelines.scenes.presets import MEDIUM
from reelmill.pipelines.scenes.render import render_set
from reelmill.schemas import arrow
from reelmill.schemas.sample import Sample, kind_of
from reelmill.sinks.card import Cost
from reelmill.sinks.dataset import Dataset, Store
from reelmill.sinks.pack import pack

SEED = 918_273
SCENES, SIGNS, DOCUMENTS, FILMS = 200, 40, 80, 120
FILM = dataclasses.replace(MEDIUM, name="film", duration_s=(30.0, 30.0), shots=(2, 4), short_share=0.0)
"""Half a minute of two to four shots; everything else as in the medium scenes. 120 of them are the hour."""
WORKERS = 2
ROUNDS, MOST_ROWS = 3, 128
"""Of clips; a view of samples, of which a clip has more than sixteen, gets sixteen times as many."""
GOAL = 2000.0
"""Samples a second and core that a view compiles from stored evidence."""
SAMPLE_S, STAGE_LEAST_S = 2.0, 60.0
"""Seconds between two looks at memory, which cost time of their own; stages of which growth is told."""

OF_TIME = ("internvid_tg", "st_align", "dpo_perturb", "cotasks", "cotasks_pairs", "live_stream", "flipped")
OF_TEXT = ("ocr_rich", "text_times", "ocr_dialogues")
OF_PICTURES = ("ocr_rich", "ocr_dialogues")
"""Of found text they are made of signs and documents."""
MIXED = ("internvid_tg", "st_align", "cotasks", "flipped", "ocr_rich", "text_times", "ocr_dialogues")
"""Dialogues go together; streams and pairs are read by trainers in other ways, and `mix` refuses them beside these."""
verifying.load_truth = functools.cache(verifying.load_truth)  # the truth of a file is read once for all families
TOLD_WHY = ("internvid_tg", "dpo_perturb", "cotasks")
VAGUE, LOOSE_S = re.compile(r"\b(objects?|dark|light)\b"), 0.3
"""Words of a found name that no name of a scene has, and the tolerance that tells a time a little off from others."""
PARTS = ("truth", "found", "film", "again")


def recipe_of(family: str, evidence: str) -> Recipe:
    """A family from `truth` or from its own evidence (`rules`)."""
    if family == "flipped":
        return flipped.recipe("internvid_tg", {"evidence": evidence})
    if family == "code_guided":
        return code_guided.recipe()
    name = family.removesuffix("_pairs")
    made: Recipe = make(name, {"evidence": evidence} | ({"pairs": True} if name != family else {}))
    return made


class Work:
    """The folder of one run: media, stores, and what each part found."""

    def __init__(self, folder: Path, asked: argparse.Namespace) -> None:
        self.folder, self.asked = folder, asked

    @property
    def families(self) -> tuple[str, ...]:
        """Those that are made of found evidence."""
        return OF_TIME if self.asked.no_text else (*OF_TIME, *OF_TEXT)

    def scenes(self) -> Place:
        def render(folder: Path) -> None:
            render_set(folder, self.asked.scenes, SEED, MEDIUM, pictures=self.asked.scenes * SIGNS // SCENES)

        return self._place("scenes", self.asked.scenes, render)

    def stills(self) -> Place:
        """The signs among the scenes, and the documents: pictures of text, each read once."""
        self.scenes(), self.documents()
        signs = sorted(str(file) for file in (self.folder / "scenes").glob("sign_*.png"))
        return place_of(self.folder / "store", (*signs, str(self.folder / "documents")), "stills")

    def documents(self) -> Place:
        def render(folder: Path) -> None:
            for look in LOOKS.values():
                render_documents(folder / look.name, self.asked.documents // len(LOOKS), SEED, look)

        return self._place("documents", self.asked.documents, render)

    def films(self) -> Place:
        def render(folder: Path) -> None:
            render_set(folder, self.asked.films, SEED, FILM, pictures=self.asked.films // 3)

        return self._place("film", self.asked.films, render)

    def _place(self, name: str, count: int, render: Callable[[Path], None]) -> Place:
        """Media are rendered once: to see that they are still the same, every scene would be composed again."""
        folder, done = self.folder / name, self.folder / f"{name}.rendered"
        if not done.exists() or done.read_text() != str(count):
            render(folder)
            done.write_text(str(count))
        return place_of(self.folder / "store", (str(folder),), name)

    def note(self, part: str, found: Any) -> None:
        (self.folder / f"{part}.json").write_text(json.dumps(found, indent=1))

    def noted(self, part: str) -> Any:
        file = self.folder / f"{part}.json"
        return json.loads(file.read_text()) if file.exists() else None


# ---- families, and what became of them -------------------------------------------------------------------------------


def became(place: Place, dataset: Dataset, evidence: str) -> dict[str, Any]:
    """Counts of the ledger, what the independent checker says of each sample, and of found ones the costs on the card.

    From truth no time may be off.
    """
    found, figures, true = accounted(dataset), [], evidence == "truth"
    if found["accepted"]:
        slacks_s = verifying.SLACKS_S[:1] if true else verifying.SLACKS_S
        figures = verifying.measure(Store(place.store), dataset, slacks_s)
    right = {f.name: (f.value, f.count) for f in figures if "right" in f.name}
    return found | {"right": right, "card": card_of(place, dataset) if found["accepted"] and not true else {}}


def accounted(dataset: Dataset) -> dict[str, Any]:
    """Rows and samples of a dataset by what became of them."""
    counts = dataset.counts()
    reasons = Counter({"/".join(key): n for key, n in counts.reasons.items()})
    return {
        "rows": counts.accepted + counts.rejected,
        "pending": counts.pending,
        "rows_accepted": counts.accepted,
        "candidates": counts.children,
        "accepted": counts.accepted_children,
        "reasons": dict(reasons.most_common(5)),
    }


def card_of(place: Place, dataset: Dataset) -> dict[str, float]:
    """CPU-seconds and tokens, in all and for each sample, from the last line of the card's table of costs."""
    pack(Store(place.store), dataset, media="ref")
    card = next(dataset.folder.rglob("README.md")).read_text()
    line = next(at for at in card.splitlines() if at.startswith("| together |"))
    cells = [cell.strip() for cell in line.strip("| ").split("|")]
    return {"cpu_s": float(cells[1]), "cpu_s_each": float(cells[2]), "tokens": float(cells[4])}


def unjudged(place: Place, recipe: Recipe) -> dict[str, Any]:
    """Counts of the ledger, and the costs of all that a dataset rests on, as a card would print them."""
    made = place.dataset(recipe).counts().accepted_children
    costs = [Cost.of(place.dataset(one)) for one in in_order(recipe)]
    cpu_s, tokens = sum(c.cpu_s for c in costs), sum(c.tokens for c in costs)
    found = accounted(place.dataset(recipe))
    return found | {"right": {}, "card": {"cpu_s_each": cpu_s / made, "tokens": tokens} if made else {}}


def compiled(place: Place, families: Sequence[str], evidence: str, watcher: Silent = Silent()) -> None:
    for family in families:
        recipe = recipe_of(family, evidence)
        report = run(recipe, place, Local(WORKERS), watcher=watcher)[-1]
        say(f"{recipe.name}: {report.counts}")


def judged(work: Work, part: str, place: Place, families: Sequence[str], evidence: str) -> None:
    """Judge and note each family; one of which nothing changed since it was noted is not judged again."""
    for family in families:
        dataset = mixed(place, evidence) if family == "mix" else place.dataset(recipe_of(family, evidence))
        counts, noted = dataset.counts(), work.noted(part) or {}
        known = noted.get(family, {})
        if (known.get("rows"), known.get("accepted")) != (counts.accepted + counts.rejected, counts.accepted_children):
            work.note(part, noted | {family: became(place, dataset, evidence)})
            say(f"{part}: {family} judged")


def why(work: Work, place: Place) -> None:
    """Note what is wrong with wrong samples, at the middle tolerance, of families whose checker says it."""
    store = Store(place.store)
    work.note("why", {family: dict(causes(store, place.dataset(recipe_of(family, "rules")))) for family in TOLD_WHY})


def causes(store: Store, dataset: Dataset) -> Counter[str]:
    """Wrong samples by cause: a span that is right with more slack, a name less exact than the truth's, anything else;
    of pairs also those whose rejected side holds with more slack."""
    beside, children, found = verifying._Beside(store, dataset), dataset.children(), Counter[str]()
    kind = kind_of(children.column_names)
    for row in children.drop_columns(["part"]).to_pylist():
        one: Sample = arrow.typed(kind, row)
        media = one.media
        if not one.verdict.accepted or media.span is None or media.uri not in beside.truths:
            continue
        exact, span = beside.truths[media.uri], media.span
        events = [e for e in (in_clip(e, span, media.duration_s) for e in exact.events) if e is not None]
        strict, loose = (verifying._faults(one, media, exact, events, slack_s) for slack_s in (0.1, LOOSE_S))
        found["right"] += not strict
        if strict:
            found[_cause(one, [f for f in loose if not f.startswith("rejected is not wrong")], bool(loose))] += 1
    return found


def _cause(one: Sample, own: Sequence[str], open_: bool) -> str:
    said = " ".join(t.text for t in (*one.turns, *getattr(one, "rejected", ()))).lower()
    if not own:
        return "rejected side holds" if open_ else "span"
    return "name" if VAGUE.search(" ".join((said, *own))) else "other"


def mixed(place: Place, evidence: str) -> Dataset:
    """All dialogues in one set, by equal weights; a family that has none yet is left out."""
    made = [place.dataset(recipe_of(family, evidence)) for family in MIXED]
    weights = {d.label: 1.0 for d in made if d.ledger.identity() and d.counts().accepted_children}
    recipe = dataclasses.replace(mix.recipe(weights), version=f"{evidence}-{len(weights)}")
    run_table(recipe, place)
    return Store(place.store).dataset(f"mix-{place.slug}", recipe.version)


def from_truth(work: Work) -> None:
    place = work.scenes()
    compiled(place, (*OF_TIME, *OF_TEXT), "truth")
    judged(work, "truth", place, (*OF_TIME, *OF_TEXT, "mix"), "truth")
    sheets = work.documents()
    compiled(sheets, ("code_guided",), "truth")
    judged(work, "truth", sheets, ("code_guided",), "truth")


def from_found(work: Work) -> None:
    """Families of time first: reading text takes most of the time. Text is read in pictures, and in some scenes."""
    place = work.scenes()
    compiled(place, OF_TIME, "rules")
    judged(work, "found", place, (*OF_TIME, "mix"), "rules")
    why(work, place)
    if not work.asked.no_text:
        stills = work.stills()
        compiled(stills, OF_PICTURES, "rules")
        judged(work, "found", stills, OF_PICTURES, "rules")
        read_scenes(work, place)
        judged(work, "found", place, ("text_times",), "rules")


def read_scenes(work: Work, place: Place) -> None:
    """Read text in so many scenes that `--text-scenes` of them are read, and ask for its times in those."""
    recipe = recipe_of("text_times", "rules")
    for one in in_order(recipe):
        known = place.dataset(one).ledger
        done = place.dataset(one).counts() if known.identity() is not None else None
        most = max(0, work.asked.text_scenes - (done.accepted + done.rejected if done else 0))
        limits = Limits(max_rows=most if one.name in ("text_whole", recipe.name) else None)
        say(f"{one.name}: {_run_one(Plan.of(one), place, Local(WORKERS), limits, Silent()).counts}")


# ---- the hour --------------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True, slots=True)
class Stages(Silent):
    """Writes when each dataset began and ended."""

    log: Path

    def started(self, label: str, total: int, cached: int) -> None:
        self._say({"dataset": label, "began": time.time(), "rows": total, "cached": cached})

    def finished(self, report: Report) -> None:
        cpu_s = sum(report.step_seconds.values())
        self._say({"dataset": report.label, "ended": time.time(), "worked": report.worked, "cpu_s": cpu_s})

    def _say(self, line: dict[str, Any]) -> None:
        with self.log.open("a") as file:
            file.write(json.dumps(line) + "\n")


def film_inside(work: Work) -> None:
    """What the watched process does: every family, one after another."""
    compiled(work.films(), work.families, "rules", Stages(work.folder / "film.stages.jsonl"))


def film(work: Work) -> None:
    """The hour in a process of its own, whose memory is looked at; then what became of it, which nobody judges."""
    place = work.films()
    argv = [sys.executable, __file__, "--inside", "--folder", str(work.folder), "--films", str(work.asked.films)]
    watched([*argv, *(["--no-text"] if work.asked.no_text else [])], work.folder / "film.memory.jsonl")
    work.note("film", {family: unjudged(place, recipe_of(family, "rules")) for family in work.families})


def watched(argv: Sequence[str], log: Path) -> None:
    """Run a command to its end; PSS of it alone and with all below it goes to the log. Raises CalledProcessError."""
    started = time.time()
    with log.open("a") as file, subprocess.Popen(argv) as child:
        try:
            while child.poll() is None:
                time.sleep(SAMPLE_S)
                own = pss_mb(child.pid)
                tree = own + sum(pss_mb(p) for p in descendants(child.pid))
                file.write(json.dumps({"at": time.time(), "run": started, "driver_mb": own, "tree_mb": tree}) + "\n")
                file.flush()
        finally:
            child.terminate()
    if child.returncode:
        raise subprocess.CalledProcessError(child.returncode, list(argv))


def lines(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def stages(work: Work, until: float) -> list[tuple[str, float, float, dict[str, Any]]]:
    """Datasets that were worked on, with when that began and ended; one that was stopped ends `until`."""
    begun: dict[str, float] = {}
    found = []
    for line in lines(work.folder / "film.stages.jsonl"):
        if "began" in line:
            begun[line["dataset"]] = line["began"]
            continue
        began = begun.pop(line["dataset"])
        if line["worked"]:
            found.append((line["dataset"], began, line["ended"], line))
    stopped = {"worked": "stopped", "cpu_s": "-"}
    return found + [(name, began, until, stopped) for name, began in begun.items()]


def thirds(values: Sequence[float]) -> tuple[float, float]:
    """Mean of the first and of the last third."""
    third = max(1, len(values) // 3)
    return sum(values[:third]) / third, sum(values[-third:]) / third


# ---- compiling again -------------------------------------------------------------------------------------------------


@contextmanager
def changed_templates() -> Iterator[str]:
    """A package whose phrasings are those that ship and one line more: what an edited template is to a recipe."""
    from reelmill.pipelines import templates

    with tempfile.TemporaryDirectory() as folder:
        package = Path(folder) / "changed_phrasings"
        package.mkdir()
        (package / "__init__.py").write_text("")
        for file in Path(next(iter(templates.__path__))).glob("*.toml"):
            (package / file.name).write_text(file.read_text() + "\n# changed\n")
        sys.path.insert(0, folder)
        importlib.invalidate_caches()
        try:
            yield package.name
        finally:
            sys.path.remove(folder)


def again(work: Work) -> None:
    """Each view over the stored evidence of the scenes with a changed template: a part of the rows, then all."""
    place = work.scenes()
    found = {}
    with changed_templates() as package:
        for family in (*OF_TIME, *OF_TEXT):
            found[family] = rate(place, recipe_of(family, "truth"), package)
            work.note("again", found)
            say(f"{family}: {found[family]}")
        sheets = work.documents()
        found["code_guided"] = rate(sheets, recipe_of("code_guided", "truth"), package)
    work.note("again", found)


def rate(place: Place, recipe: Recipe, package: str) -> dict[str, float]:
    """CPU-seconds of this process for a quarter of the rows and for all of them, the least of some rounds: other work
    on the machine only ever adds. The first run warms up."""
    (step,) = recipe.steps
    worded: Any = step
    fresh = dataclasses.replace(worded, phrasings=f"{package}:{worded.phrasings}", phrasings_hash="")
    rows = min(place.dataset(recipe).counts().live, MOST_ROWS * (16 if recipe.name.startswith("flipped") else 1))
    recipe = dataclasses.replace(recipe, version="again", steps=(fresh,))
    once(place, recipe, 8)
    part_s, part = min((once(place, recipe, rows // 4) for _ in range(ROUNDS)), key=lambda one: one[0])
    whole_s, whole = min((once(place, recipe, rows) for _ in range(ROUNDS)), key=lambda one: one[0])
    each_s = (whole_s - part_s) / max(1, whole["candidates"] - part["candidates"])
    return {
        "rows": rows,
        "candidates": whole["candidates"],
        "accepted": whole["accepted"],
        "cpu_s": whole_s,
        "fixed_s": max(0.0, whole_s - each_s * whole["candidates"]),
        "per_s": whole["candidates"] / whole_s,
        "marginal_per_s": 1 / each_s,
    }


def once(place: Place, recipe: Recipe, rows: int) -> tuple[float, dict[str, int]]:
    dataset = place.dataset(recipe)
    shutil.rmtree(dataset.folder, ignore_errors=True)
    before = time.process_time()
    report = _run_one(Plan.of(recipe), place, Local(1), Limits(max_rows=rows), Silent())
    used_s = time.process_time() - before
    shutil.rmtree(dataset.folder)
    return used_s, {"accepted": report.counts.accepted_children, "candidates": report.counts.children}


# ---- the page --------------------------------------------------------------------------------------------------------


def page(work: Work) -> None:
    """What the parts noted, as far as they are done."""
    result = Result("families", "Every family, from scenes to samples", rounds=1)
    result.note(
        f"{work.asked.scenes} scenes of the preset {MEDIUM.name}, pictures of signs, {work.asked.documents} documents"
        f" of two looks, and {work.asked.films} films of half a minute (two to four shots, else like scenes), all of"
        f" seed {SEED}. {WORKERS} workers. `benchmarks/families.py --folder F --part P` does one part."
    )
    for part, told in TOLD.items():
        found = work.noted(part)
        result.raw[part] = found
        if found is None:
            result.note(f"Not run to its end: `{part}`.")
        else:
            told(result, found)
    if lines(work.folder / "film.memory.jsonl"):
        of_memory(result, work)
        result.save(plot(work), work.asked.results)
    else:
        result.save(folder=work.asked.results)


def of_truth(result: Result, found: dict[str, Any]) -> None:
    result.note("## Compiled from truth: is every sample right?")
    rows = []
    for family, one in found.items():
        for name, (value, count) in exact(one["right"]).items():
            rows.append((family, name, count, f"{value:.3f}", "yes" if value == 1.0 else "NO"))
    result.table(("family", "form", "samples", "share right", "all right"), rows)


def exact(right: dict[str, list[Any]]) -> dict[str, list[Any]]:
    """Figures by form at the least tolerance, 1e-06 s, and of what has no times."""
    kept = {n: v for n, v in right.items() if "within" not in n or "within 1e-06 s" in n}
    return {n.rpartition(": ")[2]: v for n, v in kept.items() if ": " in n}


def share(right: dict[str, list[Any]], slack: str) -> str:
    """Share right over all forms, of those with times at a tolerance."""
    kept = [v for n, v in right.items() if ": " in n and ("within" not in n or f"within {slack} s" in n)]
    total = sum(count for _, count in kept)
    return f"{sum(value * count for value, count in kept) / total:.3f} ({total})" if total else "none judged"


def of_found(result: Result, found: dict[str, Any]) -> None:
    result.note("## From its own evidence, the same scenes")
    if left := [family for family in OF_TEXT if family not in found]:
        result.note(f"Not run: {', '.join(left)}.")
    result.table(ACCOUNT, [account(family, one) for family, one in found.items()])
    if read := {f: one["rows"] for f, one in found.items() if f in OF_TEXT}:
        result.note(
            f"Text was read in {read.get('ocr_rich', 0)} pictures of signs and documents (ocr_rich, ocr_dialogues) and"
            f" in {read.get('text_times', 0)} of the scenes, uncut (text_times)."
        )
    result.note(
        "A thing that is named less exactly than the truth names it (the blue object) counts as wrong."
        " Candidates are what a view words and judges; refused ones keep their reason. CPU-seconds and tokens as the"
        " card prints them: what a family rests on is counted whole, also where others share it. A pair is right where"
        " its chosen side holds and its rejected one does not: at 0.5 s many a rejected time holds too."
    )
    kept = {f: one for f, one in found.items() if one["reasons"]}
    result.table(("family", "most frequent reasons"), [(f, said(one["reasons"])) for f, one in kept.items()])


ACCOUNT = (
    *("family", "rows", "pending", "rows accepted", "candidates", "accepted", "share accepted"),
    *("right within 1e-06 s", "within 0.1 s", "within 0.5 s", "CPU-s a sample", "tokens a sample"),
)


def account(family: str, one: dict[str, Any]) -> tuple[object, ...]:
    rows, made, card = one["rows"], one["candidates"], one["card"]
    right = (share(one["right"], slack) for slack in ("1e-06", "0.1", "0.5"))
    accepted = f"{one['accepted'] / made:.3f}" if made else "-"
    each = (card["cpu_s_each"], card["tokens"] / one["accepted"]) if card else ("-", "-")
    return (family, rows, one["pending"], one["rows_accepted"], made, one["accepted"], accepted, *right, *each)


def said(reasons: dict[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in reasons.items())


def of_film(result: Result, found: dict[str, Any]) -> None:
    result.note("## What came of the film")
    if left := [family for family in OF_TEXT if family not in found]:
        result.note(f"Left out, since reading text takes most of the time: {', '.join(left)}.")
    result.table(ACCOUNT, [account(family, one) for family, one in found.items()])


def of_memory(result: Result, work: Work) -> None:
    """Memory of each stage that took long enough, its first third beside its last."""
    samples = lines(work.folder / "film.memory.jsonl")
    done = stages(work, samples[-1]["at"])
    wall_s = sum(max(own) - min(own) for own in runs_of(samples).values())
    cpu_s = sum(d.cpu_s() for d in Store(work.folder / "store").datasets() if d.name.endswith("-film"))
    whole = ("all", samples[0]["at"], samples[-1]["at"], {"worked": "", "cpu_s": cpu_s})
    rows = []
    for name, began, ended, line in [*done, whole]:
        own = [s for s in samples if began <= s["at"] <= ended]
        if own and ended - began >= STAGE_LEAST_S:
            (d1, d3), (t1, t3) = (thirds([s[f"{k}_mb"] for s in own]) for k in ("driver", "tree"))
            peaks = max(s["driver_mb"] for s in own), max(s["tree_mb"] for s in own)
            took_s = wall_s if name == "all" else ended - began
            rows.append((name, line["worked"], took_s, line["cpu_s"], *peaks, d1, d3, t1, t3))
    result.note(f"## {work.asked.films / 2:g} minutes of film through the families: time and memory (PSS, MB)")
    header = ("dataset", "rows", "wall s", "CPU-s", "driver, most", "tree, most")
    thirds_of = [f"{which}, {third} third" for which in ("driver", "tree") for third in ("first", "last")]
    result.table((*header, *thirds_of), rows)
    result.note(
        f"Looked at every {SAMPLE_S:g} s; the tree is the driver and its decode children. Stages of under"
        f" {STAGE_LEAST_S:g} s are left out, and count in `all`. CPU-seconds are those of workers and decode children."
    )


def runs_of(samples: Sequence[dict[str, Any]]) -> dict[float, list[float]]:
    """Times of the looks at each run, since a run that was stopped goes on in another."""
    found: dict[float, list[float]] = {}
    for one in samples:
        found.setdefault(one["run"], []).append(one["at"])
    return found


def plot(work: Work) -> Any:
    """PSS over time, a line where each dataset was begun that took long enough to be told of."""
    from matplotlib.figure import Figure

    samples = lines(work.folder / "film.memory.jsonl")
    figure = Figure(figsize=(9, 3.6))
    axes, first = figure.subplots(), samples[0]["at"]
    for name, label in (("tree_mb", "driver and all below it"), ("driver_mb", "driver")):
        axes.plot([(s["at"] - first) / 60 for s in samples], [s[name] for s in samples], label=label)
    axes.set(xlabel="minutes", ylabel="PSS MB", ylim=(0, None))
    for name, began, ended, _ in stages(work, samples[-1]["at"]):
        if ended - began >= STAGE_LEAST_S:
            axes.axvline((began - first) / 60, color="#bbbbbb", linewidth=0.7)
            axes.text((began - first) / 60, axes.get_ylim()[1], name.partition("-")[0], rotation=60, fontsize=7)
    figure.tight_layout()
    axes.legend(frameon=False)
    return figure


def of_again(result: Result, found: dict[str, Any]) -> None:
    result.note(f"## Compiled again after an edited template, from stored evidence (goal {GOAL:g} a second and core)")
    header = (
        "family",
        "rows",
        "samples judged",
        "accepted",
        "CPU-s",
        "fixed CPU-s",
        "samples/s",
        "without the fixed part",
    )
    names = ("rows", "candidates", "accepted", "cpu_s", "fixed_s", "per_s", "marginal_per_s")
    result.table((*header, "goal met"), [(f, *(o[n] for n in names), _met(o)) for f, o in found.items()])
    result.note(
        f"One worker, CPU time of the process, the least of {ROUNDS} rounds, in which a dataset is begun, its rows are"
        " read, compiled, judged and committed. Samples judged are accepted and refused ones: both are worded and kept."
    )


def _met(one: dict[str, float]) -> str:
    return "yes" if one["marginal_per_s"] >= GOAL else "no"


def of_why(result: Result, found: dict[str, dict[str, int]]) -> None:
    result.note(f"## Of found samples that are wrong at 0.1 s, why ({LOOSE_S:g} s tells a time a little off)")
    named = ("span", "name", "rejected side holds", "other")
    for family, one in found.items():
        wrong = sum(one.get(n, 0) for n in named)
        told = [f"{one.get(n, 0)} {WHY[n]}" for n in named if one.get(n, 0)]
        result.note(f"- {family}: {wrong} of {wrong + one['right']} wrong: {', '.join(told)}.")


WHY = {
    "span": "whose times alone are off, by more than 0.1 s and less than the tolerance above",
    "name": "in which a thing is named less exactly than in the truth (the blue object, the dark cross)",
    "rejected side holds": "whose rejected side then holds too",
    "other": "for other reasons",
}
TOLD: dict[str, Callable[[Result, Any], None]] = {
    "truth": of_truth,
    "found": of_found,
    "why": of_why,
    "film": of_film,
    "again": of_again,
}
DO: dict[str, Callable[[Work], None]] = {
    "truth": from_truth,
    "found": from_found,
    "film": film,
    "again": again,
    "page": page,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenes", type=int, default=SCENES)
    parser.add_argument("--documents", type=int, default=DOCUMENTS)
    parser.add_argument("--films", type=int, default=FILMS, help="of half a minute each")
    parser.add_argument("--part", choices=(*PARTS, "page"), action="append", help="all by default")
    parser.add_argument("--folder", type=Path, help="where media and stores stay; by default a folder that is removed")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the page")
    parser.add_argument("--brief", action="store_true", help="12 scenes, 14 documents, 4 minutes of film")
    parser.add_argument("--no-text", action="store_true", help="no text of found evidence: it takes most of the time")
    parser.add_argument("--text-scenes", type=int, default=SCENES, help="scenes whose found text is asked for times")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.brief:
        asked.scenes, asked.documents, asked.films = 12, 14, 8
    if asked.folder is not None:
        asked.folder.mkdir(parents=True, exist_ok=True)
        do(Work(asked.folder.absolute(), asked), asked.part or (*PARTS, "page"))
        return
    with tempfile.TemporaryDirectory(prefix="families-") as folder:
        do(Work(Path(folder), asked), asked.part or (*PARTS, "page"))


def do(work: Work, parts: Sequence[str]) -> None:
    if work.asked.inside:
        film_inside(work)
        return
    for part in parts:
        say(f"== {part}")
        DO[part](work)


if __name__ == "__main__":
    main()
