"""The wheel that clusters and strangers get holds the whole house, nothing else, and works far from the repository."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOMS = ("schemas", "annotators", "sinks", "pipelines", "training", "jobs")
SHIPPED = {".py", ".md", ".toml", ".jinja", ".css", ".js", ".typed"}


def room_files(root: Path) -> set[str]:
    """Every file of the rooms that belongs in the wheel, as it is named there."""
    found = {p.relative_to(root) for room in ROOMS for p in (root / room).rglob("*") if p.is_file()}
    return {f"reelmill/{p.as_posix()}" for p in found if "__pycache__" not in p.parts and _suffix(p) in SHIPPED}


def _suffix(path: Path) -> str:
    return ".typed" if path.name == "py.typed" else path.suffix


@pytest.fixture(scope="module")
def installed(wheel: Path, clean_env: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("target")
    pip = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-index", "--target", str(target), str(wheel)]
    done = subprocess.run(pip, env=clean_env, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    return target


def far_away(installed: Path, env: dict[str, str], cwd: Path, *argv: str) -> subprocess.CompletedProcess[str]:
    """Run Python with the wheel's copy and the libraries alone: `-S` leaves out the editable install's finder."""
    path = os.pathsep.join([str(installed), sysconfig.get_paths()["purelib"], sysconfig.get_paths()["platlib"]])
    command = [sys.executable, "-S", *argv]
    return subprocess.run(command, env=env | {"PYTHONPATH": path}, cwd=cwd, capture_output=True, text=True, timeout=120)


def test_the_wheel_holds_the_whole_house_and_nothing_else(wheel: Path, root: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    inside = {n for n in names if not n.split("/")[0].endswith(".dist-info")}
    assert sorted(room_files(root) - inside) == [], "left out: is the folder listed in pyproject.toml?"
    assert sorted(inside - room_files(root)) == [], "nobody asked for these"


def test_prompts_templates_and_typing_marks_are_inside(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert [room for room in ROOMS if f"reelmill/{room}/py.typed" not in names] == []
    assert any(n.startswith("reelmill/annotators/prompts/") and n.endswith(".md") for n in names)
    assert any(n.startswith("reelmill/pipelines/templates/") and n.endswith(".toml") for n in names)


def test_the_wheel_says_what_it_is(wheel: Path) -> None:
    archive = zipfile.ZipFile(wheel)
    info = next(n.split("/")[0] for n in archive.namelist() if ".dist-info/" in n)
    meta = archive.read(f"{info}/METADATA").decode()
    assert "License-Expression: Apache-2.0" in meta
    assert "Requires-Python: >=3.11" in meta
    assert f"{info}/licenses/LICENSE" in archive.namelist()
    assert "reelmill = reelmill.jobs.cli:main" in archive.read(f"{info}/entry_points.txt").decode()
    assert wheel.name.endswith("-py3-none-any.whl")


def test_two_builds_hold_the_same_files_with_the_same_bytes(wheel: Path, root: Path) -> None:
    archive = zipfile.ZipFile(wheel)
    changed = [
        n for n in sorted(room_files(root)) if archive.read(n) != (root / n.removeprefix("reelmill/")).read_bytes()
    ]
    assert changed == []


def test_the_command_line_works_far_from_the_repository(
    installed: Path, clean_env: dict[str, str], tmp_path: Path
) -> None:
    helped = far_away(installed, clean_env, tmp_path, "-m", "reelmill.jobs.cli", "--help")
    assert helped.returncode == 0, helped.stderr
    assert "run" in helped.stdout


def test_every_recipe_is_listed_far_from_the_repository(
    installed: Path, root: Path, clean_env: dict[str, str], tmp_path: Path
) -> None:
    listed = far_away(installed, clean_env, tmp_path, "-c", "from reelmill.jobs.cli import main; main()", "list")
    assert listed.returncode == 0, listed.stderr
    for recipe in ("clips", "text", "tubes", "events", "ocr_rich", "internvid_tg"):
        assert recipe in listed.stdout


def test_every_module_comes_from_the_wheel(
    installed: Path, root: Path, clean_env: dict[str, str], tmp_path: Path
) -> None:
    """Imported one and all, none from the repository: a stray sys.path entry would hide a file left out."""
    names = [
        n.removesuffix(".py").removesuffix("/__init__").replace("/", ".") for n in room_files(root) if n.endswith(".py")
    ]
    code = (
        "import importlib, sys\n"
        "for name in sys.argv[1:]: importlib.import_module(name)\n"
        "print('\\n'.join(m.__file__ for n, m in sys.modules.items() if n.startswith('reelmill.') and m.__file__))"
    )
    done = far_away(installed, clean_env, tmp_path, "-c", code, *sorted(names))
    assert done.returncode == 0, done.stderr
    places = done.stdout.split("\n")
    assert len(places) >= len(names)
    assert [p for p in places if p and not p.startswith(str(installed))] == []
