"""RefCOCO, RefCOCO+, RefCOCOg: phrases that each name one thing in a COCO picture.

After Yu et al. 2016 (arXiv 1608.00272) and the loader of lichengunc/refer: `refs(unc).p`, a pickle, holds the phrases,
`instances.json` beside it the boxes (left, top, width, height). A pickle can run code, so it is read by an unpickler
that knows no class and no function: what asks for one is refused whole. A `.json` file of the same rows is read too.
The rows' own `file_name` has the annotation's number in it and names no file; the picture is looked up by its id.

    refs {"ref_id": 1, "ann_id": 9, "sentences": [{"sent": "left dog"}]}     ->  a region "left dog"
"""

from __future__ import annotations

import dataclasses
import json
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from reelmill.pipelines.sources.annotated.coco import Index
from reelmill.pipelines.sources.annotated.fields import (
    annotation,
    as_list,
    as_object,
    as_text,
    clean,
    each,
    identified,
    shown,
    size,
    xywh,
)
from reelmill.pipelines.sources.annotated.json_stream import elements
from reelmill.pipelines.sources.annotated.reading import Refused
from reelmill.schemas.annotation import Annotation, Region
from reelmill.schemas.errors import BadInput, NotFound, Unusable
from reelmill.schemas.media import Kind

LICENCE = ""
EXPECTS = "refs(unc).p, refs(google).p, refs(umd).p or the same rows as .json, with instances.json beside it"
INSTANCES = "instances.json"


class _Plain(pickle.Unpickler):
    """Lists, dicts, texts and numbers: a pickle that names any class or function is refused before it is made."""

    def find_class(self, module: str, name: str) -> Any:
        raise pickle.UnpicklingError(f"it asks for {module}.{name}")


def read(path: Path) -> Iterator[Annotation | Refused]:
    """An annotation per ref, with a region for each of its sentences. Raises NotFound or BadInput."""
    instances = path.with_name(INSTANCES)
    index = Index.read(instances)
    held = {repr(a.get("id")): a for a in elements(instances, "annotations") if isinstance(a, dict)}
    source_set = f"refcoco:{path.parent.name}:{path.stem}"

    def make(row: dict[str, Any]) -> Annotation:
        found = held.get(repr(row.get("ann_id")))
        if found is None:
            raise Unusable("no_box", f"ann_id {shown(row.get('ann_id'))} is none of {INSTANCES}")
        image, category, box = index.image(found), index.category(found), xywh(found.get("bbox"))
        said = [as_object(s, "a sentence") for s in as_list(row.get("sentences"), "sentences")]
        return dataclasses.replace(
            annotation(source_set, identified(row, "ref_id"), as_text(image.get("file_name"), "file_name"), Kind.IMAGE),
            split=clean(str(row.get("split") or "")),
            width_px=size(image.get("width"), "width"),
            height_px=size(image.get("height"), "height"),
            regions=tuple(Region(as_text(s.get("sent"), "sent"), category, box) for s in said),
        )

    return each(_rows(path), make, "ref_id")


def _rows(path: Path) -> list[Any]:
    """All refs: a pickle is one value and cannot be streamed."""
    try:
        with path.open("rb") as stream:
            found = json.load(stream) if path.suffix == ".json" else _Plain(stream, encoding="utf-8").load()
    except OSError as error:
        raise NotFound(f"annotated set {str(path)!r}", seen=str(error.strerror), do="check the path") from error
    except Exception as error:  # an unpickler raises whatever a broken stream makes it trip over
        seen = f"{type(error).__name__}: {error}"[:200]
        raise BadInput(f"annotated set {path.name!r}", seen=seen, do="give refs of plain data, or JSON") from error
    if not isinstance(found, list):
        raise BadInput(f"annotated set {path.name!r}", seen=shown(found), do="give a list of refs")
    return found
