"""TextVQA: questions on the text in a picture, each answered by ten people.

After Singh et al. 2019 (arXiv 1904.08920): `data` holds `question`, `image_id`, `answers` and the picture's size. The
answer that most of the ten gave becomes the answering turn (of equally many, the first); a test file has none.

    {"question": "what brand?", "answers": ["acme", "acme", "none"], ...}     ->  "what brand?" "acme"
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from reelmill.pipelines.sources.annotated.dialogue import turn
from reelmill.pipelines.sources.annotated.fields import (
    annotation,
    as_list,
    as_text,
    clean,
    each,
    identified,
    shown,
    size,
)
from reelmill.pipelines.sources.annotated.json_stream import elements
from reelmill.pipelines.sources.annotated.reading import Refused
from reelmill.pipelines.sources.annotated.release_files import split_of
from reelmill.schemas.annotation import Annotation
from reelmill.schemas.errors import Unusable
from reelmill.schemas.media import Kind
from reelmill.schemas.sample import Role

LICENCE = "CC-BY-4.0"
EXPECTS = "TextVQA_0.5.1_train.json or TextVQA_0.5.1_val.json"


def read(path: Path) -> Iterator[Annotation | Refused]:
    """An annotation per question."""

    def make(row: dict[str, Any]) -> Annotation:
        answers = [as_text(a, "an answer") for a in as_list(row.get("answers"), "answers")]
        if not answers:
            raise Unusable("no_text", f"answers are {shown(answers)}")
        said = Counter(answers).most_common(1)[0][0]
        question = as_text(row.get("question"), "question")
        return dataclasses.replace(
            annotation(
                f"textvqa:{path.stem}", identified(row, "question_id"), f"{identified(row, 'image_id')}.jpg", Kind.IMAGE
            ),
            split=clean(str(row.get("set_name") or split_of(path.stem))),
            licence=LICENCE,
            width_px=size(row.get("image_width"), "image_width"),
            height_px=size(row.get("image_height"), "image_height"),
            turns=(turn(Role.USER, question), turn(Role.ASSISTANT, said)),
        )

    return each(elements(path, "data"), make, "question_id")
