"""A person's marks, kept as evidence beside the dataset: append-only, one small file for each that is sent.

    {store}/{name}/{version}/audit/{rater}-{number}.jsonl      one mark a line, never changed, never removed

They belong to no promised byte. Those of all versions of a dataset are read together: a mark counts wherever the sample
has the same key and says the same (`text_sha256`).

>>> rater_named("  Ada   Lovelace ")
'Ada Lovelace'
"""

from __future__ import annotations

import enum
import hashlib
import re
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated, Literal

import pydantic

from reelmill.schemas import arrow
from reelmill.schemas.errors import BadInput, Corrupt
from reelmill.schemas.keys import canonical_json
from reelmill.schemas.sample import Sample
from reelmill.sinks.dataset import Dataset
from reelmill.sinks.state.place import objects_in

FOLDER = "audit"
NOTE_SIGNS = 2_000
_NAME_SIGNS = 64
_SAID = ("turns", "rejected", "tubes", "turns_at_s", "watch_from_s", "watch_until_s")
"""The fields of any kind of sample that a person judges. A claim's or a perturbation's account is not among them."""
_AHEAD = timedelta(days=1)
"""How far a clock may be ahead before its marks are refused: one from a far future could never be marked anew."""

Sha256 = Annotated[str, pydantic.Field(pattern=r"^[0-9a-f]{64}$")]
Key = Annotated[str, pydantic.Field(pattern=r"^[a-z2-7]{26}$")]
Note = Annotated[str, pydantic.Field(max_length=NOTE_SIGNS)]


class Judgement(enum.StrEnum):
    """What a person says of a label. `unsure` is neither right nor wrong, and is counted beside both."""

    RIGHT = "right"
    WRONG = "wrong"
    UNSURE = "unsure"


class Mark(pydantic.BaseModel):
    """One judgement of one sample: by whom, when, of which words and times (`text_sha256`), and which frames
    (their sha256, in order) the person was shown."""

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)

    key: Key
    text_sha256: Sha256
    frames: Annotated[tuple[Sha256, ...], pydantic.Field(max_length=1_000)]
    judgement: Judgement
    note: Note
    rater: str
    at: pydantic.AwareDatetime

    @pydantic.field_validator("rater")
    @classmethod
    def _a_name(cls, name: str) -> str:
        return rater_named(name)


class MarkFile(pydantic.BaseModel):
    """What the page offers as a download, and `--marks` reads."""

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)

    format: Literal[1]
    dataset: str
    marks: tuple[Mark, ...]


def rater_named(name: str) -> str:
    """A person's name on one line. Raises ValueError on none, one that is too long, or signs that are not printed."""
    flat = " ".join(name.split())
    if not flat or len(flat) > _NAME_SIGNS or not flat.isprintable():
        raise ValueError(f"rater {name[:_NAME_SIGNS]!r}: want 1 to {_NAME_SIGNS} printable signs")
    return flat


def text_sha256(sample: Sample) -> str:
    """sha256 of all that a person judges: words, times, boxes and tubes of both sides, and when they are said."""
    said = {name: arrow.plain(getattr(sample, name)) for name in _SAID if hasattr(sample, name)}
    return hashlib.sha256(canonical_json(said).encode()).hexdigest()


def read_file(data: bytes, what: str, dataset: Dataset) -> tuple[Mark, ...]:
    """Marks of a downloaded file. Raises BadInput where it is none, or one of another dataset."""
    do = "give the file that the page offered as a download"
    try:
        found = MarkFile.model_validate_json(data)
    except pydantic.ValidationError as error:
        raise BadInput(f"marks {what}", seen=_first(error), do=do) from error
    if found.dataset.partition("@")[0] != dataset.name:
        raise BadInput(f"marks {what}", seen=f"marks of {found.dataset!r}, not {dataset.name}", do=do)
    ahead = [m for m in found.marks if m.at > datetime.now(UTC) + _AHEAD]
    if ahead:
        raise BadInput(f"marks {what}", seen=f"a mark of {ahead[0].at.isoformat()}", do="set the clock it came from")
    return found.marks


def keep(dataset: Dataset, marks: Sequence[Mark]) -> None:
    """Store marks, on disk when this returns; nothing is written for none. Any number of processes may do so."""
    if not marks:
        return
    objects = objects_in(dataset.place)
    data = "".join(f"{m.model_dump_json()}\n" for m in marks).encode()
    slug = re.sub(r"[^a-z0-9]+", "_", marks[0].rater.lower())
    numbers = [int(n) for name in objects.list(FOLDER) if (n := name.rpartition("-")[2][:-6]).isdecimal()]
    number = max(numbers, default=0) + 1
    while not objects.put_if_absent(f"{FOLDER}/{slug}-{number:06d}.jsonl", data):
        number += 1


def kept(dataset: Dataset) -> list[Mark]:
    """Every mark of every version of the dataset, the earliest first. Raises Corrupt on a line that is no mark."""
    objects = objects_in(dataset.place.parent)
    found: list[Mark] = []
    for version in objects.folders(""):
        for name in objects.list(f"{version}/{FOLDER}"):
            place = f"{version}/{FOLDER}/{name}"
            found += _lines(objects.get(place), f"{dataset.name}: {place}")
    return sorted(found, key=lambda m: m.at)


def newest(marks: Iterable[Mark]) -> dict[tuple[str, str], Mark]:
    """The last mark of each (sample key, rater): a person may think again."""
    return {(m.key, m.rater): m for m in sorted(marks, key=lambda m: m.at)}


def _lines(data: bytes, what: str) -> list[Mark]:
    try:
        return [Mark.model_validate_json(line) for line in data.splitlines()]
    except pydantic.ValidationError as error:
        raise Corrupt(what, seen=_first(error), do="mend the line, or move the file away") from error


def _first(error: pydantic.ValidationError) -> str:
    """The first fault, in one line, without what was put in: that may be anything."""
    one = error.errors(include_input=False, include_url=False)[0]
    return f"{'.'.join(map(str, one['loc'])) or 'the whole'}: {one['msg']}"
