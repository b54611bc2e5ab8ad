"""What this process may use of its machine: CPUs, memory, GPUs. A container's quota counts, not the host's size.

>>> usable_cpus() > 0
True
"""

from __future__ import annotations

import math
import os
from pathlib import Path

_ROOT = Path("/")
ROOM_FOR_A_WORKER = 512 << 20
"""Bytes that one worker of the default width is given. Its decode child takes 140 to 180 MiB on usual media and 320 on
8K; the address space that it may take at most is eight times this."""


def usable_cpus(root: Path = _ROOT) -> float:
    """CPUs by this process's affinity, or what its control groups (v1 or v2) grant it of them where that is less."""
    quotas = [_v2_cpus(f) for f in _groups(root, "")] + [_v1_cpus(f) for f in _groups(root, "cpu")]
    return min([float(len(os.sched_getaffinity(0))), *(q for q in quotas if q is not None)])


def usable_bytes(root: Path = _ROOT) -> int | None:
    """Memory that this process may still take: what is available, or the limit of its control groups; None: unknown."""
    limits = [_number(f / "memory.max") for f in _groups(root, "")]
    limits += [_number(f / "memory.limit_in_bytes") for f in _groups(root, "memory")]
    known = [n for n in (_available(root), *limits) if n is not None]
    return min(known, default=None)


def gpus() -> int:
    """NVIDIA GPUs that the driver shows and CUDA_VISIBLE_DEVICES leaves."""
    there = sum(1 for p in Path("/dev").glob("nvidia*") if p.name.removeprefix("nvidia").isdigit())
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if chosen is None:
        return there
    return min(there, sum(1 for name in chosen.split(",") if name.strip() not in ("", "-1")))


def default_workers() -> int:
    """One worker per CPU, one more for a part of a CPU, and no more than memory has room for."""
    room = usable_bytes()
    wanted = math.ceil(usable_cpus())
    return wanted if room is None else max(1, min(wanted, room // ROOM_FOR_A_WORKER))


def _groups(root: Path, controller: str) -> list[Path]:
    """Folders of this process's control group and those above it, whose limits hold too. '' is the v2 tree."""
    mount = root / "sys/fs/cgroup" / controller
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return []
    for line in lines:
        _, names, path = [*line.split(":", 2), "", ""][:3]
        if path and controller in names.split(","):
            here = mount / path.lstrip("/")
            return [here, *(p for p in here.parents if p.is_relative_to(mount))]
    return []


def _v2_cpus(folder: Path) -> float | None:
    words = _text(folder / "cpu.max").split()
    return int(words[0]) / int(words[1]) if len(words) == 2 and words[0].isdigit() else None


def _v1_cpus(folder: Path) -> float | None:
    quota, period = _number(folder / "cpu.cfs_quota_us"), _number(folder / "cpu.cfs_period_us")
    return quota / period if quota and period else None


def _available(root: Path) -> int | None:
    for line in _text(root / "proc/meminfo").splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return None


def _number(path: Path) -> int | None:
    """A limit; None where there is no such file or it says that there is none (`max`, `-1`)."""
    text = _text(path).strip()
    return int(text) if text.isdigit() else None


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
