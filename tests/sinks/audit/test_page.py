"""The audit page: whole, asking nobody, escaping foreign words, and showing each kind of sample."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import published
import pytest
from marked import accepted, mark

from reelmill.schemas.errors import BadInput
from reelmill.schemas.sample import GroundedSample, PreferenceSample, Role, Sample, StreamSample, Turn
from reelmill.sinks.audit.marks import keep, text_sha256
from reelmill.sinks.audit.page import Asked, Embedded, Held, ask, page
from reelmill.sinks.dataset import Dataset, Store
from reelmill.sinks.publishing.frames import StoredFrames

HOSTILE = '"><script>alert(1)</script><img src=x onerror=alert(2)> {{ 7*7 }} </style></script> \u202ee'


class Tags(HTMLParser):
    """Every tag with its attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.seen: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))

    def of(self, name: str) -> list[dict[str, str | None]]:
        return [attrs for tag, attrs in self.seen if tag == name]


def drawn(store: Store, view: Dataset, **more: Any) -> tuple[Asked, str]:
    asked = ask(view, "Ada", **({"n": 60, "seed": 0} | more))
    return asked, page(store, view, asked, Embedded(StoredFrames(store)), served=False)


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> tuple[Asked, str]:
    return drawn(*published.stocked(tmp_path_factory.mktemp("s"), sources=3))


def test_it_is_one_file_that_asks_nobody_for_anything(shown: tuple[Asked, str]) -> None:
    tags = Tags(shown[1])

    assert not [t for t, _ in tags.seen if t in ("iframe", "object", "form")]
    assert not [a for _, attrs in tags.seen for a in attrs if a.startswith("on")]
    assert {str(i["src"])[:23] for i in tags.of("img")} == {"data:image/jpeg;base64,"}
    assert {a["href"] for a in tags.of("link")} == {"data:,"}
    assert "://" not in re.sub(r"base64,[^\"]+", "", shown[1])


def test_its_policy_names_its_one_script_by_content(shown: tuple[Asked, str]) -> None:
    (script,) = re.findall(r"<script>(.*?)</script>", shown[1], re.S)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    (policy,) = [m["content"] for m in Tags(shown[1]).of("meta") if m.get("http-equiv") == "Content-Security-Policy"]

    assert policy is not None
    rules = dict(rule.split(" ", 1) for rule in policy.split("; "))
    assert rules["script-src"] == f"'sha256-{digest}'"
    assert {rules[n] for n in ("default-src", "connect-src", "base-uri", "form-action")} == {"'none'"}
    assert rules["img-src"] == "data:"


def test_each_sample_is_a_section_with_all_that_its_mark_needs(shown: tuple[Asked, str]) -> None:
    asked, text = shown
    sections = [a for a in Tags(text).of("section") if a["class"] == "one"]

    assert [s["data-key"] for s in sections] == [q.sample.key for q in asked.questions]
    assert len(sections) == 6
    for section, q in zip(sections, asked.questions, strict=True):
        assert section["data-text"] == text_sha256(q.sample)
        assert str(section["data-frames"]).split() == [f.sha256 for f in q.sample.frames]
    assert [("hidden" in s) for s in sections] == [False] + [True] * 5
    assert text.count('During <code class="time">1.00–3.50 s</code>.') == 6


def test_what_would_sway_a_person_is_folded_away(shown: tuple[Asked, str]) -> None:
    assert "confidence 0.75" not in shown[1]
    assert "rule-made" not in shown[1]
    before, _, folded = shown[1].partition("What the evidence proposed")
    assert "localisers_disagree" not in before
    assert "localisers_disagree" in folded


def test_served_pictures_have_names_of_their_content_and_are_held_once(tmp_path: Path) -> None:
    store, view = published.stocked(tmp_path, sources=2)
    held = Held(StoredFrames(store))
    text = page(store, view, ask(view, "Ada", n=9, seed=0), held, served=True)

    named = {str(i["src"]) for i in Tags(text).of("img")}
    assert named == held.jpegs.keys()
    assert len(named) == 2 * 6
    for name, data in held.jpegs.items():
        assert name == f"frames/{hashlib.sha256(data).hexdigest()[:24]}.jpg"
    assert "connect-src &#39;self&#39;" in text


def test_foreign_words_are_escaped(tmp_path: Path) -> None:
    def hostile(sample: Sample) -> Sample:
        turns = (Turn(Role.USER, HOSTILE, (), (), ()), sample.turns[1])
        media = dataclasses.replace(sample.media, licence=HOSTILE, uri=f"/films/{HOSTILE}.mp4")
        return dataclasses.replace(sample, turns=turns, media=media, task=HOSTILE, family=HOSTILE, method=HOSTILE)

    store, view = published.stocked(tmp_path, sources=1, change=hostile)
    keep(view, [mark(accepted(view)[0], "wrong", note=HOSTILE)])
    asked, text = drawn(store, view)

    tags = Tags(text)
    assert len(tags.of("script")) == len(re.findall("</script>", text)) == 1
    assert not [a for _, attrs in tags.seen for a in attrs if a.startswith("on")]
    assert HOSTILE in [s.get("data-note") for s in tags.of("section")]
    assert "{{ 7*7 }}" in text
    assert asked.questions[0].mark or asked.questions[1].mark


def test_a_person_finds_the_marks_that_still_count_and_nobody_elses(tmp_path: Path) -> None:
    store, view = published.stocked(tmp_path, sources=3)
    found = accepted(view)
    stale = mark(found[2]).model_copy(update={"text_sha256": "0" * 64})
    keep(view, [mark(found[0], "wrong", note="late"), mark(found[1], rater="Bo"), stale])
    _, text = drawn(store, view)

    said = {s["data-key"]: (s["data-judgement"], s["data-note"]) for s in Tags(text).of("section") if "data-key" in s}
    assert {k: v for k, v in said.items() if v != ("", "")} == {found[0].key: ("wrong", "late")}


def test_a_pair_is_shown_side_by_side_with_the_difference_marked(tmp_path: Path) -> None:
    store = Store(tmp_path)
    _, text = drawn(store, published.view_of(store, PreferenceSample, **published.pair()))

    sides = dict(re.findall(r'<div class="turn side (\w+)">.*?<p dir="auto">(.*?)</p>', text))
    assert sides == {
        "chosen": "During <mark>1.00–3.50</mark> s.",
        "rejected": "During <mark>2.00–3.50</mark> s.",
    }
    assert 'title="rejected">rejected <em>2.00–3.50 s</em></div>' in text
    assert 'class="band rejected" style="left:33.333%;width:25.0%"' in text  # 2.0 to 3.5 of 6 s
    assert text.count('class="turn assistant"') == 0
    assert text.count('class="turn user"') == 1
    shown, _, folded = text.partition("How the rejected side was made")
    assert "moving a time" in folded
    assert "fails" not in shown.split("<main>")[1], "what a rule says of the claims would sway a person"


def test_tubes_are_drawn_on_the_frames_that_they_were_seen_on(tmp_path: Path) -> None:
    store = Store(tmp_path)
    _, text = drawn(store, published.view_of(store, GroundedSample, **published.followed()))

    assert re.findall(r'<rect class="said" x="([\d.]+)"', text) == ["1.0", "3.0"]  # at 1 and 3 s; no frame shows 2.5 s
    assert 'class="band tube" style="left:16.667%;width:36.666%" title="1.00 to 3.20 s"' in text


def test_turns_of_a_stream_say_when_they_are_said(tmp_path: Path) -> None:
    store = Store(tmp_path)
    view = published.view_of(store, StreamSample, **published.streamed())
    assert re.findall(r'class="who">([^<]+)<', drawn(store, view)[1]) == ["user at 0.00 s", "assistant at 3.50 s"]


def test_a_view_that_accepted_nothing_cannot_be_audited(tmp_path: Path) -> None:
    view = published.commit(Store(tmp_path), "grounding-t", published.SAMPLES, [("k" * 26, [])])
    with pytest.raises(BadInput, match="no accepted sample"):
        ask(view, "Ada", n=60, seed=0)
