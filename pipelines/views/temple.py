"""From a film's scenes to preference pairs: one writer tells the true list of clip captions and a perturbed one.

After TEMPLE (arXiv 2503.16929). A scene's caption is worded from its events, or is a captioner's; a pair is kept only
where every claim of the chosen side holds and one of the rejected side fails against the same evidence. Which scene a
caption is of is certain, so its place among the others is too; a caption could stand for each scene in which all that
it says may happen. What does not pass is kept with its reason:

    unsettled          the evidence leaves a claim of the chosen side open
    identity           no order was drawn but the clean one
    same_text          both sides read alike
    rejected_is_true   no claim of the rejected side is false
    not_mirrored       a drop whose insert is refused, or the other way round

    tasks     perturbations
    account   shuffle, reverse (blocks of max(1, n // r) of n scenes), swap (two neighbours), frames (the shown frames
              in shuffled blocks: a scene stands where its first key frame does)
    window    drop (scenes at one end of a stretch are left out), insert (scenes beyond its end are told too)

A drop from a whole account would be the shorter side and a text that is true; so drop and insert are of two stretches
of one film, ask for all of one, and have the same two texts the other way round.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from functools import partial
from itertools import pairwise
from typing import Any, ClassVar

from reelmill.annotators.annotator import step_name
from reelmill.annotators.shown import MEDIA
from reelmill.pipelines.sources.films import FILM_CLIPS
from reelmill.pipelines.sources.rows import BASE, PROVENANCE
from reelmill.pipelines.views import perturb
from reelmill.pipelines.views.choosing import ONE_GROUP
from reelmill.pipelines.views.evidenced import CROSSINGS, Said, clause_told
from reelmill.pipelines.views.filmed import (
    FILM_CAPTION,
    FILM_EVENTS,
    FILM_SHARPNESS,
    FILM_VECTORS,
    Film,
    Rules,
    Scene,
    film_of,
)
from reelmill.pipelines.views.happenings import flat, indefinite
from reelmill.pipelines.views.phrasing import (
    Label,
    Material,
    capital,
    defused,
    fill,
    joined_methods,
    listed,
    sample_key,
)
from reelmill.pipelines.views.phrasing import sample as sample_of
from reelmill.pipelines.views.preference import PAIRS
from reelmill.pipelines.views.worded import Worded
from reelmill.schemas.column import KEY, Column
from reelmill.schemas.errors import BadInput
from reelmill.schemas.event import Event, EventKind
from reelmill.schemas.keys import seed_for
from reelmill.schemas.sample import Claim, Perturbation, PreferenceSample, Role, Turn
from reelmill.schemas.span import Span
from reelmill.schemas.verdict import ACCEPTED, Verdict, rejected

FAMILY = "temple"
ACCOUNT, WINDOW = "account", "window"
NOTHING_ELSE = "nothing else enters or leaves in that time"
EVERY_SCENE = "every scene of that time is told"
_TRIES = 16
_ALL, _KEY = "all", "key"


@dataclass(frozen=True, kw_only=True)
class CompareFilms(Worded):
    """Pairs of one film from the events of its clips. `over`: cuts that look more alike are one scene; `show`: all
    stored frames of its cuts, or two key frames of each."""

    over: float = ONE_GROUP
    order_s: float = 0.2
    show: str = _ALL
    phrasings: str = FAMILY
    needs: ClassVar[tuple[Column, ...]] = (
        *(KEY, MEDIA, FILM_CLIPS, FILM_EVENTS),
        *(FILM_VECTORS, FILM_SHARPNESS, BASE, PROVENANCE),
    )
    gives: ClassVar[tuple[Column, ...]] = (PAIRS,)
    looked_at: ClassVar[str] = "events of the film's clips"
    captioned: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if self.show not in (_ALL, _KEY):
            raise BadInput(f"frames={self.show}", seen="no such choice", do=f"use {_ALL} or {_KEY}")
        super().__post_init__()

    def _row(self, row: dict[str, Any]) -> dict[str, Any]:
        near, vague = self.wording.table("near"), self.wording.options("vague.words")
        film = film_of(row, Rules(self.over, self.order_s, self.show == _KEY, near, vague, self.captioned))
        made = list(_Writer(self, self.material(row | {"frames": ()}), film).pairs())
        return {"samples": tuple(sorted(made, key=lambda s: s.key))}


@dataclass(frozen=True, kw_only=True)
class CompareCaptionedFilms(CompareFilms):
    """The same from a captioner's captions. What they say is not checked; that each is of its own scene is certain."""

    needs: ClassVar[tuple[Column, ...]] = (
        *(KEY, MEDIA, FILM_CLIPS, FILM_CAPTION),
        *(FILM_VECTORS, FILM_SHARPNESS, BASE, PROVENANCE),
    )
    looked_at: ClassVar[str] = "captions of the film's clips"
    captioned: ClassVar[bool] = True


class Scenes:
    """What the evidence says of captions: in which scenes they are true, and in which they could be."""

    def __init__(self, film: Film) -> None:
        self.film, self.evidence = film, film.evidence
        self._possible: dict[Said, list[Event]] = {}

    def sure(self, said: Sequence[Said]) -> set[int]:
        """Scenes in which all of it happens."""
        return self._shared([self.evidence.borne_out(s) for s in said])

    def maybe(self, said: Sequence[Said]) -> set[int]:
        """Scenes in which all of it may happen, refused events and vaguer names included."""
        return self._shared([self.possible(s) for s in said])

    def possible(self, said: Said) -> list[Event]:
        """Events that the words could mean. Each scene's things are named without a look at the others', so that no two
        names of a film are known to be of two things, as those of one clip are."""
        if said not in self._possible:
            subject, kind = said
            own = [e for e in self.evidence.events if e.kind is kind]
            could = self.evidence.could_be
            self._possible[said] = [e for e in own if e.subject == subject or could(subject, e.subject)]
        return self._possible[said]

    def _shared(self, found: Sequence[Sequence[Event]]) -> set[int]:
        scenes = [{self.film.scene_of[e.key] for e in events if e.key in self.film.scene_of} for events in found]
        return set.intersection(*scenes)

    def shown(self, said: Sequence[Said], among: set[int]) -> bool | None:
        if self.sure(said) & among:
            return True
        return None if self.maybe(said) & among else False

    def before(self, first: Sequence[Said], second: Sequence[Said]) -> bool | None:
        """Does a scene of the first caption come before one of the second?"""
        if self.sure(first) and self.sure(second) and min(self.sure(first)) < max(self.sure(second)):
            return True
        early, late = self.maybe(first), self.maybe(second)
        return None if early and late and min(early) < max(late) else False

    def told(self, scenes: Sequence[Scene], rejected: bool) -> Iterator[Claim]:
        """The claims of an account: each caption is of a scene, and each before the next."""
        every = {scene.number for scene in self.film.scenes}
        for scene in scenes:
            yield self._claim(caption_told(scene.said), self.shown(scene.said, every), (scene,), rejected)
        yield from self._in_order(scenes, rejected)

    def _in_order(self, scenes: Sequence[Scene], rejected: bool) -> Iterator[Claim]:
        for a, b in pairwise(scenes):
            text = f"{caption_told(a.said)} before {caption_told(b.said)}"
            yield self._claim(text, self.before(a.said, b.said), (a, b), rejected)

    def inside(self, scenes: Sequence[Scene], window: Sequence[Scene], rejected: bool) -> Iterator[Claim]:
        """The claims of a complete account of a stretch: their order, each of that time, and nothing else."""
        among = {scene.number for scene in window}
        yield from self._in_order(scenes, rejected)
        for scene in scenes:
            text = f"in that time: {caption_told(scene.said)}"
            yield self._claim(text, self.shown(scene.said, among), (scene,), rejected)
        stated = any(kind is EventKind.STATED for scene in window for _, kind in scene.said)
        complete = self._every(scenes, window) if stated else self._nothing_else(scenes, window)
        yield self._claim(EVERY_SCENE if stated else NOTHING_ELSE, complete, window, rejected)

    def _every(self, scenes: Sequence[Scene], window: Sequence[Scene]) -> bool | None:
        told = {scene.said for scene in scenes}
        if all(scene.said in told for scene in window):
            return True
        left = [scene for scene in window if scene.said not in told]
        could = {number for scene in scenes for number in self.maybe(scene.said) if number != scene.number}
        return None if all(scene.number in could for scene in left) else False

    def _nothing_else(self, scenes: Sequence[Scene], window: Sequence[Scene]) -> bool | None:
        told = {said for scene in scenes for said in scene.said}
        crossed = {(e.subject, e.kind) for scene in window for e in scene.named if e.kind in CROSSINGS}
        if crossed - told:
            return False
        return True if all(scene.whole for scene in window) else None

    def _claim(self, text: str, verdict: bool | None, about: Sequence[Scene], rejected: bool) -> Claim:
        """An open statement helps neither side."""
        keys = tuple(dict.fromkeys(e.key for scene in about for e in scene.named))
        return Claim(text, rejected, verdict if verdict is not None else rejected, keys)


def caption_told(said: Sequence[Said]) -> str:
    """What a claim says of one scene."""
    return ", ".join(clause_told(s) for s in said)


@dataclass(frozen=True, slots=True)
class _Sides:
    """What a pair tells on either side. `window` are the scenes that were asked about; none: the whole film."""

    chosen: Sequence[Scene]
    rejected: Sequence[Scene]
    window: Sequence[Scene] = ()


class _Writer:
    """The pairs of one film. Every draw is seeded by the pair's own key, so that no pair depends on another."""

    def __init__(self, step: CompareFilms, clip: Material, film: Film) -> None:
        self.step, self.clip, self.film, self.scenes = step, clip, film, Scenes(film)
        ids: dict[str, set[str]] = defaultdict(set)
        for event in film.evidence.events:
            ids[event.subject].add(event.subject_id)
        self.shared = {subject for subject, found in ids.items() if len(found) > 1}
        self.stated = any(kind is EventKind.STATED for scene in film.told for _, kind in scene.said)

    def pairs(self) -> Iterator[PreferenceSample]:
        yield from self._once_each([*self.orders(), *self.frames()])
        yield from self.windows()

    def _once_each(self, pairs: Sequence[PreferenceSample]) -> Iterator[PreferenceSample]:
        """One of those that came out alike: keys are hashes, so the least of them is a draw."""
        kept: dict[tuple[str, ...], PreferenceSample] = {}
        for pair in sorted(pairs, key=lambda p: p.key):
            kept.setdefault(tuple(c.text for c in pair.claims if c.rejected), pair)
        yield from kept.values()

    # --- accounts whose order is wrong ---

    def orders(self) -> Iterator[PreferenceSample]:
        n = len(self.film.told)
        for stage, size in enumerate(perturb.block_sizes(n)):
            yield self.reordered("shuffle", stage, partial(perturb.shuffled_blocks, n, size))
            yield self.reordered("reverse", stage, partial(_always, perturb.reversed_blocks(n, size)))
        yield self.reordered("swap", 0, lambda rng: perturb.swapped(n, rng.randrange(n - 1)))

    def reordered(self, kind: str, stage: int, draw: Callable[[random.Random], perturb.Order]) -> PreferenceSample:
        told, key = self.film.told, self.key(ACCOUNT, kind, stage)
        order = min((draw(self.rng(key, f"draw {i}")) for i in range(_TRIES)), key=self._faults)
        how = self.how(kind, "captions", stage, len(told), order, key)
        return self.pair(key, ACCOUNT, how, _Sides(told, [told[i] for i in order]))

    def frames(self) -> Iterator[PreferenceSample]:
        """The account that the shown frames would give in another order of theirs."""
        told, at_s = self.film.told, [f.at_s for f in self.film.frames]
        slots = [max((i for i, t in enumerate(at_s) if t <= s.key_at_s[0]), default=0) for s in told if s.key_at_s]
        if len(slots) < len(told):
            return
        for stage, size in enumerate(perturb.block_sizes(len(at_s))):
            key = self.key(ACCOUNT, "frames", stage)
            drawn = [perturb.shuffled_blocks(len(at_s), size, self.rng(key, f"draw {i}")) for i in range(_TRIES)]
            shown = min(drawn, key=lambda f: self._faults(perturb.framed(slots, f)))
            how = self.how("frames", "frames", stage, len(at_s), shown, key)
            yield self.pair(key, ACCOUNT, how, _Sides(told, [told[i] for i in perturb.framed(slots, shown)]))

    def _faults(self, order: perturb.Order) -> int:
        """0 where some neighbours are told in an order that is certainly wrong, else 1."""
        told = [self.film.told[i] for i in order]
        return int(not any(self.scenes.before(a.said, b.said) is False for a, b in pairwise(told)))

    # --- complete accounts of a stretch ---

    def windows(self) -> Iterator[PreferenceSample]:
        whole = self._stretch()
        for stage, count in enumerate(perturb.drop_counts(len(whole))):
            drawn = self.key(WINDOW, stage)  # of a drop and its insert, which are worded alike
            part = whole[count:] if self.rng(drawn, "end").random() < 0.5 else whole[:-count]
            both = [
                self._toggled("drop", drawn, stage, whole, part),
                self._toggled("insert", drawn, stage, part, whole),
            ]
            good = all(p.verdict.accepted for p in both)
            late = rejected(step_name(self.step), "not_mirrored", "the same two texts the other way round are refused")
            yield from (p if good or not p.verdict.accepted else replace(p, verdict=late) for p in both)

    def _stretch(self) -> Sequence[Scene]:
        """The longest run of scenes of which everything is known and told, the first of several."""
        best: list[Scene] = []
        run: list[Scene] = []
        for scene in self.film.scenes:
            run = [*run, scene] if scene.whole and scene.said else []
            best = run if len(run) > len(best) else best
        return best

    def _toggled(
        self, kind: str, drawn: str, stage: int, window: Sequence[Scene], told: Sequence[Scene]
    ) -> PreferenceSample:
        key, most = self.key(WINDOW, kind, stage), max(len(window), len(told))
        order = tuple(i for i, scene in enumerate(window) if scene in told) if kind == "drop" else ()
        how = replace(self.how(kind, "captions", stage, most, order, key), strength=abs(len(window) - len(told)) / most)
        return self.pair(key, WINDOW, how, _Sides(window, told, window), drawn)

    # --- words ---

    def account(self, drawn: str, scenes: Sequence[Scene], *, ended: bool) -> Turn:
        forms = self.step.wording.table("forms.stated" if self.stated else "forms.told")
        form = forms[seed_for(self.step.seed, drawn, "form") % len(forms)]
        places = ["first", *["next"] * (len(scenes) - 2), *(["last"] if len(scenes) > 1 else [])]
        told = [fill(form[p], f"forms {p}", self._words(s)) for p, s in zip(places, scenes, strict=True)]
        if ended:
            path = "window.end_stated" if self.stated else "window.end"
            told.append(self.step.wording.pick(path, seed_for(self.step.seed, drawn, "end")))
        return Turn(Role.ASSISTANT, " ".join(told), (), (), ())

    def _words(self, scene: Scene) -> dict[str, str]:
        if self.stated:
            return {"caption": " ".join(defused(text) for text, _ in scene.said)}
        clause = listed([self._clause(said) for said in scene.said])
        return {"clause": clause, "Clause": capital(clause)}

    def _clause(self, said: Said) -> str:
        subject, kind = said
        who = defused(indefinite(subject) if subject in self.shared else subject)
        return f"{who} {self.step.wording.table(f'kinds.{kind}')['third']}"

    def ask(self, task: str, drawn: str, window: Sequence[Scene]) -> Turn:
        text = self.step.wording.pick(f"{task}.question", seed_for(self.step.seed, drawn, "question"))
        spans = [Span(window[0].span.start_s, window[-1].span.end_s)] if window else []
        return Turn(Role.USER, text, flat(spans), (), ())

    # --- what all pairs share ---

    def key(self, task: str, *identity: str | int) -> str:
        return sample_key(self.clip.key, FAMILY, task, *identity)

    def rng(self, key: str, name: str) -> random.Random:
        return random.Random(seed_for(self.step.seed, key, name))

    def how(self, kind: str, of: str, stage: int, items: int, order: perturb.Order, key: str) -> Perturbation:
        seed = seed_for(self.step.seed, key, "draw 0")
        return Perturbation(kind, of, perturb.moved_share(order, items), stage, items, order, seed)

    def pair(self, key: str, task: str, how: Perturbation, sides: _Sides, drawn: str = "") -> PreferenceSample:
        drawn, claims = drawn or key, (*self._claims(sides, wrong=False), *self._claims(sides, wrong=True))
        chosen, wrong = (self.account(drawn, s, ended=bool(sides.window)) for s in (sides.chosen, sides.rejected))
        failing = [not c.holds for c in claims if c.rejected]
        named = [e for scene in sides.chosen for e in scene.named]
        label = Label(
            evidence=tuple(dict.fromkeys(e.key for e in named)),
            confidence=min(e.confidence for e in named),
            method=joined_methods(e.method for e in named),
            verdict=self._verdict(how, claims, chosen == wrong),
        )
        base = sample_of(self.clip, key, FAMILY, task, (), (self.ask(task, drawn, sides.window), chosen), label)
        own = {f.name: getattr(base, f.name) for f in fields(base)} | {"frames": self.film.frames}
        margin = sum(failing) / len(failing)
        return PreferenceSample(**own, rejected=(wrong,), perturbation=how, claims=claims, margin=margin)

    def _claims(self, sides: _Sides, *, wrong: bool) -> Iterator[Claim]:
        told = sides.rejected if wrong else sides.chosen
        return self.scenes.inside(told, sides.window, wrong) if sides.window else self.scenes.told(told, wrong)

    def _verdict(self, how: Perturbation, claims: Sequence[Claim], alike: bool) -> Verdict:
        step = step_name(self.step)
        if not all(c.holds for c in claims if not c.rejected):
            open_ = next(c.text for c in claims if not c.rejected and not c.holds)
            return rejected(step, "unsettled", f"not borne out: {open_}")
        if perturb.is_identity(how.order, how.items):
            return rejected(step, "identity", f"{how.kind} of {how.items} changed nothing")
        if alike:
            return rejected(step, "same_text", "both sides read alike")
        if all(c.holds for c in claims if c.rejected):
            return rejected(step, "rejected_is_true", f"all {sum(c.rejected for c in claims)} claims hold")
        return ACCEPTED


def _always(order: perturb.Order, rng: random.Random) -> perturb.Order:
    """An order that needs no draw."""
    del rng
    return order
