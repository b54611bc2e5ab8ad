"""A prompt is a .md file with a tiny typed header; its hash is part of the identity of whatever asks with it.

    ---
    inputs: duration_s, frames
    answer: Caption
    ---
    These are {{frames}} frames of a video of {{duration_s}} seconds. ...

`answer` names the pydantic model that the reply must fit. Double braces, so that JSON in a prompt needs no escaping.

>>> prompt = load_prompt("caption")
>>> prompt.inputs, prompt.answer
(('times',), 'Caption')
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from importlib import resources

from reelmill.schemas.errors import BadInput, Drift, NotFound

_PACKAGE = "reelmill.annotators.prompts"
_SHAPE = re.compile(r"\A---\ninputs:(?P<inputs>[^\n]*)\nanswer:(?P<answer>[^\n]*)\n---\n(?P<text>.+)\Z", re.DOTALL)
_PLACE = re.compile(r"\{\{(\w+)\}\}")


@dataclass(frozen=True, slots=True)
class Prompt:
    """`hash` is the sha256 of the whole file, header included, 16 hex characters."""

    name: str
    inputs: tuple[str, ...]
    answer: str
    text: str
    hash: str

    def filled(self, **values: str) -> str:
        """The text with its inputs set in, each once and never again inside another. Raises BadInput on a wrong set."""
        if set(values) != set(self.inputs):
            raise BadInput(
                f"prompt {self.name} takes {sorted(self.inputs)}", seen=f"{sorted(values)}", do="give just these"
            )
        return _PLACE.sub(lambda place: values[place.group(1)], self.text)


def prompt_hash(*names: str) -> str:
    """One hash over several prompts as they are now."""
    digest = hashlib.sha256()
    for name in names:
        digest.update(_read(name) + b"\0")
    return digest.hexdigest()[:16]


def load_prompt(name: str) -> Prompt:
    """Read a prompt of this project (`caption`) or of another package (`my.package:caption`).

    Raises NotFound, and BadInput where the header is malformed or its inputs are not the places of the text.
    """
    data = _read(name)
    match = _SHAPE.match(data.decode())
    if match is None:
        raise BadInput(
            f"prompt {name}", seen=repr(data[:60]), do="begin with ---, inputs:, answer:, ---, then the text"
        )
    inputs = tuple(i.strip() for i in match["inputs"].split(",") if i.strip())
    places = set(_PLACE.findall(match["text"]))
    if places != set(inputs):
        raise BadInput(
            f"prompt {name} declares {sorted(inputs)}", seen=f"places {sorted(places)}", do="make them agree"
        )
    return Prompt(name, inputs, match["answer"].strip(), match["text"].strip(), hashlib.sha256(data).hexdigest()[:16])


def unchanged(expected_hash: str, *names: str) -> None:
    """Raises Drift where the prompts are not those of `expected_hash`: edited since, or another build on a worker."""
    seen = prompt_hash(*names)
    if seen != expected_hash:
        raise Drift(
            f"prompts {list(names)} ({expected_hash})", seen=seen, do="build the recipe again from today's files"
        )


def _read(name: str) -> bytes:
    package, _, file = name.rpartition(":")
    try:
        return resources.files(package or _PACKAGE).joinpath(f"{file}.md").read_bytes()
    except (FileNotFoundError, ModuleNotFoundError) as error:
        raise NotFound(f"prompt {name!r}", seen=str(error), do="name a .md as `file` or `package:file`") from error
