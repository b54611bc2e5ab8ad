"""Answers worked out by rules from the very pictures and texts that were sent, in the shape that was asked for.

They are good in that they depend on what was sent and are right as far as they go: colours that are there, stretches in
which something changes, words that were quoted. They are no model's answers and teach nothing.
"""

from __future__ import annotations

import base64
import io
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

_TIME = re.compile(r"\AFrame at (-?\d+\.\d+) s:\Z")
_SENTENCE = re.compile(r"[^.!?]+[.!?]?")
_QUOTED = re.compile(r'"(?:[^"\\]|\\.)*"')
_AGAIN = "\n\nYou were asked this before"
"""How the prompt for a repair goes on after the question (prompts/repair.md)."""
_FORM = "\n\nAnswer with one"
_SIDE = 48
_CHANGED = 0.02
_COLOURS = {
    "red": (220, 40, 40),
    "green": (40, 180, 60),
    "blue": (40, 80, 220),
    "yellow": (230, 210, 40),
    "orange": (240, 140, 30),
    "purple": (140, 60, 190),
    "white": (245, 245, 245),
    "grey": (128, 128, 128),
    "black": (12, 12, 12),
}


@dataclass(frozen=True)
class Asked:
    """A chat request: its words, its pictures with their times, and the JSON schema of the answer (None for prose)."""

    prompt: str
    jpegs: tuple[bytes, ...]
    at_s: tuple[float, ...]
    schema: dict[str, Any] | None

    @classmethod
    def of(cls, body: dict[str, Any]) -> Asked:
        """Raises KeyError, TypeError or ValueError for what is no chat request."""
        parts = body["messages"][-1]["content"]
        parts = [{"type": "text", "text": parts}] if isinstance(parts, str) else parts
        texts = [part["text"] for part in parts if part["type"] == "text"]
        urls = [part["image_url"]["url"] for part in parts if part["type"] == "image_url"]
        times = [float(found[1]) for text in texts if (found := _TIME.match(text))]
        jpegs = tuple(base64.b64decode(url.partition(",")[2], validate=True) for url in urls)
        wanted = body.get("response_format") or {}
        schema = wanted.get("json_schema", {}).get("schema") if wanted.get("type") == "json_schema" else None
        prompt = texts[-1].partition(_AGAIN)[0]
        return cls(prompt, jpegs, tuple(times) or (0.0,) * len(jpegs), schema)

    @cached_property
    def pixels(self) -> Floats:
        """Frames as float RGB [n, 48, 48, 3] in 0..255."""
        from PIL import Image

        shown = [Image.open(io.BytesIO(jpeg)).convert("RGB").resize((_SIDE, _SIDE)) for jpeg in self.jpegs]
        return np.array([np.asarray(one, np.float64) for one in shown]).reshape(-1, _SIDE, _SIDE, 3)

    @cached_property
    def quotations(self) -> list[str]:
        """The JSON strings in the question, without the form of the answer that it ends with."""
        found = [json.loads(quoted, strict=False) for quoted in _QUOTED.findall(self.prompt.partition(_FORM)[0])]
        return [text for text in found if text]

    @cached_property
    def colours(self) -> list[str]:
        """Names of the colours that cover at least 2 % of the frames, the most common first."""
        if not self.jpegs:
            return []
        names, values = list(_COLOURS), np.array(list(_COLOURS.values()), np.float64)
        flat = self.pixels.reshape(-1, 1, 3)
        nearest = np.abs(flat - values).sum(axis=2).argmin(axis=1)
        shares = np.bincount(nearest, minlength=len(names)) / max(1, len(flat))
        return [names[i] for i in np.argsort(-shares, kind="stable") if shares[i] >= _CHANGED]

    @property
    def earlier_colours(self) -> list[str]:
        """Those of the frames with times below zero alone."""
        early = tuple(jpeg for jpeg, t in zip(self.jpegs, self.at_s, strict=True) if t < 0.0)
        return Asked(self.prompt, early, (0.0,) * len(early), None).colours

    @cached_property
    def changes(self) -> list[tuple[float, float, str]]:
        """Stretches between frames in which part of the picture changes, and on which side."""
        found = []
        for i in range(1, len(self.pixels)):
            moved = np.abs(self.pixels[i] - self.pixels[i - 1]).mean(axis=2) > 24
            if moved.mean() >= _CHANGED:
                where = "left" if np.nonzero(moved)[1].mean() < _SIDE / 2 else "right"
                found.append((self.at_s[i - 1], self.at_s[i], where))
        return found


def answer(asked: Asked) -> str:
    """The text of the answer."""
    if asked.schema is None:
        return _yes_or_no(asked) if "yes or no" in asked.prompt else _words(asked)
    wanted = frozenset(asked.schema.get("properties", {}))
    made = _BY_SHAPE.get(wanted, _anything)(asked)
    return json.dumps(made, ensure_ascii=False)


def _words(asked: Asked) -> str:
    return "ok" if "word ok" in asked.prompt else f"That is {len(asked.prompt.split())} words."


def _seen(asked: Asked) -> str:
    named = " and ".join(asked.colours[:3]) or "nothing"
    what = "picture" if len(asked.jpegs) == 1 else f"clip in {len(asked.jpegs)} frames"
    return f"A {what}, mostly {named}."


def _caption(asked: Asked) -> dict[str, Any]:
    moves = [f"From {a:g} to {b:g} s something changes on the {where}." for a, b, where in asked.changes]
    return {"caption": " ".join([_seen(asked), *(moves[:3] or ["Nothing changes."])])}


def _caption_after(asked: Asked) -> dict[str, Any]:
    """Frames with times below zero are of the clip before."""
    shown = [i for i, t in enumerate(asked.at_s) if t >= 0.0]
    now = Asked(asked.prompt, tuple(asked.jpegs[i] for i in shown), tuple(asked.at_s[i] for i in shown), None)
    new = [c for c in now.colours if c not in asked.earlier_colours] or ["nothing"]
    return {"change": f"New is {' and '.join(new)}.", **_caption(now)}


def _events(asked: Asked) -> dict[str, Any]:
    """One event for a stretch in which one side goes on changing."""
    made: list[tuple[float, float, str]] = []
    for start_s, end_s, where in asked.changes:
        if made and made[-1][1:] == (start_s, where):
            start_s = made.pop()[0]
        made.append((start_s, end_s, where))
    told = [{"event": f"something moves on the {w}", "start_s": a, "end_s": b} for a, b, w in made]
    return {"events": told[:10]}


def _located(asked: Asked) -> dict[str, Any]:
    sides = [w for w in ("left", "right") if w in " ".join(asked.quotations)]
    fit = [c for c in asked.changes if not sides or c[2] in sides]
    if not fit:
        return {"present": False, "start_s": 0, "end_s": 0}
    return {"present": True, "start_s": fit[0][0], "end_s": fit[-1][1]}


def _facts(asked: Asked) -> dict[str, Any]:
    said = asked.quotations[-1] if asked.quotations else ""
    return {"facts": [s.strip() for s in _SENTENCE.findall(said) if s.strip()][:12]}


def _true(asked: Asked, statement: str) -> bool:
    """Whether the colours that a statement names are there; one that names none is held to be true."""
    named = [c for c in _COLOURS if re.search(rf"\b{c}\b", statement.lower())]
    return all(c in asked.colours for c in named)


def _yes_or_no(asked: Asked) -> str:
    return "yes" if all(_true(asked, said) for said in asked.quotations[-1:]) else "no"


def _score(asked: Asked) -> dict[str, Any]:
    right = _true(asked, asked.quotations[-1] if asked.quotations else "")
    return {"why": "Its colours are there." if right else "A colour is not there.", "score": 5 if right else 2}


def _choice(asked: Asked) -> dict[str, Any]:
    first, second = (_true(asked, said) for said in asked.quotations[-2:])
    better = "equal" if first == second else "first" if first else "second"
    return {"why": f"The colours decide for {better}.", "better": better}


def _evidence(asked: Asked) -> list[str]:
    said = " ".join(asked.quotations[:1])
    return [s.strip() for s in _SENTENCE.findall(said) if len(s.split()) > 2]


def _questions(asked: Asked) -> dict[str, Any]:
    return {"questions": [f"What is said of {' '.join(s.split()[:3]).lower()}?" for s in _evidence(asked)][:5]}


def _written(asked: Asked) -> dict[str, Any]:
    """The sentence that the question names by its first words, else the first."""
    said = _evidence(asked)
    if not said:
        return {"answerable": False, "answer": "", "quote": ""}
    question = " ".join(asked.quotations[1:2])
    meant = next((s for s in said if " ".join(s.split()[:3]).lower() in question), said[0])
    return {"answerable": True, "answer": meant, "quote": meant}


def _anything(asked: Asked) -> dict[str, Any]:
    """The smallest value of a shape that nobody here knows."""
    kinds: dict[str, Any] = {"string": "nothing", "number": 0.0, "integer": 0, "boolean": False, "array": []}
    properties = (asked.schema or {}).get("properties", {})
    return {name: kinds.get(said.get("type", "")) for name, said in properties.items()}


_BY_SHAPE: dict[frozenset[str], Callable[[Asked], dict[str, Any]]] = {
    frozenset({"caption"}): _caption,
    frozenset({"change", "caption"}): _caption_after,
    frozenset({"events"}): _events,
    frozenset({"present", "start_s", "end_s"}): _located,
    frozenset({"facts"}): _facts,
    frozenset({"why", "score"}): _score,
    frozenset({"why", "better"}): _choice,
    frozenset({"questions"}): _questions,
    frozenset({"answerable", "answer", "quote"}): _written,
}


def candidates(text: str) -> list[dict[str, Any]]:
    """Log-probabilities of the first token of a yes or no, as a server gives them: sure, but not quite."""
    sure = {"yes": ("yes", "no"), "no": ("no", "yes")}.get(text, (text.split(" ")[0], ""))
    pairs: Sequence[tuple[str, float]] = ((sure[0], -0.05), (sure[1], -3.0))
    return [{"token": token, "logprob": value} for token, value in pairs if token]
