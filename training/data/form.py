r"""How a dialogue is written down for a model: what stands before each role, after an answer, and for the medium.

    PLAIN       <user><visual>when?<assistant>from 1 s to 2 s<eos>
    LLAVA_1_5   <s>USER: <image>\nwhen? ASSISTANT: from 1 s to 2 s</s>

>>> PLAIN.opening
'<user><visual>'
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from reelmill.schemas.sample import Role


@dataclass(frozen=True, slots=True)
class Form:
    """`end` closes an answer and is learned with it. `visual` is one token; `after_visual` is text. `marks` are the
    tokens that must have an id of their own. `asked` is the part of `assistant` that closes the question before it.
    `before_visual` opens every medium, which `after_visual` then closes; `video` is what a chat template writes for a
    video, where that is another mark."""

    user: str
    assistant: str
    end: str
    visual: str
    after_visual: str
    begin: str
    marks: tuple[str, ...]
    asked: str = ""
    before_visual: str = ""
    video: str = ""

    @property
    def opening(self) -> str:
        """What all dialogues about a medium begin with, the medium included; the first question follows."""
        return self.opened(self.visual)

    def opened(self, medium: str) -> str:
        """The opening with other words for the medium, as for a picture in crops."""
        return f"{self.begin}{self.user}{self.before_visual}{medium}{self.after_visual}"

    @property
    def reply(self) -> str:
        """What an answer begins with that may have no question before it, as while a clip plays."""
        return self.assistant.removeprefix(self.asked)

    def before(self, role: Role) -> str:
        """What a turn begins with."""
        return self.user if role == Role.USER else self.assistant

    def chat_template(self) -> str:
        """A Jinja template for `apply_chat_template` that writes the same. The medium is a part of type image or video
        of the first message, which is the user's; a prompt for an answer has no space at its end, which would be a
        token of its own."""
        said = {name: json.dumps(getattr(self, name)) for name in ("begin", "user", "assistant", "end")}
        parts = _parts(self._media())
        ask = json.dumps(self.assistant.rstrip(" "))
        return (
            f"{{{{ {said['begin']} }}}}{{% for m in messages %}}"
            f"{{% if m['role'] == 'user' %}}{{{{ {said['user']} }}}}{parts}"
            f"{{% else %}}{{{{ {said['assistant']} }}}}{{% generation %}}{parts}{{{{ {said['end']} }}}}"
            "{% endgeneration %}{% endif %}{% endfor %}"
            f"{{% if add_generation_prompt %}}{{{{ {ask} }}}}{{% endif %}}"
        )

    def _media(self) -> str:
        """The medium `p` of a message: its mark, and what stands behind it or behind the last of several."""
        before, visual, video, after = (
            f"{{{{ {json.dumps(said)} }}}}"
            for said in (self.before_visual, self.visual, self.video or self.visual, self.after_visual)
        )
        if self.video:
            visual = f"{{% if p['type'] == 'video' %}}{video}{{% else %}}{visual}{{% endif %}}"
        if self.before_visual:
            return f"{before}{visual}{after}"
        return f"{visual}{{% if loop.last %}}{after}{{% endif %}}"


def _parts(medium: str) -> str:
    """The content of a message: a string, or parts of which media come first, side by side as a video's frames."""
    return (
        "{% if m['content'] is string %}{{ m['content'] }}{% else %}"
        f"{{% for p in m['content'] if p['type'] in ('image', 'video') %}}{medium}{{% endfor %}}"
        "{% for p in m['content'] if p['type'] == 'text' %}{{ p['text'] }}{% endfor %}{% endif %}"
    )


PLAIN = Form("<user>", "<assistant>", "<eos>", "<visual>", "", "", ("<user>", "<assistant>", "<eos>", "<visual>"))
"""For a tokenizer of our own: every mark is one token."""

LLAVA_1_5 = Form("USER: ", " ASSISTANT: ", "</s>", "<image>", "\n", "<s>", ("<s>", "</s>", "<image>"))
"""LLaVA-1.5 (Liu et al. 2023, arXiv 2310.03744), its `vicuna_v1` conversation without the system's sentence."""

CHATML = Form(
    *("<|im_start|>user\n", "<|im_end|>\n<|im_start|>assistant\n", "<|im_end|>", "<image>", "\n", ""),
    marks=("<|im_start|>", "<|im_end|>", "<image>"),
    asked="<|im_end|>\n",
)
"""For models that were tuned with ChatML (Qwen, SmolLM2, LLaVA-OneVision), without a system's sentence."""

QWEN_VL = Form(
    *("<|im_start|>user\n", "<|im_end|>\n<|im_start|>assistant\n", "<|im_end|>", "<|image_pad|>", "<|vision_end|>", ""),
    marks=("<|im_start|>", "<|im_end|>", "<|image_pad|>", "<|video_pad|>", "<|vision_start|>", "<|vision_end|>"),
    asked="<|im_end|>\n",
    before_visual="<|vision_start|>",
    video="<|video_pad|>",
)
"""For Qwen2-VL and Qwen2.5-VL, without a system's sentence. While it learns, a video has a picture's mark: neither is
ever embedded, and its tokens are placed by their times."""


def slot_mark(codec: str) -> str:
    """The token of the numbers that a codec learns.

    >>> slot_mark("time")
    '<time>'
    """
    return f"<{codec}>"
