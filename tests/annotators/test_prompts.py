"""Prompts: files with a declared head, found by name, hashed, and refused where they do not hold together."""

from __future__ import annotations

import sys
from importlib import resources

import pytest

from reelmill.annotators.prompts._load import load_prompt, prompt_hash, unchanged
from reelmill.schemas.errors import BadInput, Drift, NotFound


@pytest.fixture
def own(tmp_path, monkeypatch):
    """A stranger's package with a prompt."""
    package = tmp_path / "stranger_prompts"
    package.mkdir()
    (package / "__init__.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "stranger_prompts", raising=False)

    def write(text: str) -> str:
        (package / "ask.md").write_text(text, encoding="utf-8")
        return "stranger_prompts:ask"

    return write


def test_every_prompt_of_the_project_is_well_formed():
    names = [f.name[:-3] for f in resources.files("reelmill.annotators.prompts").iterdir() if f.name.endswith(".md")]
    assert "caption" in names
    for name in names:
        assert load_prompt(name).text


def test_inputs_are_set_in_once_and_never_inside_one_another(own):
    name = own('---\ninputs: one, two\nanswer: X\n---\n{{one}} and {{two}} {"json": {}}\n')
    prompt = load_prompt(name)
    assert prompt.filled(one="{{two}}", two="2") == '{{two}} and 2 {"json": {}}'
    with pytest.raises(BadInput, match="takes"):
        prompt.filled(one="1")


def test_changing_a_prompt_changes_its_hash_and_is_noticed(own):
    name = own("---\ninputs:\nanswer: X\n---\nSay it.\n")
    before = prompt_hash(name)
    unchanged(before, name)
    own("---\ninputs:\nanswer: X\n---\nSay it!\n")
    assert prompt_hash(name) != before
    with pytest.raises(Drift, match="stranger_prompts:ask"):
        unchanged(before, name)


@pytest.mark.parametrize(
    "text",
    [
        "no header",
        "---\ninputs: a\n---\n{{a}}",
        "---\ninputs: a\nanswer: X\n---\nno place",
        "---\ninputs:\nanswer: X\n---\n{{a}}",
    ],
)
def test_a_malformed_prompt_is_refused(own, text):
    with pytest.raises(BadInput):
        load_prompt(own(text))


def test_an_unknown_prompt_is_not_found():
    for name in ("nothing", "no.such.package:ask", "../caption"):
        with pytest.raises(NotFound):
            load_prompt(name)
