"""Schemas, sinks and training under other Pythons, torches and transformers: `make check-versions`.

    python benchmarks/check_versions.py FOLDER                 every combination, an environment for each below FOLDER
    python benchmarks/check_versions.py FOLDER --only 3.13     those of one Python

Each environment has what the rooms need without Ray and vLLM, newest beside the pair that is pinned, and the wheel of
this working folder; the tests that run there are those of TESTS. An environment that is there is used again.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LEFT_OUT = {"ray", "vllm"}
EXTRAS = ("train",)
FOR_TESTS = ("pytest>=8.4", "pytest-timeout>=2.4", "hypothesis>=6.130")
TESTS = ("tests/schemas", "tests/sinks", "tests/training")
CUDA = re.compile(r"^(nvidia|cuda|triton)\b", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Combination:
    """A Python, and what is asked of torch and transformers in it."""

    python: str
    torch: str
    transformers: str

    @property
    def name(self) -> str:
        return f"Python {self.python}, {self.torch}, {self.transformers}"


COMBINATIONS = (
    Combination("3.12", "torch==2.13.0", "transformers==5.23.0"),
    Combination("3.13", "torch", "transformers"),
    Combination("3.11", "torch==2.11.0", "transformers==5.16.0"),
)


def said(line: str) -> None:
    """A line of this script's own, at once: pytest's come between."""
    print(f"check-versions: {line}", flush=True)


def interpreter(version: str) -> Path | None:
    """A Python of a version: on PATH, or of pyenv, whose shims stand on PATH for versions that are switched off."""
    found = [shutil.which(f"python{version}")]
    pyenv = shutil.which("pyenv")
    if pyenv is not None:
        root = Path(subprocess.run([pyenv, "root"], capture_output=True, text=True, check=True).stdout.strip())
        found += sorted(map(str, (root / "versions").glob(f"{version}.*/bin/python")))
    for path in filter(None, found):
        seen = subprocess.run([path, "--version"], capture_output=True, text=True)
        if seen.returncode == 0 and seen.stdout.startswith(f"Python {version}."):
            return Path(path)
    return None


def needed(combination: Combination) -> list[str]:
    """What is installed beside the wheel."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    asked = [*project["dependencies"], *(d for extra in EXTRAS for d in project["optional-dependencies"][extra])]
    pair = {"torch": combination.torch, "transformers": combination.transformers}
    kept = [d for d in asked if _name(d) not in LEFT_OUT | ({n for n, d in pair.items() if "==" in d})]
    return [*kept, *(d for d in pair.values() if "==" in d), *FOR_TESTS]


def _name(requirement: str) -> str:
    return re.split(r"[^\w-]", requirement, maxsplit=1)[0]


def environment(combination: Combination, python: Path, folder: Path, flags: list[str]) -> Path:
    """Its Python, with everything that is needed. Raises CalledProcessError where pip cannot."""
    own = folder / f"python{combination.python}" / "bin" / "python"
    if not own.exists():
        subprocess.run([python, "-m", "venv", own.parents[1]], check=True)
    pip = [own, "-m", "pip", "--disable-pip-version-check"]
    subprocess.run([*pip, "install", "-q", "--no-compile", *flags, *needed(combination)], check=True)
    with tempfile.TemporaryDirectory() as copy:
        for name in ("schemas", "annotators", "sinks", "pipelines", "training", "jobs"):
            shutil.copytree(ROOT / name, Path(copy, name), ignore=shutil.ignore_patterns("__pycache__"))
        for name in ("pyproject.toml", "README.md", "LICENSE"):
            shutil.copy(ROOT / name, copy)
        subprocess.run([*pip, "install", "-q", *flags, "--no-deps", "--force-reinstall", copy], check=True)
    listed = subprocess.run([*pip, "list", "--format=freeze"], capture_output=True, text=True, check=True).stdout
    held = dict(line.split("==") for line in listed.splitlines() if "==" in line)
    cuda = len(CUDA.findall(listed))
    more = f"; {cuda} CUDA packages came along: name an index of CPU builds with TORCH_CPU_INDEX=URL" if cuda else ""
    versions = ", ".join(f"{n} {held[n]}" for n in ("torch", "transformers", "numpy", "pyarrow", "pydantic"))
    said(f"{combination.name}: {versions}{more}")
    return own


def tested(python: Path, more: list[str]) -> str | None:
    """Pytest's closing line, None where a test failed."""
    command = [python, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", "not slow and not ray", *TESTS, *more]
    env = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")} | {"OMP_NUM_THREADS": "1"}
    lines = []
    with subprocess.Popen(command, cwd=ROOT, env=env, stdout=subprocess.PIPE, text=True) as running:
        for line in running.stdout or ():
            print(line, end="", flush=True)
            lines.append(line.strip())
    return lines[-1].strip("= ") if running.returncode == 0 else None


def main() -> int:
    """0 where every test passed under every combination; 2 where a Python is not there, and nothing was done."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--only", metavar="PYTHON")
    parser.add_argument("--pip", default="", help="flags for pip install")
    parser.add_argument("--pytest", default="", help="flags for pytest")
    told = parser.parse_args()
    asked = [c for c in COMBINATIONS if told.only in (None, c.python)]
    pythons = {c: interpreter(c.python) for c in asked}
    lacking = [c.python for c, found in pythons.items() if found is None]
    if lacking or not asked:
        tried = "on PATH and in pyenv"
        said(f"no Python {', '.join(lacking) or told.only} found {tried}; install it and run this again")
        return 2
    closing = {}
    for combination, python in pythons.items():
        assert python is not None
        own = environment(combination, python, told.folder.resolve(), told.pip.split())
        closing[combination.name] = tested(own, told.pytest.split())
    for name, line in closing.items():
        said(f"{name}: {line or 'FAILED'}")
    return 0 if all(closing.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
