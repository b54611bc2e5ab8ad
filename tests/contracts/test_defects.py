"""The defect register of published recipes (D1 to D12), checked on what really comes out of the flow.

D1 times from nominal frame rates, D2 a caption's time is not its frame's, D3 times beyond the end, D4 frames taken for
seconds, D10 failed samples replaced by others, D12 rows that fit no schema. (D5, D6: `tests/schemas/test_laws.py`.)
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import av
import pytest
from chat_server import Act, Asked, caption_of, chatting, completion

from reelmill.pipelines import captions, internvid_tg
from reelmill.pipelines._place import place_of
from reelmill.pipelines._recipe import Place, in_order
from reelmill.pipelines._run import Local, run
from reelmill.pipelines.scenes.compose import compose
from reelmill.pipelines.scenes.presets import PRESETS, Timing
from reelmill.pipelines.scenes.render import render
from reelmill.schemas import arrow
from reelmill.schemas.clip import NewClip
from reelmill.schemas.event import Event
from reelmill.schemas.sample import Sample

pytestmark = pytest.mark.slow
MICRO = 1.5e-6


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """A 29.97 fps and a VFR scene, a text file and half a video, through the whole temporal flow."""
    folder = tmp_path_factory.mktemp("defects")
    media = folder / "media"
    media.mkdir()
    for name, timing in (("ntsc", Timing.NTSC), ("vfr", Timing.VFR)):
        preset = dataclasses.replace(PRESETS["demo"], name=name, timings=(timing,))
        render(compose(12, preset), media / f"{name}.mp4")
    (media / "half.mp4").write_bytes((media / "ntsc.mp4").read_bytes()[:20_000])
    (media / "notes.txt").write_text("no medium")
    place = place_of(folder / "store", (str(media),), "defects")
    run(internvid_tg.recipe(), place, Local(2))
    return place


def presented_s(path: Path) -> list[float]:
    """Presentation times of a file by its container alone, from the first presented frame."""
    with av.open(str(path)) as container:
        times = sorted(float(p.pts * p.time_base) for p in container.demux(video=0) if p.pts is not None)
    return [t - times[0] for t in times]


def clips_of(place: Place) -> list[NewClip]:
    children = place.dataset(in_order(internvid_tg.recipe())[1]).children().to_pylist()
    bare = [{k: v for k, v in c.items() if k != "part"} | {"frames": ()} for c in children]
    return [arrow.typed(NewClip, c) for c in bare]


def test_d1_and_d4_every_stored_frame_stands_at_a_time_and_number_of_its_container(place: Place) -> None:
    children = place.dataset(in_order(internvid_tg.recipe())[1]).children().to_pylist()
    assert {Path(c["media"]["uri"]).name for c in children} == {"ntsc.mp4", "vfr.mp4"}
    for child in children:
        times = presented_s(Path(child["media"]["uri"]))
        start_s = child["media"]["span"]["start_s"]
        first = min(range(len(times)), key=lambda i: abs(times[i] - start_s))
        for frame in child["frames"]:
            assert abs(times[first + frame["frame"]] - start_s - frame["at_s"]) < MICRO


def test_d1_events_begin_and_end_at_presentation_times(place: Place) -> None:
    clips = {c.key: c for c in clips_of(place)}
    events = place.dataset(in_order(internvid_tg.recipe())[3]).children().to_pylist()
    assert events
    for row in events:
        event = arrow.typed(Event, {k: v for k, v in row.items() if k != "part"})
        media = clips[event.parent_key].media
        assert media.span is not None
        edges = [*presented_s(Path(media.uri)), media.span.start_s + media.duration_s]
        for edge_s in (event.span.start_s, event.span.end_s):
            assert min(abs(t - media.span.start_s - edge_s) for t in edges) < MICRO


def test_d2_a_captions_times_are_those_of_the_frames_that_were_sent(place: Place) -> None:
    def answer(asked: Asked, earlier: int) -> Act:
        del earlier
        return Act(body=completion(caption_of(asked)))

    with chatting(answer) as chat:
        recipe = captions.recipe(f"openai:toy@{chat.url}")
        run(recipe, place, Local(1))
        sent = {jpeg for asked in chat.asked for jpeg in asked.jpegs}
    clips = place.dataset(in_order(recipe)[1])
    rows = {r["key"]: r for r in place.dataset(recipe).rows().to_pylist()}
    for child in (c for c in clips.children().to_pylist() if c["key"] in rows):
        by_time = {f["at_s"]: f for f in child["frames"]}
        for at_s in rows[child["key"]]["caption_frames_s"]:
            frame = by_time[at_s]
            assert clips.frame(child["part"], frame["offset"], frame["size"]) in sent


def test_d3_nothing_lies_beyond_the_end_of_its_clip(place: Place) -> None:
    dataset = place.dataset(internvid_tg.recipe())
    samples = [arrow.typed(Sample, {k: v for k, v in r.items() if k != "part"}) for r in dataset.children().to_pylist()]
    assert samples
    for sample in samples:
        for turn in sample.turns:
            times = (*turn.src_s, *turn.tgt_s)
            for start_s, end_s in zip(times[0::2], times[1::2], strict=True):
                assert 0 <= start_s < end_s <= sample.media.duration_s


def test_d10_what_cannot_be_decoded_is_counted_and_replaced_by_nothing(place: Place) -> None:
    media, clips = (place.dataset(r).counts() for r in in_order(internvid_tg.recipe())[:2])
    assert (media.live, media.pending, clips.pending) == (4, 0, 0)
    assert media.rejected + clips.rejected == 2, (media.reasons, clips.reasons)
    assert clips.accepted == 2
    sources = {m["digest"] for m in place.dataset(internvid_tg.recipe()).children()["media"].to_pylist()}
    assert len(sources) == 2


def test_d12_every_stored_row_fits_its_declared_schema(place: Place) -> None:
    for recipe in in_order(internvid_tg.recipe()):
        dataset = place.dataset(recipe)
        verdicts = dataset.rows()["verdict"]
        assert verdicts.null_count == 0
        for row in dataset.rows().to_pylist():
            assert row["verdict"]["state"] in ("accepted", "rejected")
