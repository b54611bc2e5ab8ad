"""Models in the shape of published ones with drawn weights, and packs of samples with frames of 64 tokens.

Weights say nothing about speed, so none are downloaded: SmolLM2-360M, Qwen2.5-0.5B and SigLIP-B/16 at 256 pixels are
built from their published sizes.
"""

from __future__ import annotations

import hashlib
import io
import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
    SiglipVisionConfig,
    SiglipVisionModel,
)

from reelmill.schemas.keys import file_digest, media_key
from reelmill.schemas.media import FrameRef, Kind, MediaRef, ShownFrame
from reelmill.schemas.sample import Role, Sample, Turn
from reelmill.schemas.span import Span
from reelmill.schemas.verdict import ACCEPTED
from reelmill.sinks.publishing.packed import FORMAT, Media, document, packed_sample
from reelmill.sinks.shards import Limits, Member, ShardWriter
from reelmill.training.codecs.text import Text
from reelmill.training.data.shards import opened
from reelmill.training.data.tokenizer import texts_of, trained
from reelmill.training.data.tokens import Tokens
from reelmill.training.reducers.combine import Chain, Project
from reelmill.training.reducers.pool import GridPool
from reelmill.training.towers import HFTower
from reelmill.training.vlm import VLM

FRAMES, SIDE = 8, 8
"""Frames of a sample, and the side of the grid to which each is pooled: 64 tokens."""
_ASKED, _ANSWERED = 40, 55
"""Words of a question and of an answer; with the marks of turns about 100 tokens."""
_QUALITY, _COARSE, _GRAIN = 85, 16, 6.0
"""Frames are smooth noise with fine noise on it: JPEGs of about the size that stored frames of clips have."""
_WORDS = 600


_LANGUAGES: dict[str, tuple[Any, Any, dict[str, int]]] = {
    "smol": (
        LlamaConfig,
        LlamaForCausalLM,
        {
            "hidden_size": 960,
            "intermediate_size": 2560,
            "num_hidden_layers": 32,
            "num_attention_heads": 15,
            "num_key_value_heads": 5,
            "vocab_size": 49_152,
        },
    ),
    "qwen": (
        Qwen2Config,
        Qwen2ForCausalLM,
        {
            "hidden_size": 896,
            "intermediate_size": 4864,
            "num_hidden_layers": 24,
            "num_attention_heads": 14,
            "num_key_value_heads": 2,
            "vocab_size": 151_936,
        },
    ),
    "tiny": (
        LlamaConfig,
        LlamaForCausalLM,
        {
            "hidden_size": 64,
            "intermediate_size": 128,
            "num_hidden_layers": 3,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "vocab_size": 1024,
        },
    ),
}
"""Configuration, model and sizes: SmolLM2-360M and Qwen2.5-0.5B (their config.json), and one for a CPU."""


def tower(*, brief: bool) -> HFTower:
    """SigLIP-B/16 at 256 pixels, 86 million weights: the last layer, normed, without the pooled head."""
    whole = {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12}
    small = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = SiglipVisionConfig(
        **(small if brief else whole), image_size=64 if brief else 256, patch_size=8 if brief else 16
    )
    config.vision_use_head = False
    return HFTower(SiglipVisionModel(config), layer=-1, normed=True)


def vlm(name: str, visual_id: int, *, brief: bool, seed: int = 0) -> VLM:
    """Tower, 64 tokens a frame, projector and language model `name` ("smol", "qwen"), with drawn weights."""
    torch.manual_seed(seed)
    sees, lm = tower(brief=brief), language(name, brief=brief)
    reducer = Chain(GridPool((SIDE, SIDE)), Project(sees.width, lm.config.hidden_size))
    return VLM(sees, reducer, lm, visual_id=visual_id, codecs=CODECS)


def language(name: str, *, brief: bool) -> Any:
    """A language model alone, with drawn weights; a tiny one with `brief`."""
    config, model, sizes = _LANGUAGES["tiny" if brief else name]
    return model(config(**sizes, tie_word_embeddings=True))


# ---- samples ---------------------------------------------------------------------------------------------------------

CODECS: dict[str, Any] = {"time": Text(1), "box": Text(1)}


def write(folder: Path, samples: int, size_px: int, seed: int = 0) -> Path:
    """A pack of dialogues about clips of FRAMES frames, in the published format; frames are `size_px` squares."""
    draw, label = random.Random(seed), "bench@1"
    pictures = [_picture(draw.randrange(1 << 30), size_px) for _ in range(4 * FRAMES)]
    folder.mkdir(parents=True)
    writer = ShardWriter(folder, "bench", "train", Limits())
    named = sorted((media_key(hashlib.sha256(f"{seed} {i}".encode()).hexdigest()), i) for i in range(samples))
    for clip, _ in named:
        jpegs = draw.sample(pictures, FRAMES)
        shown = [
            ShownFrame(i, i * 0.5, size_px, size_px, hashlib.sha256(jpeg).hexdigest(), 0, len(jpeg))
            for i, jpeg in enumerate(jpegs)
        ]
        packed = packed_sample(_sample(clip, shown, draw, label), label, Media.FRAMES, shown)
        frames = [Member(str(f.member), jpeg) for f, jpeg in zip(packed.frames, jpegs, strict=True)]
        writer.add(packed.key, [Member("json", document(packed)), *frames])
    files = [
        {"path": s.name, "split": "train", "sha256": file_digest(folder / s.name), "bytes": s.bytes}
        for s in writer.close()
    ]
    said = {"format": FORMAT, "dataset": label, "media": str(Media.FRAMES), "samples": {"train": samples}}
    (folder / "manifest.json").write_text(json.dumps(said | {"files": files}))
    return folder


def _picture(seed: int, size_px: int) -> bytes:
    draw = np.random.default_rng(seed)
    coarse = Image.fromarray(draw.integers(0, 256, (_COARSE, _COARSE, 3), np.uint8))
    smooth = np.asarray(coarse.resize((size_px, size_px), Image.Resampling.BICUBIC), np.float32)
    grained = smooth + draw.normal(0, _GRAIN, smooth.shape)
    out = io.BytesIO()
    Image.fromarray(grained.clip(0, 255).astype(np.uint8)).save(out, "JPEG", quality=_QUALITY)
    return out.getvalue()


def _sample(clip: str, shown: list[ShownFrame], draw: random.Random, label: str) -> Sample:
    duration_s = 0.5 * FRAMES
    side_px = shown[0].width_px
    media = MediaRef("", "", Kind.VIDEO, side_px, side_px, duration_s, Span(0.0, duration_s), "CC0-1.0")

    def words(role: Role, count: int) -> Turn:
        spread = draw.randint(count * 3 // 4, count * 5 // 4)
        return Turn(role, " ".join(f"w{_letters(draw.randrange(_WORDS))}" for _ in range(spread)), (), (), ())

    return Sample(
        key=clip,
        parent_key=clip,
        family="bench",
        task="dialogue",
        media=media,
        frames=tuple(FrameRef(label, clip, f.frame, f.at_s, f.sha256) for f in shown),
        turns=(words(Role.USER, _ASKED), words(Role.ASSISTANT, _ANSWERED)),
        evidence=(),
        label_confidence=1.0,
        method="truth:bench",
        provenance=(),
        verdict=ACCEPTED,
    )


def _letters(number: int) -> str:
    """A word of its own for each number: digits would be tokens by themselves."""
    return "".join(chr(97 + number // 26**i % 26) for i in range(3))


def tokens(folder: Path, size_px: int) -> Tokens:
    """How samples of a pack are written, by a vocabulary of their own words."""
    tokenizer = trained(texts_of(opened(folder), CODECS, 400), kind="word", vocabulary=1000)
    return Tokens(tokenizer, size_px, codecs=CODECS)
