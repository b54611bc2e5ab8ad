"""The defect register on what the streaming flow really gives: rendered files in, streams, packs and exports out.

D1 times from nominal frame rates, D3 times beyond the end, D10 failed samples replaced by others, D11 training on test
sources, D12 rows that fit no schema, D14 leaks and times outside the skeleton.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from reelmill.annotators.decode.packets import scan
from reelmill.jobs import verifying
from reelmill.pipelines import live_stream
from reelmill.pipelines._place import place_of
from reelmill.pipelines._recipe import Place, in_order
from reelmill.pipelines._run import Local, run
from reelmill.pipelines.scenes.compose import compose
from reelmill.pipelines.scenes.presets import PRESETS, Timing
from reelmill.pipelines.scenes.render import render
from reelmill.pipelines.views.checks.live import leaks
from reelmill.schemas import arrow
from reelmill.schemas.event import Event
from reelmill.schemas.sample import Role, StreamSample, Turn
from reelmill.sinks.dataset import Store
from reelmill.sinks.exports.live import from_live, live
from reelmill.sinks.pack import pack
from reelmill.sinks.publishing.view import accepted_children, samples, split_of
from reelmill.sinks.verify import sample_findings, verify

pytestmark = pytest.mark.slow
MICRO = 1.5e-6
TRUTH = live_stream.recipe("truth")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """Three short scenes of three timings and half a video, through the flow that has truth for its evidence."""
    folder = tmp_path_factory.mktemp("live")
    media = folder / "media"
    media.mkdir()
    for seed, timing in enumerate((Timing.NTSC, Timing.VFR, Timing.FPS_25)):
        preset = dataclasses.replace(PRESETS["demo"], timings=(timing,), duration_s=(3.0, 3.5), shots=(1, 1))
        render(compose(seed, preset), media / f"{seed}.mp4")
    (media / "half.mp4").write_bytes((media / "0.mp4").read_bytes()[:5_000])
    place = place_of(folder / "store", (str(media),), "live")
    run(TRUTH, place, Local(1))
    return place


def made(place: Place) -> list[StreamSample]:
    found = [s for s in samples(accepted_children(place.dataset(TRUTH))) if isinstance(s, StreamSample)]
    assert found
    return found


def events_of(place: Place) -> dict[str, list[Event]]:
    found: dict[str, list[Event]] = {}
    for child in place.dataset(in_order(TRUTH)[2]).children().drop_columns(["part"]).to_pylist():
        event = arrow.typed(Event, child)
        found.setdefault(event.parent_key, []).append(event)
    return found


def test_every_stream_compiled_from_truth_is_right(place: Place) -> None:
    store = Store(place.store)
    figures = {f.name: f for f in verifying.measure(store, place.dataset(TRUTH))}
    assert figures["samples right within 1e-06 s"].count == len(made(place)) > 40
    assert all(f.value == 1.0 for f in figures.values())


def test_d1_every_turn_stands_at_a_presentation_time(place: Place) -> None:
    clocks = {uri: scan(uri).at_s for uri in {s.media.uri for s in made(place)}}
    for sample in made(place):
        start_s = sample.media.span.start_s if sample.media.span else 0.0
        for at_s in sample.turns_at_s:
            assert min(abs(t - start_s - at_s) for t in clocks[sample.media.uri]) < MICRO


def test_d3_d12_every_row_fits_and_the_recount_finds_nothing(place: Place) -> None:
    for recipe in in_order(TRUTH):
        found = verify(place.dataset(recipe))
        assert found.ok, found.findings
    names = place.dataset(TRUTH).children().column_names
    assert arrow.schema_of(StreamSample).names == [n for n in names if n != "part"]


def test_the_recount_knows_a_stream_that_is_broken(place: Place) -> None:
    sample = max(made(place), key=lambda s: len(s.turns))
    assert list(sample_findings(sample)) == []
    for changes in (
        {"turns_at_s": tuple(reversed(sample.turns_at_s))},
        {"turns_at_s": sample.turns_at_s[1:]},
        {"watch_until_s": sample.media.duration_s + 1.0},
        {"watch_from_s": sample.turns_at_s[-1] + 0.01},
    ):
        assert {f.kind for f in sample_findings(dataclasses.replace(sample, **changes))} == {"stream_times"}
    answer = dataclasses.replace(sample, turns=sample.turns[1:2], turns_at_s=sample.turns_at_s[1:2])
    assert {f.kind for f in sample_findings(answer)} == {"turns"}, (
        "silence is an answer, talk without a question is not"
    )


def test_d10_what_cannot_be_decoded_is_counted_and_replaced_by_nothing(place: Place) -> None:
    media, clips = (place.dataset(r).counts() for r in in_order(TRUTH)[:2])
    assert (media.live, media.rejected + clips.rejected) == (4, 1), (media.reasons, clips.reasons)
    assert {Path(s.media.uri).stem for s in made(place)} == set("012")


def test_d11_no_source_is_in_both_splits(place: Place) -> None:
    digests = {s.media.digest for s in made(place)}
    dataset = place.dataset(TRUTH)
    packed = pack(Store(place.store), dataset, val_share=0.5)
    assert {split_of(d, 0.5) for d in digests} == {"train", "val"} == set(packed.samples)
    held = {split: set(_digests(dataset.folder, split)) for split in packed.samples}
    assert held["train"] & held["val"] == set()
    assert held["train"] | held["val"] == digests


def _digests(folder: Path, split: str) -> list[str]:
    import pyarrow.parquet as pq

    files = sorted((folder / "tables" / "samples" / f"split={split}").glob("*.parquet"))
    return [d for f in files for d in pq.read_table(f, columns=["source_digest"])["source_digest"].to_pylist()]


def test_d14_answers_stand_at_the_skeletons_times_and_leak_nothing(place: Place) -> None:
    events = events_of(place)
    spoken = 0
    for sample in made(place):
        edges = {t for e in events[sample.parent_key] for t in (e.span.start_s, e.span.end_s)}
        lines = list(zip(sample.turns, sample.turns_at_s, strict=True))
        asked = {t for turn, t in lines if turn.role is Role.USER}
        answered = {t for turn, t in lines if turn.role is Role.ASSISTANT}
        assert answered <= edges | asked
        assert leaks(lines, events[sample.parent_key]) == []
        spoken += len(answered)
    assert spoken > 40


def test_d14_a_leak_inside_a_sentence_is_found(place: Place) -> None:
    events = events_of(place)
    for sample in made(place):
        said = Turn(Role.ASSISTANT, "As you can see it has been like this since 12s or so.", (), (), ())
        assert leaks([(said, sample.turns_at_s[0])], events[sample.parent_key])


def test_exports_hold_every_turn_that_a_stored_frame_shows_and_no_reply_is_early(place: Place) -> None:
    for sample in made(place):
        row = live(sample, Path(sample.media.uri).stem)
        turns, at_s = from_live(row)
        assert row["bound"] < 0.6, "frames are stored each half second, by their own times"
        assert sum(m.get("num_frames", 0) for m in row["conversation"]) == len(sample.frames)
        assert " ".join(t.text for t in turns) == " ".join(
            t.text for t in sample.turns[: len(sample.turns) - row["unshown"]]
        )
        asked = [t for t, turn in zip(sample.turns_at_s, sample.turns, strict=True) if turn.role is Role.USER]
        assert [t for t, turn in zip(at_s, turns, strict=True) if turn.role is Role.USER] == asked, "asked on a frame"
