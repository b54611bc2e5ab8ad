"""The house stands as drawn: rooms, packages, the tree for type checkers and the folders name the same things.

pyproject.toml lists every package by hand (setuptools cannot find them through `package-dir`), so a folder that is not
listed would run here and be missing from the wheel. These tests are what keeps the list true.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

import pytest

ROOMS = ("schemas", "annotators", "sinks", "pipelines", "training", "jobs")
TOP_LEVEL = {
    *ROOMS,
    *("tests", "benchmarks", "docs", "constraints", ".ci"),
    *("pyproject.toml", "Makefile", ".gitignore", "README.md", "CHANGELOG.md", "CONTRIBUTING.md", "LICENSE"),
}
# What belongs to one test file of the house itself rather than to a room.
HOUSE_TESTS = {"chaos", "contracts", "fixtures", "golden"}
MACHINE_PATH = re.compile(r"""(?<![\w.~$}>-])/(?:work|root|home|Users|farm|mnt|opt/pypi)/[\w.-]""")


@pytest.fixture(scope="module")
def project(root: Path) -> dict[str, Any]:
    return tomllib.loads((root / "pyproject.toml").read_text())


@pytest.fixture(scope="module")
def files(root: Path) -> list[Path]:
    """Every file that git has or would take, relative to the top."""
    if not (root / ".git").exists():
        pytest.skip("not a git checkout: what belongs to the repository cannot be told from what was built")
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    done = subprocess.run(listed, cwd=root, capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"git does not say what belongs to the repository: {done.stderr.strip()}")
    return sorted(Path(n) for n in done.stdout.split("\0") if n and (root / n).is_file())


def sources(root: Path, *rooms: str) -> Iterator[tuple[Path, ast.Module]]:
    for room in rooms or ROOMS:
        for path in sorted((root / room).rglob("*.py")):
            yield path.relative_to(root), ast.parse(path.read_text(), filename=str(path))


def test_nothing_else_stands_at_the_top(files: list[Path]) -> None:
    assert {f.parts[0] for f in files} - TOP_LEVEL == set()


def test_every_room_stands_at_the_top(files: list[Path]) -> None:
    assert set(ROOMS) - {f.parts[0] for f in files} == set()


def test_package_dir_maps_each_room_into_one_namespace(project: dict[str, Any]) -> None:
    assert project["tool"]["setuptools"]["package-dir"] == {f"reelmill.{room}": room for room in ROOMS}


def test_every_folder_with_code_or_data_is_a_listed_package(project: dict[str, Any], files: list[Path]) -> None:
    shipped = {".py", ".md", ".toml", ".jinja", ".css", ".js"}
    holds = {f.parent for f in files if f.parts[0] in ROOMS and f.suffix in shipped}
    folders = {"reelmill." + ".".join(parent.parts) for parent in holds}
    assert sorted(folders) == sorted(project["tool"]["setuptools"]["packages"])


def test_a_listed_package_is_a_regular_one(project: dict[str, Any], root: Path) -> None:
    folders = [root.joinpath(*name.split(".")[1:]) for name in project["tool"]["setuptools"]["packages"]]
    assert [str(f) for f in folders if not (f / "__init__.py").is_file()] == []
    assert [room for room in ROOMS if not (root / room / "py.typed").is_file()] == []


def test_the_namespace_itself_has_no_file(root: Path) -> None:
    assert not (root / "__init__.py").exists()


def test_typing_tree_shows_each_room(root: Path) -> None:
    tree = root / ".typing" / "reelmill"
    assert tree.is_dir(), f"{tree} is not there; do: make setup"
    assert {p.name: p.resolve() for p in tree.iterdir()} == {room: (root / room).resolve() for room in ROOMS}


def test_import_contracts_name_each_room(project: dict[str, Any]) -> None:
    assert set(project["tool"]["importlinter"]["root_packages"]) == {f"reelmill.{room}" for room in ROOMS}


def test_ruff_bans_each_bare_room(project: dict[str, Any]) -> None:
    banned = project["tool"]["ruff"]["lint"]["flake8-tidy-imports"]["banned-api"]
    assert set(banned) >= set(ROOMS)


def _imported(tree: ast.Module) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.lineno, "." * node.level + (node.module or "")


def test_no_room_is_imported_bare_or_by_dots(root: Path) -> None:
    """`import schemas` works from the repository's folder and makes a second copy of every class."""
    bare = [
        f"{path}:{line} {name}"
        for path, tree in sources(root, *ROOMS, "tests", "benchmarks")
        for line, name in _imported(tree)
        if name.split(".")[0] in ROOMS or name.startswith(".")
    ]
    assert bare == []


def test_no_path_of_one_machine(root: Path, files: list[Path]) -> None:
    hits = []
    for file in files:
        try:
            text = (root / file).read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue  # pictures and the like hold no path that a person typed
        hits += [
            f"{file}:{n} {m[0]}" for n, line in enumerate(text.splitlines(), 1) if (m := MACHINE_PATH.search(line))
        ]
    assert hits == []


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ('open("/wor' + 'k/main/x")', True),
        ("see /ro" + "ot/.cache/x", True),
        ("file:///ho" + "me/me/clips", True),
        ("https://example.org/home/page", False),
        ("shared/wor" + "k/x", False),
        ("$HOME/x and ~/work/x", False),
    ],
)
def test_the_path_rule_itself(line: str, found: bool) -> None:
    assert bool(MACHINE_PATH.search(line)) is found


def test_no_file_is_big(root: Path, files: list[Path]) -> None:
    """Fixtures are rendered in the tests; media never enter the repository."""
    assert [f"{f}: {(root / f).stat().st_size} bytes" for f in files if (root / f).stat().st_size > 500_000] == []


def test_tests_mirror_the_rooms(root: Path) -> None:
    folders = {p.name for p in (root / "tests").iterdir() if p.is_dir() and any(p.rglob("*.*"))} - {"__pycache__"}
    assert folders - set(ROOMS) - HOUSE_TESTS == set()


def test_every_room_with_code_has_tests(root: Path) -> None:
    with_code = {p.parts[0] for p, tree in sources(root) if p.name != "__init__.py" and len(tree.body) > 1}
    tested = {room for room in ROOMS if any((root / "tests" / room).rglob("test_*.py"))}
    assert with_code - tested == set()


def test_every_test_file_can_be_found_by_pytest(root: Path) -> None:
    """A file that holds tests under a name that pytest does not collect never runs, and nothing says so."""
    lost = [
        str(path)
        for path, tree in sources(root, "tests")
        if not path.name.startswith("test_")
        and any(isinstance(n, ast.FunctionDef) and n.name.startswith("test_") for n in tree.body)
    ]
    assert lost == []


def test_a_script_points_at_something(project: dict[str, Any], root: Path) -> None:
    for target in project["project"]["scripts"].values():
        module, _, name = target.partition(":")
        path = root.joinpath(*module.split(".")[1:]).with_suffix(".py")
        assert path.is_file(), f"{module} is named by pyproject.toml and is not there"
        assert name in {n.name for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.FunctionDef)}


def test_every_import_is_a_declared_dependency(project: dict[str, Any], root: Path) -> None:
    """What the rooms import is named in pyproject.toml; what it brings along by itself is not to be leaned on."""
    declared = list(project["project"]["dependencies"])
    declared += [d for group in project["project"]["optional-dependencies"].values() for d in group]
    named = {_canonical(re.match(r"[\w.-]+", d)[0]) for d in declared}  # type: ignore[index]
    provides = packages_distributions()
    used = {name.split(".")[0] for _, tree in sources(root) for _, name in _imported(tree)}
    foreign = used - set(sys.stdlib_module_names) - {"reelmill", "__future__"}
    missing = {m for m in foreign if not {_canonical(d) for d in provides.get(m, [m])} & named}
    assert missing == set()


def _canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_constraints_pin_what_is_declared(project: dict[str, Any], root: Path) -> None:
    pins = dict(re.findall(r"^([\w.-]+)==(\S+)$", (root / "constraints" / "cpu.txt").read_text(), re.MULTILINE))
    groups = {"base": project["project"]["dependencies"], **project["project"]["optional-dependencies"]}
    unpinned_groups = {"vllm"}  # lives in an environment of its own, on a GPU machine
    names = {
        _canonical(re.match(r"[\w.-]+", d)[0])  # type: ignore[index]
        for group, deps in groups.items()
        for d in deps
        if group not in unpinned_groups
    }
    assert names - set(pins) - {"reelmill", "setuptools"} == set()
    assert {"opencv-python", "scenedetect"} & (set(pins) | names) == set(), "see docs/decisions/0002-dependencies.md"
