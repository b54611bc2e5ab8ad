"""Peaks of arithmetic, against which a run's speed is set: dense bfloat16 of the vendors' data sheets.

>>> peak_of("NVIDIA H100 80GB HBM3")
989400000000000.0
"""

from __future__ import annotations

_TERA = 1e12
TFLOPS = {
    "B200": 2250.0,
    "H200": 989.4,
    "H100 PCIe": 756.5,
    "H100": 989.4,
    "A100": 311.8,
    "L40S": 362.1,
    "L4": 121.0,
    "RTX 4090": 165.2,
}
"""By a part of the name that the driver gives; the first that fits counts, so longer names stand first."""


def peak_of(name: str) -> float | None:
    """Operations a second of a GPU by its name, None for one that is not known: then `--peak` says it."""
    return next((tera * _TERA for known, tera in TFLOPS.items() if known in name), None)
