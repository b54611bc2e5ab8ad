"""Every named point of a whole tiny flow, struck by kill -9, a bug, a full disk, a refused permission and a slow disk.

The flow is six verbs over one store: `run` (two datasets, pack, gallery; one row fails), `retry` of some rows, `run`
again, `pack` once a measurement was noted (only the card is new), `pack --media clip`, `gc`. A calm pass counts how
often each verb reaches each point. Then, for each verb, point, action and occurrence: the verb is struck there, all
that is visible must be whole, the verb is run again at once, and after the rest of the flow the promised bytes equal
the calm pass's, by an account apart from our code. A question is asked again only where its answer may have been lost.

`make chaos` does all of them, and a second fault in the recovery of a third; the default is every point once, by kill.
"""

from __future__ import annotations

import json
import os
import queue
import random
import shutil
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import recount
import tinyflow
from nursery import Forked, Nursery
from small_disks import small_disk

from reelmill.schemas.points import POINTS
from reelmill.sinks.card import LabelErrors, note_label_errors
from reelmill.sinks.dataset import Dataset

FULL = os.environ.get("REELMILL_CHAOS") == "full"
PROGRAM = Path(__file__).with_name("_verbs.py")
SHM = Path("/dev/shm")
NUMBERS = range(1, 15)
DRAWN, VIEW = "drawn-t/1", "tinyflow-t/1"
RUN, RETRY, RUN_AGAIN, CARD, CLIPS, SWEEP = range(6)
ACTIONS = ("kill", "error", "full", "denied")
WORDED = {"full": "No space left on device", "denied": "Permission denied"}
SIDE_BY_SIDE = 2
pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800 if FULL else 240)]


@dataclass(frozen=True)
class Case:
    """Strike `verb` (an index) at the nth time that it reaches `point`."""

    verb: int
    point: str
    action: str
    nth: int

    @property
    def fault(self) -> str:
        return f"{self.point}:{self.action}:{self.nth}"


@dataclass(frozen=True)
class Calm:
    """The undisturbed pass: the store before each verb, how often each verb reaches each point, and what a pack with
    frames and one with clips promise."""

    before: tuple[Path, ...]
    reached: tuple[dict[str, int], ...]
    frames: dict[str, str]
    clips: dict[str, str]


@dataclass(frozen=True)
class Scene:
    """Where the flow is played: its media, scratch room, and processes to fork off, one user at a time."""

    root: Path
    nurseries: queue.SimpleQueue[Nursery]

    def play(self, store: Path, verb: int, *, fault: str = "", broken: bool = False) -> tuple[int, str, str]:
        """Exit code, last line said and errors of a verb."""
        nursery = self.nurseries.get()
        env = {tinyflow.BROKEN: "yes" if broken else "", tinyflow.ASKED: str(asked(store))}
        try:
            with Forked(nursery, [*self.words(verb), "--store", str(store)], fault=fault, env=env) as program:
                return program.end()
        finally:
            self.nurseries.put(nursery)

    def words(self, verb: int) -> list[str]:
        """A verb of the flow, as a command line."""
        run = ["run", "tinyflow:recipe", "--media", str(self.root / "numbers.txt"), "--name", "t", "--workers", "1"]
        pack = ["pack", "tinyflow-t"]
        return [run, ["retry", "drawn-t", "--where", "key < 'm'"], run, pack, [*pack, "--media", "clip"], ["gc"]][verb]

    def room(self, like: Path) -> Path:
        """A store of its own, as another one is."""
        store = Path(tempfile.mkdtemp(dir=self.root, prefix="struck-"))
        shutil.copytree(like, store, symlinks=True, dirs_exist_ok=True)
        return store

    def clear(self, store: Path) -> None:
        shutil.rmtree(store)
        asked(store).unlink(missing_ok=True)


def asked(store: Path) -> Path:
    """The file in which the engine notes its questions."""
    return store.with_name(f"{store.name}.asked")


@pytest.fixture(scope="module")
def scene() -> Iterator[Scene]:
    """In memory, where there is some: what a fault leaves behind is the same there, and syncing is free."""
    root = Path(tempfile.mkdtemp(dir=SHM if os.access(SHM, os.W_OK) else None))
    (root / "numbers.txt").write_text(" ".join(map(str, NUMBERS)))
    os.utime(root / "numbers.txt", (1e9, 1e9))  # old enough for its digest to be remembered
    drawn = ["-f", "lavfi", "-i", "testsrc=size=16x16:rate=5:duration=1", "-threads", "1", str(root / "film.mp4")]
    subprocess.run(["ffmpeg", "-v", "error", *drawn], check=True)
    made, free = [Nursery([sys.executable, str(PROGRAM)]) for _ in range(SIDE_BY_SIDE)], queue.SimpleQueue[Nursery]()
    for one in made:
        free.put(one)
    yield Scene(root, free)
    for one in made:
        one.close()
    shutil.rmtree(root)


@pytest.fixture(scope="module")
def calm(scene: Scene) -> Calm:
    store, before, reached, frames = scene.root / "calm", list[Path](), list[dict[str, int]](), dict[str, str]()
    store.mkdir()
    for verb in (RUN, RETRY, RUN_AGAIN, CARD, CLIPS, SWEEP):
        if verb == CARD:
            frames = recount.promised(store / VIEW)
            note_label_errors(Dataset(store / VIEW), LabelErrors("measured to be right", ""))
        before.append(Path(shutil.copytree(store, scene.root / f"before-{verb}", symlinks=True)))
        code, said, errors = scene.play(store, verb, fault="none:count", broken=verb == RUN)
        assert code == (3 if verb == RUN else 0), errors
        reached.append(json.loads(said))
    require_accounted(store)
    assert max(Counter(asked(store).read_text().splitlines()).values()) == 1, "an answer was asked for twice"
    return Calm(tuple(before), tuple(reached), frames, recount.promised(store / VIEW))


def test_the_flow_walks_through_every_point(calm: Calm) -> None:
    assert {point for counts in calm.reached for point in counts} == set(POINTS)
    assert calm.frames.keys() == calm.clips.keys()
    assert calm.frames != calm.clips


def require_accounted(store: Path) -> None:
    """0 lost, 0 doubled: every number, clip and sample is where it must be, worked out from the numbers alone."""
    rows, clips = recount.rows_and_children(store / DRAWN)
    state = {r["key"]: r["verdict"]["state"] for r in rows}
    assert state == {tinyflow.key_of(n): "accepted" if n % 7 else "rejected" for n in NUMBERS}
    good = {c["key"] for c in clips if c["verdict"]["state"] == "accepted"}
    assert len(good) == sum(n % 7 != 0 and n % 10 != 3 for n in NUMBERS)
    asked_of, samples = recount.rows_and_children(store / VIEW)
    assert {r["key"] for r in asked_of} == good
    assert Counter(s["parent_key"] for s in samples) == dict.fromkeys(good, 2)
    assert recount.sample_keys(store / VIEW) == sorted(s["key"] for s in samples)


FINISH = {
    RUN: [RUN, SWEEP],
    RETRY: [RETRY, RUN, SWEEP],
    RUN_AGAIN: [RUN, SWEEP],
    CARD: [CARD, SWEEP],
    CLIPS: [CLIPS, SWEEP],
    SWEEP: [SWEEP, RUN, SWEEP],
}
"""The struck verb again; then what brings the store up to date and sweeps it."""


def finish(scene: Scene, store: Path, verb: int) -> None:
    for aside in store.rglob(".aside-*"):  # a day passes: replies are written by whoever asks, under no lease
        os.utime(aside, (1e9, 1e9))
    for number in FINISH[verb]:
        code, _, errors = scene.play(store, number)
        assert code == 0, f"{scene.words(number)}: {errors}"


def strike(scene: Scene, calm: Calm, case: Case, again: Case | None = None) -> int:
    """One case, start to end; returns the exit code of the struck verb."""
    store, codes = scene.room(calm.before[case.verb]), []
    for struck in [case, *([again] if again else [])]:
        noted = case.verb == RUN and struck.point in ("fault.written", "folder.made")  # that of fault notes, too
        broken = noted and struck is case
        code, _, errors = scene.play(store, struck.verb, fault=struck.fault, broken=broken)
        if struck is case or code:  # there may be less to do in a recovery than to reach the second fault
            require_told(struck, code, errors, store)
        recount.require_whole_objects(store)
        codes.append(code)
    finish(scene, store, case.verb)
    require_accounted(store)
    assert recount.promised(store / VIEW) == (calm.clips if case.verb == CLIPS else calm.frames), f"{case}"
    require_clean(store)
    questions = Counter(asked(store).read_text().splitlines()) if asked(store).exists() else Counter[str]()
    assert max(questions.values(), default=0) <= 1 + len(codes), f"{case}: more was asked than faults may have lost"
    scene.clear(store)
    return codes[0]


def require_clean(store: Path) -> None:
    left = [p for p in store.rglob("*") if p.name.startswith((".aside-", "link-", ".gallery-")) or p.suffix == ".part"]
    assert not left, f"half-written things were left over: {left}"
    assert len(list(store.glob("*/*/.pack/g-*"))) == 1


def require_told(case: Case, code: int, errors: str, store: Path) -> None:
    """What a person sees: the exit code of the trouble, and one line that names it, its place and the way out."""
    if case.action == "kill":  # a beat more or less shifts the count of an object's points by one
        assert code == -signal.SIGKILL or (code == 0 and case.point.startswith("object.")), f"{case}: {errors}"
    if case.action in WORDED and code:
        lines = errors.strip().splitlines()
        assert (code, len(lines)) == (2, 1), f"{case}: exit {code}\n{errors}"
        assert WORDED[case.action] in lines[0], f"{case}: {lines[0]}"
        assert str(store) in lines[0], f"{case}: {lines[0]}"
    if case.action == "error" and code:
        assert code == (3 if case.point.startswith("reply.") else 1), f"{case}: exit {code}\n{errors}"


def cases(calm: Calm, actions: tuple[str, ...]) -> list[Case]:
    """Every verb, point and action, at the first and last time that the point is reached; kills in the middle too."""
    return [
        Case(verb, point, action, nth)
        for verb, reached in enumerate(calm.reached)
        for point, times in sorted(reached.items())
        for action in actions
        for nth in sorted({1, times, *([(times + 1) // 2] if action == "kill" else [])})
    ]


def test_struck_at_every_point(calm: Calm, scene: Scene, request: pytest.FixtureRequest) -> None:
    rng = random.Random(5)
    chosen = cases(calm, ACTIONS) if FULL else sampled(calm, rng)
    seconds = [drawn_second(chosen, case, rng) if FULL and i % 3 == 0 else None for i, case in enumerate(chosen)]
    with ThreadPoolExecutor(SIDE_BY_SIDE) as pool:
        ended = list(pool.map(lambda pair: strike(scene, calm, *pair), zip(chosen, seconds, strict=True)))
    codes = Counter((case.action, code) for case, code in zip(chosen, ended, strict=True))
    say(request, told(chosen, seconds, codes))
    assert {case.point for case in chosen} == set(POINTS)
    kills = sum(case.action == "kill" for case in chosen)
    assert codes["kill", 0] <= 0.05 * kills, "kills that were never reached prove nothing"


def drawn_second(chosen: Sequence[Case], case: Case, rng: random.Random) -> Case:
    """Another fault of the same verb, for the recovery."""
    return rng.choice([other for other in chosen if other.verb == case.verb and other is not case])


def told(chosen: Sequence[Case], seconds: Sequence[Case | None], codes: Counter[tuple[str, int]]) -> str:
    points, tally = {case.point for case in chosen}, Counter(case.action for case in chosen)
    tally["a second fault in the recovery"] = sum(one is not None for one in seconds)
    said = f"{len(chosen)} faults at {len(points)} of {len(POINTS)} points: the same promised bytes each time"
    return f"\n{said}\n  {dict(tally)}; exit codes {dict(codes)}"


def say(request: pytest.FixtureRequest, lines: str) -> None:
    capture: Any = request.config.pluginmanager.get_plugin("capturemanager")
    with capture.global_and_fixture_disabled():
        print(lines)


def sampled(calm: Calm, rng: random.Random) -> list[Case]:
    """Each point once by kill, and one in five by another action."""
    every = cases(calm, ACTIONS)
    kills = [rng.choice([c for c in every if c.point == point and c.action == "kill"]) for point in POINTS]
    return [*kills, *rng.sample([c for c in every if c.action != "kill"], len(POINTS) // 5)]


@pytest.mark.parametrize("point", ["object.write", "shard.write", "lease.taken", "reply.write"])
def test_a_slow_disk_changes_nothing(calm: Calm, scene: Scene, point: str) -> None:
    assert strike(scene, calm, Case(RUN, point, "slow", 1)) == 0


@pytest.mark.parametrize("kilobytes", [60, 200, 400, 800, 1600] if FULL else [200])
def test_a_disk_that_is_really_full(calm: Calm, scene: Scene, tmp_path: Path, kilobytes: int) -> None:
    """What was committed on it stays whole, and goes on where there is room."""
    with small_disk(tmp_path / "disk", kilobytes) as disk:
        store = disk / "store"
        code, _, errors = scene.play(store, RUN)
        assert code in (0, 2), errors
        if code:
            assert len(errors.strip().splitlines()) == 1, errors
            assert "free some space" in errors
        recount.require_whole_objects(store)
        roomy = Path(shutil.copytree(store, scene.root / f"roomy-{kilobytes}", symlinks=True))
    finish(scene, roomy, RUN)
    require_accounted(roomy)
    assert recount.promised(roomy / VIEW) == calm.frames
