"""Crops tile a picture, stand in the text where they lay, and are counted to the token; boxes speak of the whole."""

from __future__ import annotations

import io
import math
from dataclasses import replace
from fractions import Fraction
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import tiny_documents as tiny
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from PIL import Image
from published import stocked
from spelling import SLOTS, TEXTS, WORDS, plain

from reelmill.schemas.errors import BadInput
from reelmill.schemas.media import Kind
from reelmill.schemas.sample import Role, Sample, Turn
from reelmill.schemas.tube import Box
from reelmill.sinks.pack import pack as publish
from reelmill.sinks.publishing.packed import PackedSample
from reelmill.training import ladder
from reelmill.training.assemble import from_scratch
from reelmill.training.data.form import PLAIN
from reelmill.training.data.frames import cropped, decoded, stacked
from reelmill.training.data.loader import Loader, Settings, Source
from reelmill.training.data.shards import opened
from reelmill.training.data.tokenizer import loaded, trained
from reelmill.training.data.tokens import Tokens
from reelmill.training.documents import Document, packed
from reelmill.training.loop.clock import lengths
from reelmill.training.loop.plan import Data, Plan
from reelmill.training.reducers.pool import GridPool
from reelmill.training.reducers.stitch import Stitch
from reelmill.training.running import begun, counting
from reelmill.training.seams import Slicer
from reelmill.training.slicers.anyres import NEXT, AnyRes, every
from reelmill.training.slicers.cut import Cut, tiles_of
from reelmill.training.slicers.uhd import UHD
from reelmill.training.towers import HFTower, places
from reelmill.training.values import TEXT, Vis
from reelmill.training.vlm import VLM

SIDE = 336
SLICERS: dict[str, Slicer] = {
    "next": AnyRes(SIDE),
    "hd": AnyRes(SIDE, every(9)),
    "uhd": UHD(SIDE),
    "many": UHD(24, most=30),
}
SIZES = st.tuples(st.integers(1, 5000), st.integers(1, 5000))
HOSTILE = [(1, 1), (1, 5000), (5000, 1), (2, 3), (5000, 5000), (337, 336), (97, 4999)]


def hostile(test: Any) -> Any:
    for size in HOSTILE:
        test = example(size=size)(test)
    return test


@pytest.mark.parametrize("slicer", SLICERS.values(), ids=SLICERS)
@hostile
@given(size=SIZES)
def test_crops_tile_the_picture_by_rows(slicer: Slicer, size: tuple[int, int]) -> None:
    cut = slicer(*size)
    boxes = list(cut.boxes())
    if not cut.plain:
        assert boxes.pop(0) == (0, 0, *size)
    rows = [boxes[i : i + cut.columns] for i in range(0, len(boxes), cut.columns)]
    assert len(rows) == cut.rows
    down = [0]
    for row in rows:
        across = [0]
        for x0, y0, x1, y1 in row:
            assert (x0, y0, y1) == (across[-1], down[-1], row[0][3])
            assert x1 > x0
            across.append(x1)
        assert across[-1] == size[0]
        assert row[0][3] > down[-1]
        down.append(row[0][3])
    assert down[-1] == size[1]
    assert tiles_of(cut.shares()) == (None if cut.plain else (cut.rows, cut.columns))


@pytest.mark.parametrize("grids", [NEXT, every(9)[::-1]])
@hostile
@given(size=SIZES)
def test_any_resolution_chooses_as_transformers_does(grids: tuple[tuple[int, int], ...], size: tuple[int, int]) -> None:
    """Its rule over fractions, as floats lose a pixel now and then; larger grids first, so that waste decides too."""
    from transformers.image_processing_utils import select_best_resolution

    if min(size) < 9:  # a grid that leaves a crop without a pixel is not ours to choose
        return
    width, height = map(Fraction, size)
    theirs = select_best_resolution((height, width), [(r * SIDE, c * SIDE) for r, c in grids])
    cut = AnyRes(SIDE, grids)(*size)
    assert (cut.rows * SIDE, cut.columns * SIDE) == theirs


@hostile
@given(size=SIZES)
def test_uhd_s_slices_are_near_the_ideal_number_and_nearest_in_shape(size: tuple[int, int]) -> None:
    width, height = size
    cut, ideal = SLICERS["uhd"](*size), min(math.ceil(width * height / SIDE**2), 6)
    if ideal == 1:
        assert cut.plain
        return
    counts = [n for n in (ideal - 1, ideal, ideal + 1) if n != 1]
    grids = [(a, b) for a in range(1, 8) for b in range(1, 8) if a * b in counts and a <= height and b <= width]
    scores = {grid: abs(math.log(width / height) - math.log(grid[1] / grid[0])) for grid in grids}
    assert scores[cut.rows, cut.columns] <= min(scores.values()) + 1e-9


def test_a_tall_picture_of_the_paper_is_six_slices() -> None:
    assert UHD(336)(672, 1088) == Cut(672, 1088, rows=3, columns=2, whole=True)


def test_separators_stand_between_crops_and_behind_rows() -> None:
    uhd = UHD(336)
    assert uhd.text(uhd(672, 1088), "V") == "V\nV,V\nV,V\nV,V\n"
    assert uhd.text(uhd(300, 300), "V") == "V"
    assert AnyRes(336).text(AnyRes(336)(672, 1088), "V") == "V"


# ---- pixels and words ------------------------------------------------------------------------------------------------


def jpeg(width: int, height: int) -> bytes:
    noise = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    out = io.BytesIO()
    Image.fromarray(noise).save(out, "JPEG")
    return out.getvalue()


def test_crops_are_the_picture_s_own_pixels() -> None:
    """Crops of the tower's size are not resized, so that they are the picture again."""
    cut = Cut(60, 40, rows=2, columns=3, whole=True)
    whole, *parts = cropped(jpeg(60, 40), 20, np.array(cut.shares()))
    assert np.array_equal(whole, decoded(jpeg(60, 40), 20))
    rows = [np.concatenate(parts[i : i + 3], 1) for i in (0, 3)]
    assert np.array_equal(np.concatenate(rows), np.asarray(Image.open(io.BytesIO(jpeg(60, 40)))))


def test_one_crop_is_the_plain_picture() -> None:
    one = np.array(Cut(60, 40).shares())
    assert np.array_equal(stacked([jpeg(60, 40)], 20, one), stacked([jpeg(60, 40)], 20))


@cache
def tokenizer() -> Any:
    return trained(["\n,", *TEXTS], slots=("time", "box"), kind="word", vocabulary=80)


def still(one: Any) -> Any:
    """A sample as one of a picture, which is asked for a place."""
    medium = replace(one.media, kind=Kind.IMAGE, duration_s=0.0, span=None)
    turns = (
        Turn(Role.USER, "Where is it?", (), (), ()),
        Turn(Role.ASSISTANT, "There <box>.", (), (), (Box(32.0, 45.0, 160.0, 180.0),)),
    )
    return replace(one, media=medium, frames=one.frames[:1], turns=turns)


def pictured() -> PackedSample:
    """320 x 180 pixels."""
    made: PackedSample = still(plain())
    return made


def test_a_picture_s_document_has_its_crops_and_their_marks() -> None:
    """100 pixels: six slices, of which one is wide; n = min(ceil(5.76), 6), and 2 x 3 is nearest to 16 : 9."""
    tokens = Tokens(tokenizer(), 100, codecs=SLOTS, slicer=UHD(100))
    document = tokens.document([pictured()])
    said = tokens.tokenizer.decode(document.ids[document.branch == 0])
    assert said == "<user><visual>\n<visual>,<visual>,<visual>\n<visual>,<visual>,<visual>\n"
    assert document.frames.shape == (7, 100, 100, 3)
    assert document.at_s.tolist() == [0.0] * 7
    assert document.crops is not None
    assert document.crops[2].tolist() == [106 / 320, 0, 213 / 320, 0.5]


def test_boxes_stay_shares_of_the_whole_picture() -> None:
    cut, whole = (Tokens(tokenizer(), 100, codecs=SLOTS, slicer=s).document([pictured()]) for s in (UHD(100), None))
    assert [s.values for s in cut.slots] == [s.values for s in whole.slots] == [(0.1, 0.25, 0.5, 1.0)]
    assert [cut.ids[s.at] for s in cut.slots] == [whole.ids[s.at] for s in whole.slots]


@pytest.mark.parametrize("slicer", [UHD(100), AnyRes(100)])
def test_videos_are_left_as_they_are(slicer: Slicer) -> None:
    cut, whole = (Tokens(tokenizer(), 100, codecs=WORDS, slicer=s).document([plain()]) for s in (slicer, None))
    assert cut.ids.tolist() == whole.ids.tolist()
    assert cut.crops is None
    assert cut.frames.shape == whole.frames.shape


def test_a_small_picture_is_plain() -> None:
    cut, whole = (Tokens(tokenizer(), 400, codecs=WORDS, slicer=s).document([pictured()]) for s in (UHD(400), None))
    assert (cut.ids.tolist(), cut.crops) == (whole.ids.tolist(), None)


# ---- from the shards to the row --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four samples of two pictures of 320 x 180 pixels."""

    def change(one: Sample) -> Sample:
        out: Sample = still(one)
        return out

    root = tmp_path_factory.mktemp("pictures")
    store, view = stocked(root, sources=2, change=change)
    publish(store, view, val_share=0.0)
    return root / "grounding-t" / "1"


def test_a_loader_s_packs_have_the_crops_and_its_state_names_the_slicer(pictures: Path) -> None:
    split = opened(pictures)
    tokens = Tokens(tokenizer(), 100, codecs=SLOTS, slicer=UHD(100))
    settings = Settings(length=4000, shuffle=0, waiting=1, epochs=1)
    loader = Loader([Source(split)], tokens, settings, lambda d: len(d.ids), threads=1)
    (pack,) = list(loader)
    members = [f.member for f in tokens.shown(split.sample(0)) if f.member]
    picture = np.asarray(Image.open(io.BytesIO(next(iter(split.jpegs(0, members))))))
    middle = Image.fromarray(picture[:90, 106:213]).resize((100, 100), Image.Resampling.BICUBIC)
    assert np.array_equal(pack.pixels[2].permute(1, 2, 0).numpy(), np.asarray(middle))
    assert pack.crop is not None
    assert pack.crop.shape == (len(pack.pixels), 4)
    other = Loader([Source(split)], replace(tokens, slicer=None), settings, lambda d: len(d.ids), threads=1)
    with pytest.raises(BadInput, match=r"crops UHD.*None here"):
        other.load(loader.state())


def test_a_run_cuts_pictures_and_its_words_know_the_separators(pictures: Path, tmp_path: Path) -> None:
    """24 pixels: as many slices as there may be, 2 x 3; seven marks with a separator behind each."""
    fit = begun(Plan("llava_uhd", (Data(str(pictures)),)), tmp_path / "run", lambda _: None)
    pack = next(iter(fit.packs))
    words = loaded(tmp_path / "run" / "tokenizer", PLAIN)
    said = "<user>" + UHD(24).text(Cut(6, 6, 2, 3, whole=True), "<visual>")
    assert words.decode(pack.ids[pack.doc == 0][:15]) == said
    assert len(pack.pixels) == 7 * pack.documents


@cache
def model_of(name: str) -> VLM:
    model, _ = from_scratch(name, ladder.XS, tiny.VOCABULARY, frames=4)
    model.eval()
    return model


def drawn(name: str, size: tuple[int, int]) -> Document:
    slicer: Slicer = AnyRes(24) if name == "llava_next" else UHD(24)
    return tiny.picture(1, slicer, *size)


@torch.no_grad()
@pytest.mark.parametrize("name", ["llava_next", "llava_uhd"])
def test_a_document_is_counted_to_the_token(name: str) -> None:
    model = model_of(name)
    documents = [drawn(name, size) for size in ((20, 24), (50, 20), (70, 70), (24, 90))]
    documents.append(tiny.document(2, frames=3))
    lengths_of = [model.row(packed([d])).length for d in documents]
    assert [counting(model)(d) for d in documents] == lengths_of
    assert lengths(model, packed(documents)).tolist() == lengths_of


@torch.no_grad()
def test_each_crop_enters_at_its_mark() -> None:
    """60 x 60 pixels: the whole, and 2 x 3 slices with a comma (word 1) or a newline (word 2) behind each."""
    model = model_of("llava_uhd")
    row = model.row(packed([drawn("llava_uhd", (60, 60))]))
    queries, between = 16, [2, 1, 1, 2, 1, 1, 2]
    shown = [k for frame in range(7) for k in (*[frame] * queries, TEXT)]
    assert row.kind[: len(shown)].tolist() == shown
    said = row.h[: len(shown)][row.kind[: len(shown)] == TEXT]
    assert torch.equal(said, model.lm.get_input_embeddings().weight[between])


@torch.no_grad()
def test_marks_that_do_not_fit_are_refused() -> None:
    model, document = model_of("llava_uhd"), drawn("llava_uhd", (60, 60))
    fewer = replace(document, frames=document.frames[:6], at_s=document.at_s[:6], crops=None)
    with pytest.raises(ValueError, match="frames stand one by one"):
        model.row(packed([fewer]))
    mixed = VLM(model.tower, model_of("llava_next").reducer, model.lm, visual_id=tiny.VISUAL)
    with pytest.raises(ValueError, match="frames stand one by one"):
        mixed.row(packed([document]))


def test_a_crop_is_no_change_of_the_one_beside_it() -> None:
    tower = model_of("llava_uhd").tower
    assert isinstance(tower, HFTower)
    pack = packed([tiny.document(0, frames=2), drawn("llava_uhd", (60, 60))])
    change = tower._pixels(pack)[:, 3:].abs().amax((1, 2, 3))
    assert (change > 0).tolist() == [False, True, *[False] * (len(change) - 2)]


@torch.no_grad()
@pytest.mark.parametrize("side", [4, 2])
def test_tokens_of_crops_lie_where_those_of_a_finer_tower_do(side: int) -> None:
    """Two by two crops of 4 x 4 patches are 8 x 8 places of the picture, before and behind a pool."""
    document = replace(tiny.document(0, frames=4), crops=np.array(Cut(80, 80, rows=2, columns=2).shares()))
    vis = GridPool((side, side))(model_of("llava_uhd").tower(packed([document])))
    found = vis.place.unflatten(1, (side, side)).unflatten(0, (2, 2)).transpose(1, 2).flatten(0, 3)
    torch.testing.assert_close(found, places((2 * side, 2 * side)))


# ---- LLaVA-NeXT's map ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("rows", "columns"), NEXT)
def test_crops_are_put_together_as_transformers_does(rows: int, columns: int) -> None:
    """Pictures that fill their grid, where nothing is padded there."""
    from transformers.models.llava_next.modeling_llava_next import LlavaNextModel

    side, width = 3, 8
    stitch = Stitch(width)
    cut = Cut(columns * SIDE, rows * SIDE, rows, columns, whole=True)
    n = len(cut.boxes())
    x, none = torch.randn(n, side * side, width), torch.zeros(n, dtype=torch.long)
    frame = torch.arange(n).unsqueeze(1).expand(-1, side * side)
    where = places((side, side)).expand(n, -1, -1)
    vis = Vis(x, where, frame, frame * 0.0, none, grid=(side, side), crop=torch.tensor(cut.shares()))
    eyes = SimpleNamespace(image_size=SIDE, patch_size=SIDE // side)
    grids = [(r * SIDE, c * SIDE) for r, c in NEXT]
    theirs: Any = SimpleNamespace(config=SimpleNamespace(vision_config=eyes, image_grid_pinpoints=grids))
    size = torch.tensor([[rows * SIDE, columns * SIDE]])
    packs: Any = LlavaNextModel.pack_image_features
    (features,), counted = packs(theirs, [x], size, "default", stitch.newline)
    ours = stitch(vis)
    torch.testing.assert_close(ours.x[0], features, rtol=0, atol=0)
    assert stitch.count(n, (side, side), tiles=(rows, columns)) == int(counted[0])
