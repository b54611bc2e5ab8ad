"""Scores: what is measured, what stands under text to the pixel, heads read byte for byte, and null for what was not
looked at."""

from __future__ import annotations

import hashlib
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from stepped import run

from reelmill.annotators.annotator import Annotator
from reelmill.annotators.cutting.shown import jpeg
from reelmill.annotators.score import SAFETY, SCORES, Head, Score, found_check, read_tensors, text_shares, union_px
from reelmill.schemas import arrow
from reelmill.schemas.clip import ClipStats
from reelmill.schemas.embedding import FrameEmbedding
from reelmill.schemas.errors import BadInput, NotFound
from reelmill.schemas.media import Kind, MediaRef, ShownFrame
from reelmill.schemas.text import TextLine
from reelmill.schemas.tube import Box

STATS = ClipStats(motion=0.03, sharpness=412.0, luma=103.0, luma_spread=51.0, phash="d1c4b8a39e2e6c31")
RED, BLUE = (np.asarray(Image.new("RGB", (64, 48), c)) for c in ("red", "blue"))


def shown(number, at_s=None):
    return ShownFrame(number, 0.5 * number if at_s is None else at_s, 100, 50, "", 0, 1)


def line(box, frame=0):
    x0, y0, x1, y1 = box
    return TextLine("word", (x0, y0, x1, y0, x1, y1, x0, y1), 0.9, 0, frame, 0.0, "rules")


def row(key="k" * 26, *, kind=Kind.VIDEO, duration_s=2.0, frames=None, lines=(), read=(0,), **more):
    frames = (shown(0), shown(1)) if frames is None else frames
    stats = more.pop("stats", STATS)
    return {
        "key": key,
        "media": arrow.plain(MediaRef("u", "d", kind, 100, 50, duration_s, None, "")),
        "stats": arrow.plain(stats),
        "frames": arrow.plain(tuple(frames)),
        "texts": arrow.plain(tuple(lines)),
        "text_frames": list(read),
        **more,
    }


def ready(*given_, **named):
    step = Score(*given_, **named)
    step.setup()
    return step


def scores_of(answer):
    assert answer["fault"] is None, answer["fault"]
    return arrow.typed(SCORES.hint, answer["scores"])


# ---- what is known already -------------------------------------------------------------------------------------------


def test_it_is_an_annotator():
    assert isinstance(Score(), Annotator)


def test_the_clips_own_facts_are_its_scores():
    scores = scores_of(run(ready(), row())[0])
    assert (scores.motion, scores.sharpness, scores.luma, scores.contrast) == (0.03, 412.0, 103.0, 51.0)


def test_a_picture_has_no_motion():
    scores = scores_of(run(ready(), row(kind=Kind.IMAGE, duration_s=0.0, frames=(shown(0),)))[0])
    assert (scores.motion, scores.sharpness) == (None, 412.0)


def test_what_was_not_looked_at_is_null_and_never_safe():
    (answer,) = run(ready(), row(stats=None, read=()))
    assert arrow.plain(scores_of(answer)) == dict.fromkeys(arrow.plain(scores_of(answer)))
    assert (answer["safety"], answer["scored_by"]) == (None, [])


def test_rows_are_scored_by_themselves():
    rows = [row("a" * 26, lines=(line((0, 0, 50, 50)),)), row("b" * 26), row("c" * 26, stats=None)]
    together = run(ready(), *rows)
    assert run(ready(), *rows[::-1]) == together[::-1]
    assert [run(ready(), one)[0] for one in rows] == together


# ---- text ------------------------------------------------------------------------------------------------------------

EDGES = st.lists(st.integers(-3, 15), min_size=2, max_size=2).map(sorted)


@given(st.lists(st.tuples(EDGES, EDGES), max_size=6))
@settings(max_examples=200, deadline=None)
def test_the_union_is_that_of_painted_pixels(rectangles):
    boxes = [Box(x0, y0, x1, y1) for (x0, x1), (y0, y1) in rectangles]
    painted = np.zeros((10, 12), bool)
    for box in boxes:
        painted[max(0, box.y0_px) : max(0, box.y1_px), max(0, box.x0_px) : max(0, box.x1_px)] = True
    assert union_px(boxes, 12, 10) == painted.sum()


def test_a_frame_stands_until_the_next_that_was_read():
    frames = [shown(0, 0.0), shown(10, 1.0), shown(20, 2.0), shown(30, 3.0)]
    lines = [line((0, 0, 50, 50), 0), line((0, 0, 100, 25), 20), line((50, 0, 100, 50), 20)]
    mean, most = text_shares(frames, lines, (0, 20), 5.0)
    assert mean == pytest.approx((0.5 * 2 + 0.75 * 3) / 5)
    assert most == 0.75


def test_frames_read_without_text_are_none_of_nothing():
    assert text_shares([shown(0)], [], (0,), 0.0) == (0.0, 0.0)
    assert text_shares([shown(0)], [], (), 4.0) == (None, None)


def test_a_picture_of_text_has_its_share():
    picture = row(kind=Kind.IMAGE, duration_s=0.0, frames=(shown(0),), lines=(line((10, 10, 60, 20)),))
    scores = scores_of(run(ready(), picture)[0])
    assert scores.text_share == scores.text_share_most == 0.1


# ---- looks -----------------------------------------------------------------------------------------------------------


def tensors(**named):
    """The bytes of a safetensors file, by the format's own description."""
    header, data = {}, b""
    for name, values in named.items():
        raw = np.ascontiguousarray(values).tobytes()
        kind = {"float64": "F64", "float32": "F32", "float16": "F16", "int64": "I64"}[str(values.dtype)]
        header[name.replace("_dot_", ".")] = {
            "dtype": kind,
            "shape": list(values.shape),
            "data_offsets": [len(data), len(data) + len(raw)],
        }
        data += raw
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


@pytest.fixture
def head(tmp_path):
    path = tmp_path / "head.safetensors"
    path.write_bytes(tensors(weight=np.array([[1.0, 2.0, 0.0]], np.float32), bias=np.array([5.0], np.float32)))
    return path


def embedded(*vectors):
    frames = [arrow.plain(FrameEmbedding(i, 0.5 * i, tuple(map(arrow.Float32, v)))) for i, v in enumerate(vectors)]
    return {"frame_embeddings": frames, "clip_embedding": [1.0], "embedding_model": "transformers:clip"}


def test_a_linear_head_gives_the_mean_of_its_scores(head):
    (answer,) = run(ready(str(head)), row(**embedded((1, 0, 0), (0, 1, 0))))
    assert scores_of(answer).aesthetic == pytest.approx((6 + 7) / 2)
    (by,) = answer["scored_by"]
    assert by.startswith("aesthetic: head ")
    assert by.endswith(" over transformers:clip")


@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64])
def test_layers_without_activations_are_one_map(tmp_path, kind):
    """In the layout of LAION's released predictor, with a layer 10 that comes after layer 2."""
    from torch import nn, tensor

    rng = np.random.default_rng(0)
    shapes = {"layers.0": (4, 6), "layers.2": (3, 4), "layers.10": (1, 3)}
    made = {n: (rng.normal(size=s).astype(kind), rng.normal(size=s[0]).astype(kind)) for n, s in shapes.items()}
    named = {f"{n}_dot_{part}": v for n, pair in made.items() for part, v in zip(("weight", "bias"), pair, strict=True)}
    (tmp_path / "h.safetensors").write_bytes(tensors(**{k: named[k] for k in sorted(named)}))
    chain = nn.Sequential(*(nn.Linear(*s[::-1]).double() for s in shapes.values()))
    for layer, (weight, bias) in zip(chain, made.values(), strict=True):
        layer.weight.data, layer.bias.data = tensor(weight).double(), tensor(bias).double()
    vectors = rng.normal(size=(5, 6))
    want = chain(tensor(vectors)).detach().numpy()[:, 0]
    assert Head.read(tmp_path / "h.safetensors")(vectors) == pytest.approx(want, abs=1e-9)


def test_our_reader_agrees_with_the_formats_own_library(tmp_path):
    library = pytest.importorskip("safetensors.numpy")
    made = {"a.weight": np.arange(6, dtype=np.float32).reshape(2, 3), "a.bias": np.zeros(2, np.float16)}
    library.save_file(made, tmp_path / "x.safetensors", metadata={"format": "pt"})
    found = read_tensors(tmp_path / "x.safetensors")
    assert set(found) == set(made)
    assert all((found[name] == made[name]).all() for name in made)


@pytest.mark.parametrize(
    ("data", "seen"),
    [
        (b"", "a header of 0 bytes"),
        (b"PK\x03\x04 a zip file", "a header of"),
        (tensors(weight=np.ones((2, 3), np.float32)), "2 numbers at its end"),
        (tensors(bias=np.ones(1, np.float32)), "no weight"),
        (tensors(weight=np.ones((1, 3), np.int64)), "I64"),
        (
            tensors(a_dot_0_dot_weight=np.ones((2, 3)), a_dot_1_dot_weight=np.ones((1, 4))),
            "takes 4 numbers, the layer before gives 2",
        ),
        (tensors(weight=np.ones((1, 3), np.float32))[:-4], "ValueError"),
    ],
)
def test_what_is_no_head_is_one_line(tmp_path, data, seen):
    (tmp_path / "h.safetensors").write_bytes(data)
    with pytest.raises(BadInput, match=f"aesthetic head h.safetensors; seen: .*{seen}"):
        Head.read(tmp_path / "h.safetensors")


def test_a_head_that_is_not_there_is_not_found(tmp_path):
    with pytest.raises(NotFound, match="give a safetensors file"):
        Score(str(tmp_path / "none.safetensors"))


def test_d16_a_score_names_the_bytes_of_its_head_and_the_model_below_it(head, tmp_path):
    """Another head under the same file name gives scores under another name."""
    other = tmp_path / "later" / head.name
    other.parent.mkdir()
    other.write_bytes(tensors(weight=np.array([[1.0, 2.0, 0.5]], np.float32)))
    for path in (head, other):
        (answer,) = run(ready(str(path)), row(**embedded((1, 0, 0))))
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        assert answer["scored_by"] == [f"aesthetic: head {digest[:16]} over transformers:clip"]


def test_a_head_over_another_model_says_so(head):
    (answer,) = run(ready(str(head)), row(**embedded((1, 0))))
    assert "embeddings of 2 numbers, a head over 3" in answer["fault"]


def test_the_heads_bytes_are_identity_and_its_place_is_not(head, tmp_path):
    again = tmp_path / "copy.safetensors"
    again.write_bytes(head.read_bytes())
    assert Score(str(again)) == Score(str(head))
    again.write_bytes(tensors(weight=np.ones((1, 3), np.float32)))
    assert Score(str(again)) != Score(str(head))


# ---- safety ----------------------------------------------------------------------------------------------------------


def test_a_check_of_the_users_marks_every_shown_frame():
    step = ready(safety="marking:redness", safety_revision="2")
    (answer,) = run(step, row(jpegs=[jpeg(RED, 92), jpeg(BLUE, 92)]))
    marks = arrow.typed(SAFETY.hint, answer["safety"])
    assert [(m.frame, m.at_s, m.label) for m in marks] == [(0, 0.0, "red"), (1, 0.5, "calm")]
    assert marks[0].score > 0.9
    assert answer["scored_by"] == ["safety: marking:redness@2"]


@pytest.mark.parametrize("check", ["marking:silent", "marking:unsure"])
def test_a_check_that_says_nothing_is_a_fault_and_no_mark(check):
    (answer,) = run(ready(safety=check), row(jpegs=[jpeg(RED, 92), jpeg(BLUE, 92)]))
    assert answer["safety"] is None
    assert "return (label, score)" in answer["fault"]


@pytest.mark.parametrize("check", ["marking", "marking:none", "nowhere.at.all:check", ":redness", "marking:LIMIT"])
def test_a_check_that_is_not_there_is_one_line(check):
    with pytest.raises(BadInput, match=r"safety check .*give package.module:function"):
        found_check(check)
