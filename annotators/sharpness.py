"""How sharp each shown frame of a clip is, so that a view can take its key frames where nothing is blurred.

After TEMPLE's released `extract_frame` (arXiv 2503.16929): the mean absolute Laplacian after a 3 x 3 Gaussian blur.

    Sharpness()
    gives  frame_sharpness (14.2, 3.9, 15.0), one number for each shown frame
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa

from reelmill.annotators.annotator import Resources, each_row
from reelmill.annotators.shown import JPEGS, Rgb, decoded
from reelmill.schemas.column import KEY, Column

FRAME_SHARPNESS = Column.of("frame_sharpness", tuple[float, ...])


@dataclass(frozen=True)
class Sharpness:
    """Adds the sharpness of each shown frame, in grey levels, in the order of the frames."""

    needs: ClassVar[tuple[Column, ...]] = (KEY, JPEGS)
    gives: ClassVar[tuple[Column, ...]] = (FRAME_SHARPNESS,)
    observed: ClassVar[str] = "shown frames"
    revision: ClassVar[str] = "1"
    resources: ClassVar[Resources] = Resources(rows_per_commit=16)

    def setup(self) -> None:
        """Nothing to make ready."""

    def __call__(self, batch: pa.Table) -> pa.Table:
        return each_row(self, batch, self._row)

    def _row(self, row: dict[str, Any]) -> dict[str, Any]:
        return {"frame_sharpness": tuple(sharpness(decoded(jpeg)) for jpeg in row["jpegs"])}


def sharpness(rgb: Rgb) -> float:
    """Mean absolute Laplacian of the luma of a picture uint8 [height, width, 3] after a 3 x 3 Gaussian blur."""
    import cv2

    grey = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)
    return float(np.abs(cv2.Laplacian(cv2.GaussianBlur(grey, (3, 3), 0), cv2.CV_64F)).mean())
