"""Streamed JSON gives what the standard library gives, whatever the window's edge cuts, and says where it breaks."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reelmill.pipelines.sources.annotated import json_stream
from reelmill.pipelines.sources.annotated.json_stream import elements, lines, listed, sections
from reelmill.pipelines.sources.annotated.reading import Refused
from reelmill.schemas.errors import BadInput, NotFound

VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)


def written(folder: Path, value: Any, indent: int | None = None) -> Path:
    path = folder / "set.json"
    path.write_text(json.dumps(value, indent=indent))
    return path


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(VALUES, max_size=6), st.integers(1, 7), st.sampled_from([None, 1]))
def test_a_list_is_the_list_for_any_size_of_the_window(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rows: list[Any], block: int, indent: int | None
) -> None:
    monkeypatch.setattr(json_stream, "_BLOCK", block)
    assert list(elements(written(tmp_path, rows, indent))) == rows


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(st.sampled_from("abcd"), VALUES, max_size=4), st.integers(1, 7))
def test_sections_of_an_object_in_its_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, held: dict[str, Any], block: int
) -> None:
    monkeypatch.setattr(json_stream, "_BLOCK", block)
    want = [(name, one) for name in held if name in "ac" for one in _inside(held[name])]
    assert list(sections(written(tmp_path, held), "a", "c")) == want


def _inside(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return list(value.items())
    return value if isinstance(value, list) else []


@pytest.mark.parametrize(
    "text",
    ["", "[1, 2", "[1 2]", '{"a": [1, {"b": 2}', "[1, nul]", '{"a" [1]}', "[" * 100_000, '{"rows": 1'],
)
def test_a_broken_file_is_one_clear_line(tmp_path: Path, text: str) -> None:
    path = tmp_path / "broken.json"
    path.write_text(text)
    with pytest.raises(BadInput, match=r"broken\.json") as told:
        list(elements(path) if text[:1] != "{" else elements(path, "a"))
    assert "\n" not in str(told.value)


def test_a_file_that_is_not_utf8_and_one_that_is_not_there(tmp_path: Path) -> None:
    path = tmp_path / "latin.json"
    path.write_bytes(b'["caf\xe9"]')
    with pytest.raises(BadInput):
        list(elements(path))
    with pytest.raises(NotFound):
        list(elements(tmp_path / "none.json"))
    with pytest.raises(NotFound):
        list(lines(tmp_path / "none.jsonl"))


def test_an_element_that_never_ends_is_not_read_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_stream, "LARGEST_VALUE", 4_000)
    monkeypatch.setattr(json_stream, "_BLOCK", 100)
    path = tmp_path / "open.json"
    path.write_text('["' + "x" * 100_000)
    with pytest.raises(BadInput):
        list(elements(path))


def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    path = written(tmp_path, [{"id": i, "text": "x" * 1_000} for i in range(20_000)])
    tracemalloc.start()
    count = sum(1 for _ in elements(path))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert count == 20_000
    assert peak < path.stat().st_size / 2


def test_a_bad_line_is_refused_and_the_next_one_read(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'\xef\xbb\xbf{"a": 1}\n\n{"a": \n"caf\xe9"\n{"a": 2}')
    one, broken, latin, two = lines(path)
    assert (one, two) == ({"a": 1}, {"a": 2})
    assert isinstance(broken, Refused)
    assert (broken.reason, broken.detail.split(":")[0]) == ("broken_json", "line 3")
    assert isinstance(latin, Refused)


def test_lists_and_lines_are_told_apart_by_their_first_character(tmp_path: Path) -> None:
    (tmp_path / "list.jsonl").write_text('\n [{"a": 1}]')
    (tmp_path / "lines.json").write_text('{"a": 1}\n{"a": 2}\n')
    assert list(listed(tmp_path / "list.jsonl")) == [{"a": 1}]
    assert list(listed(tmp_path / "lines.json")) == [{"a": 1}, {"a": 2}]
