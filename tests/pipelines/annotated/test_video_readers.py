"""Readers of video sets: a tiny file of each format, written here, with one row worked out by hand and hostile ones.

The files keep to what each set's page or a public loader says of its form; they are no copies of any set.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from reelmill.pipelines.sources.annotated import charades_sta, reading, vidstg, youtube_vos
from reelmill.pipelines.sources.annotated.fields import (
    box_of,
    corners,
    frames_span,
    number,
    rate,
    size_of,
    span_of,
    tube_of,
)
from reelmill.pipelines.sources.annotated.reading import Refused, reader
from reelmill.pipelines.sources.annotated.release_files import files_of, split_of
from reelmill.pipelines.sources.annotated.webvtt import seconds
from reelmill.schemas import arrow
from reelmill.schemas.annotation import Annotation, Stated
from reelmill.schemas.errors import BadInput, NotFound, Unusable
from reelmill.schemas.sample import Role, Turn
from reelmill.schemas.span import Span
from reelmill.schemas.tube import Box

FINITE = st.floats(0, 1e5, allow_nan=False)
VIDEO_SETS = (
    "activitynet_captions",
    "charades_sta",
    "hc_stvg",
    "mot",
    "qvhighlights",
    "srt",
    "vidstg",
    "webvtt",
    "youcook2",
    "youtube_vos",
)


def read(name: str, path: Path) -> tuple[list[Annotation], list[Refused]]:
    rows = list(reader(name)(path))
    return [r for r in rows if isinstance(r, Annotation)], [r for r in rows if isinstance(r, Refused)]


def written(path: Path, content: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


# ---- what all readers share ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", VIDEO_SETS)
def test_a_reader_says_what_it_wants_and_under_which_licence(name: str) -> None:
    module = reading._module(name)
    assert name == module.SET
    assert isinstance(module.LICENCE, str)
    assert module.EXPECTS
    assert reading.revision(name).isdigit()


@pytest.mark.parametrize("name", VIDEO_SETS)
def test_a_path_without_the_sets_files_is_one_clear_line(name: str, tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="check the path"):
        read(name, tmp_path)


def test_an_unknown_set_and_a_module_that_reads_nothing() -> None:
    with pytest.raises(NotFound, match="nobody_made_this"):
        reader("nobody_made_this")
    with pytest.raises(NotFound, match="youtube_vos"):
        reader("fields")
    assert set(VIDEO_SETS) <= set(reading.readers())


@given(FINITE, FINITE)
def test_two_times_are_a_span_or_are_refused(start_s: float, end_s: float) -> None:
    if start_s < end_s:
        assert span_of(start_s, end_s) == Span(start_s, end_s)
    else:
        with pytest.raises(Unusable, match="falling_times"):
            span_of(start_s, end_s)


@given(st.integers(0, 10_000), st.integers(1, 10_000), st.sampled_from([23.976, 25.0, 29.97002997002997, 30.0]))
def test_frames_become_seconds_and_come_back(begin: int, length: int, fps: float) -> None:
    span = frames_span(begin, begin + length, fps)
    assert (round(span.start_s * fps), round(span.end_s * fps)) == (begin, begin + length)
    assert math.isclose(span.duration_s, length / fps, rel_tol=1e-9)


@given(*[st.integers(0, 5000)] * 2, *[st.integers(1, 5000)] * 2)
def test_corners_and_sizes_are_two_forms_of_one_box(x: int, y: int, width: int, height: int) -> None:
    box = corners(x, y, width, height)
    assert box == box_of(x, y, x + width, y + height)
    assert (box.x1_px - box.x0_px, box.y1_px - box.y0_px) == (width, height)
    assert box.area_px == width * height


@pytest.mark.parametrize("value", [float("nan"), float("inf"), "3", None, True, [1], 10**400])
def test_what_is_no_number_is_refused(value: Any) -> None:
    with pytest.raises(Unusable, match="not_a_number"):
        number(value, "x")


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: span_of(-1, 2), "negative_time"),
        (lambda: span_of(2, 2), "falling_times"),
        (lambda: corners(1, 1, 0, 5), "empty_box"),
        (lambda: box_of(5, 0, 4, 9), "empty_box"),
        (lambda: rate(0), "no_frame_rate"),
        (lambda: size_of(0, 5), "impossible_size"),
        (lambda: size_of(640, 2**63), "impossible_size"),
        (lambda: tube_of("1", "dog", {}, (4, 4), 0.1), "empty_tube"),
    ],
)
def test_each_fault_has_its_reason(make: Callable[[], Any], reason: str) -> None:
    with pytest.raises(Unusable) as judgement:
        make()
    assert judgement.value.reason == reason
    assert judgement.value.detail


def test_a_split_is_read_off_the_file_name() -> None:
    names = ("train_annotations.json", "charades_sta_test.txt", "highlight_val_release.jsonl", "val_2.json", "x.json")
    assert [split_of(n.removesuffix(".json")) for n in names] == ["train", "test", "val", "val", ""]


def test_files_come_in_one_order_whatever_the_folder_says(tmp_path: Path) -> None:
    for name in ("b.json", "a.json", "c/a.json", "no.txt"):
        written(tmp_path / name, "{}")
    assert [f.relative_to(tmp_path).as_posix() for f in files_of(tmp_path, "*.json")] == [
        "a.json",
        "b.json",
        "c/a.json",
    ]


# ---- sets of one JSON file -------------------------------------------------------------------------------------------


def test_activitynet_captions(tmp_path: Path) -> None:
    videos = {
        "v_one": {
            "duration": 20.5,
            "timestamps": [[0, 4.25], [4, 20.5]],
            "sentences": [" A cat  sits. ", "It leaves."],
        },
        "v_two": {"duration": 9, "timestamps": [[3, 1], [1, 2]], "sentences": ["Backwards.", "A dog runs."]},
        "v_three": {"duration": 9, "timestamps": [[1, 2]], "sentences": ["One.", "Two."]},
    }
    good, bad = read("activitynet_captions", written(tmp_path / "train.json", videos))
    assert good[0].stated == (
        Stated("A cat sits.", Span(0.0, 4.25), ""),
        Stated("It leaves.", Span(4.0, 20.5), ""),
    )
    assert (good[0].media_uri, good[0].duration_s, good[0].split, good[0].kind) == ("v_one", 20.5, "train", "video")
    assert [s.text for s in good[1].stated] == ["A dog runs."]
    assert [(r.original_id, r.reason) for r in bad] == [
        ("train:v_two#0", "falling_times"),
        ("train:v_three", "malformed"),
    ]
    written(tmp_path / "val_1.json", {"v_one": videos["v_one"]})
    written(tmp_path / "val_2.json", {"v_one": videos["v_one"]})
    written(tmp_path / "val_ids.json", ["v_one"])
    both, _ = read("activitynet_captions", tmp_path)
    assert [a.original_id for a in both[2:]] == ["val_1:v_one", "val_2:v_one"], "two accounts of one video"
    assert reading.is_dense("activitynet_captions")
    assert not reading.is_dense("charades_sta")


def test_youcook2(tmp_path: Path) -> None:
    steps = [
        {"segment": [90, 102], "id": 0, "sentence": "spread margarine"},
        {"segment": [110], "id": 1, "sentence": "fry"},
        {"segment": [120, 130], "id": 2, "sentence": "  "},
    ]
    video = {"duration": 241.62, "subset": "training", "recipe_type": "113", "annotations": steps}
    good, bad = read("youcook2", written(tmp_path / "y.json", {"database": {"GLd3": video}}))
    assert [(a.original_id, a.split, a.duration_s) for a in good] == [("GLd3", "training", 241.62)]
    assert good[0].stated == (Stated("spread margarine", Span(90.0, 102.0), ""),)
    assert [(r.original_id, r.reason) for r in bad] == [("GLd3#1", "malformed"), ("GLd3#2", "empty_text")]
    with pytest.raises(BadInput, match="database"):
        read("youcook2", written(tmp_path / "other" / "y.json", {"videos": {}}))


HC_CLIP = {
    "English": "The man turns.",
    "st_time": 2.0,
    "ed_time": 2.1,
    "st_frame": 61,
    "bbox": [[10, 20, 30, 40], [11, 20, 30, 40], [12, 20, 30, 40]],
    "img_num": 600,
    "img_size": [360, 640],
}


def test_hc_stvg(tmp_path: Path) -> None:
    clips = {"a.mp4": HC_CLIP, "b.mp4": HC_CLIP | {"bbox": []}, "c.mp4": HC_CLIP | {"bbox": [[1, 2, 0, 4]]}}
    good, bad = read("hc_stvg", written(tmp_path / "val_v2.json", clips))
    (one,) = good
    assert (one.media_uri, one.width_px, one.height_px, one.duration_s) == ("a.mp4", 640, 360, 20.0)
    assert one.stated == (Stated("The man turns.", Span(2.0, 2.1), "person"),)
    (tube,) = one.tubes
    assert tube.at_s == (60 / 30, 61 / 30, 62 / 30)  # st_frame counts from 1, and 600 frames in 20 s are 30 a second
    assert (tube.boxes[0], tube.end_s) == (Box(10.0, 20.0, 40.0, 60.0), 62 / 30 + 1 / 30)
    assert [(r.original_id, r.reason) for r in bad] == [("b.mp4", "empty_tube"), ("c.mp4", "empty_box")]


def vidstg_row(**other: Any) -> dict[str, Any]:
    return {
        "vid": "77",
        "frame_count": 50,
        "fps": 25.0,
        "width": 64,
        "height": 48,
        "subject/objects": [{"tid": 0, "category": "dog"}, {"tid": 1, "category": "ball"}],
        "used_segment": {"begin_fid": 0, "end_fid": 50},
        "temporal_gt": {"begin_fid": 10, "end_fid": 13},
        "captions": [{"description": "a dog bites a ball.", "type": "dog", "target_id": 0}],
        "questions": [{"description": "what does the dog bite?", "type": "ball", "target_id": 1}],
    } | other


def vidor_file(frames: int) -> dict[str, Any]:
    def thing(tid: int, n: int) -> dict[str, Any]:
        at = {"xmin": n, "ymin": 2 + tid, "xmax": n + 8, "ymax": 12}
        return {"tid": tid, "bbox": at, "generated": 0, "tracker": "none"}

    return {
        "video_id": "77",
        "trajectories": [[thing(0, n), *([thing(1, n)] if n == 11 else [])] for n in range(frames)],
    }


def test_vidstg_with_the_boxes_of_vidor(tmp_path: Path) -> None:
    written(tmp_path / "val_annotations.json", [vidstg_row()])
    written(tmp_path / "vidor" / "training" / "0001" / "77.json", vidor_file(50))
    (one,), bad = read("vidstg", tmp_path)
    assert bad == []
    assert (one.original_id, one.media_uri, one.split, one.duration_s) == ("val_annotations:0", "77", "val", 2.0)
    assert one.stated == (Stated("a dog bites a ball.", Span(0.4, 0.52), "0"),)
    assert one.turns == (
        Turn(Role.USER, "what does the dog bite?", (), (), ()),
        Turn(Role.ASSISTANT, "<time>", (), (0.4, 0.52), ()),
    )
    dog, ball = one.tubes
    assert (dog.phrase, dog.at_s, dog.end_s) == ("dog", (0.4, 0.44, 0.48), 0.52)
    assert dog.boxes[0] == Box(10.0, 2.0, 18.0, 12.0)
    assert (ball.phrase, ball.at_s, ball.boxes) == ("ball", (0.44,), (Box(11.0, 3.0, 19.0, 12.0),))


def test_vidstg_without_boxes_names_no_tube_and_hostile_rows_are_refused(tmp_path: Path) -> None:
    rows = [
        vidstg_row(),
        vidstg_row(fps=0),
        vidstg_row(temporal_gt={"begin_fid": 13, "end_fid": 13}),
        vidstg_row(captions=[{"description": "a cat.", "target_id": 9}]),
        {"vid": "78"},
        "no row at all",
    ]
    good, bad = read("vidstg", written(tmp_path / "train_annotations.json", rows))
    assert [(a.stated[0].tube_id, a.tubes) for a in good] == [("", ())]
    assert [r.reason for r in bad] == ["no_frame_rate", "falling_times", "malformed", "malformed", "malformed"]
    assert [r.original_id for r in bad] == [f"train_annotations:{n}" for n in range(1, 6)]


def test_vidstg_with_a_broken_file_of_boxes_refuses_the_row_and_goes_on(tmp_path: Path) -> None:
    written(tmp_path / "val_annotations.json", [vidstg_row(), vidstg_row(vid="79")])
    written(tmp_path / "vidor" / "77.json", "{ torn")
    good, bad = read("vidstg", tmp_path)
    assert [a.media_uri for a in good] == ["79"]
    assert [(r.original_id, r.reason) for r in bad] == [("val_annotations:0", "unreadable")]
    assert vidstg.LICENCE == ""


@pytest.mark.parametrize("text", ["{ torn", "[]", '"word"', "[" * 100_000])
def test_a_file_that_is_no_set_is_the_users_error(text: str, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"x\.json"):
        read("hc_stvg", written(tmp_path / "x.json", text))


EXAMPLES = 25
JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


def spoilt(draw: st.DrawFn, value: Any) -> Any:
    """A JSON value with one of its parts, however deep, put to junk."""
    inner = list(value) if isinstance(value, dict) else list(range(len(value))) if isinstance(value, list) else []
    if not inner or draw(st.integers(0, 3)) == 0:
        return draw(JUNK)
    place = draw(st.sampled_from(inner))
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[place] = spoilt(draw, value[place])
    return copy


DENSE_ROW = {"duration": 2, "timestamps": [[0, 1]], "sentences": ["x"]}
RECIPE_ROW = {"duration": 2, "annotations": [{"segment": [0, 1], "sentence": "x"}]}
QUERY_ROW = {"qid": 1, "query": "x", "vid": "v", "duration": 2, "relevant_windows": [[0, 1]]}


@pytest.mark.parametrize(
    ("name", "file", "row", "whole"),
    [
        ("vidstg", "val_annotations.json", vidstg_row(), lambda row: [row]),
        ("hc_stvg", "val_v2.json", HC_CLIP, lambda row: {"a.mp4": row}),
        ("activitynet_captions", "train.json", DENSE_ROW, lambda row: {"v": row}),
        ("youcook2", "y.json", RECIPE_ROW, lambda row: {"database": {"v": row}}),
        ("qvhighlights", "val.jsonl", QUERY_ROW, lambda row: row),
    ],
)
@settings(max_examples=EXAMPLES)
@given(data=st.data())
def test_a_spoilt_row_is_taken_or_refused_and_never_raises(
    name: str,
    file: str,
    row: Any,
    whole: Callable[[Any], Any],
    data: st.DataObject,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    bad = data.draw(st.composite(lambda draw: spoilt(draw, row))())
    path = written(tmp_path_factory.mktemp("set") / file, json.dumps(whole(bad)))
    found = list(reader(name)(path))
    assert found
    for one in found:
        if isinstance(one, Annotation):
            assert arrow.typed(Annotation, arrow.plain(one)) == one
            arrow.cast_rows([arrow.plain(one)], arrow.schema_of(Annotation))
        else:
            assert one.reason


# ---- sets of lines ---------------------------------------------------------------------------------------------------


def test_qvhighlights(tmp_path: Path) -> None:
    row = {"qid": 8737, "query": "Chef makes pizza", "duration": 126, "vid": "bP5_660.0_810.0"}
    lines = [
        json.dumps(row | {"relevant_windows": [[0, 16], [20, 24]]}),
        json.dumps(row | {"qid": 2, "relevant_windows": [[4, 2], [6, 8]]}),
        json.dumps(row | {"qid": 3}),
        "{ torn",
        "[" * 100_000,
        "[3]",
        "",
    ]
    good, bad = read("qvhighlights", written(tmp_path / "highlight_val_release.jsonl", "\n".join(lines)))
    assert [(a.original_id, a.media_uri, a.split) for a in good] == [
        (n, "bP5_660.0_810.0", "val") for n in ("8737", "2")
    ]
    assert good[0].stated == tuple(Stated("Chef makes pizza", Span(*s), "") for s in ((0.0, 16.0), (20.0, 24.0)))
    assert [(r.original_id, r.reason) for r in bad] == [
        ("2#0", "falling_times"),
        ("3", "no_window"),
        *[("", "malformed")] * 3,
    ]
    assert "highlight_val_release:4" in bad[2].detail


STA = (
    "AO8RW 0.0 6.9##a person is putting a book on a shelf.\n"
    "AO8RW 24.0 31.0##a person closes the door.\n"
    "Y6R7T 3.0 x##a person sits.\n"
    "Y6R7T 5.0 2.0##a person stands.\n"
    "no mark here\n"
    "Y6R7T 1.0 nan##a person runs.\n"
    "Y6R7T 1.0 2.0##\n"
)


def test_charades_sta_keeps_an_end_that_nothing_can_check(tmp_path: Path) -> None:
    good, bad = read("charades_sta", written(tmp_path / "charades_sta_train.txt", STA))
    assert [(a.original_id, a.media_uri, a.duration_s, a.stated[0].span) for a in good] == [
        ("AO8RW:1", "AO8RW", None, Span(0.0, 6.9)),
        ("AO8RW:2", "AO8RW", None, Span(24.0, 31.0)),
    ]
    reasons = ["malformed", "falling_times", "malformed", "not_a_number", "empty_text"]
    assert [r.reason for r in bad] == reasons


def test_charades_sta_clamps_an_end_where_the_length_is_known(tmp_path: Path) -> None:
    written(tmp_path / "charades_sta_train.txt", STA)
    written(tmp_path / "Charades" / "Charades_v1_train.csv", "id,subject,length\nAO8RW,X,30.96\n")
    good, _ = read("charades_sta", tmp_path)
    assert [(a.duration_s, a.stated[0].span.end_s) for a in good if a.stated[0].span] == [(30.96, 6.9), (30.96, 30.96)]
    written(tmp_path / "Charades" / "Charades_v1_test.csv", "id,subject\nAO8RW,X\n")
    with pytest.raises(BadInput, match="length"):
        list(charades_sta.read(tmp_path))


@given(FINITE, FINITE, st.floats(0.1, 1e5))
def test_a_clamped_end_is_never_beyond_the_length_and_never_moved_up(start: float, end: float, length: float) -> None:
    try:
        one = charades_sta._line(f"V {start} {end}##it rains.", 1, "", {"V": length})
    except Unusable as judgement:
        assert judgement.reason == "falling_times"  # noqa: PT017 - either outcome is looked at
        assert end <= start
        return
    span = one.stated[0].span
    assert span is not None
    assert span.start_s == start
    assert span.end_s == (min(end, length) if start < length else end)


# ---- folders of files ------------------------------------------------------------------------------------------------

SEQINFO = "[Sequence]\nname=M-02\nimDir=img1\nframeRate=25\nseqLength=50\nimWidth=640\nimHeight=480\nimExt=.jpg\n"


def test_mot(tmp_path: Path) -> None:
    lines = [
        "# frame,id,left,top,width,height,considered,class,visible",
        "2,7,11,21,30,40,1,1,0.5",
        "1,7,-4,21,30,40,1,1,1",
        "1,8,1,1,5,5,0,8,1",
        "0,9,1,1,5,5,1,1,1",
        "3,7,1,1,0,5,1,1,1",
        "3,7,a,b",
        "nan,7,1,1,5,5,1,1,1",
        "3,7,1,1,5,5,1,inf,1",
    ]
    written(tmp_path / "M-02" / "seqinfo.ini", SEQINFO)
    written(tmp_path / "M-02" / "gt" / "gt.txt", "\n".join(lines))
    (one,), bad = read("mot", tmp_path)
    assert (one.original_id, one.media_uri, one.width_px, one.height_px, one.duration_s) == (
        "M-02",
        "M-02",
        640,
        480,
        2.0,
    )
    (tube,) = one.tubes
    assert (tube.tube_id, tube.phrase) == ("7", "pedestrian")
    assert (tube.at_s, tube.end_s) == ((0.0, 0.04), 0.08)
    assert tube.boxes == (Box(-5.0, 20.0, 25.0, 60.0), Box(10.0, 20.0, 40.0, 60.0))  # corners count from 1
    assert [(r.original_id, r.reason) for r in bad] == [
        ("M-02#5", "negative_time"),
        ("M-02#6", "empty_box"),
        ("M-02#7", "malformed"),
        ("M-02#8", "not_a_number"),
        ("M-02#9", "not_a_number"),
        ("M-02/8", "ignored_by_the_set"),
    ]


def test_a_mot_sequence_without_truth_or_rate_is_refused_and_the_next_one_read(tmp_path: Path) -> None:
    written(tmp_path / "a" / "seqinfo.ini", SEQINFO)
    written(tmp_path / "b" / "seqinfo.ini", "[Sequence]\nname=b\n")
    written(tmp_path / "c" / "seqinfo.ini", SEQINFO.replace("M-02", "c"))
    written(tmp_path / "c" / "gt" / "gt.txt", "1,1,1,1,5,5,1,-1,-1,-1\n")
    (one,), bad = read("mot", tmp_path)
    assert (one.original_id, one.tubes[0].phrase) == ("c", "pedestrian")  # ten fields, as MOT15 writes them
    assert [(r.original_id, r.reason) for r in bad] == [("a", "unreadable"), ("b", "malformed")]
    with pytest.raises(BadInput, match=r"seqinfo\.ini"):
        read("mot", tmp_path / "c" / "gt" / "gt.txt")


def mask(path: Path, size: tuple[int, int], things: dict[int, tuple[int, int, int, int]]) -> None:
    pixels = np.zeros((size[1], size[0]), np.uint8)
    for thing, (x0, y0, x1, y1) in things.items():
        pixels[y0:y1, x0:x1] = thing
    picture = Image.fromarray(pixels, "P")
    picture.putpalette([0, 0, 0, 255, 0, 0, 0, 255, 0])
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.save(path)


def test_youtube_vos(tmp_path: Path) -> None:
    masks = tmp_path / "Annotations" / "v1"
    mask(masks / "00000.png", (32, 16), {1: (2, 3, 10, 9)})
    mask(masks / "00005.png", (32, 16), {1: (3, 3, 11, 9), 2: (20, 0, 32, 16)})
    mask(masks / "00010.png", (30, 16), {1: (3, 3, 11, 9)})
    (masks / "00015.png").write_bytes(b"no picture")
    mask(masks / "-5.png", (32, 16), {1: (2, 3, 10, 9)})
    things = {"1": {"category": "dog", "frames": ["00000"]}, "2": {"category": "sofa"}, "3": {"category": "ghost"}}
    spoken = {
        "0": {"exp": "a dog on  the left", "obj_id": "1"},
        "1": {"exp": "", "obj_id": "2"},
        "2": {"exp": "a ghost", "obj_id": "3"},
    }
    written(tmp_path / "meta.json", {"videos": {"v1": {"objects": things}}})
    written(tmp_path / "meta_expressions.json", {"videos": {"v1": {"expressions": spoken}, "v2": {"expressions": {}}}})
    good, bad = read("youtube_vos", tmp_path)
    one = good[0]
    assert one.stated == (Stated("a dog on the left", None, "1"), Stated("a ghost", None, ""))
    dog, sofa = one.tubes
    assert (dog.phrase, dog.at_s, dog.end_s) == ("dog", (0.0, 5 / 30), 10 / 30)
    assert dog.boxes == (Box(2.0, 3.0, 10.0, 9.0), Box(3.0, 3.0, 11.0, 9.0))
    assert (sofa.at_s, sofa.boxes, sofa.frame_width_px) == ((5 / 30,), (Box(20.0, 0.0, 32.0, 16.0),), 32)
    assert [(r.original_id, r.reason) for r in bad] == [
        ("v1/-5.png", "malformed"),
        ("v1/00010.png", "size_changes"),
        ("v1/00015.png", "malformed"),
        ("v1/3", "empty_mask"),
        ("v1#1", "empty_text"),
    ]
    assert good[1].tubes == ()


def test_a_colour_picture_is_no_mask_and_a_thing_without_masks_says_so(tmp_path: Path) -> None:
    (tmp_path / "Annotations" / "v1").mkdir(parents=True)
    Image.new("RGB", (8, 8)).save(tmp_path / "Annotations" / "v1" / "00000.png")
    written(tmp_path / "meta.json", {"videos": {"v1": {"objects": {"1": {"category": "dog"}}}}})
    _, bad = read("youtube_vos", tmp_path)
    assert [r.reason for r in bad] == ["not_a_palette", "no_mask"]
    with pytest.raises(BadInput, match="folder"):
        read("youtube_vos", tmp_path / "meta.json")


@given(st.integers(0, 20), st.integers(0, 20), st.integers(1, 12), st.integers(1, 12), st.integers(1, 255))
def test_the_box_of_a_filled_mask_is_the_rectangle(x: int, y: int, width: int, height: int, thing: int) -> None:
    pixels = np.zeros((40, 40), np.uint8)
    pixels[y : y + height, x : x + width] = thing
    assert youtube_vos.mask_boxes(pixels) == {str(thing): corners(x, y, width, height)}


# ---- subtitles -------------------------------------------------------------------------------------------------------

VTT = """\ufeffWEBVTT - a talk

NOTE this is no cue

STYLE
::cue { color: red }

intro
00:01.000 --> 00:03.500 align:start
<v Ann>Hello &amp; <i>welcome</i>,
all.

00:00:05.000 --> 00:00:04.000
Backwards.

01:00:00.250 --> 01:00:01.000
Late.

00:00:07.000 --> 00:00:08.000

just words
"""


def test_webvtt(tmp_path: Path) -> None:
    (one,), bad = read("webvtt", written(tmp_path / "talk.en.vtt", VTT))
    assert (one.original_id, one.media_uri) == ("talk.en", "talk")
    assert one.stated == (
        Stated("Hello & welcome, all.", Span(1.0, 3.5), ""),
        Stated("Late.", Span(3600.25, 3601.0), ""),
    )
    assert [(r.original_id, r.reason) for r in bad] == [
        ("talk.en#1", "falling_times"),
        ("talk.en#3", "empty_text"),
        ("talk.en#4", "malformed"),
    ]
    assert reading.is_spoken("webvtt")


def test_a_file_that_is_no_webvtt_or_has_no_cue(tmp_path: Path) -> None:
    written(tmp_path / "a.vtt", "00:01.000 --> 00:02.000\nhi\n")
    written(tmp_path / "b.vtt", "WEBVTT\n\nNOTE nothing\n")
    written(tmp_path / "c.vtt", "")
    written(tmp_path / "x" / "d.en-GB.vtt", "WEBVTT\n\n00:01.000 --> 00:02.000\nhi\n")
    good, bad = read("webvtt", tmp_path)
    assert [(a.original_id, a.media_uri) for a in good] == [("x/d.en-GB", "x/d")]
    assert [(r.original_id, r.reason) for r in bad] == [("a", "not_webvtt"), ("b", "no_cue"), ("c", "not_webvtt")]


def test_srt(tmp_path: Path) -> None:
    text = "1\r\n00:00:01,000 --> 00:00:03,500\r\nHello <i>there</i>.\r\n\r\n2\r\nbroken\r\n\r\n"
    (tmp_path / "film.srt").write_bytes(text.encode())
    (tmp_path / "latin.srt").write_bytes("1\n00:00:01,000 --> 00:00:02,000\ncaf\xe9\n".encode("latin-1"))
    (one,), bad = read("srt", tmp_path)
    assert (one.media_uri, one.stated) == ("film", (Stated("Hello there.", Span(1.0, 3.5), ""),))
    assert [(r.original_id, r.reason) for r in bad] == [("film#1", "malformed"), ("latin", "not_utf8")]


@given(st.integers(0, 99), st.integers(0, 59), st.integers(0, 59), st.integers(0, 999), st.sampled_from(".,"))
def test_the_time_of_a_cue(hours: int, minutes: int, whole: int, milli: int, point: str) -> None:
    text = f"{hours:02d}:{minutes:02d}:{whole:02d}{point}{milli:03d}"
    assert seconds(text) == pytest.approx(3600 * hours + 60 * minutes + whole + milli / 1000)


@pytest.mark.parametrize("text", ["", "1:2", "00:61.000", "00:00:1,000", "-00:01.000"])
def test_what_is_no_time_of_a_cue(text: str) -> None:
    with pytest.raises(Unusable, match="is no time"):
        seconds(text)
