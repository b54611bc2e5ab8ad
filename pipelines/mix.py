"""Mixing: draw from finished datasets by weight, quota and caps, without replacement; what is left out says why.

The draw is by a hash of (seed, key): it depends on no order, and adding a dataset does not reshuffle the others. Four
questions are asked of a sample, in this order, and the first "no" is its reason:

    over_clip_cap     is it among the first `clip_max` of its clip, over all inputs?
    over_source_cap   is it among the first `source_max` of its source file that are left?
    over_quota        is it within the quota of its input?
    not_drawn         is it within what the weights give its input?
"""

from __future__ import annotations

import json
import math
from typing import Any

from reelmill.pipelines._table import TableRecipe
from reelmill.schemas.errors import BadInput

STRATA = ("", "proportional", "equal")
_ASKED = """
asked as (
  select dataset, cast(json_extract($weights, '$."' || dataset || '"') as double) as weight,
    cast(json_extract($quotas, '$."' || dataset || '"') as bigint) as quota
  from (select unnest(json_keys($weights)) as dataset)
)"""
_QUERY = f"""
with {_ASKED.strip()}, hashed as (
  select key, dataset, task, digest, clip_key, md5($seed || key) as draw from samples
), in_clip as (
  select *, row_number() over (partition by digest, clip_key order by draw, key) as of_clip from hashed
), in_source as (
  select *, row_number() over (partition by digest, $clip_max > 0 and of_clip > $clip_max order by draw, key)
    as of_source
  from in_clip
), capped as (
  select *, case when $clip_max > 0 and of_clip > $clip_max then 'over_clip_cap'
    when $source_max > 0 and of_source > $source_max then 'over_source_cap' else '' end as cap
  from in_source
), in_task as (
  select *, row_number() over (partition by dataset, task, cap = '' order by draw, key) as of_task,
    count(*) over (partition by dataset, task, cap = '') as task_have
  from capped
), ranked as (
  select *, row_number() over (partition by dataset, cap = '' order by case $stratify
    when 'proportional' then (of_task - 0.5) / task_have when 'equal' then of_task else 0 end, draw, key) as place
  from in_task
), having_some as (
  select dataset, count(*) as have, any_value(weight) as weight, any_value(quota) as quota
  from ranked join asked using (dataset) where cap = '' group by dataset
), unit as (
  select least(min(have / weight) filter (quota is null),
    case when $total > 0 then ($total - coalesce(sum(least(have, quota)) filter (quota is not null), 0))
      / fsum(weight order by dataset) filter (quota is null) else 1e18 end) as unit
  from having_some
), sized as (
  select dataset, quota, cast(case when quota is null then least(have, floor(weight * unit + 1e-9))
    else least(have, quota) end as bigint) as want
  from having_some, unit
), reasoned as (
  select key, dataset, digest, clip_key, of_clip, of_source, place, want,
    case when cap <> '' then cap when place <= want then ''
      when quota is null then 'not_drawn' else 'over_quota' end as reason
  from ranked left join sized using (dataset)
)
select key, case when reason = '' then 'accepted' else 'rejected' end as state, reason, case reason
    when '' then ''
    when 'over_clip_cap' then format('number {{}} of clip {{}}, want at most {{}}', of_clip, clip_key, $clip_max)
    when 'over_source_cap'
      then format('number {{}} of source {{}}, want at most {{}}', of_source, digest[:12], $source_max)
    when 'over_quota' then format('the quota of {{}} is {{}}, this is number {{}}', dataset, want, place)
    else format('{{}} were drawn from {{}}, this is number {{}}', want, dataset, place) end as detail
from reasoned
"""  # noqa: S608 - constants
_SHARES = f"""
with {_ASKED.strip()}, counted as (
  select dataset, count(key) as available, count(*) filter (state = 'accepted') as drawn,
    count(*) filter (reason = 'not_drawn') as not_drawn, count(*) filter (reason = 'over_quota') as over_quota,
    count(*) filter (reason = 'over_source_cap') as over_source_cap,
    count(*) filter (reason = 'over_clip_cap') as over_clip_cap
  from asked left join (samples join verdicts using (key)) using (dataset) group by dataset
), whole as (
  select case when $total > 0 then $total else coalesce(sum(quota), 0) + coalesce(sum(drawn) filter (quota is null), 0)
    end as size, coalesce(sum(quota), 0) as quotas, fsum(weight order by dataset) filter (quota is null) as weights,
    sum(drawn) as drawn
  from asked join counted using (dataset)
)
select dataset as input, case when quota is null then format('weight {{:g}}', weight) else format('{{}}', quota) end
    as asked, counted.* exclude (dataset),
  case when quota is null then weight / weights * (size - quotas) else quota end / nullif(size, 0) as asked_share,
  counted.drawn / nullif(whole.drawn, 0) as got_share
from asked join counted using (dataset), whole order by dataset
"""  # noqa: S608 - constants


def recipe(
    inputs: dict[str, float],
    total: int = 0,
    seed: int = 0,
    quotas: Any = "",
    source_max: int = 0,
    clip_max: int = 0,
    stratify: str = "",
) -> TableRecipe:
    """`inputs` maps dataset labels to weights; `total` caps the number of samples (0: as many as the weights allow).

    `quotas` ("A=500; B=20%", or a mapping) are inputs that give a fixed number, or share of `total`, whatever their
    weight; the others share the rest. `source_max` and `clip_max` cap the samples of one source file and of one clip
    over all inputs (0: no cap), before any draw. `stratify` keeps each input's tasks `proportional`, or takes as many
    of each (`equal`). Raises BadInput where these do not fit together.
    """
    if not inputs or any(w <= 0 for w in inputs.values()):
        raise BadInput("mix wants datasets with positive weights", seen=str(inputs), do="give --input NAME=WEIGHT")
    counts = {"total": total, "source_max": source_max, "clip_max": clip_max}
    for name, value in counts.items():
        _require_count(name, value)
    if stratify not in STRATA:
        raise BadInput(f"stratify={stratify}", seen="an unknown way", do="use proportional or equal")
    said: dict[str, str | int | float] = {
        "seed": str(seed),
        "weights": json.dumps(inputs, sort_keys=True),
        "quotas": json.dumps(_quotas(quotas, inputs, total), sort_keys=True),
        "stratify": stratify,
    }
    parameters = tuple(sorted({**said, **counts}.items()))
    return TableRecipe(
        name="mix", version="1", inputs=tuple(sorted(inputs)), query=_QUERY, parameters=parameters, shares=_SHARES
    )


def _require_count(name: str, value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise BadInput(f"{name}={value}", seen="no such number", do="give a whole number, 0 for no limit")


def _quotas(given: Any, inputs: dict[str, float], total: int) -> dict[str, int]:
    """Samples for each input with a quota. Raises BadInput on one of no input, and where they pass `total`."""
    found = {name: _quota(name, value, total) for name, value in _pairs(given).items()}
    if unknown := sorted(found.keys() - inputs.keys()):
        raise BadInput(f"a quota for {unknown[0]}", seen=f"inputs {', '.join(sorted(inputs))}", do="name an input")
    if total and sum(found.values()) > total:
        seen = f"{sum(found.values())} of a total of {total}"
        raise BadInput("the quotas", seen=seen, do="raise --set total=N or lower them")
    return found


def _pairs(given: Any) -> dict[str, str]:
    if isinstance(given, dict):
        return {str(name): str(value) for name, value in given.items()}
    words = [word.strip() for word in str(given).split(";") if word.strip()]
    pairs = {name.strip(): value.strip() for name, _, value in (word.rpartition("=") for word in words)}
    if len(pairs) != len(words) or "" in pairs:
        raise BadInput(f"quotas={given!r}", seen="not NAME=NUMBER for each", do='give --set quotas="A=500; B=20%"')
    return pairs


def _quota(name: str, value: str, total: int) -> int:
    """A number of samples from `500` or `20%`; a share is rounded down."""
    share = value.endswith("%")
    if share and not total:
        raise BadInput(f"quota {name}={value}", seen="no total to take a share of", do="give --set total=N too")
    try:
        number = float(value.removesuffix("%"))
    except ValueError:
        number = math.nan
    whole = math.isfinite(number) and 0 <= number <= 100 if share else number >= 0 and number % 1 == 0
    if not whole:
        raise BadInput(f"quota {name}={value}", seen="no number of samples", do="give a whole number, or 0% to 100%")
    return math.floor(number * total / 100 + 1e-9) if share else int(number)
