"""Parameters of rendered scenes, as data: they are part of a scene's identity, so an edited preset makes other scenes.

>>> PRESETS["demo"].width_px, PRESETS["demo"].crossing
(320, False)
"""

from __future__ import annotations

import enum
from dataclasses import dataclass


class Timing(enum.StrEnum):
    """When frames are presented: 25 per second, 30000/1001 per second, or gaps of 1/60 to 1/15 s, each drawn anew."""

    FPS_25 = "fps_25"
    NTSC = "ntsc"
    VFR = "vfr"


@dataclass(frozen=True, slots=True)
class Preset:
    """Ranges are (least, most).

    `contrast` is the least CIE76 distance between a thing and every tone behind it, `cut_luma` the least mean change in
    grey levels at a cut, `noise` the sensor noise in grey levels. With `crossing` things may cover others.
    `same_palette` is the share of cuts that keep the colours, `short_share` the share of scenes of about 2 s.
    """

    name: str
    width_px: int
    height_px: int
    duration_s: tuple[float, ...]
    short_share: float
    timings: tuple[Timing, ...]
    shots: tuple[int, ...]
    movers: tuple[int, ...]
    radius_px: tuple[int, ...]
    speed_px_s: tuple[float, ...]
    backdrops: tuple[str, ...]
    same_palette: float
    contrast: float
    cut_luma: float
    noise: float
    shaded: bool
    crossing: bool
    signs: tuple[int, ...]
    sign_px: tuple[int, ...]
    tilt_deg: float


EASY = Preset(
    name="easy",
    width_px=320,
    height_px=240,
    duration_s=(4.0, 10.0),
    short_share=0.1,
    timings=(Timing.FPS_25,),
    shots=(1, 3),
    movers=(1, 2),
    radius_px=(18, 28),
    speed_px_s=(60.0, 130.0),
    backdrops=("plain", "gradient"),
    same_palette=0.0,
    contrast=45.0,
    cut_luma=24.0,
    noise=0.0,
    shaded=False,
    crossing=False,
    signs=(0, 1),
    sign_px=(24, 32),
    tilt_deg=0.0,
)

MEDIUM = Preset(
    name="medium",
    width_px=320,
    height_px=240,
    duration_s=(4.0, 10.0),
    short_share=0.1,
    timings=(Timing.FPS_25, Timing.NTSC, Timing.VFR),
    shots=(1, 3),
    movers=(1, 3),
    radius_px=(13, 26),
    speed_px_s=(45.0, 170.0),
    backdrops=("plain", "gradient", "stripes", "checker", "blobs", "clutter"),
    same_palette=0.3,
    contrast=30.0,
    cut_luma=8.0,
    noise=1.5,
    shaded=True,
    crossing=True,
    signs=(0, 2),
    sign_px=(18, 28),
    tilt_deg=5.0,
)

DEMO = Preset(
    name="demo",
    width_px=320,
    height_px=240,
    duration_s=(4.0, 6.0),
    short_share=0.0,
    timings=(Timing.FPS_25, Timing.NTSC),
    shots=(1, 2),
    movers=(1, 2),
    radius_px=(16, 26),
    speed_px_s=(60.0, 140.0),
    backdrops=("plain", "gradient", "stripes", "blobs"),
    same_palette=0.0,
    contrast=38.0,
    cut_luma=20.0,
    noise=0.0,
    shaded=True,
    crossing=False,
    signs=(1, 1),
    sign_px=(22, 30),
    tilt_deg=0.0,
)

PRESETS = {preset.name: preset for preset in (EASY, MEDIUM, DEMO)}
