"""Bytes changed at random: whatever a file holds, the answer is frames or a judgement, never an error of ours."""

from __future__ import annotations

import random

import pytest

from reelmill.annotators.decode.isolated import Isolated
from reelmill.schemas.errors import Unusable


def mutated(data: bytes, chance: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(chance.choice((1, 4, 16))):
        reach = chance.choice((64, 1500, len(data)))
        changed[chance.randrange(min(reach, len(data)))] = chance.choice((0, 255, chance.randrange(256)))
    return bytes(changed[: chance.choice((len(data), len(data), len(data) // 2))])


@pytest.mark.parametrize("name", ["bframes", "turned", "vfr", "hevc"])
def test_mutated_files_are_judged(tmp_path, videos, name):
    data, chance = videos[name].path.read_bytes(), random.Random(name)
    path = tmp_path / f"mutated{videos[name].path.suffix}"
    outcomes = []
    with Isolated() as child:
        for _ in range(12):
            path.write_bytes(mutated(data, chance))
            outcomes.append(_outcome(child, str(path)))
    assert all(outcomes)


def _outcome(child: Isolated, path: str) -> str:
    """Identify and decode; an error of ours would leave this function."""
    try:
        child.call("reelmill.annotators.identify:identify", path, path, wall_s=60)
        seen = child.call("reelmill.annotators.decode.frames:watch", path, None, [], wall_s=60)
    except Unusable as judged:
        return judged.reason
    return f"{seen.num_frames} frames"
