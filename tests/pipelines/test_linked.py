"""Samples of one clip stay linked through views, flips and mixes; sources stay in one split; kinds are kept apart."""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from pathlib import Path

import duckdb
import published
import pytest

from reelmill.pipelines import mix
from reelmill.pipelines._place import place_of
from reelmill.pipelines._table import run_table
from reelmill.schemas.column import Column
from reelmill.schemas.errors import BadInput
from reelmill.schemas.keys import child_key
from reelmill.schemas.sample import GroundedSample, PreferenceSample, Sample, Tubelet
from reelmill.schemas.tube import Box
from reelmill.sinks import catalog
from reelmill.sinks.dataset import Dataset, Store
from reelmill.sinks.pack import pack
from reelmill.sinks.publishing.linked import clip_key
from reelmill.sinks.shares import shares_of
from reelmill.sinks.verify import verify

GROUNDED = Column.of("samples", tuple[GroundedSample, ...])
CLIPS = [published.clip(i) for i in range(8)]
FIRST = CLIPS[0].key


def question(i: int, n: int = 0) -> Sample:
    return published.sample(CLIPS[i], i, n)


def flipped(i: int) -> Sample:
    """A sample made from `question(i)`: its parent is that sample, its frames are the clip's."""
    key = child_key(question(i).key, "flipped", "va_to_q")
    changes = {"key": key, "parent_key": question(i).key, "family": "flipped", "evidence": (question(i).key,)}
    return dataclasses.replace(question(i), task="va_to_q", **changes)  # type: ignore[arg-type]


def grounded(i: int) -> GroundedSample:
    """A sample with a tube."""
    plain = dataclasses.replace(question(i), key=child_key(CLIPS[i].key, "st"), family="st_align", task="track")
    shared = {f.name: getattr(plain, f.name) for f in dataclasses.fields(Sample)}
    turns = (plain.turns[0], dataclasses.replace(plain.turns[1], text="At <time>: <tube>."))
    tube = Tubelet((1.0, 2.0), (Box(1.0, 1.0, 9.0, 9.0), Box(2.0, 1.0, 9.0, 9.0)), 3.5)
    return GroundedSample(**shared | {"turns": turns}, tubes=(tube,))


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Clips and three families over them, and the mix of all."""
    store = Store(tmp_path_factory.mktemp("s") / "store")
    some = range(len(CLIPS))
    published.commit(store, "clips-t", published.CLIPS, [(c.parent_key, [c]) for c in CLIPS])
    published.commit(store, "asked-t", published.SAMPLES, [(CLIPS[i].key, [question(i), question(i, 1)]) for i in some])
    published.commit(store, "flipped-t", published.SAMPLES, [(question(i).key, [flipped(i)]) for i in some])
    published.commit(store, "tubes-t", GROUNDED, [(CLIPS[i].key, [grounded(i)]) for i in some])
    inputs = {"asked-t@1": 2.0, "flipped-t@1": 1.0, "tubes-t@1": 1.0}
    run_table(mix.recipe(inputs), place_of(store.root, tuple(inputs), "all"))
    for name in ("asked-t", "flipped-t", "tubes-t", "mix-all"):
        pack(store, store.find(name), val_share=0.3)
    return store


@pytest.fixture
def mixed(store: Store) -> Dataset:
    return store.find("mix-all")


def linked(store: Store, dataset: Dataset, clip: str = FIRST) -> tuple[int, list[str], list[str]]:
    query = "select samples, families, keys from linked where clip_key = $clip"
    ((samples, families, keys),) = catalog.connect(store, dataset).execute(query, {"clip": clip}).fetchall()
    return samples, families, keys


def test_the_samples_of_a_clip_are_found_across_families(store: Store, mixed: Dataset) -> None:
    expected = sorted(s.key for s in (question(0), question(0, 1), flipped(0), grounded(0)))
    assert linked(store, mixed) == (4, ["flipped", "internvid_tg", "st_align"], expected)
    parents = catalog.connect(store, mixed).execute("select key, parent_key from samples").fetchall()
    assert all(key == parent for key, parent in parents)  # so the parent alone could not link them


def test_the_catalog_alone_links_them_for_the_plain_wheel(mixed: Dataset) -> None:
    with duckdb.connect(str(mixed.folder / "catalog.duckdb"), read_only=True) as connection:
        clips = connection.execute("select clip_key, samples, source_digest from linked order by all").fetchall()
    assert clips == sorted((c.key, 4, c.media.digest) for c in CLIPS)


def test_a_view_that_is_not_packed_links_them_too(store: Store, tmp_path: Path) -> None:
    bare = Store(tmp_path / "store")
    published.commit(bare, "flipped-t", published.SAMPLES, [(question(0).key, [flipped(0)])])
    assert linked(bare, bare.find("flipped-t")) == (1, ["flipped"], [flipped(0).key])


def test_packed_datasets_are_linked_by_one_query_over_their_tables(store: Store) -> None:
    files = f"{store.root}/*-t/*/tables/samples/*/*.parquet"
    query = f"""select family, count(*) from read_parquet('{files}', union_by_name = true)
      where clip_key = '{FIRST}' group by family order by family"""
    assert duckdb.execute(query).fetchall() == [("flipped", 1), ("internvid_tg", 2), ("st_align", 1)]


def test_a_source_lies_in_one_split_of_all_datasets(store: Store) -> None:
    splits = defaultdict(set)
    for name in ("asked-t", "flipped-t", "tubes-t", "mix-all"):
        for digest, split in (
            catalog.connect(store, store.find(name)).sql("select digest, split from sources").fetchall()
        ):
            splits[digest].add(split)
    assert len(splits) == len(CLIPS)
    assert all(len(found) == 1 for found in splits.values())
    assert {split for found in splits.values() for split in found} == {"train", "val"}


def test_tubes_are_kept_by_a_mix_and_others_have_none(mixed: Dataset) -> None:
    rows = {row["key"]: row for row in mixed.children().to_pylist()}
    assert len(rows[grounded(0).key]["tubes"]) == 1
    assert rows[question(0).key]["tubes"] == []
    assert verify(mixed).ok


def test_the_card_says_what_was_asked_and_what_came(mixed: Dataset) -> None:
    card = (mixed.folder / "README.md").read_text()
    assert "| asked-t@1 | weight 2 | 16 | 16 | 50.0 % asked, 50.0 % got | none |" in card
    assert shares_of(mixed)["drawn"].to_pylist() == [16, 8, 8]


def test_kinds_that_do_not_go_together_are_refused_in_one_line(store: Store) -> None:
    from reelmill.pipelines._table import together

    with pytest.raises(BadInput, match=r"PreferenceSample: pairs@1; Sample: a@1, b@1.*make one dataset of each") as one:
        together({"a@1": Sample, "pairs@1": PreferenceSample, "b@1": Sample})
    assert len(str(one.value).splitlines()) == 1
    with pytest.raises(BadInput, match="several kinds"):
        together({"a@1": GroundedSample, "pairs@1": PreferenceSample})
    assert together({"a@1": PreferenceSample}) is PreferenceSample


def test_a_clip_is_found_by_its_frames_and_by_the_parent_where_there_are_none() -> None:
    own, before = published.refs(CLIPS[0], "clips-t@1"), published.refs(CLIPS[1], "clips-t@1")
    assert clip_key(FIRST, own) == FIRST
    assert clip_key("a sample", own) == FIRST
    assert clip_key("a sample", (*before, *own)) == FIRST
    assert clip_key(FIRST, (*own, *before)) == FIRST
    assert clip_key("a picture", ()) == "a picture"
