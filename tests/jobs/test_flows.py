"""`run FLOW` and `explain FLOW`: raw words to a dataset, a model and its scores; again: nothing; killed: it goes on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from reelmill.jobs import flows
from reelmill.schemas.errors import BadInput, NotFound
from reelmill.sinks.publishing.view import split_of
from reelmill.training.loop.plan import planned

Told = tuple[int, str, str]
Cli = Callable[..., Told]
WHOLE = """
name = "f"
media = ["media"]

[eval.held-out]
run = "after"
data = "signs"
limit = 4

[train.after]
variant = "pllava"
data = { mixed = 1 }
start = "small"
steps = 3
tokens = 200
frames = 1
keep_every = 1
settings = { side = 1 }

[train.small]
variant = "pllava"
data = { signs = 2, mixed = 1 }
optimizer = "adamw"
steps = 4
tokens = 200
frames = 1
keep_every = 1
settings = { side = 1 }

[dataset.mixed]
recipe = "mix"
input = { signs = 1 }
set = { total = 10 }

[dataset.signs]
recipe = "code_guided"
"""


def written(folder: Path, text: str) -> Path:
    (path := folder / "flow.toml").write_text(text)
    return path


def test_nodes_are_done_after_what_they_need(tmp_path: Path) -> None:
    flow = flows.read(written(tmp_path, WHOLE))
    assert [node.name for node in flow.nodes] == ["signs", "mixed", "small", "after", "held-out"]
    graph = flows.text(flow)
    assert "media -> dataset signs" in graph
    assert "signs + mixed -> train small" in graph
    assert "after + signs -> eval held-out" in graph


BAD = {
    "no TOML": ("name =", BadInput, "write it as TOML"),
    "no name": ("[dataset.a]\nrecipe = 'clips'", BadInput, "lacks 'name'"),
    "no nodes": ("name = 'f'", BadInput, "none"),
    "unknown word": ("name = 'f'\nmedai = []", BadInput, "did you mean 'media'"),
    "word of a node": ("name = 'f'\n[train.a]\nvariant='m3'\ndata={}\nstep=3", BadInput, "did you mean 'steps'"),
    "type": ("name = 'f'\n[train.a]\nvariant='m3'\ndata={}\nsteps='3'", BadInput, "give a int"),
    "lacking": ("name = 'f'\n[eval.a]\nrun='x'", BadInput, "lacks 'data'"),
    "not there": ("name = 'f'\n[train.a]\nvariant='m3'\ndata={b=1}", NotFound, "needs 'b' not found"),
    "kind": ("name = 'f'\n[train.a]\nvariant='m3'\ndata={a=1}", BadInput, "needs"),
    "circle": (
        "name='f'\n[dataset.a]\nrecipe='mix'\ninput={b=1}\n[dataset.b]\nrecipe='mix'\ninput={a=1}",
        BadInput,
        "a -> b -> a",
    ),
    "same name": ("name='f'\n[dataset.a]\nrecipe='clips'\n[eval.a]\nrun='a'\ndata='a'", BadInput, "name of another"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_flow_that_cannot_be_is_one_line(tmp_path: Path, case: str) -> None:
    text, kind, says = BAD[case]
    with pytest.raises(kind) as raised:
        flows.read(written(tmp_path, text))
    assert says in str(raised.value)
    assert "\n" not in str(raised.value)


def test_words_that_the_file_says_are_refused_beside_it(told: Cli, tmp_path: Path) -> None:
    written(tmp_path, WHOLE)
    code, _, err = told("run", "flow.toml", "--media", "elsewhere")
    assert code == 2
    assert "--media beside a flow" in err
    code, _, err = told("run", "none.toml")
    assert (code, len(err.strip().splitlines())) == (2, 1)


def hold_out(picture: Path) -> None:
    """Bytes after a picture's end change its digest, and so its split, and nothing that is seen."""
    data = picture.read_bytes()
    ends = (b"\0" * n for n in range(1000))
    picture.write_bytes(next(data + end for end in ends if split_of(hashlib.sha256(data + end).hexdigest()) == "val"))


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_flow_from_pictures_to_scores_and_again(told: Cli, tmp_path: Path) -> None:
    """Documents are the media that are made soonest. The second time every node is done before; a run whose last
    checkpoint is gone, as after a kill, goes on from the one before to the same weights."""
    written(tmp_path, WHOLE)
    assert told("documents", "media", "--count", "4")[0] == 0
    hold_out(next((tmp_path / "media").glob("*.png")))
    code, out, err = told("run", "flow.toml", "--workers", "1")
    assert code == 0, out + err
    small = next((tmp_path / "runs").glob("f-small-*"))
    exam = next((tmp_path / "runs").glob("f-after-*/held-out-*/evaluation.json"))
    assert json.loads(exam.read_text())["facts"]["steps"] == "3"
    assert (planned(small).optimizer, planned(exam.parents[1]).optimizer) == ("adamw", "muon")
    weights = sorted(small.glob("checkpoints/step-*/model.safetensors"))
    assert [p.parent.name for p in weights] == ["step-000003", "step-000004"]
    before = {p: p.read_bytes() for p in (tmp_path / "runs").rglob("*") if p.is_file()}
    code, out, _ = told("run", "flow.toml", "--workers", "1")
    assert code == 0
    assert out.count("done before") >= 3
    assert {p: p.read_bytes() for p in (tmp_path / "runs").rglob("*") if p.is_file()} == before
    for lost in weights[1].parent.iterdir():
        lost.unlink()
    weights[1].parent.rmdir()
    code, out, _ = told("run", "flow.toml", "--workers", "1")
    assert code == 0
    assert "goes on after step 3 of 4" in out
    assert weights[1].read_bytes() == before[weights[1]]
