"""Where state lives: a folder of this machine, or a place in a bucket. One way to name both, one way to open them.

>>> place_at("s3://films/store"), place_at("store")
(S3Folder(bucket='films', prefix='store', ...), PosixPath('store'))
"""

from __future__ import annotations

from pathlib import Path

from reelmill.schemas.errors import StoreUnusable
from reelmill.sinks.state.objects import LocalObjects, Objects
from reelmill.sinks.state.s3 import SCHEME, S3Folder, S3Objects

Folder = Path | S3Folder
"""Both know `/`, `name`, `parent` and `str`."""


def place_at(where: str | Path) -> Folder:
    """The place that a person names. Raises BadInput on an s3:// URI without a bucket."""
    return S3Folder.at(str(where)) if str(where).startswith(SCHEME) else Path(where)


def objects_in(place: Folder) -> Objects:
    return S3Objects(place) if isinstance(place, S3Folder) else LocalObjects(place)


def on_disk(place: Folder) -> Path:
    """The place as a folder. Raises StoreUnusable on a bucket: what asks for it reads and writes files of a disk."""
    if isinstance(place, S3Folder):
        seen = "a bucket, which holds the state of datasets; packing, galleries, sql and tables want a folder"
        raise StoreUnusable(str(place), seen=seen, do="copy it (aws s3 sync), then use the copy as --store")
    return place
