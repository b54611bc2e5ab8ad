"""Every step that leaves something on disk has a named point, so that the chaos tests can strike it there.

A function that writes, renames, links, makes or removes a file or folder calls `reach`, or stands below with the reason
why nothing is lost if it is cut short. Names of calls are all that is looked at: it finds what was forgotten, not what
was hidden.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from reelmill.schemas.points import POINTS

ROOMS = ("schemas", "annotators", "sinks", "pipelines", "jobs")
DURABLE = {
    *("write_bytes", "write_text", "rename", "hardlink_to", "symlink_to", "link"),
    *("rmdir", "rmtree", "unlink", "mkdir", "touch", "write_table"),
}
WITHOUT = {
    "annotators/decode/isolated.py:_own_pipes": "a pipe",
    "annotators/decode/local.py:_fetch": "a copy of a remote file, renamed when whole: else it is fetched again",
    "annotators/engines/batch_lines.py:__init__": "an upload to be; struck by test_openai_batch.py",
    "annotators/engines/batch_lines.py:drop": "as above",
    "annotators/engines/batch_notes.py:write": "as above",
    "annotators/engines/batch_notes.py:drop": "as above",
    "annotators/engines/replies.py:_kept": "the folder of a reply, which has points, and its aside",
    "sinks/ledger.py:parquet_bytes": "into memory",
    "sinks/exports/exporting.py:_aside": "an export: built beside its place, renamed when whole, cleared by the next",
    "sinks/exports/exporting.py:_put": "as above",
    "sinks/exports/exporting.py:write_jsonl": "as above",
    "sinks/exports/exporting.py:_write_manifest": "as above",
    "sinks/exports/live_chat.py:write": "as above",
    "sinks/exports/llava.py:write": "as above",
    "sinks/exports/trl.py:write": "as above",
    "sinks/publishing/clipcut.py:mp4": "the folder of cuts, in a generation that nobody sees yet",
    "sinks/publishing/publish.py:_alone": "the folder of generations and its lock, made again where they are missing",
    "sinks/shards.py:__init__": "the folder of shards, in a generation that nobody sees yet",
    "pipelines/sources/annotated/spool.py:fill": "what a set says: made again from the set where it is missing",
    "pipelines/sources/annotated/webdataset.py:unpack": "media of shards: what is missing is unpacked by the next run",
    "pipelines/sources/annotated/webdataset.py:_write": "as above: put in place whole",
    "pipelines/scenes/render.py:render_set": "scenes are rendered, not curated: a file is there when it is whole",
    "pipelines/scenes/render.py:write_sidecar": "as above",
    "pipelines/scenes/render.py:appear": "as above",
    "pipelines/scenes/render.py:_encode": "as above",
    "pipelines/scenes/faint.py:render_faint": "as above",
    "pipelines/scenes/micro_pack.py:write": "a pack that is built beside its place and renamed when it is whole",
    "pipelines/scenes/micro_pack.py:write_pack": "as above",
    "pipelines/scenes/micro_pack.py:_one_by_one": "an empty folder that is locked while a pack is built beside it",
    "pipelines/scenes/micro_pack.py:_locked": "as above",
    "pipelines/scenes/micro_pack.py:_manifest": "as above",
    "pipelines/documents/render.py:render_documents": "rendered, not curated: a file is there when it is whole",
    "jobs/inspecting.py:_forget": "a reply that is forgotten is asked for again",
    "jobs/caching.py:prune": "a reply that is forgotten is asked for again",
    "jobs/demonstrating.py:_state_licence": "a sidecar beside a rendered scene",
    "jobs/examining.py:_writable": "doctor takes back the folder that it tried",
    "jobs/distributing.py:train_on": "the run's folder, which the first worker would make",
    "jobs/importing.py:_unpacked": "the folder for media of shards",
    "jobs/rendering.py:_folder": "the folder for rendered scenes and documents",
}


def durable_calls(function: ast.AST) -> Iterator[str]:
    for call in (node for node in ast.walk(function) if isinstance(node, ast.Call)):
        if not isinstance(call.func, ast.Attribute):
            continue
        name = call.func.attr
        modes = [a.value for a in call.args if isinstance(a, ast.Constant) and isinstance(a.value, str)]
        if name in DURABLE or (name == "replace" and len(call.args) == 1 and not call.keywords):
            yield name  # of text, `replace` takes two; a dataclass's takes keywords
        if name in ("open", "fdopen") and any(set(mode) & set("wax+") and len(mode) <= 3 for mode in modes):
            yield name


def reaches(function: ast.AST) -> set[str]:
    return {
        str(node.args[0].value)
        for node in ast.walk(function)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "reach"
        if node.args and isinstance(node.args[0], ast.Constant)
    }


def functions(root: Path) -> Iterator[tuple[str, ast.AST]]:
    for room in ROOMS:
        for path in sorted((root / room).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.FunctionDef):
                    yield f"{path.relative_to(root)}:{node.name}", node


def test_every_durable_step_has_a_point(root: Path) -> None:
    bare = {where for where, node in functions(root) if list(durable_calls(node)) and not reaches(node)}
    assert bare - WITHOUT.keys() == set(), "name a point there (schemas/points.py), or say why it needs none"
    assert WITHOUT.keys() - bare == set(), "reasons for what is no more"


def test_points_and_their_names_agree(root: Path) -> None:
    # `known_as` names what a thread does when the clock says so: its points count under that name.
    named = {point for _, node in functions(root) for point in reaches(node)} | {"lease.beat"}
    assert named == set(POINTS)


@pytest.mark.parametrize(
    ("code", "found"),
    [
        ("path.rename(other)", ["rename"]),
        ("path.replace(other)", ["replace"]),
        ("text.replace('a', 'b')", []),
        ("path.open('wb')", ["open"]),
        ("path.open('rb')", []),
        ("shutil.rmtree(folder)", ["rmtree"]),
    ],
)
def test_the_check_itself_can_fail(code: str, found: list[str]) -> None:
    assert list(durable_calls(ast.parse(code))) == found
