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
    tokens that must have an id of their own. `asked` is the part of `assistant` that closes the question before it."""

    user: str
    assistant: str
    end: str
    visual: str
    after_visual: str
    begin: str
    marks: tuple[str, ...]
    asked: str = ""

    @property
    def opening(self) -> str:
        """What all dialogues about a medium begin with, the medium included; the first question follows."""
        return self.opened(self.visual)

    def opened(self, medium: str) -> str:
        """The opening with other words for the medium, as for a picture in crops."""
        return f"{self.begin}{self.user}{medium}{self.after_visual}"

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
        shown = json.dumps(self.visual), json.dumps(self.after_visual)
        ask = json.dumps(self.assistant.rstrip(" "))
        return (
            f"{{{{ {said['begin']} }}}}{{% for m in messages %}}"
            f"{{% if m['role'] == 'user' %}}{{{{ {said['user']} }}}}{_parts(*shown)}"
            f"{{% else %}}{{{{ {said['assistant']} }}}}{{% generation %}}{_parts(*shown)}{{{{ {said['end']} }}}}"
            "{% endgeneration %}{% endif %}{% endfor %}"
            f"{{% if add_generation_prompt %}}{{{{ {ask} }}}}{{% endif %}}"
        )


def _parts(visual: str, after: str) -> str:
    """The content of a message: a string, or parts of which media come first, side by side as a video's frames."""
    media = "{% for p in m['content'] if p['type'] in ('image', 'video') %}"
    return (
        "{% if m['content'] is string %}{{ m['content'] }}{% else %}"
        f"{media}{{{{ {visual} }}}}{{% if loop.last %}}{{{{ {after} }}}}{{% endif %}}{{% endfor %}}"
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


def slot_mark(codec: str) -> str:
    """The token of the numbers that a codec learns.

    >>> slot_mark("time")
    '<time>'
    """
    return f"<{codec}>"
