"""Checkpoints of Hugging Face transformers for steps that run a model in process: by name or folder, on this device.

Nothing is fetched where HF_HUB_OFFLINE is set, and a checkpoint that is not there is one clear line. One thread on a
CPU: sums of floats depend on how many share them, and a row's answer must not.

    model = loaded(Owlv2ForObjectDetection.from_pretrained, "google/owlv2-base-patch16", "").to(device())
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from reelmill.annotators.engines.engine import EngineSpec
from reelmill.schemas.errors import BadInput, NotFound

# transformers builds a model on the meta device by patches that other threads see: two loads at once give one of them
# weights that are not there (measured with 5.23). Workers of one machine are threads.
_LOADING = threading.Lock()


def model_of(engine: str, ability: str) -> str:
    """The checkpoint that an engine names. Raises BadInput for any other kind: it could not do this."""
    spec = EngineSpec.parse(engine)
    if spec.kind != "transformers":
        do = f"give --engine {ability}=transformers:MODEL"
        raise BadInput(f"{ability} runs a checkpoint in process", seen=f"engine {engine!r}", do=do)
    return spec.model


def loaded(load: Callable[..., Any], model: str, revision: str, **options: Any) -> Any:
    """What a `from_pretrained` gives. Raises NotFound where the checkpoint is not there, BadInput where it is of
    another kind."""
    import transformers

    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    at = {"revision": revision} if revision and not Path(model).is_dir() else {}
    what = f"checkpoint {model}" + (f" at {revision}" if at else "")
    try:
        with _LOADING:
            return load(model, **at, **options)
    except OSError as error:
        do = "give a folder that holds it, or fetch it first (hf download), or unset HF_HUB_OFFLINE"
        raise NotFound(what, seen=_brief(error), do=do) from error
    except (ValueError, KeyError, RuntimeError) as error:
        raise BadInput(what, seen=_brief(error), do="name a checkpoint of the kind that this step runs") from error


def _brief(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]


def device() -> str:
    """`cuda` where there is one, else `cpu` on one thread."""
    import torch

    if torch.cuda.is_available():
        return "cuda"
    torch.set_num_threads(1)
    return "cpu"


def told(model: str, revision: str, config: Any) -> str:
    """`name@revision` for rows: the commit where the hub's cache knows it, else what was asked for; of a folder its
    last name only, since its path is this machine's affair."""
    if Path(model).is_dir():
        return Path(model).resolve().name + (f"@{revision}" if revision else "")
    commit = getattr(config, "_commit_hash", None) or revision
    return f"{model}@{commit}" if commit else model
