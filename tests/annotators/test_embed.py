"""Embeddings: the descriptor tells looks apart; random weights prove the wiring of three architectures."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
import random_weights
from painted import texture
from PIL import Image
from stepped import run

from reelmill.annotators.annotator import Annotator
from reelmill.annotators.cutting.shown import jpeg
from reelmill.annotators.embed import DESCRIPTOR, DualEncoder, Embed, describe, encoder, identity, unit
from reelmill.schemas import arrow
from reelmill.schemas.column import schema
from reelmill.schemas.errors import BadInput, EngineUnusable, NotFound, Unusable
from reelmill.schemas.media import ShownFrame

ARCHITECTURES = {"clip": random_weights.clip, "siglip": random_weights.siglip, "siglip2": random_weights.siglip2}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    return {name: make(tmp_path_factory.mktemp(name)) for name, make in ARCHITECTURES.items()}


def flat(colour, size=(64, 48)):
    return np.asarray(Image.new("RGB", size, colour))


def striped(across):
    picture = np.full((96, 96, 3), 40, np.uint8)
    picture[(slice(None), slice(None, None, 8)) if across else slice(None, None, 8)] = 220
    return picture


RED, BLUE = flat("red"), flat("blue")


def row(pictures, key="k" * 26):
    jpegs = [jpeg(p, 92) for p in pictures]
    shown = [
        ShownFrame(12 * i, 0.5 * i, p.shape[1], p.shape[0], "", 0, len(j))
        for i, (p, j) in enumerate(zip(pictures, jpegs, strict=True))
    ]
    return {"key": key, "frames": arrow.plain(tuple(shown)), "jpegs": jpegs}


def ready(engine="embedded"):
    step = Embed(engine)
    step.setup()
    return step


# ---- the step --------------------------------------------------------------------------------------------------------


def test_it_is_an_annotator():
    assert isinstance(Embed(), Annotator)


def test_each_frame_and_the_clip_have_a_unit_vector_with_its_time():
    (answer,) = run(ready(), row([RED, BLUE, BLUE]))
    frames = answer["frame_embeddings"]
    assert [(f["frame"], f["at_s"]) for f in frames] == [(0, 0.0), (12, 0.5), (24, 1.0)]
    vectors = np.array([f["vector"] for f in frames])
    clip = np.array(answer["clip_embedding"])
    assert np.linalg.norm([*vectors, clip], axis=1) == pytest.approx(1.0, abs=1e-6)
    assert clip == pytest.approx(vectors.mean(axis=0) / np.linalg.norm(vectors.mean(axis=0)), abs=1e-6)
    assert clip @ vectors[1] > clip @ vectors[0]
    assert (answer["embedding_model"], answer["embedding_revision"]) == (DESCRIPTOR, "1")


def test_vectors_are_stored_as_float32():
    table = ready()(pa.Table.from_pylist([row([RED])], schema=schema(*Embed().needs)))
    assert table.schema.field("clip_embedding").type == pa.list_(pa.field("item", pa.float32(), nullable=False))


def test_a_row_without_frames_is_rejected():
    (answer,) = run(ready(), row([]))
    assert answer["verdict"]["reason"] == "no_frames"


@pytest.mark.parametrize("engine", ["embedded", *ARCHITECTURES])
def test_a_row_alone_is_the_row_in_any_batch(engine, folders):
    step = ready(f"transformers:{folders[engine]}" if engine in folders else engine)
    rows = [row([texture(1)] * 9 + [RED], "a" * 26), row([BLUE], "b" * 26), row([texture(2), texture(3)], "c" * 26)]
    together = run(step, *rows)
    assert all(answer["fault"] is None for answer in together)
    assert run(step, *rows[::-1]) == together[::-1]
    assert [run(step, one)[0] for one in rows] == together


# ---- the descriptor --------------------------------------------------------------------------------------------------


def test_like_looks_are_alike():
    small = np.asarray(Image.fromarray(texture(5)).resize((160, 90)))
    far = [describe(p) for p in (texture(6), RED, BLUE, striped(True))]
    assert describe(texture(5)) @ describe(small) > max(describe(texture(5)) @ v for v in far) + 0.02
    assert describe(RED) @ describe(flat((240, 10, 10), (31, 77))) > 0.95
    assert describe(RED) @ describe(BLUE) < 0.55


def test_the_direction_of_edges_counts():
    upright, level = describe(striped(True)), describe(striped(False))
    assert upright @ describe(np.ascontiguousarray(striped(True)[:, ::-1])) > 0.95
    assert upright @ level < 0.8


def test_where_a_colour_is_counts():
    left = np.concatenate([RED, BLUE], axis=1)
    right = np.concatenate([BLUE, RED], axis=1)
    assert describe(left) @ describe(right) < 0.6


@pytest.mark.parametrize("picture", [flat("black"), flat("white"), flat("red", (1, 1)), flat("gray", (2000, 3))])
def test_every_picture_has_a_direction(picture):
    found = describe(picture)
    assert found.shape == (320,)
    assert found.dtype == np.float32
    assert found.min() >= 0
    assert np.linalg.norm(found) == pytest.approx(1.0, abs=1e-6)


def test_the_descriptor_takes_no_text():
    with pytest.raises(BadInput, match="embeds pictures only"):
        encoder("embedded").texts(["a red circle"])


@pytest.mark.parametrize("vector", [[0.0, 0.0], [float("nan"), 1.0], [float("inf"), 1.0]])
def test_what_has_no_direction_is_refused(vector):
    with pytest.raises(Unusable, match="no_embedding"):
        unit(np.array([vector, [1.0, 0.0]]))


# ---- checkpoints -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_pictures_and_texts_meet_in_one_space(name, folders):
    net = DualEncoder(str(folders[name]))
    pictures, texts = net.pictures([RED, BLUE, texture(1)]), net.texts(["a red circle", "A RED CIRCLE!", "x" * 500])
    assert pictures.shape == texts.shape == (3, 8 if name == "clip" else 16)
    assert pictures.dtype == texts.dtype == np.float32
    assert np.linalg.norm(np.concatenate([pictures, texts]), axis=1) == pytest.approx(1.0, abs=1e-6)
    assert pictures[0] @ pictures[1] < 1 - 1e-6
    assert texts[0] @ texts[2] < 1 - 1e-6


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_vectors_are_those_of_the_models_own_forward_pass(name, folders):
    """The same cosines as transformers computes between the two towers when it is given both at once."""
    import torch
    from transformers import AutoImageProcessor, AutoModel, AutoTokenizer

    folder, words = folders[name], ["a red circle", "b"]
    net = AutoModel.from_pretrained(folder).eval()
    texts = AutoTokenizer.from_pretrained(folder)(
        words, padding=True if name == "clip" else "max_length", max_length=16, truncation=True, return_tensors="pt"
    )
    if name != "clip":
        texts.pop("attention_mask", None)
    pictures = AutoImageProcessor.from_pretrained(folder, backend="pil")(images=[texture(1), RED], return_tensors="pt")
    with torch.inference_mode():
        said = net(**texts, **pictures)
    ours = DualEncoder(str(folder))
    assert ours.texts(words) == pytest.approx(said.text_embeds.numpy(), abs=1e-5)
    assert ours.pictures([texture(1), RED]) == pytest.approx(said.image_embeds.numpy(), abs=1e-5)


def test_siglip_reads_lower_case_and_clip_knows_case_by_its_tokenizer(folders):
    net = DualEncoder(str(folders["siglip"]))
    assert (net.texts(["A Red Circle"]) == net.texts(["a red circle"])).all()


def test_a_folder_is_known_by_name_and_digest(folders, tmp_path):
    folder = folders["clip"]
    name, revision = identity(f"transformers:{folder}")
    assert name == f"transformers:{folder.name}"
    assert len(revision) == 16
    other = random_weights.clip(tmp_path / folder.name, seed=1)
    assert identity(f"transformers:{other}")[0] == name
    assert identity(f"transformers:{other}")[1] != revision
    assert Embed(f"transformers:{folder}") != Embed(f"transformers:{other}")


def test_a_hub_name_keeps_the_revision_that_was_said():
    assert identity("transformers:google/siglip2-base-patch16-224", "abc") == (
        "transformers:google/siglip2-base-patch16-224",
        "abc",
    )


@pytest.mark.parametrize("engine", ["openai:m@http://127.0.0.1:9/v1", "vllm:m", "replay:f.jsonl"])
def test_other_engines_give_no_vectors(engine):
    with pytest.raises(BadInput, match="embed runs a checkpoint in process"):
        Embed(engine)


def test_a_missing_checkpoint_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(NotFound, match=r"checkpoint nobody/nothing not found; seen:.*do:") as caught:
        ready("transformers:nobody/nothing")
    assert caught.value.exit_code == 2
    assert "\n" not in str(caught.value)


def test_workers_of_one_process_may_load_at_once(folders):
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(4) as pool:
        nets = list(pool.map(lambda _: DualEncoder(str(folders["siglip"])), range(8)))
    assert len({net.texts(["a"]).tobytes() for net in nets}) == 1


def test_a_folder_of_another_kind_is_one_line(tmp_path):
    import torch
    from transformers import ViTConfig, ViTModel

    torch.manual_seed(0)
    ViTModel(ViTConfig(**random_weights.LAYER, image_size=32, patch_size=16)).save_pretrained(tmp_path)
    random_weights.write_processor(tmp_path)
    with pytest.raises(BadInput, match="has not a tower each for pictures and texts"):
        ready(f"transformers:{tmp_path}")


def test_a_folder_without_weights_is_one_line(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(EngineUnusable, match="name a folder with config"):
        Embed(f"transformers:{tmp_path}")
