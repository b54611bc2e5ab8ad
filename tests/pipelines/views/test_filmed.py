"""Which films are told of and what their scenes are: TEMPLE's rules on rows of films, each at its edge."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from film_rows import Shot, film_row
from view_rows import compiled, event

from reelmill.pipelines.views.filmed import Film, Rules, film_of
from reelmill.pipelines.views.temple import CompareFilms
from reelmill.schemas.event import Proposal
from reelmill.schemas.span import Span
from reelmill.schemas.verdict import rejected

RULES = Rules(0.8, 0.2, False, {}, ())


def shots(*lengths_s: float, **own: Any) -> list[Shot]:
    """Shots one after the other; in each its own thing enters."""
    starts_s = [sum(lengths_s[:n]) for n in range(len(lengths_s))]
    return [
        Shot(Span(start, start + length), (event(f"the thing {n}", "enters", 0.1, 0.4),), **own)
        for n, (start, length) in enumerate(zip(starts_s, lengths_s, strict=True))
    ]


def film(of: list[Shot], rules: Rules = RULES) -> Film:
    return film_of(film_row(of), rules)


def reason(of: list[Shot]) -> str:
    (out,) = compiled(CompareFilms(), film_row(of))
    return out["verdict"]["reason"] if out["verdict"] else ""


@pytest.mark.parametrize(
    ("lengths_s", "seen"),
    [
        ((2.0,) * 3, "too_few_cuts"),
        ((2.0,) * 4, ""),
        ((1.0,) * 32, ""),
        ((1.0,) * 33, "too_many_cuts"),
        ((2.0, 2.0, 16.1, 2.0), "cut_too_long"),
    ],
)
def test_how_many_cuts_and_how_long(lengths_s: tuple[float, ...], seen: str) -> None:
    assert reason(shots(*lengths_s)) == seen


def test_blank_clips_are_no_cuts_and_one_that_failed_ends_the_telling() -> None:
    blank = replace(shots(*[2.0] * 6)[2], verdict=rejected("cut_clips", "black", "luma 0"))
    own = shots(*[2.0] * 6)
    assert len(film([*own[:2], blank, *own[3:]]).scenes) == 5
    failed = replace(blank, verdict=rejected("embed", "no_frames", "0 shown frames"))
    assert reason([*own[:2], failed, *own[3:]]) == "no_vector"


def test_neighbours_that_look_alike_are_one_scene_and_a_scene_that_comes_back_is_counted() -> None:
    own = shots(*[2.0] * 7)
    alike = [replace(s, looks=1) if n in (1, 2, 5) else s for n, s in enumerate(own)]
    found = film(alike)
    assert [s.span for s in found.scenes][:3] == [Span(0.0, 2.0), Span(2.0, 6.0), Span(6.0, 8.0)]
    assert [subject for subject, _ in found.scenes[1].said] == ["the thing 1", "the thing 2"]
    assert reason([replace(s, looks=n % 2) for n, s in enumerate(own)]) == "recurring_clips"
    assert reason([replace(s, looks=0) for s in own[:4]]) == "too_few_clips"


def test_a_shot_that_work_is_split_in_is_one_cut() -> None:
    """10 s on either side of the end of a unit: alike they are 20 s of one shot, unlike two cuts."""
    own = shots(2.0, 10.0, 10.0, 2.0, 2.0, 2.0)
    halves = [
        replace(s, unit="first" if n < 2 else "second", looks=1 if n in (1, 2) else -1) for n, s in enumerate(own)
    ]
    assert reason(halves) == "cut_too_long"
    assert reason([replace(s, looks=-1) for s in halves]) == ""
    assert reason([replace(s, unit="first") for s in halves]) == "", "two cuts of one unit are two"


def test_times_are_the_films_and_things_those_of_their_clip() -> None:
    doubt = replace(
        event("the dog", "moves", 0.5, 1.0, accepted=False), proposals=(Proposal("x", Span(0.5, 1.5), 0.5),)
    )
    same = event("the dog", "enters", 0.1, 0.4)
    own = shots(*[2.0] * 5)
    own[3] = replace(own[3], events=(same, doubt))
    own[4] = replace(own[4], events=(same,))
    found = film(own)
    dogs = [e for e in found.evidence.events if e.subject == "the dog"]
    assert [e.span for e in dogs] == [Span(6.1, 6.4), Span(6.5, 7.0), Span(8.1, 8.4)]
    assert dogs[1].proposals[0].span == Span(6.5, 7.5)
    assert len({e.subject_id for e in dogs}) == 2
    assert [s.whole for s in found.scenes] == [True, True, True, False, True]


def test_frames_are_those_of_all_clips_in_the_films_time_or_the_sharp_ones() -> None:
    own = shots(6.0, 6.0, 6.0, 6.0)
    found = film(own)
    assert [f.at_s for f in found.frames] == [n / 2 for n in range(48)]
    assert {f.key for f in found.frames} == {f"film.{n}" for n in range(4)}
    row = film_row(own)
    row["film_frame_sharpness"][1] = [4.0 if n == 5 else 1.0 for n in range(12)]
    keyed = film_of(row, replace(RULES, key_frames_only=True))
    assert [f.at_s for f in keyed.frames] == [2.0, 4.0, 8.5, 10.0, 14.0, 16.0, 20.0, 22.0]
    assert keyed.scenes[1].key_at_s == (8.5, 10.0)


def test_of_a_film_with_little_to_tell_nothing_is_told() -> None:
    own = shots(*[2.0] * 5)
    assert reason([replace(s, events=()) if n < 2 else s for n, s in enumerate(own)]) == "too_few_told"
