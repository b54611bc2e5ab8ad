"""What a run is: everything that decides its weights, as one JSON document beside them."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from reelmill.schemas.errors import BadInput, NotFound
from reelmill.schemas.points import reach
from reelmill.sinks.state.objects import store_trouble
from reelmill.training.ladder import LADDER

PLAN = "plan.json"
_LATER: dict[str, Any] = {"compile": False, "image_px": None, "optimizer": "adamw"}
"""What came later than runs that stand, and what those have."""
OPTIMIZERS = ("adamw", "muon")


@dataclass(frozen=True, slots=True)
class Data:
    """A dataset of a run: the folder of its pack, its share of the documents, and whether samples of one clip become
    one document with a branch for each."""

    place: str
    weight: float = 1.0
    shared: bool = False


@dataclass(frozen=True, slots=True)
class Rates:
    """The rate rises over `warmup` steps, stays to the share `constant` of all, and falls in a line to the share `last`
    of itself. `betas` are AdamW's. `parts` are factors of single parts ("tower", "reducer", "lm", "codecs", ...); 0
    freezes.
    """

    rate: float = 2e-3
    warmup: int = 50
    constant: float = 0.6
    last: float = 0.05
    betas: tuple[float, float] = (0.9, 0.98)
    decay: float = 0.0
    clip: float = 1.0
    parts: dict[str, float] = field(default_factory=dict)

    def at(self, step: int, steps: int) -> float:
        """Rate of step `step`, counted from 0, of `steps`."""
        if step < self.warmup:
            return self.rate * (step + 1) / self.warmup
        gone = step / steps
        if gone <= self.constant:
            return self.rate
        return self.rate * (1 - (1 - self.last) * (gone - self.constant) / (1 - self.constant))


@dataclass(frozen=True, slots=True)
class Plan:
    """A run. `size` names a model of the ladder; `start` the folder of a run whose weights it begins with. `objective`
    is the variant's own ("variant") or "dpo". `tokens` is the length of a packed row, `accumulate` how many rows a step
    has, `keep_every` steps between checkpoints. Pretrained weights come from `tower` and `lm`, or from one image-text
    model `model`, by folder or name (training/backbones.py); `size` and `vocabulary` then count nothing, and `stages`
    says whether parts learn as the paper's phases have it ("paper") or all of them from the first step ("one").
    `image_px` is the side of frames for a `model` whose tower sees any size, None for its own default. `compile` has
    torch.compile run the language model's layers and the head (loop/compiled.py). `optimizer` is one of OPTIMIZERS
    (loop/optimizer.py); "auto" becomes "muon" from scratch and "adamw" on pretrained weights, which were made with it.
    """

    variant: str
    data: tuple[Data, ...]
    steps: int = 1000
    size: str = "XS"
    settings: dict[str, Any] = field(default_factory=dict)
    seed: int = 0
    tokens: int = 4096
    frames: int = 16
    accumulate: int = 1
    rates: Rates = field(default_factory=Rates)
    objective: str = "variant"
    beta: float = 0.1
    start: str | None = None
    in_order: bool = False
    vocabulary: int = 4096
    words: str = "word"
    ema: float = 0.0
    keep_every: int = 250
    keep: int = 2
    tower: str | None = None
    lm: str | None = None
    model: str | None = None
    stages: str = "paper"
    compile: bool = False
    image_px: int | None = None
    optimizer: str = "auto"

    def __post_init__(self) -> None:
        if self.size not in LADDER:
            raise NotFound(f"size {self.size!r}", seen=", ".join(LADDER), do="choose one")
        if not self.data:
            raise BadInput("a run needs a dataset", seen="none", do="name one or more packed datasets")
        if self.steps < 1 or self.accumulate < 1 or self.keep_every < 1:
            seen = f"steps {self.steps}, accumulate {self.accumulate}, keep_every {self.keep_every}"
            raise BadInput("steps, rows and checkpoints are counted from 1", seen=seen, do="give larger numbers")
        if (self.tower is None) != (self.lm is None) or (self.model is not None and self.tower is not None):
            given = [name for name in ("tower", "lm", "model") if getattr(self, name) is not None]
            do = "give a tower and words, or one whole model"
            raise BadInput("pretrained weights of two kinds, or of half a model", seen=", ".join(given), do=do)
        if self.image_px is not None and self.model is None:
            do = "name a whole model, or leave it out"
            raise BadInput(f"frames of {self.image_px} pixels", seen="no model whose tower sees any size", do=do)
        if self.stages not in ("paper", "one"):
            raise BadInput(f"stages {self.stages!r}", seen="paper and one are known", do="choose one")
        if self.optimizer == "auto":
            object.__setattr__(self, "optimizer", "adamw" if self.pretrained else "muon")
        if self.optimizer not in OPTIMIZERS:
            seen = f"{' and '.join(OPTIMIZERS)} are known"
            raise BadInput(f"optimizer {self.optimizer!r}", seen=seen, do="choose one")

    @property
    def pretrained(self) -> bool:
        """Whether it begins with weights of Hugging Face."""
        return self.tower is not None or self.model is not None

    def said(self) -> dict[str, Any]:
        """As JSON. What came later than runs that stand is left out where it is as they have it: they go on."""
        said = asdict(self)
        return {name: value for name, value in said.items() if name not in _LATER or value != _LATER[name]}

    def write(self, folder: Path) -> None:
        """Into a run's folder. Raises BadInput where another plan is there already."""
        text = json.dumps(self.said(), indent=1, sort_keys=True) + "\n"
        path = folder / PLAN
        if path.exists():
            held, asked = _LATER | _said(path), _LATER | json.loads(text)
            changed = sorted(k for k in asked if held.get(k) != asked[k])
            if changed:
                told = "; ".join(f"{k} {held.get(k)} there, {asked[k]} here" for k in changed)
                same = f"say --optimizer {held['optimizer']}, or " if changed == ["optimizer"] else ""
                raise BadInput(f"run {folder} has another plan", seen=told, do=f"{same}name a new folder with --run")
            return
        with store_trouble(f"run {folder}"):
            folder.mkdir(parents=True, exist_ok=True)
            half = path.with_name(f".{PLAN}")
            half.write_text(text)
            reach("plan.written")
            half.rename(path)


def _said(path: Path) -> dict[str, Any]:
    try:
        said: dict[str, Any] = json.loads(path.read_text())
    except ValueError as error:
        raise BadInput(f"{path}", seen=f"no plan: {error}", do="name a new folder with --run") from error
    return said


def planned(folder: Path) -> Plan:
    """The plan of a run. Raises NotFound where there is none."""
    try:
        said = _said(folder / PLAN)
    except FileNotFoundError as error:
        raise NotFound(f"run {folder}", seen=f"no {PLAN} in it", do="name the folder of a run") from error
    said = _LATER | said
    said["data"] = tuple(Data(**d) for d in said["data"])
    rates = said.pop("rates")
    return Plan(**said, rates=Rates(**rates | {"betas": tuple(rates["betas"])}))
