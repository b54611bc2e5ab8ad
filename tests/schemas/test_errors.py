"""The error tree is as drawn, every error survives a trip between processes, and its message says what to do."""

from __future__ import annotations

import pickle
import re

import pytest

from reelmill.schemas import errors
from reelmill.schemas.errors import ReelmillError, Unusable


def family(cls: type[ReelmillError], depth: int = 0) -> list[tuple[int, str]]:
    """(depth, name) of a class and all below it, in the order of their definition."""
    rows = [(depth, cls.__name__)]
    for child in cls.__subclasses__():
        if child.__module__ == errors.__name__:
            rows += family(child, depth + 1)
    return rows


def drawn() -> list[tuple[int, str, int | None]]:
    """(depth, name, exit code where one is drawn) from the picture in the module's docstring."""
    rows = []
    for text in (errors.__doc__ or "").splitlines():
        found = re.match(r"    (?P<stem>[│ ├└─]*)(?P<name>[A-Z]\w+)\s{2,}(?P<rest>\S.*)$", text)
        if found:
            code = re.match(r"\d\b", found["rest"])
            rows.append((len(found["stem"]) // 4, found["name"], int(code[0]) if code else None))
    return rows


ALL = [getattr(errors, name) for _, name in family(ReelmillError)]


def test_the_drawn_tree_is_the_tree() -> None:
    assert [(depth, name) for depth, name, _ in drawn()] == family(ReelmillError)


def test_drawn_exit_codes_are_the_codes() -> None:
    codes = {name: code for _, name, code in drawn() if code is not None}
    assert codes == {"UserError": 2, "Fault": 1, "OverBudget": 3}
    assert {name: getattr(errors, name).exit_code for name in codes} == codes


@pytest.mark.parametrize("cls", ALL)
def test_an_error_has_its_familys_exit_code(cls: type[ReelmillError]) -> None:
    expected = 2 if issubclass(cls, errors.UserError) else 3 if issubclass(cls, errors.OverBudget) else 1
    assert cls.exit_code == expected


@pytest.mark.parametrize("cls", ALL)
@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_an_error_survives_the_way_between_processes(cls: type[ReelmillError], protocol: int) -> None:
    error = cls("shard 'x'", seen="3 files", do="run `reelmill verify`")
    back = pickle.loads(pickle.dumps(error, protocol))
    assert type(back) is cls
    assert (str(back), back.what, back.seen, back.do) == (str(error), "shard 'x'", "3 files", "run `reelmill verify`")


def test_unusable_survives_too_with_its_reason() -> None:
    back = pickle.loads(pickle.dumps(Unusable("too_dark", "mean luma 2.1 of 255")))
    assert (back.reason, back.detail, str(back)) == (
        "too_dark",
        "mean luma 2.1 of 255",
        "too_dark: mean luma 2.1 of 255",
    )
    assert str(Unusable("too_dark")) == "too_dark"


@pytest.mark.parametrize("cls", ALL)
def test_a_message_is_one_line_of_what_seen_and_do(cls: type[ReelmillError]) -> None:
    text = str(cls("recipe 'clip'", seen="clips, tubes", do="run `reelmill list`"))
    assert text.startswith("recipe 'clip'")
    assert text.endswith("; seen: clips, tubes; do: run `reelmill list`")
    assert "  " not in text
    assert str(cls("it")) == f"it {cls.verdict}".strip()


def test_judgement_is_not_an_error_of_the_tree() -> None:
    """A handler for our errors must never swallow the rejection of a row, nor the other way round."""
    assert not issubclass(Unusable, ReelmillError)
    assert not issubclass(ReelmillError, Unusable)
