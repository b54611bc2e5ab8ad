"""Readers of annotated picture sets, on tiny files of each form: ids, sizes, boxes, and what is refused."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reelmill.pipelines.sources.annotated.fields import quad, xywh, xyxy
from reelmill.pipelines.sources.annotated.reading import Refused, reader
from reelmill.schemas import arrow
from reelmill.schemas.annotation import Annotation
from reelmill.schemas.errors import BadInput, NotFound, Unusable
from reelmill.schemas.tube import Box

FORMS = (
    "coco",
    "lvis",
    "refcoco",
    "visual_genome",
    "textvqa",
    "textocr",
    "hiertext",
    "laion",
    "llava_json",
    "ms_swift",
)
IMAGE = {"id": 3, "file_name": "3.jpg", "width": 64, "height": 48, "license": 1}


def written(path: Path, value: Any) -> Path:
    path.write_text(json.dumps(value))
    return path


def read(form: str, path: Path) -> tuple[list[Annotation], dict[str, str]]:
    """Annotations, and the reason of each refused id. Whatever is given can be stored."""
    found = list(reader(form)(path))
    good = [one for one in found if isinstance(one, Annotation)]
    arrow.to_table(Annotation, good)
    return good, {one.original_id: one.reason for one in found if isinstance(one, Refused)}


def coco_file(path: Path, annotations: list[Any], image: dict[str, Any] = IMAGE) -> Path:
    """Categories stand behind the annotations, as in COCO's own instance files."""
    held = {"info": {}, "licenses": [{"id": 1, "name": "CC BY 2.0"}], "images": [image], "annotations": annotations}
    return written(path, held | {"categories": [{"id": 5, "name": "dog"}, {"id": 6, "name": ""}]})


@pytest.mark.parametrize("form", [*FORMS, "webdataset"])
def test_every_reader_says_what_it_expects_and_misses_nothing_silently(form: str, tmp_path: Path) -> None:
    module = __import__(f"reelmill.pipelines.sources.annotated.{form}", fromlist=["read"])
    assert module.EXPECTS
    assert isinstance(module.LICENCE, str)
    with pytest.raises(NotFound):
        list(reader(form)(tmp_path / "not-there.json"))


# --- boxes ---

PIXELS = st.floats(-1e4, 1e4, allow_nan=False)
SIDES = st.floats(0.01, 1e4, allow_nan=False)


@given(PIXELS, PIXELS, SIDES, SIDES)
def test_left_top_width_height_becomes_corners(x: float, y: float, width: float, height: float) -> None:
    box = xywh([x, y, width, height])
    assert (box.x0_px, box.y0_px) == (x, y)
    assert box.x1_px - box.x0_px == pytest.approx(width, abs=1e-8)
    assert box.y1_px - box.y0_px == pytest.approx(height, abs=1e-8)
    assert xyxy([box.x0_px, box.y0_px, box.x1_px, box.y1_px]) == box


@given(st.lists(st.tuples(PIXELS, PIXELS), min_size=3, max_size=9))
def test_a_polygon_becomes_four_corners_around_it(points: list[tuple[float, float]]) -> None:
    corners = quad([list(p) for p in points], "points")
    xs, ys = corners[0::2], corners[1::2]
    assert (min(xs), max(xs)) == (min(x for x, _ in points), max(x for x, _ in points))
    assert (min(ys), max(ys)) == (min(y for _, y in points), max(y for _, y in points))


BAD_BOXES: list[Any] = [None, [], [1, 2, 3], [1, 2, 3, None], [1, 2, 3, "4"], [1, 2, True, 4], "1,2,3,4", {"x": 1}]
BAD_BOXES += [[1, 2, 0, 4], [1, 2, -3, 4], [1, 2, float("nan"), 4], [1, 2, float("inf"), 4], [1e12, 2, 3, 4]]


@pytest.mark.parametrize("value", BAD_BOXES, ids=repr)
def test_what_is_no_box_is_refused(value: Any) -> None:
    with pytest.raises(Unusable, match=r"bad_box|empty_box"):
        xywh(value)


# --- COCO and what is like it ---


def test_coco_captions_keep_id_size_split_and_licence(tmp_path: Path) -> None:
    path = coco_file(tmp_path / "captions_val2017.json", [{"id": 9, "image_id": 3, "caption": "A dog."}])
    (one,), refused = read("coco", path)
    assert refused == {}
    assert (one.source_set, one.original_id, one.split) == ("coco:captions_val2017", "9", "val")
    assert (one.media_uri, one.width_px, one.height_px, one.licence) == ("3.jpg", 64, 48, "CC BY 2.0")
    assert [(s.text, s.span) for s in one.stated] == [("A dog.", None)]


def test_coco_instances_and_their_bad_rows(tmp_path: Path) -> None:
    good = {"id": 1, "image_id": 3, "category_id": 5, "bbox": [10, 20, 30, 5.5]}
    bad: dict[str, tuple[Any, str]] = {
        "2": ({**good, "bbox": None}, "bad_box"),
        "3": ({**good, "image_id": 4}, "no_image"),
        "4": ({**good, "image_id": "3"}, "no_image"),
        "5": ({**good, "iscrowd": 1}, "crowd"),
        "6": ({**good, "category_id": 7}, "no_text"),
        "7": ({"image_id": 3}, "nothing_stated"),
        "8": ({"image_id": 3, "caption": 5}, "no_text"),
        "9": ({**good, "category_id": None}, "no_text"),
    }
    rows = [good, *({**row, "id": int(name)} for name, (row, _) in bad.items()), {**good, "id": None}, "text", None]
    (one,), refused = read("coco", coco_file(tmp_path / "instances.json", rows))
    assert one.regions[0].box == Box(10, 20, 40, 25.5)
    assert (one.regions[0].phrase, one.regions[0].category) == ("dog", "dog")
    assert refused.pop("") == "wrong_type"
    assert refused == {name: reason for name, (_, reason) in bad.items()}


def test_a_row_without_an_id_is_refused(tmp_path: Path) -> None:
    path = coco_file(tmp_path / "c.json", [{"image_id": 3, "caption": "A dog."}])
    assert read("coco", path) == ([], {"": "no_id"})


def test_lvis_names_its_pictures_by_the_end_of_their_address(tmp_path: Path) -> None:
    image = {"id": 3, "coco_url": "http://images.cocodataset.org/train2017/000000000003.jpg", "width": 9, "height": 9}
    rows = [{"id": 1, "image_id": 3, "category_id": 5, "bbox": [1, 2, 3, 4]}]
    (one,), _ = read("lvis", coco_file(tmp_path / "lvis_v1_val.json", rows, image))
    assert (one.media_uri, one.split) == ("train2017/000000000003.jpg", "val")


# --- RefCOCO ---

REF = {
    "ref_id": 1,
    "ann_id": 7,
    "split": "testA",
    "file_name": "3_7.jpg",
    "sentences": [{"sent": "left dog"}, {"sent": "dog"}],
}


def refs_file(folder: Path, refs: Any, protocol: int = 0) -> Path:
    coco_file(folder / "instances.json", [{"id": 7, "image_id": 3, "category_id": 5, "bbox": [1, 2, 3, 4]}])
    path = folder / "refs(unc).p"
    path.write_bytes(pickle.dumps(refs, protocol))
    return path


@pytest.mark.parametrize("protocol", [0, 2, 5])
def test_refcoco_finds_its_picture_by_id_and_keeps_every_phrase(tmp_path: Path, protocol: int) -> None:
    (one,), refused = read("refcoco", refs_file(tmp_path, [REF, {**REF, "ref_id": 2, "ann_id": 8}], protocol))
    assert (one.original_id, one.media_uri, one.split) == ("1", "3.jpg", "testA")
    assert [(r.phrase, r.category, r.box) for r in one.regions] == [
        ("left dog", "dog", Box(1, 2, 4, 6)),
        ("dog", "dog", Box(1, 2, 4, 6)),
    ]
    assert refused == {"2": "no_box"}


def test_refcoco_as_json_is_the_same(tmp_path: Path) -> None:
    by_pickle, _ = read("refcoco", refs_file(tmp_path, [REF]))
    by_json, _ = read("refcoco", written(tmp_path / "refs(unc).json", [REF]))
    assert [a.regions for a in by_json] == [a.regions for a in by_pickle]


class Runs:
    """Pickled, it makes a file when it is loaded by a common unpickler."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


def test_a_pickle_that_runs_code_runs_none(tmp_path: Path) -> None:
    path = refs_file(tmp_path, [Runs(tmp_path / "ran")], protocol=2)
    with pytest.raises(BadInput, match="asks for"):
        read("refcoco", path)
    assert not (tmp_path / "ran").exists()
    pickle.loads(path.read_bytes())
    assert (tmp_path / "ran").exists(), "the pickle would have run"


@pytest.mark.parametrize("data", [b"", b"\x80\x04.", b"not a pickle", pickle.dumps({"a": 1})])
def test_a_broken_pickle_is_one_clear_line(tmp_path: Path, data: bytes) -> None:
    path = refs_file(tmp_path, [])
    path.write_bytes(data)
    with pytest.raises(BadInput, match=r"refs\(unc\)"):
        read("refcoco", path)


# --- Visual Genome ---


def test_visual_genome_regions_and_sizes(tmp_path: Path) -> None:
    region = {"region_id": 4, "phrase": " a red car ", "x": 1, "y": 2, "width": 3, "height": 4}
    rows = [{"id": 2, "regions": [region]}, {"id": 5, "regions": [region, {**region, "x": None}]}, {"id": 6}]
    path = written(tmp_path / "region_descriptions.json", rows)
    (bare,), refused = read("visual_genome", path)
    assert (bare.media_uri, bare.width_px) == ("2.jpg", None)
    assert [(r.phrase, r.box) for r in bare.regions] == [("a red car", Box(1, 2, 4, 6))]
    assert refused == {"5": "bad_box", "6": "wrong_type"}
    written(tmp_path / "image_data.json", [{"image_id": 2, "width": 800, "height": 600}])
    (sized,), _ = read("visual_genome", path)
    assert (sized.width_px, sized.height_px) == (800, 600)


# --- text ---


def test_textvqa_takes_what_most_people_answered(tmp_path: Path) -> None:
    row = {"question_id": 8, "image_id": "ab", "question": "what brand?", "answers": ["x", "acme", "acme"]}
    rows = [{**row, "image_width": 64, "image_height": 48}, {**row, "question_id": 9, "answers": []}]
    (one,), refused = read("textvqa", written(tmp_path / "TextVQA_0.5.1_train.json", {"data": rows}))
    assert (one.original_id, one.media_uri, one.split, one.width_px) == ("8", "ab.jpg", "train", 64)
    assert [(str(t.role), t.text) for t in one.turns] == [("user", "what brand?"), ("assistant", "acme")]
    assert refused == {"9": "no_text"}


def test_textocr_gathers_words_wherever_they_stand(tmp_path: Path) -> None:
    def word(n: int, image: str, text: Any, points: Any) -> dict[str, Any]:
        return {"id": f"{image}_{n}", "image_id": image, "utf8_string": text, "points": points}

    quad_px = [1, 2, 9, 2, 9, 5, 1, 5]
    words = [word(1, "a", "EXIT", quad_px), word(1, "b", "HI", [1, 2, 3]), word(2, "a", ".", quad_px)]
    words += [word(3, "a", "NO", [0, 0, 4, 1, 8, 0, 8, 4, 0, 4]), word(1, "c", "X", None)]
    images = {n: {"id": n, "width": 64, "height": 48, "set": "val", "file_name": f"train/{n}.jpg"} for n in "abcd"}
    held = {"anns": {w["id"]: w for w in words}, "imgs": images}
    found, refused = read("textocr", written(tmp_path / "TextOCR_0.1_val.json", held))
    by_id = {one.original_id: one for one in found}
    assert [(t.text, t.order, t.quad_px) for t in by_id["a"].texts] == [
        ("EXIT", 0, tuple(map(float, quad_px))),
        ("NO", 2, (0, 0, 8, 0, 8, 4, 0, 4)),
    ]
    assert by_id["d"].texts == ()
    assert (by_id["a"].media_uri, by_id["a"].split) == ("train/a.jpg", "val")
    assert refused == {"b": "bad_box", "c": "wrong_type"}


@pytest.mark.parametrize("as_lines", [False, True])
def test_hiertext_reads_lines_and_leaves_out_what_is_not_legible(tmp_path: Path, as_lines: bool) -> None:
    corners = [[1, 2], [9, 2], [9, 5], [1, 5]]
    seen = [{"text": "EXIT", "vertices": corners}, {"text": "", "vertices": corners, "legible": False}]
    rows = [
        {"image_id": "a", "image_width": 64, "image_height": 48, "paragraphs": [{"lines": seen}]},
        {"image_id": "b", "paragraphs": [{"lines": [{"text": "X", "vertices": [[1, 2]]}]}]},
        {"image_id": "c", "paragraphs": None},
    ]
    path = tmp_path / "validation.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)) if as_lines else json.dumps({"info": {}, "annotations": rows}))
    (one,), refused = read("hiertext", path)
    assert (one.media_uri, one.split, one.width_px) == ("a.jpg", "val", 64)
    assert [(t.text, t.quad_px) for t in one.texts] == [("EXIT", (1, 2, 9, 2, 9, 5, 1, 5))]
    assert refused == {"b": "bad_box", "c": "wrong_type"}


# --- LAION ---


def test_laion_reads_any_case_of_its_columns(tmp_path: Path) -> None:
    table = {"URL": ["https://x.org/a.jpg", "https://x.org/b.jpg", None], "TEXT": ["A dog.", None, "A cat."]}
    sizes = {"WIDTH": [64, 64, 64], "HEIGHT": [48, 48, 48], "LICENSE": ["CC0", "?", "?"], "SAMPLE_ID": [7, 8, 9]}
    pa.parquet.write_table(pa.table(table | sizes), tmp_path / "part-0.parquet")
    (one,), refused = read("laion", tmp_path)
    assert (one.original_id, one.media_uri, one.licence) == ("7", "https://x.org/a.jpg", "CC0")
    assert (one.stated[0].text, one.width_px, one.height_px) == ("A dog.", 64, 48)
    assert refused == {"8": "no_text", "9": "no_text"}


def test_laion_prefers_a_path_and_counts_rows_without_an_id(tmp_path: Path) -> None:
    table = {"path": ["0/a.jpg", "0/b.jpg"], "url": ["https://x.org/1", "https://x.org/2"], "caption": ["A.", "B."]}
    pa.parquet.write_table(pa.table(table), tmp_path / "t.parquet")
    found, _ = read("laion", tmp_path / "t.parquet")
    assert [(a.original_id, a.media_uri) for a in found] == [("row 0", "0/a.jpg"), ("row 1", "0/b.jpg")]


def test_a_table_that_is_none_or_lacks_its_columns_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "t.parquet").write_bytes(b"PAR1 no more")
    with pytest.raises(BadInput, match="whole Parquet"):
        read("laion", tmp_path / "t.parquet")
    pa.parquet.write_table(pa.table({"url": ["https://x.org/1"]}), tmp_path / "t.parquet")
    with pytest.raises(BadInput, match="give a column caption"):
        read("laion", tmp_path / "t.parquet")


# --- hostile text ---


def test_text_that_cannot_be_stored_is_made_storable(tmp_path: Path) -> None:
    path = tmp_path / "c.json"
    coco_file(path, [{"id": "a\ud800", "image_id": 3, "caption": "A \ud800 dog."}])
    (one,), _ = read("coco", path)
    assert (one.original_id, one.stated[0].text) == ("a?", "A ? dog.")
