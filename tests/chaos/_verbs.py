"""The command line as a program to be forked and struck.

Runs one verb, and says at its end how often each point was reached: a JSON line, counted while REELMILL_FAULT is set.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import sys
import tempfile
from pathlib import Path

import tinyflow  # noqa: F401
from nursery import serve

from reelmill.jobs import cli
from reelmill.schemas.points import times_reached


def main() -> int:
    code = 0
    try:
        cli.main()
    except SystemExit as ended:
        code = int(ended.code or 0)
    sys.stdout.write(f"\n{json.dumps(times_reached())}\n")
    return code


def warm() -> None:
    """Import here what the verbs import when they run, so that no fork has to. A fork finds out what that is: the
    threads that a run leaves behind would not survive in the next."""
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryFile("w+") as told:
        if not (child := os.fork()):
            _try_out(Path(folder))
            json.dump(list(sys.modules), told)
            told.flush()
            os._exit(0)
        os.waitpid(child, 0)
        told.seek(0)
        for name in json.load(told):
            importlib.import_module(name)
    gc.collect()
    gc.freeze()  # a collection would write to all that the forks share


def _try_out(folder: Path) -> None:
    numbers, nothing = folder / "numbers.txt", os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 1)
    os.dup2(nothing, 2)
    numbers.write_text("2 7")
    run = ["run", "tinyflow:recipe", "--media", str(numbers), "--name", "t", "--workers", "1"]
    retry = ["retry", "drawn-t", "--where", "true"]
    for words in (run, retry, run, ["pack", "tinyflow-t", "--media", "clip"], ["gc"]):
        sys.argv = [sys.argv[0], *words, "--store", str(folder / "store")]
        main()


if __name__ == "__main__":
    warm()
    serve(int(sys.argv[1]), main)
