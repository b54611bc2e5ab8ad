"""`doctor`: what this machine can do, checked by doing a little of each; what is missing and how to get it."""

from __future__ import annotations

import importlib
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from rich.console import Console
from rich.table import Table

from reelmill.annotators.engines.engine import Patient
from reelmill.annotators.engines.opening import Engines
from reelmill.annotators.engines.profile import EngineProfile
from reelmill.schemas.errors import ReelmillError, StoreUnusable
from reelmill.sinks.dataset import Store
from reelmill.sinks.state.place import Folder

_LITTLE_DISK = 2 * 1024**3


@dataclass(frozen=True, slots=True)
class Finding:
    """`needed` says whether the first result depends on it."""

    what: str
    good: bool
    seen: str
    do: str
    needed: bool


def doctor(store: Folder, engines: Sequence[str] = (), profile: EngineProfile = EngineProfile()) -> int:
    """Print findings; returns 0 where everything that is needed is there, else 2. An engine that is named is needed."""
    findings = [*_programs(), *_libraries(), _ray_auth(), _cpus(), *_disk(store), _writable(store)]
    findings += [_engine(named.partition("=")[2] or named, profile) for named in engines]
    table = Table("", "what", "seen", "what to do")
    for one in findings:
        mark = "ok" if one.good else ("MISSING" if one.needed else "absent")
        table.add_row(mark, one.what, one.seen, "" if one.good else one.do)
    Console().print(table)
    return 2 if any(f.needed and not f.good for f in findings) else 0


def _programs() -> list[Finding]:
    return [
        Finding(
            name, (path := shutil.which(name)) is not None, path or "not on the PATH", "apt-get install ffmpeg", True
        )
        for name in ("ffmpeg", "ffprobe")
    ]


def _libraries() -> list[Finding]:
    checks: list[tuple[str, str, bool, Callable[[], str]]] = [
        ("PyAV (default decoder)", "pip install av", True, lambda: _version("av")),
        ("decord (decoder)", "pip install decord", False, lambda: _version("decord")),
        (
            "torchcodec (decoder)",
            "pip install 'reelmill[torchcodec]'",
            False,
            lambda: _version("torchcodec", "torchcodec.decoders"),
        ),
        ("OpenCV", "pip install opencv-python-headless", True, lambda: _version("opencv-python-headless", "cv2")),
        ("RapidOCR with its packaged models", "pip install rapidocr onnxruntime", True, _text_engine),
        ("DuckDB", "pip install duckdb", True, lambda: _version("duckdb")),
        ("Ray", "pip install 'ray[data,default]'", True, lambda: _version("ray")),
        ("torch (training)", "pip install 'reelmill[train]'", False, lambda: _version("torch")),
    ]
    return [_library(what, do, needed, look) for what, do, needed, look in checks]


def _library(what: str, do: str, needed: bool, look: Callable[[], str]) -> Finding:
    try:
        return Finding(what, True, look(), do, needed)
    except (ImportError, OSError, RuntimeError) as error:
        return Finding(what, False, str(error).splitlines()[0][:100], do, needed)


def _version(distribution: str, module: str = "") -> str:
    importlib.import_module(module or distribution)
    return metadata.version(distribution)


def _text_engine() -> str:
    import rapidocr

    models = sorted(p.name for p in (Path(rapidocr.__file__).parent / "models").glob("*.onnx"))
    if not models:
        raise OSError(f"no model beside {rapidocr.__name__}")
    return f"{metadata.version('rapidocr')}, {len(models)} models"


def _engine(spec: str, profile: EngineProfile) -> Finding:
    """Whether an engine answers a small question with a picture, and has a batch API where the profile asks for it.
    Its answer is not kept."""
    if spec == "embedded":
        return Finding("engine embedded", True, "always there", "", True)
    try:
        with Engines(profile) as engines:
            model = engines.get(spec)
            model.check(images=True)
    except ReelmillError as error:
        return Finding(error.what, False, error.seen, error.do, True)
    batches = "; has a batch API" if isinstance(model.engine, Patient) else ""
    return Finding(f"engine {spec}", True, f"answers, also with a picture{batches}", "", True)


def _ray_auth() -> Finding:
    mode = os.environ.get("RAY_AUTH_MODE", "")
    seen = f"RAY_AUTH_MODE={mode or 'unset'}"
    return Finding(
        "Ray authentication", bool(mode), seen, "set RAY_AUTH_MODE=token or disabled on every process", False
    )


def _cpus() -> Finding:
    count = len(os.sched_getaffinity(0))
    return Finding("CPUs", count >= 2, str(count), "two or more make the work go side by side", False)


def _disk(store: Folder) -> list[Finding]:
    if not isinstance(store, Path):
        return []
    there = next(p for p in (store.absolute(), *store.absolute().parents) if p.exists())
    free = shutil.disk_usage(there).free
    return [Finding("disk", free > _LITTLE_DISK, f"{free / 1024**3:.1f} GB free at {there}", "free some space", True)]


def _writable(store: Folder) -> Finding:
    there = isinstance(store, Path) and store.exists()
    try:
        Store(store).require_writable()
    except StoreUnusable as error:
        return Finding(f"store {store}", False, error.seen, error.do, True)
    except OSError as error:
        return Finding(f"store {store}", False, str(error), "choose another --store", True)
    if isinstance(store, Path) and not there:
        store.rmdir()
    return Finding(f"store {store}", True, "writable", "", True)
