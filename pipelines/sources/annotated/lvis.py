"""LVIS: boxes of over a thousand classes on COCO's pictures, in COCO's form.

After Gupta et al. 2019 (arXiv 1908.03195). Its images carry no `file_name`: the last two parts of `coco_url`, such as
`val2017/000000000139.jpg`, name the picture, since the validation set lies partly in COCO's train2017.

    {"id": 1, "image_id": 139, "bbox": [1, 2, 3, 4], "category_id": 5}     ->  a region "alarm_clock"
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from reelmill.pipelines.sources.annotated.coco import read_as
from reelmill.pipelines.sources.annotated.fields import as_text
from reelmill.pipelines.sources.annotated.reading import Refused
from reelmill.schemas.annotation import Annotation

LICENCE = "CC-BY-4.0"
EXPECTS = "lvis_v1_train.json or lvis_v1_val.json"


def read(path: Path) -> Iterator[Annotation | Refused]:
    """A region per annotation. That a class is absent from a picture (`neg_category_ids`) is not read."""
    return read_as("lvis", path, _name_of)


def _name_of(image: dict[str, Any]) -> str:
    if "file_name" in image:
        return as_text(image["file_name"], "file_name")
    return "/".join(as_text(image.get("coco_url"), "coco_url").split("/")[-2:])
