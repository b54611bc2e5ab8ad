"""Each kind of sample on its page and in the terminal: what a person needs to check a label stands there, by name."""

from __future__ import annotations

import dataclasses
import html
import re
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import published
import pytest
from browsing import CHROMIUM, Browser
from rich.console import Console

from reelmill.schemas.column import Column
from reelmill.schemas.media import Kind
from reelmill.schemas.sample import GroundedSample, PreferenceSample, Role, Sample, StreamSample, Turn
from reelmill.schemas.text import TextLine
from reelmill.schemas.tube import Box, Tube
from reelmill.sinks.dataset import Dataset, Store
from reelmill.sinks.gallery import write_gallery
from reelmill.sinks.gallery.entry import chosen_frames
from reelmill.sinks.look import render
from reelmill.sinks.publishing.view import accepted_children, samples

ARABIC = "متى تتدحرج الكرة؟ <time>"
LONG = "Pneumonoultramicroscopicsilicovolcanoconiosis" * 8


def page_of(tmp_path: Path, view: Dataset, store: Store) -> str:
    return write_gallery(store, view, tmp_path / "page").read_text()


def shown(tmp_path: Path, kind: type[Sample], change: Callable[[Sample], Sample] = lambda s: s, **own: Any) -> str:
    store = Store(tmp_path / "s")
    return page_of(tmp_path, published.view_of(store, kind, change, **own), store)


def looked(view: Dataset, tmp_path: Path) -> str:
    console = Console(width=120, record=True, file=(tmp_path / "out").open("w"))
    console.print(render(view, 3))
    return console.export_text()


def saying(*turns: Turn) -> Callable[[Sample], Sample]:
    return lambda s: dataclasses.replace(s, turns=turns)


def asked(text: str, *src_s: float) -> Turn:
    return Turn(Role.USER, text, src_s, (), ())


def answered(text: str, *tgt_s: float, boxes: tuple[Box, ...] = ()) -> Turn:
    return Turn(Role.ASSISTANT, text, (), tgt_s, boxes)


def test_a_tube_has_one_name_in_words_frames_and_time_line(tmp_path: Path) -> None:
    change = saying(asked("Where is it?"), answered("It is <tube>."))
    page = shown(tmp_path, GroundedSample, change, **published.followed())

    assert '<p dir="auto">It is <code class="tube" title="3 boxes">T1 1.00–3.20 s</code>.</p>' in page
    assert re.findall(r'<rect class="said" x="([\d.]+)"', page) == ["1.0", "3.0"]  # no frame shows 2.5 s
    assert page.count('class="tag said within"') == 2
    assert re.search(r'class="band tube" [^>]+>T1</span>', page)
    assert "tube of the sample, T" in page
    assert 'aria-label="time line of 6.00 seconds; tube T1 1.00–3.20 s"' in page


def test_a_pair_says_what_was_done_to_it_and_which_claims_fail(tmp_path: Path) -> None:
    page = shown(tmp_path, PreferenceSample, **published.pair())

    assert "moving a time (shift, of claims): strength 0.50, 1 of 2; stage 0, the easiest; order 2 1" in page
    claims = re.findall(r'<li class="\w+"><b>(.*?)</b> <span dir="auto">(.*?)</span>', page)
    assert claims == [("✓ holds", "the ball rolls &lt;i&gt;early&lt;/i&gt;"), ("✗ fails", "it rolls late")]
    lines = re.findall(r'class="name" title="(\w+)">\w+ <em>([^<]+)<', page)
    assert lines == [("chosen", "1.00–3.50 s"), ("rejected", "2.00–3.50 s")]
    assert page.count('<rect class="assistant"') == 3  # at 1, 2 and 3 s
    assert page.count('<rect class="rejected"') == 2  # at 2 and 3 s
    assert page.count(">R1</span>") == 2


def test_a_stream_shows_who_speaks_when_and_for_how_long_nobody_does(tmp_path: Path) -> None:
    turns = asked("Tell me when."), answered("Now."), answered("Gone.")
    own = published.streamed() | {"turns_at_s": (1.0, 3.5, 3.5), "watch_until_s": 5.0}
    page = shown(tmp_path, StreamSample, saying(*turns), **own)

    assert re.findall(r'class="(?:who|silent)">([^<]+)<', page) == [
        "user at 1.00 s",
        "silent for 2.50 s",
        "assistant at 3.50 s",
        "assistant at 3.50 s",
        "watched until 5.00 s",
    ]
    silent = re.findall(r'class="band silence" style="left:([\d.]+)%;width:([\d.]+)%"', page)
    assert silent == [("0.0", "16.667"), ("16.667", "41.666"), ("58.333", "25.0")]  # 0-1, 1-3.5 and 3.5-5 of 6 s
    assert "user speaks at 1.00 s; assistant speaks at 3.50 s, at 3.50 s; silence 0.00–1.00 s, 1.00–3.50 s" in page


def test_what_is_asked_and_what_is_answered_stand_apart(tmp_path: Path) -> None:
    change = saying(asked("What fills <time>?", 0.0, 2.0), answered("A at <time>, then B at <time>.", 1, 3, 2, 5))
    page = shown(tmp_path, Sample, change)

    captions = re.findall(r"<figcaption>([^<]+)</figcaption>", page)
    assert captions == ["0.00 s, asked", "1.00 s, asked, answered"] + [f"{n}.00 s, answered" for n in (2, 3, 4)] + [
        "5.00 s"
    ]
    assert 'A at <code class="time"><b>1</b> 1.00–3.00 s</code>, then B at <code class="time"><b>2</b> 2.00' in page
    bands = re.findall(r'class="rail">(<span class="band.*?)</div>', page)
    assert [re.sub(r"<[^>]+>", " ", b).split() for b in bands] == [[], ["1"], ["2"]]  # overlapping: a lane each


def test_a_placeholder_without_a_value_stays_as_it_was_written(tmp_path: Path) -> None:
    page = shown(tmp_path, Sample, saying(asked("When?"), answered("At <time> or <time> in <tube>.", 1.0, 2.0)))
    assert 'At <code class="time">1.00–2.00 s</code> or &lt;time&gt; in &lt;tube&gt;.' in page


def read_view(store: Store, size: tuple[int, int]) -> Dataset:
    """A picture stored at half its size, two lines read in it, and a question about one of them."""
    own: dict[str, Any] = {"kind": Kind.IMAGE, "width_px": size[0], "height_px": size[1], "duration_s": 0.0}
    media = dataclasses.replace(published.media(0), span=None, **own)
    made = dataclasses.replace(published.clip(0, frames=1), media=media)
    published.commit(store, "clips-t", published.CLIPS, [(made.parent_key, [made])])
    quads = (20.0, 20, 80, 20, 80, 30, 20, 30), (100.0, 100, 160, 100, 160, 110, 100, 110)
    lines = tuple(TextLine(f"EXIT {i}", q, 0.9, i, 0, 0.0, "m") for i, q in enumerate(quads))
    texts = Column.of("texts", tuple[TextLine, ...])
    published.commit_rows(store, "text-t", texts, [(made.key, lines)])
    box = Box(40.0, 40.0, 160.0, 60.0)
    question = Turn(Role.USER, "What is in <box>?", (), (), (box,))
    link = dataclasses.replace(published.links(0)[0], dataset="text-t@1")
    one = published.sample(made, 0, turns=(question, answered("EXIT")), provenance=(link,))
    return published.commit(store, "read-t", published.SAMPLES, [(made.key, [one])])


def test_the_line_that_is_asked_of_is_boxed_and_enlarged_and_the_others_are_faint(tmp_path: Path) -> None:
    store = Store(tmp_path / "s")
    page = page_of(tmp_path, read_view(store, (640, 360)), store)

    assert re.findall(r'<rect class="(\w+)" x="([\d.]+)"', page) == [("line", "200.0"), ("user", "40.0")]  # 2 x 100 px
    assert 'What is in <code class="box" title="(40, 40)–(160, 60) px">Q1</code>?' in page
    assert "Q1 enlarged" in page
    assert "transform:translate(-5.156%,-9.167%)" in page  # 33 of 640 and 33 of 360: the box less 0.35 of its height
    assert "max-width: min(640px, 960px * 640 / 360)" in page
    assert re.search(r'<a href="frames/\w+\.jpg">the stored picture alone', page)


def test_tubes_of_the_evidence_are_drawn_at_the_size_of_the_medium(tmp_path: Path) -> None:
    store, view = published.stocked(tmp_path / "s", sources=1)
    key = published.clip(0).key
    tube = Tube("t0", "the ball", (2.0,), (Box(10, 20, 30, 40),), 160, 90, 2.1, 0.9, "motion")
    tubes = published.commit_rows(store, "tubes-t", Column.of("tubes", tuple[Tube, ...]), [(key, (tube,))])
    page = write_gallery(store, view, tmp_path / "page", evidence=[tubes]).read_text()

    assert page.count('<rect class="tube" x="20.0" y="40.0" width="40.0" height="40.0">') == 2  # 320 x 180: twice


def test_every_task_has_a_section_and_the_index_counts_them_all(tmp_path: Path) -> None:
    store, view = published.stocked(tmp_path / "s", sources=4)
    page = write_gallery(store, view, tmp_path / "page", limit=3).read_text()

    index = re.findall(r'<li><a href="#(task-\d)" dir="auto">(\w+)</a> (\d)</li>', page)
    assert index == [("task-1", "what", "4"), ("task-2", "when", "4")]
    for anchor, task, _ in index:
        section = page.split(f'<section class="task" id="{anchor}"')[1].split("</section>")[0]
        assert set(re.findall(r'<h4 dir="auto">(\w+)</h4>', section)) == {task}
    assert re.findall(r"(\d) of 4 samples</small>", page) == ["2", "1"]


def one_task(sample: Sample) -> Sample:
    return dataclasses.replace(sample, task="t")


def test_samples_of_a_task_come_from_as_many_sources_as_there_are(tmp_path: Path) -> None:
    store, view = published.stocked(tmp_path / "s", sources=4, per_clip=6, change=one_task)
    in_order = [s.media.uri for s in samples(accepted_children(view))][:4]
    page = write_gallery(store, view, tmp_path / "page", limit=4).read_text()

    assert len(set(in_order)) < 4, "the order of the keys alone would not do"
    assert len(set(re.findall(r"film \d\.mp4", page))) == 4


def test_frames_are_even_but_for_those_that_show_what_is_said() -> None:
    made = published.clip(0, frames=60)
    sample = published.sample(made, 0, turns=(asked("When?"), answered("At <time>.", 20.2, 21.4)))
    times = [f.at_s for f in chosen_frames(sample, 8)]

    assert len(times) == 8
    assert times == sorted(times)
    assert {0.0, 20.0, 21.0, 59.0} <= set(times)
    assert max(b - a for a, b in pairwise(times)) <= 20.0
    assert chosen_frames(sample, 60) == list(sample.frames)
    silent = dataclasses.replace(sample, turns=(asked("What?"), answered("A ball.")))
    assert [f.at_s for f in chosen_frames(silent, 3)] == [0.0, 30.0, 59.0]


def test_hostile_claims_and_kinds_are_escaped(tmp_path: Path) -> None:
    bad = "<script>alert(1)</script>"
    own = published.pair()
    claim = dataclasses.replace(own["claims"][0], text=bad)
    own |= {"claims": (claim,), "perturbation": dataclasses.replace(own["perturbation"], kind=bad, of=bad)}
    page = shown(tmp_path, PreferenceSample, **own)
    assert "<script" not in page
    assert page.count(html.escape(bad)) == 3


def test_the_terminal_shows_both_sides_of_a_pair_with_the_difference_marked(tmp_path: Path) -> None:
    told = looked(published.view_of(Store(tmp_path), PreferenceSample, **published.pair()), tmp_path)

    assert "chosen   During «1.00–3.50» s." in told
    assert "rejected During «2.00–3.50» s." in told
    assert told.count("answers") == 0
    assert "✗ fails  it rolls late" in told
    assert "made wrong by moving a time" in told


def test_the_terminal_shows_tubes_and_turns_at_their_times(tmp_path: Path) -> None:
    tubes = looked(published.view_of(Store(tmp_path / "t"), GroundedSample, **published.followed()), tmp_path)
    assert re.search(r"tube 1  ·{10}█{22}·+ 1\.00-3\.20 s", tubes)
    assert "3 boxes, from (1, 2)–(11, 22) px to (3, 4)–(13, 24) px" in tubes

    stream = looked(published.view_of(Store(tmp_path / "s"), StreamSample, **published.streamed()), tmp_path)
    assert re.search(r"3\.50 s  answers During", stream)
    assert re.search(r"silent  Q·{34}A·{24} 6\.00 s", stream)


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine")
def test_in_a_browser_a_tasks_link_shows_that_task_alone_and_nothing_is_wider_than_a_phone(tmp_path: Path) -> None:
    store, view = published.stocked(
        tmp_path / "s", sources=2, change=saying(asked(ARABIC, 0.5, 2.0), answered(LONG, boxes=(Box(0, 0, 9, 9),)))
    )
    page = write_gallery(store, view, tmp_path / "page")
    seen = "[...document.querySelectorAll('.task')].filter(e => e.offsetHeight).map(e => e.id).join()"
    with Browser(tmp_path / "profile", (390, 800)) as browser:
        browser.picture(tmp_path / "phone.png", (390, 800))  # which sets the size of the window
        browser.open(page.as_uri())
        assert browser.run(seen) == "task-1,task-2"
        assert browser.run("document.documentElement.scrollWidth <= innerWidth")
        browser.run("document.querySelector('.tasks a').click()")
        browser.run("new Promise(r => requestAnimationFrame(() => requestAnimationFrame(r)))")
        assert browser.run(seen) == "task-1"
        assert browser.run("document.querySelector('.task:target .all').offsetHeight") > 0
        assert browser.said == []
