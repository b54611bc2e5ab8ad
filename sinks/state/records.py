"""Small JSON records that know when they are damaged: each carries its format version and the sha256 of its contents.

>>> record_bytes({"keys": []})[:21]
b'{"format":1,"keys":[]'
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

from reelmill.schemas.errors import BadInput, Corrupt
from reelmill.schemas.keys import canonical_json
from reelmill.sinks.state.objects import Objects

FORMAT = 1
"""Version of everything that the ledger writes. Readers take this and older ones, and refuse a larger one."""


def record_bytes(said: dict[str, Any]) -> bytes:
    """A record's contents as canonical JSON with `format` and `sha256` beside them."""
    body = {"format": FORMAT, **said}
    return canonical_json(body | {"sha256": _digest(body)}).encode()


def read_record(objects: Objects, label: str, name: str, mend: str) -> dict[str, Any]:
    """Contents of the record `name` of the dataset `label`.

    Raises FileNotFoundError where there is none, BadInput on a newer format, Corrupt (telling to `mend` it so) on
    anything that this program did not write.
    """
    return record_of(objects.get(name), f"{label}: {name}", mend)


def record_of(data: bytes, what: str, mend: str) -> dict[str, Any]:
    """Contents of a record from its bytes. Raises as `read_record` does."""
    try:
        said = json.loads(data)
        require_known(what, int(said["format"]))
        promised = said.pop("sha256")
        if _as_written(data, promised) or promised == _digest(said):
            return dict(said)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise Corrupt(what, seen=f"{len(data)} bytes that are no record ({error})", do=mend) from error
    raise Corrupt(what, seen="contents and sha256 differ", do=mend)


def require_known(what: str, version: int) -> None:
    """Raise BadInput on a format that a later program wrote."""
    if version > FORMAT:
        raise BadInput(f"{what} has format {version}", seen=f"this program reads up to {FORMAT}", do="use a newer one")


def _as_written(data: bytes, promised: str) -> bool:
    """True where the bytes are a canonical record but for its own digest: no need to spell it again to check it."""
    return hashlib.sha256(data.replace(f',"sha256":"{promised}"'.encode(), b"", 1)).hexdigest() == promised


def _digest(body: dict[str, Any]) -> str:
    return hashlib.sha256(canonical_json(body).encode()).hexdigest()
