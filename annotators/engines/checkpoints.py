"""Checkpoints by Hugging Face name or folder: what they are called, which weights they hold, what they can take.

A folder's revision is a digest of its small files and of the ends of its weight files with their sizes: enough to tell
two trainings apart, and read in milliseconds. A name's revision is what the user says. Nothing is fetched where
HF_HUB_OFFLINE is set, and a checkpoint that is not there is one clear line. One thread on a CPU: sums of floats depend
on how many share them, and a row's answer must not.

    model = loaded(Owlv2ForObjectDetection.from_pretrained, "google/owlv2-base-patch16", "").to(device())
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from reelmill.schemas.errors import BadInput, EngineUnusable, NotFound

_WEIGHTS = (".safetensors", ".bin")
_SMALL = (".json", ".jinja", ".txt", ".model")
_END_BYTES = 1 << 20
# transformers builds a model on the meta device by patches that other threads see: two loads at once give one of them
# weights that are not there (measured with 5.23). Workers of one machine are threads.
_LOADING = threading.Lock()
importing = threading.Lock()
"""Held around imports from transformers in `setup`: it finds its parts as they are asked for, and two threads that ask
at once may be told there is none."""


def short_name(model: str) -> str:
    """A folder's own name, so that its place is not identity; a hub name as it is."""
    return Path(model).resolve().name if Path(model).is_dir() else model


def folder_revision(model: str) -> str:
    """Digest of a checkpoint folder, 16 hex characters; '' for a hub name.

    Raises EngineUnusable where the folder holds no weights.
    """
    folder = Path(model)
    if not folder.is_dir():
        return ""
    files = [p for p in sorted(folder.iterdir()) if p.suffix in (*_WEIGHTS, *_SMALL) and p.is_file()]
    if not any(p.suffix in _WEIGHTS for p in files):
        seen = ", ".join(p.name for p in sorted(folder.iterdir())[:5]) or "an empty folder"
        raise EngineUnusable(f"checkpoint {model}", seen=seen, do="name a folder with config.json and weights")
    digest = hashlib.sha256()
    for path in files:
        digest.update(f"{path.name} {path.stat().st_size}\n".encode())
        digest.update(_ends(path) if path.suffix in _WEIGHTS else path.read_bytes())
    return digest.hexdigest()[:16]


def _ends(path: Path) -> bytes:
    with path.open("rb") as stream:
        first = stream.read(_END_BYTES)
        stream.seek(max(0, path.stat().st_size - _END_BYTES))
        return first + stream.read()


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


def configuration(engine: str, model: str, revision: str = "") -> Any:
    """The checkpoint's transformers configuration. Raises EngineUnusable, NotFound or BadInput where there is none."""
    try:
        from transformers import AutoConfig
    except ImportError as error:
        raise EngineUnusable(f"engine {engine}", seen=str(error), do="pip install 'reelmill[train]'") from error
    return loaded(AutoConfig.from_pretrained, model, revision)


def takes_images(config: Any) -> bool:
    """True for an image-text-to-text architecture."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES

    return config.model_type in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES


def require(engine: str, model: str, revision: str, *, images: bool) -> None:
    """Raises EngineUnusable where the checkpoint is missing, or will be sent images that it cannot take."""
    config = configuration(engine, model, revision)
    if images and not takes_images(config):
        seen = f"model type {config.model_type!r} takes text alone"
        raise EngineUnusable(f"engine {engine}", seen=seen, do="name an image-text-to-text checkpoint")


def load(engine: str, model: str, revision: str, device: str) -> tuple[Any, Any]:
    """Model (in evaluation mode, on `device`) and its processor or tokenizer. Raises as `configuration` does."""
    import torch
    from transformers import AutoModelForCausalLM, AutoModelForImageTextToText, AutoProcessor, AutoTokenizer

    shows = takes_images(configuration(engine, model, revision))
    reader = loaded((AutoProcessor if shows else AutoTokenizer).from_pretrained, model, revision)
    maker = AutoModelForImageTextToText if shows else AutoModelForCausalLM
    dtype = torch.float32 if device == "cpu" else "auto"
    return loaded(maker.from_pretrained, model, revision, dtype=dtype).to(device).eval(), reader
