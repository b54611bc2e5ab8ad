"""Mixing: draw from several finished datasets by weight, without replacement; what is not drawn says so.

The draw is by a hash of (seed, key): it depends on no order, and adding a dataset does not reshuffle the others.
"""

from __future__ import annotations

import json

from reelmill.pipelines._table import TableRecipe
from reelmill.schemas.errors import BadInput

_QUERY = """
with ranked as (
  select key, dataset, row_number() over (partition by dataset order by md5($seed || key), key) as place from samples
), quota as (
  select dataset, count(*) as have, cast($weights -> ('$."' || dataset || '"') as double) as weight
  from ranked group by dataset
), sized as (
  select dataset, least(have, cast(floor(weight * least(
    (select min(have / weight) from quota),
    case when $total > 0 then $total / (select sum(weight) from quota) else 1e18 end) + 1e-9) as bigint)) as want
  from quota
)
select key, case when place <= want then 'accepted' else 'rejected' end as state,
  case when place <= want then '' else 'not_drawn' end as reason,
  case when place <= want then ''
    else format('{} were drawn from {}, this is number {}', want, dataset, place) end as detail
from ranked join sized using (dataset)
"""


def recipe(inputs: dict[str, float], total: int = 0, seed: int = 0) -> TableRecipe:
    """`inputs` maps dataset labels to weights; `total` caps the number of samples (0: as many as the weights allow).

    Raises BadInput on no input or a weight that is not positive.
    """
    if not inputs or any(w <= 0 for w in inputs.values()):
        raise BadInput("mix wants datasets with positive weights", seen=str(inputs), do="give --input NAME=WEIGHT")
    parameters = (("seed", str(seed)), ("total", total), ("weights", json.dumps(inputs, sort_keys=True)))
    return TableRecipe(name="mix", version="1", inputs=tuple(sorted(inputs)), query=_QUERY, parameters=parameters)
