"""Choosing text-rich material: clusters of looks in which enough clips and pictures have readable text.

After LLaVAR (Zhang et al. 2023): CLIP features of a sample are put into 100 clusters, and the text-rich ones are kept
after a look at them. Here they are chosen by a stated rule, and `--set clusters=3,7` decides otherwise; the verdict of
every sample says its cluster's size, share of text-rich members and some of them, so that a person can look.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from reelmill.pipelines._clusters import clusters, usual_count
from reelmill.pipelines._table import TableRecipe
from reelmill.pipelines.views.transcription import FAMILY, TRANSCRIPTION
from reelmill.schemas.errors import BadInput
from reelmill.schemas.verdict import State
from reelmill.sinks.dataset import Store

_QUERY = """
select samples.key,
  case when places.chosen then 'accepted' else 'rejected' end as state,
  case when places.key is null then 'no_vector' when places.chosen then '' else 'cluster_not_chosen' end as reason,
  coalesce(places.detail, 'its clip has no embedding in ' || $vectors) as detail
from samples left join places using (key)
"""
_EXAMPLES = 3


@dataclass(frozen=True, slots=True)
class Cluster:
    """One cluster: its clips, and those of them that have an accepted transcription."""

    number: int
    clips: tuple[str, ...]
    text_rich: tuple[str, ...]

    @property
    def share(self) -> float:
        return len(self.text_rich) / len(self.clips)

    def said(self, why: str) -> str:
        """One line for a person."""
        shown = ", ".join((self.text_rich or self.clips)[:_EXAMPLES])
        size = f"{len(self.clips)} clips, {len(self.text_rich)} text-rich ({self.share:.0%})"
        return f"cluster {self.number}: {size}; {why}; such as {shown}"


@dataclass(frozen=True, slots=True, kw_only=True)
class TextRich(TableRecipe):
    """`parameters` hold `vectors` (a dataset of embeddings), `count` (0: by the rule of `usual_count`), `seed`,
    `least_share`, `least_clips`, and `clusters`, the numbers chosen by hand."""

    def beside(self, store: Store, samples: pa.Table) -> dict[str, pa.Table]:
        """`places(key, chosen, detail)` of every sample whose clip has a vector."""
        given = samples.select(["key", "clip_key", "family", "task"]).to_pylist()
        found = self.clusters_of(store, given)
        known = {clip: one for one in found for clip in one.clips}
        rows = [
            {"key": sample["key"], "chosen": chosen, "detail": one.said(why)}
            for sample in given
            if (one := known.get(sample["clip_key"])) is not None
            for chosen, why in [self.choice(one, found)]
        ]
        schema = pa.schema([("key", pa.string()), ("chosen", pa.bool_()), ("detail", pa.string())])
        return {"places": pa.Table.from_pylist(rows, schema=schema)}

    def clusters_of(self, store: Store, samples: Sequence[dict[str, Any]]) -> list[Cluster]:
        """Every cluster of the embeddings, the largest first; `samples` have clip_key, family and task. Raises BadInput
        where there is no embedding."""
        said = dict(self.parameters)
        table = store.find(str(said["vectors"])).rows()
        if "clip_embedding" not in table.column_names:
            raise BadInput(
                f"vectors={said['vectors']}", seen="no embeddings in it", do="name a dataset of `embeddings`"
            )
        rows = table.select(["key", "verdict", "clip_embedding"]).to_pylist()
        vectors = {r["key"]: r["clip_embedding"] for r in rows if r["verdict"]["state"] == State.ACCEPTED}
        if not vectors:
            raise BadInput(f"vectors={said['vectors']}", seen="no accepted row", do="run `embeddings` over the media")
        rich = {s["clip_key"] for s in samples if _is_text(s)}
        members: dict[int, list[str]] = defaultdict(list)
        count = int(said["count"]) or usual_count(len(vectors))
        for key, number in clusters(vectors, count, int(said["seed"])).items():
            members[number].append(key)
        return [Cluster(n, tuple(m), tuple(k for k in m if k in rich)) for n, m in sorted(members.items())]

    def choice(self, one: Cluster, found: list[Cluster]) -> tuple[bool, str]:
        """Whether a cluster is chosen, and why. Raises BadInput where one was named that is not there."""
        said = dict(self.parameters)
        named = [int(n) for n in str(said["clusters"]).split(",") if n]
        strange = [n for n in named if n >= len(found)]
        if strange:
            raise BadInput(
                f"clusters={said['clusters']}", seen=f"clusters 0 to {len(found) - 1}", do="name some of them"
            )
        if named:
            return one.number in named, "named by hand" if one.number in named else "not among those named by hand"
        if len(one.clips) < int(said["least_clips"]):
            return False, f"under {said['least_clips']} clips"
        chosen = one.share >= float(said["least_share"])
        return chosen, f"{'at least' if chosen else 'under'} {float(said['least_share']):.0%}"


def _is_text(sample: dict[str, Any]) -> bool:
    return bool(sample["family"] == FAMILY and sample["task"] == TRANSCRIPTION)


def recipe(
    inputs: dict[str, float],
    vectors: str = "",
    clusters: Any = "",
    count: int = 0,
    least_share: float = 0.5,
    least_clips: int = 3,
    seed: int = 0,
) -> TextRich:
    """`inputs` are datasets of samples, `ocr_rich` of the same media among them; their weights are not used. `vectors`
    names a dataset of `embeddings` of these media, whose clips are put into `count` clusters.

    A cluster is chosen where at least `least_clips` clips are in it, and at least `least_share` of them have an
    accepted transcription; or where `clusters` ("3,7") names it. Raises BadInput.
    """
    if not vectors:
        raise BadInput("text_rich wants embeddings", seen="no vectors", do="give --set vectors=embeddings-NAME@1")
    named = ",".join(map(str, clusters)) if isinstance(clusters, list | tuple) else str(clusters)
    if not all(n.strip().isdigit() for n in named.split(",") if named):
        raise BadInput(f"clusters={clusters}", seen="not a list of numbers", do="give --set clusters=3,7")
    numbers = ",".join(sorted({n.strip() for n in named.split(",") if n}, key=int))
    parameters = (
        *(("clusters", numbers), ("count", count), ("least_clips", least_clips)),
        *(("least_share", least_share), ("seed", seed), ("vectors", vectors)),
    )
    return TextRich(
        name="text_rich",
        version="1",
        inputs=tuple(sorted(inputs)),
        query=_QUERY,
        parameters=parameters,
        reads=(vectors,),
    )
