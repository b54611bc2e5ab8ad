"""The files of a set: which they are, what is in them as text or JSON, and the split that a name tells of.

files_of(Path("vidstg"), "*.json")      those below the folder, in one order whatever the file system says
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from reelmill.schemas.errors import BadInput, NotFound

_SPLIT = re.compile(r"(?<![a-z])(trainval|train|val|test)(?![a-z])")


def json_of(path: Path, kind: type[dict[Any, Any]] | type[list[Any]]) -> Any:
    """A whole JSON file (held in memory while it is read) whose top is a `kind`. Raises NotFound, BadInput."""
    try:
        found = json.loads(path.read_bytes())
    except OSError as error:
        raise NotFound(f"annotations {str(path)!r}", seen=str(error.strerror), do="check the path") from error
    except (ValueError, RecursionError) as error:
        raise BadInput(f"annotations {str(path)!r}", seen=f"no JSON: {error}", do="check the file") from error
    if not isinstance(found, kind):
        seen = f"{type(found).__name__} at the top, want {kind.__name__}"
        raise BadInput(f"annotations {str(path)!r}", seen=seen, do="name the file of this set, or another set")
    return found


def lines_of(path: Path) -> Iterator[tuple[int, str]]:
    """The lines of a text file with something on them, and their numbers from 1; undecodable bytes show as U+FFFD.

    Raises NotFound."""
    try:
        stream = path.open(encoding="utf-8-sig", errors="replace")
    except OSError as error:
        raise NotFound(f"annotations {str(path)!r}", seen=str(error.strerror), do="check the path") from error
    with stream:
        for place, line in enumerate(stream, 1):
            if line.strip():
                yield place, line.rstrip("\r\n")


def files_of(path: Path, *patterns: str) -> list[Path]:
    """`path` itself where it is a file, else the files below it that fit a pattern, sorted. Raises NotFound."""
    if path.is_file():
        return [path]
    found = sorted({f for pattern in patterns for f in path.rglob(pattern) if f.is_file()})
    if not found:
        raise NotFound(f"annotations in {str(path)!r}", seen=f"no {' or '.join(patterns)}", do="check the path")
    return found


def split_of(name: str) -> str:
    """The split that a file's name tells of, the last where it tells of several, "" where it tells of none.

    >>> split_of("instances_val2017"), split_of("TextVQA_0.5.1_train"), split_of("llava_665k")
    ('val', 'train', '')
    """
    found = _SPLIT.findall(re.sub("valid(ation)?(?![a-z])", "val", name.lower()))
    return found[-1] if found else ""
