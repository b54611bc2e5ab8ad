"""Models of transformers as a trunk: they say what they said before, and what was trained loads there again.

Weights are random (tests/fixtures/random_trunks.py): these tests prove mechanics, no quality.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import random_trunks
import random_weights
import torch
from safetensors import safe_open
from torch import Tensor

from reelmill.schemas.errors import BadInput, NotFound
from reelmill.training import backbones, native
from reelmill.training.assemble import Vocabulary, pretrained
from reelmill.training.backbones import Backbone
from reelmill.training.data.tokenizer import held, loaded
from reelmill.training.data.tokens import Tokens
from reelmill.training.documents import IGNORED, Document, Pack, packed
from reelmill.training.loop.fit import Fit, Told, groups
from reelmill.training.loop.plan import Data, Plan, Rates
from reelmill.training.loop.stages import Stages
from reelmill.training.reducers.combine import Project
from reelmill.training.variants.variant import L15, Phase
from reelmill.training.vlm import VLM

SAID = "{}the red circle moves right at 3 seconds"


class On:
    """A variant on a base, with its words and pictures drawn from a seed."""

    def __init__(self, base: Backbone, name: str = "llava15", **settings: Any) -> None:
        form = backbones.form_of(held(base.words), whole=base.whole)
        tokenizer = loaded(base.words, form)
        vocabulary = Vocabulary(len(tokenizer), tokenizer.convert_tokens_to_ids(form.visual))
        made = pretrained(name, base, vocabulary, frames=3, settings=settings)
        self.base, self.model, self.variant = base, made[0].eval(), made[1]
        self.tokens = Tokens(tokenizer, base.image_px, form, max_frames=3, slicer=self.variant.slicer)

    def document(self, frames: int = 1, seed: int = 0) -> Document:
        side = self.base.image_px
        shown = np.random.default_rng(seed).integers(0, 256, (frames, side, side, 3)).astype(np.uint8)
        text = SAID.format(self.tokens.form.opening)
        ids = np.array(self.tokens.tokenizer(text, add_special_tokens=False)["input_ids"])
        nothing = np.zeros(len(ids), np.int64)
        learned = np.where(np.arange(len(ids)) > 4, ids, IGNORED)
        return Document(("k",), ids, learned, nothing, (), shown, np.arange(frames) * 1.0, float(frames))

    def logits(self, document: Document) -> Tensor:
        with torch.no_grad():
            return self.model(packed([document])).h @ self.model.classes().weight.T

    def asked(self, document: Document) -> tuple[Tensor, Tensor]:
        """Ids with a mark for every visual token, and pixels, as transformers takes them."""
        visual = self.tokens.visual_id
        count = self.model.reducer.count(len(document.frames), self.base.tower.grid)
        ids = [i for one in document.ids.tolist() for i in ([visual] * count if one == visual else [one])]
        tower = self.base.tower
        pixels = torch.from_numpy(document.frames).permute(0, 3, 1, 2) / 255
        return torch.tensor([ids]), (pixels - tower.get_buffer("mean")) / tower.get_buffer("std")


def theirs(folder: Path) -> Any:
    from transformers import AutoModelForImageTextToText

    return AutoModelForImageTextToText.from_pretrained(folder, dtype=torch.float32).eval()


def of_llava(model: Any, ids: Tensor, pixels: Tensor) -> Tensor:
    return model(input_ids=ids, pixel_values=pixels).logits[0]


def of_onevision(model: Any, ids: Tensor, pixels: Tensor) -> Tensor:
    return model(input_ids=ids, pixel_values_videos=pixels.unsqueeze(0)).logits[0]


def of_smolvlm(model: Any, ids: Tensor, pixels: Tensor) -> Tensor:
    return model(input_ids=ids, pixel_values=pixels.unsqueeze(0)).logits[0]


LAYOUTS: dict[str, tuple[Callable[[Path], Path], Callable[[Any, Tensor, Tensor], Tensor]]] = {
    "llava": (random_weights.llava, of_llava),
    "onevision": (random_trunks.onevision, of_onevision),
    "smolvlm": (random_trunks.smolvlm, of_smolvlm),
}


@pytest.mark.parametrize("frames", [1, 3])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_whole_model_says_here_what_it_says_there(layout: str, frames: int, tmp_path: Path) -> None:
    make, forward = LAYOUTS[layout]
    on = On(backbones.whole(str(make(tmp_path / "hub"))))
    document = on.document(frames)
    ours = on.logits(document)
    with torch.no_grad():
        said = forward(theirs(tmp_path / "hub"), *on.asked(document))
    width = min(ours.shape[1], said.shape[1])  # words that our marks add are not in theirs
    torch.testing.assert_close(ours[:, :width], said[:, :width], atol=1e-4, rtol=1e-4)
    assert ours.std() > 0.01


@pytest.mark.parametrize("layout", LAYOUTS)
def test_what_is_written_is_loaded_with_equal_logits(layout: str, tmp_path: Path) -> None:
    make, forward = LAYOUTS[layout]
    on = On(backbones.whole(str(make(tmp_path / "hub"))))
    moved(on.model)
    document = on.document(2)
    ours = on.logits(document)
    native.write(on.model, on.variant, on.base, on.tokens, tmp_path / "made")
    with torch.no_grad():
        said = forward(theirs(tmp_path / "made"), *on.asked(document))
    torch.testing.assert_close(ours, said, atol=1e-4, rtol=1e-4)
    assert held(tmp_path / "made").chat_template == on.tokens.form.chat_template()
    assert not [p for p in (tmp_path / "made").glob("*.json") if str(tmp_path) in p.read_text()]


def moved(model: VLM) -> None:
    """Other weights than the checkpoint's."""
    torch.manual_seed(3)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.05)


@pytest.mark.parametrize(
    ("tower", "words", "tied"),
    [
        ("clip_vision_model", "llama", True),
        ("siglip_vision_model", "qwen2", False),
        ("dinov2", "qwen3", False),
        ("clip_vision_model", "mistral", False),
    ],
)
def test_a_tower_and_words_are_written_as_llava(tower: str, words: str, tied: bool, tmp_path: Path) -> None:
    eyes = random_trunks.eyes(tmp_path / "eyes", tower)
    more: dict[str, Any] = {"tie_word_embeddings": tied} | ({"sliding_window": None} if words == "mistral" else {})
    speaks = random_trunks.words(tmp_path / "words", words, **more)
    on = On(backbones.parts(str(eyes), str(speaks)))
    moved(on.model)
    document = on.document(2)
    ours = on.logits(document)
    native.write(on.model, on.variant, on.base, on.tokens, tmp_path / "made")
    there = theirs(tmp_path / "made")
    with torch.no_grad():
        said = of_llava(there, *on.asked(document))
    torch.testing.assert_close(ours, said, atol=1e-4, rtol=1e-4)
    assert there.config.text_config.model_type == words
    assert names(tmp_path / "made", "vision_tower.vision_model.") == (tower != "dinov2")
    assert there.get_input_embeddings().weight.shape[0] == len(on.tokens.tokenizer) > 320


def names(folder: Path, begin: str) -> bool:
    """Whether weights are called so: vLLM 0.32 finds those of CLIP and SigLIP by their older names alone."""
    with safe_open(folder / "model.safetensors", "pt") as weights:
        return any(name.startswith(begin) for name in list(weights.keys()))


def test_the_processor_shows_and_asks_as_was_trained(tmp_path: Path) -> None:
    """Pictures are squeezed to the tower's square, normalised as the tower wants, and their marks counted."""
    from PIL import Image
    from transformers import AutoProcessor

    eyes = random_trunks.eyes(tmp_path / "eyes", "clip_vision_model")
    words = random_trunks.words(tmp_path / "words", "llama")
    on = On(backbones.parts(str(eyes), str(words)))
    native.write(on.model, on.variant, on.base, on.tokens, tmp_path / "made")
    processor = AutoProcessor.from_pretrained(tmp_path / "made")
    document = on.document(2)
    content = [{"type": "image"}, {"type": "image"}, {"type": "text", "text": SAID.format("")}]
    text = processor.apply_chat_template([{"role": "user", "content": content}], tokenize=False)
    images = [Image.fromarray(frame) for frame in document.frames]
    inputs = processor(text=[text], images=[images], return_tensors="pt")
    ids, pixels = on.asked(document)
    assert inputs["input_ids"].tolist() == ids.tolist()
    torch.testing.assert_close(inputs["pixel_values"], pixels, atol=1e-5, rtol=1e-5)
    wide = processor(text=[text], images=[[Image.new("RGB", (90, 40))] * 2], return_tensors="pt")
    assert wide["pixel_values"].shape[2:] == (32, 32)


def test_a_full_clip_checkpoint_lends_its_tower(tmp_path: Path) -> None:
    for make, kind in ((random_weights.clip, "CLIPVisionModel"), (random_weights.siglip, "SiglipVisionModel")):
        tower = backbones.seen_by(str(make(tmp_path / kind)))
        assert type(tower.model).__name__ == kind
        assert tower.grid == (2, 2)
    assert backbones.colours(str(tmp_path / "CLIPVisionModel"))[0][0] == pytest.approx(0.48145466)


@pytest.fixture(scope="module")
def llava(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(random_weights.llava(tmp_path_factory.mktemp("hub") / "llava"))


def test_a_variant_s_projector_begins_with_the_checkpoint_s(llava: str) -> None:
    on = On(backbones.whole(llava), "m3")
    (project,) = [m for m in on.model.reducer.modules() if isinstance(m, Project)]
    theirs = on.base.model.model.multi_modal_projector
    assert torch.equal(project.layers[2].weight, theirs.linear_2.weight)
    assert project.layers[2].weight is not theirs.linear_2.weight


def test_adapters_leave_the_words_that_were_there(llava: str, tmp_path: Path) -> None:
    """Nothing changes before the first step; new words learn, old weights do not; merged, the layers are plain."""
    plain, on = On(backbones.whole(llava), "pllava", frames=3), On(backbones.whole(llava), "pllava", frames=3)
    learning = {n for n, p in on.model.lm.named_parameters() if p.requires_grad}
    assert learning
    assert all("lora_" in name for name in learning)
    torch.testing.assert_close(on.logits(on.document(2)), plain.logits(on.document(2)))
    words = random_trunks.words(tmp_path / "words", "llama")
    eyes = random_trunks.eyes(tmp_path / "eyes", "clip_vision_model")
    grown = On(backbones.parts(str(eyes), str(words)), "pllava", frames=3)
    assert {n for n, p in grown.model.lm.named_parameters() if p.requires_grad and "lora_" not in n} == {
        "model.embed_tokens.weight",
        "lm_head.weight",
    }


# ---- what cannot be --------------------------------------------------------------------------------------------------


def test_a_checkpoint_that_is_not_here_is_one_line_and_no_download(tmp_path: Path) -> None:
    for load in (backbones.whole, backbones.seen_by, lambda p: backbones.parts(p, p)):
        with pytest.raises(NotFound, match=r"checkpoint some/where.*fetch it first") as told:
            load("some/where")
        assert "\n" not in str(told.value)


def test_what_cannot_read_packed_rows_is_refused(llava: str, tmp_path: Path) -> None:
    slides = random_trunks.words(tmp_path / "slides", "mistral", sliding_window=16)
    eyes = random_trunks.eyes(tmp_path / "eyes", "clip_vision_model")
    with pytest.raises(BadInput, match="layers that see 16 tokens back"):
        backbones.parts(str(eyes), str(slides))
    with pytest.raises(BadInput, match=r"tower .*model type 'mistral'.*siglip"):
        backbones.seen_by(str(slides))
    with pytest.raises(BadInput, match=r"image-text model .*'mistral'.*llava_onevision"):
        backbones.whole(str(slides))


def test_what_has_no_layout_is_refused_and_nothing_is_written(llava: str, tmp_path: Path) -> None:
    told = {
        "mqt": "the reducer Query",
        "fastv": "hooks between its layers",
        "tc_llava": "positions",
        "llava_next": "crops of pictures",
        "llava_hr": "the tower Mixed",
    }
    for name, says in told.items():
        on = On(backbones.whole(llava), name)
        with pytest.raises(BadInput, match=says):
            native.write(on.model, on.variant, on.base, on.tokens, tmp_path / "made")
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize("wrong", [{"tower": "a"}, {"lm": "a"}, {"tower": "a", "lm": "b", "model": "c"}])
def test_half_a_model_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(BadInput, match="give a tower and words, or one whole model"):
        Plan("llava15", (Data("x"),), **wrong)


# ---- stages ----------------------------------------------------------------------------------------------------------


def test_stages_follow_the_paper_s_shares_and_rates() -> None:
    stages = Stages.of(L15)
    assert [stages.at(step, 100)[0] for step in (0, 45, 46, 99)] == [0, 0, 1, 1]
    assert stages.at(50, 100) == (1, 4, 54)
    assert [stages.factor(0, part) for part in ("tower", "reducer", "lm", "codecs")] == [0.0, 1.0, 0.0, 1.0]
    assert [stages.factor(1, part) for part in ("tower", "reducer", "lm")] == [0.0, 0.02, 0.02]
    assert not stages.learns("tower")
    assert Stages().at(7, 9) == (0, 7, 9)
    assert Stages().factor(0, "tower") == 1.0
    three = Stages.of((*L15, Phase("more", 1.0, {"tower": 1e-3})))
    assert three.starts(200) == [0, 46, 100, 200]
    assert three.learns("tower")


def test_only_what_a_stage_names_moves(llava: str, tmp_path: Path) -> None:
    on = On(backbones.whole(llava))
    plan = Plan("llava15", (Data("x"),), steps=6, keep_every=6, rates=Rates(rate=1e-2, warmup=1))
    stages = Stages.of((Phase("align", 0.5, {"reducer": 1e-3}), Phase("tune", 0.5, {"reducer": 1e-4, "lm": 1e-4})))
    seen: list[dict[str, Tensor]] = [bits(on.model)]

    def tell(_: Told) -> None:
        seen.append(bits(on.model))

    plan.write(tmp_path)
    Fit(plan, on.model, on.variant.objective, Same(on.document()), tmp_path, tell, stages=stages).go()
    assert moved_parts(seen[0], seen[3]) == {"reducer"}
    assert moved_parts(seen[3], seen[6]) == {"reducer", "lm"}
    names = {group["name"].partition(",")[0] for group in groups(on.model, plan.rates, stages)}
    assert names == {"reducer", "lm"}


@dataclass
class Same:
    """One document again and again."""

    document: Document

    def __iter__(self) -> Iterator[Pack]:
        while True:
            yield packed([self.document])

    def state(self) -> Mapping[str, Any]:
        return {}

    def load(self, state: Mapping[str, Any]) -> None:
        pass


def bits(model: VLM) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


def moved_parts(before: dict[str, Tensor], after: dict[str, Tensor]) -> set[str]:
    return {name.partition(".")[0] for name, value in before.items() if not torch.equal(value, after[name])}
