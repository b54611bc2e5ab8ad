"""The gallery: every number closes, every foreign word is escaped, and a browser shows it without an error."""

from __future__ import annotations

import dataclasses
import html
import os
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import published
import pytest
from PIL import Image

from reelmill.schemas.errors import BadInput
from reelmill.schemas.sample import Role, Sample, Turn
from reelmill.sinks.card import LabelErrors
from reelmill.sinks.dataset import Dataset, Store
from reelmill.sinks.gallery import sweep, write_gallery
from reelmill.sinks.look import render
from reelmill.sinks.state.processes import mark

HOSTILE = '"><script>alert(1)</script><img src=x onerror=alert(2)> {{ 7*7 }} </style> \u202ee'


def hostile(sample: Sample) -> Sample:
    turns = (Turn(Role.USER, HOSTILE, (), (), ()), sample.turns[1])
    media = dataclasses.replace(sample.media, licence=HOSTILE, uri=f"/films/{HOSTILE}.mp4")
    return dataclasses.replace(sample, turns=turns, media=media, task=HOSTILE)


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, Dataset, Path]:
    root = tmp_path_factory.mktemp("g")
    store, view = published.stocked(root / "s", sources=3)
    return store, view, write_gallery(store, view, root / "page")


class Tags(HTMLParser):
    """Every tag, its attributes, and whether all that were opened are closed in order."""

    VOID = ("meta", "link", "img", "br", "rect")

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.VOID:
            assert self.open.pop() == tag


def test_the_page_is_whole_and_asks_nobody_for_anything(shown: tuple[Store, Dataset, Path]) -> None:
    page = shown[2].read_text()
    tags = Tags(page)

    assert tags.open == []
    assert not [t for t, _ in tags.seen if t in ("script", "iframe", "object", "form")]
    for _, attrs in tags.seen:
        assert not [a for a in attrs if a.startswith("on")]
        for link in (attrs.get("src"), attrs.get("href")):
            assert link is None or link.startswith(("frames/", "#", "data:,"))
    for _, attrs in tags.seen:
        if (attrs.get("src") or "").startswith("frames/"):
            assert (shown[2].parent / str(attrs["src"])).is_file()


def test_the_head_says_counts_and_both_errors(shown: tuple[Store, Dataset, Path]) -> None:
    page = shown[2].read_text()

    assert "<b>6</b> samples accepted, <b>6</b> rejects" in page
    assert "Error on rendered truth: not measured" in page
    assert "Audited precision on this media: UNAUDITED" in page
    rows = re.findall(r"<tr><td>[^<]+</td><td>[^<]+</td>" + r"<td>(\d+)</td>" * 4, page)
    assert len(rows) == 6
    for everything, *states in rows:
        assert int(everything) == sum(map(int, states))


def test_a_sample_shows_its_frames_boxes_spans_words_and_origin(shown: tuple[Store, Dataset, Path]) -> None:
    page = shown[2].read_text()

    assert page.count("<article id=") == 6
    assert page.count('class="badge made">rule-made label') == 6
    assert page.count("<img src=") >= 36
    assert page.count('class="shot inside"') == 3 * 6  # frames at 1, 2 and 3 s of [1.0, 3.5)
    assert page.count("2.00 s, answered</figcaption>") == 6
    assert page.count('<rect class="assistant" x="40.0" y="60.0" width="80.0" height="60.0">') == 3 * 6
    assert page.count('alt="frame at 2.00 s with A1 (40, 60)–(120, 120) px"') == 6
    assert 'class="band tgt" style="left:16.667%;width:41.666%"' in page
    assert html.escape("When does the <red> ball & its shadow roll?") in page
    assert "CC0-1.0" in page


def test_proposals_that_were_refused_stand_beside_those_that_were_accepted(shown: tuple[Store, Dataset, Path]) -> None:
    page = shown[2].read_text()

    assert page.count('class="band accepted"') == 2 * 6
    assert page.count('class="band rejected"') == 6
    assert page.count('<p class="head" dir="auto">the red ball rolls: rejected, localisers_disagree</p>') == 6
    assert page.count("<em>found nothing</em>") == 6


def test_rejects_are_grouped_by_reason_with_the_frame_that_shows_why(shown: tuple[Store, Dataset, Path]) -> None:
    rejects = shown[2].read_text().split('<section id="rejects">')[1]
    groups = dict(re.findall(r"<h3>([^<]+)</h3><span class=\"badge count\">(\d+)<", rejects))

    assert groups == {"localisers_disagree": "3", "black": "1", "nothing_happens": "1", "no_video_stream": "1"}
    black = rejects.split("<h3>black</h3>")[1].split("</article>")[0]
    assert '<img src="frames/' in black
    assert "mean luma 2.1 of 255" in black
    assert "<img" not in rejects.split("<h3>no_video_stream</h3>")[1].split("</article>")[0]


def test_foreign_words_are_escaped(tmp_path: Path) -> None:
    store, view = published.stocked(tmp_path / "s", sources=1, change=hostile)

    page = write_gallery(store, view, tmp_path / "page").read_text()

    tags = Tags(page)
    assert tags.open == []
    assert not [t for t, _ in tags.seen if t == "script"]
    assert not [a for _, attrs in tags.seen for a in attrs if a.startswith("on")]
    assert "alert(1)" in page
    assert "{{ 7*7 }}" in page


def test_samples_are_taken_in_turn_from_every_task(tmp_path: Path) -> None:
    store, view = published.stocked(tmp_path / "s", sources=4)

    page = write_gallery(store, view, tmp_path / "page", limit=2).read_text()

    assert sorted(re.findall(r"<h4[^>]*>(what|when)</h4>", page)) == ["what", "when"]
    assert "2 samples are shown" in page


def test_errors_given_by_the_caller_are_shown(tmp_path: Path) -> None:
    store, view = published.stocked(tmp_path / "s", sources=1)

    page = write_gallery(store, view, tmp_path / "page", errors=LabelErrors(audited="0.9 of 50")).read_text()
    assert "Audited precision on this media: 0.9 of 50" in page


def test_a_page_replaces_an_older_one_and_nothing_else(tmp_path: Path) -> None:
    store, view = published.stocked(tmp_path / "s", sources=1)
    out = tmp_path / "page"
    write_gallery(store, view, out)
    (out / "frames" / "old.jpg").write_bytes(b"old")
    write_gallery(store, view, out)
    assert not (out / "frames" / "old.jpg").exists()

    mine = tmp_path / "mine"
    (mine / "frames").mkdir(parents=True)
    (mine / "frames" / "holiday.jpg").write_bytes(b"dear")
    with pytest.raises(BadInput, match="other files"):
        write_gallery(store, view, mine)
    assert (mine / "frames" / "holiday.jpg").exists()


def test_a_view_that_accepted_nothing_has_a_page(tmp_path: Path) -> None:
    store = Store(tmp_path / "s")
    view = published.commit(store, "grounding-t", published.SAMPLES, [("k" * 26, [])])

    assert "No sample was accepted" in write_gallery(store, view, tmp_path / "page").read_text()


CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine")
@pytest.mark.parametrize(("width", "height"), [(1280, 900), (500, 1400)])
def test_a_browser_shows_it_without_a_word(
    shown: tuple[Store, Dataset, Path], tmp_path: Path, width: int, height: int
) -> None:
    assert CHROMIUM is not None
    picture = tmp_path / "shot.png"
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"]
    flags += [f"--user-data-dir={tmp_path / 'profile'}", f"--window-size={width},{height}", "--hide-scrollbars"]
    flags += ["--enable-logging=stderr", f"--screenshot={picture}"]

    done = subprocess.run([CHROMIUM, *flags, shown[2].as_uri()], capture_output=True, text=True, timeout=120)

    assert "CONSOLE" not in done.stderr
    pixels = np.asarray(Image.open(picture).convert("RGB")).astype(int)
    assert pixels.shape[:2] == (height, width)
    assert pixels.std() > 10
    red = (pixels[..., 0] > 200) & (pixels[..., 1] < 90) & (pixels[..., 2] < 90)
    assert red.sum() > 200  # the balls of the frames: the pictures were loaded


def test_a_look_shows_words_time_lines_and_rejects(tmp_path: Path) -> None:
    from rich.console import Console

    _, view = published.stocked(tmp_path, sources=2, change=hostile)
    console = Console(width=120, record=True, file=(tmp_path / "out").open("w"))
    console.print(render(view, 1))
    told = console.export_text()

    assert "4 accepted samples" in told
    assert "UNAUDITED" in told
    assert "█" in told
    assert "1.00-3.50 s" in told
    assert "\u202e" not in told
    assert re.search(r"1\s+child\s+CompileGrounding\s+nothing_happens", told)


def test_a_page_that_fails_leaves_the_old_one_and_nothing_beside(
    shown: tuple[Store, Dataset, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, view, _ = shown
    page = write_gallery(store, view, tmp_path / "page")
    before = page.read_bytes()

    def fails(*arguments: object) -> str:
        raise RuntimeError("no page today")

    monkeypatch.setattr("reelmill.sinks.gallery.page._render", fails)
    with pytest.raises(RuntimeError, match="no page today"):
        write_gallery(store, view, tmp_path / "page")
    assert page.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["page"]


def test_what_a_killed_writer_left_is_removed_and_a_living_ones_is_not(
    shown: tuple[Store, Dataset, Path], tmp_path: Path
) -> None:
    store, view, _ = shown
    with subprocess.Popen(["sleep", "60"]) as living:
        dead = tmp_path / f".page-{mark(living.pid)[:9]}999999-1"
        busy = tmp_path / f".page-{mark(living.pid)}"
        for folder in (dead, busy):
            (folder / "frames").mkdir(parents=True)
        write_gallery(store, view, tmp_path / "page")
        assert not dead.exists()
        assert busy.exists()
        living.kill()


def test_gc_sweeps_what_a_killed_writer_left_beside_the_page(tmp_path: Path) -> None:
    dead = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    left, living = tmp_path / f".gallery-{mark(dead.pid)}", tmp_path / f".gallery-{mark(os.getpid())}"
    for folder in (left, left.with_name(f"{left.name}-old"), living):
        folder.mkdir()
        (folder / "index.html").write_bytes(b"12345")
    assert sweep(tmp_path / "gallery") == 0, "both live"
    dead.kill()
    dead.communicate()
    assert sweep(tmp_path / "gallery") == 10
    assert list(tmp_path.iterdir()) == [living]
