"""Forms that are about one shown frame as a picture: IC, REC, REG, DGC.

Of things that a rule followed because they move, IC and DGC ask what moves, and of others what can be seen.

A box is that of the tube at the frame's own time of presentation. A frame in which a thing is half out of view or half
hidden is not asked about, since nobody could say what it is.

    REC  "Where is the red circle in this picture?"  ->  "<box>"
    DGC  "The picture shows a red circle <box> on the left and a blue square <box> at the top."
"""

from __future__ import annotations

from collections.abc import Iterator

from reelmill.annotators.tubes import METHOD
from reelmill.pipelines.views.aligned.story import Draft, Story
from reelmill.pipelines.views.aligned.subjects import Thing
from reelmill.pipelines.views.aligned.timed import crowded
from reelmill.pipelines.views.happenings import indefinite
from reelmill.pipelines.views.phrasing import BOX, capital, listed
from reelmill.schemas.tube import Box

_LEFT, _RIGHT = 0.4, 0.6  # the share of the frame up to which a centre is on the left, and from which on the right


def clear(story: Story) -> list[int]:
    """Places of shown frames that show something, and all of it well enough to be named."""
    least = story.rules.clear_share
    return [
        p
        for p in range(len(story.clip.frames))
        if (seen := inside(story, p)) and all(_clear(t, p, least) for t in seen)
    ]


def inside(story: Story, place: int) -> list[Thing]:
    """Things in one shown frame, from left to right."""
    seen = [t for t in story.things if place in t.boxes]
    return sorted(seen, key=lambda t: (t.boxes[place].centre_px, t.id))


def _clear(who: Thing, place: int, least: float) -> bool:
    return who.boxes[place].area_px >= least * who.usual_px


def rec(story: Story) -> Iterator[Draft]:
    """Referring expression comprehension: words to a box."""
    for place in clear(story):
        for who in inside(story, place):
            key = story.key("rec", _frame(story, place), who.id)
            subject, fault = story.subject_at(who, place)
            words = {"subject": subject, "Subject": capital(subject)}
            turns = (story.ask("rec", key, words), story.tell("rec.answer", key, words, boxes=(who.boxes[place],)))
            yield Draft("rec", key, turns, (who,), frame=place, fault=fault)


def reg(story: Story) -> Iterator[Draft]:
    """Referring expression generation: a box to words that fit nothing else in the frame."""
    for place in clear(story):
        for who in inside(story, place):
            key = story.key("reg", _frame(story, place), who.id)
            subject, fault = story.subject_at(who, place)
            words = {"subject": subject, "Subject": capital(subject)}
            turns = (story.ask("reg", key, words, boxes=(who.boxes[place],)), story.tell("reg.answer", key, words))
            yield Draft("reg", key, turns, (who,), frame=place, fault=fault or crowded(story, who, place))


def ic(story: Story) -> Iterator[Draft]:
    """Image captioning: what is in the frame, and about where."""
    yield from _captions(story, "ic", "")


def dgc(story: Story) -> Iterator[Draft]:
    """Dense grounded captioning: the same with a box for each thing."""
    yield from _captions(story, "dgc", f" {BOX}")


def _captions(story: Story, task: str, box: str) -> Iterator[Draft]:
    for place in clear(story):
        key = story.key(task, _frame(story, place))
        seen = inside(story, place)
        items = [f"{indefinite(t.phrase)}{box} {_where(story, t.boxes[place])}" for t in seen]
        boxes = tuple(t.boxes[place] for t in seen) if box else ()
        # A rule follows what moves, so it cannot say what else the frame shows.
        form = f"{task}_moving" if any(t.method == METHOD for t in seen) else task
        turns = (story.ask(form, key, {}), story.tell(f"{form}.answer", key, {"items": listed(items)}, boxes=boxes))
        fault = next((doubt for t in seen if (doubt := story.doubt(t))), None)
        yield Draft(task, key, turns, tuple(seen), frame=place, fault=fault)


def _where(story: Story, box: Box) -> str:
    x, y = box.centre_px
    across = _third(x / story.clip.media.width_px, "left", "right")
    down = _third(y / story.clip.media.height_px, "top", "bottom")
    words: str = story.wording.table(f"places.{across}_{down}")
    return words


def _third(share: float, low: str, high: str) -> str:
    return low if share < _LEFT else high if share > _RIGHT else "middle"


def _frame(story: Story, place: int) -> int:
    return story.clip.frames[place].frame
