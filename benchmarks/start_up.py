"""What one waits for before anything is done: imports, an explanation, a rerun with nothing to do, the first row.

python benchmarks/start_up.py --rounds 5
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from pathlib import Path

from measure import Result, bars, in_turn, median
from peers.media import MediaSet, made

ONE = MediaSet("one", clips=1, seconds=1, segments=(1, 1))
AGAIN, FIRST, FIRST_RAY = "run again, nothing to do", "first row", "first row, --on ray"


def commands(folder: Path) -> dict[str, list[str]]:
    """By name. The reruns use a store that is kept, the first rows one that is removed each time."""
    reelmill = [sys.executable, "-m", "reelmill.jobs.cli"]
    media = str(next(iter(made(ONE))).parent)
    run = [*reelmill, "run", "curated", "--media", media, "--name", "one", "--workers", "2", "--store"]
    first = [*reelmill, "run", "media", "--media", media, "--name", "one", "--workers", "1", "--store"]
    return {
        "python -c pass": [sys.executable, "-c", "pass"],
        "import numpy, pyarrow": [sys.executable, "-c", "import numpy, pyarrow; pyarrow.array([1])"],
        "reelmill --help": [*reelmill, "--help"],
        "reelmill list": [*reelmill, "list"],
        "reelmill explain internvid_tg": [*reelmill, "explain", "internvid_tg"],
        "reelmill status": [*reelmill, "status", "--store", str(folder / "kept")],
        AGAIN: [*run, str(folder / "kept")],
        FIRST: [*first, str(folder / "first")],
        FIRST_RAY: [*first, str(folder / "first"), "--on", "ray"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--no-ray", action="store_true", help="leave out what starts Ray")
    given = parser.parse_args()
    page = Result("start_up", "Start-up: what one waits for", rounds=given.rounds)
    with tempfile.TemporaryDirectory(prefix="start-up-") as name:
        folder = Path(name)
        wanted = {n: argv for n, argv in commands(folder).items() if not (given.no_ray and n == FIRST_RAY)}
        in_turn({"filling the store": wanted[AGAIN]}, 1)
        costs = in_turn(
            wanted, given.rounds, before=lambda _: shutil.rmtree(folder / "first", ignore_errors=True) and None
        )
    for n, c in costs.items():
        page.keep(n, c)
    rows = [(n, median(c, "cpu_s"), median(c, "wall_s")) for n, c in costs.items()]
    page.note("One video of 1 s. `run` lists, hashes, leases, works and records; `first row` makes `media` alone.")
    page.table(("what", "CPU-s", "wall s"), rows)
    page.save(bars("wall seconds", {n: wall_s for n, _, wall_s in rows}))


if __name__ == "__main__":
    main()
