"""What text reading makes of rendered documents, kind by kind, and whether answers compiled from truth are right.

Documents of both looks pass through `clips` and `text` as they would in use: frames as they are stored, not originals.
A word counts as read as in `ocr.py`: in the multiset of words of the file's answer, case folded, letters and digits
alone. Answers are those of `code_guided`, recomputed by `views/checks/documents.py`.

    python benchmarks/documents.py --count 240
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections import Counter, defaultdict
from pathlib import Path

from measure import Result, bars, say
from ocr import Tally, read, score_scene

from reelmill.pipelines import code_guided
from reelmill.pipelines._place import place_of
from reelmill.pipelines._run import Local, run
from reelmill.pipelines.documents.compose import KINDS, LOOKS
from reelmill.pipelines.documents.render import load_document, render_documents
from reelmill.pipelines.views.checks.documents import check_document, truth_faults
from reelmill.schemas import arrow
from reelmill.schemas.sample import Sample

SEED = 271_828


def recall_of(folder: Path, store: Path, engine: str) -> dict[str, Tally]:
    """Words read of each kind of document in a folder."""
    tallies: dict[str, Tally] = defaultdict(Tally)
    seen, _ = read(store, folder, engine)
    for name, found in seen.items():
        path = folder / Path(name).name
        exact, document = load_document(path)
        one, _ = score_scene(exact, found)
        tallies[document.content.kind].add(one.true, one.seen)
    return tallies


def answers_of(folder: Path, store: Path) -> tuple[int, Counter[str]]:
    """Samples compiled from the truth of a folder, and those that the checker holds to be wrong, by their task."""
    place = place_of(store / "answers", (str(folder),), "documents")
    made = code_guided.recipe()
    say(str(run(made, place, Local(1))[-1].counts))
    records = {p: json.loads(p.read_text()) for p in folder.glob("*.truth.json")}
    wrong: Counter[str] = Counter(sheet.name for sheet, record in records.items() if truth_faults(record))
    rows = place.dataset(made).children().drop_columns(["part"]).to_pylist()
    for row in rows:
        sample: Sample = arrow.typed(Sample, row)
        beside = Path(sample.media.uri.removeprefix("file://") + ".truth.json")
        wrong[sample.task] += bool(check_document(sample, records[beside]))
    return len(rows), +wrong


def main() -> None:
    """Render, read, compile, and write the page."""
    asked = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    asked.add_argument("--count", type=int, default=240, help="documents of each look")
    asked.add_argument("--engine", default="rapidocr")
    told = asked.parse_args()
    page = Result("documents", "Rendered documents: words read, answers right")
    rows, recalls = [], {}
    with tempfile.TemporaryDirectory() as scratch:
        for name, look in LOOKS.items():
            folder, store = Path(scratch) / name, Path(scratch) / f"store-{name}"
            render_documents(folder, told.count, SEED, look)
            tallies = recall_of(folder, store, told.engine)
            for kind in KINDS:
                one = tallies[kind]
                rows.append((name, kind, one.true.total(), one.recall or 0.0, one.precision or 0.0))
                recalls[f"{name} {kind}"] = one.recall or 0.0
            samples, wrong = answers_of(folder, store)
            page.note(f"{name}: {samples} samples from {told.count} documents, wrong by the checker: {dict(wrong)}.")
    page.table(("look", "kind", "words", f"read by {told.engine}", "of its words right"), rows)
    page.raw["recall"] = recalls
    page.save(bars("share of words read", recalls))


if __name__ == "__main__":
    main()
