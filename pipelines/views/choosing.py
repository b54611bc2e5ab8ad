"""Which source videos make good preference pairs, and which frames of a clip are its key frames: TEMPLE's rules.

Facts of the rules: TEMPLE (arXiv 2503.16929), released `preprocess.py` and `tools/`. Each rule gives a reason and what
was seen, or None; nothing here reads pixels. `Sharpness` in annotators measures what `key_frames` weighs.

>>> cuts_fault([2.0, 3.0, 20.0, 4.0])
('cut_too_long', 'a cut of 20.0 s, want at most 16.0 s')
>>> runs_of(grouped([[1, 0.9, 0.1], [0.9, 1, 0.2], [0.1, 0.2, 1]]))
((0, 2), (2, 3))
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from itertools import groupby

import numpy as np

from reelmill.schemas.span import Span

LEAST_CUTS, MOST_CUTS, LONGEST_CUT_S = 4, 32, 16.0
ONE_GROUP = 0.8
LEAST_CLIPS, MOST_RECURRENCES = 4, 4
KEY_PLACES = (1 / 3, 2 / 3)

Fault = tuple[str, str]


def cuts_fault(durations_s: Sequence[float]) -> Fault | None:
    """A video is worth captioning cut by cut with 4 to 32 cuts, none longer than 16 s."""
    if len(durations_s) < LEAST_CUTS:
        return "too_few_cuts", f"{len(durations_s)} cuts, want {LEAST_CUTS}"
    if len(durations_s) > MOST_CUTS:
        return "too_many_cuts", f"{len(durations_s)} cuts, want at most {MOST_CUTS}"
    if max(durations_s) > LONGEST_CUT_S:
        return "cut_too_long", f"a cut of {max(durations_s):.1f} s, want at most {LONGEST_CUT_S} s"
    return None


def grouped(similarity: Sequence[Sequence[float]] | np.ndarray, over: float = ONE_GROUP) -> tuple[int, ...]:
    """Groups of cuts that show the same: the number of its group for each cut, counted from the first cut on.

    `similarity` is the symmetric matrix [n, n] of cosines of one frame per cut. The most similar pair is merged while
    it is above `over`; a merged row is the mean of the two.
    """
    left = np.array(similarity, np.float64)
    members = [[i] for i in range(len(left))]
    np.fill_diagonal(left, -np.inf)
    while len(members) > 1 and left.max() > over:
        i, j = sorted(int(v) for v in np.unravel_index(int(left.argmax()), left.shape))
        mean = (left[i] + left[j]) / 2
        left[i], left[:, i], left[i, i] = mean, mean, -np.inf
        left = np.delete(np.delete(left, j, 0), j, 1)
        members[i] += members.pop(j)
    number = {cut: group for group, cuts in enumerate(sorted(members, key=min)) for cut in cuts}
    return tuple(number[cut] for cut in range(len(number)))


def runs_of(groups: Sequence[int]) -> tuple[tuple[int, int], ...]:
    """Neighbouring cuts of one group as one clip: half-open ranges of cuts."""
    ends = np.cumsum([len(list(run)) for _, run in groupby(groups)])
    return tuple((int(end - size), int(end)) for end, size in zip(ends, np.diff(ends, prepend=0), strict=True))


def clips_fault(groups: Sequence[int]) -> Fault | None:
    """Judges merged clips, given the group of each: 4 or more, and no group that comes back again and again.

    An A-B-A-B dialogue has an order that nobody could tell from a caption, so a group may be there at most
    floor(n / 3) times and at most three times.
    """
    if len(groups) < LEAST_CLIPS:
        return "too_few_clips", f"{len(groups)} clips after merging, want {LEAST_CLIPS}"
    group, times = Counter(groups).most_common(1)[0]
    most = min(len(groups) // 3, MOST_RECURRENCES - 1)
    if times > most:
        return "recurring_clips", f"group {group} is {times} of {len(groups)} clips, want at most {most}"
    return None


def key_frames(at_s: Sequence[float], sharpness: Sequence[float], span: Span) -> tuple[int, ...]:
    """Places in `at_s` of the key frames of a clip, at 1/3 and 2/3 of it, rising; one where both are the same frame.

    Within a third of the clip around each place the frame with the highest sharpness x cosine weight is taken, the
    weight being 1 in the middle of that window and 0 at its ends. Empty where no frame lies in a window.
    """
    window_s = span.duration_s / 3
    found: set[int] = set()
    for place in KEY_PLACES:
        middle_s = span.start_s + place * span.duration_s
        offsets = {i: (t - middle_s) / window_s for i, t in enumerate(at_s) if abs(t - middle_s) < window_s / 2}
        weighed = [(sharpness[i] * math.cos(math.pi * offset), -i) for i, offset in offsets.items()]
        found |= {-max(weighed)[1]} if weighed else set()
    return tuple(sorted(found))
