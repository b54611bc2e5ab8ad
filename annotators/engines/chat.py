"""A request as the user turn that a checkpoint's chat template takes, and its images as pixels."""

from __future__ import annotations

import io
from typing import Any

from reelmill.annotators.engines.engine import Request, TimedImage


def messages(request: Request) -> list[dict[str, Any]]:
    """One user turn: each image after the line that gives its time, then the question."""
    content: list[dict[str, Any]] = []
    for image in request.images:
        content += [{"type": "text", "text": image.said}, {"type": "image"}]
    content.append({"type": "text", "text": request.prompt})
    return [{"role": "user", "content": content}]


def picture(image: TimedImage) -> Any:
    """A PIL image, RGB."""
    from PIL import Image

    with Image.open(io.BytesIO(image.jpeg)) as opened:
        return opened.convert("RGB")
