"""Keys are the same for ever: a changed spelling would orphan every dataset on every disk."""

from __future__ import annotations

import hashlib
import math
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reelmill.schemas import keys

DIGEST = hashlib.sha256(b"reelmill").hexdigest()
KEY = re.compile(r"[a-z2-7]{26}")
IDENTITY = st.lists(st.one_of(st.integers(-(2**53), 2**53), st.text(max_size=8)), max_size=4)


def test_golden_keys_never_change() -> None:
    media = keys.media_key(DIGEST)
    assert media == "jf6yepivfqaabkf64j43rbypzu"
    assert keys.child_key(media, "unit", 0, 60_000_000) == "3hizb726fro37wyjfz2hlcipjy"
    assert keys.child_key(media, "clip", 0, 1_500_000) == "i5mfqy4s2agfgpo22g5g3sexae"
    assert keys.child_key("é", "scène", "日本") == "qx37gdskbcgoarecve6ra7fwwm"
    assert keys.group_hash([media, "b", "a"]) == "jwevrransjsodsjwxmideay2bi"
    assert keys.seed_for(7, media, "read_text") == 1895247968393574825


@given(parent=st.text(max_size=8), kind=st.text(max_size=8), identity=IDENTITY)
def test_a_key_is_safe_as_a_file_name_a_webdataset_key_and_sql(
    parent: str, kind: str, identity: list[str | int]
) -> None:
    assert KEY.fullmatch(keys.child_key(parent, kind, *identity))


@given(
    a=st.tuples(st.text(max_size=4), st.text(max_size=4), IDENTITY),
    b=st.tuples(st.text(max_size=4), st.text(max_size=4), IDENTITY),
)
def test_another_lineage_is_another_key(
    a: tuple[str, str, list[str | int]], b: tuple[str, str, list[str | int]]
) -> None:
    same = (a[0], a[1], a[2]) == (b[0], b[1], b[2])
    assert (keys.child_key(a[0], a[1], *a[2]) == keys.child_key(b[0], b[1], *b[2])) is same


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (("a", "b", "c"), ("a", "bc")),
        (("a", "b", 1), ("a", "b", "1")),
        (("ab", "c"), ("a", "bc")),
        (("a", 'b","c'), ("a", "b", "c")),
    ],
)
def test_the_joints_of_a_lineage_cannot_be_moved(one: tuple[str, ...], other: tuple[str, ...]) -> None:
    assert keys.child_key(*one) != keys.child_key(*other)


@given(names=st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\n"), max_size=6), max_size=6))
def test_a_part_is_named_by_its_keys_in_any_order(names: list[str]) -> None:
    shuffled = sorted(names, key=lambda n: hashlib.sha256(n.encode()).digest())
    assert keys.group_hash(names) == keys.group_hash(shuffled)
    assert keys.group_hash([*names, "one more"]) != keys.group_hash(names)


def test_equal_bytes_have_one_key_whatever_their_names(tmp_path: Path) -> None:
    for name, content in {"a.mp4": b"x" * 3_000_000, "b.MOV": b"x" * 3_000_000, "c": b"y", "empty": b""}.items():
        (tmp_path / name).write_bytes(content)
    digests = {p.name: keys.file_digest(p) for p in tmp_path.iterdir()}
    assert digests["a.mp4"] == digests["b.MOV"] == hashlib.sha256(b"x" * 3_000_000).hexdigest()
    assert len({keys.media_key(d) for d in digests.values()}) == 3
    with pytest.raises(FileNotFoundError):
        keys.file_digest(tmp_path / "not there")


def test_canonical_json_has_one_spelling() -> None:
    assert keys.canonical_json({"b": [1, 2.5, None], "a": "é"}) == '{"a":"é","b":[1,2.5,null]}'
    assert keys.canonical_json({"x": 1, "y": 2}) == keys.canonical_json({"y": 2, "x": 1})
    assert keys.canonical_json((1, 2)) == keys.canonical_json([1, 2])


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_canonical_json_refuses_numbers_that_json_cannot_spell(value: float) -> None:
    with pytest.raises(ValueError, match="JSON compliant"):
        keys.canonical_json({"x": value})


@pytest.mark.parametrize("value", [object(), {1, 2}, b"x", Path("x"), lambda: 0])
def test_canonical_json_refuses_what_would_be_spelled_by_its_address(value: object) -> None:
    with pytest.raises(TypeError):
        keys.canonical_json({"x": value})


@given(seconds=st.floats(0, 1e8, allow_nan=False))
def test_microseconds_are_whole_and_near(seconds: float) -> None:
    assert isinstance(keys.micros(seconds), int)
    assert abs(keys.micros(seconds) / 1e6 - seconds) <= 5.1e-7 + seconds * 1e-15


def test_microseconds_give_one_identity_to_many_spellings_of_a_time() -> None:
    assert keys.micros(0.1 + 0.2) == keys.micros(0.3) == 300_000
    assert keys.micros(1001 / 30000) == 33_367


@given(st.integers(0, 2**32), st.text(max_size=6), st.text(max_size=6))
def test_seeds_fit_and_depend_on_each_part(recipe: int, key: str, step: str) -> None:
    seed = keys.seed_for(recipe, key, step)
    assert 0 <= seed < 2**63
    assert seed == keys.seed_for(recipe, key, step)
    assert (
        len(
            {
                seed,
                keys.seed_for(recipe + 1, key, step),
                keys.seed_for(recipe, key + "x", step),
                keys.seed_for(recipe, key, step + "x"),
            }
        )
        == 4
    )


def test_a_bad_digest_is_refused() -> None:
    with pytest.raises(ValueError, match="hex"):
        keys.media_key("not hex")
