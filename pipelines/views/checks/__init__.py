"""Does a finished dialogue say what is so? One file for each family, apart from the views whose samples they judge.

Only the words, times and boxes of a sample are read, against the truth. The compilers are not used, and no checker
imports one: a fault in a view must not be able to hide in its check. `verify --truth` runs these over rendered scenes
and documents, whose events, tubes and texts are exact.

    check_grounding(sample, events)      []  where all is right, else a line for each thing that is wrong
"""

from __future__ import annotations

from reelmill.pipelines.views.checks.grounding import check_grounding, said_of
from reelmill.pipelines.views.checks.transcription import check_transcription
from reelmill.pipelines.views.checks.words import normalised, occurs

__all__ = ["check_grounding", "check_transcription", "normalised", "occurs", "said_of"]
