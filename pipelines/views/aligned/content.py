"""Forms that are about content alone: VC, and questions with a free, a counted, a named and a yes or no answer.

VC      "The red circle enters the frame, moves and leaves the frame."
yes/no  as often yes as no: an answer that can be guessed teaches nothing
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from reelmill.pipelines.views.aligned.story import Act, Draft, Fault, Story
from reelmill.pipelines.views.aligned.subjects import VAGUE, Thing
from reelmill.pipelines.views.aligned.timed import DENIABLE, foreign, not_happening
from reelmill.pipelines.views.happenings import may_be
from reelmill.pipelines.views.phrasing import capital
from reelmill.schemas.event import EventKind
from reelmill.schemas.keys import seed_for
from reelmill.schemas.sample import Role, Turn

_COUNTED = (EventKind.ENTERS, EventKind.LEAVES, EventKind.MOVES)

Asked = tuple[str, EventKind, Thing]


def vc(story: Story) -> Iterator[Draft]:
    """Video captioning: one sentence for each thing, in order of its first event."""
    if not story.acts:
        return
    key = story.key("vc")
    things = list(dict.fromkeys(a.thing.id for a in story.acts))
    known = {t.id: t for t in story.things}
    named = [story.subject(known[i], story.whole) for i in things]
    sentences = [
        f"{capital(subject)} {doings(story, known[i])}." for i, (subject, _) in zip(things, named, strict=True)
    ]
    turns = (story.ask("vc", key, {}), story.tell("vc.answer", key, {"text": " ".join(sentences)}))
    fault = story.open_event or next((fault for _, fault in named if fault), None)
    yield Draft("vc", key, turns, tuple(known[i] for i in things), tuple(a.event for a in story.acts), fault=fault)


def vqa_open(story: Story) -> Iterator[Draft]:
    """What does this thing do? All of it, in order."""
    for who in story.things:
        acts = [a for a in story.acts if a.thing.id == who.id]
        if not acts:
            continue
        key = story.key("vqa_open", who.id)
        subject, fault = story.subject(who, story.whole)
        words = {"subject": subject, "Subject": capital(subject), "doings": doings(story, who)}
        turns = (story.ask("vqa_open", key, words), story.tell("vqa_open.answer", key, words))
        open_ = _open(story, who, acts)
        yield Draft("vqa_open", key, turns, (who,), tuple(a.event for a in acts), fault=open_ or fault)


def _open(story: Story, who: Thing, acts: Sequence[Act]) -> Fault | None:
    count = sum(e.subject_id == who.id for e in story.events)
    return ("unsettled", f"{len(acts)} of {count} events of {who.phrase!r} accepted") if len(acts) < count else None


def doings(story: Story, who: Thing) -> str:
    """What a thing does, in order, as one verb phrase."""
    verbs = [story.wording.table(f"kinds.{a.kind}")["third"] for a in story.acts if a.thing.id == who.id]
    return ", and ".join([", ".join(verbs[:-1]), verbs[-1]]) if len(verbs) > 1 else verbs[0]


def vqa_attribute(story: Story) -> Iterator[Draft]:
    """How many things do this, and what colour is that one."""
    yield from _counts(story)
    yield from _colours(story)


def _counts(story: Story) -> Iterator[Draft]:
    numbers = story.wording.options("numbers.words")
    for kind in _COUNTED:
        acts = [a for a in story.acts if a.kind is kind]
        things = list({a.thing.id: a.thing for a in acts}.values())
        if not 1 <= len(things) <= len(numbers):
            continue
        key, number = story.key("vqa_attribute", "count", str(kind)), numbers[len(things) - 1]
        words = story.wording.table(f"kinds.{kind}") | {"number": number, "Number": capital(number)}
        turns = (
            story.ask("vqa_attribute.count", key, words),
            story.tell("vqa_attribute.count.answer", key, words),
        )
        refused = sum(e.kind is kind and not e.verdict.accepted for e in story.events)
        doubt = ("unsettled", f"{refused} events of the kind were refused") if refused else None
        fault = story.open_thing or doubt
        yield Draft("vqa_attribute", key, turns, tuple(things), tuple(a.event for a in acts), fault=fault)


def _colours(story: Story) -> Iterator[Draft]:
    near: dict[str, list[str]] = story.wording.table("near")
    for who in story.things:
        colours = [word for word in who.phrase.split() if word in near]
        bare = " ".join(word for word in who.phrase.split() if word not in near)
        others = [t for t in story.things if t.id != who.id and may_be(bare, t.phrase, near, set(VAGUE))]
        if len(colours) != 1 or others:
            continue
        key = story.key("vqa_attribute", "colour", who.id)
        words = {"subject": bare, "colour": colours[0], "Colour": capital(colours[0])}
        turns = (
            story.ask("vqa_attribute.colour", key, words),
            story.tell("vqa_attribute.colour.answer", key, words),
        )
        _, fault = story.subject(who, story.whole)
        yield Draft("vqa_attribute", key, turns, (who,), fault=fault)


def vqa_yes_no(story: Story) -> Iterator[Draft]:
    """Does it happen? In each clip as many are answered yes as no, of each kind of question: by another act of a thing
    that is there, and by a thing of another colour."""
    named = {t.id: story.subject(t, story.whole) for t in story.things}
    clear = [a for a in story.acts if a.fault is None and named[a.thing.id][1] is None]
    done = list(dict.fromkeys((named[a.thing.id][0], a.kind, a.thing.id) for a in clear))
    things = {t.id: t for t in story.things}
    by_kind = (
        [(s, k, things[i]) for s, k, i in done if k in DENIABLE],
        [n for n in not_happening(story) if _own(story, n)],
    )
    moved = [(s, k, things[i]) for s, k, i in done if k is EventKind.MOVES and foreign(story, things[i])]
    recast = list({s: (s, k, who) for _, k, who in moved for s in foreign(story, who)}.values())
    for pool in (by_kind, (moved, recast)):
        chosen = [sorted(side, key=lambda c: _chance(story, c)) for side in pool]
        count = min(1, *(len(side) for side in chosen))
        for side, answer in zip(chosen, ("yes", "no"), strict=True):
            for asked in side[:count]:
                yield _yes_no(story, asked, answer)


def _own(story: Story, absent: Asked) -> bool:
    """Whether the subject of a denial is a thing of the clip and not one in a foreign colour."""
    return absent[0] not in foreign(story, absent[2])


def _chance(story: Story, asked: Asked) -> int:
    return seed_for(story.seed, story.key("vqa_yes_no", asked[0], str(asked[1])), "drawn")


def _yes_no(story: Story, asked: Asked, answer: str) -> Draft:
    subject, kind, who = asked
    key = story.key("vqa_yes_no", subject, str(kind))
    words = story.words(subject, kind)
    text = story.wording.pick(f"vqa_yes_no.{answer}", seed_for(story.seed, key, "answer"), **words)
    turns = (story.ask("vqa_yes_no", key, words), Turn(Role.ASSISTANT, text, (), (), ()))
    return Draft("vqa_yes_no", key, turns, (who,), tuple(e for e in story.events if e.kind is kind))
