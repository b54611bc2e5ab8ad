"""One row for each question and measure, so that any total, interval or comparison is made from the same numbers.

    spans     tiou, r@0.3, r@0.5, r@0.7      tIoU of what is covered in all; one interval each: the usual tIoU
    boxes     iou, acc@0.5                   boxes in their order, over the larger number of them
    tubes     viou, siou, coverage, viou@0.5 in shown frames; with the spans' measures where times are asked for
    caption   cider_d, bleu4, rouge_l        CIDEr-D by documents of this evaluation; BLEU-4 of the sentence, smoothed
    dense     soda_c, segments_f1, story_f1  SODA_c with ROUGE-L (no METEOR), its times alone, its sentences alone
    answer    exact, contains, yes_no        after normalising; a run of whole words; the answer's first word
    denial    denied                         asked when something happens that does not: no time, and words

A reply that cannot be read is wrong in all measures of its form and counted as unread; none is left out.

>>> contains("It was the red circle.", "Red circle"), contains("a redhead", "red"), contains("yes and no", "Yes.")
(True, False, False)
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from reelmill.schemas.metrics import dense, grounding
from reelmill.schemas.metrics.captions import Cider, rouge_l, sentence_bleu, tokens
from reelmill.schemas.metrics.grounding import Interval
from reelmill.schemas.sample import Tubelet
from reelmill.schemas.tube import Box
from reelmill.training.evals.questions import Form, Item, Reply, described

HIT_IOU = 0.5
"""A box is right from this IoU on (Acc@0.5 of referring expressions, and of LLaVA-ST)."""
RECALLS = {f"r@{threshold}": threshold for threshold in grounding.THRESHOLDS}
_SPANS = ("tiou", *RECALLS)
_TUBES = ("viou", "siou", "coverage", "viou@0.5")
MEASURES: Mapping[Form, tuple[str, ...]] = {
    Form.SPANS: _SPANS,
    Form.BOXES: ("iou", "acc@0.5"),
    Form.TUBES: _TUBES,
    Form.CAPTION: ("rouge_l", "cider_d", "bleu4"),
    Form.DENSE: ("soda_c", "segments_f1", "story_f1"),
    Form.ANSWER: ("contains", "exact", "yes_no"),
    Form.DENIAL: ("denied",),
}
"""What a form is scored by, the measure that stands for it first."""
LOWER_IS_BETTER = frozenset({"nll", "lm_ppl", "time_diff_s"})
_ARTICLES = frozenset({"a", "an", "the"})
_OPPOSITE = {"yes": "no", "no": "yes"}

Values = dict[str, float]
Scorer = Callable[[Item, Reply], Values | None]
"""Values of a reply; None where it cannot be read."""


@dataclass(frozen=True, slots=True)
class Score:
    """One measure of one reply. `kind` is the perturbation of a pair, else "". `weight` is 1, or the tokens that a mean
    is of. `prior` and `question_only` are what the two floors get there; None where there is no floor."""

    key: str
    source: str
    family: str
    task: str
    verb: str
    objects: int | None
    kind: str
    measure: str
    value: float
    weight: float
    read: bool
    prior: float | None = None
    question_only: float | None = None


@dataclass(frozen=True, slots=True)
class Start:
    """When something begins and when the model says that it does, in seconds of the clip; told None where unread."""

    key: str
    task: str
    verb: str
    duration_s: float
    true_s: float
    told_s: float | None


def scored(items: Sequence[Item], replies: Mapping[str, Reply]) -> list[Score]:
    """Rows in the order of items. A question without a reply is one that was answered with nothing."""
    corpora = _corpora(items)
    return [row for item in items for row in _rows(item, replies.get(item.key, Reply("")), corpora.get(_task(item)))]


def starts(items: Sequence[Item], replies: Mapping[str, Reply]) -> list[Start]:
    """First true and told starts of all questions whose answer is a time."""
    timed = [item for item in items if item.truth.form is Form.SPANS]
    told = {item.key: read_spans(replies.get(item.key, Reply("")).spans) for item in timed}
    return [
        Start(
            item.key,
            item.task,
            item.verb,
            item.question.media.duration_s,
            min(item.truth.spans)[0],
            min(own)[0] if (own := told[item.key]) else None,
        )
        for item in timed
    ]


def _rows(item: Item, reply: Reply, corpus: Cider | None) -> list[Score]:
    values: Values = {}
    read = True
    for names, scorer in _scorers(item, corpus):
        found = scorer(item, reply)
        read &= found is not None
        values |= found if found is not None else dict.fromkeys(names, 0.0)
    question = item.question
    named = (item.key, item.source, question.family, item.task, item.verb, item.objects, "")
    return [Score(*named, measure, value, 1.0, read) for measure, value in values.items()]


def _scorers(item: Item, corpus: Cider | None) -> list[tuple[tuple[str, ...], Scorer]]:
    """The measures that apply to an item, and who gives them."""
    form, names = item.truth.form, MEASURES[item.truth.form]
    if form is Form.CAPTION:
        kept = tuple(n for n in names if n != "cider_d" or corpus is not None)
        return [(kept, lambda i, r: _caption(i, r, corpus))]
    if form is Form.ANSWER:
        return [(tuple(n for n in names if n != "yes_no" or _polar(item.truth.text)), _answer)]
    if form is Form.TUBES and item.truth.spans:
        return [(_SPANS, _spans), (names, _tubes)]
    return [(names, _SCORERS[form])]


def _task(item: Item) -> tuple[str, str]:
    return item.question.family, item.task


def _corpora(items: Sequence[Item]) -> dict[tuple[str, str], Cider]:
    """Document frequencies of each task's true captions. A single caption is no corpus: all its weights would be 0."""
    texts: dict[tuple[str, str], list[list[str]]] = defaultdict(list)
    for item in items:
        if item.truth.form is Form.CAPTION:
            texts[_task(item)].append([item.truth.text])
    return {task: Cider.of(own) for task, own in texts.items() if len(own) > 1}


# ---- times -----------------------------------------------------------------------------------------------------------


def read_spans(spans: Sequence[Interval]) -> tuple[Interval, ...] | None:
    """What can be read as times: one interval at least, each finite and not ending before it begins."""
    if not spans or any(not (math.isfinite(a) and math.isfinite(b) and a <= b) for a, b in spans):
        return None
    return tuple(spans)


def covered(spans: Sequence[Interval]) -> list[Interval]:
    """The same times without overlaps, in order."""
    out: list[Interval] = []
    for start, end in sorted(spans):
        if out and start <= out[-1][1]:
            out[-1] = (out[-1][0], max(out[-1][1], end))
        else:
            out.append((start, end))
    return out


def set_tiou(told: Sequence[Interval], true: Sequence[Interval]) -> float:
    """Seconds that both cover over seconds that either does. Of single intervals this is tIoU; for several it is ours:
    published sets of questions have one answer each."""
    one, other = covered(told), covered(true)
    shared = sum(max(0.0, min(b, d) - max(a, c)) for a, b in one for c, d in other)
    either = sum(b - a for a, b in (*one, *other)) - shared
    return shared / either if either > 0 else 0.0


def _spans(item: Item, reply: Reply) -> Values | None:
    told = read_spans(reply.spans)
    if told is None:
        return None
    tiou = set_tiou(told, item.truth.spans)
    return {"tiou": tiou} | {name: float(tiou >= threshold) for name, threshold in RECALLS.items()}


def _dense(item: Item, reply: Reply) -> Values | None:
    told = described(reply.text, reply.spans) if read_spans(reply.spans) is not None else None
    true = described(item.truth.text, item.truth.spans)
    if told is None or true is None:
        return None
    soda = dense.soda_c([(told, true)]).macro
    assert soda is not None
    return {
        "soda_c": soda.f1,
        "segments_f1": dense.segments([span for span, _ in told], [span for span, _ in true]).f1,
        "story_f1": dense.story([said for _, said in told], [said for _, said in true]).f1,
    }


# ---- places ----------------------------------------------------------------------------------------------------------


def _finite(boxes: Sequence[Box]) -> bool:
    edges = [e for b in boxes for e in (b.x0_px, b.y0_px, b.x1_px, b.y1_px)]
    return all(map(math.isfinite, edges)) and all(b.x0_px <= b.x1_px and b.y0_px <= b.y1_px for b in boxes)


def _boxes(item: Item, reply: Reply) -> Values | None:
    true, told = item.truth.boxes, reply.boxes
    if not told or not _finite(told):
        return None
    found = [one.iou(other) for one, other in zip(told, true, strict=False)]
    count = max(len(told), len(true))
    return {"iou": sum(found) / count, "acc@0.5": sum(iou >= HIT_IOU for iou in found) / count}


def _tubes(item: Item, reply: Reply) -> Values | None:
    true, told = item.truth.tubes, reply.tubes
    if not told or not all(map(_readable, told)):
        return None
    times = [frame.at_s for frame in item.question.frames]
    sides = [(_by_frame(one, times), _by_frame(other, times)) for one, other in zip(told, true, strict=False)]
    count = max(len(told), len(true))
    vious = [grounding.viou(*side) for side in sides]
    return {
        "viou": sum(vious) / count,
        "siou": sum(grounding.siou(*side) for side in sides) / count,
        "coverage": sum(grounding.coverage(*side) for side in sides) / count,
        "viou@0.5": sum(viou >= HIT_IOU for viou in vious) / count,
    }


def _readable(tube: Tubelet) -> bool:
    matched = len(tube.at_s) == len(tube.boxes) > 0
    return matched and all(map(math.isfinite, tube.at_s)) and _finite(tube.boxes)


def _by_frame(tube: Tubelet, times: Sequence[float]) -> dict[int, Box]:
    """Boxes by the shown frame that is nearest in time; of two at one frame the nearer stays, then the earlier."""
    near: dict[int, tuple[float, float, Box]] = {}
    for at_s, box in zip(tube.at_s, tube.boxes, strict=True):
        frame = min(range(len(times)), key=lambda i: (abs(times[i] - at_s), i))
        found = (abs(times[frame] - at_s), at_s, box)
        near[frame] = min(near.get(frame, found), found, key=lambda f: f[:2])
    return {frame: box for frame, (_, _, box) in near.items()}


# ---- words -----------------------------------------------------------------------------------------------------------


def normal(text: str) -> tuple[str, ...]:
    """Words in small letters without punctuation and articles (as SQuAD's evaluation, Rajpurkar et al. 2016). Where
    nothing else is said, the article stays: "A" may be the letter of a choice."""
    words = tokens(text)
    return tuple(word for word in words if word not in _ARTICLES) or words


def contains(told: str, true: str) -> bool:
    """Whether the true answer stands in the told one as a run of whole words. A yes that also says no is neither."""
    own, words = normal(true), normal(told)
    if not own or _OPPOSITE.get(own[0], "") in words:
        return False
    return any(words[i : i + len(own)] == own for i in range(len(words) - len(own) + 1))


def _polar(text: str) -> bool:
    return normal(text)[:1] in (("yes",), ("no",))


def _answer(item: Item, reply: Reply) -> Values | None:
    true, told = normal(item.truth.text), normal(reply.text)
    if not told:
        return None
    values = {"contains": float(contains(reply.text, item.truth.text)), "exact": float(told == true)}
    return values | ({"yes_no": float(told[0] == true[0])} if _polar(item.truth.text) else {})


def _caption(item: Item, reply: Reply, corpus: Cider | None) -> Values | None:
    if not tokens(reply.text):
        return None
    own = [item.truth.text]
    values = {"rouge_l": rouge_l(reply.text, own), "bleu4": sentence_bleu(reply.text, own)}
    return values | ({"cider_d": corpus.cider_d(reply.text, own)} if corpus is not None else {})


def _denial(_: Item, reply: Reply) -> Values | None:
    """Right is to say no time; silence is no answer."""
    if not normal(reply.text):
        return None
    return {"denied": float(not (reply.spans or reply.boxes or reply.tubes or "<time>" in reply.text))}


_SCORERS: Mapping[Form, Scorer] = {
    Form.SPANS: _spans,
    Form.BOXES: _boxes,
    Form.TUBES: _tubes,
    Form.DENSE: _dense,
    Form.DENIAL: _denial,
}
