"""What a set says of a clip: times and boxes in the clip's own, nothing of another medium, nothing twice."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reelmill.annotators.annotator import Annotator
from reelmill.pipelines import internvid_tg, witnessed
from reelmill.pipelines._place import place_of
from reelmill.pipelines._recipe import step_identity
from reelmill.pipelines._run import Local, run
from reelmill.pipelines.sources.annotated import naming
from reelmill.pipelines.sources.annotated.fields import annotation, tube_of
from reelmill.pipelines.sources.annotated.set_file import SetFile
from reelmill.pipelines.sources.annotated.witness import Said, WitnessAnnotations, _Clip
from reelmill.schemas import arrow
from reelmill.schemas.annotation import Annotation, LeftOut, Stated
from reelmill.schemas.column import schema
from reelmill.schemas.errors import BadInput, Unusable
from reelmill.schemas.event import Event, EventKind
from reelmill.schemas.media import Kind, MediaRef
from reelmill.schemas.span import Span
from reelmill.schemas.tube import Box, Tube

STEP = WitnessAnnotations("demo", "0" * 64, "1", "nowhere")


def media(
    uri: str = "/films/talk.mp4", span: Span | None = Span(10.0, 20.0), size: tuple[int, int] = (64, 48)
) -> MediaRef:
    return MediaRef(uri, "d" * 64, Kind.VIDEO, *size, span.duration_s if span else 0.0, span, "CC0-1.0")


def said_of(one: Annotation, of: MediaRef | None = None) -> tuple[Sequence[Event], Sequence[Tube], Sequence[LeftOut]]:
    of = of or media()
    assert of.span is not None
    found = _Clip(STEP, "clip", of, of.span).of(one)
    return found.events, found.tubes, found.left_out


def talk(*stated: Stated, tubes: Sequence[Tube] = (), duration_s: float | None = 60.0) -> Annotation:
    return annotation("demo", "7", "talk", size=(64, 48), duration_s=duration_s, stated=stated, tubes=tubes)


def boxes(*at_s: float, box: Box = Box(8.0, 8.0, 16.0, 16.0), size: tuple[int, int] = (64, 48)) -> Tube:
    return tube_of("1", "dog", dict.fromkeys(at_s, box), size, 0.5)


# ---- times and boxes -------------------------------------------------------------------------------------------------


def test_a_sentence_inside_the_clip_is_an_event_in_its_time() -> None:
    (event,), _, _ = said_of(talk(Stated("a dog runs", Span(12.0, 15.5), "")))
    assert (event.kind, event.phrase, event.span) == (EventKind.STATED, "a dog runs", Span(2.0, 5.5))
    assert (event.method, event.confidence, event.subject, event.subject_id) == ("human", 0.5, "", "")
    assert [(p.localiser, p.span) for p in event.proposals] == [("human:demo:7", Span(2.0, 5.5))]
    assert (event.parent_key, event.verdict.accepted) == ("clip", True)


@pytest.mark.parametrize(
    ("span", "want", "reason"),
    [
        (Span(10.0, 20.0), Span(0.0, 10.0), ""),
        (Span(9.96, 20.04), Span(0.0, 10.0), ""),
        (Span(9.9, 15.0), Span(0.0, 5.0), "crosses_a_cut"),
        (Span(15.0, 20.1), Span(5.0, 10.0), "crosses_a_cut"),
        (Span(1.0, 59.0), Span(0.0, 10.0), "crosses_a_cut"),
        (Span(15.0, 61.0), Span(5.0, 10.0), "span_beyond_duration"),
        (Span(0.0, 10.0), None, ""),
        (Span(20.04, 25.0), None, ""),
    ],
)
def test_only_what_lies_wholly_inside_is_accepted(span: Span, want: Span | None, reason: str) -> None:
    events, _, _ = said_of(talk(Stated("a dog runs", span, ""), Stated("it is a talk", None, "")))
    if want is None:
        assert events == ()
        return
    (event,) = events
    assert (event.span.start_s, event.span.end_s) == pytest.approx((want.start_s, want.end_s))
    assert event.verdict.reason == reason
    assert event.span.within(10.0)


@given(st.lists(st.floats(1.0, 59.0), max_size=4, unique=True), st.floats(0, 59), st.floats(0.2, 30))
def test_cuts_neither_lose_nor_double_a_sentence(cuts: list[float], start_s: float, length_s: float) -> None:
    """Over all clips of a file, a sentence is accepted once or crosses a cut; never both, and never neither."""
    edges = [0.0, *sorted(cuts), 60.0]
    one = talk(Stated("a dog runs", Span(start_s, min(start_s + length_s, 60.0)), ""))
    clips = [Span(a, b) for a, b in pairwise(edges)]
    events = [e for clip in clips for e in said_of(one, media(span=clip))[0]]
    accepted = [e for e in events if e.verdict.accepted]
    assert events
    assert len(accepted) <= 1 or max(e.span.duration_s for e in accepted) <= 2 * STEP.slack_s
    assert accepted or {e.verdict.reason for e in events} == {"crosses_a_cut"}
    for event, clip in ((e, c) for c in clips for e in said_of(one, media(span=c))[0]):
        assert event.span.within(clip.duration_s)


def test_a_clip_that_is_shorter_than_its_span_takes_what_it_really_has() -> None:
    short = replace(media(), duration_s=4.0)
    stated = (Stated("a dog runs", Span(12.0, 15.0), "1"), Stated("a dog sits", Span(14.5, 16.0), ""))
    (event,), (tube,), _ = said_of(talk(*stated, tubes=(boxes(12.0, 13.9, 14.0),)), short)
    assert (event.span, event.verdict.reason) == (Span(2.0, 4.0), "crosses_a_cut")
    assert tube.at_s == pytest.approx((2.0, 3.9))


def test_of_a_tube_the_boxes_inside_the_clip_are_taken() -> None:
    one = talk(Stated("a dog runs", Span(12.0, 15.5), "1"), tubes=(boxes(9.5, 10.0, 15.0, 19.9, 20.0),))
    (event,), (tube,), left_out = said_of(one)
    assert (tube.tube_id, tube.phrase, tube.method) == ("7/1", "dog", "human")
    assert tube.at_s == pytest.approx((0.0, 5.0, 9.9))
    assert tube.end_s == pytest.approx(10.0)
    assert (event.subject_id, event.subject) == ("7/1", "dog")
    assert left_out == ()
    _, elsewhere, _ = said_of(one, media(span=Span(30.0, 40.0)))
    assert elsewhere == ()


def test_boxes_come_in_the_pixels_of_the_medium_and_inside_it() -> None:
    tube = boxes(12.0, box=Box(-8.0, 8.0, 16.0, 60.0))
    _, (scaled,), _ = said_of(talk(tubes=(tube,)), media(size=(128, 96)))
    assert scaled.boxes == (Box(0.0, 16.0, 32.0, 96.0),)
    assert (scaled.frame_width_px, scaled.frame_height_px) == (128, 96)
    _, (unsized,), _ = said_of(talk(tubes=(replace(tube, frame_width_px=0, frame_height_px=0),)))
    assert unsized.boxes == (Box(0.0, 8.0, 16.0, 48.0),)


def test_boxes_of_a_frame_of_another_shape_are_left_out_with_both_sizes() -> None:
    one = talk(Stated("a dog runs", Span(12.0, 13.0), "1"), tubes=(boxes(12.0),))
    (event,), tubes, (out,) = said_of(one, media(size=(48, 64)))
    assert (tubes, event.subject_id, event.verdict.accepted) == ((), "", True)
    assert (out.reason, out.detail) == ("frame_size_differs", "64 x 48 in the set, 48 x 64 here")


def test_an_annotation_that_validation_rejects_gives_nothing_and_says_so() -> None:
    events, tubes, (out,) = said_of(talk(Stated("a dog runs", Span(12.0, 13.0), ""), duration_s=-1.0))
    assert (events, tubes) == ((), ())
    assert (out.original_id, out.reason) == ("7", "impossible_size")


# ---- which annotations are about a medium ----------------------------------------------------------------------------


def set_of(tmp_path: Path, *videos: str) -> SetFile:
    lines = [
        {"qid": n, "query": "a dog", "duration": 60, "vid": v, "relevant_windows": [[11, 12]]}
        for n, v in enumerate(videos)
    ]
    file = tmp_path / "highlight_val.jsonl"
    file.write_text("\n".join(json.dumps(line) for line in lines))
    return SetFile.at("qvhighlights", str(file))


def about(owner: SetFile, uri: str) -> list[str]:
    said = Said(owner)
    try:
        return [one.media_uri for one in said.about(media(uri))]
    finally:
        said.close()


@pytest.mark.parametrize(
    ("uri", "stem"),
    [
        ("/films/talk.mp4", "talk"),
        ("s3://bucket/a/talk.WEBM", "talk"),
        ("bP5_660.0_810.0", "bP5_660.0_810.0"),
        ("bP5_660.0_810.0.mp4", "bP5_660.0_810.0"),
        (".mp4", ".mp4"),
        ("1025/384", "384"),
    ],
)
def test_a_medium_is_known_by_the_last_part_of_its_path(uri: str, stem: str) -> None:
    assert naming.stem(uri) == stem


def test_a_set_names_media_with_or_without_folder_and_suffix(tmp_path: Path) -> None:
    owner = set_of(tmp_path, "talk", "x/walk.mp4", "bP5_660.0_810.0", "sha256:" + "e" * 64)
    assert about(owner, "/films/walk.webm") == ["x/walk.mp4"]
    assert about(owner, "bP5_660.0_810.0.mp4") == ["bP5_660.0_810.0"]
    assert about(owner, "/films/else.mp4") == []


def test_a_set_may_name_a_medium_by_its_bytes(tmp_path: Path) -> None:
    owner = set_of(tmp_path, "talk", "sha256:" + "d" * 64)
    assert about(owner, "/films/renamed.mp4") == ["sha256:" + "d" * 64]
    assert about(owner, "/films/talk.mp4") == ["sha256:" + "d" * 64, "talk"]


def test_one_name_for_two_media_is_settled_by_the_path_or_refused(tmp_path: Path) -> None:
    owner = set_of(tmp_path, "a/0001.mp4", "b/0001.mp4", "0002.mp4")
    assert about(owner, "/films/b/0001.mp4") == ["b/0001.mp4"]
    with pytest.raises(Unusable, match="media_ambiguous"):
        about(owner, "/films/0001.mp4")
    assert about(owner, "/films/c/0002.mp4") == ["0002.mp4"]


# ---- the step and the recipe -----------------------------------------------------------------------------------------


def asked(owner: SetFile, of: MediaRef) -> dict[str, Any]:
    step = WitnessAnnotations.of(owner)
    step.setup()
    try:
        row = {"key": "clip", "media": arrow.plain(of)}
        (out,) = step(pa.Table.from_pylist([row], schema=schema(*step.needs))).to_pylist()
    finally:
        step.close()
    assert out["fault"] is None, out["fault"]
    return dict(out)


def test_the_step_refuses_what_no_annotation_is_about(tmp_path: Path) -> None:
    owner = set_of(tmp_path, "talk", "talk")
    assert isinstance(WitnessAnnotations.of(owner), Annotator)
    found = asked(owner, media())
    assert [e["phrase"] for e in found["events"]] == ["a dog", "a dog"]
    assert len({e["key"] for e in found["events"]}) == 2
    other = asked(owner, media("/films/silence.mp4"))
    assert (other["verdict"]["step"], other["verdict"]["reason"]) == ("witness_annotations", "not_annotated")
    assert "silence.mp4" in other["verdict"]["detail"]
    assert asked(owner, media(span=None))["verdict"]["reason"] == "no_time"


def test_the_path_is_no_part_of_the_steps_identity(tmp_path: Path) -> None:
    owner = set_of(tmp_path, "talk")
    moved = replace(owner, path=tmp_path / "elsewhere")
    one, other = WitnessAnnotations.of(owner), WitnessAnnotations.of(moved)
    assert step_identity(one) == step_identity(other)
    assert step_identity(one)["fields"]["digest"] == owner.digest
    assert (one.method, owner.digest[:16] in one.observed) == ("human", True)


def test_subtitles_are_no_events() -> None:
    with pytest.raises(BadInput, match="what is said"):
        witnessed.recipe("srt", "any.srt")
    with pytest.raises(BadInput, match="no path"):
        internvid_tg.recipe("human:vidstg")


# ---- real media ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def vidor(shared_media: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[dict[str, Any]]]:
    """A file in VidSTG's own form, made from the events that VidSTG's makers state for two clips of VidOR."""
    probes = {e["file"]: e.get("probe", {}) for e in json.loads((shared_media / "MANIFEST.json").read_text())}
    truth = json.loads((shared_media / "groundtruth" / "temporal_events.json").read_text())
    rows = [
        {
            "vid": Path(film["file"]).stem,
            "fps": film["fps"],
            "frame_count": film["frame_count"],
            "width": probes[film["file"]]["width"],
            "height": probes[film["file"]]["height"],
            "subject/objects": film["objects"],
            **{name: said[name] for name in ("temporal_gt", "captions", "questions")},
        }
        for film in truth
        for said in film["annotations"]
    ]
    path = tmp_path_factory.mktemp("vidstg") / "val_annotations.json"
    path.write_text(json.dumps(rows))
    return path, truth


@pytest.mark.slow
def test_real_clips_get_the_sentences_of_vidstg(
    vidor: tuple[Path, list[dict[str, Any]]], shared_media: Path, tmp_path: Path
) -> None:
    path, truth = vidor
    films = tuple(str(shared_media / film["file"]) for film in truth)
    place = place_of(tmp_path / "store", films, "real")
    recipe = internvid_tg.recipe(f"human:vidstg:{path}")
    reports = run(recipe, place, Local(2))
    assert all(r.counts.closes and not r.counts.pending for r in reports)
    stated = place.dataset(witnessed.recipe("vidstg", str(path))).children().to_pylist()
    want = sorted(
        (caption["description"], said["t_start"], said["t_end"])
        for film in truth
        for said in film["annotations"]
        for caption in said["captions"]
    )
    found = sorted((e["phrase"], e["span"]["start_s"], e["span"]["end_s"]) for e in stated)
    assert [(w[0]) for w in want] == [f[0] for f in found]
    for (_, start_s, end_s), (_, said_start_s, said_end_s) in zip(found, want, strict=True):
        assert (start_s, end_s) == pytest.approx((said_start_s, said_end_s), abs=1e-3)
    samples = [s for s in place.dataset(recipe).children().to_pylist() if s["verdict"]["state"] == "accepted"]
    assert {s["task"] for s in samples} == {"grounding", "span_caption"}
    assert {s["method"] for s in samples} == {"human"}
    assert all(any(link["method"] == "human" for link in s["provenance"]) for s in samples)
