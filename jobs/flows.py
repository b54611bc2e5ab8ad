"""A flow as one file: raw media, datasets, a mix of them, models that learn from it, and what these can do.

    name = "mine"
    media = ["media"]

    [dataset.events]
    recipe = "internvid_tg"
    [train.small]
    variant = "pllava"
    data = { events = 1 }
    [eval.small-val]
    run = "small"
    data = "events"

Every node is what its verb would do alone: `run`, `train`, `eval`, each with its own resources, each resumed where it
was left. A node whose inputs changed is done again: a model in a folder of its own, named by plan and data.
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from reelmill.schemas.errors import BadInput, NotFound

_Known = Mapping[str, tuple[type, ...]]
KINDS: Mapping[str, _Known] = {
    "dataset": {
        "recipe": (str,),
        "media": (list,),
        "input": (dict,),
        "set": (dict,),
        "engine": (dict,),
        "name": (str,),
        "pack_media": (str,),
        "on": (str,),
        "workers": (int,),
    },
    "train": {
        "variant": (str,),
        "data": (dict,),
        "start": (str,),
        "settings": (dict,),
        "rate": (float,),
        "shared": (bool,),
        "peak": (float, int),
        **dict.fromkeys(("steps", "tokens", "frames", "accumulate", "seed", "keep_every"), (int,)),
        **dict.fromkeys(("size", "objective", "optimizer"), (str,)),
        **dict.fromkeys(("ema", "beta"), (float,)),
    },
    "eval": {"run": (str,), "data": (str,), "split": (str,), "limit": (int,), "budget": (int,), "silence": (float,)},
}
"""What a node of each kind may say, and of which type."""
_NEEDED = {"dataset": ("recipe",), "train": ("variant", "data"), "eval": ("run", "data")}
_FLOW = {"name": (str,), "media": (list,), "runs": (str,)}


@dataclass(frozen=True, slots=True)
class Node:
    """One step of a flow: a dataset, a model or an exam. `needs` are nodes that are done before it."""

    kind: str
    name: str
    said: Mapping[str, Any]

    @property
    def needs(self) -> tuple[str, ...]:
        """Names of other nodes in what it says."""
        if self.kind == "dataset":
            return tuple(self.said.get("input", {}))
        if self.kind == "train":
            return (*self.said["data"], *([self.said["start"]] if "start" in self.said else []))
        return self.said["run"], self.said["data"]


@dataclass(frozen=True, slots=True)
class Flow:
    """A file that was read. `nodes` are in the order in which they are done; `runs` is the folder of models."""

    name: str
    media: tuple[str, ...] = ()
    runs: Path = Path("runs")
    nodes: tuple[Node, ...] = field(default=())

    def node(self, name: str) -> Node:
        return next(node for node in self.nodes if node.name == name)


def read(path: Path) -> Flow:
    """Raises NotFound where there is no file, BadInput on what it may not say."""
    try:
        said = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise NotFound(f"flow {path}", do="give a file of a flow; see docs/training.md") from error
    except (ValueError, OSError) as error:
        raise BadInput(f"flow {path}", seen=str(error), do="write it as TOML; see docs/training.md") from error
    own = {name: value for name, value in said.items() if name not in KINDS}
    _require(f"flow {path}", own, _FLOW, ("name",))
    nodes = {node.name: node for kind in KINDS for node in _nodes(kind, said.get(kind, {}))}
    count = sum(len(said.get(kind, {})) for kind in KINDS)
    if not count or len(nodes) < count:
        seen = "none" if not count else "a dataset, train or eval with the name of another"
        raise BadInput(f"nodes of {path}", seen=seen, do="give each a name of its own, as [train.small]")
    return Flow(
        said["name"],
        tuple(said.get("media", ())),
        Path(said.get("runs", "runs")),
        tuple(_sorted(nodes)),
    )


def _nodes(kind: str, said: Any) -> Iterator[Node]:
    if not isinstance(said, dict) or not all(isinstance(one, dict) for one in said.values()):
        raise BadInput(f"[{kind}]", seen=repr(said), do=f"write it as [{kind}.NAME]")
    for name, one in said.items():
        _require(f"[{kind}.{name}]", one, KINDS[kind], _NEEDED[kind])
        yield Node(kind, name, one)


def _require(
    what: str, said: Mapping[str, Any], known: Mapping[str, tuple[type, ...]], needed: tuple[str, ...]
) -> None:
    for name, value in said.items():
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            do = f"did you mean {near[0]!r}?" if near else f"use one of {', '.join(known)}"
            raise BadInput(f"{what} says {name!r}", seen="an unknown name", do=do)
        if type(value) not in known[name]:
            kinds = " or ".join(kind.__name__ for kind in known[name])
            raise BadInput(f"{what}: {name}", seen=repr(value), do=f"give a {kinds}")
    if lacking := [name for name in needed if name not in said]:
        raise BadInput(f"{what} lacks {lacking[0]!r}", seen=", ".join(said) or "nothing", do=f"add {lacking[0]}")


_FED = {"dataset": {"": "dataset"}, "train": {"": "dataset", "start": "train"}, "eval": {"": "dataset", "run": "train"}}
"""Of which kind a node is that another one names, by the place where it is named."""


def _sorted(nodes: Mapping[str, Node]) -> list[Node]:
    """Each after all that it needs. Raises NotFound for a name that no node has, BadInput for one of another kind, or a
    circle."""
    done: dict[str, Node] = {}

    def visit(node: Node, through: tuple[str, ...]) -> None:
        if node.name in through:
            raise BadInput(f"node {node.name!r} needs itself", seen=" -> ".join((*through, node.name)))
        for name in node.needs:
            _require_kind(node, name, nodes)
            visit(nodes[name], (*through, node.name))
        done.setdefault(node.name, node)

    for node in nodes.values():
        visit(node, ())
    return list(done.values())


def _require_kind(node: Node, name: str, nodes: Mapping[str, Node]) -> None:
    label = f"[{node.kind}.{node.name}] needs {name!r}"
    if name not in nodes:
        raise NotFound(label, seen=f"nodes {', '.join(nodes)}", do="name one of these")
    place = next((key for key in ("start", "run") if node.said.get(key) == name), "")
    if nodes[name].kind != _FED[node.kind][place]:
        seen = f"a node of kind {nodes[name].kind}"
        raise BadInput(label, seen=seen, do=f"name a {_FED[node.kind][place]}")


def text(flow: Flow) -> str:
    """The graph: every node with what it is fed from, and what it says."""
    lines = [f"flow {flow.name}, nodes in the order in which they are done:"]
    for node in flow.nodes:
        raw = ", ".join(node.said.get("media", flow.media)) or "media files"
        fed = " + ".join(node.needs) or raw
        lines.append(f"  {fed} -> {node.kind} {node.name}")
    for node in flow.nodes:
        lines += ["", f"[{node.kind}.{node.name}]", *(f"  {name} = {value}" for name, value in node.said.items())]
    return "\n".join(lines)
