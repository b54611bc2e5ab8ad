"""Forms that are about time, and about time and place together: TVG, TR, DVC, TGC, STVG, SVG, ELC, and what is absent.

STVG  "When does the red circle move, and where is it then?"  ->  "It happens at <time>: <tube>"
ELC   start and box  ->  end, event and tube
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import permutations, product

from reelmill.pipelines.views.aligned.story import Act, Draft, Fault, Story
from reelmill.pipelines.views.aligned.subjects import VAGUE, Thing, alike
from reelmill.pipelines.views.happenings import flat, may_be, recoloured
from reelmill.schemas.event import Event, EventKind
from reelmill.schemas.keys import micros, seed_for
from reelmill.schemas.sample import Role, Turn
from reelmill.schemas.span import Span

DENIABLE = (EventKind.ENTERS, EventKind.LEAVES, EventKind.STOPS)
"""Kinds that may be denied of a thing that was followed; that it moves, every one of its events implies."""

Absent = tuple[str, EventKind, Thing]
"""A subject and what it does not do, and the thing that it was made from."""


def tvg(story: Story) -> Iterator[Draft]:
    """Temporal video grounding: words to an interval."""
    for act in story.acts:
        key = story.key("tvg", *identity(act))
        words, fault = story.words_of(act)
        turns = (story.ask("tvg", key, words), story.tell("tvg.answer", key, words, (act.span,)))
        yield Draft("tvg", key, turns, (act.thing,), (act.event,), fault=fault)


def tr(story: Story) -> Iterator[Draft]:
    """Temporal referring: an interval to words for the one event that fills it."""
    for act in story.acts:
        key = story.key("tr", *identity(act))
        words, fault = story.words_of(act, act.span)
        turns = (story.ask("tr", key, words, (act.span,)), story.tell("tr.answer", key, words))
        yield Draft("tr", key, turns, (act.thing,), (act.event,), fault=fault or rival(story, act))


def dvc(story: Story) -> Iterator[Draft]:
    """Dense video captioning: everything that happens, in order, each with its interval."""
    if not story.acts:
        return
    key = story.key("dvc")
    form = seed_for(story.seed, key, "dvc.line")
    said = [story.words_of(act) for act in story.acts]
    lines = [story.wording.pick("dvc.line", form, **words) for words, _ in said]
    answer = Turn(Role.ASSISTANT, "\n".join(lines), (), flat(a.span for a in story.acts), ())
    things = tuple(dict.fromkeys(a.thing.id for a in story.acts))
    yield Draft(
        "dvc",
        key,
        (story.ask("dvc", key, {}), answer),
        tuple(t for t in story.things if t.id in things),
        tuple(a.event for a in story.acts),
        fault=story.open_event or next((fault for _, fault in said if fault), None),
    )


def stvg(story: Story) -> Iterator[Draft]:
    """Spatio-temporal video grounding: words to an interval and the boxes within it."""
    for act in story.acts:
        key = story.key("stvg", *identity(act))
        words, fault = story.words_of(act)
        tube = story.tubelet(act.thing, act.span)
        turns = (story.ask("stvg", key, words), story.tell("stvg.answer", key, words, (act.span,)))
        yield Draft(
            "stvg",
            key,
            turns,
            (act.thing,),
            (act.event,),
            tubes=(tube,) if tube else (),
            fault=fault or (None if tube else unseen(act)),
        )


def svg(story: Story) -> Iterator[Draft]:
    """Spatial video grounding: words and an interval to the boxes within it."""
    for act in story.acts:
        key = story.key("svg", *identity(act))
        words, fault = story.words_of(act, act.span)
        tube = story.tubelet(act.thing, act.span)
        turns = (story.ask("svg", key, words, (act.span,)), story.tell("svg.answer", key, words))
        yield Draft(
            "svg",
            key,
            turns,
            (act.thing,),
            (act.event,),
            tubes=(tube,) if tube else (),
            fault=fault or (None if tube else unseen(act)),
        )


def elc(story: Story) -> Iterator[Draft]:
    """Event localisation and captioning: a start and a box to the end, the event and the boxes in between.

    The interval of the question begins where the event does and lasts until the second shown frame of the tube; the box
    is that of the first. An exporter whose layout has instants takes the question's start and the answer's end.
    """
    for act in story.acts:
        tube = story.tubelet(act.thing, act.span)
        if tube is None:
            continue  # without a box there is no question to refuse
        key = story.key("elc", *identity(act))
        words, fault = story.words_of(act, act.span)
        begin = Span(act.span.start_s, tube.at_s[1] if len(tube.at_s) > 1 else act.span.end_s)
        question = story.ask("elc", key, words, (begin,), tube.boxes[:1])
        answer = story.tell("elc.answer", key, words, (act.span,))
        first = story.places(act.span)
        place = next(p for p in first if p in act.thing.boxes)
        fault = fault or _begins_with_another(story, act) or crowded(story, act.thing, place)
        yield Draft("elc", key, (question, answer), (act.thing,), (act.event,), (tube,), fault=fault)


def absent(story: Story) -> Iterator[Draft]:
    """STVG's questions about what no event speaks of, not even a refused one."""
    for subject, kind, basis in not_happening(story):
        key = story.key("absent", subject, str(kind))
        yield Draft("absent", key, _denial(story, key, "stvg", subject, kind), (basis,), story.events)


def tgc(story: Story) -> Iterator[Draft]:
    """Temporally grounded conversation: when is this, what is that, and one thing that does not happen."""
    when = [d for d in tvg(story) if d.fault is None]
    what = [d for d in tr(story) if d.fault is None]
    missing = not_happening(story)
    for one, other in product(when, what):
        if one.events == other.events:
            continue
        key = story.key("tgc", one.key, other.key)
        rounds = [one.turns, other.turns]
        if missing:
            subject, kind, _ = missing[seed_for(story.seed, key, "absent") % len(missing)]
            rounds.append(_denial(story, key, "tvg", subject, kind))
        orders = list(permutations(rounds))  # a denial that always came last could be told by its place
        order = orders[seed_for(story.seed, key, "order") % len(orders)]
        turns = tuple(turn for pair in order for turn in pair)
        yield Draft("tgc", key, turns, (*one.things, *other.things), (*one.events, *other.events))


def _denial(story: Story, key: str, path: str, subject: str, kind: EventKind) -> tuple[Turn, Turn]:
    words = story.words(subject, kind)
    return story.ask(path, key, words), story.tell("absent.answer", key, words)


def not_happening(story: Story) -> list[Absent]:
    """What may be denied: another kind of a thing that is named here, or what is done here in a colour not here."""
    near: dict[str, list[str]] = story.wording.table("near")
    found: list[Absent] = []
    for who in (t for t in story.things if any(a.thing.id == t.id for a in story.acts)):
        subject, unclear = story.subject(who, story.whole)
        if unclear is None:
            done = {
                e.kind
                for e in story.events
                if e.subject_id == who.id or may_be(e.subject, who.phrase, near, set(VAGUE))
            }
            doubts = [t for t in story.things if story.doubt(t) and may_be(t.phrase, who.phrase, near, set(VAGUE))]
            found += [(subject, kind, who) for kind in DENIABLE if kind not in done and not doubts]
    found += [(s, act.kind, act.thing) for act in story.acts for s in foreign(story, act.thing)]
    return list({(subject, kind): (subject, kind, who) for subject, kind, who in found}.values())


def foreign(story: Story, who: Thing) -> list[str]:
    """The phrase of a thing in colours that no thing of the clip has or could be said to have."""
    near: dict[str, list[str]] = story.wording.table("near")
    present = {word for t in story.things for word in t.phrase.split() if word in near}
    colours = [c for c in story.wording.options("absent.colours") if c not in present and not present & set(near[c])]
    others = [recoloured(who.phrase, near, colour) for colour in colours]
    return [o for o in others if not any(alike(o, t.phrase) for t in story.things)]


def identity(act: Act) -> tuple[str | int, ...]:
    return act.thing.id, str(act.kind), micros(act.span.start_s), micros(act.span.end_s)


def unseen(act: Act) -> Fault:
    return "no_shown_frame", f"[{act.span.start_s:.3f}, {act.span.end_s:.3f}) holds no shown frame with its box"


def rival(story: Story, act: Act) -> Fault | None:
    """Another event that fills nearly the same interval, or that a localiser says does."""
    for other in story.events:
        if other is act.event:
            continue
        tiou = max(act.span.tiou(s) for s in _claims(other))
        if tiou >= story.rules.ambiguous_tiou:
            return "ambiguous_span", f"{other.phrase!r} overlaps it with tIoU {tiou:.2f}"
    return None


def _claims(event: Event) -> tuple[Span, ...]:
    """Where an event may be: its span, and for a refused one what any localiser proposed."""
    proposed = () if event.verdict.accepted else tuple(p.span for p in event.proposals if p.span is not None)
    return (event.span, *proposed)


def _begins_with_another(story: Story, act: Act) -> Fault | None:
    """An entrance begins with a move: a start and a box do not tell which of them is meant."""
    own = (e for e in story.events if e.subject_id == act.thing.id and e is not act.event)
    apart_s = min((abs(s.start_s - act.span.start_s) for e in own for s in _claims(e)), default=float("inf"))
    if apart_s < story.rules.start_apart_s:
        return "ambiguous_start", f"the same thing begins another event {apart_s:.3f} s apart"
    return None


def crowded(story: Story, who: Thing, place: int) -> Fault | None:
    """Another thing whose box is nearly the same in a shown frame."""
    box = who.boxes[place]
    iou = max((box.iou(t.boxes[place]) for t in story.things if t.id != who.id and place in t.boxes), default=0.0)
    if iou >= story.rules.ambiguous_iou:
        return "ambiguous_box", f"another thing's box overlaps it with IoU {iou:.2f}"
    return None
