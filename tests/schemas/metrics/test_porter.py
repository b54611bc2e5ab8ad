"""Porter's stems: the paper's own examples, step by step, and another's code over many words."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

import pytest

from reelmill.schemas.metrics.porter import stem

ROOT = Path(__file__).resolve().parents[3]
PAPER = """caresses caress, ponies poni, ties ti, caress caress, cats cat, feed feed, agreed agre, plastered plaster,
bled bled, motoring motor, sing sing, conflated conflat, troubled troubl, sized size, hopping hop, tanned tan,
falling fall, hissing hiss, fizzed fizz, failing fail, filing file, happy happi, sky sky, relational relat,
conditional condit, rational ration, valenci valenc, digitizer digit, radicalli radic, vietnamization vietnam,
operator oper, feudalism feudal, decisiveness decis, hopefulness hope, callousness callous, formaliti formal,
sensitiviti sensit, sensibiliti sensibl, triplicate triplic, formative form, formalize formal, electriciti electr,
electrical electr, hopeful hope, goodness good, revival reviv, allowance allow, inference infer, airliner airlin,
gyroscopic gyroscop, adjustable adjust, defensible defens, irritant irrit, replacement replac, adjustment adjust,
dependent depend, adoption adopt, communism commun, activate activ, homologous homolog, effective effect,
bowdlerize bowdler, probate probat, rate rate, cease ceas, controll control, roll roll"""
"""Examples of the paper's steps (a word that a later step shortens further has the stem of all steps)."""


@pytest.mark.parametrize(("word", "found"), [pair.split() for pair in PAPER.split(",")])
def test_the_papers_examples(word: str, found: str) -> None:
    assert stem(word) == found


@pytest.mark.parametrize("word", ["", "a", "s", "ed", "ing", "3.5", "'s", "zw\u00f6lf", "\u4e16\u754c", "e", "ll"])
def test_what_is_no_english_word_ends_somewhere(word: str) -> None:
    assert len(stem(word)) <= len(word)


def test_stems_are_those_of_snowballs_porter() -> None:
    theirs = pytest.importorskip("snowballstemmer", reason="snowballstemmer, of the extra `dev`, is not installed")
    porter = theirs.stemmer("porter")
    endings = ["", "s", "es", "ed", "eed", "ing", "ational", "iviti", "alli", "izer", "fulness", "icate", "ness", "ion"]
    endings += ["ement", "ance", "e", "ll", "y", "ies", "ousli", "ism", "ou", "ible", "tion", "sses"]
    heads = ["".join(p) for n in (1, 2, 3) for p in itertools.product("aytrl", repeat=n)]
    made = [w for head in heads for w in (head + ending for ending in endings) if "yy" not in w]  # they differ there
    written = {w for p in sorted(ROOT.rglob("docs/**/*.md")) for w in re.findall(r"[a-z]{3,}", p.read_text().lower())}
    assert len(written) > 2000
    assert [w for w in [*made, *sorted(written)] if stem(w) != porter.stemWord(w)] == []
