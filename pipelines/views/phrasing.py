"""Phrasings as data: the wording of a view, read from a .toml file whose hash is part of the view's identity.

Also the one door through which text that a stranger could have written (signs, captions, names) enters a dialogue.

>>> phrasings = load("internvid_tg")
>>> phrasings.pick("absent.answer", seed=0)
'That does not happen in this video.'
>>> defused("<time> USER: hi")
'< time> USER : hi'
"""

from __future__ import annotations

import hashlib
import re
import tomllib
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from importlib import resources
from typing import Any

from reelmill.schemas.errors import BadInput, Drift, NotFound
from reelmill.schemas.keys import child_key
from reelmill.schemas.media import FrameRef, MediaRef, ShownFrame
from reelmill.schemas.provenance import Provenance
from reelmill.schemas.sample import Sample, Turn
from reelmill.schemas.verdict import Verdict

TIME, BOX = "<time>", "<box>"

_PACKAGE = "reelmill.pipelines.templates"
_JOINERS = "\u200c\u200d"  # they are invisible, but Persian and Hindi are misspelt without them
_HIDDEN = frozenset({"Cc", "Cf", "Co", "Cs", "Cn"})
_TOKEN = re.compile(r"<(?=\S[^<>]*>)|\[(?=/?[A-Z_]{3,}\])")
_ROLE = re.compile(r"\b(user|assistant|system|human|gpt)\s*:", re.IGNORECASE)
_HASHES = re.compile(r"#(?=##)|(?<=#)#(?=#)")


@dataclass(frozen=True, slots=True)
class Phrasings:
    """The tables of one file. `hash` is the sha256 of its bytes, 16 hex characters."""

    name: str
    hash: str
    tables: dict[str, Any]
    _found: dict[str, tuple[str, ...]] = field(default_factory=dict, repr=False, compare=False)

    def options(self, path: str) -> tuple[str, ...]:
        """The wordings at a dotted path. Raises NotFound where there is no such list."""
        if path not in self._found:
            found: Any = self.table(path)
            if not isinstance(found, list) or not found:
                seen = type(found).__name__
                raise NotFound(f"phrasing {path} of {self.name}", seen=seen, do="give it a list of wordings")
            self._found[path] = tuple(found)
        return self._found[path]

    def table(self, path: str) -> Any:
        """Whatever stands at a dotted path. Raises NotFound."""
        found: Any = self.tables
        for step in path.split("."):
            if not isinstance(found, dict) or step not in found:
                raise NotFound(f"phrasing {path} of {self.name}", seen=f"no {step!r}", do="add it to the template file")
            found = found[step]
        return found

    def pick(self, path: str, seed: int, **words: str) -> str:
        """One wording, chosen by `seed` alone, with `words` set in. Raises BadInput on a place that has no word."""
        options = self.options(path)
        return fill(options[seed % len(options)], f"{path} of {self.name}", words)


def fill(wording: str, where: str, words: dict[str, str]) -> str:
    """Set words into the {places} of a wording; braces inside the words stay as they are."""
    try:
        return wording.format_map(words)
    except (KeyError, ValueError, IndexError) as error:
        raise BadInput(f"phrasing {where}", seen=f"{wording!r}: {error!r}", do=f"use {sorted(words)}") from error


def _read(name: str) -> bytes:
    package, _, file = name.rpartition(":")
    try:
        return resources.files(package or _PACKAGE).joinpath(f"{file}.toml").read_bytes()
    except (FileNotFoundError, ModuleNotFoundError) as error:
        raise NotFound(f"phrasings {name!r}", seen=str(error), do="name a .toml as `file` or `package:file`") from error


def phrasings_hash(name: str) -> str:
    """Hash of the file as it is now."""
    return hashlib.sha256(_read(name)).hexdigest()[:16]


def load(name: str, expected_hash: str = "") -> Phrasings:
    """Read a file of this project (`internvid_tg`) or of another package (`my.package:file`).

    Raises Drift where its hash is not `expected_hash`: the file changed after the step was described, or a worker has
    another build than the driver.
    """
    data = _read(name)
    seen = hashlib.sha256(data).hexdigest()[:16]
    if expected_hash and seen != expected_hash:
        raise Drift(f"phrasings {name!r} ({expected_hash})", seen=seen, do="build the recipe again from today's file")
    try:
        return Phrasings(name, seen, tomllib.loads(data.decode()))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadInput(f"phrasings {name!r}", seen=str(error), do="write valid TOML in UTF-8") from error


@lru_cache(maxsize=1024)
def defused(text: str) -> str:
    """Foreign text made harmless: one line, no hidden characters, nothing that reads as a placeholder, token or role.

    `<time>`, `<|im_end|>`, `[INST]`, `USER:` and `###` are broken up by a space, so no exporter, chat template or
    trainer takes them for its own. A person sees the same but for that space. Applying it twice changes nothing.
    """
    easy = text.isascii() and text.isprintable()  # most of a large set, of which every character is shown as it is
    visible = text if easy else unicodedata.normalize("NFC", "".join(_shown(c) for c in text))
    broken = _TOKEN.sub(lambda m: m.group() + " ", " ".join(visible.split()))
    return _HASHES.sub("# ", _ROLE.sub(r"\1 :", broken))


def _shown(character: str) -> str:
    if character in _JOINERS:
        return character
    if character.isspace():
        return " "
    return "" if unicodedata.category(character) in _HIDDEN else character


def capital(sentence: str) -> str:
    return sentence[:1].upper() + sentence[1:]


def listed(items: Sequence[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return " and ".join([*([", ".join(items[:-1])] if len(items) > 1 else []), items[-1]])


@dataclass(frozen=True, slots=True)
class Material:
    """What every sample of one clip shares: its key, medium, stored frames and the chain of provenance."""

    key: str
    media: MediaRef
    frames: tuple[ShownFrame, ...]
    dataset: str
    provenance: tuple[Provenance, ...]
    _refs: dict[tuple[int, ...], tuple[FrameRef, ...]] = field(
        init=False, default_factory=dict, repr=False, compare=False
    )

    @property
    def duration_s(self) -> float:
        """Length of the clip itself, 0 for a picture: of its span where the medium is a span of a longer one."""
        span_s = self.media.span.duration_s if self.media.span else self.media.duration_s
        return min(span_s, self.media.duration_s)

    def refs(self, frames: Sequence[ShownFrame]) -> tuple[FrameRef, ...]:
        """References to some of the frames. Samples that show the same ones hold one tuple, which is stored once."""
        shown = tuple(f.frame for f in frames)
        if shown not in self._refs:
            self._refs[shown] = tuple(FrameRef(self.dataset, self.key, f.frame, f.at_s, f.sha256) for f in frames)
        return self._refs[shown]


@dataclass(frozen=True, slots=True)
class Label:
    """What an answer rests on: ids of its evidence, the weakest confidence, how it was made, and the verdict."""

    evidence: tuple[str, ...]
    confidence: float
    method: str
    verdict: Verdict


def joined_methods(methods: Iterable[str]) -> str:
    return "+".join(sorted(set(methods)))


def sample_key(clip_key: str, family: str, task: str, *identity: str | int) -> str:
    """Key of a sample, from what is asked and not from how it is worded."""
    return child_key(clip_key, family, task, *identity)


def sample(
    clip: Material,
    key: str,
    family: str,
    task: str,
    frames: Sequence[ShownFrame],
    turns: tuple[Turn, ...],
    label: Label,
) -> Sample:
    """A sample of a view, with references to `frames` of the clip."""
    return Sample(
        key=key,
        parent_key=clip.key,
        family=family,
        task=task,
        media=clip.media,
        frames=clip.refs(frames),
        turns=turns,
        evidence=label.evidence,
        label_confidence=label.confidence,
        method=label.method,
        provenance=clip.provenance,
        verdict=label.verdict,
    )
