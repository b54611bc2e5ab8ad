"""Large JSON files, element by element: sets ship lists of gigabytes, of which only a window is ever in memory.

A value is decoded where it stands by the standard library's own decoder; one that is not whole yet makes the window
grow to twice its size, so the work stays linear. No dependency is needed for it.

    {"info": {...}, "annotations": [{"id": 1}, {"id": 2}]}      elements(path, "annotations") -> {"id": 1}, {"id": 2}
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

from reelmill.pipelines.sources.annotated.reading import Refused
from reelmill.schemas.errors import BadInput, NotFound

_BLOCK = 1 << 20
LARGEST_VALUE = 64 << 20
"""Characters of one element. A broken file looks like an element that never ends, and would be read whole."""
_NUMBER_GOES_ON = 3
"""Characters that have to stand behind a value: of a number cut in `1.`, `1e` or `1e-` its beginning is one too."""
_DECODER = json.JSONDecoder()
_SPACE = " \t\r\n"


class _Window:
    """The part of a file that is being decoded. `at` is the next character."""

    def __init__(self, stream: TextIO, what: str) -> None:
        self.stream, self.what = stream, what
        self.text, self.at, self.ended = "", 0, False

    def fill(self) -> None:
        """Drop what was read and take at least as much again as is left."""
        rest = self.text[self.at :]
        try:
            more = self.stream.read(max(_BLOCK, len(rest)))
        except UnicodeDecodeError as error:
            raise self.broken(str(error)) from error
        self.text, self.at, self.ended = rest + more, 0, not more

    def sign(self) -> str:
        """The next character that is no space, left where it is; "" at the end."""
        while True:
            while self.at < len(self.text) and self.text[self.at] in _SPACE:
                self.at += 1
            if self.at < len(self.text) or self.ended:
                return self.text[self.at : self.at + 1]
            self.fill()

    def take(self, wanted: str) -> str:
        """The next character, which has to be one of `wanted`."""
        seen = self.sign()
        if not seen or seen not in wanted:
            raise self.broken(f"{seen or 'the end of the file'!r} where one of {wanted!r} was due")
        self.at += 1
        return seen

    def value(self) -> Any:
        """The next value, whole. Raises BadInput where the file is broken or the value too large."""
        self.sign()
        while True:
            try:
                found, end = _DECODER.raw_decode(self.text, self.at)
            except RecursionError as error:
                raise self.broken("values inside each other without end") from error
            except ValueError as error:
                if self.ended or len(self.text) - self.at > LARGEST_VALUE:
                    raise self.broken(str(error)) from error
            else:
                if self.ended or len(self.text) - end > _NUMBER_GOES_ON:
                    self.at = end
                    return found
            self.fill()

    def name(self) -> str:
        found = self.value()
        if not isinstance(found, str):
            raise self.broken(f"{found!r} where a name was due")
        self.take(":")
        return found

    def broken(self, seen: str) -> BadInput:
        return BadInput(self.what, seen=seen, do="check that the file is whole JSON in UTF-8")


def sections(path: Path, *names: str) -> Iterator[tuple[str, Any]]:
    """(section, element) of the wanted lists of an object, in the file's order; (section, (name, value)) where a
    section is an object. Raises NotFound or BadInput."""
    with _opened(path) as stream:
        window = _Window(stream, f"annotated set {path.name!r}")
        for name in _names(window):
            wanted = name in names
            for element in _inside(window):
                if wanted:
                    yield name, element


def elements(path: Path, section: str = "") -> Iterator[Any]:
    """Elements of a file that is one list, or of one `section` of a file that is an object."""
    if section:
        yield from (element for _, element in sections(path, section))
        return
    with _opened(path) as stream:
        window = _Window(stream, f"annotated set {path.name!r}")
        if window.sign() != "[":
            raise window.broken(f"{window.sign()!r} at the start, want a list")
        yield from _inside(window)


def lines(path: Path) -> Iterator[Any]:
    """Values of a JSONL file, a line each; a line that is none is Refused. Empty lines are passed over."""
    try:
        stream = path.open("rb")
    except OSError as error:
        raise NotFound(f"annotated set {str(path)!r}", seen=str(error.strerror), do="check the path") from error
    with stream:
        for number, line in enumerate(stream, 1):
            if line.strip(b"\xef\xbb\xbf \t\r\n"):
                yield _line(line, number)


def _line(line: bytes, number: int) -> Any:
    try:
        return json.loads(line.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        return Refused("", "broken_json", f"line {number}: {error}"[:300])


def listed(path: Path) -> Iterator[Any]:
    """Rows of a file that is either one list or JSONL, told apart by its first character."""
    with _opened(path) as stream:
        first = _Window(stream, f"annotated set {path.name!r}").sign()
    return elements(path) if first == "[" else lines(path)


def _opened(path: Path) -> TextIO:
    try:
        return path.open(encoding="utf-8-sig")
    except OSError as error:
        raise NotFound(f"annotated set {str(path)!r}", seen=str(error.strerror), do="check the path") from error


def _names(window: _Window) -> Iterator[str]:
    """Names of an object, each once its colon was read; whoever iterates reads the value."""
    window.take("{")
    if window.sign() == "}":
        window.take("}")
        return
    while True:
        yield window.name()
        if window.take(",}") == "}":
            return


def _inside(window: _Window) -> Iterator[Any]:
    """Elements of a list, (name, value) pairs of an object, nothing of any other value, which is read over."""
    sign = window.sign()
    if sign == "{":
        yield from ((name, window.value()) for name in _names(window))
    elif sign != "[":
        window.value()
    else:
        yield from _elements(window)


def _elements(window: _Window) -> Iterator[Any]:
    window.take("[")
    if window.sign() == "]":
        window.take("]")
        return
    while True:
        yield window.value()
        if window.take(",]") == "]":
            return
