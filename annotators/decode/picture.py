"""Still pictures as RGB the way a person would see them: turned, on a ground that keeps them readable, in eight bits.

What is decided here (decision 0004): EXIF orientation is applied; transparency is laid on white, or on black where the
edges of what is seen would vanish on white; CMYK by Pillow's inversion of Adobe files; sixteen bits scaled by the range
of the type; of several frames the first; the pixel limit is held by the header, before anything is decoded.

>>> load_picture("photo.jpg").shape          # doctest: +SKIP
(1200, 1800, 3)
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from reelmill.schemas.errors import Unusable

if TYPE_CHECKING:
    from PIL import Image

Rgb = npt.NDArray[np.uint8]

MAX_PICTURE_PX = 64_000_000

# Only formats that Pillow decodes itself, from one file: no PostScript (a program), no WMF or PDF (drawings).
FORMATS = ("JPEG", "PNG", "GIF", "WEBP", "TIFF", "BMP", "DIB", "PPM", "AVIF", "JPEG2000", "TGA", "ICO")

_ORIENTATION = 274
# EXIF orientation -> (clockwise degrees, rows and columns swapped); 2, 4, 5 and 7 are mirrored as well.
_TURNS = {3: 180, 4: 180, 5: 90, 6: 90, 7: 270, 8: 270}
_OPAQUE = 128
_BRIGHT, _DARK = 224, 32
_WHITE, _BLACK = (255, 255, 255), (0, 0, 0)


@dataclass(frozen=True, slots=True)
class PictureFacts:
    """What the header declares. Sizes as stored; `shown` turned by EXIF."""

    container: str
    mode: str
    width_px: int
    height_px: int
    num_frames: int
    rotation_deg: int
    note: str

    @property
    def shown(self) -> tuple[int, int]:
        """(width, height) in the shown orientation."""
        turned = self.rotation_deg in (90, 270)
        return (self.height_px, self.width_px) if turned else (self.width_px, self.height_px)


def picture_facts(path: str, max_px: int = MAX_PICTURE_PX) -> PictureFacts:
    """Read a picture's header; nothing is decoded.

    Raises Unusable: empty_file, unreadable, not_media, truncated_picture, corrupt_picture, too_many_pixels.
    """
    with _opened(path, max_px) as image:
        return _facts(image)


def load_picture(path: str, max_px: int = MAX_PICTURE_PX) -> Rgb:
    """RGB uint8 (H, W, 3) in the shown orientation. Raises Unusable as `picture_facts` does, for the pixels too."""
    return read_picture(path, max_px)[1]


def read_picture(path: str, max_px: int = MAX_PICTURE_PX) -> tuple[PictureFacts, Rgb]:
    """Header and pixels from one opening; see `load_picture`."""
    with _opened(path, max_px) as image:
        facts = _facts(image)
        with _judged(image.format):
            image.load()
            turned = _turned(image)
            return facts, _rgb(turned)


@contextmanager
def _opened(path: str, max_px: int) -> Iterator[Image.Image]:
    from PIL import Image

    local = Path(path)
    try:
        if local.stat().st_size == 0:
            raise Unusable("empty_file", "0 bytes")
        stream = local.open("rb")
    except OSError as error:
        raise Unusable("unreadable", error.strerror or str(error)) from error
    with stream, warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # the limit below is lower than Pillow's
        Image.init()
        formats = [f for f in FORMATS if f in Image.OPEN]  # a Pillow built without AVIF has no such name
        with _judged(None):
            image = Image.open(stream, formats=formats)
        with image:
            _check(image.width, image.height, max_px)
            yield image


def _check(width_px: int, height_px: int, max_px: int) -> None:
    if width_px * height_px > max_px:
        seen = f"{width_px} x {height_px} = {width_px * height_px / 1e6:.1f} Mpx by the header"
        raise Unusable("too_many_pixels", f"{seen}; the limit is {max_px / 1e6:.1f} Mpx")


@contextmanager
def _judged(container: str | None) -> Iterator[None]:
    """Pillow raises a dozen kinds of errors on damaged bytes: say which judgement each one is."""
    from PIL import Image, UnidentifiedImageError

    what = container or "picture"
    try:
        yield
    except (Unusable, MemoryError):
        raise
    except Image.DecompressionBombError as error:
        raise Unusable("too_many_pixels", str(error)) from error
    except UnidentifiedImageError as error:
        raise Unusable("not_media", "no picture format that is read here") from error
    except Exception as error:
        cut = isinstance(error, EOFError) or any(w in str(error).lower() for w in ("truncated", "unexpected end"))
        seen = f"{what}: {type(error).__name__}: {error}"
        raise Unusable("truncated_picture" if cut else "corrupt_picture", seen) from error


def _facts(image: Image.Image) -> PictureFacts:
    with _judged(image.format):
        frames = int(getattr(image, "n_frames", 1))
    turn = _TURNS.get(_orientation(image), 0)
    note = f"first of {frames} frames" if frames > 1 else ""
    return PictureFacts(str(image.format).lower(), image.mode, image.width, image.height, frames, turn, note)


def _orientation(image: Image.Image) -> int:
    """EXIF orientation 1 .. 8; 1 where there is none or its block is damaged, which does not spoil the picture."""
    try:
        return int(image.getexif().get(_ORIENTATION, 1))
    except Exception:
        return 1


def _turned(image: Image.Image) -> Image.Image:
    from PIL import Image

    how = Image.Transpose
    turn = {
        2: how.FLIP_LEFT_RIGHT,
        3: how.ROTATE_180,
        4: how.FLIP_TOP_BOTTOM,
        5: how.TRANSPOSE,
        6: how.ROTATE_270,
        7: how.TRANSVERSE,
        8: how.ROTATE_90,
    }.get(_orientation(image))
    return image if turn is None else image.transpose(turn)


def _rgb(image: Image.Image) -> Rgb:
    """Any Pillow mode as RGB."""
    if image.mode.startswith("I") or image.mode == "F":
        grey = _eight_bits(np.asarray(image), image.mode)
        return np.repeat(grey[:, :, None], 3, axis=2)
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        return _on_ground(np.asarray(image.convert("RGBA")))
    return np.array(image.convert("RGB"))


def _eight_bits(values: npt.NDArray[Any], mode: str) -> npt.NDArray[np.uint8]:
    """Grey values of more than eight bits, scaled and not clipped.

    Sixteen bits by the range of the type, so that one picture does not depend on its brightest pixel. `I` and `F` have
    no range of their own: 255, 65535 or 1 where the values fit that, else their own least and greatest.
    """
    wide = np.nan_to_num(values.astype(np.float32))
    low, high = float(wide.min(initial=0.0)), float(wide.max(initial=0.0))
    if mode.startswith("I;16"):
        low, high = 0.0, 65535.0
    elif low >= 0:
        ranges = (1.0, 255.0, 65535.0) if mode == "F" else (255.0, 65535.0)
        low, high = 0.0, next((r for r in ranges if high <= r), high)
    wide -= low
    wide *= 255.0 / max(high - low, 1e-12)
    return np.rint(wide).astype(np.uint8)


def _on_ground(rgba: npt.NDArray[np.uint8]) -> Rgb:
    """Lay a transparent picture on white, or on black where more of its edges would vanish on white."""
    alpha = rgba[:, :, 3:].astype(np.uint16)
    ground = np.array(ground_for(rgba), np.uint16)
    mixed: Rgb = ((rgba[:, :, :3] * alpha + ground * (255 - alpha) + 127) // 255).astype(np.uint8)
    return mixed


def ground_for(rgba: npt.NDArray[np.uint8]) -> tuple[int, int, int]:
    """White or black, by the visible pixels that touch transparent ones: there a shape is told from its ground.

    rgba: uint8 (H, W, 4).
    """
    visible = rgba[:, :, 3] >= _OPAQUE
    edge = visible & _touching(~visible)
    luma = rgba[edge][:, :3] @ np.array([0.299, 0.587, 0.114], np.float32)
    bright, dark = int((luma >= _BRIGHT).sum()), int((luma <= _DARK).sum())
    return _BLACK if bright > dark else _WHITE


def _touching(area: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Pixels with a neighbour (above, below, left, right) in `area`."""
    near = np.zeros_like(area)
    near[1:] |= area[:-1]
    near[:-1] |= area[1:]
    near[:, 1:] |= area[:, :-1]
    near[:, :-1] |= area[:, 1:]
    return near
