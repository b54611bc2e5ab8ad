"""What README.md shows is what happens: its marked blocks are run, in order, in an empty folder.

    <!-- run -->
    ```bash
    reelmill demo --store demo
    ```

Blocks share one folder and run as a reader would paste them: `bash` with errors fatal, `python` with this interpreter.
Where the README writes `.venv/bin/reelmill`, the block finds the project's own `.venv`.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

BLOCK = re.compile(
    r"^(?P<mark><!-- *run *-->[ \t]*\n)?(?P<pad> *)```(?P<language>\w*)[^\n]*\n(?P<code>.*?)^(?P=pad)```[ \t]*$",
    re.M | re.S,
)
MARK = re.compile(r"<!-- *run *-->")


class Block(NamedTuple):
    line: int
    language: str
    code: str


def marked(text: str) -> list[Block]:
    """Blocks that stand right under a `<!-- run -->` line, in order."""
    return [
        Block(text.count("\n", 0, found.start()) + 1, found["language"], found["code"])
        for found in BLOCK.finditer(text)
        if found["mark"]
    ]


def command(block: Block) -> list[str]:
    if block.language == "bash":
        return ["bash", "-euo", "pipefail", "-c", block.code]
    assert block.language == "python", f"line {block.line}: a marked block is bash or python, seen {block.language!r}"
    return [sys.executable, "-c", block.code]


def run(block: Block, cwd: Path, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(block), cwd=cwd, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=600
    )


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_readme_does_what_it_shows(root: Path, clean_env: dict[str, str], tmp_path: Path) -> None:
    text = (root / "README.md").read_text()
    blocks = marked(text)
    assert blocks, "README.md shows nothing that is run; mark its commands with <!-- run -->"
    assert len(blocks) == len(MARK.findall(text)), "a <!-- run --> mark does not stand right above a fenced block"
    (tmp_path / ".venv").symlink_to(root / ".venv", target_is_directory=True)
    for block in blocks:
        done = run(block, tmp_path, clean_env)
        said = f"{block.code}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
        assert done.returncode == 0, f"README.md line {block.line} ended with {done.returncode}:\n{said}"


def test_marked_blocks_are_found_and_others_are_not() -> None:
    text = "# T\n\n<!-- run -->\n```bash\necho 1\necho 2\n```\n\n```bash\nrm -rf all\n```\n"
    text += "<!--run-->\n```python\nprint(1)\n```\n"
    assert marked(text) == [Block(3, "bash", "echo 1\necho 2\n"), Block(12, "python", "print(1)\n")]


def test_a_failing_line_in_the_middle_fails_the_block(tmp_path: Path) -> None:
    for code in ("false\ntrue\n", "false | cat\n", "echo $not_set\n"):
        assert run(Block(1, "bash", code), tmp_path).returncode != 0


def test_an_unknown_language_is_refused() -> None:
    with pytest.raises(AssertionError, match="line 7"):
        command(Block(7, "sh", "true"))
