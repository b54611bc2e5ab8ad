"""COCO's object format: captions and instances, one annotation of one picture at a time.

After the format page of COCO (Lin et al. 2014, arXiv 1405.0312): `images` name files and sizes, `annotations` carry
`caption`, or `bbox` (left, top, width, height in pixels) and `category_id`. The file is read twice, since the lists
that annotations point into may stand behind them.

    {"id": 7, "image_id": 3, "caption": "A dog."}     ->  stated "A dog." of images[3].file_name
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reelmill.pipelines.sources.annotated.fields import (
    annotation,
    as_object,
    as_text,
    clean,
    each,
    identified,
    shown,
    size,
    xywh,
)
from reelmill.pipelines.sources.annotated.json_stream import elements, sections
from reelmill.pipelines.sources.annotated.reading import Refused
from reelmill.pipelines.sources.annotated.release_files import split_of
from reelmill.schemas.annotation import Annotation, Region, Stated
from reelmill.schemas.errors import Unusable
from reelmill.schemas.media import Kind

LICENCE = ""
EXPECTS = "captions_*.json or instances_*.json of COCO, or any file of that form"

NameOf = Callable[[dict[str, Any]], str]


def read(path: Path) -> Iterator[Annotation | Refused]:
    """An annotation per entry of `annotations`, with its own id. The licence is the picture's, as the file names it."""
    return read_as("coco", path, lambda image: as_text(image.get("file_name"), "file_name"))


def read_as(form: str, path: Path, name_of: NameOf) -> Iterator[Annotation | Refused]:
    """A file of COCO's form whose pictures are named in another way."""
    index = Index.read(path)
    source_set, split = f"{form}:{path.stem}", split_of(path.stem)

    def make(row: dict[str, Any]) -> Annotation:
        original_id = identified(row, "id")
        image = index.image(row)
        made = annotation(source_set, original_id, name_of(image), Kind.IMAGE)
        return dataclasses.replace(
            made,
            split=split,
            licence=index.licences.get(_id(image.get("license")), ""),
            width_px=size(image.get("width"), "width"),
            height_px=size(image.get("height"), "height"),
            **_claims(row, index),
        )

    return each(elements(path, "annotations"), make, "id")


def _claims(row: dict[str, Any], index: Index) -> dict[str, Any]:
    if "caption" in row:
        return {"stated": (Stated(as_text(row["caption"], "caption"), None, ""),)}
    if "bbox" in row:
        if row.get("iscrowd"):
            raise Unusable("crowd", "the box is around many things at once")
        category = index.category(row)
        return {"regions": (Region(category, category, xywh(row["bbox"])),)}
    raise Unusable("nothing_stated", f"neither caption nor bbox in {shown(sorted(row))}")


@dataclass(frozen=True, slots=True)
class Index:
    """What annotations point into, by id."""

    images: dict[str, dict[str, Any]]
    categories: dict[str, str]
    licences: dict[str, str]

    @classmethod
    def read(cls, path: Path) -> Index:
        """Raises NotFound or BadInput. Of an image only its names, size and licence are held."""
        index = cls({}, {}, {})
        for section, entry in sections(path, "images", "categories", "licenses"):
            if isinstance(entry, dict):
                index.add(section, entry)
        return index

    def add(self, section: str, entry: dict[str, Any]) -> None:
        key = _id(entry.get("id"))
        if section == "images":
            wanted = ("file_name", "coco_url", "width", "height", "license")
            self.images[key] = {name: entry[name] for name in wanted if name in entry}
        else:
            held = self.categories if section == "categories" else self.licences
            held[key] = clean(str(entry.get("name") or ""))

    def image(self, row: dict[str, Any]) -> dict[str, Any]:
        """The picture of an annotation. Raises Unusable."""
        found = self.images.get(_id(row.get("image_id")))
        if found is None:
            raise Unusable("no_image", f"image_id {shown(row.get('image_id'))} is none of `images`")
        return as_object(found, "the image")

    def category(self, row: dict[str, Any]) -> str:
        """The class of an annotation. Raises Unusable."""
        found = self.categories.get(_id(row.get("category_id")), "")
        return as_text(found, f"the name of category {shown(row.get('category_id'))}")


def _id(value: Any) -> str:
    """1 and "1" are two ids; what is no id is none of them."""
    return repr(value) if isinstance(value, int | str) else ""
