"""The command line as a program to be forked and struck.

Runs one verb, and says at its end how often each point was reached: a JSON line, counted while REELMILL_FAULT is set.
"""

from __future__ import annotations

import json
import sys

import duckdb  # noqa: F401 - imported once here, not in every fork
import pandas as pd  # noqa: F401 - pyarrow looks for it when it makes a table
import tinyflow  # noqa: F401
import typer.main  # noqa: F401
from nursery import serve

from reelmill.jobs import cli, inspecting, packing, running  # noqa: F401
from reelmill.sinks import pack, verify  # noqa: F401
from reelmill.sinks.gallery import page  # noqa: F401
from reelmill.sinks.state.points import times_reached


def main() -> int:
    code = 0
    try:
        cli.main()
    except SystemExit as ended:
        code = int(ended.code or 0)
    sys.stdout.write(f"\n{json.dumps(times_reached())}\n")
    return code


if __name__ == "__main__":
    serve(int(sys.argv[1]), main)
