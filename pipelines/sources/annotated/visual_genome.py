"""Visual Genome's region descriptions: phrases with boxes, some fifty for each picture.

After Krishna et al. 2017 (arXiv 1602.07332): `region_descriptions.json` is a list of pictures with `regions`, whose
`x, y, width, height` are pixels. A picture is named by its id alone (`VG_100K/2.jpg` or `VG_100K_2/2.jpg`); where
`image_data.json` lies beside the file, sizes are taken from it.

    {"id": 2, "regions": [{"phrase": "a red car", "x": 1, "y": 2, "width": 3, "height": 4}]}
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from reelmill.pipelines.sources.annotated.fields import (
    annotation,
    as_list,
    as_object,
    as_text,
    each,
    identified,
    size,
    xywh,
)
from reelmill.pipelines.sources.annotated.json_stream import elements
from reelmill.pipelines.sources.annotated.reading import Refused
from reelmill.schemas.annotation import Annotation, Region
from reelmill.schemas.media import Kind

LICENCE = "CC-BY-4.0"
EXPECTS = "region_descriptions.json, and image_data.json beside it for the sizes"
SIZES = "image_data.json"


def read(path: Path) -> Iterator[Annotation | Refused]:
    """An annotation per picture. One bad region refuses its picture: a list with a hole is no list of what is there."""
    sizes = _sizes(path.with_name(SIZES))

    def make(row: dict[str, Any]) -> Annotation:
        original_id = identified(row, "id")
        width, height = sizes.get(original_id, (None, None))
        regions = [as_object(r, "a region") for r in as_list(row.get("regions"), "regions")]
        return dataclasses.replace(
            annotation("visual_genome:regions", original_id, f"{original_id}.jpg", Kind.IMAGE),
            licence=LICENCE,
            width_px=size(width, "width"),
            height_px=size(height, "height"),
            regions=tuple(_region(region) for region in regions),
        )

    return each(elements(path), make, "id")


def _region(region: dict[str, Any]) -> Region:
    corners = [region.get(name) for name in ("x", "y", "width", "height")]
    return Region(as_text(region.get("phrase"), "phrase").strip(), "", xywh(corners, "the region's box"))


def _sizes(path: Path) -> dict[str, tuple[Any, Any]]:
    if not path.is_file():
        return {}
    held = (image for image in elements(path) if isinstance(image, dict))
    return {str(i.get("image_id", i.get("id"))): (i.get("width"), i.get("height")) for i in held}
