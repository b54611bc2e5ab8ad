"""The pages hold together: links lead somewhere, decisions are numbered and have their parts, every page is indexed."""

from __future__ import annotations

import ast
import re
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
LINK = re.compile(r"(?<!!)\[[^\]]+\]\((?P<to>[^)\s]+)\)|!\[[^\]]*\]\((?P<image>[^)\s]+)\)")
PAGES = sorted(
    p for p in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "benchmarks").rglob("*.md")] if p.is_file()
)
DECISIONS = sorted((ROOT / "docs" / "decisions").glob("*.md"))


def prose(path: Path) -> str:
    """A page without its fenced blocks: what looks like a link inside code is none."""
    return re.sub(r"^```.*?^```", "", path.read_text(), flags=re.M | re.S)


def anchors(path: Path) -> set[str]:
    """Anchors of a page's headings, as GitHub makes them."""
    heads = re.findall(r"^#+ +(.+?) *$", prose(path), re.M)
    return {re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in heads}


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page: Path) -> None:
    broken = []
    for found in LINK.finditer(prose(page)):
        to = found["to"] or found["image"]
        if re.match(r"[a-z]+:", to):
            continue  # another machine's page: not ours to check without a network
        place, _, anchor = to.partition("#")
        target = (page.parent / place).resolve() if place else page
        if not target.exists() or (anchor and target.suffix == ".md" and anchor not in anchors(target)):
            broken.append(to)
    assert broken == []


@pytest.mark.parametrize("page", DECISIONS, ids=lambda p: p.stem)
def test_a_decision_has_its_parts(page: Path) -> None:
    text = page.read_text()
    assert re.fullmatch(r"\d{4}-[a-z0-9-]+\.md", page.name)
    assert re.match(rf"# {page.name[:4]}\b", text), f"the title begins with its number: # {page.name[:4]} ..."
    heads = {h.lower().removesuffix("s") for h in re.findall(r"^## (\w+)", text, re.M)}
    assert {"context", "decision", "consequence"} <= heads, f"seen the parts {sorted(heads)}"


def test_decisions_have_numbers_of_their_own() -> None:
    twice = [n for n, count in Counter(p.name[:4] for p in DECISIONS).items() if count > 1]
    assert twice == []


def test_every_decision_is_in_the_index() -> None:
    index = (ROOT / "docs" / "index.md").read_text()
    assert [p.name for p in DECISIONS if f"decisions/{p.name}" not in index] == []


def test_every_page_can_be_reached_from_the_index() -> None:
    index = (ROOT / "docs" / "index.md").read_text()
    pages = [p.relative_to(ROOT / "docs").as_posix() for p in (ROOT / "docs").rglob("*.md") if p.name != "index.md"]
    assert [p for p in pages if p not in index] == []


def rows_of_defects() -> list[list[str]]:
    """Cells of the table of known defects."""
    lines = (ROOT / "docs" / "defects.md").read_text().splitlines()
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("| D")]


def test_every_known_defect_is_told_with_what_holds_it() -> None:
    rows = rows_of_defects()
    assert [row[0] for row in rows] == [f"D{n}" for n in range(1, 18)]
    assert [row[0] for row in rows if len(row) != 5 or not all(row) or "::test_" not in row[4]] == []


def test_the_tests_that_hold_defects_are_there_to_be_collected() -> None:
    """A function `test_...` at the top of a file `test_....py` below `tests`, skipped by no mark: what pytest collects.
    (Asking pytest itself takes half a minute, as it imports all of those files.)"""
    named = [test for row in rows_of_defects() for test in re.findall(r"`([^`]+::[^`]+)`", row[4])]
    assert len(named) == len(set(named)) > 30
    missing = []
    for test in named:
        file, _, name = test.partition("::")
        path = ROOT / file
        found = path.is_file() and re.fullmatch(r"tests/(?:.+/)?test_\w+\.py", file) and name in functions_in(path)
        missing += [] if found else [test]
    assert missing == []


def functions_in(path: Path) -> set[str]:
    """Tests at the top of a file that no mark skips."""
    functions = [node for node in ast.parse(path.read_text()).body if isinstance(node, ast.FunctionDef)]
    skips = ("skip", "xfail")
    return {f.name for f in functions if not any(m in ast.unparse(d) for d in f.decorator_list for m in skips)}


def test_the_changelog_keeps_its_form() -> None:
    text = (ROOT / "CHANGELOG.md").read_text()
    heads = re.findall(r"^## (.+)$", text, re.M)
    assert heads[0] == "[Unreleased]"
    assert all(re.fullmatch(r"\[\d+\.\d+\.\d+\] - \d{4}-\d\d-\d\d", h) for h in heads[1:])
    assert set(re.findall(r"^### (.+)$", text, re.M)) <= {
        "Added",
        "Changed",
        "Deprecated",
        "Removed",
        "Fixed",
        "Security",
    }
