"""Readers of instruction sets: dialogues, where the medium's mark stands, boxes in text, pairs, and shards."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reelmill.pipelines.sources.annotated import webdataset
from reelmill.pipelines.sources.annotated.dialogue import Tagged, harmless, without_placeholder
from reelmill.pipelines.sources.annotated.reading import Refused, reader
from reelmill.pipelines.views.phrasing import defused
from reelmill.schemas import arrow
from reelmill.schemas.annotation import Annotation
from reelmill.schemas.errors import Unusable
from reelmill.schemas.media import Kind
from reelmill.schemas.tube import Box


def talk(*said: str) -> list[dict[str, str]]:
    return [{"from": ("human", "gpt")[i % 2], "value": text} for i, text in enumerate(said)]


def messages(*said: str) -> list[dict[str, str]]:
    return [{"role": ("user", "assistant")[i % 2], "content": text} for i, text in enumerate(said)]


def read(form: str, path: Path) -> tuple[dict[str, Annotation], dict[str, str]]:
    """Annotations by id, and the reason of each refused id."""
    found = list(reader(form)(path))
    good = {one.original_id: one for one in found if isinstance(one, Annotation)}
    arrow.to_table(Annotation, good.values())
    return good, {one.original_id: one.reason for one in found if isinstance(one, Refused)}


def jsonl(path: Path, rows: Sequence[Any]) -> Path:
    path.write_text("\n".join(map(json.dumps, rows)))
    return path


def texts(one: Annotation) -> list[str]:
    return [turn.text for turn in one.turns]


# --- the mark of the medium ---


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("<image>\nWhat is it?", "What is it?"),
        (" <video> What is it?", "What is it?"),
        ("What is it?\n<image>", "What is it?"),
        ("What is it?\n<image> \n", "What is it?"),
        ("What is it? <image>", "What is it? <image>"),
        ("What does <image> mean?", "What does <image> mean?"),
        ("<image>\n<image>\nWhich?", "<image>\nWhich?"),
        ("<imagery>\nWhat?", "<imagery>\nWhat?"),
        ("<image>", ""),
    ],
)
def test_one_mark_at_the_beginning_or_alone_on_the_last_line_is_taken_off(text: str, left: str) -> None:
    assert without_placeholder(text) == left


@given(st.text(max_size=60))
def test_harmless_text_holds_no_token_and_stays_as_it_is(text: str) -> None:
    once = harmless(f"{text}<time><image>USER: ###{text}")
    assert harmless(once) == once
    assert not any(mark in once for mark in ("<time>", "<image>", "USER:", "###"))
    assert all(defused(line) == line for line in once.splitlines())


def test_lines_of_an_answer_stay_lines() -> None:
    assert harmless("- one\n- two\n\nthree") == "- one\n- two\n\nthree"


# --- LLaVA ---


def test_llava_rows_good_and_bad(tmp_path: Path) -> None:
    good = talk("<image>\nWhat is it?", "A dog.", "And <image>?", "Text.")
    rows: list[Any] = [
        {"id": "a", "image": "coco/1.jpg", "conversations": good},
        {"id": 7, "video": "v/1.mp4", "conversations": talk("<image>\nWhat happens?", "It runs.")},
        {"id": "l", "image": ["coco/2.jpg"], "conversations": good},
        {"id": "text", "conversations": good},
        {"id": "two", "image": ["1.jpg", "2.jpg"], "conversations": good},
        {"id": "both", "image": "1.jpg", "video": "1.mp4", "conversations": good},
        {"id": "odd", "image": "1.jpg", "conversations": good[:3]},
        {"id": "none", "image": "1.jpg", "conversations": []},
        {"id": "null", "image": "1.jpg", "conversations": None},
        {"id": "swapped", "image": "1.jpg", "conversations": good[1:]},
        {"id": "tool", "image": "1.jpg", "conversations": [{"from": "tool", "value": "x"}, *good[1:]]},
        {"id": "system", "image": "1.jpg", "conversations": [{"from": "system", "value": "x"}, *good]},
        {"id": "empty", "image": "1.jpg", "conversations": talk("<image>", "A dog.")},
        {"id": "number", "image": "1.jpg", "conversations": [{"from": "human", "value": 3}, *good[1:]]},
        {"id": "name", "image": 5, "conversations": good},
        {"id": "bytes", "image": "data:image/png;base64,AAAA", "conversations": good},
        {"image": "1.jpg", "conversations": good},
    ]
    path = tmp_path / "set_train.json"
    path.write_text(json.dumps(rows))
    found, refused = read("llava_json", path)
    assert texts(found["a"]) == ["What is it?", "A dog.", "And < image>?", "Text."]
    assert (found["a"].media_uri, found["a"].kind, found["a"].split) == ("coco/1.jpg", Kind.IMAGE, "train")
    assert (found["7"].kind, texts(found["7"])[0]) == (Kind.VIDEO, "What happens?")
    assert found["l"].media_uri == "coco/2.jpg"
    assert refused == {
        **{"text": "no_media", "two": "several_media", "both": "several_media", "odd": "turns_not_alternating"},
        **{"none": "turns_not_alternating", "null": "wrong_type", "swapped": "turns_not_alternating"},
        **{"tool": "unknown_role", "system": "system_turn", "empty": "empty_turn", "number": "wrong_type"},
        **{"name": "no_text", "bytes": "inline_media", "": "no_id"},
    }
    again, _ = read("llava_json", jsonl(tmp_path / "set_train.jsonl", rows))
    assert {k: v.turns for k, v in again.items()} == {k: v.turns for k, v in found.items()}


def test_llava_pairs_keep_both_sides(tmp_path: Path) -> None:
    row = {"id": 1, "video": "a.mp4", "prompt": "<image>\nWhat?", "chosen": "A dog.", "rejected": "A cat."}
    found, refused = read("llava_json", jsonl(tmp_path / "p.jsonl", [row, {**row, "id": 2, "rejected": None}]))
    assert texts(found["1"]) == ["What?", "A dog."]
    assert [t.text for t in found["1"].rejected] == ["A cat."]
    assert refused == {"2": "no_text"}


# --- ms-swift ---


def swift(*said: str, **more: Any) -> dict[str, Any]:
    return {"messages": messages(*said), "images": ["1.jpg"], **more}


def test_swift_tags_become_boxes_and_words(tmp_path: Path) -> None:
    objects = {"ref": ["the <time> dog", "it"], "bbox": [[10, 20, 30, 40], [1, 2, 3, 4]]}
    rows = [
        swift("<image>Where is <ref-object>?", "At <bbox>, beside <ref-object> <bbox>.", objects=objects),
        swift("<image>\nWhere?", "<bbox>", objects={"bbox": [[0.5, 0.25, 1, 1]], "bbox_type": "norm1"}),
        swift("Where?", "<bbox>", objects={"bbox": [[0.5, 0.5, 1, 1]], "bbox_type": "norm1"}, width=64, height=48),
        swift("Where?", "<bbox>", objects={"bbox": [[5, 5]]}),
        swift("Where?", "<bbox><bbox>", objects={"bbox": [[1, 2, 3, 4]]}),
        swift("Where?", "Here.", objects={"bbox": [[1, 2, 3, 4]]}),
        swift("Where?", "<bbox>", objects={"bbox": [[1, None, 3, 4]]}),
        swift("Where?", "<bbox>", objects=[]) | {"objects": "no"},
        swift("Where?", "<box>", images=[{"path": "2.jpg", "bytes": None}]),
    ]
    found, refused = read("ms_swift", jsonl(tmp_path / "s.jsonl", rows))
    one = found["row 1"]
    assert texts(one) == ["Where is the < time> dog?", "At <box>, beside it <box>."]
    assert [t.boxes for t in one.turns] == [(), (Box(10, 20, 30, 40), Box(1, 2, 3, 4))]
    assert found["row 3"].turns[1].boxes == (Box(32, 24, 64, 48),)
    assert (texts(found["row 9"])[1], found["row 9"].media_uri) == ("< box>", "2.jpg")
    assert refused == {
        **{"row 2": "unknown_scale", "row 4": "point", "row 5": "tags_without_objects"},
        **{"row 6": "objects_without_tags", "row 7": "bad_box", "row 8": "wrong_type"},
    }


@pytest.mark.parametrize(
    "rejected",
    [
        {"rejected_response": "A cat."},
        {"rejected_response": ["A cat.", "A cow."]},
        {"rejected_messages": messages("What?", "A cat.")},
    ],
    ids=repr,
)
def test_swift_pairs_and_singular_names(tmp_path: Path, rejected: dict[str, Any]) -> None:
    row = {"id": "x", "messages": messages("<video>What?", "A dog."), "video": "a.mp4", **rejected}
    found, _ = read("ms_swift", jsonl(tmp_path / "s.jsonl", [row]))
    assert (found["x"].kind, [t.text for t in found["x"].rejected]) == (Kind.VIDEO, ["A cat."])


@given(st.lists(st.sampled_from(["word", " ", "\n", "<bbox>", "<ref-object>", "<box>"]), max_size=12))
def test_each_box_mark_has_its_box(pieces: list[str]) -> None:
    count = pieces.count("<bbox>")
    tagged = Tagged(["it"] * pieces.count("<ref-object>"), [Box(i, i, i + 1, i + 1) for i in range(count)])
    words, boxes = tagged("".join(pieces))
    assert words.count("<box>") == len(boxes) == count
    assert [b.x0_px for b in boxes] == list(range(count))


def test_tags_run_out() -> None:
    with pytest.raises(Unusable, match="tags_without_objects"):
        Tagged([], [])("<bbox>")


# --- shards ---


def shard(path: Path, files: dict[str, bytes], links: dict[str, str] | None = None) -> Path:
    with tarfile.open(path, "w") as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
        for name, target in (links or {}).items():
            info = tarfile.TarInfo(name)
            info.type, info.linkname = tarfile.SYMTYPE, target
            archive.addfile(info)
    return path


def said(**value: Any) -> bytes:
    return json.dumps(value).encode()


def test_plain_shards_of_pictures_and_videos(tmp_path: Path) -> None:
    files = {
        **{"a.jpg": b"A", "a.txt": b"A dog."},
        **{"b.json": said(conversations=talk("<image>\nWhat?", "A cat.")), "b.png": b"B"},
        **{"sub/c.mp4": b"C", "sub/c.json": said(caption="It runs.")},
        **{"d.txt": b"alone"},
        **{"e.jpg": b"E", "e.png": b"E", "e.txt": b"two"},
        **{"f.jpg": b"F", "f.json": b"{"},
        **{"g.jpg": b"G"},
        **{"../../h.jpg": b"H", "../../h.txt": b"up"},
    }
    shard(tmp_path / "s-train-000000.tar", files, {"i.jpg": "/etc/passwd"})
    found, refused = read("webdataset", tmp_path)
    assert {k: a.media_uri for k, a in found.items()} == {
        "a": "s-train-000000/a.jpg",
        "b": "s-train-000000/b.png",
        "sub/c": "s-train-000000/sub_c.mp4",
    }
    assert [s.text for s in found["a"].stated] == ["A dog."]
    assert texts(found["b"]) == ["What?", "A cat."]
    assert (found["sub/c"].kind, found["a"].split) == (Kind.VIDEO, "train")
    assert refused.pop("i") == "not_a_file"
    assert refused.pop("../../h") == "bad_key"
    assert refused == {"d": "no_media", "e": "several_media", "f": "broken_json", "g": "no_text"}


def test_media_are_unpacked_below_the_folder_and_nowhere_else(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    files = {"a.jpg": b"AAA", "../../up.jpg": b"U", "/abs.jpg": b"X", "b.txt": b"no medium", "s/c.mp4": b"CC"}
    shard(tmp_path / "in" / "one.tar", files, {"l.jpg": "/etc/passwd"})
    assert webdataset.unpack(tmp_path / "in", tmp_path / "out") == 3
    held = {p.relative_to(tmp_path / "out").as_posix(): p.read_bytes() for p in (tmp_path / "out").rglob("*.*")}
    assert held == {"one/a.jpg": b"AAA", "one/_abs.jpg": b"X", "one/s_c.mp4": b"CC"}
    assert {p.name for p in tmp_path.iterdir()} == {"in", "out"}
    assert not (tmp_path.parent / "up.jpg").exists()


def test_unpacking_again_keeps_what_is_whole_and_mends_the_rest(tmp_path: Path) -> None:
    shard(tmp_path / "one.tar", {"a.jpg": b"AAA", "b.jpg": b"BBB"})
    webdataset.unpack(tmp_path / "one.tar", tmp_path / "out")
    whole, cut = tmp_path / "out" / "one" / "a.jpg", tmp_path / "out" / "one" / "b.jpg"
    stamp = whole.stat().st_mtime_ns
    cut.write_bytes(b"B")
    webdataset.unpack(tmp_path / "one.tar", tmp_path / "out")
    assert (whole.stat().st_mtime_ns, cut.read_bytes()) == (stamp, b"BBB")


def test_a_shard_that_breaks_off_and_one_that_is_compressed_are_told_of(tmp_path: Path) -> None:
    path = shard(tmp_path / "cut.tar", {"a.jpg": b"A" * 2000, "a.txt": b"A.", "b.jpg": b"B" * 9000, "b.txt": b"B."})
    path.write_bytes(path.read_bytes()[:6000])
    found, refused = read("webdataset", path)
    assert list(found) == ["a"]
    assert refused[""] == "broken_shard"
    webdataset.unpack(path, tmp_path / "out")
    assert [p.name for p in (tmp_path / "out").rglob("*.*")] == ["a.jpg"]
    with tarfile.open(tmp_path / "zipped.tar", "w:gz"):
        pass
    assert read("webdataset", tmp_path / "zipped.tar") == ({}, {"": "broken_shard"})


def packed(kind: str, turns: list[dict[str, Any]], **more: Any) -> bytes:
    media = {"kind": kind, "width_px": 640, "height_px": 480}
    frames = [{"member": "f000.jpg", "width_px": 320, "height_px": 240}]
    return said(**({"format": 1, "turns": turns, "media": media, "frames": frames} | more))


def own_turn(role: str, text: str, **more: Any) -> dict[str, Any]:
    return {"role": role, "text": text, "src_s": [], "tgt_s": [], "boxes": []} | more


def test_our_own_packs_come_back_with_boxes_in_pixels_of_what_the_pack_holds(tmp_path: Path) -> None:
    box = {"x0_px": 64, "y0_px": 48, "x1_px": 128, "y1_px": 96}
    asks = own_turn("user", "What stands in <box>?", boxes=[box])
    when = [own_turn("user", "When?"), own_turn("assistant", "In <time>.", tgt_s=[0.5, 1.0])]
    wrong = [own_turn("user", "When?"), own_turn("assistant", "In <time>.", tgt_s=[0.5])]
    files = {
        **{"a.json": packed("image", [asks, own_turn("assistant", "EXIT")]), "a.f000.jpg": b"A"},
        **{"b.json": packed("video", when), "b.mp4": b"B"},
        **{"c.json": packed("video", when), "c.f000.jpg": b"C"},
        **{"d.json": packed("image", wrong), "d.f000.jpg": b"D"},
        **{"e.json": packed("image", [{"role": "user"}]), "e.f000.jpg": b"E"},
        **{"f.json": packed("image", when, frames=None), "f.f000.jpg": b"F"},
    }
    found, refused = read("webdataset", shard(tmp_path / "x-val-000000.tar", files))
    one = found["a"]
    assert (one.media_uri, one.width_px, one.height_px) == ("x-val-000000/a.f000.jpg", 320, 240)
    assert one.turns[0].boxes == (Box(32, 24, 64, 48),)
    assert (found["b"].media_uri, found["b"].turns[1].tgt_s) == ("x-val-000000/b.mp4", (0.5, 1.0))
    assert refused == {"c": "frames_only", "d": "placeholders", "e": "wrong_type", "f": "wrong_type"}
