"""Checkpoints by Hugging Face name or folder: what they are called, which weights they hold, what they can take.

A folder's revision is a digest of its small files and of the ends of its weight files with their sizes: enough to tell
two trainings apart, and read in milliseconds. A name's revision is what the user says.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from reelmill.schemas.errors import EngineUnusable

_WEIGHTS = (".safetensors", ".bin")
_SMALL = (".json", ".jinja", ".txt", ".model")
_END_BYTES = 1 << 20


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


def configuration(engine: str, model: str, revision: str = "") -> Any:
    """The checkpoint's transformers configuration. Raises EngineUnusable where there is none."""
    try:
        from transformers import AutoConfig
    except ImportError as error:
        raise EngineUnusable(f"engine {engine}", seen=str(error), do="pip install 'reelmill[train]'") from error
    try:
        return AutoConfig.from_pretrained(model, revision=_known(model, revision))
    except (OSError, ValueError, KeyError) as error:
        seen = str(error).strip().splitlines()[0][:200]
        do = "give a folder, or a hub name that is in the local cache or can be fetched"
        raise EngineUnusable(f"engine {engine}", seen=seen, do=do) from error


def _known(model: str, revision: str) -> str | None:
    """The hub revision to load; a folder is what it is."""
    return None if Path(model).is_dir() else revision or None


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
    """Model (in evaluation mode, on `device`) and its processor or tokenizer. Raises EngineUnusable."""
    import torch
    from transformers import AutoModelForCausalLM, AutoModelForImageTextToText, AutoProcessor, AutoTokenizer
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    config, known = configuration(engine, model, revision), _known(model, revision)
    shows = takes_images(config)
    try:
        reader = (AutoProcessor if shows else AutoTokenizer).from_pretrained(model, revision=known)
        maker = AutoModelForImageTextToText if shows else AutoModelForCausalLM
        dtype = torch.float32 if device == "cpu" else "auto"
        weights = maker.from_pretrained(model, revision=known, dtype=dtype)
    except (OSError, ValueError, ImportError) as error:
        seen = " ".join(str(error).split())[:300]
        raise EngineUnusable(f"engine {engine}", seen=seen, do="mend the checkpoint or its packages") from error
    return weights.to(device).eval(), reader
