"""`reelmill train` as a program to be forked and struck; torch and transformers are imported once, before the forks."""

from __future__ import annotations

import gc
import importlib
import sys

from nursery import serve

from reelmill.jobs import cli

WANTED = (
    "reelmill.jobs.fitting",
    "reelmill.training.running",
    "reelmill.training.curves",
    "reelmill.training.variants.mqt",
    "safetensors.torch",
    "matplotlib.figure",
    "matplotlib.backends.backend_agg",
    "transformers.models.clip.modeling_clip",
    "transformers.models.llama.modeling_llama",
    "torch._dynamo",
)


def main() -> int:
    try:
        cli.main()
    except SystemExit as ended:
        return int(ended.code or 0)
    return 0


if __name__ == "__main__":
    for name in WANTED:
        importlib.import_module(name)
    gc.collect()
    gc.freeze()  # a collection would write to all that the forks share
    serve(int(sys.argv[1]), main)
