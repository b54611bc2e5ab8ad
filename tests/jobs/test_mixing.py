"""`reelmill run mix` by its words: what was asked and got is told, bad words are one line, help teaches the rest."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import published
import pytest

from reelmill.sinks.dataset import Store

Told = tuple[int, str, str]
Cli = Callable[..., Told]
BOTH = ("--input", "many-t=2", "--input", "few-t=1")


@pytest.fixture
def told(told: Cli) -> Cli:
    """Runs `reelmill WORDS` in a folder whose `store` has twelve samples of six clips, and two of two others."""
    store, clips = Store(Path("store")), [published.clip(i) for i in range(8)]
    many = [(c.key, [published.sample(c, i, n) for n in range(2)]) for i, c in enumerate(clips[:6])]
    few = [(c.key, [published.sample(c, i + 6, 0, task="read")]) for i, c in enumerate(clips[6:])]
    published.commit(store, "many-t", published.SAMPLES, many)
    published.commit(store, "few-t", published.SAMPLES, few)
    return told


def test_caps_and_quotas_are_set_and_the_shares_told(told: Cli) -> None:
    options = ("--set", "clip_max=1", "--set", "total=6", "--set", "quotas=few-t=1", "--name", "final", "--no-pack")
    code, out, _ = told("run", "mix", *BOTH, *options)
    assert code == 0
    assert "mix-final@1: 6 accepted, 8 rejected, 0 pending" in out
    assert "few-t (1): 1 of 2 drawn; 16.7 % asked, 16.7 % got; 1 over_quota" in out
    assert "many-t (weight 2): 5 of 12 drawn; 83.3 % asked, 83.3 % got; 1 not_drawn, 6 over_clip_cap" in out
    code, out, _ = told("rejects", "mix-final", "--where", "reason = 'over_clip_cap'")
    assert code == 0
    assert "want at most 1" in out
    code, out, _ = told("sql", "mix-final", "select input, drawn, over_quota from shares", "--format", "json")
    assert [json.loads(line) for line in out.splitlines()] == [
        {"input": "few-t", "drawn": 1, "over_quota": 1},
        {"input": "many-t", "drawn": 5, "over_quota": 0},
    ]
    code, out, _ = told("run", "mix", *BOTH, *options)
    assert (code, "0 worked on now, 14 done before" in out) == (0, True)


def test_another_cap_is_drift_with_the_field_named(told: Cli) -> None:
    assert told("run", "mix", *BOTH, "--name", "final", "--no-pack")[0] == 0
    code, _, err = told("run", "mix", *BOTH, "--name", "final", "--no-pack", "--set", "source_max=1")
    assert code == 2
    assert "with.source_max" in err


BAD = {
    "a cap that is a word": (("--set", "clip_max=few"), "clip_max=few; seen: no such number"),
    "a quota of no input": (("--set", "quotas=other=3"), "a quota for other; seen: inputs few-t, many-t"),
    "a share without a total": (("--set", "quotas=few-t=30%"), "give --set total=N too"),
    "strata of another sort": (("--set", "stratify=clip"), "use proportional or equal"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_words_are_one_line(told: Cli, case: str) -> None:
    words, expected = BAD[case]
    code, _, err = told("run", "mix", *BOTH, *words)
    assert code == 2
    assert expected in err
    assert len(err.strip().splitlines()) == 1


def test_help_and_explain_name_the_options(told: Cli) -> None:
    code, out, _ = told("run", "--help")
    assert code == 0
    shown = " ".join(out.replace("│", " ").split())
    for option in ("total=N", "source_max=N", "clip_max=N", "quotas='A=500; B=20%'", "stratify=proportional or equal"):
        assert option in shown
    code, out, _ = told("explain", "mix", *BOTH, "--set", "source_max=4")
    assert code == 0
    assert "'source_max': 4" in out


def test_a_view_is_flipped_by_name_and_explained(told: Cli) -> None:
    code, out, _ = told("explain", "flipped", "--set", 'options={"evidence": "truth"}')
    assert code == 0
    assert "internvid_tg_truth -> flipped_internvid_tg_truth@1" in out
    assert "frame_order=False" in out
    code, _, err = told("run", "flipped", "--media", "store", "--set", "of=media")
    assert (code, "name a view" in err) == (2, True)
